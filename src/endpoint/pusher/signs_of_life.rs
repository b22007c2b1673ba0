//! What a node with sessions tells the others once a second, in case it ends without a word: that it is alive, and how far its clients
//! have read.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::context::PusherContext;
use super::session_record;
use crate::broker::{SignExceptions, StoreState};

/// Maximum clients that are named because they are late. If there are more, all are taken to have read less.
const MAX_LATE: usize = 2_000;

impl PusherContext {
    /// Begins with the first session that other nodes may take over.
    pub(super) fn start_signs_of_life(self: &Arc<Self>) {
        if self.sessions.begin_signs_of_life() {
            tokio::spawn(Self::give_signs_of_life(Arc::downgrade(self)));
        }
    }

    async fn give_signs_of_life(context: Weak<Self>) {
        let mut rewriting: Option<AbortHandle> = None;
        loop {
            let store = {
                let Some(context) = context.upgrade() else { return };
                let Some(store) = context.channels.session_store() else { return };
                if context.sessions.is_finished() {
                    return;
                }
                let ttl = context.sessions.window() * 2;
                let (read, late) = context.read_level();
                store.write_sign_of_life(context.channels.node(), read, late, ttl);
                store.clone()
            };
            if timeout(Duration::from_secs(1), store.lost()).await.is_ok() {
                let task = tokio::spawn(Self::rewrite_sessions(context.clone(), store));
                if let Some(before) = rewriting.replace(task.abort_handle()) {
                    before.abort();
                }
            }
        }
    }

    /// How far all clients with a session have read, and those who have read less, by the names of their connections.
    fn read_level(&self) -> (String, SignExceptions) {
        let text = |read: StoreState| session_record::value(Some(read), false, false);
        let Some(level) = self.channels.read_level(MAX_LATE) else { return <_>::default() };
        // A name may be that of two connections. The one that is further behind counts.
        let late = level.late.into_iter().rev();
        (text(level.read), late.map(|reader| (reader.name.to_string(), text(reader.read))).collect())
    }
}
