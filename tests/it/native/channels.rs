//! Which channel a connection is on.

use serde_json::json;

use crate::native::{join, message};
use crate::support::{Client, Server, claims};

#[test]
fn channel_names_are_compared_exactly() {
    let server = Server::start(|_| {});
    let names = [
        "notes",
        "notes:",
        "notes: ",
        " notes:",
        "Notes:",
        "notes:a",
        "notes:A",
        "notes:a,b",
        "notes:a,b,",
        "notes:caf\u{e9}",
        "notes:cafe\u{301}",
        "山:彦",
        "🗻",
        ":",
        "::",
        "notes:*",
        "notes:[a]",
        "notes:?",
        "notes:a/../b",
        "notes:%61",
        "notes:\\u0061",
    ];
    let mut clients: Vec<_> = (0..).zip(names).map(|(id, name)| join(&server, id, "x", name)).collect();
    server.expect_metric("yamabiko_channels", i64::try_from(names.len()).unwrap());
    for (client, name) in clients.iter_mut().zip(names) {
        client.say(&json!({ "on": name }));
        client.expect_sent();
    }
    // Each receives its own message; one of another channel would come first, or be the next frame.
    for ((id, client), name) in (0..).zip(&mut clients).zip(names) {
        assert_eq!(client.expect_json(), message(id, "x", &json!({ "on": name })));
        client.say(&json!({ "last": true }));
        client.expect_sent();
        assert_eq!(client.expect_json(), message(id, "x", &json!({ "last": true })), "{name:?}");
    }
}

#[test]
fn a_name_has_1_to_200_bytes_and_no_control_characters() {
    let server = Server::start(|_| {});
    for name in ["a".repeat(200), "山".repeat(66), "a".to_owned(), "\u{202e}\u{feff}".to_owned()] {
        assert!(Client::connect(&server, &claims(7, "Aoi", &name)).is_ok(), "{name:?}");
    }
    let wrong = ["", "\0", "a\nb", "a\tb", "a\u{7f}", "a\u{85}b", "a\u{1b}[0m"].map(str::to_owned);
    for name in wrong.into_iter().chain(["a".repeat(201), "山".repeat(67)]) {
        let refused = Client::connect(&server, &claims(7, "Aoi", &name)).expect_err("refused");
        assert_eq!(refused.status, 401, "{name:?}");
        assert_eq!(refused.json()["error"]["code"], "invalid_claims", "{name:?}");
    }
}

#[test]
fn the_kind_is_the_text_before_the_first_colon() {
    let server = Server::start(|_| {});
    for (channel, is_tweet) in [
        ("tweet", true),
        ("tweet:", true),
        ("tweet:a:b", true),
        ("tweet:chat:", true),
        ("tweets:", false),
        ("Tweet:", false),
        ("x:tweet:", false),
        (" tweet:", false),
        (":tweet", false),
    ] {
        let mut client = join(&server, 7, "Aoi", channel);
        client.say(&json!({ "tweet": 1, "other": 2 }));
        client.expect_sent();
        let expected = if is_tweet { json!({ "tweet": 1 }) } else { json!({ "tweet": 1, "other": 2 }) };
        assert_eq!(client.expect_json()["data"], expected, "{channel:?}");
    }
}

#[test]
fn a_message_cannot_change_its_channel() {
    let server = Server::start(|_| {});
    let mut here = join(&server, 7, "Aoi", "notes:here");
    let mut there = join(&server, 8, "Ren", "notes:there");
    here.send_json(&json!({ "channel": "notes:there", "type": "join", "sender": {"id": 8, "name": "Ren"},
        "data": { "channel": "notes:there" } }));
    here.expect_sent();
    assert_eq!(here.expect_json(), message(7, "Aoi", &json!({ "channel": "notes:there" })));
    there.say(&json!({ "mark": 1 }));
    there.expect_sent();
    assert_eq!(there.expect_json(), message(8, "Ren", &json!({ "mark": 1 })));
}
