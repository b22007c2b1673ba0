//! The native protocol, as `docs/native.md` describes it for client authors.
//!
//! Pure: bytes in, bytes and decisions out.

mod answer;
mod data;
mod message;
mod rules;
mod settings;

use std::sync::Arc;

use bytes::Bytes;

use crate::message::{Audience, ChannelName, Event, Frame, Sender};

pub use answer::{Answer, Refusal, encode_answer};
pub use rules::InvalidTarget;
pub use settings::{ChannelSettings, ChannelsSettings, SenderSettings};

use rules::Rules;

/// The native protocol with the rules of an installation.
#[derive(Debug)]
pub struct Native {
    rules: Rules,
}

impl Native {
    /// Takes the rules from `[channels]`.
    #[must_use]
    pub fn new(channels: &ChannelsSettings) -> Self {
        Self { rules: Rules::new(channels) }
    }

    /// Reads a client's message on the channel of its token.
    ///
    /// Only `data` counts; nothing in the frame can name another channel or sender.
    pub fn receive(&self, channel: &ChannelName, sender: &Sender, message: &Bytes) -> Result<Event, Refusal> {
        let data = message::decode(message)?;
        let rule = self.rules.of(channel);
        if !rule.client_send {
            return Err(Refusal::NotAllowed);
        }
        rule.check(&data).map_err(|InvalidTarget| Refusal::InvalidTarget)?;
        Ok(Event { channel: channel.clone(), sender: sender.clone(), data })
    }

    /// Turns an event into what its receivers get, by the rules of its channel's kind.
    pub fn deliver(&self, event: &Event) -> Result<(Audience, Frame), InvalidTarget> {
        let (audience, data) = self.rules.of(&event.channel).apply(&event.data)?;
        Ok((audience, message::encode(&event.sender, &data)))
    }
}

impl From<&SenderSettings> for Sender {
    fn from(settings: &SenderSettings) -> Self {
        Self { name: Arc::from(settings.name.as_str()), id: settings.id.into() }
    }
}
