//! Who is on which channel, and what a message looks like.

use crate::cli::Failure;
use crate::message::ChannelName;

use super::stamp::Stamp;

/// What is done in a run, in numbers.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) channels: Vec<ChannelName>,
    pub(super) connections: usize,
    /// Bytes of text in a message.
    pub(super) payload: usize,
    /// Text frames that go to all on the same path, instead of the native protocol.
    pub(super) plain: bool,
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
        base: &ChannelName,
        channels: usize,
        connections: usize,
        payload: usize,
        plain: bool,
    ) -> Result<Self, Failure> {
        let channels = (0..channels)
            .map(|number| ChannelName::new(&format!("{}-{number}", base.as_str())))
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::Usage(format!("--channel: {error}")))?;
        Ok(Self { channels, connections, payload, plain })
    }

    /// The channel that a connection is on.
    pub(super) fn channel_of(&self, connection: usize) -> usize {
        connection % self.channels.len().max(1)
    }

    /// What a client sends.
    pub(super) fn message(&self, stamp: &Stamp) -> Vec<u8> {
        if self.plain {
            let mut message = Vec::with_capacity(self.payload);
            self.text(stamp, &mut message);
            return message;
        }
        let mut message = br#"{"data":"#.to_vec();
        self.data(stamp, &mut message);
        message.push(b'}');
        message
    }

    /// What Laravel publishes.
    pub(super) fn broadcast(&self, stamp: &Stamp, channel: usize) -> Vec<u8> {
        let name = self.channels.get(channel).map(ChannelName::as_str).unwrap_or_default();
        let mut message = br#"{"channel":"#.to_vec();
        // A string can always be written as JSON.
        message.extend_from_slice(serde_json::to_string(name).unwrap_or_default().as_bytes());
        message.extend_from_slice(br#","data":"#);
        self.data(stamp, &mut message);
        message.push(b'}');
        message
    }

    /// In `message`, which the rules for `chat` as they are shipped let through.
    fn data(&self, stamp: &Stamp, to: &mut Vec<u8>) {
        to.extend_from_slice(br#"{"message":""#);
        self.text(stamp, to);
        to.extend_from_slice(br#""}"#);
    }

    fn text(&self, stamp: &Stamp, to: &mut Vec<u8>) {
        let end = to.len() + self.payload;
        stamp.write(to);
        to.resize(end.max(to.len()), b'x');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 1, channel: 1, publisher: 2, sequence: 3, due: 4 };

    #[test]
    fn messages_are_as_long_as_asked_and_carry_their_stamp() {
        let base = ChannelName::new("chat:\"b").unwrap();
        for plain in [false, true] {
            let work = Workload::new(&base, 2, 10, 100, plain).unwrap();
            let message = work.message(&STAMP);
            assert_eq!(Stamp::find(&message, &mut 0), Some(STAMP));
            if plain {
                assert_eq!(message.len(), 100);
                continue;
            }
            let json: serde_json::Value = serde_json::from_slice(&message).unwrap();
            assert_eq!(json["data"]["message"].as_str().unwrap().len(), 100);
            let json: serde_json::Value = serde_json::from_slice(&work.broadcast(&STAMP, 1)).unwrap();
            assert_eq!(json["channel"], "chat:\"b-1");
            assert_eq!(json["data"]["message"].as_str().unwrap().len(), 100);
        }
    }

    #[test]
    fn connections_are_spread_over_the_channels() {
        let work = Workload::new(&ChannelName::new("c").unwrap(), 3, 7, 64, false).unwrap();
        let channels: Vec<usize> = (0..7).map(|connection| work.channel_of(connection)).collect();
        assert_eq!(channels, [0, 1, 2, 0, 1, 2, 0]);
    }
}
