use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{server, telemetry};

#[derive(Debug, Clone)]
pub struct Settings {
    pub server: server::Settings,
    /// `[log]`
    pub log: telemetry::Settings,
}

impl Settings {
    /// Requires every section with every setting, as the defaults have them.
    pub(super) fn deserialize(sections: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        Ok(Self {
            server: server::Settings {
                server: section(sections, "server")?,
                admin: section(sections, "admin")?,
                api: section(sections, "api")?,
                console: section(sections, "console")?,
                auth: section(sections, "auth")?,
                redis: section(sections, "redis")?,
                limits: section(sections, "limits")?,
                heartbeat: section(sections, "heartbeat")?,
                sender: section(sections, "sender")?,
                channels: section(sections, "channels")?,
                pusher: section(sections, "pusher")?,
                apps: section(sections, "apps")?,
                recovery: section(sections, "recovery")?,
                webhooks: section(sections, "webhooks")?,
                events: section(sections, "events")?,
                tracing: section(sections, "tracing")?,
            },
            log: section(sections, "log")?,
        })
    }
}

fn section<T: DeserializeOwned>(sections: &Map<String, Value>, name: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(sections.get(name).cloned().unwrap_or(Value::Null))
}
