//! The native protocol, as `docs/native.md` describes it for client authors.
//!
//! Pure: bytes in, bytes and decisions out.

mod acknowledgement;
pub mod close;
mod json_object;
mod message;
mod omitted_keys;
mod rules;
mod settings;

use std::sync::Arc;

use bytes::Bytes;

use crate::message::{Audience, ChannelName, Encoding, Event, Frame, Sender};

pub use acknowledgement::{Acknowledgement, RejectReason, encode_acknowledgement};
pub use omitted_keys::OmittedKeys;
pub use rules::InvalidTarget;
pub use settings::{ChannelSettings, ChannelsSettings, SenderSettings};

use rules::Rules;

/// Text messages in WebSocket frames.
pub const ENCODING: Encoding = Encoding::new(0);

/// The native protocol with the rules of an installation.
#[derive(Debug)]
pub struct Native {
    rules: Rules,
}

impl Native {
    #[must_use]
    pub fn new(channels: &ChannelsSettings) -> Self {
        Self { rules: Rules::new(channels) }
    }

    /// Reads a client's message on the channel of its token.
    ///
    /// Only `data` is used; nothing in the frame can name another channel or sender.
    pub fn receive(
        &self,
        channel: &ChannelName,
        sender: &Sender,
        message: &Bytes,
    ) -> Result<Event, RejectReason> {
        let data = message::decode(message)?;
        let rule = self.rules.of(channel);
        if !rule.client_send {
            return Err(RejectReason::NotAllowed);
        }
        rule.check(&data).map_err(|InvalidTarget| RejectReason::InvalidTarget)?;
        Ok(Event::new(channel.clone(), sender.clone(), data))
    }

    /// Encodes an event for its receivers by the rules of its channel's kind. `omitted` is called with the kind, as the
    /// settings name it, and each key that is not delivered.
    pub fn deliver<'a>(
        &'a self,
        event: &Event,
        mut omitted: impl FnMut(&'a str, &str),
    ) -> Result<(Audience, Frame), InvalidTarget> {
        let rule = self.rules.of(&event.channel);
        let (audience, data) = rule.apply(&event.data, |key| omitted(&rule.kind, key))?;
        Ok((audience, message::encode(&event.sender, &data)))
    }

    /// The keys of this object that will not be delivered; `None` if all of them are.
    pub fn preview(&self, channel: &ChannelName, data: &Bytes) -> Result<Option<OmittedKeys>, InvalidTarget> {
        let rule = self.rules.of(channel);
        let mut keys: Vec<String> = Vec::new();
        rule.apply(data, |key| keys.push(key.to_owned()))?;
        let fields = rule.fields.clone().unwrap_or_default();
        Ok((!keys.is_empty()).then(|| OmittedKeys { kind: rule.kind.clone(), fields, keys }))
    }

    /// The kinds that deliver only some keys, as the settings name them.
    pub fn kinds_with_fields(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(|rule| rule.fields.is_some()).map(|rule| rule.kind.as_str())
    }
}

impl From<&SenderSettings> for Sender {
    fn from(settings: &SenderSettings) -> Self {
        Self { name: Arc::from(settings.name.as_str()), id: settings.id.into() }
    }
}
