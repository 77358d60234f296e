//! A pipeline as a text tree.

use super::{Graph, Kind, Outcome, SpanRecord, SpanRef};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    time::Duration,
};

pub(super) fn tree(graph: &Graph, root: SpanRef) -> String {
    let Some(first) = graph.index.get(&root) else { return format!("{root} was not exported\n") };
    let below = Below::of(graph);
    let (mut text, mut seen) = (String::new(), HashSet::new());
    // Own stack, since a chain of forwarded messages may be longer than the thread's: span, reached over a link,
    // what stands before it, whether it is the last of its parent.
    let mut stack = vec![(*first, false, None::<(String, bool)>)];
    while let Some((at, linked, place)) = stack.pop() {
        if !seen.insert(at) {
            continue;
        }
        let span = &graph.spans[at];
        let indent = match &place {
            None => String::new(),
            Some((indent, last)) => {
                let _ = write!(text, "{indent}{}", if *last { "└─ " } else { "├─ " });
                format!("{indent}{}", if *last { "   " } else { "│  " })
            }
        };
        line(&mut text, span, linked);
        let next: Vec<_> = below.of_span(span.id).filter(|(n, _)| !seen.contains(n)).collect();
        let count = next.len();
        for (n, (child, linked)) in next.into_iter().enumerate().rev() {
            stack.push((child, linked, Some((indent.clone(), n + 1 == count))));
        }
    }
    text
}

/// What stands below each span: its children, and what links to it and has no parent of its own.
struct Below(HashMap<SpanRef, Vec<(usize, bool)>>);

impl Below {
    fn of(graph: &Graph) -> Self {
        let mut below: HashMap<SpanRef, Vec<(usize, bool)>> = HashMap::new();
        for (n, span) in graph.spans.iter().enumerate() {
            match span.parent.filter(|parent| graph.index.contains_key(parent)) {
                Some(parent) => below.entry(parent).or_default().push((n, false)),
                None => {
                    for link in &span.links {
                        below.entry(link.to).or_default().push((n, true));
                    }
                }
            }
        }
        for spans in below.values_mut() {
            spans.sort_by_key(|(n, _)| graph.spans[*n].start);
        }
        Below(below)
    }

    fn of_span(&self, id: SpanRef) -> impl Iterator<Item = (usize, bool)> + '_ {
        self.0.get(&id).into_iter().flatten().copied()
    }
}

fn line(text: &mut String, span: &SpanRecord, linked: bool) {
    let kind = match span.kind {
        Kind::Client => "CLIENT",
        Kind::Server => "SERVER",
        Kind::Producer => "PRODUCER",
        Kind::Consumer => "CONSUMER",
        Kind::Internal => "INTERNAL",
    };
    let arrow = if linked { "↪ link: " } else { "" };
    let _ = write!(text, "{arrow}{} [{kind}] {}", span.name, duration(span.duration()));
    let _ = match &span.status {
        Outcome::Unset => Ok(()),
        Outcome::Ok => text.write_str(" ok"),
        Outcome::Error(why) if why.is_empty() => text.write_str(" ERROR"),
        Outcome::Error(why) => write!(text, " ERROR: {why}"),
    };
    text.push('\n');
}

fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    match nanos {
        ..1e6 => format!("{:.0} µs", nanos / 1e3),
        ..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}
