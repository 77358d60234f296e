//! The ledgers that guarantee tests leave behind. A test only writes what happened; whether the promise was kept is
//! computed afterwards by `ledger-check` of the `tests` member, so that a test cannot judge itself.

use std::{fs, io::Write, path::Path, process::Stdio, time::Duration};

use crate::{
    failure::{Outcome, While},
    lanes::{Binary, TESTS},
    process::Group,
    test::Report,
    workspace::Workspace,
};

const CHECKER: &str = "ledger-check";
const BOUND: Duration = Duration::from_secs(10 * 60);

/// Checks every ledger, prints a row each and appends it to `target/guarantees.jsonl`. A `whole` run, one without a
/// filter and with every broker, must have left ledgers: silence would look like success.
pub(crate) fn check(
    workspace: &Workspace,
    binaries: &[Binary],
    ledgers: &Path,
    whole: bool,
    report: &mut Report,
) -> Outcome<()> {
    let written = fs::read_dir(ledgers).while_doing(format!("read {}", ledgers.display()))?.count();
    if written == 0 {
        if whole {
            report.fail("ledgers", "no test wrote a ledger".to_owned());
        }
        return Ok(());
    }
    let Some(checker) = binaries.iter().find(|binary| is_checker(binary)) else {
        report
            .fail("ledgers", format!("{written} ledgers were written, but {TESTS} has no binary {CHECKER}"));
        return Ok(());
    };
    let log = workspace.target("xtask/logs/ledger-check.jsonl");
    let file = fs::File::create(&log).while_doing(format!("create {}", log.display()))?;
    let mut command = checker.command();
    command.arg(ledgers).stdout(file).stderr(Stdio::inherit());
    let status = Group::spawn(CHECKER, &mut command)?.wait(BOUND)?;
    let text = fs::read_to_string(&log).while_doing(format!("read {}", log.display()))?;
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with('{')).collect();
    println!("\n==> guarantees");
    for row in &rows {
        println!("{row}");
    }
    append(&workspace.target("guarantees.jsonl"), &rows)?;
    report.note(format!("ledgers: {} rows appended to target/guarantees.jsonl", rows.len()));
    if !status.success() {
        report.fail(
            "ledgers",
            format!("{CHECKER} found a broken promise or could not read a ledger ({status})"),
        );
    } else if rows.is_empty() {
        report.fail("ledgers", format!("{CHECKER} gave no row for {written} ledgers"));
    }
    Ok(())
}

fn is_checker(binary: &Binary) -> bool {
    !binary.test && binary.package == TESTS && binary.target == CHECKER
}

fn append(path: &Path, rows: &[&str]) -> Outcome<()> {
    let doing = || format!("append to {}", path.display());
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).while_doing(doing())?;
    for row in rows {
        writeln!(file, "{row}").while_doing(doing())?;
    }
    Ok(())
}
