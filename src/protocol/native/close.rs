//! The close codes of the native protocol. `docs/native.md` lists them, together with those of the transport.

use crate::message::{Close, Closes, Reconnect};

/// The closes that the server triggers in every protocol.
pub static CLOSES: Closes = Closes {
    slow_consumer: try_again_later("slow_consumer"),
    going_away: going_away(Reconnect::AtOnce),
    restarting: going_away(Reconnect::AfterDelay),
    expired: Close {
        code: 4401,
        reason: "token expired",
        label: "token_expired",
        reconnect: Reconnect::WithNewToken,
    },
    disconnected: Close {
        code: 4403,
        reason: "disconnected",
        label: "disconnected",
        reconnect: Reconnect::Never,
    },
};

/// The application has revoked the token.
pub static REVOKED: Close =
    Close { code: 4401, reason: "token revoked", label: "token_revoked", reconnect: Reconnect::WithNewToken };

/// The node has as many connections as it may have.
pub static OVER_CAPACITY: Close = try_again_later("over_capacity");

/// The broker does not accept the connection on a channel whose clients see each other.
pub static UNAVAILABLE: Close = try_again_later("unavailable");

pub static ALL: [&Close; 8] = [
    &CLOSES.slow_consumer,
    &CLOSES.going_away,
    &CLOSES.restarting,
    &CLOSES.expired,
    &CLOSES.disconnected,
    &REVOKED,
    &OVER_CAPACITY,
    &UNAVAILABLE,
];

const fn going_away(reconnect: Reconnect) -> Close {
    Close { code: 1001, reason: "going away", label: "going_away", reconnect }
}

const fn try_again_later(label: &'static str) -> Close {
    Close { code: 1013, reason: "try again later", label, reconnect: Reconnect::AfterDelay }
}
