use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ChannelName;

/// Something that a channel's name tells apart from others of its kind.
pub trait Named {
    /// The channel.
    fn name(&self) -> &ChannelName;
}

/// Things by the names of their channels, each name once.
///
/// There are few as a rule, so they are searched in turn and take no more room than they need. Where they are many, an index
/// finds them.
#[derive(Debug)]
pub struct ByName<T> {
    items: Vec<T>,
    /// Their positions. Apart, because most have none.
    #[expect(clippy::box_collection, reason = "an empty map has no room on the heap, but it has 32 bytes")]
    index: Option<Box<HashMap<ChannelName, usize, RandomState>>>,
}

/// With more than this there is an index.
const FEW: usize = 16;

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { items: Vec::new(), index: None }
    }
}

impl<T: Named> ByName<T> {
    /// The one of this name.
    #[must_use]
    pub fn get(&self, name: &ChannelName) -> Option<&T> {
        self.items.get(self.position(name)?)
    }

    /// The one of this name. Its name must stay equal.
    pub fn get_mut(&mut self, name: &ChannelName) -> Option<&mut T> {
        let position = self.position(name)?;
        self.items.get_mut(position)
    }

    /// Adds one whose name is not there.
    pub fn add(&mut self, item: T) {
        if self.items.is_empty() {
            // Most have one, and a vector that grows makes room for four.
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

    /// Takes the one of this name out.
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

    /// Takes so many out, or all where there are fewer.
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

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
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
        fn it_is_a_map(steps in prop::collection::vec((0u8..4, 0u8..60), 0..300)) {
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
