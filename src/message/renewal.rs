use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ChannelName, Sender, SocketId, UserId};

/// A new token for a connection that another node may have. The claims only, because a node has verified the token, and tokens are not
/// sent between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    pub connection: SocketId,
    pub channel: ChannelName,
    pub user: Sender,
    /// In Unix seconds, like the claim `iat`.
    pub expires_at: u64,
    pub issued_at: Option<u64>,
    pub jti: Option<Box<str>>,
}

impl Renewal {
    /// Decodes a JSON object. `None`: it is not a renewal.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        // serde would also accept an array for a struct.
        if !text.trim_ascii_start().starts_with('{') {
            return None;
        }
        let Body { connection, channel, id, name, expires_at, issued_at, jti } =
            serde_json::from_str(text).ok()?;
        let channel = ChannelName::new(&channel).ok()?;
        Some(Self { connection, channel, user: Sender { name, id }, expires_at, issued_at, jti })
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { connection, channel, user, expires_at, issued_at, jti } = self.clone();
        let (channel, Sender { name, id }) = (Cow::Borrowed(channel.as_str()), user);
        // Strings and numbers can always be written as JSON.
        serde_json::to_string(&Body { connection, channel, id, name, expires_at, issued_at, jti })
            .unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    connection: SocketId,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    id: UserId,
    name: Arc<str>,
    expires_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renewal(id: UserId, issued_at: Option<u64>, jti: Option<&str>) -> Renewal {
        Renewal {
            connection: SocketId::new(12, 34),
            channel: ChannelName::new("chat:\"山\"").unwrap(),
            user: Sender { name: "Aoi".into(), id },
            expires_at: 1_900_000_000,
            issued_at,
            jti: jti.map(Into::into),
        }
    }

    #[test]
    fn golden_texts() {
        for (renewal, text) in [
            (
                renewal(7.into(), None, None),
                r#"{"connection":"12.34","channel":"chat:\"山\"","id":7,"name":"Aoi","expires_at":1900000000}"#,
            ),
            (
                renewal(UserId::new("u-7"), Some(1_800_000_000), Some("a")),
                r#"{"connection":"12.34","channel":"chat:\"山\"","id":"u-7","name":"Aoi","expires_at":1900000000,"issued_at":1800000000,"jti":"a"}"#,
            ),
        ] {
            assert_eq!(renewal.to_json(), text);
            assert_eq!(Renewal::from_json(text), Some(renewal));
        }
    }

    #[test]
    fn anything_else_is_not_a_renewal() {
        let good = renewal(7.into(), None, None).to_json();
        for (part, other) in [
            ("12.34", "12"),
            (":7", ":null"),
            ("chat:", "\\n"),
            ("1900000000", "\"1\""),
            ("\"name\"", "\"nam\""),
        ] {
            let bad = good.replace(part, other);
            assert_ne!(bad, good, "{part}");
            assert_eq!(Renewal::from_json(&bad), None, "{bad}");
        }
        for bad in ["", "null", "[]", "{}", r#"["12.34","chat:",7,"Aoi",1]"#] {
            assert_eq!(Renewal::from_json(bad), None, "{bad}");
        }
    }
}
