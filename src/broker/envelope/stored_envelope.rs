use std::num::NonZeroU64;

use bytes::Bytes;

use super::NodeId;
use super::decode::{Decoded, decode_event, decode_signal, envelope_members};
use super::run::{is_run, split_run};
use super::stored_text::{parse_stored, previous_number};
use crate::broker::StoredMessage;
use crate::message::{Position, Sender, Stored};

/// A message in the history of a channel.
#[derive(Debug, Clone)]
pub(in crate::broker) struct StoredEnvelope {
    pub(in crate::broker) message: StoredMessage,
    /// The number of the channel's previous message. 0: there was none.
    pub(in crate::broker) previous: u64,
    /// The message's number, if this node published it.
    pub(in crate::broker) seq: Option<u64>,
    /// What the receipt reports: the position on the first of its channels.
    pub(in crate::broker) receipt: Option<Position>,
}

/// Decodes a payload that was stored in a channel: one message, or several of which this is the position of the last.
pub(in crate::broker) fn decode_stored(
    payload: &Bytes,
    last: Position,
    node: &NodeId,
    sender_default: &Sender,
) -> Option<Vec<StoredEnvelope>> {
    let [text] = envelope_members(payload, ["stored"]).ok()?;
    let first = parse_stored(text?)?;
    let decode = |payload: &Bytes| {
        // This is how `begin_signal` starts.
        let is_signal = payload.starts_with(b"{\"body\":");
        if is_signal { decode_signal(payload, node) } else { decode_event(payload, node, sender_default) }
            .ok()
    };
    let messages =
        if is_run(payload) { split_run(payload).ok()? } else { vec![(payload.clone(), first.clone())] };
    let before = u64::try_from(messages.len()).ok()?.checked_sub(1)?;
    let start = Position { offset: NonZeroU64::new(last.offset.get().checked_sub(before)?)?, ..last };
    let index = first.positions.iter().find(|(_, of)| *of == start)?.0;
    let mut previous = previous_number(text?, start)?;
    let mut found = Vec::with_capacity(messages.len());
    for (payload, stored) in messages {
        let Decoded { dispatch, seq, .. } = decode(&payload)?;
        let (position, receipt) = (stored.position(index)?, stored.positions.first()?.1);
        let Stored { number, at, .. } = *stored;
        let message = StoredMessage { position, number, at, index, dispatch };
        found.push(StoredEnvelope { message, previous, seq, receipt: Some(receipt) });
        previous = number;
    }
    Some(found)
}
