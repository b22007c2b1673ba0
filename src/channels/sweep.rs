//! The task that takes out of the views what is out of date: little at a time, so that nothing else waits for long.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::yield_now;

use super::Channels;
use super::apply::Responsibility;
use super::state::State;
use crate::message::NodeName;
use crate::presence::Transition;

/// Maximum entries that are looked at while the state is locked.
const ENTRIES: usize = 256;

/// What is out of date in an app's view of a node.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) app: Arc<str>,
    pub(super) node: NodeName,
    pub(super) responsibility: Responsibility,
}

/// What a step has changed.
pub(super) struct Swept {
    pub(super) app: Arc<str>,
    pub(super) transitions: Vec<Transition>,
    pub(super) responsibility: Responsibility,
}

impl Channels {
    /// Sweeps forever.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            self.unswept.notified().await;
            while self.sweep_some() {
                yield_now().await;
            }
        }
    }

    /// Takes a step. Whether there was one to take.
    pub(super) fn sweep_some(&self) -> bool {
        let mut is_more = false;
        self.update(|state| {
            let mut effects = Vec::new();
            is_more = state.sweep(&mut effects);
            effects
        });
        is_more
    }
}

impl State {
    pub(super) fn next_swept(&mut self) -> Option<Swept> {
        while let Some(Sweep { app, node, responsibility }) = self.sweeps.front() {
            if let Some(state) = self.apps.get_mut(app)
                && let Some(transitions) = state.view.sweep(node, ENTRIES)
            {
                return Some(Swept { app: app.clone(), transitions, responsibility: *responsibility });
            }
            self.sweeps.pop_front();
        }
        self.sweeps = VecDeque::new();
        None
    }
}
