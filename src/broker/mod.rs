//! Carries events and signals between nodes, and what Laravel publishes. Knows nobody who is connected.
//!
//! One contract, two variants: [`Memory`] for one node, [`Redis`] for many and for Laravel.
//!
//! * The inbound stream is the only source of delivery, also of what this node published itself.
//! * Its order is one order for all nodes; per channel it is the order of acceptance.
//! * A receipt says `Ok` before the node's own copy enters the inbound stream.
//! * What was refused is not delivered.
//!
//! A message on a topic ([`Dispatch::Topic`]) travels as it is, without a mark of the node that published it, so
//! two of these do not hold for it over Redis: a node that listens to its own topic may receive the copy before
//! the receipt, and may receive one that was refused as `TimedOut`.

mod budget;
mod envelope;
mod memory;
mod redis;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::message::{Dispatch, Sender};
use crate::telemetry::Metrics;

pub use memory::Memory;
pub use redis::{InvalidUrl, Redis, check_url};
pub use settings::Settings;

/// Carries dispatches; which way, the settings say.
#[derive(Debug)]
pub enum Broker {
    /// Within this process.
    Memory(Memory),
    /// Over Redis or Valkey.
    Redis(Redis),
}

/// What the inbound stream brings.
#[derive(Debug)]
pub enum Inbound {
    /// A dispatch that arrived, with its share of the queue budget.
    Dispatch {
        /// What to deliver.
        dispatch: Dispatch,
        /// Drop it when the dispatch has been fanned out on this node: that makes room for another.
        hold: OwnedSemaphorePermit,
    },
    /// The answer to a [`Listen::Awaited`]: what is published on the topic from now on comes after this.
    ///
    /// Without a confirmation it comes after [`CONFIRM_WITHIN`] all the same: then Redis is away, and what is published
    /// meanwhile is missed.
    Listening(Listening),
    /// The broker was lost: what was published after the last dispatch before this and before the next one after it may
    /// have been missed.
    Resumed,
}

/// A [`Broker::listen`] that is answered later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The topic, without the prefix.
    pub topic: Arc<str>,
    /// Which of all listenings it is: a topic that was given up meanwhile may be listened to anew.
    pub number: u64,
}

/// How a [`Broker::listen`] stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// What is published from now on is inbound.
    Now,
    /// What is published after [`Inbound::Listening`] is, which comes exactly once, unless the topic is given up before.
    Awaited(Listening),
    /// It was listened to before; if that is still to be answered, it will be.
    Before,
    /// The nodes themselves use the topic, so that nobody can listen to it: nothing has changed.
    Reserved,
}

/// The longest wait for the confirmation of a topic.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

/// Told exactly once whether the broker accepted a dispatch. Never called while a lock is held.
pub type Receipt = Box<dyn FnOnce(Result<(), Refused>) + Send>;

/// Why a dispatch was not accepted. On every wire they are all `unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is no working connection, or the broker is shutting down.
    #[error("the broker is unreachable")]
    Unreachable,
    /// `limits.queue_bytes` are waiting already.
    #[error("the broker's queue is full")]
    QueueFull,
    /// No confirmation within `redis.publish_timeout`.
    #[error("the broker did not answer in time")]
    TimedOut,
}

/// Whether anything can be published now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It can, and what others publish arrives.
    Ready,
    /// It cannot, for this reason: one short line without secrets.
    Unavailable(Arc<str>),
}

/// Where events travel, Laravel's among them.
const EVENTS: &str = "broadcast";
/// Where signals travel.
const SIGNALS: &str = "yamabiko";

impl Broker {
    /// Starts the broker that the settings name, and the stream of what arrives.
    ///
    /// `sender_default` speaks where a publisher names no sender. `queue_bytes` bounds what has been
    /// accepted and waits for fan-out. Needs a Tokio runtime. An absent Redis is no error: it is retried for
    /// ever. The stream ends after [`Broker::shutdown`].
    pub fn start(
        settings: &Settings,
        sender_default: Sender,
        queue_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Inbound>), InvalidUrl> {
        use secrecy::ExposeSecret;
        if settings.url.expose_secret().is_empty() {
            let (memory, inbound) = Memory::start(queue_bytes, metrics);
            return Ok((Self::Memory(memory), inbound));
        }
        let (redis, inbound) = Redis::start(settings, sender_default, queue_bytes, metrics)?;
        Ok((Self::Redis(redis), inbound))
    }

    /// Hands a dispatch over. Never waits; the receipt says later, or at once, how it went.
    pub fn publish(&self, dispatch: impl Into<Dispatch>, receipt: Receipt) {
        match self {
            Self::Memory(memory) => memory.publish(dispatch.into(), receipt),
            Self::Redis(redis) => redis.publish(dispatch.into(), receipt),
        }
    }

    /// Hands a dispatch over and waits for its receipt.
    pub async fn publish_and_wait(&self, dispatch: impl Into<Dispatch>) -> Result<(), Refused> {
        let (accepted, outcome) = oneshot::channel();
        let receipt = |result| {
            // Fails where the caller has stopped waiting.
            let _ = accepted.send(result);
        };
        self.publish(dispatch, Box::new(receipt));
        outcome.await.unwrap_or(Err(Refused::Unreachable))
    }

    /// From now or soon on, as the answer says, what is published on `<prefix><topic>` is inbound on this node, until
    /// [`Broker::unlisten`]. Never waits. Listening twice is listening once. Connections that are lost and found
    /// again make no difference, but what is published meanwhile is missed.
    #[must_use]
    pub fn listen(&self, topic: &str) -> Listen {
        if [EVENTS, SIGNALS].contains(&topic) {
            tracing::debug!(topic, "a topic of the nodes themselves: not listened to");
            return Listen::Reserved;
        }
        match self {
            Self::Memory(memory) => memory.listen(topic),
            Self::Redis(redis) => redis.listen(topic),
        }
    }

    /// From soon on, what is published on `<prefix><topic>` is inbound on this node for all topics that begin so, for
    /// good. To be called before one of them is listened to.
    ///
    /// Redis may not permit it. Then it is as if nobody had asked, and [`Broker::hears`] tells.
    pub fn listen_all(&self, beginning: &str) {
        if [EVENTS, SIGNALS].iter().any(|topic| topic.starts_with(beginning)) {
            tracing::debug!(beginning, "topics of the nodes themselves: not listened to");
            return;
        }
        match self {
            Self::Memory(memory) => memory.listen_all(beginning),
            Self::Redis(redis) => redis.listen_all(beginning),
        }
    }

    /// Whether this node listens to a topic, by its name or its beginning; not whether the broker is there.
    #[must_use]
    pub fn hears(&self, topic: &str) -> bool {
        match self {
            Self::Memory(memory) => memory.hears(topic),
            Self::Redis(redis) => redis.hears(topic),
        }
    }

    /// Ends what [`Broker::listen`] began. For a topic that is not listened to it does nothing.
    pub fn unlisten(&self, topic: &str) {
        match self {
            Self::Memory(memory) => memory.unlisten(topic),
            Self::Redis(redis) => redis.unlisten(topic),
        }
    }

    /// Whether anything can be published now.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Memory(memory) => memory.status(),
            Self::Redis(redis) => redis.status(),
        }
    }

    /// Accepts nothing more, lets what was accepted leave (no longer than `redis.publish_timeout`), and ends
    /// the inbound stream. Asking twice does no harm.
    pub async fn shutdown(&self) {
        match self {
            Self::Memory(memory) => memory.shutdown(),
            Self::Redis(redis) => redis.shutdown().await,
        }
    }
}
