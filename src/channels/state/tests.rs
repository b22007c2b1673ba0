use std::time::Duration;

use secrecy::SecretString;

use super::*;
use crate::broker::{Broker, Settings};
use crate::channels::snapshot::MAX_PART_BYTES;
use crate::channels::wire::ClusterMessage;
use crate::message::{
    Broadcast, ChannelKind, Encoding, Frame, InvalidBroadcast, Notice, Position, Sender, UserId,
};
use crate::telemetry::Metrics;

/// Channels whose names begin with `presence-` have members.
#[derive(Debug)]
struct TestDialect;

impl Dialect for TestDialect {
    fn encode(&self, _: &Notice<'_>) -> Frame {
        Frame::ping()
    }

    fn encode_at(&self, notice: &Notice<'_>, _: Position, _: Encoding) -> Frame {
        self.encode(notice)
    }

    fn gap(&self, _: &ChannelName, _: Option<&str>, _: Encoding) -> Option<Frame> {
        None
    }

    fn kind(&self, channel: &ChannelName) -> ChannelKind {
        let is_presence = channel.as_str().starts_with("presence-");
        ChannelKind { is_presence, is_cache: false, is_guarded: false, is_listed: true }
    }

    fn is_kept(&self, _: &ChannelName, _: &str) -> bool {
        false
    }

    fn kept_topics(&self) -> &'static [&'static str] {
        &[]
    }

    fn decode_topic(
        &self,
        _: &Arc<str>,
        _: &ChannelName,
        _: &[u8],
    ) -> Result<Option<Broadcast>, InvalidBroadcast> {
        Ok(None)
    }
}

fn state() -> (State, Arc<str>) {
    let id: Arc<str> = "1".into();
    let rules = AppRules {
        id: id.clone(),
        connections: 0,
        presence_members: 2,
        member_encoder: None,
        subscription_count: false,
        cache_ttl: 1_000,
        event_bytes: 1_000,
    };
    let memory = Settings {
        url: SecretString::from(""),
        prefix: String::new(),
        publish_timeout: Duration::from_secs(2),
    };
    let sender = Sender { name: "System".into(), id: 0.into() };
    let (broker, _) =
        Broker::start(&memory, sender, 1 << 20, Arc::default(), Arc::new(Metrics::new())).unwrap();
    let topics = Topics::new(Arc::new(broker), &TestDialect, None);
    let mut nodes = Nodes::new("own".into(), 10);
    nodes.take_request();
    let mut state = State::new([AppState::new(rules, false)], &TestDialect, nodes, topics);
    state.due = Due::default();
    (state, id)
}

fn channel(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn member(id: &str) -> Member {
    Member { user_id: UserId::new(id), user_info: None }
}

fn socket(number: u64) -> SocketId {
    SocketId::new(1, number)
}

fn message(state: &mut State) -> String {
    let next = state.next().map(|next| next.message);
    serde_json::to_string(&next).unwrap()
}

/// Enters. Returns whether the connection is the node's first one on the channel.
fn enter_as(
    state: &mut State,
    app: &Arc<str>,
    channel: &ChannelName,
    id: SocketId,
    user: &str,
) -> (u64, bool) {
    let is_first = state.apps[app].local.get(channel).is_none();
    (state.enter_as(app, channel, id, member(user)), is_first)
}

/// Leaves. Returns whether no connection of the node is left on the channel.
fn exit(state: &mut State, app: &Arc<str>, channel: &ChannelName, id: SocketId, join: Option<u64>) -> bool {
    state.exit(app, channel, id, join);
    !state.apps[app].local.contains_key(channel)
}

#[test]
fn changes_that_gather_are_sent_together_and_a_count_once() {
    let (mut state, app) = state();
    let (a, b) = (channel("presence-a"), channel("b"));
    state.enter(&app, &b);
    state.enter(&app, &b);
    assert_eq!(enter_as(&mut state, &app, &a, socket(1), "x"), (1, true));
    assert_eq!(enter_as(&mut state, &app, &a, socket(2), "x"), (2, false));
    assert!(!exit(&mut state, &app, &a, socket(1), None));
    let next = state.next().unwrap();
    assert_eq!(next.joins, [1, 2]);
    let text = serde_json::to_string(&next.message).unwrap();
    let numbers: Vec<_> = ["\"number\":1,", "\"number\":2,", "\"number\":3,", "\"number\":4,"].into();
    assert!(numbers.iter().all(|number| text.contains(number)), "{text}");
    assert!(text.contains(r#"{"count":2}"#) && text.contains(r#"{"leave":{"connection":"1.1"}}"#), "{text}");
    assert!(state.next().is_none());
    assert!(exit(&mut state, &app, &a, socket(2), None));
}

#[test]
fn a_join_that_failed_does_not_undo_the_next_one() {
    let (mut state, app) = state();
    let a = channel("presence-a");
    let first = state.enter_as(&app, &a, socket(1), member("x"));
    state.exit(&app, &a, socket(1), None);
    let second = state.enter_as(&app, &a, socket(1), member("x"));
    assert!(!exit(&mut state, &app, &a, socket(1), Some(first)));
    assert!(exit(&mut state, &app, &a, socket(1), Some(second)));
}

#[test]
fn a_snapshot_contains_joins_that_are_under_way_and_has_the_last_number() {
    let (mut state, app) = state();
    state.enter_as(&app, &channel("presence-a"), socket(1), member("x"));
    state.enter(&app, &channel("b"));
    let _ = state.next();
    state.due.snapshot = true;
    assert_eq!(
        message(&mut state),
        r#"{"snapshot":{"number":3,"apps":[{"app":"1","members":[["presence-a","1.1",{"user_id":"x"}]],"counts":[["b",1]]}]}}"#
    );
}

#[test]
fn the_limit_of_members_counts_users_and_not_connections() {
    let (mut state, app) = state();
    let a = channel("presence-a");
    state.enter_as(&app, &a, socket(1), member("x"));
    state.enter_as(&app, &a, socket(2), member("x"));
    let room = |state: &State, id: &str| state.apps[&app].has_room(&a, &member(id));
    assert!(room(&state, "y"));
    state.enter_as(&app, &a, socket(3), member("y"));
    assert!(!room(&state, "z") && room(&state, "x") && room(&state, "y"));
}

#[test]
fn departures_are_forgotten_with_an_occasional_snapshot() {
    let (mut state, app) = state();
    let a = channel("presence-a");
    let mut snapshots = 0;
    for number in 0..10_000 {
        state.enter_as(&app, &a, socket(number), member("x"));
        state.exit(&app, &a, socket(number), None);
        while let Some(next) = state.next() {
            snapshots += u32::from(matches!(next.message, ClusterMessage::Snapshot { .. }));
        }
    }
    assert!((5..20).contains(&snapshots), "{snapshots}");
}

#[test]
fn a_departure_costs_the_same_however_many_are_left() {
    let (mut state, app) = state();
    let channels: Vec<_> = (0..200_000).map(|number| channel(&format!("c-{number}"))).collect();
    let room = channel("presence-a");
    for (number, channel) in (0..).zip(&channels) {
        state.enter(&app, channel);
        state.enter_as(&app, &room, socket(number), member("x"));
    }
    assert_eq!(state.changes.entries, 400_000);
    state.changes.give_up();
    state.due = Due::default();
    let begun = std::time::Instant::now();
    for (number, channel) in (0..).zip(&channels) {
        state.exit(&app, channel, socket(number), None);
        state.exit(&app, &room, socket(number), None);
        state.due = Due::default();
        // Iterating over all remaining entries at each departure would take many minutes.
        assert!(begun.elapsed().as_secs() < 60, "{number} have left in {:?}", begun.elapsed());
    }
    assert_eq!(state.changes.entries, 0);
}

#[test]
fn pending_changes_are_bounded_in_bytes_and_so_is_each_message() {
    let (mut state, app) = state();
    let a = channel("presence-a");
    let large = Member { user_info: Some("7".repeat(50_000).into()), ..member("x") };
    let mut joined = 0;
    while !state.changes.is_full() {
        state.enter_as(&app, &a, socket(joined), large.clone());
        joined += 1;
    }
    assert!((200..500).contains(&joined), "{joined}");
    let mut joins = 0;
    while let Some(next) = state.next() {
        joins += next.joins.len() as u64;
        let signal = serde_json::to_string(&next.message).unwrap();
        assert!(signal.len() < 2 * MAX_PART_BYTES, "{}", signal.len());
    }
    assert_eq!((joins, state.changes.bytes(), state.changes.is_full()), (joined, 0, false));
}
