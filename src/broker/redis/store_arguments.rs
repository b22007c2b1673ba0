use super::publish_queue::Storage;
use super::store_run::is_keyed;
use super::store_state::identity;
use crate::message::{Retained, Retention};

/// How a batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreSending {
    /// It is never sent again, and ends with the first error: no message overtakes one that Redis has refused.
    InOrder = 0,
    /// It is never sent again.
    Unrepeatable = 1,
    /// It is sent again if its reply is lost.
    First = 2,
    /// It may have been executed already.
    Repeated = 3,
}

/// An age that Redis's clock can be compared with: some thousand years in milliseconds.
const MAX_AGE: u64 = 1 << 46;

/// The script's first argument: the number of a batch, how it is sent, the store, and how many of its messages are stored.
pub(super) fn batch_argument(seq: u64, sending: StoreSending, store: u64, stored: usize) -> Vec<u8> {
    let mut argument = seq.to_be_bytes().to_vec();
    argument.push(sending as u8);
    argument.extend_from_slice(identity(store).as_bytes());
    argument.extend_from_slice(&whole(stored));
    argument
}

/// What the script is told of a run besides its topic and its payload.
pub(super) struct RunArgument(Vec<u8>);

impl RunArgument {
    /// `deadline` is in Redis's time.
    pub(super) fn new(deadline: u64, messages: usize, storage: Option<&Storage>) -> Self {
        let form = storage.map_or(0, |storage| if is_keyed(storage) { 2 } else { 1 });
        let channels = storage.map_or(0, |storage| storage.retained.len());
        let mut argument = Self(double(deadline).to_vec());
        argument.0.push(form);
        argument.0.extend_from_slice(&small(messages));
        argument.0.extend_from_slice(&small(channels));
        argument
    }

    /// `place`: that of the channel's head among the keys, from 1.
    pub(super) fn add_channel(&mut self, place: usize, retained: &Retained, max_bytes: usize) {
        let Retention { messages, age } = retained.retention;
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_AGE);
        self.0.extend_from_slice(&whole(place));
        self.0.extend_from_slice(&retained.index.to_be_bytes());
        self.0.extend_from_slice(&double(messages.max(1).into()));
        self.0.extend_from_slice(&double(u64::try_from(max_bytes.max(1)).unwrap_or(u64::MAX)));
        self.0.extend_from_slice(&double(age));
    }

    /// `place`: that of an idempotency key among the keys, from 1. `None`: there is no such key.
    pub(super) fn add_key(&mut self, place: Option<usize>) {
        self.0.extend_from_slice(&whole(place.unwrap_or_default()));
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn small(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}

fn whole(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Lua has no other numbers; a deadline of Redis is exact for 280 years"
)]
fn double(number: u64) -> [u8; 8] {
    (number as f64).to_be_bytes()
}
