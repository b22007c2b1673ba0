use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::channel::Channel;
use crate::message::{ChannelName, ChannelPattern, Retention};

/// An entry of `[[pusher.history]]` or `[[apps.history]]`: channels that have a history.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct HistoryRule {
    /// At least one.
    pub channels: Vec<ChannelPattern>,
    pub retention: Retention,
}

/// The keys of a rule: its channels beside the keys of their retention.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(deserialize_with = "patterns")]
    channels: Vec<ChannelPattern>,
    messages: serde_json::Value,
    age: serde_json::Value,
}

impl TryFrom<Fields> for HistoryRule {
    type Error = serde_json::Error;

    fn try_from(Fields { channels, messages, age }: Fields) -> Result<Self, Self::Error> {
        let retention = serde_json::json!({ "messages": messages, "age": age });
        Ok(Self { channels, retention: serde_json::from_value(retention)? })
    }
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ChannelPattern>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.is_empty() {
        return Err(D::Error::custom(
            "must name at least one channel, such as \"news\" or \"private-orders.*\"",
        ));
    }
    texts.iter().map(|text| pattern(text).map_err(D::Error::custom)).collect()
}

/// Reads a pattern that matches at least one valid name.
fn pattern(text: &str) -> Result<ChannelPattern, String> {
    let prefix = text.strip_suffix('*');
    if prefix.unwrap_or(text).contains('*') {
        return Err(format!("{text:?}: a * may only stand at the end, for any text"));
    }
    // Any text that follows the prefix.
    let example = prefix.map_or_else(|| text.to_owned(), |prefix| format!("{prefix}1"));
    match Channel::new(&example, ChannelName::MAX_BYTES) {
        Ok(_) => Ok(ChannelPattern::new(text)),
        Err(error) => Err(format!("{text:?} is not a channel: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rule_names_channels_and_their_retention() {
        let text =
            r##"{"channels":["private-orders.*","news","*","#server-to-user-*"],"messages":5,"age":"2m"}"##;
        let rule: HistoryRule = serde_json::from_str(text).unwrap();
        assert_eq!(rule.retention, Retention { messages: 5, age: Duration::from_secs(120) });
        assert!(rule.channels[0].matches("private-orders.7") && !rule.channels[1].matches("news.7"));
    }

    #[test]
    fn wrong_patterns_are_errors_that_name_the_pattern() {
        for (channels, expected) in [
            ("[]", "must name at least one channel"),
            (r#"[""]"#, "\"\" is not a channel: a channel name must not be empty"),
            (r#"["a*b"]"#, "\"a*b\": a * may only stand at the end, for any text"),
            (r#"["a**"]"#, "\"a**\": a * may only stand at the end, for any text"),
            (r#"["news","chat:*"]"#, "\"chat:*\" is not a channel: a channel name has letters, digits"),
            (r##"["#users.*"]"##, "\"#users.*\" is not a channel: channels that start with # are reserved"),
        ] {
            let text = format!(r#"{{"channels":{channels},"messages":1,"age":"1s"}}"#);
            let error = serde_json::from_str::<HistoryRule>(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
