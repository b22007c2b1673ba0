use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{ChannelName, Dispatch, UserId};

/// A command for every node, encoded as an object with one key that names the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// `{"disconnect":{"user":7,"channel":"chat:room1"}}`: close a user's connections.
    Disconnect {
        user: UserId,
        /// Close only connections that are on this channel. `None`: close all.
        channel: Option<ChannelName>,
    },
}

/// Why this version cannot decode a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidSignal {
    /// This version knows no such signal. A newer node may have sent it.
    #[error("the signal is unknown")]
    Unknown,
    /// `disconnect` is not `{user: a user's id, channel: a channel name or null}`.
    #[error("`disconnect` is not {{user, channel}}")]
    Disconnect,
}

impl Signal {
    /// Encodes the signal as JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self::Disconnect { user, channel } = self;
        let disconnect = DisconnectRef { user, channel: channel.as_ref().map(ChannelName::as_str) };
        // Serializing strings and numbers cannot fail.
        serde_json::to_vec(&Wire { disconnect }).unwrap_or_default().into()
    }

    /// Decodes a signal. Unknown keys next to the signal are ignored. An unknown key inside the signal is an error, because it
    /// may restrict which connections to close.
    pub fn decode(text: &[u8]) -> Result<Self, InvalidSignal> {
        let wire: Option<Wire<&RawValue>> = object(text);
        let disconnect = wire.ok_or(InvalidSignal::Unknown)?.disconnect;
        Self::disconnect_from(disconnect.get())
    }

    /// Decodes the object under `disconnect`.
    pub fn disconnect_from(body: &str) -> Result<Self, InvalidSignal> {
        let DisconnectBody { user, channel } = object(body.as_bytes()).ok_or(InvalidSignal::Disconnect)?;
        let channel = channel.map(|name| ChannelName::new(&name)).transpose();
        Ok(Self::Disconnect { user, channel: channel.map_err(|_| InvalidSignal::Disconnect)? })
    }
}

impl From<Signal> for Dispatch {
    fn from(signal: Signal) -> Self {
        Self::Signal(signal.encode())
    }
}

#[derive(Serialize, Deserialize)]
struct Wire<T> {
    disconnect: T,
}

#[derive(Serialize)]
struct DisconnectRef<'a> {
    user: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectBody {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    user: UserId,
    channel: Option<String>,
}

/// Decodes only objects: serde would also accept an array for a struct.
fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    let text = text.trim_ascii_start();
    if text.starts_with(b"{") { serde_json::from_slice(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let everywhere = Signal::Disconnect { user: (-7).into(), channel: None };
        assert_eq!(&everywhere.encode()[..], br#"{"disconnect":{"user":-7}}"#);
        let channel = Some(ChannelName::new("chat:\"山\"").unwrap());
        let there = Signal::Disconnect { user: 7.into(), channel };
        assert_eq!(
            std::str::from_utf8(&there.encode()).unwrap(),
            r#"{"disconnect":{"user":7,"channel":"chat:\"山\""}}"#
        );
    }

    #[test]
    fn decodes_spellings_of_php_and_ignores_unknown_keys() {
        let decode = |text: &str| Signal::decode(text.as_bytes());
        let channel = ChannelName::new("chat:a").unwrap();
        assert_eq!(
            decode(r#" {"socket":[{}],"disconnect":{"channel":"chat\u003aa","user":7}} "#),
            Ok(Signal::Disconnect { user: 7.into(), channel: Some(channel) })
        );
        assert_eq!(
            decode(r#"{"disconnect":{"user":7,"channel":null}}"#),
            Ok(Signal::Disconnect { user: 7.into(), channel: None })
        );
        for unknown in ["", "{}", "null", "[]", r#"[{"user":7}]"#, r#"{"later":{"user":7}}"#, "{", "\u{0}"] {
            assert_eq!(decode(unknown), Err(InvalidSignal::Unknown), "{unknown}");
        }
    }

    #[test]
    fn an_invalid_disconnect_is_rejected() {
        for inside in [
            "null",
            "7",
            "[7]",
            "{}",
            r#"{"user":""}"#,
            r#"{"user":true}"#,
            r#"{"user":7.0}"#,
            r#"{"user":9223372036854775808}"#,
            r#"{"user":null}"#,
            r#"{"channel":"chat:"}"#,
            r#"{"user":7,"channel":""}"#,
            r#"{"user":7,"channel":"a\n"}"#,
            r#"{"user":7,"channel":["chat:"]}"#,
            r#"{"user":7,"chanel":"chat:"}"#,
            r#"{"user":7,"user":8}"#,
        ] {
            let text = format!(r#"{{"disconnect":{inside}}}"#);
            assert_eq!(Signal::decode(text.as_bytes()), Err(InvalidSignal::Disconnect), "{text}");
        }
    }

    proptest! {
        #[test]
        fn signals_round_trip(user in prop_oneof!["-?[1-9]{1,9}", "\"[a-z0-9-]{1,36}\""], name in prop::option::of("\\P{Cc}{1,40}")) {
            let channel = name.map(|name| ChannelName::new(&name).unwrap());
            let user = UserId::from_json(&user).unwrap();
            let signal = Signal::Disconnect { user, channel };
            let encoded = signal.encode();
            prop_assert_eq!(Signal::decode(&encoded).map(|signal| signal.encode()), Ok(encoded));
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Signal::decode(&text);
        }
    }
}
