use std::collections::HashMap;

use crate::message::RetentionTable;
use crate::protocol::native::{ChannelSettings, ChannelsSettings};
use crate::protocol::pusher::Apps;

/// Which channels have a history.
pub(super) fn retention(channels: &ChannelsSettings, apps: &Apps, channel_bytes: usize) -> RetentionTable {
    let mut kinds: HashMap<_, _> =
        channels.iter().map(|(kind, rules)| (kind.clone(), rules.history)).collect();
    let other_kinds = kinds.remove(ChannelSettings::OTHERS).flatten();
    let apps = apps.iter().filter(|app| app.enabled && !app.rules.history.is_empty()).map(|app| {
        let patterns = app
            .rules
            .history
            .iter()
            .flat_map(|rule| rule.channels.iter().map(|channel| (channel.clone(), rule.retention)));
        (app.credentials.id().clone(), patterns.collect())
    });
    RetentionTable { kinds, other_kinds, apps: apps.collect(), channel_bytes }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::{ChannelName, RetentionRules};

    #[test]
    fn only_the_channels_of_the_settings_have_a_history() {
        let channels = json!({
            "chat": { "history": { "messages": 5, "age": "2m" } },
            "tweet": {},
            "*": { "history": { "messages": 6, "age": "2m" } },
        });
        let defaults = json!({ "history": [{ "channels": ["news*"], "messages": 3, "age": "2m" }] });
        let of_one = json!([{ "channels": ["a", "news.1"], "messages": 4, "age": "3m" }]);
        let apps = json!([
            { "id": "1", "key": "k", "secret": "s", "history": of_one },
            { "id": "2", "key": "l", "secret": "s" },
            { "id": "3", "key": "m", "secret": "s", "enabled": false },
        ]);
        let settings: Vec<_> = serde_json::from_value(apps).unwrap();
        let apps = Apps::new(&serde_json::from_value(defaults).unwrap(), &settings).unwrap();
        let rules = RetentionRules::new(retention(&serde_json::from_value(channels).unwrap(), &apps, 1));
        let native = |name: &str| Some(rules.of(&ChannelName::new(name).unwrap())?.messages);
        assert_eq!([native("chat:1"), native("tweet:"), native("feed:1")], [Some(5), None, Some(6)]);
        let of_app = |app: &str, name: &str| Some(rules.of_app(app, name)?.messages);
        let of_one = [of_app("1", "a"), of_app("1", "news.1"), of_app("1", "news.2")];
        assert_eq!(of_one, [Some(4), Some(4), Some(3)]);
        assert_eq!([of_app("2", "a"), of_app("2", "news.1"), of_app("3", "news.1")], [None, Some(3), None]);
    }

    #[test]
    fn settings_without_a_history_leave_the_store_off() {
        let channels = json!({ "chat": {}, "*": {} });
        let apps = json!([{ "id": "1", "key": "k", "secret": "s" }]);
        let settings: Vec<_> = serde_json::from_value(apps).unwrap();
        let apps = Apps::new(&serde_json::from_value(json!({})).unwrap(), &settings).unwrap();
        assert!(retention(&serde_json::from_value(channels).unwrap(), &apps, 1).is_empty());
    }
}
