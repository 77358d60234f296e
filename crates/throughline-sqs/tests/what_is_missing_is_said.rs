//! No region, no credentials, nobody there, no such queue, no permission: each is a typed error at the start that names the
//! call, the queue and the remedy.

#![allow(clippy::unwrap_used, reason = "a test says that it failed by a panic")]

mod common;

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use common::{Call, Fake, Say};
use std::{sync::Arc, time::Duration};
use throughline_core::{Capacity, Demand, Error, ErrorKind, Subscription};
use throughline_sqs::Sqs;

async fn refused(sqs: &Sqs, queue: &str) -> Error {
    let (_, demand) = Demand::new(Capacity { messages: 1, bytes: usize::MAX });
    sqs.subscribe(queue).subscribe(demand, Arc::new(())).await.err().unwrap()
}

fn in_region(region: Option<Region>) -> Sqs {
    let config = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).region(region);
    Sqs::from_config(&config.build())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_not_set_is_named() {
    let error = refused(&in_region(None), "orders").await;
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, "orders"), "{error:?}");
    assert!(error.remedy().contains("GetQueueUrl") && error.remedy().contains("AWS_REGION"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_not_there_are_named() {
    let error = refused(&in_region(Some(Region::from_static("eu-west-1"))), "orders").await;
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Denied, "orders"), "{error:?}");
    assert!(error.remedy().contains("GetQueueUrl") && error.remedy().contains("AWS_PROFILE"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_unreachable() {
    let error = refused(&Sqs::local("http://127.0.0.1:1"), "orders").await;
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Unreachable, "orders"), "{error:?}");
    assert!(error.remedy().contains("AWS_ENDPOINT_URL"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_told_with_its_remedy() {
    for (status, code, kind, word) in [
        (400, "QueueDoesNotExist", ErrorKind::NotFound, "create it"),
        (403, "AccessDenied", ErrorKind::Denied, "sqs:GetQueueUrl"),
        (403, "InvalidClientTokenId", ErrorKind::Denied, "credentials"),
    ] {
        let fake = Fake::start(move |call: &Call| {
            (call.action == "GetQueueUrl").then_some(Say::Error(status, code))
        })
        .await;
        let error = refused(&fake.sqs, "orders").await;
        assert_eq!((error.kind(), error.resource()), (kind, "orders"), "{code}");
        assert!(error.remedy().contains(word), "{code}: {error}");
    }
}

/// A consumer need not be allowed to look at its queue's settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_may_not_be_seen_keep_nobody_out() {
    let fake = Fake::start(|call: &Call| {
        (call.action == "GetQueueAttributes").then_some(Say::Error(403, "AccessDenied"))
    })
    .await;
    let (_, demand) = Demand::new(Capacity { messages: 1, bytes: usize::MAX });
    let source = fake.sqs.subscribe(fake.url()).subscribe(demand, Arc::new(())).await;
    assert!(source.is_ok(), "{source:?}");
}

/// A server that takes the call and never answers is given up by us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_given_up() {
    let fake = Fake::start(|call: &Call| (call.action == "GetQueueUrl").then_some(Say::Nothing)).await;
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(300)).build();
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .region(aws_sdk_sqs::config::Region::from_static("local"))
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("a", "b", None, None, "test"))
        .endpoint_url(&fake.endpoint)
        .timeout_config(timeouts);
    let sqs = Sqs::from_client(aws_sdk_sqs::Client::from_conf(config.build()));
    let error = refused(&sqs, "orders").await;
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Timeout, "orders"), "{error:?}");
}
