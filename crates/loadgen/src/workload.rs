use super::protocol::ProtocolClient;
use super::stamp::Stamp;

/// Which connection is on which channel, and what a message looks like.
pub(super) struct Workload {
    pub(super) channels: Vec<String>,
    pub(super) connections: usize,
    /// Bytes of text per message.
    pub(super) payload: usize,
    pub(super) protocol: ProtocolClient,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ScheduledMessage {
    pub(super) channel: usize,
    /// When to send it, in nanoseconds of the run's clock.
    pub(super) due: u64,
}

impl Workload {
    /// Channels are named `{base}-0`, `{base}-1` and so on.
    pub(super) fn new(
        base: &str,
        channels: usize,
        connections: usize,
        payload: usize,
        protocol: ProtocolClient,
    ) -> Self {
        let channels = (0..channels).map(|number| format!("{base}-{number}")).collect();
        Self { channels, connections, payload, protocol }
    }

    /// The channel of a connection.
    pub(super) fn channel_of(&self, connection: usize) -> usize {
        connection % self.channels.len().max(1)
    }

    /// The name of a channel.
    pub(super) fn channel(&self, number: usize) -> Option<&str> {
        self.channels.get(number).map(String::as_str)
    }

    /// The text of a message: its stamp, padded to the payload's length with letters.
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
    fn texts_have_the_payload_length_and_carry_their_stamp() {
        let work = Workload::new("c", 2, 10, 100, ProtocolClient::Plain);
        let text = work.text(&STAMP);
        assert_eq!((Stamp::find(&text, &mut 0), text.len()), (Some(STAMP), 100));
    }

    #[test]
    fn connections_are_spread_over_the_channels() {
        let work = Workload::new("c", 3, 7, 64, ProtocolClient::Plain);
        let channels: Vec<usize> = (0..7).map(|connection| work.channel_of(connection)).collect();
        assert_eq!(channels, [0, 1, 2, 0, 1, 2, 0]);
    }
}
