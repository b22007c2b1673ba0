use crate::message::{Close, Closes, Encoding, Frame};

/// The hub's view of a connection's bytes. An endpoint declares one for each pair of protocol and transport.
#[derive(Debug)]
pub struct WireFormat {
    /// How the events for the connection are encoded.
    pub encoding: Encoding,
    /// What the protocol sends where the hub ends the connection.
    pub closes: &'static Closes,
    /// The bytes by which the transport ends a connection.
    pub encode_close: fn(&Close) -> Frame,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::message::Reconnect;

    const fn close(code: u16, reason: &'static str) -> Close {
        Close { code, reason, label: reason, reconnect: Reconnect::Never }
    }

    /// The closes of no protocol in particular.
    pub(in crate::hub) static CLOSES: Closes = Closes {
        slow_consumer: close(1013, "slow"),
        going_away: close(1001, "away"),
        restarting: close(1001, "restarting"),
        expired: close(4401, "expired"),
        disconnected: close(4403, "disconnected"),
    };

    pub(in crate::hub) static FORMAT: WireFormat = format(0);

    pub(in crate::hub) const fn format(encoding: u8) -> WireFormat {
        WireFormat { encoding: Encoding::new(encoding), closes: &CLOSES, encode_close: Frame::close }
    }
}
