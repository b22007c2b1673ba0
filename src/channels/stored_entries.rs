//! What the store keeps, as entries of a history.

use std::sync::Arc;

use super::wire::ClusterMessage;
use crate::broker::{StoredHistory, StoredMessage};
use crate::cluster::{Decoded, Envelope, decode};
use crate::history::{Content, Entry, Missed, Since};
use crate::message::{Dispatch, Stored};

/// What a client has missed by the store alone. `None`: the store does not prove it.
pub(super) fn proven(history: StoredHistory, since: Since) -> Option<Missed> {
    let store = history.store?;
    let end = history.head.map(|head| head.position);
    let is_proven = match since {
        Since::Position(position) => end.is_some_and(|end| position.is_covered_by(end)),
        Since::Number { store: of, .. } => of == store,
    };
    if !is_proven || history.is_trimmed {
        return None;
    }
    let entries = history.messages.into_iter().map(|message| entry(message, store));
    Some(Missed { entries: entries.collect::<Option<_>>()?, end })
}

/// A message in the history of a channel, as the store has it. `None` if this version does not know its content.
pub(super) fn entry(
    StoredMessage { position, number, at, index, dispatch }: StoredMessage,
    store: u64,
) -> Option<Arc<Entry>> {
    let content = match dispatch {
        Dispatch::Event(event) => Content::Native(event),
        Dispatch::Signal(signal) => match decode::<ClusterMessage>(&signal) {
            Ok(Decoded::Message(Envelope { message: ClusterMessage::Event(event), .. })) => {
                Content::App(event.into())
            }
            _ => return None,
        },
        Dispatch::Topic { .. } => return None,
    };
    let stored = Stored { store, number, at, positions: vec![(index, position)], is_plain_copy: false };
    Some(Arc::new(Entry::new(position, &stored, content)))
}
