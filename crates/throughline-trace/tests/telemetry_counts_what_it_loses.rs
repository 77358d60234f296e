//! No span is lost without being counted, and telemetry never stops the work for good.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{message, run};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use std::{
    convert::Infallible,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};
use throughline_core::{ErrorKind, Message};
use throughline_trace::Telemetry;
use tower::{Service, ServiceBuilder, ServiceExt};

/// An exporter that stands still until it is opened.
#[derive(Clone, Debug, Default)]
struct Gate {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    broken: bool,
    exported: u64,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
    }

    fn exported(&self) -> u64 {
        self.state.0.lock().unwrap().exported
    }
}

impl SpanExporter for Gate {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (state, changed) = &*self.state;
        let mut state = changed.wait_while(state.lock().unwrap(), |state| !state.open).unwrap();
        if state.broken {
            return Err(OTelSdkError::InternalFailure("broken".into()));
        }
        state.exported += batch.len() as u64;
        Ok(())
    }
}

fn process(telemetry: &Telemetry, count: usize) {
    let mut service = ServiceBuilder::new()
        .layer(telemetry.tracing_layer())
        .service_fn(|_: Message| async { Ok::<_, Infallible>(()) });
    run(async {
        for _ in 0..count {
            service.ready().await.unwrap().call(message(1)).await.unwrap();
        }
    });
}

#[test]
fn exported_and_dropped_are_what_was_created() {
    let gate = Gate::default();
    let telemetry =
        Telemetry::builder("test").exporter(gate.clone()).queue(1_000).global(false).build().unwrap();
    process(&telemetry, 5_000);
    assert_eq!(telemetry.dropped(), 4_000, "exactly what the queue could not hold");
    assert!(telemetry.intake_open(), "not lossless: drops are counted, the work goes on");
    gate.set(|state| state.open = true);
    telemetry.flush(Duration::from_secs(10)).unwrap();
    process(&telemetry, 500);
    telemetry.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!((gate.exported(), telemetry.exported()), (1_500, 1_500));
    assert_eq!(gate.exported() + telemetry.dropped(), 5_500);
}

#[test]
fn a_failed_export_is_a_loss() {
    let gate = Gate::default();
    gate.set(|state| (state.open, state.broken) = (true, true));
    let telemetry = Telemetry::builder("test").exporter(gate.clone()).global(false).build().unwrap();
    // Less than a batch, so that it is the flush which exports them.
    process(&telemetry, 100);
    let error = telemetry.flush(Duration::from_secs(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert_eq!((telemetry.exported(), telemetry.dropped()), (0, 100));
}

#[test]
fn the_lossless_setting_holds_the_intake_and_loses_nothing() {
    let gate = Gate::default();
    let telemetry = Telemetry::builder("test")
        .exporter(gate.clone())
        .queue(100)
        .lossless(true)
        .global(false)
        .build()
        .unwrap();
    while telemetry.intake_open() {
        process(&telemetry, 1);
    }
    assert_eq!(telemetry.queued(), 76, "above three quarters");
    gate.set(|state| state.open = true);
    telemetry.flush(Duration::from_secs(10)).unwrap();
    assert!(telemetry.intake_open());
    assert_eq!((telemetry.exported(), telemetry.dropped()), (76, 0));
}

#[test]
fn a_stalled_exporter_ends_a_flush_in_time() {
    let gate = Gate::default();
    let telemetry = Telemetry::builder("test").exporter(gate.clone()).global(false).build().unwrap();
    process(&telemetry, 1);
    let start = Instant::now();
    let error = telemetry.flush(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(4));
    gate.set(|state| state.open = true);
}

/// An exporter that needs the runtime it was made on.
#[derive(Debug)]
struct OnRuntime(tokio::runtime::Handle, Gate);

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let task = self.0.spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
        task.await.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))?;
        self.1.export(batch).await
    }
}

#[test]
fn a_flush_does_not_deadlock_a_current_thread_runtime() {
    let gate = Gate::default();
    gate.set(|state| state.open = true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let exporter = OnRuntime(runtime.handle().clone(), gate.clone());
    let telemetry = Telemetry::builder("test").exporter(exporter).global(false).build().unwrap();
    process(&telemetry, 10);
    runtime.block_on(async {
        telemetry.flushed(Duration::from_secs(10)).await.unwrap();
        assert_eq!(gate.exported(), 10);
        telemetry.finished(Duration::from_secs(10)).await.unwrap();
        telemetry.finished(Duration::from_secs(10)).await.unwrap();
    });
}

#[test]
fn off_is_harmless() {
    let telemetry = Telemetry::off();
    process(&telemetry, 1);
    assert!(telemetry.spans().is_none() && telemetry.intake_open());
    telemetry.flush(Duration::ZERO).unwrap();
    telemetry.shutdown(Duration::ZERO).unwrap();
    assert_eq!(telemetry.dropped(), 0);
}
