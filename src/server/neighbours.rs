use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::broker::{Broker, Status};
use crate::message::Dispatch;

/// How long a node that shuts down waits for an answer of another one.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Whether other nodes are there that can take this node's connections. Asked once, at the end: while everything runs
/// it costs nothing. It does not need apps, as what the cluster knows of other nodes does.
#[derive(Debug)]
pub(super) struct Neighbours {
    broker: Arc<Broker>,
    /// This node's name, of few enough bits to be a whole number for every reader of JSON.
    name: u64,
    is_leaving: AtomicBool,
    answered: Notify,
}

/// What nodes tell each other about it, as a signal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// `{"leaving":{"node":1}}`: this node shuts down. Is anybody there?
    Leaving { node: u64 },
    /// `{"staying":{"to":1}}`: the answer of a node that does not shut down.
    Staying { to: u64 },
}

impl Neighbours {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        let name = rand::random::<u64>() >> 11;
        Self { broker, name, is_leaving: AtomicBool::new(false), answered: Notify::new() }
    }

    /// Whether another node is there. This one no longer tells others that it is.
    pub(super) async fn are_there(&self) -> bool {
        self.is_leaving.store(true, Ordering::Relaxed);
        if matches!(*self.broker, Broker::Memory(_)) || self.broker.status() != Status::Ready {
            return false;
        }
        self.say(&Word::Leaving { node: self.name });
        timeout(ANSWER_WITHIN, self.answered.notified()).await.is_ok()
    }

    /// Takes a signal. Whether it was about this.
    pub(super) fn hear(&self, signal: &Bytes) -> bool {
        match serde_json::from_slice(signal) {
            Ok(Word::Leaving { node }) => {
                if node != self.name && !self.is_leaving.load(Ordering::Relaxed) {
                    self.say(&Word::Staying { to: node });
                }
            }
            Ok(Word::Staying { to }) => {
                if to == self.name {
                    self.answered.notify_one();
                }
            }
            Err(_) => return false,
        }
        true
    }

    fn say(&self, word: &Word) {
        // Numbers written into memory cannot fail.
        let text = serde_json::to_vec(word).unwrap_or_default();
        // Without a broker nobody hears it, and nobody answers.
        self.broker.publish(Dispatch::Signal(text.into()), Box::new(drop));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_on_the_wire() {
        for (word, text) in [
            (Word::Leaving { node: 7 }, r#"{"leaving":{"node":7}}"#),
            (Word::Staying { to: 7 }, r#"{"staying":{"to":7}}"#),
        ] {
            assert_eq!(serde_json::to_string(&word).unwrap(), text);
            assert_eq!(serde_json::from_str::<Word>(text).unwrap(), word);
        }
        for other in [r#"{"disconnect":{"user":7}}"#, r#"{"leaving":{}}"#, r#""leaving""#, "null", ""] {
            assert!(serde_json::from_str::<Word>(other).is_err(), "{other}");
        }
    }
}
