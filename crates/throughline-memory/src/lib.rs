//! An embedded message broker for Throughline: partitions, keys, groups, redelivery, delay, dead letter.
