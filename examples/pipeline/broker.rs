//! The broker is chosen at run time, so its types are hidden: `BoxSink` and `BoxSubscription`.

use crate::args::Args;
use throughline::{BoxError, BoxSink, BoxSubscription, memory::Memory};

/// How many partitions each topic has.
const PARTITIONS: u32 = 4;

/// The topics of a pipeline.
pub(crate) struct Topics {
    pub(crate) documents: String,
    pub(crate) classified: String,
    pub(crate) dead: String,
}

pub(crate) enum Broker {
    Memory(Memory),
    #[cfg(feature = "kafka")]
    Kafka(throughline::kafka::Kafka),
}

impl Topics {
    pub(crate) fn new(args: &Args) -> Self {
        let own = || match args.role {
            crate::args::Role::All => format!("pipeline-{}-{}", std::process::id(), started()),
            _ => "pipeline".to_owned(),
        };
        let prefix = args.prefix.clone().unwrap_or_else(own);
        Topics {
            documents: format!("{prefix}-documents"),
            classified: format!("{prefix}-classified"),
            dead: format!("{prefix}-dead-letters"),
        }
    }

    fn all(&self) -> [&str; 3] {
        [&self.documents, &self.classified, &self.dead]
    }
}

impl Broker {
    /// Connects, and makes the topics where they are missing.
    pub(crate) async fn open(args: &Args, topics: &Topics) -> Result<Self, BoxError> {
        match &args.kafka {
            Some(servers) => Self::kafka(servers, topics).await,
            None if args.role != crate::args::Role::All => {
                Err("the embedded broker is inside one process: give --kafka HOST:PORT, or leave --role out"
                    .into())
            }
            None => {
                let memory = Memory::new();
                for topic in topics.all() {
                    memory.create_topic(topic, PARTITIONS)?;
                }
                Ok(Broker::Memory(memory))
            }
        }
    }

    #[cfg(feature = "kafka")]
    async fn kafka(servers: &str, topics: &Topics) -> Result<Self, BoxError> {
        let kafka = throughline::kafka::Kafka::new(servers);
        for topic in topics.all() {
            kafka.admin().create_topic(topic, PARTITIONS as i32).await?;
        }
        Ok(Broker::Kafka(kafka))
    }

    #[cfg(not(feature = "kafka"))]
    async fn kafka(servers: &str, _: &Topics) -> Result<Self, BoxError> {
        let command = format!("cargo run --features kafka --example pipeline -- --kafka {servers}");
        Err(format!("this build has no Kafka client, to keep it fast; run `{command}`").into())
    }

    pub(crate) fn sink(&self, topic: &str) -> BoxSink {
        match self {
            Broker::Memory(memory) => BoxSink::new(memory.topic(topic)),
            #[cfg(feature = "kafka")]
            Broker::Kafka(kafka) => BoxSink::new(kafka.topic(topic)),
        }
    }

    pub(crate) fn subscription(&self, topic: &str, group: &str) -> BoxSubscription {
        match self {
            Broker::Memory(memory) => BoxSubscription::new(memory.subscribe(topic).group(group)),
            #[cfg(feature = "kafka")]
            Broker::Kafka(kafka) => BoxSubscription::new(kafka.group(group).topic(topic)),
        }
    }
}

fn started() -> u128 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis())
}
