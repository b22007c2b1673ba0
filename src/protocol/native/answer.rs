use std::sync::LazyLock;

use thiserror::Error;

use crate::message::Frame;

/// What a sender is told about its message.
pub type Answer = Result<(), Refusal>;

/// Why a client's message was not accepted. The socket stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not JSON, or not UTF-8.
    #[error("the message is not valid JSON")]
    InvalidJson,
    /// JSON, but without an object under `data`.
    #[error("the message must be an object with an object under \"data\"")]
    InvalidMessage,
    /// `data.target_user_id` names nobody.
    #[error("target_user_id must be a positive integer; leave it out to reach everybody")]
    InvalidTarget,
    /// This kind of channel takes no messages of clients.
    #[error("this channel takes no messages from clients")]
    NotAllowed,
    /// The broker is unreachable, or its queue is full. The message was not sent.
    #[error("the message was not sent; try again later")]
    Unavailable,
    /// The server is at fault.
    #[error("the server could not handle the message; it was not sent")]
    Internal,
}

const ALL: [Refusal; 6] = [
    Refusal::InvalidJson,
    Refusal::InvalidMessage,
    Refusal::InvalidTarget,
    Refusal::NotAllowed,
    Refusal::Unavailable,
    Refusal::Internal,
];

impl Refusal {
    /// `error.code` on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage | Self::InvalidTarget => "invalid_message",
            Self::NotAllowed => "not_allowed",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn encode(self) -> Frame {
        let error = serde_json::json!({ "code": self.code(), "message": self.to_string() });
        Frame::text(&[br#"{"type":"sended","ok":false,"error":"#, error.to_string().as_bytes(), b"}"])
    }
}

/// The `sended` frame. `sended` is the protocol's spelling.
#[must_use]
pub fn encode_answer(answer: Answer) -> Frame {
    static OK: LazyLock<Frame> = LazyLock::new(|| Frame::text(&[br#"{"type":"sended","ok":true}"#]));
    static REFUSALS: LazyLock<[Frame; ALL.len()]> = LazyLock::new(|| ALL.map(Refusal::encode));
    match answer {
        Ok(()) => OK.clone(),
        Err(refusal) => REFUSALS.get(refusal as usize).map_or_else(|| refusal.encode(), Clone::clone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_answers() {
        assert_eq!(encode_answer(Ok(())).bytes().as_ref(), b"\x81\x1b{\"type\":\"sended\",\"ok\":true}");
        for refusal in ALL {
            let frame = encode_answer(Err(refusal));
            assert_eq!(frame, refusal.encode(), "the table is in the order of the variants");
        }
        let frame = encode_answer(Err(Refusal::NotAllowed));
        assert_eq!(
            &frame.bytes()[2..],
            br#"{"type":"sended","ok":false,"error":{"code":"not_allowed","message":"this channel takes no messages from clients"}}"#
        );
    }
}
