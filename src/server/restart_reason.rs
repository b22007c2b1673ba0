/// Why a setting of this name takes effect only with a restart. `None`: a running server takes it over. `has_store`: a channel had a
/// history at the start.
pub(super) fn restart_reason(name: &str, has_store: bool) -> Option<&'static str> {
    const AT_START: &str = "it is read only at the start";
    let (section, rest) = name.split_once('.').unwrap_or((name, ""));
    let last = rest.rsplit('.').next().unwrap_or_default();
    match (section, last) {
        ("auth", "close_on_expiry") => Some("open connections remember when they close"),
        ("auth", "jwks_url") => Some("the keys are fetched from the start on"),
        ("auth", "max_token_age") => Some("stored revocations have this life"),
        ("channels", "presence") => Some("clients that are connected would not see each other"),
        ("channels" | "apps" | "pusher", "history") => {
            (!has_store).then_some("no channel had a history at the start, and nothing is stored")
        }
        ("apps" | "auth" | "events" | "heartbeat" | "pusher" | "webhooks", _)
        | ("api", "keys")
        | ("log", "level")
        | ("server", "origins")
        | ("channels", "client_send" | "fields" | "gate" | "targeting")
        | (
            "limits",
            "burst" | "connections" | "connections_per_user" | "message_bytes" | "messages_per_second",
        ) => None,
        ("admin", "listen") | ("server", "host" | "port") => Some("the port is opened at the start"),
        ("redis", _) => Some("the cluster of the node and what it has stored depend on it"),
        ("limits", "outbox_bytes" | "queue_bytes") => Some("the queues are bounded at the start"),
        ("recovery", _) => Some("what is kept already has its limits"),
        _ => Some(AT_START),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_state_of_its_own_needs_a_restart() {
        for name in [
            "api.keys",
            "auth.secret",
            "auth.keys",
            "channels.chat.fields",
            "channels.chat.gate",
            "channels.chat.history",
            "apps",
            "apps.7",
            "apps.1.history",
            "apps.1.webhooks",
            "events.stream",
            "webhooks",
            "channels.\"a.b\".client_send",
            "heartbeat.interval",
            "limits.connections",
            "log.level",
            "apps.1.enabled",
            "apps.my.app.secret",
            "pusher.client_events",
            "server.origins",
        ] {
            assert_eq!(restart_reason(name, true), None, "{name}");
        }
        for name in [
            "api.public_path",
            "auth.close_on_expiry",
            "auth.jwks_url",
            "auth.max_token_age",
            "channels.chat.presence",
            "limits.outbox_bytes",
            "log.format",
            "server.port",
            "redis.url",
            "unheard.of",
        ] {
            assert!(restart_reason(name, true).is_some(), "{name}");
        }
    }

    #[test]
    fn the_first_history_needs_a_restart() {
        for name in ["channels.chat.history", "pusher.history", "apps.1.history"] {
            assert!(restart_reason(name, false).is_some(), "{name}");
        }
    }
}
