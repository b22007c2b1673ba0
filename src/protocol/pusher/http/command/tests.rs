use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn events(body: &str) -> Result<Command, HttpError> {
    parse(&Route::Events, "", body.as_bytes(), &PusherSettings::default())
}

fn batch_of(events: &[Value]) -> Result<Command, HttpError> {
    let body = json!({ "batch": events }).to_string();
    parse(&Route::BatchEvents, "", body.as_bytes(), &PusherSettings::default())
}

fn get(route: &Route<'_>, query: &str) -> Result<Command, HttpError> {
    parse(route, query, b"", &PusherSettings::default())
}

fn public(name: &str) -> Channel {
    Channel::new(name, 200).unwrap()
}

#[test]
fn parses_the_documented_event() {
    let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    let Ok(Command::Trigger(trigger)) = events(body) else { panic!() };
    let expected = Trigger {
        event: "foo".into(),
        channels: vec![public("project-3")],
        data: r#"{"some":"data"}"#.into(),
        except: None,
        info: Info::default(),
    };
    assert_eq!(trigger, expected);
    let broadcast = trigger.into_broadcast(&"3".into());
    assert_eq!((&*broadcast.app, broadcast.channels[0].as_str()), ("3", "project-3"));
}

#[test]
fn parses_events_of_laravel() {
    let body = r#"{"name":"App\\Events\\MessageSent","data":"{\"message\":\"\\u5c71\"}","channels":["private-TestChannel.7","private-TestChannel.8","private-TestChannel.7"],"socket_id":"12.34","info":"subscription_count,user_count"}"#;
    let Ok(Command::Trigger(trigger)) = events(body) else { panic!() };
    assert_eq!(trigger.event, "App\\Events\\MessageSent");
    assert_eq!(trigger.channels, [public("private-TestChannel.7"), public("private-TestChannel.8")]);
    assert_eq!(trigger.except, Some(SocketId::new(12, 34)));
    assert_eq!(trigger.info, Info { user_count: true, subscription_count: true, cache: false });
    let one = r##"{"name":"e","data":"","channel":"#server-to-user-7","socket_id":null,"channels":null,"extra":[]}"##;
    assert!(matches!(events(one), Ok(Command::Trigger(_))));
}

#[test]
fn invalid_events_are_rejected_with_their_status() {
    let good = json!({"name":"e","channel":"a","data":"{}"});
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        events(&body.to_string()).map_or_else(|error| error.status, |_| 200)
    };
    assert_eq!(with("extra", json!(1)), 200);
    for (key, value, status) in [
        ("name", Value::Null, 400),
        ("name", json!(7), 400),
        ("name", json!(""), 400),
        ("name", json!("x".repeat(201)), 400),
        ("name", json!("pusher:ping"), 400),
        ("name", json!("pusher_internal:member_added"), 400),
        ("channel", Value::Null, 400),
        ("channel", json!(["a"]), 400),
        ("channel", json!("a b"), 400),
        ("channel", json!("a".repeat(201)), 400),
        ("channels", json!(["b"]), 400),
        ("data", Value::Null, 400),
        ("data", json!({}), 400),
        ("data", json!("x".repeat(10_241)), 413),
        ("data", json!("x".repeat(10_240)), 200),
        ("socket_id", json!("undefined"), 400),
        ("socket_id", json!(12.34), 400),
        ("info", json!("members"), 400),
        ("info", json!("cache"), 400),
        ("info", json!(7), 400),
    ] {
        assert_eq!(with(key, value.clone()), status, "{key} {value}");
    }
    let channels = |list: Value| {
        let body = json!({"name":"e","data":"","channels":list}).to_string();
        events(&body).map_or_else(|error| error.status, |_| 200)
    };
    let many = |count: usize| json!((0..count).map(|at| format!("c{at}")).collect::<Vec<_>>());
    assert_eq!([channels(many(100)), channels(many(101)), channels(many(0))], [200, 400, 400]);
    assert_eq!([channels(json!("a")), channels(json!([7])), channels(json!(["a", "b c"]))], [400; 3]);
    for body in ["", "[]", "null", "{", "7"] {
        assert_eq!(events(body).unwrap_err().status, 400, "{body}");
    }
    let broken = parse(&Route::Events, "", b"\xff", &PusherSettings::default());
    assert_eq!(broken.unwrap_err().status, 400);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let event = json!({"name":"e","channel":"a","data":"{}"});
    let Ok(Command::Batch(triggers)) = batch_of(&vec![event.clone(); 10]) else { panic!() };
    assert_eq!(triggers.len(), 10);
    assert_eq!(batch_of(&vec![event.clone(); 11]).unwrap_err().status, 400);
    let error = batch_of(&[event.clone(), json!({"name":"e","channel":"a b","data":""})]).unwrap_err();
    assert_eq!(error.status, 400);
    assert!(error.message.starts_with("event 1 of the batch: \"a b\" is no channel"), "{error}");
    let several = json!({"name":"e","channels":["a"],"data":""});
    assert_eq!(batch_of(&[several]).unwrap_err().status, 400);
    assert_eq!(batch_of(&[json!(7)]).unwrap_err().status, 400);
    let none = parse(&Route::BatchEvents, "", b"{}", &PusherSettings::default());
    assert_eq!(none.unwrap_err().status, 400);
}

#[test]
fn queries_are_parsed() {
    let both = Info { user_count: true, subscription_count: true, cache: false };
    assert_eq!(
        get(&Route::Channels, "auth_key=k&filter_by_prefix=presence-&info=user_count%2Csubscription_count"),
        Ok(Command::Channels { prefix: "presence-".into(), info: both })
    );
    let none = Info::default();
    assert_eq!(get(&Route::Channels, ""), Ok(Command::Channels { prefix: String::new(), info: none }));
    assert_eq!(get(&Route::Channels, "info=user_count").unwrap_err().status, 400);
    assert_eq!(get(&Route::Channels, "info=x").unwrap_err().status, 400);
    let room = |name: &'static str| Route::Channel(name.into());
    assert_eq!(
        get(&room("presence-a"), "INFO=user_count,subscription_count"),
        Ok(Command::Channel { channel: public("presence-a"), info: both })
    );
    assert_eq!(get(&room("a"), "info=user_count").unwrap_err().status, 400);
    assert_eq!(
        get(&room("presence-cache-a"), "info=cache,user_count"),
        Ok(Command::Channel {
            channel: public("presence-cache-a"),
            info: Info { user_count: true, subscription_count: false, cache: true }
        })
    );
    assert_eq!(get(&room("presence-a"), "info=cache").unwrap_err().status, 400);
    assert_eq!(get(&Route::Channels, "filter_by_prefix=cache-&info=cache").unwrap_err().status, 400);
    assert_eq!(get(&room("a b"), "").unwrap_err().status, 400);
    assert!(get(&Route::Users("presence-a".into()), "").is_ok());
    assert_eq!(get(&Route::Users("private-a".into()), "").unwrap_err().status, 400);
    assert_eq!(get(&Route::Connections, ""), Ok(Command::Connections));
    assert_eq!(get(&Route::Terminate("".into()), "").unwrap_err().status, 400);
    let terminate = parse(&Route::Terminate("山".into()), "", b"{}", &PusherSettings::default());
    assert_eq!(terminate, Ok(Command::Terminate { user: UserId::new("山") }));
}

#[test]
fn the_largest_allowed_bodies_fit() {
    let rules = PusherSettings::default();
    let event = json!({"name":"e".repeat(200),"channel":"c".repeat(200),"data":"\u{1}".repeat(10_240),"socket_id":"18446744073709551615.18446744073709551615"});
    let body = json!({ "batch": vec![event; 10] }).to_string();
    assert!(body.len() <= max_body_bytes(&rules));
    assert!(parse(&Route::BatchEvents, "", body.as_bytes(), &rules).is_ok());
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), query in any::<String>()) {
        let rules = PusherSettings::default();
        for route in [Route::Events, Route::BatchEvents, Route::Channels, Route::Channel("a".into())] {
            let _ = parse(&route, &query, &body, &rules);
        }
    }

    #[test]
    fn one_changed_byte_never_panics(cut in 0usize..110, byte: u8) {
        let mut body = br#"{"batch":[{"name":"e","channel":"a","data":"{\"a\":1}","socket_id":"1.2","info":"user_count"}]}"#.to_vec();
        if let Some(place) = body.get_mut(cut) { *place = byte; }
        let _ = parse(&Route::BatchEvents, "", &body, &PusherSettings::default());
    }
}
