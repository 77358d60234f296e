//! A record is copied once, into one buffer of its size: bytes are counted over the whole process, so that nothing else
//! may run beside it. librdkafka's own memory is C's and does not count here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

mod common;

use common::{Member, kafka, send, topic};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use throughline_core::Message;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECORD: usize = 1024 * 1024;
const RECORDS: usize = 16;

#[tokio::test]
async fn of_a_mebibyte_each() {
    let kafka = kafka().set("message.max.bytes", "4194304");
    let name = topic(&kafka, "copies", 1).await;
    let mut sink = kafka.topic(&name);
    for _ in 0..RECORDS {
        // A little less: the topic's limit counts the record around it.
        let mut message = Message::new(vec![7; RECORD - 4096]).with_key(vec![1; 512]);
        message.headers_mut().append("h", Some(vec![2; 512].into()));
        send(&mut sink, message).await.unwrap();
    }
    drop(sink);
    let mut member = Member::join(&kafka.group(&name).topic(&name), 100).await;
    let region = Region::new(COUNTED);
    let deliveries = member.take(RECORDS).await;
    let counted = region.change();
    assert_eq!(deliveries.len(), RECORDS);
    // Not twice, and not much beside.
    let (all, one) = (counted.bytes_allocated, RECORDS * RECORD);
    assert!(all < one + one / 8, "{all} bytes were allocated for {one}");
    drop(deliveries);
    member.close().await.unwrap();
}
