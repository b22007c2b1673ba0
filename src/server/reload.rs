//! Takes over changed settings while the server runs. No connection is closed.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::Settings;
use super::apps::{apps, rules};
use crate::api::{ApiState, ReloadReport};
use crate::auth::{self, Authenticator};
use crate::channels::Channels;
use crate::endpoint::pusher::PusherEndpoint;
use crate::hub::Clock;
use crate::protocol::native::Native;
use crate::protocol::pusher::{AppSettings, PusherSettings};
use crate::transport::{ConnectionOptions, EndpointContext, OriginPolicy};

/// Where a running server gets changed settings from.
pub struct Reloads {
    pub read: ReadSettings,
    /// Each message is a request to reload.
    pub requests: mpsc::UnboundedReceiver<()>,
}

/// Reads and validates all settings again. The error has one problem a line.
pub type ReadSettings = Box<dyn Fn() -> Result<ChangedSettings, String> + Send + Sync>;

/// What a server is given when the settings have been read again.
#[derive(Debug)]
pub struct ChangedSettings {
    pub settings: Settings,
    /// The [reloadable](is_reloadable) settings that differ from those in force.
    pub reloaded: Vec<String>,
    /// The others that differ from those at the start.
    pub pending: Vec<String>,
}

/// Whether a running server takes over a setting of this name.
#[must_use]
pub fn is_reloadable(name: &str) -> bool {
    let (section, rest) = name.split_once('.').unwrap_or((name, ""));
    let last = rest.rsplit('.').next().unwrap_or_default();
    match section {
        "auth" => !matches!(last, "close_on_expiry" | "jwks_url" | "max_token_age"),
        "channels" => matches!(last, "fields" | "targeting" | "client_send"),
        "heartbeat" => true,
        "limits" => matches!(
            last,
            "burst" | "connections" | "connections_per_user" | "message_bytes" | "messages_per_second"
        ),
        "log" => last == "level",
        // Their histories and webhooks have state.
        "apps" | "pusher" => !matches!(last, "" | "history" | "webhooks"),
        "server" => last == "origins",
        _ => false,
    }
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
    pub(super) native: Arc<Native>,
    pub(super) context: Arc<EndpointContext>,
    pub(super) pusher: Arc<PusherEndpoint>,
    pub(super) channels: Arc<Channels>,
    pub(super) api: Arc<ApiState>,
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
        let read = (self.read)().and_then(|changed| {
            let merged = merge(&current, changed.settings);
            self.parts.take_over(&merged)?;
            *current = merged;
            Ok(ReloadReport { reloaded: changed.reloaded, pending: changed.pending })
        });
        match &read {
            Ok(ReloadReport { reloaded, pending }) => {
                tracing::info!(settings = reloaded.join(", "), "settings reloaded");
                if !pending.is_empty() {
                    tracing::warn!(
                        settings = pending.join(", "),
                        "these settings have changed and need a restart"
                    );
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
    /// Takes over all reloadable settings, or none.
    fn take_over(&self, settings: &Settings) -> Result<(), String> {
        let apps = apps(settings).map_err(|error| error.to_string())?;
        self.authenticator.set_requirements(&settings.auth).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })?;
        self.native.set_rules(&settings.channels);
        self.context.set_limits(&settings.limits);
        self.context.set_options(
            ConnectionOptions::new(self.clock, &settings.limits, &settings.heartbeat),
            OriginPolicy::new(&settings.server.origins),
        );
        self.channels.set_rules(rules(&apps, None));
        self.api.apps.store(Arc::new(apps.clone()));
        self.pusher.set_apps(apps);
        Ok(())
    }
}

/// The current settings with those of the new ones that are reloadable.
fn merge(current: &Settings, new: Settings) -> Settings {
    let mut merged = current.clone();
    let auth::Settings { close_on_expiry, max_token_age, jwks_url, .. } = current.auth.clone();
    merged.auth = auth::Settings { close_on_expiry, max_token_age, jwks_url, ..new.auth };
    merged.heartbeat = new.heartbeat;
    merged.server.origins = new.server.origins;
    merged.limits.burst = new.limits.burst;
    merged.limits.connections = new.limits.connections;
    merged.limits.connections_per_user = new.limits.connections_per_user;
    merged.limits.message_bytes = new.limits.message_bytes;
    merged.limits.messages_per_second = new.limits.messages_per_second;
    // The history of a kind stays, and who sees whom: see `Native::set_rules`.
    merged.channels = new.channels;
    let PusherSettings { webhooks, history, .. } = current.pusher.clone();
    merged.pusher = PusherSettings { webhooks, history, ..new.pusher };
    for app in &mut merged.apps {
        if let Some(changed) = new.apps.iter().find(|changed| changed.id == app.id) {
            let AppSettings { webhooks, history, .. } = app.clone();
            *app = AppSettings { webhooks, history, ..changed.clone() };
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_state_of_its_own_needs_a_restart() {
        for name in [
            "auth.secret",
            "auth.keys",
            "channels.chat.fields",
            "channels.\"a.b\".client_send",
            "heartbeat.interval",
            "limits.connections",
            "log.level",
            "apps.1.enabled",
            "apps.my.app.secret",
            "pusher.client_events",
            "server.origins",
        ] {
            assert!(is_reloadable(name), "{name}");
        }
        for name in [
            "auth.close_on_expiry",
            "auth.jwks_url",
            "auth.max_token_age",
            "channels.chat.history",
            "channels.chat.presence",
            "limits.outbox_bytes",
            "log.format",
            "apps",
            "apps.1.webhooks",
            "pusher.history",
            "server.port",
            "redis.url",
            "unheard.of",
        ] {
            assert!(!is_reloadable(name), "{name}");
        }
    }
}
