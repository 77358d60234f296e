//! Runs the examples of one idea each. Every one checks what it shows, and says by its exit status whether it did.

#![allow(clippy::expect_used, reason = "a test")]

use std::{
    collections::BTreeMap,
    env::consts::EXE_SUFFIX,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// They end by themselves within seconds; on a busy machine a little later.
const PATIENCE: Duration = Duration::from_secs(60);

/// What needs a broker, whether it is built, and the variable that the broker's address is in.
const WITH_BROKER: &[(&str, bool, &str)] =
    &[("two_layers_only", cfg!(feature = "rdkafka"), "THROUGHLINE_KAFKA")];

#[test]
fn every_example_does_what_it_shows() {
    let mut failed = Vec::new();
    for name in examples().into_keys() {
        let mut command = Command::new(binary(&name));
        if let Some((_, built, address)) = WITH_BROKER.iter().find(|(example, ..)| *example == name) {
            let Some(address) = std::env::var(address).ok().filter(|_| *built) else {
                println!("{name} is left out: it is not built, or there is no broker in {address}");
                continue;
            };
            command.arg(address);
        }
        println!("=== {name}");
        if let Err(why) = run(&mut command) {
            failed.push(format!("{name}: {why}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The list that newcomers read has every example, and its way to run it is the first line of the file.
#[test]
fn the_index_is_whole() {
    let index = fs::read_to_string(folder().join("README.md")).expect("the index");
    let readme = fs::read_to_string(folder().join("../README.md")).expect("the README");
    assert!(readme.contains("(examples/README.md)"), "the README leads to the index");
    for (name, source) in examples() {
        let path = source.strip_prefix(folder()).expect("a file of the folder").to_string_lossy();
        assert!(index.contains(&format!("({path})")), "{path} is not in examples/README.md");
        let text = fs::read_to_string(&source).expect("an example");
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! cargo run "), "{path}: the first line says how to run it");
        assert!(first.contains(&format!("--example {name}")), "{path}: it names another: {first}");
        assert!(text.lines().count() < 100, "{path}: an example has fewer than 100 lines");
    }
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file right in the folder, and every folder with a `main.rs`: what they are called, and where they begin. What
/// puts everything together has tests of its own.
fn examples() -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder()).expect("the folder of examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let sources = paths.map(|path| if path.is_dir() { path.join("main.rs") } else { path });
    let sources = sources.filter(|path| path.extension().is_some_and(|it| it == "rs") && path.is_file());
    let named = sources.map(|path| {
        let named_after = if path.ends_with("main.rs") { path.parent() } else { Some(&*path) };
        let name = named_after.and_then(Path::file_stem).expect("a name").to_string_lossy().into_owned();
        (name, path)
    });
    named.filter(|(name, _)| name != "ai_pipeline").collect()
}

/// Cargo builds the examples of a package with its tests, into a folder beside this one's.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let built = own.parent().and_then(Path::parent).expect("the folder of the profile");
    built.join("examples").join(format!("{name}{EXE_SUFFIX}"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let path = command.get_program().to_owned();
    let child = command.stdin(Stdio::null()).spawn();
    let mut child = Running(child.map_err(|error| {
        format!("{}: {error}; `cargo test -p throughline-examples` builds it", path.display())
    })?);
    let began = Instant::now();
    loop {
        match child.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if began.elapsed() > PATIENCE => return Err(format!("still runs after {PATIENCE:?}")),
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Not left behind, whatever happens to the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
