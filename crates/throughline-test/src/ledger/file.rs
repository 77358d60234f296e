//! Writing a ledger.

use super::{Entry, Meta};
use crate::lines::Lines;
use serde::Serialize;
use std::{
    cell::RefCell,
    io,
    path::Path,
    process,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A ledger that several processes write, each to a file of its own in the run's folder.
///
/// Every call is one `write(2)`: what it returned from survives a SIGKILL, so a handler that writes
/// [`Finished`](super::Ev::Finished) before it answers can be believed. Nothing is synced, locked or kept back; an
/// entry costs about two microseconds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    lines: Arc<Lines>,
    pid: u32,
}

#[derive(Serialize)]
struct MetaLine<'a> {
    ev: &'static str,
    #[serde(flatten)]
    meta: &'a Meta,
}

impl Ledger {
    /// Begins a run: makes the folder and writes what is asked of it.
    ///
    /// # Errors
    /// What the operating system says; a run that was begun already is one of them.
    pub fn begin(folder: impl AsRef<Path>, meta: &Meta) -> io::Result<Ledger> {
        let mut meta = meta.clone();
        if meta.started == 0 {
            meta.started = now();
        }
        let mut line = serde_json::to_vec(&MetaLine { ev: "meta", meta: &meta })?;
        line.push(b'\n');
        std::fs::create_dir_all(folder.as_ref())?;
        let path = folder.as_ref().join("meta.jsonl");
        drop(std::fs::File::create_new(&path)?);
        Lines::append(&path)?.write(&line)?;
        Ledger::join(folder)
    }

    /// Takes part in a run that another process began, or is about to begin.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn join(folder: impl AsRef<Path>) -> io::Result<Ledger> {
        let pid = process::id();
        let lines = Arc::new(Lines::append(&folder.as_ref().join(format!("{pid}.jsonl")))?);
        Ok(Ledger { lines, pid })
    }

    /// Writes one entry; time and process are filled in where they are 0.
    ///
    /// # Errors
    /// What the operating system says. A ledger that cannot be written proves nothing: fail the test.
    pub fn record(&self, entry: Entry<'_>) -> io::Result<()> {
        self.record_all([entry])
    }

    /// Writes several with one call.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_all<'a>(&self, entries: impl IntoIterator<Item = Entry<'a>>) -> io::Result<()> {
        LINE.with_borrow_mut(|line| {
            line.clear();
            let now = now();
            for mut entry in entries {
                if entry.t == 0 {
                    entry.t = now;
                }
                if entry.pid == 0 {
                    entry.pid = self.pid;
                }
                serde_json::to_writer(&mut *line, &entry)?;
                line.push(b'\n');
            }
            self.lines.write(line)
        })
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
