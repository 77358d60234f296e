//! `cargo xtask`: the commands of this repository, in plain `std` code. It fetches and starts real brokers, runs the tests
//! in lanes against them, checks what the tests wrote down, and takes everything away again.
//!
//! A library beside the program, for one thing: a test that stops, kills and restarts its broker starts one of its own
//! with [`OwnKafka`], [`OwnSqs`] or [`OwnPubSub`].
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program speaks on its own terminal"
)]

mod bench;
mod brokers;
mod ci;
mod failure;
mod fences;
mod file_lock;
mod lanes;
mod ledgers;
mod process;
mod source_text;
mod tally;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    brokers::{Wish, fleet},
    failure::Outcome,
    workspace::Workspace,
};

pub use brokers::own::{OwnKafka, OwnKafkaBuilder, OwnPubSub, OwnSqs};
pub use failure::Failure;

/// The commands of the Throughline repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up the real brokers, run every test, check the ledgers, take the brokers down again
    Test {
        /// The larger numbers of GUARANTEES (tier 2): hours, not minutes
        #[arg(long)]
        soak: bool,
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// Everything that must hold before a merge: format, lints, docs, fences, dependencies, then `test`
    Ci,
    /// Start or stop the real brokers, for work by hand
    Brokers {
        #[command(subcommand)]
        command: Brokers,
    },
    /// Run the benches against a real broker and write benches/RESULTS.md
    Bench {
        /// Only bench binaries whose name contains this
        filter: Option<String>,
    },
    /// Check the rules on who may depend on and name what
    Fences,
}

#[derive(Debug, Subcommand)]
enum Brokers {
    /// Fetch what is missing, start the brokers, print one `export NAME=ADDRESS` line each on stdout
    Up {
        /// The loopback port for Kafka instead of a free one; it must be closed
        #[arg(long)]
        kafka_port: Option<u16>,
    },
    /// Stop what `up` started and what a killed `test` left, and remove their folders
    Down,
}

/// The program: does what its arguments say.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(if matches!(failure, Failure::Interrupted) { 130 } else { 1 })
        }
    }
}

/// Runs one command; `false` when it ran to its end and something in it failed.
fn run(command: Command) -> Outcome<bool> {
    process::watch_signals()?;
    let workspace = Workspace::find()?;
    match command {
        Command::Test { soak, filter } => {
            Ok(test::run(&workspace, &test::Plan { soak, filter })?.failed == 0)
        }
        Command::Ci => ci::run(&workspace),
        Command::Brokers { command: Brokers::Up { kafka_port } } => {
            fleet::up(&workspace, &Wish { kafka_port })
        }
        Command::Brokers { command: Brokers::Down } => fleet::down(&workspace),
        Command::Bench { filter } => bench::run(&workspace, filter.as_deref()),
        Command::Fences => fences::run(&workspace),
    }
}
