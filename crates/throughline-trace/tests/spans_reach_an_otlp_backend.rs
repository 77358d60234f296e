//! Spans and metrics go out over OTLP/HTTP, from within a runtime too, and a backend that is away is a counted loss.

#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{message, run};
use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};
use throughline_core::{ErrorKind, Message};
use throughline_trace::Telemetry;
use tower::{ServiceBuilder, ServiceExt};

async fn process_one(telemetry: &Telemetry) {
    let service = ServiceBuilder::new()
        .layer(telemetry.tracing_layer())
        .service_fn(|_: Message| async { Ok::<_, Infallible>(()) });
    service.oneshot(message(1)).await.unwrap();
}

/// Answers one request; its first line and its body.
fn one_request(listener: &TcpListener) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    (first, body)
}

#[test]
fn to_the_url_that_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let backend = thread::spawn(move || [one_request(&listener), one_request(&listener)]);
    run(async {
        let builder = Telemetry::builder("mine").otlp(&url).unwrap();
        let telemetry = builder.global(false).build().unwrap();
        process_one(&telemetry).await;
        telemetry.finished(Duration::from_secs(20)).await.unwrap();
        assert_eq!((telemetry.exported(), telemetry.dropped()), (1, 0));
    });
    let requests = backend.join().unwrap();
    for ((request, body), (path, name)) in
        requests.iter().zip([("traces", "process"), ("metrics", "messaging.process.duration")])
    {
        assert!(request.starts_with(&format!("POST /v1/{path} ")), "{request}");
        let has = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has(name) && has("mine") && has("https://opentelemetry.io/schemas/1.44.0"), "{path}");
    }
}

#[test]
fn a_bad_url_is_an_error_and_an_absent_backend_a_counted_loss() {
    run(async {
        let error = Telemetry::builder("mine").otlp("localhost:4318").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let bad = Telemetry::builder("mine").otlp("http://no host/").unwrap().global(false).build();
        assert_eq!(bad.unwrap_err().kind(), ErrorKind::Config);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let builder = Telemetry::builder("mine").otlp(&format!("http://{free}")).unwrap();
        let telemetry = builder.global(false).build().unwrap();
        process_one(&telemetry).await;
        let _ = telemetry.flushed(Duration::from_secs(20)).await.unwrap_err();
        assert_eq!((telemetry.exported(), telemetry.dropped()), (0, 1));
    });
}
