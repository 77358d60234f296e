//! Which file may name what.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Outcome, While},
    source_text::SourceText,
    workspace::Workspace,
};

/// A word that only some files may use in code; comments and strings may speak of it anywhere.
pub(super) struct Fence {
    word: &'static str,
    /// Files, or folders with a `/` at the end.
    homes: &'static [&'static str],
    why: &'static str,
}

/// The words with homes.
pub(super) const FENCES: &[Fence] = &[
    Fence {
        word: "actix",
        homes: &["crates/throughline/src/actor/"],
        why: "the work loop must run and be tested on tokio alone, with no actor system",
    },
    Fence {
        word: "opentelemetry",
        homes: &[
            "crates/throughline-trace/",
            "crates/throughline-test/",
            // Where a context changes hands: captured at `send`, carried to a handler, sent along with an envelope.
            "crates/throughline/src/publisher.rs",
            "crates/throughline/src/handler/carried.rs",
            "crates/throughline/src/actor/context.rs",
        ],
        why: "everything else speaks of a trace through the layers of throughline-trace",
    },
    Fence {
        word: "rdkafka",
        homes: &["crates/throughline-kafka/"],
        why: "a client is used through its adapter alone",
    },
    Fence {
        word: "aws_sdk_sqs",
        homes: &["crates/throughline-sqs/"],
        why: "a client is used through its adapter alone",
    },
    Fence {
        word: "google_cloud_pubsub",
        homes: &["crates/throughline-pubsub/"],
        why: "a client is used through its adapter alone",
    },
];

/// Where every attribute name of the messaging conventions is written, once.
const CONVENTIONS: &str = "crates/throughline-trace/src/semconv.rs";
/// The second copy, on purpose: a checker that took the names from what it checks would agree with every mistake.
const CHECKER: &str = "crates/throughline-test/src/graph/names.rs";
const CONVENTION: &str = "messaging.";
/// Longer files are worth a look.
const LONG: usize = 400;

/// A source file of the workspace.
#[derive(Debug)]
pub(super) struct File {
    /// From the root, with `/`.
    path: String,
    lines: usize,
    text: SourceText,
}

impl File {
    fn new(path: String, source: &str) -> Self {
        Self { path, lines: source.lines().count(), text: SourceText::of(source) }
    }

    /// Tests, benches, fuzz targets and examples stand outside the published crates and may name what they compare with.
    fn is_shipped(&self) -> bool {
        let outside = ["tests/", "benches/", "examples/", "fuzz/"];
        let path = self.path.strip_prefix("crates/").and_then(|path| path.split_once('/'));
        path.is_some_and(|(_, inside)| {
            !outside.iter().any(|folder| inside.starts_with(folder)) && !is_unit_test(inside)
        })
    }
}

/// A test module in a file of its own: `src/loop/tests.rs`, `src/tests/drain.rs`.
fn is_unit_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Every `.rs` file of the members but of xtask, which must write down the words it looks for.
pub(super) fn read(workspace: &Workspace) -> Outcome<Vec<File>> {
    let mut paths = Vec::new();
    for package in workspace.packages.iter().filter(|package| package.name != "xtask") {
        collect(package.folder(), &mut paths)?;
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let source = fs::read_to_string(path).while_doing(format!("read {}", path.display()))?;
            let relative = path.strip_prefix(workspace.root()).unwrap_or(path);
            Ok(File::new(relative.to_string_lossy().replace('\\', "/"), &source))
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Outcome<()> {
    let doing = || format!("read {}", folder.display());
    for entry in fs::read_dir(folder).while_doing(doing())? {
        let path = entry.while_doing(doing())?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, paths)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// Every shipped file that names a word away from its homes.
pub(super) fn check(files: &[File], fences: &[Fence]) -> Vec<String> {
    let mut broken = Vec::new();
    for Fence { word, homes, why } in fences {
        let strangers = files.iter().filter(|file| {
            let at_home = homes
                .iter()
                .any(|home| file.path == *home || home.ends_with('/') && file.path.starts_with(home));
            file.is_shipped() && !at_home && file.text.names(word)
        });
        broken.extend(strangers.map(|file| format!("{} names {word}: {why}", file.path)));
    }
    broken
}

/// Every shipped file but the two for it that writes an attribute name of the conventions as a string.
pub(super) fn check_literals(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.is_shipped() && ![CONVENTIONS, CHECKER].contains(&file.path.as_str()))
        .filter_map(|file| {
            let literal = file.text.literals.iter().find(|literal| literal.starts_with(CONVENTION))?;
            Some(format!("{} writes {literal:?}: names of the conventions live in {CONVENTIONS}", file.path))
        })
        .collect()
}

/// Files that have grown too long to be read in one go; a hint, not a fence.
pub(super) fn long_files(files: &[File]) -> Vec<String> {
    let long = files.iter().filter(|file| file.lines > LONG);
    long.map(|file| format!("{} has {} lines, more than {LONG}", file.path, file.lines)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, source: &str) -> [File; 1] {
        [File::new(path.to_owned(), source)]
    }

    #[test]
    fn actix_stays_in_the_actor_folder() {
        let source = "use actix::prelude::Actor;";
        assert_eq!(check(&file("crates/throughline/src/pump.rs", source), FENCES).len(), 1);
        assert_eq!(check(&file("crates/throughline/src/actor/gate.rs", source), FENCES).len(), 0);
        assert_eq!(check(&file("crates/throughline/src/actor.rs", source), FENCES).len(), 1);
        assert_eq!(check(&file("crates/throughline/tests/supervision.rs", source), FENCES).len(), 0);
        assert_eq!(check(&file("examples/examples/actor.rs", source), FENCES).len(), 0);
        assert_eq!(
            check(&file("crates/throughline/src/pump.rs", "// actix bounds no mailbox"), FENCES).len(),
            0
        );
    }

    #[test]
    fn opentelemetry_stays_in_trace() {
        let source = "use opentelemetry_sdk::trace::Tracer;";
        assert_eq!(check(&file("crates/throughline-core/src/lib.rs", source), FENCES).len(), 1);
        assert_eq!(check(&file("crates/throughline-trace/src/mirror.rs", source), FENCES).len(), 0);
    }

    #[test]
    fn a_client_stays_in_its_adapter() {
        let source = "let record = rdkafka::message::OwnedMessage::new();";
        assert_eq!(check(&file("crates/throughline/src/publisher.rs", source), FENCES).len(), 1);
        assert_eq!(check(&file("crates/throughline-kafka/src/consume/source.rs", source), FENCES).len(), 0);
    }

    #[test]
    fn names_of_the_conventions_are_written_once() {
        let source = "const SYSTEM: &str = \"messaging.system\";";
        assert_eq!(check_literals(&file("crates/throughline-core/src/origin.rs", source)).len(), 1);
        assert_eq!(check_literals(&file(CONVENTIONS, source)).len(), 0);
        assert_eq!(check_literals(&file("crates/throughline-trace/tests/spans.rs", source)).len(), 0);
        assert_eq!(
            check_literals(&file("crates/throughline-core/src/origin.rs", "/// `messaging.system`")).len(),
            0
        );
    }

    #[test]
    fn a_long_file_is_named() {
        assert_eq!(long_files(&file("a.rs", &"\n".repeat(401))).len(), 1);
        assert_eq!(long_files(&file("a.rs", &"\n".repeat(400))).len(), 0);
    }
}
