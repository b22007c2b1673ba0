use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tungstenite::protocol::frame::coding::OpCode;

use crate::frames;
use crate::target::{ByteStream, describe_error};

/// A byte stream with a buffer of frames to write.
pub(super) struct BufferedStream {
    stream: Box<dyn ByteStream>,
    out: Vec<u8>,
    written: usize,
    blocked: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriteStatus {
    /// Nothing has changed.
    Unchanged,
    /// The server has stopped reading: the rest of the buffer waits.
    NewlyBlocked,
}

impl BufferedStream {
    pub(super) fn new(stream: Box<dyn ByteStream>) -> Self {
        Self { stream, out: Vec::new(), written: 0, blocked: false }
    }

    /// Appends a frame to the buffer.
    pub(super) fn queue(&mut self, opcode: OpCode, payload: &[u8]) {
        frames::write(opcode, payload, &mut self.out);
    }

    /// Writes what the socket takes. The error says how the connection ended.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<WriteStatus, String> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err("1006 the connection accepts no bytes".to_owned()),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Err(lost(&error)),
                Poll::Pending if std::mem::replace(&mut self.blocked, true) => {
                    return Ok(WriteStatus::Unchanged);
                }
                Poll::Pending => return Ok(WriteStatus::NewlyBlocked),
            }
        }
        if self.written > 0 {
            (self.out, self.written, self.blocked) = (Vec::new(), 0, false);
        }
        // TLS has a buffer of its own.
        match Pin::new(&mut *self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(lost(&error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(WriteStatus::Unchanged),
        }
    }

    /// Reads at least one byte. The error says how the connection ended.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), String>> {
        Poll::Ready(match ready!(Pin::new(&mut *self.stream).poll_read(cx, buffer)) {
            Ok(()) if buffer.filled().is_empty() => Err("1006 the connection was lost".to_owned()),
            Ok(()) => Ok(()),
            Err(error) => Err(lost(&error)),
        })
    }
}

/// 1006: no close frame was received.
fn lost(error: &io::Error) -> String {
    format!("1006 {}", describe_error(error))
}
