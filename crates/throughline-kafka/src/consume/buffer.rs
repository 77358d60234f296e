//! The bytes of one record: one allocation, of which key, body and headers are slices.

use bytes::{BufMut, Bytes};

/// `length` bytes as `fill` writes them.
pub(crate) fn shared(length: usize, fill: impl FnOnce(&mut dyn BufMut)) -> Bytes {
    match length {
        0 => Bytes::new(),
        1..=64 => Small::<64>::filled(length, fill),
        65..=128 => Small::<128>::filled(length, fill),
        129..=256 => Small::<256>::filled(length, fill),
        257..=512 => Small::<512>::filled(length, fill),
        _ => {
            let mut bytes = Vec::with_capacity(length);
            fill(&mut bytes);
            Bytes::from(bytes)
        }
    }
}

/// A small record beside the count of who holds it. For a `Vec` that is shared `Bytes` allocates the count apart, and
/// what one thread allocates and another frees is dear.
struct Small<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Small<ROOM> {
    fn filled(length: usize, fill: impl FnOnce(&mut dyn BufMut)) -> Bytes {
        let mut bytes = [0; ROOM];
        fill(&mut &mut bytes[..length]);
        Bytes::from_owner(Small { bytes, length })
    }
}

impl<const ROOM: usize> AsRef<[u8]> for Small<ROOM> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_holds_what_was_written() {
        for length in [0, 1, 63, 64, 65, 128, 129, 256, 257, 512, 513, 4096] {
            let text: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut bytes = shared(length, |to| text.chunks(7).for_each(|part| to.put_slice(part)));
            assert_eq!(bytes, text);
            let front = bytes.split_to(length / 2);
            assert_eq!([front, bytes].concat(), text);
        }
    }
}
