use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::{FixedState, RandomState};

use super::ConnectionId;
use crate::message::{Audience, UserId};

/// Tells which of a shard's connections belong to a user.
///
/// A subscriber keeps a [`UserKey`] of eight bytes. A number is its own key, so that comparing keys is nearly all there
/// is to do. The key of a text is a hash: the text itself is kept here, once per connection, and compared only where the
/// keys are equal.
#[derive(Debug, Default)]
pub(super) struct Users {
    texts: HashMap<ConnectionId, UserId, RandomState>,
}

/// What users are compared by first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserKey(i64);

/// An audience, ready to be compared with many subscribers.
#[derive(Debug)]
pub(super) enum Wanted<'a> {
    Everyone,
    Number(UserKey),
    Text(UserKey, &'a UserId),
    Except(ConnectionId),
}

impl UserKey {
    fn of(user: &UserId) -> Self {
        Self(user.number().unwrap_or_else(|| FixedState::default().hash_one(user).cast_signed()))
    }
}

impl<'a> Wanted<'a> {
    pub(super) fn user(user: &'a UserId) -> Self {
        let key = UserKey::of(user);
        if user.number().is_some() { Self::Number(key) } else { Self::Text(key, user) }
    }
}

impl<'a> From<&'a Audience> for Wanted<'a> {
    fn from(audience: &'a Audience) -> Self {
        match audience {
            Audience::Everyone => Self::Everyone,
            Audience::User(user) => Self::user(user),
            Audience::Except(id) => Self::Except(*id),
        }
    }
}

impl Users {
    /// Remembers whose a connection is until it [leaves](Self::leave). A connection has one user.
    pub(super) fn enter(&mut self, id: ConnectionId, user: UserId) -> UserKey {
        let key = UserKey::of(&user);
        if user.number().is_none() {
            self.texts.insert(id, user);
        }
        key
    }

    pub(super) fn leave(&mut self, id: ConnectionId) {
        if self.texts.remove(&id).is_some() && self.texts.len() < self.texts.capacity() / 8 {
            self.texts.shrink_to_fit();
        }
    }

    /// Whether the audience includes a connection, whose user has this key.
    pub(super) fn include(&self, wanted: &Wanted<'_>, id: ConnectionId, key: UserKey) -> bool {
        match wanted {
            Wanted::Everyone => true,
            // A number may happen to be the hash of a text.
            Wanted::Number(number) => key == *number && !self.texts.contains_key(&id),
            Wanted::Text(hash, text) => key == *hash && self.texts.get(&id) == Some(text),
            Wanted::Except(excluded) => id != *excluded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_apart_also_where_a_number_is_the_hash_of_a_text() {
        let text = UserId::text("9d2f4c1e-7b1a-4e0e-9a53-3f1f5a0d6c11").unwrap();
        let number = UserId::from(UserKey::of(&text).0);
        let mut users = Users::default();
        let key = users.enter(1, number.clone());
        assert_eq!(users.enter(2, text.clone()), key);
        for (user, included) in [(&number, [true, false]), (&text, [false, true])] {
            let wanted = Wanted::user(user);
            assert_eq!([1, 2].map(|id| users.include(&wanted, id, key)), included, "{user}");
        }
    }

    #[test]
    fn only_texts_take_room_and_they_give_it_back() {
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
