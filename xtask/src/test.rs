//! `cargo xtask test`: brokers up, build once, lanes side by side, what measures alone, ledgers checked, brokers down.

use std::{collections::BTreeMap, fs, path::Path, sync::Mutex, thread, time::Duration};

use crate::{
    brokers::{POSTGRES, fleet::Fleet},
    failure::{Failure, Outcome, While},
    lanes::{self, ALONE, Binary, Job, Lane, PLAIN},
    ledgers, process,
    tally::Tally,
    workspace::{Workspace, under_ci},
};

/// So many tests more than there are cores run at once where they wait for most of their time: for outages, sessions and
/// other people's clocks.
const WAITING: usize = 2;

/// What to run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Tier 2.
    pub(crate) soak: bool,
    /// Only tests whose name contains this.
    pub(crate) filter: Option<String>,
}

/// The longest that one test binary may take: tier 1 as a whole has 25 minutes.
const BOUND: Duration = Duration::from_secs(25 * 60);
const SOAK_BOUND: Duration = Duration::from_secs(6 * 60 * 60);

/// Runs the plan, prints the sums and as the last line their total, which it also gives.
///
/// # Errors
/// Interrupted; everything else is a failure in the total.
pub(crate) fn run(workspace: &Workspace, plan: &Plan) -> Outcome<Tally> {
    let mut report = Report::default();
    let outcome = run_all(workspace, plan, &mut report);
    // An interrupt is told by our own exit status and is no test's failure.
    if let Err(failure) = &outcome
        && *failure != Failure::Interrupted
    {
        report.fail("test", failure.to_string());
    }
    let total = report.print();
    match outcome {
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        _ => Ok(total),
    }
}

fn run_all(workspace: &Workspace, plan: &Plan, report: &mut Report) -> Outcome<()> {
    let ledgers = empty(&workspace.target("ledgers"))?;
    let logs = empty(&workspace.target("xtask/logs"))?;
    // Dropped on every way out of here, a panic included; that is what takes the brokers down.
    let mut fleet = Fleet::start(workspace)?;
    for (name, why) in fleet.lacking.clone() {
        report.skip_broker(name, why);
    }
    let lacking: Vec<_> = fleet.lacking.iter().map(|(name, _)| *name).collect();
    let tls = lanes::has_openssl();
    if !tls {
        report.note(format!(
            "left out `{}`: no OpenSSL; remedy: apt-get install pkg-config libssl-dev",
            lanes::TLS
        ));
    }
    let features = lanes::features(&workspace.packages, &lacking, tls);
    let binaries = lanes::build(workspace, &features)?;

    let mut jobs = jobs(&binaries, plan.filter.as_deref());
    jobs.entry(PLAIN).or_default().push(doc_tests(workspace, &features, plan.filter.as_deref()));
    if plan.soak && plan.filter.is_none() {
        jobs.entry(PLAIN).or_default().push(without_codecs(workspace));
    }
    let alone = jobs.remove(ALONE);
    let terminal = Mutex::new(());
    let lane = |name| Lane {
        name,
        fleet: &fleet,
        ledgers: &ledgers,
        logs: &logs,
        tier: if plan.soak { "2" } else { "1" },
        bound: if plan.soak { SOAK_BOUND } else { BOUND },
        terminal: &terminal,
    };
    let mut ran: Vec<_> = thread::scope(|scope| {
        let lanes: Vec<_> = jobs
            .into_iter()
            .map(|(name, jobs)| {
                let lane = lane(name);
                (name, scope.spawn(move || lane.run(jobs)))
            })
            .collect();
        lanes.into_iter().map(|(name, lane)| (name, lane.join())).collect()
    });
    if let Some(jobs) = alone
        && !process::interrupted()
    {
        ran.push((ALONE, Ok(lane(ALONE).run(jobs))));
    }
    for (name, outcome) in ran {
        match outcome {
            Ok(Ok((tally, failed))) => {
                report.add(name, tally);
                failed.iter().for_each(|job| report.note(format!("FAILED {name}: {job}")));
            }
            Ok(Err(failure)) => report.stop(name, failure)?,
            Err(_) => report.fail(name, "the lane panicked".to_owned()),
        }
    }
    for death in fleet.deaths() {
        report.fail("brokers", death);
    }
    // Before the ledgers: checking them needs no broker, and the cores are free sooner.
    let whole = plan.filter.is_none() && fleet.lacking.is_empty();
    drop(fleet);
    ledgers::check(workspace, &binaries, &ledgers, whole, report)
}

/// The test binaries as jobs, by lane.
fn jobs(binaries: &[Binary], filter: Option<&str>) -> BTreeMap<&'static str, Vec<Job>> {
    let mut lanes = BTreeMap::<_, Vec<_>>::new();
    let mut binaries: Vec<_> = binaries.iter().filter(|binary| binary.test).collect();
    // Cargo names them as they are built, in another order each time.
    binaries.sort_by_key(|binary| (&binary.package, &binary.target));
    for binary in binaries {
        let mut command = binary.command();
        command.args(filter);
        if binary.waits() {
            let cores = thread::available_parallelism().map_or(2, usize::from);
            command.arg(format!("--test-threads={}", cores + WAITING));
        }
        let job = Job { name: format!("{}::{}", binary.package, binary.target), command };
        lanes.entry(binary.lane()).or_default().push(job);
    }
    lanes
}

fn doc_tests(workspace: &Workspace, features: &[String], filter: Option<&str>) -> Job {
    let mut command = workspace.cargo(&["test", "--quiet", "--workspace", "--doc"]);
    command.args(features);
    if let Some(filter) = filter {
        command.arg("--").arg(filter);
    }
    Job { name: "doc tests".to_owned(), command }
}

/// FC-55 in a build that lacks a codec. It compiles librdkafka once more, which takes minutes: tier 1 has the same path with
/// a codec that no build has.
fn without_codecs(workspace: &Workspace) -> Job {
    let mut command = workspace.cargo(&["test", "--package", "throughline-kafka", "--no-default-features"]);
    command.args(["--test", "unreadable_batches"]);
    Job { name: "without codecs".to_owned(), command }
}

/// A folder with nothing in it.
fn empty(folder: &Path) -> Outcome<std::path::PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).while_doing(format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).while_doing(format!("create {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// What a run found, for its last lines.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lanes: Vec<(String, Tally)>,
    notes: Vec<String>,
}

impl Report {
    fn add(&mut self, lane: &str, tally: Tally) {
        self.lanes.push((lane.to_owned(), tally));
    }

    /// Counts one failure that no test runner counted.
    pub(crate) fn fail(&mut self, lane: &str, why: String) {
        self.add(lane, Tally::FAILURE);
        self.notes.push(format!("FAILED {lane}: {why}"));
    }

    /// A line for the end that changes no count.
    pub(crate) fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    fn skip_broker(&mut self, name: &str, why: String) {
        // PostgreSQL is no broker, and does not run as root where nobody else may enter the folder.
        if under_ci() && name != POSTGRES {
            self.fail(name, format!("under CI every broker must be there: {why}"));
        } else {
            self.add(name, Tally::SKIP);
            self.notes.push(format!("skipped {name}: {why}"));
        }
    }

    fn stop(&mut self, lane: &str, failure: Failure) -> Outcome<()> {
        if failure == Failure::Interrupted {
            return Err(failure);
        }
        self.fail(lane, failure.to_string());
        Ok(())
    }

    /// Prints a line for each lane, the notes, and the total as the last line.
    fn print(&self) -> Tally {
        let mut total = Tally::default();
        println!("\n==> summary");
        for (lane, tally) in &self.lanes {
            println!("{lane}: {tally}");
            total += *tally;
        }
        for note in &self.notes {
            println!("{note}");
        }
        println!("{total}");
        total
    }
}
