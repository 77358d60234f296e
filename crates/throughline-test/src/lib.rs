//! Test kit of Throughline: broker conformance suite, span-graph checker, delivery ledger.
