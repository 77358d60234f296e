//! Apache Kafka for Throughline, on librdkafka.
