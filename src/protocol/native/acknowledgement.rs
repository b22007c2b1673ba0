use std::sync::LazyLock;

use thiserror::Error;

use super::MessageRef;
use crate::message::Frame;

/// Whether a client's message was accepted.
pub type Acknowledgement = Result<(), RejectReason>;

/// Why a client's message was not accepted. The connection stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RejectReason {
    /// Not JSON, or not UTF-8.
    #[error("the message is not valid JSON")]
    InvalidJson,
    /// JSON, but without an object under `data`.
    #[error("the message must be an object with an object under \"data\"")]
    InvalidMessage,
    /// `data.target_user_id` is not a user ID.
    #[error(
        "target_user_id must be the id of a user, a positive integer or a text; leave it out to reach everybody"
    )]
    InvalidTarget,
    /// `ref` is not a text, or it is empty or too long.
    #[error("ref must be a text of 1 to 64 bytes")]
    InvalidRef,
    /// Clients may not send on this kind of channel.
    #[error("this channel takes no messages from clients")]
    NotAllowed,
    /// The broker is unreachable, or its queue is full.
    #[error("the message was not sent; try again later")]
    Unavailable,
    /// A fault of the server.
    #[error("the server could not handle the message; it was not sent")]
    Internal,
}

const ALL: [RejectReason; 7] = [
    RejectReason::InvalidJson,
    RejectReason::InvalidMessage,
    RejectReason::InvalidTarget,
    RejectReason::InvalidRef,
    RejectReason::NotAllowed,
    RejectReason::Unavailable,
    RejectReason::Internal,
];

impl RejectReason {
    /// `error.code` on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage | Self::InvalidTarget | Self::InvalidRef => "invalid_message",
            Self::NotAllowed => "not_allowed",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn encode(self, end: &str) -> Frame {
        encode_error(self.code(), &self.to_string(), end)
    }
}

/// `error.code` of a message that the application has refused.
pub const REFUSED: &str = "refused";

/// The `sended` frame of such a message, with the application's text.
#[must_use]
pub fn encode_refused(message: &str, message_ref: Option<&MessageRef>) -> Frame {
    let message_ref = message_ref.map(|message_ref| format!(r#","ref":{}"#, message_ref.to_json()));
    encode_error(REFUSED, message, &format!("{}}}", message_ref.unwrap_or_default()))
}

fn encode_error(code: &str, message: &str, end: &str) -> Frame {
    let error = serde_json::json!({ "code": code, "message": message }).to_string();
    Frame::text(&[br#"{"type":"sended","ok":false,"error":"#, error.as_bytes(), end.as_bytes()])
}

/// The `sended` frame, for the message with this `ref` if it has one. The spelling is part of the protocol.
#[must_use]
pub fn encode_acknowledgement(acknowledgement: Acknowledgement, message_ref: Option<&MessageRef>) -> Frame {
    static OK: LazyLock<Frame> = LazyLock::new(|| Frame::text(&[br#"{"type":"sended","ok":true}"#]));
    static REJECTIONS: LazyLock<[Frame; ALL.len()]> = LazyLock::new(|| ALL.map(|reason| reason.encode("}")));
    if let Some(message_ref) = message_ref {
        let end = format!(r#","ref":{}}}"#, message_ref.to_json());
        return match acknowledgement {
            Ok(()) => Frame::text(&[br#"{"type":"sended","ok":true"#, end.as_bytes()]),
            Err(reason) => reason.encode(&end),
        };
    }
    match acknowledgement {
        Ok(()) => OK.clone(),
        Err(reason) => REJECTIONS.get(reason as usize).map_or_else(|| reason.encode("}"), Clone::clone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_acknowledgements() {
        assert_eq!(
            encode_acknowledgement(Ok(()), None).bytes().as_ref(),
            b"\x81\x1b{\"type\":\"sended\",\"ok\":true}"
        );
        for reason in ALL {
            let frame = encode_acknowledgement(Err(reason), None);
            assert_eq!(frame, reason.encode("}"), "the table is in the order of the variants");
        }
        let frame = encode_acknowledgement(Err(RejectReason::NotAllowed), None);
        assert_eq!(
            &frame.bytes()[2..],
            br#"{"type":"sended","ok":false,"error":{"code":"not_allowed","message":"this channel takes no messages from clients"}}"#
        );
    }

    #[test]
    fn a_refusal_has_the_text_of_the_application() {
        let message_ref = MessageRef::from_json(r#""1""#).unwrap();
        assert_eq!(
            &encode_refused("no \"links\"", message_ref.as_ref()).bytes()[2..],
            br#"{"type":"sended","ok":false,"error":{"code":"refused","message":"no \"links\""},"ref":"1"}"#
        );
        assert!(encode_refused("no", None).bytes().ends_with(br#""message":"no"}}"#));
    }

    #[test]
    fn the_ref_is_repeated() {
        let message_ref = MessageRef::from_json(r#""a\"\u5c71""#).unwrap();
        assert_eq!(
            &encode_acknowledgement(Ok(()), message_ref.as_ref()).bytes()[2..],
            r#"{"type":"sended","ok":true,"ref":"a\"山"}"#.as_bytes()
        );
        let frame = encode_acknowledgement(Err(RejectReason::Unavailable), message_ref.as_ref());
        assert_eq!(
            &frame.bytes()[4..],
            r#"{"type":"sended","ok":false,"error":{"code":"unavailable","message":"the message was not sent; try again later"},"ref":"a\"山"}"#.as_bytes()
        );
    }
}
