use std::fmt;

use thiserror::Error;

use crate::message::{ChannelKind, ChannelName};

/// A channel of the Pusher protocol: its name, whose prefix determines its properties. They are not kept, because a connection has one
/// of these for each subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Channel(ChannelName);

/// The access control of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// No authorization.
    Public,
    /// `private-`: a subscriber needs a signature of the application.
    Private,
    /// `presence-`: as private; in addition, subscribers see the members.
    Presence,
    /// `private-encrypted-`: as private, with data that the server cannot read.
    Encrypted,
    /// `#server-to-user-<id>`: only connections that are signed in as this user may subscribe.
    User,
}

/// Why a channel name is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidChannel {
    #[error("a channel name must not be empty")]
    Empty,
    /// Contains the limit.
    #[error("a channel name has at most {0} characters")]
    TooLong(usize),
    /// The name has a character that Pusher's client libraries reject.
    #[error("a channel name has letters, digits and - _ = @ , . ; only")]
    Character,
    /// The name starts with `#` and is not the channel of a user.
    #[error("channels that start with # are reserved; the only one to join is #server-to-user-<id>")]
    Reserved,
}

const USER: &str = "#server-to-user-";

impl Channel {
    /// Validates a name of at most `max_length` characters against `^#?[-a-zA-Z0-9_=@,.;]+$`. Laravel's Pusher library throws
    /// on any other name.
    pub fn new(name: &str, max_length: usize) -> Result<Self, InvalidChannel> {
        check(name, max_length)?;
        ChannelName::new(name).map(Self).map_err(|_| InvalidChannel::Character)
    }

    /// The name including its prefix.
    #[must_use]
    pub fn name(&self) -> &ChannelName {
        &self.0
    }

    #[must_use]
    pub fn access(&self) -> Access {
        self.properties().0
    }

    fn properties(&self) -> (Access, bool) {
        kind(self.0.as_str()).unwrap_or((Access::Public, false))
    }

    /// Replaces the name with an equal one, so that all subscribers share one allocation.
    pub(super) fn share(&mut self, name: &ChannelName) {
        if self.0 == *name {
            self.0 = name.clone();
        }
    }

    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.access() == Access::Presence
    }

    /// Whether a new subscriber receives the last event of the channel.
    #[must_use]
    pub fn is_cache(&self) -> bool {
        self.properties().1
    }

    /// Whether subscribers may publish client events, provided that the app enables them.
    #[must_use]
    pub fn allows_client_events(&self) -> bool {
        matches!(self.access(), Access::Private | Access::Presence)
    }

    /// The user of a `#server-to-user-<id>` channel.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.0.as_str().strip_prefix(USER)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The properties of a channel that the engine uses. An invalid name counts as a public channel.
pub(super) fn channel_kind(name: &str) -> ChannelKind {
    let (access, is_cache) = check(name, ChannelName::MAX_BYTES).unwrap_or((Access::Public, false));
    ChannelKind {
        is_presence: access == Access::Presence,
        is_cache,
        is_guarded: access != Access::Public,
        is_listed: !name.starts_with('#'),
    }
}

fn check(name: &str, max_length: usize) -> Result<(Access, bool), InvalidChannel> {
    if name.is_empty() {
        return Err(InvalidChannel::Empty);
    }
    let max_length = max_length.min(ChannelName::MAX_BYTES);
    let rest = name.strip_prefix('#').unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=@,.;".contains(&byte);
    if rest.is_empty() || !rest.bytes().all(allowed) {
        return Err(InvalidChannel::Character);
    }
    if name.len() > max_length {
        return Err(InvalidChannel::TooLong(max_length));
    }
    kind(name).ok_or(InvalidChannel::Reserved)
}

fn kind(name: &str) -> Option<(Access, bool)> {
    if name.starts_with('#') {
        return name.strip_prefix(USER).filter(|id| !id.is_empty()).map(|_| (Access::User, false));
    }
    let (access, rest) = if let Some(rest) = name.strip_prefix("private-encrypted-") {
        (Access::Encrypted, rest)
    } else if let Some(rest) = name.strip_prefix("private-") {
        (Access::Private, rest)
    } else if let Some(rest) = name.strip_prefix("presence-") {
        (Access::Presence, rest)
    } else {
        (Access::Public, name)
    };
    Some((access, rest.starts_with("cache-")))
}

/// Whether the data of a channel's events is encrypted.
pub(super) fn is_encrypted(name: &str) -> bool {
    name.starts_with("private-encrypted-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> (Access, bool) {
        let channel = Channel::new(name, 200).unwrap();
        (channel.access(), channel.is_cache())
    }

    #[test]
    fn the_prefix_determines_access_and_caching() {
        for (name, access, cache) in [
            ("a", Access::Public, false),
            ("private", Access::Public, false),
            ("Private-a", Access::Public, false),
            ("my-private-a", Access::Public, false),
            ("cache-a", Access::Public, true),
            ("cache", Access::Public, false),
            ("private-Chat.1", Access::Private, false),
            ("private-", Access::Private, false),
            ("private-cache-a", Access::Private, true),
            ("private-encrypted-a", Access::Encrypted, false),
            ("private-encrypted", Access::Private, false),
            ("private-encrypted-cache-a", Access::Encrypted, true),
            ("presence-a", Access::Presence, false),
            ("presence-cache-a", Access::Presence, true),
            ("presence-encrypted-a", Access::Presence, false),
            ("#server-to-user-7", Access::User, false),
        ] {
            assert_eq!(of(name), (access, cache), "{name}");
        }
    }

    #[test]
    fn access_determines_presence_and_client_events() {
        let may = |name: &str| {
            let channel = Channel::new(name, 200).unwrap();
            (channel.is_presence(), channel.allows_client_events())
        };
        assert_eq!(may("a"), (false, false));
        assert_eq!(may("private-a"), (false, true));
        assert_eq!(may("private-encrypted-a"), (false, false));
        assert_eq!(may("presence-a"), (true, true));
        assert_eq!(may("#server-to-user-a"), (false, false));
        assert_eq!(Channel::new("#server-to-user-a", 200).unwrap().user_id(), Some("a"));
        assert_eq!(Channel::new("private-a", 200).unwrap().user_id(), None);
    }

    #[test]
    fn channel_names_are_validated() {
        let all = "abcXYZ019-_=@,.;";
        assert_eq!(Channel::new(all, 200).unwrap().name().as_str(), all);
        for name in ["a b", "a/b", "a:b", "山", "a#b", "##a", "#", "a\n", "a\0"] {
            assert_eq!(Channel::new(name, 200), Err(InvalidChannel::Character), "{name}");
        }
        for name in ["#a", "#server-to-user-", "#private-a"] {
            assert_eq!(Channel::new(name, 200), Err(InvalidChannel::Reserved), "{name}");
        }
        assert_eq!(Channel::new("", 200), Err(InvalidChannel::Empty));
        assert!(Channel::new(&"a".repeat(200), 200).is_ok());
        assert_eq!(Channel::new(&"a".repeat(201), 900), Err(InvalidChannel::TooLong(200)));
        assert_eq!(Channel::new("abc", 2), Err(InvalidChannel::TooLong(2)));
    }
}
