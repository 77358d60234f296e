//! The calls to one queue: each with a client time-out, each future boxed, since the SDK's are tens of kilobytes.

use crate::{
    Sqs,
    config::{is_url, name_of},
    errors::{self, from_entry, from_sdk},
};
use aws_sdk_sqs::{
    Client, Config,
    config::{IdentityCache, retry::RetryConfig, timeout::TimeoutConfig},
    operation::RequestId as _,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
        Message, MessageSystemAttributeName as System, QueueAttributeName, SendMessageBatchRequestEntry,
    },
};
use std::{
    error::Error as StdError,
    sync::{PoisonError, RwLock},
    time::Duration,
};
use throughline_core::{ByteString, Error, ErrorKind};

/// How long one try of a call may take.
const TRY: Duration = Duration::from_secs(5);
/// What the network may add to the wait of a long poll.
const BEYOND_THE_WAIT: Duration = Duration::from_secs(5);

/// The system attributes that are needed, whatever the user asks for.
const SYSTEM: [System; 8] = [
    System::AwsTraceHeader,
    System::SentTimestamp,
    System::ApproximateReceiveCount,
    System::ApproximateFirstReceiveTimestamp,
    System::MessageGroupId,
    System::MessageDeduplicationId,
    System::SequenceNumber,
    System::DeadLetterQueueSourceArn,
];

/// One queue, found.
#[derive(Debug)]
pub(crate) struct Calls {
    name: ByteString,
    url: String,
    config: Config,
    wait: Duration,
    clients: RwLock<Clients>,
}

#[derive(Clone, Debug)]
struct Clients {
    call: Client,
    poll: Client,
}

/// What one receive asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) messages: usize,
    pub(crate) visibility: Duration,
    /// Message attributes by name; `All` for all.
    pub(crate) attributes: Vec<String>,
    /// On a FIFO queue: the same again after a try whose answer was lost, so that SQS gives what it gave then.
    pub(crate) attempt: Option<String>,
}

/// An entry of a batch: the handle of its receipt.
pub(crate) type Handle = std::sync::Arc<str>;

/// What became of the entries of a batch: those that failed, by their place.
pub(crate) type Failures = Vec<(usize, Error)>;

/// The answer to a batch.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) failures: Failures,
    /// What AWS calls the request.
    pub(crate) request_id: Option<String>,
}

impl Calls {
    /// Finds the queue. `wait` is the longest that a receive waits for a message.
    pub(crate) async fn open(sqs: &Sqs, queue: &str, wait: Duration) -> Result<Self, Error> {
        let mut calls = Calls::unopened(sqs, queue, wait, "GetQueueUrl").await?;
        if !is_url(queue) {
            calls.url = calls.find().await?;
        }
        Ok(calls)
    }

    /// Before anybody knows whether there is such a queue; `action` is what will be asked first.
    pub(crate) async fn unopened(
        sqs: &Sqs,
        queue: &str,
        wait: Duration,
        action: &str,
    ) -> Result<Self, Error> {
        let name = name_of(queue);
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Config, queue, "name the queue, or give its URL"));
        }
        let config = sqs.config().await.clone();
        if config.region().is_none() {
            return Err(errors::without_region(action, name));
        }
        let clients = RwLock::new(Clients::new(&config, wait));
        Ok(Calls { name: name.into(), url: queue.to_owned(), config, wait, clients })
    }

    /// Makes the queue, and gives its URL.
    pub(crate) async fn create<'a>(
        &self,
        attributes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, Error> {
        let mut call = self.client().create_queue().queue_name(&*self.name);
        for (name, value) in attributes {
            call = call.attributes(QueueAttributeName::from(name), value);
        }
        let made = self.told(Box::pin(call.send()).await, "CreateQueue")?;
        let none = || Error::new(ErrorKind::Broker, &*self.name, "`CreateQueue` gave no URL");
        made.queue_url.ok_or_else(none)
    }

    async fn find(&self) -> Result<String, Error> {
        let call = self.client().get_queue_url().queue_name(&*self.name).send();
        let found = self.told(Box::pin(call).await, "GetQueueUrl")?;
        let none = || Error::new(ErrorKind::Broker, &*self.name, "`GetQueueUrl` gave no URL");
        found.queue_url.ok_or_else(none)
    }

    /// The queue's name.
    pub(crate) fn name(&self) -> &ByteString {
        &self.name
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The queue's own visibility time-out; `None` where we may not ask for it.
    pub(crate) async fn visibility(&self) -> Result<Option<Duration>, Error> {
        let name = QueueAttributeName::VisibilityTimeout;
        let call =
            self.client().get_queue_attributes().queue_url(&self.url).attribute_names(name.clone()).send();
        match self.told(Box::pin(call).await, "GetQueueAttributes") {
            Ok(answer) => {
                let seconds = answer.attributes.as_ref().and_then(|all| all.get(&name)?.parse().ok());
                Ok(seconds.map(Duration::from_secs))
            }
            // A consumer need not be allowed to see what the queue is set to; if it may do nothing, the first
            // receive says so.
            Err(error) if error.kind() == ErrorKind::Denied && is_permission(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One long poll.
    pub(crate) async fn receive(&self, ask: Ask) -> Result<Vec<Message>, Error> {
        let call = self
            .clients()
            .poll
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(seconds(ask.messages as u64))
            .visibility_timeout(seconds(ask.visibility.as_secs()))
            .wait_time_seconds(seconds(self.wait.as_secs()))
            .set_message_system_attribute_names(Some(SYSTEM.to_vec()))
            .set_message_attribute_names(Some(ask.attributes))
            .set_receive_request_attempt_id(ask.attempt)
            .send();
        let answer = self.told(Box::pin(call).await, "ReceiveMessage")?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Deletes up to ten.
    pub(crate) async fn delete(&self, handles: &[Handle]) -> Result<Answered, Error> {
        const ACTION: &str = "DeleteMessageBatch";
        let entry = |(at, handle): (usize, &Handle)| {
            DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(&**handle).build()
        };
        let entries = handles.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| self.unbuilt(error))?;
        let call =
            self.client().delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let answer = self.told(Box::pin(call).await, ACTION)?;
        Ok(self.answered(&answer.failed, answer.request_id(), ACTION))
    }

    /// Changes for how long up to ten stay hidden from now on, in whole seconds.
    pub(crate) async fn hide(&self, handles: &[(Handle, Duration)]) -> Result<Answered, Error> {
        const ACTION: &str = "ChangeMessageVisibilityBatch";
        let entry = |(at, (handle, time)): (usize, &(Handle, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(&**handle)
                .visibility_timeout(seconds(time.as_secs()))
                .build()
        };
        let entries = handles.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| self.unbuilt(error))?;
        let call = self
            .client()
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send();
        let answer = self.told(Box::pin(call).await, ACTION)?;
        Ok(self.answered(&answer.failed, answer.request_id(), ACTION))
    }

    /// Sends up to ten; gives the identity of each that was taken, by its place.
    pub(crate) async fn send(
        &self,
        entries: Vec<SendMessageBatchRequestEntry>,
    ) -> Result<(Vec<(usize, String)>, Answered), Error> {
        const ACTION: &str = "SendMessageBatch";
        let call = self.client().send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let answer = self.told(Box::pin(call).await, ACTION)?;
        let answered = self.answered(&answer.failed, answer.request_id(), ACTION);
        let sent =
            answer.successful.into_iter().filter_map(|one| Some((one.id.parse().ok()?, one.message_id)));
        Ok((sent.collect(), answered))
    }

    fn answered(&self, failed: &[BatchResultErrorEntry], id: Option<&str>, action: &str) -> Answered {
        let one = |entry: &BatchResultErrorEntry| {
            Some((entry.id().parse().ok()?, from_entry(entry, action, &self.name)))
        };
        Answered { failures: failed.iter().filter_map(one).collect(), request_id: id.map(str::to_owned) }
    }

    fn client(&self) -> Client {
        self.clients().call
    }

    fn clients(&self) -> Clients {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The error of a call. One about credentials makes the next call ask their provider again: the SDK keeps what it
    /// has until it expires by its own account, also where the server no longer takes it.
    fn told<T, E>(&self, result: Result<T, aws_sdk_sqs::error::SdkError<E>>, action: &str) -> Result<T, Error>
    where
        E: StdError + aws_sdk_sqs::error::ProvideErrorMetadata + Send + Sync + 'static,
    {
        result.map_err(|error| {
            let error = from_sdk(error, action, &self.name);
            if errors::is_about_credentials(&error) {
                let config = self.config.to_builder().identity_cache(IdentityCache::lazy().build()).build();
                let clients = Clients::new(&config, self.wait);
                *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
            }
            error
        })
    }

    fn unbuilt(&self, error: impl StdError + Send + Sync + 'static) -> Error {
        Error::new(ErrorKind::Broker, &*self.name, "an entry of a batch could not be built")
            .with_source(error)
    }
}

impl Clients {
    fn new(config: &Config, wait: Duration) -> Self {
        let set = config.timeout_config().cloned().unwrap_or_else(|| TimeoutConfig::builder().build());
        let with = |limit: Duration| {
            let limit = set.operation_attempt_timeout().unwrap_or(limit);
            config.to_builder().timeout_config(set.to_builder().operation_attempt_timeout(limit).build())
        };
        // A limit of the user's for other calls must not cut a poll.
        let poll = set.operation_attempt_timeout().unwrap_or_default().max(wait + BEYOND_THE_WAIT);
        let poll = set
            .to_builder()
            .operation_attempt_timeout(poll)
            .disable_operation_timeout()
            .disable_read_timeout();
        let poll = config.to_builder().timeout_config(poll.build());
        Clients {
            call: Client::from_conf(with(TRY).build()),
            // The source tries again by itself, slower, and says so.
            poll: Client::from_conf(poll.retry_config(RetryConfig::disabled()).build()),
        }
    }
}

fn is_permission(error: &Error) -> bool {
    error.remedy().contains("sqs:")
}

fn seconds(n: u64) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
