//! What is prepared once for each destination that messages come from.

use super::Settings;
use crate::{
    metrics::{Measured, Operation},
    template::Template,
    trail::Recorder,
};
use std::sync::Arc;
use throughline_core::Destination;

/// What is prepared for each destination. `call` has `&mut self`, so there is no lock.
#[derive(Clone)]
pub(super) struct Templates {
    operation_type: &'static str,
    /// Of the destination seen last: nearly always the only one.
    last: Option<Prepared>,
    others: Vec<Prepared>,
}

#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) template: Arc<Template>,
    /// `None` where there are no spans.
    pub(super) recorder: Option<Arc<Recorder>>,
    pub(super) measured: Option<Arc<Measured>>,
}

impl Templates {
    /// How many destinations beside the last one are remembered.
    const REMEMBERED: usize = 64;

    pub(super) fn of(operation_type: &'static str) -> Self {
        Templates { operation_type, last: None, others: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&mut self, settings: &Settings, of: Option<&Arc<Destination>>) -> &Prepared {
        if !self.last.as_ref().is_some_and(|prepared| prepared.template.is_for(of)) {
            self.change(settings, of);
        }
        let operation_type = self.operation_type;
        self.last.get_or_insert_with(|| Prepared::new(settings, operation_type, None))
    }

    #[cold]
    fn change(&mut self, settings: &Settings, of: Option<&Arc<Destination>>) {
        let next = match self.others.iter().position(|prepared| prepared.template.is_for(of)) {
            Some(at) => self.others.swap_remove(at),
            None => Prepared::new(settings, self.operation_type, of.cloned()),
        };
        if let Some(before) = self.last.replace(next) {
            if self.others.len() >= Self::REMEMBERED {
                self.others.remove(0);
            }
            self.others.push(before);
        }
    }
}

impl Prepared {
    fn new(settings: &Settings, operation_type: &'static str, of: Option<Arc<Destination>>) -> Self {
        let is_process = operation_type == "process";
        let operation = settings.operation.filter(|_| is_process);
        let template = Arc::new(Template::new(operation, operation_type, of));
        let metrics = settings.metrics.clone().filter(|_| is_process);
        let measured = metrics.map(|metrics| Measured::new(metrics, Operation::Process, &template));
        let spans = settings.spans.clone();
        let recorder = spans.map(|spans| Arc::new(Recorder { spans, template: template.clone() }));
        Prepared { template, recorder, measured }
    }
}
