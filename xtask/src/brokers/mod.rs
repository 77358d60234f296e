//! Real brokers on loopback. One file a broker; everything that is true for all of them is here and in `fleet.rs`.
//!
//! To add one: implement [`Broker`] in a new file and name it in [`ALL`]. Its name is then also the name of its lane:
//! the tests of the crate `throughline-<name>` and of the test binary `<name>` in `tests/` run in it.

pub(crate) mod fleet;
mod java;
mod kafka;
mod kafka_wire;
pub(crate) mod own;
mod port;
mod postgres;
mod pubsub;
mod sns;
mod sqs;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    failure::{Failure, Outcome, While},
    file_lock::FileLock,
    process::{self, Group},
};

/// Every broker that `cargo xtask` can start.
pub(crate) const ALL: &[&dyn Broker] =
    &[&kafka::PLAIN, &sqs::FORGETFUL, &sns::Sns, &pubsub::PubSub, &postgres::Postgres];

/// The one of them that is a database.
pub(crate) const POSTGRES: &str = "postgres";

/// What the user asked for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wish {
    /// A fixed port for Kafka instead of a free one.
    pub(crate) kafka_port: Option<u16>,
}

/// A broker that runs as a child process on loopback.
pub(crate) trait Broker: Sync {
    /// Lower case, one word: `kafka`.
    fn name(&self) -> &'static str;

    /// The environment variable that tells a test where it is: `THROUGHLINE_KAFKA`.
    fn variable(&self) -> &'static str;

    /// The port that was asked for.
    fn wished_port(&self, wish: &Wish) -> Option<u16>;

    /// Brings everything that a start needs into `cache`, a folder that outlives the broker. Does nothing the second
    /// time.
    ///
    /// # Errors
    /// `Lacks` when the machine has no way to get it.
    fn fetch(&self, cache: &Path) -> Outcome<()>;

    /// The command that serves `port` with its data in the folder `scratch`, which is empty the first time; later it goes
    /// on with what is there. The path of `scratch` must be in its command line: that is how a process is known to be ours
    /// later.
    fn command(&self, cache: &Path, scratch: &Path, port: u16) -> Outcome<Command>;

    /// Makes the first real use fast, once the port is open, and proves that the protocol is spoken there.
    fn warm_up(&self, port: u16) -> Outcome<()>;
}

/// What a broker says, in its folder.
const LOG: &str = "broker.log";
/// How long a start may take; 2 s is usual.
const START: Duration = Duration::from_secs(90);
/// How often a start is tried again when somebody took the free port between our look and the broker's bind.
const TRIES: usize = 3;

/// A broker that serves, with everything it holds. Dropping it stops the process and removes its folder.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) port: u16,
    // Before the folder: the process must be gone when its files go.
    group: Group,
    scratch: Scratch,
}

impl Running {
    /// Starts a broker and waits until the child holds its port and answers.
    ///
    /// # Errors
    /// `Lacks` when it cannot be had here; in words when the wished port is open, or when it dies or does not answer,
    /// with the end of its log.
    pub(crate) fn start(broker: &dyn Broker, folder: &Path, wish: &Wish) -> Outcome<Self> {
        let cache = fetched(broker, folder)?;
        let wished = broker.wished_port(wish);
        let mut tries = if wished.is_some() { 1 } else { TRIES };
        loop {
            tries -= 1;
            let port = match wished {
                Some(port) => port,
                None => port::free()?,
            };
            match Self::start_on(broker, &cache, &folder.join("run"), port) {
                Err(Failure::Said(words)) if tries > 0 => {
                    eprintln!("{}: once more, since {words}", broker.name())
                }
                other => return other,
            }
        }
    }

    fn start_on(broker: &dyn Broker, cache: &Path, run: &Path, port: u16) -> Outcome<Self> {
        let name = broker.name();
        // An open port would prove nothing later: a stranger would answer our tests.
        if port::is_open(port) {
            return Err(Failure::said(format!(
                "port {port} is open already, so something else serves there; stop that, or leave the port to us"
            )));
        }
        let scratch = Scratch::create(run.join(format!("{name}-{port}")))?;
        let mut group = spawn(broker, cache, &scratch.0, port)?;
        wait_until_ready(broker, &mut group, &scratch.0, port)?;
        Ok(Self { name, variable: broker.variable(), port, group, scratch })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// The folder with its data and log.
    pub(crate) fn folder(&self) -> &Path {
        &self.scratch.0
    }

    /// Why it no longer runs, if so.
    pub(crate) fn death(&mut self) -> Option<String> {
        let status = self.group.ended().ok()??;
        Some(format!("ended by itself ({status}); the end of its log:\n{}", tail(self.folder())))
    }

    /// Lets it serve on after us.
    pub(crate) fn release(self) {
        self.group.release();
        self.scratch.keep();
    }
}

/// The folder with everything that a start of this broker needs.
fn fetched(broker: &dyn Broker, folder: &Path) -> Outcome<PathBuf> {
    let cache = folder.join(broker.name());
    fs::create_dir_all(&cache).while_doing(format!("create {}", cache.display()))?;
    // Tests with a broker of their own start side by side, and the first of them may have to fetch.
    let _one_at_a_time = FileLock::wait(&cache.join("lock"))?;
    broker.fetch(&cache)?;
    Ok(cache)
}

/// Starts the process in its folder.
fn spawn(broker: &dyn Broker, cache: &Path, scratch: &Path, port: u16) -> Outcome<Group> {
    let log = scratch.join(LOG);
    let doing = || format!("open {}", log.display());
    let file = fs::OpenOptions::new().create(true).append(true).open(&log).while_doing(doing())?;
    let also = file.try_clone().while_doing("share the log")?;
    let mut command = broker.command(cache, scratch, port)?;
    Group::spawn(broker.name(), command.stdout(file).stderr(also))
}

/// Waits until the process holds its port and answers.
fn wait_until_ready(broker: &dyn Broker, group: &mut Group, scratch: &Path, port: u16) -> Outcome<()> {
    let name = broker.name();
    let told = |what: &str| Failure::said(format!("{name} {what}; the end of its log:\n{}", tail(scratch)));
    let ready = process::wait_until(START, || match group.ended()? {
        Some(status) => Err(told(&format!("ended while it started ({status})"))),
        None => Ok(port::is_held_by(group.pid(), port)),
    })?;
    if !ready {
        return Err(told(&format!("did not open port {port} within {} s", START.as_secs())));
    }
    broker.warm_up(port).map_err(|failure| match failure {
        Failure::Said(words) => told(&words),
        other => other,
    })
}

/// A folder that goes when this is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn create(path: PathBuf) -> Outcome<Self> {
        remove_folder(&path)?;
        fs::create_dir_all(&path).while_doing(format!("create {}", path.display()))?;
        Ok(Self(path))
    }

    fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty()
            && let Err(failure) = remove_folder(&self.0)
        {
            eprintln!("{failure}");
        }
    }
}

/// Removes a folder with all in it; a folder that is not there is fine.
fn remove_folder(path: &Path) -> Outcome<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::said(format!("could not remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// The last lines of a broker's log.
fn tail(scratch: &Path) -> String {
    let text = fs::read_to_string(scratch.join(LOG)).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A "broker" that is one shell command.
    struct Shell(&'static str);

    impl Broker for Shell {
        fn name(&self) -> &'static str {
            "shell"
        }
        fn variable(&self) -> &'static str {
            "THROUGHLINE_SHELL"
        }
        fn wished_port(&self, wish: &Wish) -> Option<u16> {
            wish.kafka_port
        }
        fn fetch(&self, _: &Path) -> Outcome<()> {
            Ok(())
        }
        fn command(&self, _: &Path, scratch: &Path, _: u16) -> Outcome<Command> {
            let mut command = Command::new("sh");
            command.args(["-c", self.0]).arg(scratch);
            Ok(command)
        }
        fn warm_up(&self, _: u16) -> Outcome<()> {
            Ok(())
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn an_open_port_is_refused_before_anything_starts() {
        let folder = folder("open");
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let wish = Wish { kafka_port: Some(stranger.local_addr().unwrap().port()) };
        let failure = Running::start(&Shell("touch started"), &folder, &wish).unwrap_err();
        assert!(failure.to_string().contains("is open already"), "{failure}");
        assert!(!folder.join("run").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_broker_that_dies_is_reported_with_its_log_and_leaves_no_folder() {
        let folder = folder("dies");
        let failure =
            Running::start(&Shell("echo no such disk; exit 3"), &folder, &Wish::default()).unwrap_err();
        let words = failure.to_string();
        assert!(words.contains("exit status: 3") && words.contains("no such disk"), "{words}");
        assert_eq!(fs::read_dir(folder.join("run")).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
