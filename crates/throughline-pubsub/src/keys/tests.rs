use super::*;
use std::collections::HashSet;

const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    keys: Keys,
    now: Instant,
}

fn text(text: &str) -> ByteString {
    ByteString::from(text.to_owned())
}

impl Bench {
    fn new() -> Self {
        Bench { keys: Keys::new(PATIENCE), now: Instant::now() }
    }

    fn arrive(&mut self, id: &str) -> Arrival {
        self.keys.arrived(&text("a"), &text(id), self.now)
    }

    fn done(&mut self, id: &str) -> Option<String> {
        self.keys.done(&text("a"), &text(id), self.now).map(|id| id.to_string())
    }

    fn give_back(&mut self, id: &str) -> Vec<String> {
        let behind = self.keys.given_back(&text("a"), &text(id), true, self.now);
        behind.iter().map(ToString::to_string).collect()
    }

    /// What is freed, and what is returned.
    fn later(&mut self, time: Duration) -> [Vec<String>; 2] {
        self.now += time;
        let Looked { freed, returned } = self.keys.look(self.now);
        [freed, returned].map(|ids| ids.iter().map(ToString::to_string).collect())
    }
}

#[test]
fn one_at_a_time_and_in_order() {
    let mut bench = Bench::new();
    assert_eq!(bench.arrive("1"), Arrival::Start);
    assert_eq!((bench.arrive("2"), bench.arrive("3")), (Arrival::Wait, Arrival::Wait));
    assert_eq!(bench.done("1").as_deref(), Some("2"));
    assert_eq!(bench.done("2").as_deref(), Some("3"));
    assert_eq!(bench.done("3"), None);
    assert_eq!(bench.arrive("4"), Arrival::Start);
}

#[test]
fn after_a_nack_the_run_comes_again_in_its_order_however_it_is_delivered() {
    let mut bench = Bench::new();
    for id in ["1", "2", "3", "4"] {
        bench.arrive(id);
    }
    bench.done("1");
    assert_eq!(bench.give_back("2"), ["3", "4"], "what is behind it goes back with it");
    assert_eq!(bench.arrive("3"), Arrival::Wait, "2 comes before it");
    assert_eq!(bench.arrive("1"), Arrival::Done, "it was acknowledged");
    assert_eq!(bench.arrive("5"), Arrival::Wait, "a new one is behind all of them");
    assert_eq!(bench.arrive("2"), Arrival::Start);
    assert_eq!(bench.done("2").as_deref(), Some("3"));
    assert_eq!(bench.done("3"), None, "4 was given back and is not here again");
    assert_eq!(bench.arrive("4"), Arrival::Start);
    assert_eq!(bench.done("4").as_deref(), Some("5"));
}

#[test]
fn what_does_not_come_again_is_not_waited_for_for_ever() {
    let mut bench = Bench::new();
    bench.arrive("1");
    bench.arrive("2");
    bench.give_back("1");
    assert_eq!(bench.arrive("2"), Arrival::Wait);
    assert_eq!(bench.later(PATIENCE / 2), [vec![], vec!["2".to_owned()]], "1 may wait for it");
    assert_eq!(bench.arrive("2"), Arrival::Wait);
    assert_eq!(bench.later(PATIENCE / 2), [vec!["2".to_owned()], vec![]]);
    bench.done("2");
    bench.later(LINGER);
    assert!(bench.keys.is_empty(), "nothing of an idle key is kept");
}

#[test]
fn what_went_to_the_dead_letters_is_not_waited_for() {
    let mut bench = Bench::new();
    bench.arrive("1");
    bench.arrive("2");
    let behind = bench.keys.given_back(&text("a"), &text("1"), false, bench.now);
    assert_eq!(behind, [text("2")]);
    assert_eq!(bench.arrive("2"), Arrival::Start);
}

#[test]
fn whatever_is_delivered_again_nothing_overtakes() {
    for seed in 0..2_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::new();
        // The service: what is not acknowledged, and who of it is with us.
        let (all, mut here): (Vec<u32>, HashSet<u32>) = ((0..8).collect(), HashSet::new());
        let (mut acked, mut started, mut current) = (HashSet::new(), Vec::new(), None);
        // The first delivery is in order.
        for &n in &all {
            here.insert(n);
            if bench.arrive(&n.to_string()) == Arrival::Start {
                current = Some(n);
            }
        }
        while let Some(n) = current.take() {
            started.push(n);
            if random.u8(..4) > 0 {
                here.remove(&n);
                acked.insert(n);
                current = bench.done(&n.to_string()).and_then(|id| id.parse().ok());
            } else {
                here.remove(&n);
                for id in bench.give_back(&n.to_string()) {
                    here.remove(&id.parse().unwrap());
                }
            }
            if current.is_none() {
                // Again, in any order, acknowledged ones among them.
                let mut again: Vec<u32> = all.iter().copied().filter(|n| !here.contains(n)).collect();
                random.shuffle(&mut again);
                for n in again {
                    match bench.arrive(&n.to_string()) {
                        Arrival::Done => assert!(acked.contains(&n), "seed {seed}: {n} was not done"),
                        Arrival::Start => {
                            assert!(current.replace(n).is_none(), "seed {seed}: two at a time");
                            here.insert(n);
                        }
                        Arrival::Wait => drop(here.insert(n)),
                    }
                }
            }
            let before = |n: u32| (0..n).all(|earlier| acked.contains(&earlier));
            assert!(before(n), "seed {seed}: {n} overtook: {started:?}");
        }
        assert_eq!(acked.len(), all.len(), "seed {seed}: stuck: {started:?}");
    }
}
