//! Batches of records that this build cannot take apart.

use rdkafka::types::RDKafkaErrorCode as Code;
use throughline_core::{Error, ErrorKind};

/// What the client said of such a batch. It reads no further in that partition, and tries again twice a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    codec: u32,
    /// Where the batch begins.
    pub(crate) offset: i64,
}

impl Unreadable {
    /// Reads the client's words, since its error has neither codec nor place.
    pub(crate) fn parse(code: Code, reason: &str) -> Option<Self> {
        if !matches!(code, Code::NotImplemented | Code::BadCompression) {
            return None;
        }
        let (_, codec) = reason.split_once("codec 0x")?;
        let (codec, rest) = codec.split_once(')')?;
        let (_, offset) = rest.split_once(" at ")?;
        let offset = offset.split_once(' ').map_or(offset, |(offset, _)| offset);
        Some(Unreadable { codec: u32::from_str_radix(codec, 16).ok()?, offset: offset.parse().ok()? })
    }

    /// Says what to do. `place` is the partition, or who reads it where that is not known.
    pub(crate) fn error(self, code: Code, place: &str) -> Error {
        let Unreadable { codec, offset } = self;
        let name = match codec {
            1 => "gzip",
            2 => "snappy",
            3 => "lz4",
            4 => "zstd",
            _ => "unknown",
        };
        let waits = "its partition waits before it, and the others go on";
        if code == Code::BadCompression {
            let remedy = format!(
                "the {name} batch at offset {offset} is damaged: {waits}; to pass it, commit an offset behind it"
            );
            return Error::new(ErrorKind::Broker, place, remedy);
        }
        let remedy = match name {
            "gzip" | "zstd" => format!("build with the cargo feature `{name}` of throughline-kafka"),
            _ => "use a client that knows it".to_owned(),
        };
        let what = format!("the batch at offset {offset} has codec {name} ({codec}), which this build lacks");
        Error::new(ErrorKind::Unsupported, place, format!("{what}: {waits}; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(codec: &str) -> String {
        format!("Decompression (codec {codec}) of message at 1234 of 99 bytes failed: Local: Not implemented")
    }

    #[test]
    fn a_codec_that_was_not_built_in_is_named_with_its_cargo_feature() {
        for (codec, name) in [("0x1", "gzip"), ("0x4", "zstd")] {
            let found = Unreadable::parse(Code::NotImplemented, &said(codec)).unwrap();
            assert_eq!(found.offset, 1234);
            let error = found.error(Code::NotImplemented, "orders/3");
            assert_eq!((error.kind(), error.resource()), (ErrorKind::Unsupported, "orders/3"));
            assert!(error.remedy().contains(&format!("cargo feature `{name}`")), "{error}");
        }
        let unknown = Unreadable::parse(Code::NotImplemented, &said("0x7")).unwrap();
        assert!(unknown.error(Code::NotImplemented, "g").remedy().contains("(7)"));
        let damaged = Unreadable::parse(Code::BadCompression, &said("0x2")).unwrap();
        assert!(damaged.error(Code::BadCompression, "g").remedy().contains("damaged"));
    }

    #[test]
    fn other_words_say_nothing_of_a_codec() {
        for (code, reason) in [
            (Code::NotImplemented, "Unsupported Message(Set) MagicByte 7 at offset 3"),
            (Code::BadMessage, "Decompression (codec 0x1) of message at 5 of 9 bytes failed"),
            (Code::BadCompression, "codec 0x"),
        ] {
            assert_eq!(Unreadable::parse(code, reason), None, "{reason}");
        }
    }
}
