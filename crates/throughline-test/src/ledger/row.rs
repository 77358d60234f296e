//! What a run showed, as a line of `guarantees.jsonl`.

use serde::Serialize;
use std::fmt;

/// What a run showed. Displays as one line of JSON: the fields that every row has, and of the rest those that are not
/// zero or were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The promise, as `G5`.
    pub id: String,
    /// The broker.
    pub broker: String,
    /// The tier.
    pub tier: u8,
    /// Distinct ids whose publish was acknowledged.
    pub ids: u64,
    /// Of these, how many were neither handled nor parked.
    pub lost: u64,
    /// Completions beyond the first of each id.
    pub duplicates: u64,
    /// Messages that were started before an earlier one of their key was done, or beside another of their key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordered: Option<u64>,
    /// Messages that were open when a commit passed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_past_open: Option<u64>,
    /// Commits that went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub went_back: Option<u64>,
    /// Messages in the dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<u64>,
    /// Processes that were killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kills: Option<u64>,
    /// Ids that were handled though their publish is not in the ledger: its acknowledgement was lost with a killed
    /// producer, or they are somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<u64>,
    /// From the start to the last entry, to a tenth of a second.
    pub seconds: f64,
    /// Whether everything that was asked for holds.
    #[serde(skip_serializing_if = "is_true")]
    pub ok: bool,
    /// What does not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&line)
    }
}

fn is_true(ok: &bool) -> bool {
    *ok
}
