//! One record sent by hand, because no client in safe Rust lets a header name be anything but text, a codec be none, or a
//! time be 0.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// Some time in 2023, in milliseconds.
const TIME: i64 = 1_700_000_000_000;

/// Sends one record to partition 0 by Kafka's own protocol (Produce version 7, record batch version 2).
pub(crate) fn produce(server: &str, topic: &str, header_name: &[u8], payload: &[u8]) {
    produce_at(server, topic, header_name, payload, TIME);
}

/// The same with this time, in milliseconds since 1970.
pub(crate) fn produce_at(server: &str, topic: &str, header_name: &[u8], payload: &[u8], time: i64) {
    send(server, topic, batch(0, header_name, payload, time));
}

/// Sends a batch that says to be compressed with this codec, and is not.
pub(crate) fn produce_coded(server: &str, topic: &str, codec: i16) {
    send(server, topic, batch(codec, b"name", b"no reader knows this", TIME));
}

/// Sends a batch as another client made it.
pub(crate) fn produce_batch(server: &str, topic: &str, batch: &[u8]) {
    send(server, topic, batch.to_vec());
}

fn send(server: &str, topic: &str, batch: Vec<u8>) {
    let mut body = Vec::new();
    body.extend(0_i16.to_be_bytes()); // api key: Produce
    body.extend(7_i16.to_be_bytes()); // its version
    body.extend(1_i32.to_be_bytes()); // correlation
    string(&mut body, "raw"); // client id
    body.extend((-1_i16).to_be_bytes()); // no transaction
    body.extend((-1_i16).to_be_bytes()); // acks: all
    body.extend(10_000_i32.to_be_bytes()); // time-out in ms
    body.extend(1_i32.to_be_bytes()); // topics
    string(&mut body, topic);
    body.extend(1_i32.to_be_bytes()); // partitions
    body.extend(0_i32.to_be_bytes()); // the partition
    body.extend(i32::try_from(batch.len()).unwrap().to_be_bytes());
    body.extend(batch);
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(&i32::try_from(body.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    // correlation, topics, name, partitions, partition, then the error code
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "the broker refused the record");
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    to.extend(text.as_bytes());
}

fn batch(attributes: i16, header_name: &[u8], payload: &[u8], time: i64) -> Vec<u8> {
    let mut record = vec![0]; // attributes
    varint(&mut record, 0); // time delta
    varint(&mut record, 0); // offset delta
    varint(&mut record, -1); // no key
    varint(&mut record, i64::try_from(payload.len()).unwrap());
    record.extend(payload);
    varint(&mut record, 1); // headers
    varint(&mut record, i64::try_from(header_name.len()).unwrap());
    record.extend(header_name);
    varint(&mut record, 1);
    record.push(b'v');
    let mut after_crc = Vec::new();
    after_crc.extend(attributes.to_be_bytes());
    after_crc.extend(0_i32.to_be_bytes()); // last offset delta
    after_crc.extend(time.to_be_bytes()); // first time
    after_crc.extend(time.to_be_bytes()); // last time
    after_crc.extend((-1_i64).to_be_bytes()); // producer id
    after_crc.extend((-1_i16).to_be_bytes()); // its epoch
    after_crc.extend((-1_i32).to_be_bytes()); // sequence
    after_crc.extend(1_i32.to_be_bytes()); // records
    varint(&mut after_crc, i64::try_from(record.len()).unwrap());
    after_crc.extend(record);
    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes()); // base offset
    batch.extend(i32::try_from(4 + 1 + 4 + after_crc.len()).unwrap().to_be_bytes());
    batch.extend((-1_i32).to_be_bytes()); // leader epoch
    batch.push(2); // magic
    batch.extend(crc32c(&after_crc).to_be_bytes());
    batch.extend(after_crc);
    batch
}

fn varint(to: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}
