//! The native protocol.

use serde::Deserialize;

use super::{Address, Heard, data, quoted};
use crate::deployment::MintToken;

/// Users are numbered from here on: numbers of the same length, and none that an application has.
const FIRST_USER: usize = 1_000_000_000;

/// Signs the tokens.
pub(crate) struct Native(pub(crate) MintToken);

impl Native {
    /// Everyone is a user of their own.
    pub(super) fn address(&self, connection: usize, channel: &str) -> Result<Address, String> {
        let user = i64::try_from(FIRST_USER + connection).unwrap_or(i64::MAX);
        let token = (self.0)(user, channel).map_err(|error| format!("{error:#}"))?;
        Ok(Address { path: String::new(), token: Some(token) })
    }
}

/// What a client sends: `message` is a field that the rules for `chat` as they are shipped let through.
pub(super) fn message(text: &[u8]) -> Vec<u8> {
    let mut message = br#"{"data":"#.to_vec();
    data(text, &mut message);
    message.push(b'}');
    message
}

/// What Laravel publishes over Redis.
pub(crate) fn broadcast(channel: &str, text: &[u8]) -> Vec<u8> {
    let mut message = format!(r#"{{"channel":{},"data":"#, quoted(channel)).into_bytes();
    data(text, &mut message);
    message.push(b'}');
    message
}

pub(super) fn hear(message: &[u8]) -> Heard<'_> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        ok: bool,
        error: Option<Refused<'a>>,
    }
    #[derive(Deserialize)]
    struct Refused<'a> {
        code: &'a str,
    }
    match serde_json::from_slice(message) {
        Ok(Answer { kind: "sended", ok: true, .. }) => Heard::Accepted,
        Ok(Answer { kind: "sended", ok: false, error }) => {
            Heard::Refused(error.map_or("without a code", |error| error.code).into())
        }
        _ => Heard::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_stands_in_what_clients_and_laravel_send() {
        let json: serde_json::Value = serde_json::from_slice(&message(b"text")).unwrap();
        assert_eq!(json["data"]["message"], "text");
        let json: serde_json::Value = serde_json::from_slice(&broadcast("chat:\"b", b"text")).unwrap();
        assert_eq!(
            (json["channel"].as_str(), json["data"]["message"].as_str()),
            (Some("chat:\"b"), Some("text"))
        );
    }
}
