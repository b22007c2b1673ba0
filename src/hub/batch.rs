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

/// Neighbouring messages of a channel with the same audience.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) channel: ChannelName,
    pub(super) audience: Audience,
    pub(super) frame: Frame,
    pub(super) messages: u64,
}

/// A block grows to so many bytes. A subscriber that is behind is kept waiting by it, and an overflow cannot
/// drop the part of it that is not out yet.
const BLOCK_BYTES: usize = 64 * 1024;

/// Groups a run of deliveries by channel, each in its order, and merges neighbours.
pub(super) fn blocks(run: &mut [Arc<Delivery>]) -> impl Iterator<Item = Block> {
    // Stable, so that a channel keeps its order. Nearly always one allocation is all there is of a name; but when its last
    // subscriber goes and comes back, messages under the old one and the new one can be here together.
    run.sort_by(|one, other| match (one.channel.as_str(), other.channel.as_str()) {
        (one, other) if std::ptr::eq(one, other) => Ordering::Equal,
        (one, other) => one.cmp(other),
    });
    let mut rest = &*run;
    std::iter::from_fn(move || {
        let (first, _) = rest.split_first()?;
        let mut bytes = 0;
        let length = rest
            .iter()
            .take_while(|next| {
                bytes += next.frame.bytes().len();
                next.audience == first.audience
                    && next.channel == first.channel
                    && (bytes <= BLOCK_BYTES || Arc::ptr_eq(next, first))
            })
            .count();
        let (block, others) = rest.split_at_checked(length)?;
        rest = others;
        Some(Block {
            channel: first.channel.clone(),
            audience: first.audience.clone(),
            frame: merge(block),
            messages: length as u64,
        })
    })
}

fn merge(deliveries: &[Arc<Delivery>]) -> Frame {
    if let [only] = deliveries {
        return only.frame.clone();
    }
    let length = deliveries.iter().map(|delivery| delivery.frame.bytes().len()).sum();
    let mut merged = BytesMut::with_capacity(length);
    for delivery in deliveries {
        merged.extend_from_slice(delivery.frame.bytes());
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

    #[test]
    fn neighbours_with_one_audience_share_a_block() {
        let channel = ChannelName::new("chat:").unwrap();
        let mut run = vec![
            delivery(&channel, Audience::Everyone, b"a"),
            delivery(&channel, Audience::Everyone, b"b"),
            delivery(&channel, Audience::User(7.into()), b"c"),
            delivery(&channel, Audience::Everyone, b"d"),
        ];
        let blocks: Vec<_> =
            blocks(&mut run).map(|block| (block.frame.bytes().to_vec(), block.messages)).collect();
        assert_eq!(blocks, [(b"ab".to_vec(), 2), (b"c".to_vec(), 1), (b"d".to_vec(), 1)]);
    }

    #[test]
    fn a_block_is_bounded_but_a_huge_message_passes() {
        let channel = ChannelName::new("chat:").unwrap();
        let huge = vec![b'x'; BLOCK_BYTES + 1];
        let mut run = vec![
            delivery(&channel, Audience::Everyone, &huge),
            delivery(&channel, Audience::Everyone, &huge[..BLOCK_BYTES]),
            delivery(&channel, Audience::Everyone, b"b"),
        ];
        let sizes: Vec<_> = blocks(&mut run).map(|block| block.frame.bytes().len()).collect();
        assert_eq!(sizes, [BLOCK_BYTES + 1, BLOCK_BYTES, 1]);
    }

    #[test]
    fn a_channel_that_was_left_and_joined_meanwhile_keeps_its_order() {
        let mut names = [ChannelName::new("chat:").unwrap(), ChannelName::new("chat:").unwrap()];
        names.sort_by_key(|name| std::cmp::Reverse(name.as_str().as_ptr().addr()));
        let [old, new] = names;
        let other = ChannelName::new("news:").unwrap();
        let mut run = vec![
            delivery(&old, Audience::Everyone, b"a"),
            delivery(&other, Audience::Everyone, b"x"),
            delivery(&new, Audience::Everyone, b"b"),
            delivery(&old, Audience::Everyone, b"c"),
        ];
        let blocks: Vec<_> = blocks(&mut run).map(|block| block.frame.bytes().to_vec()).collect();
        assert_eq!(blocks, [&b"abc"[..], b"x"]);
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
            for block in blocks(&mut run) {
                let Audience::User(user) = block.audience else {
                    prop_assert_eq!(block.audience, Audience::Everyone);
                    out.entry((block.channel, 0)).or_default().extend_from_slice(block.frame.bytes());
                    total += block.messages;
                    continue;
                };
                let user = user.number().unwrap();
                out.entry((block.channel, user)).or_default().extend_from_slice(block.frame.bytes());
                total += block.messages;
            }
            prop_assert_eq!(total, count);
            prop_assert_eq!(out, expected);
        }
    }
}
