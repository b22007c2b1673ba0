use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thiserror::Error;

use crate::message::{Revocation, RevokedTokens, UserId};

/// The tokens that are taken back. While there are none, checking a token costs one load.
///
/// All times are Unix seconds.
#[derive(Debug, Default)]
pub struct Revocations {
    are_in_force: AtomicBool,
    entries: RwLock<Entries>,
}

/// There are [`MAX`](Revocation::MAX) already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "there are {} revocations already; use `before` instead of many single ones, or remove some",
    Revocation::MAX
)]
pub struct RevocationsFullError;

/// Each is there until a time.
#[derive(Debug, Default)]
struct Entries {
    count: usize,
    users: HashMap<UserId, u64>,
    jtis: HashMap<Box<str>, u64>,
    /// By `before`.
    issued: BTreeMap<u64, u64>,
    issued_to: HashMap<UserId, BTreeMap<u64, u64>>,
    /// When the next one ends, or has ended.
    next_end: u64,
}

impl Revocations {
    /// Adds a revocation, or makes one longer. Returns false if it was there already.
    pub fn add(&self, tokens: &RevokedTokens, until: u64, now: u64) -> Result<bool, RevocationsFullError> {
        let mut entries = self.write();
        entries.expire(now);
        if let Some(known) = entries.get(tokens) {
            entries.insert(tokens, until.max(known));
            return Ok(false);
        }
        if entries.count >= Revocation::MAX {
            return Err(RevocationsFullError);
        }
        entries.insert(tokens, until);
        // Sequentially consistent, as in `is_revoked`: a connection that has a new token and does not see this is seen by whoever
        // closes the connections afterwards.
        self.are_in_force.store(true, Ordering::SeqCst);
        Ok(true)
    }

    /// Returns false if it was not there.
    pub fn remove(&self, tokens: &RevokedTokens) -> bool {
        let mut entries = self.write();
        let removed = entries.remove(tokens);
        self.are_in_force.store(entries.count > 0, Ordering::SeqCst);
        removed
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.read().count
    }

    #[must_use]
    pub fn list(&self, now: u64) -> Vec<(RevokedTokens, u64)> {
        let entries = self.read();
        entries.all().filter(|(_, until)| *until > now).collect()
    }

    /// Whether a token with these claims is revoked.
    pub(super) fn include(&self, user: &UserId, issued_at: Option<u64>, jti: Option<&str>, now: u64) -> bool {
        if !self.are_in_force.load(Ordering::SeqCst) {
            return false;
        }
        let entries = self.read();
        if entries.next_end <= now {
            drop(entries);
            let mut entries = self.write();
            entries.expire(now);
            self.are_in_force.store(entries.count > 0, Ordering::SeqCst);
            return entries.include(user, issued_at, jti);
        }
        entries.include(user, issued_at, jti)
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn include(&self, user: &UserId, issued_at: Option<u64>, jti: Option<&str>) -> bool {
        let issued_at = issued_at.unwrap_or_default();
        // `before` excludes its own second; a token without `iat` was issued before all of them.
        let is_after =
            |issued: &BTreeMap<u64, u64>| issued.range((Excluded(issued_at), Unbounded)).next().is_some();
        self.users.contains_key(user)
            || jti.is_some_and(|jti| self.jtis.contains_key(jti))
            || is_after(&self.issued)
            || self.issued_to.get(user).is_some_and(is_after)
    }

    fn get(&self, tokens: &RevokedTokens) -> Option<u64> {
        match tokens {
            RevokedTokens::User(user) => self.users.get(user),
            RevokedTokens::Jti(jti) => self.jtis.get(jti),
            RevokedTokens::IssuedBefore { before, user: None } => self.issued.get(before),
            RevokedTokens::IssuedBefore { before, user: Some(user) } => self.issued_to.get(user)?.get(before),
        }
        .copied()
    }

    fn insert(&mut self, tokens: &RevokedTokens, until: u64) {
        let known = match tokens {
            RevokedTokens::User(user) => self.users.insert(user.clone(), until),
            RevokedTokens::Jti(jti) => self.jtis.insert(jti.clone(), until),
            RevokedTokens::IssuedBefore { before, user: None } => self.issued.insert(*before, until),
            RevokedTokens::IssuedBefore { before, user: Some(user) } => {
                self.issued_to.entry(user.clone()).or_default().insert(*before, until)
            }
        };
        self.next_end = if self.count == 0 { until } else { self.next_end.min(until) };
        self.count += usize::from(known.is_none());
    }

    fn remove(&mut self, tokens: &RevokedTokens) -> bool {
        let known = match tokens {
            RevokedTokens::User(user) => self.users.remove(user),
            RevokedTokens::Jti(jti) => self.jtis.remove(jti),
            RevokedTokens::IssuedBefore { before, user: None } => self.issued.remove(before),
            RevokedTokens::IssuedBefore { before, user: Some(user) } => {
                let known = self.issued_to.get_mut(user).and_then(|issued| issued.remove(before));
                if self.issued_to.get(user).is_some_and(BTreeMap::is_empty) {
                    self.issued_to.remove(user);
                }
                known
            }
        };
        self.count -= usize::from(known.is_some());
        known.is_some()
    }

    fn expire(&mut self, now: u64) {
        if self.next_end > now || self.count == 0 {
            return;
        }
        let ended: Vec<RevokedTokens> =
            self.all().filter(|(_, until)| *until <= now).map(|(tokens, _)| tokens).collect();
        for tokens in &ended {
            self.remove(tokens);
        }
        self.next_end = self.all().map(|(_, until)| until).min().unwrap_or_default();
    }

    fn all(&self) -> impl Iterator<Item = (RevokedTokens, u64)> {
        let users = self.users.iter().map(|(user, until)| (RevokedTokens::User(user.clone()), *until));
        let jtis = self.jtis.iter().map(|(jti, until)| (RevokedTokens::Jti(jti.clone()), *until));
        let issued = self
            .issued
            .iter()
            .map(|(before, until)| (RevokedTokens::IssuedBefore { before: *before, user: None }, *until));
        let issued_to = self.issued_to.iter().flat_map(|(user, issued)| {
            issued.iter().map(|(before, until)| {
                (RevokedTokens::IssuedBefore { before: *before, user: Some(user.clone()) }, *until)
            })
        });
        users.chain(jtis).chain(issued).chain(issued_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> RevokedTokens {
        Revocation::from_json(text).unwrap().tokens
    }

    const ALL: [&str; 4] =
        [r#"{"user":7}"#, r#"{"jti":"a"}"#, r#"{"before":100}"#, r#"{"user":8,"before":200}"#];

    #[test]
    fn each_kind_includes_the_tokens_that_it_names() {
        for (text, included) in [
            (ALL[0], [true, true, false, false]),
            (ALL[1], [false, true, true, false]),
            (ALL[2], [true, false, false, true]),
            (ALL[3], [false, false, true, true]),
        ] {
            let revocations = Revocations::default();
            let check = |(user, issued_at, jti): (i64, Option<u64>, Option<&str>)| {
                revocations.include(&user.into(), issued_at, jti, 10)
            };
            let all = [
                (7, Some(99), None),
                (7, Some(100), Some("a")),
                (8, Some(199), Some("a")),
                (8, None, Some("b")),
            ];
            assert_eq!(all.map(check), [false; 4]);
            assert_eq!(revocations.add(&tokens(text), 20, 10), Ok(true));
            assert_eq!(all.map(check), included, "{text}");
            assert_eq!(revocations.list(10), [(tokens(text), 20)]);
            assert!(revocations.remove(&tokens(text)) && !revocations.remove(&tokens(text)));
            assert_eq!(all.map(check), [false; 4]);
        }
    }

    #[test]
    fn revocations_end() {
        let revocations = Revocations::default();
        let is_revoked = |now| revocations.include(&7.into(), None, None, now);
        for (until, text) in (20..).zip(ALL) {
            assert_eq!(revocations.add(&tokens(text), until, 10), Ok(true));
        }
        // A later end counts, an earlier one does not.
        assert_eq!(revocations.add(&tokens(ALL[0]), 30, 10), Ok(false));
        assert_eq!(revocations.add(&tokens(ALL[0]), 25, 10), Ok(false));
        assert!(is_revoked(29) && !is_revoked(30));
        assert!(!revocations.are_in_force.load(Ordering::Relaxed));
        assert!(revocations.list(0).is_empty());
        assert_eq!(revocations.read().count, 0);
    }

    #[test]
    fn one_too_many_is_refused_until_there_is_room() {
        let revocations = Revocations::default();
        let jti = |number: usize| RevokedTokens::Jti(number.to_string().into());
        for number in 0..Revocation::MAX {
            let until = if number == 0 { 20 } else { 30 };
            assert_eq!(revocations.add(&jti(number), until, 10), Ok(true));
        }
        let one_more = jti(Revocation::MAX);
        assert_eq!(revocations.add(&one_more, 30, 10), Err(RevocationsFullError));
        assert_eq!(revocations.add(&jti(1), 40, 10), Ok(false), "it is there already");
        assert_eq!(revocations.add(&one_more, 30, 20), Ok(true));
        assert!(revocations.remove(&one_more));
        assert_eq!(revocations.add(&one_more, 30, 20), Ok(true));
        assert_eq!(revocations.list(20).len(), Revocation::MAX);
    }
}
