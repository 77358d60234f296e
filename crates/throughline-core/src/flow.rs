//! How much a sink may have under way: a bound in messages and bytes, with a queue of those who wait for room.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The room that the clones of a sink share, where a client takes whatever it is given.
#[derive(Debug)]
pub struct Flow {
    max_messages: usize,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: usize,
    bytes: usize,
    waiting: VecDeque<(u64, Waker)>,
    next: u64,
}

/// A place for one message, and the turn to get one; a sink that is ready has one. Dropping it frees both.
#[derive(Debug)]
pub struct Place {
    flow: Arc<Flow>,
    taken: bool,
    bytes: usize,
    turn: Option<u64>,
}

impl Flow {
    /// Room for so many messages, and for so many bytes of them; at least one of each.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Flow { max_messages: max_messages.max(1), max_bytes: max_bytes.max(1), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State) -> bool {
        state.messages < self.max_messages && state.bytes < self.max_bytes
    }

    fn release(&self, messages: usize, bytes: usize) {
        let mut state = self.state();
        state.messages -= messages;
        state.bytes -= bytes;
        let waker = if self.has_room(&state) { state.waiting.pop_front() } else { None };
        drop(state);
        if let Some((_, waker)) = waker {
            waker.wake();
        }
    }
}

impl Place {
    /// One that is not taken yet.
    pub fn new(flow: Arc<Flow>) -> Self {
        Place { flow, taken: false, bytes: 0, turn: None }
    }

    /// Takes the place, or waits for it: those who wait are woken in the order in which they came.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.taken {
            return Poll::Ready(());
        }
        let mut state = self.flow.state();
        let own = self.turn.and_then(|turn| state.waiting.iter().position(|(n, _)| *n == turn));
        if self.flow.has_room(&state) {
            own.map(|at| state.waiting.remove(at));
            state.messages += 1;
            // One that waits was woken for each place that became free; with more than one place free at once, the next
            // is told by who goes first.
            let next = if self.flow.has_room(&state) { state.waiting.pop_front() } else { None };
            drop(state);
            (self.taken, self.turn) = (true, None);
            if let Some((_, waker)) = next {
                waker.wake();
            }
            return Poll::Ready(());
        }
        match own {
            Some(at) => state.waiting[at].1.clone_from(cx.waker()),
            None => {
                let turn = state.next;
                state.next += 1;
                state.waiting.push_back((turn, cx.waker().clone()));
                self.turn = Some(turn);
            }
        }
        Poll::Pending
    }

    /// Whether it was taken: what is sent has to have one.
    pub fn is_taken(&self) -> bool {
        self.taken
    }

    /// Counts the message's bytes, now that it is known. May go over the bound by the messages that were ready.
    pub fn fill(&mut self, bytes: usize) {
        self.flow.state().bytes += bytes;
        self.bytes += bytes;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.taken {
            self.flow.release(1, self.bytes);
        } else if let Some(turn) = self.turn {
            let mut state = self.flow.state();
            let before = state.waiting.len();
            state.waiting.retain(|(n, _)| *n != turn);
            let was_woken = state.waiting.len() == before;
            drop(state);
            if was_woken {
                // It was our turn and we do not take it: the next one's.
                self.flow.release(0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn ready(place: &mut Place, count: &Arc<Count>) -> bool {
        place.poll_take(&mut Context::from_waker(&Waker::from(count.clone()))).is_ready()
    }

    #[test]
    fn a_full_producer_is_pending_and_wakes_one_for_each_place() {
        let flow = Arc::new(Flow::new(2, 100));
        let count = Arc::<Count>::default();
        let mut places: Vec<_> = (0..5).map(|_| Place::new(flow.clone())).collect();
        let got: Vec<_> = places.iter_mut().map(|place| ready(place, &count)).collect();
        assert_eq!(got, [true, true, false, false, false]);
        drop(places.remove(0));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        // The one that was woken goes away without taking its turn: the next is told.
        drop(places.remove(1));
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert!(ready(&mut places[1], &count));
        assert!(!ready(&mut places[2], &count));
    }

    #[test]
    fn bytes_close_the_door_too() {
        let flow = Arc::new(Flow::new(10, 100));
        let count = Arc::<Count>::default();
        let (mut a, mut b) = (Place::new(flow.clone()), Place::new(flow.clone()));
        assert!(ready(&mut a, &count));
        a.fill(100);
        assert!(!ready(&mut b, &count));
        drop(a);
        assert!(ready(&mut b, &count) && count.0.load(Ordering::SeqCst) == 1);
        drop(b);
        let state = flow.state();
        assert_eq!((state.messages, state.bytes, state.waiting.len()), (0, 0, 0));
    }

    #[test]
    fn two_places_that_become_free_at_once_wake_two() {
        let flow = Arc::new(Flow::new(3, 10));
        let count = Arc::<Count>::default();
        let mut places: Vec<_> = (0..3).map(|_| Place::new(flow.clone())).collect();
        assert!(ready(&mut places[0], &count));
        places[0].fill(10);
        assert!(!ready(&mut places[1], &count) && !ready(&mut places[2], &count));
        drop(places.remove(0));
        assert!(ready(&mut places[0], &count));
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert!(ready(&mut places[1], &count));
    }
}
