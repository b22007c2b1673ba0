use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{ChannelName, Dispatch, InvalidRevocation, Renewal, Revocation, SocketId, UserId};

/// A command for every node, encoded as an object with one key that names the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// `{"disconnect":{"user":7,"channel":"chat:room1"}}`: close a user's connections.
    Disconnect {
        user: UserId,
        /// Close only connections that are on this channel. `None`: close all.
        channel: Option<ChannelName>,
    },
    /// `{"disconnect_channel":{"channel":"chat:room1"}}`: close all connections on a channel.
    DisconnectChannel {
        /// The app that the channel belongs to. `None`: it is native.
        app: Option<Arc<str>>,
        channel: ChannelName,
    },
    /// `{"disconnect_connection":{"connection":"1234.5678"}}`: close one connection.
    DisconnectConnection { connection: SocketId },
    /// `{"revoke":{"user":7}}`: take tokens back.
    Revoke {
        revocation: Revocation,
        /// `{"revoke":{"user":7},"stored":true}`: it is where nodes look when they connect, so that they need not write it there.
        is_stored: bool,
    },
    /// `{"renew":{"connection":"1234.5678",…}}`: one connection goes on with a new token.
    Renew(Box<Renewal>),
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
    /// `disconnect_channel` is not `{channel: a channel name, app: an app's id or null}`.
    #[error("`disconnect_channel` is not {{channel, app}}")]
    DisconnectChannel,
    /// `disconnect_connection` is not `{connection: a socket id}`.
    #[error("`disconnect_connection` is not {{connection}}")]
    DisconnectConnection,
    /// `revoke` is not a [`Revocation`].
    #[error("`revoke` is not {{user}}, {{user, before}}, {{before}} or {{jti}}, with or without `until`")]
    Revoke,
    /// `renew` is not a [`Renewal`].
    #[error("`renew` is not {{connection, channel, id, name, expires_at, issued_at, jti}}")]
    Renew,
}

impl Signal {
    /// Encodes the signal as JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let wire = match self {
            Self::Disconnect { user, channel } => {
                SignalRef::Disconnect { user, channel: channel.as_ref().map(ChannelName::as_str) }
            }
            Self::DisconnectChannel { app, channel } => {
                SignalRef::DisconnectChannel { app: app.as_deref(), channel: channel.as_str() }
            }
            Self::DisconnectConnection { connection } => {
                SignalRef::DisconnectConnection { connection: *connection }
            }
            Self::Revoke { revocation, is_stored } => {
                let stored = if *is_stored { r#","stored":true"# } else { "" };
                return format!(r#"{{"revoke":{}{stored}}}"#, revocation.to_json()).into();
            }
            Self::Renew(renewal) => return format!(r#"{{"renew":{}}}"#, renewal.to_json()).into(),
        };
        // Serializing strings and numbers cannot fail.
        serde_json::to_vec(&wire).unwrap_or_default().into()
    }

    /// Decodes a signal. Unknown keys next to the signal are ignored. An unknown key inside the signal is an error, because it
    /// may restrict which connections to close.
    pub fn decode(text: &[u8]) -> Result<Self, InvalidSignal> {
        let wire: SignalBodies<'_> = object(text).ok_or(InvalidSignal::Unknown)?;
        if let Some(body) = wire.disconnect {
            Self::disconnect_from(body.get())
        } else if let Some(body) = wire.disconnect_channel {
            let body: Option<DisconnectChannelBody> = object(body.get().as_bytes());
            let DisconnectChannelBody { app, channel } = body.ok_or(InvalidSignal::DisconnectChannel)?;
            let channel = ChannelName::new(&channel).map_err(|_| InvalidSignal::DisconnectChannel)?;
            Ok(Self::DisconnectChannel { app, channel })
        } else if let Some(body) = wire.disconnect_connection {
            let body: Option<DisconnectConnectionBody> = object(body.get().as_bytes());
            let DisconnectConnectionBody { connection } = body.ok_or(InvalidSignal::DisconnectConnection)?;
            Ok(Self::DisconnectConnection { connection })
        } else if let Some(body) = wire.revoke {
            let revocation = Revocation::from_json(body.get());
            let revocation = revocation.map_err(|InvalidRevocation| InvalidSignal::Revoke)?;
            let is_stored = wire.stored.is_some_and(|stored| stored.get() == "true");
            Ok(Self::Revoke { revocation, is_stored })
        } else if let Some(body) = wire.renew {
            let renewal = Renewal::from_json(body.get()).ok_or(InvalidSignal::Renew)?;
            Ok(Self::Renew(Box::new(renewal)))
        } else {
            Err(InvalidSignal::Unknown)
        }
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

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum SignalRef<'a> {
    Disconnect {
        user: &'a UserId,
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
    },
    DisconnectChannel {
        #[serde(skip_serializing_if = "Option::is_none")]
        app: Option<&'a str>,
        channel: &'a str,
    },
    DisconnectConnection {
        connection: SocketId,
    },
}

#[derive(Deserialize)]
struct SignalBodies<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    disconnect: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    disconnect_channel: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    disconnect_connection: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    revoke: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stored: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    renew: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectBody {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    user: UserId,
    channel: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectChannelBody {
    app: Option<Arc<str>>,
    channel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectConnectionBody {
    connection: SocketId,
}

/// `null` is a value, and an invalid one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
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
    fn a_revocation_says_whether_it_is_stored() {
        for (text, stored) in
            [(r#"{"revoke":{"user":7}}"#, false), (r#"{"revoke":{"user":7},"stored":true}"#, true)]
        {
            let signal = Signal::decode(text.as_bytes()).unwrap();
            assert!(matches!(&signal, Signal::Revoke { is_stored, .. } if *is_stored == stored), "{text}");
            assert_eq!(signal.encode(), text);
        }
        let other = Signal::decode(br#"{"revoke":{"user":7},"stored":"true"}"#);
        assert!(matches!(other, Ok(Signal::Revoke { is_stored: false, .. })));
    }

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
    fn a_channel_and_a_connection_have_names_of_their_own() {
        let channel = ChannelName::new("chat:a").unwrap();
        let connection = SocketId::new(12, 34);
        for (signal, text) in [
            (
                Signal::DisconnectChannel { app: None, channel: channel.clone() },
                r#"{"disconnect_channel":{"channel":"chat:a"}}"#,
            ),
            (
                Signal::DisconnectChannel { app: Some("1".into()), channel },
                r#"{"disconnect_channel":{"app":"1","channel":"chat:a"}}"#,
            ),
            (
                Signal::DisconnectConnection { connection },
                r#"{"disconnect_connection":{"connection":"12.34"}}"#,
            ),
        ] {
            assert_eq!(std::str::from_utf8(&signal.encode()).unwrap(), text);
            assert_eq!(Signal::decode(text.as_bytes()), Ok(signal));
        }
        for (text, error) in [
            (r#"{"disconnect_channel":{}}"#, InvalidSignal::DisconnectChannel),
            (r#"{"disconnect_channel":{"channel":""}}"#, InvalidSignal::DisconnectChannel),
            (r#"{"disconnect_channel":{"channel":"a","user":7}}"#, InvalidSignal::DisconnectChannel),
            (r#"{"disconnect_connection":{"connection":12.34}}"#, InvalidSignal::DisconnectConnection),
            (r#"{"disconnect_connection":{"connection":"12"}}"#, InvalidSignal::DisconnectConnection),
        ] {
            assert_eq!(Signal::decode(text.as_bytes()), Err(error), "{text}");
        }
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
