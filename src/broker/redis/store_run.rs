use super::publish_queue::{QueuedMessage, Storage};

/// Limits of a run, so that few messages keep each other in memory.
const MAX_RUN_MESSAGES: usize = 64;
const MAX_RUN_BYTES: usize = 8 << 10;
/// How far the deadlines of a run may be apart, in microseconds: the first one is that of all.
const MAX_RUN_SPAN: u64 = 20_000;

/// Divides a batch into runs, which are stored and published as one: neighbours for the same channels. Most are of one message.
pub(super) fn runs(
    mut batch: &[QueuedMessage],
    deadline: impl Fn(&QueuedMessage) -> u64,
) -> impl Iterator<Item = &[QueuedMessage]> {
    std::iter::from_fn(move || {
        let (run, rest) = batch.split_at_checked(run_length(batch, &deadline))?;
        batch = rest;
        (!run.is_empty()).then_some(run)
    })
}

/// Whether a message is published only once under its keys.
pub(super) fn is_keyed(storage: &Storage) -> bool {
    storage.idempotency_key.is_some() || storage.second_key.is_some()
}

fn run_length(batch: &[QueuedMessage], deadline: impl Fn(&QueuedMessage) -> u64) -> usize {
    let Some(first) = batch.first() else { return 0 };
    let Some(storage) = first.storage.as_deref().filter(|storage| !is_keyed(storage)) else { return 1 };
    let until = deadline(first);
    let mut bytes = 0;
    let follows = |message: &&QueuedMessage| {
        bytes += message.payload.len();
        let is_stored_alike = message
            .storage
            .as_deref()
            .is_some_and(|other| !is_keyed(other) && other.retained == storage.retained);
        is_stored_alike
            && bytes <= MAX_RUN_BYTES
            && message.topic == first.topic
            && deadline(message).checked_sub(until).is_some_and(|span| span <= MAX_RUN_SPAN)
    };
    batch.iter().take(MAX_RUN_MESSAGES).take_while(follows).count().max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::message::{ChannelName, Retained, Retention};

    /// A message by its channels, separated by spaces. `-`: it is only published. `k`: it has a key.
    fn message(channels: &str, seq: u64, bytes: usize) -> QueuedMessage {
        let retention = Retention { messages: 1, age: Duration::from_secs(1) };
        let retained = (0..)
            .zip(channels.split(' ').filter(|name| !matches!(*name, "k" | "-")))
            .map(|(index, name)| Retained { index, channel: ChannelName::scoped("a", name), retention });
        let idempotency_key: Option<Arc<str>> = channels.contains('k').then(|| "k".into());
        let storage = Storage { retained: retained.collect(), idempotency_key, second_key: None };
        QueuedMessage {
            seq,
            deadline: Instant::now(),
            topic: b"topic"[..].into(),
            payload: vec![b'x'; bytes],
            storage: (channels != "-").then(|| Box::new(storage)),
        }
    }

    fn lengths(batch: &[QueuedMessage]) -> Vec<usize> {
        runs(batch, |message| message.seq).map(<[_]>::len).collect()
    }

    #[test]
    fn neighbours_on_the_same_channels_are_a_run() {
        let of = ["c", "c", "d", "-", "-", "c", "c d", "c d", "d c", "c k", "c k", "c", "c", "c"];
        let batch: Vec<_> = of.iter().map(|channels| message(channels, 5, 10)).collect();
        assert_eq!(lengths(&batch), [2, 1, 1, 1, 1, 2, 1, 1, 1, 3]);
        assert_eq!(lengths(&[]), [0; 0]);
    }

    #[test]
    fn a_run_is_bounded() {
        let batch = |bytes: usize, deadlines: &[u64]| -> Vec<_> {
            deadlines.iter().map(|deadline| message("c", *deadline, bytes)).collect()
        };
        assert_eq!(lengths(&batch(1, &[7; 150])), [64, 64, 22]);
        assert_eq!(lengths(&batch(3000, &[7; 5])), [2, 2, 1]);
        assert_eq!(lengths(&batch(100_000, &[7; 2])), [1, 1]);
        // What is left out has no deadline, and is no part of a run with others.
        let span = MAX_RUN_SPAN;
        assert_eq!(lengths(&batch(1, &[1 + span, 1 + 2 * span, 2 + 2 * span, 0, 0, 1 + span])), [2, 1, 2, 1]);
    }
}
