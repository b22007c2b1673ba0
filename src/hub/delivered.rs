use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::StoreState;

/// How far a node has published. One task writes it, any task reads it.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    store: AtomicU64,
    number: AtomicU64,
}

impl Delivered {
    pub(super) fn set(&self, StoreState { store, number }: StoreState) {
        if self.store.load(Ordering::Relaxed) != store {
            // Whoever reads meanwhile must not take a number for one of another store.
            self.number.store(0, Ordering::Release);
            self.store.store(store, Ordering::Release);
        }
        self.number.store(number, Ordering::Release);
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub(super) fn get(&self) -> StoreState {
        let before = self.store.load(Ordering::Acquire);
        let number = self.number();
        let store = self.store.load(Ordering::Acquire);
        StoreState { store, number: if store == before { number } else { 0 } }
    }
}
