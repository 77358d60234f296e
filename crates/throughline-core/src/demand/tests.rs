use super::*;
use futures_util::future::FutureExt;

const P0: PartitionIndex = PartitionIndex(0);
const P1: PartitionIndex = PartitionIndex(1);

#[test]
fn room_shrinks_with_what_is_taken_and_comes_back() {
    let (control, demand) = Demand::new(Capacity { messages: 4, bytes: 100 });
    assert_eq!(demand.free(), 4);
    control.take(P0, 3, 30);
    assert_eq!(demand.free(), 1);
    let changed = demand.changed();
    control.take(P0, 1, 80);
    assert_eq!(demand.free(), 0);
    control.release([(P0, 1, 80), (P0, 3, 30)]);
    assert_eq!((demand.free(), control.held()), (4, (0, 0)));
    assert!(changed.now_or_never().is_some(), "a source that had no room is told of it");
}

#[test]
fn a_source_of_a_worker_that_takes_one_at_a_time_is_told_of_room() {
    let (control, demand) = Demand::new(Capacity { messages: 1, bytes: 100 });
    control.take(P0, 1, 1);
    let changed = demand.changed();
    control.release([(P0, 1, 1)]);
    assert!(changed.now_or_never().is_some());
}

#[test]
fn bytes_close_the_door_too_but_never_to_a_single_message() {
    let (control, demand) = Demand::new(Capacity { messages: 100, bytes: 10 });
    control.take(P0, 1, 50);
    assert_eq!(demand.free(), 0);
    control.release([(P0, 1, 50)]);
    assert!(demand.free() > 0);
}

#[test]
fn a_partition_at_its_share_is_blocked_alone() {
    let (control, demand) = Demand::new(Capacity { messages: 4, bytes: 1000 });
    demand.assign(P0);
    demand.assign(P1);
    let changed = demand.changed();
    control.take(P0, 3, 3);
    assert!(demand.blocked(P0) && !demand.blocked(P1) && demand.free() == 1);
    assert!(changed.now_or_never().is_some());
    control.release([(P0, 2, 2)]);
    assert!(!demand.blocked(P0));
}

#[test]
fn what_is_stuck_does_not_keep_the_rest_of_its_partition_away() {
    let (control, demand) = Demand::new(Capacity { messages: 40, bytes: 1000 });
    (0..4).for_each(|n| demand.assign(PartitionIndex(n)));
    control.take(P0, 37, 37);
    assert!(demand.blocked(P0));
    control.release([(P0, 4, 4)]);
    assert!(demand.blocked(P0), "not at each place that comes free");
    control.release([(P0, 1, 1)]);
    assert!(!demand.blocked(P0), "what stays may be stuck for good, and there is room beside it");
}

#[test]
fn pause_resume_and_stop_are_told() {
    let (control, demand) = Demand::new(Capacity { messages: 4, bytes: 1000 });
    let mut changed = demand.changed();
    assert!((&mut changed).now_or_never().is_none());
    control.pause();
    assert!(changed.now_or_never().is_some() && demand.free() == 0);
    control.resume();
    assert_eq!(demand.free(), 4);
    control.stop();
    control.resume();
    assert!(demand.stopping() && demand.free() == 0);
}
