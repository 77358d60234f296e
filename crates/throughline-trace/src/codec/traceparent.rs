//! `traceparent`: W3C Trace Context Level 2, section 3.2.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId};

/// The length of a version 00 value; later versions may append fields.
pub(crate) const LENGTH: usize = 55;

const ONES: u64 = 0x0101_0101_0101_0101;

/// The two flags that we know: `sampled` and `random-trace-id`.
const KNOWN_FLAGS: u8 = 0x03;

/// What one value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) flags: TraceFlags,
}

/// Strict: lowercase hex, no all-zero id, version `ff` refused, version 00 exactly 55 characters, of later versions
/// the first four fields. Surrounding white space is accepted, unknown flags are dropped.
#[inline(always)]
pub(crate) fn parse(raw: &[u8]) -> Option<TraceParent> {
    let whole = if raw.len() == LENGTH { raw } else { raw.trim_ascii() };
    let (head, rest) = whole.split_first_chunk::<LENGTH>()?;
    if head[2] != b'-' || head[35] != b'-' || head[52] != b'-' {
        return None;
    }
    let [v1, v2, .., f1, f2] = *head;
    let mut digits = Digits::NONE;
    // The two short fields in one word, beside digits that are right.
    let short = digits.read(u64::from_be_bytes([v1, v2, f1, f2, b'0', b'0', b'0', b'0'])).to_be_bytes();
    let (version, flags) = (short[0], short[1]);
    if version == 0xff || (version == 0 && !rest.is_empty()) || rest.first().is_some_and(|&b| b != b'-') {
        return None;
    }
    let mut half = |at: usize| (digits.read_at(head, at) << 32) | digits.read_at(head, at + 8);
    let trace = (u128::from(half(3)) << 64) | u128::from(half(19));
    let span = half(36);
    // Not `&&`: the compiler would set the digits aside, to put them together behind the first branch.
    if !(digits.are_right() & (trace != 0) & (span != 0)) {
        return None;
    }
    Some(TraceParent {
        trace: TraceId::from(trace),
        span: SpanId::from(span),
        flags: TraceFlags::new(flags & KNOWN_FLAGS),
    })
}

/// Always version 00.
pub(crate) fn format(context: &SpanContext) -> [u8; LENGTH] {
    let mut out = [b'-'; LENGTH];
    write_hex(&mut out, 0, &[0]);
    write_hex(&mut out, 3, &context.trace_id().to_bytes());
    write_hex(&mut out, 36, &context.span_id().to_bytes());
    write_hex(&mut out, 53, &[context.trace_flags().to_u8() & KNOWN_FLAGS]);
    out
}

fn write_hex(out: &mut [u8; LENGTH], at: usize, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out[at..].chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// What the digits seen so far have in common, so that there is one branch at the end of the whole value.
struct Digits {
    /// In each byte the bits 4 and 5 are set unless a digit was wrong: it is below `@` or from there on, and its value
    /// is one of the ten or of the six.
    kinds: u64,
    /// The same of the bits 6 and 7: the upper half of the character.
    halves: u64,
    /// Bit 4 of a byte is clear unless a letter was behind `f`.
    values: u64,
}

impl Digits {
    const NONE: Self = Digits { kinds: u64::MAX, halves: u64::MAX, values: 0 };

    #[inline]
    fn are_right(&self) -> bool {
        let wrong =
            (!self.kinds & (ONES * 0x30)) | (!self.halves & (ONES * 0xc0)) | (self.values & (ONES * 0x10));
        wrong == 0
    }

    /// Reads eight at once. A loop of 16 bytes that the compiler turns into vector instructions is a third of the
    /// instructions and was measured to take three times as long.
    #[inline]
    fn read(&mut self, digits: u64) -> u32 {
        let letter = (digits >> 6) & ONES;
        let value = (digits & (ONES * 0x0f)) + letter * 9;
        // A digit is 0011.... and a letter 0110....: bit 5 is set, one of the bits 4 and 6 is, and bit 7 is not. Ten or
        // more and six carry into bit 4, which has to be so where the character has none there.
        self.kinds &= (value + ONES * 6) ^ digits;
        self.halves &= digits ^ (digits << 2);
        self.values |= value;
        let pairs = (value | (value >> 4)) & 0x00ff_00ff_00ff_00ff;
        let quads = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
        ((quads >> 16) | quads) as u32
    }

    #[inline]
    fn read_at(&mut self, text: &[u8; LENGTH], at: usize) -> u64 {
        match text[at..].first_chunk::<8>() {
            Some(digits) => self.read(u64::from_be_bytes(*digits)).into(),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &[u8; LENGTH] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// The rules once more, a character at a time.
    fn naive(raw: &[u8]) -> Option<(u128, u64, u8)> {
        let text = std::str::from_utf8(raw).ok()?.trim_matches([' ', '\t', '\r', '\n', '\x0c']);
        let fields: Vec<&str> = text.split('-').collect();
        let [version, trace, span, flags, more @ ..] = &fields[..] else { return None };
        let hex = |field: &str, length: usize| {
            let digits = field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            (field.len() == length && digits).then(|| u128::from_str_radix(field, 16).unwrap())
        };
        let (version, trace) = (hex(version, 2)?, hex(trace, 32)?);
        let (span, flags) = (hex(span, 16)?, hex(flags, 2)?);
        let refused = version == 0xff || trace == 0 || span == 0 || (version == 0 && !more.is_empty());
        (!refused).then_some((trace, span as u64, flags as u8 & 3))
    }

    fn ours(raw: &[u8]) -> Option<(u128, u64, u8)> {
        let found = parse(raw)?;
        Some((
            u128::from_be_bytes(found.trace.to_bytes()),
            u64::from_be_bytes(found.span.to_bytes()),
            found.flags.to_u8(),
        ))
    }

    #[test]
    fn every_byte_in_every_place() {
        assert!(parse(GOOD).is_some());
        for at in 0..LENGTH {
            for byte in 0..=255u8 {
                let mut text = *GOOD;
                text[at] = byte;
                // A byte that is not UTF-8, or white space at an end, is what the model sees as such.
                assert_eq!(ours(&text), naive(&text), "byte {byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn the_vectors_of_the_specification() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        let cases: &[(String, Option<u8>)] = &[
            (format!("00-{trace}-{span}-00"), Some(0)),
            (format!("00-{trace}-{span}-01"), Some(1)),
            (format!("00-{trace}-{span}-03"), Some(3)),
            (format!("00-{trace}-{span}-ff"), Some(3)),
            (format!("cc-{trace}-{span}-01"), Some(1)),
            (format!("cc-{trace}-{span}-01-what-the-future-will-be-like"), Some(1)),
            (format!("cc-{trace}-{span}-01."), None),
            (format!("00-{trace}-{span}-01-"), None),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("0-{trace}-{span}-01"), None),
            (format!("00-{trace}-{span}-1"), None),
            (format!("00-{trace}-{span}"), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{trace}-{}-01", span.to_uppercase()), None),
            (format!("00-{}-{span}-01", &trace[1..]), None),
            (format!(" \t00-{trace}-{span}-01 "), Some(1)),
            (format!("00_{trace}_{span}_01"), None),
            (String::new(), None),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text.as_bytes()).map(|p| p.flags.to_u8()), *want, "{text}");
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let read = parse(GOOD).unwrap();
        let context =
            SpanContext::new(read.trace, read.span, TraceFlags::new(0xff), true, Default::default());
        assert_eq!(&format(&context)[..53], &GOOD[..53]);
        assert_eq!(&format(&context)[53..], b"03");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn agrees_with_the_naive_reading(
            text in "(0[01]|cc|ff|[0-9a-g]{1,2})-([0-9a-f]{32}|0{32}|[0-9a-fA-F]{31,33})-([0-9a-f]{16}|0{16})-[0-9a-fA-F]{1,2}(-[a-z-]{0,4})?"
        ) {
            prop_assert_eq!(ours(text.as_bytes()), naive(text.as_bytes()));
        }

        #[test]
        fn agrees_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(ours(&bytes), naive(&bytes));
        }
    }
}
