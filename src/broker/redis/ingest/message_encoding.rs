use std::sync::Arc;

use crate::broker::envelope::{NodeId, begin_event, begin_signal, finish_open, push_plain};
use crate::broker::redis::topic_names::TopicNames;
use crate::message::Dispatch;

/// The topic and the payload of a message that is published for an application. With a `name` the payload lacks its final brace:
/// see the script that stores it.
///
/// `None` for what travels without an envelope.
pub(super) fn encode(
    dispatch: &Dispatch,
    names: &TopicNames,
    node: &NodeId,
    name: Option<&str>,
) -> Option<(Arc<[u8]>, Vec<u8>)> {
    let (topic, mut payload) = match dispatch {
        Dispatch::Event(event) => (names.events.clone(), begin_event(event, node)),
        Dispatch::Signal(body) => (names.signals.clone(), begin_signal(body, node)),
        Dispatch::Topic { .. } => return None,
    };
    finish_open(&mut payload, 0);
    if let Some(name) = name {
        push_plain(&mut payload, name);
    }
    Some((topic, payload))
}
