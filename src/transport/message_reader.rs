use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tungstenite::error::Error;
use tungstenite::protocol::{Message as Received, Role, WebSocketConfig, WebSocketContext};

use super::Message;
use super::close::close_for;
use super::message_boundary::{Advance, MessageBoundary};
use crate::hub::Outbox;
use crate::message::{Close, Frame};

/// Turns the bytes of a connection into messages, with a limit of frames per call.
///
/// The WebSocket context exists only while a message is incomplete, and the rest only while bytes wait: an idle connection has
/// neither.
#[derive(Debug, Default)]
pub(super) struct MessageReader(Option<Box<Reading>>);

/// The state of an incomplete or waiting message.
#[derive(Debug, Default)]
struct Reading {
    context: Option<WebSocketContext>,
    boundary: MessageBoundary,
    /// Read from the socket but not taken yet.
    unread: Bytes,
    /// Nothing is taken until it elapses.
    pause: Option<Pin<Box<Sleep>>>,
}

/// What the client has sent.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Message),
    /// The payload of a pong.
    Pong(Bytes),
}

/// Why no more messages follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// The peer sent a close frame; ours is in the outbox, which accepts nothing more. The code is the peer's.
    Closed(Option<u16>),
    /// The peer broke the protocol.
    Failed(&'static Close),
}

/// The size limits of reading and writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) message_bytes: usize,
    pub(super) outbox_bytes: usize,
}

impl MessageReader {
    /// Takes the next bytes of the stream, up to the first frame that exceeds `frames`, and calls `receive` with what they
    /// complete. Returns how many bytes it took, and subtracts the frames from `frames`.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        frames: &mut u32,
        bounds: Bounds,
        outbox: &Outbox,
        mut receive: impl FnMut(Incoming),
    ) -> Result<usize, ReadEnd> {
        let reading = self.0.get_or_insert_default();
        let Advance { used, between_messages } = reading.boundary.advance(bytes, frames);
        let bytes = bytes.get(..used).unwrap_or_default();
        let context = reading.context.get_or_insert_with(|| {
            // An incomplete message may come in many pieces, and the first may be very short.
            let available = if between_messages { used } else { used.max(LEAST_PIECE) };
            new_context(available, bounds.message_bytes)
        });
        let mut stream =
            Adapter { input: bytes, outbox, outbox_bytes: bounds.outbox_bytes, pong: Bytes::new() };
        let mut closed = None;
        loop {
            match context.read(&mut stream) {
                Ok(Received::Text(text)) => receive(Incoming::Message(Message::Text(Bytes::from(text)))),
                Ok(Received::Binary(binary)) => receive(Incoming::Message(Message::Binary(binary))),
                Ok(Received::Pong(payload)) => receive(Incoming::Pong(payload)),
                // Pings are answered by the context.
                Ok(Received::Ping(_) | Received::Frame(_)) => {}
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

    /// Keeps bytes that were read but must not be taken yet.
    pub(super) fn keep(&mut self, unread: Bytes) {
        if !unread.is_empty() {
            self.0.get_or_insert_default().unread = unread;
        }
    }

    /// Takes the kept bytes out.
    pub(super) fn take_unread(&mut self) -> Bytes {
        self.0.as_mut().map(|reading| std::mem::take(&mut reading.unread)).unwrap_or_default()
    }

    /// Whether bytes were kept.
    pub(super) fn has_unread(&self) -> bool {
        self.0.as_ref().is_some_and(|reading| !reading.unread.is_empty())
    }

    /// Remaining bytes of the current frame's payload. 0: the next byte belongs to a header.
    pub(super) fn payload(&self) -> u64 {
        self.0.as_ref().map_or(0, |reading| reading.boundary.payload())
    }

    /// Takes nothing for this long.
    pub(super) fn pause(&mut self, time: Duration) {
        self.0.get_or_insert_default().pause = Some(Box::pin(sleep(time)));
    }

    /// Ready when there is no pause, or it has elapsed.
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

    /// Frees the state if nothing needs it.
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

/// The smallest read buffer for a message that arrives in pieces.
const LEAST_PIECE: usize = 1024;

/// A context for a message of which `available` bytes have arrived.
fn new_context(available: usize, message_bytes: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        // One read takes all available bytes.
        .read_buffer_size(available)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes));
    WebSocketContext::new(Role::Server, Some(config))
}

/// The socket, as the context sees it: reads take the available bytes, and writes (pongs and close frames) go through the
/// outbox, so that they keep their order among the messages.
struct Adapter<'a> {
    input: &'a [u8],
    outbox: &'a Outbox,
    outbox_bytes: usize,
    /// The last pong. One answers all equal pings of these bytes (RFC 6455, section 5.5.3).
    pong: Bytes,
}

/// The first byte of a pong: FIN and opcode 10.
const PONG: u8 = 0x8a;

/// The first byte of a close frame: FIN and opcode 8.
const CLOSE: u8 = 0x88;

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
        match bytes.first() {
            Some(&CLOSE) => {
                self.outbox.end_with(&Frame::from_wire(frame));
                return Ok(bytes.len());
            }
            Some(&PONG) => self.pong = frame.clone(),
            _ => {}
        }
        // Refused only if the connection is closing already.
        self.outbox.push(&Frame::from_wire(frame), self.outbox_bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Ending, Pushed, TEST_FORMAT};

    #[test]
    fn nothing_follows_the_reply_to_a_close() {
        let outbox: Outbox = Outbox::new(&TEST_FORMAT);
        outbox.cork();
        let bounds = Bounds { message_bytes: 1 << 10, outbox_bytes: 1 << 10 };
        let close = [CLOSE, 0x80, 0, 0, 0, 0];
        let end = MessageReader::default().feed(&close, &mut 1, bounds, &outbox, |_| {});
        assert_eq!(end, Err(ReadEnd::Closed(None)));
        // A message that another thread delivers at this moment.
        assert_eq!(outbox.push(&Frame::ping(), 1 << 10), Pushed::Refused);
        assert_eq!(outbox.ending(), Some(Ending::Gone));
        assert_eq!(outbox.queued_bytes(), 2);
    }
}
