use super::NodeId;
use crate::message::Event;
use crate::trace_context::TRACEPARENT;

/// The envelope of an event up to its number, which [`finish`] appends once it is assigned.
pub(in crate::broker) fn begin_event(event: &Event, node: &NodeId) -> Vec<u8> {
    let channel = event.channel.as_str();
    let mut out = Vec::with_capacity(event.data.len() + channel.len() + event.sender.name.len() + 120);
    out.extend_from_slice(b"{\"channel\":");
    push_string(&mut out, channel);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(&event.data);
    out.extend_from_slice(b",\"sender\":{\"name\":");
    push_string(&mut out, &event.sender.name);
    out.extend_from_slice(b",\"id\":");
    event.sender.id.with_json(|id| out.extend_from_slice(id.as_bytes()));
    out.push(b'}');
    if let Some(message_type) = &event.message_type {
        out.extend_from_slice(b",\"type\":");
        push_string(&mut out, message_type);
    }
    if let Some(trace) = event.trace.as_deref().filter(|trace| trace.is_sampled) {
        out.extend_from_slice(format!(",\"{TRACEPARENT}\":\"{trace}\"").as_bytes());
    }
    out.extend_from_slice(format!(",\"node\":\"{}\",\"seq\":", node.0).as_bytes());
    out
}

/// The envelope of a signal up to its number.
pub(in crate::broker) fn begin_signal(body: &[u8], node: &NodeId) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 80);
    out.extend_from_slice(b"{\"body\":");
    out.extend_from_slice(body);
    out.extend_from_slice(format!(",\"node\":\"{}\",\"seq\":", node.0).as_bytes());
    out
}

/// Appends the number and closes the envelope.
pub(in crate::broker) fn finish(envelope: &mut Vec<u8>, seq: u64) {
    finish_open(envelope, seq);
    envelope.push(b'}');
}

/// Appends the number. Whoever stores the message appends where, and closes the envelope.
pub(in crate::broker) fn finish_open(envelope: &mut Vec<u8>, seq: u64) {
    envelope.extend_from_slice(seq.to_string().as_bytes());
}

/// Appends the name under which a plain message is stored.
pub(in crate::broker) fn push_plain(envelope: &mut Vec<u8>, name: &str) {
    envelope.extend_from_slice(b",\"plain\":");
    push_string(envelope, name);
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}
