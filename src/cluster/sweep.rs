//! Snapshots as they come, and the task that then takes out of the views what is out of date: little at a time, so that nobody
//! waits for long.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::yield_now;

use super::Cluster;
use super::hear::News;
use super::said::AppSnapshot;
use super::state::State;
use super::waiting::Joining;
use crate::presence::{NodeName, Transition};
use crate::protocol::pusher::App;

/// So many entries are looked at under one lock.
const ENTRIES: usize = 256;

/// What is out of date in an app's view of a node.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) app: Arc<str>,
    pub(super) node: NodeName,
    pub(super) news: News,
}

/// What a step has changed.
struct Swept {
    app: Arc<App>,
    transitions: Vec<Transition>,
    news: News,
}

impl Cluster {
    /// Sweeps for ever.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            self.unswept.notified().await;
            while self.sweep_some() {
                yield_now().await;
            }
        }
    }

    /// A portion of a node's snapshot: what is new counts at once, what is missing only after the last one.
    pub(super) fn portion(
        &self,
        node: &NodeName,
        (number, index, of): (u64, usize, usize),
        apps: Vec<AppSnapshot>,
        is_own: bool,
    ) {
        let parts: Vec<_> = apps.into_iter().map(|part| (part.app.clone(), part.into_snapshot())).collect();
        let telling = self.telling();
        let mut state = self.state();
        let Some(is_last) = state.gather(node, number, index, of) else { return };
        let time = state.time;
        // What an older node tells a newcomer has been told to webhooks long ago. A node that comes back may be the one to speak
        // from now on, but does not see that it comes.
        let news = if state.is_old_news(node) { News::Old } else { News::of(state.is_speaker()) };
        let mut told = Vec::new();
        for (app, part) in parts {
            let Some(app_state) = state.apps.get_mut(&app) else { continue };
            let transitions = app_state.view.snapshot_part(node, number, part, time);
            told.push((app_state.app.clone(), transitions));
        }
        let (mut back, mut newcomers): (Vec<(u64, Joining)>, _) = (Vec::new(), Vec::new());
        if is_last {
            state.settle(node);
            for app_state in state.apps.values_mut() {
                app_state.view.snapshot_ends(node, number);
            }
            state.begin_sweep(node, news);
            if is_own {
                // What was said before the snapshot and has not come back never will: it was lost on the way, or is a sign-in
                // that was refused. The snapshot holds it.
                let is_before = |own: &u64, _: &mut Joining| *own < number;
                back.extend(state.joining.extract_if(is_before));
                // A count that was lost on the way comes with the snapshot, and perhaps as no change.
                newcomers = state.take_newcomers();
            }
        }
        drop(state);
        for (app, transitions) in told {
            self.tell(&app, transitions, news);
        }
        for (app, channel, count) in newcomers {
            self.tell_count_now(&app, &channel, count);
        }
        drop(telling);
        self.unswept.notify_one();
        back.sort_unstable_by_key(|(own, _)| *own);
        for (own, Joining { peer, purpose }) in back {
            let app = peer.app().clone();
            self.came_back(&app, own, &peer, purpose, true);
        }
    }

    /// Takes a step. Whether there was one to take.
    pub(super) fn sweep_some(&self) -> bool {
        let _telling = self.telling();
        let Some(Swept { app, transitions, news }) = self.state().sweep() else { return false };
        self.tell(&app, transitions, news);
        true
    }
}

impl State {
    /// What is out of date in all views of a node is to be taken out of them.
    pub(super) fn begin_sweep(&mut self, node: &NodeName, news: News) {
        let sweep = |app: &Arc<str>| Sweep { app: app.clone(), node: node.clone(), news };
        self.sweeps.extend(self.apps.keys().map(sweep));
    }

    fn sweep(&mut self) -> Option<Swept> {
        while let Some(Sweep { app, node, news }) = self.sweeps.front() {
            if let Some(state) = self.apps.get_mut(app)
                && let Some(transitions) = state.view.sweep(node, ENTRIES)
            {
                return Some(Swept { app: state.app.clone(), transitions, news: *news });
            }
            self.sweeps.pop_front();
        }
        self.sweeps = VecDeque::new();
        None
    }
}
