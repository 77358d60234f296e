//! Spans in a file, so that one checker can read those of several processes, killed ones included.

use super::SpanRecord;
use crate::lines::{self, Lines};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Appends every exported span to a file, as one JSON line each.
///
/// Each export is one `write(2)`: what was exported survives the death of the process. With a simple span processor a
/// killed process leaves every span that had ended. Give each process a file of its own.
#[derive(Clone, Debug)]
pub struct FileExporter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: Lines,
    shut_down: AtomicBool,
}

impl FileExporter {
    /// Opens the file to append to, or makes it, with its folder.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        let lines = Lines::append(path.as_ref())?;
        Ok(FileExporter(Arc::new(Inner { lines, shut_down: AtomicBool::new(false) })))
    }
}

impl SpanExporter for FileExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.0.shut_down.load(Ordering::Acquire) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let failed = |error: io::Error| OTelSdkError::InternalFailure(error.to_string());
        let mut lines = Vec::with_capacity(batch.len() * 512);
        for span in batch {
            serde_json::to_writer(&mut lines, &SpanRecord::from(span)).map_err(|e| failed(e.into()))?;
            lines.push(b'\n');
        }
        self.0.lines.write(&lines).map_err(failed)
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.0.shut_down.store(true, Ordering::Release);
        Ok(())
    }
}

/// Reads what [`FileExporter`] wrote: one file, or every `.jsonl` file right in a folder.
///
/// A last line that a killed process left unfinished is passed over; its span is then missing from the graph.
///
/// # Errors
/// What the operating system says, and any other line that is no span.
pub fn read_spans(path: impl AsRef<Path>) -> io::Result<Vec<SpanRecord>> {
    let mut spans = Vec::new();
    for file in lines::files(path.as_ref())? {
        lines::read(&file, |line| {
            spans.push(serde_json::from_slice(line)?);
            Ok(())
        })?;
    }
    Ok(spans)
}
