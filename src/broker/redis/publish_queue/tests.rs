use super::*;
use crate::message::{ChannelName, Event, Position, Sender};
use bytes::Bytes;

fn event() -> Dispatch {
    let sender = Sender { name: "a".into(), id: 1.into() };
    Event::new(ChannelName::new("chat:").unwrap(), sender, Bytes::from_static(b"{}")).into()
}

type Outcomes = Arc<Mutex<Vec<(usize, Result<Option<Position>, PublishError>)>>>;

fn publish(queue: &PublishQueue, outcomes: &Outcomes, count: usize) {
    for number in 0..count {
        let outcomes = outcomes.clone();
        queue.publish(
            event().into(),
            Box::new(move |outcome| outcomes.lock().unwrap().push((number, outcome))),
        );
    }
}

fn opened(limit: usize) -> (PublishQueue, Outcomes) {
    let queue = PublishQueue::new(Duration::from_secs(2), limit, Arc::new(TopicNames::new("app-")));
    queue.open();
    (queue, Outcomes::default())
}

fn taken(outcomes: &Outcomes) -> Vec<(usize, Result<Option<Position>, PublishError>)> {
    std::mem::take(&mut outcomes.lock().unwrap())
}

#[test]
fn the_receipt_is_called_by_the_first_of_reply_and_copy() {
    let (queue, outcomes) = opened(1 << 20);
    publish(&queue, &outcomes, 2);
    assert_eq!(queue.take_batch().iter().map(|message| message.seq).collect::<Vec<_>>(), [0, 1]);
    assert!(queue.take_batch().is_empty());
    assert!(matches!(queue.on_copy(0, None), OwnCopy::Deliver { accepted: Some(_) }));
    queue.accept(0, None);
    queue.accept(1, None);
    assert_eq!(taken(&outcomes), [(0, Ok(None)), (1, Ok(None))]);
    assert!(!queue.is_empty(), "the copy of the second is still awaited");
    assert!(matches!(queue.on_copy(1, None), OwnCopy::Deliver { .. }));
    assert!(queue.is_empty());
    assert_eq!(taken(&outcomes), []);
}

#[tokio::test(start_paused = true)]
async fn the_copy_of_a_timed_out_message_is_discarded() {
    let (queue, outcomes) = opened(1 << 20);
    publish(&queue, &outcomes, 2);
    assert_eq!(queue.take_batch().len(), 2);
    queue.accept(1, None);
    queue.refuse_expired(Instant::now() + Duration::from_secs(2));
    assert_eq!(taken(&outcomes), [(1, Ok(None)), (0, Err(PublishError::TimedOut))]);
    assert!(queue.is_empty());
    let copies = [queue.on_copy(0, None), queue.on_copy(1, None)];
    assert!(matches!(copies, [OwnCopy::Discard, OwnCopy::Deliver { .. }]), "{copies:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_refused_before_it_was_sent_is_never_sent() {
    let (queue, outcomes) = opened(1 << 20);
    publish(&queue, &outcomes, 1);
    queue.refuse_expired(Instant::now() + Duration::from_secs(2));
    assert!(queue.take_batch().is_empty());
    publish(&queue, &outcomes, 2);
    queue.close("gone");
    queue.refuse_unsent();
    assert!(queue.take_batch().is_empty() && queue.is_empty());
    publish(&queue, &outcomes, 1);
    let unreachable = Err(PublishError::Unreachable);
    assert_eq!(
        taken(&outcomes),
        [(0, Err(PublishError::TimedOut)), (0, unreachable), (1, unreachable), (0, unreachable)]
    );
}

#[test]
fn the_queue_is_bounded_until_receipts_make_room() {
    let (queue, outcomes) = opened(2 * cost(&event()));
    publish(&queue, &outcomes, 3);
    assert_eq!(taken(&outcomes), [(2, Err(PublishError::QueueFull))]);
    assert_eq!(queue.take_batch().len(), 2);
    queue.accept(0, None);
    publish(&queue, &outcomes, 1);
    assert_eq!(taken(&outcomes), [(0, Ok(None))]);
    assert_eq!(queue.take_batch().len(), 1);
}

#[test]
fn a_batch_is_bounded() {
    let (queue, outcomes) = opened(64 << 20);
    publish(&queue, &outcomes, MAX_BATCH_MESSAGES + 1);
    assert_eq!([queue.take_batch().len(), queue.take_batch().len()], [MAX_BATCH_MESSAGES, 1]);
}

#[tokio::test(start_paused = true)]
async fn expiry_refuses_messages_at_their_deadlines() {
    let (queue, outcomes) = opened(1 << 20);
    let expiry = queue.expire();
    tokio::pin!(expiry);
    let quiet = tokio::time::timeout(Duration::from_secs(1), &mut expiry).await;
    assert!(quiet.is_err());
    publish(&queue, &outcomes, 1);
    assert!(tokio::time::timeout(Duration::from_secs(3), &mut expiry).await.is_err());
    assert_eq!(taken(&outcomes), [(0, Err(PublishError::TimedOut))]);
}

#[tokio::test(start_paused = true)]
async fn a_message_on_a_topic_is_settled_by_the_reply() {
    let (queue, outcomes) = opened(1 << 20);
    for outcome in [Ok(None), Err(PublishError::TimedOut)] {
        let told = outcomes.clone();
        let dispatch = Dispatch::Topic { topic: "orders".into(), payload: Bytes::from_static(b"\xff") };
        queue.publish(dispatch.into(), Box::new(move |outcome| told.lock().unwrap().push((0, outcome))));
        let batch = queue.take_batch();
        assert_eq!((&*batch[0].topic, &batch[0].payload[..]), (&b"app-orders"[..], &b"\xff"[..]));
        match outcome {
            Ok(_) => queue.accept(batch[0].seq, None),
            Err(_) => queue.refuse_expired(Instant::now() + Duration::from_secs(2)),
        }
        assert_eq!(taken(&outcomes), [(0, outcome)]);
        assert!(queue.is_empty() && queue.lock().timed_out.is_empty());
    }
}
