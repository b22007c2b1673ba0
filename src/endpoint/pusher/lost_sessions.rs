//! Handles the loss of sessions in Redis: nodes write theirs again, and pages whose session no node has are told that they may have
//! missed something.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::{Inner, PusherConnection};
use super::context::PusherContext;
use super::recovery::Recovery;
use crate::broker::SessionStore;
use crate::message::ChannelName;
use crate::protocol::pusher::server_message;

/// Sessions that are written before the node waits until Redis has them.
const AT_ONCE: usize = 256;

/// How long to wait for that before looking whether the node still runs.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// How long to wait if Redis cannot be reached.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long after a loss pages come back whose sessions may have been lost, besides `recovery.window`: other nodes may not have written
/// theirs yet, and a page takes a while to subscribe.
const COMES_BACK_LATE: Duration = Duration::from_secs(30);

impl PusherContext {
    /// Writes all sessions of this node for other nodes, because Redis has lost some.
    pub(super) async fn rewrite_sessions(context: Weak<Self>, store: SessionStore) {
        let started = Instant::now();
        let Some(keys) = context.upgrade().map(|context| context.sessions.keys()) else { return };
        tracing::warn!(
            sessions = keys.len(),
            "Redis has lost sessions of pages: this node writes its own again"
        );
        for keys in keys.chunks(AT_ONCE) {
            let Some(running) = context.upgrade() else { return };
            let now = running.channels.clock();
            for key in keys {
                let connection = running.sessions.rewrite(key, |kept| {
                    // It may have gone on elsewhere, on other channels, and have been lost there.
                    kept.may_lack_channels = true;
                    let left = Duration::from_millis(kept.until.saturating_sub(now));
                    running.write_kept(*key, kept, left);
                });
                if let Some(connection) = connection {
                    connection.write();
                }
            }
            drop(running);
            while !store.flush(WRITTEN_WITHIN).await {
                if context.strong_count() == 0 {
                    return;
                }
                sleep(RETRY_AFTER).await;
            }
        }
        store.make_good(started);
    }
}

impl PusherConnection {
    /// Whether the client may have had a session before this one that has been lost.
    fn may_have_lost_session(&self, recovery: &Recovery) -> bool {
        let time = self.context.sessions.window() + COMES_BACK_LATE;
        recovery.is_beginning(self.channels().clock()) && self.channels().has_lost_history_within(time)
    }

    /// Whether the client of a connection that ends may have been on channels of which its session does not know. Its next connection may
    /// be to a node that does not know of a loss, and this one may not know of it yet.
    pub(super) fn may_lack_channels(&self, recovery: &Recovery) -> bool {
        let now = self.channels().clock();
        let may_lose = recovery.is_beginning(now) && self.channels().may_be_losing_history();
        recovery.may_lack(now) || may_lose || self.may_have_lost_session(recovery)
    }

    /// Tells a client that has subscribed to a channel, and now receives what is published there, that it may have missed something
    /// before: it may have been on the channel in a session that has been lost. A client that is told positions knows whether it was.
    pub(super) fn tell_lost_session(&self, inner: &mut Inner, channel: &ChannelName) {
        let app = inner.app_id().clone();
        let Some(recovery) = inner.recovery.as_mut() else { return };
        if self.tells_positions()
            || !self.channels().has_history(&app, channel)
            || !self.may_have_lost_session(recovery)
        {
            return;
        }
        let since = recovery.read_on(channel);
        recovery.skip(channel, since);
        self.handle.push(&server_message::gap(channel.as_str(), None));
    }
}
