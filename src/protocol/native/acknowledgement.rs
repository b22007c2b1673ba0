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
    /// `data` is nested more deeply than the application can read.
    #[error("data must not be nested more than 500 levels deep")]
    TooDeep,
    /// Clients may not send on this kind of channel.
    #[error("this channel takes no messages from clients")]
    NotAllowed,
    /// A request is over the message rate. A WebSocket is read more slowly instead.
    #[error("too many messages; the message was not sent")]
    RateLimited,
    /// A request is larger than a message may be. A WebSocket is closed instead.
    #[error("the message is larger than limits.message_bytes; it was not sent")]
    TooLarge,
    /// The broker is unreachable, or its queue is full.
    #[error("the message was not sent; try again later")]
    Unavailable,
    /// A fault of the server.
    #[error("the server could not handle the message; it was not sent")]
    Internal,
}

const ALL: [RejectReason; 10] = [
    RejectReason::InvalidJson,
    RejectReason::InvalidMessage,
    RejectReason::InvalidTarget,
    RejectReason::InvalidRef,
    RejectReason::TooDeep,
    RejectReason::NotAllowed,
    RejectReason::RateLimited,
    RejectReason::TooLarge,
    RejectReason::Unavailable,
    RejectReason::Internal,
];

impl RejectReason {
    /// `error.code` on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage | Self::InvalidTarget | Self::InvalidRef | Self::TooDeep => {
                "invalid_message"
            }
            Self::NotAllowed => "not_allowed",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "message_too_large",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn encode(self, end: &str) -> Frame {
        write_error(self.code(), &self.to_string(), end, Frame::text)
    }
}

/// `error.code` of a message that the application has refused.
pub const REFUSED: &str = "refused";

/// The `sended` frame of such a message, with the application's text.
#[must_use]
pub fn encode_refused(message: &str, message_ref: Option<&MessageRef>) -> Frame {
    write_error(REFUSED, message, &end(message_ref), Frame::text)
}

/// The text of that frame.
#[must_use]
pub fn refused_text(message: &str, message_ref: Option<&MessageRef>) -> Vec<u8> {
    write_error(REFUSED, message, &end(message_ref), |parts| parts.concat())
}

/// The text of the frame that [`encode_acknowledgement`] returns.
#[must_use]
pub fn acknowledgement_text(acknowledgement: Acknowledgement, message_ref: Option<&MessageRef>) -> Vec<u8> {
    let end = end(message_ref);
    match acknowledgement {
        Ok(()) => [OK, end.as_bytes()].concat(),
        Err(reason) => write_error(reason.code(), &reason.to_string(), &end, |parts| parts.concat()),
    }
}

/// How the frame of an accepted message begins.
const OK: &[u8] = br#"{"type":"sended","ok":true"#;

fn write_error<T>(code: &str, message: &str, end: &str, write: impl FnOnce(&[&[u8]]) -> T) -> T {
    let error = serde_json::json!({ "code": code, "message": message }).to_string();
    write(&[br#"{"type":"sended","ok":false,"error":"#, error.as_bytes(), end.as_bytes()])
}

/// How such a frame ends.
fn end(message_ref: Option<&MessageRef>) -> String {
    message_ref.map_or_else(|| "}".to_owned(), |found| format!(r#","ref":{}}}"#, found.to_json()))
}

/// The `sended` frame, for the message with this `ref` if it has one. The spelling is part of the protocol.
#[must_use]
pub fn encode_acknowledgement(acknowledgement: Acknowledgement, message_ref: Option<&MessageRef>) -> Frame {
    static ACCEPTED: LazyLock<Frame> = LazyLock::new(|| Frame::text(&[OK, b"}"]));
    static REJECTIONS: LazyLock<[Frame; ALL.len()]> = LazyLock::new(|| ALL.map(|reason| reason.encode("}")));
    if message_ref.is_some() {
        let end = end(message_ref);
        return match acknowledgement {
            Ok(()) => Frame::text(&[OK, end.as_bytes()]),
            Err(reason) => reason.encode(&end),
        };
    }
    match acknowledgement {
        Ok(()) => ACCEPTED.clone(),
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
    fn the_text_is_that_of_the_frame() {
        let message_ref = MessageRef::from_json(r#""1""#).unwrap();
        for found in [None, message_ref.as_ref()] {
            for acknowledgement in [Ok(()), Err(RejectReason::NotAllowed)] {
                let frame = Frame::text(&[&acknowledgement_text(acknowledgement, found)]);
                assert_eq!(frame, encode_acknowledgement(acknowledgement, found));
            }
            assert_eq!(Frame::text(&[&refused_text("no", found)]), encode_refused("no", found));
        }
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
