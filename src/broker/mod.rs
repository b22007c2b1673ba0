//! Carries events and signals between nodes, and what Laravel publishes.
//!
//! One contract, two implementations: [`Memory`] for a single node, [`Redis`] for several nodes and for Laravel.
//!
//! * The inbound stream is the only source of delivery, including for what this node published itself.
//! * All nodes see the inbound stream in the same order; per channel it is the order of acceptance.
//! * A receipt reports `Ok` before the node's own copy enters the inbound stream.
//! * A dispatch that was refused is not delivered.
//! * A receipt of a dispatch with a history reports `Ok` when it is stored. What is stored has consecutive numbers, in the order
//!   of the inbound stream, so that a node knows when it has missed something.
//!
//! [`Dispatch::Topic`] is the exception over Redis: it travels without an envelope, so a node cannot recognise its own
//! copy. That copy may arrive before the receipt, and may arrive although the receipt said `TimedOut`.

mod budget;
mod envelope;
mod memory;
mod memory_store;
mod redis;
mod settings;
mod store;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::message::{
    AppMessages, ChannelPattern, Dispatch, NoApps, Position, Publication, Retained, RetentionRules, Sender,
    Stored,
};
use crate::telemetry::{MessageTimes, Metrics};

pub use crate::message::StoreState;
pub use redis::{
    EventStream, EventStreamError, LaneEntryId, LaneError, LaneEvent, LaneReader, LaneRequest, LaneState,
    LaneWriter, LeaseOutcome, REVOCATION_COMMANDS, RevocationSnapshot, RevocationStore, SessionFields,
    SessionStore, SignExceptions, SignOfLife, WEBHOOK_COMMANDS, check_url,
};
pub use settings::Settings;
pub use store::{Head, ReadAfter, StoreError, StoreRead, StoredHistory, StoredMessage};

use memory::Memory;
use redis::{Redis, RedisUrlError};

#[derive(Debug)]
pub enum Broker {
    Memory(Box<Memory>),
    Redis(Box<Redis>),
}

/// An item of the inbound stream.
#[derive(Debug)]
pub enum Inbound {
    Dispatch {
        dispatch: Dispatch,
        /// Where it was stored, if one of its channels has a history.
        stored: Option<Box<Stored>>,
        /// Its share of the queue budget. Drop it once the dispatch has been fanned out on this node.
        permit: OwnedSemaphorePermit,
        /// For the metrics.
        times: MessageTimes,
    },
    /// Completes a [`SubscribeOutcome::Pending`]: everything published on the topic from now on follows.
    ///
    /// It also arrives, after [`SUBSCRIBE_TIMEOUT`], if Redis has not confirmed: Redis is unreachable then, and messages
    /// published in the meantime are missed.
    Subscribed(SubscriptionId),
    /// The broker is connected for the first time. Only where a channel has a history.
    Connected,
    /// The connection to the broker was lost and is back. Messages published between the previous dispatch and the next
    /// one may have been missed. Those that were stored can be read: see [`Broker::store_state`].
    Resumed,
    /// Completes a [`Broker::fence`]: tell it that everything before has been handled.
    Fence(oneshot::Sender<()>),
}

/// Identifies one [`Broker::subscribe`]. A topic that was given up and subscribed again has a new number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionId {
    /// The topic, without the prefix.
    pub topic: Arc<str>,
    pub number: u64,
}

/// What waits in a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerLevels {
    /// Bytes of the budget that dispatches hold until they have been fanned out.
    pub inbound_bytes: usize,
    /// Dispatches of this node that have not come back from Redis.
    pub outbound_messages: usize,
}

/// What a [`Broker::subscribe`] led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribeOutcome {
    /// Everything published on the topic from now on is inbound.
    Active,
    /// Everything published on the topic after [`Inbound::Subscribed`] is inbound. That item comes exactly once, unless
    /// the topic is unsubscribed before.
    Pending(SubscriptionId),
    /// The topic was subscribed already. If that subscription is still pending, it will be completed.
    AlreadySubscribed,
    /// The nodes use this topic themselves, so it cannot be subscribed. Nothing has changed.
    Reserved,
}

/// How long a subscription waits for the broker's confirmation.
pub const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Called exactly once: the broker has accepted the dispatch, at this position if its channel has a history, or it has not.
/// Never called while a lock is held.
pub type Receipt = Box<dyn FnOnce(Result<Option<Position>, PublishError>) + Send>;

/// Why a dispatch was not accepted. Clients see all of these as `unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PublishError {
    /// There is no working connection, or the broker is shutting down.
    #[error("the broker is unreachable")]
    Unreachable,
    /// The queue already holds `limits.queue_bytes`.
    #[error("the broker's queue is full")]
    QueueFull,
    /// No confirmation within `redis.publish_timeout`.
    #[error("the broker did not answer in time")]
    TimedOut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Dispatches can be published, and those of other nodes arrive.
    Ready,
    /// They cannot; the reason is one short line without secrets.
    Unavailable(Arc<str>),
}

/// The topic that carries events, including Laravel's.
const EVENTS: &str = "broadcast";
/// The topic that carries signals between nodes.
const SIGNALS: &str = "yamabiko";

impl Broker {
    /// Starts the broker that the settings name and returns the inbound stream, which ends after [`Broker::shutdown`].
    ///
    /// `sender_default` stands in where a publisher names no sender. `queue_bytes` bounds what has been accepted and
    /// waits for fan-out. `retention` says which channels have a history. Requires a Tokio runtime. An unreachable Redis is not an error: it is retried forever.
    pub fn start(
        settings: &Settings,
        sender_default: Sender,
        queue_bytes: usize,
        retention: Arc<RetentionRules>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Inbound>), RedisUrlError> {
        Self::start_for(settings, sender_default, queue_bytes, retention, Arc::new(NoApps), metrics)
    }

    /// The same for an installation with apps, whose messages `apps` reads.
    pub fn start_for(
        settings: &Settings,
        sender_default: Sender,
        queue_bytes: usize,
        retention: Arc<RetentionRules>,
        apps: Arc<dyn AppMessages>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Inbound>), RedisUrlError> {
        use secrecy::ExposeSecret;
        if settings.url.expose_secret().is_empty() {
            let (memory, inbound) = Memory::start(queue_bytes, retention, metrics);
            return Ok((Self::Memory(Box::new(memory)), inbound));
        }
        let (redis, inbound) = Redis::start(settings, sender_default, queue_bytes, retention, apps, metrics)?;
        Ok((Self::Redis(Box::new(redis)), inbound))
    }

    /// Queues a dispatch without waiting. The receipt is called now or later with the outcome.
    pub fn publish(&self, publication: impl Into<Publication>, receipt: Receipt) {
        match self {
            Self::Memory(memory) => memory.publish(publication.into(), receipt),
            Self::Redis(redis) => redis.publish(publication.into(), receipt),
        }
    }

    /// The stream from which the application reads events. `None`: without Redis there is none.
    #[must_use]
    pub fn event_stream(&self) -> Option<EventStream> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis.event_stream()),
        }
    }

    /// Where the events of webhooks wait for their delivery, by the names of the lanes. `None`: without Redis, they wait in memory.
    #[must_use]
    pub fn webhook_lanes(&self, names: &[String]) -> Option<(LaneWriter, LaneReader)> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis.webhook_lanes(names)),
        }
    }

    /// Queues a dispatch at once. The future waits for its receipt; dropping it does not take the dispatch back.
    pub fn publish_and_wait(
        &self,
        publication: Publication,
    ) -> impl Future<Output = Result<Option<Position>, PublishError>> + Send + use<> {
        let (sender, receipt) = oneshot::channel();
        self.publish(
            publication,
            Box::new(move |outcome| {
                // Fails if the future was dropped.
                let _ = sender.send(outcome);
            }),
        );
        async move { receipt.await.unwrap_or(Err(PublishError::Unreachable)) }
    }

    /// Makes messages published on `<prefix><topic>` inbound on this node until [`Broker::unsubscribe`].
    ///
    /// Never waits; see [`SubscribeOutcome`] for when messages start to arrive. Subscribing twice has no further effect.
    /// Subscriptions survive reconnections, but messages published while the connection is down are missed.
    #[must_use]
    pub fn subscribe(&self, topic: &str) -> SubscribeOutcome {
        if [EVENTS, SIGNALS].contains(&topic) {
            tracing::debug!(topic, "topic is reserved for the nodes, not subscribed");
            return SubscribeOutcome::Reserved;
        }
        match self {
            Self::Memory(memory) => memory.subscribe(topic),
            Self::Redis(redis) => redis.subscribe(topic),
        }
    }

    /// Subscribes all topics that start with `prefix`, for good.
    ///
    /// Redis may deny it, in which case it has no effect: ask [`Broker::is_subscribed`].
    pub fn subscribe_prefix(&self, prefix: &str) {
        if [EVENTS, SIGNALS].iter().any(|topic| topic.starts_with(prefix)) {
            tracing::debug!(prefix, "prefix covers topics reserved for the nodes, not subscribed");
            return;
        }
        match self {
            Self::Memory(memory) => memory.subscribe_prefix(prefix),
            Self::Redis(redis) => redis.subscribe_prefix(prefix),
        }
    }

    /// Subscribes the [topics of channels with a history](AppMessages::topics) for good, after they have changed.
    pub fn keep_topics(&self, patterns: Vec<ChannelPattern>) {
        match self {
            // It stores only what is published through it.
            Self::Memory(_) => {}
            Self::Redis(redis) => redis.keep_topics(patterns),
        }
    }

    /// Whether a topic is subscribed, by name or by prefix. Says nothing about the connection to the broker.
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match self {
            Self::Memory(memory) => memory.is_subscribed(topic),
            Self::Redis(redis) => redis.is_subscribed(topic),
        }
    }

    /// Reverts [`Broker::subscribe`]. Does nothing for a topic that is not subscribed.
    pub fn unsubscribe(&self, topic: &str) {
        match self {
            Self::Memory(memory) => memory.unsubscribe(topic),
            Self::Redis(redis) => redis.unsubscribe(topic),
        }
    }

    /// Reads histories from the store, in one round trip.
    ///
    /// The in-memory broker keeps none, and proves nothing: the node has been given everything that it numbered.
    pub async fn read_histories(&self, reads: &[StoreRead]) -> Result<Vec<StoredHistory>, StoreError> {
        match self {
            Self::Memory(_) => {
                let nothing = || StoredHistory { is_trimmed: true, ..StoredHistory::default() };
                Ok(reads.iter().map(|_| nothing()).collect())
            }
            Self::Redis(redis) => redis.read_histories(reads).await,
        }
    }

    /// Identifies the store and returns the last number that it has given. `seen` is what this node has seen of it: a store that
    /// has less has lost something, and becomes a new store.
    pub async fn store_state(&self, seen: Option<StoreState>) -> Result<StoreState, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.store_state()),
            Self::Redis(redis) => redis.store_state(seen).await,
        }
    }

    /// Waits until everything that was published before the call has been taken from the inbound stream and handled.
    ///
    /// If the connection to the broker is lost, it completes after the [resumption](Inbound::Resumed).
    pub fn fence(&self) -> impl Future<Output = ()> + Send + use<> {
        let (handled, wait) = oneshot::channel();
        match self {
            Self::Memory(memory) => memory.fence(handled),
            Self::Redis(redis) => redis.fence(handled),
        }
        async move {
            // Fails only while the node shuts down.
            let _ = wait.await;
        }
    }

    /// Where sessions of pages are kept for other nodes. `None` for the in-memory broker, which has no other nodes.
    #[must_use]
    pub const fn sessions(&self) -> Option<&SessionStore> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis.sessions()),
        }
    }

    /// Where revocations of tokens are kept. `None` for the in-memory broker.
    #[must_use]
    pub const fn revocations(&self) -> Option<&RevocationStore> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis.revocations()),
        }
    }

    /// What waits in it.
    #[must_use]
    pub fn levels(&self) -> BrokerLevels {
        match self {
            Self::Memory(memory) => memory.levels(),
            Self::Redis(redis) => redis.levels(),
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Memory(memory) => memory.status(),
            Self::Redis(redis) => redis.status(),
        }
    }

    /// Refuses new dispatches, waits up to `redis.publish_timeout` for those already accepted to be sent, and ends the
    /// inbound stream. Idempotent.
    pub async fn shutdown(&self) {
        match self {
            Self::Memory(memory) => memory.shutdown(),
            Self::Redis(redis) => redis.shutdown().await,
        }
    }
}

/// The channels of a publication that have a history.
fn retained(publication: &mut Publication, rules: &RetentionRules) {
    if let Dispatch::Event(event) = &publication.dispatch
        && let Some(retention) = rules.of(&event.channel)
    {
        let channel = event.channel.clone();
        publication.retained = vec![Retained { index: 0, channel, retention }];
    }
}
