use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tungstenite::error::Error;
use tungstenite::protocol::{Message as Received, Role, WebSocketConfig, WebSocketContext};

use super::Message;
use super::message_boundary::{Advance, MessageBoundary};
use crate::hub::Outbox;
use crate::message::{Close, Frame};

/// Turns the bytes of a connection into messages, no more of them at a time than it is told.
///
/// The WebSocket context exists only while a message is under way, and all else here only while something waits: an idle
/// connection has none of it.
#[derive(Debug, Default)]
pub(super) struct MessageReader(Option<Box<Reading>>);

/// What a message under way needs, or one that waits.
#[derive(Debug, Default)]
struct Reading {
    context: Option<WebSocketContext>,
    boundary: MessageBoundary,
    /// Read from the socket, and not taken yet.
    unread: Bytes,
    /// Nothing is taken until then.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Why there will be no more messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// The peer sent a close frame; ours is in the outbox. The code is the peer's.
    Closed(Option<u16>),
    /// The peer broke the protocol.
    Failed(Close),
}

/// The bounds of reading and writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) message_bytes: usize,
    pub(super) outbox_bytes: usize,
}

impl MessageReader {
    /// Takes the next bytes of the stream, up to the frame that is more than `frames` allow, and hands on each message
    /// that they complete. Returns how many bytes it took; takes from `frames` as many as there were.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        frames: &mut u32,
        bounds: Bounds,
        outbox: &Outbox,
        mut receive: impl FnMut(Message),
    ) -> Result<usize, ReadEnd> {
        let reading = self.0.get_or_insert_default();
        let Advance { used, between_messages } = reading.boundary.advance(bytes, frames);
        let bytes = bytes.get(..used).unwrap_or_default();
        let context = reading.context.get_or_insert_with(|| {
            // What is not whole yet may come in many pieces, and the first one is no measure for them.
            let available = if between_messages { used } else { used.max(LEAST_PIECE) };
            new_context(available, bounds.message_bytes)
        });
        let mut stream =
            Adapter { input: bytes, outbox, outbox_bytes: bounds.outbox_bytes, pong: Bytes::new() };
        let mut closed = None;
        loop {
            match context.read(&mut stream) {
                Ok(Received::Text(text)) => receive(Message::Text(Bytes::from(text))),
                Ok(Received::Binary(binary)) => receive(Message::Binary(binary)),
                // Pings are answered by the context.
                Ok(Received::Ping(_) | Received::Pong(_) | Received::Frame(_)) => {}
                Ok(Received::Close(frame)) => closed = Some(frame.map(|frame| u16::from(frame.code))),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if closed.is_some() => break,
                Err(error) => return Err(ReadEnd::Failed(close_for(&error))),
            }
        }
        if let Some(code) = closed {
            return Err(ReadEnd::Closed(code));
        }
        if between_messages {
            reading.context = None;
            self.shrink();
        }
        Ok(used)
    }

    /// Keeps what was read and may not be taken yet.
    pub(super) fn keep(&mut self, unread: Bytes) {
        if !unread.is_empty() {
            self.0.get_or_insert_default().unread = unread;
        }
    }

    /// What was kept; it is not kept any more.
    pub(super) fn take_unread(&mut self) -> Bytes {
        self.0.as_mut().map(|reading| std::mem::take(&mut reading.unread)).unwrap_or_default()
    }

    /// Whether something was kept.
    pub(super) fn has_unread(&self) -> bool {
        self.0.as_ref().is_some_and(|reading| !reading.unread.is_empty())
    }

    /// How much of the current frame is still to come. 0: the next byte is of a header.
    pub(super) fn payload(&self) -> u64 {
        self.0.as_ref().map_or(0, |reading| reading.boundary.payload())
    }

    /// Takes nothing for so long.
    pub(super) fn pause(&mut self, time: Duration) {
        self.0.get_or_insert_default().pause = Some(Box::pin(sleep(time)));
    }

    /// Ready when nothing is to be waited for.
    pub(super) fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(reading) = &mut self.0 else { return Poll::Ready(()) };
        let Some(pause) = &mut reading.pause else { return Poll::Ready(()) };
        if pause.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        reading.pause = None;
        self.shrink();
        Poll::Ready(())
    }

    /// Gives back what nothing needs.
    fn shrink(&mut self) {
        let needed = self.0.as_ref().is_some_and(|reading| {
            let begun = reading.context.is_some() || !reading.boundary.is_between_messages();
            begun || reading.pause.is_some() || !reading.unread.is_empty()
        });
        if !needed {
            self.0 = None;
        }
    }
}

/// A message that comes in pieces is copied in pieces of so many bytes, or larger ones.
const LEAST_PIECE: usize = 1024;

/// A context that begins with so many bytes at hand.
fn new_context(available: usize, message_bytes: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        // One read takes all that is there.
        .read_buffer_size(available)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes));
    WebSocketContext::new(Role::Server, Some(config))
}

fn close_for(error: &Error) -> Close {
    match error {
        Error::Capacity(_) => Close::TooLarge,
        Error::Utf8(_) => Close::InvalidUtf8,
        _ => Close::ProtocolError,
    }
}

/// What the context takes for a socket: it reads the bytes at hand, and its pongs and close frames go through
/// the outbox, where they keep their place among the messages.
struct Adapter<'a> {
    input: &'a [u8],
    outbox: &'a Outbox,
    outbox_bytes: usize,
    /// The pong that was written last. One answers all equal pings of these bytes (RFC 6455, section 5.5.3).
    pong: Bytes,
}

/// The first byte of a pong: the last frame of its message, opcode 10.
const PONG: u8 = 0x8a;

impl Read for Adapter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Adapter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *bytes == self.pong {
            return Ok(bytes.len());
        }
        let frame = Bytes::copy_from_slice(bytes);
        if bytes.first() == Some(&PONG) {
            self.pong = frame.clone();
        }
        // Refused only where the connection is ending already, and then nobody waits for it.
        self.outbox.push(&Frame::from_wire(frame), self.outbox_bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
