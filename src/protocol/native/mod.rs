//! The native protocol, as `docs/native.md` describes it for client authors.
//!
//! Pure: bytes in, bytes and decisions out.

mod acknowledgement;
pub mod close;
mod encodings;
mod gate_settings;
mod json_object;
mod message;
mod message_ref;
mod omitted_keys;
mod presence;
mod recovery;
mod renewal;
mod rules;
mod settings;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::message::{Audience, ChannelName, Encoding, Event, Frame, Position, Sender};

pub use acknowledgement::{
    Acknowledgement, REFUSED, RejectReason, acknowledgement_text, encode_acknowledgement, encode_refused,
    refused_text,
};
pub use encodings::{ENCODING, ENCODINGS, SSE, SSE_WITH_GAPS, WITH_GAPS, message_encoding, tells_gaps};
pub use gate_settings::{GateSettings, OnFailure};
pub use message_ref::MessageRef;
pub use omitted_keys::OmittedKeys;
pub use presence::{PRESENCE_APP, PresenceEncoder, encode_connected, member};
pub use recovery::{encode_gap, encode_gap_while_connected, encode_recovered, encode_up_to_date};
pub use renewal::{RenewalError, RenewalRequest, encode_renewal, renewal_text};
pub use rules::{InvalidTarget, Rule};
pub use settings::{ChannelSettings, ChannelsSettings, SenderSettings};

use rules::Rules;

/// The native protocol with the rules of an installation.
#[derive(Debug)]
pub struct Native {
    rules: ArcSwap<Rules>,
}

impl Native {
    #[must_use]
    pub fn new(channels: &ChannelsSettings) -> Self {
        Self { rules: ArcSwap::from_pointee(Rules::new(channels)) }
    }

    /// Replaces the rules. Whether clients see each other stays, because those that are connected would not.
    pub fn set_rules(&self, channels: &ChannelsSettings) {
        let rules = Rules::new(channels).with_presence_of(&self.rules.load());
        self.rules.store(Arc::new(rules));
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
        self.admit(channel, sender, message::decode(message)?)
    }

    /// The same on a channel with a history, where a message may have a `ref`. Returns it also if the message is refused.
    pub fn receive_with_ref(
        &self,
        channel: &ChannelName,
        sender: &Sender,
        message: &Bytes,
    ) -> (Option<MessageRef>, Result<Event, RejectReason>) {
        let (message_ref, data) = message::decode_with_ref(message);
        (message_ref, data.and_then(|data| self.admit(channel, sender, data)))
    }

    fn admit(&self, channel: &ChannelName, sender: &Sender, data: Bytes) -> Result<Event, RejectReason> {
        let rules = self.rules.load();
        let rule = rules.of(channel);
        if !rule.client_send {
            return Err(RejectReason::NotAllowed);
        }
        rule.check(&data).map_err(|InvalidTarget| RejectReason::InvalidTarget)?;
        Ok(Event::new(channel.clone(), sender.clone(), data))
    }

    /// Checks what an application has put in place of a client's `data`, which is an object.
    pub fn check(&self, event: &Event) -> Result<(), InvalidTarget> {
        self.rules.load().of(&event.channel).check(&event.data)
    }

    /// The rules of a channel, as they are now.
    #[must_use]
    pub fn rule(&self, channel: &ChannelName) -> Arc<Rule> {
        self.rules.load().of(channel).clone()
    }

    /// Encodes an event by the rules of its channel: see [`Rule::deliver`].
    pub fn deliver(
        &self,
        event: &Event,
        position: Option<Position>,
        encoding: Encoding,
        omitted: impl FnMut(&str, &str),
    ) -> Result<(Audience, Frame), InvalidTarget> {
        self.rules.load().of(&event.channel).deliver(event, position, encoding, omitted)
    }

    /// Whether a message on this channel can be addressed to one user.
    #[must_use]
    pub fn has_targeting(&self, channel: &ChannelName) -> bool {
        self.rules.load().of(channel).targeting
    }

    /// The keys of this object that will not be delivered; `None` if all of them are.
    pub fn preview(&self, channel: &ChannelName, data: &Bytes) -> Result<Option<OmittedKeys>, InvalidTarget> {
        let rules = self.rules.load();
        let rule = rules.of(channel);
        let mut keys: Vec<String> = Vec::new();
        rule.apply(data, |key| keys.push(key.to_owned()))?;
        let fields = rule.fields.clone().unwrap_or_default();
        Ok((!keys.is_empty()).then(|| OmittedKeys { kind: rule.kind.clone(), fields, keys }))
    }

    /// Whether the clients of a channel see each other.
    #[must_use]
    pub fn has_presence(&self, channel: &ChannelName) -> bool {
        self.rules.load().of(channel).presence
    }

    /// Whether those of any channel do.
    #[must_use]
    pub fn has_any_presence(&self) -> bool {
        self.rules.load().iter().any(|rule| rule.presence)
    }

    /// The kinds that have rules, as the settings name them.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        self.rules.load().iter().map(|rule| rule.kind.clone()).collect()
    }

    /// Calls `with` with the kind of a channel, as the settings name it.
    pub fn with_kind<T>(&self, channel: &ChannelName, with: impl FnOnce(&str) -> T) -> T {
        with(&self.rules.load().of(channel).kind)
    }

    /// The kinds that deliver only some keys, as the settings name them.
    pub fn kinds_with_fields(&self) -> Vec<String> {
        let rules = self.rules.load();
        rules.iter().filter(|rule| rule.fields.is_some()).map(|rule| rule.kind.clone()).collect()
    }
}

impl From<&SenderSettings> for Sender {
    fn from(settings: &SenderSettings) -> Self {
        Self { name: Arc::from(settings.name.as_str()), id: settings.id.into() }
    }
}
