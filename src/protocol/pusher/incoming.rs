//! What a client says.

use std::borrow::Cow;

use super::refusal::Refusal;
use crate::message::json::{members_not_null, object_or_string, string};

/// A frame of a client. Texts are borrowed where they have no escapes.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// `pusher:ping`
    Ping,
    /// `pusher:pong`
    Pong,
    /// `pusher:subscribe`
    Subscribe {
        /// The name as it was sent.
        channel: Cow<'a, str>,
        /// `key:signature`; pusher-js sends an empty one for public channels.
        auth: Option<Cow<'a, str>>,
        /// What the application says of the member, as it signed it.
        channel_data: Option<Cow<'a, str>>,
    },
    /// `pusher:unsubscribe`
    Unsubscribe {
        /// The name as it was sent.
        channel: Cow<'a, str>,
    },
    /// `pusher:signin`
    SignIn {
        /// `key:signature`
        auth: Cow<'a, str>,
        /// What the application says of the user, as it signed it.
        user_data: Cow<'a, str>,
    },
    /// An event whose name starts with `client-`.
    ClientEvent {
        /// The whole name.
        event: Cow<'a, str>,
        /// The name as it was sent.
        channel: Cow<'a, str>,
        /// What goes into the `data` of the receivers: a text as it was sent, anything else as JSON.
        data: Cow<'a, str>,
    },
}

/// What every event of clients starts with.
pub const CLIENT_PREFIX: &str = "client-";

impl<'a> Incoming<'a> {
    /// Reads a message. `data` of the protocol's own events may be an object or a text that holds one.
    pub fn decode(message: &'a [u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(message).map_err(|_| Refusal::Malformed)?;
        let [event, channel, data] =
            members_not_null(text, ["event", "channel", "data"]).map_err(|_| Refusal::Malformed)?;
        let event = event.and_then(string).ok_or(Refusal::Malformed)?;
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
                let (auth, user_data) = auth.zip(user_data).ok_or(Refusal::InvalidData(wanted))?;
                Ok(Self::SignIn { auth, user_data })
            }
            name if name.starts_with(CLIENT_PREFIX) => {
                let channel = channel.and_then(string).ok_or(NO_CHANNEL)?;
                let data = data.unwrap_or("null");
                let data = string(data).unwrap_or(Cow::Borrowed(data));
                Ok(Self::ClientEvent { event, channel, data })
            }
            _ => Err(Refusal::UnknownEvent),
        }
    }
}

const NO_CHANNEL: Refusal = Refusal::InvalidData("the channel is missing or not a text");

fn subscribe(data: Option<&str>) -> Result<Incoming<'_>, Refusal> {
    let wanted = "subscribe with data {channel, auth?, channel_data?}, all of them texts";
    let [channel, auth, channel_data] = fields(data, ["channel", "auth", "channel_data"], wanted)?;
    Ok(Incoming::Subscribe { channel: channel.ok_or(NO_CHANNEL)?, auth, channel_data })
}

/// The texts in `data`. One that is there and is not a text is an error.
fn fields<'a, const N: usize>(
    data: Option<&'a str>,
    names: [&'static str; N],
    wanted: &'static str,
) -> Result<[Option<Cow<'a, str>>; N], Refusal> {
    let wrong = || Refusal::InvalidData(wanted);
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

    fn decode(text: &str) -> Result<Incoming<'_>, Refusal> {
        Incoming::decode(text.as_bytes())
    }

    #[test]
    fn what_pusher_js_sends() {
        assert_eq!(decode(r#"{"event":"pusher:ping","data":{}}"#), Ok(Incoming::Ping));
        assert_eq!(decode(r#"{"event":"pusher:pong","data":{}}"#), Ok(Incoming::Pong));
        assert_eq!(
            decode(r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"my-channel"}}"#),
            Ok(Incoming::Subscribe {
                channel: "my-channel".into(),
                auth: Some("".into()),
                channel_data: None
            })
        );
        assert_eq!(
            decode(
                r#"{"event":"pusher:subscribe","data":{"auth":"k:1","channel_data":"{\"user_id\":7}","channel":"presence-a"}}"#
            ),
            Ok(Incoming::Subscribe {
                channel: "presence-a".into(),
                auth: Some("k:1".into()),
                channel_data: Some(r#"{"user_id":7}"#.into())
            })
        );
        assert_eq!(
            decode(r#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#),
            Ok(Incoming::Unsubscribe { channel: "a".into() })
        );
        assert_eq!(
            decode(r#"{"event":"pusher:signin","data":{"auth":"k:1","user_data":"{\"id\":\"7\"}"}}"#),
            Ok(Incoming::SignIn { auth: "k:1".into(), user_data: r#"{"id":"7"}"#.into() })
        );
        assert_eq!(
            decode(r#"{"event":"client-typing","data":{"a": 1.0},"channel":"private-a"}"#),
            Ok(Incoming::ClientEvent {
                event: "client-typing".into(),
                channel: "private-a".into(),
                data: r#"{"a": 1.0}"#.into()
            })
        );
    }

    #[test]
    fn what_other_clients_send() {
        for text in [
            r#"{"event":"pusher:ping"}"#,
            r#"{"event":"pusher:ping","data":"{}"}"#,
            r#"{"data":null,"event":"pusher:pi\u006eg"}"#,
        ] {
            assert_eq!(decode(text), Ok(Incoming::Ping));
        }
        assert_eq!(
            decode(
                r#" {"event":"pusher:subscribe","data":"{\"channel\":\"a\\u0062\",\"auth\":null}","x":[{}]} "#
            ),
            Ok(Incoming::Subscribe { channel: "ab".into(), auth: None, channel_data: None })
        );
        let data = |text: &str| match decode(text).unwrap() {
            Incoming::ClientEvent { data, .. } => data.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(data(r#"{"event":"client-a","channel":"b","data":"{\"a\":1}"}"#), r#"{"a":1}"#);
        assert_eq!(data(r#"{"event":"client-a","channel":"b","data":[1, 2]}"#), "[1, 2]");
        assert_eq!(data(r#"{"event":"client-a","channel":"b"}"#), "null");
    }

    #[test]
    fn what_nobody_should_send() {
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
            assert_eq!(decode(text), Err(Refusal::Malformed), "{text}");
        }
        for event in ["", "x", "pusher:error", "pusher_internal:member_added", "Client-a", " client-a"] {
            assert_eq!(decode(&format!(r#"{{"event":"{event}"}}"#)), Err(Refusal::UnknownEvent), "{event}");
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
            assert!(matches!(decode(text), Err(Refusal::InvalidData(_))), "{text}");
        }
        assert_eq!(Incoming::decode(b"{\"event\":\"\xff\"}"), Err(Refusal::Malformed));
    }

    #[test]
    fn depth_needs_no_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        assert!(decode(&format!(r#"{{"event":"client-a","channel":"b","data":{deep}}}"#)).is_ok());
        let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"a","auth":{deep}}}}}"#);
        assert!(matches!(decode(&text), Err(Refusal::InvalidData(_))));
        assert_eq!(decode(&deep), Err(Refusal::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_can_hurt(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Incoming::decode(&message);
        }

        #[test]
        fn no_near_miss_can_hurt(cut in 0usize..90, byte: u8) {
            let mut message = br#"{"event":"pusher:subscribe","data":"{\"channel\":\"a\",\"auth\":\"k:1\"}","x":1}"#.to_vec();
            if let Some(place) = message.get_mut(cut) { *place = byte; }
            let _ = Incoming::decode(&message);
        }
    }
}
