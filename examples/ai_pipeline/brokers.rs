//! What carries each hop. It is chosen at run time, so its types are hidden: `BoxSink` and `BoxSubscription`.

use crate::args::{self, Args};
#[cfg(feature = "real")]
use crate::real::Real;
use throughline::{BoxError, BoxSink, BoxSubscription, memory::Memory};

/// How many partitions each topic has.
pub(crate) const PARTITIONS: u32 = 4;

/// A step from one role to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    /// From the ingress to the classifier: SQS.
    Jobs,
    /// From the classifier to the store: Pub/Sub.
    Classified,
    /// From the store to the auditor: Kafka.
    Stored,
    /// From the classifier to whoever looks after what failed: SQS.
    DeadLetters,
}

#[derive(Clone)]
pub(crate) struct Brokers {
    prefix: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Memory(Memory),
    #[cfg(feature = "real")]
    Real(Real),
}

impl Hop {
    pub(crate) const ALL: [Hop; 4] = [Hop::Jobs, Hop::Classified, Hop::Stored, Hop::DeadLetters];

    /// What it is called in every run.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Hop::Jobs => "jobs",
            Hop::Classified => "classified",
            Hop::Stored => "stored",
            Hop::DeadLetters => "dead-letters",
        }
    }

    /// The name of the queue or topic.
    pub(crate) fn name(self, prefix: &str) -> String {
        format!("{prefix}-{}", self.word())
    }

    /// Who reads it.
    pub(crate) fn reader(self) -> &'static str {
        match self {
            Hop::Jobs => "classify",
            Hop::Classified => "store",
            Hop::Stored => "audit",
            Hop::DeadLetters => "letters",
        }
    }
}

impl Brokers {
    /// The brokers of these arguments, their names beginning like this.
    ///
    /// # Errors
    /// Real brokers need another build and the addresses of three servers.
    pub(crate) fn of(args: &Args, prefix: &str) -> Result<Self, BoxError> {
        let kind = match args.brokers {
            args::Brokers::Memory => Kind::Memory(Memory::new()),
            #[cfg(feature = "real")]
            args::Brokers::Real => Kind::Real(Real::from_env()?),
            #[cfg(not(feature = "real"))]
            args::Brokers::Real => {
                let command = "cargo run --features real --example ai_pipeline -- --brokers real";
                return Err(
                    format!("this build has no broker client, to keep it fast; run `{command}`").into()
                );
            }
        };
        Ok(Brokers { prefix: prefix.to_owned(), kind })
    }

    /// Makes the queues, topics and subscriptions.
    pub(crate) async fn create(&self) -> Result<(), BoxError> {
        for hop in Hop::ALL {
            match &self.kind {
                Kind::Memory(memory) => memory.create_topic(&hop.name(&self.prefix), PARTITIONS)?,
                #[cfg(feature = "real")]
                Kind::Real(real) => real.create(hop, &self.prefix).await?,
            }
        }
        Ok(())
    }

    pub(crate) fn sink(&self, hop: Hop) -> BoxSink {
        match &self.kind {
            Kind::Memory(memory) => BoxSink::new(memory.topic(hop.name(&self.prefix))),
            #[cfg(feature = "real")]
            Kind::Real(real) => real.sink(hop, &self.prefix),
        }
    }

    pub(crate) fn subscription(&self, hop: Hop) -> BoxSubscription {
        match &self.kind {
            Kind::Memory(memory) => {
                BoxSubscription::new(memory.subscribe(hop.name(&self.prefix)).group(hop.reader()))
            }
            #[cfg(feature = "real")]
            Kind::Real(real) => real.subscription(hop, &self.prefix),
        }
    }
}
