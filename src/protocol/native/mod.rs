//! The native protocol, as `docs/native.md` describes it for client authors.
//!
//! Pure: bytes in, bytes and decisions out.

mod answer;
mod data;
mod message;
mod preview;
mod rules;
mod settings;

use std::sync::Arc;

use bytes::Bytes;

use crate::message::{Audience, ChannelName, Event, Frame, Sender};

pub use answer::{Answer, Refusal, encode_answer};
pub use preview::LeftOut;
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
        Ok(Event::new(channel.clone(), sender.clone(), data))
    }

    /// Turns an event into what its receivers get, by the rules of its channel's kind. `left_out` is given the kind, as the
    /// settings name it, and each key that its fields left out.
    pub fn deliver<'a>(
        &'a self,
        event: &Event,
        mut left_out: impl FnMut(&'a str, &str),
    ) -> Result<(Audience, Frame), InvalidTarget> {
        let rule = self.rules.of(&event.channel);
        let (audience, data) = rule.apply(&event.data, |key| left_out(&rule.kind, key))?;
        Ok((audience, message::encode(&event.sender, &data)))
    }

    /// What will be left out of a message with this object; `None` if all of it is delivered.
    pub fn preview(&self, channel: &ChannelName, data: &Bytes) -> Result<Option<LeftOut>, InvalidTarget> {
        let rule = self.rules.of(channel);
        let mut keys: Vec<String> = Vec::new();
        rule.apply(data, |key| keys.push(key.to_owned()))?;
        let fields = rule.fields.clone().unwrap_or_default();
        Ok((!keys.is_empty()).then(|| LeftOut { kind: rule.kind.clone(), fields, keys }))
    }

    /// The kinds that deliver some keys only, as the settings name them.
    pub fn kinds_with_fields(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(|rule| rule.fields.is_some()).map(|rule| rule.kind.as_str())
    }
}

impl From<&SenderSettings> for Sender {
    fn from(settings: &SenderSettings) -> Self {
        Self { name: Arc::from(settings.name.as_str()), id: settings.id.into() }
    }
}
