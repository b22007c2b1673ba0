use serde::Deserialize;

use super::{Endpoint, ServerMessage, quoted, write_data};
use crate::deployment::MintToken;

/// The first user id: ids of equal length that no application uses.
const FIRST_USER: usize = 1_000_000_000;

/// The native protocol.
pub(crate) struct Native(pub(crate) MintToken);

impl Native {
    /// Every connection is a user of its own.
    pub(super) fn endpoint(&self, connection: usize, channel: &str) -> Result<Endpoint, String> {
        let user = i64::try_from(FIRST_USER + connection).unwrap_or(i64::MAX);
        let token = (self.0)(user, channel).map_err(|error| format!("{error:#}"))?;
        Ok(Endpoint { path: String::new(), token: Some(token) })
    }
}

/// What a client sends. The default rules of `chat` channels allow the field `message`.
pub(super) fn message(text: &[u8]) -> Vec<u8> {
    let mut message = br#"{"data":"#.to_vec();
    write_data(text, &mut message);
    message.push(b'}');
    message
}

/// What Laravel publishes over Redis.
pub(crate) fn broadcast(channel: &str, text: &[u8]) -> Vec<u8> {
    let mut message = format!(r#"{{"channel":{},"data":"#, quoted(channel)).into_bytes();
    write_data(text, &mut message);
    message.push(b'}');
    message
}

pub(super) fn classify(message: &[u8]) -> ServerMessage<'_> {
    #[derive(Deserialize)]
    struct Acknowledgement<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        ok: bool,
        error: Option<ErrorCode<'a>>,
    }
    #[derive(Deserialize)]
    struct ErrorCode<'a> {
        code: &'a str,
    }
    match serde_json::from_slice(message) {
        Ok(Acknowledgement { kind: "sended", ok: true, .. }) => ServerMessage::Accepted,
        Ok(Acknowledgement { kind: "sended", ok: false, error }) => {
            ServerMessage::Refused(error.map_or("without a code", |error| error.code).into())
        }
        _ => ServerMessage::Unrecognized,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_laravel_send_the_text() {
        let json: serde_json::Value = serde_json::from_slice(&message(b"text")).unwrap();
        assert_eq!(json["data"]["message"], "text");
        let json: serde_json::Value = serde_json::from_slice(&broadcast("chat:\"b", b"text")).unwrap();
        assert_eq!(
            (json["channel"].as_str(), json["data"]["message"].as_str()),
            (Some("chat:\"b"), Some("text"))
        );
    }
}
