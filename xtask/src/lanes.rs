//! Which test binary runs where. Everything is built once by one cargo command; then the binaries run in lanes side by
//! side: one for all that needs no broker, one for each broker. What measures time or memory runs after them, alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    brokers::{ALL, fleet::Fleet},
    failure::{Failure, Outcome, While},
    process::{self, Group},
    tally::Tally,
    workspace::{Package, Workspace},
};

/// The member with the tests over several crates.
pub(crate) const TESTS: &str = "throughline-tests";
/// The lane of what needs no broker.
pub(crate) const PLAIN: &str = "plain";
/// The lane of what measures time or memory, and the beginning of the names of its test binaries.
pub(crate) const ALONE: &str = "alone";

/// An executable that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// The package's name.
    pub(crate) package: String,
    /// The name of the lib, test or bin target.
    pub(crate) target: String,
    /// Whether it is a test runner; else a plain binary.
    pub(crate) test: bool,
    exe: PathBuf,
    folder: PathBuf,
}

impl Binary {
    /// The lane it runs in.
    pub(crate) fn lane(&self) -> &'static str {
        if self.package == TESTS && (self.target == ALONE || self.target.starts_with("alone_")) {
            return ALONE;
        }
        ALL.iter()
            .map(|broker| broker.name())
            .find(|name| {
                self.package.strip_prefix("throughline-") == Some(name)
                    || self.package == TESTS && self.target == *name
            })
            .unwrap_or(PLAIN)
    }

    /// Whether its tests wait for most of their time, and others wait for them: Kafka's lane is the longest, and memory is
    /// looked at by process. Elsewhere more at once would only make each slower.
    pub(crate) fn waits(&self) -> bool {
        self.package == TESTS && ["kafka", "alone_kafka_memory"].contains(&self.target.as_str())
    }

    /// A command that runs it as `cargo test` would.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.exe);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("CARGO_PKG_NAME", &self.package);
        command
    }
}

/// The feature that links the system's OpenSSL.
pub(crate) const TLS: &str = "tls";

/// The feature arguments of a run: all, but for the tests of the brokers that cannot be had, and without `tls` where
/// there is nothing to link it with.
pub(crate) fn features(packages: &[Package], lacking: &[&str], tls: bool) -> Vec<String> {
    if lacking.is_empty() && tls {
        return vec!["--all-features".to_owned()];
    }
    let wanted = packages.iter().flat_map(|package| {
        package.features.keys().filter(|feature| *feature != "default").filter_map(move |feature| {
            let needs_broker = lacking.iter().any(|broker| {
                package.name == TESTS && feature == broker
                    || package.name.strip_prefix("throughline-") == Some(broker) && feature == "broker-tests"
            });
            let left_out = needs_broker || feature == TLS && !tls;
            (!left_out).then(|| format!("{}/{feature}", package.name))
        })
    });
    vec!["--features".to_owned(), wanted.collect::<Vec<_>>().join(",")]
}

/// Whether the build script of `openssl-sys` will find OpenSSL; it asks the same program.
pub(crate) fn has_openssl() -> bool {
    Command::new("pkg-config").args(["--exists", "openssl"]).status().is_ok_and(|status| status.success())
}

/// Builds every test of the workspace and gives what was built.
///
/// # Errors
/// Something does not compile; the compiler has said what on the terminal.
pub(crate) fn build(workspace: &Workspace, features: &[String]) -> Outcome<Vec<Binary>> {
    let log = workspace.target("xtask/build.json");
    let file = create(&log)?;
    let mut command =
        workspace.cargo(&["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    command.args(features).stdout(file);
    if !process::run("cargo test --no-run", &mut command)? {
        return Err(Failure::said("the tests do not build"));
    }
    let messages = fs::read_to_string(&log).while_doing(format!("read {}", log.display()))?;
    Ok(messages.lines().filter_map(|line| binary(line, &workspace.packages)).collect())
}

/// One line of cargo's messages, if it tells of an executable.
fn binary(line: &str, packages: &[Package]) -> Option<Binary> {
    #[derive(Deserialize)]
    struct Message {
        package_id: String,
        target: Target,
        profile: Profile,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }
    let message: Message = serde_json::from_str(line).ok()?;
    let package = packages.iter().find(|package| package.id == message.package_id)?;
    Some(Binary {
        package: package.name.clone(),
        target: message.target.name,
        test: message.profile.test,
        exe: message.executable?,
        folder: package.folder().to_owned(),
    })
}

/// A thing to run in a lane: a name for people, and a command.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) command: Command,
}

/// Runs jobs one after the other and sums what they count.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) name: &'static str,
    pub(crate) fleet: &'a Fleet,
    /// The folder of ledgers that the tests write to.
    pub(crate) ledgers: &'a Path,
    /// Where the output of each job is kept.
    pub(crate) logs: &'a Path,
    pub(crate) tier: &'a str,
    /// The longest that one job may take.
    pub(crate) bound: Duration,
    /// Held while a job's output goes to the terminal, so that lanes do not mix their lines.
    pub(crate) terminal: &'a Mutex<()>,
}

impl Lane<'_> {
    /// Runs the jobs and gives the sum and the names of those that failed; one that fails, hangs or crashes does not
    /// stop the others.
    ///
    /// # Errors
    /// Interrupted.
    pub(crate) fn run(&self, jobs: Vec<Job>) -> Outcome<(Tally, Vec<String>)> {
        let mut sum = Tally::default();
        let mut failed = Vec::new();
        for job in jobs {
            let name = job.name.clone();
            let tally = self.run_one(job)?;
            sum += tally;
            if tally.failed > 0 {
                failed.push(name);
            }
        }
        Ok((sum, failed))
    }

    fn run_one(&self, mut job: Job) -> Outcome<Tally> {
        let log = self.logs.join(format!("{}-{}.log", self.name, job.name.replace([' ', ':', '/'], "_")));
        let file = create(&log)?;
        let also = file.try_clone().while_doing("share a log")?;
        println!("[{}] {} runs, its output is in {}", self.name, job.name, log.display());
        self.fleet.tell(&mut job.command);
        job.command.env("THROUGHLINE_LEDGERS", self.ledgers).env("THROUGHLINE_TIER", self.tier);
        let start = Instant::now();
        let ended = Group::spawn(&job.name, job.command.stdout(file).stderr(also))
            .and_then(|group| group.wait(self.bound));
        let output = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let tally = Tally::of_output(&output, ended.as_ref().is_ok_and(|status| status.success()));
        // A poisoned lock only says that another lane died while it printed.
        let _terminal = self.terminal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        println!(
            "\n==> [{}] {} ({:.1} s)\n{}",
            self.name,
            job.name,
            start.elapsed().as_secs_f64(),
            output.trim_end()
        );
        match ended {
            Ok(status) if status.success() => Ok(tally),
            Ok(status) => {
                println!("xtask: {} failed ({status})", job.name);
                Ok(tally)
            }
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
            Err(failure) => {
                println!("xtask: {failure}");
                Ok(tally)
            }
        }
    }
}

fn create(path: &Path) -> Outcome<fs::File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).while_doing(format!("create {}", folder.display()))?;
    }
    fs::File::create(path).while_doing(format!("create {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(package: &str, target: &str) -> Binary {
        let (package, target) = (package.to_owned(), target.to_owned());
        Binary { package, target, test: true, exe: PathBuf::new(), folder: PathBuf::new() }
    }

    fn package(name: &str, features: &[&str]) -> Package {
        Package {
            id: format!("path+file:///w/{name}#0.1.0"),
            name: name.to_owned(),
            manifest_path: PathBuf::from(format!("/w/{name}/Cargo.toml")),
            features: features.iter().map(|feature| ((*feature).to_owned(), Vec::new())).collect(),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn a_binary_finds_its_lane_by_name() {
        assert_eq!(built("throughline-kafka", "throughline_kafka").lane(), "kafka");
        assert_eq!(built("throughline-kafka", "offsets").lane(), "kafka");
        assert_eq!(built(TESTS, "kafka").lane(), "kafka");
        assert_eq!(built(TESTS, "alone").lane(), ALONE);
        assert_eq!(built(TESTS, "alone_kafka").lane(), ALONE);
        assert_eq!(built(TESTS, "trace_survives_retry").lane(), PLAIN);
        assert_eq!(built("throughline", "kafka").lane(), PLAIN);
        let waits =
            ["kafka", "alone_kafka_memory", "alone_kafka", "sqs"].map(|name| built(TESTS, name).waits());
        assert_eq!(waits, [true, true, false, false]);
    }

    #[test]
    fn a_broker_that_is_not_there_takes_only_its_own_tests_away() {
        let packages = [
            package("throughline-kafka", &["default", "broker-tests", "gzip", "tls"]),
            package(TESTS, &["kafka", "sqs"]),
            package("throughline", &["kafka"]),
        ];
        assert_eq!(features(&packages, &[], true), ["--all-features"]);
        assert_eq!(
            features(&packages, &["kafka"], true)[1],
            "throughline-kafka/gzip,throughline-kafka/tls,throughline-tests/sqs,throughline/kafka"
        );
        assert_eq!(
            features(&packages[..1], &[], false),
            ["--features", "throughline-kafka/broker-tests,throughline-kafka/gzip"]
        );
    }

    #[test]
    fn reads_what_cargo_built() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/a#0.1.0","manifest_path":"/w/a/Cargo.toml",
            "target":{"kind":["test"],"name":"kafka"},"profile":{"test":true},"executable":"/t/kafka-1"}"#;
        let found = binary(line, &[package("a", &[])]).unwrap();
        assert_eq!((found.package.as_str(), found.target.as_str(), found.test), ("a", "kafka", true));
        assert_eq!(found.folder, Path::new("/w/a"));
        assert_eq!(binary(&line.replace("\"/t/kafka-1\"", "null"), &[package("a", &[])]), None);
        assert_eq!(binary(line, &[package("b", &[])]), None);
    }
}
