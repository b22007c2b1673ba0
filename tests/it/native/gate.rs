//! Kinds of channels with a gate: the application decides about each message of a client.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::native::{OK, join, message, refusal};
use crate::support::application::{Answer, Asked, PhpServer, application};
use crate::support::{Client, PATIENCE, Server, eventually};

const SECRET: &str = "the-secret-of-events-with-32-bytes-or-more";

const ALLOW: &str = r#"{"decision":"allow"}"#;

fn serve(toml: &str) -> Server {
    let config = format!("[events]\nsecret = {SECRET:?}\n{toml}");
    Server::start(|options| {
        options.config(&config);
    })
}

/// The settings of a kind with a gate at this port.
fn kind(name: &str, port: u16, more: &str) -> String {
    format!("[channels.{name}]\ngate = {{ url = \"http://127.0.0.1:{port}/a-secret-path\"{more} }}\n")
}

fn failures(server: &Server, reason: &str) -> i64 {
    server.metric(&format!("yamabiko_gate_failures_total{{reason=\"{reason}\"}}"))
}

/// The text for the sender of a message that the application has refused.
fn refused(client: &mut Client) -> String {
    let answer = client.expect_json();
    assert_eq!(answer["error"]["code"], "refused", "{answer}");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

/// An application that hands each request to the test, which answers it.
fn deferred() -> (u16, Receiver<(Asked, Sender<Answer>)>) {
    let (requests, received) = channel();
    let requests = Mutex::new(requests);
    let port = application(move |asked| {
        let (answer, answered) = channel();
        requests.lock().unwrap().send((asked, answer)).ok()?;
        answered.recv().ok()
    });
    (port, received)
}

fn text(asked: &Asked) -> String {
    asked.json()["data"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn php_verifies_the_signature_and_allows_refuses_or_rewrites() {
    let php = PhpServer::start("docs/snippets/gate.php", &[("YAMABIKO_EVENTS_SECRET", SECRET)]);
    let stranger = PhpServer::start("docs/snippets/gate.php", &[("YAMABIKO_EVENTS_SECRET", "another")]);
    let server = serve(&(kind("room", php.port, "") + &kind("other", stranger.port, "")));
    let mut aoi = join(&server, 7, "Aoi", "room:1");
    let mut ren = join(&server, 8, "Ren", "room:1");
    aoi.say(&json!({ "message": "hi 山" }));
    aoi.expect_sent();
    for client in [&mut aoi, &mut ren] {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "message": "hi 山" })));
    }
    aoi.say(&json!({ "message": "see http://example.com" }));
    aoi.say(&json!({ "message": "darn 山", "more": {} }));
    assert_eq!(refused(&mut aoi), "Links are not allowed here, Aoi.");
    aoi.expect_sent();
    for client in [&mut aoi, &mut ren] {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "message": "**** 山", "more": {} })));
    }
    server.expect_metric("yamabiko_messages_refused_total{reason=\"refused\"}", 1);
    for decision in ["allow", "refuse", "rewrite"] {
        let name = format!("yamabiko_gate_decisions_total{{reason=\"{decision}\"}}");
        assert_eq!(server.metric(&name), 1, "{decision}");
    }
    // What only JavaScript can read does not slip through.
    for data in [r#"{"message":"http://x \ud800"}"#, r#"{"message":"http://x","\u0000":1}"#] {
        aoi.send_text(&format!(r#"{{"data":{data}}}"#));
        assert_eq!(refused(&mut aoi), "Links are not allowed here, Aoi.", "{data}");
    }
    // Its PHP has another secret, and answers 401.
    let mut aoi = join(&server, 7, "Aoi", "other:1");
    aoi.say(&json!({ "message": "hi" }));
    assert_eq!(refusal(&mut aoi), "unavailable");
    assert_eq!(failures(&server, "status"), 1);
}

#[test]
fn the_application_is_told_channel_sender_and_all_data() {
    let (port, received) = deferred();
    let server = serve(&format!("{}fields = [\"message\"]\ntargeting = true\n", kind("chat", port, "")));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    let mut ren = join(&server, 8, "Ren", "chat:1");
    aoi.say(&json!({ "message": "hi", "extra": 1, "target_user_id": 8 }));
    let (asked, answer) = received.recv_timeout(PATIENCE).unwrap();
    assert!(asked.head.starts_with("post /a-secret-path http/1.1\r\n"), "{}", asked.head);
    assert_eq!(asked.header("content-type"), Some("application/json"));
    let expected = json!({
        "channel": "chat:1",
        "sender": { "name": "Aoi", "id": 7 },
        "data": { "message": "hi", "extra": 1, "target_user_id": 8 },
    });
    assert_eq!(asked.json(), expected);
    // The target and the fields apply to what the application makes of it.
    let data = r#"{"decision":"rewrite","data":{"message":"for Aoi","extra":1,"target_user_id":7}}"#;
    answer.send((200, data.into())).unwrap();
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({ "message": "for Aoi" })));
    aoi.say(&json!({ "message": "last" }));
    received.recv_timeout(PATIENCE).unwrap().1.send((200, ALLOW.into())).unwrap();
    assert_eq!(ren.expect_json(), message(7, "Aoi", &json!({ "message": "last" })));
}

#[test]
fn a_gate_that_fails_refuses_or_allows_as_the_settings_say() {
    let huge = format!(r#"{{"decision":"rewrite","data":{{"message":"{}"}}}}"#, "x".repeat(100_000));
    let large = format!(r#"{{"decision":"rewrite","data":{{"message":"{}"}}}}"#, "x".repeat(65_536));
    let nonsense = "invalid_answer";
    let cases: Vec<(&str, Option<Answer>)> = vec![
        ("status", Some((500, ALLOW.into()))),
        ("status", Some((302, ALLOW.into()))),
        ("status", Some((204, String::new()))),
        (nonsense, Some((200, "<html>".into()))),
        (nonsense, Some((200, String::new()))),
        (nonsense, Some((200, r#"{"decision":"maybe"}"#.into()))),
        (nonsense, Some((200, r#"{"decision":"rewrite","data":[]}"#.into()))),
        ("invalid_data", Some((200, r#"{"decision":"rewrite","data":{"target_user_id":-1}}"#.into()))),
        ("invalid_data", Some((200, large))),
        ("too_large", Some((200, huge))),
        ("unreachable", None),
    ];
    let answers: Vec<_> = cases.iter().map(|(_, answer)| answer.clone()).collect();
    let port = application(move |asked| {
        let case: usize = text(&asked).parse().unwrap();
        answers[case].clone()
    });
    // A kind for each, so that no circuit opens.
    let settings: Vec<String> = (0..cases.len())
        .flat_map(|case| {
            let allow = r#", on_failure = "allow""#;
            [("closed", ""), ("open", allow)]
                .map(|(name, more)| kind(&format!("{name}{case}"), port, more) + "targeting = true\n")
        })
        .collect();
    let server = serve(&settings.concat());
    for (case, (reason, _)) in cases.iter().enumerate() {
        let data = json!({ "message": case.to_string() });
        let before = failures(&server, reason);
        let mut aoi = join(&server, 7, "Aoi", &format!("closed{case}:"));
        aoi.say(&data);
        assert_eq!(refusal(&mut aoi), "unavailable", "{reason}");
        let mut aoi = join(&server, 7, "Aoi", &format!("open{case}:"));
        aoi.say(&data);
        aoi.expect_sent();
        assert_eq!(aoi.expect_json(), message(7, "Aoi", &data), "{reason}");
        assert_eq!(failures(&server, reason), before + 2, "{reason}");
    }
    let line = server.expect_log(|line| line["reason"] == "too_large" && line["kind"] == "open9");
    assert_eq!(
        (&line["level"], &line["published"], &line["host"]),
        (&json!("WARN"), &json!(true), &json!("127.0.0.1"))
    );
    assert!(!server.raw_log().concat().contains("a-secret-path"));
}

#[test]
fn a_gate_that_hangs_is_given_up_and_its_bound_refuses_others_at_once() {
    let (port, received) = deferred();
    let server = serve(
        &(kind("slow", port, r#", timeout = "100ms""#)
            + &kind("one", port, r#", timeout = "1h", max_in_flight = 1"#)),
    );
    let mut aoi = join(&server, 7, "Aoi", "slow:");
    aoi.say(&json!({ "message": "hi" }));
    assert_eq!(refusal(&mut aoi), "unavailable");
    assert_eq!(failures(&server, "timeout"), 1);
    let _hangs = received.recv_timeout(PATIENCE).unwrap();

    let mut aoi = join(&server, 7, "Aoi", "one:");
    let mut ren = join(&server, 8, "Ren", "one:");
    aoi.say(&json!({ "message": "first" }));
    let (_, answer) = received.recv_timeout(PATIENCE).unwrap();
    ren.say(&json!({ "message": "second" }));
    assert_eq!(refusal(&mut ren), "unavailable");
    assert_eq!(failures(&server, "overloaded"), 1);
    answer.send((200, ALLOW.into())).unwrap();
    aoi.expect_sent();
    assert_eq!(ren.expect_json(), message(7, "Aoi", &json!({ "message": "first" })));
}

#[test]
fn messages_of_one_sender_keep_their_order_and_do_not_wait_for_others() {
    let (port, received) = deferred();
    let server = serve(&kind("chat", port, r#", timeout = "1h""#));
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let mut ren = join(&server, 8, "Ren", "chat:");
    for number in 0..5 {
        aoi.say(&json!({ "message": format!("aoi {number}") }));
        // What is refused without the application is answered in its turn.
        aoi.send_text("{");
    }
    let (first, answer) = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(text(&first), "aoi 0");
    ren.say(&json!({ "message": "ren" }));
    let (other, answer_other) = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(text(&other), "ren", "nothing of the first sender is asked meanwhile");
    answer_other.send((200, ALLOW.into())).unwrap();
    ren.expect_sent();
    assert_eq!(ren.expect_json()["data"]["message"], "ren");
    assert_eq!(aoi.expect_json()["data"]["message"], "ren");
    let mut answers = Some(answer);
    for number in 0..5 {
        let answer = answers.take().unwrap_or_else(|| {
            let (asked, answer) = received.recv_timeout(PATIENCE).unwrap();
            assert_eq!(text(&asked), format!("aoi {number}"));
            answer
        });
        answer.send((200, ALLOW.into())).unwrap();
        assert_eq!(ren.expect_json()["data"]["message"], format!("aoi {number}"));
    }
    // A refusal may overtake the answer that the broker still owes, but not the other refusals.
    let mut told: Vec<Value> = (0..15).map(|_| aoi.expect_json()).collect();
    told.retain(|frame| frame["type"] == "message");
    let told: Vec<_> = told.iter().map(|frame| frame["data"]["message"].clone()).collect();
    assert_eq!(told, ["aoi 0", "aoi 1", "aoi 2", "aoi 3", "aoi 4"]);
}

#[test]
fn what_a_client_has_sent_before_it_leaves_is_published() {
    let (port, received) = deferred();
    let server = serve(&kind("chat", port, r#", timeout = "1h""#));
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let mut ren = join(&server, 8, "Ren", "chat:");
    for number in 0..3 {
        aoi.say(&json!({ "message": number.to_string() }));
    }
    let first = received.recv_timeout(PATIENCE).unwrap();
    aoi.close();
    eventually("it has left", || server.metric("yamabiko_connections") == 1);
    first.1.send((200, ALLOW.into())).unwrap();
    for _ in 1..3 {
        received.recv_timeout(PATIENCE).unwrap().1.send((200, ALLOW.into())).unwrap();
    }
    for number in 0..3 {
        assert_eq!(ren.expect_json()["data"]["message"], number.to_string());
    }
}

#[test]
fn failures_in_a_row_pause_the_requests_until_the_application_is_back() {
    let (asked, requests) = channel();
    let asked = Mutex::new(asked);
    let port = application(move |request| {
        asked.lock().unwrap().send(()).ok()?;
        Some(if text(&request) == "good" { (200, ALLOW.into()) } else { (500, String::new()) })
    });
    let server = serve(&kind("chat", port, ""));
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    for _ in 0..20 {
        aoi.say(&json!({ "message": "bad" }));
        assert_eq!(refusal(&mut aoi), "unavailable");
    }
    assert_eq!(requests.try_iter().count(), 5);
    assert_eq!((failures(&server, "status"), failures(&server, "circuit_open")), (5, 15));
    let mut is_sent = false;
    eventually("it is asked again", || {
        aoi.say(&json!({ "message": "good" }));
        is_sent = aoi.expect_text() == OK;
        is_sent
    });
    assert_eq!(requests.try_iter().count(), 1);
    server.expect_log(|line| line["message"] == "the gate answers again");
}

#[test]
fn a_gate_goes_with_presence_history_and_refs() {
    let (port, received) = deferred();
    let more = "presence = true\nhistory = { messages = 10, age = \"10m\" }\n";
    let server = serve(&(kind("chat", port, r#", timeout = "1h""#) + more));
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    assert_eq!(aoi.expect_json()["type"], "connected");
    assert_eq!(aoi.expect_json()["type"], "connectOther");
    aoi.send_json(&json!({ "ref": "a", "data": { "message": "hi" } }));
    let refuse = r#"{"decision":"refuse"}"#;
    received.recv_timeout(PATIENCE).unwrap().1.send((200, refuse.into())).unwrap();
    let answer = aoi.expect_json();
    assert_eq!((&answer["ref"], &answer["error"]["code"]), (&json!("a"), &json!("refused")));
    // It was not stored under its ref.
    aoi.send_json(&json!({ "ref": "a", "data": { "message": "hi" } }));
    received.recv_timeout(PATIENCE).unwrap().1.send((200, ALLOW.into())).unwrap();
    assert_eq!(aoi.expect_json(), json!({ "type": "sended", "ok": true, "ref": "a" }));
    assert!(aoi.expect_json()["id"].is_string());
}

#[test]
fn kinds_without_a_gate_and_messages_of_the_application_are_not_asked_about() {
    let (port, received) = deferred();
    let server = serve(&kind("\"*\"", port, r#", timeout = "1h""#));
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    aoi.say(&json!({ "message": "hi" }));
    aoi.expect_sent();
    let mut ren = join(&server, 8, "Ren", "anything:");
    let published = r#"{"channel":"anything:","data":{"message":"from the application"}}"#;
    assert_eq!(server.post_admin("/api/v1/publish", published).status, 200);
    assert_eq!(ren.expect_json()["data"]["message"], "from the application");
    assert!(received.recv_timeout(Duration::ZERO).is_err());
    ren.say(&json!({ "message": "asked" }));
    assert_eq!(text(&received.recv_timeout(PATIENCE).unwrap().0), "asked");
}
