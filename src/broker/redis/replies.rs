use std::future::poll_fn;
use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use redis::{Parser, Value};
use tokio::io::{AsyncRead, ReadBuf};

use super::link::Trouble;

/// With this byte the records begin that say what is wrong with a TLS handshake, and no reply of Redis does.
pub(super) const TLS_ALERT: u8 = 0x15;

/// Redis's own limit of a string (`proto-max-bulk-len`), and room for what stands around it.
pub(super) const LONGEST: usize = (512 << 20) + (64 << 10);

/// Takes replies from a connection, one when it is asked for one: `docs/decisions/0006-redis-connection.md`.
///
/// It reads no further than the few kilobytes of one read, so that a full node holds Redis back.
pub(super) struct Replies {
    parser: Parser,
    /// Bytes read since the last whole reply.
    pending: usize,
    /// The most that a reply may be.
    longest: usize,
    /// The first byte of the connection.
    first: Option<u8>,
}

impl Replies {
    pub(super) fn new(longest: usize) -> Self {
        Self { parser: Parser::new(), pending: 0, longest, first: None }
    }

    /// The next reply. Dropping the future loses nothing.
    pub(super) async fn next<S>(&mut self, stream: &mut S) -> Result<Value, Trouble>
    where
        S: AsyncRead + Unpin,
    {
        poll_fn(|context| {
            let Self { parser, pending, longest, first } = self;
            let mut source = Source { stream, context, pending, longest: *longest, first, stop: None };
            let parsed = parser.parse_value(&mut source);
            match (parsed, source.stop) {
                (Ok(reply), _) => {
                    self.pending = 0;
                    Poll::Ready(Ok(reply))
                }
                (Err(_), Some(Stop::NotYet)) => Poll::Pending,
                (Err(_), Some(Stop::Trouble(trouble))) => Poll::Ready(Err(trouble)),
                (Err(_), None) if self.first == Some(TLS_ALERT) => Poll::Ready(Err(Trouble::SpeaksTls)),
                // The parser's own words quote what was read.
                (Err(_), None) => Poll::Ready(Err(Trouble::Malformed)),
            }
        })
        .await
    }
}

/// What the parser reads from. It keeps its place when a read fails, so "not yet" is such a failure.
struct Source<'a, 'c, S> {
    stream: &'a mut S,
    context: &'a mut Context<'c>,
    pending: &'a mut usize,
    longest: usize,
    first: &'a mut Option<u8>,
    stop: Option<Stop>,
}

/// Why the parser gets nothing more for now.
enum Stop {
    NotYet,
    Trouble(Trouble),
}

impl<S: AsyncRead + Unpin> Source<'_, '_, S> {
    fn poll(&mut self, bytes: &mut [u8]) -> Result<usize, Stop> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.stream).poll_read(self.context, &mut buffer) {
            Poll::Pending => return Err(Stop::NotYet),
            Poll::Ready(Err(error)) => return Err(Stop::Trouble(error.into())),
            Poll::Ready(Ok(())) => {}
        }
        let length = buffer.filled().len();
        if self.first.is_none() {
            *self.first = buffer.filled().first().copied();
        }
        if length == 0 {
            return Err(Stop::Trouble(Trouble::Closed));
        }
        *self.pending = self.pending.saturating_add(length);
        if *self.pending > self.longest {
            return Err(Stop::Trouble(Trouble::TooLong));
        }
        Ok(length)
    }
}

impl<S: AsyncRead + Unpin> Read for Source<'_, '_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.poll(bytes).map_err(|stop| {
            self.stop = Some(stop);
            ErrorKind::WouldBlock.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use redis::{cmd, pack_command};
    use tokio::io::{AsyncWriteExt, duplex};

    /// What comes of these bytes, if they arrive in chunks and then the connection ends.
    async fn all(bytes: &[u8], chunk: usize, longest: usize) -> (Vec<Value>, Trouble) {
        let (mut writer, mut reader) = duplex(chunk);
        let write = async move {
            // It fails once the reader is gone.
            let _ = writer.write_all(bytes).await;
        };
        let read = async move {
            let (mut replies, mut values) = (Replies::new(longest), Vec::new());
            loop {
                match replies.next(&mut reader).await {
                    Ok(value) => values.push(value),
                    Err(trouble) => return (values, trouble),
                }
            }
        };
        tokio::join!(write, read).1
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn every_kind_of_reply() {
        let bytes =
            "+OK\r\n+hm\r\n:-7\r\n$-1\r\n$2\r\n\r\n\r\n*3\r\n$7\r\nmessage\r\n$3\r\n山\r\n:1\r\n*0\r\n";
        let expected = [
            Value::Okay,
            Value::SimpleString("hm".into()),
            Value::Int(-7),
            Value::Nil,
            bulk("\r\n"),
            Value::Array(vec![bulk("message"), bulk("山"), Value::Int(1)]),
            Value::Array(vec![]),
        ];
        for chunk in [1, 2, 3, 7, 1000] {
            let (values, trouble) = all(bytes.as_bytes(), chunk, LONGEST).await;
            assert_eq!(values, expected);
            assert!(matches!(trouble, Trouble::Closed), "{trouble}");
        }
        let (values, _) = all(b"-NOPERM no 'secret'\r\n", 1000, LONGEST).await;
        assert!(matches!(&values[..], [Value::ServerError(error)] if error.code() == "NOPERM"), "{values:?}");
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let deep = "*1\r\n".repeat(1_000_000);
        let deep_maps = "%1\r\n".repeat(1_000_000);
        for bytes in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "\0\0\0\0",
            "$x\r\n",
            "$99999999999999999999\r\n",
            "$1\r\nabc",
            ":1e9\r\n",
            "%-1\r\n+OK\r\n",
            "|-1\r\n+OK\r\n",
            &deep,
            &deep_maps,
        ] {
            let (values, trouble) = all(bytes.as_bytes(), 1 << 16, LONGEST).await;
            let start: String = bytes.chars().take(20).collect();
            assert!(values.is_empty() && matches!(trouble, Trouble::Malformed), "{start:?}: {trouble}");
        }
    }

    #[tokio::test]
    async fn no_reply_is_longer_than_it_may_be() {
        let longest = 100_000;
        let text = "a".repeat(2 * longest);
        for start in ["+", "-", ":", "$9223372036854775807\r\n", "$-2\r\n+", "!-1\r\n", "=-1\r\n", "(", ","] {
            let (_, trouble) = all(format!("{start}{text}").as_bytes(), 1 << 16, longest).await;
            assert!(matches!(trouble, Trouble::TooLong), "{start:?}: {trouble}");
        }
        for start in ["*9223372036854775807\r\n", "~9223372036854775807\r\n", ">4611686018427387904\r\n"] {
            let (_, trouble) =
                all(format!("{start}{}", ":1\r\n".repeat(longest)).as_bytes(), 1 << 16, longest).await;
            assert!(matches!(trouble, Trouble::TooLong), "{start:?}: {trouble}");
        }
        // Many short ones are fine.
        let (values, trouble) = all(&b"+OK\r\n".repeat(longest), 1 << 16, longest).await;
        assert_eq!(values.len(), longest);
        assert!(matches!(trouble, Trouble::Closed), "{trouble}");
    }

    #[tokio::test]
    async fn a_dropped_future_loses_nothing() {
        let (mut writer, mut reader) = duplex(100);
        let mut replies = Replies::new(LONGEST);
        for byte in cmd("PING").arg("山").get_packed_command() {
            let next = replies.next(&mut reader);
            assert!(futures_util::FutureExt::now_or_never(next).is_none());
            writer.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(replies.next(&mut reader).await.unwrap(), Value::Array(vec![bulk("PING"), bulk("山")]));
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8),
            chunk in 1usize..20,
        ) {
            // A command has the form of a reply.
            let wire: Vec<u8> =
                texts.iter().flat_map(|text| pack_command(&[b"message".to_vec(), text.clone()])).collect();
            let (values, trouble) = run(all(&wire, chunk, LONGEST));
            let expected = texts.into_iter().map(|text| Value::Array(vec![bulk("message"), Value::BulkString(text)]));
            prop_assert_eq!(values, expected.collect::<Vec<_>>());
            prop_assert!(matches!(trouble, Trouble::Closed));
        }

        #[test]
        fn no_bytes_can_hurt(
            bytes in prop::collection::vec(prop::sample::select(b"*$:+-12\r\n%|~>=!,#_(txt:".to_vec()), 0..80),
            chunk in 1usize..80,
        ) {
            run(all(&bytes, chunk, 1 << 20));
        }
    }
}
