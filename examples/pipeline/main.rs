//! Documents through two workers, every span connected, and the proof of it at the end.
//!
//! `cargo run --example pipeline -- [PATH..]` publishes each section of the text files at PATH (default: the documents
//! of this repository), classifies it in one worker and stores the result in a second, on an embedded broker.
//! `--kafka HOST:PORT` does the same over Apache Kafka (build with `--features kafka`), with `--role` as a process of
//! its own for each role; `--otlp URL` exports spans and metrics as well (build with `--features otlp`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod args;
mod broker;
mod classify;
mod documents;
mod report;
mod run;
mod store;
mod telemetry;

use args::Args;
use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run::run(&args).await.and_then(|report| show(&args, &report)) {
        Ok(whole) => ExitCode::from(u8::from(!whole)),
        Err(error) => {
            eprintln!("pipeline: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Says whether nothing was lost and nothing is broken.
fn show(args: &Args, report: &report::Report) -> Result<bool, throughline::BoxError> {
    print!("{report}");
    if args.json {
        println!("{}", report.json()?);
    }
    Ok(report.is_whole())
}
