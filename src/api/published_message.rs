//! A message to publish, as a request names it, and how it is checked.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::request::from_json;
use super::{ApiState, Problem};
use crate::message::json::{members, string};
use crate::message::{Broadcast, ChannelName, Event, Publication, Sender, SocketId, UserId};
use crate::protocol::native::ENCODING;
use crate::protocol::pusher::http::Trigger;

/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// A message on a native channel, or an event of an app.
#[derive(ToSchema, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only describes the body: reading it this way would hide what is wrong")]
pub(super) enum Message {
    Native(NativeMessage),
    App(AppEvent),
}

/// A message on a native channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NativeMessage {
    /// The native channel.
    #[schema(example = "chat:room1")]
    channel: String,
    /// What the subscribers receive, within the rules of the channel's kind.
    #[schema(value_type = Object, example = json!({ "message": "hello" }))]
    data: Box<RawValue>,
    /// Who the message comes from. Without it, the sender of `[sender]`.
    #[serde(default)]
    sender: Option<MessageSender>,
    /// Only this user receives it. The kind of the channel needs `targeting`.
    #[serde(default, deserialize_with = "user")]
    #[schema(value_type = Option<User>)]
    to: Option<UserId>,
    /// A message with the same key on the same channel is published only once within five minutes.
    #[serde(default)]
    #[schema(max_length = 255)]
    idempotency_key: Option<String>,
}

/// Who a message comes from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageSender {
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    #[schema(value_type = User)]
    id: UserId,
    /// The display name.
    #[schema(example = "Aoi")]
    name: String,
}

/// The ID of a user: a whole number, or a text of 1 to 64 bytes. The number 7 and the text `"7"` are the same user.
#[derive(ToSchema, Deserialize)]
#[serde(untagged)]
#[schema(example = 7)]
#[expect(dead_code, reason = "only describes the type")]
pub(super) enum User {
    Number(i64),
    Text(String),
}

/// An event of an app, for pages with Laravel Echo.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppEvent {
    /// The ID of the app.
    #[schema(example = "my-app")]
    app: String,
    /// The channel, including `private-` or `presence-`.
    #[serde(default)]
    #[schema(example = "private-orders.7")]
    channel: Option<String>,
    /// Several channels, instead of `channel`.
    #[serde(default)]
    channels: Option<Vec<String>>,
    /// The name of the event.
    #[schema(example = "OrderShipped")]
    event: String,
    /// What the subscribers receive. A text is sent as it is, and everything else as its JSON.
    #[schema(value_type = Value, example = json!({ "id": 7 }))]
    data: Box<RawValue>,
    /// The connection that does not receive the event: `X-Socket-ID` of the page's request.
    #[serde(default)]
    #[schema(example = "1234.5678")]
    socket_id: Option<String>,
    /// An event of the app with the same key is published only once within five minutes.
    #[serde(default)]
    #[schema(max_length = 255)]
    idempotency_key: Option<String>,
}

/// A message that may be published.
pub(super) enum Checked {
    Native {
        publication: Publication,
        /// The keys of `data` that the kind of the channel does not deliver.
        omitted: Vec<String>,
    },
    App {
        event: Broadcast,
        idempotency_key: Option<String>,
    },
}

impl Checked {
    /// Reads the text of a JSON value.
    pub(super) fn read(text: &RawValue, state: &ApiState) -> Result<Self, Problem> {
        let text = text.get();
        let [app] = members(text, ["app"]).map_err(|_| {
            Problem::invalid("invalid_request", "a message must be an object: {\"channel\", \"data\", …}")
        })?;
        if app.is_some() {
            from_json::<AppEvent>(text.as_bytes())?.check(state)
        } else {
            from_json::<NativeMessage>(text.as_bytes())?.check(state)
        }
    }

    /// The channel, for the log.
    pub(super) fn channel(&self) -> &str {
        match self {
            Self::Native { publication, .. } => match &publication.dispatch {
                crate::message::Dispatch::Event(event) => event.channel.as_str(),
                _ => "",
            },
            Self::App { event, .. } => event.channels.first().map_or("", ChannelName::as_str),
        }
    }
}

impl NativeMessage {
    fn check(self, state: &ApiState) -> Result<Checked, Problem> {
        let channel = ChannelName::new(&self.channel)?;
        let data = match self.to {
            Some(user) => {
                if !state.native.has_targeting(&channel) {
                    let detail = format!(
                        "messages on {channel} go to all subscribers: set `targeting` for the kind {:?} to send to one user",
                        channel.kind()
                    );
                    return Err(Problem::invalid("no_targeting", detail));
                }
                with_target(self.data.get(), &user)?
            }
            None => object(self.data.get())?.to_owned().into(),
        };
        let sender = self.sender.map_or_else(
            || state.sender.clone(),
            |MessageSender { id, name }| Sender { name: name.into(), id },
        );
        let key = self.idempotency_key.map(checked_key).transpose()?;
        let event = Event::new(channel, sender, data);
        let mut omitted = Vec::new();
        let (_, frame) = state
            .native
            .deliver(&event, None, ENCODING, |_, key| omitted.push(key.to_owned()))
            .map_err(|error| Problem::invalid("invalid_target", error.to_string()))?;
        let bytes = frame.bytes().len();
        if bytes > state.outbox_bytes {
            let limit = state.outbox_bytes;
            return Err(Problem::too_large(format!(
                "the message takes {bytes} bytes, and limits.outbox_bytes is {limit}: no subscriber could receive it"
            )));
        }
        let idempotency_key = key.map(|key| native_key(&event.channel, &key));
        Ok(Checked::Native { publication: Publication { idempotency_key, ..event.into() }, omitted })
    }
}

impl AppEvent {
    fn check(self, state: &ApiState) -> Result<Checked, Problem> {
        let app = state.app(&self.app)?;
        let names = match (self.channel, self.channels) {
            (Some(one), None) => vec![one],
            (None, Some(many)) => many,
            (Some(_), Some(_)) => {
                let detail = "give either `channel` or `channels`, not both";
                return Err(Problem::invalid("invalid_request", detail));
            }
            (None, None) => {
                return Err(Problem::invalid("invalid_request", "give `channel`, or `channels` as a list"));
            }
        };
        let data = string(self.data.get()).map_or_else(|| self.data.get().to_owned(), Cow::into_owned);
        let mut trigger = Trigger::new(self.event, &names, data, &app.rules)?;
        trigger.except = self.socket_id.map(|id| id.parse::<SocketId>()).transpose()?;
        let idempotency_key = self.idempotency_key.map(checked_key).transpose()?;
        Ok(Checked::App { event: trigger.into_broadcast(app.credentials.id()), idempotency_key })
    }
}

/// `null` is no user: a message that was meant for one must not go to everyone.
fn user<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<UserId>, D::Error> {
    UserId::deserialize_bounded(deserializer).map(Some)
}

fn object(data: &str) -> Result<&str, Problem> {
    if data.starts_with('{') {
        Ok(data)
    } else {
        Err(Problem::invalid("invalid_data", "`data` must be a JSON object"))
    }
}

/// The object with the key that addresses it to a user. It is the last one, so that it counts.
fn with_target(data: &str, user: &UserId) -> Result<Bytes, Problem> {
    let inner = object(data)?.trim_end();
    let inner = inner.strip_suffix('}').unwrap_or(inner).trim_end();
    let comma = if inner.len() > 1 { "," } else { "" };
    match user.number() {
        Some(..=0) => Err(Problem::invalid("invalid_target", "`to` must be a positive number or a text")),
        _ => Ok(user.with_json(|id| format!("{inner}{comma}\"target_user_id\":{id}}}")).into()),
    }
}

fn checked_key(key: String) -> Result<String, Problem> {
    let is_valid = (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.chars().any(char::is_control);
    if is_valid {
        Ok(key)
    } else {
        let detail = "an idempotency key has 1 to 255 bytes and no control characters";
        Err(Problem::invalid("invalid_key", detail))
    }
}

/// With the length of the channel, no two channels have the same key.
fn native_key(channel: &ChannelName, key: &str) -> Arc<str> {
    let channel = channel.as_str();
    format!("api:{}:{channel}{key}", channel.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_the_last_key() {
        let target = |data: &str, user: &str| {
            let user = UserId::from_json(user).unwrap();
            with_target(data, &user).map(|data| String::from_utf8(data.to_vec()).unwrap())
        };
        assert_eq!(target(r#"{"a":1}"#, "7").unwrap(), r#"{"a":1,"target_user_id":7}"#);
        assert_eq!(target("{ }", "7").unwrap(), r#"{"target_user_id":7}"#);
        assert_eq!(target("{}", r#""山\"""#).unwrap(), r#"{"target_user_id":"山\""}"#);
        assert_eq!(
            target(r#"{"target_user_id":8}"#, "7").unwrap(),
            r#"{"target_user_id":8,"target_user_id":7}"#
        );
        for (data, user) in [("[]", "7"), ("{}", "0"), ("{}", "-7"), ("{}", "\"0\"")] {
            assert!(target(data, user).is_err(), "{data} {user}");
        }
    }

    #[test]
    fn keys_of_different_channels_differ() {
        let key = |channel: &str, key: &str| native_key(&ChannelName::new(channel).unwrap(), key);
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_eq!(key("a", "bc"), key("a", "bc"));
    }
}
