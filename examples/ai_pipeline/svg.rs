//! One document's way as two pictures: as tools show it that follow no links, and whole.

use crate::timeline::way::{Row, Way, millis, ticks};
use std::fmt::Write;
use throughline_test::{Graph, Outcome, SpanRef};

const WIDTH: f64 = 900.0;
const MARGIN: f64 = 24.0;
/// Where the time axis begins and ends.
const LEFT: f64 = 280.0;
const RIGHT: f64 = 740.0;
/// Where the columns of durations end.
const WAITED: f64 = 810.0;
const TOOK: f64 = WIDTH - MARGIN;
/// The title and what is said below it.
const HEAD: f64 = 76.0;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;
/// Between two pieces.
const GAP: f64 = 10.0;
/// The labels of an axis.
const AXIS: f64 = 22.0;
/// Characters of a name that fit before the axis, less one for each step of the tree.
const NAME: usize = 31;

/// A colour for each trace, dark enough for white letters on it.
const COLOURS: [&str; 6] = ["#2563b0", "#b4541a", "#2f7d4f", "#7a4bb0", "#a8325e", "#5f6b2a"];

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:12px;fill:#24292f}\
.title{font-size:19px;font-weight:600}.note{fill:#57606a}.tick{fill:#6e7781;font-size:11px}\
.time{font-variant-numeric:tabular-nums;text-anchor:end}.letter{fill:#fff;font-weight:600;font-size:11px;text-anchor:middle}\
.grid{stroke:#d8dee4}.fault{fill:#c0262d;paint-order:stroke;stroke:#fff;stroke-width:4px}";

/// The definitions that the elements refer to.
const DEFINITIONS: &str = r##"<defs>
<pattern id="wait" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" fill="#f3f1ea"/><path d="M0 0v6" stroke="#8c8672" stroke-width="2"/></pattern>
<marker id="to" viewBox="0 0 8 8" refX="2" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"
 orient="auto"><path d="M0 0L8 4L0 8z" fill="#24292f"/></marker>
</defs>"##;

/// What hatching and arrows mean, right of the title.
const LEGEND: &str = r##"<rect x="642" y="24" width="34" height="12" fill="url(#wait)"/>
<text class="note" x="683" y="34">waits in a queue</text>
<path d="M802 30h22" stroke="#24292f" stroke-width="1.5" marker-end="url(#to)"/>
<text class="note" x="838" y="34">a link</text>
"##;

/// What most tools show: a picture for each piece, cut at every broker, each with a time axis of its own.
pub(crate) fn before(graph: &Graph, root: SpanRef) -> String {
    let way = Way::of(graph, root);
    let pieces = way.pieces().count();
    let goes_on: Vec<_> =
        way.rows.iter().filter_map(|row| row.from).map(|row| way.rows[row].span.id).collect();
    let mut picture = Picture::new();
    for piece in way.pieces() {
        let start = piece.iter().map(|row| row.span.start).min().unwrap_or(0);
        let end = piece.iter().map(|row| row.span.end).max().unwrap_or(0);
        let height = AXIS + ROW * piece.len() as f64 + GAP;
        picture.panel(height);
        let axis = Axis { start, length: (end - start).max(1) };
        picture.axis(&axis, ROW * piece.len() as f64);
        for row in piece {
            if goes_on.contains(&row.span.id) {
                picture.beside(row, &axis, "note", "\u{2192} ?");
            }
            picture.row(&way, row, &axis);
        }
        picture.y += 2.0 * GAP;
    }
    let note = format!(
        "{} in {pieces} pictures that nothing connects. Who waited for whom, and how long?",
        spans(&way)
    );
    picture.finish("Before: the trace ends at every broker", &note)
}

/// All of it on one time axis: links as arrows, and what a message waited in a queue hatched.
pub(crate) fn after(graph: &Graph, root: SpanRef) -> String {
    let way = Way::of(graph, root);
    let mut picture = Picture::new();
    picture.text.push_str(LEGEND);
    let axis = Axis { start: way.start, length: (way.end - way.start).max(1) };
    let pieces = way.pieces().count() as f64;
    let height = ROW * way.rows.len() as f64 + GAP * (pieces - 1.0).max(0.0);
    picture.panel(AXIS + height + GAP);
    let y = picture.y + 15.0;
    for (x, head) in [(WAITED, "waited"), (TOOK, "took")] {
        picture.add(format_args!(r#"<text class="tick" x="{x}" y="{y}" text-anchor="end">{head}</text>"#));
    }
    picture.axis(&axis, height);
    let mut middles = Vec::new();
    for piece in way.pieces() {
        for row in piece {
            middles.push(picture.y + ROW / 2.0);
            picture.wait(row, &axis);
            picture.row(&way, row, &axis);
        }
        picture.y += GAP;
    }
    for (to, from) in way.links() {
        picture.link(&way, (to, middles[to]), (from, middles[from]), &axis);
    }
    picture.y += GAP;
    picture.finish("After: one document, one picture", &way.summary())
}

fn spans(way: &Way<'_>) -> String {
    let (spans, traces) = (way.rows.len(), way.traces());
    format!("{spans} spans of {traces} trace{}", if traces == 1 { "" } else { "s" })
}

/// Time as pixels.
struct Axis {
    start: u64,
    length: u64,
}

impl Axis {
    fn x(&self, moment: u64) -> f64 {
        let after = moment.saturating_sub(self.start) as f64;
        LEFT + after / self.length as f64 * (RIGHT - LEFT)
    }
}

/// What is drawn so far.
struct Picture {
    text: String,
    /// Over that.
    arrows: String,
    /// Over all.
    words: String,
    /// Where the next row begins.
    y: f64,
}

impl Picture {
    fn new() -> Self {
        Picture { text: String::new(), arrows: String::new(), words: String::new(), y: HEAD }
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(element);
        self.text.push('\n');
    }

    /// A frame of this height, from here on.
    fn panel(&mut self, height: f64) {
        let (x, y, width) = (MARGIN / 2.0, self.y, WIDTH - MARGIN);
        self.add(format_args!(
            r##"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="#fff" stroke="#d0d7de"/>"##
        ));
    }

    /// Ticks with their labels, over rows of this height.
    fn axis(&mut self, axis: &Axis, height: f64) {
        let (y, top) = (self.y + 15.0, self.y + AXIS);
        let all: Vec<u64> = ticks(axis.length, 6).collect();
        for (n, tick) in all.iter().enumerate() {
            let x = axis.x(axis.start + tick);
            let unit = if n + 1 == all.len() { " ms" } else { "" };
            let label = *tick as f64 / 1e6;
            self.add(format_args!(r#"<path class="grid" d="M{x:.1} {top}v{height}"/>"#));
            self.add(format_args!(
                r#"<text class="tick" x="{x:.1}" y="{y}" text-anchor="middle">{label}{unit}</text>"#
            ));
        }
        self.y = top;
    }

    /// A span: its trace, name, bar and duration.
    fn row(&mut self, way: &Way<'_>, row: &Row<'_>, axis: &Axis) {
        let (middle, colour) = (self.y + ROW / 2.0, colour(row));
        let base = middle + 4.0;
        let took = escaped(&millis(row.span.end.saturating_sub(row.span.start)));
        let label = way.label(row);
        self.add(format_args!(r#"<g class="span"><title>{}: {took}</title>"#, escaped(&label)));
        let badge = MARGIN + 9.0;
        self.add(format_args!(r#"<circle cx="{badge}" cy="{middle}" r="8" fill="{colour}"/>"#));
        self.add(format_args!(r#"<text class="letter" x="{badge}" y="{base}">{}</text>"#, row.letter()));
        let step = row.depth.min(NAME / 2);
        let (x, name) = (MARGIN + 26.0 + 11.0 * step as f64, escaped(&shortened(&label, NAME - step)));
        self.add(format_args!(r#"<text x="{x}" y="{base}">{name}</text>"#));
        let (x, end, y) = (axis.x(row.span.start), axis.x(row.span.end), middle - BAR / 2.0);
        let width = (end - x).max(2.0);
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{BAR}" rx="2" fill="{colour}"/>"#
        ));
        if matches!(row.span.status, Outcome::Error(_)) {
            self.beside(row, axis, "fault", "failed");
        }
        self.add(format_args!(r#"<text class="time" x="{TOOK}" y="{base}">{took}</text></g>"#));
        self.y += ROW;
    }

    /// A word after the bar of the row that is drawn next, over all arrows.
    fn beside(&mut self, row: &Row<'_>, axis: &Axis, class: &str, word: &str) {
        let (x, y) = (axis.x(row.span.end).max(axis.x(row.span.start) + 2.0) + 6.0, self.y + ROW / 2.0 + 4.0);
        let _ = writeln!(self.words, r#"<text class="{class}" x="{x:.1}" y="{y}">{word}</text>"#);
    }

    /// What its message waited.
    fn wait(&mut self, row: &Row<'_>, axis: &Axis) {
        let Some((sent, waited)) = row.sent.zip(row.waited()) else { return };
        let (x, y) = (axis.x(sent), self.y + (ROW - BAR) / 2.0);
        let (width, base) = (axis.x(row.span.start) - x, y + 11.0);
        self.add(format_args!(
            r##"<rect class="wait" x="{x:.1}" y="{y}" width="{width:.1}" height="{BAR}" fill="url(#wait)"/>"##
        ));
        let waited = escaped(&millis(waited));
        self.add(format_args!(r#"<text class="time" x="{WAITED}" y="{base}">{waited}</text>"#));
    }

    /// An arrow from the row that is linked to, down to the row that links; thin within a piece.
    fn link(&mut self, way: &Way<'_>, (to, top): (usize, f64), (from, bottom): (usize, f64), axis: &Axis) {
        let (linked, links) = (&way.rows[to], &way.rows[from]);
        let end = axis.x(links.sent.unwrap_or(links.span.start));
        // What ended later than the arrow does was left when the arrow ends.
        let begin = axis.x(linked.span.end).min(end.max(axis.x(linked.span.start)));
        let (y, below) = (top + BAR / 2.0, bottom - BAR / 2.0 - 6.0);
        let middle = (y + below) / 2.0;
        let d = format!("M{begin:.1} {y}C{begin:.1} {middle} {end:.1} {middle} {end:.1} {below}");
        let width = if links.from.is_some() { 1.5 } else { 0.75 };
        // A rim, so that an arrow over a bar is seen; below all arrows, so that none cuts another.
        self.add(format_args!(r##"<path d="{d}" fill="none" stroke="#fff" stroke-width="4"/>"##));
        let _ = writeln!(
            self.arrows,
            r##"<path class="link" d="{d}" fill="none" stroke="#24292f" stroke-width="{width}" marker-end="url(#to)"/>"##
        );
    }

    fn finish(self, title: &str, note: &str) -> String {
        let (height, left) = (self.y - GAP + MARGIN / 2.0, MARGIN / 2.0 + 2.0);
        let note = escaped(note);
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>{title}</title><desc>{note}</desc>
<style>{STYLE}</style>
{DEFINITIONS}
<rect width="{WIDTH}" height="{height}" rx="8" fill="#f6f8fa"/>
<text class="title" x="{left}" y="34">{title}</text>
<text class="note" x="{left}" y="56">{note}</text>
{}{}{}</svg>
"##,
            self.text, self.arrows, self.words
        )
    }
}

fn colour(row: &Row<'_>) -> &'static str {
    COLOURS[row.trace % COLOURS.len()]
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['\u{2026}']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::way::tests::example;

    #[test]
    fn every_span_and_every_link_is_drawn_once() {
        for one_trace in [false, true] {
            let (graph, root) = example(one_trace);
            let (before, after) = (before(&graph, root), after(&graph, root));
            for picture in [&before, &after] {
                assert_eq!(picture.matches(r#"<g class="span">"#).count(), 8);
                for title in [
                    "POST: 9.0 ms",
                    "send jobs: 4.0 ms",
                    "send &lt;done&gt; &amp; &quot;kept&quot;: &lt;0.1 ms",
                ] {
                    assert_eq!(picture.matches(&format!("<title>{title}</title>")).count(), 1, "{title}");
                }
                assert_eq!(picture.matches(">failed<").count(), 1);
                assert!(!picture.contains("somebody"));
            }
            let drawn = |picture: &str, class| picture.matches(&format!(r#"class="{class}""#)).count();
            assert_eq!([drawn(&after, "link"), drawn(&after, "wait")], [3, 2]);
            assert_eq!([drawn(&before, "link"), drawn(&before, "wait")], [0, 0]);
            assert_eq!([before.matches("\u{2192} ?").count(), after.matches("\u{2192} ?").count()], [2, 0]);
        }
    }

    #[test]
    fn a_picture_is_well_formed() {
        let (graph, root) = example(false);
        let nowhere = SpanRef { trace: 1, span: 1 };
        for picture in
            [before(&graph, root), after(&graph, root), before(&graph, nowhere), after(&graph, nowhere)]
        {
            well_formed(&picture);
        }
    }

    /// Elements nest, attributes are quoted, and text has neither brackets nor bare ampersands.
    fn well_formed(xml: &str) {
        let (mut open, mut rest) = (Vec::new(), xml);
        while let Some((text, tag)) = rest.split_once('<') {
            let (tag, after) = tag.split_once('>').unwrap();
            let quotes = tag.matches('"').count();
            assert!(!text.contains('>') && !tag.contains('<') && quotes % 2 == 0, "{text}<{tag}>");
            assert_eq!(tag.matches('=').count(), quotes / 2, "{tag}");
            for reference in text.split('&').skip(1) {
                assert!(
                    ["amp;", "lt;", "gt;", "quot;"].iter().any(|name| reference.starts_with(name)),
                    "{text}"
                );
            }
            let name = tag.split([' ', '/']).next().unwrap();
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed)),
                None if !tag.ends_with('/') => open.push(name),
                None => {}
            }
            rest = after;
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    }
}
