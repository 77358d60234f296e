//! Where things are, and what the manifests say: one look at `cargo metadata`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{
    failure::{Outcome, While},
    process,
};

/// The workspace as `cargo metadata --no-deps` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    /// The members, in the order of cargo.
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// The id that cargo's messages use.
    pub(crate) id: String,
    /// The name in its manifest.
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    /// Feature names, with what each turns on.
    #[serde(default)]
    pub(crate) features: std::collections::BTreeMap<String, Vec<String>>,
    /// What it depends on directly, of any kind.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One direct dependency of a member.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    #[serde(default)]
    pub(crate) kind: Option<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Outcome<Self> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version=1"]);
        // The alias runs us anywhere in the repository; our own manifest is one folder under the root. What cargo says
        // at run time comes first: a checkout that was moved along with its target folder is not built anew.
        let own = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        command.arg("--manifest-path").arg(Path::new(&own).join("../Cargo.toml"));
        let text = process::capture("cargo metadata", &mut command)?;
        serde_json::from_str(&text).while_doing("read the output of cargo metadata")
    }

    /// The folder of the root manifest.
    pub(crate) fn root(&self) -> &Path {
        &self.workspace_root
    }

    /// A path under the target directory.
    pub(crate) fn target(&self, below: &str) -> PathBuf {
        self.target_directory.join(below)
    }

    /// A cargo command that runs in the root.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = cargo();
        command.args(words).current_dir(&self.workspace_root);
        command
    }
}

impl Package {
    /// The folder of its manifest.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

/// Whether this runs under continuous integration, where a missing broker is a failure.
pub(crate) fn under_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // We were started by cargo ourselves: what it told us about our own package is not true for the next one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}
