//! Google Pub/Sub for Throughline, on the official client.
