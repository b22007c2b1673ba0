use super::*;
use crate::message::UserId;
use crate::protocol::pusher::PusherSettings;

fn state() -> (State, Arc<str>) {
    let app = serde_json::from_str(r#"{"id":"1","key":"k","secret":"s","presence_members":2}"#).unwrap();
    let apps = Apps::new(&PusherSettings::default(), &[app]).unwrap();
    let mut state = State::new(&apps, "own".into(), 10);
    state.due = Due::default();
    (state, "1".into())
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

/// A node's snapshot comes. Whether it is old news.
fn settled(state: &mut State, node: &NodeName) -> bool {
    let is_old = state.is_old_news(node);
    state.settle(node);
    is_old
}

fn said(state: &mut State) -> String {
    let next = state.next().map(|next| next.said);
    serde_json::to_string(&next).unwrap()
}

#[test]
fn what_gathers_is_said_together_and_a_count_once() {
    let (mut state, app) = state();
    let (a, b) = (channel("presence-a"), channel("b"));
    assert!(state.enter(&app, &b));
    assert!(!state.enter(&app, &b));
    assert_eq!(state.enter_as(&app, &a, socket(1), member("x")), (1, true));
    assert_eq!(state.enter_as(&app, &a, socket(2), member("x")), (2, false));
    assert!(!state.exit(&app, &a, socket(1), None));
    let next = state.next().unwrap();
    assert_eq!(next.joins, [1, 2]);
    let text = serde_json::to_string(&next.said).unwrap();
    let numbers: Vec<_> = ["\"number\":1,", "\"number\":2,", "\"number\":3,", "\"number\":4,"].into();
    assert!(numbers.iter().all(|number| text.contains(number)), "{text}");
    assert!(text.contains(r#"{"count":2}"#) && text.contains(r#"{"leave":{"connection":"1.1"}}"#), "{text}");
    assert!(state.next().is_none());
    assert!(state.exit(&app, &a, socket(2), None));
}

#[test]
fn a_join_that_failed_does_not_undo_the_next() {
    let (mut state, app) = state();
    let a = channel("presence-a");
    let (first, _) = state.enter_as(&app, &a, socket(1), member("x"));
    state.exit(&app, &a, socket(1), None);
    let (second, _) = state.enter_as(&app, &a, socket(1), member("x"));
    assert!(!state.exit(&app, &a, socket(1), Some(first)));
    assert!(state.exit(&app, &a, socket(1), Some(second)));
}

#[test]
fn the_snapshot_holds_joins_that_are_under_way_and_has_the_last_number() {
    let (mut state, app) = state();
    state.enter_as(&app, &channel("presence-a"), socket(1), member("x"));
    state.enter(&app, &channel("b"));
    let _ = state.next();
    state.due.everything = true;
    assert_eq!(
        said(&mut state),
        r#"{"everything":{"number":3,"apps":[{"app":"1","members":[["presence-a","1.1",{"user_id":"x"}]],"counts":[["b",1]]}]}}"#
    );
}

#[test]
fn there_is_room_for_users_not_for_connections() {
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
fn departures_are_forgotten_with_a_snapshot_now_and_then() {
    let (mut state, app) = state();
    let a = channel("presence-a");
    let mut snapshots = 0;
    for number in 0..10_000 {
        state.enter_as(&app, &a, socket(number), member("x"));
        state.exit(&app, &a, socket(number), None);
        while let Some(next) = state.next() {
            snapshots += u32::from(matches!(next.said, Said::Everything { .. }));
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
    assert_eq!(state.entries, 400_000);
    state.give_changes_up();
    state.due = Due::default();
    let begun = std::time::Instant::now();
    for (number, channel) in (0..).zip(&channels) {
        state.exit(&app, channel, socket(number), None);
        state.exit(&app, &room, socket(number), None);
        state.due = Due::default();
        // A walk over all that is left, at each departure, takes many minutes.
        assert!(begun.elapsed().as_secs() < 60, "{number} have left in {:?}", begun.elapsed());
    }
    assert_eq!(state.entries, 0);
}

#[test]
fn a_node_is_silent_only_while_others_can_be_heard() {
    let (mut state, _) = state();
    let other: NodeName = "other".into();
    state.heard(&other, 20, true);
    assert!(!settled(&mut state, &other));
    for _ in 0..100 {
        state.pass(1000, false);
    }
    state.pass(SILENT_AFTER, true);
    assert_eq!(state.unsettle_silent(), None, "it is heard anew after the time of deafness");
    state.pass(SILENT_AFTER + 1, true);
    assert_eq!(state.unsettle_silent(), Some(SILENT_AFTER));
    assert_eq!(state.unsettle_silent(), None);
    // It is there after all: it has to tell everything again.
    state.heard(&other, 20, false);
    assert!(state.due.ask);
}

#[test]
fn the_oldest_is_the_first_to_answer_who_asks() {
    let (mut state, _) = state();
    let (older, newer): (NodeName, NodeName) = ("older".into(), "newer".into());
    state.heard(&older, 5, true);
    assert!(settled(&mut state, &older), "what it says is older than this node");
    assert!(!settled(&mut state, &older), "what it says now is not");
    state.heard(&newer, 15, true);
    assert!(!settled(&mut state, &newer));
    // The oldest comes first, unless it asks itself.
    assert_eq!(state.turn_after(&newer, 0), TURN);
    assert_eq!(state.turn_after(&older, 0), 0);
    assert_eq!(state.turn_after(&newer, 10_000), TURN, "it has its answer by now");
    // Who asks itself comes last.
    let own = state.own.clone();
    state.heard(&own, 10, true);
    assert!(state.turn_after(&own, 10_000) > 3 * TURN);
    // However many there are, nobody waits for long.
    for number in 0..100 {
        state.heard(&format!("{number}").into(), 6, true);
    }
    assert!(state.turn_after(&newer, 20_000) < 1_000);
}

#[test]
fn the_oldest_that_is_there_and_knows_the_others_speaks() {
    let (mut state, _) = state();
    let (older, newer): (NodeName, NodeName) = ("older".into(), "newer".into());
    assert!(state.is_speaker());
    state.heard(&newer, 15, false);
    assert!(state.is_speaker(), "a newcomer knows nothing yet");
    state.heard(&older, 5, false);
    assert!(!state.is_speaker());
    settled(&mut state, &older);
    state.pass(SILENT_AFTER + 1, true);
    state.unsettle_silent();
    assert!(state.is_speaker());
    // Where it is back, this node tells that it comes; from its snapshot on it speaks itself.
    state.heard(&older, 5, false);
    assert!(state.is_speaker());
    assert!(!settled(&mut state, &older) && !state.is_speaker());
    // Also if it was away for so long that it was forgotten.
    state.pass(SILENT_AFTER * 11, true);
    state.unsettle_silent();
    state.heard(&older, 5, false);
    assert!(state.is_speaker());
    assert!(!settled(&mut state, &older) && !state.is_speaker());
}

#[test]
fn what_a_node_says_after_its_farewell_does_not_bring_it_back() {
    let (mut state, _) = state();
    let other: NodeName = "other".into();
    state.heard(&other, 5, true);
    assert!(settled(&mut state, &other) && state.turn_after(&"newer".into(), 0) > 0 && !state.is_speaker());
    state.gone(&other, 5);
    assert!(state.turn_after(&"newer".into(), 0) == 0 && state.is_speaker());
    // A count that was under way.
    assert!(!state.heard(&other, 5, false) && !state.due.ask && state.is_speaker());
    state.pass(SILENT_AFTER + 1, true);
    assert_eq!(state.unsettle_silent(), None, "nobody is missed");
    state.pass(SILENT_AFTER * 10, true);
    state.unsettle_silent();
    assert!(state.heard(&other, 5, false), "it is forgotten in the end");
}

#[test]
fn what_waits_to_be_said_is_bounded_in_bytes_and_so_is_each_signal() {
    let (mut state, app) = state();
    let a = channel("presence-a");
    let large = Member { user_info: Some("7".repeat(50_000).into()), ..member("x") };
    let mut joined = 0;
    while !state.is_full() {
        state.enter_as(&app, &a, socket(joined), large.clone());
        joined += 1;
    }
    assert!((200..500).contains(&joined), "{joined}");
    let mut joins = 0;
    while let Some(next) = state.next() {
        joins += next.joins.len() as u64;
        let signal = serde_json::to_string(&next.said).unwrap();
        assert!(signal.len() < 2 * PORTION, "{}", signal.len());
    }
    assert_eq!((joins, state.change_bytes, state.is_full()), (joined, 0, false));
}
