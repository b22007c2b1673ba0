//! The rules of a kind.

use serde_json::{Value, json};

use crate::native::{join, message, refusal};
use crate::support::{Server, eventually};

#[test]
fn the_default_channel_rules() {
    let server = Server::start(|_| {});
    let everything = json!({ "message": "m", "name": "n", "tweet": "t", "info": {"i": 1}, "x": null });
    for (channel, data, expected) in [
        ("chat:", everything.clone(), json!({ "message": "m", "name": "n" })),
        ("chat:room1", json!({ "message": "m", "x": 1 }), json!({ "message": "m" })),
        ("chat", json!({ "x": 1 }), json!({})),
        ("chat:", json!({ "message": null, "name": [1] }), json!({ "message": null, "name": [1] })),
        ("tweet:", everything.clone(), json!({ "tweet": "t" })),
        ("tweet:", json!({ "x": 1 }), json!({})),
        ("progress:42", everything.clone(), json!({ "info": {"i": 1} })),
        ("other:", everything.clone(), everything.clone()),
    ] {
        let mut client = join(&server, 7, "Aoi", channel);
        client.say(&data);
        client.expect_sent();
        assert_eq!(client.expect_json(), message(7, "Aoi", &expected), "{channel} {data}");
    }
}

#[test]
fn fields_keep_their_order() {
    let server = Server::start(|_| {});
    let mut client = join(&server, 7, "Aoi", "chat:");
    for (data, kept) in [
        (r#"{"name":"n","x":0,"message":"m"}"#, r#""data":{"name":"n","message":"m"}}"#),
        (r#"{"message":"m","name":"n"}"#, r#""data":{"message":"m","name":"n"}}"#),
    ] {
        client.send_text(&format!(r#"{{"data":{data}}}"#));
        client.expect_sent();
        let text = client.expect_text();
        assert!(text.ends_with(kept), "{text}");
    }
}

#[test]
fn a_new_channel_kind_needs_only_settings() {
    let server = Server::start(|options| {
        options.config(
            "[channels.alarm]\nfields = [\"level\", \"text\"]\ntargeting = true\n\
             [channels.news]\nclient_send = false\n\
             [channels.bare]\nfields = []\n",
        );
    });
    let mut alarm = join(&server, 7, "Aoi", "alarm:1");
    alarm.say(&json!({ "text": "fire", "by": "me", "target_user_id": 7, "level": 3 }));
    alarm.expect_sent();
    assert_eq!(alarm.expect_json(), message(7, "Aoi", &json!({ "level": 3, "text": "fire" })));
    alarm.say(&json!({ "target_user_id": "-7" }));
    assert_eq!(refusal(&mut alarm), "invalid_message");

    let mut news = join(&server, 7, "Aoi", "news:1");
    news.say(&json!({}));
    assert_eq!(refusal(&mut news), "not_allowed");

    let mut bare = join(&server, 7, "Aoi", "bare:1");
    bare.say(&json!({ "a": 1 }));
    bare.expect_sent();
    assert_eq!(bare.expect_json()["data"], json!({}));

    // The shipped ones are still there.
    let mut tweet = join(&server, 7, "Aoi", "tweet:");
    tweet.say(&json!({ "tweet": 1, "a": 1 }));
    tweet.expect_sent();
    assert_eq!(tweet.expect_json()["data"], json!({ "tweet": 1 }));
}

#[test]
fn a_default_channel_rule_can_be_overridden() {
    let server = Server::start(|options| {
        options.config("[channels.chat]\nfields = [\"message\", \"name\", \"stamp\"]\nclient_send = true\n");
    });
    let mut chat = join(&server, 7, "Aoi", "chat:");
    chat.say(&json!({ "stamp": 1, "x": 1 }));
    chat.expect_sent();
    assert_eq!(chat.expect_json()["data"], json!({ "stamp": 1 }));
}

#[test]
fn removed_keys_are_counted_and_logged() {
    let server = Server::start(|options| {
        options.config(
            "[channels.tweet]\nfields = \"*\"\n[channels.\"*\"]\nfields = [\"title\"]\nclient_send = false\n",
        );
    });
    let counted = |kind: &str| server.metric(&format!("yamabiko_fields_left_out_total{{kind=\"{kind}\"}}"));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    assert_eq!(["chat", "progress", "*"].map(counted), [0, 0, 0]);
    for text in ["hi", "ho"] {
        aoi.say(&json!({ "massage": text, "name": "Aoi", "nmae ip=1.2.3.4": 1 }));
        aoi.expect_sent();
        assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({ "name": "Aoi" })));
    }
    assert_eq!(["chat", "progress", "*"].map(counted), [4, 0, 0]);
    let is_logged = |line: &Value| line["message"] == "`fields` removed keys of a message";
    // The second message's line is behind the first one's.
    eventually("a line for each message", || server.log().iter().filter(|line| is_logged(line)).count() == 2);
    let line = server.expect_log(is_logged);
    assert_eq!((&line["kind"], &line["channel"]), (&json!("chat"), &json!("chat:1")));
    assert_eq!(line["keys"], "massage, nmae ip=1.2.3.4");

    let mut tweets = join(&server, 7, "Aoi", "tweet:");
    tweets.say(&json!({ "anything": [1] }));
    tweets.expect_sent();
    assert_eq!(tweets.expect_json(), message(7, "Aoi", &json!({ "anything": [1] })));
    let mut other = join(&server, 7, "Aoi", "news:");
    other.say(&json!({ "title": "t" }));
    assert_eq!(refusal(&mut other), "not_allowed");
}
