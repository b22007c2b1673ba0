//! The native protocol.

use std::time::Duration;

use serde::Deserialize;

use super::{Address, Heard, data, quoted};
use crate::auth::Minter;
use crate::message::ChannelName;

const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);
/// Users are numbered from here on: numbers of the same length, and none that an application has.
const FIRST_USER: usize = 1_000_000_000;

/// Signs the tokens.
pub(in crate::cli::bench) struct Native(pub(in crate::cli::bench) Minter);

impl Native {
    /// Everyone is a user of their own.
    pub(super) fn address(&self, connection: usize, channel: &ChannelName) -> Address {
        let user = i64::try_from(FIRST_USER + connection).unwrap_or(i64::MAX);
        let token = self.0.mint(&user.into(), "Benchmark", channel, TOKEN_TTL);
        Address { path: String::new(), token: Some(token) }
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
pub(in crate::cli::bench) fn broadcast(channel: &ChannelName, text: &[u8]) -> Vec<u8> {
    let mut message = format!(r#"{{"channel":{},"data":"#, quoted(channel.as_str())).into_bytes();
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
        let channel = ChannelName::new("chat:\"b").unwrap();
        let json: serde_json::Value = serde_json::from_slice(&broadcast(&channel, b"text")).unwrap();
        assert_eq!(
            (json["channel"].as_str(), json["data"]["message"].as_str()),
            (Some("chat:\"b"), Some("text"))
        );
    }
}
