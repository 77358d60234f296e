//! The first line of a ledger: what run this is, and what is asked of it.

use serde::{Deserialize, Serialize};

/// What run this is, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The promise that is tested, as `G5`.
    pub guarantee: String,
    /// The broker, as `kafka`.
    pub broker: String,
    /// 1, or 2 for the larger numbers.
    pub tier: u8,
    /// When it began, in nanoseconds since 1970; 0 is replaced by the time of writing.
    #[serde(default)]
    pub started: u64,
    /// What makes the row fail.
    #[serde(default, rename = "expect")]
    pub demands: Demands,
}

impl Meta {
    /// A run of the smaller numbers that begins now.
    pub fn new(guarantee: impl Into<String>, broker: impl Into<String>, demands: Demands) -> Self {
        Meta { guarantee: guarantee.into(), broker: broker.into(), tier: 1, started: 0, demands }
    }
}

/// What makes a row fail. Everything else is counted all the same.
///
/// A demand that the ledger has no lines to judge by fails too: a test that forgot to write is not a test that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
#[must_use]
pub struct Demands {
    /// Nothing that was produced is lost. On unless switched off.
    pub lost: bool,
    /// Exactly so many ids were produced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<u64>,
    /// Exactly so many are in the dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<u64>,
    /// Exactly so many processes were killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kills: Option<u64>,
    /// At most so many duplicates, beside those that kills may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// At most so many more for each kill: in flight, buffer, and what is settled within one commit interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates_per_kill: Option<u64>,
    /// Handlers of one key run one after the other, in the order in which its messages were produced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub order: bool,
    /// No commit passes an open message, and none goes back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub commits: bool,
}

impl Default for Demands {
    fn default() -> Self {
        Demands {
            lost: true,
            ids: None,
            parked: None,
            kills: None,
            duplicates: None,
            duplicates_per_kill: None,
            order: false,
            commits: false,
        }
    }
}

impl Demands {
    /// That nothing is lost.
    pub fn new() -> Self {
        Demands::default()
    }

    /// Exactly so many ids were produced.
    pub fn ids(mut self, ids: u64) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Exactly so many are in the dead letters.
    pub fn parked(mut self, parked: u64) -> Self {
        self.parked = Some(parked);
        self
    }

    /// Exactly so many processes were killed.
    pub fn kills(mut self, kills: u64) -> Self {
        self.kills = Some(kills);
        self
    }

    /// At most so many duplicates, beside those that kills may make.
    pub fn duplicates(mut self, duplicates: u64) -> Self {
        self.duplicates = Some(duplicates);
        self
    }

    /// At most so many duplicates for each kill.
    pub fn duplicates_per_kill(mut self, duplicates: u64) -> Self {
        self.duplicates_per_kill = Some(duplicates);
        self
    }

    /// Order within a key.
    pub fn order(mut self) -> Self {
        self.order = true;
        self
    }

    /// Commits that pass no open message and never go back.
    pub fn commits(mut self) -> Self {
        self.commits = true;
        self
    }
}
