use std::time::Duration;

/// A token bucket of eight bytes: a burst at once, and a rate in the long run. It has no clock: `now` is always a monotonic time
/// in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenBucket {
    /// In thousandths of a token.
    thousandths: u32,
    /// The lower half of the time in milliseconds: it wraps every 49 days.
    refilled: u32,
}

/// How fast buckets fill, shared by all buckets of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    /// A rate with a burst of at least one. `None`: 0 per second means that there is no limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        (per_second > 0).then_some(Self { per_second, burst: burst.max(1) })
    }

    #[must_use]
    pub fn with_larger_burst(self, more: u32) -> Self {
        Self { burst: self.burst.saturating_add(more), ..self }
    }

    #[must_use]
    pub fn full_bucket(self, now: u64) -> TokenBucket {
        TokenBucket { thousandths: self.capacity(), refilled: wrap(now) }
    }

    /// A bucket holds four million tokens at most.
    fn capacity(self) -> u32 {
        self.burst.saturating_mul(1000)
    }
}

impl TokenBucket {
    /// The number of tokens in the bucket now.
    pub fn available(&mut self, rate: Rate, now: u64) -> u32 {
        let now = wrap(now);
        let elapsed = now.wrapping_sub(self.refilled);
        // More than half of all values means that the time went back.
        let elapsed = if elapsed > u32::MAX / 2 { 0 } else { elapsed };
        self.refilled = now;
        // One token per second is a thousandth of a token per millisecond.
        let gained = u64::from(elapsed) * u64::from(rate.per_second);
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.thousandths = self.thousandths.saturating_add(gained).min(rate.capacity());
        self.thousandths / 1000
    }

    /// Takes tokens that are [`available`](Self::available).
    pub fn spend(&mut self, count: u32) {
        self.thousandths = self.thousandths.saturating_sub(count.saturating_mul(1000));
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, rate: Rate, now: u64) -> bool {
        let taken = self.available(rate, now) > 0;
        if taken {
            self.spend(1);
        }
        taken
    }

    /// Whether nothing has been taken for so long that this bucket is like a new one.
    pub fn is_full(&mut self, rate: Rate, now: u64) -> bool {
        self.available(rate, now);
        self.thousandths >= rate.capacity()
    }

    /// How long to let an empty bucket fill: until it holds a token, and long enough that an endless flood is checked only
    /// twenty times a second.
    #[must_use]
    pub fn refill_time(self, rate: Rate) -> Duration {
        let wanted = rate.per_second.saturating_mul(50).clamp(1000, rate.capacity());
        let missing = wanted.saturating_sub(self.thousandths);
        Duration::from_millis(u64::from(missing.div_ceil(rate.per_second)).max(1))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is meant to wrap")]
fn wrap(now: u64) -> u32 {
    now as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(10, 3).unwrap();
        let mut bucket = rate.full_bucket(0);
        let mut take = |now| {
            let available = bucket.available(rate, now);
            bucket.spend(available.min(1));
            available
        };
        assert_eq!([0; 4].map(&mut take), [3, 2, 1, 0]);
        assert_eq!([99, 101, 102].map(&mut take), [0, 1, 0]);
        // A long silence fills the bucket, and no more than fills it.
        assert_eq!([1_000_000; 4].map(&mut take), [3, 2, 1, 0]);
    }

    #[test]
    fn tokens_are_exact_to_the_millisecond() {
        let rate = Rate::new(2, 2).unwrap();
        let mut bucket = rate.full_bucket(0);
        assert_eq!([0; 3].map(|now| bucket.take(rate, now)), [true, true, false]);
        assert!(!bucket.take(rate, 499));
        assert!(bucket.take(rate, 500));
        assert!(!bucket.take(rate, 501));
        assert_eq!([9_000_000; 3].map(|now| bucket.take(rate, now)), [true, true, false]);
    }

    #[test]
    fn a_clock_that_goes_back_adds_nothing_and_one_that_wraps_goes_on() {
        let rate = Rate::new(1, 1).unwrap();
        let mut bucket = rate.full_bucket(5000);
        assert_eq!([5000, 0, 999].map(|now| bucket.take(rate, now)), [true, false, false]);
        let last = u64::from(u32::MAX);
        let mut bucket = rate.full_bucket(last);
        assert_eq!([last, last + 999, last + 1000].map(|now| bucket.take(rate, now)), [true, false, true]);
    }

    #[test]
    fn an_empty_bucket_fills_until_it_is_worth_a_look() {
        for (rate, milliseconds) in [((100, 200), 50), ((1, 1), 1000), ((1_000_000, 1), 1)] {
            let rate = Rate::new(rate.0, rate.1).unwrap();
            let mut bucket = TokenBucket::default();
            assert_eq!(bucket.refill_time(rate), Duration::from_millis(milliseconds));
            assert!(bucket.available(rate, milliseconds) > 0);
        }
    }

    #[test]
    fn no_limit_is_no_rate_and_the_largest_rate_does_not_overflow() {
        assert_eq!(Rate::new(0, 5), None);
        let rate = Rate::new(u32::MAX, u32::MAX).unwrap().with_larger_burst(u32::MAX);
        let mut bucket = rate.full_bucket(0);
        assert_eq!(bucket.available(rate, 1_000_000), 4_294_967);
        bucket.spend(u32::MAX);
        assert_eq!(bucket.available(rate, 1_000_000), 0);
        assert!(bucket.available(rate, 1_000_001) > 0);
    }
}
