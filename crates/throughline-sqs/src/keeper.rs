//! The task beside each source that keeps leases and sends answers.
//!
//! It lives apart from the receiving and from the handlers: a lease is kept whatever they do, also while a worker drains.

use crate::{
    calls::{Answered, Calls, Failures, Handle},
    desk::Desk,
    owed::{Answer, Batch, Entry},
};
use std::{sync::Arc, time::Duration};
use throughline_core::{Error, ErrorKind, Event, Settled, Settlement};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Calls under way at once.
const CALLS: usize = 32;
/// Nothing is due: somebody will say so.
const FAR: Duration = Duration::from_secs(3600);

/// Runs until the desk is closed.
pub(crate) async fn run(desk: Arc<Desk>, calls: Arc<Calls>) {
    let mut under_way = JoinSet::new();
    while !desk.is_closed() {
        let changed = desk.work.notified();
        let work = desk.take_work(CALLS.saturating_sub(under_way.len()));
        for batch in work.answers {
            let (desk, calls) = (desk.clone(), calls.clone());
            under_way.spawn(async move { answer(&desk, &calls, batch).await });
        }
        for batch in work.extensions {
            let (desk, calls) = (desk.clone(), calls.clone());
            under_way.spawn(async move { extend(&desk, &calls, batch).await });
        }
        let next = work.next.unwrap_or_else(|| Instant::now() + FAR);
        tokio::select! {
            () = changed => {}
            Some(_) = under_way.join_next() => {}
            // While every call is taken, what is due has to wait for one of them.
            () = sleep_until(next), if under_way.len() < CALLS => {}
        }
    }
}

/// Sends the answers of one batch, and says what became of them.
async fn answer(desk: &Desk, calls: &Calls, batch: Batch) {
    let Batch { entries, tries, .. } = batch;
    let Some(how) = entries.first().map(|entry| entry.answer) else { return };
    let asked = Instant::now();
    let handle = |entry: &Entry| entry.claim.handle.clone();
    let result = match how {
        Answer::Delete => calls.delete(&entries.iter().map(handle).collect::<Vec<_>>()).await,
        Answer::Hide(_) => {
            let time = |entry: &Entry| match entry.answer {
                Answer::Hide(time) => time,
                Answer::Delete => Duration::ZERO,
            };
            calls.hide(&entries.iter().map(|entry| (handle(entry), time(entry))).collect::<Vec<_>>()).await
        }
    };
    let took = asked.elapsed();
    let how = match how {
        Answer::Delete => Settlement::Ack,
        Answer::Hide(time) => Settlement::retry_after(time),
    };
    let mut told = Told { desk, how, took, request_id: None };
    match result {
        Ok(Answered { failures, request_id }) => {
            told.request_id = request_id;
            let (confirmed, failed) = part(entries, failures);
            told.that(&confirmed, Ok(()));
            let given_up = sort_out(&told, failed, tries);
            desk.done(confirmed.len() + given_up);
        }
        Err(error) => {
            // The whole call failed, so all go together once more.
            let heals = error.is_retriable() || error.kind() == ErrorKind::Denied;
            let given_up = if heals { desk.again(entries, tries, false) } else { entries };
            told.that(&given_up, Err(&error));
            desk.done(given_up.len());
        }
    }
}

/// Tells what SQS said.
struct Told<'a> {
    desk: &'a Desk,
    how: Settlement,
    took: Duration,
    request_id: Option<String>,
}

impl Told<'_> {
    fn that(&self, entries: &[Entry], result: Result<(), &Error>) {
        if !entries.is_empty() {
            let contexts: Vec<_> = entries.iter().filter_map(|entry| entry.claim.context.clone()).collect();
            let settled = Settled::new(&self.desk.destination, entries.len(), self.how, result, self.took);
            let settled = settled.contexts(&contexts).request_id(self.request_id.as_deref());
            self.desk.observer.observe(Event::Settled(settled));
        }
    }
}

/// Those that were taken, and those that failed with the error of each.
fn part(entries: Vec<Entry>, mut failures: Failures) -> (Vec<Entry>, Vec<(Entry, Error)>) {
    let (mut taken, mut failed) = (Vec::with_capacity(entries.len()), Vec::new());
    for (at, entry) in entries.into_iter().enumerate() {
        match failures.iter().position(|(place, _)| *place == at) {
            Some(found) => failed.push((entry, failures.swap_remove(found).1)),
            None => taken.push(entry),
        }
    }
    (taken, failed)
}

/// Tries again, alone, what may succeed; gives how many answers will never be confirmed.
fn sort_out(told: &Told<'_>, failed: Vec<(Entry, Error)>, tries: u32) -> usize {
    let desk = told.desk;
    let mut given_up = 0;
    for (entry, error) in failed {
        let (id, is_done) = (entry.claim.id.clone(), entry.answer == Answer::Delete);
        let is_lost = error.kind() == ErrorKind::LeaseLost;
        let dead = if error.is_retriable() { desk.again(vec![entry], tries, true) } else { vec![entry] };
        given_up += dead.len();
        // What was not done is visible again whether it was told or not.
        if dead.is_empty() || (is_lost && !is_done) {
            continue;
        }
        tracing::warn!(message = &*id, error.r#type = error.kind().as_str(), %error, "SQS did not take an answer");
        told.that(&dead, Err(&error));
        if is_lost {
            desk.observer.observe(Event::LeaseLost { destination: &desk.destination, count: 1 });
        }
    }
    given_up
}

/// Extends leases.
async fn extend(desk: &Desk, calls: &Calls, batch: Vec<(u64, Handle, Duration)>) {
    let asked = Instant::now();
    let (tickets, handles): (Vec<u64>, Vec<_>) =
        batch.into_iter().map(|(ticket, handle, time)| (ticket, (handle, time))).unzip();
    match calls.hide(&handles).await {
        Ok(answered) => desk.extended(&tickets, asked, &answered.failures, false),
        Err(error) => {
            // An outage is told elsewhere; what nobody heals, like a permission that lacks, is told nowhere else.
            match error.is_retriable() {
                true => tracing::debug!(%error, "leases were not extended; trying again until they end"),
                false => tracing::warn!(%error, "leases were not extended; trying again until they end"),
            }
            desk.extended(&tickets, asked, &[], true);
        }
    }
}
