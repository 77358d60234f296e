//! Which spans died with their process.

use super::{SpanRef, read_spans};
use crate::lines::{self, Lines};
use opentelemetry::{Context, trace::Span as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use std::{collections::HashSet, io, path::Path, time::Duration};

/// How the files of [`StartedSpans`] end.
const ENDING: &str = "started";

/// Appends the identity of every span to a file as it starts. With a [`FileExporter`](super::FileExporter) beside it,
/// the two files of a killed process say which spans died with it: see [`unfinished_spans`].
///
/// Each is one `write(2)`, as there.
#[derive(Debug)]
pub struct StartedSpans(Lines);

impl StartedSpans {
    /// Opens the file to append to, or makes it, with its folder. Its name has to end in `.started`.
    ///
    /// # Errors
    /// Another ending, and what the operating system says.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            let error = format!("{}: its name has to end in .{ENDING}", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        Ok(StartedSpans(Lines::append(path)?))
    }
}

impl SpanProcessor for StartedSpans {
    fn on_start(&self, span: &mut Span, _: &Context) {
        let mut line = serde_json::to_vec(&SpanRef::from(span.span_context())).unwrap_or_default();
        line.push(b'\n');
        // What could not be noted is missing among those that died, and its edges are then seen as broken.
        let _ = self.0.write(&line);
    }

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The spans that were started and never exported, of all files right in a folder: those that died with their process.
/// Give them to [`Graph::external`](super::Graph::external), so that what points at them is explained.
///
/// # Errors
/// As [`read_spans`].
pub fn unfinished_spans(folder: impl AsRef<Path>) -> io::Result<Vec<SpanRef>> {
    let mut started = Vec::new();
    for file in lines::files_ending(folder.as_ref(), ENDING)? {
        lines::read(&file, |line| {
            started.push(serde_json::from_slice(line)?);
            Ok(())
        })?;
    }
    let ended: HashSet<SpanRef> = read_spans(folder)?.iter().map(|span| span.id).collect();
    started.retain(|span| !ended.contains(span));
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileExporter, lines::scratch::Scratch};
    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::trace::{SdkTracerProvider, SimpleSpanProcessor};

    #[test]
    fn what_never_ended_is_known_by_its_identity() {
        let folder = Scratch::new("started");
        let provider = SdkTracerProvider::builder()
            .with_span_processor(StartedSpans::append(folder.path().join("a.started")).unwrap())
            .with_span_processor(SimpleSpanProcessor::new(
                FileExporter::append(folder.path().join("a.jsonl")).unwrap(),
            ))
            .build();
        let tracer = provider.tracer("test");
        tracer.start("ended").end();
        let open = tracer.start("killed");
        let id = SpanRef::from(open.span_context());
        assert_eq!(unfinished_spans(folder.path()).unwrap(), [id]);
        drop(open);
        assert_eq!(unfinished_spans(folder.path()).unwrap(), []);
    }

    #[test]
    fn another_ending_is_refused() {
        let error = StartedSpans::append("/tmp/spans.jsonl").unwrap_err();
        assert!(error.to_string().contains(".started"), "{error}");
    }
}
