//! `cargo xtask ci`: all that must hold before a merge. Every step runs even if one before it failed, so that one run
//! tells everything; what failed is named at the end.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    failure::{Failure, Outcome},
    fences, process,
    tally::Tally,
    test::{self, Plan},
    workspace::Workspace,
};

/// The version that `deny.toml` is written for.
const DENY: &str = "0.20.2";

type Step = (&'static str, fn(&Workspace) -> Outcome<bool>);

/// The cheap ones first. clippy, rustdoc and the tests use the same features, so they share build scripts, macros and,
/// the first two, the metadata of all dependencies.
const STEPS: &[Step] = &[
    ("format", |workspace| cargo(workspace, &["fmt", "--all", "--check"])),
    ("fences", fences::run),
    ("dependencies", deny),
    ("lints", |workspace| {
        cargo(
            workspace,
            &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
        )
    }),
    ("docs", docs),
    // What a newcomer builds: the default members with their default features, which no step above compiles.
    ("defaults", |workspace| cargo(workspace, &["check", "--all-targets"])),
];

/// Runs the steps and then the tests; `true` when all of them hold. The last line is that of the tests.
pub(crate) fn run(workspace: &Workspace) -> Outcome<bool> {
    let mut results = Vec::new();
    for (name, step) in STEPS {
        results.push(announced(name, || step(workspace))?);
    }
    let mut total = Tally::default();
    results.push(announced("test", || {
        total = test::run(workspace, &Plan::default())?;
        Ok(total.failed == 0)
    })?);
    println!("\n=== ci");
    for Done { name, holds, took } in &results {
        println!("{name}: {} in {}", word(*holds), seconds(*took));
    }
    println!("{total}");
    Ok(results.iter().all(|done| done.holds))
}

/// A step that ran to its end.
struct Done {
    name: &'static str,
    holds: bool,
    took: Duration,
}

/// Runs one step between two lines that name it. Only an interrupt ends the whole.
fn announced(name: &'static str, step: impl FnOnce() -> Outcome<bool>) -> Outcome<Done> {
    println!("\n=== {name}");
    let start = Instant::now();
    let holds = match step() {
        Ok(holds) => holds,
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        Err(failure) => {
            eprintln!("xtask: {failure}");
            false
        }
    };
    let took = start.elapsed();
    println!("=== {name}: {} in {}", word(holds), seconds(took));
    Ok(Done { name, holds, took })
}

fn word(holds: bool) -> &'static str {
    if holds { "ok" } else { "FAILED" }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

fn cargo(workspace: &Workspace, words: &[&str]) -> Outcome<bool> {
    process::run(&format!("cargo {}", words.join(" ")), &mut workspace.cargo(words))
}

fn docs(workspace: &Workspace) -> Outcome<bool> {
    let mut command = workspace.cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    process::run("cargo doc", command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Bans, licences and sources. Not advisories: their database is a clone of a Git repository that a build machine
/// without a way out cannot have, and a new advisory must not break an old commit.
fn deny(workspace: &Workspace) -> Outcome<bool> {
    let mut command = deny_command(workspace)?;
    command.args(["--workspace", "--all-features", "check", "bans", "licenses", "sources"]);
    process::run("cargo deny", command.current_dir(workspace.root()))
}

/// cargo-deny in the pinned version: the installed one if it is that, else one of our own under `target/`.
fn deny_command(workspace: &Workspace) -> Outcome<Command> {
    let tools = workspace.target("tools");
    let own = tools.join("bin/cargo-deny");
    for program in ["cargo-deny".into(), own.clone()] {
        let output = Command::new(&program).arg("--version").output();
        if output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(DENY)) {
            return Ok(Command::new(program));
        }
    }
    println!("cargo-deny {DENY} is not installed: building it into {}", tools.display());
    let mut install = workspace.cargo(&["install", "cargo-deny", "--locked", "--version", DENY, "--root"]);
    if !process::run("cargo install cargo-deny", install.arg(&tools))? {
        return Err(Failure::said(format!("cargo-deny {DENY} could not be installed")));
    }
    Ok(Command::new(own))
}
