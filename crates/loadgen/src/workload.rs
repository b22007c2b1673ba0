//! Who is on which channel, and what a message looks like.

use super::speech::Speech;
use super::stamp::Stamp;

/// What is done in a run, in numbers.
pub(super) struct Workload {
    pub(super) channels: Vec<String>,
    pub(super) connections: usize,
    /// Bytes of text in a message.
    pub(super) payload: usize,
    pub(super) speech: Speech,
}

/// A message that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) channel: usize,
    /// In nanoseconds of the run's clock.
    pub(super) at: u64,
}

impl Workload {
    /// Channels are named `{base}-0`, `{base}-1` and so on.
    pub(super) fn new(
        base: &str,
        channels: usize,
        connections: usize,
        payload: usize,
        speech: Speech,
    ) -> Self {
        let channels = (0..channels).map(|number| format!("{base}-{number}")).collect();
        Self { channels, connections, payload, speech }
    }

    /// The channel that a connection is on.
    pub(super) fn channel_of(&self, connection: usize) -> usize {
        connection % self.channels.len().max(1)
    }

    /// The name of a channel.
    pub(super) fn channel(&self, number: usize) -> Option<&str> {
        self.channels.get(number).map(String::as_str)
    }

    /// The text of a message, which carries its stamp: letters and digits.
    pub(super) fn text(&self, stamp: &Stamp) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.payload);
        stamp.write(&mut text);
        text.resize(self.payload.max(text.len()), b'x');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 1, channel: 1, publisher: 2, sequence: 3, due: 4 };

    #[test]
    fn texts_are_as_long_as_asked_and_carry_their_stamp() {
        let work = Workload::new("c", 2, 10, 100, Speech::Plain);
        let text = work.text(&STAMP);
        assert_eq!((Stamp::find(&text, &mut 0), text.len()), (Some(STAMP), 100));
    }

    #[test]
    fn connections_are_spread_over_the_channels() {
        let work = Workload::new("c", 3, 7, 64, Speech::Plain);
        let channels: Vec<usize> = (0..7).map(|connection| work.channel_of(connection)).collect();
        assert_eq!(channels, [0, 1, 2, 0, 1, 2, 0]);
    }
}
