//! A new token on an open connection.

use serde_json::{Value, json};
use tungstenite::Message;

use crate::native::{join, message, refusal, unix_time};
use crate::support::{Client, Raw, Server, claims, eventually, token};

const RENEWED: &str = r#"{"type":"auth","ok":true}"#;

fn renew(client: &mut Client, claims: &Value) {
    client.send_json(&json!({ "type": "auth", "token": token(claims) }));
}

/// The code with which a renewal was refused.
fn refused(client: &mut Client) -> String {
    let answer = client.expect_json();
    assert_eq!((&answer["type"], &answer["ok"]), (&json!("auth"), &json!(false)), "{answer}");
    assert!(answer["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    answer["error"]["code"].as_str().expect("a code").to_owned()
}

fn expiring(at: u64) -> Value {
    let mut claims = claims(7, "Aoi", "notes:");
    claims["exp"] = json!(at);
    claims
}

#[test]
fn a_renewed_connection_outlives_its_first_token() {
    let server = Server::start(|_| {});
    let exp = unix_time() + 5;
    let mut renewed = Client::connect(&server, &expiring(exp)).expect("upgraded");
    let mut other = Client::connect(&server, &expiring(exp)).expect("upgraded");
    renew(&mut renewed, &claims(7, "Aoi", "notes:"));
    assert_eq!(renewed.expect_text(), RENEWED);
    // When the connection with the same token closes, its time has passed.
    assert_eq!(other.expect_close(), (4401, "token expired".to_owned()));
    renewed.expect_quiet();
    // The new expiry counts, also if it is an earlier one.
    let exp = unix_time() + 5;
    renew(&mut renewed, &expiring(exp));
    assert_eq!(renewed.expect_text(), RENEWED);
    assert_eq!(renewed.expect_close(), (4401, "token expired".to_owned()));
    assert!(unix_time() >= exp, "closed before its time");
    server.expect_metric("yamabiko_tokens_renewed_total", 2);
    let line = server.expect_log(|line| line["message"] == "token renewed");
    assert_eq!((&line["user"], &line["channel"]), (&json!(7), &json!("notes:")));
}

#[test]
fn the_name_of_the_new_token_is_the_senders_name() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    // `"7"` and 7 are the same user.
    let mut renamed = claims(7, "Aoi S.", "notes:");
    for id in [json!(7), json!("7"), json!(7)] {
        renamed["id"] = id.clone();
        renew(&mut aoi, &renamed);
        assert_eq!(aoi.expect_text(), RENEWED);
        aoi.say(&json!({ "n": 1 }));
        aoi.expect_sent();
        let copy = aoi.expect_json();
        assert_eq!(copy["sender"], json!({ "name": "Aoi S.", "id": id }), "{copy}");
    }
    // In a binary frame, and on a channel whose messages have refs.
    let text = json!({ "token": token(&claims(7, "Aoi", "notes:")), "type": "auth", "ref": "x" }).to_string();
    aoi.send(Message::binary(text.into_bytes()));
    assert_eq!(aoi.expect_text(), RENEWED);
    aoi.say(&json!({}));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({})));
}

#[test]
fn a_refused_renewal_changes_nothing() {
    let server = Server::start(|options| {
        options.config("[channels.kept]\nhistory = { messages = 10, age = \"1m\" }\nclient_send = false\n");
    });
    let mut kept = join(&server, 7, "Aoi", "kept:");
    renew(&mut kept, &claims(7, "Aoi", "kept:"));
    assert_eq!(kept.expect_text(), RENEWED);

    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let good = token(&claims(7, "Eve", "notes:"));
    let (unsigned, _) = good.rsplit_once('.').expect("a signature");
    let cases = [
        (json!({ "type": "auth", "token": token(&claims(8, "Eve", "notes:")) }), "other_identity"),
        (json!({ "type": "auth", "token": token(&claims(7, "Eve", "notes:b")) }), "other_identity"),
        (json!({ "type": "auth", "token": token(&expiring(unix_time() - 1)) }), "token_expired"),
        (json!({ "type": "auth", "token": format!("{unsigned}.AAAA") }), "bad_signature"),
        (json!({ "type": "auth", "token": "x" }), "malformed_token"),
        (json!({ "type": "auth", "token": 7 }), "malformed_token"),
        (json!({ "type": "auth", "token": "" }), "missing_token"),
        (json!({ "type": "auth" }), "missing_token"),
        (json!({ "type": "auth", "token": token(&json!({ "id": 7 })) }), "invalid_claims"),
    ];
    for (request, code) in &cases {
        aoi.send_json(request);
        assert_eq!(refused(&mut aoi), *code, "{code}");
        assert!(
            server.metric(&format!("yamabiko_renewals_refused_total{{reason=\"{code}\"}}")) > 0,
            "{code}"
        );
    }
    aoi.say(&json!({ "n": 1 }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({ "n": 1 })));
    // What is no request is what it was before.
    for other in [
        json!({ "type": "other", "token": good }),
        json!({ "token": good }),
        json!({ "type": "auth", "data": 1 }),
    ] {
        aoi.send_json(&other);
        assert_eq!(refusal(&mut aoi), "invalid_message");
    }
    aoi.send_json(&json!({ "type": "auth", "token": "x", "data": { "n": 2 } }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({ "n": 2 })));
    let line = server.expect_log(|line| line["message"] == "token renewal refused");
    assert_eq!((&line["user"], &line["reason"]), (&json!(7), &json!("other_identity")));
}

#[test]
fn a_refused_renewal_does_not_prolong_the_connection() {
    let server = Server::start(|_| {});
    let exp = unix_time() + 5;
    let mut aoi = Client::connect(&server, &expiring(exp)).expect("upgraded");
    renew(&mut aoi, &claims(8, "Ren", "notes:"));
    assert_eq!(refused(&mut aoi), "other_identity");
    assert_eq!(aoi.expect_close(), (4401, "token expired".to_owned()));
    assert!(unix_time() >= exp, "closed before its time");
}

#[test]
fn renewals_count_against_the_message_rate() {
    let server = Server::start(|options| {
        options.set("limits.burst", 3).set("limits.messages_per_second", 20);
    });
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let request = json!({ "type": "auth", "token": token(&claims(7, "Aoi", "notes:")) }).to_string();
    let pipelined: Vec<u8> = (0..8).flat_map(|_| Raw::text(&request)).collect();
    std::io::Write::write_all(aoi.stream(), &pipelined).unwrap();
    for _ in 0..8 {
        assert_eq!(aoi.expect_text(), RENEWED);
    }
    eventually("throttled", || server.metric("yamabiko_connections_throttled_total") == 1);
}

#[test]
fn a_renewal_keeps_a_connection_without_close_on_expiry_open() {
    let server = Server::start(|options| {
        options.set("auth.close_on_expiry", false);
    });
    let closing = Server::start(|_| {});
    let exp = unix_time() + 5;
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    renew(&mut aoi, &expiring(exp));
    assert_eq!(aoi.expect_text(), RENEWED);
    // The marker: a connection of a server that closes, with the same token.
    let mut marker = Client::connect(&closing, &expiring(exp + 1)).expect("upgraded");
    assert_eq!(marker.expect_close().0, 4401);
    aoi.expect_quiet();
}
