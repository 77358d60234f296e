//! ministack, a server with SNS in front of SQS, from the Python Package Index. ElasticMQ knows no SNS; this one checks
//! less than that, so it serves for nothing but what SNS delivers.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    brokers::{Broker, Wish, remove_folder, sqs::wait_for_queues},
    failure::{Failure, Outcome, While},
    process::Group,
};

const PACKAGE: &str = "ministack==1.5.33";
const VENV: &str = "venv-1.5.33";
const APT: &str = "apt-get install python3 python3-venv";
/// How long the download may take.
const DOWNLOAD: Duration = Duration::from_secs(10 * 60);
/// The program takes no words of its own; the one that we add says whose process it is.
const MAIN: &str = "import sys; del sys.argv[1:]; from ministack.app import main; main()";

/// ministack 1.5.33. What it holds is gone with its process.
#[derive(Debug)]
pub(super) struct Sns;

impl Broker for Sns {
    fn name(&self) -> &'static str {
        "sns"
    }

    fn variable(&self) -> &'static str {
        "THROUGHLINE_SNS"
    }

    fn wished_port(&self, _: &Wish) -> Option<u16> {
        None
    }

    fn fetch(&self, cache: &Path) -> Outcome<()> {
        let venv = cache.join(VENV);
        let done = venv.join("complete");
        if done.exists() {
            return Ok(());
        }
        // A virtual environment knows its own path, so it cannot be made elsewhere and moved.
        remove_folder(&venv)?;
        eprintln!("fetching {PACKAGE} from the Python Package Index");
        let mut make = Command::new("python3");
        if !succeeds("python3", make.args(["-m", "venv"]).arg(&venv))? {
            let what = "no python3 with its module venv is installed".to_owned();
            return Err(Failure::Lacks { what, remedy: APT.to_owned() });
        }
        let mut install = Command::new(venv.join("bin/pip"));
        if !succeeds("pip", install.args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]))? {
            return Err(Failure::Lacks {
                what: format!("pip could not fetch {PACKAGE}"),
                remedy: "give this machine a way to the Python Package Index, or a mirror in pip.conf"
                    .to_owned(),
            });
        }
        std::fs::write(&done, "").while_doing(format!("write {}", done.display()))
    }

    fn command(&self, cache: &Path, scratch: &Path, port: u16) -> Outcome<Command> {
        let mut command = Command::new(cache.join(VENV).join("bin/python"));
        command.args(["-c", MAIN]).arg(scratch).current_dir(scratch);
        command.env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1");
        command.env("GATEWAY_PORT", port.to_string());
        Ok(command)
    }

    fn warm_up(&self, port: u16) -> Outcome<()> {
        wait_for_queues(port)
    }
}

/// Whether a command is there and ends well.
fn succeeds(what: &str, command: &mut Command) -> Outcome<bool> {
    match Group::spawn(what, command.stdout(Stdio::null())) {
        Ok(group) => Ok(group.wait(DOWNLOAD)?.success()),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(_) => Ok(false),
    }
}
