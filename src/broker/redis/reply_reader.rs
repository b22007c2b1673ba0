use std::future::poll_fn;
use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use redis::{Parser, Value};
use tokio::io::{AsyncRead, ReadBuf};

use super::connection_error::ConnectionError;

/// First byte of a TLS alert record. No Redis reply starts with it.
pub(super) const TLS_ALERT: u8 = 0x15;

/// Redis's default limit of a string (`proto-max-bulk-len`), plus its framing.
pub(super) const MAX_REPLY_BYTES: usize = (512 << 20) + (64 << 10);

/// Parses one reply at a time from a connection, see `docs/decisions/0006-redis-connection.md`.
///
/// It reads ahead by a few kilobytes at most, so that TCP backpressure reaches Redis when this node is full.
pub(super) struct ReplyReader {
    parser: Parser,
    /// Bytes read since the last complete reply.
    pending: usize,
    max_bytes: usize,
    /// The first byte of the connection.
    first: Option<u8>,
    /// When bytes were last read from the connection.
    read_at: Instant,
}

impl ReplyReader {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { parser: Parser::new(), pending: 0, max_bytes, first: None, read_at: Instant::now() }
    }

    /// When the last bytes of the last reply were read. The clock is read once for each read of the connection.
    pub(super) fn read_at(&self) -> Instant {
        self.read_at
    }

    /// The next reply. Cancel-safe.
    pub(super) async fn next<S>(&mut self, stream: &mut S) -> Result<Value, ConnectionError>
    where
        S: AsyncRead + Unpin,
    {
        poll_fn(|context| {
            let Self { parser, pending, max_bytes, first, read_at } = self;
            let mut source =
                ReplySource { stream, context, pending, max_bytes: *max_bytes, first, read_at, stop: None };
            let parsed = parser.parse_value(&mut source);
            match (parsed, source.stop) {
                (Ok(reply), _) => {
                    self.pending = 0;
                    Poll::Ready(Ok(reply))
                }
                (Err(_), Some(Stop::WouldBlock)) => Poll::Pending,
                (Err(_), Some(Stop::Failed(error))) => Poll::Ready(Err(error)),
                (Err(_), None) if self.first == Some(TLS_ALERT) => {
                    Poll::Ready(Err(ConnectionError::ExpectsTls))
                }
                // The parser's error quotes its input.
                (Err(_), None) => Poll::Ready(Err(ConnectionError::Malformed)),
            }
        })
        .await
    }
}

/// The parser's input. The parser keeps its position when a read fails, so a read that would block fails.
struct ReplySource<'a, 'c, S> {
    stream: &'a mut S,
    context: &'a mut Context<'c>,
    pending: &'a mut usize,
    max_bytes: usize,
    first: &'a mut Option<u8>,
    read_at: &'a mut Instant,
    stop: Option<Stop>,
}

/// Why the last read failed.
enum Stop {
    WouldBlock,
    Failed(ConnectionError),
}

impl<S: AsyncRead + Unpin> ReplySource<'_, '_, S> {
    fn poll(&mut self, bytes: &mut [u8]) -> Result<usize, Stop> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.stream).poll_read(self.context, &mut buffer) {
            Poll::Pending => return Err(Stop::WouldBlock),
            Poll::Ready(Err(error)) => return Err(Stop::Failed(error.into())),
            Poll::Ready(Ok(())) => {}
        }
        *self.read_at = Instant::now();
        let length = buffer.filled().len();
        if self.first.is_none() {
            *self.first = buffer.filled().first().copied();
        }
        if length == 0 {
            return Err(Stop::Failed(ConnectionError::Closed));
        }
        *self.pending = self.pending.saturating_add(length);
        if *self.pending > self.max_bytes {
            return Err(Stop::Failed(ConnectionError::TooLong));
        }
        Ok(length)
    }
}

impl<S: AsyncRead + Unpin> Read for ReplySource<'_, '_, S> {
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

    /// The replies and the final error when these bytes arrive in chunks and then the connection ends.
    async fn all(bytes: &[u8], chunk: usize, max_bytes: usize) -> (Vec<Value>, ConnectionError) {
        let (mut writer, mut reader) = duplex(chunk);
        let write = async move {
            // Fails once the reader is dropped.
            let _ = writer.write_all(bytes).await;
        };
        let read = async move {
            let (mut replies, mut values) = (ReplyReader::new(max_bytes), Vec::new());
            loop {
                match replies.next(&mut reader).await {
                    Ok(value) => values.push(value),
                    Err(error) => return (values, error),
                }
            }
        };
        tokio::join!(write, read).1
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn every_kind_of_reply_is_parsed() {
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
            let (values, error) = all(bytes.as_bytes(), chunk, MAX_REPLY_BYTES).await;
            assert_eq!(values, expected);
            assert!(matches!(error, ConnectionError::Closed), "{error}");
        }
        let (values, _) = all(b"-NOPERM no 'secret'\r\n", 1000, MAX_REPLY_BYTES).await;
        assert!(matches!(&values[..], [Value::ServerError(error)] if error.code() == "NOPERM"), "{values:?}");
    }

    #[tokio::test]
    async fn malformed_replies_are_rejected() {
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
            let (values, error) = all(bytes.as_bytes(), 1 << 16, MAX_REPLY_BYTES).await;
            let start: String = bytes.chars().take(20).collect();
            assert!(values.is_empty() && matches!(error, ConnectionError::Malformed), "{start:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_reply_over_the_limit_is_rejected() {
        let max_bytes = 100_000;
        let text = "a".repeat(2 * max_bytes);
        for start in ["+", "-", ":", "$9223372036854775807\r\n", "$-2\r\n+", "!-1\r\n", "=-1\r\n", "(", ","] {
            let (_, error) = all(format!("{start}{text}").as_bytes(), 1 << 16, max_bytes).await;
            assert!(matches!(error, ConnectionError::TooLong), "{start:?}: {error}");
        }
        for start in ["*9223372036854775807\r\n", "~9223372036854775807\r\n", ">4611686018427387904\r\n"] {
            let (_, error) =
                all(format!("{start}{}", ":1\r\n".repeat(max_bytes)).as_bytes(), 1 << 16, max_bytes).await;
            assert!(matches!(error, ConnectionError::TooLong), "{start:?}: {error}");
        }
        // Many short ones are fine.
        let (values, error) = all(&b"+OK\r\n".repeat(max_bytes), 1 << 16, max_bytes).await;
        assert_eq!(values.len(), max_bytes);
        assert!(matches!(error, ConnectionError::Closed), "{error}");
    }

    #[tokio::test]
    async fn dropping_the_future_loses_no_bytes() {
        let (mut writer, mut reader) = duplex(100);
        let mut replies = ReplyReader::new(MAX_REPLY_BYTES);
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
        fn chunking_does_not_change_the_replies(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8),
            chunk in 1usize..20,
        ) {
            // A command is encoded like a reply.
            let wire: Vec<u8> =
                texts.iter().flat_map(|text| pack_command(&[b"message".to_vec(), text.clone()])).collect();
            let (values, error) = run(all(&wire, chunk, MAX_REPLY_BYTES));
            let expected = texts.into_iter().map(|text| Value::Array(vec![bulk("message"), Value::BulkString(text)]));
            prop_assert_eq!(values, expected.collect::<Vec<_>>());
            prop_assert!(matches!(error, ConnectionError::Closed));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(prop::sample::select(b"*$:+-12\r\n%|~>=!,#_(txt:".to_vec()), 0..80),
            chunk in 1usize..80,
        ) {
            run(all(&bytes, chunk, 1 << 20));
        }
    }
}
