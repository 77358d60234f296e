//! Where reading begins: at what the group has committed, if that is still in the log, and else where the subscription
//! says.
//!
//! The client could choose by itself (`auto.offset.reset`), but says nobody that it did, nor what it passed over. So it
//! is told to choose nothing: each partition is assigned with a place that was looked up here, and what is gone is said.

use crate::{
    Start,
    client::errors,
    consume::{context::Context, topic_ids::Mark},
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
    topic_partition_list::TopicPartitionListElem,
};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};
use throughline_core::{Error, ErrorKind};

/// How long the servers may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// A partition that needs a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) topic: String,
    pub(crate) number: i32,
    /// Where the client was refused to read on, if it was.
    pub(crate) refused: Option<i64>,
    /// Of the topic that this is an offset of.
    pub(crate) mark: Option<Mark>,
}

/// Where to read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) number: i32,
    /// Where it should go on: what the group committed, or where reading was refused.
    pub(crate) known: Option<i64>,
    pub(crate) from: Offset,
    /// What is known is an offset of another topic, which had the same name before.
    pub(crate) anew: bool,
}

type Offsets = HashMap<(String, i32), i64>;
type Marks = HashMap<(String, i32), Mark>;

/// Looks up where to read these partitions.
pub(crate) fn find(
    consumer: &BaseConsumer<Context>,
    start: Start,
    wanted: Vec<Wanted>,
) -> KafkaResult<Vec<Place>> {
    let refused = wanted.iter().any(|wanted| wanted.refused.is_some());
    let (mut known, mut marks) =
        committed(consumer, wanted.iter().filter(|wanted| wanted.refused.is_none()))?;
    for wanted in &wanted {
        let at = || (wanted.topic.clone(), wanted.number);
        if let Some(offset) = wanted.refused {
            known.insert(at(), offset);
            wanted.mark.clone().map(|mark| marks.insert(at(), mark));
        }
    }
    let ids = &consumer.context().topic_ids;
    ids.ask(consumer, wanted.iter().map(|wanted| &wanted.topic));
    let first = offsets(consumer, &wanted, Offset::Beginning)?;
    let all_known = known.len() == wanted.len();
    let last = match start {
        Start::Latest | Start::Offset(_) if !all_known => offsets(consumer, &wanted, Offset::End)?,
        _ if refused => offsets(consumer, &wanted, Offset::End)?,
        _ => Offsets::new(),
    };
    // What was added to a topic since the group began there was empty then: nothing in it is from before.
    let before = match start {
        Start::Latest => partitions_before(consumer, &wanted, all_known)?,
        _ => HashMap::new(),
    };
    let timed = match start {
        Start::At(time) if !all_known => offsets(consumer, &wanted, Offset::Offset(millis(time)))?,
        _ => Offsets::new(),
    };
    let place = |wanted: Wanted| {
        let key = (wanted.topic, wanted.number);
        let [known, first, last, timed] = [&known, &first, &last, &timed].map(|of| of.get(&key).copied());
        let now = ids.mark(&key.0);
        let anew = marks.get(&key).zip(now).is_some_and(|(mark, now)| mark.is_of_another_topic(&now));
        let from = match known {
            Some(_) if anew => first.map_or(Offset::Beginning, Offset::Offset),
            // Only a refusal proves that an offset is beyond the end: what is hidden by an open transaction is not.
            Some(offset) => at_or_first(offset, first, last.filter(|_| wanted.refused.is_some())),
            None if before.get(&key.0).is_some_and(|count| key.1 >= *count) => {
                first.map_or(Offset::Beginning, Offset::Offset)
            }
            None => begin(start, first, last, timed),
        };
        Place { topic: key.0, number: key.1, known, from, anew }
    };
    Ok(wanted.into_iter().map(place).collect())
}

/// An offset that should be in the log, or the first that is.
fn at_or_first(offset: i64, first: Option<i64>, last: Option<i64>) -> Offset {
    let is_there = first.is_none_or(|first| first <= offset) && last.is_none_or(|last| offset <= last);
    Offset::Offset(if is_there { offset } else { first.unwrap_or(offset) })
}

/// Where a group begins that has committed nothing. What could not be looked up is left to the client.
fn begin(start: Start, first: Option<i64>, last: Option<i64>, timed: Option<i64>) -> Offset {
    let or = |offset: Option<i64>, else_: Offset| offset.map_or(else_, Offset::Offset);
    match start {
        Start::Earliest | Start::Committed => or(first, Offset::Beginning),
        Start::Latest => or(last, Offset::End),
        // No record is as young as that: the end.
        Start::At(_) => or(timed, Offset::End),
        Start::Offset(offset) => {
            let offset = first.map_or(offset, |first| offset.max(first));
            Offset::Offset(last.map_or(offset, |last| offset.min(last)))
        }
    }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What the group has committed of these, where it has, and of which topic if that was said.
fn committed<'a>(
    consumer: &BaseConsumer<Context>,
    wanted: impl Iterator<Item = &'a Wanted>,
) -> KafkaResult<(Offsets, Marks)> {
    let mut list = TopicPartitionList::new();
    for wanted in wanted {
        list.add_partition(&wanted.topic, wanted.number);
    }
    if list.count() == 0 {
        return Ok(Default::default());
    }
    let answer = consumer.committed_offsets(list, PATIENCE)?;
    // Of an error in one of them nothing follows: least of all that nothing was committed there.
    answer.elements().iter().try_for_each(|element| element.error())?;
    let mark = |element: &TopicPartitionListElem<'_>| {
        Some(((element.topic().to_owned(), element.partition()), Mark::of(element)?))
    };
    Ok((collect(&answer), answer.elements().iter().filter_map(mark).collect()))
}

/// How many partitions each topic had when the group began there, as far as its commits say; 0 if it was another topic.
/// Where all is known nobody is asked. From here on, commits say how many there are now.
fn partitions_before(
    consumer: &BaseConsumer<Context>,
    wanted: &[Wanted],
    all_known: bool,
) -> KafkaResult<HashMap<String, i32>> {
    let ids = &consumer.context().topic_ids;
    let mut before = HashMap::new();
    for topic in wanted.iter().map(|wanted| &wanted.topic).collect::<HashSet<_>>() {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let of = |number| Wanted { topic: topic.clone(), number, refused: None, mark: None };
        let all: Vec<Wanted> = partitions.map(|partition| of(partition.id())).collect();
        let (_, marks) = if all_known { Default::default() } else { committed(consumer, all.iter())? };
        let now = ids.mark(topic);
        let count = |mark: &Mark| match &now {
            Some(now) if mark.is_of_another_topic(now) => Some(0),
            _ => mark.partitions(),
        };
        if let Some(least) = marks.values().filter_map(count).min() {
            before.insert(topic.clone(), least);
        }
        ids.count(topic, all.len());
    }
    Ok(before)
}

/// The offsets that stand at this place, or time, of each log; where it has none, or the topic is gone, nothing.
fn offsets(consumer: &BaseConsumer<Context>, wanted: &[Wanted], place: Offset) -> KafkaResult<Offsets> {
    let mut list = TopicPartitionList::new();
    for wanted in wanted {
        list.add_partition_offset(&wanted.topic, wanted.number, place)?;
    }
    match consumer.offsets_for_times(list, PATIENCE) {
        Ok(answer) => Ok(collect(&answer)),
        Err(error) if errors::meaning(errors::code(&error)).0 == ErrorKind::NotFound => Ok(Offsets::new()),
        Err(error) => Err(error),
    }
}

fn collect(list: &TopicPartitionList) -> Offsets {
    let elements = list.elements();
    let known = elements.iter().filter(|element| element.error().is_ok()).filter_map(|element| match element
        .offset()
    {
        Offset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
        _ => None,
    });
    known.collect()
}

/// With [`Start::Committed`]: what is not there to go on from.
pub(crate) fn refuse_any_choice(group: &str, places: &[Place]) -> Result<(), Error> {
    let at = |place: &Place| format!("{}/{}", place.topic, place.number);
    let none: Vec<String> = places.iter().filter(|place| place.known.is_none()).map(at).collect();
    let gone = |place: &Place| match (place.known, place.from) {
        (Some(known), _) if place.anew => {
            Some(format!("{} was made anew since {known} was committed", at(place)))
        }
        (Some(known), Offset::Offset(from)) if from > known => {
            let gone = from - known;
            Some(format!("{} is committed at {known} and begins at {from} ({gone} gone)", at(place)))
        }
        (Some(known), Offset::Offset(from)) if from < known => {
            Some(format!("{} is committed at {known} and ends before that", at(place)))
        }
        _ => None,
    };
    let gone: Vec<String> = places.iter().filter_map(gone).collect();
    let what = match (none.is_empty(), gone.is_empty()) {
        (true, true) => return Ok(()),
        (false, _) => format!("the group has no committed offset for {}", none.join(", ")),
        (true, false) => gone.join(", "),
    };
    let remedy =
        format!("{what}; choose a `.start(..)` other than `Committed`, or reset the group's offsets");
    Err(Error::new(ErrorKind::NotFound, group, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Offset::Offset as At;

    #[test]
    fn what_is_gone_leads_to_the_first_that_is_there() {
        assert_eq!(at_or_first(10, Some(50), None), At(50));
        assert_eq!(at_or_first(60, Some(50), None), At(60));
        assert_eq!(at_or_first(100, Some(0), Some(10)), At(0));
        assert_eq!(at_or_first(10, Some(0), Some(10)), At(10), "the end is a place");
        assert_eq!(at_or_first(10, None, None), At(10));
    }

    #[test]
    fn a_new_group_begins_where_it_is_told() {
        let time = Start::At(SystemTime::UNIX_EPOCH);
        let of = |start| begin(start, Some(5), Some(9), Some(7));
        assert_eq!([Start::Earliest, Start::Latest, time].map(of), [At(5), At(9), At(7)]);
        assert_eq!([2, 6, 12].map(|offset| of(Start::Offset(offset))), [At(5), At(6), At(9)]);
        assert_eq!(begin(time, Some(5), Some(9), None), Offset::End);
        assert_eq!(begin(Start::Earliest, None, None, None), Offset::Beginning);
    }

    #[test]
    fn a_strict_group_is_told_the_numbers() {
        let place = |known, from| Place { topic: "t".into(), number: 3, known, from: At(from), anew: false };
        assert!(refuse_any_choice("g", &[place(Some(5), 5)]).is_ok());
        let told = |place| refuse_any_choice("g", &[place]).unwrap_err().to_string();
        assert!(told(place(None, 0)).contains("no committed offset for t/3"));
        let text = told(place(Some(10), 50));
        assert!(text.contains("t/3 is committed at 10 and begins at 50 (40 gone)"), "{text}");
        assert!(told(place(Some(100), 0)).contains("ends before"));
        assert!(told(Place { anew: true, ..place(Some(5), 5) }).contains("made anew"));
    }
}
