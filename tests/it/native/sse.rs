//! The native protocol over server-sent events.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::native::{join, message, unix_time};
use crate::support::application::application;
use crate::support::{Client, EventSource, PATIENCE, Request, Response, Server, claims, eventually, token};

/// `notes` has a history, `room` has presence too, `plain` has neither.
const KINDS: &str = r#"
[channels.notes]
history = { messages = 1000, age = "10m" }
[channels.room]
presence = true
history = { messages = 1000, age = "10m" }
[channels.notice]
client_send = false
"#;

fn start(change: impl FnOnce(&mut crate::support::Options)) -> Server {
    Server::start(|options| {
        options.config(KINDS);
        change(options);
    })
}

/// A request with the token of a user in its header.
fn bearer(request: Request, claims: &Value) -> Request {
    request.header("Authorization", format!("Bearer {}", token(claims)))
}

/// A stream of a client that asks for what it has missed.
fn rejoin(server: &Server, id: i64, channel: &str, since: &str) -> EventSource {
    let target = format!("/sse?since={since}&token={}", token(&claims(id, "Aoi", channel)));
    EventSource::open(Request::get(server.address, target)).expect("a stream")
}

/// The response to a message of a user in a request of its own.
fn post(server: &Server, channel: &str, text: &str) -> Response {
    bearer(Request::post_json(server.address, "/sse", text), &claims(7, "Aoi", channel)).send()
}

fn code(response: &Response) -> String {
    let answer = response.json();
    assert_eq!((&answer["type"], &answer["ok"]), (&json!("sended"), &json!(false)), "{answer}");
    answer["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn both_transports_deliver_the_same_messages_in_the_same_order() {
    let server = start(|_| {});
    for channel in ["notes:1", "plain:1"] {
        let mut stream = EventSource::join(&server, 7, "Aoi", channel);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store, no-transform"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(stream.head.header(name), Some(value));
        }
        let mut socket = join(&server, 8, "Ren", channel);
        let mut other = join(&server, 9, "Yui", channel);
        for number in 0..20 {
            socket.say(&json!({ "n": number, "by": "Ren" }));
            // Its line breaks are not those of an event.
            other.send_text(&format!("{{\"data\":{{\n\r\n\"n\": {number}.0,\r\"by\":\"山\u{2028}\"\n}}}}"));
            let data = format!(r#"{{"data":{{"n":{number},"by":"Aoi"}}}}"#);
            assert_eq!(post(&server, channel, &data).status, 200);
        }
        let mut seen = 0;
        while seen < 60 {
            let copy = socket.expect_json();
            if copy["type"] == "message" {
                assert_eq!(stream.expect_json(), copy);
                seen += 1;
            }
        }
        let aside = |start: &str| stream.asides.iter().find_map(|line| line.strip_prefix(start));
        let retry: u32 = aside("retry: ").expect("when to come back").parse().unwrap();
        assert!((1000..5000).contains(&retry), "{retry}");
        assert_eq!(aside(": heartbeat "), Some("30"));
    }
    // Messages for one user, and what the rules of a kind remove.
    let (mut aoi, mut ren) =
        (EventSource::join(&server, 7, "Aoi", "chat:"), EventSource::join(&server, 8, "Ren", "chat:"));
    post(&server, "chat:", r#"{"data":{"message":"for Ren","target_user_id":8}}"#);
    post(&server, "chat:", r#"{"data":{"message":"for all","secret":1}}"#);
    assert_eq!(ren.expect_json(), message(7, "Aoi", &json!({ "message": "for Ren" })));
    for stream in [&mut aoi, &mut ren] {
        assert_eq!(stream.expect_json(), message(7, "Aoi", &json!({ "message": "for all" })));
    }
    server.expect_metric("yamabiko_fields_left_out_total{kind=\"chat\"}", 1);
}

#[test]
fn a_client_that_comes_back_gets_what_it_has_missed() {
    let server = start(|_| {});
    let mut stream = rejoin(&server, 7, "notes:", "");
    let first = stream.expect_json();
    assert_eq!((&first["type"], &first["count"]), (&json!("recovered"), &json!(0)));
    let since = first["id"].as_str().expect("an ID").to_owned();
    drop(stream);
    let mut there = EventSource::join(&server, 8, "Ren", "notes:");
    for number in 1..=3 {
        assert_eq!(post(&server, "notes:", &format!(r#"{{"data":{{"n":{number}}}}}"#)).status, 200);
        assert_eq!(there.expect_json()["data"], json!({ "n": number }));
    }
    let mut stream = rejoin(&server, 7, "notes:", &since);
    assert_eq!(stream.expect_json(), json!({ "type": "recovered", "count": 3 }));
    for number in 1..=3 {
        assert_eq!(stream.expect_json()["data"], json!({ "n": number }));
    }
    post(&server, "notes:", r#"{"data":{"n":4}}"#);
    assert_eq!(stream.expect_json()["data"], json!({ "n": 4 }));
}

#[test]
fn the_header_of_an_event_source_is_newer_than_its_address() {
    let server = start(|_| {});
    let mut stream = rejoin(&server, 7, "notes:", "");
    let start = stream.expect_json()["id"].as_str().unwrap().to_owned();
    for number in 1..=2 {
        post(&server, "notes:", &format!(r#"{{"data":{{"n":{number}}}}}"#));
    }
    let read = stream.next().expect("the first message").id.expect("an ID");
    // The answer to a POST does not say that the message has reached the channel.
    stream.next().expect("the second message");
    drop(stream);
    let target = format!("/sse?since={start}&token={}", token(&claims(7, "Aoi", "notes:")));
    let request = Request::get(server.address, target).header("Last-Event-ID", &*read);
    let mut stream = EventSource::open(request).expect("a stream");
    assert_eq!(stream.expect_json(), json!({ "type": "recovered", "count": 1 }));
    assert_eq!(stream.expect_json()["data"], json!({ "n": 2 }));
    // What cannot be proven, and what has no history.
    for (channel, since) in [("notes:", "f-1"), ("plain:", "f-1"), ("plain:", "")] {
        assert_eq!(rejoin(&server, 7, channel, since).expect_json()["type"], "gap", "{channel} {since}");
    }
    assert_eq!(rejoin(&server, 7, "plain:", "x").expect_json(), json!({ "type": "gap", "id": "0-0" }));
}

#[test]
fn a_stream_ends_with_an_event_that_says_why() {
    let server = start(|options| {
        options.set("limits.connections", 4).set("server.shutdown_grace", "5s");
    });
    let mut short = claims(1, "Aoi", "notes:");
    short["exp"] = json!(unix_time() + 2);
    let mut expiring =
        EventSource::open(bearer(Request::get(server.address, "/sse"), &short)).expect("a stream");
    let mut removed = EventSource::join(&server, 2, "Ren", "notes:");
    let mut revoked = EventSource::join(&server, 3, "Yui", "notes:");
    let mut stays = EventSource::join(&server, 4, "Mio", "notes:");
    assert_eq!(
        EventSource::join(&server, 5, "Rin", "notes:").expect_close(),
        (1013, "try again later".into())
    );
    assert_eq!(server.post_admin("/disconnect", r#"{"user":2}"#).status, 200);
    assert_eq!(removed.expect_close(), (4403, "disconnected".into()));
    assert_eq!(server.post_admin("/api/v1/revocations", r#"{"user":3}"#).status, 200);
    assert_eq!(revoked.expect_close(), (4401, "token revoked".into()));
    assert_eq!(expiring.expect_close(), (4401, "token expired".into()));
    assert!(unix_time() >= short["exp"].as_u64().unwrap(), "closed before its time");
    for reason in ["over_capacity", "disconnected", "token_revoked", "token_expired"] {
        server.expect_metric(&format!("yamabiko_connections_closed_total{{reason=\"{reason}\"}}"), 1);
    }
    // Their places are free again, and a client that leaves gives its place back.
    server.expect_metric("yamabiko_connections", 1);
    drop(EventSource::join(&server, 6, "Sora", "notes:"));
    server.expect_metric("yamabiko_connections_closed_total{reason=\"connection_lost\"}", 1);
    server.expect_metric("yamabiko_connections", 1);
    assert_eq!(server.get_admin("/api/v1/connections").json()["connections"][0]["user"]["id"], 4);
    server.signal(Signal::TERM);
    assert_eq!(stays.expect_close(), (1001, "going away".into()));
    assert_eq!(server.wait(PATIENCE).status.code(), Some(0));
}

/// Sends a new token for a stream in a request of the same user.
fn renew(server: &Server, stream: &str, request: &Value) -> Response {
    let request =
        Request::post_json(server.address, format!("/sse?connection={stream}"), request.to_string());
    bearer(request, &claims(7, "Aoi", "notes:")).send()
}

fn renewal(claims: &Value) -> Value {
    json!({ "type": "auth", "token": token(claims) })
}

#[test]
fn a_renewed_stream_outlives_its_first_token() {
    let server = start(|_| {});
    let mut short = claims(7, "Aoi", "notes:");
    short["exp"] = json!(unix_time() + 5);
    let open = || EventSource::open(bearer(Request::get(server.address, "/sse"), &short)).expect("a stream");
    let (mut renewed, mut other) = (open(), open());
    let (id, others) = (renewed.expect_connection(), other.expect_connection());
    assert_ne!(id, others);
    let mut second = claims(7, "Aoi S.", "notes:");
    second["jti"] = json!("second");
    let passed_on = renew(&server, &id, &renewal(&second));
    assert_eq!((passed_on.status, &*passed_on.body), (202, &b""[..]));
    assert_eq!(renewed.expect_json(), json!({ "type": "auth", "ok": true }));
    let listed = server.get_admin(&format!("/api/v1/connections/{id}")).json();
    assert_eq!(listed["user"], json!({ "id": 7, "name": "Aoi S." }));
    // When the stream with the same token ends, its time has passed.
    assert_eq!(other.expect_close(), (4401, "token expired".into()));
    assert_eq!(post(&server, "notes:", r#"{"data":{"n":1}}"#).status, 200);
    assert_eq!(renewed.expect_json()["data"], json!({ "n": 1 }));
    server.expect_metric("yamabiko_tokens_renewed_total", 1);
    // The new token is the one that counts.
    assert_eq!(server.post_admin("/api/v1/revocations", r#"{"jti":"second"}"#).status, 200);
    assert_eq!(renewed.expect_close(), (4401, "token revoked".into()));
    let gone = renew(&server, &id, &renewal(&claims(7, "Aoi", "notes:")));
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (404, &json!("unknown_connection")));
}

#[test]
fn a_refused_renewal_changes_nothing_about_a_stream() {
    let server = start(|_| {});
    let mut stream = EventSource::join(&server, 7, "Aoi", "notes:");
    let mut foreign = EventSource::join(&server, 8, "Ren", "notes:");
    let (id, others) = (stream.expect_connection(), foreign.expect_connection());
    let good = renewal(&claims(7, "Aoi", "notes:"));
    let cases = [
        (&*id, renewal(&claims(8, "Ren", "notes:")), 403, "other_identity"),
        (&*id, renewal(&claims(7, "Aoi", "notes:b")), 403, "other_identity"),
        (&*id, json!({ "type": "auth", "token": "x" }), 401, "malformed_token"),
        (&*id, json!({ "type": "auth" }), 401, "missing_token"),
        ("", good.clone(), 404, "unknown_connection"),
        ("7", good.clone(), 404, "unknown_connection"),
    ];
    for (connection, request, status, code) in &cases {
        let refused = renew(&server, connection, request);
        let answer = refused.json();
        assert_eq!((refused.status, &answer["error"]["code"]), (*status, &json!(code)), "{answer}");
        assert_eq!((&answer["type"], &answer["ok"]), (&json!("auth"), &json!(false)), "{answer}");
    }
    // A stream of somebody else notices nothing: what comes next is a message.
    assert_eq!(renew(&server, &others, &good).status, 202);
    eventually("the other stream has seen it", || {
        server.metric("yamabiko_renewals_refused_total{reason=\"other_identity\"}") == 3
    });
    assert_eq!(post(&server, "notes:", r#"{"data":{"n":1}}"#).status, 200);
    for stream in [&mut stream, &mut foreign] {
        assert_eq!(stream.expect_json()["data"], json!({ "n": 1 }));
    }
    server.expect_metric("yamabiko_tokens_renewed_total", 0);
}

#[test]
fn users_on_both_transports_see_each_other() {
    let server = start(|_| {});
    let mut ren = join(&server, 8, "Ren", "room:");
    assert_eq!(ren.expect_json(), json!({ "type": "connected", "users": [] }));
    assert_eq!(ren.expect_json()["type"], "connectOther");
    let mut aoi = EventSource::join(&server, 7, "Aoi", "room:");
    assert_eq!(aoi.expect_json(), json!({ "type": "connected", "users": [{ "id": 8, "name": "Ren" }] }));
    assert_eq!(aoi.expect_json()["data"], json!({ "user": { "name": "Aoi", "id": 7 } }));
    assert_eq!(ren.expect_json()["data"], json!({ "user": { "name": "Aoi", "id": 7 } }));
    ren.vanish();
    let left = aoi.expect_json();
    assert_eq!((&left["type"], &left["data"]["user"]["id"]), (&json!("disconnectOther"), &json!(8)));
    let mut yui = join(&server, 9, "Yui", "room:");
    assert_eq!(yui.expect_json()["users"], json!([{ "id": 7, "name": "Aoi" }]));
    yui.expect_json();
    drop(aoi);
    let left = yui.expect_json();
    assert_eq!((&left["type"], &left["data"]["user"]["id"]), (&json!("disconnectOther"), &json!(7)));
}

#[test]
fn a_message_in_a_request_is_answered_like_one_on_a_connection() {
    let server = start(|options| {
        options.set("limits.message_bytes", 1000);
    });
    let mut stream = EventSource::join(&server, 8, "Ren", "notes:");
    let accepted = post(&server, "notes:", r#"{"data":{"n":1},"ref":"a"}"#);
    assert_eq!(
        (accepted.status, accepted.json()),
        (200, json!({ "type": "sended", "ok": true, "ref": "a" }))
    );
    assert_eq!(accepted.header("content-type"), Some("application/json"));
    let mut expect_copy = |number: u32| {
        let copy = stream.expect_json();
        assert_eq!((&copy["data"], &copy["sender"]["id"]), (&json!({ "n": number }), &json!(7)));
    };
    expect_copy(1);
    // The same `ref` is delivered once, whichever way it comes.
    let mut socket = join(&server, 7, "Aoi", "notes:");
    socket.send_text(r#"{"data":{"n":1},"ref":"a"}"#);
    assert_eq!(socket.expect_json()["ok"], true);
    assert_eq!(post(&server, "notes:", r#"{"data":{"n":2},"ref":"b"}"#).status, 200);
    expect_copy(2);
    let huge = format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat(1000));
    for (channel, text, status, refusal) in [
        ("notes:", "{", 400, "invalid_json"),
        ("notes:", "[]", 400, "invalid_message"),
        ("notes:", r#"{"data":{},"ref":""}"#, 400, "invalid_message"),
        ("chat:", r#"{"data":{"target_user_id":7.5}}"#, 400, "invalid_message"),
        ("notice:", r#"{"data":{}}"#, 403, "not_allowed"),
        ("notes:", &huge, 413, "message_too_large"),
    ] {
        let response = post(&server, channel, text);
        assert_eq!((response.status, &*code(&response)), (status, refusal), "{text}");
    }
    server.expect_metric("yamabiko_messages_refused_total{reason=\"message_too_large\"}", 1);
    let refused = Request::post_json(server.address, "/sse", r#"{"data":{}}"#).send();
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!("missing_token")));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    let revoked = server.post_admin("/api/v1/revocations", r#"{"user":7}"#);
    assert_eq!(revoked.status, 200);
    assert_eq!(post(&server, "notes:", r#"{"data":{}}"#).json()["error"]["code"], "revoked");
    // Nothing of all this was delivered.
    let ren = claims(8, "Ren", "notes:");
    bearer(Request::post_json(server.address, "/sse", r#"{"data":{"n":3}}"#), &ren).send();
    assert_eq!(stream.expect_json()["data"], json!({ "n": 3 }));
    // HEAD opens no connection.
    let head = bearer(Request::get(server.address, "/sse").method("HEAD"), &ren).send();
    assert_eq!((head.status, server.metric("yamabiko_connections")), (405, 2));
}

#[test]
fn requests_have_the_rate_of_one_connection_however_many_they_are() {
    let server = start(|options| {
        options.set("limits.burst", 3).set("limits.messages_per_second", 1);
    });
    let mut stream = EventSource::join(&server, 8, "Ren", "notes:");
    let mut accepted = 0;
    let refused = loop {
        let response = post(&server, "notes:", &format!(r#"{{"data":{{"n":{accepted}}}}}"#));
        if response.status != 200 {
            break response;
        }
        accepted += 1;
        assert!(accepted < 50, "none is refused");
    };
    assert!(accepted >= 3, "{accepted}");
    assert_eq!((refused.status, &*code(&refused)), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Others have rates of their own, and the same user on another channel.
    assert_eq!(post(&server, "plain:", r#"{"data":{}}"#).status, 200);
    let yui = claims(9, "Yui", "notes:");
    assert_eq!(
        bearer(Request::post_json(server.address, "/sse", r#"{"data":{"n":99}}"#), &yui).send().status,
        200
    );
    for number in 0..accepted {
        assert_eq!(stream.expect_json()["data"], json!({ "n": number }));
    }
    assert_eq!(stream.expect_json()["data"], json!({ "n": 99 }), "what was refused is not delivered");
}

#[test]
fn without_a_broker_a_message_is_unavailable() {
    let server = start(|options| {
        options.set("redis.url", "redis://127.0.0.1:1").set("redis.publish_timeout", "100ms");
    });
    let response = post(&server, "plain:", r#"{"data":{}}"#);
    assert_eq!((response.status, &*code(&response)), (503, "unavailable"));
}

#[test]
fn pages_of_other_origins_obey_the_list() {
    let server = start(|options| {
        options.set("server.origins", "https://app.example.com");
    });
    let aoi = claims(7, "Aoi", "notes:");
    let ask = |method: &'static str, origin: &str| {
        Request::get(server.address, "/sse").method(method).header("Origin", origin)
    };
    let (good, evil) = ("https://app.example.com", "https://evil.example.com");
    let allowed = |response: &Response| response.header("access-control-allow-origin").map(str::to_owned);
    let preflight = ask("OPTIONS", good).header("Access-Control-Request-Method", "POST").send();
    assert_eq!((preflight.status, allowed(&preflight).as_deref()), (204, Some(good)));
    let headers = preflight.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    let stream = EventSource::open(bearer(ask("GET", good), &aoi)).expect("a stream");
    assert_eq!((allowed(&stream.head).as_deref(), stream.head.header("vary")), (Some(good), Some("origin")));
    // A page can read why it was refused.
    let refused = ask("GET", good).send();
    assert_eq!((refused.status, allowed(&refused).as_deref()), (401, Some(good)));
    for method in ["OPTIONS", "GET", "POST"] {
        let refused = bearer(ask(method, evil).header("Content-Length", "0"), &aoi).send();
        assert_eq!((refused.status, allowed(&refused)), (403, None), "{method}");
        assert_eq!(refused.json()["error"]["code"], "origin_not_allowed");
    }
    // Without a list, any page may connect.
    let open = start(|_| {});
    let request = bearer(Request::get(open.address, "/sse").header("Origin", evil), &aoi);
    assert_eq!(allowed(&EventSource::open(request).expect("a stream").head).as_deref(), Some(evil));
}

#[test]
fn a_silent_stream_has_comments() {
    let server = start(|options| {
        options.set("heartbeat.interval", "1s").set("heartbeat.timeout", "1s");
    });
    let mut stream = EventSource::join(&server, 7, "Aoi", "notes:");
    stream.expect_aside(": heartbeat");
    assert!(stream.asides.contains(&": heartbeat 1".to_owned()), "{:?}", stream.asides);
    post(&server, "notes:", r#"{"data":{}}"#);
    assert_eq!(stream.expect_json()["data"], json!({}));
}

#[test]
fn a_client_that_does_not_read_is_closed_and_uses_bounded_memory() {
    let server = start(|options| {
        options.set("limits.outbox_bytes", 256 * 1024).set("limits.handshake_timeout", "3s");
        options.set("limits.messages_per_second", 0);
    });
    let mut lazy: Vec<EventSource> =
        (0..10).map(|number| EventSource::join(&server, number, "Aoi", "plain:")).collect();
    for stream in &mut lazy {
        socket2::SockRef::from(&*stream.stream()).set_recv_buffer_size(4096).unwrap();
    }
    let mut ren = join(&server, 99, "Ren", "plain:");
    let before = resident(&server);
    let closed =
        |reason: &str| server.metric(&format!("yamabiko_connections_closed_total{{reason=\"{reason}\"}}"));
    let blob = "x".repeat(60_000);
    let mut most = 0;
    eventually("all slow consumers closed", || {
        for _ in 0..20 {
            ren.say(&json!({ "blob": blob }));
            while ren.expect_json()["type"] != "message" {}
        }
        most = most.max(resident(&server).saturating_sub(before));
        // On a busy machine, one may have read nothing for `handshake_timeout` before its outbox is full.
        closed("slow_consumer") + closed("connection_lost") == 10
    });
    assert!(closed("slow_consumer") > 0);
    assert!(most < 32 << 20, "{most} bytes more, for 10 outboxes of 256 KiB");
    server.expect_metric("yamabiko_connections", 1);
}

#[test]
fn streams_take_no_places_of_requests() {
    // Of 200 files, 25 are for HTTP connections.
    let server = Server::start(|options| {
        options.files(200);
    });
    let mut streams: Vec<EventSource> =
        (0..60).map(|number| EventSource::join(&server, number, "Aoi", "notes:")).collect();
    assert_eq!(post(&server, "notes:", r#"{"data":{"n":1}}"#).status, 200);
    for stream in &mut streams {
        assert_eq!(stream.expect_json()["data"], json!({ "n": 1 }));
    }
    server.expect_metric("yamabiko_http_dropped_total{reason=\"no_room\"}", 0);
    // They count as connections do.
    let more: Vec<_> = (0..60)
        .map_while(|number| {
            let claims = claims(number, "Aoi", "notes:");
            EventSource::open(bearer(Request::get(server.address, "/sse"), &claims)).ok()
        })
        .collect();
    assert!(more.len() < 60, "there are no descriptors for {}", more.len());
    let refused = Client::connect(&server, &claims(1, "Aoi", "notes:")).expect_err("refused");
    assert_eq!(refused.json()["error"]["code"], "no_descriptors");
}

#[test]
fn server_sent_events_can_be_switched_off() {
    let server = start(|options| {
        options.set("server.sse", false);
    });
    assert_eq!(bearer(Request::get(server.address, "/sse"), &claims(7, "Aoi", "notes:")).send().status, 404);
    assert_eq!(post(&server, "notes:", r#"{"data":{}}"#).status, 404);
}

#[test]
fn the_application_decides_about_messages_in_requests_too() {
    let port = application(|asked| {
        let data = asked.json()["data"].clone();
        let decision = if data["n"] == 1 {
            json!({ "decision": "refuse", "message": "not one" })
        } else {
            json!({ "decision": "rewrite", "data": { "was": data } })
        };
        Some((200, decision.to_string()))
    });
    let gate = format!(r#"gate = {{ url = "http://127.0.0.1:{port}/" }}"#);
    let server = Server::start(|options| {
        options.config(&format!("[events]\nsecret = \"{}\"\n[channels.asked]\n{gate}", "s".repeat(32)));
    });
    let mut stream = EventSource::join(&server, 8, "Ren", "asked:");
    let refused = post(&server, "asked:", r#"{"data":{"n":1}}"#);
    assert_eq!((refused.status, &*code(&refused)), (403, "refused"));
    assert_eq!(refused.json()["error"]["message"], "not one");
    assert_eq!(post(&server, "asked:", r#"{"data":{"n":2}}"#).status, 200);
    assert_eq!(stream.expect_json()["data"], json!({ "was": { "n": 2 } }));
}

/// The memory of a server in bytes.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
