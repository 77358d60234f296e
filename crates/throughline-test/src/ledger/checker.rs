//! Reading a ledger.

use super::{Demands, Entry, Ev, Meta, Row, keys::Keys, places::Places};
use crate::lines;
use std::{collections::HashMap, io, path::Path};

/// What happened to one id.
#[derive(Default)]
struct Fate {
    produced: bool,
    finished: u64,
    acked: u64,
    parked: bool,
}

/// Computes the row of one run: of a ledger file, or of the `.jsonl` files right in a folder, in the order of their
/// times. Lines that a killed process left unfinished are passed over.
///
/// # Errors
/// What the operating system says, and any other line that is no entry. A run that shows too little is not an error
/// but a row that is not ok.
pub fn check(run: impl AsRef<Path>) -> io::Result<Row> {
    let run = run.as_ref();
    let (meta, entries) = read(run)?;
    let Some(meta) = meta else {
        let id = run.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(Row { id, why: "has no line that says what was asked".to_owned(), ..Row::default() });
    };
    Ok(row(meta, &entries))
}

/// All that was written of one run so far, in the order of time, for what a row does not show.
///
/// # Errors
/// As [`check`].
pub fn entries(run: impl AsRef<Path>) -> io::Result<Vec<Entry<'static>>> {
    Ok(read(run.as_ref())?.1)
}

fn read(run: &Path) -> io::Result<(Option<Meta>, Vec<Entry<'static>>)> {
    let mut meta: Option<Meta> = None;
    let mut entries: Vec<Entry<'static>> = Vec::new();
    for file in lines::files(run)? {
        lines::read(&file, |line| {
            if line.starts_with(br#"{"ev":"meta","#) {
                meta = Some(serde_json::from_slice(line)?);
            } else {
                entries.push(serde_json::from_slice::<Entry<'_>>(line)?.into_owned());
            }
            Ok(())
        })?;
    }
    entries.sort_by_key(|entry| entry.t);
    Ok((meta, entries))
}

fn row(meta: Meta, entries: &[Entry<'_>]) -> Row {
    let (mut keys, mut places) = (Keys::new(entries), Places::default());
    let mut fates: HashMap<u64, Fate> = HashMap::new();
    let mut killed = 0;
    for entry in entries {
        keys.next(entry);
        places.next(entry);
        killed += u64::from(entry.ev == Ev::Killed);
        let Some(id) = entry.id else { continue };
        let fate = fates.entry(id).or_default();
        match entry.ev {
            Ev::Produced => fate.produced = true,
            Ev::Finished => fate.finished += 1,
            Ev::Acked => fate.acked += 1,
            Ev::Parked => fate.parked = true,
            _ => {}
        }
    }
    let produced = || fates.values().filter(|fate| fate.produced);
    let completed = |fate: &Fate| fate.finished.max(fate.acked);
    let lost = produced().filter(|fate| completed(fate) == 0 && !fate.parked).count() as u64;
    let ids = produced().count() as u64;
    let duplicates = fates.values().map(|fate| completed(fate).saturating_sub(1)).sum::<u64>();
    let parked = fates.values().filter(|fate| fate.parked).count() as u64;
    let unknown = fates.values().filter(|fate| !fate.produced).count() as u64;
    let last = entries.last().map_or(meta.started, |entry| entry.t);
    let seconds = (last.saturating_sub(meta.started) as f64 / 1e8).round() / 10.0;

    let asked = meta.demands;
    let why = unmet(&asked, &Found { ids, lost, duplicates, parked, killed, keys: &keys, places: &places });
    let shown = |count: u64, asked: bool| (count > 0 || asked).then_some(count);
    Row {
        id: meta.guarantee,
        broker: meta.broker,
        tier: meta.tier,
        ids,
        lost,
        duplicates,
        reordered: shown(keys.reordered(), asked.order),
        committed_past_open: shown(places.passed, asked.commits),
        went_back: shown(places.went_back, false),
        parked: shown(parked, asked.parked.is_some()),
        kills: shown(killed, asked.kills.is_some()),
        unknown: shown(unknown, false),
        seconds,
        ok: why.is_empty(),
        why: why.join("; "),
    }
}

struct Found<'a> {
    ids: u64,
    lost: u64,
    duplicates: u64,
    parked: u64,
    killed: u64,
    keys: &'a Keys,
    places: &'a Places<'a>,
}

fn unmet(asked: &Demands, found: &Found<'_>) -> Vec<String> {
    let mut why = Vec::new();
    if found.ids == 0 && asked.ids != Some(0) {
        why.push("nothing was produced".to_owned());
    }
    if asked.lost && found.lost > 0 {
        why.push(format!("{} lost", found.lost));
    }
    for (what, asked, found) in [
        ("ids", asked.ids, found.ids),
        ("parked", asked.parked, found.parked),
        ("kills", asked.kills, found.killed),
    ] {
        if let Some(asked) = asked.filter(|asked| *asked != found) {
            why.push(format!("{found} {what}, must be {asked}"));
        }
    }
    if asked.duplicates.is_some() || asked.duplicates_per_kill.is_some() {
        let bound = asked.duplicates.unwrap_or(0) + asked.duplicates_per_kill.unwrap_or(0) * found.killed;
        if found.duplicates > bound {
            why.push(format!("{} duplicates, must be at most {bound}", found.duplicates));
        }
    }
    if asked.order && !found.keys.seen {
        why.push("no start of a message with a key was written".to_owned());
    }
    if asked.order && found.keys.reordered() > 0 {
        why.push(format!("{} out of order within their key", found.keys.reordered()));
    }
    if asked.commits && !found.places.seen {
        why.push("no commit was written".to_owned());
    }
    if asked.commits && found.places.passed > 0 {
        why.push(format!("{} open messages passed by a commit", found.places.passed));
    }
    if asked.commits && found.places.went_back > 0 {
        why.push(format!("{} commits went back", found.places.went_back));
    }
    why
}
