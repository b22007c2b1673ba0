//! Settings that work, but probably not as intended.

use humantime::format_duration;

use super::{Config, Key, Problem, secrets};
use crate::message::Retention;
use crate::protocol::pusher::{AppSettings, PusherSettings};
use crate::transport::Limits;

pub(super) fn of(config: &Config) -> Vec<Problem> {
    let mut warnings = odd_secrets(config);
    warnings.extend(api_without_keys(config));
    warnings.extend(exceeded_limits(config));
    warnings.extend(short_histories(config));
    warnings
}

/// Secrets with characters that were probably not meant to be part of them.
fn odd_secrets(config: &Config) -> Vec<Problem> {
    secrets::of(config)
        .filter_map(|secret| {
            let message = oddity(secret.text())?;
            Some(Problem::new(&*secret.at, config.origin(&secret.key), message))
        })
        .collect()
}

/// An address at which the API rejects everything.
fn api_without_keys(config: &Config) -> Option<Problem> {
    let server = &config.settings.server;
    let is_closed = server.api.keys.is_empty() && !server.admin.listen.ip().to_canonical().is_loopback();
    is_closed.then(|| {
        let message =
            "is empty, so the API and POST /disconnect answer 403: admin.listen is not a loopback address";
        Problem::new("api.keys", config.origin(&Key::new("admin", "listen")), message)
    })
}

/// How a secret looks as if another syntax for variable files was expected.
fn oddity(secret: &str) -> Option<&'static str> {
    let quoted = |mark: char| secret.len() > 1 && secret.starts_with(mark) && secret.ends_with(mark);
    if quoted('"') || quoted('\'') {
        Some("is in quotation marks, which are part of it: Docker's --env-file does not remove them")
    } else if secret.trim() != secret {
        Some("begins or ends with white space, which is part of it")
    } else if secret.contains(" #") {
        Some("contains \" #\": systemd and Docker do not remove a comment after a value")
    } else {
        None
    }
}

/// Settings of apps that allow more than the server's limits do.
fn exceeded_limits(config: &Config) -> Vec<Problem> {
    let server = &config.settings.server;
    let check = |rules: &PusherSettings, at: &str, key: &dyn Fn(&str) -> Key| {
        [
            ("presence_members", long_list(rules, &server.limits)),
            ("event_bytes", large_event(rules, &server.limits)),
        ]
        .into_iter()
        .filter_map(|(name, message)| {
            Some(Problem::new(format!("{at}.{name}"), config.origin(&key(name)), message?))
        })
        .collect::<Vec<_>>()
    };
    let differs = |app: &AppSettings| {
        app.presence_members.is_some() || app.presence_user_bytes.is_some() || app.event_bytes.is_some()
    };
    let of_all = server.apps.is_empty() || server.apps.iter().any(|app| app.enabled && !differs(app));
    let of_all = of_all.then(|| check(&server.pusher, "pusher", &|name| Key::new("pusher", name)));
    let own = server.apps.iter().enumerate().filter(|(_, app)| app.enabled && differs(app));
    let own = own.flat_map(|(index, app)| {
        check(&app.with_defaults(&server.pusher), &format!("apps[{index}]"), &|_| Key::top("apps"))
    });
    of_all.into_iter().flatten().chain(own).collect()
}

/// Histories that are shorter than the time that a page may be away.
fn short_histories(config: &Config) -> Vec<Problem> {
    let server = &config.settings.server;
    let window = server.recovery.window;
    let mut warnings = Vec::new();
    let mut check = |retention: &Retention, at: String, key: Key| {
        if retention.age < window {
            let (age, window) = (format_duration(retention.age), format_duration(window));
            let message = format!(
                "{age} is shorter than recovery.window ({window}): clients that are away for longer than {age} are told that \
                 messages may be missing"
            );
            warnings.push(Problem::new(at, config.origin(&key), message));
        }
    };
    let mut kinds: Vec<_> = server.channels.iter().collect();
    kinds.sort_unstable_by_key(|(kind, _)| *kind);
    for (kind, rules) in kinds {
        if let Some(retention) = &rules.history {
            let key = Key::of_channel(kind, "history");
            check(retention, format!("{key}.age"), key);
        }
    }
    for (index, rule) in server.pusher.history.iter().enumerate() {
        check(&rule.retention, format!("pusher.history[{index}].age"), Key::new("pusher", "history"));
    }
    for (app, settings) in server.apps.iter().enumerate() {
        for (index, rule) in settings.history.iter().flatten().enumerate() {
            check(&rule.retention, format!("apps[{app}].history[{index}].age"), Key::top("apps"));
        }
    }
    warnings
}

/// A client that joins a presence channel receives the list of all members in one message.
fn long_list(rules: &PusherSettings, limits: &Limits) -> Option<String> {
    let (members, each, outbox) = (rules.presence_members, rules.presence_user_bytes, limits.outbox_bytes);
    let all = members.saturating_mul(each);
    (all > outbox).then(|| {
        format!(
            "{members} members with up to {each} bytes of presence_user_bytes each are {all} bytes, and \
             limits.outbox_bytes is {outbox}: a client that joins a channel with a larger list is closed with 1013"
        )
    })
}

/// An event is JSON in a JSON string, where each quotation mark and line break takes two bytes.
fn large_event(rules: &PusherSettings, limits: &Limits) -> Option<String> {
    let (bytes, frame, outbox) =
        (rules.event_bytes, rules.event_bytes.saturating_mul(2), limits.outbox_bytes);
    (frame > outbox).then(|| {
        format!(
            "an event of {bytes} bytes may take {frame} on the wire, and limits.outbox_bytes is {outbox}: a larger one is \
             dropped (too_large)"
        )
    })
}
