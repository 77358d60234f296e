//! The errors that Pub/Sub answers with.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PubsubMessage;
use prost::Message as _;
use std::collections::HashMap;
use tonic::{Code, Status};

/// Why each of these acknowledgements of an exactly-once subscription was not taken. Those that are not named were.
pub(super) fn of_acks(failures: HashMap<String, String>) -> Status {
    let info = ErrorInfo { reason: "ACKS_FAILED".to_owned(), domain: DOMAIN.to_owned(), metadata: failures };
    let detail = prost_types::Any {
        type_url: format!("type.googleapis.com/{ERROR_INFO}"),
        value: info.encode_to_vec(),
    };
    let message = "some acknowledgement ids in the request were invalid";
    let status = RpcStatus {
        code: Code::FailedPrecondition as i32,
        message: message.to_owned(),
        details: vec![detail],
    };
    Status::with_details(Code::FailedPrecondition, message, status.encode_to_vec().into())
}

/// The body as text, by which tests know a message.
pub(crate) fn text(message: &PubsubMessage) -> String {
    String::from_utf8_lossy(&message.data).into_owned()
}

const DOMAIN: &str = "pubsub.googleapis.com";
const ERROR_INFO: &str = "google.rpc.ErrorInfo";

/// `google.rpc.Status`, which gRPC carries in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}
