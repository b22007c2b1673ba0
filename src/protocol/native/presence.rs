//! What clients are told of the users on their channel.

use super::encodings::frame;
use crate::message::json::quoted;
use crate::message::{Encoding, Frame, Member, MemberEncoder, Sender, UserId};

/// The engine's app for the users on native channels. No app of the Pusher protocol has an empty ID.
pub const PRESENCE_APP: &str = "";

/// Encodes the arrival and the departure of users.
#[derive(Debug)]
pub struct PresenceEncoder {
    /// The sender of these messages, as JSON.
    sender: String,
}

impl PresenceEncoder {
    #[must_use]
    pub fn new(sender: &Sender) -> Self {
        let name = quoted(&sender.name);
        Self { sender: sender.id.with_json(|id| format!(r#"{{"name":{name},"id":{id}}}"#)) }
    }

    fn encode(&self, message_type: &str, member: &Member, encoding: Encoding) -> Frame {
        member.user_id.with_json(|id| {
            let text: [&[u8]; 9] = [
                br#"{"type":""#,
                message_type.as_bytes(),
                br#"","sender":"#,
                self.sender.as_bytes(),
                br#","data":{"user":{"name":"#,
                name(member).as_bytes(),
                br#","id":"#,
                id.as_bytes(),
                b"}}}",
            ];
            frame(encoding, None, &text)
        })
    }
}

impl MemberEncoder for PresenceEncoder {
    fn member_added(&self, member: &Member, encoding: Encoding) -> Frame {
        self.encode("connectOther", member, encoding)
    }

    fn member_removed(&self, member: &Member, encoding: Encoding) -> Frame {
        self.encode("disconnectOther", member, encoding)
    }
}

/// The user of a token as a member of its channel.
#[must_use]
pub fn member(user: &Sender) -> Member {
    Member { user_id: user.id.clone(), user_info: Some(quoted(&user.name).into()) }
}

/// The frame that tells a client who was on its channel before it, of about `max_bytes` at most, and how many users did not fit into it.
/// `newcomer` is the client's user unless that was there already: the client is told next that it comes.
#[must_use]
pub fn encode_connected(
    members: &[Member],
    newcomer: Option<&UserId>,
    max_bytes: usize,
    encoding: Encoding,
) -> (Frame, usize) {
    let mut text = br#"{"type":"connected","users":["#.to_vec();
    let (start, mut omitted) = (text.len(), 0);
    for member in members.iter().filter(|member| Some(&member.user_id) != newcomer) {
        let end = text.len();
        if end > start {
            text.push(b',');
        }
        text.extend_from_slice(br#"{"id":"#);
        member.user_id.with_json(|id| text.extend_from_slice(id.as_bytes()));
        text.extend_from_slice(br#","name":"#);
        text.extend_from_slice(name(member).as_bytes());
        text.push(b'}');
        if text.len() > max_bytes {
            text.truncate(end);
            omitted += 1;
        }
    }
    text.push(b']');
    if omitted > 0 {
        text.extend_from_slice(format!(r#","omitted":{omitted}"#).as_bytes());
    }
    text.push(b'}');
    (frame(encoding, None, &[&text]), omitted)
}

/// The name as JSON.
fn name(member: &Member) -> &str {
    member.user_info.as_deref().unwrap_or(r#""""#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::ENCODING;

    fn user(id: &str, name: &str) -> Member {
        member(&Sender { name: name.into(), id: UserId::from_json(id).unwrap() })
    }

    fn text(frame: &Frame) -> &str {
        let bytes = frame.bytes();
        let header = if bytes[1] < 126 { 2 } else { 4 };
        std::str::from_utf8(&bytes[header..]).unwrap()
    }

    #[test]
    fn golden_frames() {
        let encoder = PresenceEncoder::new(&Sender { name: "System".into(), id: 0.into() });
        assert_eq!(
            text(&encoder.member_added(&user("7", "Aoi"), ENCODING)),
            r#"{"type":"connectOther","sender":{"name":"System","id":0},"data":{"user":{"name":"Aoi","id":7}}}"#
        );
        assert_eq!(
            text(&encoder.member_removed(&user(r#""u\"1""#, "A\"oi\u{2028}\n"), ENCODING)),
            "{\"type\":\"disconnectOther\",\"sender\":{\"name\":\"System\",\"id\":0},\"data\":{\"user\":{\"name\":\"A\\\"oi\u{2028}\\n\",\"id\":\"u\\\"1\"}}}"
        );
        let members = [user("7", "Aoi"), user("8", "Ren"), user(r#""x""#, "")];
        assert_eq!(
            text(&encode_connected(&members, Some(&7.into()), 1000, ENCODING).0),
            r#"{"type":"connected","users":[{"id":8,"name":"Ren"},{"id":"x","name":""}]}"#
        );
        assert_eq!(
            text(&encode_connected(&members[..1], None, 1000, ENCODING).0),
            r#"{"type":"connected","users":[{"id":7,"name":"Aoi"}]}"#
        );
        assert_eq!(
            text(&encode_connected(&[], None, 1000, ENCODING).0),
            r#"{"type":"connected","users":[]}"#
        );
    }

    #[test]
    fn a_list_that_is_too_long_says_how_many_it_omits() {
        let members = [user("1", &"x".repeat(500)), user("2", "Ren"), user("3", "Yui"), user("4", "Mio")];
        let (frame, omitted) = encode_connected(&members, Some(&2.into()), 64, ENCODING);
        assert_eq!(text(&frame), r#"{"type":"connected","users":[{"id":3,"name":"Yui"}],"omitted":2}"#);
        assert_eq!(omitted, 2);
        let (frame, omitted) = encode_connected(&members, None, 0, ENCODING);
        assert_eq!((text(&frame), omitted), (r#"{"type":"connected","users":[],"omitted":4}"#, 4));
    }
}
