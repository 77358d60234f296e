//! `cargo xtask bench`: runs the benches of the `benches` member with a real broker up and writes `benches/RESULTS.md`.
//!
//! A bench appends its results as JSON lines to a file of its own under `target/bench/`:
//! `{"id":"B1","what":"...","value":802,"unit":"instructions","target":"<= 850","ok":true}`.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{
    brokers::fleet::Fleet,
    failure::{Outcome, While},
    process,
    workspace::Workspace,
};

const BENCHES: &str = "throughline-benches";

/// One measured value.
#[derive(Debug, Deserialize)]
struct Row {
    /// The row of BENCHMARKS it belongs to: `B1`.
    id: String,
    what: String,
    value: serde_json::Value,
    #[serde(default)]
    unit: String,
    /// In words; empty where a value stands only for comparison.
    #[serde(default)]
    target: String,
    /// `None` where there is no target.
    #[serde(default)]
    ok: Option<bool>,
}

/// Runs the bench binaries whose name contains `filter` and writes the table; `false` when a bench could not run. A
/// target that is missed is a row of the table, not a failure: wall time on a shared machine is no gate.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Outcome<bool> {
    let results = workspace.target("bench");
    if results.exists() {
        fs::remove_dir_all(&results).while_doing(format!("empty {}", results.display()))?;
    }
    fs::create_dir_all(&results).while_doing(format!("create {}", results.display()))?;
    let names = bench_names(workspace)?;
    let mut failed = Vec::new();
    {
        let fleet = Fleet::start(workspace)?;
        // Built before the first one runs, so that nothing compiles beside a measurement.
        if !process::run("cargo bench --no-run", &mut command(workspace, &["--no-run"]))? {
            return Ok(false);
        }
        for name in names.iter().filter(|name| filter.is_none_or(|filter| name.contains(filter))) {
            println!("\n==> {name}");
            let mut command = command(workspace, &["--bench", name]);
            fleet.tell(&mut command);
            if !process::run(name, command.env("THROUGHLINE_BENCH", &results))? {
                failed.push(name.clone());
            }
        }
    }
    let rows = read(&results)?;
    let table = table(&environment(workspace), &rows);
    print!("\n{table}");
    // A table of a part would look like the table of all.
    if filter.is_none() && failed.is_empty() {
        let path = workspace.root().join("benches/RESULTS.md");
        fs::write(&path, table).while_doing(format!("write {}", path.display()))?;
        println!("\nwritten to {}", path.display());
    }
    for name in &failed {
        eprintln!("xtask: bench {name} failed");
    }
    Ok(failed.is_empty())
}

fn command(workspace: &Workspace, words: &[&str]) -> Command {
    let mut command = workspace.cargo(&["bench", "--package", BENCHES, "--all-features"]);
    command.args(words);
    command
}

/// The bench targets of the member, in the order of cargo.
fn bench_names(workspace: &Workspace) -> Outcome<Vec<String>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: BTreeSet<String>,
    }
    let text = process::capture(
        "cargo metadata",
        &mut workspace.cargo(&["metadata", "--no-deps", "--format-version=1"]),
    )?;
    let metadata: Metadata = serde_json::from_str(&text).while_doing("read the output of cargo metadata")?;
    let package = metadata.packages.into_iter().find(|package| package.name == BENCHES);
    let targets = package.map(|package| package.targets).unwrap_or_default();
    Ok(targets.into_iter().filter(|target| target.kind.contains("bench")).map(|target| target.name).collect())
}

/// Every row of every `.json` file, in the order of their ids. A bench may keep other files beside them.
fn read(folder: &Path) -> Outcome<Vec<Row>> {
    let doing = || format!("read {}", folder.display());
    let mut rows = Vec::new();
    for entry in fs::read_dir(folder).while_doing(doing())? {
        let path = entry.while_doing(doing())?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).while_doing(format!("read {}", path.display()))?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let row: Row =
                serde_json::from_str(line).while_doing(format!("read a row of {}", path.display()))?;
            rows.push(row);
        }
    }
    // B2 before B10; within an id as written.
    rows.sort_by_key(|row| row.id.trim_start_matches('B').parse::<u32>().unwrap_or(u32::MAX));
    Ok(rows)
}

/// Name and value of what the numbers depend on.
fn environment(workspace: &Workspace) -> Vec<(&'static str, String)> {
    let says = |program: &str, words: &[&str]| {
        let output =
            Command::new(program).args(words).current_dir(workspace.root()).stdin(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
    };
    let cores =
        std::thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |cores| cores.to_string());
    let changed = match says("git", &["status", "--porcelain"]).as_str() {
        "unknown" => "",
        _ => " with changes",
    };
    let lock = fs::read_to_string(workspace.root().join("Cargo.lock")).unwrap_or_default();
    let versions = [
        "opentelemetry",
        "opentelemetry_sdk",
        "tower",
        "tokio",
        "actix",
        "rdkafka",
        "rdkafka-sys",
        "aws-sdk-sqs",
        "google-cloud-pubsub",
    ];
    let versions: Vec<_> =
        versions.iter().filter_map(|name| Some(format!("{name} {}", locked(&lock, name)?))).collect();
    vec![
        ("CPU", cpu()),
        ("cores", cores),
        ("system", says("uname", &["-srm"])),
        ("rustc", says("rustc", &["--version"])),
        ("date", says("date", &["-u", "+%Y-%m-%d"])),
        ("revision", format!("{}{changed}", says("git", &["rev-parse", "--short=12", "HEAD"]))),
        ("versions", versions.join(", ")),
    ]
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".to_owned(), |(_, model)| model.to_owned())
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(after.split_once('"')?.0)
}

fn table(environment: &[(&str, String)], rows: &[Row]) -> String {
    let mut text =
        String::from("# Results\n\nWritten by `cargo xtask bench`. Rows that miss their target stay in.\n\n");
    // Writing to a string cannot fail.
    for (name, value) in environment {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text.push_str("\n| # | what | value | unit | target | met |\n|---|---|---:|---|---|---|\n");
    for Row { id, what, value, unit, target, ok } in rows {
        let met = match ok {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(text, "| {id} | {what} | {value} | {unit} | {target} | {met} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_losing_row_stays_in_the_table() {
        let folder = std::env::temp_dir().join(format!("xtask-{}-bench", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let lines = r#"{"id":"B10","what":"copies","value":"one","ok":true}
{"id":"B4","what":"inject","value":3,"unit":"allocations","target":"1","ok":false}
{"id":"B4","what":"spike","value":2.5,"unit":"ns"}
"#;
        fs::write(folder.join("codec.json"), lines).unwrap();
        let table = table(&[("cores", "2".to_owned())], &read(&folder).unwrap());
        fs::remove_dir_all(folder).unwrap();
        let end = "| B4 | inject | 3 | allocations | 1 | **no** |\n| B4 | spike | 2.5 | ns |  |  |\n\
            | B10 | copies | one |  |  | yes |\n";
        assert!(table.ends_with(end), "{table}");
        assert!(table.contains("- cores: 2\n"));
    }

    #[test]
    fn finds_a_version_in_the_lock_file() {
        let lock = "[[package]]\nname = \"tower\"\nversion = \"0.5.2\"\nsource = \"x\"\n";
        assert_eq!(locked(lock, "tower"), Some("0.5.2"));
        assert_eq!(locked(lock, "towe"), None);
    }
}
