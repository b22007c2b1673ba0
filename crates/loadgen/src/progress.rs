use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines where standard error is not a terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Progress on standard error: one line that is overwritten on a terminal, a line every few seconds elsewhere.
pub(super) struct Progress {
    terminal: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn start() -> Self {
        Self { terminal: io::stderr().is_terminal(), last: Instant::now() }
    }

    /// Prints a line that stays.
    pub(super) fn log(&mut self, text: &str) {
        self.clear();
        write_line(text);
    }

    /// Prints a line that the next one replaces.
    pub(super) fn update(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        } else if self.last.elapsed() >= LOG_INTERVAL {
            self.last = Instant::now();
            write_line(text);
        }
    }

    pub(super) fn clear(&mut self) {
        if self.terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// The run continues if standard error is closed.
fn write_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
