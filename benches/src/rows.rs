//! What a bench found: a line for people, and a JSON line for `cargo xtask bench`.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

/// The goal of one value, from BENCHMARKS.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// There for comparison.
    None,
}

/// The results of one bench.
#[derive(Debug)]
pub struct Rows {
    file: File,
}

impl Rows {
    /// Written to a file of this name in the folder that `THROUGHLINE_BENCH` names, else in `target/bench`.
    ///
    /// # Errors
    /// The file could not be made.
    pub fn open(bench: &str) -> io::Result<Self> {
        let folder = folder();
        std::fs::create_dir_all(&folder)?;
        Ok(Rows { file: File::create(folder.join(format!("{bench}.json")))? })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// It could not be written.
    pub fn add(&mut self, id: &str, what: &str, value: f64, unit: &str, target: Target) -> io::Result<()> {
        let value = round(value);
        let (words, ok) = match target {
            Target::AtMost(limit) => (format!("<= {limit}"), Some(value <= limit)),
            Target::AtLeast(limit) => (format!(">= {limit}"), Some(value >= limit)),
            Target::None => (String::new(), None),
        };
        let met = match ok {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{id:<4} {what:<78} {value:>10} {unit:<22} {words:<9} {met}")?;
        let ok = ok.map_or("null".to_owned(), |ok| ok.to_string());
        let what = serde_json::Value::from(what);
        writeln!(
            self.file,
            r#"{{"id":"{id}","what":{what},"value":{value},"unit":"{unit}","target":"{words}","ok":{ok}}}"#
        )
    }

    /// Adds a row that could not be measured here, and says so where nobody can miss it.
    ///
    /// # Errors
    /// It could not be written.
    pub fn skipped(&mut self, id: &str, what: &str, why: &str) -> io::Result<()> {
        writeln!(io::stderr(), "\n*** {id} was SKIPPED: {why} ***\n")?;
        let what = serde_json::Value::from(what);
        let value = serde_json::Value::from(format!("skipped: {why}"));
        writeln!(self.file, r#"{{"id":"{id}","what":{what},"value":{value}}}"#)
    }
}

/// Where results and profiles go.
pub fn folder() -> PathBuf {
    match std::env::var_os("THROUGHLINE_BENCH") {
        Some(folder) => folder.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench")),
    }
}

/// Three figures are more than a shared machine can say twice.
fn round(value: f64) -> f64 {
    if value.abs() >= 100.0 { value.round() } else { (value * 1000.0).round() / 1000.0 }
}
