//! The envelopes of messages in Redis.
//!
//! Events are `{"channel":…,"data":{…},"sender":{"name":…,"id":…}}`, as Laravel writes them. Signals are `{"body":…}`.
//! Nodes add `node` and `seq`, by which each recognises its own copies. The script that stores a message adds
//! [`stored`](stored_text), also to a [run] of messages. Pure: bytes in, dispatches out, and back.

mod decode;
mod encode;
mod run;
mod stored_envelope;
mod stored_text;

pub(super) use decode::{Decoded, EnvelopeError, InvalidPayload, decode_event, decode_signal};
pub(super) use encode::{begin_event, begin_signal, finish, finish_open, push_plain};
pub(super) use run::{begin_run, is_run, split_run};
pub(super) use stored_envelope::{StoredEnvelope, decode_stored};

/// A random name for this node: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeId(String);

impl NodeId {
    pub(super) fn random() -> Self {
        Self::from_number(rand::random())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn from_number(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }
}

#[cfg(test)]
mod tests;
