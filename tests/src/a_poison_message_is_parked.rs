//! G8: a poison message is parked, the rest flows.

use crate::{
    Inbox, Run, Site, Stage, eventually,
    steps::{creation, header, named, note, parse},
    until,
};
use std::time::Duration;
use throughline::{BoxError, DeadLetter, Json, Message, Redelay, State, Worker, dead_letter, handler_with};
use throughline_test::{Demands, Entry, Ev, Expect};

const MESSAGES: u64 = 10_000;
const UNDECODABLE: u64 = 1_234;
const FAILING: u64 = 5_678;

/// One message of ten thousand cannot be decoded and one always fails: 9,998 are done, two are in the dead letters with
/// where they came from, why, after how many deliveries, and the context that they were first published with.
pub async fn two_bad_messages_among_ten_thousand_are_set_aside<B: Site>(broker: &B) {
    let run = Run::begin(broker, "G8", Demands::new().ids(MESSAGES).parked(2).duplicates(0));
    let mut stage = Stage::new(broker);
    let (topic, letters) = (stage.topic(4).await, stage.topic(1).await);
    let (told, mut inbox) = Inbox::new();
    let redelay = Redelay::exponential(Duration::from_millis(5), Duration::from_millis(50));
    let (dead, ledger) = (DeadLetter::to(stage.publisher(&letters)).after(3), run.clone());
    let handle = stage.spawn(
        Worker::new("w", stage.subscription(&topic), move || handler_with(ledger.clone(), fail_one))
            .redelay(redelay)
            .dead_letter(dead),
    );
    stage.spawn(Worker::new("letters", stage.subscription(&letters), move || {
        handler_with(told.clone(), note)
    }));
    let message = |id: u64| {
        let payload = if id == UNDECODABLE { "{".to_owned() } else { id.to_string() };
        Message::new(payload).with_header("id", id.to_string())
    };
    for (id, receipt) in (0..).zip(stage.publisher(&topic).send_all((0..MESSAGES).map(message)).await) {
        receipt.unwrap();
        run.record(Entry::new(Ev::Produced, id));
    }
    let parked = inbox.take(2).await;
    for letter in &parked {
        run.record(Entry::new(Ev::Parked, header(letter, "id").unwrap().parse().unwrap()));
    }
    let group = Stage::<B>::group(&topic);
    eventually("everything is done", || broker.is_all_done(&topic, &group, MESSAGES), |done| *done).await;
    let counted = || {
        let counts = handle.status().counts;
        (counts.acked, counts.put_aside, counts.nacked) == (MESSAGES - 2, 2, 2)
    };
    until("all are counted", counted).await;
    let graph = stage.end().await;

    let all = MESSAGES as usize;
    let expect = Expect::new().sends(all + 2).process_spans(all + 2 + 2).components(all);
    graph.check(&expect).unwrap();
    let mut expected = vec![(UNDECODABLE.to_string(), "rejected", "1"), (FAILING.to_string(), "_OTHER", "3")];
    for letter in &parked {
        let field = |name| header(letter, name).unwrap_or_else(|| panic!("{name} of {letter:?}"));
        let known = (field("id").to_owned(), field(dead_letter::ERROR_TYPE), field(dead_letter::ATTEMPTS));
        expected.retain(|one| *one != known);
        assert_eq!(field(dead_letter::DESTINATION), topic);
        assert!(!field(dead_letter::REASON).is_empty());
        let first = graph.get(parse(field(dead_letter::TRACEPARENT))).expect("the first send");
        assert_eq!(first.name, format!("send {topic}"));
        let send = graph.get(creation(letter)).unwrap();
        let failed = graph.get(send.parent.unwrap()).unwrap();
        assert_eq!(failed.links[0].to, first.id, "one pipeline");
        assert_eq!(named(&graph, &format!("{} {letters}", B::PROCESS)).len(), 2);
    }
    assert!(expected.is_empty(), "not as expected: {expected:?}, but {parked:?}");
    run.conclude();
}

async fn fail_one(Json(id): Json<u64>, State(run): State<Run>) -> Result<(), BoxError> {
    if id == FAILING {
        return Err("always".into());
    }
    run.record(Entry::new(Ev::Finished, id));
    Ok(())
}
