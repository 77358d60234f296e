//! `cargo run --example ai_pipeline [-- FOLDER..]`: documents over HTTP, SQS, Pub/Sub, Kafka and a database, seen whole.
//!
//! An HTTP ingress takes documents and publishes jobs (SQS); a worker asks an embedding service over HTTP and publishes
//! the class (Pub/Sub); a second writes it to a database and publishes an event (Kafka); an auditor notes that. What
//! cannot be classified goes to the dead letters, and `--replay` sends it again. All of it runs in one process on an
//! embedded broker; with `--brokers real` (build with `--features real`) over the brokers that `cargo xtask brokers up`
//! started, each role a process of its own. `--otlp URL` exports the spans too (build with `--features otlp`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod args;
mod brokers;
mod children;
mod classify;
mod database;
mod documents;
mod embedding;
mod http;
mod ingress;
mod model;
#[cfg(feature = "real")]
mod real;
mod replay;
mod report;
mod roles;
mod run;
mod store;
mod submit;
mod svg;
mod telemetry;
mod timeline;

use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let args = args::Args::parse();
    let done = match args.role {
        args::Role::All => run::run(&args).await.and_then(|report| report.show(&args)),
        role => roles::run(&args, role).await.map(|()| true),
    };
    match done {
        Ok(whole) => ExitCode::from(u8::from(!whole)),
        Err(error) => {
            eprintln!("ai_pipeline: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
