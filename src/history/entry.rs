use std::sync::{Arc, Mutex, PoisonError};

use crate::message::{Audience, Broadcast, Encoding, Event, Frame, Position, Stored};

/// A message in the history of a channel, encoded at most once for each encoding.
#[derive(Debug)]
pub struct Entry {
    pub position: Position,
    /// See [`Stored::number`].
    pub number: u64,
    /// When it was stored: milliseconds since the Unix epoch, by the clock of the store.
    pub at: u64,
    pub content: Content,
    frames: Mutex<Vec<EncodedEntry>>,
}

/// What was said.
#[derive(Debug, Clone)]
pub enum Content {
    Native(Event),
    App(Arc<Broadcast>),
}

/// `None`: it cannot be delivered.
type EncodedEntry = (Encoding, Option<(Audience, Frame)>);

impl Entry {
    #[must_use]
    pub fn new(position: Position, stored: &Stored, content: Content) -> Self {
        Self { position, number: stored.number, at: stored.at, content, frames: Mutex::default() }
    }

    /// The frame in an encoding. `encode` is called if nobody has asked for it before.
    pub fn frame(
        &self,
        encoding: Encoding,
        encode: impl FnOnce() -> Option<(Audience, Frame)>,
    ) -> Option<(Audience, Frame)> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(of, _)| *of == encoding) {
            return frame.clone();
        }
        let frame = encode();
        frames.reserve_exact(1);
        frames.push((encoding, frame.clone()));
        frame
    }

    /// Its memory in bytes, with one frame.
    pub(super) fn cost(&self) -> usize {
        /// The structures around the texts.
        const OVERHEAD: usize = 384;
        let texts = match &self.content {
            Content::Native(event) => {
                let message_type = event.message_type.as_ref().map_or(0, |text| text.len());
                event.data.len() + event.sender.name.len() + message_type
            }
            Content::App(event) => event.data.len() + event.event.len(),
        };
        texts.saturating_mul(2).saturating_add(OVERHEAD)
    }
}
