//! Which crate may depend on which.

use crate::{
    failure::{Failure, Outcome},
    process,
    workspace::{Package, Workspace},
};

/// What the normal and build dependencies of a member may be. A `*` at the end stands for any rest.
enum Rule {
    /// These and no others.
    Only(&'static [&'static str]),
    /// Any but these; a name in the second list is allowed all the same.
    AllBut(&'static [&'static str], &'static [&'static str]),
}

/// The clients of brokers, each for one adapter alone.
const CLIENTS: &[&str] = &["rdkafka*", "aws-sdk-*", "aws-config", "google-cloud-*"];
/// An adapter depends on core and its own client, and never on OpenTelemetry, actix or a sibling.
const NOT_IN_AN_ADAPTER: &[&str] = &[
    "opentelemetry*",
    "tracing-opentelemetry",
    "actix*",
    "throughline*",
    "rdkafka*",
    "aws-*",
    "google-cloud-*",
];

/// One row a crate: the table of crates in the design.
const RULES: &[(&str, Rule)] = &[
    ("throughline-core", Rule::Only(&["bytes", "bytestring", "futures-core", "tower-service"])),
    (
        "throughline-trace",
        Rule::Only(&[
            "throughline-core",
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry-otlp",
            "tower-layer",
            "tower-service",
            "pin-project-lite",
            "bytes",
            "tracing",
        ]),
    ),
    ("throughline", Rule::AllBut(CLIENTS, &[])),
    ("throughline-memory", Rule::AllBut(NOT_IN_AN_ADAPTER, &["throughline-core"])),
    ("throughline-kafka", Rule::AllBut(NOT_IN_AN_ADAPTER, &["throughline-core", "rdkafka", "rdkafka-sys"])),
    ("throughline-sqs", Rule::AllBut(NOT_IN_AN_ADAPTER, &["throughline-core", "aws-sdk-sqs", "aws-config"])),
    ("throughline-pubsub", Rule::AllBut(NOT_IN_AN_ADAPTER, &["throughline-core", "google-cloud-*"])),
    ("throughline-test", Rule::AllBut(CLIENTS, &[])),
    ("xtask", Rule::AllBut(NOT_IN_AN_ADAPTER, &[])),
];

/// Members that are not published: they compare us with a raw client, or put our layers around one.
const UNPUBLISHED: &[&str] = &["throughline-tests", "throughline-benches", "throughline-examples"];
/// Who but its adapter may use a thing, also in its own tests.
const WRAPPED: &[(&str, &[&str])] = &[
    ("rdkafka*", &["throughline-kafka"]),
    ("aws-sdk-*", &["throughline-sqs"]),
    ("aws-config", &["throughline-sqs"]),
    ("google-cloud-*", &["throughline-pubsub"]),
    ("actix*", &["throughline"]),
    ("opentelemetry*", &["throughline-trace", "throughline", "throughline-test"]),
    // A published crate must be testable without this repository's commands.
    ("xtask", &[]),
];

/// Every edge between the members and what they name that the rules forbid.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages {
        let rule = RULES.iter().find(|(name, _)| *name == package.name).map(|(_, rule)| rule);
        if rule.is_none() && !UNPUBLISHED.contains(&package.name.as_str()) {
            broken.push(format!(
                "{} has no row in the table of crates (xtask/src/fences/edges.rs)",
                package.name
            ));
        }
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let shipped = dependency.kind.as_deref() != Some("dev");
            let allowed = match rule {
                Some(Rule::Only(names)) => any(names, name),
                Some(Rule::AllBut(names, but)) => !any(names, name) || any(but, name),
                None => true,
            };
            if shipped && !allowed {
                broken.push(format!("{} may not depend on {name}", package.name));
            }
            let wrappers =
                WRAPPED.iter().find(|(wrapped, _)| matches(wrapped, name)).map(|(_, wrappers)| *wrappers);
            let user = package.name.as_str();
            if wrappers.is_some_and(|wrappers| !wrappers.contains(&user) && !UNPUBLISHED.contains(&user)) {
                broken.push(format!("{user} may not use {name}, not even in its tests"));
            }
        }
    }
    broken
}

/// All crates that plain `cargo run --example ai_pipeline` builds: default members, default features.
pub(super) fn default_tree(workspace: &Workspace) -> Outcome<String> {
    let words = ["tree", "--edges=normal,build,dev", "--prefix=none", "--format={p}"];
    let tree = process::capture("cargo tree", &mut workspace.cargo(&words))?;
    if tree.lines().any(|line| line.starts_with("throughline-examples ")) {
        return Ok(tree);
    }
    Err(Failure::said(
        "the examples are no default member, so `cargo run --example ai_pipeline` does not find them",
    ))
}

/// The first command of the README must not wait for the build of a broker's client.
pub(super) fn check_default_tree(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut clients: Vec<_> = names.filter(|name| any(CLIENTS, name)).collect();
    clients.sort_unstable();
    clients.dedup();
    clients.into_iter().map(|name| format!("`cargo run --example ai_pipeline` builds {name}")).collect()
}

fn any(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::workspace::Dependency;

    fn broken(name: &str, dependency: &str, kind: Option<&str>) -> usize {
        let dependency = Dependency { name: dependency.to_owned(), kind: kind.map(str::to_owned) };
        let package = Package {
            id: String::new(),
            name: name.to_owned(),
            manifest_path: PathBuf::new(),
            features: Default::default(),
            dependencies: vec![dependency],
        };
        check(&[package]).len()
    }

    #[test]
    fn core_depends_on_nothing_but_its_four() {
        assert_eq!(broken("throughline-core", "bytes", None), 0);
        assert_eq!(broken("throughline-core", "tokio", None), 1);
        assert_eq!(broken("throughline-core", "futures-util", Some("dev")), 0);
        assert_eq!(broken("throughline-core", "cc", Some("build")), 1);
    }

    #[test]
    fn trace_has_no_runtime() {
        assert_eq!(broken("throughline-trace", "opentelemetry", None), 0);
        assert_eq!(broken("throughline-trace", "tokio", None), 1);
        assert_eq!(broken("throughline-trace", "throughline", None), 1);
    }

    #[test]
    fn an_adapter_knows_neither_telemetry_nor_its_siblings() {
        assert_eq!(broken("throughline-kafka", "rdkafka", None), 0);
        assert_eq!(broken("throughline-kafka", "throughline-core", None), 0);
        assert_eq!(broken("throughline-kafka", "throughline-trace", None), 1);
        assert_eq!(broken("throughline-kafka", "throughline-memory", None), 1);
        assert_eq!(broken("throughline-kafka", "actix-rt", Some("dev")), 1);
        // Not as a dependency, and not in its tests either.
        assert_eq!(broken("throughline-memory", "opentelemetry", None), 2);
        assert_eq!(broken("throughline-memory", "opentelemetry_sdk", Some("dev")), 1);
    }

    #[test]
    fn a_client_comes_through_its_adapter_alone() {
        assert_eq!(broken("throughline", "rdkafka", Some("dev")), 1);
        assert_eq!(broken("throughline-test", "rdkafka-sys", Some("dev")), 1);
        assert_eq!(broken("throughline-benches", "rdkafka", None), 0);
        assert_eq!(broken("throughline-memory", "aws-sdk-sqs", Some("dev")), 1);
        assert_eq!(broken("throughline-kafka", "xtask", Some("dev")), 1);
        assert_eq!(broken("throughline-tests", "xtask", None), 0);
    }

    #[test]
    fn a_new_crate_needs_a_row() {
        assert_eq!(broken("throughline-nats", "bytes", None), 1);
    }

    #[test]
    fn the_first_command_builds_no_client() {
        let tree = "throughline-examples v0.1.0 (/w)\ntokio v1.54.0\n\nrdkafka v0.39.0\nrdkafka-sys v4.9.0\nrdkafka v0.39.0 (*)\n";
        assert_eq!(check_default_tree(tree).len(), 2);
        assert_eq!(check_default_tree("throughline-kafka v0.1.0\ntokio v1.54.0\n").len(), 0);
    }
}
