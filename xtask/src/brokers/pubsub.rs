//! A server of Google Pub/Sub: Google's emulator, which comes with the gcloud CLI and is in no registry; on a machine
//! without it, Google's own fake for tests (`pstest`), built with Go. The tests are written for the emulator: the fake
//! has other latencies, and does not mark dead letters.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    brokers::{Broker, Wish, java, remove_folder},
    failure::{Failure, Outcome, While},
    process::{self, Group},
};

/// Beside the folder of the `gcloud` program, when its component (or Google's own package) is installed.
const EMULATOR: &str = "../platform/pubsub-emulator/lib";
const MAIN: &str = "com.google.cloud.pubsub.testing.v1.Main";
const REMEDY: &str = "`gcloud components install pubsub-emulator`, or apt-get install google-cloud-cli-pubsub-emulator \
    from Google's own packages; or, for the fallback, Go 1.26 or later from https://go.dev/dl";
/// The program around the fake.
const SOURCES: &[(&str, &str)] = &[
    ("main.go", include_str!("../../pstest/main.go")),
    ("go.mod", include_str!("../../pstest/go.mod")),
    ("go.sum", include_str!("../../pstest/go.sum")),
];
const FAKE: &str = "pstest-2.8.1";
/// How long the modules and the build of the fake may take: 600 MB, and a minute of two cores.
const BUILD: Duration = Duration::from_secs(15 * 60);
/// How long the first answer may take.
const BOUND: Duration = Duration::from_secs(30);

/// Google's emulator or, without it, `pstest`. What it holds is gone with its process.
#[derive(Debug)]
pub(super) struct PubSub;

impl Broker for PubSub {
    fn name(&self) -> &'static str {
        "pubsub"
    }

    fn variable(&self) -> &'static str {
        "THROUGHLINE_PUBSUB"
    }

    fn wished_port(&self, _: &Wish) -> Option<u16> {
        None
    }

    fn fetch(&self, cache: &Path) -> Outcome<()> {
        if emulator().is_some() { java::check() } else { build_fake(cache) }
    }

    fn command(&self, cache: &Path, scratch: &Path, port: u16) -> Outcome<Command> {
        let mut command = match emulator() {
            Some(jar) => {
                // `gcloud beta emulators pubsub start` would be a second slower, and a process that is not ours.
                let mut command = java::java(32, 192);
                command.arg("-cp").arg(jar).args([MAIN, "--host=127.0.0.1", &format!("--port={port}")]);
                command
            }
            None => {
                let mut command = Command::new(cache.join(FAKE).join("pstest"));
                command.arg(format!("127.0.0.1:{port}"));
                command
            }
        };
        // Both ignore a word more than they know; it says whose process it is.
        command.arg(scratch).current_dir(scratch);
        Ok(command)
    }

    fn warm_up(&self, port: u16) -> Outcome<()> {
        let mut last = Vec::new();
        let done = process::wait_until(BOUND, || {
            last = http2_greeting(port)?;
            Ok(last.get(3) == Some(&SETTINGS))
        })?;
        if done {
            return Ok(());
        }
        Err(Failure::said(format!("did not speak HTTP/2 within {} s: {last:?}", BOUND.as_secs())))
    }
}

/// The jar of the emulator beside the `gcloud` on the path; the newest by name.
fn emulator() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let gcloud =
        std::env::split_paths(&path).map(|folder| folder.join("gcloud")).find(|file| file.is_file())?;
    let folder = fs::canonicalize(gcloud).ok()?.parent()?.join(EMULATOR);
    let jars = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |jar: &PathBuf| {
        let name = jar.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("cloud-pubsub-emulator-") && name.ends_with("-all.jar")
    };
    jars.filter(is_it).max()
}

/// Builds the fake, once. Its folder gets its name only when it is complete.
fn build_fake(cache: &Path) -> Outcome<()> {
    let folder = cache.join(FAKE);
    if folder.is_dir() {
        return Ok(());
    }
    let lacks = |what: String| Err(Failure::Lacks { what, remedy: REMEDY.to_owned() });
    if Command::new("go").arg("version").stdin(Stdio::null()).output().is_err() {
        return lacks("neither Google's Pub/Sub emulator nor Go is installed".to_owned());
    }
    eprintln!(
        "no Pub/Sub emulator beside gcloud: building Google's fake for tests with Go (600 MB of modules)"
    );
    let fresh = folder.with_extension("new");
    remove_folder(&fresh)?;
    fs::create_dir_all(&fresh).while_doing(format!("create {}", fresh.display()))?;
    for (name, text) in SOURCES {
        fs::write(fresh.join(name), text).while_doing(format!("write {name} of pstest"))?;
    }
    let log = cache.join("go.log");
    let file = fs::File::create(&log).while_doing(format!("create {}", log.display()))?;
    let also = file.try_clone().while_doing("share the log of Go")?;
    let mut command = Command::new("go");
    command.args(["build", "-o", "pstest", "."]).current_dir(&fresh).stdout(file).stderr(also);
    if !Group::spawn("go build", &mut command)?.wait(BUILD)?.success() {
        let log = log.display();
        return lacks(format!(
            "no Pub/Sub emulator is installed, and Go could not build its substitute (see {log})"
        ));
    }
    fs::rename(&fresh, &folder).while_doing(format!("rename {}", fresh.display()))
}

/// The type of the frame that each side of HTTP/2 sends first.
const SETTINGS: u8 = 4;

/// The header of the first frame that a server of gRPC sends: its length, type, flags and stream.
fn http2_greeting(port: u16) -> Outcome<Vec<u8>> {
    let doing = || format!("speak to Pub/Sub on port {port}");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).while_doing(doing())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).while_doing(doing())?;
    // The preface of a client (RFC 9113, 3.4) with empty settings.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").while_doing(doing())?;
    let mut frame = Vec::new();
    stream.take(9).read_to_end(&mut frame).while_doing(doing())?;
    Ok(frame)
}
