//! Child processes: each leads a process group of its own, so that a stop reaches what the child started too, and a
//! ctrl-c at the terminal reaches only us, who then take things down in order.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, atomic::AtomicBool, atomic::Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{Failure, Outcome, While};

/// How often a wait looks again. Short against anything that is waited for, and cheap.
const LOOK: Duration = Duration::from_millis(25);
/// How long a group has between SIGTERM and SIGKILL. Kafka's own stop takes 2 s.
const GRACE: Duration = Duration::from_secs(10);

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Turns SIGINT, SIGTERM and SIGHUP into [`interrupted`]. Every wait of this module ends when it becomes true.
pub(crate) fn watch_signals() -> Outcome<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).while_doing("register a signal handler")?;
    }
    Ok(())
}

/// Whether somebody asked us to stop.
pub(crate) fn interrupted() -> bool {
    STOP.load(SeqCst)
}

/// Waits until `done` says so: `Ok(true)` when it did, `Ok(false)` when the bound passed first.
pub(crate) fn wait_until(bound: Duration, mut done: impl FnMut() -> Outcome<bool>) -> Outcome<bool> {
    let start = Instant::now();
    loop {
        if done()? {
            return Ok(true);
        }
        if interrupted() {
            return Err(Failure::Interrupted);
        }
        if start.elapsed() > bound {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

/// A running child and the group it leads. Dropping it stops the group.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    what: String,
    ours: bool,
}

impl Group {
    /// Starts `command` with no stdin in a new process group.
    pub(crate) fn spawn(what: &str, command: &mut Command) -> Outcome<Self> {
        let child =
            command.stdin(Stdio::null()).process_group(0).spawn().while_doing(format!("start {what}"))?;
        Ok(Self { child, what: what.to_owned(), ours: true })
    }

    /// The process id of the child, which is also the id of its group.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status of the child if it has ended.
    pub(crate) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        self.child.try_wait().while_doing(format!("ask after {}", self.what))
    }

    /// Waits for the end of the child, then removes what it left behind in its group.
    ///
    /// # Errors
    /// Interrupted, or not ended within `bound`; the group is stopped in both cases.
    pub(crate) fn wait(mut self, bound: Duration) -> Outcome<ExitStatus> {
        let mut status = None;
        let done = wait_until(bound, || {
            status = self.ended()?;
            Ok(status.is_some())
        })?;
        match status {
            Some(status) if done => Ok(status),
            _ => Err(Failure::said(format!("{} did not end within {} s", self.what, bound.as_secs()))),
        }
    }

    /// Ends the group at once, as a failing machine would.
    pub(crate) fn kill(&mut self) {
        signal_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }

    /// Takes all CPU time from the group: it lives, keeps its ports and answers nothing.
    pub(crate) fn freeze(&self) {
        signal_group(self.pid(), Signal::STOP);
    }

    /// The end of [`freeze`](Self::freeze).
    pub(crate) fn thaw(&self) {
        signal_group(self.pid(), Signal::CONT);
    }

    /// Lets the child live on after us.
    pub(crate) fn release(mut self) {
        self.ours = false;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if running(&mut self.child) {
            signal_group(self.pid(), Signal::TERM);
            let start = Instant::now();
            while running(&mut self.child) && start.elapsed() < GRACE {
                thread::sleep(LOOK);
            }
        }
        // Also when the leader ended by itself: a test that dies leaves its worker processes behind.
        signal_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Runs a command to its end with its output on our terminal; `false` when it ends with a failure.
pub(crate) fn run(what: &str, command: &mut Command) -> Outcome<bool> {
    Ok(Group::spawn(what, command)?.wait(Duration::MAX)?.success())
}

/// Runs a short command and gives its stdout; stderr goes to the terminal.
pub(crate) fn capture(what: &str, command: &mut Command) -> Outcome<String> {
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().while_doing(format!("run {what}"))?;
    if !output.status.success() {
        return Err(Failure::said(format!("{what} failed: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line of a living process. `None` once it has ended, also while nobody has collected it yet.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    let line = match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', " "),
        Err(_) if fs::exists("/proc/self").unwrap_or(false) => return None,
        Err(_) => {
            let pid = pid.to_string();
            let output = Command::new("ps").args(["-o", "args=", "-p", &pid]).output().ok()?;
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Stops a process that is not our child: SIGTERM, then SIGKILL. Nothing is sent unless its command line contains
/// `mark`, since the number may belong to a stranger by now. Gives whether a process of ours was there.
///
/// # Errors
/// The process survived SIGKILL for as long as the grace is.
pub(crate) fn stop_stranger(pid: u32, mark: &str) -> Outcome<bool> {
    let lives = || command_line(pid).is_some_and(|line| line.contains(mark));
    if !lives() {
        return Ok(false);
    }
    for signal in [Signal::TERM, Signal::KILL] {
        signal_group(pid, signal);
        // One that was frozen hears it only when it runs again.
        signal_group(pid, Signal::CONT);
        let start = Instant::now();
        while lives() {
            if start.elapsed() > GRACE {
                break;
            }
            thread::sleep(LOOK);
        }
        if !lives() {
            return Ok(true);
        }
    }
    Err(Failure::said(format!("process {pid} does not end")))
}

fn signal_group(pid: u32, signal: Signal) {
    // No such group is the good case: everything in it has ended.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_group_takes_its_grandchildren_along() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 4242 & echo $! ; wait"]).stdout(Stdio::piped());
        let mut group = Group::spawn("shell", &mut shell).unwrap();
        let mut line = String::new();
        let stdout = group.child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        assert!(command_line(grandchild).is_some());
        drop(group);
        assert!(wait_until(Duration::from_secs(10), || Ok(command_line(grandchild).is_none())).unwrap());
    }

    #[test]
    fn a_process_with_another_command_line_is_left_alone() {
        let mut group = Group::spawn("sleep", Command::new("sleep").arg("4243")).unwrap();
        // The kernel lets us go on a moment before the new command line can be read.
        assert!(wait_until(Duration::from_secs(10), || Ok(command_line(group.pid()).is_some())).unwrap());
        assert_eq!(stop_stranger(group.pid(), "server.properties"), Ok(false));
        assert_eq!(group.ended(), Ok(None));
        assert!(matches!(stop_stranger(group.pid(), "4243"), Ok(true)));
        assert!(group.ended().unwrap().is_some());
    }

    #[test]
    fn a_wait_has_a_bound() {
        let group = Group::spawn("sleep", Command::new("sleep").arg("4244")).unwrap();
        let failure = group.wait(Duration::from_millis(50)).unwrap_err();
        assert_eq!(failure, Failure::said("sleep did not end within 0 s"));
    }
}
