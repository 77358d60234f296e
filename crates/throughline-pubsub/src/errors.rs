//! What the client reports, as errors that say what to do.

use google_cloud_gax::{
    client_builder::Error as BuildError,
    error::{Error as GaxError, rpc::Code},
};
use std::error::Error as StdError;
use throughline_core::{Error, ErrorKind};

/// A call, by the service's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    StreamingPull,
    Acknowledge,
    ModifyAckDeadline,
    Publish,
    GetTopic,
    CreateTopic,
    GetSubscription,
    CreateSubscription,
}

impl Action {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Action::StreamingPull => "StreamingPull",
            Action::Acknowledge => "Acknowledge",
            Action::ModifyAckDeadline => "ModifyAckDeadline",
            Action::Publish => "Publish",
            Action::GetTopic => "GetTopic",
            Action::CreateTopic => "CreateTopic",
            Action::GetSubscription => "GetSubscription",
            Action::CreateSubscription => "CreateSubscription",
        }
    }

    /// What IAM has to allow for it: <https://cloud.google.com/pubsub/docs/access-control>.
    const fn permission(self) -> &'static str {
        match self {
            Action::StreamingPull | Action::Acknowledge | Action::ModifyAckDeadline => {
                "pubsub.subscriptions.consume"
            }
            Action::Publish => "pubsub.topics.publish",
            Action::GetTopic => "pubsub.topics.get",
            Action::CreateTopic => "pubsub.topics.create",
            Action::GetSubscription => "pubsub.subscriptions.get",
            Action::CreateSubscription => "pubsub.subscriptions.create",
        }
    }

    const fn of(self) -> &'static str {
        match self {
            Action::Publish | Action::GetTopic | Action::CreateTopic => "topic",
            Action::CreateSubscription => "topic or project",
            _ => "subscription",
        }
    }
}

/// An error of this call on this topic or subscription, given by its full name.
pub(crate) fn from_gax(error: &GaxError, action: Action, resource: &str) -> Error {
    let (kind, remedy) = meaning(error, action);
    // One line: the client's own words and those of what is below it.
    Error::new(kind, resource, remedy).with_source(chain(error))
}

/// A client that could not be made.
pub(crate) fn from_builder(error: BuildError, action: Action, resource: &str) -> Error {
    let name = action.as_str();
    let (kind, remedy) = if error.is_default_credentials() {
        (ErrorKind::Denied, no_credentials_remedy())
    } else if error.is_universe_domain_mismatch() {
        let remedy = "the credentials belong to another universe: see `GOOGLE_CLOUD_UNIVERSE_DOMAIN`";
        (ErrorKind::Config, remedy.to_owned())
    } else {
        (ErrorKind::Config, format!("the client for `{name}` could not be made: check the endpoint"))
    };
    Error::new(kind, resource, remedy).with_source(chain(&error))
}

/// No credentials could be made.
pub(crate) fn no_credentials(error: impl StdError) -> Error {
    Error::new(ErrorKind::Denied, "credentials", no_credentials_remedy()).with_source(chain(&error))
}

/// Nobody answered for so long as we wait.
pub(crate) fn no_answer(action: Action, resource: &str) -> Error {
    Error::new(ErrorKind::Timeout, resource, format!("`{}` got no answer in time", action.as_str()))
}

fn no_credentials_remedy() -> String {
    "log in (`gcloud auth application-default login`), set `GOOGLE_APPLICATION_CREDENTIALS`, or for an emulator \
     `PUBSUB_EMULATOR_HOST`"
        .to_owned()
}

fn meaning(error: &GaxError, action: Action) -> (ErrorKind, String) {
    let name = action.as_str();
    if let Some(status) = error.status() {
        return of_code(status.code, action);
    }
    if error.is_authentication() && !error.is_transient_and_before_rpc() {
        return (ErrorKind::Denied, no_credentials_remedy());
    }
    if error.is_timeout() || error.is_exhausted() {
        return (ErrorKind::Timeout, format!("`{name}` got no answer in time"));
    }
    if error.is_authentication() {
        return (ErrorKind::Unreachable, format!("no token for `{name}` could be had: check the network"));
    }
    if error.is_connect() || error.is_io() || error.is_transport() {
        let remedy = format!("`{name}` reached nobody: check endpoint, `PUBSUB_EMULATOR_HOST` and network");
        return (ErrorKind::Unreachable, remedy);
    }
    (ErrorKind::Broker, format!("`{name}` could not be sent, or its answer not be read"))
}

/// What a status means, and what to do about it: <https://cloud.google.com/pubsub/docs/reference/error-codes>.
fn of_code(code: Code, action: Action) -> (ErrorKind, String) {
    use ErrorKind as K;
    let (name, of) = (action.as_str(), action.of());
    match code {
        Code::NotFound => {
            (K::NotFound, format!("`{name}` found no such {of} (NOT_FOUND): create it, or check the project"))
        }
        Code::PermissionDenied => {
            (K::Denied, format!("allow `{}` on it to these credentials, or use others", action.permission()))
        }
        Code::Unauthenticated => (
            K::Denied,
            format!("the credentials for `{name}` are expired or wrong: log in again or renew them"),
        ),
        Code::Unavailable => (
            K::Unreachable,
            format!("`{name}` reached nobody: check endpoint, `PUBSUB_EMULATOR_HOST` and network"),
        ),
        Code::DeadlineExceeded => (K::Timeout, format!("`{name}` got no answer in time")),
        Code::ResourceExhausted => {
            (K::Broker, format!("`{name}` is over a quota: less load, or a higher quota"))
        }
        Code::InvalidArgument | Code::OutOfRange => {
            (K::Config, format!("`{name}` refused a parameter ({})", code.name()))
        }
        Code::FailedPrecondition if action == Action::StreamingPull => {
            let remedy = "the subscription cannot be pulled from: it pushes, exports, or is detached";
            (K::Config, remedy.to_owned())
        }
        Code::AlreadyExists => (K::Config, format!("`{name}` found that it exists already")),
        Code::Unimplemented => (K::Unsupported, format!("this server does not do `{name}`")),
        code => (K::Broker, format!("`{name}` failed ({})", code.name())),
    }
}

/// The error and its sources in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_gax::error::rpc::Status;

    const NAME: &str = "projects/p/subscriptions/s";

    fn of(code: Code, action: Action) -> Error {
        let status = Status::default().set_code(code).set_message("no more was said");
        from_gax(&GaxError::service(status), action, NAME)
    }

    #[test]
    fn a_status_names_resource_and_remedy() {
        for (code, kind, word) in [
            (Code::NotFound, ErrorKind::NotFound, "NOT_FOUND"),
            (Code::PermissionDenied, ErrorKind::Denied, "pubsub.subscriptions.consume"),
            (Code::Unauthenticated, ErrorKind::Denied, "log in again"),
            (Code::Unavailable, ErrorKind::Unreachable, "PUBSUB_EMULATOR_HOST"),
            (Code::DeadlineExceeded, ErrorKind::Timeout, "in time"),
            (Code::FailedPrecondition, ErrorKind::Config, "detached"),
            (Code::Internal, ErrorKind::Broker, "INTERNAL"),
        ] {
            let error = of(code, Action::StreamingPull);
            assert_eq!((error.kind(), error.resource()), (kind, NAME), "{code:?}");
            assert!(error.remedy().contains(word), "{error}");
        }
        assert!(of(Code::PermissionDenied, Action::Publish).remedy().contains("pubsub.topics.publish"));
    }

    #[test]
    fn what_never_reached_a_server_is_told_apart() {
        let of = |error: GaxError| from_gax(&error, Action::Publish, NAME).kind();
        assert_eq!(of(GaxError::io("refused")), ErrorKind::Unreachable);
        assert_eq!(of(GaxError::connect("refused")), ErrorKind::Unreachable);
        assert_eq!(of(GaxError::timeout("late")), ErrorKind::Timeout);
        assert_eq!(of(GaxError::deser("odd")), ErrorKind::Broker);
    }
}
