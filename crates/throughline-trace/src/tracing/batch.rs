//! The spans of a batch: one process span that links to what made each message, and a receive span before it.

use super::{Opened, Settings, Tracing, place::Place};
use crate::{
    Trail,
    codec::Extracted,
    metrics::Measuring,
    semconv as key,
    spans::{Spans, Started},
    template::{self, Template, push_partition},
};
use opentelemetry::{
    Context, KeyValue,
    baggage::{Baggage, BaggageExt},
    trace::{Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt},
};
use std::{sync::Arc, time::SystemTime};
use throughline_core::{Destination, Inbound};

/// What is said of a batch as a whole.
struct Whole {
    messages: usize,
    /// Set if they all came from it; what differs is on the links.
    destination: Option<Arc<Destination>>,
    partition: Option<i32>,
    links: Vec<Link>,
    attributes: Vec<KeyValue>,
    began: Option<SystemTime>,
}

impl<S, C> Tracing<S, C> {
    /// Opens the process span of a batch. It is always a root that links, since a batch has no one parent. Each
    /// message is left a trail of its own, with the context that it came with.
    pub(super) fn open_batch(
        &mut self,
        mut messages: Vec<&mut dyn Inbound>,
        began: Option<SystemTime>,
    ) -> (Option<Measuring>, Option<Opened>) {
        let settings = self.settings.clone();
        let destination = common_destination(&messages);
        let measuring = self.measure_batch(&settings, destination.as_ref(), &messages);
        let each = messages.iter().map(|message| settings.extract(&**message));
        let (found, places): (Vec<_>, Vec<_>) =
            each.map(|(found, place)| (found.unwrap_or_default(), place)).unzip();
        let deciding = found.iter().zip(&places).filter(|(_, place)| place.decides());
        let mut came = deciding.filter_map(|(found, _)| found.context.as_ref()).peekable();
        let unsampled = came.peek().is_some() && came.all(|context| !context.is_sampled());
        let spans = settings.spans.as_ref().filter(|_| !(settings.follow_links && unsampled));
        let opened = match spans.filter(|_| !messages.is_empty()) {
            Some(spans) => {
                let whole = self.whole(&settings, &messages, (&found, &places), destination, began);
                self.start_batch(&settings, spans, whole, &found)
            }
            None => unrecorded(&found, None),
        };
        leave_trails(&mut messages, found, &opened);
        let is_something = opened.recorder.is_some() || opened.context.span().span_context().is_valid();
        (measuring, is_something.then_some(opened))
    }

    fn measure_batch(
        &mut self,
        settings: &Settings,
        of: Option<&Arc<Destination>>,
        messages: &[&mut dyn Inbound],
    ) -> Option<Measuring> {
        let measured = self.templates.get(settings, of).measured.clone().filter(|_| !messages.is_empty())?;
        let published = messages.iter().filter_map(|message| message.origin()?.time);
        published.for_each(|published| measured.waited(published));
        Some(measured.begin(messages.len() as u64))
    }

    fn whole(
        &mut self,
        settings: &Settings,
        messages: &[&mut dyn Inbound],
        (found, places): (&[Extracted], &[Place]),
        destination: Option<Arc<Destination>>,
        began: Option<SystemTime>,
    ) -> Whole {
        let first = messages.first().and_then(|message| message.origin());
        let partition = first.filter(|_| destination.is_some()).and_then(|first| first.partition);
        let is_there =
            |message: &&mut dyn Inbound| message.origin().is_some_and(|o| o.partition == partition);
        let mut whole = Whole {
            messages: messages.len(),
            partition: partition.filter(|_| messages.iter().all(is_there)),
            links: Vec::with_capacity(found.len().min(settings.max_links)),
            attributes: Vec::new(),
            destination,
            began,
        };
        if found.iter().any(|found| found.invalid) {
            whole.attributes.push(KeyValue::new(key::CONTEXT_INVALID, true));
        }
        if let (None, Some(first)) = (&whole.destination, first) {
            whole.attributes.push(KeyValue::new(key::SYSTEM, first.destination.system.to_string()));
        }
        let mut dropped = 0_i64;
        for ((message, found), place) in messages.iter().zip(found).zip(places) {
            match &found.context {
                Some(_) if whole.links.len() >= settings.max_links => dropped += 1,
                Some(context) => {
                    let mut link = self.link(settings, &whole, &**message, context);
                    link.attributes.extend(place.attributes());
                    whole.links.push(link);
                }
                None => {}
            }
        }
        if dropped > 0 {
            whole.attributes.push(KeyValue::new(key::LINKS_DROPPED, dropped));
        }
        whole
    }

    fn link(
        &mut self,
        settings: &Settings,
        whole: &Whole,
        message: &dyn Inbound,
        context: &SpanContext,
    ) -> Link {
        let origin = message.origin();
        let template = &self.templates.get(settings, origin.map(|origin| &origin.destination)).template;
        let mut attributes = Vec::with_capacity(4);
        if let Some(origin) = origin {
            if whole.destination.is_none() {
                attributes.push(KeyValue::new(key::DESTINATION_NAME, origin.destination.name.to_string()));
            }
            if whole.partition.is_none() {
                template.partition(origin, &mut attributes);
            }
            template.identity(origin, &mut attributes);
        }
        template.content(
            message.key().filter(|_| settings.record_key),
            message.is_tombstone(),
            &mut attributes,
        );
        Link::new(context.clone(), attributes, 0)
    }

    fn start_batch(
        &mut self,
        settings: &Settings,
        spans: &Spans,
        mut whole: Whole,
        found: &[Extracted],
    ) -> Opened {
        if settings.receive {
            let template = &self.receive.get(settings, whole.destination.as_ref()).template;
            let mut builder =
                whole.builder(template, SpanKind::Client, whole.links.iter().map(copy).collect());
            builder.start_time = whole.began;
            if let Started::Recording(context) = spans.start(builder, &Context::new()) {
                context.span().end();
            }
        }
        let prepared = self.templates.get(settings, whole.destination.as_ref());
        let links = std::mem::take(&mut whole.links);
        let builder = whole.builder(&prepared.template, SpanKind::Consumer, links);
        match spans.start(builder, &baggage(found)) {
            Started::Recording(context) => {
                Opened { context, incoming: None, recorder: prepared.recorder.clone() }
            }
            Started::Not(own) => unrecorded(found, Some(own)),
        }
    }
}

/// The destination of all of them, if it is one.
fn common_destination(messages: &[&mut dyn Inbound]) -> Option<Arc<Destination>> {
    let first = &messages.first()?.origin()?.destination;
    let is_it =
        |message: &&mut dyn Inbound| message.origin().is_some_and(|o| Arc::ptr_eq(&o.destination, first));
    messages.iter().all(is_it).then(|| first.clone())
}

impl Whole {
    fn builder(&self, template: &Template, kind: SpanKind, links: Vec<Link>) -> SpanBuilder {
        let mut builder = template.builder(kind, links);
        if let Some(attributes) = &mut builder.attributes {
            attributes.push(KeyValue::new(key::BATCH_COUNT, self.messages as i64));
            if let Some(partition) = self.partition {
                push_partition(partition, attributes);
            }
            template::copy(&self.attributes, attributes);
        }
        builder
    }
}

fn copy(link: &Link) -> Link {
    let mut attributes = Vec::with_capacity(link.attributes.len());
    template::copy(&link.attributes, &mut attributes);
    Link::new(link.span_context.clone(), attributes, link.dropped_attributes_count)
}

/// The baggage that is current in the handler: that of the only message. That of several cannot be one, since the same name
/// may stand for something else in each; each message has its own in its trail.
fn baggage(found: &[Extracted]) -> Context {
    match found {
        [Extracted { baggage: Some(baggage), .. }] => {
            let entries = baggage.iter().map(|(name, value)| (name.clone(), value.clone()));
            Context::new().with_baggage(entries.collect::<Baggage>())
        }
        _ => Context::new(),
    }
}

/// Nothing records. What is current is the context of the first message that has one: a message that is made in the
/// handler goes on in that trace, with its sampling decision. A message that is sent on has its own in its trail.
fn unrecorded(found: &[Extracted], own: Option<SpanContext>) -> Opened {
    let first = found.iter().find_map(|found| found.context.clone());
    let context = match first.or(own).filter(SpanContext::is_valid) {
        Some(current) => baggage(found).with_remote_span_context(current),
        None => baggage(found),
    };
    Opened { context, incoming: None, recorder: None }
}

fn leave_trails(messages: &mut [&mut dyn Inbound], found: Vec<Extracted>, opened: &Opened) {
    // Where nothing records, each message's own context tells more than the one that is current.
    let apart = opened.recorder.is_none() && messages.len() > 1;
    let nothing = opened.recorder.is_none() && !opened.context.span().span_context().is_valid();
    let many = messages.len() > 1;
    for (message, found) in messages.iter_mut().zip(found) {
        let Some(extensions) = message.extensions_mut() else { continue };
        // The trail of an earlier delivery has to be hidden.
        if nothing && found.baggage.is_none() && extensions.get::<Trail>().is_none() {
            continue;
        }
        let incoming = found.context.clone();
        let context = match found {
            found if apart && (incoming.is_some() || found.baggage.is_some()) => found.into_context(),
            Extracted { baggage: Some(baggage), .. } if many => opened.context.with_baggage(baggage),
            _ => opened.context.clone(),
        };
        let apart = apart && incoming.is_some();
        extensions.insert(Trail::of_batch(context, incoming, apart));
    }
}
