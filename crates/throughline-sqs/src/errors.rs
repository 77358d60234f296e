//! What the SDK reports, as errors that say what to do.

use aws_sdk_sqs::{
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    types::BatchResultErrorEntry,
};
use std::error::Error as StdError;
use throughline_core::{Error, ErrorKind};

/// An error of the SDK for this action (`ReceiveMessage`) on this queue.
pub(crate) fn from_sdk<E>(error: SdkError<E>, action: &str, queue: &str) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let (kind, remedy) = match &error {
        SdkError::TimeoutError(_) => (ErrorKind::Timeout, format!("`{action}` got no answer in time")),
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or_default();
            let unknown = code.is_empty().then(|| service.raw().status().as_u16());
            match unknown {
                Some(403) => meaning("AccessDenied", action),
                Some(status) => (ErrorKind::Broker, format!("`{action}` was answered with status {status}")),
                None => meaning(code, action),
            }
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            (ErrorKind::Timeout, format!("`{action}` got no answer in time"))
        }
        SdkError::DispatchFailure(failure) if failure.is_io() => (
            ErrorKind::Unreachable,
            format!("`{action}` reached nobody: check region, endpoint (`AWS_ENDPOINT_URL`) and network"),
        ),
        other => of_setup(&DisplayErrorContext(other).to_string(), action),
    };
    // The client's own types say nothing at their top; the chain in one line is what a person wants to read.
    let chain = DisplayErrorContext(&error).to_string();
    Error::new(kind, queue, remedy).with_source(chain)
}

/// One entry of a batch that failed.
pub(crate) fn from_entry(entry: &BatchResultErrorEntry, action: &str, resource: &str) -> Error {
    let (kind, remedy) = meaning(entry.code(), action);
    // Who is at fault decides whether it is tried again, and not whether we know the code.
    let kind = match kind {
        ErrorKind::Broker if entry.sender_fault() && !is_throttling(entry.code()) => ErrorKind::Config,
        kind => kind,
    };
    let text = format!("{}: {}", entry.code(), entry.message().unwrap_or("no more was said"));
    Error::new(kind, resource, remedy).with_source(text)
}

/// A configuration without a region, found before the SDK complains of what it looks for first.
pub(crate) fn without_region(action: &str, queue: &str) -> Error {
    let (kind, remedy) = no_region(action);
    Error::new(kind, queue, remedy)
}

/// The same error once more, for the next message of its batch.
pub(crate) fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.resource(), error.remedy());
    match error.source() {
        Some(source) => copy.with_source(source.to_string()),
        None => copy,
    }
}

/// Whether other credentials would help, so that their provider is asked again.
pub(crate) fn is_about_credentials(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied
}

/// What an error code means, and what to do about it. Some servers send the codes of the older protocol.
fn meaning(code: &str, action: &str) -> (ErrorKind, String) {
    use ErrorKind as K;
    let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    match code {
        "QueueDoesNotExist" | "NonExistentQueue" | "QueueDeletedRecently" => {
            (K::NotFound, format!("`{action}` found no such queue: create it, or check region and account"))
        }
        "AccessDenied" | "AccessDeniedException" => {
            (K::Denied, format!("allow `sqs:{action}` on it to these credentials, or use others"))
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "InvalidSecurity" => (
            K::Denied,
            format!("the credentials for `{action}` are expired or wrong: log in again or renew them"),
        ),
        "KmsAccessDenied" | "KMS.AccessDeniedException" => (
            K::Denied,
            format!("`{action}` needs `kms:Decrypt` and `kms:GenerateDataKey` on the queue's key"),
        ),
        _ if is_throttling(code) => {
            (K::Broker, format!("`{action}` was throttled: fewer workers, or a higher quota"))
        }
        "KmsDisabled" | "KmsInvalidKeyUsage" | "KmsInvalidState" | "KmsNotFound" | "KmsOptInRequired" => (
            K::Config,
            format!("`{action}` cannot use the queue's KMS key ({code}): enable it, or set another"),
        ),
        "ReceiptHandleIsInvalid" | "MessageNotInflight" => {
            (K::LeaseLost, "its visibility time-out had ended; the message comes again".to_owned())
        }
        "BatchRequestTooLong" | "MessageTooLong" => {
            (K::TooLarge, "a message and a batch have at most 1,048,576 bytes".to_owned())
        }
        "InvalidMessageContents" => {
            (K::Unrepresentable, "a character that SQS refuses; use `.base64(true)`".to_owned())
        }
        "UnsupportedOperation" => (K::Unsupported, format!("this queue does not do `{action}`")),
        "InvalidParameterValue"
        | "InvalidParameterCombination"
        | "MissingParameter"
        | "InvalidAttributeValue"
        | "InvalidAttributeName"
        | "InvalidAddress"
        | "InvalidIdFormat" => (K::Config, format!("`{action}` refused a parameter ({code})")),
        _ => (K::Broker, format!("`{action}` failed ({code})")),
    }
}

/// Whether it was too much for now, whose fault the answer may say it is.
fn is_throttling(code: &str) -> bool {
    matches!(code, "RequestThrottled" | "ThrottlingException" | "Throttling" | "KmsThrottled" | "OverLimit")
}

/// Requests are signed for a region, so there is none without.
fn no_region(action: &str) -> (ErrorKind, String) {
    (ErrorKind::Config, format!("`{action}` knows no region: set `AWS_REGION`, or `region` in the profile"))
}

/// What never left this machine. The SDK has no types for it, so its words decide.
fn of_setup(words: &str, action: &str) -> (ErrorKind, String) {
    let lower = words.to_ascii_lowercase();
    if lower.contains("region") {
        no_region(action)
    } else if ["credential", "identity", "sso", "token"].iter().any(|word| lower.contains(word)) {
        let remedy = format!(
            "`{action}` found no credentials: set `AWS_PROFILE` or `AWS_ACCESS_KEY_ID`, or log in (`aws sso login`)"
        );
        (ErrorKind::Denied, remedy)
    } else {
        (ErrorKind::Broker, format!("`{action}` could not be sent, or its answer not be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_either_protocol_mean_the_same() {
        for code in ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"] {
            assert_eq!(meaning(code, "SendMessage").0, ErrorKind::NotFound, "{code}");
        }
        let (kind, remedy) = meaning("ExpiredToken", "ReceiveMessage");
        assert!(kind == ErrorKind::Denied && remedy.contains("credentials"), "{remedy}");
        let (kind, remedy) = meaning("AccessDenied", "ReceiveMessage");
        assert!(kind == ErrorKind::Denied && remedy.contains("sqs:ReceiveMessage"), "{remedy}");
    }

    #[test]
    fn who_is_at_fault_decides_whether_it_is_retriable() {
        let entry = |code: &str, fault: bool| {
            let entry = BatchResultErrorEntry::builder().id("0").code(code).sender_fault(fault);
            from_entry(&entry.build().unwrap(), "SendMessageBatch", "q")
        };
        assert!(entry("InternalError", false).is_retriable());
        assert!(entry("RequestThrottled", true).is_retriable(), "too much for now, whoever did it");
        assert!(!entry("SomethingNew", true).is_retriable());
        assert_eq!(entry("ReceiptHandleIsInvalid", true).kind(), ErrorKind::LeaseLost);
    }

    #[test]
    fn what_is_not_set_up_is_named() {
        let of = |words| of_setup(words, "ReceiveMessage");
        assert_eq!(
            of("failed to resolve endpoint: Invalid Configuration: Missing Region").0,
            ErrorKind::Config
        );
        let (kind, remedy) = of("the credential provider was not enabled");
        assert!(kind == ErrorKind::Denied && remedy.contains("AWS_PROFILE"));
    }
}
