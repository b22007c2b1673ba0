//! The close codes of the Pusher protocol.
//!
//! The range of a code tells pusher-js what to do: 4000 to 4099 and everything above 4299 end the connection for good, 4100 to
//! 4199 reconnect after a second, 4200 to 4299 reconnect at once.

use crate::message::{Close, Closes, Reconnect};

/// The closes that the server triggers in every protocol.
pub static CLOSES: Closes = Closes {
    // Not one of Pusher's codes. pusher-js reconnects after codes below 4000 as it does after a lost connection.
    slow_consumer: Close {
        code: 1013,
        reason: "try again later",
        label: "slow_consumer",
        reconnect: Reconnect::AfterDelay,
    },
    going_away: close(4200, "reconnect", "going_away"),
    restarting: close(4100, "reconnect later", "going_away"),
    expired: close(4009, "unauthorized", "unauthorized"),
    disconnected: close(4009, "unauthorized", "unauthorized"),
};

pub static NO_SUCH_APP: Close = close(4001, "no such app", "no_such_app");
pub static INVALID_TOKEN: Close = close(4001, "invalid session token", "invalid_token");
pub static APP_DISABLED: Close = close(4003, "app disabled", "app_disabled");
pub static OVER_QUOTA: Close = close(4004, "over quota", "over_quota");
pub static PATH_NOT_FOUND: Close = close(4005, "path not found", "path_not_found");
pub static INVALID_VERSION: Close = close(4006, "invalid protocol version", "invalid_version");
pub static UNSUPPORTED_VERSION: Close = close(4007, "unsupported protocol version", "unsupported_version");
pub static NO_VERSION: Close = close(4008, "no protocol version", "no_version");
pub static UNAUTHORIZED: Close = close(4009, "unauthorized", "unauthorized");
pub static OVER_CAPACITY: Close = close(4100, "over capacity", "over_capacity");
/// A subscription of a session cannot be resumed now. An unmodified page does not subscribe again by itself, but reconnects.
pub static UNAVAILABLE: Close = close(4100, "unavailable, reconnect later", "unavailable");
/// The page has connected again, and this connection did not answer.
pub static SUPERSEDED: Close = close(4200, "superseded", "superseded");
pub static PONG_TIMEOUT: Close = close(4201, "pong timeout", "heartbeat_timeout");

pub static ALL: [&Close; 17] = [
    &CLOSES.slow_consumer,
    &CLOSES.going_away,
    &CLOSES.restarting,
    &CLOSES.expired,
    &NO_SUCH_APP,
    &INVALID_TOKEN,
    &APP_DISABLED,
    &OVER_QUOTA,
    &PATH_NOT_FOUND,
    &INVALID_VERSION,
    &UNSUPPORTED_VERSION,
    &NO_VERSION,
    &UNAUTHORIZED,
    &OVER_CAPACITY,
    &UNAVAILABLE,
    &SUPERSEDED,
    &PONG_TIMEOUT,
];

const fn close(code: u16, reason: &'static str, label: &'static str) -> Close {
    let reconnect = match code {
        4100..=4199 => Reconnect::AfterDelay,
        4200..=4299 => Reconnect::AtOnce,
        _ => Reconnect::Never,
    };
    Close { code, reason, label, reconnect }
}
