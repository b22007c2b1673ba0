//! Messages from clients.

use std::borrow::Cow;

use super::reject_reason::RejectReason;
use crate::message::json::{members_not_null, object_or_string, string};

/// A decoded message of a client. Strings without escapes are borrowed from the message.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// `pusher:ping`
    Ping,
    /// `pusher:pong`
    Pong,
    /// `pusher:subscribe`
    Subscribe {
        /// Not validated.
        channel: Cow<'a, str>,
        /// `key:signature`. pusher-js sends an empty string for public channels.
        auth: Option<Cow<'a, str>>,
        /// The member of a presence channel as JSON text, exactly as the application signed it.
        channel_data: Option<Cow<'a, str>>,
        /// The last position on the channel that the client knows.
        since: Option<Cow<'a, str>>,
    },
    /// `pusher:unsubscribe`
    Unsubscribe {
        /// Not validated.
        channel: Cow<'a, str>,
    },
    /// `pusher:signin`
    SignIn {
        /// `key:signature`
        auth: Cow<'a, str>,
        /// The user as JSON text, exactly as the application signed it.
        user_data: Cow<'a, str>,
    },
    /// An event whose name starts with `client-`.
    ClientEvent {
        /// The name including the prefix.
        event: Cow<'a, str>,
        /// Not validated.
        channel: Cow<'a, str>,
        /// The `data` that subscribers receive: a string unquoted, any other value as JSON text.
        data: Cow<'a, str>,
    },
}

/// The prefix of all client events.
pub const CLIENT_PREFIX: &str = "client-";

impl<'a> ClientMessage<'a> {
    /// Decodes a message. The `data` of a protocol event may be an object, or a string that contains an object.
    pub fn decode(message: &'a [u8]) -> Result<Self, RejectReason> {
        let text = std::str::from_utf8(message).map_err(|_| RejectReason::Malformed)?;
        let [event, channel, data] =
            members_not_null(text, ["event", "channel", "data"]).map_err(|_| RejectReason::Malformed)?;
        let event = event.and_then(string).ok_or(RejectReason::Malformed)?;
        match &*event {
            "pusher:ping" => Ok(Self::Ping),
            "pusher:pong" => Ok(Self::Pong),
            "pusher:subscribe" => subscribe(data),
            "pusher:unsubscribe" => {
                let [channel] = fields(data, ["channel"], "unsubscribe with data {channel}")?;
                Ok(Self::Unsubscribe { channel: channel.ok_or(NO_CHANNEL)? })
            }
            "pusher:signin" => {
                let wanted = "sign in with data {auth, user_data}, both texts";
                let [auth, user_data] = fields(data, ["auth", "user_data"], wanted)?;
                let (auth, user_data) = auth.zip(user_data).ok_or(RejectReason::InvalidData(wanted))?;
                Ok(Self::SignIn { auth, user_data })
            }
            name if name.starts_with(CLIENT_PREFIX) => {
                let channel = channel.and_then(string).ok_or(NO_CHANNEL)?;
                let data = data.unwrap_or("null");
                let data = string(data).unwrap_or(Cow::Borrowed(data));
                Ok(Self::ClientEvent { event, channel, data })
            }
            _ => Err(RejectReason::UnknownEvent),
        }
    }
}

const NO_CHANNEL: RejectReason = RejectReason::InvalidData("the channel is missing or not a text");

fn subscribe(data: Option<&str>) -> Result<ClientMessage<'_>, RejectReason> {
    let wanted = "subscribe with data {channel, auth?, channel_data?, since?}, all of them texts";
    let [channel, auth, channel_data, since] =
        fields(data, ["channel", "auth", "channel_data", "since"], wanted)?;
    Ok(ClientMessage::Subscribe { channel: channel.ok_or(NO_CHANNEL)?, auth, channel_data, since })
}

/// Reads string members of `data`. A missing member is `None`; a member that is not a string is an error.
fn fields<'a, const N: usize>(
    data: Option<&'a str>,
    names: [&'static str; N],
    wanted: &'static str,
) -> Result<[Option<Cow<'a, str>>; N], RejectReason> {
    let wrong = || RejectReason::InvalidData(wanted);
    let mut texts = [const { None }; N];
    let found = data.and_then(object_or_string).ok_or_else(wrong)?;
    match found {
        Cow::Borrowed(object) => {
            for (text, value) in texts.iter_mut().zip(members_not_null(object, names).map_err(|_| wrong())?) {
                *text = value.map(|value| string(value).ok_or_else(wrong)).transpose()?;
            }
        }
        Cow::Owned(object) => {
            for (text, value) in texts.iter_mut().zip(members_not_null(&object, names).map_err(|_| wrong())?)
            {
                let owned = |value| string(value).map(|text| Cow::Owned(text.into_owned()));
                *text = value.map(|value| owned(value).ok_or_else(wrong)).transpose()?;
            }
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str) -> Result<ClientMessage<'_>, RejectReason> {
        ClientMessage::decode(text.as_bytes())
    }

    #[test]
    fn decodes_messages_of_pusher_js() {
        assert_eq!(decode(r#"{"event":"pusher:ping","data":{}}"#), Ok(ClientMessage::Ping));
        assert_eq!(decode(r#"{"event":"pusher:pong","data":{}}"#), Ok(ClientMessage::Pong));
        assert_eq!(
            decode(r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"my-channel"}}"#),
            Ok(ClientMessage::Subscribe {
                channel: "my-channel".into(),
                auth: Some("".into()),
                channel_data: None,
                since: None
            })
        );
        assert_eq!(
            decode(
                r#"{"event":"pusher:subscribe","data":{"auth":"k:1","channel_data":"{\"user_id\":7}","channel":"presence-a"}}"#
            ),
            Ok(ClientMessage::Subscribe {
                channel: "presence-a".into(),
                auth: Some("k:1".into()),
                channel_data: Some(r#"{"user_id":7}"#.into()),
                since: None
            })
        );
        assert_eq!(
            decode(r#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#),
            Ok(ClientMessage::Unsubscribe { channel: "a".into() })
        );
        assert_eq!(
            decode(r#"{"event":"pusher:signin","data":{"auth":"k:1","user_data":"{\"id\":\"7\"}"}}"#),
            Ok(ClientMessage::SignIn { auth: "k:1".into(), user_data: r#"{"id":"7"}"#.into() })
        );
        assert_eq!(
            decode(r#"{"event":"client-typing","data":{"a": 1.0},"channel":"private-a"}"#),
            Ok(ClientMessage::ClientEvent {
                event: "client-typing".into(),
                channel: "private-a".into(),
                data: r#"{"a": 1.0}"#.into()
            })
        );
    }

    #[test]
    fn decodes_spellings_of_other_clients() {
        for text in [
            r#"{"event":"pusher:ping"}"#,
            r#"{"event":"pusher:ping","data":"{}"}"#,
            r#"{"data":null,"event":"pusher:pi\u006eg"}"#,
        ] {
            assert_eq!(decode(text), Ok(ClientMessage::Ping));
        }
        assert_eq!(
            decode(
                r#" {"event":"pusher:subscribe","data":"{\"channel\":\"a\\u0062\",\"auth\":null}","x":[{}]} "#
            ),
            Ok(ClientMessage::Subscribe {
                channel: "ab".into(),
                auth: None,
                channel_data: None,
                since: None
            })
        );
        let data = |text: &str| match decode(text).unwrap() {
            ClientMessage::ClientEvent { data, .. } => data.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(data(r#"{"event":"client-a","channel":"b","data":"{\"a\":1}"}"#), r#"{"a":1}"#);
        assert_eq!(data(r#"{"event":"client-a","channel":"b","data":[1, 2]}"#), "[1, 2]");
        assert_eq!(data(r#"{"event":"client-a","channel":"b"}"#), "null");
    }

    #[test]
    fn rejects_invalid_messages() {
        for text in [
            "",
            "{",
            "null",
            "[]",
            "7",
            "{}",
            r#"{"event":7}"#,
            r#"{"event":null}"#,
            r#"{"event":"pusher:ping"}x"#,
        ] {
            assert_eq!(decode(text), Err(RejectReason::Malformed), "{text}");
        }
        for event in ["", "x", "pusher:error", "pusher_internal:member_added", "Client-a", " client-a"] {
            assert_eq!(
                decode(&format!(r#"{{"event":"{event}"}}"#)),
                Err(RejectReason::UnknownEvent),
                "{event}"
            );
        }
        for text in [
            r#"{"event":"pusher:subscribe"}"#,
            r#"{"event":"pusher:subscribe","data":[]}"#,
            r#"{"event":"pusher:subscribe","data":"x"}"#,
            r#"{"event":"pusher:subscribe","data":{}}"#,
            r#"{"event":"pusher:subscribe","channel":"a","data":{"channel":7}}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":7}}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":"a","channel_data":{"user_id":7}}}"#,
            r#"{"event":"pusher:unsubscribe","data":{}}"#,
            r#"{"event":"pusher:signin","data":{"auth":"a"}}"#,
            r#"{"event":"pusher:signin","data":{"auth":"a","user_data":{}}}"#,
            r#"{"event":"client-a","data":{}}"#,
            r#"{"event":"client-a","channel":7}"#,
        ] {
            assert!(matches!(decode(text), Err(RejectReason::InvalidData(_))), "{text}");
        }
        assert_eq!(ClientMessage::decode(b"{\"event\":\"\xff\"}"), Err(RejectReason::Malformed));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        assert!(decode(&format!(r#"{{"event":"client-a","channel":"b","data":{deep}}}"#)).is_ok());
        let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"a","auth":{deep}}}}}"#);
        assert!(matches!(decode(&text), Err(RejectReason::InvalidData(_))));
        assert_eq!(decode(&deep), Err(RejectReason::Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ClientMessage::decode(&message);
        }

        #[test]
        fn one_changed_byte_never_panics(cut in 0usize..90, byte: u8) {
            let mut message = br#"{"event":"pusher:subscribe","data":"{\"channel\":\"a\",\"auth\":\"k:1\"}","x":1}"#.to_vec();
            if let Some(place) = message.get_mut(cut) { *place = byte; }
            let _ = ClientMessage::decode(&message);
        }
    }
}
