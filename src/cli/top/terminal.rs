//! The screen on a real terminal.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::poll::Poll;
use super::screen::Screen;

/// What happens besides keys.
pub(super) enum Update {
    Polled(Poll),
    Failed(String),
    /// A signal asks the command to end.
    Quit,
}

/// How long to wait for a key before looking for an update.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Shows the updates until a key or a signal ends it. The terminal is as before afterwards.
pub(super) fn run(screen: &mut Screen, updates: &Receiver<Update>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(error);
        }
        match next(screen, updates) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    ended
}

/// Waits until something changes the screen. Returns whether to go on.
fn next(screen: &mut Screen, updates: &Receiver<Update>) -> io::Result<bool> {
    loop {
        match updates.try_recv() {
            Ok(Update::Polled(poll)) => screen.add(poll),
            Ok(Update::Failed(failure)) => screen.fail(failure),
            Ok(Update::Quit) | Err(TryRecvError::Disconnected) => return Ok(false),
            Err(TryRecvError::Empty) if !event::poll(KEY_WAIT)? => continue,
            Err(TryRecvError::Empty) => match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(screen.press(key)),
                _ => {}
            },
        }
        return Ok(true);
    }
}
