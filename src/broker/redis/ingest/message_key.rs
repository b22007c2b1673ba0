//! The names of plain messages, which every node derives alike from what Redis delivers to it.
//!
//! Redis delivers everything in one order. A node that was subscribed to a topic from a marker to a message counts the messages
//! of the topic after the marker; one that was subscribed from a message to the next marker counts back from there.

use std::sync::Arc;

/// The `count`th message of a topic after a marker.
pub(super) fn after(marker: &str, topic: &str, count: u64) -> Arc<str> {
    format!("{marker}+{count}:{topic}").into()
}

/// The `count`th message of a topic before a marker, from 1 for the last one.
pub(super) fn before(marker: &str, topic: &str, count: u64) -> Arc<str> {
    format!("{marker}-{count}:{topic}").into()
}

/// The marker in a name.
pub(super) fn marker_of(name: &str) -> &str {
    name.split(['+', '-']).next().unwrap_or(name)
}
