//! cargo run --features rdkafka --example two_layers_only -- 127.0.0.1:9092
//!
//! Only the two layers, around the client that you have: rdkafka itself, and no worker or runtime of ours. What they ask
//! of your message types is one method each, which says where the headers are.

use opentelemetry_sdk::trace::InMemorySpanExporter;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::{Consumer, StreamConsumer},
    message::OwnedMessage,
    producer::{FutureProducer, FutureRecord},
};
use std::{sync::Arc, time::Duration};
use throughline_core::{BoxError, Destination, Extract, Inbound, Inject, Outbound};
use throughline_kafka::HeaderCarrier;
use throughline_test::{Expect, Graph};
use throughline_trace::{MirrorLayer, Telemetry};
use tower::{Service, ServiceBuilder, ServiceExt};

const TOPIC: &str = "two-layers-only";
/// For each step, so that a broker that is not there ends the example.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is sent. Any type does in place of the carrier, whose two traits have three methods between them.
struct Outgoing {
    payload: &'static str,
    headers: HeaderCarrier,
}

impl Outbound for Outgoing {
    fn fields_mut(&mut self) -> &mut dyn Inject {
        &mut self.headers
    }
}

/// What is received.
struct Incoming {
    record: OwnedMessage,
    headers: HeaderCarrier,
}

impl Inbound for Incoming {
    fn fields(&self) -> &dyn Extract {
        &self.headers
    }
}

async fn handle(incoming: Incoming) -> Result<(), BoxError> {
    println!("received {}", incoming.record.payload_view::<str>().transpose()?.unwrap_or("nothing"));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let servers = std::env::args().nth(1).ok_or("name the broker, for instance 127.0.0.1:9092")?;
    let client = ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "two-layers").clone();
    let admin: AdminClient<_> = client.create()?;
    let (topic, options) = (NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1)), AdminOptions::new());
    admin.create_topics([&topic], &options.request_timeout(Some(PATIENCE))).await?;

    let spans = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("two-layers").exporter(spans.clone()).build()?;
    let producer: FutureProducer = client.create()?;
    let mut sender = ServiceBuilder::new()
        .layer(MirrorLayer::new(Arc::new(Destination::new("kafka", TOPIC))))
        .service_fn(|Outgoing { payload, headers }| {
            let record = FutureRecord::<(), _>::to(TOPIC).payload(payload).headers(headers.0);
            async { producer.send(record, PATIENCE).await.map_err(|(error, _)| error) }
        });
    for payload in ["a book", "a pen", "a lamp"] {
        let outgoing = Outgoing { payload, headers: HeaderCarrier::default() };
        let sent = sender.ready().await?.call(outgoing).await?;
        println!("sent {payload} to offset {}", sent.offset);
    }

    let mut receiver = ServiceBuilder::new().layer(telemetry.tracing_layer()).service_fn(handle);
    let mut last_three = TopicPartitionList::new();
    last_three.add_partition_offset(TOPIC, 0, Offset::OffsetTail(3))?;
    let consumer: StreamConsumer = client.create()?;
    consumer.assign(&last_three)?;
    for _ in 0..3 {
        let record = tokio::time::timeout(PATIENCE, consumer.recv()).await??;
        let headers = HeaderCarrier::of(&record);
        receiver.ready().await?.call(Incoming { record: record.detach(), headers }).await?;
    }

    telemetry.flushed(PATIENCE).await?;
    let graph = Graph::new(spans.get_finished_spans()?);
    println!("{}", graph.check(&Expect::new().sends(3).process_spans(3).components(3))?);
    Ok(())
}
