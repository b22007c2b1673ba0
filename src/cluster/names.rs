//! Channels that only nodes use: no client can reach a name with a scope.

use std::sync::LazyLock;

use crate::message::{ChannelName, UserId};

/// Its members are the users that are signed in.
pub(super) static USERS: LazyLock<ChannelName> = LazyLock::new(|| ChannelName::scoped("#", "users"));

/// Its count is that of all connections.
pub(super) static CONNECTIONS: LazyLock<ChannelName> =
    LazyLock::new(|| ChannelName::scoped("#", "connections"));

/// How the topics begin that a node listens to even if nobody is subscribed: who comes later is to get the last event.
///
/// Encrypted channels are not among them, for Laravel's `redis` broadcaster does not encrypt.
pub(super) const CACHES: [&str; 3] = ["cache-", "private-cache-", "presence-cache-"];

/// Where those are on this node who watch a user.
pub(super) fn watched(app: &str, user: &UserId) -> ChannelName {
    ChannelName::scoped(app, &format!("#watched-{}", user.to_text()))
}

/// A name as another node wrote it.
pub(super) fn read(text: &str) -> Option<ChannelName> {
    let own = [&*USERS, &*CONNECTIONS].into_iter().find(|name| name.as_str() == text);
    own.cloned().or_else(|| ChannelName::new(text).ok())
}

/// Whether applications hear of a channel unasked.
pub(super) fn is_told(name: &ChannelName) -> bool {
    !name.as_str().starts_with('#')
}
