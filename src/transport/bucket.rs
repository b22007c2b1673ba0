use std::time::{Duration, Instant};

use super::Limits;

/// A token bucket of eight bytes: so many at once, so many a second in the long run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    tokens: f32,
    /// Milliseconds between the origin and the last refill.
    refilled: u32,
}

/// What buckets are filled by, shared by all connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    origin: Instant,
    per_millisecond: f32,
    burst: f32,
}

impl Rate {
    /// The rate of `[limits]`; `None` where there is no limit.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact beyond 16 million")]
        let (per_second, burst) = (limits.messages_per_second as f32, limits.burst.max(1) as f32);
        (per_second > 0.0).then(|| Self {
            origin: Instant::now(),
            per_millisecond: per_second / 1000.0,
            burst,
        })
    }

    /// The same rate with so many more messages at once.
    #[allow(clippy::cast_precision_loss, reason = "it need not be exact")]
    pub(super) fn with_larger_burst(self, more: u32) -> Self {
        Self { burst: self.burst + more as f32, ..self }
    }

    /// A full bucket.
    pub(super) fn bucket(&self) -> Bucket {
        Bucket { tokens: self.burst, refilled: self.milliseconds() }
    }

    /// How many messages the bucket has now.
    pub(super) fn available(&self, bucket: &mut Bucket) -> u32 {
        self.available_at(bucket, self.milliseconds())
    }

    /// Takes messages out of the bucket that [`available`](Self::available) has said are there.
    #[allow(clippy::cast_precision_loss, reason = "a turn takes few")]
    pub(super) fn spend(bucket: &mut Bucket, count: u32) {
        bucket.tokens = (bucket.tokens - count as f32).max(0.0);
    }

    /// How long an empty bucket is left to fill: long enough that an endless flood is looked at only twenty times a
    /// second, and until it holds a message in any case.
    pub(super) fn refill_time(&self, bucket: Bucket) -> Duration {
        let enough = (self.per_millisecond * 50.0).clamp(1.0, self.burst);
        let milliseconds = (enough - bucket.tokens).max(0.0) / self.per_millisecond;
        Duration::from_millis(1).max(Duration::from_secs_f32(milliseconds / 1000.0))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the burst")]
    fn available_at(&self, bucket: &mut Bucket, now: u32) -> u32 {
        // Wraps every 49 days, where a bucket may be filled once too often.
        #[allow(clippy::cast_precision_loss, reason = "a bucket is full long before that")]
        let elapsed = now.wrapping_sub(bucket.refilled) as f32;
        bucket.tokens = (bucket.tokens + elapsed * self.per_millisecond).min(self.burst);
        bucket.refilled = now;
        bucket.tokens as u32
    }

    #[allow(clippy::cast_possible_truncation, reason = "it wraps, see above")]
    fn milliseconds(&self) -> u32 {
        self.origin.elapsed().as_millis() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { origin: Instant::now(), per_millisecond: 0.01, burst: 3.0 };
        let mut bucket = Bucket { tokens: 3.0, refilled: 0 };
        let mut take = |now| {
            let available = rate.available_at(&mut bucket, now);
            Rate::spend(&mut bucket, available.min(1));
            available
        };
        assert_eq!([0; 4].map(&mut take), [3, 2, 1, 0]);
        assert_eq!([99, 101, 102].map(&mut take), [0, 1, 0]);
        // A long silence fills the bucket, and no more than fills it.
        assert_eq!([1_000_000; 4].map(&mut take), [3, 2, 1, 0]);
    }

    #[test]
    fn an_empty_bucket_fills_until_it_is_worth_a_look() {
        let origin = Instant::now();
        let fast = Rate { origin, per_millisecond: 0.1, burst: 200.0 };
        let slow = Rate { origin, per_millisecond: 0.001, burst: 1.0 };
        for (rate, milliseconds) in [(fast, 50), (slow, 1000)] {
            let mut bucket = Bucket::default();
            let time = rate.refill_time(bucket);
            assert!(
                time.abs_diff(Duration::from_millis(milliseconds)) < Duration::from_millis(1),
                "{time:?}"
            );
            assert!(rate.available_at(&mut bucket, u32::try_from(milliseconds).unwrap() + 1) > 0);
        }
    }
}
