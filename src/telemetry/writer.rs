//! Takes log lines off the hands of those who serve: a thread writes them, and whoever logs never waits for a reader.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use super::fields::escape_json;

/// Lines that wait to be written. A line is a few hundred bytes as a rule, so that this is half a megabyte.
const QUEUED_LINES: usize = 2048;

/// How long the end of the process may wait for the reader of the log.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Lines that were written to a standard error that is closed.
static FAILED: AtomicU64 = AtomicU64::new(0);
static REFUSED: OnceLock<ErrorCounter> = OnceLock::new();
static WRITING: Mutex<Option<Writing>> = Mutex::new(None);

/// The thread that writes.
struct Writing {
    guard: WorkerGuard,
    /// Disconnected when the thread has ended, with everything written.
    ended: Receiver<()>,
}

/// Log lines that were dropped because standard error was not read in time, or is closed.
pub(super) fn dropped_lines() -> u64 {
    let refused = REFUSED.get().map_or(0, ErrorCounter::dropped_lines);
    FAILED.load(Ordering::Relaxed).saturating_add(refused.try_into().unwrap_or(u64::MAX))
}

/// Starts the thread that writes to standard error. What is in its way is dropped and counted, not waited for.
pub(super) fn start(is_json: bool) -> LineWriter {
    let (alive, ended) = channel();
    let output = Output { stderr: stderr(), _alive: alive };
    let (queue, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES)
        .lossy(true)
        .thread_name("log-writer")
        .finish(output);
    let _ = REFUSED.set(queue.error_counter());
    *WRITING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Writing { guard, ended });
    LineWriter { queue, is_json }
}

/// Writes what is queued, and nothing after it: for the end of the process. Waits no longer than a second for the
/// reader. Returns false if it did not take everything, in which case writing to standard error would block.
pub fn flush_logs() -> bool {
    let Some(Writing { guard, ended }) = WRITING.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return true;
    };
    // Dropping the guard tells the thread to end. On a thread of its own, for where the queue is full it also prints
    // to standard output, which may be the same pipe.
    if thread::Builder::new().name("log-flush".to_owned()).spawn(move || drop(guard)).is_err() {
        return false;
    }
    matches!(ended.recv_timeout(FLUSH_WITHIN), Err(RecvTimeoutError::Disconnected))
}

/// Queues log lines.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    queue: NonBlocking,
    is_json: bool,
}

impl Write for LineWriter {
    /// Takes a whole line.
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

/// Standard error, past the lock of [`io::stderr`]: a write that blocks must not keep that.
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
