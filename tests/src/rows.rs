//! Ledgers of guarantee scenarios.

use crate::Site;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use throughline_test::{Demands, Entry, Ledger, Meta, Row, check};

/// One run of one guarantee: its ledger goes where `THROUGHLINE_LEDGERS` says, to be judged from outside as well; else
/// to a folder that goes away with the run.
#[derive(Clone, Debug)]
pub struct Run {
    ledger: Ledger,
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Run {
    /// Begins a run.
    pub fn begin<B: Site>(broker: &B, guarantee: &str, demands: Demands) -> Run {
        let root = std::env::var_os("THROUGHLINE_LEDGERS");
        let name = broker.fresh_name(&format!("{guarantee}-{}", B::NAME));
        let folder = match &root {
            Some(root) => Path::new(root).join(name),
            None => scratch().join(name),
        };
        let (guarantee, broker) = (guarantee.to_owned(), B::NAME.to_owned());
        let meta = Meta { guarantee, broker, tier: tier(), started: 0, demands };
        let ledger = Ledger::begin(&folder, &meta).unwrap();
        Run { ledger, folder: Arc::new(Folder { path: folder, keep: root.is_some() }) }
    }

    /// Writes one line.
    pub fn record(&self, entry: Entry<'_>) {
        self.ledger.record(entry).unwrap();
    }

    /// Where other processes write their part.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// What the run shows so far.
    pub fn row(&self) -> Row {
        check(&self.folder.path).unwrap()
    }

    /// Judges the run, and gives its row.
    pub fn conclude(&self) -> Row {
        let row = self.row();
        assert!(row.ok, "{row}");
        row
    }
}

/// The first number, or the larger one if `cargo xtask test --soak` asks for that (tier 2).
pub fn by_tier(first: u64, larger: u64) -> u64 {
    if tier() < 2 { first } else { larger }
}

fn tier() -> u8 {
    std::env::var("THROUGHLINE_TIER").ok().and_then(|tier| tier.parse().ok()).unwrap_or(1)
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// `target/tmp`: a test binary is in `target/<profile>/deps`.
fn scratch() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap_or(Path::new(".")).join("tmp")
}
