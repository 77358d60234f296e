//! A Pub/Sub server of one topic and one subscription, which does on request what neither the emulator nor the service can
//! be made to do: refuse an acknowledgement, obey or break flow control, fall silent, reset a stream, answer nothing.
//!
//! It speaks `google.pubsub.v1` over gRPC, on the messages of a generated crate. What is said of the service in comments is
//! what its documentation says.

mod leases;
mod refusal;
mod server;
mod state;
mod stream;

pub(crate) use refusal::text;
pub(crate) use server::TOPIC;
pub(crate) use state::{Call, PERMANENT, PublishScript, Published, Script, StreamSeen};

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PubsubMessage;
use state::State;
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::task::JoinHandle;
use tonic::{Status, transport::server::TcpIncoming};

/// How often the server looks for something to do, as the emulator does every 50 ms.
const TICK: Duration = Duration::from_millis(5);

/// The server; it ends with this.
#[derive(Debug)]
pub(crate) struct Fake {
    endpoint: String,
    shared: Shared,
    server: JoinHandle<()>,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap()
}

impl Fake {
    /// Serves on a port of its own.
    pub(crate) async fn start(script: Script) -> Fake {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = format!("http://{}", incoming.local_addr().unwrap());
        let shared = Shared::new(Mutex::new(State::new(script)));
        let serving = server::serve(shared.clone(), incoming);
        Fake { endpoint, shared, server: tokio::spawn(serving) }
    }

    /// Its address as a URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Puts messages with these bodies into the subscription.
    pub(crate) fn put(&self, bodies: impl IntoIterator<Item = impl ToString>) {
        for body in bodies {
            let data = body.to_string().into_bytes().into();
            lock(&self.shared).publish(PubsubMessage { data, ..PubsubMessage::default() });
        }
    }

    /// Changes what it does from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut lock(&self.shared).script);
    }

    /// Ends all open streams with this error.
    pub(crate) fn reset(&self, status: Status) {
        lock(&self.shared).reset(&status);
    }

    /// From now on the streams that are open bring nothing, and stay open. New ones are served.
    pub(crate) fn silence(&self) {
        lock(&self.shared).silence();
    }

    /// The calls of this method so far.
    pub(crate) fn calls(&self, method: &str) -> Vec<Call> {
        lock(&self.shared).calls.iter().filter(|call| call.method == method).cloned().collect()
    }

    /// All calls so far.
    pub(crate) fn all_calls(&self) -> Vec<Call> {
        lock(&self.shared).calls.clone()
    }

    /// The streams so far, refused ones too.
    pub(crate) fn streams(&self) -> Vec<StreamSeen> {
        lock(&self.shared).streams()
    }

    /// The bodies that were acknowledged, in order.
    pub(crate) fn acked(&self) -> Vec<String> {
        lock(&self.shared).acked.clone()
    }

    /// The bodies that were given back, in order.
    pub(crate) fn nacked(&self) -> Vec<String> {
        lock(&self.shared).nacked.clone()
    }

    /// The bodies whose lease was ever extended, once each.
    pub(crate) fn extended(&self) -> Vec<String> {
        lock(&self.shared).extended.iter().cloned().collect()
    }

    /// How many messages are leased, and how many wait.
    pub(crate) fn held(&self) -> (usize, usize) {
        lock(&self.shared).leases.count()
    }

    /// The most messages that were ever leased at once.
    pub(crate) fn most_leased(&self) -> usize {
        lock(&self.shared).most_leased
    }

    /// How many leases ran out.
    pub(crate) fn expired(&self) -> usize {
        lock(&self.shared).expired
    }

    /// What was published, in the order it was taken.
    pub(crate) fn published(&self) -> Vec<PubsubMessage> {
        lock(&self.shared).published.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}
