//! What is said on a connection, in each of the protocols that the benchmark speaks.

mod native;
mod pusher;

use std::borrow::Cow;
use std::time::Duration;

use clap::ValueEnum;

pub(super) use self::native::{Native, broadcast};
pub(super) use self::pusher::{Pusher, api_event};
use super::deployment::Credentials;
use super::target::Opened;

/// Which of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Yamabiko's own
    #[default]
    Native,
    /// Laravel Echo's, as Yamabiko, Soketi, Reverb and Sockudo speak it
    Pusher,
    /// Each text frame goes to all on the same path, without tokens: for comparisons with libraries
    Plain,
}

/// One of them, with what it needs to say it.
pub(super) enum Speech {
    /// Yamabiko's own.
    Native(Native),
    /// Laravel Echo's.
    Pusher(Pusher),
    /// Text frames and nothing around them.
    Plain,
}

/// Where a connection goes.
#[derive(Debug, Default)]
pub(super) struct Address {
    /// Without its first slash.
    pub(super) path: String,
    pub(super) token: Option<String>,
}

/// What was agreed on when a connection was opened.
#[derive(Debug, Default)]
pub(super) struct Greeted {
    /// What came behind it already.
    pub(super) early: Vec<u8>,
    /// A client that has heard nothing for so long asks whether the server is there.
    pub(super) ask_after: Option<Duration>,
}

/// What the server says that is no copy of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// It took a message.
    Accepted,
    /// It did not take one, for this reason.
    Refused(Cow<'a, str>),
    /// It wants this answer.
    Asked(&'static [u8]),
    /// Nothing that is counted.
    Talk,
    /// It is not of this protocol.
    Foreign,
}

impl From<Credentials> for Speech {
    fn from(credentials: Credentials) -> Self {
        match credentials {
            Credentials::Tokens(mint) => Self::Native(Native(mint)),
            Credentials::App(app) => Self::Pusher(Pusher { app }),
            Credentials::None => Self::Plain,
        }
    }
}

impl Speech {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Native(_) => Protocol::Native,
            Self::Pusher(_) => Protocol::Pusher,
            Self::Plain => Protocol::Plain,
        }
    }

    /// Where the connection with this number goes, to be on that channel.
    pub(super) fn address(&self, connection: usize, channel: &str) -> Result<Address, String> {
        match self {
            Self::Native(native) => native.address(connection, channel),
            Self::Pusher(pusher) => Ok(pusher.address()),
            Self::Plain => Ok(Address { path: path_of(channel), token: None }),
        }
    }

    /// Does what has to be done before a new connection is on its channel, or says in a few words why it is not.
    pub(super) async fn greet(&self, opened: &mut Opened, channel: &str) -> Result<Greeted, String> {
        match self {
            Self::Pusher(pusher) => pusher.greet(opened, channel).await,
            Self::Native(_) | Self::Plain => {
                Ok(Greeted { early: std::mem::take(&mut opened.early), ask_after: None })
            }
        }
    }

    /// What a client sends to have this text delivered.
    pub(super) fn message(&self, channel: &str, text: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Native(_) => native::message(&text),
            Self::Pusher(_) => pusher::client_event(channel, &text),
            Self::Plain => text,
        }
    }

    /// Reads what is no copy of a message.
    pub(super) fn hear<'a>(&self, message: &'a [u8]) -> Heard<'a> {
        match self {
            Self::Native(_) => native::hear(message),
            Self::Pusher(_) => pusher::hear(message),
            Self::Plain => Heard::Foreign,
        }
    }

    /// What a client asks with whether the server is there.
    pub(super) fn question(&self) -> &'static [u8] {
        match self {
            Self::Pusher(_) => pusher::PING,
            Self::Native(_) | Self::Plain => b"",
        }
    }

    /// Whether the server says of each message whether it took it. Otherwise it says so at most of those it refuses.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// Whether a client gets a copy of what it said itself.
    pub(super) fn echoes(&self) -> bool {
        !matches!(self, Self::Pusher(_))
    }
}

/// A name of letters and digits, which the ones of the benchmark are, is a path as it stands.
fn path_of(channel: &str) -> String {
    percent_encoding::utf8_percent_encode(channel, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// An object with the text, as events of applications have it.
fn data(text: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(br#"{"message":""#);
    to.extend_from_slice(text);
    to.extend_from_slice(br#""}"#);
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    // A string can always be written.
    serde_json::to_string(text).unwrap_or_default()
}
