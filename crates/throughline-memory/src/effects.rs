//! What a change of the broker's state causes outside of it, done after the lock is free.

use std::{collections::BTreeMap, task::Waker};
use throughline_core::LeaseOwner;

/// Wakers to wake and leases to end. Both run code of others, so never under the lock.
#[derive(Default)]
pub(crate) struct Effects {
    wakers: Vec<Waker>,
    lost: Vec<LeaseOwner>,
}

impl Effects {
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }

    pub(crate) fn lose(&mut self, lease: LeaseOwner) {
        self.lost.push(lease);
    }

    /// Leases first: who is woken shall see them lost.
    pub(crate) fn run(self) {
        self.lost.iter().for_each(LeaseOwner::lose);
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

/// Those who wait for one thing, each under a number of its own, so that one who gives up leaves nothing behind.
#[derive(Default)]
pub(crate) struct Waiters(BTreeMap<u64, Waker>);

impl Waiters {
    pub(crate) fn wait(&mut self, id: u64, waker: &Waker) {
        self.0.entry(id).and_modify(|old| old.clone_from(waker)).or_insert_with(|| waker.clone());
    }

    pub(crate) fn forget(&mut self, id: u64) {
        self.0.remove(&id);
    }

    pub(crate) fn wake(&mut self, effects: &mut Effects) {
        if !self.0.is_empty() {
            effects.wakers.extend(std::mem::take(&mut self.0).into_values());
        }
    }
}
