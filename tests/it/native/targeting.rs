//! `target_user_id` from clients. From Redis: `tests/it/nodes/`.

use serde_json::json;

use crate::native::{join, join_as, message, refusal};
use crate::support::Server;

#[test]
fn a_targeted_message_reaches_only_that_user_on_that_channel() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let mut ren = [join(&server, 8, "Ren", "chat:"), join(&server, 8, "Ren", "chat:")];
    let mut ren_elsewhere = join(&server, 8, "Ren", "chat:other");
    let mut yui = join(&server, 9, "Yui", "chat:");

    aoi.say(&json!({ "message": "for Ren", "target_user_id": 8 }));
    aoi.expect_sent();
    for tab in &mut ren {
        assert_eq!(tab.expect_json(), message(7, "Aoi", &json!({ "message": "for Ren" })));
    }
    // Targets that are not connected or do not exist: `sended` all the same.
    for nobody in [json!(10), json!(i64::MAX)] {
        aoi.say(&json!({ "message": "for nobody", "target_user_id": nobody }));
        aoi.expect_sent();
    }
    aoi.say(&json!({ "message": "for myself", "target_user_id": 7 }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({ "message": "for myself" })));
    aoi.say(&json!({ "message": "for all" }));
    aoi.expect_sent();
    for client in [&mut aoi, &mut yui].into_iter().chain(&mut ren) {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "message": "for all" })));
    }
    ren_elsewhere.expect_quiet();
}

#[test]
fn a_message_can_target_a_string_id() {
    let server = Server::start(|_| {});
    let uuid = "9d2f4c1e-7b1a-4e0e-9a53-3f1f5a0d6c11";
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let mut ren = join_as(&server, &json!(uuid), "chat:");
    let mut other = join_as(&server, &json!("9d2f4c1e-7b1a-4e0e-9a53-3f1f5a0d6c12"), "chat:");
    let mut seven = join_as(&server, &json!("7"), "chat:");

    ren.say(&json!({ "message": 1, "target_user_id": uuid }));
    ren.expect_sent();
    let expected =
        json!({ "type": "message", "sender": { "name": "A", "id": uuid }, "data": { "message": 1 } });
    assert_eq!(ren.expect_json(), expected);
    // A number and the text that spells it are one user, whichever way it was signed and is meant.
    for target in [json!(7), json!("7")] {
        other.say(&json!({ "message": 2, "target_user_id": target }));
        other.expect_sent();
        for client in [&mut aoi, &mut seven] {
            assert_eq!(client.expect_json()["data"], json!({ "message": 2 }), "{target}");
        }
    }
    other.say(&json!({ "message": "for all" }));
    other.expect_sent();
    for client in [&mut aoi, &mut ren, &mut other, &mut seven] {
        assert_eq!(client.expect_json()["data"], json!({ "message": "for all" }));
    }
}

#[test]
fn null_zero_empty_and_false_target_everyone() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let mut ren = join(&server, 8, "Ren", "chat:");
    for everybody in [json!(null), json!(0), json!(""), json!("0"), json!(false)] {
        aoi.say(&json!({ "message": 1, "target_user_id": everybody }));
        aoi.expect_sent();
        for client in [&mut aoi, &mut ren] {
            assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "message": 1 })), "{everybody}");
        }
    }
}

#[test]
fn any_other_value_is_an_invalid_message() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let mut ren = join(&server, 8, "Ren", "chat:");
    let long = format!("\"{}\"", "x".repeat(65));
    let wrong = [&long, r#""-8""#, "8.0", "8.5", "1e1", "-8", "-0", "true", "[]", "[8]", "{}"];
    for value in wrong {
        aoi.send_text(&format!(r#"{{"data":{{"message":"x","target_user_id":{value}}}}}"#));
        assert_eq!(refusal(&mut aoi), "invalid_message", "{value}");
    }
    aoi.say(&json!({ "message": "the first to arrive" }));
    aoi.expect_sent();
    for client in [&mut aoi, &mut ren] {
        assert_eq!(client.expect_json()["data"], json!({ "message": "the first to arrive" }));
    }
}

#[test]
fn without_targeting_the_key_is_ordinary_data() {
    let server = Server::start(|_| {});
    for (channel, delivered) in [
        ("tweet:", json!({ "tweet": 1 })),
        ("progress:", json!({})),
        ("notes:", json!({ "tweet": 1, "target_user_id": "8" })),
    ] {
        let mut aoi = join(&server, 7, "Aoi", channel);
        let mut ren = join(&server, 9, "Ren", channel);
        aoi.say(&json!({ "tweet": 1, "target_user_id": "8" }));
        aoi.expect_sent();
        for client in [&mut aoi, &mut ren] {
            assert_eq!(client.expect_json()["data"], delivered, "{channel}");
        }
    }
}

#[test]
fn the_target_is_never_delivered_even_as_a_listed_field() {
    let server = Server::start(|options| {
        options.config("[channels.direct]\ntargeting = true\n[channels.odd]\ntargeting = true\nfields = [\"target_user_id\"]\n");
    });
    for channel in ["direct:", "odd:"] {
        let mut aoi = join(&server, 7, "Aoi", channel);
        for target in [7, 0] {
            aoi.say(&json!({ "target_user_id": target }));
            aoi.expect_sent();
            assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({})), "{channel}");
        }
    }
}
