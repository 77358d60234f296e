//! The way of one document: its spans over all traces, in the order in which a picture shows them.

use std::collections::{BTreeSet, HashMap, HashSet};
use throughline_test::{Graph, Kind, SpanRecord, SpanRef};

/// What came of one span, in pieces: a piece is what a tool that follows no links shows as one, from a root or a broker
/// to the next brokers. Never empty, unless the span is not in the graph.
#[derive(Debug)]
pub(crate) struct Way<'g> {
    /// Piece after piece, each in tree order; pieces by their beginning.
    pub(crate) rows: Vec<Row<'g>>,
    /// The beginning of the first span, in nanoseconds since 1970.
    pub(crate) start: u64,
    /// The end of the last.
    pub(crate) end: u64,
    /// What all destinations begin with, up to a dash: a run's own prefix, which would only be in the way.
    prefix: String,
}

/// One span of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'g> {
    pub(crate) span: &'g SpanRecord,
    /// Counted from 0, in the order of the rows.
    pub(crate) trace: usize,
    /// The same of pieces. With `Relation::Link` there is a trace for each.
    pub(crate) piece: usize,
    /// Below the root of its piece.
    pub(crate) depth: usize,
    /// The row that this piece came from, over a broker or a link; only where a piece begins.
    pub(crate) from: Option<usize>,
    /// When the message had been sent, if this is the processing of one: it waits from then on.
    pub(crate) sent: Option<u64>,
}

/// What hangs below each span: children within its piece, and roots of further pieces.
#[derive(Default)]
struct Below<'g> {
    children: HashMap<SpanRef, Vec<&'g SpanRecord>>,
    pieces: HashMap<SpanRef, Vec<&'g SpanRecord>>,
}

impl<'g> Way<'g> {
    pub(crate) fn of(graph: &'g Graph, root: SpanRef) -> Self {
        let below = Below::of(graph);
        let mut way = Way { rows: Vec::new(), start: 0, end: 0, prefix: String::new() };
        let (mut seen, mut traces) = (HashSet::new(), HashMap::new());
        let mut ahead: Vec<_> = graph.get(root).map(|span| (span, None)).into_iter().collect();
        for piece in 0.. {
            let first = ahead.iter().enumerate().min_by_key(|(_, (root, _))| root.start);
            let Some((root, from)) = first.map(|(n, _)| n).map(|n| ahead.swap_remove(n)) else { break };
            let mut stack = vec![(root, 0)];
            while let Some((span, depth)) = stack.pop() {
                if !seen.insert(span.id) {
                    continue;
                }
                let next = traces.len();
                let trace = *traces.entry(span.id.trace).or_insert(next);
                let from = from.filter(|_| depth == 0);
                let sent =
                    from.filter(|_| span.kind == Kind::Consumer).map(|row: usize| way.rows[row].span.end);
                let sent = sent.map(|sent| sent.min(span.start));
                let row = way.rows.len();
                way.rows.push(Row { span, trace, piece, depth, from, sent });
                stack.extend(below.children(span).rev().map(|child| (child, depth + 1)));
                ahead.extend(below.pieces.get(&span.id).into_iter().flatten().map(|root| (*root, Some(row))));
            }
            ahead.retain(|(root, _)| !seen.contains(&root.id));
        }
        way.start = way.rows.iter().map(|row| row.span.start).min().unwrap_or(0);
        way.end = way.rows.iter().map(|row| row.span.end).max().unwrap_or(0);
        way.prefix = prefix(&way.rows);
        way
    }

    /// How many traces it goes through.
    pub(crate) fn traces(&self) -> usize {
        self.rows.iter().map(|row| row.trace + 1).max().unwrap_or(0)
    }

    /// Its pieces, in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[Row<'g>]> {
        self.rows.chunk_by(|a, b| a.piece == b.piece)
    }

    /// The name of a row's span, and its service if the record has one.
    pub(crate) fn label(&self, row: &Row<'_>) -> String {
        let name = match self.prefix.as_str() {
            "" => row.span.name.clone(),
            prefix => row.span.name.replacen(prefix, "", 1),
        };
        match row.span.text("service.name") {
            Some(service) => format!("{name} \u{b7} {service}"),
            None => name,
        }
    }

    /// Every link with both ends in it: the row that is linked to, and the row that links.
    pub(crate) fn links(&self) -> Vec<(usize, usize)> {
        let by_id: HashMap<_, _> = self.rows.iter().enumerate().map(|(n, row)| (row.span.id, n)).collect();
        let of_row = |(n, row): (usize, &Row<'g>)| {
            let ends: Vec<_> = row.span.links.iter().filter_map(|link| by_id.get(&link.to)).collect();
            ends.into_iter().map(move |to| (*to, n))
        };
        self.rows.iter().enumerate().flat_map(of_row).collect()
    }

    /// The sum of what its messages waited, in nanoseconds.
    pub(crate) fn waited(&self) -> u64 {
        self.rows.iter().filter_map(Row::waited).sum()
    }

    /// What is said about it in one line.
    pub(crate) fn summary(&self) -> String {
        let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (spans, traces) = (some(self.rows.len(), "span"), some(self.traces(), "trace"));
        let (links, whole) = (some(self.links().len(), "link"), millis(self.end - self.start));
        format!(
            "{spans}, {traces}, {links}: {whole} from end to end, {} waiting in queues",
            millis(self.waited())
        )
    }
}

impl Row<'_> {
    /// How long the message was in a queue, in nanoseconds.
    pub(crate) fn waited(&self) -> Option<u64> {
        self.sent.map(|sent| self.span.start - sent)
    }

    /// A letter for the trace: A to Z, then AA.
    pub(crate) fn letter(&self) -> String {
        letter(self.trace)
    }
}

impl<'g> Below<'g> {
    fn of(graph: &'g Graph) -> Self {
        let mut below = Below::default();
        // A settlement may be one of many messages, and is nobody's way.
        for span in graph.spans().iter().filter(|span| !span.is_settle()) {
            let known = |id: &SpanRef| graph.get(*id).is_some();
            let parent = span.parent.filter(known);
            // What processes a message is linked to its send, be it a child as well or not.
            let over_a_broker =
                span.kind == Kind::Consumer && span.links.iter().any(|link| Some(link.to) == parent);
            match parent {
                Some(parent) if !over_a_broker => below.children.entry(parent).or_default().push(span),
                _ => {
                    let ends = span.links.iter().map(|link| link.to).filter(known);
                    ends.for_each(|end| below.pieces.entry(end).or_default().push(span));
                }
            }
        }
        below.children.values_mut().for_each(|spans| spans.sort_by_key(|span| span.start));
        below
    }

    fn children(&self, span: &SpanRecord) -> impl DoubleEndedIterator<Item = &'g SpanRecord> {
        self.children.get(&span.id).into_iter().flatten().copied()
    }
}

/// Round moments for an axis that is so many nanoseconds long: from 0, in steps of 1, 2 or 5, `most` steps at most.
pub(crate) fn ticks(length: u64, most: u64) -> impl Iterator<Item = u64> {
    let powers = (0..19).map(|n| 10_u64.pow(n));
    let mut steps = powers.flat_map(|ten| [1, 2, 5].map(|n| ten.saturating_mul(n)));
    let step = steps.find(|step| length / step <= most).unwrap_or(u64::MAX);
    (0..=length / step).map(move |n| n * step)
}

/// Nanoseconds as text.
pub(crate) fn millis(nanos: u64) -> String {
    match nanos as f64 / 1e6 {
        ..0.05 => "<0.1 ms".to_owned(),
        ms @ ..1000.0 => format!("{ms:.1} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

fn prefix(rows: &[Row<'_>]) -> String {
    let names: BTreeSet<_> =
        rows.iter().filter_map(|row| row.span.text("messaging.destination.name")).collect();
    let ends = names.first().zip(names.last()).filter(|(first, last)| first != last);
    // What the first and the last by name have in common is common to all between.
    let Some((first, last)) = ends else { return String::new() };
    let same: String = first.chars().zip(last.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    same.rfind('-').map(|dash| same[..=dash].to_owned()).unwrap_or_default()
}

fn letter(n: usize) -> String {
    let last = char::from(b'A' + u8::try_from(n % 26).unwrap_or(0));
    if n < 26 { last.to_string() } else { format!("{}{last}", letter(n / 26 - 1)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One document over two brokers: posted, tried twice, stored. Each hop a trace of its own, or all of it one.
    pub(crate) fn example(one_trace: bool) -> (Graph, SpanRef) {
        let lines = [
            r#"{"id":"a-1","kind":"CLIENT","name":"POST","start":0,"end":9}"#,
            r#"{"id":"a-2","parent":"a-1","kind":"SERVER","name":"POST /documents/{id}","start":1,"end":8}"#,
            r#"{"id":"a-3","parent":"a-2","kind":"PRODUCER","name":"send run-7-jobs","start":2,"end":6,
                "attributes":{"messaging.destination.name":"run-7-jobs"}}"#,
            r#"{"id":"b-4","kind":"CONSUMER","name":"process run-7-jobs","start":26,"end":60,"links":[{"to":"a-3"}]}"#,
            r#"{"id":"b-6","parent":"b-4","kind":"INTERNAL","name":"attempt 2","start":40,"end":59,"links":[{"to":"b-4"}]}"#,
            r#"{"id":"b-7","parent":"b-6","kind":"PRODUCER","name":"send <done> & \"kept\"","start":58,"end":58}"#,
            r#"{"id":"b-5","parent":"b-4","kind":"CLIENT","name":"POST /embeddings","start":27,"end":34,"status":{"error":"busy"}}"#,
            r#"{"id":"c-8","kind":"CONSUMER","name":"process run-7-done","start":70,"end":80,"links":[{"to":"b-7"}],
                "attributes":{"messaging.destination.name":"run-7-done","service.name":"store"}}"#,
            r#"{"id":"d-9","kind":"CLIENT","name":"somebody else's","start":0,"end":900}"#,
        ];
        let spans = lines.map(|line| {
            let line = line.replacen('{', r#"{"flags":1,"#, 1);
            let line = if one_trace { line.replace("\"b-", "\"a-").replace("\"c-", "\"a-") } else { line };
            let mut span: SpanRecord = serde_json::from_str(&line).unwrap();
            if one_trace && span.kind == Kind::Consumer {
                (span.parent, span.parent_is_remote) = (span.links.first().map(|link| link.to), true);
            }
            (span.start, span.end) = (MS * (1000 + span.start), MS * (1000 + span.end));
            span
        });
        (Graph::new(spans), SpanRef { trace: 10, span: 1 })
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn a_way_follows_links_and_ends_where_the_document_does() {
        let (graph, root) = example(false);
        let way = Way::of(&graph, root);
        let letters: Vec<_> = way.rows.iter().map(Row::letter).collect();
        let rows = way.rows.iter().zip(&letters);
        let rows: Vec<_> =
            rows.map(|(row, letter)| (row.span.id.span, letter.as_str(), row.depth, row.from)).collect();
        let (posted, tried) =
            ([(1, "A", 0), (2, "A", 1), (3, "A", 2)], [(5, "B", 1), (6, "B", 1), (7, "B", 2)]);
        let mut expected = posted.map(|(n, letter, depth)| (n, letter, depth, None)).to_vec();
        expected.push((4, "B", 0, Some(2)));
        expected.extend(tried.map(|(n, letter, depth)| (n, letter, depth, None)));
        expected.push((8, "C", 0, Some(6)));
        assert_eq!(rows, expected);
        assert_eq!(way.links(), [(2, 3), (3, 5), (6, 7)]);
        assert_eq!((way.start, way.end, way.waited()), (1000 * MS, 1080 * MS, 32 * MS));
        let summary = "8 spans, 3 traces, 3 links: 80.0 ms from end to end, 32.0 ms waiting in queues";
        assert_eq!(way.summary(), summary);
    }

    #[test]
    fn a_piece_begins_behind_each_broker_in_one_trace_too() {
        let (graph, root) = example(true);
        let way = Way::of(&graph, root);
        assert_eq!(way.pieces().map(<[_]>::len).collect::<Vec<_>>(), [3, 4, 1]);
        assert_eq!((way.traces(), way.links().len(), way.waited()), (1, 3, 32 * MS));
    }

    #[test]
    fn what_all_destinations_begin_with_is_left_out() {
        let (graph, root) = example(false);
        let way = Way::of(&graph, root);
        assert_eq!(way.prefix, "run-7-");
        assert_eq!(way.label(&way.rows[7]), "process done \u{b7} store");
        let (first, second) = way.rows.split_at(3);
        assert_eq!([prefix(first), prefix(second)], ["", ""], "one destination begins with nothing");
    }

    #[test]
    fn a_span_that_is_nowhere_has_no_way() {
        let graph = Graph::default();
        let way = Way::of(&graph, SpanRef { trace: 1, span: 1 });
        assert_eq!((way.rows.len(), way.traces(), way.pieces().count()), (0, 0, 0));
    }

    #[test]
    fn an_axis_has_round_ticks() {
        let all = |length, most| ticks(length, most).collect::<Vec<_>>();
        assert_eq!(all(83, 5), [0, 20, 40, 60, 80]);
        assert_eq!(all(0, 5), [0]);
        assert_eq!(all(u64::MAX, 1).len(), 2);
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 52].map(letter), ["A", "Z", "AA", "BA"]);
    }
}
