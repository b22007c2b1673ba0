use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use secrecy::SecretString;

use super::event::*;
use super::pending_events::Dropped;
use super::queue::*;
use super::queued::{Acknowledgement, Acknowledgements, Queued};
use super::{ActiveWebhooks, EventsSettings, Webhooks};
use crate::broker::{self, Broker, LaneEntryId};
use crate::message::{ChannelName, RetentionRules, Sender, SocketId, UserId};
use crate::protocol::pusher::{Apps, EventKind, PusherSettings, WebhookSettings};
use crate::telemetry::Metrics;

fn channel(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn occupied(text: &str) -> WebhookEvent {
    WebhookEvent::ChannelOccupied { channel: channel(text) }
}

fn vacated(text: &str) -> WebhookEvent {
    WebhookEvent::ChannelVacated { channel: channel(text) }
}

fn queue_of(events: &[EventKind], capacity: usize) -> WebhookQueue {
    WebhookQueue::new(&WebhookSettings { events: events.to_vec(), ..WebhookSettings::default() }, capacity)
}

fn dropped(events: u64, event: &WebhookEvent) -> Result<(), Dropped> {
    Err(Dropped { events, last: Some((event.kind().name(), event.channel().clone())) })
}

#[test]
fn golden_body() {
    let events = [
        occupied("a"),
        vacated("a"),
        WebhookEvent::MemberAdded { channel: channel("presence-a"), user_id: UserId::new("7") },
        WebhookEvent::MemberRemoved { channel: channel("presence-a"), user_id: UserId::new("7") },
        WebhookEvent::ClientEvent {
            channel: channel("private-a"),
            event: "client-x".into(),
            data: "{}".into(),
            socket_id: SocketId::new(1, 2),
            user_id: None,
            trace: None,
        },
        WebhookEvent::CacheMiss { channel: channel("cache-a") },
        WebhookEvent::SubscriptionCount { channel: channel("a"), subscription_count: 2 },
    ];
    assert_eq!(
        String::from_utf8(webhook_body(1_700_000_000_000, &events)).unwrap(),
        concat!(
            r#"{"time_ms":1700000000000,"events":[{"name":"channel_occupied","channel":"a"},"#,
            r#"{"name":"channel_vacated","channel":"a"},"#,
            r#"{"name":"member_added","channel":"presence-a","user_id":"7"},"#,
            r#"{"name":"member_removed","channel":"presence-a","user_id":"7"},"#,
            r#"{"name":"client_event","channel":"private-a","event":"client-x","data":"{}","socket_id":"1.2"},"#,
            r#"{"name":"cache_miss","channel":"cache-a"},"#,
            r#"{"name":"subscription_count","channel":"a","subscription_count":2}]}"#
        )
    );
}

#[test]
fn a_return_within_three_seconds_is_not_reported() {
    let mut queue = queue_of(&[], 10);
    queue.push(occupied("a"), 0).unwrap();
    assert_eq!(queue.take(0), [occupied("a")]);
    queue.push(vacated("a"), 100).unwrap();
    assert_eq!((queue.take(3099).len(), queue.next_ready()), (0, Some(3100)));
    queue.push(occupied("a"), 3099).unwrap();
    assert_eq!((queue.take(9000).len(), queue.next_ready()), (0, None));
    queue.push(vacated("a"), 9000).unwrap();
    queue.push(occupied("b"), 9000).unwrap();
    assert_eq!(queue.take(12_000), [occupied("b"), vacated("a")]);
    queue.push(vacated("a"), 20_000).unwrap();
    assert_eq!(queue.take(23_000), [vacated("a")]);
    queue.push(occupied("a"), 23_000).unwrap();
    assert_eq!(queue.take(23_000), [occupied("a")]);
}

#[test]
fn a_second_departure_waits_for_the_whole_time_again() {
    let mut queue = queue_of(&[], 10);
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("a"), 1000).unwrap();
    queue.push(vacated("a"), 2000).unwrap();
    assert_eq!([queue.take(3000).len(), queue.take(4999).len()], [0, 0]);
    assert_eq!(queue.take(5000), [vacated("a")]);
}

#[test]
fn returns_are_matched_per_member() {
    let event = |added: bool, user: &str| {
        let (channel, user_id) = (channel("presence-a"), UserId::new(user));
        if added {
            WebhookEvent::MemberAdded { channel, user_id }
        } else {
            WebhookEvent::MemberRemoved { channel, user_id }
        }
    };
    let mut queue = queue_of(&[], 10);
    queue.push(event(false, "7"), 0).unwrap();
    queue.push(event(true, "8"), 1).unwrap();
    queue.push(event(true, "7"), 2).unwrap();
    assert_eq!(queue.take(9000), [event(true, "8")]);
}

#[test]
fn a_webhook_receives_only_the_kinds_it_wants_and_bounded_batches() {
    let mut queue = queue_of(&[EventKind::ChannelVacated], 2);
    queue.push(occupied("a"), 0).unwrap();
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("a"), 1).unwrap();
    assert!(queue.take(9000).is_empty());
    queue.push(vacated("a"), 9000).unwrap();
    queue.push(vacated("b"), 9000).unwrap();
    assert_eq!(queue.push(vacated("c"), 9000), dropped(1, &vacated("c")));
    assert_eq!(queue.take(12_000), [vacated("a"), vacated("b")]);
    let mut queue = queue_of(&[EventKind::ChannelOccupied], 200);
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("a"), 1).unwrap();
    assert_eq!(queue.take(9000).len(), 0, "a return within three seconds is not reported");
    for at in 0..150 {
        queue.push(occupied(&format!("c{at}")), 9000).unwrap();
    }
    assert_eq!([queue.take(9000).len(), queue.take(9000).len(), queue.take(9000).len()], [100, 50, 0]);
}

#[test]
fn texts_of_clients_are_bounded_per_request_and_in_memory() {
    let event = |bytes: usize| WebhookEvent::ClientEvent {
        channel: channel("private-a"),
        event: "client-x".into(),
        data: "\"".repeat(bytes),
        socket_id: SocketId::new(1, 2),
        user_id: None,
        trace: None,
    };
    let mut queue = queue_of(&[], 10_000);
    let taken = (0..10_000).filter(|_| queue.push(event(10_240), 0).is_ok()).count();
    assert!((1_000..2_000).contains(&taken), "{taken}");
    // Events without such strings still fit.
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("b"), 0).unwrap();
    let mut sent = 0;
    loop {
        let events = queue.take(0);
        if events.is_empty() {
            break;
        }
        sent += events.len();
        let body = webhook_body(0, events.iter().map(|event| &**event));
        assert!(body.len() < 1_000_000, "{}", body.len());
    }
    assert_eq!(sent, taken + 1);
    // The queue accepts events again, even one that exceeds the size of a request.
    queue.push(event(1_000_000), 0).unwrap();
    queue.push(event(1), 0).unwrap();
    assert_eq!([queue.take(0).len(), queue.take(0).len(), queue.take(0).len()], [1, 1, 0]);
}

#[test]
fn a_closed_queue_reports_departures_at_once() {
    let mut queue = queue_of(&[EventKind::ChannelVacated], 2);
    for name in ["a", "back"] {
        queue.push(vacated(name), 0).unwrap();
    }
    queue.push(occupied("back"), 1).unwrap();
    queue.push(vacated("b"), 2).unwrap();
    assert_eq!(queue.push(vacated("late"), 2), dropped(1, &vacated("late")));
    queue.close();
    for name in ["c", "d"] {
        queue.push(vacated(name), 3).unwrap();
    }
    assert_eq!(queue.take(3), ["a", "b", "c", "d"].map(vacated));
    assert_eq!(queue.next_ready(), None);
    queue.push(vacated("e"), 4).unwrap();
    queue.push(occupied("f"), 4).unwrap();
    assert_eq!(queue.drain(), [vacated("e")]);
    assert!(queue.drain().is_empty());
}

#[test]
fn a_drained_queue_returns_all_events_once() {
    let mut queue = queue_of(&[], 10);
    queue.push(vacated("waits"), 0).unwrap();
    queue.push(occupied("new"), 1).unwrap();
    queue.push(occupied("private-a"), 2).unwrap();
    assert_eq!(queue.drain(), [occupied("private-a"), occupied("new"), vacated("waits")]);
    assert!(queue.drain().is_empty() && queue.take(9_000).is_empty());
}

#[test]
fn an_event_is_acknowledged_when_it_leaves_the_queue() {
    let list = Arc::new(Acknowledgements::default());
    let id = |number: u64| -> LaneEntryId { format!("{number}-0").parse().unwrap() };
    let queued = |number: u64, event: WebhookEvent| {
        Queued::new(event, Some(Acknowledgement::new(id(number), list.clone())))
    };
    let mut queue = queue_of(&[], 2);
    queue.push(queued(1, occupied("a")), 0).unwrap();
    queue.push(queued(2, occupied("b")), 0).unwrap();
    assert_eq!(queue.push(queued(3, occupied("c")), 0), dropped(1, &occupied("c")));
    assert_eq!(list.take(), [id(3)]);
    let sending = queue.take(0);
    assert!(list.is_empty());
    drop(sending);
    assert_eq!(list.take(), [id(1), id(2)]);
    // A departure and the return cancel each other.
    queue.push(queued(4, vacated("a")), 0).unwrap();
    assert!(list.is_empty());
    queue.push(queued(5, occupied("a")), 1).unwrap();
    let mut both = list.take();
    both.sort();
    assert_eq!(both, [id(4), id(5)]);
}

#[test]
fn every_event_is_read_as_it_was_written() {
    let (channel, user_id) = (channel("presence-山\""), UserId::new("7"));
    for event in [
        occupied("a"),
        vacated("a"),
        WebhookEvent::MemberAdded { channel: channel.clone(), user_id: user_id.clone() },
        WebhookEvent::MemberRemoved { channel: channel.clone(), user_id: user_id.clone() },
        WebhookEvent::ClientEvent {
            channel: channel.clone(),
            event: "client-x".into(),
            data: "{}".into(),
            socket_id: SocketId::new(1, 2),
            user_id: Some(user_id),
            trace: None,
        },
        WebhookEvent::CacheMiss { channel: channel.clone() },
        WebhookEvent::SubscriptionCount { channel, subscription_count: 2 },
    ] {
        let text = event.encode();
        let read = WebhookEvent::decode(&text).unwrap();
        assert_eq!(read.encode(), text);
        assert_eq!(read, event);
    }
    for text in ["", "{}", r#"{"name":"later","channel":"a"}"#, r#"{"name":"cache_miss","channel":""}"#] {
        assert_eq!(WebhookEvent::decode(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn public_channels_do_not_displace_guarded_ones() {
    let mut queue = queue_of(&[], 100);
    let added = |user: i64| WebhookEvent::MemberAdded {
        channel: channel("presence-a"),
        user_id: UserId::new(&user.to_string()),
    };
    for at in 0..50 {
        queue.push(vacated(&format!("gone-{at}")), 0).unwrap();
        queue.push(occupied(&format!("made-up-{at}")), 0).unwrap();
    }
    // An event of a public channel does not displace another one.
    assert_eq!(queue.push(occupied("late"), 0), dropped(1, &occupied("late")));
    for user in 0..100 {
        let Err(Dropped { events: 1, last: Some((_, channel)) }) = queue.push(added(user), 0) else {
            panic!("{user}")
        };
        assert!(channel.as_str().starts_with(if user < 50 { "made-up-" } else { "gone-" }), "{channel}");
    }
    assert_eq!(queue.push(added(100), 0), dropped(1, &added(100)));
    assert_eq!(queue.take(9_000), (0..100).map(added).collect::<Vec<_>>());
}

#[test]
fn guarded_channels_are_reported_first() {
    let mut queue = queue_of(&[], 10);
    queue.push(occupied("a"), 0).unwrap();
    queue.push(occupied("private-a"), 1).unwrap();
    queue.push(occupied("#server-to-user-7"), 1).unwrap();
    assert_eq!(queue.take(1), [occupied("private-a"), occupied("#server-to-user-7"), occupied("a")]);
}

#[test]
fn a_full_queue_drops_from_the_source_with_the_most_events() {
    let whisper = |name: &str, number: u64| WebhookEvent::ClientEvent {
        channel: channel(name),
        event: format!("client-{number}"),
        data: "{}".into(),
        socket_id: SocketId::new(1, 2),
        user_id: None,
        trace: None,
    };
    let mut queue = queue_of(&[], 10);
    for number in 0..9 {
        queue.push(whisper("private-loud", number), 0).unwrap();
    }
    queue.push(whisper("private-quiet", 0), 0).unwrap();
    assert_eq!(queue.push(whisper("private-loud", 9), 0), dropped(1, &whisper("private-loud", 9)));
    // Another kind of event of the same channel is another source.
    assert_eq!(queue.push(occupied("private-loud"), 0), dropped(1, &whisper("private-loud", 8)));
    assert_eq!(queue.push(whisper("private-quiet", 1), 0), dropped(1, &whisper("private-loud", 7)));
    let mut expected: Vec<_> = (0..7).map(|number| whisper("private-loud", number)).collect();
    expected.extend([whisper("private-quiet", 0), occupied("private-loud"), whisper("private-quiet", 1)]);
    assert_eq!(queue.take(0), expected);
}

#[test]
fn occupancy_and_counts_of_a_channel_that_waits_are_folded() {
    let count = |subscription_count: u64| WebhookEvent::SubscriptionCount {
        channel: channel("a"),
        subscription_count,
    };
    let mut queue = queue_of(&[], 10);
    queue.push(occupied("a"), 0).unwrap();
    queue.push(count(1), 0).unwrap();
    queue.push(occupied("b"), 0).unwrap();
    queue.push(count(0), 0).unwrap();
    queue.push(vacated("a"), 0).unwrap();
    assert_eq!(queue.take(RETURN_WITHIN), [occupied("b"), count(0)]);
    queue.push(vacated("b"), 10_000).unwrap();
    queue.push(occupied("c"), 14_000).unwrap();
    queue.push(occupied("b"), 14_000).unwrap();
    assert_eq!(queue.take(20_000), [occupied("c")], "neither the departure nor the return of b is reported");
}

#[test]
fn occupied_events_are_reported_without_vacated_events() {
    let mut queue = queue_of(&[EventKind::ChannelOccupied], 10);
    queue.push(occupied("a"), 0).unwrap();
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("b"), 5_000).unwrap();
    assert_eq!(queue.take(5_000), [occupied("a"), occupied("b")]);
}

#[test]
fn subscribers_of_an_empty_cache_channel_are_reported_once() {
    let miss = |name: &str| WebhookEvent::CacheMiss { channel: channel(name) };
    let mut queue = queue_of(&[], 10_000);
    for _ in 0..10 {
        queue.push(miss("cache-a"), 0).unwrap();
    }
    assert_eq!(queue.take(0), [miss("cache-a")]);
    queue.push(miss("cache-a"), 9_999).unwrap();
    queue.push(miss("cache-b"), 9_999).unwrap();
    assert_eq!(queue.take(9_999), [miss("cache-b")]);
    queue.push(miss("cache-a"), 10_000).unwrap();
    assert_eq!(queue.take(10_000), [miss("cache-a")]);
    // The memory of reported misses is bounded.
    for number in 0..9_000 {
        queue.push(miss(&format!("cache-made-up-{number}")), 10_001).unwrap();
    }
    assert!(format!("{queue:?}").matches("cache-made-up").count() < 50_000);
}

#[test]
fn channels_outside_the_filter_are_not_reported() {
    let filter = serde_json::from_str(r#"{"channel_name_starts_with":"private-"}"#).unwrap();
    let settings = WebhookSettings { filter, ..WebhookSettings::default() };
    let mut queue = WebhookQueue::new(&settings, 10);
    for event in [occupied("a"), occupied("private-a"), vacated("a")] {
        queue.push(event, 0).unwrap();
    }
    assert_eq!(queue.take(9_000), [occupied("private-a")]);
}

proptest! {
    /// The queue keeps its bounds, and every event is sent, queued or reported as dropped.
    #[test]
    fn nothing_is_lost_silently(pushes in prop::collection::vec((0usize..6, 0u64..500, 0usize..3), 0..300)) {
        let names = ["a", "b", "private-a", "private-b", "presence-a", "c"];
        let (mut queue, mut now, mut pushed, mut lost, mut sent) = (queue_of(&[], 20), 0, 0, 0, 0);
        for (name, step, take) in pushes {
            now += step;
            let event = WebhookEvent::ClientEvent {
                channel: channel(names[name]),
                event: "client-x".into(),
                data: "x".repeat(name * 100),
                socket_id: SocketId::new(1, 2),
                user_id: None,
                trace: None,
            };
            pushed += 1;
            if let Err(dropped) = queue.push(event, now) {
                lost += dropped.events;
            }
            if take == 0 {
                sent += queue.take(now).len() as u64;
            }
        }
        let left = queue.drain().len() as u64;
        prop_assert!(left <= 20);
        prop_assert_eq!(pushed, lost + sent + left);
    }
}

proptest! {
    /// For any sequence of changes, occupied and vacated alternate, and the last report equals the actual state.
    #[test]
    fn the_application_ends_up_with_the_true_state(steps in prop::collection::vec(0u64..4000, 0..40)) {
        let mut queue = queue_of(&[], 100);
        let (mut now, mut is_occupied, mut reported) = (0, false, false);
        for step in steps {
            now += step;
            is_occupied = !is_occupied;
            queue.push(if is_occupied { occupied("a") } else { vacated("a") }, now).unwrap();
            for event in queue.take(now) {
                prop_assert_ne!(*event == occupied("a"), reported);
                reported = !reported;
            }
        }
        for event in queue.take(now + RETURN_WITHIN) {
            prop_assert_ne!(*event == occupied("a"), reported);
            reported = !reported;
        }
        prop_assert_eq!(is_occupied, reported);
    }
}

/// Without a limit of time: Redis may be away for as long as the application.
#[tokio::test(start_paused = true)]
async fn what_waits_for_the_event_stream_is_kept_when_webhooks_are_replaced() {
    let sender = Sender { name: "Aoi".into(), id: 7.into() };
    let memory = broker::Settings {
        url: SecretString::from(""),
        prefix: String::new(),
        publish_timeout: Duration::from_secs(2),
    };
    let metrics = Arc::new(Metrics::new());
    let retention = Arc::new(RetentionRules::default());
    let (broker, _inbound) =
        Broker::start(&memory, sender.clone(), 1 << 20, retention, metrics.clone()).unwrap();
    let apps = Apps::new(&PusherSettings::default(), &[]).unwrap();
    let events = EventsSettings { stream: true, ..EventsSettings::default() };
    let start = |before: Option<&Webhooks>| Webhooks::start(&apps, &[], &events, &broker, &metrics, before);
    let active = ActiveWebhooks::new(start(None));
    for connection in 1..4 {
        active.native().unwrap().connected(connection, &channel("chat:1"), &sender);
        let next = start(Some(&active.current()));
        active.replace(next);
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    let native = active.native().unwrap();
    assert_eq!(native.stream().unwrap().events().len(), 3);
    assert_eq!(metrics.event_stream_dropped.get(), 0);
}
