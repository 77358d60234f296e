//! PostgreSQL, the database of the example `ai_pipeline`: no broker, but started and taken down as they are. The installed
//! one, whatever its version.

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    brokers::{Broker, POSTGRES, Wish},
    failure::{Failure, Outcome, While},
    process::{self, Group},
};

const APT: &str = "apt-get install postgresql";
/// Where Debian has the programs, a folder for each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Its superuser, who needs no password on loopback; a database of this name is there too.
const USER: &str = "postgres";
/// Whom it runs as where we are root, as whom it refuses to run: `nobody`.
const NOBODY: u32 = 65_534;
/// How long making the files of a new server may take; a second is usual.
const INITDB: Duration = Duration::from_secs(60);
/// How long the first answer may take.
const BOUND: Duration = Duration::from_secs(30);

/// A server with nothing in it. What it holds is gone with its folder.
#[derive(Debug)]
pub(super) struct Postgres;

impl Broker for Postgres {
    fn name(&self) -> &'static str {
        POSTGRES
    }

    fn variable(&self) -> &'static str {
        "THROUGHLINE_POSTGRES"
    }

    fn wished_port(&self, _: &Wish) -> Option<u16> {
        None
    }

    fn fetch(&self, _: &Path) -> Outcome<()> {
        programs().map(drop)
    }

    fn command(&self, _: &Path, scratch: &Path, port: u16) -> Outcome<Command> {
        let (programs, data) = (programs()?, scratch.join("data"));
        if !data.exists() {
            initialise(&programs, &data)?;
        }
        let mut server = command(&programs.join("postgres"), &data);
        server.args(["-h", "127.0.0.1", "-k", "", "-p", &port.to_string()]);
        // Nothing of it outlives the machine, so nothing has to reach the disk.
        server.args(["-c", "fsync=off"]);
        Ok(server)
    }

    fn warm_up(&self, port: u16) -> Outcome<()> {
        let mut last = None;
        let done = process::wait_until(BOUND, || {
            last = Some(greeting(port)?);
            Ok(last == Some(AUTHENTICATION))
        })?;
        if done {
            return Ok(());
        }
        Err(Failure::said(format!("let nobody in within {} s: {last:?}", BOUND.as_secs())))
    }
}

/// The folder of `postgres` and `initdb`: on the path, or Debian's newest.
fn programs() -> Outcome<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<_> = fs::read_dir(DEBIAN).into_iter().flatten().flatten().collect();
    debian.sort_by_key(|version| version.file_name().to_string_lossy().parse::<u32>().ok());
    let debian = debian.iter().rev().map(|version| version.path().join("bin"));
    let has_both = |folder: &PathBuf| ["postgres", "initdb"].iter().all(|it| folder.join(it).is_file());
    env::split_paths(&path).chain(debian).find(has_both).ok_or_else(|| Failure::Lacks {
        what: "no PostgreSQL server is installed".to_owned(),
        remedy: APT.to_owned(),
    })
}

/// Makes the files of a server.
fn initialise(programs: &Path, data: &Path) -> Outcome<()> {
    fs::create_dir_all(data).while_doing(format!("create {}", data.display()))?;
    if is_root() {
        chown(data, Some(NOBODY), Some(NOBODY)).while_doing(format!("give {} away", data.display()))?;
    }
    let mut initdb = command(&programs.join("initdb"), data);
    initdb.args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]);
    if Group::spawn("initdb", initdb.stdout(Stdio::null()))?.wait(INITDB)?.success() {
        return Ok(());
    }
    Err(Failure::Lacks {
        what: format!("initdb made no server in {}", data.display()),
        remedy: "run as somebody who is not root, or where everybody may read".to_owned(),
    })
}

/// A program of PostgreSQL's, run by somebody who is not root.
fn command(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-D").arg(data);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The type of the message by which a server lets somebody in, or asks who it is.
const AUTHENTICATION: u8 = b'R';

/// The type of the first message that a server answers a client with.
fn greeting(port: u16) -> Outcome<u8> {
    let doing = || format!("speak to PostgreSQL on port {port}");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).while_doing(doing())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).while_doing(doing())?;
    // StartupMessage: its length, version 3.0, and pairs of texts, each ended by a zero; one more ends them all.
    let pairs = format!("user\0{USER}\0\0");
    let length = u32::try_from(8 + pairs.len()).while_doing(doing())?;
    let message = [&length.to_be_bytes()[..], &[0, 3, 0, 0], pairs.as_bytes()].concat();
    stream.write_all(&message).while_doing(doing())?;
    let mut first = [0];
    stream.read_exact(&mut first).while_doing(doing())?;
    Ok(first[0])
}
