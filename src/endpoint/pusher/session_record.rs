//! A session as other nodes read it: fields of a hash in Redis, or the same as JSON in a message between nodes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::kept_session::{KeptChannel, KeptSession};
use crate::broker::{SessionFields, SessionStore, StoreState};
use crate::message::SocketId;
use crate::protocol::pusher::Channel;

/// What a node finds under the key of a session.
#[derive(Debug)]
pub(super) struct SessionRecord {
    pub(super) node: String,
    pub(super) session: KeptSession,
    /// The channels on which the client had proven to read, so that it has read further since.
    pub(super) reading: Vec<bool>,
    /// The connection had not ended when this was written.
    pub(super) is_connected: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionMeta {
    node: String,
    app: Arc<str>,
    socket_id: SocketId,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    signed_in: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    connected: bool,
    /// The client may have been on others than these channels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lacks_channels: bool,
}

/// The field of everything but the channels and the time.
pub(super) const META: &str = "session";

/// Precedes the name of a channel in the name of its field.
const CHANNEL: &str = "channel:";

/// Follows the position on a channel if the client may not know of a gap that ends there. Nodes of earlier versions cannot read such a
/// position, and tell a gap as well.
const AFTER_GAP: &str = " gap";

/// Follows the position on a channel that the client has proven to read since it has subscribed to it.
const READING: &str = " reading";

/// The [field](META) of a session with a connection.
pub(super) fn meta(node: &str, app: &Arc<str>, socket_id: SocketId, signed_in: bool) -> String {
    let (node, app) = (node.into(), app.clone());
    encode(&SessionMeta { node, app, socket_id, signed_in, connected: true, lacks_channels: false })
}

fn encode(meta: &SessionMeta) -> String {
    serde_json::to_string(meta).unwrap_or_default()
}

/// The name of a channel's field.
pub(super) fn field(channel: &str) -> String {
    format!("{CHANNEL}{channel}")
}

/// How far the client has read. Empty if it is not known or the channel has no history.
pub(super) fn value(since: Option<StoreState>, follows_gap: bool, is_reading: bool) -> String {
    since.map_or_else(String::new, |StoreState { store, number }| {
        let gap = if follows_gap { AFTER_GAP } else { "" };
        format!("{store:x} {number}{gap}{}", if is_reading { READING } else { "" })
    })
}

/// All fields of a session without a connection.
pub(super) fn fields(node: &str, session: &KeptSession) -> SessionFields {
    fields_of(node, session, session.claimed_at, false)
}

/// All fields of a session whose next connection claims it at this time, and has not subscribed to anything yet.
pub(super) fn claimed_fields(node: &str, session: &KeptSession, claimed_at: u64) -> SessionFields {
    fields_of(node, session, claimed_at, true)
}

fn fields_of(node: &str, session: &KeptSession, claimed_at: u64, connected: bool) -> SessionFields {
    let meta = encode(&SessionMeta {
        node: node.into(),
        app: session.app.clone(),
        socket_id: session.socket_id,
        signed_in: session.is_signed_in,
        connected,
        lacks_channels: session.may_lack_channels,
    });
    let channels = session.channels.iter();
    let channels = channels.map(|kept| (field(kept.channel.name().as_str()), channel_value(kept)));
    let time = (SessionStore::CLAIMED_AT.to_owned(), claimed_at.to_string());
    [(META.to_owned(), meta), time].into_iter().chain(channels).collect()
}

fn channel_value(kept: &KeptChannel) -> String {
    value(kept.since, kept.follows_gap, false)
}

impl SessionRecord {
    /// `None`: it is malformed, or of another app.
    pub(super) fn parse(mut fields: SessionFields, app: &Arc<str>) -> Option<Self> {
        let meta: SessionMeta = serde_json::from_str(&fields.remove(META)?).ok()?;
        if meta.app != *app {
            return None;
        }
        let claimed_at = fields.remove(SessionStore::CLAIMED_AT)?.parse().ok()?;
        let (mut channels, mut reading) = (Vec::with_capacity(fields.len()), Vec::new());
        for (field, value) in fields {
            let name = field.strip_prefix(CHANNEL)?;
            let channel = Channel::new(name, usize::MAX).ok()?;
            let position = value.strip_suffix(READING);
            reading.push(position.is_some());
            let position = position.unwrap_or(&value);
            let before = position.strip_suffix(AFTER_GAP);
            let (since, follows_gap) = (parse_state(before.unwrap_or(position)), before.is_some());
            channels.push(KeptChannel { channel, since, follows_gap, is_local: false });
        }
        let mut session = KeptSession::new(app.clone(), meta.socket_id, channels, meta.signed_in, claimed_at);
        session.may_lack_channels = meta.lacks_channels;
        Some(Self { node: meta.node, session, reading, is_connected: meta.connected })
    }

    /// The session of a node that cannot be asked: on the channels that the client was reading, it has read up to `read` at least, by
    /// what the node had written last. `None`: that is not known. If the connection has not ended, there may be more channels.
    pub(super) fn at(self, read: Option<StoreState>) -> KeptSession {
        let Self { mut session, reading, is_connected, .. } = self;
        session.may_lack_channels |= is_connected;
        for (kept, is_reading) in session.channels.iter_mut().zip(reading) {
            if is_connected
                && is_reading
                && let (Some(since), Some(read)) = (&mut kept.since, read)
                && since.store == read.store
            {
                since.number = since.number.max(read.number);
            }
        }
        session
    }
}

/// Reads a store and its number.
pub(super) fn parse_state(text: &str) -> Option<StoreState> {
    let (store, number) = text.split_once(' ')?;
    Some(StoreState { store: u64::from_str_radix(store, 16).ok()?, number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(number: u64) -> StoreState {
        StoreState { store: 0xab, number }
    }

    #[test]
    fn a_session_is_read_back() {
        let app: Arc<str> = "1".into();
        let channel = |name: &str| Channel::new(name, 200).unwrap();
        let kept = |name: &str, since| KeptChannel {
            channel: channel(name),
            since,
            follows_gap: false,
            is_local: true,
        };
        let channels = vec![kept("private-a", Some(state(7))), kept("b", None)];
        let mut session = KeptSession::new(app.clone(), SocketId::new(1, 2), channels, true, 70);
        let written = fields("n", &session);
        assert_eq!(written["channel:private-a"], "ab 7");
        assert_eq!(written["session"], r#"{"node":"n","app":"1","socket_id":"1.2","signed_in":true}"#);
        let read = SessionRecord::parse(written.clone(), &app).unwrap();
        assert_eq!((&*read.node, read.is_connected, read.session.claimed_at), ("n", false, 70));
        let read = read.at(None);
        assert_eq!((read.socket_id, read.is_signed_in), (SocketId::new(1, 2), true));
        let mut found: Vec<_> =
            read.channels.iter().map(|kept| (kept.channel.name().as_str(), kept.since)).collect();
        found.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(found, [("b", None), ("private-a", Some(state(7)))]);
        assert!(!read.may_lack_channels);
        session.may_lack_channels = true;
        let read = SessionRecord::parse(fields("n", &session), &app).unwrap().at(None);
        assert!(read.may_lack_channels);
        session.may_lack_channels = false;
        let read = SessionRecord::parse(claimed_fields("m", &session, 71), &app).unwrap();
        assert_eq!((&*read.node, read.is_connected, read.session.claimed_at), ("m", true, 71));
        // The next connection may have subscribed since, but has read nothing.
        let read = read.at(Some(state(9)));
        assert!(read.may_lack_channels);
        assert!(read.channels.iter().any(|kept| kept.since == Some(state(7))));
        assert!(SessionRecord::parse(written, &"2".into()).is_none());
        assert!(SessionRecord::parse(SessionFields::new(), &app).is_none());
    }

    #[test]
    fn a_client_has_read_further_where_it_was_reading() {
        let app: Arc<str> = "1".into();
        let kept = |delivered: Option<StoreState>, value: String| {
            let meta = meta("n", &app, SocketId::new(1, 2), false);
            let time = (SessionStore::CLAIMED_AT.into(), "70".into());
            let fields = SessionFields::from([(META.into(), meta), time, (field("a"), value)]);
            SessionRecord::parse(fields, &app).unwrap().at(delivered).channels.remove(0)
        };
        let since = |delivered, value| kept(delivered, value).since;
        let value = |since, is_reading| value(since, false, is_reading);
        assert_eq!(since(Some(state(9)), value(Some(state(7)), true)), Some(state(9)));
        assert_eq!(since(Some(state(9)), value(Some(state(11)), true)), Some(state(11)));
        assert_eq!(since(Some(state(9)), value(Some(state(7)), false)), Some(state(7)));
        // What it has proven is true in any case.
        assert_eq!(since(None, value(Some(state(7)), true)), Some(state(7)));
        let other = StoreState { store: 1, number: 9 };
        assert_eq!(since(Some(other), value(Some(state(7)), true)), Some(state(7)));
    }

    #[test]
    fn a_client_that_may_not_know_of_a_gap_is_told_again() {
        let app: Arc<str> = "1".into();
        let kept = |delivered: Option<StoreState>| {
            let value = value(Some(state(7)), true, false);
            let meta = meta("n", &app, SocketId::new(1, 2), false);
            let time = (SessionStore::CLAIMED_AT.into(), "70".into());
            let fields = SessionFields::from([(META.into(), meta), time, (field("a"), value)]);
            let kept = SessionRecord::parse(fields, &app).unwrap().at(delivered).channels.remove(0);
            (kept.since, kept.follows_gap)
        };
        assert_eq!(kept(None), (Some(state(7)), true));
        assert_eq!(kept(Some(state(8))), (Some(state(7)), true));
        assert_eq!(parse_state("ab 7 gap"), None);
    }
}
