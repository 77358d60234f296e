//! What came of it, checked over the exported spans.

use crate::{
    args::{Args, How},
    brokers::Hop,
    documents::named,
    svg,
    timeline::{self, way},
};
use serde::Serialize;
use std::{collections::HashMap, fmt, fs, time::Duration};
use throughline::BoxError;
use throughline_test::{Expect, Graph, Kind, SpanRecord, SpanRef};

/// How wide the picture in the terminal is.
const WIDTH: usize = 110;

/// The end of a run.
pub(crate) struct Report {
    totals: Totals,
    graph: Graph,
    checked: throughline_test::Report,
    /// Spans that died with their process.
    died: usize,
    hops: Vec<(&'static str, Waits)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) documents: usize,
    pub(crate) processed: usize,
    pub(crate) dead_lettered: usize,
    pub(crate) replayed: usize,
}

/// All messages of a queue or topic.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    messages: u32,
    /// From the end of the send to the start of the processing.
    waited: Duration,
    longest_wait: Duration,
    processed: Duration,
}

impl Report {
    /// `prefix` is what the names of all queues and topics begin with.
    pub(crate) fn new(
        totals: Totals,
        relation: How,
        prefix: &str,
        spans: Vec<SpanRecord>,
        died: Vec<SpanRef>,
    ) -> Self {
        let (number, hops) = (died.len(), hops(&spans, prefix));
        // An edge whose other end died with a killed process is explained by that; any other that is cut is broken.
        let graph = died.into_iter().fold(Graph::new(spans), Graph::external);
        let Totals { documents, processed, dead_lettered, .. } = totals;
        let mut expect = Expect::new()
            .sends(documents + 2 * processed + dead_lettered..)
            .process_spans(documents + 2 * processed + dead_lettered..)
            .redeliveries(0..);
        if number == 0 {
            // One connected piece a document, from the client to the auditor or the dead letters; with parents as well
            // as links one trace, but for what was sent again.
            expect = expect.components(documents);
        }
        if let (0, 0, How::ParentAndLink) = (number, totals.replayed, relation) {
            expect = expect.traces(documents);
        }
        let checked = graph.report(&expect);
        Report { totals, graph, checked, died: number, hops }
    }

    fn lost(&self) -> usize {
        self.totals.documents.saturating_sub(self.totals.processed + self.totals.dead_lettered)
    }

    /// Prints it all, and says whether no document was lost and no edge is broken.
    pub(crate) fn show(&self, args: &Args) -> Result<bool, BoxError> {
        print!("{self}");
        if let (Some(folder), Some(root)) = (&args.svg, self.example()) {
            let pictures =
                [("before", svg::before(&self.graph, root)), ("after", svg::after(&self.graph, root))];
            fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
            for (name, picture) in pictures {
                let file = folder.join(format!("{name}.svg"));
                fs::write(&file, picture).map_err(|error| named(&file, &error))?;
            }
            println!("pictures: {0}/before.svg and {0}/after.svg", folder.display());
        }
        if args.json {
            println!("{}", self.json()?);
        }
        Ok(self.lost() == 0 && self.checked.is_ok())
    }

    /// One line, its fields in the order that the documentation shows.
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Summary {
            documents: self.totals.documents,
            processed: self.totals.processed,
            dead_lettered: self.totals.dead_lettered,
            spans: self.checked.spans,
            links: self.checked.links,
            traces: self.checked.traces,
            broken_edges: self.checked.broken_edges.len() + self.checked.unmet.len(),
        })
    }

    /// The first document that went all the way and was tried again, if there is one: its picture shows most.
    fn example(&self) -> Option<SpanRef> {
        let spans = self.graph.spans();
        let audited =
            spans.iter().filter(|span| span.kind == Kind::Consumer && span.name.ends_with("-stored"));
        let mut roots: Vec<_> = audited.map(|span| self.graph.origin(span.id)).collect();
        let tried_again: Vec<_> = spans.iter().filter(|span| span.name.starts_with("attempt")).collect();
        let tried_again = tried_again.iter().map(|span| self.graph.origin(span.id));
        roots.sort_by_key(|root| self.graph.get(*root).map(|span| span.start));
        tried_again.into_iter().find(|root| roots.contains(root)).or_else(|| roots.first().copied())
    }
}

#[derive(Serialize)]
struct Summary {
    documents: usize,
    processed: usize,
    dead_lettered: usize,
    spans: usize,
    links: usize,
    traces: usize,
    broken_edges: usize,
}

/// In the order of the pipeline.
fn hops(spans: &[SpanRecord], prefix: &str) -> Vec<(&'static str, Waits)> {
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.id, span)).collect();
    let mut all: HashMap<_, Waits> = HashMap::new();
    for process in spans.iter().filter(|span| span.kind == Kind::Consumer) {
        let Some(send) = process.links.iter().find_map(|link| by_id.get(&link.to)) else { continue };
        let waited = Duration::from_nanos(process.start.saturating_sub(send.end));
        let hop = all.entry(process.text("messaging.destination.name")).or_default();
        hop.messages += 1;
        hop.waited += waited;
        hop.longest_wait = hop.longest_wait.max(waited);
        hop.processed += process.duration();
    }
    let hops = Hop::ALL.into_iter();
    hops.filter_map(|hop| Some((hop.word(), all.remove(&Some(hop.name(prefix)))?))).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(root) = self.example() {
            writeln!(
                f,
                "\none document's way through all its traces:\n{}",
                timeline::draw(&self.graph, root, WIDTH)
            )?;
        }
        writeln!(
            f,
            "{:<14} {:>9} {:>12} {:>12} {:>12}",
            "hop", "messages", "waited", "at most", "processed"
        )?;
        for (name, hop) in &self.hops {
            let mean = |all: Duration| millis(all / hop.messages.max(1));
            let (waited, processed) = (mean(hop.waited), mean(hop.processed));
            writeln!(
                f,
                "{name:<14} {:>9} {waited:>12} {:>12} {processed:>12}",
                hop.messages,
                millis(hop.longest_wait)
            )?;
        }
        let slowest =
            self.hops.iter().max_by_key(|(_, hop)| (hop.waited + hop.processed) / hop.messages.max(1));
        let waited: Duration = self.hops.iter().map(|(_, hop)| hop.waited).sum();
        write!(f, "waited in queues: {} in all", millis(waited))?;
        writeln!(f, "; the slowest hop is {}", slowest.map_or("none", |(name, _)| name))?;
        let Totals { documents, processed, dead_lettered, replayed } = self.totals;
        write!(f, "{documents} documents, {processed} processed, {dead_lettered} dead letters")?;
        writeln!(f, ", {replayed} replayed, {} lost", self.lost())?;
        if self.died > 0 {
            writeln!(
                f,
                "{} spans died with a killed process; edges to them are explained by that",
                self.died
            )?;
        }
        writeln!(f, "{}", self.checked)
    }
}

fn millis(duration: Duration) -> String {
    way::millis(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
