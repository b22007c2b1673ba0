use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::NodeId;
use super::stored_text::parse_stored;
use crate::message::json::{members, string};
use crate::message::{BeforeOutOfRange, ChannelName, Dispatch, Event, Sender, Signal, Stored, UserId};
use crate::trace_context::{TRACEPARENT, TraceContext};

/// The `type` of a message that has none.
const PLAIN_TYPE: &str = "message";

/// The contents of an envelope.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Decoded {
    pub(in crate::broker) dispatch: Dispatch,
    /// The message's number, if this node published it.
    pub(in crate::broker) seq: Option<u64>,
    pub(in crate::broker) stored: Option<Box<Stored>>,
    /// The plain message that was stored.
    pub(in crate::broker) plain: Option<PlainName>,
}

/// Names a plain message.
#[derive(Debug, Clone)]
pub(in crate::broker) struct PlainName {
    pub(in crate::broker) name: Box<str>,
    /// The node that has stored it.
    pub(in crate::broker) from: Option<NodeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(in crate::broker) enum EnvelopeError {
    #[error("not JSON")]
    Json,
    #[error("not a JSON object")]
    Envelope,
    #[error("`channel` is missing or not a channel name")]
    Channel,
    #[error("`data` is missing or not an object")]
    Data,
    #[error("`sender` is not {{name, id}}")]
    Sender,
    #[error("`type` is not a string")]
    Type,
    #[error("`disconnect` is not {{user, channel}}")]
    Disconnect,
    #[error(
        "`revoke` is not {{user}}, {{user, before}}, {{before}} or {{jti}}, with or without `until`, in Unix seconds"
    )]
    Revoke,
    #[error("`body` is missing")]
    Signal,
    #[error("`run` is not [message, …], or `stored` is missing")]
    Run,
}

/// A payload that cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct InvalidPayload {
    pub(in crate::broker) error: EnvelopeError,
    /// The channel it was for, if that could be read.
    pub(in crate::broker) channel: Option<ChannelName>,
}

impl From<EnvelopeError> for InvalidPayload {
    fn from(error: EnvelopeError) -> Self {
        Self { error, channel: None }
    }
}

impl EnvelopeError {
    /// The `reason` in the metric and the log.
    pub(in crate::broker) const fn reason(self) -> &'static str {
        match self {
            Self::Json => "invalid_json",
            Self::Envelope | Self::Run => "invalid_envelope",
            Self::Channel => "invalid_channel",
            Self::Data => "invalid_data",
            Self::Sender => "invalid_sender",
            Self::Type => "invalid_type",
            Self::Disconnect => "invalid_disconnect",
            Self::Revoke => "invalid_revoke",
            Self::Signal => "invalid_signal",
        }
    }
}

/// Decodes a payload of the events topic.
///
/// `data` is a slice of the payload, not a copy. As in `JSON.parse`, the last of duplicate keys wins. Laravel may also
/// publish the signals `{"disconnect":…}` and `{"revoke":…}` here, without a `channel`.
pub(in crate::broker) fn decode_event(
    payload: &Bytes,
    node: &NodeId,
    sender_default: &Sender,
) -> Result<Decoded, InvalidPayload> {
    let names = [
        "channel",
        "data",
        "sender",
        "type",
        "disconnect",
        "revoke",
        "node",
        "seq",
        "stored",
        "plain",
        TRACEPARENT,
    ];
    let [channel, data, sender, message_type, disconnect, revoke, from, seq, stored, plain, trace] =
        envelope_members(payload, names)?;
    if channel.is_none() && (disconnect.is_some() || revoke.is_some()) {
        let error = if disconnect.is_some() { EnvelopeError::Disconnect } else { EnvelopeError::Revoke };
        let signal = Signal::decode(payload).map_err(|_| error)?;
        if let Signal::Revoke { revocation, .. } = &signal {
            revocation.check().map_err(|BeforeOutOfRange| error)?;
        }
        return Ok(Decoded { dispatch: signal.into(), seq: None, stored: None, plain: None });
    }
    let channel = channel.and_then(string).ok_or(EnvelopeError::Channel)?;
    let channel = ChannelName::new(&channel).map_err(|_| EnvelopeError::Channel)?;
    let data = data.ok_or(EnvelopeError::Data).and_then(|data| object(payload, data));
    let sender = match sender {
        None | Some("null") => Ok(sender_default.clone()),
        Some(text) => decode_sender(text, sender_default),
    };
    match (data, sender, decode_type(message_type)) {
        (Ok(data), Ok(sender), Ok(message_type)) => Ok(Decoded {
            dispatch: Event::new(channel, sender, data)
                .with_type(message_type)
                .with_trace(trace.and_then(string).and_then(|trace| TraceContext::read_sampled(&trace)))
                .into(),
            seq: own_seq(node, from, seq),
            stored: stored.and_then(parse_stored),
            plain: plain.and_then(|name| plain_name(name, from)),
        }),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            Err(InvalidPayload { error, channel: Some(channel) })
        }
    }
}

/// Decodes a payload of the signals topic. `body` is a slice of the payload.
pub(in crate::broker) fn decode_signal(payload: &Bytes, node: &NodeId) -> Result<Decoded, InvalidPayload> {
    let [body, from, seq, stored, plain] =
        envelope_members(payload, ["body", "node", "seq", "stored", "plain"])?;
    let body = payload.slice_ref(body.ok_or(EnvelopeError::Signal)?.as_bytes());
    let stored = stored.and_then(parse_stored);
    let plain = plain.and_then(|name| plain_name(name, from));
    Ok(Decoded { dispatch: Dispatch::Signal(body), seq: own_seq(node, from, seq), stored, plain })
}

pub(super) fn envelope_members<'a, const N: usize>(
    payload: &'a [u8],
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], EnvelopeError> {
    let text = std::str::from_utf8(payload).map_err(|_| EnvelopeError::Json)?;
    members(text, names).map_err(
        |error| {
            if error.is_data() { EnvelopeError::Envelope } else { EnvelopeError::Json }
        },
    )
}

/// The message's number, if `node` published it.
fn own_seq(node: &NodeId, from: Option<&str>, seq: Option<&str>) -> Option<u64> {
    let is_own = from.is_some_and(|from| from.trim_matches('"') == node.0);
    seq.filter(|_| is_own).and_then(|seq| seq.parse().ok())
}

fn plain_name(name: &str, from: Option<&str>) -> Option<PlainName> {
    let from = from.map(|from| NodeId(from.trim_matches('"').to_owned()));
    Some(PlainName { name: string(name)?.into(), from })
}

fn object(payload: &Bytes, text: &str) -> Result<Bytes, EnvelopeError> {
    if text.starts_with('{') {
        return Ok(payload.slice_ref(text.as_bytes()));
    }
    // PHP encodes an empty array as `[]`, also where an object is meant.
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match inside {
        Some(inside) if inside.trim_ascii().is_empty() => Ok(Bytes::from_static(b"{}")),
        _ => Err(EnvelopeError::Data),
    }
}

/// Reads the `type` of a message. `None`: it is a plain one.
fn decode_type(text: Option<&str>) -> Result<Option<Arc<str>>, EnvelopeError> {
    let Some(text) = text.filter(|text| *text != "null") else { return Ok(None) };
    let message_type = string(text).ok_or(EnvelopeError::Type)?;
    Ok((message_type != PLAIN_TYPE).then(|| message_type.into()))
}

fn decode_sender(text: &str, sender_default: &Sender) -> Result<Sender, EnvelopeError> {
    let [name, id] = members(text, ["name", "id"]).map_err(|_| EnvelopeError::Sender)?;
    let name = name.and_then(string).ok_or(EnvelopeError::Sender)?;
    let id = id.and_then(|id| UserId::from_json(id).ok()).ok_or(EnvelopeError::Sender)?;
    // Sharing the default's name saves an allocation for each message that names it.
    let name = if *name == *sender_default.name { sender_default.name.clone() } else { name.into() };
    Ok(Sender { name, id })
}
