//! Each class is found in a ledger that has it, and in none that has not.

use super::*;
use crate::lines::scratch::Scratch;
use std::io::Write;

fn meta(demands: Demands) -> Meta {
    Meta { guarantee: "G2".into(), broker: "kafka".into(), tier: 1, started: 1, demands }
}

/// The row of a ledger whose entries happen one after the other.
fn row(demands: Demands, entries: &[Entry<'_>]) -> Row {
    let folder = Scratch::new("ledger");
    let ledger = Ledger::begin(folder.path().join("run"), &meta(demands)).unwrap();
    for (n, entry) in entries.iter().enumerate() {
        let pid = entry.pid.max(1);
        ledger.record(entry.clone().by(n as u64 * 1_000_000 + 2, pid)).unwrap();
    }
    check(folder.path().join("run")).unwrap()
}

fn ev(ev: Ev, id: u64) -> Entry<'static> {
    Entry::new(ev, id).key("k").at(0, id as i64)
}

/// Messages 0, 1 and 2 of one key, each handled in turn, then committed.
fn good() -> Vec<Entry<'static>> {
    let mut entries: Vec<_> = (0..3).map(|id| ev(Ev::Produced, id)).collect();
    for id in 0..3 {
        entries.extend([Ev::Delivered, Ev::Started, Ev::Finished, Ev::Acked].map(|what| ev(what, id)));
    }
    entries.push(Entry::committed(0, 3));
    entries
}

fn all() -> Demands {
    Demands::new().ids(3).parked(0).kills(0).duplicates(0).order().commits()
}

#[test]
fn a_good_ledger_gives_a_row_that_is_ok() {
    let row = row(all(), &good());
    assert!(row.ok, "{row}");
    assert_eq!((row.lost, row.duplicates, row.reordered, row.committed_past_open), (0, 0, Some(0), Some(0)));
}

#[test]
fn the_line_has_the_fields_that_readers_know() {
    let mut entries = good();
    entries.push(ev(Ev::Finished, 1));
    let mut row = row(Demands::new(), &entries);
    row.seconds = 41.0;
    assert_eq!(
        row.to_string(),
        r#"{"id":"G2","broker":"kafka","tier":1,"ids":3,"lost":0,"duplicates":1,"seconds":41.0}"#
    );
}

#[test]
fn what_was_never_done_is_lost() {
    let without = |id| good().into_iter().filter(move |e| e.id != Some(id) || e.ev == Ev::Produced);
    let entries: Vec<_> = without(1).collect();
    let bad = row(Demands::new(), &entries);
    assert_eq!((bad.lost, bad.ok, &*bad.why), (1, false, "1 lost"));
    // In the dead letters it is not lost.
    let parked: Vec<_> = without(1).chain([ev(Ev::Parked, 1)]).collect();
    let row = row(Demands::new().parked(1), &parked);
    assert!(row.ok && row.lost == 0, "{row}");
}

#[test]
fn failed_is_not_done() {
    let mut entries = good();
    entries.iter_mut().filter(|e| e.id == Some(2) && e.ev == Ev::Finished).for_each(|e| e.ev = Ev::Failed);
    entries.retain(|e| e.ev != Ev::Acked);
    assert_eq!(row(Demands::new(), &entries).lost, 1);
}

#[test]
fn what_was_done_twice_is_a_duplicate_and_kills_allow_for_some() {
    let mut entries = good();
    entries.extend([ev(Ev::Finished, 1), ev(Ev::Finished, 1), ev(Ev::Finished, 2)]);
    let counted = row(Demands::new(), &entries);
    assert!(counted.ok && counted.duplicates == 3);
    assert!(!row(Demands::new().duplicates(2), &entries).ok);
    assert!(!row(Demands::new().duplicates_per_kill(3), &entries).ok);
    entries.push(Entry::killed(7));
    assert!(row(Demands::new().duplicates_per_kill(3).kills(1), &entries).ok);
}

#[test]
fn a_start_before_an_earlier_one_is_done_is_out_of_order() {
    let produced = (0..3).map(|id| ev(Ev::Produced, id));
    let handled = |ids: [u64; 3]| ids.into_iter().flat_map(|id| [ev(Ev::Started, id), ev(Ev::Finished, id)]);
    let entries: Vec<_> = produced.clone().chain(handled([0, 2, 1])).collect();
    let bad = row(Demands::new().order(), &entries);
    assert_eq!((bad.reordered, bad.ok), (Some(1), false));

    // Failed, overtaken and tried again: the first starts are in order, what was done is not.
    let overtaken = [
        ev(Ev::Started, 0),
        ev(Ev::Failed, 0),
        ev(Ev::Started, 1),
        ev(Ev::Finished, 1),
        ev(Ev::Started, 0),
        ev(Ev::Finished, 0),
        ev(Ev::Started, 2),
        ev(Ev::Finished, 2),
    ];
    let entries: Vec<_> = produced.clone().chain(overtaken).collect();
    assert_eq!(row(Demands::new().order(), &entries).reordered, Some(1));

    // Tried again in its place, and delivered again later: in order.
    let patient = [ev(Ev::Started, 0), ev(Ev::Failed, 0)].into_iter().chain(handled([0, 1, 2]));
    let again = [ev(Ev::Started, 0), ev(Ev::Finished, 0)];
    let entries: Vec<_> = produced.chain(patient).chain(again).collect();
    assert_eq!(row(Demands::new().order(), &entries).reordered, Some(0));
}

#[test]
fn produce_order_is_that_of_the_log_and_keys_do_not_mix() {
    // Acknowledgements written down the other way round than the log has them.
    let mut entries = good();
    entries.swap(0, 2);
    assert!(row(all(), &entries).ok);
    // Two keys side by side.
    let of = |key: &'static str, what, id| Entry::new(what, id).key(key);
    let entries = [
        of("a", Ev::Produced, 0),
        of("b", Ev::Produced, 1),
        of("a", Ev::Started, 0),
        of("b", Ev::Started, 1),
        of("b", Ev::Finished, 1),
        of("a", Ev::Finished, 0),
    ];
    assert!(row(Demands::new().order(), &entries).ok);
}

#[test]
fn two_handlers_of_a_key_at_once_are_out_of_order_unless_one_was_killed() {
    let start = |id, pid| ev(Ev::Started, id).by(0, pid);
    let done = |id, pid| ev(Ev::Finished, id).by(0, pid);
    let overlap = [ev(Ev::Produced, 0), start(0, 1), start(0, 2), done(0, 1), done(0, 2)];
    assert_eq!(row(Demands::new().order(), &overlap).reordered, Some(1));
    let killed = [ev(Ev::Produced, 0), start(0, 1), Entry::killed(1), start(0, 2), done(0, 2)];
    assert_eq!(row(Demands::new().order(), &killed).reordered, Some(0));
}

#[test]
fn a_commit_past_an_open_message_is_found() {
    let of = |what, id| Entry::new(what, id).at(0, id as i64);
    let early = [
        of(Ev::Produced, 0),
        of(Ev::Produced, 1),
        of(Ev::Delivered, 0),
        of(Ev::Delivered, 1),
        of(Ev::Finished, 1),
        Entry::committed(0, 2),
        of(Ev::Finished, 0),
        Entry::committed(0, 2),
    ];
    let bad = row(Demands::new().commits(), &early);
    assert_eq!((bad.committed_past_open, bad.ok), (Some(1), false));
    assert_eq!(bad.lost, 0, "it is wrong even if nothing came of it");

    // The same, parked in time; and with the commit below it.
    for (what, upto) in [(Ev::Parked, 2), (Ev::Failed, 0)] {
        let mut entries = early.to_vec();
        entries[5] = Entry::committed(0, upto);
        entries.insert(5, of(what, 0));
        assert!(row(Demands::new().commits(), &entries).ok, "{what:?}");
    }
    // Other partitions and topics do not count.
    for commit in [Entry::committed(1, 2), Entry::committed(0, 2).topic("other")] {
        let mut entries = early.to_vec();
        entries[5] = commit;
        assert!(row(Demands::new().commits(), &entries).ok);
    }
}

#[test]
fn a_commit_that_passes_what_was_never_delivered_is_found() {
    let mut entries = good();
    entries.insert(3, ev(Ev::Produced, 3));
    entries.pop();
    entries.push(Entry::committed(0, 4));
    let row = row(Demands::new().commits(), &entries);
    assert_eq!((row.committed_past_open, row.lost), (Some(1), 1));
}

#[test]
fn a_commit_never_goes_back() {
    let mut entries = good();
    entries.extend([Entry::committed(0, 2), Entry::committed(0, 3)]);
    let row = row(Demands::new().commits(), &entries);
    assert_eq!((row.went_back, row.ok), (Some(1), false));
}

#[test]
fn a_demand_without_anything_to_judge_by_fails() {
    assert!(!row(Demands::new(), &[]).ok, "nothing was produced");
    let bare: Vec<_> = good().into_iter().filter(|e| matches!(e.ev, Ev::Produced | Ev::Finished)).collect();
    assert!(row(Demands::new(), &bare).ok);
    assert!(!row(Demands::new().order(), &bare).ok && !row(Demands::new().commits(), &bare).ok);
    for demands in [Demands::new().ids(4), Demands::new().kills(1), Demands::new().parked(1)] {
        assert!(!row(demands, &good()).ok);
    }
}

#[test]
fn several_files_are_one_run_by_time_and_torn_or_strange_lines_do_no_harm() {
    let folder = Scratch::new("merge");
    let path = folder.path();
    let _ = Ledger::begin(path, &meta(all())).unwrap();
    let write = |name: &str, entries: &[Entry<'_>], end: &str| {
        let mut file = std::fs::File::create(path.join(name)).unwrap();
        for entry in entries {
            writeln!(file, "{}", serde_json::to_string(entry).unwrap()).unwrap();
        }
        file.write_all(end.as_bytes()).unwrap();
    };
    let timed: Vec<_> = good().into_iter().enumerate().map(|(n, e)| e.by(n as u64 + 2, 1)).collect();
    let (first, second) = timed.split_at(8);
    // By their names the files come in the wrong order.
    write("1.jsonl", second, r#"{"t":99,"pid":1,"ev":"finis"#);
    write("2.jsonl", first, "{\"t\":9,\"pid\":2,\"ev\":\"weather\",\"sky\":\"blue\"}\n");
    let row = check(path).unwrap();
    assert!(row.ok, "{row}");

    std::fs::write(path.join("3.jsonl"), "garbage\n").unwrap();
    assert!(check(path).unwrap_err().to_string().contains("3.jsonl, line 1"));
}

#[test]
fn a_run_without_meta_is_not_ok() {
    let folder = Scratch::new("nometa");
    let ledger = Ledger::join(folder.path()).unwrap();
    ledger.record(ev(Ev::Produced, 1)).unwrap();
    let row = check(folder.path()).unwrap();
    assert!(!row.ok && !row.why.is_empty());
}

#[test]
fn times_and_process_are_filled_in_and_a_run_begins_once() {
    let folder = Scratch::new("begin");
    let demands = meta(Demands::new().ids(2));
    let ledger = Ledger::begin(folder.path(), &Meta { started: 0, ..demands.clone() }).unwrap();
    ledger.record_all([1, 2].map(|id| Entry::new(Ev::Produced, id))).unwrap();
    ledger.record_all([1, 2].map(|id| Entry::new(Ev::Finished, id))).unwrap();
    let row = check(folder.path()).unwrap();
    assert!(row.ok && row.seconds < 60.0, "{row}");
    assert!(Ledger::begin(folder.path(), &demands).is_err());
}

#[test]
fn a_large_run_is_read_in_seconds() {
    let folder = Scratch::new("large");
    let ledger = Ledger::begin(folder.path(), &meta(Demands::new().ids(50_000).order().commits())).unwrap();
    for id in 0..50_000 {
        let of =
            |what| Entry::new(what, id).key(format!("{}", id % 100)).at((id % 6) as i32, (id / 6) as i64);
        ledger.record_all([Ev::Produced, Ev::Started, Ev::Finished].map(of)).unwrap();
    }
    (0..6).for_each(|partition| ledger.record(Entry::committed(partition, 8_333)).unwrap());
    let began = std::time::Instant::now();
    let row = check(folder.path()).unwrap();
    assert!(row.ok, "{row}");
    assert!(began.elapsed().as_secs() < 20);
}
