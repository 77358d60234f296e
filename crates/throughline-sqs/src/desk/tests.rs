use super::*;
use throughline_core::Lease;
use tokio::time::advance;

const VISIBILITY: Duration = Duration::from_secs(30);
const MOST: usize = 32;

fn desk() -> Desk {
    Desk::new(Arc::new(Destination::new("aws_sqs", "q")), Arc::new(()), VISIBILITY)
}

fn hold(desk: &Desk, id: &'static str, group: Option<&'static str>) -> (u64, Lease) {
    let (owner, lease) = Lease::new(None);
    let group = group.map(ByteString::from_static);
    let claim = Claim { handle: id.into(), id: ByteString::from_static(id), group, context: None };
    (desk.hold(claim, owner), lease)
}

fn settle(desk: &Desk, ticket: u64, how: Option<Settlement>) -> Result<(), Error> {
    desk.settle(ticket, &ByteString::from_static("id"), how)
}

/// What is to be sent now: the handles of each call, and what it says.
fn answers(desk: &Desk) -> Vec<(Vec<String>, Answer)> {
    let of = |batch: Batch| {
        let handles = batch.entries.iter().map(|entry| entry.claim.handle.to_string()).collect();
        (handles, batch.entries[0].answer)
    };
    desk.take_work(MOST).answers.into_iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn answers_go_when_they_are_ten_or_waited_or_nothing_is_held() {
    let desk = desk();
    let tickets: Vec<_> = (0..13).map(|_| hold(&desk, "m", None).0).collect();
    for ticket in &tickets[..9] {
        settle(&desk, *ticket, Some(Settlement::Ack)).unwrap();
    }
    assert!(answers(&desk).is_empty(), "nine wait for a tenth");
    settle(&desk, tickets[9], Some(Settlement::Ack)).unwrap();
    assert_eq!(answers(&desk)[0].0.len(), 10);
    settle(&desk, tickets[10], Some(Settlement::Reject)).unwrap();
    advance(Duration::from_millis(199)).await;
    assert!(answers(&desk).is_empty());
    advance(Duration::from_millis(1)).await;
    assert_eq!(answers(&desk), [(vec!["m".to_owned()], Answer::Delete)]);
    settle(&desk, tickets[11], Some(Settlement::Ack)).unwrap();
    assert!(answers(&desk).is_empty());
    settle(&desk, tickets[12], Some(Settlement::Ack)).unwrap();
    assert_eq!(answers(&desk)[0].0.len(), 2, "nothing is held any more");
    assert_eq!(desk.unconfirmed(), 13);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_whole_seconds_and_ends_with_the_twelve_hours() {
    let desk = desk();
    let hidden = |after: Duration| {
        let ticket = hold(&desk, "m", None).0;
        settle(&desk, ticket, Some(Settlement::retry_after(after))).unwrap();
        answers(&desk)[0].1
    };
    assert_eq!(hidden(Duration::from_millis(1)), Answer::Hide(Duration::from_secs(1)));
    assert_eq!(hidden(Duration::from_secs(5)), Answer::Hide(Duration::from_secs(5)));
    assert_eq!(hidden(Duration::from_secs(100_000)), Answer::Hide(LONGEST));
    let ticket = hold(&desk, "m", None).0;
    settle(&desk, ticket, None).unwrap();
    assert_eq!(answers(&desk)[0].1, Answer::Hide(Duration::ZERO), "what is dropped is visible at once");
}

/// A lease that is extended again and again ends at twelve hours: SQS would refuse more. The last extension is cut to that.
#[tokio::test(start_paused = true)]
async fn no_lease_outlives_twelve_hours() {
    let desk = desk();
    let (ticket, lease) = hold(&desk, "m", None);
    let (mut extensions, mut last) = (0, VISIBILITY);
    while !lease.is_lost() {
        advance(VISIBILITY / 2).await;
        for batch in desk.take_work(MOST).extensions {
            extensions += 1;
            last = batch[0].2;
            desk.extended(&[ticket], Instant::now(), &[], false);
        }
        assert!(extensions <= 2 * 12 * 120, "no end");
    }
    assert!(extensions > 12 * 120, "{extensions}");
    assert_eq!(last, VISIBILITY / 2, "the last is cut");
    assert_eq!(settle(&desk, ticket, Some(Settlement::Ack)).unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(desk.unconfirmed(), 0, "nothing is sent for it");
}

#[tokio::test(start_paused = true)]
async fn a_refused_extension_loses_the_lease_and_a_failed_call_tries_again() {
    let desk = desk();
    let (kept, lost) = (hold(&desk, "kept", None), hold(&desk, "lost", None));
    advance(VISIBILITY / 2).await;
    let due = desk.take_work(MOST).extensions;
    assert_eq!(due[0].len(), 2);
    let tickets: Vec<u64> = due[0].iter().map(|(ticket, ..)| *ticket).collect();
    let at = tickets.iter().position(|ticket| *ticket == lost.0).unwrap();
    let gone = Error::new(ErrorKind::LeaseLost, "lost", "");
    desk.extended(&tickets, Instant::now(), &[(at, gone)], false);
    assert!(lost.1.is_lost() && !kept.1.is_lost());
    advance(VISIBILITY / 2).await;
    let again = desk.take_work(MOST).extensions;
    assert_eq!(again[0].len(), 1);
    desk.extended(&[kept.0], Instant::now(), &[], true);
    advance(VISIBILITY / 8).await;
    assert_eq!(desk.take_work(MOST).extensions.len(), 1, "until its end");
    advance(VISIBILITY).await;
    desk.take_work(MOST);
    assert!(kept.1.is_lost());
}

/// One that was throttled among others is not asked for again and again meanwhile.
#[tokio::test(start_paused = true)]
async fn an_extension_that_failed_alone_waits_a_while() {
    let desk = desk();
    let (kept, throttled) = (hold(&desk, "kept", None), hold(&desk, "throttled", None));
    advance(VISIBILITY / 2).await;
    let due = desk.take_work(MOST).extensions.remove(0);
    let tickets: Vec<u64> = due.iter().map(|(ticket, ..)| *ticket).collect();
    let at = tickets.iter().position(|ticket| *ticket == throttled.0).unwrap();
    let busy = || Error::new(ErrorKind::Broker, "throttled", "");
    desk.extended(&tickets, Instant::now(), &[(at, busy())], false);
    for tries in 0..2 {
        assert!(desk.take_work(MOST).extensions.is_empty(), "asked at once after {tries}");
        advance(VISIBILITY / 8).await;
        let again = desk.take_work(MOST).extensions;
        assert_eq!((again.len(), again[0][0].0), (1, throttled.0));
        desk.extended(&[throttled.0], Instant::now(), &[(0, busy())], false);
    }
    advance(VISIBILITY / 4).await;
    desk.take_work(MOST);
    assert!(throttled.1.is_lost() && !kept.1.is_lost());
}

/// On a FIFO queue, what came after a failed message in its group goes back with it.
#[tokio::test(start_paused = true)]
async fn a_failed_message_takes_back_what_came_after_it_in_its_group() {
    let desk = desk();
    let before = hold(&desk, "a1", Some("a"));
    let failed = hold(&desk, "a2", Some("a"));
    let [after, other] = [hold(&desk, "a3", Some("a")), hold(&desk, "b1", Some("b"))];
    settle(&desk, failed.0, Some(Settlement::retry_after(Duration::from_secs(5)))).unwrap();
    assert!(after.1.is_lost() && !before.1.is_lost() && !other.1.is_lost());
    assert!(settle(&desk, after.0, Some(Settlement::Ack)).is_err());
    advance(LINGER_AND_MORE).await;
    let mut hidden: Vec<_> = answers(&desk).into_iter().flat_map(|(handles, _)| handles).collect();
    hidden.sort();
    assert_eq!(hidden, ["a2", "a3"]);
    settle(&desk, before.0, Some(Settlement::Ack)).unwrap();
    settle(&desk, other.0, Some(Settlement::Ack)).unwrap();
}

/// What is lost comes again, and must come before what came after it.
#[tokio::test(start_paused = true)]
async fn a_lost_message_takes_back_what_came_after_it_in_its_group() {
    let desk = desk();
    let [lost, after] = [hold(&desk, "a1", Some("a")), hold(&desk, "a2", Some("a"))];
    let other = hold(&desk, "b1", Some("b"));
    let gone = Error::new(ErrorKind::LeaseLost, "a1", "");
    desk.extended(&[lost.0], Instant::now(), &[(0, gone)], false);
    assert!(lost.1.is_lost() && after.1.is_lost() && !other.1.is_lost());
    advance(LINGER_AND_MORE).await;
    assert_eq!(answers(&desk), [(vec!["a2".to_owned()], Answer::Hide(Duration::ZERO))]);
    settle(&desk, other.0, Some(Settlement::Ack)).unwrap();
    answers(&desk);
    // All at once have ended: there is nothing to give back.
    let both = [hold(&desk, "c1", Some("c")), hold(&desk, "c2", Some("c"))];
    advance(VISIBILITY).await;
    assert!(answers(&desk).is_empty() && both.iter().all(|(_, lease)| lease.is_lost()));
}

const LINGER_AND_MORE: Duration = Duration::from_millis(250);
