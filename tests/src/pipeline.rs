//! The example `ai_pipeline`, run as its user runs it: as a program.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use throughline_test::{Kind, SpanRecord};

/// A folder of its own for the spans and the rows of one run; removed with it.
#[derive(Debug)]
pub struct Spans(PathBuf);

/// The last line of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Summary {
    /// Documents that were submitted.
    pub documents: usize,
    /// Documents with a row in the database.
    pub processed: usize,
    /// Documents among the dead letters.
    pub dead_lettered: usize,
    /// Exported spans.
    pub spans: usize,
    /// Links of all spans.
    pub links: usize,
    /// Distinct trace ids.
    pub traces: usize,
    /// Edges that nothing explains, and counts that are not as they must be.
    pub broken_edges: usize,
}

/// How a process span is tied to the send that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tied {
    /// By a link alone.
    ByLink,
    /// By a link and as its child.
    ByParentAndLink,
}

impl Spans {
    /// An empty folder.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("throughline-ai-pipeline-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        Spans(folder)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A command that runs it with these arguments, and with `--json` and a folder for its spans and, unless they name a
/// database, its rows.
pub fn command(arguments: &[&str], spans: &Spans) -> Command {
    // A test binary is in `target/<profile>/deps`, and examples are in `target/<profile>/examples`.
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/ai_pipeline");
    assert!(program.exists(), "{} is not built: `cargo build --example ai_pipeline`", program.display());
    let mut command = Command::new(program);
    command.args(arguments).arg("--json").arg("--spans").arg(spans.folder()).stdin(Stdio::null());
    if !arguments.contains(&"--database") {
        let rows = spans.folder().join("rows.db");
        command.arg("--database").arg(format!("sqlite:{}?mode=rwc", rows.display()));
    }
    command
}

/// What the last line of its output says.
pub fn summary(output: &[u8]) -> Summary {
    let text = String::from_utf8_lossy(output);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Holds every span against the one it must hang from: who called or sent what.
pub fn assert_every_edge(spans: &[SpanRecord], tied: Tied) {
    use Kind::{Client, Consumer, Internal, Producer, Server};
    let by_id: std::collections::HashMap<_, _> = spans.iter().map(|span| (span.id, span)).collect();
    let handling_of = |hop: &'static str| {
        move |above: &SpanRecord| {
            // The first try is the process span, and later ones are children of it.
            matches!(above.kind, Consumer | Internal) && above.name.ends_with(hop)
        }
    };
    for span in spans {
        let parent = span.parent.and_then(|id| by_id.get(&id).copied());
        let name = span.name.as_str();
        let hop =
            ["-jobs", "-classified", "-stored", "-dead-letters"].into_iter().find(|hop| name.ends_with(hop));
        let below =
            |is: &dyn Fn(&SpanRecord) -> bool| assert!(parent.is_some_and(is), "{span:#?} below {parent:#?}");
        match (span.kind, hop) {
            (Internal, None) => assert!(name == "submit" && span.parent.is_none(), "{span:#?}"),
            (Internal, Some(hop)) => below(&|above| above.kind == Consumer && above.name.ends_with(hop)),
            (Server, _) => below(&|above| above.kind == Client && above.name == "POST"),
            (Client, None) if name == "POST" => {
                below(&|above| above.name == "submit" || handling_of("-jobs")(above));
            }
            (Client, None) if name == "INSERT documents" => below(&handling_of("-classified")),
            (Client, None) if name == "INSERT audited" => below(&handling_of("-stored")),
            (Client, None) if name == "INSERT letters" => below(&handling_of("-dead-letters")),
            (Producer, Some("-jobs")) => below(&|above| above.kind == Server),
            (Producer, Some("-classified" | "-dead-letters")) => below(&handling_of("-jobs")),
            (Producer, Some("-stored")) => below(&handling_of("-classified")),
            (Consumer, Some(hop)) => {
                let sent = span.links.iter().find_map(|link| by_id.get(&link.to));
                let sent = sent.unwrap_or_else(|| panic!("no link to what was sent: {span:#?}"));
                assert!(sent.kind == Producer && sent.name.ends_with(hop), "{span:#?} linked to {sent:#?}");
                assert_eq!(span.parent, (tied == Tied::ByParentAndLink).then_some(sent.id), "{span:#?}");
            }
            // Settlements; the checker has seen to their links.
            (Client, Some(_)) => {}
            _ => panic!("nobody expects this span: {span:#?}"),
        }
    }
}
