use std::time::Instant;

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

    /// A full bucket.
    pub(super) fn bucket(&self) -> Bucket {
        Bucket { tokens: self.burst, refilled: self.milliseconds() }
    }

    /// Takes one message out of the bucket, if it has one.
    pub(super) fn take(&self, bucket: &mut Bucket) -> bool {
        self.take_at(bucket, self.milliseconds())
    }

    fn take_at(&self, bucket: &mut Bucket, now: u32) -> bool {
        // Wraps every 49 days, where a bucket may be filled once too often.
        #[allow(clippy::cast_precision_loss, reason = "a bucket is full long before that")]
        let elapsed = now.wrapping_sub(bucket.refilled) as f32;
        bucket.tokens = (bucket.tokens + elapsed * self.per_millisecond).min(self.burst);
        bucket.refilled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
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
        assert_eq!([0; 4].map(|now| rate.take_at(&mut bucket, now)), [true, true, true, false]);
        assert!(!rate.take_at(&mut bucket, 99));
        assert!(rate.take_at(&mut bucket, 101));
        assert!(!rate.take_at(&mut bucket, 102));
        // A long silence fills the bucket, and no more than fills it.
        assert_eq!([1_000_000; 4].map(|now| rate.take_at(&mut bucket, now)), [true, true, true, false]);
    }
}
