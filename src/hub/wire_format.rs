use crate::message::{Close, Closes, Encoding, Frame};

/// The hub's view of a connection's bytes. An endpoint declares one for each pair of protocol and transport.
#[derive(Debug)]
pub struct WireFormat {
    /// How the events for the connection are encoded.
    pub encoding: Encoding,
    /// What the protocol sends where the hub ends the connection.
    pub closes: &'static Closes,
    /// All closes with which a connection may end, in groups. A connection remembers the number of its close.
    pub all_closes: &'static [&'static [&'static Close]],
    /// The bytes by which the transport ends a connection.
    pub encode_close: fn(&Close) -> Frame,
}

/// The number of a close that is in no group.
const UNKNOWN: u8 = u8::MAX;

impl WireFormat {
    /// The number of a close, from 1.
    pub(super) fn close_number(&self, close: &Close) -> u8 {
        let position = self.all_closes().position(|known| known == close);
        debug_assert!(position.is_some(), "{close:?} is not in all_closes");
        position.and_then(|position| u8::try_from(position + 1).ok()).unwrap_or(UNKNOWN)
    }

    /// The close with a number; `None` for 0.
    pub(super) fn close(&self, number: u8) -> Option<&'static Close> {
        let index = usize::from(number).checked_sub(1)?;
        Some(self.all_closes().nth(index).unwrap_or(&self.closes.disconnected))
    }

    fn all_closes(&self) -> impl Iterator<Item = &'static Close> {
        self.all_closes.iter().copied().flatten().copied()
    }
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

    static ALL: [&Close; 5] = [
        &CLOSES.slow_consumer,
        &CLOSES.going_away,
        &CLOSES.restarting,
        &CLOSES.expired,
        &CLOSES.disconnected,
    ];

    static GROUPS: [&[&Close]; 1] = [&ALL];

    pub(crate) static FORMAT: WireFormat = format(0);

    pub(in crate::hub) const fn format(encoding: u8) -> WireFormat {
        WireFormat {
            encoding: Encoding::new(encoding),
            closes: &CLOSES,
            all_closes: &GROUPS,
            encode_close: Frame::close,
        }
    }

    #[test]
    fn a_close_is_found_by_its_number() {
        for close in ALL {
            let number = FORMAT.close_number(close);
            assert!(number > 0);
            assert_eq!(FORMAT.close(number), Some(close));
        }
        assert_eq!(FORMAT.close(0), None);
        assert_eq!(FORMAT.close(UNKNOWN), Some(&CLOSES.disconnected));
    }
}
