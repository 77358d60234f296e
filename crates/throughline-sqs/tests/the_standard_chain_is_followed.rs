//! Who we are and where SQS is, by AWS's standard chain. Each case is a process of its own: a process cannot change its
//! environment soundly.

#![allow(clippy::unwrap_used, reason = "a test says that it failed by a panic")]

mod common;

use common::{Call, Fake, Say};
use serde_json::json;
use std::{future::poll_fn, path::Path, process::Command};
use throughline_core::Message;
use throughline_sqs::Sqs;
use tokio::task::spawn_blocking;
use tower_service::Service;

/// In the child: sends one message to a queue that it knows by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_environment_of_a_case() {
    if std::env::var_os("THROUGHLINE_CASE").is_some() {
        let mut sink = Sqs::from_env().queue("orders");
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        sink.call(Message::new("x")).await.unwrap();
    }
}

/// What the child said, if it failed.
async fn sent_in(variables: Vec<(&'static str, String)>) {
    let ended = spawn_blocking(move || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "in_the_environment_of_a_case", "--nocapture"]);
        child.env_clear().env("THROUGHLINE_CASE", "1").env("AWS_EC2_METADATA_DISABLED", "true");
        // The path is for `credential_process`, which is run by a shell.
        child.env("PATH", std::env::var_os("PATH").unwrap()).envs(variables).output().unwrap()
    });
    let ended = ended.await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}

async fn queue() -> Fake {
    Fake::start(|call: &Call| {
        (call.action == "GetQueueUrl").then(|| Say::Ok(json!({"QueueUrl": "http://127.0.0.1/1/orders"})))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_is_obeyed() {
    let fake = queue().await;
    sent_in(vec![
        ("AWS_ENDPOINT_URL", fake.endpoint.clone()),
        ("AWS_REGION", "eu-west-1".into()),
        ("AWS_ACCESS_KEY_ID", "a".into()),
        ("AWS_SECRET_ACCESS_KEY", "b".into()),
    ])
    .await;
    assert_eq!(fake.calls("SendMessageBatch").len(), 1);
}

/// A profile whose credentials another program gives, and whose endpoint is for SQS alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_with_a_program_for_its_credentials_is_obeyed() {
    let fake = queue().await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("aws-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = folder.join("config");
    let credentials = r#"{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b"}"#;
    let profile = format!("[profile jobs]\nregion = eu-west-1\ncredential_process = echo '{credentials}'\n");
    std::fs::write(&config, profile).unwrap();
    sent_in(vec![
        ("AWS_PROFILE", "jobs".into()),
        ("AWS_CONFIG_FILE", config.display().to_string()),
        ("AWS_SHARED_CREDENTIALS_FILE", folder.join("none").display().to_string()),
        ("AWS_ENDPOINT_URL_SQS", fake.endpoint.clone()),
    ])
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(fake.calls("SendMessageBatch").len(), 1);
}
