use std::borrow::Cow;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelName, SocketId, UserId};
use crate::trace_context::{TraceContext, deserialize_sampled};

/// An event on its way to the subscribers of its channels, on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// The ID of the app.
    pub app: Arc<str>,
    /// At least one.
    #[serde(serialize_with = "write_names", deserialize_with = "read_names")]
    pub channels: Vec<ChannelName>,
    pub event: String,
    pub data: String,
    /// The connection that does not receive it.
    #[serde(rename = "socket_id", default, skip_serializing_if = "Option::is_none")]
    pub except: Option<SocketId>,
    /// The member that sent it, if it is a client event on a presence channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The trace that it belongs to, if it is traced. Nodes without traces pass it on, and older ones ignore it.
    #[serde(
        rename = "traceparent",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "deserialize_sampled"
    )]
    pub trace: Option<Box<TraceContext>>,
}

fn write_names<S: Serializer>(names: &[ChannelName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(ChannelName::as_str))
}

fn read_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ChannelName>, D::Error> {
    let names = Vec::<Cow<'de, str>>::deserialize(deserializer)?;
    if names.is_empty() {
        return Err(D::Error::custom("an event needs a channel"));
    }
    names.iter().map(|name| ChannelName::new(name).map_err(D::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_on_the_wire() {
        let broadcast = Broadcast {
            app: "1".into(),
            channels: ["presence-a", "b"].map(|name| ChannelName::new(name).unwrap()).into(),
            event: "App\\E".into(),
            data: r#"{"a":1}"#.into(),
            except: Some(SocketId::new(1, 2)),
            user_id: Some(UserId::new("7")),
            trace: None,
        };
        let text = r#"{"app":"1","channels":["presence-a","b"],"event":"App\\E","data":"{\"a\":1}","socket_id":"1.2","user_id":"7"}"#;
        assert_eq!(serde_json::to_string(&broadcast).unwrap(), text);
        assert_eq!(serde_json::from_str::<Broadcast>(text).unwrap(), broadcast);
    }

    #[test]
    fn a_trace_that_cannot_be_read_does_no_harm() {
        let read = |trace: &str| {
            let text =
                format!(r#"{{"app":"1","channels":["a"],"event":"e","data":"{{}}","traceparent":{trace}}}"#);
            serde_json::from_str::<Broadcast>(&text).unwrap()
        };
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let event = read(&format!("{trace:?}"));
        assert_eq!(event.trace.as_ref().unwrap().to_string(), trace);
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.ends_with(&format!(r#","traceparent":"{trace}"}}"#)), "{text}");
        assert_eq!(read("\"00-0-0-0\"").trace, None);
        assert_eq!(read("null").trace, None);
    }

    #[test]
    fn an_event_without_a_valid_channel_is_malformed() {
        for channels in ["[]", r#"[""]"#, r#"["a\n"]"#, "7", "null", r"[7]"] {
            let text = format!(r#"{{"app":"1","channels":{channels},"event":"e","data":"{{}}"}}"#);
            assert!(serde_json::from_str::<Broadcast>(&text).is_err(), "{channels}");
        }
    }

    #[test]
    fn an_invalid_broadcast_is_malformed() {
        let good = r#"{"app":"1","channels":["a"],"event":"e","data":"d","socket_id":"1.2"}"#;
        assert!(serde_json::from_str::<Broadcast>(good).is_ok());
        for (part, by) in
            [(r#""1""#, "1"), (r#"["a"]"#, r#""a""#), (r#""e""#, "{}"), (r#""d""#, "{}"), (r#""1.2""#, "1.2")]
        {
            let text = good.replacen(part, by, 1);
            assert!(serde_json::from_str::<Broadcast>(&text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_event_is_the_same_after_a_trip_between_nodes(app in any::<String>(), event in any::<String>(), data in any::<String>(), user in "\\P{Cc}{1,9}", node: u64, socket: u64, names in prop::collection::vec("[a-z]{1,9}", 1..4)) {
            let event = Broadcast {
                app: app.into(),
                channels: names.iter().map(|name| ChannelName::new(name).unwrap()).collect(),
                event,
                data,
                except: Some(SocketId::new(node, socket)),
                user_id: Some(UserId::new(&user)),
                trace: None,
            };
            let text = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(serde_json::from_str::<Broadcast>(&text).unwrap(), event);
        }
    }
}
