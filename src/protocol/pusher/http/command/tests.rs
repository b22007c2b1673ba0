use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn events(body: &str) -> Result<Command, HttpError> {
    parse(&Route::Events, "", None, body.as_bytes(), &PusherSettings::default())
}

fn batch_of(events: &[Value]) -> Result<Command, HttpError> {
    let body = json!({ "batch": events }).to_string();
    parse(&Route::BatchEvents, "", None, body.as_bytes(), &PusherSettings::default())
}

fn get(route: &Route<'_>, query: &str) -> Result<Command, HttpError> {
    parse(route, query, None, b"", &PusherSettings::default())
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
        idempotency_key: None,
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
    assert_eq!(trigger.info, Info { user_count: true, subscription_count: true, ..Info::default() });
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
    let broken = parse(&Route::Events, "", None, b"\xff", &PusherSettings::default());
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
    let none = parse(&Route::BatchEvents, "", None, b"{}", &PusherSettings::default());
    assert_eq!(none.unwrap_err().status, 400);
}

#[test]
fn queries_are_parsed() {
    let both = Info { user_count: true, subscription_count: true, ..Info::default() };
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
            info: Info { user_count: true, cache: true, ..Info::default() }
        })
    );
    assert_eq!(get(&room("presence-a"), "info=cache").unwrap_err().status, 400);
    assert_eq!(get(&Route::Channels, "filter_by_prefix=cache-&info=cache").unwrap_err().status, 400);
    assert_eq!(get(&room("a b"), "").unwrap_err().status, 400);
    assert!(get(&Route::Users("presence-a".into()), "").is_ok());
    assert_eq!(get(&Route::Users("private-a".into()), "").unwrap_err().status, 400);
    assert_eq!(get(&Route::Connections, ""), Ok(Command::Connections));
    assert_eq!(get(&Route::Terminate("".into()), "").unwrap_err().status, 400);
    let terminate = parse(&Route::Terminate("山".into()), "", None, b"{}", &PusherSettings::default());
    assert_eq!(terminate, Ok(Command::Terminate { user: UserId::new("山") }));
}

#[test]
fn the_largest_allowed_bodies_fit() {
    let rules = PusherSettings::default();
    let event = json!({"name":"e".repeat(200),"channel":"c".repeat(200),"data":"\u{1}".repeat(10_240),"socket_id":"18446744073709551615.18446744073709551615"});
    let body = json!({ "batch": vec![event; 10] }).to_string();
    assert!(body.len() <= max_body_bytes(&rules));
    assert!(parse(&Route::BatchEvents, "", None, body.as_bytes(), &rules).is_ok());
}

fn with_history() -> PusherSettings {
    let history =
        json!({ "history": [{ "channels": ["news", "private-orders.*"], "messages": 5, "age": "2m" }] });
    serde_json::from_value(history).unwrap()
}

#[test]
fn a_history_exists_only_by_the_settings() {
    let history = |name: &'static str, query: &str| {
        parse(&Route::History(name.into()), query, None, b"", &with_history())
    };
    let expected = |name: &str, since: Option<&str>, limit| Command::History {
        channel: public(name),
        since: since.map(str::to_owned),
        limit,
    };
    assert_eq!(history("news", ""), Ok(expected("news", None, 100)));
    let orders = "private-orders.7";
    assert_eq!(history(orders, "limit=1000&since=9f-1"), Ok(expected(orders, Some("9f-1"), 1000)));
    assert_eq!(history("news", "since=&limit=1"), Ok(expected("news", None, 1)));
    for limit in ["0", "1001", "-1", "x", ""] {
        assert_eq!(history("news", &format!("limit={limit}")).unwrap_err().status, 400, "{limit}");
    }
    let error = history("private-chat.7", "").unwrap_err();
    assert_eq!((error.status, error.code), (404, "no_history"));
    assert!(
        error.message.contains("private-chat.7") && error.message.contains("[[pusher.history]]"),
        "{error}"
    );

    let position =
        |name: &'static str| parse(&Route::Channel(name.into()), "info=position", None, b"", &with_history());
    assert!(matches!(position("news"), Ok(Command::Channel { info: Info { position: true, .. }, .. })));
    let error = position("other").unwrap_err();
    assert!(error.status == 400 && error.message.contains("[[apps.history]]"), "{error}");
}

#[test]
fn an_idempotency_key_is_in_the_body_or_in_the_header() {
    let key_of = |header: Option<&[u8]>, key: Value| {
        let body = json!({ "name": "e", "channel": "a", "data": "", "idempotency_key": key }).to_string();
        match parse(&Route::Events, "", header, body.as_bytes(), &PusherSettings::default()) {
            Ok(Command::Trigger(trigger)) => Ok(trigger.idempotency_key),
            Err(error) => Err(error.status),
            Ok(other) => panic!("{other:?}"),
        }
    };
    let key = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(key_of(None, Value::Null), Ok(None));
    assert_eq!(key_of(None, json!("山 1")), key("山 1"));
    assert_eq!(key_of(Some(b"h"), Value::Null), key("h"));
    assert_eq!(key_of(Some(b"\"h\""), Value::Null), key("h"));
    assert_eq!(key_of(Some(b"h"), json!("b")), key("b"), "the body is more specific");
    assert_eq!(key_of(None, json!("x".repeat(255))), key(&"x".repeat(255)));
    for wrong in [json!(""), json!("x".repeat(256)), json!("a\nb"), json!(7)] {
        assert_eq!(key_of(None, wrong.clone()), Err(400), "{wrong}");
    }
    for wrong in [&b""[..], b"\"\"", b"\xff", &[b'x'; 256]] {
        assert_eq!(key_of(Some(wrong), Value::Null), Err(400), "{wrong:?}");
    }
    let event = |key: Value| json!({ "name": "e", "channel": "a", "data": "", "idempotency_key": key });
    let body = json!({ "batch": [event(Value::Null), event(json!("own"))] }).to_string();
    let Ok(Command::Batch(batch)) =
        parse(&Route::BatchEvents, "", Some(b"h"), body.as_bytes(), &PusherSettings::default())
    else {
        panic!()
    };
    let keys: Vec<_> = batch.iter().map(|trigger| trigger.idempotency_key.as_deref().unwrap()).collect();
    assert_eq!(keys, ["h#0", "own"]);
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), query in any::<String>()) {
        let rules = with_history();
        for route in [Route::Events, Route::BatchEvents, Route::Channels, Route::Channel("a".into()), Route::History("news".into())] {
            let _ = parse(&route, &query, Some(&body), &body, &rules);
        }
    }

    #[test]
    fn one_changed_byte_never_panics(cut in 0usize..110, byte: u8) {
        let mut body = br#"{"batch":[{"name":"e","channel":"a","data":"{\"a\":1}","socket_id":"1.2","info":"user_count"}]}"#.to_vec();
        if let Some(place) = body.get_mut(cut) { *place = byte; }
        let _ = parse(&Route::BatchEvents, "", None, &body, &PusherSettings::default());
    }
}
