//! Settings that change while the server runs.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ED25519};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::page::{Page, connect, sign, trigger_other};
use crate::support::application::{Asked, application};
use crate::support::redis::RedisServer;
use crate::support::{Client, PATIENCE, Request, Server, claims, eventually};

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
    eventually("the settings are read again", || server.log()[before..].iter().any(is_about));
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
fn a_public_key_is_replaced_in_its_file() {
    yamabiko::auth::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("public.pem");
    let [old, new] = [(), ()].map(|()| KeyPair::generate_for(&PKCS_ED25519).unwrap());
    fs::write(&path, old.public_key_pem()).unwrap();
    let settings = format!("[[auth.keys]]\nalgorithm = \"EdDSA\"\npublic_key_file = {path:?}\n");
    let server = Server::start(|options| {
        options.unset("auth.secret").config(&settings);
    });
    let join = |pair: &KeyPair| {
        let key = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
        let token = encode(&Header::new(Algorithm::EdDSA), &claims(7, "Aoi", "chat:1"), &key).unwrap();
        Client::with_token(&server, &token).map_err(|response| response.status)
    };
    let mut aoi = join(&old).unwrap();
    assert_eq!(join(&new).unwrap_err(), 401);
    // A file that is no key changes nothing.
    fs::write(&path, "not a key").unwrap();
    assert!(reload(&server, &settings)["message"].as_str().unwrap().starts_with("settings not reloaded"));
    join(&old).unwrap();
    fs::write(&path, new.public_key_pem()).unwrap();
    assert_eq!(reload(&server, &settings)["message"], "settings reloaded");
    assert_eq!(join(&old).unwrap_err(), 401);
    join(&new).unwrap();
    aoi.say(&json!({ "message": "still here" }));
    aoi.expect_sent();
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
    // Each problem is a line of its own.
    reload(&server, &file(NEW, "limits.burst = -1\nserver.nme = 1"));
    for problem in ["limits.burst: ", "server.nme: "] {
        server.expect_log(|line| line["problem"].as_str().is_some_and(|text| text.starts_with(problem)));
    }
    server.write_config("no TOML");
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
        (200, json!({ "reloaded": ["api.keys", "auth.secret"], "pending": [] }))
    );
    assert_eq!(request().send().json()["code"], "unknown_key");
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
fn what_needs_a_restart_is_named_with_the_reason_until_there_is_one() {
    let server = serve("");
    let changed = "server.shutdown_grace = \"7s\"\nredis.prefix = \"x_\"\n[channels.chat]\npresence = true\n";
    server.write_config(&file(OLD, changed));
    for _ in 0..2 {
        let report = server.post_admin("/api/v1/reload", "").json();
        assert_eq!(report["reloaded"], json!([]));
        let pending = report["pending"].as_array().unwrap();
        let names: Vec<&str> = pending.iter().map(|pending| pending["setting"].as_str().unwrap()).collect();
        assert_eq!(names, ["channels.chat.presence", "redis.prefix", "server.shutdown_grace"]);
        for pending in pending {
            server.expect_log(|line| {
                line["setting"] == pending["setting"] && line["reason"] == pending["reason"]
            });
        }
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

const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"page\"\nsecret = \"app-secret-of-the-tests\"\n";
const OTHER_APP: &str = "[[apps]]\nid = \"2\"\nkey = \"other\"\nsecret = \"another-secret-of-the-tests\"\n";

#[test]
fn a_removed_app_closes_its_connections_only_and_can_come_back() {
    let server = serve(&[APP, OTHER_APP].concat());
    let mut stays = Page::open(&server);
    stays.subscribe("news");
    let mut native = join(&server, OLD, 7, "chat:1").unwrap();
    let mut leaving = [
        Page::of_app(&server, "other", "another-secret-of-the-tests"),
        Page::of_app(&server, "other", "another-secret-of-the-tests"),
    ];
    leaving[0].subscribe("news");
    let line = reload(&server, &file(OLD, APP));
    assert_eq!(line["settings"], "apps.2");
    for page in &mut leaving {
        let (texts, close) = page.client.expect_last();
        assert!(texts.last().is_some_and(|text| text.contains("4001")), "{texts:?}");
        assert_eq!(close, (4001, "no such app".to_owned()));
    }
    server.expect_log(|line| line["reason"] == "no_such_app" && line["app"] == "2");
    let line = server.expect_log(|line| line["apps"] == "2");
    assert_eq!(line["connections"], 2);
    server.expect_metric("yamabiko_connections_closed_total{reason=\"no_such_app\"}", 2);
    assert!(connect(&server, "/app/other?protocol=7").expect_text().contains("4001"));
    stays.expect_quiet();
    native.expect_quiet();

    let line = reload(&server, &file(OLD, &[APP, OTHER_APP].concat()));
    assert_eq!(line["settings"], "apps.2");
    let mut back = Page::of_app(&server, "other", "another-secret-of-the-tests");
    back.subscribe("news");
    trigger_other(&server, &["news"], "E", &json!(1));
    back.expect("E", "news", &json!(1));
    stays.expect_quiet();
}

/// Nodes are reloaded one after another: one that learns of an app asks the others who is there.
#[test]
fn a_new_app_is_the_same_on_all_nodes() {
    let redis = RedisServer::start();
    let start = || {
        let server = Server::start(|options| {
            options
                .unset("auth.secret")
                .set("redis.url", redis.url())
                .set("redis.prefix", "app-database-")
                .config(&file(OLD, ""));
        });
        eventually("the node is ready", || server.get_admin("/readyz").status == 200);
        server
    };
    let nodes = [start(), start()];
    reload(&nodes[0], &file(OLD, APP));
    let mut first = Page::open(&nodes[0]);
    assert_eq!(first.enter("presence-room", 7), [7]);
    reload(&nodes[1], &file(OLD, APP));
    let members = || {
        let path = "/api/v1/channels/presence-room?app=1";
        nodes[1].get_admin(path).json()["members"].as_i64().unwrap_or_default()
    };
    eventually("the second node knows of the member", || members() == 1);
    let mut second = Page::open(&nodes[1]);
    assert_eq!(second.enter("presence-room", 8), [7, 8]);
    first.expect_added("presence-room", 8);
    // What Laravel's `redis` broadcaster publishes belongs to the first app, which is new.
    let mut laravel = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let payload = json!({ "event": "E", "data": [1], "socket": null }).to_string();
    let _: i64 =
        ::redis::cmd("PUBLISH").arg("app-database-presence-room").arg(payload).query(&mut laravel).unwrap();
    for page in [&mut first, &mut second] {
        page.expect("E", "presence-room", &json!([1]));
    }
}

#[test]
fn another_first_app_gets_what_laravels_redis_broadcaster_publishes() {
    let redis = RedisServer::start();
    let server = Server::start(|options| {
        options
            .unset("auth.secret")
            .set("redis.url", redis.url())
            .set("redis.prefix", "app-database-")
            .config(&file(OLD, &[APP, OTHER_APP].concat()));
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    let mut pages = [Page::open(&server), Page::of_app(&server, "other", "another-secret-of-the-tests")];
    for page in &mut pages {
        page.subscribe("news");
    }
    let line = reload(&server, &file(OLD, &[OTHER_APP, APP].concat()));
    assert_eq!(line["settings"], "apps");
    let mut laravel = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let payload = json!({ "event": "E", "data": [1], "socket": null }).to_string();
    eventually("the topic is subscribed again", || {
        let receivers: i64 =
            ::redis::cmd("PUBLISH").arg("app-database-news").arg(&payload).query(&mut laravel).unwrap();
        receivers == 1
    });
    pages[1].expect("E", "news", &json!([1]));
    pages[0].expect_quiet();
}

#[test]
fn a_gate_comes_and_goes_while_clients_are_connected() {
    let refuse = application(|_| Some((200, r#"{"decision":"refuse","message":"no"}"#.into())));
    let gated = |port: u16| {
        format!(
            "[events]\nsecret = \"the-secret-of-events-with-32-bytes-or-more\"\n[channels.chat]\ngate = {{ url = \"http://127.0.0.1:{port}/\" }}\n"
        )
    };
    let server = serve("");
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    aoi.expect_quiet();
    let line = reload(&server, &file(OLD, &gated(refuse)));
    assert_eq!(line["settings"], "channels.chat.gate, events.secret");
    aoi.say(&json!({ "message": "hi" }));
    assert_eq!(aoi.expect_json()["error"]["message"], "no");
    let rewrite = application(|_| Some((200, r#"{"decision":"rewrite","data":{"message":"other"}}"#.into())));
    let line = reload(&server, &file(OLD, &gated(rewrite)));
    assert_eq!(line["settings"], "channels.chat.gate");
    aoi.say(&json!({ "message": "hi" }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json()["data"]["message"], "other");
    reload(&server, &file(OLD, ""));
    aoi.expect_quiet();
}

#[test]
fn histories_come_and_go() {
    let of = |kinds: &[&str]| {
        let history = |kind| format!("[channels.{kind}]\nhistory = {{ messages = 10, age = \"10m\" }}\n");
        kinds.iter().map(history).collect::<Vec<String>>().concat()
    };
    let server = serve(&of(&["log"]));
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    aoi.say(&json!({ "message": "before" }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json().get("id"), None);
    let line = reload(&server, &file(OLD, &of(&["log", "chat"])));
    assert_eq!(line["settings"], "channels.chat.history");
    aoi.say(&json!({ "message": "kept" }));
    aoi.expect_sent();
    assert!(aoi.expect_json()["id"].is_string());
    let history = || server.get_admin("/api/v1/channels/chat:1/history").json();
    assert_eq!(history()["messages"].as_array().map(Vec::len), Some(1), "{}", history());
    assert_eq!(history()["messages"][0]["data"]["message"], "kept");
    reload(&server, &file(OLD, &of(&["log"])));
    assert_eq!(history()["code"], "no_history");
    aoi.expect_quiet();

    // What is not on cannot be turned on.
    let server = serve("");
    server.write_config(&file(OLD, &of(&["chat"])));
    let report = server.post_admin("/api/v1/reload", "").json();
    assert_eq!(report["reloaded"], json!([]));
    assert_eq!(report["pending"][0]["setting"], "channels.chat.history");
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    aoi.expect_quiet();
}

#[test]
fn a_history_of_an_app_is_taken_over_on_redis() {
    let redis = RedisServer::start();
    let app = |channels: &str| {
        format!("{APP}[[apps.history]]\nchannels = [{channels}]\nmessages = 10\nage = \"10m\"\n")
    };
    let server = Server::start(|options| {
        options
            .unset("auth.secret")
            .set("redis.url", redis.url())
            .set("redis.prefix", "app-database-")
            .config(&file(OLD, &app("\"log\"")));
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    let mut page = Page::open(&server);
    page.subscribe("news.1");
    let mut laravel = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut patterns = || ::redis::cmd("PUBSUB").arg("NUMPAT").query::<i64>(&mut laravel).unwrap();
    let before = patterns();
    reload(&server, &file(OLD, &app("\"log\", \"news.*\"")));
    eventually("the node is subscribed to the pattern", || patterns() == before + 1);
    let payload = json!({ "event": "E", "data": [1], "socket": null }).to_string();
    let receivers: i64 =
        ::redis::cmd("PUBLISH").arg("app-database-news.1").arg(payload).query(&mut laravel).unwrap();
    assert_eq!(receivers, 1, "not by its name too");
    page.expect("E", "news.1", &json!([1]));
    let history = server.get_admin("/api/v1/channels/news.1/history?app=1").json();
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(1), "{history}");
    page.expect_quiet();
}

/// Webhooks of native channels and of an app, with another secret, another address and another app.
#[test]
fn webhooks_are_replaced_and_deliver_what_they_have() {
    let (sent, received) = channel();
    let webhook = |name: &'static str| {
        let sent = Mutex::new(sent.clone());
        application(move |asked| {
            let signature = asked.header("yamabiko-signature").map(str::to_owned);
            sent.lock().unwrap().send((name, signature, asked.json())).ok()?;
            Some((200, String::new()))
        })
    };
    let next = |wanted: &str| {
        let (name, signature, body) = received.recv_timeout(PATIENCE).unwrap();
        assert_eq!(name, wanted, "{body}");
        (signature, body)
    };
    let (old, new) = (webhook("old"), webhook("new"));
    let settings = |native: u16, of_app: u16, secret: &str| {
        format!(
            "[[webhooks]]\nurl = \"http://127.0.0.1:{native}/\"\nevents = [\"message\"]\n{APP}webhooks = [{{ url = \"http://127.0.0.1:{of_app}/\" }}]\n[events]\nsecret = \"{secret}\"\n"
        )
    };
    let (first, second) =
        ("the-first-secret-of-events-with-32-bytes", "the-second-secret-of-events-with-32-bytes");
    let server = serve("");
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    aoi.expect_quiet();
    let line = reload(&server, &file(OLD, &settings(old, old, first)));
    assert_eq!(line["settings"], "apps, apps.1, apps.1.webhooks, events.secret, webhooks");
    aoi.expect_quiet();
    let (signed_before, body) = next("old");
    assert_eq!(body["events"][0]["event"], "message");
    let mut page = Page::open(&server);
    page.subscribe("news");
    assert_eq!(next("old").1["events"][0]["name"], "channel_occupied");

    let line = reload(&server, &file(OLD, &settings(new, new, second)));
    assert_eq!(line["settings"], "apps.1.webhooks, events.secret, webhooks");
    aoi.expect_quiet();
    let (signed, body) = next("new");
    assert_eq!(body["events"][0]["event"], "message");
    assert!(signed.is_some() && signed != signed_before);
    page.subscribe("other");
    assert_eq!(next("new").1["events"][0]["channel"], "other");

    // What they need is gone with them.
    reload(&server, &file(OLD, APP));
    aoi.expect_quiet();
    page.subscribe("last");
    reload(&server, &file(OLD, &settings(new, new, first)));
    page.subscribe("again");
    assert_eq!(next("new").1["events"][0]["channel"], "again");
}

#[test]
fn a_replaced_webhook_goes_on_with_what_it_could_not_deliver() {
    let (sent, received) = channel();
    let is_up = Arc::new(AtomicBool::new(false));
    let (sent, up) = (Mutex::new(sent), is_up.clone());
    let port = application(move |asked| {
        if !up.load(Ordering::Relaxed) {
            return Some((503, String::new()));
        }
        sent.lock().unwrap().send(asked.json()).ok()?;
        Some((200, String::new()))
    });
    let settings = format!(
        "[[webhooks]]\nurl = \"http://127.0.0.1:{port}/\"\nevents = [\"message\"]\n[events]\nsecret = \"the-first-secret-of-events-with-32-bytes\"\n"
    );
    let server = serve(&settings);
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    aoi.expect_quiet();
    eventually("it has failed", || server.metric("yamabiko_webhooks_failed_total") > 0);
    reload(&server, &file(OLD, ""));
    aoi.expect_quiet();
    is_up.store(true, Ordering::Relaxed);
    let body: Value = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(body["events"].as_array().map(Vec::len), Some(1), "{body}");
}

#[test]
fn of_changes_with_one_mistake_none_is_taken_over() {
    let before = format!("{APP}{OTHER_APP}[channels.chat]\nfields = [\"message\"]\n");
    let server = serve(&before);
    let mut page = Page::of_app(&server, "other", "another-secret-of-the-tests");
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    let key = "[[api.keys]]\nname = \"ops\"\nsecret = \"a-key-of-the-API-that-has-32-bytes-or-more\"\nscopes = [\"*\"]\n";
    let changed = format!(
        "log.level = \"debug\"\nserver.origins = [\"https://a.example\"]\nheartbeat.interval = \"7s\"\n{key}{APP}[channels.chat]\nclient_send = false\n"
    );
    // The last one is found when the keys are made.
    let public_key = "[[auth.keys]]\nalgorithm = \"RS256\"\npublic_key_file = \"missing.pem\"\n";
    for mistake in ["[limits]\nburst = \"x\"\n", "[sender]\nnme = 1\n", public_key] {
        let line = reload(&server, &format!("{changed}{mistake}[auth]\nsecret = \"{NEW}\"\n"));
        assert_eq!(line["level"], "ERROR", "{mistake}");
        page.expect_quiet();
        aoi.expect_quiet();
        join(&server, OLD, 8, "chat:1").unwrap();
        assert_eq!(join(&server, NEW, 8, "chat:1").unwrap_err(), 401);
        assert_eq!(server.get_admin("/api/v1/users").status, 200);
    }
    assert!(server.log().iter().all(|line| line["level"] != "DEBUG"));
}

/// Nodes on Redis whose settings are in their files.
fn nodes<const N: usize>(redis: &RedisServer, settings: &str) -> [Server; N] {
    std::array::from_fn(|_| {
        let server = Server::start(|options| {
            options
                .unset("auth.secret")
                .set("redis.url", redis.url())
                .set("redis.prefix", "app-database-")
                .config(&file(OLD, settings));
        });
        eventually("the node is ready", || server.get_admin("/readyz").status == 200);
        server
    })
}

/// An application that hands each request to the test, once it is up.
struct Receiver {
    port: u16,
    is_up: Arc<AtomicBool>,
    asked: std::sync::mpsc::Receiver<Asked>,
}

impl Receiver {
    fn start(is_up: bool) -> Self {
        let (sent, asked) = channel();
        let is_up = Arc::new(AtomicBool::new(is_up));
        let (sent, up) = (Mutex::new(sent), is_up.clone());
        let port = application(move |asked| {
            if !up.load(Ordering::Relaxed) {
                return Some((503, String::new()));
            }
            sent.lock().unwrap().send(asked).ok()?;
            Some((200, String::new()))
        });
        Self { port, is_up, asked }
    }

    fn webhook(&self, more: &str) -> String {
        format!("[[webhooks]]\nurl = \"http://127.0.0.1:{}/s3cret\"\n{more}\n", self.port)
    }

    /// The events of the next request, which must be signed with this secret.
    fn events(&self, secret: &str) -> Vec<Value> {
        let asked = self.asked.recv_timeout(PATIENCE).unwrap();
        let signed = format!("{}.{}", asked.header("yamabiko-timestamp").unwrap(), asked.body);
        assert_eq!(asked.header("yamabiko-signature"), Some(&*sign(secret, &signed)));
        asked.json()["events"].as_array().unwrap().clone()
    }
}

const FIRST: &str = "the-first-secret-of-events-with-32-bytes";
const SECOND: &str = "the-second-secret-of-events-with-32-bytes";

fn with_secret(secret: &str, webhooks: &[String]) -> String {
    format!("{}[events]\nsecret = \"{secret}\"\n", webhooks.concat())
}

#[test]
fn what_waits_in_redis_survives_a_reload_and_of_a_removed_webhook_stays() {
    let redis = RedisServer::start();
    let [stays, goes, comes] = [(); 3].map(|()| Receiver::start(false));
    let messages = "events = [\"message\"]";
    let before = [stays.webhook(messages), goes.webhook(messages)];
    let [server] = nodes(&redis, &with_secret(FIRST, &before));
    let mut aoi = join(&server, OLD, 7, "chat:1").unwrap();
    let mut say = |numbers: std::ops::Range<i64>| {
        for number in numbers {
            aoi.say(&json!({ "message": number }));
            aoi.expect_sent();
            aoi.expect_json();
        }
    };
    say(0..120);
    let waiting = |index: usize| format!("yamabiko_webhook_redis_events{{webhook=\"{index}\"}}");
    server.expect_metric(&waiting(0), 120);
    server.expect_metric(&waiting(1), 120);

    let after = [stays.webhook("events = [\"message\", \"connected\"]"), comes.webhook(messages)];
    reload(&server, &file(OLD, &with_secret(SECOND, &after)));
    let line =
        server.expect_log(|line| line["message"] == "webhook removed: its events stay in Redis for a day");
    assert_eq!(
        (&line["level"], &line["events"], &line["host"]),
        (&json!("WARN"), &json!(120), &json!("127.0.0.1"))
    );
    say(120..125);
    let _ren = join(&server, OLD, 8, "chat:1").unwrap();
    server.expect_metric(&waiting(0), 126);
    server.expect_metric(&waiting(1), 5);
    for webhook in [&stays, &comes, &goes] {
        webhook.is_up.store(true, Ordering::Relaxed);
    }
    let numbers =
        |events: &[Value]| events.iter().map(|event| event["data"]["message"].clone()).collect::<Vec<_>>();
    let until = |webhook: &Receiver, count: usize| {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(webhook.events(SECOND));
        }
        events
    };
    let told = until(&stays, 126);
    assert_eq!(numbers(&told[..125]), (0..125).map(Value::from).collect::<Vec<_>>());
    assert_eq!((told.len(), &told[125]["event"]), (126, &json!("connected")));
    assert_eq!(numbers(&until(&comes, 5)), (120..125).map(Value::from).collect::<Vec<_>>());
    assert!(goes.asked.try_recv().is_err(), "it is not in the settings");

    let back = [after.as_slice(), &[goes.webhook(messages)]].concat();
    reload(&server, &file(OLD, &with_secret(SECOND, &back)));
    assert_eq!(numbers(&until(&goes, 120)), (0..120).map(Value::from).collect::<Vec<_>>());
    for index in 0..3 {
        server.expect_metric(&waiting(index), 0);
    }
    assert_eq!(server.metric("yamabiko_webhooks_dropped_total"), 0);
    assert!(!server.raw_log().iter().any(|line| line.contains("s3cret")));
}

/// What happens while Redis is away waits for it through two reloads, between which nothing happens, and comes in order.
#[test]
fn events_keep_their_order_over_reloads_without_redis() {
    const CLIENTS: i64 = 300;
    let mut redis = RedisServer::start();
    let application = Receiver::start(true);
    let settings =
        |more: &str| with_secret(FIRST, &[application.webhook(&format!("events = [\"connected\"{more}]"))]);
    let [server] = nodes(&redis, &settings(""));
    redis.kill();
    eventually("Redis is lost", || server.get_admin("/readyz").status == 503);
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|id| join(&server, OLD, id + 1, "chat:1").unwrap()).collect();
    reload(&server, &file(OLD, &settings(", \"message\"")));
    // The webhooks of the first reload are not in use any more when those of the second are.
    reload(&server, &file(OLD, &settings("")));
    std::thread::sleep(Duration::from_millis(200));
    clients.extend((CLIENTS..2 * CLIENTS).map(|id| join(&server, OLD, id + 1, "chat:1").unwrap()));
    redis.restart();
    let mut told: Vec<i64> = Vec::new();
    while told.len() < clients.len() {
        for event in application.events(FIRST) {
            let id = event["user"]["id"].as_i64().unwrap();
            if !told.contains(&id) {
                told.push(id);
            }
        }
    }
    assert_eq!(told, (1..=2 * CLIENTS).collect::<Vec<_>>());
}

/// How many webhooks there are under load, so that events wait for Redis when they are replaced.
const WEBHOOKS: usize = 10;

/// Both nodes are reloaded again and again while their clients send: every event arrives, in the order of its client.
#[test]
fn events_keep_their_order_over_reloads_under_load() {
    let redis = RedisServer::start();
    let application = Receiver::start(true);
    let settings = |round: usize| {
        let (secret, more) = if round.is_multiple_of(2) { (FIRST, "") } else { (SECOND, ", \"connected\"") };
        let webhook = application.webhook(&format!("events = [\"message\"{more}]"));
        let webhooks: Vec<String> =
            (0..WEBHOOKS).map(|index| webhook.replace("/s3cret", &format!("/{index}"))).collect();
        with_secret(secret, &webhooks)
            + "stream = true\nstream_events = [\"message\"]\n[limits]\nmessages_per_second = 0\n"
    };
    let nodes: [Server; 2] = nodes(&redis, &settings(0));
    let is_over = AtomicBool::new(false);
    let sent: Vec<i64> = std::thread::scope(|scope| {
        let clients = [0, 1].map(|index: usize| {
            let mut client = join(&nodes[index], OLD, 7, &format!("chat:{index}")).unwrap();
            let is_over = &is_over;
            scope.spawn(move || {
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    for number in sent..sent + 200 {
                        client.say(&json!({ "message": number }));
                    }
                    for _ in 0..400 {
                        assert_ne!(client.expect_json()["ok"], false);
                    }
                    sent += 200;
                }
                sent
            })
        });
        for round in 1..=6 {
            for node in &nodes {
                reload(node, &file(OLD, &settings(round)));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().unwrap()).into()
    });
    // The first time that each number of a channel has come.
    let add = |told: &mut [Vec<i64>; 2], event: &Value| {
        let index = usize::from(event["channel"] == "chat:1");
        let number = event["data"]["message"].as_i64().unwrap();
        if !told[index].contains(&number) {
            told[index].push(number);
        }
    };
    let expected = [0, 1].map(|index: usize| (0..sent[index]).collect::<Vec<i64>>());
    let mut told: [[Vec<i64>; 2]; WEBHOOKS] = Default::default();
    while told.iter().flatten().map(Vec::len).sum::<usize>() < WEBHOOKS * expected.concat().len() {
        let asked = application.asked.recv_timeout(PATIENCE).unwrap();
        let path = asked.head.split(' ').nth(1).unwrap();
        let told = &mut told[path.trim_start_matches('/').parse::<usize>().unwrap()];
        let events = asked.json()["events"].as_array().unwrap().clone();
        for event in events.iter().filter(|event| event["event"] == "message") {
            add(told, event);
        }
    }
    for (index, told) in told.iter().enumerate() {
        assert_eq!(told, &expected, "webhook {index}");
    }

    let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut stream = || {
        let mut told = [Vec::new(), Vec::new()];
        let entries: Vec<(String, Vec<String>)> = ::redis::cmd("XRANGE")
            .arg("app-database-yamabiko:events")
            .arg("-")
            .arg("+")
            .query(&mut connection)
            .unwrap();
        for (_, fields) in &entries {
            add(&mut told, &serde_json::from_str(&fields[5]).unwrap());
        }
        told
    };
    let is_complete = |told: &[Vec<i64>; 2]| (0..2).all(|index| told[index].len() == expected[index].len());
    eventually("the stream has all events", || is_complete(&stream()));
    assert_eq!(stream(), expected, "the stream");
    for node in &nodes {
        assert_eq!(node.metric("yamabiko_webhooks_dropped_total"), 0);
        assert_eq!(node.metric("yamabiko_event_stream_dropped_total"), 0);
    }
}

/// Also of those that were there before.
#[test]
fn events_of_users_begin_and_end_with_a_reload() {
    let redis = RedisServer::start();
    let application = Receiver::start(true);
    let of_users = "kinds = [\"room\"]\nevents = [\"channel_occupied\", \"channel_vacated\", \"user_online\", \"user_offline\"]";
    let on = file(OLD, &with_secret(FIRST, &[application.webhook(of_users)]));
    let off = file(OLD, "");
    let mut told: Vec<String> = Vec::new();
    let mut expect = |wanted: &[&str]| {
        while told.len() < wanted.len() {
            let events = application.events(FIRST);
            told.extend(events.iter().map(|event| {
                let user = &event["user"]["id"];
                let user = if user.is_null() { String::new() } else { format!(" {user}") };
                format!("{}{user}", event["event"].as_str().unwrap())
            }));
        }
        assert_eq!(told, wanted);
        told.clear();
    };
    let nodes: [Server; 2] = nodes(&redis, "");
    let mut aoi = join(&nodes[0], OLD, 7, "room:1").unwrap();
    let mut ren = join(&nodes[1], OLD, 8, "room:1").unwrap();
    let tab = join(&nodes[1], OLD, 7, "room:1").unwrap();
    let _other = join(&nodes[0], OLD, 7, "chat:1").unwrap();
    let members = |node: &Server| node.get_admin("/api/v1/channels/room:1").json()["members"].clone();
    reload(&nodes[0], &on);
    expect(&["channel_occupied", "user_online 7"]);
    reload(&nodes[1], &on);
    expect(&["user_online 8"]);
    for node in &nodes {
        eventually("both users are known", || members(node) == 2);
    }
    // Clients are told nothing.
    ren.expect_quiet();
    assert_eq!(aoi.expect_json()["data"]["message"], "marker");
    ren.close();
    expect(&["user_offline 8"]);

    for node in &nodes {
        reload(node, &off);
        assert_eq!(members(node), Value::Null);
    }
    tab.close();
    let mui = join(&nodes[1], OLD, 9, "room:1").unwrap();
    aoi.expect_quiet();
    for node in &nodes {
        reload(node, &on);
    }
    // The nodes have forgotten who was there, and the application is told of those who are.
    for node in &nodes {
        eventually("both users are known", || members(node) == 2);
    }
    aoi.close();
    expect(&["channel_occupied", "user_online 7", "user_online 9", "user_offline 7"]);
    mui.close();
    expect(&["user_offline 9", "channel_vacated"]);
}
