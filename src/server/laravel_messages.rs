use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::channels::event_signal;
use crate::message::{
    AppEntry, AppMessages, Broadcast, ChannelName, ChannelPattern, Dialect, InvalidEntry, Publication,
    Retained, RetentionRules,
};
use crate::protocol::pusher::{Apps, PusherDialect, decode_entry};

/// Reads what Laravel publishes for the channels of apps.
#[derive(Debug)]
pub(super) struct LaravelMessages {
    /// The first one is that of topics, which name none.
    apps: ArcSwap<Apps>,
    retention: Arc<RetentionRules>,
}

impl LaravelMessages {
    pub(super) fn new(apps: Apps, retention: Arc<RetentionRules>) -> Self {
        Self { apps: ArcSwap::from_pointee(apps), retention }
    }

    /// Replaces the apps.
    pub(super) fn set_apps(&self, apps: Apps) {
        self.apps.store(Arc::new(apps));
    }

    fn publication(&self, event: &Broadcast) -> Publication {
        let scoped = event.channels.iter().map(|channel| ChannelName::scoped(&event.app, channel.as_str()));
        let retained = (0..).zip(scoped).filter_map(|(index, channel)| {
            let retention = self.retention.of(&channel)?;
            Some(Retained { index, channel, retention })
        });
        Publication { dispatch: event_signal(event), retained: retained.collect(), idempotency_key: None }
    }
}

impl AppMessages for LaravelMessages {
    fn topics(&self) -> Vec<ChannelPattern> {
        let apps = self.apps.load();
        let patterns = apps.first().map(|app| self.retention.patterns(app.credentials.id()));
        shortest(patterns.unwrap_or_default(), PusherDialect.kept_topics())
    }

    fn has_topic(&self, topic: &str) -> bool {
        let apps = self.apps.load();
        let Some(app) = apps.first() else { return false };
        let is_listed = |channel: &ChannelName| PusherDialect.kind(channel).is_listed;
        self.retention.of_app(app.credentials.id(), topic).is_some()
            && ChannelName::new(topic).is_ok_and(|channel| is_listed(&channel))
    }

    fn read_topic(&self, topic: &str, payload: &[u8]) -> Option<Publication> {
        let apps = self.apps.load();
        let app = apps.first()?;
        let channel = ChannelName::new(topic).ok()?;
        let event = PusherDialect.decode_topic(app.credentials.id(), &channel, payload).ok()??;
        (event.data.len() <= app.rules.event_bytes).then(|| self.publication(&event))
    }

    fn read_entry(&self, entry: &AppEntry<'_>) -> Result<Publication, InvalidEntry> {
        let apps = self.apps.load();
        let app = apps.by_id(entry.app).ok_or(InvalidEntry("unknown_app"))?;
        decode_entry(app, entry).map(|event| self.publication(&event))
    }
}

/// Patterns of which none covers another one, nor one of the prefixes that are subscribed anyway: Redis delivers a message once for
/// each pattern that matches.
fn shortest(patterns: Vec<ChannelPattern>, subscribed: &[&str]) -> Vec<ChannelPattern> {
    let mut found: Vec<ChannelPattern> = Vec::new();
    let mut add = |pattern: ChannelPattern| {
        let (ChannelPattern::Name(text) | ChannelPattern::Prefix(text)) = &pattern;
        if !found.iter().any(|other| {
            *other == pattern || matches!(other, ChannelPattern::Prefix(_)) && other.matches(text)
        }) {
            found.push(pattern);
        }
    };
    let mut prefixes: Vec<Box<str>> = subscribed.iter().map(|prefix| (*prefix).into()).collect();
    let is_needed = |pattern: &ChannelPattern| matches!(pattern, ChannelPattern::Prefix(_));
    let (wide, names): (Vec<_>, Vec<_>) = patterns.into_iter().partition(is_needed);
    prefixes.extend(wide.into_iter().filter_map(|pattern| match pattern {
        ChannelPattern::Prefix(prefix) => Some(prefix),
        ChannelPattern::Name(_) => None,
    }));
    prefixes.sort_by_key(|prefix| prefix.len());
    prefixes.into_iter().map(ChannelPattern::Prefix).chain(names).for_each(&mut add);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_topic_is_subscribed_twice() {
        let of = |patterns: &[&str]| {
            shortest(patterns.iter().map(|text| ChannelPattern::new(text)).collect(), &["cache-"])
        };
        let new = ChannelPattern::new;
        assert_eq!(of(&[]), [new("cache-*")]);
        assert_eq!(
            of(&["private-a", "private-*", "news", "news"]),
            [new("cache-*"), new("private-*"), new("news")]
        );
        assert_eq!(of(&["cache-orders*", "c*", "cache-x"]), [new("c*")]);
        assert_eq!(of(&["*", "news"]), [new("*")]);
    }
}
