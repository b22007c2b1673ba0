use std::sync::Arc;

use anyhow::anyhow;

use super::Settings;
use crate::channels::AppRules;
use crate::protocol::native::{PRESENCE_APP, PresenceEncoder};
use crate::protocol::pusher::{App, Apps};

/// The apps of the settings.
pub(super) fn apps(settings: &Settings) -> anyhow::Result<Apps> {
    Apps::new(&settings.pusher, &settings.apps).map_err(|problems| {
        let lines: Vec<String> = problems
            .iter()
            .map(|(index, problem)| format!("apps[{index}].{}: {}", problem.key, problem.message))
            .collect();
        anyhow!("{}", lines.join("\n"))
    })
}

/// What the engine has to know of the apps, the default one first, and of native channels, if it has to know who is
/// there.
pub(super) fn rules(apps: &Apps, native: Option<&Arc<PresenceEncoder>>) -> Vec<AppRules> {
    let first = apps.first().into_iter();
    let others = apps.iter().filter(|app| apps.first().is_none_or(|first| !Arc::ptr_eq(first, app)));
    let rules = |app: &Arc<App>| AppRules {
        id: app.credentials.id().clone(),
        connections: app.rules.connections,
        presence_members: app.rules.presence_members,
        member_encoder: None,
        subscription_count: app.rules.subscription_count,
        cache_ttl: u64::try_from(app.rules.cache_ttl.as_millis()).unwrap_or(u64::MAX),
        event_bytes: app.rules.event_bytes,
    };
    let native = native.map(|encoder| AppRules {
        id: PRESENCE_APP.into(),
        connections: 0,
        presence_members: usize::MAX,
        member_encoder: Some(encoder.clone()),
        subscription_count: false,
        cache_ttl: 0,
        event_bytes: 0,
    });
    first.chain(others).map(rules).chain(native).collect()
}
