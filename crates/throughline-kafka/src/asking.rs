//! Questions to the broker that block, asked one at a time by a thread of their own.
//!
//! In rdkafka 0.39 an asynchronous commit of given offsets tells nobody what became of it (librdkafka has neither a
//! callback nor a queue to answer to), and a synchronous one waits without bound. So a small thread asks
//! synchronously, and the poll thread waits for its answer as long as it wants to, polling meanwhile.

use crate::{
    Start, connect,
    context::Context,
    errors,
    positions::{self, Place, Wanted},
    transactional::{Refused, Transactions},
};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, KafkaResult},
    types::RDKafkaErrorCode as Code,
};
use std::sync::{
    Arc,
    mpsc::{Receiver, Sender, channel},
};
use throughline_core::{ByteString, Error, ErrorKind};

/// What is asked.
pub(crate) enum Ask {
    /// Commits these offsets.
    Commit(TopicPartitionList),
    /// Where to read these partitions, once those that are to be ours alone are.
    Positions(Vec<Wanted>, Start, Option<Arc<Transactions>>),
    /// Which of these topics do not exist.
    Missing(Vec<String>),
}

/// What the broker said.
pub(crate) enum Answer {
    Commit(Result<(), Code>),
    Positions(Result<Vec<Place>, Code>),
    /// Nothing but other settings can help.
    Failed(Error),
    /// Unknown if it could not be asked.
    Missing(Option<Vec<ByteString>>),
}

/// Starts the thread, and says how to ask it. It ends with its sender.
pub(crate) fn start(consumer: &Arc<BaseConsumer<Context>>) -> Result<Sender<Ask>, Error> {
    let (sender, asked) = channel();
    let consumer = consumer.clone();
    let spawned = std::thread::Builder::new()
        .name("throughline-kafka-ask".into())
        .spawn(move || run(&consumer, &asked));
    spawned.map(|_| sender).map_err(|error| {
        Error::new(ErrorKind::Config, "thread", "the asking thread could not be started").with_source(error)
    })
}

fn run(consumer: &BaseConsumer<Context>, asked: &Receiver<Ask>) {
    let code = |error: KafkaError| errors::code(&error);
    for ask in asked {
        let answer = match ask {
            Ask::Commit(list) => Answer::Commit(commit(consumer, &list).map_err(code)),
            Ask::Positions(wanted, start, transactions) => {
                // Before the question: an owner before us could still change the answer.
                match transactions.map_or(Ok(()), |transactions| transactions.prepare(&wanted)) {
                    Ok(()) => Answer::Positions(positions::find(consumer, start, wanted).map_err(code)),
                    Err(Refused::Code(code)) => Answer::Positions(Err(code)),
                    Err(Refused::Error(error)) => Answer::Failed(error),
                }
            }
            Ask::Missing(topics) => Answer::Missing(connect::missing(consumer, &topics)),
        };
        consumer.context().answer(answer);
    }
}

/// An error of one partition is the error of the request, and all of it is asked for again; but a topic that was
/// deleted has no position to keep, and must not hold up the others.
fn commit(consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    let Err(error) = consumer.commit(list, CommitMode::Sync) else { return Ok(()) };
    if errors::meaning(errors::code(&error)).0 != ErrorKind::NotFound {
        return Err(error);
    }
    let alone = list.elements().into_iter().filter(|_| list.count() > 1);
    for element in alone {
        let mut one = TopicPartitionList::new();
        one.add_partition_offset(element.topic(), element.partition(), element.offset())?;
        commit(consumer, &one)?;
    }
    Ok(())
}
