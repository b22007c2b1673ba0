use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A connection's name in the whole cluster: `<number>.<number>`, or Laravel's library throws.
///
/// Applications sign it, and it is not a secret; but one connection's ID does not reveal that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    node: u64,
    connection: u64,
}

/// A text that is no socket id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a socket id is two numbers with a dot between them, as the server gave it to the client")]
pub struct InvalidSocketId;

impl SocketId {
    /// The name of a connection: a number that is the node's own in the cluster, and one that stands for the connection
    /// on the node.
    #[must_use]
    pub const fn new(node: u64, connection: u64) -> Self {
        Self { node, connection }
    }

    /// Which node it is on.
    #[must_use]
    pub const fn node(self) -> u64 {
        self.node
    }

    /// Which of the node's connections it is.
    #[must_use]
    pub const fn connection(self) -> u64 {
        self.connection
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.connection)
    }
}

impl FromStr for SocketId {
    type Err = InvalidSocketId;

    fn from_str(text: &str) -> Result<Self, InvalidSocketId> {
        let (node, connection) = text.split_once('.').ok_or(InvalidSocketId)?;
        Ok(Self { node: number(node)?, connection: number(connection)? })
    }
}

/// Digits only, written as the server writes them, so that a connection has one name.
fn number(text: &str) -> Result<u64, InvalidSocketId> {
    let canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    if !canonical {
        return Err(InvalidSocketId);
    }
    text.parse().map_err(|_| InvalidSocketId)
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SocketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["0.0", "1.2", "18446744073709551615.10"] {
            assert_eq!(text.parse::<SocketId>().unwrap().to_string(), text);
        }
        assert_eq!(SocketId::new(12, 3).to_string(), "12.3");
        for text in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "+1.2",
            "-1.2",
            " 1.2",
            "1.2\n",
            "01.2",
            "1.02",
            "a.b",
            "18446744073709551616.1",
            "undefined",
            "１.2",
        ] {
            assert_eq!(text.parse::<SocketId>(), Err(InvalidSocketId), "{text}");
        }
    }
}
