use proptest::prelude::*;

use super::*;

fn channel(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn occupied(text: &str) -> WebhookEvent {
    WebhookEvent::ChannelOccupied { channel: channel(text) }
}

fn vacated(text: &str) -> WebhookEvent {
    WebhookEvent::ChannelVacated { channel: channel(text) }
}

#[test]
fn golden_body() {
    let events = [
        occupied("a"),
        vacated("a"),
        WebhookEvent::MemberAdded { channel: channel("presence-a"), user_id: UserId::new("7") },
        WebhookEvent::MemberRemoved {
            channel: channel("presence-a"),
            user_id: serde_json::from_str("7").unwrap(),
        },
        WebhookEvent::ClientEvent {
            channel: channel("private-a"),
            event: "client-x".into(),
            data: "{}".into(),
            socket_id: SocketId::new(1, 2),
            user_id: None,
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
fn who_comes_back_in_time_never_left() {
    let mut queue = WebhookQueue::new(&[], 10);
    queue.push(occupied("a"), 0).unwrap();
    assert_eq!(queue.take(0), [occupied("a")]);
    queue.push(vacated("a"), 100).unwrap();
    assert_eq!((queue.take(3099), queue.next_ready()), (vec![], Some(3100)));
    queue.push(occupied("a"), 3099).unwrap();
    assert_eq!((queue.take(9000), queue.next_ready()), (vec![], None));
    queue.push(vacated("a"), 9000).unwrap();
    queue.push(occupied("b"), 9000).unwrap();
    assert_eq!(queue.take(12_000), [occupied("b"), vacated("a")]);
    queue.push(vacated("a"), 20_000).unwrap();
    queue.push(occupied("a"), 23_000).unwrap();
    assert_eq!(queue.take(23_000), [vacated("a"), occupied("a")]);
}

#[test]
fn who_goes_again_has_the_whole_time_again() {
    let mut queue = WebhookQueue::new(&[], 10);
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("a"), 1000).unwrap();
    queue.push(vacated("a"), 2000).unwrap();
    assert_eq!([queue.take(3000), queue.take(4999)], [vec![], vec![]]);
    assert_eq!(queue.take(5000), [vacated("a")]);
}

#[test]
fn members_are_told_apart() {
    let event = |added: bool, user: &str| {
        let (channel, user_id) = (channel("presence-a"), UserId::new(user));
        if added {
            WebhookEvent::MemberAdded { channel, user_id }
        } else {
            WebhookEvent::MemberRemoved { channel, user_id }
        }
    };
    let mut queue = WebhookQueue::new(&[], 10);
    queue.push(event(false, "7"), 0).unwrap();
    queue.push(event(true, "8"), 1).unwrap();
    queue.push(event(true, "7"), 2).unwrap();
    assert_eq!(queue.take(9000), [event(true, "8")]);
}

#[test]
fn only_what_is_wanted_and_only_so_much() {
    let mut queue = WebhookQueue::new(&[EventKind::ChannelVacated], 2);
    queue.push(occupied("a"), 0).unwrap();
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("a"), 1).unwrap();
    assert_eq!(queue.take(9000), []);
    queue.push(vacated("a"), 9000).unwrap();
    queue.push(vacated("b"), 9000).unwrap();
    assert_eq!(queue.push(vacated("c"), 9000), Err(Dropped));
    assert_eq!(queue.take(12_000), [vacated("a"), vacated("b")]);
    let mut queue = WebhookQueue::new(&[EventKind::ChannelOccupied], 200);
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("a"), 1).unwrap();
    assert_eq!(queue.take(9000), [], "a return within three seconds is none");
    for at in 0..150 {
        queue.push(occupied(&format!("c{at}")), 9000).unwrap();
    }
    assert_eq!([queue.take(9000).len(), queue.take(9000).len(), queue.take(9000).len()], [100, 50, 0]);
}

#[test]
fn what_clients_write_fits_into_a_request_and_into_memory() {
    let event = |bytes: usize| WebhookEvent::ClientEvent {
        channel: channel("private-a"),
        event: "client-x".into(),
        data: "\"".repeat(bytes),
        socket_id: SocketId::new(1, 2),
        user_id: None,
    };
    let mut queue = WebhookQueue::new(&[], 10_000);
    let taken = (0..10_000).filter(|_| queue.push(event(10_240), 0).is_ok()).count();
    assert!((1_000..2_000).contains(&taken), "{taken}");
    // What has no such texts still has its place.
    queue.push(vacated("a"), 0).unwrap();
    queue.push(occupied("b"), 0).unwrap();
    let mut told = 0;
    loop {
        let events = queue.take(0);
        if events.is_empty() {
            break;
        }
        told += events.len();
        let body = webhook_body(0, &events);
        assert!(body.len() < 1_000_000, "{}", body.len());
    }
    assert_eq!(told, taken + 1);
    // There is room again, also for one that is larger than a request should be.
    queue.push(event(1_000_000), 0).unwrap();
    queue.push(event(1), 0).unwrap();
    assert_eq!([queue.take(0).len(), queue.take(0).len(), queue.take(0).len()], [1, 1, 0]);
}

#[test]
fn with_the_last_node_nothing_waits_any_more() {
    let mut queue = WebhookQueue::new(&[EventKind::ChannelVacated], 2);
    for name in ["a", "back"] {
        queue.push(vacated(name), 0).unwrap();
    }
    queue.push(occupied("back"), 1).unwrap();
    assert_eq!(queue.push(vacated("b"), 2), Err(Dropped));
    queue.close();
    for name in ["c", "d"] {
        queue.push(vacated(name), 3).unwrap();
    }
    assert_eq!((queue.take(3), queue.next_ready()), (["a", "c", "d"].map(vacated).to_vec(), None));
    queue.push(vacated("e"), 4).unwrap();
    queue.push(occupied("f"), 4).unwrap();
    assert_eq!([queue.clear(), queue.clear()], [1, 0]);
}

#[test]
fn what_others_tell_is_left_to_them() {
    let miss = |text: &str| WebhookEvent::CacheMiss { channel: channel(text) };
    let mut queue = WebhookQueue::new(&[], 10);
    queue.push(vacated("told"), 1_000).unwrap();
    queue.push(miss("cache-a"), 1_500).unwrap();
    queue.push(vacated("waits"), 2_000).unwrap();
    queue.push(occupied("old"), 3_000).unwrap();
    queue.push(occupied("new"), 4_000).unwrap();
    let is_theirs = |age: u64, event: &WebhookEvent| {
        assert!(*event != vacated("told") || age == 3_100, "{age}");
        age < 1_000
    };
    queue.hand_over(4_100, is_theirs);
    assert_eq!(queue.next_ready(), None);
    // In the order in which each of them was ready.
    assert_eq!(queue.take(9_000), [miss("cache-a"), occupied("old"), vacated("told")]);
    assert_eq!(queue.clear(), 0);
}

proptest! {
    /// Whatever flickers, the application is told occupied and vacated in turn, and ends up knowing the truth.
    #[test]
    fn the_application_knows_the_truth(steps in prop::collection::vec(0u64..4000, 0..40)) {
        let mut queue = WebhookQueue::new(&[], 100);
        let (mut now, mut is, mut told) = (0, false, false);
        for step in steps {
            now += step;
            is = !is;
            queue.push(if is { occupied("a") } else { vacated("a") }, now).unwrap();
            for event in queue.take(now) {
                prop_assert_ne!(event == occupied("a"), told);
                told = !told;
            }
        }
        for event in queue.take(now + RETURN_WITHIN) {
            prop_assert_ne!(event == occupied("a"), told);
            told = !told;
        }
        prop_assert_eq!(is, told);
    }
}
