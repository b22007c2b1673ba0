use std::borrow::Cow;
use std::sync::Arc;

use super::{HttpError, Route};
use crate::message::json::{members_not_null, string};
use crate::message::{Broadcast, SocketId, UserId};
use crate::protocol::pusher::laravel::is_reserved;
use crate::protocol::pusher::{Channel, PusherSettings};

/// How many messages of a history are returned.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Maximum bytes of an idempotency key.
const MAX_KEY: usize = 255;
const INVALID_KEY: &str = "an idempotency key has 1 to 255 bytes and no control characters";

/// A validated request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Publishes an event.
    Trigger(Trigger),
    /// Publishes events, each to one channel.
    Batch(Vec<Trigger>),
    /// Lists the channels that have a subscriber.
    Channels {
        /// Only channels with this prefix are listed. Empty: all.
        prefix: String,
        info: Info,
    },
    /// Queries one channel.
    Channel { channel: Channel, info: Info },
    /// Lists the members of a presence channel.
    Users { channel: Channel },
    /// Reads from the history of a channel.
    History {
        channel: Channel,
        /// The position after which to start. Not checked.
        since: Option<String>,
        limit: usize,
    },
    /// Closes all connections that are signed in as this user.
    Terminate { user: UserId },
    /// Returns the number of connections.
    Connections,
}

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub event: String,
    /// Without duplicates.
    pub channels: Vec<Channel>,
    /// The `data` that the subscribers receive.
    pub data: String,
    /// The connection that does not receive the event.
    pub except: Option<SocketId>,
    /// The attributes of the channels to return in the response.
    pub info: Info,
    /// An event with a key that was used before is not published again.
    pub idempotency_key: Option<String>,
}

/// The attributes of a channel that the caller requests with `info`.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent item of the list")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// The number of members of a presence channel.
    pub user_count: bool,
    /// The number of connections.
    pub subscription_count: bool,
    /// The position of a channel with a history.
    pub position: bool,
    /// The last event of a cache channel. Only the query of a single channel allows it.
    pub cache: bool,
}

impl Trigger {
    /// An event for these channels, which may have duplicates.
    pub fn new(
        event: String,
        names: &[impl AsRef<str>],
        data: String,
        rules: &PusherSettings,
    ) -> Result<Self, HttpError> {
        check_name(&event, rules)?;
        if names.is_empty() {
            return Err(HttpError::invalid("channels must name one channel at least"));
        }
        if names.len() > rules.max_channels_per_event {
            let message =
                format!("an event goes to at most {} channels; send several", rules.max_channels_per_event);
            return Err(HttpError::invalid(message));
        }
        let mut channels: Vec<Channel> = Vec::with_capacity(names.len());
        for name in names {
            let channel = channel(name.as_ref(), rules)?;
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        if data.len() > rules.event_bytes {
            let message =
                format!("data has {} bytes; an event has at most {}", data.len(), rules.event_bytes);
            return Err(HttpError::too_large(message));
        }
        Ok(Self { event, channels, data, except: None, info: Info::default(), idempotency_key: None })
    }

    /// Converts the event for all nodes of the cluster.
    #[must_use]
    pub fn into_broadcast(self, app: &Arc<str>) -> Broadcast {
        Broadcast {
            app: app.clone(),
            channels: self.channels.into_iter().map(|channel| channel.name().clone()).collect(),
            event: self.event,
            data: self.data,
            except: self.except,
            user_id: None,
            trace: None,
        }
    }
}

impl Info {
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn parse(list: &str) -> Result<Self, HttpError> {
        let info = Self::parse_for_channel(list)?;
        if info.cache {
            let message =
                "info=cache is available for one channel at a time: GET channels/{channel}?info=cache";
            return Err(HttpError::bad_request(message));
        }
        Ok(info)
    }

    fn parse_for_channel(list: &str) -> Result<Self, HttpError> {
        let mut info = Self::default();
        for attribute in list.split(',').map(str::trim).filter(|attribute| !attribute.is_empty()) {
            match attribute {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "position" => info.position = true,
                "cache" => info.cache = true,
                _ => {
                    let message = "info is a list, separated by commas, of user_count, subscription_count, position and \
                                   cache";
                    return Err(HttpError::bad_request(message));
                }
            }
        }
        Ok(info)
    }
}

/// The maximum size of a body within the limits. JSON takes at most six bytes for one byte of an event.
#[must_use]
pub fn max_body_bytes(rules: &PusherSettings) -> usize {
    let texts = rules.event_bytes.saturating_add(rules.event_name_length).saturating_mul(6);
    let events = rules.max_batch_events.saturating_mul(texts.saturating_add(4096));
    let channels = rules.max_channels_per_event.saturating_mul(rules.channel_name_length.saturating_add(4));
    events.saturating_add(channels)
}

/// Parses and validates an authorized request. `query` is the query of the request line, still encoded; `idempotency_key` is the
/// value of the header.
pub fn parse(
    route: &Route<'_>,
    query: &str,
    idempotency_key: Option<&[u8]>,
    body: &[u8],
    rules: &PusherSettings,
) -> Result<Command, HttpError> {
    match route {
        Route::Events => {
            let mut trigger = trigger(text(body)?, rules, true)?;
            if trigger.idempotency_key.is_none() {
                trigger.idempotency_key = idempotency_key.map(header_key).transpose()?;
            }
            Ok(Command::Trigger(trigger))
        }
        Route::BatchEvents => {
            let mut triggers = batch(text(body)?, rules)?;
            if let Some(key) = idempotency_key.map(header_key).transpose()? {
                for (index, trigger) in triggers.iter_mut().enumerate() {
                    trigger.idempotency_key.get_or_insert_with(|| format!("{key}#{index}"));
                }
            }
            Ok(Command::Batch(triggers))
        }
        Route::Channels => {
            let prefix = parameter(query, "filter_by_prefix").unwrap_or_default().into_owned();
            let info = Info::parse(&info(query))?;
            if info.user_count && !prefix.starts_with("presence-") {
                let message =
                    "user_count is for presence channels: set filter_by_prefix to presence- or longer";
                return Err(HttpError::bad_request(message));
            }
            Ok(Command::Channels { prefix, info })
        }
        Route::Channel(name) => {
            let (channel, info) = (channel(name, rules)?, Info::parse_for_channel(&info(query))?);
            if info.user_count && !channel.is_presence() {
                return Err(HttpError::bad_request("user_count is for presence channels only"));
            }
            if info.position && !rules.has_history(channel.name()) {
                return Err(HttpError::bad_request(no_history(&channel)));
            }
            if info.cache && !channel.is_cache() {
                return Err(HttpError::bad_request("cache is for cache channels only"));
            }
            Ok(Command::Channel { channel, info })
        }
        Route::Users(name) => {
            let channel = channel(name, rules)?;
            if !channel.is_presence() {
                return Err(HttpError::bad_request("only presence channels have users"));
            }
            Ok(Command::Users { channel })
        }
        Route::History(name) => {
            let channel = channel(name, rules)?;
            if !rules.has_history(channel.name()) {
                return Err(HttpError::new(404, "no_history", no_history(&channel)));
            }
            let since = parameter(query, "since").filter(|since| !since.is_empty()).map(Cow::into_owned);
            Ok(Command::History { channel, since, limit: limit(query)? })
        }
        Route::Terminate(id) if id.is_empty() => Err(HttpError::invalid("the user's id is empty")),
        Route::Terminate(id) => Ok(Command::Terminate { user: UserId::new(id) }),
        Route::Connections => Ok(Command::Connections),
    }
}

fn batch(body: &str, rules: &PusherSettings) -> Result<Vec<Trigger>, HttpError> {
    let [list] = object(body, ["batch"])?;
    let events: Option<Vec<&serde_json::value::RawValue>> =
        list.and_then(|list| serde_json::from_str(list).ok());
    let events = events.ok_or_else(|| HttpError::invalid("batch must be a list of events"))?;
    if events.len() > rules.max_batch_events {
        let message = format!("a batch has at most {} events; send several", rules.max_batch_events);
        return Err(HttpError::invalid(message));
    }
    let read = |(index, event): (usize, &&serde_json::value::RawValue)| {
        trigger(event.get(), rules, false).map_err(|error| HttpError {
            message: format!("event {index} of the batch: {}", error.message).into(),
            ..error
        })
    };
    events.iter().enumerate().map(read).collect()
}

fn trigger(text: &str, rules: &PusherSettings, allow_channels: bool) -> Result<Trigger, HttpError> {
    let [name, one, many, data, socket_id, info, key] =
        object(text, ["name", "channel", "channels", "data", "socket_id", "info", "idempotency_key"])?;
    let event =
        name.and_then(string).ok_or_else(|| HttpError::invalid("name must be the event's name, a text"))?;
    let names: Vec<Cow<'_, str>> = match (one, many.filter(|_| allow_channels)) {
        (Some(_), Some(_)) => return Err(HttpError::invalid("give either channel or channels, not both")),
        (Some(one), None) => vec![string(one).ok_or_else(|| HttpError::invalid("channel must be a text"))?],
        (None, Some(many)) => {
            let texts = serde_json::from_str::<Vec<String>>(many);
            let texts = texts.map_err(|_| HttpError::invalid("channels must be a list of texts"))?;
            texts.into_iter().map(Cow::Owned).collect()
        }
        (None, None) if allow_channels => {
            return Err(HttpError::invalid("give channel, or channels as a list"));
        }
        (None, None) => return Err(HttpError::invalid("give its channel")),
    };
    let data = data.and_then(string).ok_or_else(|| {
        HttpError::invalid("data must be a text: encode it as JSON before it goes into the body")
    })?;
    let trigger = Trigger::new(event.into_owned(), &names, data.into_owned(), rules)?;
    let except = match socket_id {
        None => None,
        Some(value) => {
            let socket = string(value).and_then(|text| text.parse().ok());
            Some(socket.ok_or_else(|| {
                HttpError::invalid("socket_id must be a socket id of this server, such as \"1234.5678\"; leave it out to reach everybody")
            })?)
        }
    };
    let info = match info {
        None => Info::default(),
        Some(value) => {
            Info::parse(&string(value).ok_or_else(|| HttpError::bad_request("info must be a text"))?)?
        }
    };
    let idempotency_key = match key {
        None => None,
        Some(value) => {
            let key = string(value).ok_or_else(|| HttpError::invalid("idempotency_key must be a text"))?;
            Some(checked_key(&key)?)
        }
    };
    Ok(Trigger { except, info, idempotency_key, ..trigger })
}

/// The key in the header, which may be in quotation marks.
fn header_key(value: &[u8]) -> Result<String, HttpError> {
    let text = std::str::from_utf8(value).map_err(|_| HttpError::invalid(INVALID_KEY))?;
    checked_key(text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text))
}

fn checked_key(key: &str) -> Result<String, HttpError> {
    let is_valid = (1..=MAX_KEY).contains(&key.len()) && !key.chars().any(char::is_control);
    if is_valid { Ok(key.to_owned()) } else { Err(HttpError::invalid(INVALID_KEY)) }
}

fn no_history(channel: &Channel) -> String {
    format!(
        "{channel} has no history: add it to the channels of [[pusher.history]] or [[apps.history]] in the settings"
    )
}

fn limit(query: &str) -> Result<usize, HttpError> {
    let Some(text) = parameter(query, "limit") else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| HttpError::bad_request(format!("limit must be a number from 1 to {MAX_LIMIT}")))
}

fn check_name(event: &str, rules: &PusherSettings) -> Result<(), HttpError> {
    if event.is_empty() {
        return Err(HttpError::invalid("the name of an event must not be empty"));
    }
    let length = rules.event_name_length;
    if event.chars().count() > length {
        return Err(HttpError::invalid(format!("the name of an event has at most {length} characters")));
    }
    // Clients would treat the event as a message of the server.
    if is_reserved(event) {
        return Err(HttpError::invalid(
            "names that start with pusher: or pusher_internal: are the protocol's own",
        ));
    }
    Ok(())
}

fn channel(name: &str, rules: &PusherSettings) -> Result<Channel, HttpError> {
    Channel::new(name, rules.channel_name_length).map_err(|error| {
        let shown: String = name.chars().take(60).collect();
        HttpError::invalid(format!("{shown:?} is no channel: {error}"))
    })
}

fn text(body: &[u8]) -> Result<&str, HttpError> {
    std::str::from_utf8(body).map_err(|_| HttpError::bad_request("the body is not UTF-8"))
}

fn object<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], HttpError> {
    members_not_null(text, names).map_err(|_| HttpError::bad_request("the body is not a JSON object"))
}

fn info(query: &str) -> Cow<'_, str> {
    parameter(query, "info").unwrap_or_default()
}

/// Finds a parameter of the query. Names are case-insensitive, because the signature covers their lower-case form.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
