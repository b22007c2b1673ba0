use bytes::Bytes;
use redis::Value;

/// What Redis sends on a subscribed connection.
pub(super) enum Push {
    Message {
        channel: Vec<u8>,
        payload: Bytes,
        /// It arrives because of a pattern.
        by_pattern: bool,
    },
    /// The reply to SUBSCRIBE, UNSUBSCRIBE or PSUBSCRIBE.
    SubscriptionReply,
    Pong,
    Other,
}

impl Push {
    pub(super) fn parse(values: Vec<Value>) -> Self {
        let channel_at = match kind(&values) {
            b"subscribe" | b"unsubscribe" | b"psubscribe" => return Self::SubscriptionReply,
            b"pong" => return Self::Pong,
            b"message" => 1,
            // The pattern precedes the channel.
            b"pmessage" => 2,
            _ => return Self::Other,
        };
        let mut rest = values.into_iter().skip(channel_at);
        match (rest.next(), rest.next()) {
            (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) => {
                Self::Message { channel, payload: payload.into(), by_pattern: channel_at == 2 }
            }
            _ => Self::Other,
        }
    }
}

/// The first element of a push, which names its kind.
fn kind(values: &[Value]) -> &[u8] {
    if let Some(Value::BulkString(kind)) = values.first() { kind } else { b"" }
}
