use std::borrow::Cow;

use bytes::Bytes;
use thiserror::Error;

use super::encodings::frame;
use crate::auth::TokenRejectReason;
use crate::message::json::{members, string};
use crate::message::{Encoding, Frame};

/// A client's request to go on with a new token: `{"type":"auth","token":"…"}`.
pub struct RenewalRequest<'a> {
    token: Option<&'a str>,
}

impl<'a> RenewalRequest<'a> {
    /// Reads a message without `data`. `None`: it is not a request.
    #[must_use]
    pub fn decode(message: &'a Bytes) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let [message_type, token, data] = members(text, ["type", "token", "data"]).ok()?;
        let is_request = data.is_none() && string(message_type?)? == "auth";
        is_request.then_some(Self { token })
    }

    pub fn token(&self) -> Result<Cow<'a, str>, TokenRejectReason> {
        let token = self.token.ok_or(TokenRejectReason::Missing)?;
        string(token).ok_or(TokenRejectReason::Malformed)
    }
}

/// Why a connection keeps the token that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RenewalError {
    #[error(transparent)]
    Token(#[from] TokenRejectReason),
    #[error("the token is for another user or channel than this connection; connect again to change them")]
    OtherIdentity,
    /// Only of a request, which names the connection.
    #[error("no stream of this node has this connection ID; connect again")]
    UnknownConnection,
    /// Only of a request.
    #[error("the token was not passed on to the node of the stream; try again later")]
    Unavailable,
}

impl RenewalError {
    /// The code on the wire and in metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Token(reason) => reason.code(),
            Self::OtherIdentity => "other_identity",
            Self::UnknownConnection => "unknown_connection",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The answer to a request.
#[must_use]
pub fn encode_renewal(renewed: Result<(), RenewalError>, encoding: Encoding) -> Frame {
    frame(encoding, None, &[renewal_text(renewed).as_bytes()])
}

/// Its text.
#[must_use]
pub fn renewal_text(renewed: Result<(), RenewalError>) -> String {
    match renewed {
        Ok(()) => r#"{"type":"auth","ok":true}"#.to_owned(),
        Err(reason) => {
            let error = serde_json::json!({ "code": reason.code(), "message": reason.to_string() });
            format!(r#"{{"type":"auth","ok":false,"error":{error}}}"#)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::{ENCODING, SSE};

    fn token(text: &str) -> Option<Result<String, TokenRejectReason>> {
        let message = Bytes::copy_from_slice(text.as_bytes());
        RenewalRequest::decode(&message).map(|request| request.token().map(Cow::into_owned))
    }

    #[test]
    fn a_request_is_told_from_messages() {
        assert_eq!(token(r#"{"type":"auth","token":"a.b.c"}"#), Some(Ok("a.b.c".into())));
        assert_eq!(token(r#" {"token":"a\u002eb","x":[],"type":"\u0061uth"} "#), Some(Ok("a.b".into())));
        assert_eq!(token(r#"{"type":"auth"}"#), Some(Err(TokenRejectReason::Missing)));
        for bad in ["null", "7", "[]", "{}", "true"] {
            let text = format!(r#"{{"type":"auth","token":{bad}}}"#);
            assert_eq!(token(&text), Some(Err(TokenRejectReason::Malformed)), "{bad}");
        }
        for other in [
            "",
            "{}",
            "null",
            r#""auth""#,
            r#"{"token":"a.b.c"}"#,
            r#"{"type":"Auth","token":"a.b.c"}"#,
            r#"{"type":["auth"],"token":"a.b.c"}"#,
            r#"{"type":"auth","token":"a.b.c","data":{}}"#,
            r#"{"type":"auth","token":"a.b.c","data":null}"#,
            r#"{"type":"auth","token":"a.b.c""#,
        ] {
            assert_eq!(token(other), None, "{other}");
        }
    }

    #[test]
    fn golden_answers() {
        assert_eq!(&encode_renewal(Ok(()), ENCODING).bytes()[2..], br#"{"type":"auth","ok":true}"#);
        assert_eq!(&encode_renewal(Ok(()), SSE).bytes()[..], b"data: {\"type\":\"auth\",\"ok\":true}\n\n");
        let refused = encode_renewal(Err(TokenRejectReason::Malformed.into()), ENCODING);
        assert_eq!(
            &refused.bytes()[2..],
            br#"{"type":"auth","ok":false,"error":{"code":"malformed_token","message":"the token is not a JWT"}}"#
        );
    }
}
