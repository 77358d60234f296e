//! The command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Runs documents through a pipeline of two workers and proves that no trace broke.
#[derive(Debug, Parser)]
#[command(name = "pipeline", version)]
pub(crate) struct Args {
    /// Text files, or folders of them; the documents of this repository if there is none.
    pub(crate) paths: Vec<PathBuf>,

    /// Over this Apache Kafka in place of the embedded broker.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) kafka: Option<String>,

    /// What this process does. Roles other than `all` need `--kafka`; workers run until SIGTERM or ctrl-c.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,

    /// How the topics and groups begin; roles of one pipeline say the same. Default: `pipeline`, with a number of its
    /// own where one process has all roles.
    #[arg(long)]
    pub(crate) prefix: Option<String>,

    /// Export spans and metrics over OTLP/HTTP to this base URL too, for instance http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,

    /// Where the results are stored, as JSON lines; default: a file in the system's folder for temporary files.
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,

    /// End with one line of JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Publish, classify and store in this process, and end when every document is done.
    All,
    /// Publish the documents and end.
    Publish,
    /// Classify until told to stop.
    Classify,
    /// Store until told to stop.
    Store,
}

impl Role {
    pub(crate) fn has(self, role: Role) -> bool {
        self == Role::All || self == role
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::All => "pipeline",
            Role::Publish => "pipeline-publish",
            Role::Classify => "pipeline-classify",
            Role::Store => "pipeline-store",
        }
    }
}

fn host_port(value: &str) -> Result<String, String> {
    let wanted = || format!("`{value}` is not HOST:PORT, for instance 127.0.0.1:9092");
    let (host, port) = value.rsplit_once(':').ok_or_else(wanted)?;
    if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(wanted());
    }
    Ok(value.to_owned())
}
