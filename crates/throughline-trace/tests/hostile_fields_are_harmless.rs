//! No set of fields can harm a message: extraction agrees with a naive model, and its cost is bounded.

#![allow(clippy::unwrap_used, reason = "a test")]

use opentelemetry::trace::SpanContext;
use proptest::prelude::*;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use throughline_core::{ByteString, Header, Headers};
use throughline_trace::codec;

const KIB: u64 = 1024;

fn header(name: &str, value: Option<Vec<u8>>) -> Header {
    Header { name: ByteString::from(name), value: value.map(Into::into) }
}

fn parent(n: u64) -> Vec<u8> {
    format!("00-{n:032x}-{n:016x}-01").into_bytes()
}

/// The rules again, a step at a time.
fn naive(headers: &[Header]) -> (Option<SpanContext>, bool) {
    let one = |name: &str, value: &[u8]| {
        let mut alone = Headers::new();
        alone.append(ByteString::from(name), Some(value.to_vec().into()));
        alone
    };
    let values = |keep: &dyn Fn(&str) -> bool| -> Vec<Vec<u8>> {
        let of = headers.iter().rev().filter(|header| keep(&header.name));
        of.filter_map(|header| header.value.as_ref().map(|value| value.to_vec())).collect()
    };
    // Whether one value alone is valid is the business of the codec's own model.
    let parse = |value: &Vec<u8>| codec::extract(&one("traceparent", value)).context;
    let parents = |keep: &dyn Fn(&str) -> bool| values(keep).iter().find_map(parse);
    let any_case = |name: &'static str| move |found: &str| found.eq_ignore_ascii_case(name);
    let own = parents(&|name| name == "traceparent").or_else(|| parents(&any_case("traceparent")));
    let (context, state) = match own {
        Some(context) => (Some(context), "tracestate"),
        None => (parents(&|name| name == "ce_traceparent"), "ce_tracestate"),
    };
    let seen = !values(&any_case("traceparent")).is_empty() || !values(&|n| n == "ce_traceparent").is_empty();
    let Some(context) = context else { return (None, seen) };
    let with_state = |value: &Vec<u8>| {
        let mut both = one("traceparent", &parent(1));
        both.append("tracestate", Some(value.clone().into()));
        let state = codec::extract(&both).context.unwrap().trace_state().clone();
        (!state.header().is_empty()).then_some(state)
    };
    let states = |keep: &dyn Fn(&str) -> bool| values(keep).iter().find_map(with_state);
    let exact = states(&|name| name == state);
    let found = if state == "tracestate" { exact.or_else(|| states(&any_case(state))) } else { exact };
    let with = SpanContext::new(
        context.trace_id(),
        context.span_id(),
        context.trace_flags(),
        true,
        found.unwrap_or_default(),
    );
    (Some(with), false)
}

fn fields() -> impl Strategy<Value = Vec<Header>> {
    let name = prop::sample::select(vec![
        "traceparent",
        "traceparent",
        "Traceparent",
        "TRACEPARENT",
        "tracestate",
        "TraceState",
        "ce_traceparent",
        "ce_tracestate",
        "baggage",
        "traceparents",
        "",
        "other",
    ]);
    let value = prop_oneof![
        Just(None),
        (0..4_u64).prop_map(|n| Some(parent(n))),
        prop::sample::select(vec!["a=1", "b=2,c=3", "a", "", " a=1 ", "A=1"]).prop_map(|v| Some(v.into())),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(Some),
    ];
    prop::collection::vec((name, value).prop_map(|(name, value)| header(name, value)), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_naive_reading(fields in fields()) {
        let headers: Headers = fields.iter().cloned().collect();
        let found = codec::extract(&headers);
        prop_assert_eq!((found.context, found.invalid), naive(&fields));
    }
}

/// A million cases, cheap enough to be made on the way: each takes a few well-formed fields and spoils them.
#[test]
fn a_million_spoilt_fields() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut valid = 0;
    for case in 0..1_000_000_u64 {
        let mut value = parent(case + 1);
        for _ in 0..random(3) {
            let at = random(value.len());
            value[at] = random(256) as u8;
        }
        value.truncate(55 - random(8) / 7);
        let mut headers = Headers::new();
        headers.append("traceparent", Some(value.into()));
        let mut state = b"k=v,l=w".to_vec();
        let at = random(state.len());
        state[at] = random(256) as u8;
        headers.append("tracestate", Some(state.into()));
        let mut baggage = b"k=v;p,l=%41".to_vec();
        let at = random(baggage.len());
        baggage[at] = random(256) as u8;
        headers.append("baggage", Some(baggage.into()));
        let found = codec::extract(&headers);
        assert_eq!(found.invalid, found.context.is_none());
        valid += u32::from(found.context.is_some_and(|context| context.is_valid() && context.is_remote()));
    }
    assert!((200_000..900_000).contains(&valid), "{valid} valid: the cases do not spoil as they should");
}

fn state(length: usize) -> Vec<u8> {
    let mut text = b"k=v,".repeat(length / 4);
    text.pop();
    text
}

/// The worst that can be thought of, with what is still found in it.
fn hostile() -> Vec<(&'static str, Vec<Header>)> {
    let many = |n: usize, name: &str, value: &[u8]| -> Vec<Header> {
        (0..n).map(|_| header(name, Some(value.to_vec()))).collect()
    };
    let with_parent = |mut all: Vec<Header>| {
        all.insert(0, header("traceparent", Some(parent(7))));
        all
    };
    let long_member = [b"k=".to_vec(), vec![b'v'; 1 << 20]].concat();
    let broken_late = [state(8000), b",\xff".to_vec()].concat();
    let members = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",").into_bytes();
    vec![
        ("10,000 others", with_parent(many(10_000, "traceparenx", b"x"))),
        ("10,000 nulls", with_parent((0..10_000).map(|_| header("tracestate", None)).collect())),
        ("1,000 valid duplicates", with_parent(many(1_000, "traceparent", &parent(9)))),
        ("10,000 invalid duplicates", with_parent(many(10_000, "traceparent", &[b'z'; 55]))),
        ("1 MiB tracestate", with_parent(many(1, "tracestate", &state(1 << 20)))),
        ("1 MiB tracestate of one member", with_parent(many(1, "tracestate", &long_member))),
        ("1,000 tracestates broken at their end", with_parent(many(1_000, "tracestate", &broken_late))),
        ("1 MiB baggage", with_parent(many(1, "baggage", &members(100_000)))),
        ("1 MiB baggage of one member", with_parent(many(1, "baggage", &long_member))),
        ("1,000 baggages", with_parent(many(1_000, "Baggage", &[b'\\'; 8000]))),
        ("not UTF-8", with_parent(many(1_000, "traceparent", &[0xff; 55]))),
    ]
}

#[test]
fn the_worst_costs_little_time_and_memory() {
    for (what, fields) in hostile() {
        let count = fields.len() as u32;
        let headers: Headers = fields.into_iter().collect();
        let found = codec::extract(&headers);
        assert!(found.context.is_some_and(|context| context.is_valid()), "{what}: the valid one is found");
        let memory = allocation_counter::measure(|| drop(black_box(codec::extract(black_box(&headers)))));
        assert!(memory.bytes_max <= 16 * KIB, "{what}: {} bytes", memory.bytes_max);
        let quickest = (0..20).map(|_| {
            let start = Instant::now();
            drop(black_box(codec::extract(black_box(&headers))));
            start.elapsed()
        });
        let quickest = quickest.min().unwrap();
        // The bound is meant for optimised code; without, it only catches what grows out of hand.
        let slack = if cfg!(debug_assertions) { 30 } else { 1 };
        let bound = (Duration::from_micros(20) + Duration::from_nanos(10) * count) * slack;
        assert!(quickest <= bound, "{what}: {quickest:?}, bound {bound:?}");
    }
}
