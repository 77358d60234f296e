//! The streams of a source: opened, read as there is room, watched, and closed.

use crate::{
    answers::Answers,
    ask::Found,
    connect::Connector,
    desk::{Arrived, Desk},
    errors::{self, Action},
    headers,
    link::Link,
    pulse::Pulse,
    silence::{SILENCE, Silence},
    subscription::Settings,
};
use futures_util::FutureExt;
use google_cloud_pubsub::{client::Subscriber, subscriber::MessageStream};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use throughline_core::{Error, ErrorKind, Phase};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often the watch looks.
const LOOK: Duration = Duration::from_secs(5);
/// An open stream whose server cannot be asked is taken for a good one after this time.
const STEADY: Duration = Duration::from_secs(3);
/// So many tries of the client in a row, and its next wait is too long: a new stream begins with short ones.
const TRIES: u32 = 4;
/// A pause that is longer lets others have what is not started.
const PAUSE: Duration = Duration::from_secs(5);
/// Messages that are held at once, at most, so that the first of a large response does not wait for the last.
const BATCH: usize = 64;

pub(crate) struct Streams {
    pub(crate) desk: Arc<Desk>,
    pub(crate) name: String,
    connector: Connector,
    settings: Settings,
    /// What the server may have outstanding on the first stream.
    room: usize,
    client: Mutex<Option<Subscriber>>,
    /// Ends all streams.
    pub(crate) stop: CancellationToken,
    silence: Mutex<Silence>,
}

/// Why a stream was left.
enum End {
    Stopped,
    Paused,
    /// The service refused it, for good as far as the client knows.
    Failed(Error),
    /// It is dead or as good as that.
    Lost(Error),
    /// It may be opened again at once.
    Again,
}

impl Streams {
    pub(crate) fn new(
        desk: Arc<Desk>,
        connector: Connector,
        name: String,
        settings: Settings,
        room: usize,
    ) -> Self {
        let (client, stop, silence) = (Mutex::default(), CancellationToken::new(), Mutex::default());
        Streams { desk, name, connector, settings, room, client, stop, silence }
    }

    fn answers(&self) -> &Answers {
        &self.desk.answers
    }

    /// Keeps the first stream open until it is stopped.
    pub(crate) async fn run(self: Arc<Self>, mut link: Link) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.flowing() => {}
            }
            if let Some(at) = link.not_before() {
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = sleep_until(at) => {}
                }
            }
            // A refusal that lasts is asked for, which is one call, rather than tried, which is a stream.
            if link.is_away() {
                let found = tokio::select! {
                    () = self.stop.cancelled() => return,
                    found = link.ask() => found,
                };
                if matches!(found, Found::Away(_)) {
                    continue;
                }
            }
            match self.one(self.room, &self.stop, Some(&mut link)).await {
                End::Stopped => return,
                End::Paused => self.desk.give_back_unstarted(),
                End::Again => self.renew(),
                End::Failed(error) => link.lost(&error),
                End::Lost(error) => {
                    self.renew();
                    link.lost(&error);
                }
            }
        }
    }

    /// Another stream beside the first, until it is stopped or ends for whatever reason.
    pub(crate) async fn helper(self: Arc<Self>, stop: CancellationToken) {
        let share = self.room.div_ceil(self.settings.streams).max(1);
        let _ = self.one(share, &stop, None).await;
    }

    async fn flowing(&self) {
        self.phase(|phase| phase != Phase::Paused).await;
    }

    /// For longer than a moment: to open a stream again costs more than to wait.
    async fn paused(&self) {
        loop {
            self.phase(|phase| phase == Phase::Paused).await;
            tokio::select! {
                () = self.flowing() => {}
                () = sleep(PAUSE) => return,
            }
        }
    }

    async fn phase(&self, is_it: impl Fn(Phase) -> bool) {
        loop {
            let changed = self.desk.demand.changed();
            if is_it(self.desk.demand.phase()) {
                return;
            }
            changed.await;
        }
    }

    /// The next stream gets a connection of its own: this one may be dead and not know it.
    fn renew(&self) {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn client(&self) -> Result<Subscriber, Error> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(client) => Ok(client),
            None => {
                let client = self.connector.subscriber(&self.name).await?;
                *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
                Ok(client)
            }
        }
    }

    /// One stream from its opening to its end.
    async fn one(&self, room: usize, stop: &CancellationToken, link: Option<&mut Link>) -> End {
        let client = match self.client().await {
            Ok(client) => client,
            Err(error) => return End::Failed(error),
        };
        let Settings { lease, longest_lease, buffer_bytes, .. } = self.settings;
        let mut stream = client
            .subscribe(&self.name)
            .set_max_lease(longest_lease)
            .set_max_lease_extension(lease)
            .set_max_outstanding_messages(i64::try_from(room).unwrap_or(i64::MAX))
            .set_max_outstanding_bytes(i64::try_from(buffer_bytes).unwrap_or(i64::MAX))
            .build();
        let pulse = Pulse::new();
        let end = tokio::select! {
            biased;
            () = stop.cancelled() => End::Stopped,
            () = self.paused() => End::Paused,
            error = self.read(&mut stream, &pulse) => End::Failed(error),
            end = self.watch(&pulse, link) => end,
        };
        // What the client has left of a response is given back now, and not when the last handler ends.
        while let Some(Some(Ok((_, handler)))) = stream.next().now_or_never() {
            drop(handler);
        }
        // Its leases are kept, and answers sent, until the last of its messages is answered.
        let answered = stream.shutdown_token();
        drop(stream);
        let answers = self.answers();
        answers.tasks.spawn_on(async move { answered.shutdown().await }, &answers.handle);
        end
    }

    /// Reads as there is room.
    async fn read(&self, stream: &mut MessageStream, pulse: &Arc<Pulse>) -> Error {
        let (desk, destination) = (&self.desk, &self.answers().destination);
        let mut batch = Vec::new();
        loop {
            if batch.len() >= BATCH || !desk.has_room(batch.len()) {
                desk.hold(&mut batch);
                desk.room().await;
            }
            match pulse.listen(stream.next(), || desk.hold(&mut batch)).await {
                Some(Ok((message, handler))) => {
                    let attempt = handler.delivery_attempt();
                    let decoded = headers::decode(message, attempt, destination, self.settings.context);
                    batch.push(Arrived { decoded, handler });
                }
                Some(Err(error)) => {
                    desk.hold(&mut batch);
                    return errors::from_gax(&error, Action::StreamingPull, &self.name);
                }
                None => return Error::new(ErrorKind::Closed, &*self.name, "the client closed its stream"),
            }
        }
    }

    /// Looks after a stream while it is read: the client neither tells of one that it cannot open, nor notices one that is
    /// silent.
    async fn watch(&self, pulse: &Arc<Pulse>, mut link: Option<&mut Link>) -> End {
        let opened = Instant::now();
        let (mut seen, mut before) = (1, opened);
        loop {
            tokio::select! {
                () = pulse.tried.notified() => {}
                () = sleep(if link.as_ref().is_some_and(|link| link.is_away()) { STEADY } else { LOOK }) => {}
            }
            let tries = pulse.tries();
            let Some(link) = link.as_deref_mut() else {
                // The first stream finds out for all.
                if tries > seen || self.is_silent(pulse) {
                    return End::Again;
                }
                continue;
            };
            if tries > seen {
                // Streams are closed by the service from time to time, and opened again at once.
                if before.elapsed() > SILENCE {
                    seen = tries - 1;
                }
                before = Instant::now();
                let was_away = link.is_away();
                match link.ask().await {
                    Found::Away(_) => return End::Again,
                    // It is back: a new stream need not wait as the client does by now.
                    Found::There(_) if was_away && !link.is_away() => return End::Again,
                    _ if tries - seen >= TRIES => return End::Lost(self.is_cut()),
                    _ => {}
                }
            } else if self.is_silent(pulse) {
                let remedy =
                    "the stream was silent; it is opened anew (check the network if this comes often)";
                return End::Lost(Error::new(ErrorKind::Timeout, &*self.name, remedy));
            } else if link.is_away() && opened.elapsed() >= STEADY && tries == seen {
                link.found();
            }
        }
    }

    fn is_cut(&self) -> Error {
        let remedy = "the stream breaks as often as it is opened: check endpoint and network";
        Error::new(ErrorKind::Broker, &*self.name, remedy)
    }

    fn is_silent(&self, pulse: &Pulse) -> bool {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner).is_too_long(pulse)
    }
}
