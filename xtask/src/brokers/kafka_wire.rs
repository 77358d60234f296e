//! Four small requests in Kafka's own protocol. They make the broker create its two internal topics and hand out a
//! first producer id, which otherwise costs the first group up to 3 s and the first idempotent producer 1 s; a test
//! with a time bound should not pay that. And a right answer proves that a Kafka is behind the port.
//!
//! Layouts: <https://kafka.apache.org/protocol>, `FindCoordinator` version 1 and `InitProducerId` version 0. In both
//! answers four bytes of correlation id and four of throttle time come before the error code.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use crate::{
    failure::{Failure, Outcome, While},
    process,
};

const FIND_COORDINATOR: (i16, i16) = (10, 1);
const INIT_PRODUCER_ID: (i16, i16) = (22, 0);
/// How long all of it may take: the broker first elects a leader for each internal topic.
const BOUND: Duration = Duration::from_secs(60);

/// Sends each request until the broker answers it without an error.
pub(super) fn warm_up(port: u16) -> Outcome<()> {
    let group = [string("warm-up"), vec![0]].concat();
    let transaction = [string("warm-up"), vec![1]].concat();
    // A null transactional id, and a transaction timeout that does not matter then.
    let producer = [(-1_i16).to_be_bytes().to_vec(), 60_000_i32.to_be_bytes().to_vec()].concat();
    for (what, api, body) in [
        ("the coordinator of groups", FIND_COORDINATOR, group),
        ("the coordinator of transactions", FIND_COORDINATOR, transaction),
        ("a producer id", INIT_PRODUCER_ID, producer),
    ] {
        let request = frame(api, &body);
        let mut last = None;
        let done = process::wait_until(BOUND, || {
            let answer = ask(port, &request);
            let done = answer.as_ref().is_ok_and(|code| *code == 0);
            last = Some(answer);
            Ok(done)
        })?;
        if !done {
            let why = match last {
                Some(Ok(code)) => format!("error code {code}"),
                Some(Err(failure)) => failure.to_string(),
                None => "no answer".to_owned(),
            };
            return Err(Failure::said(format!("did not give {what} within {} s ({why})", BOUND.as_secs())));
        }
    }
    Ok(())
}

/// Asks on a connection of its own and gives the error code of the answer.
fn ask(port: u16, request: &[u8]) -> Outcome<i16> {
    let doing = || format!("speak to Kafka on port {port}");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).while_doing(doing())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).while_doing(doing())?;
    stream.write_all(request).while_doing(doing())?;
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).while_doing(doing())?;
    let [_, _, _, _, c0, c1, c2, c3, _, _, _, _, e0, e1] = answer;
    if i32::from_be_bytes([c0, c1, c2, c3]) != CORRELATION {
        return Err(Failure::said(format!("what serves port {port} is no Kafka")));
    }
    Ok(i16::from_be_bytes([e0, e1]))
}

/// Any number; the answer repeats it.
const CORRELATION: i32 = 0x7472_6163;

/// Length, header version 1, body.
fn frame((key, version): (i16, i16), body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    request.extend(string("xtask"));
    request.extend(body);
    let length = i32::try_from(request.len()).unwrap_or(i32::MAX);
    [length.to_be_bytes().to_vec(), request].concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    [length.to_be_bytes().as_slice(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_laid_out_as_the_protocol_says() {
        let frame = frame(FIND_COORDINATOR, &[string("g"), vec![0]].concat());
        let expected =
            [&[0, 0, 0, 19][..], &[0, 10, 0, 1, 0x74, 0x72, 0x61, 0x63, 0, 5], b"xtask", &[0, 1, b'g', 0]];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn a_stranger_behind_the_port_is_told_apart() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stranger = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 15]).unwrap();
        });
        let failure = ask(port, &frame(INIT_PRODUCER_ID, &[])).unwrap_err();
        assert!(failure.to_string().contains("is no Kafka"), "{failure}");
        stranger.join().unwrap();
    }
}
