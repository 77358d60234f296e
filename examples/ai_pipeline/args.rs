//! The command line.

use clap::{Parser, ValueEnum};
use std::{net::SocketAddr, path::PathBuf};
use throughline::Relation;

/// Sends documents through HTTP, three brokers and a database, and proves that no trace broke.
#[derive(Clone, Debug, Parser)]
#[command(name = "ai_pipeline", version)]
pub(crate) struct Args {
    /// Text files, or folders of them; the small corpus of this example if there is none.
    pub(crate) paths: Vec<PathBuf>,

    /// What carries the messages.
    #[arg(long, value_enum, default_value_t = Brokers::Memory)]
    pub(crate) brokers: Brokers,

    /// How a process span relates to its message's: `link` gives a trace a hop, `parent-and-link` one trace a document.
    #[arg(long, value_enum, default_value_t = How::Link)]
    pub(crate) relation: How,

    /// Sends every document so many times.
    #[arg(long, default_value_t = 1, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,

    /// Sends the dead letters again once all else is done, with leave to class them as `other`.
    #[arg(long)]
    pub(crate) replay: bool,

    /// Where the results go: `sqlite:PATH` or, built with `--features postgres`, `postgres://..`. Default: a SQLite file
    /// in the system's folder for temporary files.
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,

    /// Exports spans and metrics over OTLP/HTTP to this base URL too, for instance http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,

    /// Draws the document of the end as `before.svg` and `after.svg` into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) svg: Option<PathBuf>,

    /// Appends every span to a file in this folder, as JSON lines.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) spans: Option<PathBuf>,

    /// Ends with one line of JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,

    /// What this process does; all but `all` need `--brokers real`, and run until SIGTERM or the end of stdin.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,

    /// How the names of queues, topics and subscriptions begin. Default: one of its own for each run.
    #[arg(long)]
    pub(crate) prefix: Option<String>,

    /// Where the ingress listens. Default: a free port of the loopback interface.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) ingress: Option<SocketAddr>,

    /// Where the embedding service listens. Default: a free port of the loopback interface.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) embedding: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Brokers {
    /// The embedded broker, in this process.
    Memory,
    /// SQS, Pub/Sub and Kafka, at THROUGHLINE_SQS, THROUGHLINE_PUBSUB and THROUGHLINE_KAFKA.
    Real,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    Link,
    ParentAndLink,
}

impl From<How> for Relation {
    fn from(how: How) -> Self {
        match how {
            How::Link => Relation::Link,
            How::ParentAndLink => Relation::ParentAndLink,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Starts every other role, submits the documents and ends when they are done.
    All,
    /// Takes documents over HTTP.
    Ingress,
    /// Embeds texts over HTTP.
    Embed,
    /// Finds the class of each document.
    Classify,
    /// Writes the results to the database.
    Store,
    /// Notes the events of what was stored.
    Audit,
    /// Keeps the dead letters.
    Letters,
}

impl Role {
    /// What `all` consists of; a service is up before those that call it.
    pub(crate) const PARTS: [Role; 6] =
        [Role::Embed, Role::Classify, Role::Store, Role::Audit, Role::Letters, Role::Ingress];

    /// The word on the command line, which is the name of its service too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::All => "client",
            Role::Ingress => "ingress",
            Role::Embed => "embed",
            Role::Classify => "classify",
            Role::Store => "store",
            Role::Audit => "audit",
            Role::Letters => "letters",
        }
    }
}
