//! What the server is to do, what it holds, and what it saw.

use super::{leases::Leases, refusal, refusal::text};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, PublishRequest, PublishResponse, PubsubMessage,
    StreamingPullRequest, StreamingPullResponse, streaming_pull_response::SubscriptionProperties,
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::Status;

/// What the server does.
#[derive(Debug)]
pub(crate) struct Script {
    /// Whether the subscription is one of exactly once.
    pub(crate) exactly_once: bool,
    /// The most messages in one response.
    pub(crate) per_response: usize,
    /// Whether a stream is sent no more than its `max_outstanding_messages`. The emulator does not obey it.
    pub(crate) obeys_flow: bool,
    /// How the subscription is refused: to be streamed, and to be looked at.
    pub(crate) refusal: Option<Status>,
    /// The only token that is taken, where any is asked for.
    pub(crate) token: Option<&'static str>,
    /// Whether a client's keep-alive is answered, by a response without messages.
    pub(crate) answers_keep_alives: bool,
    /// Whether acknowledgements are taken, but not answered as long as this is so.
    pub(crate) holds_acks: bool,
    /// How the next acknowledgements fail as a whole.
    pub(crate) ack_refusals: Vec<Status>,
    /// What is answered to the next acknowledgements of these bodies on an exactly-once subscription, one after another.
    pub(crate) ack_failures: HashMap<String, Vec<&'static str>>,
    /// Whether calls are taken and never answered, and streams bring nothing.
    pub(crate) frozen: bool,
    /// What is answered to a publish.
    pub(crate) publish: PublishScript,
}

/// The answer to a publish.
#[derive(Clone, Debug)]
pub(crate) enum Published {
    /// It is taken.
    Taken,
    /// This error, and nothing is taken.
    Refused(Status),
    /// Nothing, as long as this is so.
    Unanswered,
}

/// Decides on each publish.
#[derive(Clone)]
pub(crate) struct PublishScript(Arc<dyn Fn(&PublishRequest) -> Published + Send + Sync>);

impl PublishScript {
    pub(crate) fn new(answer: impl Fn(&PublishRequest) -> Published + Send + Sync + 'static) -> Self {
        PublishScript(Arc::new(answer))
    }
}

impl fmt::Debug for PublishScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishScript")
    }
}

impl Default for Script {
    /// A subscription as it is by default, on a server that obeys.
    fn default() -> Self {
        Script {
            exactly_once: false,
            per_response: 10,
            obeys_flow: true,
            refusal: None,
            token: None,
            answers_keep_alives: true,
            holds_acks: false,
            ack_refusals: Vec::new(),
            ack_failures: HashMap::new(),
            frozen: false,
            publish: PublishScript::new(|_| Published::Taken),
        }
    }
}

/// A call, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    /// Such as `StreamingPull`.
    pub(crate) method: String,
    /// The context in its metadata.
    pub(crate) traceparent: Option<String>,
    /// The token in its metadata.
    pub(crate) authorization: Option<String>,
}

/// A stream, as it is.
#[derive(Clone, Debug)]
pub(crate) struct StreamSeen {
    pub(crate) closed: Option<Instant>,
    /// What it was opened with.
    pub(crate) request: StreamingPullRequest,
    /// The bodies that it was sent.
    pub(crate) sent: Vec<String>,
    silent: bool,
    reset: Option<Status>,
}

/// What a stream does next.
pub(super) enum Turn {
    Send(StreamingPullResponse),
    Rest,
    End(Status),
}

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) script: Script,
    pub(super) leases: Leases,
    pub(super) calls: Vec<Call>,
    pub(super) acked: Vec<String>,
    pub(super) nacked: Vec<String>,
    pub(super) extended: BTreeSet<String>,
    pub(super) published: Vec<PubsubMessage>,
    pub(super) most_leased: usize,
    pub(super) expired: usize,
    streams: Vec<StreamSeen>,
}

impl State {
    pub(super) fn new(script: Script) -> Self {
        State {
            script,
            leases: Leases::default(),
            calls: Vec::new(),
            acked: Vec::new(),
            nacked: Vec::new(),
            extended: BTreeSet::new(),
            published: Vec::new(),
            most_leased: 0,
            expired: 0,
            streams: Vec::new(),
        }
    }

    // === streams ===

    /// Opens a stream; its number.
    pub(super) fn open(&mut self, request: StreamingPullRequest) -> usize {
        let reset = self.script.refusal.clone();
        self.streams.push(StreamSeen { closed: None, request, sent: Vec::new(), silent: false, reset });
        self.streams.len() - 1
    }

    pub(super) fn close(&mut self, stream: usize) {
        self.streams[stream].closed = Some(Instant::now());
    }

    pub(super) fn streams(&self) -> Vec<StreamSeen> {
        self.streams.clone()
    }

    pub(super) fn reset(&mut self, status: &Status) {
        for stream in self.streams.iter_mut().filter(|stream| stream.closed.is_none()) {
            stream.reset = Some(status.clone());
        }
    }

    pub(super) fn silence(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.silent = true);
    }

    /// What this stream does now; `kept_alive` says that the client just asked for a sign of life.
    pub(super) fn turn(&mut self, stream: usize, kept_alive: bool) -> Turn {
        let now = Instant::now();
        self.expired += self.leases.expire(now);
        let seen = &mut self.streams[stream];
        if let Some(status) = seen.reset.take() {
            return Turn::End(status);
        }
        if seen.silent || self.script.frozen {
            return Turn::Rest;
        }
        let most = match seen.request.max_outstanding_messages {
            limit if self.script.obeys_flow && limit > 0 => {
                (limit as usize).saturating_sub(self.leases.of(stream))
            }
            _ => usize::MAX,
        };
        let lease = Duration::from_secs(seen.request.stream_ack_deadline_seconds as u64);
        let received = self.leases.deliver(stream, most.min(self.script.per_response), now + lease);
        let answers = kept_alive && self.script.answers_keep_alives;
        if received.is_empty() && !answers {
            return Turn::Rest;
        }
        seen.sent.extend(received.iter().flat_map(|received| &received.message).map(text));
        self.most_leased = self.most_leased.max(self.leases.count().0);
        let properties = SubscriptionProperties {
            exactly_once_delivery_enabled: self.script.exactly_once,
            message_ordering_enabled: false,
        };
        Turn::Send(StreamingPullResponse {
            received_messages: received,
            subscription_properties: Some(properties),
            ..StreamingPullResponse::default()
        })
    }

    // === calls ===

    pub(super) fn acknowledge(&mut self, request: AcknowledgeRequest) -> Result<(), Status> {
        self.expired += self.leases.expire(Instant::now());
        if let Some(refusal) = self.script.ack_refusals.pop() {
            return Err(refusal);
        }
        let mut failures = HashMap::new();
        for id in request.ack_ids {
            let Some(body) = self.leases.message(&id).map(text) else {
                failures.insert(id, PERMANENT.to_owned());
                continue;
            };
            let scripted = self.script.ack_failures.get_mut(&body);
            match scripted.filter(|answers| !answers.is_empty()).map(|answers| answers.remove(0)) {
                Some(failure) if failure.starts_with("TRANSIENT") => {
                    failures.insert(id, failure.to_owned());
                    continue;
                }
                Some(failure) => {
                    failures.insert(id.clone(), failure.to_owned());
                }
                None => self.acked.push(body),
            }
            self.leases.done(&id);
        }
        self.refuse(failures)
    }

    pub(super) fn modify(&mut self, request: ModifyAckDeadlineRequest) -> Result<(), Status> {
        let now = Instant::now();
        self.expired += self.leases.expire(now);
        let by = Duration::from_secs(request.ack_deadline_seconds as u64);
        let mut failures = HashMap::new();
        for id in request.ack_ids {
            match self.leases.message(&id).map(text) {
                Some(body) if by.is_zero() => self.nacked.push(body),
                Some(body) => drop(self.extended.insert(body)),
                None => drop(failures.insert(id.clone(), PERMANENT.to_owned())),
            }
            self.leases.extend(&id, by, now);
        }
        self.refuse(failures)
    }

    /// A subscription that is not of exactly once takes every well-formed id.
    fn refuse(&self, failures: HashMap<String, String>) -> Result<(), Status> {
        if failures.is_empty() || !self.script.exactly_once {
            Ok(())
        } else {
            Err(refusal::of_acks(failures))
        }
    }

    /// How this publish is answered; what is taken is in the topic and its subscription.
    pub(super) fn take(&mut self, request: PublishRequest) -> Option<Result<PublishResponse, Status>> {
        match (self.script.publish.0)(&request) {
            Published::Taken => {
                let message_ids = request.messages.into_iter().map(|message| self.publish(message)).collect();
                Some(Ok(PublishResponse { message_ids }))
            }
            Published::Refused(status) => Some(Err(status)),
            Published::Unanswered => None,
        }
    }

    /// Gives the id.
    pub(super) fn publish(&mut self, mut message: PubsubMessage) -> String {
        let id = (self.published.len() + 1).to_string();
        message.message_id = id.clone();
        message.publish_time = Some(std::time::SystemTime::now().into());
        self.published.push(message.clone());
        self.leases.put(message);
        id
    }
}

/// What an acknowledgement gets whose lease is over.
pub(crate) const PERMANENT: &str = "PERMANENT_FAILURE_INVALID_ACK_ID";
