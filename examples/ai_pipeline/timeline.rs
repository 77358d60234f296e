//! One document's way drawn in the terminal, on one time axis over all its traces.

pub(crate) mod way;

use std::fmt::Write;
use throughline_test::{Graph, Outcome, SpanRef};
use way::{Row, Way, millis, ticks};

/// What stands before a name: the trace's letter, and whether a broker was crossed.
const MARK: usize = 6;
/// Two columns of durations, and the mark of a failure.
const TIMES: usize = 22;
/// A step of the tree.
const STEP: usize = 2;

/// The way of this span through all traces, in so many columns (80 at least): a row a span, `↪` where it goes on behind
/// a broker, dots while its message waits in a queue, and a bar where it runs.
pub(crate) fn draw(graph: &Graph, root: SpanRef, width: usize) -> String {
    let way = Way::of(graph, root);
    if way.rows.is_empty() {
        return format!("{root} was not exported\n");
    }
    let width = width.max(80);
    let longest = way.rows.iter().map(|row| row.depth * STEP + way.label(row).chars().count()).max();
    let names = longest.unwrap_or(0).min((width - MARK - TIMES) / 2);
    let axis = Axis::new(&way, width - MARK - TIMES - names - 1);
    let mut text = axis.head(names);
    for row in &way.rows {
        let name = format!("{}{}", " ".repeat(row.depth * STEP), way.label(row));
        line(&mut text, row, &fitted(&name, names), &axis);
    }
    let _ = writeln!(text, "{}", way.summary());
    text
}

fn line(text: &mut String, row: &Row<'_>, name: &str, axis: &Axis) {
    let arrow = if row.from.is_some() { '\u{21aa}' } else { ' ' };
    let waited = row.waited().map(millis).unwrap_or_default();
    let failed = matches!(row.span.status, Outcome::Error(_));
    let took = millis(row.span.end.saturating_sub(row.span.start));
    let mark = if failed { " \u{2717}" } else { "" };
    let lane = axis.lane(row);
    let line = format!("{:<3}{arrow}  {name} {lane} {waited:>9} {took:>9}{mark}", row.letter());
    let _ = writeln!(text, "{}", line.trim_end());
}

/// A text in exactly so many columns.
fn fitted(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return format!("{text:<columns$}");
    }
    text.chars().take(columns.saturating_sub(1)).chain(['\u{2026}']).collect()
}

/// Time as columns.
struct Axis {
    start: u64,
    length: u64,
    columns: usize,
    /// Moments after the start.
    ticks: Vec<u64>,
}

impl Axis {
    fn new(way: &Way<'_>, columns: usize) -> Self {
        let length = (way.end - way.start).max(1);
        let ticks = ticks(length, (columns as u64 / 10).max(1)).collect();
        Axis { start: way.start, length, columns, ticks }
    }

    /// The edge between columns that is nearest to a moment after the start.
    fn edge(&self, after: u64) -> usize {
        let share = after as f64 / self.length as f64 * self.columns as f64;
        (share.round() as usize).min(self.columns)
    }

    fn column(&self, after: u64) -> usize {
        self.edge(after).min(self.columns - 1)
    }

    fn head(&self, names: usize) -> String {
        let mut labels = vec![' '; self.columns];
        for (n, tick) in self.ticks.iter().enumerate() {
            let unit = if n + 1 == self.ticks.len() { " ms" } else { "" };
            let label = format!("{}{unit}", *tick as f64 / 1e6);
            // The last one ends where the axis does, if there is no room for it.
            let at = self.column(*tick).min(self.columns.saturating_sub(label.len()));
            labels.iter_mut().skip(at).zip(label.chars()).for_each(|(to, c)| *to = c);
        }
        let labels: String = labels.into_iter().collect();
        format!("{:MARK$}{:<names$} {labels} {:>9} {:>9}\n", "", "", "waited", "took")
    }

    fn lane(&self, row: &Row<'_>) -> String {
        let mut lane = vec![' '; self.columns];
        self.ticks.iter().for_each(|tick| lane[self.column(*tick)] = '\u{250a}');
        let after = |moment: u64| moment.saturating_sub(self.start);
        let (from, to) = (self.column(after(row.span.start)), self.edge(after(row.span.end)));
        if let Some(sent) = row.sent {
            lane[self.column(after(sent))..from].fill('\u{b7}');
        }
        // What is shorter than a column is thin, so that its length is not taken for that of a column.
        if from >= to {
            lane[from] = '\u{258c}'
        } else {
            lane[from..to].fill('\u{2588}')
        }
        lane.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: &str = r#"
                               0           20          40         60     80 ms    waited      took
A     POST                     █████       ┊           ┊          ┊          ┊              9.0 ms
A       POST /documents/{id}   ┊████       ┊           ┊          ┊          ┊              7.0 ms
A         send jobs            ┊███        ┊           ┊          ┊          ┊              4.0 ms
B  ↪  process jobs             ┊   ···········████████████████████┊          ┊   20.0 ms   34.0 ms
B       POST /embeddings       ┊           ┊   ████    ┊          ┊          ┊              7.0 ms ✗
B       attempt 2              ┊           ┊           ███████████┊          ┊             19.0 ms
B         send <done> & "kept" ┊           ┊           ┊         ▌┊          ┊             <0.1 ms
C  ↪  process done · store     ┊           ┊           ┊         ·······██████   12.0 ms   10.0 ms
8 spans, 3 traces, 3 links: 80.0 ms from end to end, 32.0 ms waiting in queues
"#;

    #[test]
    fn a_picture_in_a_terminal() {
        let (graph, root) = way::tests::example(false);
        assert_eq!(format!("\n{}", draw(&graph, root, 100)), PICTURE);
    }

    #[test]
    fn no_line_is_wider_than_asked_for() {
        let (graph, root) = way::tests::example(true);
        for width in [80, 100, 200] {
            let text = draw(&graph, root, width);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{text}");
        }
        assert_eq!(draw(&graph, root, 0), draw(&graph, root, 80));
    }

    #[test]
    fn a_span_that_is_nowhere_is_named() {
        let text = draw(&Graph::default(), SpanRef { trace: 1, span: 1 }, 100);
        assert!(text.ends_with("-0000000000000001 was not exported\n"), "{text}");
    }
}
