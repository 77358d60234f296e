//! Our constants against the crate of the conventions, and the one file they live in.

#![allow(clippy::unwrap_used, reason = "a test")]

use opentelemetry_semantic_conventions::{attribute as theirs, metric};
use std::{fs, path::Path};
use throughline_trace::semconv as ours;

#[test]
fn they_have_the_same_values() {
    for (ours, theirs) in [
        (ours::SYSTEM, theirs::MESSAGING_SYSTEM),
        (ours::OPERATION_NAME, theirs::MESSAGING_OPERATION_NAME),
        (ours::OPERATION_TYPE, theirs::MESSAGING_OPERATION_TYPE),
        (ours::DESTINATION_NAME, theirs::MESSAGING_DESTINATION_NAME),
        (ours::DESTINATION_TEMPLATE, theirs::MESSAGING_DESTINATION_TEMPLATE),
        (ours::PARTITION_ID, theirs::MESSAGING_DESTINATION_PARTITION_ID),
        (ours::SUBSCRIPTION_NAME, theirs::MESSAGING_DESTINATION_SUBSCRIPTION_NAME),
        (ours::CONSUMER_GROUP, theirs::MESSAGING_CONSUMER_GROUP_NAME),
        (ours::CLIENT_ID, theirs::MESSAGING_CLIENT_ID),
        (ours::MESSAGE_ID, theirs::MESSAGING_MESSAGE_ID),
        (ours::KAFKA_OFFSET, theirs::MESSAGING_KAFKA_OFFSET),
        (ours::KAFKA_KEY, theirs::MESSAGING_KAFKA_MESSAGE_KEY),
        (ours::KAFKA_TOMBSTONE, theirs::MESSAGING_KAFKA_MESSAGE_TOMBSTONE),
        (ours::PUBSUB_ORDERING_KEY, theirs::MESSAGING_GCP_PUBSUB_MESSAGE_ORDERING_KEY),
        (ours::PUBSUB_DELIVERY_ATTEMPT, theirs::MESSAGING_GCP_PUBSUB_MESSAGE_DELIVERY_ATTEMPT),
        (ours::SQS_QUEUE_URL, theirs::AWS_SQS_QUEUE_URL),
        (ours::AWS_REQUEST_ID, theirs::AWS_REQUEST_ID),
        (ours::BATCH_COUNT, theirs::MESSAGING_BATCH_MESSAGE_COUNT),
        (ours::OPERATION_DURATION, metric::MESSAGING_CLIENT_OPERATION_DURATION),
        (ours::PROCESS_DURATION, metric::MESSAGING_PROCESS_DURATION),
        (ours::SENT_MESSAGES, metric::MESSAGING_CLIENT_SENT_MESSAGES),
        (ours::CONSUMED_MESSAGES, metric::MESSAGING_CLIENT_CONSUMED_MESSAGES),
        (ours::SERVER_ADDRESS, theirs::SERVER_ADDRESS),
        (ours::SERVER_PORT, theirs::SERVER_PORT),
        (ours::ERROR_TYPE, theirs::ERROR_TYPE),
    ] {
        assert_eq!(ours, theirs);
    }
}

/// Names of the conventions change from version to version; they must all be in one place. Tests spell them out.
#[test]
fn they_live_in_one_file() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let named = code.contains("\"messaging.");
            assert!(!named || path.ends_with("semconv.rs"), "{} names an attribute", path.display());
        }
    }
    assert!(files > 15, "{files} files");
}
