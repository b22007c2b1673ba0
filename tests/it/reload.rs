//! Settings that change while the server runs.

use jsonwebtoken::{EncodingKey, Header, encode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::page::{Page, connect};
use crate::support::{Client, Request, Server, claims};

const OLD: &str = "the old secret of the tests, 32 bytes";
const NEW: &str = "the new secret of the tests, 32 bytes";
const KEY: &str = "a-key-of-the-API-that-has-32-bytes-or-more";

/// A server whose settings are in its file.
fn serve(settings: &str) -> Server {
    Server::start(|options| {
        options.unset("auth.secret").config(&file(OLD, settings));
    })
}

fn file(secret: &str, settings: &str) -> String {
    format!("{settings}\n[auth]\nsecret = \"{secret}\"\n")
}

/// Changes the settings, and returns the line of the log about that.
fn reload(server: &Server, file: &str) -> Value {
    server.write_config(file);
    let before = server.log().len();
    server.signal(Signal::HUP);
    let is_about = |line: &Value| {
        line["message"].as_str().is_some_and(|message| {
            message == "settings reloaded" || message.starts_with("settings not reloaded")
        })
    };
    crate::support::eventually("the settings are read again", || server.log()[before..].iter().any(is_about));
    server.log()[before..].iter().find(|line| is_about(line)).unwrap().clone()
}

fn signed(secret: &str, id: i64, channel: &str) -> String {
    yamabiko::auth::install_crypto_provider();
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), &claims(id, "Aoi", channel), &key).unwrap()
}

fn join(server: &Server, secret: &str, id: i64, channel: &str) -> Result<Client, u16> {
    Client::with_token(server, &signed(secret, id, channel)).map_err(|response| response.status)
}

#[test]
fn a_secret_is_rotated_without_a_disconnection() {
    let server = serve("");
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    // Both are valid during the rotation.
    let both = format!("[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{NEW}\"\n");
    let line = reload(&server, &format!("{}{both}", file(OLD, "")));
    assert_eq!(line["settings"], "auth.keys");
    let mut ren = join(&server, NEW, 8, "chat:1").unwrap();
    join(&server, OLD, 9, "chat:1").unwrap();
    let line = reload(&server, &file(NEW, ""));
    assert_eq!(line["settings"], "auth.keys, auth.secret");
    assert_eq!(join(&server, OLD, 9, "chat:1").unwrap_err(), 401);
    join(&server, NEW, 9, "chat:1").unwrap();
    aoi.say(&json!({ "message": "still here" }));
    aoi.expect_sent();
    for client in [&mut aoi, &mut ren] {
        assert_eq!(client.expect_json()["data"], json!({ "message": "still here" }));
    }
    assert!(!server.raw_log().iter().any(|line| line.contains("secret of the tests")));
}

#[test]
fn a_mistake_changes_nothing_and_is_told() {
    let server = serve(
        "[[api.keys]]\nname = \"ops\"\nsecret = \"a-key-of-the-API-that-has-32-bytes-or-more\"\nscopes = [\"reload\"]\n",
    );
    for (wrong, problem) in [
        (file(NEW, "limits.connections = -1"), "limits.connections"),
        (file(NEW, "[channels.chat]\nfeilds = []"), "feilds"),
        (file("-----BEGIN PUBLIC KEY-----", ""), "auth.secret"),
        ("[[apps]]\nid = \"1\"".to_owned(), "apps[0]"),
        ("no TOML".to_owned(), "yamabiko.toml"),
    ] {
        let line = reload(&server, &wrong);
        assert_eq!(line["level"], "ERROR", "{line}");
        server.expect_log(|line| line["problem"].as_str().is_some_and(|text| text.contains(problem)));
        join(&server, OLD, 7, "chat:1").unwrap();
        assert_eq!(join(&server, NEW, 7, "chat:1").unwrap_err(), 401);
    }
    let request = || {
        Request::post_json(server.admin, "/api/v1/reload", "")
            .header("authorization", format!("Bearer {KEY}"))
    };
    let response = request().send();
    assert_eq!((response.status, response.json()["code"].as_str()), (422, Some("invalid_settings")));
    assert!(response.json()["detail"].as_str().unwrap().contains("yamabiko.toml"), "{}", response.text());
    server.write_config(&file(NEW, "[[api.keys]]\nname = \"ops\"\nsecret = \"another-key-that-has-32-bytes-or-more\"\nscopes = [\"reload\"]\n"));
    let response = request().send();
    assert_eq!(
        (response.status, response.json()),
        (200, json!({ "reloaded": ["auth.secret"], "pending": ["api.keys"] }))
    );
    join(&server, NEW, 7, "chat:1").unwrap();
}

#[test]
fn rules_limits_and_the_level_of_the_log_are_taken_over() {
    let server = serve("");
    let mut aoi = join(&server, OLD, 7, "news:1").unwrap();
    let mut say = |data: Value| {
        aoi.say(&data);
        aoi.expect_sent();
        aoi.expect_json()["data"].clone()
    };
    let data = json!({ "text": "hello", "draft": true });
    assert_eq!(say(data.clone()), data);
    let line = reload(
        &server,
        &file(OLD, "log.level = \"debug\"\nlimits.connections = 1\n[channels.news]\nfields = [\"text\"]\n"),
    );
    assert_eq!(line["settings"], "channels.news.fields, limits.connections, log.level");
    assert_eq!(say(data.clone()), json!({ "text": "hello" }));
    // Over the limit: closed after the upgrade.
    assert_eq!(join(&server, OLD, 8, "news:1").unwrap().expect_close().0, 1013);
    reload(&server, &file(OLD, "[channels.news]\nclient_send = false\n"));
    aoi.say(&data);
    assert_eq!(aoi.expect_json()["error"]["code"], "not_allowed");
    join(&server, OLD, 8, "news:1").unwrap().say(&json!({}));
}

#[test]
fn what_needs_a_restart_is_named_until_there_is_one() {
    let server = serve("");
    let changed =
        "server.shutdown_grace = \"7s\"\nrecovery.window = \"7s\"\n[channels.chat]\npresence = true\n";
    for _ in 0..2 {
        let before = server.log().len();
        reload(&server, &file(OLD, changed));
        let is_pending = |line: &Value| line["message"] == "these settings have changed and need a restart";
        crate::support::eventually("it is told", || server.log()[before..].iter().any(is_pending));
        let line = server.log()[before..].iter().find(|line| is_pending(line)).unwrap().clone();
        assert_eq!(line["settings"], "channels.chat.presence, recovery.window, server.shutdown_grace");
    }
    // As if nothing had changed.
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    aoi.say(&json!({ "message": "hello" }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json()["type"], "message");
}

#[test]
fn an_app_is_changed_without_a_disconnection() {
    let app = |more: &str| {
        format!("[[apps]]\nid = \"1\"\nkey = \"page\"\nsecret = \"app-secret-of-the-tests\"\n{more}\n")
    };
    let server = serve(&app(""));
    let mut page = Page::open(&server);
    page.subscribe("private-a");
    let line = reload(&server, &file(OLD, &app("enabled = false")));
    assert_eq!(line["settings"], "apps.1.enabled");
    let mut refused = connect(&server, "/app/page?protocol=7");
    assert!(refused.expect_text().contains("4003"));
    page.expect_quiet();
    reload(&server, &file(OLD, &app("client_events = true\nchannels_per_connection = 1")));
    let mut other = Page::open(&server);
    other.subscribe("private-a");
    let event = json!({ "event": "client-hello", "channel": "private-a", "data": {} });
    other.client.send_json(&event);
    assert_eq!(page.next().0, "client-hello");
    // The page has the settings with which it connected.
    page.client.send_json(&event);
    assert_eq!(page.next().0, "pusher:error");
}
