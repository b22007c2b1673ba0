//! The envelopes of messages in Redis.
//!
//! Events are `{"channel":…,"data":{…},"sender":{"name":…,"id":…}}`, as Laravel writes them. Signals are `{"body":…}`.
//! Nodes add `node` and `seq`, by which each recognises its own copies. Pure: bytes in, dispatches out, and back.

mod decode;
mod encode;

pub(super) use decode::{InvalidPayload, decode_event, decode_signal};
pub(super) use encode::{begin_event, begin_signal, finish};

/// A random name for this node: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeId(String);

impl NodeId {
    pub(super) fn random() -> Self {
        Self::from_number(rand::random())
    }

    fn from_number(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }
}

#[cfg(test)]
mod tests;
