use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ChannelName;

/// A thing that is identified by the name of a channel.
pub trait Named {
    fn name(&self) -> &ChannelName;
}

/// A set of things by channel name.
///
/// Usually there are few, and a list without spare capacity is searched. Many have an index.
#[derive(Debug)]
pub struct ByName<T> {
    items: Vec<T>,
    /// The positions in `items`. Boxed, because most sets have none.
    #[expect(clippy::box_collection, reason = "an empty map does not allocate, but has 32 bytes")]
    index: Option<Box<HashMap<ChannelName, usize, RandomState>>>,
}

/// A larger set has an index.
const FEW: usize = 16;

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { items: Vec::new(), index: None }
    }
}

impl<T: Named> ByName<T> {
    #[must_use]
    pub fn get(&self, name: &ChannelName) -> Option<&T> {
        self.items.get(self.position(name)?)
    }

    /// The name of the item must not change.
    pub fn get_mut(&mut self, name: &ChannelName) -> Option<&mut T> {
        let position = self.position(name)?;
        self.items.get_mut(position)
    }

    /// Adds an item whose name is not in the set.
    pub fn add(&mut self, item: T) {
        if self.items.is_empty() {
            // Most sets have one item, and a vector that grows makes room for four.
            self.items.reserve_exact(1);
        }
        if let Some(index) = &mut self.index {
            index.insert(item.name().clone(), self.items.len());
        }
        self.items.push(item);
        if self.index.is_none() && self.items.len() > FEW {
            let positions = self.items.iter().enumerate();
            let index = positions.map(|(position, item)| (item.name().clone(), position)).collect();
            self.index = Some(Box::new(index));
        }
    }

    pub fn remove(&mut self, name: &ChannelName) -> Option<T> {
        let position = self.position(name)?;
        let item = self.items.swap_remove(position);
        if let Some(index) = &mut self.index {
            index.remove(name);
            if let Some(moved) = self.items.get(position) {
                index.insert(moved.name().clone(), position);
            }
        }
        self.forget_index();
        Some(item)
    }

    /// Removes this many items, or all if there are fewer.
    pub fn take(&mut self, most: usize) -> Vec<T> {
        let taken = self.items.split_off(self.items.len().saturating_sub(most));
        if let Some(index) = &mut self.index {
            for item in &taken {
                index.remove(item.name());
            }
        }
        self.forget_index();
        taken
    }

    /// All items, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn position(&self, name: &ChannelName) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.items.iter().position(|item| item.name() == name),
        }
    }

    fn forget_index(&mut self) {
        if self.items.len() <= FEW / 2 {
            self.index = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Item(ChannelName, usize);

    impl Named for Item {
        fn name(&self) -> &ChannelName {
            &self.0
        }
    }

    fn name(number: u8) -> ChannelName {
        ChannelName::new(&format!("c{number}")).unwrap()
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(steps in prop::collection::vec((0u8..4, 0u8..60), 0..300)) {
            let (mut items, mut model) = (ByName::default(), BTreeMap::new());
            for (number, (step, which)) in steps.into_iter().enumerate() {
                let channel = name(which);
                match step {
                    0 => prop_assert_eq!(items.remove(&channel).map(|Item(_, number)| number), model.remove(&channel)),
                    1 if which < 10 => {
                        for Item(channel, number) in items.take(which.into()) {
                            prop_assert_eq!(model.remove(&channel), Some(number));
                        }
                    }
                    _ => {
                        if let Some(item) = items.get_mut(&channel) {
                            prop_assert_eq!(Some(&item.1), model.get(&channel));
                        } else {
                            items.add(Item(channel.clone(), number));
                            prop_assert!(model.insert(channel, number).is_none());
                        }
                    }
                }
                prop_assert_eq!((items.len(), items.is_empty()), (model.len(), model.is_empty()));
                for (channel, number) in &model {
                    prop_assert_eq!(items.get(channel), Some(&Item(channel.clone(), *number)));
                }
                prop_assert_eq!(items.iter().count(), model.len());
            }
        }
    }
}
