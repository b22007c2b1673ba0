//! The Redis protocol (RESP2), as far as a publisher and a subscriber need it.
//!
//! The `redis` crate's pub/sub connection reads ahead into an unbounded queue. Here a reply is taken from the
//! socket's buffer only when it is asked for, without a copy, so that a full node holds Redis back.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// An answer of the server. The texts are slices of what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(Bytes),
    Error(Bytes),
    Integer(i64),
    /// `None` is Redis's nil.
    Bulk(Option<Bytes>),
    Array(Vec<Reply>),
}

/// What came is not RESP2. The connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the server does not speak the Redis protocol")]
pub(super) struct Malformed;

/// Redis's own limit of a string (`proto-max-bulk-len`).
const LONGEST_BULK: usize = 512 << 20;
/// No command used here is answered with more, or deeper.
const LONGEST_ARRAY: usize = 1024;
const DEEPEST_ARRAY: usize = 4;
/// Longer than any status, error or number.
const LONGEST_LINE: usize = 64 << 10;

/// Appends a command.
pub(super) fn encode(out: &mut BytesMut, arguments: &[&[u8]]) {
    encode_header(out, arguments.len());
    for argument in arguments {
        encode_argument(out, argument);
    }
}

/// Appends the beginning of a command of so many arguments, its name included.
pub(super) fn encode_header(out: &mut BytesMut, arguments: usize) {
    out.extend_from_slice(format!("*{arguments}\r\n").as_bytes());
}

/// Appends one argument of a command.
pub(super) fn encode_argument(out: &mut BytesMut, argument: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
}

/// Takes one reply from the buffer, or leaves the buffer alone if it is not complete.
pub(super) fn decode(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let Some(length) = measure(buffer, 0)? else { return Ok(None) };
    let mut whole = buffer.split_to(length).freeze();
    take(&mut whole).map(Some)
}

/// The length of the reply that the bytes begin with, if all of it is there.
fn measure(bytes: &[u8], depth: usize) -> Result<Option<usize>, Malformed> {
    let Some(line) = line(bytes)? else { return Ok(None) };
    let header = line.len() + 2;
    match line.split_first() {
        Some((b'+' | b'-' | b':', _)) => Ok(Some(header)),
        Some((b'$', digits)) => {
            let Some(length) = size(digits, LONGEST_BULK)? else { return Ok(Some(header)) };
            let end = header + length + 2;
            Ok((bytes.len() >= end).then_some(end))
        }
        Some((b'*', digits)) => {
            if depth == DEEPEST_ARRAY {
                return Err(Malformed);
            }
            let mut end = header;
            for _ in 0..size(digits, LONGEST_ARRAY)?.unwrap_or(0) {
                match measure(bytes.get(end..).unwrap_or_default(), depth + 1)? {
                    Some(length) => end += length,
                    None => return Ok(None),
                }
            }
            Ok(Some(end))
        }
        _ => Err(Malformed),
    }
}

/// Takes the reply that the bytes begin with; [`measure`] has seen all of it.
fn take(bytes: &mut Bytes) -> Result<Reply, Malformed> {
    let length = line(bytes)?.ok_or(Malformed)?.len();
    let mut line = bytes.split_to(length);
    bytes.advance(2);
    let kind = line.first().copied();
    line.advance(1);
    match kind {
        Some(b'+') => Ok(Reply::Simple(line)),
        Some(b'-') => Ok(Reply::Error(line)),
        Some(b':') => number(&line).map(Reply::Integer),
        Some(b'$') => {
            let Some(length) = size(&line, LONGEST_BULK)? else { return Ok(Reply::Bulk(None)) };
            if bytes.len() < length + 2 {
                return Err(Malformed);
            }
            let text = bytes.split_to(length);
            if !bytes.starts_with(b"\r\n") {
                return Err(Malformed);
            }
            bytes.advance(2);
            Ok(Reply::Bulk(Some(text)))
        }
        Some(b'*') => {
            let count = size(&line, LONGEST_ARRAY)?.unwrap_or(0);
            (0..count).map(|_| take(bytes)).collect::<Result<_, _>>().map(Reply::Array)
        }
        _ => Err(Malformed),
    }
}

/// The first line, without its end; never empty.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let window = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    match window.iter().position(|byte| *byte == b'\r') {
        Some(0) => Err(Malformed),
        Some(end) => match bytes.get(end + 1) {
            Some(b'\n') => Ok(bytes.get(..end)),
            Some(_) => Err(Malformed),
            None => Ok(None),
        },
        None if window.len() == LONGEST_LINE => Err(Malformed),
        None => Ok(None),
    }
}

/// A length, or `None` for the `-1` that stands for nil.
fn size(digits: &[u8], longest: usize) -> Result<Option<usize>, Malformed> {
    match number(digits)? {
        -1 => Ok(None),
        length => usize::try_from(length).ok().filter(|length| *length <= longest).map(Some).ok_or(Malformed),
    }
}

fn number(digits: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<Reply>, Malformed> {
        let mut buffer = BytesMut::from(bytes);
        std::iter::from_fn(|| decode(&mut buffer).transpose()).collect()
    }

    fn bulk(text: &'static str) -> Reply {
        Reply::Bulk(Some(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = BytesMut::new();
        encode(&mut out, &[b"PUBLISH", "山".as_bytes(), b""]);
        assert_eq!(&out[..], "*3\r\n$7\r\nPUBLISH\r\n$3\r\n山\r\n$0\r\n\r\n".as_bytes());
    }

    #[test]
    fn every_kind_of_reply() {
        let replies = all(b"+OK\r\n-NOPERM no\r\n:-7\r\n$-1\r\n$2\r\n\r\n\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n*0\r\n");
        assert_eq!(
            replies.unwrap(),
            [
                Reply::Simple(Bytes::from_static(b"OK")),
                Reply::Error(Bytes::from_static(b"NOPERM no")),
                Reply::Integer(-7),
                Reply::Bulk(None),
                bulk("\r\n"),
                Reply::Array(vec![bulk("message"), bulk("a"), Reply::Integer(1)]),
                Reply::Array(vec![]),
            ]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "$x\r\n",
            "$-2\r\n",
            "$999999999999\r\n",
            "*1025\r\n",
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            "$1\r\nab\r\n",
            "+a\rb\r\n",
        ] {
            assert_eq!(all(bytes.as_bytes()), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(all(&vec![b'+'; LONGEST_LINE]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8),
            chunk in 1usize..20,
        ) {
            let mut wire = BytesMut::new();
            for text in &texts {
                encode(&mut wire, &[b"message", text]);
            }
            let mut buffer = BytesMut::new();
            let mut replies = Vec::new();
            for part in wire.chunks(chunk) {
                buffer.extend_from_slice(part);
                while let Some(reply) = decode(&mut buffer).unwrap() { replies.push(reply); }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(replies, all(&wire).unwrap());
        }

        #[test]
        fn no_bytes_can_hurt(bytes in prop::collection::vec(prop::sample::select(b"*$:+-12\r\n".to_vec()), 0..60)) {
            let _ = all(&bytes);
        }
    }
}
