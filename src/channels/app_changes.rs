use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::app::AppState;
use super::effect::Effect;
use super::pending::Joined;
use super::state::State;
use super::{AppRules, Channels};
use crate::message::ChannelName;
use crate::telemetry::{ChannelGroup, ChannelMetrics, Metrics};

impl Channels {
    /// Takes over the apps of changed settings, the default one first, and which of all have webhooks. What has been joined stays.
    ///
    /// An app that is gone stays known until the node ends: its connections leave its channels when they are closed, and other nodes
    /// may still serve it.
    pub fn set_apps(&self, apps: Vec<AppRules>) {
        let default_app = default_app(&apps);
        let mut metrics = self.metrics_of_apps.write().unwrap_or_else(PoisonError::into_inner);
        for app in apps.iter().filter(|app| app.member_encoder.is_none()) {
            metrics.entry(app.id.clone()).or_insert_with(|| start_app(&self.metrics, app));
        }
        drop(metrics);
        let mut is_any_new = false;
        self.update(|state| {
            for rules in apps {
                if let Some(app) = state.apps.get_mut(&rules.id) {
                    app.rules = rules;
                } else {
                    is_any_new = true;
                    state.apps.insert(rules.id.clone(), AppState::new(rules, false));
                }
            }
            // Those of native channels too.
            for (id, app) in &mut state.apps {
                app.has_webhooks = self.webhooks.has(id);
            }
            if is_any_new {
                // Other nodes may have connections of the app already.
                state.nodes.request_now();
                state.due.snapshot = true;
            }
            state.set_default_app(default_app.as_ref())
        });
        if is_any_new {
            self.join_cluster();
            self.subscribe_kept_topics();
            self.outbound.notify_one();
        }
    }

    /// Subscribes the topics that are needed before a client asks for them, once there is an app for them.
    pub(super) fn subscribe_kept_topics(&self) {
        if self.state().topics.app().is_some() && !self.has_kept_topics.swap(true, Ordering::Relaxed) {
            for prefix in self.dialect.kept_topics() {
                self.broker.subscribe_prefix(prefix);
            }
        }
    }
}

/// The metrics of an app's channels.
pub(super) fn start_app(metrics: &Metrics, app: &AppRules) -> Arc<ChannelMetrics> {
    metrics.start_channels(&ChannelGroup::of_app(&app.id))
}

/// The first app that speaks the dialect.
pub(super) fn default_app(apps: &[AppRules]) -> Option<Arc<str>> {
    apps.iter().find(|app| app.member_encoder.is_none()).map(|app| app.id.clone())
}

impl State {
    /// Makes the topics those of this app. The connections of the previous one no longer wait for theirs.
    fn set_default_app(&mut self, app: Option<&Arc<str>>) -> Vec<Effect> {
        let before = self.topics.app().cloned();
        let mut effects = Vec::new();
        if before.as_ref() == app {
            return effects;
        }
        for (before, channel) in self.local_channels(before.as_ref()) {
            let Some((pending, is_subscribed)) = self.topics.exit(&before, &channel) else { continue };
            let waiting = pending.into_iter().flat_map(|pending| pending.waiting);
            effects.extend(waiting.map(|completion| Effect::Complete(completion, Ok(Joined::default()))));
            if !is_subscribed && let Some(state) = self.apps.get_mut(&before) {
                state.history.unsubscribed(&channel);
            }
        }
        self.topics.set_app(app.cloned());
        for (app, channel) in self.local_channels(app) {
            self.topics.enter(&app, &channel);
        }
        effects
    }

    fn local_channels(&self, app: Option<&Arc<str>>) -> Vec<(Arc<str>, ChannelName)> {
        let channels = app.and_then(|app| Some((app, self.apps.get(app)?)));
        let channels =
            channels.into_iter().flat_map(|(app, state)| state.local.keys().map(move |name| (app, name)));
        channels.map(|(app, name)| (app.clone(), name.clone())).collect()
    }
}
