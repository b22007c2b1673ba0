//! The envelope of a message between nodes: `{"version":1,"node":"…","since":…,"message":{"KIND":…}}`.
//!
//! A message of a newer version or of an unknown kind is ignored, so that nodes of several versions can run side by side.

use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::message::{InvalidSignal, NodeName, Signal};

/// Raised when a message changes its meaning. New kinds and new optional keys do not need that.
const VERSION: u32 = 1;

/// What nodes send each other, as an externally tagged enum.
pub trait Message: DeserializeOwned {
    /// The tags of all variants.
    const KINDS: &'static [&'static str];
}

/// A message with its sender.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<M> {
    version: u32,
    pub node: NodeName,
    /// When the node was started, in milliseconds since the Unix epoch.
    pub since: u64,
    pub message: M,
}

/// What a signal turns out to be.
#[derive(Debug)]
pub enum Decoded<M> {
    /// Sent by a node.
    Message(Envelope<M>),
    /// Sent by the application or an operator: `{"disconnect":{…}}`, without an envelope.
    Signal(Signal),
}

/// Why a message is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Ignored {
    #[error("version {0} is newer than {VERSION}")]
    NewerVersion(u32),
    #[error("unknown kind {0:?}")]
    UnknownKind(String),
    #[error("malformed")]
    Malformed,
}

impl Ignored {
    /// The label of the metric.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NewerVersion(_) => "newer_version",
            Self::UnknownKind(_) => "unknown_kind",
            Self::Malformed => "malformed",
        }
    }
}

/// Encodes a message of a node.
pub fn encode<M: Serialize>(node: &NodeName, since: u64, message: &M) -> Bytes {
    let envelope = Envelope { version: VERSION, node: node.clone(), since, message };
    // Strings and numbers can always be written as JSON.
    serde_json::to_vec(&envelope).unwrap_or_default().into()
}

/// Decodes a signal in one pass.
pub fn decode<M: Message>(signal: &[u8]) -> Result<Decoded<M>, Ignored> {
    match serde_json::from_slice::<Envelope<M>>(signal) {
        Ok(envelope) if envelope.version <= VERSION => Ok(Decoded::Message(envelope)),
        _ => classify::<M>(signal),
    }
}

/// Finds out what a signal is that is no message of this version. Rare, so it may read the signal again.
#[cold]
fn classify<M: Message>(signal: &[u8]) -> Result<Decoded<M>, Ignored> {
    #[derive(Deserialize)]
    struct Outline<'a> {
        #[serde(default)]
        version: Option<u32>,
        #[serde(borrow, default)]
        message: Option<&'a RawValue>,
    }
    match Signal::decode(signal) {
        Ok(signal) => return Ok(Decoded::Signal(signal)),
        Err(InvalidSignal::Unknown) => {}
        Err(_) => return Err(Ignored::Malformed),
    }
    let outline: Outline<'_> = serde_json::from_slice(signal).map_err(|_| Ignored::Malformed)?;
    if let Some(version) = outline.version.filter(|version| *version > VERSION) {
        return Err(Ignored::NewerVersion(version));
    }
    let kind = outline.message.and_then(|message| kind_of(message.get()));
    match kind {
        Some(kind) if !M::KINDS.contains(&&*kind) => Err(Ignored::UnknownKind(kind)),
        _ => Err(Ignored::Malformed),
    }
}

/// The tag of an externally tagged enum: a string, or the only key of an object.
fn kind_of(message: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Tagged {
        Unit(String),
        WithBody(IndexMap<String, serde::de::IgnoredAny>),
    }
    match serde_json::from_str(message).ok()? {
        Tagged::Unit(kind) => Some(kind),
        Tagged::WithBody(body) => body.into_keys().next(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Greeting {
        Hello,
        Name(String),
    }

    impl Message for Greeting {
        const KINDS: &'static [&'static str] = &["hello", "name"];
    }

    #[test]
    fn the_bytes_of_an_envelope() {
        for (message, text) in [
            (Greeting::Hello, r#"{"version":1,"node":"n","since":5,"message":"hello"}"#),
            (Greeting::Name("a".into()), r#"{"version":1,"node":"n","since":5,"message":{"name":"a"}}"#),
        ] {
            let signal = encode(&"n".into(), 5, &message);
            assert_eq!(std::str::from_utf8(&signal).unwrap(), text);
            let Ok(Decoded::Message(envelope)) = decode::<Greeting>(&signal) else { panic!("{text}") };
            assert_eq!((&*envelope.node, envelope.since, envelope.message), ("n", 5, message));
        }
    }

    #[test]
    fn messages_of_other_versions_are_ignored_with_a_reason() {
        let ignored = |signal: &str| decode::<Greeting>(signal.as_bytes()).unwrap_err();
        let unknown = Ignored::UnknownKind("later".into());
        for (signal, reason) in [
            (r#"{"version":1,"node":"n","since":5,"message":"later"}"#, unknown.clone()),
            (r#"{"version":1,"node":"n","since":5,"message":{"later":{"a":[1]}}}"#, unknown.clone()),
            (r#"{"version":2,"node":"n","since":5,"message":"hello"}"#, Ignored::NewerVersion(2)),
            (r#"{"version":2,"message":{"later":{}}}"#, Ignored::NewerVersion(2)),
            (r#"{"version":1,"node":"n","since":5,"message":{"name":7}}"#, Ignored::Malformed),
            (r#"{"version":1,"message":"hello"}"#, Ignored::Malformed),
            (r#"{"cluster":{"node":"n"}}"#, Ignored::Malformed),
            ("", Ignored::Malformed),
            ("[]", Ignored::Malformed),
            ("null", Ignored::Malformed),
        ] {
            assert_eq!(ignored(signal), reason, "{signal}");
        }
    }

    #[test]
    fn keys_that_this_version_does_not_know_do_no_harm() {
        let signal = br#"{"version":1,"node":"n","since":5,"later":{},"message":"hello"}"#;
        assert!(matches!(decode::<Greeting>(signal), Ok(Decoded::Message(_))));
    }

    #[test]
    fn an_application_needs_no_envelope_to_disconnect_a_user() {
        let signal = br#" {"socket":null,"disconnect":{"user":7}} "#;
        let Ok(Decoded::Signal(signal)) = decode::<Greeting>(signal) else { panic!() };
        assert_eq!(signal, Signal::Disconnect { user: 7.into(), channel: None });
        for body in ["null", "[7,null]", "{}", r#"{"user":7,"chanel":"a"}"#] {
            let signal = format!(r#"{{"disconnect":{body}}}"#);
            assert_eq!(decode::<Greeting>(signal.as_bytes()).unwrap_err(), Ignored::Malformed, "{body}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(signal in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Greeting>(&signal);
        }
    }
}
