/// How many client events a connection may still send: so many a second, and as many at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// Thousandths of an event.
    left: u64,
    /// When it was last filled, in milliseconds.
    filled: u64,
}

impl Allowance {
    pub(super) fn full(per_second: u32, now: u64) -> Self {
        Self { left: u64::from(per_second) * 1000, filled: now }
    }

    /// When it was last filled: when it was made, as long as nothing has been taken.
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// Takes one event, if it is there. `per_second` 0 has no limit.
    pub(super) fn take(&mut self, per_second: u32, now: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        let per_second = u64::from(per_second);
        // An event a second is a thousandth of one a millisecond.
        let gained = now.saturating_sub(self.filled).saturating_mul(per_second);
        self.left = self.left.saturating_add(gained).min(per_second * 1000);
        self.filled = self.filled.max(now);
        match self.left.checked_sub(1000) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_so_many_a_second() {
        let mut allowance = Allowance::full(2, 0);
        assert_eq!([0; 3].map(|now| allowance.take(2, now)), [true, true, false]);
        assert!(!allowance.take(2, 499));
        assert!(allowance.take(2, 500));
        assert!(!allowance.take(2, 501));
        assert_eq!([9_000_000; 3].map(|now| allowance.take(2, now)), [true, true, false]);
        assert!(!allowance.take(2, 0), "a clock that goes back gives nothing");
        assert!((0..1000).all(|_| allowance.take(0, 0)));
    }
}
