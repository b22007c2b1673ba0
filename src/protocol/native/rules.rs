use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use memchr::memmem;
use thiserror::Error;

use super::json_object::{JsonField, JsonObject};
use super::{ChannelSettings, ChannelsSettings, message};
use crate::message::{Audience, ChannelName, Encoding, Event, Frame, Position, UserId};

const TARGET: &str = "target_user_id";

/// Stands for all keys in `fields`.
const EVERYTHING: &str = "*";

/// The rules of all kinds of channels.
#[derive(Debug)]
pub(super) struct Rules {
    kinds: HashMap<String, Arc<Rule>, RandomState>,
    /// For kinds that the settings do not name: `[channels."*"]`, or else all fields, no targeting, and clients may send.
    other: Arc<Rule>,
}

/// What a kind of channel delivers, and to whom.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The kind, as the settings name it.
    pub(super) kind: String,
    /// The keys of `data` that are delivered; `None` delivers all.
    pub(super) fields: Option<Vec<String>>,
    pub(super) targeting: bool,
    pub(super) client_send: bool,
    pub(super) presence: bool,
}

/// `target_user_id` is neither a user ID (a positive integer, or a text) nor one of the values that mean everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("target_user_id is not a user's id")]
pub struct InvalidTarget;

impl Rules {
    pub(super) fn new(channels: &ChannelsSettings) -> Self {
        let rule = |kind: &str, settings: &ChannelSettings| {
            Arc::new(Rule {
                kind: kind.to_owned(),
                fields: settings
                    .fields
                    .clone()
                    .filter(|fields| !fields.iter().any(|field| field == EVERYTHING)),
                targeting: settings.targeting,
                client_send: settings.client_send,
                presence: settings.presence,
            })
        };
        let kinds = channels.iter().map(|(kind, settings)| (kind.clone(), rule(kind, settings))).collect();
        let other = channels.get(ChannelSettings::OTHERS).map_or_else(
            || {
                Arc::new(Rule {
                    kind: ChannelSettings::OTHERS.to_owned(),
                    fields: None,
                    targeting: false,
                    client_send: true,
                    presence: false,
                })
            },
            |settings| rule(ChannelSettings::OTHERS, settings),
        );
        Self { kinds, other }
    }

    /// Takes over whether clients see each other.
    pub(super) fn with_presence_of(mut self, before: &Self) -> Self {
        for (kind, rule) in &mut self.kinds {
            Arc::make_mut(rule).presence = before.kinds.get(kind).unwrap_or(&before.other).presence;
        }
        // A kind without rules of its own any more would lose them otherwise.
        for (kind, rule) in &before.kinds {
            if rule.presence && !self.kinds.contains_key(kind) {
                let rule = Rule { kind: kind.clone(), presence: true, ..Rule::clone(&self.other) };
                self.kinds.insert(kind.clone(), Arc::new(rule));
            }
        }
        Arc::make_mut(&mut self.other).presence = before.other.presence;
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.kinds.values().chain([&self.other]).map(|rule| &**rule)
    }

    pub(super) fn of(&self, channel: &ChannelName) -> &Arc<Rule> {
        self.kinds.get(channel.kind()).unwrap_or(&self.other)
    }
}

impl Rule {
    /// The kind, as the settings name it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Encodes an event for its receivers of an encoding. `position` is its place in the history of the channel. `omitted` is called with
    /// the kind and each key that is not delivered. An event with a `type` is delivered to everyone, with all of its data.
    pub fn deliver(
        &self,
        event: &Event,
        position: Option<Position>,
        encoding: Encoding,
        mut omitted: impl FnMut(&str, &str),
    ) -> Result<(Audience, Frame), InvalidTarget> {
        if let Some(message_type) = &event.message_type {
            let frame = message::encode(Some(message_type), position, &event.sender, &event.data, encoding);
            return Ok((Audience::Everyone, frame));
        }
        let (audience, data) = self.apply(&event.data, |key| omitted(&self.kind, key))?;
        Ok((audience, message::encode(None, position, &event.sender, &data, encoding)))
    }

    /// Checks that [`apply`](Self::apply) will succeed, so that the sender learns of an invalid target.
    pub(super) fn check(&self, data: &[u8]) -> Result<(), InvalidTarget> {
        static KEY: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(TARGET));
        static ESCAPE: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new("\\u"));
        // Most messages have no target, and a search for the key, or for an escape that could hide it, is enough.
        let may_have_target = || KEY.find(data).is_some() || ESCAPE.find(data).is_some();
        if self.targeting && may_have_target() {
            audience(&JsonObject::parse(data).ok_or(InvalidTarget)?)?;
        }
        Ok(())
    }

    /// The audience of an object, and the part of it that is delivered. `omitted` is called with each key that is not delivered
    /// because the fields do not name it.
    pub(super) fn apply<'a>(
        &self,
        data: &'a [u8],
        mut omitted: impl FnMut(&str),
    ) -> Result<(Audience, Cow<'a, [u8]>), InvalidTarget> {
        if !self.targeting && self.fields.is_none() {
            return Ok((Audience::Everyone, data.into()));
        }
        // The broker accepts only objects.
        let object = JsonObject::parse(data).ok_or(InvalidTarget)?;
        let audience = if self.targeting { audience(&object)? } else { Audience::Everyone };
        let mut kept = Vec::with_capacity(data.len());
        kept.push(b'{');
        for field in object.iter().filter(|field| !self.targeting || !field.is(TARGET)) {
            if !self.keeps(&field) {
                omitted(&field.name());
                continue;
            }
            if kept.len() > 1 {
                kept.push(b',');
            }
            field.write(&mut kept);
        }
        kept.push(b'}');
        Ok((audience, kept.into()))
    }

    fn keeps(&self, field: &JsonField<'_>) -> bool {
        self.fields.as_ref().is_none_or(|fields| fields.iter().any(|key| field.is(key)))
    }
}

/// Reads `target_user_id`, the last one if there are several, like `JSON.parse`.
fn audience(object: &JsonObject<'_>) -> Result<Audience, InvalidTarget> {
    let Some(target) = object.iter().rev().find(|field| field.is(TARGET)) else {
        return Ok(Audience::Everyone);
    };
    if matches!(target.value, "null" | "\"\"" | "false") {
        return Ok(Audience::Everyone);
    }
    let user = UserId::from_json(target.value).map_err(|_| InvalidTarget)?;
    // The same rule holds for a text that spells a number, because form fields and route parameters are texts.
    match user.number() {
        Some(0) => Ok(Audience::Everyone),
        Some(..0) => Err(InvalidTarget),
        Some(1..) | None => Ok(Audience::User(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let chat = ChannelSettings {
            fields: Some(vec!["message".into(), "name".into()]),
            targeting: true,
            client_send: true,
            presence: true,
            history: None,
            gate: None,
        };
        let whisper = ChannelSettings {
            fields: None,
            targeting: true,
            client_send: false,
            presence: false,
            history: None,
            gate: None,
        };
        Rules::new(&HashMap::from([("chat".into(), chat), ("whisper".into(), whisper)]))
    }

    fn applied(channel: &str, data: &str) -> Result<(Audience, String), InvalidTarget> {
        let rules = rules();
        let rule = rules.of(&ChannelName::new(channel).unwrap());
        let applied = rule.apply(data.as_bytes(), |_| ());
        assert_eq!(rule.check(data.as_bytes()).is_ok(), applied.is_ok());
        applied.map(|(audience, data)| (audience, String::from_utf8(data.to_vec()).unwrap()))
    }

    #[test]
    fn only_the_fields_survive_in_the_order_sent() {
        let (audience, data) =
            applied("chat:room1", r#"{"name" : "A", "x":{"y":1},"message": [1.0, 10000000000000000000000]}"#)
                .unwrap();
        assert_eq!(audience, Audience::Everyone);
        assert_eq!(data, r#"{"name":"A","message":[1.0, 10000000000000000000000]}"#);
        assert_eq!(applied("chat", "{}").unwrap().1, "{}");
        assert_eq!(applied("chat:", r#"{"m\u0065ssage":1}"#).unwrap().1, r#"{"m\u0065ssage":1}"#);
    }

    #[test]
    fn omitted_keys_are_named() {
        let named = |channel: &str, data: &str| {
            let (rules, mut named) = (rules(), Vec::new());
            let rule = rules.of(&ChannelName::new(channel).unwrap());
            rule.apply(data.as_bytes(), |key| named.push(key.to_owned())).unwrap();
            named
        };
        assert_eq!(named("chat:", r#"{"message":1,"massage":1,"n\u0061me":1,"\u0061":1}"#), ["massage", "a"]);
        assert_eq!(named("chat:", r#"{"target_user_id":7}"#), [""; 0]);
        assert_eq!(named("whisper:", r#"{"x":1}"#), [""; 0]);
        assert_eq!(named("other:", r#"{"x":1}"#), [""; 0]);
    }

    #[test]
    fn a_kind_can_restore_all_fields_and_a_wildcard_covers_other_kinds() {
        let rule = |fields: Option<&str>| ChannelSettings {
            fields: fields.map(|field| vec![field.to_owned()]),
            targeting: false,
            client_send: false,
            presence: false,
            history: None,
            gate: None,
        };
        let rules = Rules::new(&HashMap::from([
            ("chat".into(), rule(Some("*"))),
            ("*".into(), rule(Some("title"))),
            ("open".into(), rule(None)),
        ]));
        for (channel, kept) in
            [("chat:1", r#"{"x":1}"#), ("news:1", "{}"), ("*:", "{}"), ("open", r#"{"x":1}"#)]
        {
            let rule = rules.of(&ChannelName::new(channel).unwrap());
            let (_, data) = rule.apply(br#"{"x":1}"#, |_| ()).unwrap();
            assert_eq!(&*data, kept.as_bytes(), "{channel}");
            assert!(!rule.client_send);
        }
    }

    #[test]
    fn a_kind_without_rules_passes_everything() {
        let data = r#"{"target_user_id": 7, "x": 1}"#;
        assert_eq!(applied("tweets:", data).unwrap(), (Audience::Everyone, data.into()));
    }

    #[test]
    fn a_target_narrows_and_is_never_delivered() {
        let (audience, data) = applied("chat:", r#"{"message":"hi","target_user_id":7}"#).unwrap();
        assert_eq!((audience, data.as_str()), (Audience::User(7.into()), r#"{"message":"hi"}"#));
        let (audience, data) = applied("whisper:", r#"{"target_user_id":7,"x":1}"#).unwrap();
        assert_eq!((audience, data.as_str()), (Audience::User(7.into()), r#"{"x":1}"#));
        let (audience, _) = applied("chat:", r#"{"target_user_id":7,"target_user_id":8}"#).unwrap();
        assert_eq!(audience, Audience::User(8.into()));
    }

    #[test]
    fn a_target_may_be_a_text() {
        let target = |value: &str| applied("chat:", &format!(r#"{{"target_user_id":{value}}}"#)).unwrap().0;
        let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(target(&format!("{ulid:?}")), Audience::User(UserId::text(ulid).unwrap()));
        assert_eq!(target(r#""\u5c71""#), Audience::User(UserId::text("山").unwrap()));
        // What a form field has.
        assert_eq!(target(r#""7""#), Audience::User(7.into()));
    }

    #[test]
    fn a_missing_target_means_everyone_and_an_invalid_one_is_rejected() {
        assert_eq!(applied("chat:", r#"{"t\u0061rget_user_id":7}"#).unwrap().0, Audience::User(7.into()));
        assert_eq!(applied("chat:", r#"{"t\u0061rget_user_id":-7}"#), Err(InvalidTarget));
        for value in ["null", "0", r#""""#, r#""0""#, "false"] {
            let (audience, data) = applied("chat:", &format!(r#"{{"target_user_id":{value}}}"#)).unwrap();
            assert_eq!((audience, data.as_str()), (Audience::Everyone, "{}"), "{value}");
        }
        let long = format!("\"{}\"", "x".repeat(65));
        for value in
            [&long, r#""-1""#, "7.0", "1.5", "-1", "-0", "1e3", "true", "[]", "{}", "99999999999999999999"]
        {
            assert_eq!(
                applied("chat:", &format!(r#"{{"target_user_id":{value}}}"#)),
                Err(InvalidTarget),
                "{value}"
            );
        }
    }
}
