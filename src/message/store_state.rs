/// The store, and how far it has numbered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct StoreState {
    /// See [`Stored::store`](crate::message::Stored::store).
    pub store: u64,
    /// The number of the last message that was stored. 0: none.
    pub number: u64,
}
