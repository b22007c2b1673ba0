//! The queries of the HTTP API about the channels of an app.

use tokio::task::yield_now;

use super::reserved_channels::CONNECTIONS;
use super::{AppRules, Channels};
use crate::message::{ChannelInfo, ChannelName, LastEvent, Member};

impl Channels {
    /// Replaces the rules of apps that are known. What has been joined stays.
    pub fn set_rules(&self, rules: Vec<AppRules>) {
        let mut state = self.state();
        for rules in rules {
            if let Some(app) = state.apps.get_mut(&rules.id) {
                app.rules = rules;
            }
        }
    }

    /// An app's channels in the cluster that have a subscriber and whose names start with this, by name. Unlisted channels are
    /// included only if the prefix is theirs.
    ///
    /// The channels are visited in steps: one that appears or disappears meanwhile may be included or not.
    pub async fn channels(&self, app: &str, prefix: &str) -> Vec<(ChannelName, ChannelInfo)> {
        const STEP: usize = 512;
        let is_wanted = |name: &ChannelName| {
            !name.is_scoped()
                && name.as_str().starts_with(prefix)
                && (!prefix.is_empty() || self.dialect.kind(name).is_listed)
        };
        let mut found: Vec<(ChannelName, ChannelInfo)> = Vec::new();
        // From the last to the first, because an entry that is removed leaves its place to the last one.
        let (mut seen, mut here) = (usize::MAX, usize::MAX);
        while seen > 0 || here > 0 {
            {
                let state = self.state();
                let Some(app) = state.apps.get(app) else { return Vec::new() };
                let names = app.view.channels_before(&mut seen, STEP);
                // Channels of this node of which no message has come back yet.
                here = here.min(app.local.len());
                let before = here.saturating_sub(STEP);
                let local = app.local.get_range(before..here).into_iter().flat_map(|range| range.keys());
                here = before;
                let wanted = names.chain(local).filter(|name| is_wanted(name));
                let infos = wanted.map(|name| (name.clone(), app.info(&self.node, name)));
                found.extend(infos.filter(|(_, info)| info.subscriptions > 0));
            }
            yield_now().await;
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.dedup_by(|(a, _), (b, _)| a == b);
        found
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

    /// An app's connections in the cluster.
    #[must_use]
    pub fn connections(&self, app: &str) -> u64 {
        self.channel(app, &CONNECTIONS).subscriptions
    }
}
