use std::sync::Arc;

use super::channel::channel_kind;
use super::client_message::CLIENT_PREFIX;
use super::{ENCODING_WITH_IDS, laravel, server_message};
use crate::message::{
    Broadcast, ChannelKind, ChannelName, Dialect, Encoding, Frame, InvalidBroadcast, Notice, Position,
};

/// The Pusher protocol's implementation of [`Dialect`].
#[derive(Debug)]
pub struct PusherDialect;

impl Dialect for PusherDialect {
    fn encode(&self, notice: &Notice<'_>) -> Frame {
        match *notice {
            Notice::Event { channel, event, data, user_id } => {
                server_message::channel_event(channel.as_str(), event, data, user_id)
            }
            Notice::MemberAdded { channel, member } => server_message::member_added(channel.as_str(), member),
            Notice::MemberRemoved { channel, member } => {
                server_message::member_removed(channel.as_str(), &member.user_id)
            }
            Notice::SubscriptionCount { channel, count } => {
                server_message::subscription_count(channel.as_str(), count)
            }
            Notice::UserOnline(user) => server_message::watchlist_events(std::slice::from_ref(user), &[]),
            Notice::UserOffline(user) => server_message::watchlist_events(&[], std::slice::from_ref(user)),
        }
    }

    fn encode_at(&self, notice: &Notice<'_>, position: Position, encoding: Encoding) -> Frame {
        match *notice {
            Notice::Event { channel, event, data, user_id } if encoding == ENCODING_WITH_IDS => {
                server_message::stored_event(channel.as_str(), event, data, user_id, position)
            }
            _ => self.encode(notice),
        }
    }

    fn gap(&self, channel: &ChannelName, id: Option<&str>, encoding: Encoding) -> Option<Frame> {
        (encoding == ENCODING_WITH_IDS).then(|| server_message::gap(channel.as_str(), id))
    }

    fn kind(&self, channel: &ChannelName) -> ChannelKind {
        channel_kind(channel.as_str())
    }

    fn is_kept(&self, channel: &ChannelName, event: &str) -> bool {
        self.kind(channel).is_cache && !event.starts_with(CLIENT_PREFIX)
    }

    /// Leaves out encrypted channels, because Laravel's `redis` broadcaster does not encrypt.
    fn kept_topics(&self) -> &'static [&'static str] {
        &["cache-", "private-cache-", "presence-cache-"]
    }

    fn decode_topic(
        &self,
        app: &Arc<str>,
        channel: &ChannelName,
        payload: &[u8],
    ) -> Result<Option<Broadcast>, InvalidBroadcast> {
        laravel::decode(app, channel, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::pusher::ENCODING;

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    #[test]
    fn the_prefix_determines_the_channel_kind() {
        let kind = |text: &str| {
            let ChannelKind { is_presence, is_cache, is_guarded, is_listed } =
                PusherDialect.kind(&name(text));
            [is_presence, is_cache, is_guarded, is_listed]
        };
        for (text, expected) in [
            ("a", [false, false, false, true]),
            ("cache-a", [false, true, false, true]),
            ("private-a", [false, false, true, true]),
            ("private-cache-a", [false, true, true, true]),
            ("private-encrypted-cache-a", [false, true, true, true]),
            ("presence-a", [true, false, true, true]),
            ("presence-cache-a", [true, true, true, true]),
            ("#server-to-user-7", [false, false, true, false]),
            ("#", [false, false, false, false]),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        let scoped = ChannelName::scoped("#", "users");
        assert!(!PusherDialect.kind(&scoped).is_listed);
    }

    #[test]
    fn cache_channels_keep_only_events_of_applications() {
        assert!(PusherDialect.is_kept(&name("cache-a"), "e"));
        assert!(!PusherDialect.is_kept(&name("private-cache-a"), "client-e"));
        assert!(!PusherDialect.is_kept(&name("a"), "e"));
        let kept = PusherDialect.kept_topics();
        assert!(kept.iter().all(|prefix| PusherDialect.kind(&name(&format!("{prefix}a"))).is_cache));
    }

    #[test]
    fn notices_are_encoded_as_frames() {
        let (channel, user) = (name("presence-a"), crate::message::UserId::new("7"));
        let member = crate::message::Member { user_id: user.clone(), user_info: None };
        let text = |notice: Notice<'_>| server_message::text_of(&PusherDialect.encode(&notice));
        assert_eq!(
            text(Notice::UserOnline(&user)),
            r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"7\"]}]}"}"#
        );
        assert_eq!(
            text(Notice::MemberRemoved { channel: &channel, member: &member }),
            r#"{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"7\"}"}"#
        );
        let event = Notice::Event { channel: &channel, event: "client-e", data: "{}", user_id: Some(&user) };
        let plain = r#"{"event":"client-e","channel":"presence-a","data":"{}","user_id":"7"}"#;
        assert_eq!(text(event), plain);
        let at = |encoding| {
            server_message::text_of(&PusherDialect.encode_at(&event, "9f-17".parse().unwrap(), encoding))
        };
        assert_eq!(at(ENCODING), plain);
        assert_eq!(
            at(ENCODING_WITH_IDS),
            r#"{"event":"client-e","channel":"presence-a","data":"{}","user_id":"7","id":"9f-17"}"#
        );
    }
}
