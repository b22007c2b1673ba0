//! `gate` of kinds, and `[events]`.

use std::time::Duration;

use super::*;
use crate::protocol::native::OnFailure;

const EVENTS: &str = "[events]\nsecret = \"0123456789abcdef0123456789abcdef\"\n";

#[test]
fn a_gate_is_read_with_its_defaults() {
    let text = r#"
        [channels.chat]
        gate = { url = "https://app.example.com/gate" }
        [channels.news.gate]
        url = "http://aoi:s3cret@app/"
        timeout = "250ms"
        on_failure = "allow"
        max_in_flight = 7
    "#;
    let config = with(&(EVENTS.to_owned() + text), &[]).unwrap();
    let gate = |kind: &str| config.settings.server.channels[kind].gate.clone();
    let chat = gate("chat").unwrap();
    assert_eq!(
        (chat.timeout, chat.on_failure, chat.max_in_flight),
        (Duration::from_secs(1), OnFailure::Refuse, 64)
    );
    let news = gate("news").unwrap();
    assert_eq!(
        (news.timeout, news.on_failure, news.max_in_flight),
        (Duration::from_millis(250), OnFailure::Allow, 7)
    );
    assert!(gate("tweet").is_none());
    let shown = show(&config);
    assert!(
        !shown.contains("s3cret") && !shown.contains("/gate") && !shown.contains("0123456789"),
        "{shown}"
    );

    let variables = [
        ("YAMABIKO__CHANNELS__CHAT__GATE", r#"{ url = "http://app/" }"#),
        ("YAMABIKO__EVENTS__SECRET", "0123456789abcdef0123456789abcdef"),
    ];
    assert!(env(&variables).settings.server.channels["chat"].gate.is_some());
}

#[test]
fn mistakes_in_a_gate_are_named() {
    for (gate, problem) in [
        (r#"{ timeout = "1s" }"#, "channels.chat.gate.url: is required"),
        (r#"{ url = "ftp://app/s3cret" }"#, "channels.chat.gate.url: the url is not one of http or https"),
        (r#"{ url = "http://app", timeout = "0s" }"#, "channels.chat.gate.timeout: must be longer than 0s"),
        (r#"{ url = "http://app", timeout = 1 }"#, "channels.chat.gate.timeout: must be a duration"),
        (
            r#"{ url = "http://app", max_in_flight = 0 }"#,
            "channels.chat.gate.max_in_flight: must be at least 1",
        ),
        (
            r#"{ url = "http://app", on_failure = "pass" }"#,
            "channels.chat.gate.on_failure: \"pass\" is invalid",
        ),
        (r#"{ url = "http://app", time = "1s" }"#, "channels.chat.gate.time: unknown setting"),
        (r#""http://app/s3cret""#, "channels.chat.gate: must be a table such as"),
    ] {
        let error = with(&format!("{EVENTS}[channels.chat]\ngate = {gate}"), &[]).unwrap_err().to_string();
        assert!(error.contains(problem) && !error.contains("s3cret"), "{gate}: {error}");
    }
}

#[test]
fn a_gate_needs_a_secret_to_sign_with() {
    let gate = "[channels.chat]\ngate = { url = \"http://app\" }\n";
    for (events, problem) in [
        ("", "events.secret: is required"),
        ("[events]\nsecret = \"short\"\n", "events.secret: has less than 32 bytes"),
    ] {
        let error = with(&(events.to_owned() + gate), &[]).unwrap_err().to_string();
        assert!(error.contains(problem) && !error.contains("\"short\""), "{error}");
        assert!(with(events, &[]).is_ok());
    }
}

#[test]
fn webhooks_of_native_channels_are_read_and_their_mistakes_are_named() {
    let text = r#"
        [[webhooks]]
        url = "https://aoi:s3cret@app.example.com/s3cret"
        kinds = ["chat"]
        events = ["message", "user_online"]
        headers = { X-Tenant = "s3cret" }
    "#;
    let config = with(&(EVENTS.to_owned() + text), &[]).unwrap();
    let server = &config.settings.server;
    assert_eq!(
        (server.webhooks.len(), server.events.stream, server.events.stream_entries),
        (1, false, 1_000_000)
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!show(&config).contains("s3cret"));

    for (webhook, problem) in [
        ("kinds = [\"a\"]", "webhooks[0].url: is required"),
        ("url = \"s3cret\"", "webhooks[0]: the url is not one of http or https"),
        ("url = \"http://app\"\nevents = [\"joined\"]", "webhooks[0].events: unknown variant `joined`"),
        ("url = \"http://app\"\nkind = \"chat\"", "webhooks[0].kind: unknown setting; did you mean kinds?"),
        ("url = \"http://app\"\nheaders = { Yamabiko-Signature = \"x\" }", "is set by the server"),
    ] {
        let error = with(&format!("{EVENTS}[[webhooks]]\n{webhook}"), &[]).unwrap_err().to_string();
        assert!(error.contains(problem) && !error.contains("s3cret"), "{webhook}: {error}");
    }
    let error = with("[[webhooks]]\nurl = \"http://app\"", &[]).unwrap_err().to_string();
    assert!(error.contains("events.secret: is required"), "{error}");
}

#[test]
fn the_event_stream_needs_redis_and_no_kind_needs_presence_for_it() {
    let stream = "[events]\nstream = true\nstream_events = [\"user_offline\"]\n";
    let error = with(stream, &[]).unwrap_err().to_string();
    assert!(error.contains("events.stream: needs redis.url"), "{error}");
    let redis = [("YAMABIKO__REDIS__URL", "redis://127.0.0.1")];
    let warnings = with(stream, &redis).unwrap().warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
}
