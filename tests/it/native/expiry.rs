//! The expiry of tokens.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::native::{join, unix_time};
use crate::support::{Client, Server, claims};

#[test]
fn a_connection_closes_when_its_token_expires() {
    let server = Server::start(|_| {});
    let mut stays = join(&server, 8, "Ren", "notes:");
    let mut token = claims(7, "Aoi", "notes:");
    let exp = unix_time() + 2;
    token["exp"] = json!(exp);
    let mut aoi = Client::connect(&server, &token).expect("upgraded");
    aoi.say(&json!({ "n": 1 }));
    aoi.expect_sent();
    aoi.expect_text();
    assert_eq!(aoi.expect_close(), (4401, "token expired".to_owned()));
    let late = unix_time();
    assert!(late >= exp, "closed before its time");
    let line = server.expect_log(|line| line["message"] == "disconnected");
    assert_eq!(
        (&line["user"], &line["reason"], &line["code"]),
        (&json!(7), &json!("token_expired"), &json!(4401))
    );
    assert_eq!(stays.expect_json()["data"], json!({ "n": 1 }));
    stays.say(&json!({}));
    stays.expect_sent();
}

#[test]
fn close_on_expiry_can_be_disabled() {
    let server = Server::start(|options| {
        options.set("auth.close_on_expiry", false);
    });
    let mut token = claims(7, "Aoi", "notes:");
    let exp = unix_time() + 3;
    token["exp"] = json!(exp);
    let mut aoi = Client::connect(&server, &token).expect("upgraded");
    while unix_time() < exp + 2 {
        sleep(Duration::from_millis(50));
    }
    aoi.say(&json!({ "n": 1 }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json()["data"], json!({ "n": 1 }));
    // It does not let an expired token in.
    assert_eq!(Client::connect(&server, &token).expect_err("refused").status, 401);
}
