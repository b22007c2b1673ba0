//! Tokens that are taken back, on one node without Redis.

use serde_json::{Value, json};

use crate::native::{join, unix_time};
use crate::support::{Client, Request, Response, Server, claims, token};

const REVOKED: (u16, &str) = (4401, "token revoked");

fn revoke(server: &Server, body: &Value) -> Value {
    let response = server.post_admin("/api/v1/revocations", &body.to_string());
    assert_eq!(response.status, 200, "{body}: {response:?}");
    response.json()
}

fn restore(server: &Server, body: &Value) -> Response {
    Request::post_json(server.admin, "/api/v1/revocations", body.to_string()).method("DELETE").send()
}

#[test]
fn the_log_names_whose_tokens_are_revoked() {
    let server = Server::start(|_| {});
    let line = |message: &str| {
        let line = server.expect_log(|line| line["message"] == message);
        (line["user"].clone(), line["before"].clone())
    };
    revoke(&server, &json!({ "user": "aoi", "before": 1_700_000_000 }));
    assert_eq!(line("API: tokens revoked"), (json!("aoi"), json!(1_700_000_000)));
    assert_eq!(restore(&server, &json!({ "user": "aoi", "before": 1_700_000_000 })).status, 200);
    assert_eq!(line("API: revocation taken back"), (json!("aoi"), json!(1_700_000_000)));
}

fn list(server: &Server) -> Value {
    server.get_admin("/api/v1/revocations").json()["revocations"].clone()
}

/// The code with which a handshake is refused.
fn refused(server: &Server, claims: &Value) -> String {
    let response = Client::connect(server, claims).expect_err("refused");
    assert_eq!(response.status, 401);
    response.json()["error"]["code"].as_str().expect("a code").to_owned()
}

fn expect_revoked(client: &mut Client) {
    let (code, reason) = client.expect_close();
    assert_eq!((code, &*reason), REVOKED);
}

/// The claims of a token with other claims besides.
fn with(id: i64, changes: &Value) -> Value {
    let mut claims = claims(id, "Aoi", "notes:");
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

#[test]
fn a_revocation_closes_the_connections_that_it_names_and_refuses_their_tokens() {
    let server = Server::start(|_| {});
    let now = unix_time();
    let (old, new) = (with(7, &json!({ "iat": now - 100 })), with(7, &json!({ "iat": now - 10 })));
    let (named, numbered) =
        (with(7, &json!({ "iat": now, "jti": "a/山" })), with(7, &json!({ "iat": now, "jti": 42 })));
    let mut dateless = with(7, &json!({}));
    dateless.as_object_mut().unwrap().remove("iat");
    let others = with(8, &json!({ "iat": now - 100, "jti": "b" }));
    let all = [&old, &new, &named, &numbered, &dateless, &others];
    for (revocation, revoked) in [
        (json!({ "jti": "a/山" }), [false, false, true, false, false, false]),
        (json!({ "jti": "42" }), [false, false, false, true, false, false]),
        (json!({ "user": 7, "before": now - 50 }), [true, false, false, false, true, false]),
        (json!({ "before": now - 50 }), [true, false, false, false, true, true]),
        (json!({ "user": "7" }), [true, true, true, true, true, false]),
    ] {
        let mut clients: Vec<Client> =
            all.iter().map(|claims| Client::connect(&server, claims).expect("upgraded")).collect();
        let until = revoke(&server, &revocation)["until"].as_u64().unwrap();
        assert!((now + 86_400..now + 86_500).contains(&until), "{until}");
        for ((client, claims), revoked) in clients.iter_mut().zip(all).zip(revoked) {
            if revoked {
                expect_revoked(client);
                assert_eq!(refused(&server, claims), "revoked", "{revocation} {claims}");
            } else {
                // A connection of the same token that has just opened.
                Client::connect(&server, claims).expect("upgraded").close();
            }
        }
        // Behind them: those that stay are still there.
        for (client, revoked) in clients.iter_mut().zip(revoked) {
            if !revoked {
                client.send_json(&json!({ "type": "auth", "token": "x" }));
                assert_eq!(client.expect_json()["error"]["code"], "malformed_token");
            }
        }
        let mut listed = revocation.clone();
        if listed["user"] == "7" {
            listed["user"] = json!(7);
        }
        let mut found = list(&server)[0].clone();
        found.as_object_mut().unwrap().remove("until");
        if found["user"] == "7" {
            found["user"] = json!(7);
        }
        assert_eq!(found, listed);
        server.expect_metric("yamabiko_revocations", 1);
        assert_eq!(restore(&server, &revocation).json(), json!({ "ok": true }));
        for claims in all {
            Client::connect(&server, claims).expect("upgraded").close();
        }
        let gone = restore(&server, &revocation);
        assert_eq!((gone.status, &gone.json()["code"]), (404, &json!("no_such_revocation")));
    }
    assert_eq!(list(&server), json!([]));
    server.expect_metric("yamabiko_handshakes_refused_total{reason=\"revoked\"}", 12);
    server.expect_metric("yamabiko_connections_closed_total{reason=\"token_revoked\"}", 12);
    server.expect_metric("yamabiko_revocations", 0);
}

#[test]
fn a_renewal_replaces_the_token_that_can_be_revoked() {
    let server = Server::start(|_| {});
    let now = unix_time();
    let (old, new) = (
        with(7, &json!({ "iat": now - 100, "jti": "old" })),
        with(7, &json!({ "iat": now - 10, "jti": "new" })),
    );
    let mut aoi = Client::connect(&server, &old).expect("upgraded");
    let renew = |client: &mut Client, claims: &Value| {
        client.send_json(&json!({ "type": "auth", "token": token(claims) }));
        client.expect_json()
    };
    assert_eq!(renew(&mut aoi, &new)["ok"], true);
    revoke(&server, &json!({ "jti": "old" }));
    revoke(&server, &json!({ "user": 7, "before": now - 50 }));
    // The old token is refused, and the connection stays.
    let answer = renew(&mut aoi, &old);
    assert_eq!((&answer["ok"], &answer["error"]["code"]), (&json!(false), &json!("revoked")));
    aoi.expect_quiet();
    revoke(&server, &json!({ "jti": "new" }));
    expect_revoked(&mut aoi);
    // A page gets a new token and is back.
    join(&server, 7, "Aoi", "notes:").expect_quiet();
}

#[test]
fn what_was_accepted_before_a_revocation_arrives_before_the_close() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let mut ren = join(&server, 8, "Ren", "notes:");
    ren.say(&json!({ "n": 1 }));
    ren.expect_sent();
    revoke(&server, &json!({ "user": 7 }));
    assert_eq!(aoi.expect_json()["data"], json!({ "n": 1 }));
    expect_revoked(&mut aoi);
    let line = server.expect_log(|line| line["message"] == "disconnected" && line["user"] == 7);
    assert_eq!((&line["reason"], &line["code"]), (&json!("token_revoked"), &json!(4401)));
}

#[test]
fn a_revocation_ends() {
    let server = Server::start(|options| {
        options.set("auth.max_token_age", "5s");
    });
    let now = unix_time();
    // The longer end counts.
    revoke(&server, &json!({ "user": 8, "until": now + 3000 }));
    revoke(&server, &json!({ "user": 8, "until": now + 5 }));
    let until = revoke(&server, &json!({ "user": 7 }))["until"].as_u64().unwrap();
    let mut marker = Client::connect(&server, &with(9, &json!({ "exp": until }))).expect("upgraded");
    // When a token with the same end has expired, the revocation has ended as well.
    assert_eq!(marker.expect_close(), (4401, "token expired".to_owned()));
    join(&server, 7, "Aoi", "notes:").expect_quiet();
    assert_eq!(refused(&server, &with(8, &json!({}))), "revoked");
    assert_eq!(list(&server).as_array().unwrap().len(), 1);
}

#[test]
fn no_revocation_ends_after_the_year_9999() {
    const LATEST: u64 = 253_402_300_799;
    let server = Server::start(|_| {});
    for body in [
        json!({ "user": 7, "until": u64::MAX }),
        json!({ "user": 8, "before": LATEST }),
        json!({ "user": 9, "before": 1_700_000_000, "until": LATEST }),
    ] {
        assert_eq!(revoke(&server, &body)["until"], LATEST, "{body}");
        assert_eq!(refused(&server, &with(body["user"].as_i64().unwrap(), &json!({ "iat": 5 }))), "revoked");
    }
    for before in [LATEST + 1, 1_700_000_000_000, u64::MAX] {
        let body = json!({ "user": 6, "before": before });
        let response = server.post_admin("/api/v1/revocations", &body.to_string());
        assert_eq!((response.status, &response.json()["code"]), (422, &json!("invalid_request")), "{body}");
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("`before`") && detail.contains("milliseconds"), "{detail}");
        // What is not accepted is not in force.
        assert_eq!(restore(&server, &body).status, 404, "{body}");
    }
    join(&server, 6, "Aoi", "notes:").expect_quiet();
}

#[test]
fn an_invalid_revocation_is_explained_and_revokes_nothing() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    for body in [
        json!({}),
        json!({ "user": null, "before": 1 }),
        json!({ "usr": 7, "before": 4_000_000_000_u64 }),
        json!({ "user": 7, "jti": "a" }),
        json!({ "jti": "" }),
        json!({ "jti": "x".repeat(257) }),
        json!({ "before": "now" }),
        json!({ "before": -1 }),
        json!({ "until": 4_000_000_000_u64 }),
        json!([]),
    ] {
        for response in [server.post_admin("/api/v1/revocations", &body.to_string()), restore(&server, &body)]
        {
            assert_eq!(
                (response.status, &response.json()["code"]),
                (422, &json!("invalid_request")),
                "{body}"
            );
        }
    }
    aoi.expect_quiet();
    assert_eq!(list(&server), json!([]));
}
