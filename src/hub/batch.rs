//! Coalescing: messages that wait for the same subscribers become one block, which costs one write for each of them.

use std::cmp::Ordering;
use std::sync::Arc;

use super::InFlight;
use super::channel_index::ChannelKey;
use super::place::Place;
use crate::message::{Audience, Frame};

/// A frame on its way to the shards.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) key: ChannelKey,
    pub(super) audience: Audience,
    pub(super) frame: Frame,
    pub(super) place: Place,
    /// Dropped when the last shard is done.
    pub(super) _in_flight: InFlight,
}

/// Neighbouring messages with the same audience.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// The channel of all messages if the audience is a user: a connection can have joined another channel as another user.
    pub(super) key: ChannelKey,
    pub(super) audience: &'a Audience,
    pub(super) frame: Frame,
    pub(super) messages: u64,
}

impl<'a> From<&'a Delivery> for Block<'a> {
    fn from(Delivery { key, audience, frame, .. }: &'a Delivery) -> Self {
        Self { key: *key, audience, frame: frame.clone(), messages: 1 }
    }
}

/// The largest block of several messages. A slow subscriber is kept waiting by a block, and an overflow cannot drop the part of
/// it that is not written yet.
const BLOCK_BYTES: usize = 64 * 1024;

/// Messages in the order in which they arrived.
pub(super) type Run = [Arc<Delivery>];

/// The places of a run, sorted by channel, in the order of the run within each channel.
pub(super) fn by_channel(run: &Run) -> Vec<usize> {
    let mut places: Vec<usize> = (0..run.len()).collect();
    places.sort_by(|one, other| match (run.get(*one), run.get(*other)) {
        (Some(one), Some(other)) => one.key.cmp(&other.key),
        _ => Ordering::Equal,
    });
    places
}

/// Splits sorted places into those of each channel.
pub(super) fn channels<'a>(run: &'a Run, sorted: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
    sorted.chunk_by(|one, other| match (run.get(*one), run.get(*other)) {
        (Some(one), Some(other)) => one.key == other.key,
        _ => false,
    })
}

/// Merges neighbours among the messages at these places of a run.
pub(super) fn blocks<'a>(run: &'a Run, places: &'a [usize]) -> impl Iterator<Item = Block<'a>> {
    let mut rest = places;
    std::iter::from_fn(move || {
        let first = run.get(*rest.first()?)?;
        let mut bytes = 0;
        let length = rest
            .iter()
            .filter_map(|place| run.get(*place))
            .take_while(|next| {
                bytes += next.frame.bytes().len();
                shares_block(first, next) && (bytes <= BLOCK_BYTES || Arc::ptr_eq(next, first))
            })
            .count();
        let (block, others) = rest.split_at_checked(length)?;
        rest = others;
        let frames = block.iter().filter_map(|place| run.get(*place)).map(|delivery| &delivery.frame);
        Some(Block {
            key: first.key,
            audience: &first.audience,
            frame: Frame::concatenate(frames),
            messages: length as u64,
        })
    })
}

/// Merges frames for one connection into blocks. Returns each with the number of its messages.
pub(super) fn merge<'a>(frames: impl Iterator<Item = &'a Frame>) -> impl Iterator<Item = (Frame, u64)> {
    let mut frames = frames.peekable();
    let mut block = Vec::new();
    std::iter::from_fn(move || {
        block.clear();
        let first = frames.next()?;
        let mut bytes = first.bytes().len();
        block.push(first);
        while let Some(next) = frames.next_if(|next| bytes + next.bytes().len() <= BLOCK_BYTES) {
            bytes += next.bytes().len();
            block.push(next);
        }
        Some((Frame::concatenate(block.iter().copied()), block.len() as u64))
    })
}

fn shares_block(one: &Delivery, other: &Delivery) -> bool {
    one.audience == other.audience && (!matches!(one.audience, Audience::User(_)) || one.key == other.key)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    fn delivery(key: u64, audience: Audience, bytes: &[u8]) -> Arc<Delivery> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let frame = Frame::from_wire(Bytes::copy_from_slice(bytes));
        Arc::new(Delivery {
            key: ChannelKey(key),
            audience,
            frame,
            place: Place::None,
            _in_flight: permit.into(),
        })
    }

    /// The blocks of each channel, one channel after the other.
    fn by_channels(run: &Run) -> Vec<(ChannelKey, Audience, Vec<u8>, u64)> {
        let sorted = by_channel(run);
        let blocks = channels(run, &sorted).flat_map(|places| blocks(run, places));
        let all = blocks
            .map(|block| (block.key, block.audience.clone(), block.frame.bytes().to_vec(), block.messages));
        all.collect()
    }

    #[test]
    fn neighbours_with_one_audience_share_a_block() {
        let run = vec![
            delivery(1, Audience::Everyone, b"a"),
            delivery(1, Audience::Everyone, b"b"),
            delivery(1, Audience::User(7.into()), b"c"),
            delivery(1, Audience::Everyone, b"d"),
        ];
        let blocks: Vec<_> =
            by_channels(&run).into_iter().map(|(.., bytes, messages)| (bytes, messages)).collect();
        assert_eq!(blocks, [(b"ab".to_vec(), 2), (b"c".to_vec(), 1), (b"d".to_vec(), 1)]);
    }

    #[test]
    fn a_block_is_bounded_but_a_huge_message_passes() {
        let huge = vec![b'x'; BLOCK_BYTES + 1];
        let run = vec![
            delivery(1, Audience::Everyone, &huge),
            delivery(1, Audience::Everyone, &huge[..BLOCK_BYTES]),
            delivery(1, Audience::Everyone, b"b"),
        ];
        let sizes: Vec<_> = by_channels(&run).iter().map(|(.., bytes, _)| bytes.len()).collect();
        assert_eq!(sizes, [BLOCK_BYTES + 1, BLOCK_BYTES, 1]);
    }

    #[test]
    fn frames_for_one_connection_are_merged_in_order_into_bounded_blocks() {
        let frame = |bytes: &[u8]| Frame::from_wire(Bytes::copy_from_slice(bytes));
        let huge = vec![b'x'; BLOCK_BYTES];
        let frames = [frame(b"a"), frame(b"b"), frame(&huge), frame(b"c")];
        let blocks: Vec<_> = merge(frames.iter()).collect();
        assert_eq!(blocks, [(frame(b"ab"), 2), (frame(&huge), 1), (frame(b"c"), 1)]);
    }

    #[test]
    fn neighbours_of_several_channels_share_a_block_unless_they_are_for_a_user() {
        let run = [
            delivery(1, Audience::Everyone, b"1"),
            delivery(2, Audience::Everyone, b"2"),
            delivery(2, Audience::User(7.into()), b"3"),
            delivery(1, Audience::User(7.into()), b"4"),
        ];
        let blocks: Vec<_> = blocks(&run, &[0, 1, 2, 3]).map(|block| block.frame.bytes().to_vec()).collect();
        assert_eq!(blocks, [&b"12"[..], b"3", b"4"]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_doubled_or_reordered(messages in prop::collection::vec((0u64..4, 0i64..3, 1usize..40_000), 0..60)) {
            let mut expected: HashMap<(ChannelKey, i64), Vec<u8>> = HashMap::new();
            let mut run = Vec::new();
            for (number, (channel, user, length)) in messages.into_iter().enumerate() {
                let audience = if user == 0 { Audience::Everyone } else { Audience::User(user.into()) };
                let bytes = vec![u8::try_from(number).unwrap(); length];
                run.push(delivery(channel, audience, &bytes));
                expected.entry((ChannelKey(channel), user)).or_default().extend(bytes);
            }
            let count = run.len() as u64;
            let mut out: HashMap<(ChannelKey, i64), Vec<u8>> = HashMap::new();
            let mut total = 0;
            for (channel, audience, bytes, messages) in by_channels(&run) {
                let user = match audience {
                    Audience::User(user) => user.number().unwrap(),
                    Audience::Everyone | Audience::Except(_) => 0,
                };
                out.entry((channel, user)).or_default().extend(bytes);
                total += messages;
            }
            prop_assert_eq!(total, count);
            prop_assert_eq!(out, expected);
        }
    }
}
