//! What must hold for exported spans.

use super::{
    Edge, Expect, Fault, Graph, Kind, Report, SpanRecord, SpanRef,
    delivery::{self, Place},
};
use std::collections::{HashMap, HashSet};

pub(super) fn report(graph: &Graph, expect: &Expect) -> Report {
    let counted = || graph.spans.iter().filter(|span| !span.is_settle());
    let mut report = Report {
        spans: counted().count(),
        settles: graph.spans.len() - counted().count(),
        links: counted().map(|span| span.links.len()).sum(),
        traces: counted().map(|span| span.id.trace).collect::<HashSet<_>>().len(),
        components: components(graph),
        sends: graph.spans.iter().filter(|span| delivery::is_send(span)).count(),
        ..Report::default()
    };
    single_spans(graph, &mut report.broken_edges);
    process_spans(graph, expect, &mut report);
    attempts(graph, &mut report);
    counts(expect, &mut report);
    report
}

fn broken(span: &SpanRecord, to: Option<SpanRef>, fault: Fault) -> Edge {
    Edge { from: span.id, name: span.name.clone(), to, fault }
}

/// Ids, times, and whether parents and links resolve.
fn single_spans(graph: &Graph, edges: &mut Vec<Edge>) {
    // By span id alone: 64 random bits do not meet by chance, and a span that was exported twice must not hide.
    let mut trace_of = HashMap::with_capacity(graph.spans.len());
    for span in &graph.spans {
        if trace_of.insert(span.id.span, span.id.trace).is_some() {
            edges.push(broken(span, None, Fault::DuplicateId));
        }
    }
    let resolves = |id: &SpanRef| graph.index.contains_key(id) || graph.external.contains(id);
    for span in &graph.spans {
        if span.end < span.start {
            edges.push(broken(span, None, Fault::EndsBeforeItBegins));
        }
        if span.dropped_links > 0 {
            edges.push(broken(span, None, Fault::LinksDropped));
        }
        if let Some(parent) = span.parent.filter(|parent| !resolves(parent)) {
            let elsewhere = trace_of.get(&parent.span).map(|trace| SpanRef { trace: *trace, ..parent });
            let fault = match elsewhere {
                Some(_) => Fault::ParentInOtherTrace,
                None => Fault::ParentMissing,
            };
            edges.push(broken(span, elsewhere.or(Some(parent)), fault));
        }
        for link in span.links.iter().filter(|link| !resolves(&link.to)) {
            let fault = if link.to.is_valid() { Fault::LinkMissing } else { Fault::LinkInvalid };
            edges.push(broken(span, Some(link.to), fault));
        }
    }
}

/// One process span a delivery, and each points at the send of its own message.
fn process_spans(graph: &Graph, expect: &Expect, report: &mut Report) {
    let sends = Sends::of(graph);
    let (mut seen, mut again, mut without) = (HashMap::new(), Vec::new(), Vec::new());
    for span in graph.spans.iter().filter(|span| span.kind == Kind::Consumer) {
        report.process_spans += 1;
        let deliveries = delivery::deliveries(span);
        let with = deliveries.iter().filter(|delivery| delivery.creation.is_some()).count();
        report.deliveries += delivery::messages(span);
        let lacking = delivery::messages(span).saturating_sub(with);
        if lacking > 0 {
            report.without_context += lacking;
            without.push(broken(span, None, Fault::WithoutCreation));
        }
        if let (Some(parent), Some(first)) = (span.parent, span.links.first())
            && parent != first.to
        {
            report.broken_edges.push(broken(span, Some(parent), Fault::ParentIsNotTheLink));
        }
        for delivery in deliveries {
            let place = delivery.identity.as_ref().map(|identity| &identity.place);
            if let Some(creation) = delivery.creation
                && let Some((fault, to)) = sends.fault(graph, creation, place)
            {
                report.broken_edges.push(broken(span, Some(to), fault));
            }
            match delivery.identity.map(|identity| seen.insert(identity, span.id)) {
                None => report.unidentified += 1,
                Some(None) => {}
                Some(first) => again.push(broken(span, first, Fault::SecondProcessSpan)),
            }
        }
    }
    report.redeliveries = again.len();
    // What is expected is counted below; what is not is an edge each, so that it can be found.
    if expect.redeliveries.is_none() {
        report.broken_edges.append(&mut again);
    }
    if expect.without_context.is_none() {
        report.broken_edges.append(&mut without);
    }
}

/// The send spans, by where their message went.
struct Sends<'a> {
    at: HashMap<Place, &'a SpanRecord>,
    /// What CLIENT send spans link to: creation contexts that a user made.
    custom: HashSet<SpanRef>,
}

impl<'a> Sends<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut sends = Sends { at: HashMap::new(), custom: HashSet::new() };
        for span in graph.spans.iter().filter(|span| delivery::is_send(span)) {
            // A batch: what its messages differ in is on the links.
            for link in &span.links {
                sends.at.extend(Place::all(&[&link.attributes]).into_iter().map(|place| (place, span)));
            }
            sends.at.extend(Place::all(&[&span.attributes]).into_iter().map(|place| (place, span)));
            if span.kind == Kind::Client {
                // It may link to the process span that it sends from as well, which made no message.
                let made = |id: &SpanRef| graph.get(*id).is_none_or(|to| to.kind != Kind::Consumer);
                sends.custom.extend(span.links.iter().map(|link| link.to).filter(made));
            }
        }
        sends
    }

    /// What is wrong with taking `creation` for what made the message at `place`, and where it should point.
    fn fault(&self, graph: &Graph, creation: SpanRef, place: Option<&Place>) -> Option<(Fault, SpanRef)> {
        if let Some(send) = place.and_then(|place| self.at.get(place)) {
            // A PRODUCER's own context is what it put in; a CLIENT links to what was in the message before.
            let own = match send.kind {
                Kind::Client => self.custom.contains(&creation) && links_to(send, creation),
                _ => send.id == creation,
            };
            return (!own).then_some((Fault::WrongSend, send.id));
        }
        let made = graph.get(creation)?;
        let is_send = made.kind == Kind::Producer
            || self.custom.contains(&creation)
            || graph.external.contains(&creation);
        (!is_send).then_some((Fault::NotASend, creation))
    }
}

fn links_to(span: &SpanRecord, id: SpanRef) -> bool {
    span.links.iter().any(|link| link.to == id)
}

/// Each later try is a child of the process span and linked to the try before it, and to nothing else.
fn attempts(graph: &Graph, report: &mut Report) {
    let mut tries: HashMap<SpanRef, Vec<(u64, &SpanRecord)>> = HashMap::new();
    for span in &graph.spans {
        let Some(number) = delivery::attempt(span) else { continue };
        report.attempts += 1;
        // One that was not exported, and that the user says is elsewhere, is taken for what it must be.
        let is_process = |id: &SpanRef| match graph.get(*id) {
            Some(above) => above.kind == Kind::Consumer,
            None => graph.external.contains(id),
        };
        match span.parent.filter(is_process) {
            Some(process) => tries.entry(process).or_default().push((number, span)),
            None => report.broken_edges.push(broken(span, span.parent, Fault::AttemptOutside)),
        }
    }
    for (process, mut tries) in tries {
        tries.sort_by_key(|(number, span)| (*number, span.start));
        let mut before = process;
        for (_, span) in tries {
            if span.links.len() != 1 || span.links[0].to != before {
                report.broken_edges.push(broken(span, Some(before), Fault::AttemptNotLinked));
            }
            before = span.id;
        }
    }
}

/// Connected pieces; a context declared external holds together what points at it.
fn components(graph: &Graph) -> usize {
    fn find(piece: &mut [usize], mut at: usize) -> usize {
        while piece[at] != at {
            piece[at] = piece[piece[at]];
            at = piece[at];
        }
        at
    }
    let mut nodes = graph.index.clone();
    let mut piece: Vec<usize> = (0..graph.spans.len()).collect();
    let counted = |(_, span): &(usize, &SpanRecord)| !span.is_settle();
    for (n, span) in graph.spans.iter().enumerate().filter(counted) {
        let twin = graph.index.get(&span.id).copied().unwrap_or(n);
        let ends = span.parent.into_iter().chain(span.links.iter().map(|link| link.to));
        let known = ends.filter(|id| graph.index.contains_key(id) || graph.external.contains(id));
        let joined: Vec<usize> = known
            .map(|id| {
                *nodes.entry(id).or_insert_with(|| {
                    piece.push(piece.len());
                    piece.len() - 1
                })
            })
            .chain([twin])
            .collect();
        for other in joined {
            let (a, b) = (find(&mut piece, n), find(&mut piece, other));
            piece[a] = b;
        }
    }
    let counted = graph.spans.iter().enumerate().filter(counted);
    counted.map(|(n, _)| find(&mut piece, n)).collect::<HashSet<_>>().len()
}

fn counts(expect: &Expect, report: &mut Report) {
    let all = [
        ("spans", expect.spans, report.spans),
        ("process spans", expect.process_spans, report.process_spans),
        ("deliveries", expect.deliveries, report.deliveries),
        ("send spans", expect.sends, report.sends),
        ("attempts", expect.attempts, report.attempts),
        ("links", expect.links, report.links),
        ("traces", expect.traces, report.traces),
        ("components", expect.components, report.components),
        ("redeliveries", expect.redeliveries, report.redeliveries),
        ("messages without a context", expect.without_context, report.without_context),
    ];
    for (what, count, found) in all {
        if let Some(count) = count.filter(|count| !count.allows(found)) {
            report.unmet.push(format!("{found} {what}, must be {count}"));
        }
    }
}
