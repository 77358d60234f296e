//! Which topic stands behind a name: a topic that was deleted and made again has another id, and its offsets mean
//! something else.
//!
//! The group's offsets outlive a topic, and librdkafka reads on at its old place if the new log is long enough, so what
//! lies below would be passed over. rdkafka 0.39 cannot ask for the id, and librdkafka 2.12 says it only in its log: when
//! it first hears of a topic, and when the id has changed (`debug=topic`, a few lines a topic each time it looks). So it
//! is taken from there. Each commit carries it in its metadata string, beside that of the cluster: what was copied to
//! another cluster has other ids there, and proves nothing. A group that begins at the end writes down how many partitions
//! the topic has, too: one that is added later has nothing from before the group.
//!
//! Where no id is heard (a broker before 2.8, another librdkafka) none is written and nothing is concluded.

use crate::consume::context::Context;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
    topic_partition_list::TopicPartitionListElem,
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long the servers may take to describe a topic.
const PATIENCE: Duration = Duration::from_secs(5);

/// The ids by name, as the client last told them.
#[derive(Debug, Default)]
pub(crate) struct TopicIds(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    cluster: Option<String>,
    topics: HashMap<String, String>,
    /// How many partitions a topic has, where that was asked for.
    partitions: HashMap<String, usize>,
}

/// What a commit says of the topic whose offset it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark(Arc<str>);

impl TopicIds {
    /// Takes a line of the client's log. Says whether a topic has another id than before.
    pub(crate) fn hear(&self, line: &str) -> bool {
        let Some((topic, id)) = parse(line) else { return false };
        let before = self.known().topics.insert(topic.to_owned(), id.to_owned());
        before.is_some_and(|before| before != id)
    }

    /// What is to be committed with an offset of this topic.
    pub(crate) fn mark(&self, topic: &str) -> Option<Mark> {
        let known = self.known();
        let (cluster, id) = (known.cluster.as_ref()?, known.topics.get(topic)?);
        let partitions = known.partitions.get(topic).map_or(String::new(), |n| format!(" partitions={n}"));
        Some(Mark(format!("cluster={cluster} topic-id={id}{partitions}").into()))
    }

    /// From here on, marks say how many partitions the topic has.
    pub(crate) fn count(&self, topic: &str, partitions: usize) {
        self.known().partitions.insert(topic.to_owned(), partitions);
    }

    /// Makes the client say what is not known of these topics. Blocks.
    pub(crate) fn ask<'a>(&self, consumer: &BaseConsumer<Context>, topics: impl Iterator<Item = &'a String>) {
        if self.known().cluster.is_none() {
            let cluster = consumer.client().fetch_cluster_id(PATIENCE);
            self.known().cluster = cluster;
        }
        for topic in topics {
            let known = self.known().topics.contains_key(topic);
            if !known && consumer.fetch_metadata(Some(topic), PATIENCE).is_err() {
                return; // it is told with whatever is asked next
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mark {
    /// The one of a committed offset, if we wrote it.
    pub(crate) fn of(committed: &TopicPartitionListElem<'_>) -> Option<Mark> {
        // rdkafka panics at a string of somebody else that is not UTF-8.
        let text = catch_unwind(AssertUnwindSafe(|| committed.metadata().to_owned())).ok()?;
        let mark = Mark(text.into());
        mark.parts().is_some().then_some(mark)
    }

    /// Whether both are of one cluster, and of two topics.
    pub(crate) fn is_of_another_topic(&self, than: &Mark) -> bool {
        match (self.parts(), than.parts()) {
            (Some((cluster, id)), Some((same, other))) => cluster == same && id != other,
            _ => false,
        }
    }

    fn parts(&self) -> Option<(&str, &str)> {
        let (cluster, rest) = self.0.strip_prefix("cluster=")?.split_once(" topic-id=")?;
        Some((cluster, rest.split_once(' ').map_or(rest, |(id, _)| id)))
    }

    /// How many partitions the topic had, if that was written down.
    pub(crate) fn partitions(&self) -> Option<i32> {
        self.0.rsplit_once(" partitions=")?.1.parse().ok()
    }
}

/// Adds an offset that is to be committed.
pub(crate) fn add(
    list: &mut TopicPartitionList,
    (topic, number): (&str, i32),
    offset: Offset,
    mark: Option<&Mark>,
) -> KafkaResult<()> {
    let mut element = list.add_partition(topic, number);
    element.set_offset(offset)?;
    if let Some(Mark(mark)) = mark {
        element.set_metadata(mark);
    }
    Ok(())
}

/// `Topic NAME changed id from OLD to NEW`, wherever in the line.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (before, ids) = line.split_once(" changed id from ")?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (_, id) = ids.split_once(" to ")?;
    (!topic.is_empty() && !id.is_empty()).then_some((topic, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str =
        "[thrd:main]: Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to tXmU1AAWQ/egVHsN6L6kOA";

    #[test]
    fn a_change_is_one_of_a_topic_that_was_known() {
        let ids = TopicIds::default();
        ids.known().cluster = Some("c".into());
        assert!(ids.mark("orders").is_none());
        assert!(!ids.hear(FIRST) && !ids.hear(FIRST));
        assert!(!ids.hear("[thrd:main]: Topic orders [0] Leader 1 Epoch 0"));
        let before = ids.mark("orders").unwrap();
        assert!(ids.hear("Topic orders changed id from tXmU1AAWQ/egVHsN6L6kOA to b"));
        let after = ids.mark("orders").unwrap();
        ids.count("orders", 6);
        let counted = ids.mark("orders").unwrap();
        assert_eq!((after.partitions(), counted.partitions()), (None, Some(6)));
        assert!(before.is_of_another_topic(&counted) && !after.is_of_another_topic(&counted));
        assert!(before.is_of_another_topic(&after) && !before.is_of_another_topic(&before));
    }

    #[test]
    fn a_mark_proves_something_in_its_own_cluster_only() {
        let mark = |text: &str| Mark(text.into());
        let ours = mark("cluster=a topic-id=1");
        assert!(ours.is_of_another_topic(&mark("cluster=a topic-id=2")));
        for other in ["cluster=b topic-id=2", "", "of somebody else", "cluster=a"] {
            assert!(!ours.is_of_another_topic(&mark(other)) && !mark(other).is_of_another_topic(&ours));
        }
    }

    #[test]
    fn a_commit_keeps_its_mark() {
        let mut list = TopicPartitionList::new();
        let mark = Mark("cluster=a topic-id=1".into());
        add(&mut list, ("t", 3), Offset::Offset(7), Some(&mark)).unwrap();
        add(&mut list, ("t", 4), Offset::Offset(8), None).unwrap();
        let elements = list.elements();
        assert_eq!(elements.iter().map(Mark::of).collect::<Vec<_>>(), [Some(mark), None]);
        assert_eq!(elements[0].offset(), Offset::Offset(7));
    }
}
