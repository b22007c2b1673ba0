//! The handshake: which requests are upgraded, and how the others are refused.

use std::fmt::Write as _;
use std::io::Read as _;

use serde_json::json;

use crate::native::unix_time;
use crate::support::{Client, Raw, Request, Response, Server, claims, token};

#[test]
fn the_root_and_ws_speak_websocket_with_the_token_in_the_query() {
    let server = Server::start(|_| {});
    let token = token(&claims(7, "Aoi", "notes:"));
    let percent_encoded = token.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").unwrap();
        text
    });
    for target in [
        format!("/?token={token}"),
        format!("/ws?token={token}"),
        format!("/?channel=other&id=8&token={token}&EIO=4&x"),
        format!("/?token={percent_encoded}"),
    ] {
        let mut client = Client::upgrade(Request::get(server.address, &target)).expect("upgraded");
        client.say(&json!({ "n": 1 }));
        client.expect_sent();
        assert_eq!(client.expect_json()["sender"], json!({ "name": "Aoi", "id": 7 }), "{target}");
        client.close();
    }
}

#[test]
fn the_authorization_header_may_carry_the_token() {
    let server = Server::start(|_| {});
    let token = token(&claims(7, "Aoi", "notes:"));
    for scheme in ["Bearer", "bearer"] {
        let request = Request::get(server.address, "/").header("Authorization", format!("{scheme} {token}"));
        let mut client = Client::upgrade(request).expect("upgraded");
        client.say(&json!({}));
        client.expect_sent();
        // The next client is on the same channel and must not get it.
        client.expect_text();
    }
    let basic = Request::get(server.address, "/").header("Authorization", format!("Basic {token}"));
    assert_eq!(unauthorized(Client::upgrade(basic)), "missing_token");
}

#[test]
fn a_bad_token_is_refused_before_the_upgrade() {
    let server = Server::start(|_| {});
    let now = unix_time();
    let good = token(&claims(7, "Aoi", "notes:"));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let with = |claim: &str, value: serde_json::Value| {
        let mut claims = claims(7, "Aoi", "notes:");
        claims[claim] = value;
        format!("/?token={}", token(&claims))
    };
    let without = |claim: &str| {
        let mut claims = claims(7, "Aoi", "notes:");
        claims.as_object_mut().unwrap().remove(claim);
        format!("/?token={}", token(&claims))
    };
    let cases = [
        ("/".to_owned(), "missing_token"),
        ("/ws".to_owned(), "missing_token"),
        ("/?token=".to_owned(), "missing_token"),
        ("/?Token=x".to_owned(), "missing_token"),
        ("/?token=nonsense".to_owned(), "malformed_token"),
        ("/?token=a.b.c".to_owned(), "malformed_token"),
        (format!("/?token={signed}"), "malformed_token"),
        (format!("/?token={good}.x"), "malformed_token"),
        (format!("/?token={signed}.{flipped}{}", &signature[1..]), "bad_signature"),
        (format!("/?token={signed}."), "bad_signature"),
        (with("exp", json!(now - 1)), "token_expired"),
        (with("exp", json!(0)), "token_expired"),
        (with("exp", json!((now + 60).to_string())), "invalid_claims"),
        (without("exp"), "invalid_claims"),
        (with("id", json!("")), "invalid_claims"),
        (with("id", json!(7.5)), "invalid_claims"),
        (with("id", json!(null)), "invalid_claims"),
        (without("id"), "invalid_claims"),
        (with("name", json!(7)), "invalid_claims"),
        (without("name"), "invalid_claims"),
        (with("channel", json!(["notes:"])), "invalid_claims"),
        (with("channel", json!("")), "invalid_claims"),
        (without("channel"), "invalid_claims"),
        (format!("/?token={}", token(&json!("claims"))), "invalid_claims"),
        (format!("/?token={}", token(&json!(null))), "invalid_claims"),
    ];
    for (target, code) in &cases {
        let refused = Client::upgrade(Request::get(server.address, target));
        assert_eq!(unauthorized(refused), *code, "{target}");
    }
    let expected: i64 = cases.len().try_into().unwrap();
    let codes: std::collections::BTreeSet<_> = cases.iter().map(|(_, code)| *code).collect();
    let counted: i64 = codes
        .iter()
        .map(|code| server.metric(&format!("yamabiko_handshakes_refused_total{{reason=\"{code}\"}}")))
        .sum();
    assert_eq!(counted, expected);
    server.expect_metric("yamabiko_connections_opened_total", 0);
}

#[test]
fn a_refusal_reveals_nothing_of_the_token() {
    let server = Server::start(|_| {});
    let mut claims = claims(7, "a name of its own", "secret-place:");
    claims["exp"] = json!(1);
    let token = token(&claims);
    let refused = Client::with_token(&server, &token).expect_err("refused");
    for part in token.split('.').chain(["a name of its own", "secret-place"]) {
        assert!(!refused.text().contains(part), "{refused:?}");
        assert!(!refused.headers.iter().any(|(_, value)| value.contains(part)), "{refused:?}");
        assert!(!server.get_admin("/metrics").text().contains(part));
    }
    // Every test searches the log for tokens at its end; this one also checks the messages.
    server.expect_log(|line| line["message"] == "handshake refused");
    assert!(!server.log().iter().any(|line| line.to_string().contains("a name of its own")));
}

#[test]
fn a_plain_get_is_answered_426() {
    let server = Server::start(|_| {});
    let with_token = format!("/?token={}", token(&claims(7, "Aoi", "notes:")));
    for target in ["/ws", &with_token] {
        let response = server.get(target);
        assert_eq!(response.status, 426, "{target}");
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert_eq!(response.json()["error"]["code"], "upgrade_required");
    }
    // A handshake whose `Upgrade` a proxy has taken away.
    let proxied =
        Request::get(server.address, "/").header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==").send();
    assert_eq!(proxied.status, 426);
    assert_eq!(server.get("/elsewhere").status, 404);
    assert_eq!(Request::get(server.address, "/").method("POST").send().status, 405);
}

#[test]
fn the_root_answers_health_checks_and_redirects_to_the_console() {
    let server = Server::start(|_| {});
    for request in [
        Request::get(server.address, "/"),
        Request::get(server.address, "//"),
        Request::get(server.address, "/")
            .header("Accept", "text/html,*/*")
            .header("User-Agent", "GoogleHC/1.0"),
    ] {
        let response = request.send();
        assert_eq!((response.status, response.text().lines().count()), (200, 1), "{response:?}");
    }
    assert_eq!(Request::get(server.address, "/").method("HEAD").send().status, 200);

    let with_console = Server::start(|options| {
        options.set("console.enabled", true);
    });
    for accept in ["text/html", "*/*"] {
        let response = Request::get(with_console.address, "/").header("Accept", accept).send();
        assert_eq!((response.status, response.header("location")), (307, Some("/console")));
    }
    Client::connect(&with_console, &claims(7, "Aoi", "notes:")).expect("the socket is there as well");
}

#[test]
fn extra_slashes_are_ignored() {
    let server = Server::start(|_| {});
    let token = token(&claims(7, "Aoi", "notes:"));
    for target in ["//?token=", "//ws?token=", "/ws/?token="] {
        Client::upgrade(Request::get(server.address, format!("{target}{token}"))).expect(target);
    }
    assert_eq!(server.get("/healthz/").status, 200);
    assert_eq!(server.get("/up/").status, 200);
}

#[test]
fn an_upgrade_over_http_1_0_is_refused_with_the_reason() {
    let server = Server::start(|_| {});
    let token = token(&claims(7, "Aoi", "notes:"));
    for target in [format!("/?token={token}"), "/app/some-key?protocol=7".to_owned()] {
        let mut raw = Raw::connect(server.address);
        let head = format!(
            "GET {target} HTTP/1.0\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        raw.write(head.as_bytes());
        assert_eq!(raw.read_head().status, 426, "{target}");
        server.expect_log(|line| line["message"] == "handshake refused" && line["reason"] == "http_version");
    }
    server.expect_metric(r#"yamabiko_handshakes_refused_total{reason="http_version"}"#, 2);
}

#[test]
fn keep_alive_outlasts_the_handshake_timeout() {
    let server = Server::start(|options| {
        options.set("limits.handshake_timeout", "2s");
    });
    let ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept_alive = Raw::connect(server.address);
    kept_alive.write(ask);
    assert_eq!(kept_alive.read_head().status, 200);
    let mut silent = Raw::connect(server.address);
    assert!(silent.read().is_none(), "it is closed");
    // The other one has been idle for longer.
    kept_alive.write(ask);
    assert_eq!(kept_alive.read_head().status, 200);

    let impatient = Server::start(|options| {
        options.set("limits.keep_alive_timeout", "1s");
    });
    let mut kept_alive = Raw::connect(impatient.address);
    kept_alive.write(ask);
    let mut text = String::new();
    kept_alive.stream().read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("ok\n"), "{text}");
}

#[test]
fn the_log_explains_a_rejected_token() {
    let server = Server::start(|options| {
        options.set("log.format", "text");
    });
    let now = unix_time();
    for (claim, value, said) in [
        (
            "id",
            json!(7.5),
            r#"reason="invalid_claims" detail="the token's claims are not valid: `id` must be an integer or"#,
        ),
        (
            "channel",
            json!(7),
            r#"reason="invalid_claims" detail="the token's claims are not valid: `channel` must be a string""#,
        ),
        ("exp", json!(now - 600), r#"reason="token_expired" detail="the token expired 10 min ago""#),
        (
            "nbf",
            json!(now + 630),
            r#"reason="token_not_yet_valid" detail="the token is not valid for another 10 min""#,
        ),
    ] {
        let mut claims = claims(7, "Aoi", "notes:");
        claims[claim] = value;
        Client::connect(&server, &claims).expect_err("refused");
        server.expect_log(|line| line.as_str().is_some_and(|line| line.contains(said)));
    }
}

#[test]
fn misdirected_requests_are_logged() {
    let server = Server::start(|_| {});
    assert_eq!(server.get("/socket.io/?EIO=4&token=secret").status, 404);
    let line = server.expect_log(|line| line["message"] == "unknown path");
    assert_eq!(
        (&line["level"], &line["method"], &line["path"]),
        (&json!("INFO"), &json!("GET"), &json!("/socket.io"))
    );
    assert_eq!(server.get_admin("/health").status, 404);
    server.expect_log(|line| line["message"] == "unknown path" && line["path"] == "/health");

    // The beginning of a browser's ClientHello.
    let mut tls = Raw::connect(server.address);
    tls.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let line = server.expect_log(|line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("this port speaks plain HTTP"))
    });
    assert_eq!((&line["level"], &line["ip"]), (&json!("INFO"), &json!("127.0.0.1")));
}

#[test]
fn a_malformed_handshake_is_refused() {
    let server = Server::start(|_| {});
    let request = || {
        Request::get(server.address, format!("/?token={}", token(&claims(7, "Aoi", "notes:"))))
            .header("Upgrade", "websocket")
            .header("Connection", "keep-alive, Upgrade")
    };
    let response = request()
        .header("Sec-WebSocket-Version", "8")
        .header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
        .send_as_is();
    assert_eq!((response.status, response.header("sec-websocket-version")), (426, Some("13")));
    for key in
        [None, Some(""), Some("short=="), Some("AAAAAAAAAAAAAAAAAAAAAAAA"), Some("not base64 at all !!!==")]
    {
        let request = request().header("Sec-WebSocket-Version", "13");
        let request = match key {
            Some(key) => request.header("Sec-WebSocket-Key", key),
            None => request,
        };
        assert_eq!(request.send_as_is().status, 400, "{key:?}");
    }
    server.expect_metric("yamabiko_connections_opened_total", 0);
}

#[test]
fn a_message_sent_with_the_handshake_is_received() {
    let server = Server::start(|_| {});
    let token = token(&claims(7, "Aoi", "notes:"));
    let mut raw = Raw::connect(server.address);
    let mut bytes = format!(
        "GET /?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    .into_bytes();
    bytes.extend(Raw::text(r#"{"data":{"early":true}}"#));
    raw.write(&bytes);
    assert_eq!(raw.read_head().status, 101);
    assert_eq!(raw.read().unwrap().payload, crate::native::OK.as_bytes());
    assert!(raw.read().unwrap().payload.ends_with(br#""data":{"early":true}}"#));
}

#[test]
fn origins_are_checked_once_they_are_configured() {
    let request = |server: &Server, origin: Option<&str>| {
        let request = Request::get(server.address, format!("/?token={}", token(&claims(7, "Aoi", "notes:"))));
        Client::upgrade(match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        })
    };
    let open = Server::start(|_| {});
    for origin in ["https://anywhere.example", "null", "http://localhost:3000"] {
        assert!(request(&open, Some(origin)).is_ok(), "{origin}");
    }
    let listed = Server::start(|options| {
        options.set("server.origins", "https://app.example.com,http://localhost:3000");
    });
    for origin in [None, Some("https://app.example.com"), Some("http://localhost:3000")] {
        assert!(request(&listed, origin).is_ok(), "{origin:?}");
    }
    for origin in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "null",
        "",
    ] {
        let refused = request(&listed, Some(origin)).expect_err(origin);
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!("origin_not_allowed")));
    }
}

/// The code of a 401, whose form is checked.
fn unauthorized(refused: Result<Client, Response>) -> String {
    let refused = refused.expect_err("refused");
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(refused.header("content-type"), Some("application/json"));
    let body = refused.json();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    body["error"]["code"].as_str().expect("a code").to_owned()
}

#[test]
fn a_server_with_apps_only_refuses_every_token() {
    let server = Server::start(|options| {
        options.unset("auth.secret");
        options.env("PUSHER_APP_ID", "1").env("PUSHER_APP_KEY", "k").env("PUSHER_APP_SECRET", "hunter2");
    });
    let refused = Client::connect(&server, &claims(7, "Aoi", "chat:default")).unwrap_err();
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (401, Some("no_keys")));
}
