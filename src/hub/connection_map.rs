use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::ConnectionId;

/// A list of things by connection. Every connection is in several, so that they are compact: in a short list a connection is found
/// by a search, and only a long one has an index.
#[derive(Debug)]
pub(super) struct ConnectionMap<T> {
    entries: Vec<(ConnectionId, T)>,
    /// Boxed, because most lists have none.
    index: Option<Box<Index>>,
}

/// The places of connections in a list.
#[derive(Debug, Default)]
struct Index {
    places: HashTable<u32>,
    hasher: RandomState,
}

/// A longer list has an index.
const FEW: usize = 16;

impl<T> Default for ConnectionMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: None }
    }
}

impl<T> ConnectionMap<T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// In the order of the list.
    pub(super) fn entries(&self) -> &[(ConnectionId, T)] {
        &self.entries
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(super) fn place(&self, id: ConnectionId) -> Option<usize> {
        match &self.index {
            Some(index) => index.place(&self.entries, id),
            None => self.entries.iter().position(|(of, _)| *of == id),
        }
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.place(id).is_some()
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&T> {
        self.entries.get(self.place(id)?).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let place = self.place(id)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Adds a connection at the end. It must not be in the list.
    pub(super) fn add(&mut self, id: ConnectionId, value: T) {
        if self.entries.is_empty() {
            // Many channels have one subscriber, and a vector that grows makes room for four.
            self.entries.reserve_exact(1);
        }
        let place = self.entries.len();
        self.entries.push((id, value));
        if let Some(index) = &mut self.index {
            index.add(&self.entries, place);
        } else if place >= FEW {
            let mut index = Box::<Index>::default();
            (0..=place).for_each(|place| index.add(&self.entries, place));
            self.index = Some(index);
        }
    }

    /// Exchanges two connections.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        if one == other || one.max(other) >= self.entries.len() {
            return;
        }
        if let Some(index) = &mut self.index {
            index.swap(&self.entries, one, other);
        }
        self.entries.swap(one, other);
    }

    /// Removes a connection, and leaves its place to the last one.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let place = self.place(id)?;
        let last = self.entries.len() - 1;
        if let Some(index) = &mut self.index {
            index.swap(&self.entries, place, last);
            index.remove(id, last);
        }
        let (_, value) = self.entries.swap_remove(place);
        if self.entries.len() < self.entries.capacity() / 8 {
            self.shrink();
        }
        Some(value)
    }

    fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        if self.entries.len() <= FEW {
            self.index = None;
        } else if let Some(Index { places, hasher }) = self.index.as_deref_mut() {
            places.shrink_to_fit(|place| hash(hasher, &self.entries, *place));
        }
    }
}

impl Index {
    fn place<T>(&self, entries: &[(ConnectionId, T)], id: ConnectionId) -> Option<usize> {
        let is_it = |place: &u32| entries.get(*place as usize).is_some_and(|(of, _)| *of == id);
        self.places.find(self.hasher.hash_one(id), is_it).map(|place| *place as usize)
    }

    fn add<T>(&mut self, entries: &[(ConnectionId, T)], place: usize) {
        let Self { places, hasher } = self;
        let place = number(place);
        places.insert_unique(hash(hasher, entries, place), place, |place| hash(hasher, entries, *place));
    }

    /// Exchanges two places, before the entries are exchanged.
    fn swap<T>(&mut self, entries: &[(ConnectionId, T)], one: usize, other: usize) {
        let (one, other) = (number(one), number(other));
        // Both are found before either changes.
        let [found_one, found_other] = [one, other].map(|place| {
            let hash = hash(&self.hasher, entries, place);
            self.places.find_bucket_index(hash, |found| *found == place)
        });
        for (found, place) in [(found_one, other), (found_other, one)] {
            if let Some(found) = found.and_then(|found| self.places.get_bucket_mut(found)) {
                *found = place;
            }
        }
    }

    fn remove(&mut self, id: ConnectionId, place: usize) {
        let place = number(place);
        if let Ok(entry) = self.places.find_entry(self.hasher.hash_one(id), |found| *found == place) {
            entry.remove();
        }
    }
}

fn hash<T>(hasher: &RandomState, entries: &[(ConnectionId, T)], place: u32) -> u64 {
    entries.get(place as usize).map_or(0, |(id, _)| hasher.hash_one(id))
}

/// A process has fewer connections.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_list_that_is_searched(steps in prop::collection::vec((0u8..5, 0u64..60, 0u64..60), 0..400)) {
            let (mut map, mut model) = (ConnectionMap::default(), Vec::<(u64, usize)>::new());
            for (number, (step, id, other)) in steps.into_iter().enumerate() {
                let place = model.iter().position(|(of, _)| *of == id);
                match step {
                    0 => {
                        let removed = place.map(|place| model.swap_remove(place).1);
                        prop_assert_eq!(map.remove(id), removed);
                    }
                    1 => {
                        let places = [id, other].map(|id| map.place(id));
                        if let [Some(one), Some(other)] = places {
                            map.swap(one, other);
                            model.swap(one, other);
                        }
                    }
                    _ if place.is_none() => {
                        map.add(id, number);
                        model.push((id, number));
                    }
                    _ => {
                        *map.get_mut(id).unwrap() = number;
                        model[place.unwrap()].1 = number;
                    }
                }
                prop_assert_eq!(map.entries(), &model);
                for id in 0..60 {
                    let place = model.iter().position(|(of, _)| *of == id);
                    prop_assert_eq!(map.place(id), place);
                    prop_assert_eq!(map.get(id), place.map(|place| &model[place].1));
                }
            }
        }
    }

    #[test]
    fn room_is_given_back() {
        let mut map = ConnectionMap::default();
        (0..10_000).for_each(|id| map.add(id, ()));
        assert!((0..10_000).all(|id| map.place(id) == Some(usize::try_from(id).unwrap())));
        for id in 0..9_998 {
            map.remove(id);
        }
        assert!(map.entries.capacity() < 10);
        assert!(map.index.is_none());
        assert!((9_998..10_000).all(|id| map.contains(id)));
    }

    #[test]
    fn one_entry_takes_what_it_needs() {
        let mut map = ConnectionMap::default();
        map.add(7, 0u64);
        assert_eq!(
            (map.entries.capacity(), map.index.is_none(), size_of::<ConnectionMap<u64>>()),
            (1, true, 32)
        );
    }
}
