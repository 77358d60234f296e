//! Any list of fields: extraction does not panic, what it accepts is valid, and what is written is read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline_core::{ByteString, Headers};
use throughline_trace::codec;

const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "baggage",
    "Traceparent",
    "TRACESTATE",
    "ce_traceparent",
    "ce_tracestate",
    "other",
];

fuzz_target!(|data: &[u8]| {
    let mut headers = Headers::new();
    // Each field: one byte for the name, and the value up to a newline.
    for field in data.split(|&b| b == b'\n') {
        let Some((name, value)) = field.split_first() else { continue };
        let name = NAMES[usize::from(*name) % NAMES.len()];
        headers.append(ByteString::from_static(name), Some(value.to_vec().into()));
    }
    let found = codec::extract(&headers);
    let Some(context) = found.context else { return };
    assert!(context.is_valid() && context.is_remote() && !found.invalid);
    let mut written = Headers::new();
    codec::inject(&context, &mut written);
    assert_eq!(codec::extract(&written).context, Some(context));
    if let Some(baggage) = found.baggage {
        codec::inject_baggage(&baggage, &mut written);
        assert!(written.get("baggage").is_none_or(|value| value.len() <= 8192));
    }
});
