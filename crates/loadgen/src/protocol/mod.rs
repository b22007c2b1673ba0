mod native;
mod pusher;

use std::borrow::Cow;
use std::time::Duration;

use clap::ValueEnum;

pub(super) use self::native::{Native, broadcast};
pub(super) use self::pusher::{Pusher, api_event};
use super::deployment::Credentials;
use super::target::Upgraded;

/// The protocol of the connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Yamabiko's own protocol
    #[default]
    Native,
    /// The Pusher protocol of Laravel Echo: Yamabiko, Soketi, Reverb, Sockudo
    Pusher,
    /// No protocol: the server sends each text frame to all connections of the path; for comparisons with libraries
    Plain,
}

/// A protocol with the credentials that it needs.
pub(super) enum ProtocolClient {
    Native(Native),
    Pusher(Pusher),
    Plain,
}

/// The path and the token of a connection.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    /// Without the leading slash.
    pub(super) path: String,
    pub(super) token: Option<String>,
}

/// The state of a connection that is on its channel.
#[derive(Debug, Default)]
pub(super) struct ProtocolSession {
    /// Bytes received behind the last message of the handshake.
    pub(super) early: Vec<u8>,
    /// The client pings after a silence of this length.
    pub(super) ping_after: Option<Duration>,
}

/// A message of the server that is not a copy of a published one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerMessage<'a> {
    /// It accepted a message.
    Accepted,
    /// It refused a message, with this reason.
    Refused(Cow<'a, str>),
    /// It expects this reply.
    ReplyWith(&'static [u8]),
    /// Part of the protocol, and not counted.
    Ignored,
    /// Not part of the protocol.
    Unrecognized,
}

impl From<Credentials> for ProtocolClient {
    fn from(credentials: Credentials) -> Self {
        match credentials {
            Credentials::Tokens(mint) => Self::Native(Native(mint)),
            Credentials::App(app) => Self::Pusher(Pusher { app }),
            Credentials::None => Self::Plain,
        }
    }
}

impl ProtocolClient {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Native(_) => Protocol::Native,
            Self::Pusher(_) => Protocol::Pusher,
            Self::Plain => Protocol::Plain,
        }
    }

    /// The endpoint of the connection with this number.
    pub(super) fn endpoint(&self, connection: usize, channel: &str) -> Result<Endpoint, String> {
        match self {
            Self::Native(native) => native.endpoint(connection, channel),
            Self::Pusher(pusher) => Ok(pusher.endpoint()),
            Self::Plain => Ok(Endpoint { path: path_of(channel), token: None }),
        }
    }

    /// Puts a new connection on its channel. The error is short, so that failures can be counted by reason.
    pub(super) async fn open_session(
        &self,
        opened: &mut Upgraded,
        channel: &str,
    ) -> Result<ProtocolSession, String> {
        match self {
            Self::Pusher(pusher) => pusher.open_session(opened, channel).await,
            Self::Native(_) | Self::Plain => {
                Ok(ProtocolSession { early: std::mem::take(&mut opened.early), ping_after: None })
            }
        }
    }

    /// The message with which a client publishes this text.
    pub(super) fn message(&self, channel: &str, text: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Native(_) => native::message(&text),
            Self::Pusher(_) => pusher::client_event(channel, &text),
            Self::Plain => text,
        }
    }

    /// Classifies a message without a stamp.
    pub(super) fn classify<'a>(&self, message: &'a [u8]) -> ServerMessage<'a> {
        match self {
            Self::Native(_) => native::classify(message),
            Self::Pusher(_) => pusher::classify(message),
            Self::Plain => ServerMessage::Unrecognized,
        }
    }

    /// The message with which a client checks that the server is alive.
    pub(super) fn ping(&self) -> &'static [u8] {
        match self {
            Self::Pusher(_) => pusher::PING,
            Self::Native(_) | Self::Plain => b"",
        }
    }

    /// Whether the server acknowledges every message. Otherwise it reports at most those that it refuses.
    pub(super) fn acknowledges(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// Whether a client receives copies of its own messages.
    pub(super) fn echoes(&self) -> bool {
        !matches!(self, Self::Pusher(_))
    }
}

/// The channel as a path of a plain server.
fn path_of(channel: &str) -> String {
    percent_encoding::utf8_percent_encode(channel, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Writes the data of an event: an object with the text.
fn write_data(text: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(br#"{"message":""#);
    to.extend_from_slice(text);
    to.extend_from_slice(br#""}"#);
}

/// The text as a JSON string.
fn quoted(text: &str) -> String {
    // Serializing a string cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}
