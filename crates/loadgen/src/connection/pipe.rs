//! The bytes of a connection, in and out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tungstenite::protocol::frame::coding::OpCode;

use crate::frames;
use crate::target::{Wire, in_words};

/// A byte stream, and what is still to be written to it.
pub(super) struct Pipe {
    wire: Box<dyn Wire>,
    out: Vec<u8>,
    written: usize,
    /// The server does not read at the moment.
    blocked: bool,
}

/// How writing went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// As far as it can be told now, the server reads.
    Well,
    /// From now on it does not read, and the rest has to wait.
    Blocked,
}

impl Pipe {
    pub(super) fn new(wire: Box<dyn Wire>) -> Self {
        Self { wire, out: Vec::new(), written: 0, blocked: false }
    }

    /// Puts a frame behind what is to be written.
    pub(super) fn queue(&mut self, opcode: OpCode, payload: &[u8]) {
        frames::write(opcode, payload, &mut self.out);
    }

    /// Writes what it can. The error is how the connection ended.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<Written, String> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *self.wire).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err("1006 the connection takes nothing".to_owned()),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Err(lost(&error)),
                Poll::Pending if std::mem::replace(&mut self.blocked, true) => return Ok(Written::Well),
                Poll::Pending => return Ok(Written::Blocked),
            }
        }
        if self.written > 0 {
            (self.out, self.written, self.blocked) = (Vec::new(), 0, false);
        }
        // TLS may keep bytes of its own.
        match Pin::new(&mut *self.wire).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(lost(&error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(Written::Well),
        }
    }

    /// Reads what has come, at least a byte. The error is how the connection ended.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), String>> {
        Poll::Ready(match ready!(Pin::new(&mut *self.wire).poll_read(cx, buffer)) {
            Ok(()) if buffer.filled().is_empty() => Err("1006 the connection was lost".to_owned()),
            Ok(()) => Ok(()),
            Err(error) => Err(lost(&error)),
        })
    }
}

/// There was no close frame.
fn lost(error: &io::Error) -> String {
    format!("1006 {}", in_words(error))
}
