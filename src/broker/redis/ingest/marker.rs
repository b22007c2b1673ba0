use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What nodes publish on the events topic so that all of them give plain messages the same [names](super::message_key).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// Random.
    #[serde(rename = "marker")]
    pub(super) id: Arc<str>,
    /// The node that published it.
    pub(super) node: Arc<str>,
    /// The node stores what follows at once. Otherwise it has just connected.
    pub(super) leads: bool,
}

impl Marker {
    pub(super) fn new(node: &Arc<str>, leads: bool) -> Self {
        Self { id: format!("{:016x}", rand::random::<u64>()).into(), node: node.clone(), leads }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Strings and booleans can always be written as JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a payload of the events topic. `None`: it is no marker.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        // As `encode` writes it, so that other messages are not parsed twice.
        if payload.starts_with(b"{\"marker\":") { serde_json::from_slice(payload).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_from_messages() {
        let marker = Marker { id: "a".into(), node: "b".into(), leads: true };
        let text = marker.encode();
        assert_eq!(std::str::from_utf8(&text).unwrap(), r#"{"marker":"a","node":"b","leads":true}"#);
        assert_eq!(Marker::decode(&text), Some(marker));
        for other in [r#"{"channel":"chat:","data":{}}"#, r#"{"marker":7}"#, r#"{"marker":"#, ""] {
            assert_eq!(Marker::decode(other.as_bytes()), None, "{other}");
        }
    }
}
