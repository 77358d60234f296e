//! One worker process.

use crate::LONG;
use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A running worker, a program of this package; killed if the test ends before it.
#[derive(Debug)]
pub struct WorkerProcess(Child);

/// How a worker process ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub output: String,
    /// How long it took.
    pub after: Duration,
}

impl WorkerProcess {
    /// Starts this program with these arguments.
    pub fn start(program: &str, arguments: &[String]) -> Self {
        // A test binary is in `target/<profile>/deps`, and the programs are one above.
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join(program);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        WorkerProcess(command.spawn().unwrap())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn end(self) -> Ended {
        let told = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.ended().await
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> Ended {
        let since = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                let mut output = String::new();
                self.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
                return Ended { status, output, after: since.elapsed() };
            }
            assert!(since.elapsed() < LONG, "a worker does not end");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGTERM: it must end cleanly.
    pub async fn stop(self) {
        let ended = self.end().await;
        assert!(ended.status.success(), "a drained worker exits with success: {ended:?}");
    }

    /// The CPU time that it used so far; `None` where the system has no `/proc`.
    pub fn cpu(&self) -> Option<Duration> {
        /// Ticks of `/proc` are hundredths of a second on every Linux (`USER_HZ`).
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The name of the program stands in brackets, and may contain spaces.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u32>().ok();
        Some(TICK * (ticks()? + ticks()?))
    }

    /// Its resident memory in bytes; `None` where the system has no `/proc`.
    pub fn resident(&self) -> Option<u64> {
        resident_of(self.id())
    }
}

/// The resident memory in bytes of this process; `None` where the system has no `/proc`.
pub fn resident_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
