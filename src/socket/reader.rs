use std::io::{self, Read, Write};

use bytes::Bytes;
use tungstenite::error::Error;
use tungstenite::protocol::{Message as Received, Role, WebSocketConfig, WebSocketContext};

use super::Message;
use super::boundary::Boundary;
use crate::hub::Outbox;
use crate::message::{Close, Frame};

/// Turns the bytes of a connection into messages.
///
/// The WebSocket context exists only while a message is under way: an idle connection has none.
#[derive(Debug, Default)]
pub(super) struct Reader(Option<Box<Reading>>);

/// What a message under way needs.
#[derive(Debug)]
struct Reading {
    context: WebSocketContext,
    boundary: Boundary,
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

impl Reader {
    /// Takes the next bytes of the stream and hands on each message that they complete.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        bounds: Bounds,
        outbox: &Outbox,
        mut receive: impl FnMut(Message),
    ) -> Result<(), ReadEnd> {
        let reading = self.0.get_or_insert_with(|| Box::new(Reading::new(bytes.len(), bounds.message_bytes)));
        let between_messages = reading.boundary.advance(bytes);
        let mut stream = Adapter { input: bytes, outbox, outbox_bytes: bounds.outbox_bytes };
        let mut closed = None;
        loop {
            match reading.context.read(&mut stream) {
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
            self.0 = None;
        }
        Ok(())
    }
}

impl Reading {
    /// Begins with so many bytes at hand.
    fn new(available: usize, message_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            // One read takes all that is there.
            .read_buffer_size(available)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        Self { context: WebSocketContext::new(Role::Server, Some(config)), boundary: Boundary::default() }
    }
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
}

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
        // Refused only where the connection is ending already, and then nobody waits for it.
        self.outbox.push(&Frame::from_wire(Bytes::copy_from_slice(bytes)), self.outbox_bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
