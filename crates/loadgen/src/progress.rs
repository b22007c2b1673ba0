//! Says how far it is: in one line that changes on a terminal, in a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines of a log.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    terminal: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn start() -> Self {
        Self { terminal: io::stderr().is_terminal(), last: Instant::now() }
    }

    /// What stays.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        write_line(text);
    }

    /// What the next one replaces.
    pub(super) fn update(&mut self, text: &str) {
        if self.terminal {
            // A terminal that is gone needs no progress.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        } else if self.last.elapsed() >= PAUSE {
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

fn write_line(text: &str) {
    // Without standard error the run goes on unseen.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
