use std::io;

use tokio::net::TcpStream;

/// Where an outbox writes: it takes bytes now, or not now, and never waits.
#[derive(Debug)]
pub(super) enum Sink<W> {
    /// Whoever pushes a frame writes it.
    Direct(W),
    /// Never takes bytes now: frames are queued, and the task of the connection [drains](super::Outbox::drain) them. For a
    /// transport that only its task can write to, such as TLS or HTTP/2.
    Deferred,
}

/// A stream that can be written to from any task.
pub trait DirectWrite: Send + Sync {
    /// Writes some of the bytes and returns how many, or `WouldBlock`.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// The same for the bytes of several slices.
    fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize>;
}

impl DirectWrite for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::try_write(self, bytes)
    }

    fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        TcpStream::try_write_vectored(self, slices)
    }
}
