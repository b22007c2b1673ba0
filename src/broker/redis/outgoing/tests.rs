use super::*;
use crate::message::{ChannelName, Event, Position, Sender};
use bytes::Bytes;

fn event() -> Dispatch {
    let sender = Sender { name: "a".into(), id: 1.into() };
    Event::new(ChannelName::new("chat:").unwrap(), sender, Bytes::from_static(b"{}")).into()
}

type Outcomes = Arc<Mutex<Vec<(usize, Result<Option<Position>, PublishError>)>>>;

fn publish(outgoing: &Outgoing, outcomes: &Outcomes, count: usize) {
    for number in 0..count {
        let outcomes = outcomes.clone();
        outgoing.publish(event(), Box::new(move |outcome| outcomes.lock().unwrap().push((number, outcome))));
    }
}

fn opened(limit: usize) -> (Outgoing, Outcomes) {
    let outgoing = Outgoing::new(Duration::from_secs(2), limit, Arc::new(Names::new("app-")));
    outgoing.open();
    (outgoing, Outcomes::default())
}

fn taken(outcomes: &Outcomes) -> Vec<(usize, Result<Option<Position>, PublishError>)> {
    std::mem::take(&mut outcomes.lock().unwrap())
}

#[test]
fn the_first_of_reply_and_copy_is_the_receipt() {
    let (outgoing, outcomes) = opened(1 << 20);
    publish(&outgoing, &outcomes, 2);
    assert_eq!(outgoing.batch().iter().map(|sending| sending.seq).collect::<Vec<_>>(), [0, 1]);
    assert!(outgoing.batch().is_empty());
    assert_eq!(outgoing.arrived(0), Copy::Deliver);
    outgoing.accepted(0);
    outgoing.accepted(1);
    assert_eq!(taken(&outcomes), [(0, Ok(None)), (1, Ok(None))]);
    assert!(!outgoing.is_empty(), "the copy of the second is still awaited");
    assert_eq!(outgoing.arrived(1), Copy::Deliver);
    assert!(outgoing.is_empty());
    assert_eq!(taken(&outcomes), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_in_time_is_not_delivered() {
    let (outgoing, outcomes) = opened(1 << 20);
    publish(&outgoing, &outcomes, 2);
    assert_eq!(outgoing.batch().len(), 2);
    outgoing.accepted(1);
    outgoing.refuse_late(Instant::now() + Duration::from_secs(2));
    assert_eq!(taken(&outcomes), [(1, Ok(None)), (0, Err(PublishError::TimedOut))]);
    assert!(outgoing.is_empty());
    assert_eq!([outgoing.arrived(0), outgoing.arrived(1)], [Copy::Refused, Copy::Deliver]);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_it_was_sent_never_is() {
    let (outgoing, outcomes) = opened(1 << 20);
    publish(&outgoing, &outcomes, 1);
    outgoing.refuse_late(Instant::now() + Duration::from_secs(2));
    assert!(outgoing.batch().is_empty());
    publish(&outgoing, &outcomes, 2);
    outgoing.close("gone");
    outgoing.refuse_unsent();
    assert!(outgoing.batch().is_empty() && outgoing.is_empty());
    publish(&outgoing, &outcomes, 1);
    let unreachable = Err(PublishError::Unreachable);
    assert_eq!(
        taken(&outcomes),
        [(0, Err(PublishError::TimedOut)), (0, unreachable), (1, unreachable), (0, unreachable)]
    );
}

#[test]
fn the_queue_is_bounded_until_receipts_make_room() {
    let (outgoing, outcomes) = opened(2 * cost(&event()));
    publish(&outgoing, &outcomes, 3);
    assert_eq!(taken(&outcomes), [(2, Err(PublishError::QueueFull))]);
    assert_eq!(outgoing.batch().len(), 2);
    outgoing.accepted(0);
    publish(&outgoing, &outcomes, 1);
    assert_eq!(taken(&outcomes), [(0, Ok(None))]);
    assert_eq!(outgoing.batch().len(), 1);
}

#[test]
fn a_batch_is_bounded() {
    let (outgoing, outcomes) = opened(64 << 20);
    publish(&outgoing, &outcomes, BATCH_MESSAGES + 1);
    assert_eq!([outgoing.batch().len(), outgoing.batch().len()], [BATCH_MESSAGES, 1]);
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_without_anyone_asking() {
    let (outgoing, outcomes) = opened(1 << 20);
    let expiry = outgoing.expire();
    tokio::pin!(expiry);
    let quiet = tokio::time::timeout(Duration::from_secs(1), &mut expiry).await;
    assert!(quiet.is_err());
    publish(&outgoing, &outcomes, 1);
    assert!(tokio::time::timeout(Duration::from_secs(3), &mut expiry).await.is_err());
    assert_eq!(taken(&outcomes), [(0, Err(PublishError::TimedOut))]);
}

#[tokio::test(start_paused = true)]
async fn what_was_published_on_a_topic_is_settled_by_the_reply() {
    let (outgoing, outcomes) = opened(1 << 20);
    for outcome in [Ok(None), Err(PublishError::TimedOut)] {
        let told = outcomes.clone();
        let dispatch = Dispatch::Topic { topic: "orders".into(), payload: Bytes::from_static(b"\xff") };
        outgoing.publish(dispatch, Box::new(move |outcome| told.lock().unwrap().push((0, outcome))));
        let batch = outgoing.batch();
        assert_eq!((&*batch[0].topic, &batch[0].payload[..]), (&b"app-orders"[..], &b"\xff"[..]));
        match outcome {
            Ok(_) => outgoing.accepted(batch[0].seq),
            Err(_) => outgoing.refuse_late(Instant::now() + Duration::from_secs(2)),
        }
        assert_eq!(taken(&outcomes), [(0, outcome)]);
        assert!(outgoing.is_empty() && outgoing.lock().refused.is_empty());
    }
}
