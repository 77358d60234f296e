//! SQS, Pub/Sub and Kafka, at the servers that the environment names.

use crate::brokers::{Hop, PARTITIONS};
use std::time::Duration;
use throughline::{
    BoxError, BoxSink, BoxSubscription,
    kafka::Kafka,
    pubsub::{NewSubscription, PubSub},
    sqs::Sqs,
};

/// For how long the jobs of a worker that died stay with it: the time that SQS and Pub/Sub lease a message for, and that
/// Kafka waits for a sign of life. Short, since here workers are killed to see what becomes of it.
const LEASE: Duration = Duration::from_secs(10);

/// An emulator takes any project.
const PROJECT: &str = "pipeline";

#[derive(Clone, Debug)]
pub(crate) struct Real {
    sqs: Sqs,
    pubsub: PubSub,
    kafka: Kafka,
}

impl Real {
    /// # Errors
    /// A variable that is not set.
    pub(crate) fn from_env() -> Result<Self, BoxError> {
        let address = |name: &str| {
            let how = "start the brokers by `cargo xtask brokers up`, and set what it prints";
            std::env::var(name).map_err(|_| format!("{name} is not set: {how}"))
        };
        Ok(Real {
            sqs: Sqs::local(address("THROUGHLINE_SQS")?),
            pubsub: PubSub::emulator(address("THROUGHLINE_PUBSUB")?, PROJECT),
            kafka: Kafka::new(address("THROUGHLINE_KAFKA")?)
                .set("session.timeout.ms", LEASE.as_millis().to_string())
                .set("heartbeat.interval.ms", "1000"),
        })
    }

    pub(crate) async fn create(&self, hop: Hop, prefix: &str) -> Result<(), BoxError> {
        let name = hop.name(prefix);
        match hop {
            Hop::Jobs | Hop::DeadLetters => drop(self.sqs.create_queue(&name, []).await?),
            Hop::Classified => {
                self.pubsub.create_topic(&name).await?;
                self.pubsub.create_subscription(&NewSubscription::new(&name, &name)).await?;
            }
            Hop::Stored => self.kafka.admin().create_topic(&name, PARTITIONS as i32).await?,
        }
        Ok(())
    }

    pub(crate) fn sink(&self, hop: Hop, prefix: &str) -> BoxSink {
        let name = hop.name(prefix);
        match hop {
            // A document need not be text, which is all that SQS carries.
            Hop::Jobs | Hop::DeadLetters => BoxSink::new(self.sqs.queue(name).base64(true)),
            Hop::Classified => BoxSink::new(self.pubsub.topic(name)),
            Hop::Stored => BoxSink::new(self.kafka.topic(name)),
        }
    }

    pub(crate) fn subscription(&self, hop: Hop, prefix: &str) -> BoxSubscription {
        let name = hop.name(prefix);
        match hop {
            Hop::Jobs | Hop::DeadLetters => {
                // An idle worker ends as soon as its last poll does.
                let subscription = self.sqs.subscribe(name).base64(true).visibility(LEASE);
                BoxSubscription::new(subscription.wait(Duration::from_secs(2)))
            }
            Hop::Classified => BoxSubscription::new(self.pubsub.subscribe(name).lease(LEASE)),
            Hop::Stored => BoxSubscription::new(self.kafka.group(hop.reader()).topic(name)),
        }
    }
}
