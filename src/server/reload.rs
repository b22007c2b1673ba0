//! Takes over changed settings while the server runs. Only the connections of removed apps are closed.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::apps::{apps, rules};
use super::laravel_messages::LaravelMessages;
use super::restart_reason::restart_reason;
use super::retention::retention;
use super::webhooks::start_webhooks;
use super::{Listen, Settings};
use crate::api::{Api, ApiKeys, ApiState, PendingSetting, ReloadReport};
use crate::auth::{self, Authenticator};
use crate::broker::Broker;
use crate::channels::Channels;
use crate::endpoint::native::NativeService;
use crate::endpoint::pusher::PusherEndpoint;
use crate::hub::Clock;
use crate::message::{AppMessages as _, RetentionRules};
use crate::protocol::native::{PRESENCE_APP, PresenceEncoder};
use crate::telemetry::Metrics;
use crate::transport::{ConnectionOptions, EndpointContext, Limits, OriginPolicy};
use crate::webhooks::ActiveWebhooks;

/// Where a running server gets changed settings from.
pub struct Reloads {
    pub read: ReadSettings,
    /// Each message is a request to reload.
    pub requests: mpsc::UnboundedReceiver<()>,
}

/// Reads and validates all settings again. The error has one problem a line.
pub type ReadSettings = Box<dyn Fn() -> Result<ChangedSettings, String> + Send + Sync>;

/// What a server is given when the settings have been read again.
pub struct ChangedSettings {
    pub settings: Settings,
    /// The names of the settings that differ from those read before.
    pub since_last: Vec<String>,
    /// Those that differ from the start.
    pub since_start: Vec<String>,
    /// Called when the settings are in force.
    pub on_taken_over: Box<dyn FnOnce() + Send>,
}

/// Reloads the settings of a server.
pub(super) struct Reloader {
    read: ReadSettings,
    /// Those in force. Held while settings are taken over, so that this happens one at a time.
    current: Mutex<Settings>,
    parts: Parts,
}

/// The parts of a server that take over settings.
pub(super) struct Parts {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) native: Arc<NativeService>,
    pub(super) context: Arc<EndpointContext>,
    pub(super) pusher: Arc<PusherEndpoint>,
    pub(super) channels: Arc<Channels>,
    pub(super) api: Arc<ApiState>,
    pub(super) api_keys: Arc<ApiKeys>,
    pub(super) broker: Arc<Broker>,
    pub(super) retention: Arc<RetentionRules>,
    pub(super) laravel_messages: Arc<LaravelMessages>,
    pub(super) webhooks: Arc<ActiveWebhooks>,
    pub(super) encoder: Arc<PresenceEncoder>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

impl Reloader {
    /// Reloads at each request, also of the API. Needs a tokio runtime.
    pub(super) fn start(Reloads { read, requests }: Reloads, current: Settings, parts: Parts) {
        let reloader = Arc::new(Self { read, current: Mutex::new(current), parts });
        reloader.parts.api.set_reload({
            let reloader = Arc::downgrade(&reloader);
            Box::new(move || {
                reloader.upgrade().map_or_else(|| Err("the server is stopping".into()), |of| of.reload())
            })
        });
        tokio::spawn(reloader.run(requests));
    }

    /// Reads the settings again, and takes over what can be. The error has one problem a line; nothing has changed then.
    fn reload(&self) -> Result<ReloadReport, String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let has_store = !self.parts.retention.is_empty();
        let read = (self.read)().and_then(|changed| {
            let merged = merge(&current, changed.settings, has_store);
            self.parts.take_over(&merged, changed.since_last.iter().any(|name| concerns_webhooks(name)))?;
            *current = merged;
            (changed.on_taken_over)();
            let reason = |name: &str| restart_reason(name, has_store);
            let reloaded = changed.since_last.into_iter().filter(|name| reason(name).is_none());
            let pending = changed.since_start.into_iter();
            let pending =
                pending.filter_map(|setting| Some(PendingSetting { reason: reason(&setting)?, setting }));
            Ok(ReloadReport { reloaded: reloaded.collect(), pending: pending.collect() })
        });
        match &read {
            Ok(ReloadReport { reloaded, pending }) => {
                tracing::info!(settings = reloaded.join(", "), "settings reloaded");
                for PendingSetting { setting, reason } in pending {
                    tracing::warn!(setting, reason, "setting changed, but needs a restart");
                }
            }
            Err(problems) => {
                for problem in problems.lines() {
                    tracing::error!(problem, "settings not reloaded: the previous ones stay in force");
                }
            }
        }
        read
    }

    /// Reloads at each request, until they end.
    async fn run(self: Arc<Self>, mut requests: mpsc::UnboundedReceiver<()>) {
        while requests.recv().await.is_some() {
            let reloader = self.clone();
            // Files are read.
            let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
        }
    }
}

impl Parts {
    /// Takes over all reloadable settings, or none: what can fail comes first.
    fn take_over(&self, settings: &Settings, replaces_webhooks: bool) -> Result<(), String> {
        let apps = apps(settings).map_err(|error| error.to_string())?;
        self.authenticator.set_requirements(&settings.auth).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })?;
        self.api_keys.set(&settings.api.keys);
        self.native.native.set_rules(&settings.channels);
        self.native.set_gates(&settings.channels, &settings.events, settings.limits.message_bytes);
        self.context.set_limits(&settings.limits);
        self.context.set_options(
            ConnectionOptions::new(self.clock, &settings.limits, &settings.heartbeat),
            OriginPolicy::new(&settings.server.origins),
        );
        self.retention.set(retention(&settings.channels, &apps, self.retention.channel_bytes()));
        self.laravel_messages.set_apps(apps.clone());
        self.broker.keep_topics(self.laravel_messages.topics());
        let told_of_users = self.webhooks.has(PRESENCE_APP);
        if replaces_webhooks {
            let before = self.webhooks.current();
            let new = start_webhooks(settings, &apps, &self.broker, &self.metrics, Some(&before));
            drop(before);
            self.native.events.store(new.native().cloned());
            self.webhooks.replace(new);
        }
        // Before connections of new apps come.
        let has_members = self.webhooks.has(PRESENCE_APP);
        self.channels.set_apps(rules(&apps, has_members.then_some(&self.encoder)));
        if replaces_webhooks && (told_of_users || has_members) {
            self.native.silent_presence.review();
        }
        self.api.apps.store(Arc::new(apps.clone()));
        self.pusher.set_apps(apps);
        Ok(())
    }
}

/// Whether the webhooks of this setting's section have to be started again: they know the secrets of apps.
fn concerns_webhooks(name: &str) -> bool {
    let section = name.split('.').next().unwrap_or_default();
    matches!(section, "apps" | "events" | "webhooks") || name == "pusher.webhooks"
}

/// The new settings, with what cannot change of the current ones. Without a store, there are no histories.
fn merge(current: &Settings, new: Settings, has_store: bool) -> Settings {
    let current = current.clone();
    let mut merged = Settings {
        server: Listen { origins: new.server.origins, ..current.server },
        api: Api { keys: new.api.keys, ..current.api },
        auth: auth::Settings {
            close_on_expiry: current.auth.close_on_expiry,
            max_token_age: current.auth.max_token_age,
            jwks_url: current.auth.jwks_url,
            ..new.auth
        },
        limits: Limits {
            burst: new.limits.burst,
            connections: new.limits.connections,
            connections_per_user: new.limits.connections_per_user,
            message_bytes: new.limits.message_bytes,
            messages_per_second: new.limits.messages_per_second,
            ..current.limits
        },
        heartbeat: new.heartbeat,
        // Who sees whom stays: see `Native::set_rules`.
        channels: new.channels,
        pusher: new.pusher,
        apps: new.apps,
        webhooks: new.webhooks,
        events: new.events,
        ..current
    };
    if !has_store {
        merged.channels.values_mut().for_each(|kind| kind.history = None);
        merged.pusher.history.clear();
        merged.apps.iter_mut().for_each(|app| app.history = None);
    }
    merged
}
