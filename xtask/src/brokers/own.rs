//! A broker that belongs to one test, which may freeze, kill and restart it.
//!
//! It must be gone after the test, however that ends. Dropping kills it. A test process that is killed drops nothing: then
//! a shell beside each broker, which waits on a pipe that only the test holds, does the same. And where both were killed,
//! the next run of the lanes and `brokers down` find a folder whose lock nobody holds.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    brokers::{
        Broker, Scratch, TRIES, fetched, fleet,
        kafka::{Kafka, Listener},
        port,
        pubsub::PubSub,
        remove_folder, spawn,
        sqs::{self, Sqs},
        wait_until_ready,
    },
    failure::{Failure, Outcome, While},
    file_lock::FileLock,
    process::{self, Group},
    workspace::Workspace,
};

/// Below the folder of the brokers.
const FOLDER: &str = "own";
/// In the folder of a broker: the process that serves from it.
const PID: &str = "pid";

/// A broker of a test's own, on a free loopback port with a folder of its own. Dropping it takes both away.
#[derive(Debug)]
struct Own<B> {
    broker: B,
    cache: PathBuf,
    port: u16,
    /// `None` after a kill.
    process: Option<Guarded>,
    scratch: Scratch,
    // Last: whoever gets the lock takes the rest for a dead one's.
    lock: Lock,
}

impl<B: Broker> Own<B> {
    /// Starts what `make` gives, and waits until it answers; makes another one where its port was taken meanwhile.
    fn start(make: impl Fn() -> Outcome<B>) -> Outcome<Self> {
        let folder = fleet::folder(&Workspace::find()?)?;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let broker = make()?;
            let name = broker.name();
            match Self::start_in(broker, &folder) {
                Err(Failure::Said(words)) if tries > 0 => eprintln!("{name}: once more, since {words}"),
                other => return other,
            }
        }
    }

    fn start_in(broker: B, folder: &Path) -> Outcome<Self> {
        let own = folder.join(FOLDER);
        fs::create_dir_all(&own).while_doing(format!("create {}", own.display()))?;
        let cache = fetched(&broker, folder)?;
        // While a broker is down its port is closed, and yet it is taken.
        let (port, lock) = loop {
            let port = port::free()?;
            if let Some(lock) = Lock::take(own.join(format!("{}-{port}.lock", broker.name())))? {
                break (port, lock);
            }
        };
        let scratch = Scratch::create(lock.path.with_extension(""))?;
        let mut own = Own { broker, cache, port, process: None, scratch, lock };
        own.restart()?;
        Ok(own)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn freeze(&self) {
        if let Some(process) = &self.process {
            process.group.freeze();
        }
    }

    fn thaw(&self) {
        if let Some(process) = &self.process {
            process.group.thaw();
        }
    }

    fn restart(&mut self) -> Outcome<()> {
        self.process = None;
        let group = spawn(&self.broker, &self.cache, &self.scratch.0, self.port)?;
        let process = self.process.insert(Guarded::new(group, &self.scratch.0, &self.lock.path)?);
        wait_until_ready(&self.broker, &mut process.group, &self.scratch.0, self.port)
    }
}

/// A Kafka of a test's own, on a free loopback port with a folder of its own. Dropping it takes both away.
///
/// Everything here blocks its thread, a start for about three seconds.
#[derive(Debug)]
pub struct OwnKafka(Own<Kafka>);

/// How an [`OwnKafka`] is to be.
#[derive(Debug, Default, Clone)]
pub struct OwnKafkaBuilder {
    listeners: Vec<(String, String)>,
    properties: Vec<(String, String)>,
}

impl OwnKafkaBuilder {
    /// A server property, as `offsets.retention.minutes`. It wins over what the lanes' broker has.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// One more listener on a free loopback port, with a protocol of Kafka's: `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`. What it
    /// needs to know (`listener.name.<name>.ssl.keystore.location`) is a [`property`](Self::property).
    #[must_use]
    pub fn listener(mut self, name: impl Into<String>, protocol: impl Into<String>) -> Self {
        self.listeners.push((name.into(), protocol.into()));
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// `Lacks` if the machine has no Java, or cannot fetch Kafka; in words, with the end of its log, if it does not start.
    pub fn start(&self) -> Result<OwnKafka, Failure> {
        let listener = |(name, protocol): &(String, String)| {
            Ok(Listener { name: name.clone(), protocol: protocol.clone(), port: port::free()? })
        };
        Own::start(|| {
            let listeners = self.listeners.iter().map(listener).collect::<Outcome<_>>()?;
            Ok(Kafka { listeners, extra: self.properties.clone() })
        })
        .map(OwnKafka)
    }
}

impl OwnKafka {
    /// As the broker of the lanes, until told otherwise.
    pub fn builder() -> OwnKafkaBuilder {
        OwnKafkaBuilder::default()
    }

    /// `127.0.0.1:PORT`, without encryption and login. It stays the same over restarts.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// The same of a listener that was asked for; `None` if none of that name was.
    pub fn address_of(&self, listener: &str) -> Option<String> {
        let found = self.0.broker.listeners.iter().find(|known| known.name == listener)?;
        Some(format!("127.0.0.1:{}", found.port))
    }

    /// The folder with its data and log, which goes away with it.
    pub fn folder(&self) -> &Path {
        &self.0.scratch.0
    }

    /// SIGSTOP: it keeps its ports, and answers nothing.
    pub fn freeze(&self) {
        self.0.freeze();
    }

    /// SIGCONT, after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.0.thaw();
    }

    /// SIGKILL. What it has acknowledged is in its folder.
    pub fn kill(&mut self) {
        self.0.process = None;
    }

    /// Starts it on the same port and log, after a [`kill`](Self::kill) (else kills it first), and waits until it answers.
    ///
    /// # Errors
    /// In words, with the end of its log, if it does not start.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.0.restart()
    }
}

/// An SQS server of a test's own that keeps what it has acknowledged, on a free loopback port. Dropping it takes it away.
///
/// Everything here blocks its thread, a start for about two seconds.
#[derive(Debug)]
pub struct OwnSqs {
    own: Own<Sqs>,
    /// The URLs of the queues that it had when it was killed.
    queues: Vec<String>,
}

impl OwnSqs {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// `Lacks` if the machine has no Java, or cannot fetch it; in words, with the end of its log, if it does not start.
    pub fn start() -> Result<OwnSqs, Failure> {
        Ok(OwnSqs { own: Own::start(|| Ok(Sqs { keeps: true }))?, queues: Vec::new() })
    }

    /// `127.0.0.1:PORT`. It stays the same over restarts.
    pub fn address(&self) -> String {
        self.own.address()
    }

    /// SIGKILL. What it has acknowledged is in its folder.
    ///
    /// # Errors
    /// In words, if it does not say which queues it has, which a [`restart`](Self::restart) waits for.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.queues = sqs::queues(self.own.port)?;
        self.own.process = None;
        Ok(())
    }

    /// Starts it on the same port with what it held, after a [`kill`](Self::kill), and waits until it has its queues. It
    /// answers before, and says then that they do not exist.
    ///
    /// # Errors
    /// In words, with the end of its log, if it does not start.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.own.restart()?;
        sqs::wait_for_these(self.own.port, &self.queues)
    }
}

/// A Pub/Sub server of a test's own, on a free loopback port. It keeps nothing over a kill: that is no fault of whom a test
/// looks at, so an outage is a frozen server. Dropping it takes it away.
///
/// Everything here blocks its thread, a start for about a second.
#[derive(Debug)]
pub struct OwnPubSub(Own<PubSub>);

impl OwnPubSub {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// `Lacks` if the machine has neither the emulator nor Go; in words, with the end of its log, if it does not start.
    pub fn start() -> Result<OwnPubSub, Failure> {
        Own::start(|| Ok(PubSub)).map(OwnPubSub)
    }

    /// `127.0.0.1:PORT`. It stays the same over restarts.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// SIGSTOP: it keeps its port and its connections, and answers nothing.
    pub fn freeze(&self) {
        self.0.freeze();
    }

    /// SIGCONT, after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.0.thaw();
    }

    /// SIGKILL. Its topics, subscriptions and messages are gone.
    pub fn kill(&mut self) {
        self.0.process = None;
    }

    /// Starts it on the same port, empty, and waits until it answers.
    ///
    /// # Errors
    /// In words, with the end of its log, if it does not start.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.0.restart()
    }
}

/// A broker's process, and the shell that ends it when we cannot.
#[derive(Debug)]
struct Guarded {
    group: Group,
    shell: Child,
}

/// Waits for the end of whoever holds the other end of the pipe, then does what the drop of its broker would have done.
const GUARD: &str = "read _; kill -s KILL -- \"-$1\"; sleep 1; rm -rf -- \"$2\" \"$3\"";

impl Guarded {
    fn new(group: Group, scratch: &Path, lock: &Path) -> Outcome<Self> {
        let file = scratch.join(PID);
        fs::write(&file, group.pid().to_string()).while_doing(format!("write {}", file.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard", &group.pid().to_string()]).arg(scratch).arg(lock);
        // In a group of its own: what ends ours must not end the guard.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let shell = command.spawn().while_doing("start the guard of a broker")?;
        Ok(Self { group, shell })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.group.kill();
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The lock of a folder, with its file.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _held: FileLock,
}

impl Lock {
    fn take(path: PathBuf) -> Outcome<Option<Self>> {
        Ok(FileLock::try_take(&path)?.map(|held| Self { path, _held: held }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes away what tests left whose guards were killed with them.
pub(super) fn sweep(folder: &Path) -> Outcome<()> {
    let Ok(entries) = fs::read_dir(folder.join(FOLDER)) else { return Ok(()) };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_none_or(|end| end != "lock") {
            continue;
        }
        // One that is held belongs to a test that runs.
        let Some(lock) = Lock::take(path)? else { continue };
        let scratch = lock.path.with_extension("");
        let pid = fs::read_to_string(scratch.join(PID)).ok().and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid
            && process::stop_stranger(pid, &scratch.display().to_string())?
        {
            eprintln!("taken down: process {pid}, which a killed test had left");
        }
        remove_folder(&scratch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("xtask-own-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join(FOLDER)).unwrap();
        root
    }

    /// A "broker" in its folder, with its lock.
    fn serving(root: &Path) -> (Scratch, Lock, Group) {
        let lock = Lock::take(root.join(FOLDER).join("kafka-1.lock")).unwrap().unwrap();
        let scratch = Scratch::create(lock.path.with_extension("")).unwrap();
        let mut command = Command::new("sh");
        let group = Group::spawn("sh", command.args(["-c", "sleep 4245; true"]).arg(&scratch.0)).unwrap();
        let started = || Ok(process::command_line(group.pid()).is_some_and(|line| line.contains("4245")));
        assert!(process::wait_until(Duration::from_secs(10), started).unwrap());
        (scratch, lock, group)
    }

    fn gone(pid: u32, path: &Path) -> bool {
        let gone = || Ok(process::command_line(pid).is_none() && !path.exists());
        process::wait_until(Duration::from_secs(10), gone).unwrap()
    }

    #[test]
    fn a_guard_does_what_a_killed_test_cannot() {
        let root = root("guard");
        let (scratch, lock, group) = serving(&root);
        let pid = group.pid();
        let mut guarded = Guarded::new(group, &scratch.0, &lock.path).unwrap();
        guarded.group.freeze();
        // What the kernel does with the files of a killed process.
        drop(guarded.shell.stdin.take());
        assert!(gone(pid, &scratch.0));
        assert!(guarded.shell.wait().unwrap().success());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_nobody_holds_is_swept_away() {
        let root = root("sweep");
        let (scratch, lock, group) = serving(&root);
        fs::write(scratch.0.join(PID), group.pid().to_string()).unwrap();
        let (pid, path) = (group.pid(), scratch.0.clone());
        group.freeze();
        sweep(&root).unwrap();
        assert!(process::command_line(pid).is_some(), "its test holds the lock");
        // As after a SIGKILL: the lock is gone, its file is not.
        let file = lock.path.clone();
        drop(lock);
        fs::write(file, "").unwrap();
        sweep(&root).unwrap();
        assert!(gone(pid, &path));
        assert_eq!(fs::read_dir(root.join(FOLDER)).unwrap().count(), 0);
        fs::remove_dir_all(root).unwrap();
    }
}
