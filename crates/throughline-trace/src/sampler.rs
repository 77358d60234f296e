//! A sampler for traces that are linked rather than nested.

use crate::semconv;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Carries a producer's decision over a link: a root span that links to a sampled context is sampled, one that links
/// only to unsampled ones is not. Everything else is decided by the inner sampler.
///
/// Without it, a pipeline of linked traces is cut at random: each hop would decide anew.
///
/// ```
/// use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
/// use throughline_trace::FollowLinks;
///
/// let sampler = FollowLinks::new(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.1))));
/// let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
/// # drop(provider);
/// ```
#[derive(Clone, Debug)]
pub struct FollowLinks(Box<dyn ShouldSample>);

impl FollowLinks {
    /// Around the sampler that decides about roots without links, and below a parent.
    pub fn new(inner: impl Into<Box<dyn ShouldSample>>) -> Self {
        FollowLinks(inner.into())
    }
}

impl Default for FollowLinks {
    /// Around the SDK's default: with the parent, else always.
    fn default() -> Self {
        FollowLinks::new(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
    }
}

impl ShouldSample for FollowLinks {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let has_parent = parent.is_some_and(|parent| parent.span().span_context().is_valid());
        let decides = |link: &&Link| link.span_context.is_valid() && !is_undecided(link);
        let mut valid = links.iter().filter(decides).map(|link| &link.span_context).peekable();
        if has_parent || valid.peek().is_none() {
            return self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        }
        let sampled = valid.any(|context| context.is_sampled());
        SamplingResult {
            decision: if sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: TraceState::NONE,
        }
    }
}

/// What an infrastructure added by itself says nothing of what a producer of ours wants.
fn is_undecided(link: &Link) -> bool {
    link.attributes.iter().any(|kv| kv.key.as_str() == semconv::CONTEXT_UNDECIDED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    fn link(sampled: bool) -> Link {
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        Link::with_context(SpanContext::new(TraceId::from(1), SpanId::from(1), flags, true, TraceState::NONE))
    }

    fn sampled(sampler: Sampler, parent: &Context, links: &[Link]) -> bool {
        let sampler = FollowLinks::new(sampler);
        let result =
            sampler.should_sample(Some(parent), TraceId::from(2), "", &SpanKind::Consumer, &[], links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn links_decide_about_roots() {
        let none = Context::new();
        assert!(sampled(Sampler::AlwaysOff, &none, &[link(true)]));
        assert!(sampled(Sampler::AlwaysOff, &none, &[link(false), link(true)]));
        assert!(!sampled(Sampler::AlwaysOn, &none, &[link(false)]));
        assert!(sampled(Sampler::AlwaysOn, &none, &[]));
        assert!(!sampled(Sampler::AlwaysOff, &none, &[]));
        let invalid = Link::with_context(SpanContext::NONE);
        assert!(sampled(Sampler::AlwaysOn, &none, std::slice::from_ref(&invalid)));
        for flag in [true, false] {
            let mut undecided = link(flag);
            undecided.attributes = vec![KeyValue::new(semconv::CONTEXT_UNDECIDED, true)];
            assert!(sampled(Sampler::AlwaysOn, &none, std::slice::from_ref(&undecided)));
            assert!(!sampled(Sampler::AlwaysOff, &none, &[undecided]));
        }
        let parent = Context::new().with_remote_span_context(link(true).span_context);
        let based = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        assert!(sampled(based, &parent, &[link(false)]), "below a parent the parent decides");
    }
}
