//! The native protocol, statement by statement, as a client of the real binary sees it.
mod behind;
mod broadcast;
mod channels;
mod claims;
mod closing;
mod events;
mod expiry;
mod gate;
mod handshake;
mod heartbeat;
mod jwks;
mod limits;
mod presence;
mod recovery;
mod refs;
mod removal;
mod renewal;
mod revocation;
mod rules;
mod sending;
mod sse;
mod targeting;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Client, Server, claims};
use serde_json::{Value, json};

/// The answer to an accepted message.
const OK: &str = r#"{"type":"sended","ok":true}"#;

/// A connected user.
pub(crate) fn join(server: &Server, id: i64, name: &str, channel: &str) -> Client {
    Client::connect(server, &claims(id, name, channel)).expect("upgraded")
}

/// A connected user with any id.
fn join_as(server: &Server, id: &Value, channel: &str) -> Client {
    let mut claims = claims(0, "A", channel);
    claims["id"] = id.clone();
    Client::connect(server, &claims).expect("upgraded")
}

/// The message that every subscriber receives.
pub(crate) fn message(id: i64, name: &str, data: &Value) -> Value {
    json!({ "type": "message", "sender": { "name": name, "id": id }, "data": data })
}

/// The code in the answer to a refused message. Nothing else arrives.
fn refusal(client: &mut Client) -> String {
    let answer = client.expect_json();
    assert_eq!((&answer["type"], &answer["ok"]), (&json!("sended"), &json!(false)), "{answer}");
    let error = answer["error"].as_object().expect("an error");
    assert_eq!(error.len(), 2, "{answer}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    error["code"].as_str().expect("a code").to_owned()
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
