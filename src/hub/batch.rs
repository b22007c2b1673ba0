//! Coalescing: what waits for the same subscribers becomes one block, so that it costs one write each.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use crate::message::{Audience, ChannelName, Frame};

/// A frame on its way to the shards.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) channel: ChannelName,
    pub(super) audience: Audience,
    pub(super) frame: Frame,
    /// The message's share of the queue budget, given back when the last shard is done.
    pub(super) _hold: Option<OwnedSemaphorePermit>,
}

/// Neighbouring messages with the same audience.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// That of all of them where the audience is a user, because a connection may be another one on another channel.
    pub(super) channel: &'a ChannelName,
    pub(super) audience: &'a Audience,
    pub(super) frame: Frame,
    pub(super) messages: u64,
}

impl<'a> From<&'a Delivery> for Block<'a> {
    fn from(Delivery { channel, audience, frame, .. }: &'a Delivery) -> Self {
        Self { channel, audience, frame: frame.clone(), messages: 1 }
    }
}

/// A block grows to so many bytes. A subscriber that is behind is kept waiting by it, and an overflow cannot
/// drop the part of it that is not out yet.
const BLOCK_BYTES: usize = 64 * 1024;

/// Deliveries, in the order in which they came.
pub(super) type Run = [Arc<Delivery>];

/// Sorts the places of a run by channel, each channel in its order.
pub(super) fn by_channel(run: &Run) -> Vec<usize> {
    let mut places: Vec<usize> = (0..run.len()).collect();
    places.sort_by(|one, other| match (run.get(*one), run.get(*other)) {
        (Some(one), Some(other)) => compare(&one.channel, &other.channel),
        _ => Ordering::Equal,
    });
    places
}

/// Splits sorted places into those of each channel.
pub(super) fn channels<'a>(run: &'a Run, sorted: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
    sorted.chunk_by(|one, other| match (run.get(*one), run.get(*other)) {
        (Some(one), Some(other)) => compare(&one.channel, &other.channel).is_eq(),
        _ => false,
    })
}

/// Nearly always one allocation is all there is of a name; but when its last subscriber goes and comes back, messages
/// under the old one and the new one can be here together.
fn compare(one: &ChannelName, other: &ChannelName) -> Ordering {
    match (one.as_str(), other.as_str()) {
        (one, other) if std::ptr::eq(one, other) => Ordering::Equal,
        (one, other) => one.cmp(other),
    }
}

/// Merges neighbours among what is at these places of a run.
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
        Some(Block {
            channel: &first.channel,
            audience: &first.audience,
            frame: merge(run, block),
            messages: length as u64,
        })
    })
}

fn shares_block(one: &Delivery, other: &Delivery) -> bool {
    one.audience == other.audience
        && (!matches!(one.audience, Audience::User(_)) || compare(&one.channel, &other.channel).is_eq())
}

fn merge(run: &Run, places: &[usize]) -> Frame {
    let frames = || places.iter().filter_map(|place| run.get(*place)).map(|delivery| &delivery.frame);
    if let ([_], Some(only)) = (places, frames().next()) {
        return only.clone();
    }
    let length = frames().map(|frame| frame.bytes().len()).sum();
    let mut merged = BytesMut::with_capacity(length);
    for frame in frames() {
        merged.extend_from_slice(frame.bytes());
    }
    Frame::from_wire(Bytes::from(merged))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    fn delivery(channel: &ChannelName, audience: Audience, bytes: &[u8]) -> Arc<Delivery> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let frame = Frame::from_wire(Bytes::copy_from_slice(bytes));
        Arc::new(Delivery { channel: channel.clone(), audience, frame, _hold: Some(permit) })
    }

    /// The blocks of each channel, one channel after the other.
    fn by_channels(run: &Run) -> Vec<(ChannelName, Audience, Vec<u8>, u64)> {
        let sorted = by_channel(run);
        let blocks = channels(run, &sorted).flat_map(|places| blocks(run, places));
        let all = blocks.map(|block| {
            (block.channel.clone(), block.audience.clone(), block.frame.bytes().to_vec(), block.messages)
        });
        all.collect()
    }

    #[test]
    fn neighbours_with_one_audience_share_a_block() {
        let channel = ChannelName::new("chat:").unwrap();
        let run = vec![
            delivery(&channel, Audience::Everyone, b"a"),
            delivery(&channel, Audience::Everyone, b"b"),
            delivery(&channel, Audience::User(7.into()), b"c"),
            delivery(&channel, Audience::Everyone, b"d"),
        ];
        let blocks: Vec<_> =
            by_channels(&run).into_iter().map(|(.., bytes, messages)| (bytes, messages)).collect();
        assert_eq!(blocks, [(b"ab".to_vec(), 2), (b"c".to_vec(), 1), (b"d".to_vec(), 1)]);
    }

    #[test]
    fn a_block_is_bounded_but_a_huge_message_passes() {
        let channel = ChannelName::new("chat:").unwrap();
        let huge = vec![b'x'; BLOCK_BYTES + 1];
        let run = vec![
            delivery(&channel, Audience::Everyone, &huge),
            delivery(&channel, Audience::Everyone, &huge[..BLOCK_BYTES]),
            delivery(&channel, Audience::Everyone, b"b"),
        ];
        let sizes: Vec<_> = by_channels(&run).iter().map(|(.., bytes, _)| bytes.len()).collect();
        assert_eq!(sizes, [BLOCK_BYTES + 1, BLOCK_BYTES, 1]);
    }

    #[test]
    fn a_channel_that_was_left_and_joined_meanwhile_keeps_its_order() {
        let mut names = [ChannelName::new("chat:").unwrap(), ChannelName::new("chat:").unwrap()];
        names.sort_by_key(|name| std::cmp::Reverse(name.as_str().as_ptr().addr()));
        let [old, new] = names;
        let other = ChannelName::new("news:").unwrap();
        let run = vec![
            delivery(&old, Audience::Everyone, b"a"),
            delivery(&other, Audience::Everyone, b"x"),
            delivery(&new, Audience::Everyone, b"b"),
            delivery(&old, Audience::Everyone, b"c"),
        ];
        let blocks: Vec<_> = by_channels(&run).into_iter().map(|(.., bytes, _)| bytes).collect();
        assert_eq!(blocks, [&b"abc"[..], b"x"]);
    }

    #[test]
    fn neighbours_of_several_channels_share_a_block_unless_they_are_for_a_user() {
        let (a, b) = (ChannelName::new("a").unwrap(), ChannelName::new("b").unwrap());
        let run = [
            delivery(&a, Audience::Everyone, b"1"),
            delivery(&b, Audience::Everyone, b"2"),
            delivery(&b, Audience::User(7.into()), b"3"),
            delivery(&a, Audience::User(7.into()), b"4"),
        ];
        let blocks: Vec<_> = blocks(&run, &[0, 1, 2, 3]).map(|block| block.frame.bytes().to_vec()).collect();
        assert_eq!(blocks, [&b"12"[..], b"3", b"4"]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_doubled_or_reordered(messages in prop::collection::vec((0usize..4, 0i64..3, 1usize..40_000), 0..60)) {
            let channels: Vec<_> = (0..4).map(|i| ChannelName::new(&format!("c:{i}")).unwrap()).collect();
            let mut expected: HashMap<(ChannelName, i64), Vec<u8>> = HashMap::new();
            let mut run = Vec::new();
            for (number, (channel, user, length)) in messages.into_iter().enumerate() {
                let audience = if user == 0 { Audience::Everyone } else { Audience::User(user.into()) };
                let bytes = vec![u8::try_from(number).unwrap(); length];
                run.push(delivery(&channels[channel], audience, &bytes));
                expected.entry((channels[channel].clone(), user)).or_default().extend(bytes);
            }
            let count = run.len() as u64;
            let mut out: HashMap<(ChannelName, i64), Vec<u8>> = HashMap::new();
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
