use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::{FixedState, RandomState};

use super::ConnectionId;
use crate::message::{Audience, UserId};

/// Which of a shard's connections belong to a user.
///
/// A subscriber keeps a [`UserKey`] of eight bytes. A number is its own key, so that comparing keys is nearly all there is to
/// do. The key of a text is a hash: the text itself is kept here, once for each connection, and compared only if the keys are
/// equal.
#[derive(Debug, Default)]
pub(super) struct Users {
    texts: HashMap<ConnectionId, UserId, RandomState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserKey(i64);

/// An audience, ready to be compared with many subscribers.
#[derive(Debug)]
pub(super) enum AudienceMatcher<'a> {
    Everyone,
    Number(UserKey),
    Text(UserKey, &'a UserId),
    Except(ConnectionId),
}

impl UserKey {
    /// The key of subscribers to which no message is addressed.
    pub(super) const NOBODY: Self = Self(i64::MIN);

    fn of(user: &UserId) -> Self {
        Self::of_number(user).unwrap_or_else(|| Self(FixedState::default().hash_one(user).cast_signed()))
    }

    /// The number is the key, except for the reserved one that matches no user: that ID is handled like a text.
    fn of_number(user: &UserId) -> Option<Self> {
        user.number().map(Self).filter(|key| *key != Self::NOBODY)
    }
}

impl<'a> AudienceMatcher<'a> {
    pub(super) fn user(user: &'a UserId) -> Self {
        UserKey::of_number(user).map_or_else(|| Self::Text(UserKey::of(user), user), Self::Number)
    }
}

impl<'a> From<&'a Audience> for AudienceMatcher<'a> {
    fn from(audience: &'a Audience) -> Self {
        match audience {
            Audience::Everyone => Self::Everyone,
            Audience::User(user) => Self::user(user),
            Audience::Except(id) => Self::Except(*id),
        }
    }
}

impl Users {
    /// Remembers the user of a connection until it [leaves](Self::leave). A connection has one user.
    pub(super) fn enter(&mut self, id: ConnectionId, user: UserId) -> UserKey {
        let key = UserKey::of(&user);
        if UserKey::of_number(&user).is_none() {
            self.texts.insert(id, user);
        }
        key
    }

    /// The user of a connection with this key.
    pub(super) fn id(&self, id: ConnectionId, key: UserKey) -> Option<UserId> {
        let text = self.texts.get(&id).cloned();
        text.or_else(|| (key != UserKey::NOBODY).then(|| UserId::from(key.0)))
    }

    pub(super) fn leave(&mut self, id: ConnectionId) {
        if self.texts.remove(&id).is_some() && self.texts.len() < self.texts.capacity() / 8 {
            self.texts.shrink_to_fit();
        }
    }

    /// Whether the audience includes a connection with this key.
    pub(super) fn include(&self, audience: &AudienceMatcher<'_>, id: ConnectionId, key: UserKey) -> bool {
        match audience {
            AudienceMatcher::Everyone => true,
            // A number can be the hash of a text.
            AudienceMatcher::Number(number) => key == *number && !self.texts.contains_key(&id),
            AudienceMatcher::Text(hash, text) => key == *hash && self.texts.get(&id) == Some(text),
            AudienceMatcher::Except(excluded) => id != *excluded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_the_hash_of_a_text_is_another_user() {
        let text = UserId::text("9d2f4c1e-7b1a-4e0e-9a53-3f1f5a0d6c11").unwrap();
        let number = UserId::from(UserKey::of(&text).0);
        let mut users = Users::default();
        let key = users.enter(1, number.clone());
        assert_eq!(users.enter(2, text.clone()), key);
        for (user, included) in [(&number, [true, false]), (&text, [false, true])] {
            let wanted = AudienceMatcher::user(user);
            assert_eq!([1, 2].map(|id| users.include(&wanted, id, key)), included, "{user}");
        }
    }

    #[test]
    fn no_message_to_a_user_reaches_subscribers_without_one() {
        let mut users = Users::default();
        let all = [UserId::from(i64::MIN), UserId::new(&i64::MIN.to_string()), UserId::from(0)];
        for (id, user) in (2..).zip(all) {
            let matcher = AudienceMatcher::user(&user);
            assert!(!users.include(&matcher, 1, UserKey::NOBODY), "{user}");
            let key = users.enter(id, user.clone());
            assert!(users.include(&matcher, id, key), "{user}");
            assert_eq!(users.id(id, key), Some(user.clone()));
            assert_eq!(users.id(1, UserKey::NOBODY), None);
        }
    }

    #[test]
    fn only_texts_take_memory_and_it_is_given_back() {
        let mut users = Users::default();
        for id in 0..1000 {
            users.enter(id, UserId::text(&id.to_string()).unwrap());
        }
        assert_eq!(users.texts.capacity(), 0);
        for id in 0..1000 {
            users.enter(id, UserId::text(&format!("user {id}")).unwrap());
        }
        for id in 0..1000 {
            users.leave(id);
        }
        assert!(users.texts.capacity() < 100);
    }
}
