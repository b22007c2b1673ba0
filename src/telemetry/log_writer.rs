//! Writes log lines on a thread of its own, so that no serving thread waits for the reader of standard error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use super::text_fields::escape_json;

/// Maximum queued lines: about half a megabyte, as lines usually have a few hundred bytes.
const MAX_QUEUED_LINES: usize = 2048;

/// How long the end of the process waits for the reader of the log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Lines lost because standard error is closed.
static FAILED: AtomicU64 = AtomicU64::new(0);
static QUEUE_ERRORS: OnceLock<ErrorCounter> = OnceLock::new();
static WRITER: Mutex<Option<WriterThread>> = Mutex::new(None);

struct WriterThread {
    guard: WorkerGuard,
    /// Disconnected once the thread has written everything and ended.
    ended: Receiver<()>,
}

/// Log lines dropped because standard error was not read in time or is closed.
pub(super) fn dropped_lines() -> u64 {
    let refused = QUEUE_ERRORS.get().map_or(0, ErrorCounter::dropped_lines);
    FAILED.load(Ordering::Relaxed).saturating_add(refused.try_into().unwrap_or(u64::MAX))
}

/// Starts the thread that writes to standard error. When its queue is full, lines are dropped and counted.
pub(super) fn start(is_json: bool) -> LineWriter {
    let (alive, ended) = channel();
    let output = Output { stderr: stderr(), _alive: alive };
    let (queue, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_QUEUED_LINES)
        .lossy(true)
        .thread_name("log-writer")
        .finish(output);
    let _ = QUEUE_ERRORS.set(queue.error_counter());
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(WriterThread { guard, ended });
    LineWriter { queue, is_json }
}

/// Writes the queued lines, at the end of the process; later lines are lost. Waits up to a second for the reader. Returns
/// false if the reader did not take everything, in which case writing to standard error would block.
pub fn flush_logs() -> bool {
    let Some(WriterThread { guard, ended }) = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take()
    else {
        return true;
    };
    // Dropping the guard stops the thread. It happens on another thread because, with a full queue, the guard also prints
    // to standard output, which may be the same blocked pipe.
    if thread::Builder::new().name("log-flush".to_owned()).spawn(move || drop(guard)).is_err() {
        return false;
    }
    matches!(ended.recv_timeout(FLUSH_TIMEOUT), Err(RecvTimeoutError::Disconnected))
}

/// Queues log lines.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    queue: NonBlocking,
    is_json: bool,
}

impl Write for LineWriter {
    /// Expects a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if self.is_json && !text.is_ascii() => {
                self.queue.write_all(escape_json(text).as_bytes())?;
            }
            _ => self.queue.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Standard error without the lock of [`io::stderr`], which a blocked write must not hold.
struct Output {
    stderr: Box<dyn Write + Send>,
    _alive: Sender<()>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stderr.write(bytes)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        if self.stderr.write_all(line).is_err() {
            FAILED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
fn stderr() -> Box<dyn Write + Send> {
    use std::os::fd::AsFd;

    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(std::fs::File::from(descriptor)),
        Err(_) => Box::new(io::stderr()),
    }
}

#[cfg(not(unix))]
fn stderr() -> Box<dyn Write + Send> {
    Box::new(io::stderr())
}
