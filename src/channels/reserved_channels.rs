//! Channels for internal use. Their names have a scope, so that no client can subscribe to them.

use std::sync::LazyLock;

use crate::message::{ChannelName, UserId};

/// Its members are the users that are signed in.
pub(super) static USERS: LazyLock<ChannelName> = LazyLock::new(|| ChannelName::scoped("#", "users"));

/// Its count is that of all connections.
pub(super) static CONNECTIONS: LazyLock<ChannelName> =
    LazyLock::new(|| ChannelName::scoped("#", "connections"));

/// The channel of this node whose subscribers watch a user.
pub(super) fn watched(app: &str, user: &UserId) -> ChannelName {
    ChannelName::scoped(app, &format!("#watched-{}", user.to_text()))
}

/// A name as another node wrote it.
pub(super) fn read(text: &str) -> Option<ChannelName> {
    let own = [&*USERS, &*CONNECTIONS].into_iter().find(|name| name.as_str() == text);
    own.cloned().or_else(|| ChannelName::new(text).ok())
}
