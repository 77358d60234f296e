//! All brokers together: `up`, `down`, and the guard that a test run holds.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{
    brokers::{ALL, LOG, Running, Wish, own, remove_folder},
    failure::{Failure, Outcome, While},
    process,
    workspace::{Workspace, under_ci},
};

/// What `brokers up` left running.
const BY_HAND: &str = "state.json";
/// What a `test` or `bench` runs for itself. Its own file, so that neither touches the broker of a person.
const BY_RUN: &str = "run.json";

/// A broker as the state files name it.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    pid: u32,
    port: u16,
    folder: PathBuf,
    /// The xtask that takes it down again, if one does.
    owner: Option<u32>,
}

impl Entry {
    fn of(running: &Running, owner: Option<u32>) -> Self {
        Self { pid: running.pid(), port: running.port, folder: running.folder().to_owned(), owner }
    }

    /// The path of the scratch folder stands in the command line of a broker of ours, and of no other process.
    fn mark(&self) -> String {
        self.folder.display().to_string()
    }

    fn lives(&self) -> bool {
        process::command_line(self.pid).is_some_and(|line| line.contains(&self.mark()))
    }

    fn owner_lives(&self) -> bool {
        self.owner.and_then(process::command_line).is_some_and(|line| line.contains("xtask"))
    }

    /// Stops the process if it is still ours, and removes its folder. Gives whether there was one to stop.
    fn take_down(&self) -> Outcome<bool> {
        let stopped = process::stop_stranger(self.pid, &self.mark())?;
        remove_folder(&self.folder)?;
        Ok(stopped)
    }
}

type State = BTreeMap<String, Entry>;

/// `cargo xtask brokers up`.
pub(crate) fn up(workspace: &Workspace, wish: &Wish) -> Outcome<bool> {
    let folder = folder(workspace)?;
    let file = folder.join(BY_HAND);
    let mut state = read(&file)?;
    let mut complete = true;
    for broker in ALL {
        let name = broker.name();
        if let Some(entry) = state.get(name) {
            let wished = broker.wished_port(wish).is_none_or(|port| port == entry.port);
            if entry.lives() && wished {
                eprintln!("{name}: already up (process {})", entry.pid);
                println!("export {}=127.0.0.1:{}", broker.variable(), entry.port);
                continue;
            }
            if entry.lives() {
                let port = entry.port;
                return Err(Failure::said(format!(
                    "{name} is up on port {port}; `cargo xtask brokers down` first"
                )));
            }
            eprintln!("{name}: process {} is gone, starting afresh", entry.pid);
            entry.take_down()?;
            state.remove(name);
            write(&file, &state)?;
        }
        match Running::start(*broker, &folder, wish) {
            Ok(running) => {
                state.insert(name.to_owned(), Entry::of(&running, None));
                write(&file, &state)?;
                eprintln!(
                    "{name}: up (process {}, log {})",
                    running.pid(),
                    running.folder().join(LOG).display()
                );
                println!("export {}={}", running.variable, running.address());
                running.release();
            }
            Err(failure @ Failure::Lacks { .. }) => {
                eprintln!("{name}: skipped, {failure}");
                complete = false;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(complete || !under_ci() && !state.is_empty())
}

/// `cargo xtask brokers down`.
pub(crate) fn down(workspace: &Workspace) -> Outcome<bool> {
    let folder = folder(workspace)?;
    for name in [BY_HAND, BY_RUN] {
        let file = folder.join(name);
        let mut state = read(&file)?;
        while let Some((name, entry)) = state.pop_first() {
            if entry.owner_lives() {
                eprintln!(
                    "{name}: left to the run that uses it (process {})",
                    entry.owner.unwrap_or_default()
                );
                return Ok(true);
            }
            let stopped = entry.take_down()?;
            let was = if stopped { "taken down" } else { "was not running any more" };
            eprintln!("{name}: {was} (process {})", entry.pid);
            write(&file, &state)?;
        }
    }
    own::sweep(&folder)?;
    Ok(true)
}

/// The brokers of one run. Dropping it stops them all.
#[derive(Debug)]
pub(crate) struct Fleet {
    running: Vec<Running>,
    /// Name and reason of each broker that cannot be had on this machine.
    pub(crate) lacking: Vec<(&'static str, String)>,
    file: PathBuf,
}

impl Fleet {
    /// Starts every broker that the machine can get. First takes down what a killed run left.
    ///
    /// # Errors
    /// Another run is under way; or a broker that is there does not start.
    pub(crate) fn start(workspace: &Workspace) -> Outcome<Self> {
        let folder = folder(workspace)?;
        let file = folder.join(BY_RUN);
        for (name, entry) in read(&file)? {
            if entry.owner_lives() {
                let owner = entry.owner.unwrap_or_default();
                return Err(Failure::said(format!(
                    "another run uses {name} in this folder (process {owner})"
                )));
            }
            entry.take_down()?;
        }
        own::sweep(&folder)?;
        let mut fleet = Self { running: Vec::new(), lacking: Vec::new(), file };
        fleet.write()?;
        for broker in ALL {
            match Running::start(*broker, &folder, &Wish::default()) {
                Ok(running) => {
                    eprintln!("{}: up on {} (process {})", running.name, running.address(), running.pid());
                    fleet.running.push(running);
                    fleet.write()?;
                }
                Err(failure @ Failure::Lacks { .. }) => {
                    eprintln!("{}: skipped, {failure}", broker.name());
                    fleet.lacking.push((broker.name(), failure.to_string()));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(fleet)
    }

    /// Tells a command where the brokers are.
    pub(crate) fn tell(&self, command: &mut Command) {
        for broker in ALL {
            command.env_remove(broker.variable());
        }
        for running in &self.running {
            command.env(running.variable, running.address());
        }
    }

    /// Which brokers ended while they were needed, and why.
    pub(crate) fn deaths(&mut self) -> Vec<String> {
        self.running
            .iter_mut()
            .filter_map(|running| running.death().map(|why| format!("{} {why}", running.name)))
            .collect()
    }

    fn write(&self) -> Outcome<()> {
        let owner = Some(std::process::id());
        let state = self.running.iter().map(|running| (running.name.to_owned(), Entry::of(running, owner)));
        write(&self.file, &state.collect())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for running in self.running.drain(..) {
            let name = running.name;
            drop(running);
            eprintln!("{name}: taken down");
        }
        if let Err(failure) = self.write() {
            eprintln!("{failure}");
        }
    }
}

/// Where brokers are kept, fetched and running.
pub(super) fn folder(workspace: &Workspace) -> Outcome<PathBuf> {
    let folder = workspace.target("brokers");
    fs::create_dir_all(&folder).while_doing(format!("create {}", folder.display()))?;
    Ok(folder)
}

fn read(file: &Path) -> Outcome<State> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).while_doing(format!("read {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::new()),
        Err(error) => Err(Failure::said(format!("could not read {}: {error}", file.display()))),
    }
}

/// Replaces the file as a whole, so that a kill in between leaves the old state; removes it when nothing is left to say.
fn write(file: &Path, state: &State) -> Outcome<()> {
    if state.is_empty() {
        return match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::said(format!("could not remove {}: {error}", file.display())))
            }
            _ => Ok(()),
        };
    }
    let doing = || format!("write {}", file.display());
    let fresh = file.with_extension("new");
    let text = serde_json::to_string_pretty(state).while_doing(doing())?;
    fs::write(&fresh, text + "\n").while_doing(doing())?;
    fs::rename(&fresh, file).while_doing(doing())
}
