use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::protocol::pusher::{Apps, PusherSettings, server_message::text_of};

const SOCKET: SocketId = SocketId::new(12, 34);

fn app(overrides: &str) -> Arc<App> {
    let comma = if overrides.is_empty() { "" } else { "," };
    let text = format!(r#"{{"id":"1","key":"k","secret":"s"{comma}{overrides}}}"#);
    let apps = Apps::new(&PusherSettings::default(), &[serde_json::from_str(&text).unwrap()]).unwrap();
    apps.by_id("1").unwrap().clone()
}

fn session(overrides: &str) -> Session {
    Session::open(app(overrides), SOCKET, 0).0
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn subscribe_message(session: &Session, channel: &str, data: Option<&str>) -> String {
    let auth = session.app.credentials.sign_channel(&SOCKET.to_string(), channel, data);
    json!({"event":"pusher:subscribe","data":{"channel":channel,"auth":auth,"channel_data":data}}).to_string()
}

fn subscribe(session: &mut Session, channel: &str, data: Option<&str>) -> Subscribe {
    let message = subscribe_message(session, channel, data);
    match session.receive(message.as_bytes(), 0).as_slice() {
        [Action::Subscribe(subscribe)] => subscribe.clone(),
        other => panic!("{other:?}"),
    }
}

fn join(session: &mut Session, channel: &str, data: Option<&str>) -> Vec<Action> {
    let subscribe = subscribe(session, channel, data);
    session.joined(subscribe.channel.name(), subscribe.ticket, &Joined::default())
}

fn trigger(session: &mut Session, channel: &str, event: &str, now: u64) -> Vec<Action> {
    let message = json!({"event":event,"channel":channel,"data":{"a":1}}).to_string();
    session.receive(message.as_bytes(), now)
}

/// The event and the decoded data of the only frame.
#[track_caller]
fn reply(actions: &[Action]) -> (String, Value) {
    let frame = match actions {
        [Action::Reply(frame)] => frame.clone(),
        [Action::Refuse(refusal)] => refusal.frame(),
        _ => panic!("{actions:?}"),
    };
    let value: Value = serde_json::from_str(&text_of(&frame)).unwrap();
    let data = serde_json::from_str(value["data"].as_str().unwrap()).unwrap();
    (value["event"].as_str().unwrap().to_owned(), data)
}

#[track_caller]
fn assert_rejected(actions: &[Action], reason: &RejectReason) {
    assert_eq!(actions, [Action::Refuse(Refusal::Message(reason.clone()))]);
}

#[track_caller]
fn assert_not_subscribed(actions: &[Action], channel: &str, error: SubscriptionError) {
    assert_eq!(actions, [Action::Refuse(Refusal::Subscription(channel.into(), error))]);
}

#[test]
fn the_first_frame_is_connection_established() {
    let (_, greeting) = Session::open(app(r#""activity_timeout":"17s""#), SOCKET, 0);
    assert_eq!(
        text_of(&greeting),
        r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":17}"}"#
    );
}

#[test]
fn a_signed_in_user_is_the_default_member() {
    let mut session = Session::open(app(r#""presence_user_bytes":60"#), SOCKET, 0).0;
    let sign_in = |session: &mut Session, data: &str| {
        let auth = session.app.credentials.sign_user(&SOCKET.to_string(), data);
        let message = json!({"event":"pusher:signin","data":{"auth":auth,"user_data":data}}).to_string();
        session.receive(message.as_bytes(), 0)
    };
    let actions = {
        let message = subscribe_message(&session, "presence-a", None);
        session.receive(message.as_bytes(), 0)
    };
    assert_not_subscribed(
        &actions,
        "presence-a",
        SubscriptionError::InvalidMember(crate::protocol::pusher::InvalidUser::NotAnObject),
    );
    assert_eq!(sign_in(&mut session, r#"{"id":"7","user_info":{"name":"Aoi"}}"#).len(), 2);
    let member = subscribe(&mut session, "presence-a", None).member;
    assert_eq!(member, Some(parse_member(r#"{"user_id":"7","user_info":{"name":"Aoi"}}"#).unwrap()));
    let other = r#"{"user_id":"8"}"#;
    let member = subscribe(&mut session, "presence-b", Some(other)).member;
    assert_eq!(member, Some(parse_member(other).unwrap()));

    let mut long = Session::open(app(r#""presence_user_bytes":9"#), SOCKET, 0).0;
    assert_eq!(sign_in(&mut long, r#"{"id":"7"}"#).len(), 2);
    let message = subscribe_message(&long, "presence-a", None);
    let actions = long.receive(message.as_bytes(), 0);
    assert_not_subscribed(&actions, "presence-a", SubscriptionError::MemberTooLarge(9));
}

#[test]
fn a_public_channel_needs_no_signature() {
    let mut session = session("");
    let message = br#"{"event":"pusher:subscribe","data":{"auth":"","channel":"news"}}"#;
    let actions = session.receive(message, 0);
    let [Action::Subscribe(subscribe)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((subscribe.channel.name().as_str(), &subscribe.member), ("news", &None));
    let actions = session.joined(subscribe.channel.name(), subscribe.ticket, &Joined::default());
    assert_eq!(reply(&actions), ("pusher_internal:subscription_succeeded".into(), json!({})));
    assert_rejected(&session.receive(message, 0), &RejectReason::AlreadySubscribed("news".into()));
}

#[test]
fn private_channels_need_the_apps_signature_for_this_socket() {
    let mut session = session("");
    for channel in ["private-a", "private-encrypted-a", "private-cache-a"] {
        let without = json!({"event":"pusher:subscribe","data":{"channel":channel}}).to_string();
        let error = SubscriptionError::Auth(crate::auth::pusher::AuthRejectReason::Missing);
        assert_not_subscribed(&session.receive(without.as_bytes(), 0), channel, error);
        let auth = session.app.credentials.sign_channel("12.35", channel, None);
        let other = json!({"event":"pusher:subscribe","data":{"channel":channel,"auth":auth}}).to_string();
        let error = SubscriptionError::Auth(crate::auth::pusher::AuthRejectReason::BadSignature);
        assert_not_subscribed(&session.receive(other.as_bytes(), 0), channel, error);
        assert_eq!(subscribe(&mut session, channel, None).member, None);
    }
}

#[test]
fn a_presence_subscription_needs_valid_channel_data() {
    let mut session = Session::open(app(r#""presence_user_bytes":60"#), SOCKET, 0).0;
    let data = r#"{"user_id":7,"user_info":{"name":"A"}}"#;
    let subscribe = subscribe(&mut session, "presence-a", Some(data));
    let member = subscribe.member.clone().unwrap();
    assert_eq!(member.user_id.to_json_string(), r#""7""#);
    let joined = Joined { members: vec![member], ..Joined::default() };
    let (event, data) = reply(&session.joined(&name("presence-a"), subscribe.ticket, &joined));
    assert_eq!(event, "pusher_internal:subscription_succeeded");
    assert_eq!(data, json!({"presence":{"ids":["7"],"hash":{"7":{"name":"A"}},"count":1}}));

    let attempt = |session: &mut Session, data| {
        let message = subscribe_message(session, "presence-b", data);
        let (event, data) = reply(&session.receive(message.as_bytes(), 0));
        assert_eq!(event, "pusher:subscription_error");
        data["status"].as_u64().unwrap()
    };
    assert_eq!(attempt(&mut session, None), 400);
    assert_eq!(attempt(&mut session, Some("{}")), 400);
    assert_eq!(attempt(&mut session, Some(r#"{"user_id":""}"#)), 400);
    let large = format!(r#"{{"user_id":7,"user_info":"{}"}}"#, "x".repeat(60));
    assert_eq!(attempt(&mut session, Some(&large)), 413);
}

#[test]
fn a_cache_channel_replays_its_last_event() {
    let mut session = session("");
    let actions = join(&mut session, "cache-a", None);
    assert_eq!(actions[1], Action::Reply(server_message::cache_miss("cache-a")));
    let subscribe = subscribe(&mut session, "private-cache-b", None);
    let cached = server_message::channel_event("private-cache-b", "e", "{}", None);
    let joined = Joined { cached: Some(cached.clone()), ..Joined::default() };
    let actions = session.joined(&name("private-cache-b"), subscribe.ticket, &joined);
    assert_eq!(actions[1..], [Action::Reply(cached)]);
}

#[test]
fn channel_names_and_their_number_are_limited() {
    let mut session = session(r#""channel_name_length":10,"channels_per_connection":1"#);
    for channel in ["a b", "", "abcdefghijk", "#x"] {
        let message = json!({"event":"pusher:subscribe","data":{"channel":channel}}).to_string();
        let (event, data) = reply(&session.receive(message.as_bytes(), 0));
        assert_eq!((event.as_str(), data["status"].as_u64()), ("pusher:subscription_error", Some(400)));
    }
    subscribe(&mut session, "a", None);
    let message = subscribe_message(&session, "b", None);
    let error = SubscriptionError::TooManyChannels(1);
    assert_not_subscribed(&session.receive(message.as_bytes(), 0), "b", error);
}

#[test]
fn the_result_of_an_abandoned_attempt_is_ignored() {
    let mut session = session("");
    let first = subscribe(&mut session, "private-a", None);
    let leave = br#"{"event":"pusher:unsubscribe","data":{"channel":"private-a"}}"#;
    assert_eq!(
        session.receive(leave, 0),
        [Action::Unsubscribe(Unsubscribed { channel: first.channel.clone(), was_active: false })]
    );
    assert_eq!(session.receive(leave, 0), []);
    assert_eq!(session.joined(first.channel.name(), first.ticket, &Joined::default()), []);
    let second = subscribe(&mut session, "private-a", None);
    assert_eq!(session.joined(first.channel.name(), first.ticket, &Joined::default()), []);
    let failed = session.join_failed(second.channel.name(), second.ticket, SubscriptionError::Unavailable);
    assert_not_subscribed(&failed, "private-a", SubscriptionError::Unavailable);
    assert_eq!(session.channels().count(), 0);
}

#[test]
fn a_connection_signs_in_once() {
    let mut session = session("");
    let message = |session: &Session, data: &str| {
        let auth = session.app.credentials.sign_user(&SOCKET.to_string(), data);
        json!({"event":"pusher:signin","data":{"auth":auth,"user_data":data}}).to_string()
    };
    let own = br##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-7"}}"##;
    assert_not_subscribed(&session.receive(own, 0), "#server-to-user-7", SubscriptionError::NotThisUser);
    let data = r#"{"id":"7","watchlist":["8"]}"#;
    let text = message(&session, data);
    let actions = session.receive(text.as_bytes(), 0);
    let [Action::SignIn(user), Action::Reply(frame)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((&*user.id.to_text(), user.watchlist.len()), ("7", 1));
    assert_eq!(*frame, server_message::signin_success(data));
    assert_eq!(session.receive(text.as_bytes(), 0), [Action::Reply(frame.clone())]);
    let other = message(&session, r#"{"id":"8"}"#);
    assert_rejected(&session.receive(other.as_bytes(), 0), &RejectReason::SignedInAsAnother);
    let without_id = message(&session, "{}");
    let reason = RejectReason::InvalidUser(super::super::user::InvalidUser::Id("id"));
    assert_rejected(&session.receive(without_id.as_bytes(), 0), &reason);
    assert!(matches!(session.receive(own, 0).as_slice(), [Action::Subscribe(_)]));
    let other = br##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-8"}}"##;
    assert_not_subscribed(&session.receive(other, 0), "#server-to-user-8", SubscriptionError::NotThisUser);
}

#[test]
fn a_long_watchlist_is_truncated_and_reported() {
    let mut session = session("");
    let ids: Vec<_> = (0..150).map(|id| format!("u{id}")).collect();
    let data = json!({ "id": "7", "watchlist": ids }).to_string();
    let auth = session.app.credentials.sign_user(&SOCKET.to_string(), &data);
    let message = json!({"event":"pusher:signin","data":{"auth":auth,"user_data":data}}).to_string();
    let actions = session.receive(message.as_bytes(), 0);
    let [Action::SignIn(user), Action::Reply(success), warning] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(*success, server_message::signin_success(&data));
    assert_eq!(user.watchlist.len(), 100);
    let (event, error) = reply(std::slice::from_ref(warning));
    assert_eq!((event.as_str(), &error["code"]), ("pusher:error", &json!(4302)));
}

#[test]
fn a_forged_sign_in_closes_the_connection() {
    let mut session = session("");
    let message = br#"{"event":"pusher:signin","data":{"auth":"k:00","user_data":"{\"id\":\"7\"}"}}"#;
    let actions = session.receive(message, 0);
    let [Action::Reply(frame), Action::Close(close)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((*frame == server_message::fatal(Fatal::Unauthorized), close.code), (true, 4009));
    assert_eq!(session.receive(br#"{"event":"pusher:ping"}"#, 0), []);
    assert_eq!(session.tick(u64::MAX), []);
    assert!(session.user().is_none());
}

#[test]
fn client_events_are_checked() {
    let limits =
        r#""client_events":true,"client_events_per_second":2,"event_bytes":20,"event_name_length":20"#;
    let mut session = session(limits);
    assert_rejected(&trigger(&mut session, "private-a", "client-x", 0), &RejectReason::NotSubscribed);
    let pending = subscribe(&mut session, "private-a", None);
    assert_rejected(&trigger(&mut session, "private-a", "client-x", 0), &RejectReason::NotSubscribed);
    session.joined(pending.channel.name(), pending.ticket, &Joined::default());
    let actions = trigger(&mut session, "private-a", "client-x", 0);
    let expected = ClientEvent {
        channel: Channel::new("private-a", 200).unwrap(),
        event: "client-x".into(),
        data: r#"{"a":1}"#.into(),
        user_id: None,
    };
    assert_eq!(actions, [Action::Publish(expected)]);
    join(&mut session, "presence-a", Some(r#"{"user_id":7}"#));
    let actions = trigger(&mut session, "presence-a", "client-x", 0);
    let [Action::Publish(event)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(event.user_id.as_ref().map(UserId::to_json_string).as_deref(), Some(r#""7""#));
    assert_rejected(&trigger(&mut session, "private-a", "client-x", 499), &RejectReason::RateLimited(2));
    assert!(matches!(trigger(&mut session, "private-a", "client-x", 500).as_slice(), [Action::Publish(_)]));

    for channel in ["news", "private-encrypted-a"] {
        join(&mut session, channel, None);
        assert_rejected(&trigger(&mut session, channel, "client-x", 9000), &RejectReason::ChannelTakesNone);
    }
    for event in ["x", "pusher:error", "App\\Events\\X", "pusher_internal:member_added", "Client-x"] {
        assert_rejected(&trigger(&mut session, "private-a", event, 9000), &RejectReason::UnknownEvent);
    }
    let long = format!("client-{}", "é".repeat(14));
    assert_rejected(&trigger(&mut session, "private-a", &long, 9000), &RejectReason::EventTooLong(20));
    let fits = format!("client-{}", "é".repeat(13));
    assert!(matches!(trigger(&mut session, "private-a", &fits, 9000).as_slice(), [Action::Publish(_)]));
    let large = json!({"event":"client-x","channel":"private-a","data":"x".repeat(21)}).to_string();
    assert_rejected(&session.receive(large.as_bytes(), 9000), &RejectReason::DataTooLarge(20));
}

#[test]
fn client_events_are_off_by_default() {
    let mut session = session("");
    join(&mut session, "private-a", None);
    assert_rejected(&trigger(&mut session, "private-a", "client-x", 0), &RejectReason::ClientEventsDisabled);
}

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    let mut session = session(r#""activity_timeout":"30s","pong_timeout":"10s""#);
    assert_eq!(session.tick(29_999), []);
    let pings = [Action::Ping, Action::Reply(server_message::ping())];
    assert_eq!(session.tick(30_000), pings);
    assert_eq!(session.tick(39_999), []);
    assert_eq!(session.receive(br#"{"event":"pusher:pong","data":{}}"#, 39_999), []);
    assert_eq!(session.next_tick(), 69_999);
    assert_eq!(session.tick(69_999), pings);
    session.record_activity(70_000);
    assert_eq!(session.tick(100_000), pings);
    assert_eq!(
        session.tick(110_000),
        [Action::Reply(server_message::fatal(Fatal::PongTimeout)), Action::Close(Fatal::PongTimeout.close())]
    );
    assert_eq!(session.tick(999_999), []);
}

#[test]
fn a_connection_that_never_authorizes_is_closed_at_the_deadline() {
    let settings = r#""authorization_timeout":"40s","activity_timeout":"30s""#;
    let mut silent = session(settings);
    join(&mut silent, "news", None);
    // A wrong signature does not count as authorization.
    let wrong = br#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"k:00"}}"#;
    silent.receive(wrong, 0);
    assert_eq!(silent.next_tick(), 30_000);
    silent.record_activity(20_000);
    assert_eq!(silent.next_tick(), 40_000);
    assert_eq!(silent.tick(39_999), []);
    let unauthorized = Fatal::NeverAuthorized;
    assert_eq!(
        silent.tick(40_000),
        [Action::Reply(server_message::fatal(unauthorized)), Action::Close(Fatal::Unauthorized.close())]
    );

    for channel in ["private-a", "presence-a", "private-encrypted-a", "private-cache-a"] {
        let mut on_a_channel = session(settings);
        subscribe(&mut on_a_channel, channel, Some(r#"{"user_id":"7"}"#));
        on_a_channel.record_activity(20_000);
        assert_eq!(on_a_channel.next_tick(), 50_000, "{channel}");
    }
    let mut signed_in = session(settings);
    let auth = signed_in.app.credentials.sign_user(&SOCKET.to_string(), r#"{"id":"7"}"#);
    let message =
        json!({"event":"pusher:signin","data":{"auth":auth,"user_data":r#"{"id":"7"}"#}}).to_string();
    signed_in.receive(message.as_bytes(), 20_000);
    assert_eq!(signed_in.next_tick(), 50_000);
    assert_eq!(session("").next_tick(), 30_000);
}

#[test]
fn a_ping_is_answered() {
    let mut session = session("");
    let pong = Action::Pong(server_message::pong());
    assert_eq!(session.receive(br#"{"event":"pusher:ping","data":{}}"#, 0), [pong]);
}

#[test]
fn malformed_messages_are_rejected_without_side_effects() {
    let mut session = session("");
    assert_rejected(&session.receive(b"\xff", 0), &RejectReason::Malformed);
    assert_rejected(&session.receive(b"{}", 0), &RejectReason::Malformed);
    assert!(matches!(subscribe(&mut session, "a", None), Subscribe { .. }));
}

#[test]
fn fatal_errors_have_their_close_codes() {
    for (fatal, code) in [
        (Fatal::NoSuchApp, 4001),
        (Fatal::AppDisabled, 4003),
        (Fatal::OverQuota, 4004),
        (Fatal::PathNotFound, 4005),
        (Fatal::InvalidVersion, 4006),
        (Fatal::UnsupportedVersion, 4007),
        (Fatal::NoVersion, 4008),
        (Fatal::Unauthorized, 4009),
        (Fatal::NeverAuthorized, 4009),
        (Fatal::OverCapacity, 4100),
        (Fatal::PongTimeout, 4201),
    ] {
        let close = fatal.close();
        assert_eq!(close.code, code);
        assert!(text_of(&server_message::fatal(fatal)).contains(&format!("{{\\\"code\\\":{code},")));
    }
}

/// A step of a client, of the hub or of time.
#[derive(Debug, Clone)]
enum Step {
    Frame(Vec<u8>),
    Subscribe(usize, bool),
    Unsubscribe(usize),
    Event(usize, String),
    SignIn(bool),
    JoinResult(bool),
    Wait(u64),
}

const CHANNELS: [&str; 8] = [
    "news",
    "cache-a",
    "private-a",
    "private-cache-a",
    "private-encrypted-a",
    "presence-a",
    "#server-to-user-7",
    "not a name",
];

fn event_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("client-x".to_owned()),
        Just("pusher:subscription_succeeded".to_owned()),
        Just("App\\Events\\X".to_owned()),
        "[clientpushr:_-]{0,12}",
        any::<String>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0..CHANNELS.len();
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Frame),
        1 => r#"\{"event":"(pusher:|client-)?[a-z]{0,9}","(channel|data)":("private-a"|\{"channel":"private-a"\}|7|null)\}"#
            .prop_map(|text| Step::Frame(text.into_bytes())),
        4 => (channel.clone(), prop::bool::weighted(0.8)).prop_map(|(at, signed)| Step::Subscribe(at, signed)),
        1 => channel.clone().prop_map(Step::Unsubscribe),
        4 => (channel, event_name()).prop_map(|(at, event)| Step::Event(at, event)),
        1 => any::<bool>().prop_map(Step::SignIn),
        4 => prop::bool::weighted(0.8).prop_map(Step::JoinResult),
        1 => (0u64..40_000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// A client publishes only `client-` events, only on private and presence channels to which it is subscribed, and only
    /// within its rate.
    #[test]
    fn permissions_hold_for_any_sequence_of_steps(steps in prop::collection::vec(step(), 0..60)) {
        let mut session = session(r#""client_events":true,"client_events_per_second":3"#);
        let mut pending: Vec<Subscribe> = Vec::new();
        // The active subscriptions.
        let mut on: Vec<String> = Vec::new();
        let (mut now, mut started, mut published, mut closed) = (0, 0, 0u64, false);
        for step in steps {
            let actions = match step {
                Step::Frame(bytes) => session.receive(&bytes, now),
                Step::Subscribe(at, true) => {
                    let data = CHANNELS[at].starts_with("presence-").then_some(r#"{"user_id":7}"#);
                    let message = subscribe_message(&session, CHANNELS[at], data);
                    session.receive(message.as_bytes(), now)
                }
                Step::Subscribe(at, false) => {
                    let message = json!({"event":"pusher:subscribe","data":{"channel":CHANNELS[at],"auth":"k:00"}});
                    session.receive(message.to_string().as_bytes(), now)
                }
                Step::Unsubscribe(at) => {
                    let message = json!({"event":"pusher:unsubscribe","data":{"channel":CHANNELS[at]}});
                    session.receive(message.to_string().as_bytes(), now)
                }
                Step::Event(at, event) => trigger(&mut session, CHANNELS[at], &event, now),
                Step::SignIn(genuine) => {
                    let data = r#"{"id":"7"}"#;
                    let auth = session.app.credentials.sign_user(if genuine { "12.34" } else { "1.1" }, data);
                    let message = json!({"event":"pusher:signin","data":{"auth":auth,"user_data":data}});
                    session.receive(message.to_string().as_bytes(), now)
                }
                Step::JoinResult(good) => {
                    let Some(subscribe) = pending.pop() else { continue };
                    let channel = subscribe.channel.name().clone();
                    if good {
                        let actions = session.joined(&channel, subscribe.ticket, &Joined::default());
                        if !actions.is_empty() { on.push(channel.as_str().to_owned()); }
                        actions
                    } else {
                        session.join_failed(&channel, subscribe.ticket, SubscriptionError::Unavailable)
                    }
                }
                Step::Wait(time) => {
                    now += time;
                    if time >= 1000 { (started, published) = (now, 0); }
                    session.tick(now)
                }
            };
            prop_assert!(!closed || actions.is_empty(), "actions after the close: {actions:?}");
            for action in actions {
                match action {
                    Action::Publish(event) => {
                        prop_assert!(event.event.starts_with("client-"), "{}", event.event);
                        let channel = event.channel.name().as_str();
                        prop_assert!(on.iter().any(|name| name == channel), "not on {channel}");
                        prop_assert!(["private-a", "private-cache-a", "presence-a"].contains(&channel));
                        prop_assert_eq!(event.user_id.is_some(), channel == "presence-a");
                        published += 1;
                        prop_assert!(published <= 3 + (now - started) * 3 / 1000);
                    }
                    Action::Subscribe(subscribe) => {
                        let name = subscribe.channel.name().as_str();
                        prop_assert!(!on.iter().any(|other| other == name), "twice on {name}");
                        prop_assert!(name != "#server-to-user-7" || session.user().is_some());
                        pending.push(subscribe);
                    }
                    Action::Unsubscribe(Unsubscribed { channel, .. }) => on.retain(|name| name != channel.name().as_str()),
                    Action::Close(_) => closed = true,
                    Action::Reply(frame) | Action::Pong(frame) => {
                        let value: Value = serde_json::from_str(&text_of(&frame)).unwrap();
                        prop_assert!(value["data"].is_string());
                    }
                    Action::Ping | Action::Refuse(_) => {}
                    Action::SignIn(user) => prop_assert_eq!(&*user.id.to_text(), "7"),
                }
            }
        }
    }
}
