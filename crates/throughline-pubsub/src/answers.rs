//! What is told to the service, and what is said of it.

use crate::{
    desk::Desk,
    errors::{self, Action},
};
use bytes::Bytes;
use google_cloud_pubsub::{
    error::AckError,
    subscriber::handler::{ExactlyOnce, Handler},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use throughline_core::{ByteString, Destination, Error, ErrorKind, Event, Observer, Settled, Settlement};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;

/// As often as the client sends what it was handed; it says nothing of when it did.
pub(crate) const FLUSH: Duration = Duration::from_millis(100);
/// How many contexts a report brings: a span links to no more.
const CONTEXTS: usize = 128;

/// What is needed to answer for one message.
pub(crate) struct Claim {
    pub(crate) id: ByteString,
    /// On a subscription that keeps their order.
    pub(crate) key: Option<ByteString>,
    pub(crate) handler: Handler,
    /// Those of earlier deliveries of the same message that are not answered yet.
    pub(crate) others: Vec<Handler>,
    /// The `traceparent` that it came with.
    pub(crate) context: Option<Bytes>,
    /// Whether the service counts its deliveries.
    pub(crate) counted: bool,
    /// Whether the service puts it to the dead letters if it is not done now.
    pub(crate) last: bool,
}

/// One source's.
pub(crate) struct Answers {
    pub(crate) destination: Arc<Destination>,
    pub(crate) observer: Observer,
    pub(crate) handle: Handle,
    /// What has to end before the source is closed.
    pub(crate) tasks: TaskTracker,
    handed: Mutex<Handed>,
}

/// What was handed to the client since the last report.
#[derive(Default)]
struct Handed {
    acks: Handful,
    nacks: Handful,
}

#[derive(Default)]
struct Handful {
    count: usize,
    contexts: Vec<Bytes>,
    since: Option<Instant>,
}

/// Where the answer of the service is told, for an exactly-once delivery.
pub(crate) type Confirmed = oneshot::Receiver<Result<(), Error>>;

impl Answers {
    pub(crate) fn new(destination: Arc<Destination>, observer: Observer, handle: Handle) -> Self {
        let (tasks, handed) = (TaskTracker::new(), Mutex::default());
        Answers { destination, observer, handle, tasks, handed }
    }

    fn handed(&self) -> MutexGuard<'_, Handed> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acknowledges. `None` if the service will say nothing to it.
    pub(crate) fn ack(&self, claim: Claim, desk: &Arc<Desk>) -> Option<Confirmed> {
        let Claim { id, key, handler, others, context, .. } = claim;
        match handler {
            // The others are of deliveries that are over, and must not ask for another.
            Handler::ExactlyOnce(handler) => {
                let (tell, confirmed) = oneshot::channel();
                let desk = desk.clone();
                self.spawn(async move {
                    let result = desk.answers.confirm(handler, Settlement::Ack, &id, context).await;
                    desk.confirmed(key.as_ref(), &id, result.is_ok());
                    let _ = tell.send(result);
                });
                drop(others);
                Some(confirmed)
            }
            handler => {
                handler.ack();
                others.into_iter().for_each(Handler::ack);
                self.handed().acks.add(context);
                None
            }
        }
    }

    /// Gives back.
    pub(crate) fn nack(&self, claim: Claim, desk: &Arc<Desk>) {
        let Claim { id, handler, others, context, .. } = claim;
        match handler {
            Handler::ExactlyOnce(handler) => {
                let desk = desk.clone();
                self.spawn(async move {
                    let _ = desk.answers.confirm(handler, Settlement::nack(), &id, context).await;
                });
            }
            handler => {
                handler.nack();
                self.handed().nacks.add(context);
            }
        }
        drop(others);
    }

    /// Acknowledges once more what was done.
    pub(crate) fn repeat(claim: Claim) {
        claim.handler.ack();
        claim.others.into_iter().for_each(Handler::ack);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.handle);
    }

    async fn confirm(
        &self,
        handler: ExactlyOnce,
        how: Settlement,
        id: &ByteString,
        context: Option<Bytes>,
    ) -> Result<(), Error> {
        let asked = Instant::now();
        let (action, answer) = match how {
            Settlement::Ack => (Action::Acknowledge, handler.confirmed_ack().await),
            _ => (Action::ModifyAckDeadline, handler.confirmed_nack().await),
        };
        let result = answer.map_err(|error| refused(error, action, id));
        if let Err(error) = &result {
            tracing::warn!(message = &**id, %error, "Pub/Sub did not take an answer");
        }
        let settled = Settled::new(&self.destination, 1, how, result.as_ref().copied(), asked.elapsed());
        self.observer.observe(Event::Settled(settled.contexts(context.as_slice())));
        result
    }

    /// When there is something to report, at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        let handed = self.handed();
        [handed.acks.since, handed.nacks.since].into_iter().flatten().min().map(|since| since + FLUSH)
    }

    /// Reports what was handed to the client.
    pub(crate) fn report(&self) {
        let Handed { acks, nacks } = std::mem::take(&mut *self.handed());
        for (how, Handful { count, contexts, since }) in
            [(Settlement::Ack, acks), (Settlement::nack(), nacks)]
        {
            if let Some(since) = since {
                let settled = Settled::new(&self.destination, count, how, Ok(()), since.elapsed());
                self.observer.observe(Event::Settled(settled.contexts(&contexts)));
            }
        }
    }
}

impl Handful {
    fn add(&mut self, context: Option<Bytes>) {
        self.count += 1;
        self.since.get_or_insert_with(Instant::now);
        if self.contexts.len() < CONTEXTS {
            self.contexts.extend(context);
        }
    }
}

/// An answer that was not taken. Whatever the reason, the client has let go of the message.
fn refused(error: AckError, action: Action, id: &ByteString) -> Error {
    match error {
        AckError::Rpc { source, .. } => {
            let of = errors::from_gax(&source, action, id);
            Error::new(ErrorKind::LeaseLost, &**id, of.remedy()).with_source(of)
        }
        other => {
            let remedy = format!("`{}` was not confirmed; the message may come again", action.as_str());
            Error::new(ErrorKind::LeaseLost, &**id, remedy).with_source(other)
        }
    }
}
