use std::cell::RefCell;
use std::io::{self, Read};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The usual length of a read, and so the most that may have to be kept for later.
const SHORT_READ: usize = 16 * 1024;

/// The length of a read within a frame that has at least this many bytes to come.
const LONG_READ: usize = 64 * 1024;

thread_local! {
    /// One buffer for all connections of a thread: each read is consumed before the next one.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONG_READ].into_boxed_slice());
}

/// Reads once and passes the bytes to `take`. `expected`: remaining bytes of the current frame.
///
/// Fails with `UnexpectedEof` when the client has closed its side.
pub(super) fn read<T>(stream: &TcpStream, expected: u64, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    BUFFER.with_borrow_mut(|buffer| {
        let room = usize::try_from(expected).unwrap_or(usize::MAX).clamp(SHORT_READ, LONG_READ);
        let room = buffer.get_mut(..room).unwrap_or_default();
        match read_now(stream, room)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(take(room.get(..count).unwrap_or_default())),
        }
    })
}

/// One read. A read that does not fill the buffer has emptied the socket, so that it is reported to the runtime as not ready:
/// that saves another read that would only fail with `WouldBlock`.
fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    let result = stream.try_io(Interest::READABLE, || {
        count = (&*SockRef::from(stream)).read(buffer)?;
        if count > 0 && count < buffer.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match result {
        Err(error) if count == 0 => Err(error),
        _ => Ok(count),
    }
}
