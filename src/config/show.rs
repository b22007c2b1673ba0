//! Prints the effective settings as TOML, with their origins and without secrets.

use std::fmt::Write;

use serde_json::Value as Json;

use super::{Config, SettingEntry};

const HIDDEN: &str = "********";

/// All settings, each with its origin as a comment.
#[must_use]
pub fn show(config: &Config) -> String {
    let mut text = String::new();
    let mut table = String::new();
    for entry in &config.entries {
        if entry.key.table() != table {
            table = entry.key.table();
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{table}]");
        }
        let value = to_toml(&masked(entry));
        let origin = entry.origin.as_deref().unwrap_or("default");
        let _ = writeln!(text, "{} = {value}  # {}", entry.key.name, one_line(origin));
    }
    text
}

fn masked(entry: &SettingEntry) -> Json {
    match (&*entry.key.section, &*entry.key.name, &entry.value) {
        ("auth" | "events", "secret", Json::String(secret)) if !secret.is_empty() => Json::from(HIDDEN),
        ("auth" | "api", "keys", Json::Array(keys)) => Json::Array(keys.iter().map(masked_key).collect()),
        ("", "apps", Json::Array(apps)) => Json::Array(apps.iter().map(masked_app).collect()),
        ("pusher" | "", "webhooks", Json::Array(webhooks)) => {
            Json::Array(webhooks.iter().map(masked_webhook).collect())
        }
        ("channels", "gate", gate) => masked_webhook(gate),
        ("redis", "url", Json::String(url)) => Json::from(masked_url(url)),
        ("tracing", "endpoint", Json::String(url)) if !url.is_empty() => Json::from(masked_webhook_url(url)),
        ("tracing", "headers", headers) => masked_headers(headers),
        (_, _, value) => value.clone(),
    }
}

fn masked_key(key: &Json) -> Json {
    let mut key = key.clone();
    if let Some(secret) = key.get_mut("secret") {
        *secret = Json::from(HIDDEN);
    }
    key
}

fn masked_app(app: &Json) -> Json {
    let mut app = masked_key(app);
    if let Some(Json::Array(secrets)) = app.get_mut("previous_secrets") {
        secrets.fill(Json::from(HIDDEN));
    }
    if let Some(Json::Array(webhooks)) = app.get_mut("webhooks") {
        *webhooks = webhooks.iter().map(masked_webhook).collect();
    }
    app
}

/// The path of a webhook's URL is often a secret, and its headers may contain a password.
fn masked_webhook(webhook: &Json) -> Json {
    let mut webhook = webhook.clone();
    if let Some(Json::String(url)) = webhook.get_mut("url") {
        *url = masked_webhook_url(url);
    }
    if let Some(headers) = webhook.get_mut("headers") {
        *headers = masked_headers(headers);
    }
    webhook
}

fn masked_headers(headers: &Json) -> Json {
    let Json::Object(headers) = headers else { return Json::from(HIDDEN) };
    headers.keys().map(|name| (name.clone(), Json::from(HIDDEN))).collect()
}

/// Keeps only the scheme, the host and the port.
fn masked_webhook_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_owned() };
    let (authority, path) = match rest.find(['/', '?', '#']).and_then(|at| rest.split_at_checked(at)) {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    match path {
        "" | "/" => format!("{scheme}://{host}{path}"),
        _ => format!("{scheme}://{host}/{HIDDEN}"),
    }
}

/// Hides the password, between the first colon after the scheme and the last @.
fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // The query of redis+unix:// contains the password.
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let query = query.map(|_| format!("?{HIDDEN}")).unwrap_or_default();
    match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{host}{query}"),
            None => format!("{scheme}://{login}@{host}{query}"),
        },
        None => format!("{scheme}://{rest}{query}"),
    }
}

fn to_toml(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(to_toml).collect::<Vec<_>>().join(", ")),
        Json::Object(table) if table.is_empty() => "{}".to_owned(),
        Json::Object(table) => {
            let pairs: Vec<_> =
                table.iter().map(|(name, value)| format!("{name} = {}", to_toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        // TOML strings are escaped like JSON's, except that DEL must be escaped as well.
        other => other.to_string().replace('\u{7f}', "\\u007f"),
    }
}

fn one_line(origin: &str) -> String {
    origin.chars().filter(|c| !c.is_control()).collect()
}
