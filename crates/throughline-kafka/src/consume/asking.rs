//! Questions to the broker that block, asked one at a time by a thread of their own.
//!
//! In rdkafka 0.39 an asynchronous commit of given offsets tells nobody what became of it (librdkafka has neither a
//! callback nor a queue to answer to), and a synchronous one waits without bound. So a small thread asks
//! synchronously, and the poll thread waits for its answer as long as it wants to, polling meanwhile.

use crate::{
    Start,
    client::errors,
    consume::{
        connect,
        context::Context,
        positions::{self, Place, Wanted},
        topic_ids::{self, Mark},
        transactional::{Refused, Transactions},
    },
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
            Ask::Positions(wanted, start, transactions) => places(
                || transactions.map_or(Ok(()), |transactions| transactions.prepare(&wanted)),
                || positions::find(consumer, start, wanted.clone()).map_err(code),
            ),
            Ask::Missing(topics) => Answer::Missing(connect::missing(consumer, &topics)),
        };
        consumer.context().answer(answer);
    }
}

/// Takes over what is to be ours alone, and only then asks where to read: an owner before us could still change the answer.
fn places(
    take_over: impl FnOnce() -> Result<(), Refused>,
    ask: impl FnOnce() -> Result<Vec<Place>, Code>,
) -> Answer {
    match take_over() {
        Ok(()) => Answer::Positions(ask()),
        Err(Refused::Code(code)) => Answer::Positions(Err(code)),
        Err(Refused::Error(error)) => Answer::Failed(error),
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
        let at = (element.topic(), element.partition());
        topic_ids::add(&mut one, at, element.offset(), Mark::of(&element).as_ref())?;
        commit(consumer, &one)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Offset;
    use std::cell::Cell;

    #[test]
    fn an_owner_before_us_is_shut_out_before_the_group_is_asked() {
        // What that owner commits until it is shut out.
        let committed = Cell::new(0);
        let take_over = || {
            committed.set(5);
            Ok(())
        };
        let ask = || {
            let (topic, known) = ("t".to_owned(), committed.get());
            Ok(vec![Place { topic, number: 0, known: Some(known), from: Offset::Offset(known), anew: false }])
        };
        let Answer::Positions(Ok(places)) = places(take_over, ask) else { panic!("it was answered") };
        assert_eq!(places[0].from, Offset::Offset(5));
    }

    #[test]
    fn nothing_is_asked_where_the_owner_before_us_may_go_on() {
        let answer = places(|| Err(Refused::Code(Code::RequestTimedOut)), || panic!("it was asked"));
        assert!(matches!(answer, Answer::Positions(Err(Code::RequestTimedOut))));
    }
}
