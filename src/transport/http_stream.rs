use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

/// The first byte of a TLS handshake. No HTTP request starts with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection that speaks HTTP. An upgrade takes the [`TcpStream`] out of it.
#[derive(Debug)]
pub(super) struct HttpStream {
    stream: TcpStream,
    is_new: bool,
    is_endless: bool,
    progress: Arc<HttpProgress>,
    write_timeout: Duration,
    /// Runs while the client does not read; when it elapses, the connection is closed.
    blocked: Option<Pin<Box<Sleep>>>,
}

/// What has happened on a connection so far.
#[derive(Debug, Default)]
pub(super) struct HttpProgress {
    is_tls: AtomicBool,
    has_request: AtomicBool,
    /// The requests that are being answered.
    requests: AtomicU32,
    is_stuck: AtomicBool,
    /// The place among the connections that speak HTTP.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    /// Set when the response has no end: how long the client may take to acknowledge what it is sent.
    endless: OnceLock<Duration>,
}

impl HttpProgress {
    pub(super) fn new(place: Option<OwnedSemaphorePermit>) -> Self {
        Self { place: Mutex::new(place), ..Self::default() }
    }

    /// The response has no end, so that its connection counts as one that is upgraded does.
    pub(super) fn on_endless(&self, acknowledge_within: Duration) {
        let _ = self.endless.set(acknowledge_within);
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether the response has no end.
    #[must_use]
    pub(super) fn is_endless(&self) -> bool {
        self.endless.get().is_some()
    }

    /// Whether the client started a TLS handshake.
    #[must_use]
    pub(super) fn is_tls(&self) -> bool {
        self.is_tls.load(Ordering::Relaxed)
    }

    /// Whether the head of a request has arrived.
    #[must_use]
    pub(super) fn has_request(&self) -> bool {
        self.has_request.load(Ordering::Relaxed)
    }

    /// Whether the client has left a response unread for too long.
    #[must_use]
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// Whether no request is being answered.
    #[must_use]
    pub(super) fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Must be called for each request, and the result dropped when its response begins: a client that does not read the rest of it is
    /// none that is waited for.
    #[must_use]
    pub(super) fn on_request(self: &Arc<Self>) -> RequestInProgress {
        self.has_request.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestInProgress(self.clone())
    }
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct RequestInProgress(Arc<HttpProgress>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpStream {
    /// Wraps an accepted connection. The client must read each response within `write_timeout`.
    #[must_use]
    pub(super) fn new(stream: TcpStream, progress: Arc<HttpProgress>, write_timeout: Duration) -> Self {
        Self { stream, is_new: true, is_endless: false, progress, write_timeout, blocked: None }
    }

    #[must_use]
    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// Makes the kernel end the connection of an endless response when the client is gone: it sends no pongs.
    fn watch(&mut self) {
        if self.is_endless {
            return;
        }
        if let Some(within) = self.progress.endless.get() {
            self.is_endless = true;
            #[cfg(target_os = "linux")]
            if let Err(error) = SockRef::from(&self.stream).set_tcp_user_timeout(Some(*within)) {
                tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
            }
            #[cfg(not(target_os = "linux"))]
            let _ = within;
        }
    }

    /// Bounds how long a write may wait. Reset only when everything is flushed, so that a client that reads a byte now and then does
    /// not extend it.
    fn in_time<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let time = self.write_timeout;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(blocked.as_mut().poll(context));
        self.progress.is_stuck.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.is_new
            && let Some(first) = buffer.filled().get(before)
        {
            self.is_new = false;
            self.progress.is_tls.store(*first == TLS_HANDSHAKE, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch();
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.blocked = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn an_endless_response_gives_its_place_up_and_is_watched_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let progress = Arc::new(HttpProgress::new(Some(places.clone().try_acquire_owned().unwrap())));
        let mut stream = HttpStream::new(stream, progress.clone(), Duration::from_secs(10));
        stream.write_all(b"x").await.unwrap();
        assert!(!progress.is_endless() && places.available_permits() == 0);
        progress.on_endless(Duration::from_secs(7));
        assert!(progress.is_endless() && places.available_permits() == 1);
        stream.write_all(b"x").await.unwrap();
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&stream.stream).tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
    }
}
