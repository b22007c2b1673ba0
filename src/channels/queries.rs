//! The queries of the HTTP API about the channels of an app.

use tokio::task::yield_now;

use super::Channels;
use super::app::Local;
use super::reserved_channels::{CONNECTIONS, USERS};
use crate::hub::ConnectionId;
use crate::message::{ChannelInfo, ChannelName, LastEvent, Member, NodeName, SocketId, UserId};

/// The entries that are visited while the state is locked.
const STEP: usize = 512;

impl Channels {
    /// The nodes that this one knows, itself first.
    #[must_use]
    pub fn known_nodes(&self) -> Vec<NodeName> {
        let mut others: Vec<NodeName> = self.state().nodes.others().cloned().collect();
        others.sort_unstable();
        others.insert(0, self.node.clone());
        others
    }

    /// The number of nodes that this one knows, with itself.
    #[must_use]
    pub fn node_count(&self) -> usize {
        1 + self.state().nodes.others().count()
    }

    /// Sets how many events wait for webhooks and for the event stream.
    pub fn measure_webhooks(&self) {
        self.webhooks.measure();
    }

    /// An app's channels in the cluster that have a subscriber and whose names start with this, by name. Unlisted channels are
    /// included only if the prefix is theirs.
    pub async fn channels(&self, app: &str, prefix: &str) -> Vec<(ChannelName, ChannelInfo)> {
        let mut found: Vec<(ChannelName, ChannelInfo)> = Vec::new();
        self.visit_channels(app, prefix, |name, info| found.push((name.clone(), info))).await;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.dedup_by(|(a, _), (b, _)| a == b);
        found
    }

    /// Visits these channels, in no order and some twice.
    ///
    /// They are visited in steps: one that appears or disappears meanwhile may be included or not.
    pub async fn visit_channels(
        &self,
        app: &str,
        prefix: &str,
        mut visit: impl FnMut(&ChannelName, ChannelInfo),
    ) {
        let is_wanted = |name: &ChannelName| {
            !name.is_scoped()
                && name.as_str().starts_with(prefix)
                && (!prefix.is_empty() || self.dialect.kind(name).is_listed)
        };
        // From the last to the first, because an entry that is removed leaves its place to the last one.
        let (mut seen, mut here) = (usize::MAX, usize::MAX);
        while seen > 0 || here > 0 {
            {
                let state = self.state();
                let Some(app) = state.apps.get(app) else { return };
                let names = app.view.channels_before(&mut seen, STEP);
                // Channels of this node of which no message has come back yet.
                here = here.min(app.local.len());
                let before = here.saturating_sub(STEP);
                let local = app.local.get_range(before..here).into_iter().flat_map(|range| range.keys());
                here = before;
                let wanted = names.chain(local).filter(|name| is_wanted(name));
                for (name, info) in wanted.map(|name| (name, app.info(&self.node, name))) {
                    if info.subscriptions > 0 {
                        visit(name, info);
                    }
                }
            }
            yield_now().await;
        }
    }

    /// Up to 512 connections of this node that are signed in to an app, of those before `end`, and sets `end` to where to go on:
    /// 0 if these were the last. A walk that starts at `usize::MAX` visits all that stay.
    #[must_use]
    pub fn signed_in_before(&self, app: &str, end: &mut usize) -> Vec<(SocketId, UserId)> {
        let state = self.state();
        let users = state.apps.get(app).and_then(|app| app.local.get(&*USERS));
        let Some(Local::Members(users)) = users else {
            *end = 0;
            return Vec::new();
        };
        let last = users.len().min(*end);
        *end = last.saturating_sub(STEP);
        let users = users.get_range(*end..last).into_iter().flatten();
        users.map(|(id, (_, member))| (*id, member.user_id.clone())).collect()
    }

    /// The connection of this node that has this name, if there is one.
    #[must_use]
    pub fn connection(&self, name: SocketId) -> Option<ConnectionId> {
        self.socket_ids.connection(name)
    }

    /// The subscribers of a channel in the cluster: those of this node exactly, the others as last reported.
    #[must_use]
    pub fn channel(&self, app: &str, channel: &ChannelName) -> ChannelInfo {
        let state = self.state();
        state.apps.get(app).map_or_else(ChannelInfo::default, |state| state.info(&self.node, channel))
    }

    /// The last event of a cache channel, as far as this node knows.
    #[must_use]
    pub fn last_event(&self, app: &str, channel: &ChannelName) -> Option<LastEvent> {
        let state = self.state();
        let state = state.apps.get(app)?;
        let (data, left) = state.history.last(channel, state.rules.cache_ttl, self.history_now())?;
        Some(LastEvent { data: data.to_owned(), ttl: left.div_ceil(1000) })
    }

    /// The members of a presence channel in the cluster, by their ids.
    #[must_use]
    pub fn users(&self, app: &str, channel: &ChannelName) -> Vec<Member> {
        self.state().apps.get(app).map_or_else(Vec::new, |state| state.view.members(channel))
    }

    /// Whether the application wants events of the users on a native channel, so that the engine knows them.
    #[must_use]
    pub fn knows_users(&self, native: &ChannelName) -> bool {
        self.webhooks.wants_users(native)
    }

    /// An app's connections in the cluster.
    #[must_use]
    pub fn connections(&self, app: &str) -> u64 {
        self.channel(app, &CONNECTIONS).subscriptions
    }
}
