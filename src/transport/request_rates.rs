use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::message::{Rate, TokenBucket};

/// How fast each of those who send requests may do so. Who has been silent for a while is forgotten.
#[derive(Debug)]
pub struct RequestRates<K>(Mutex<Buckets<K>>);

#[derive(Debug)]
struct Buckets<K> {
    buckets: HashMap<K, TokenBucket>,
    /// With this many buckets, those that are full are removed.
    most: usize,
}

/// Fewer buckets are not looked through.
const FEW: usize = 1024;

impl<K> Default for RequestRates<K> {
    fn default() -> Self {
        Self(Mutex::new(Buckets { buckets: HashMap::new(), most: FEW }))
    }
}

impl<K: Eq + Hash> RequestRates<K> {
    /// Counts a request. An error says how long to wait before the next one. `rate`: `None` is no limit. `now` is a monotonic time
    /// in milliseconds.
    pub fn take(&self, key: K, rate: Option<Rate>, now: u64) -> Result<(), Duration> {
        let Some(rate) = rate else { return Ok(()) };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.buckets.len() >= state.most {
            state.buckets.retain(|_, bucket| !bucket.is_full(rate, now));
            // Each is looked at once for every one that is added.
            state.most = state.buckets.len().saturating_mul(2).max(FEW);
            let most = state.most;
            state.buckets.shrink_to(most);
        }
        let bucket = state.buckets.entry(key).or_insert_with(|| rate.full_bucket(now));
        if bucket.take(rate, now) { Ok(()) } else { Err(bucket.refill_time(rate)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_rate_of_its_own() {
        let (rates, rate) = (RequestRates::default(), Rate::new(10, 2));
        assert_eq!([rates.take(1, rate, 0), rates.take(1, rate, 0)], [Ok(()), Ok(())]);
        let wait = rates.take(1, rate, 0).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(200), "{wait:?}");
        assert_eq!(rates.take(2, rate, 0), Ok(()));
        assert_eq!(rates.take(1, rate, 100), Ok(()));
        assert!(rates.take(1, rate, 100).is_err());
        assert_eq!(rates.take(1, None, 100), Ok(()));
    }

    #[test]
    fn who_is_silent_is_forgotten_and_who_is_over_the_rate_is_not() {
        let (rates, rate) = (RequestRates::default(), Rate::new(1, 1));
        for key in 0..10_000 {
            assert_eq!(rates.take(key, rate, key * 10), Ok(()));
            let known = rates.0.lock().unwrap().buckets.len();
            assert!(known <= FEW, "{known}");
            assert!(rates.take(key, rate, key * 10).is_err());
        }
    }
}
