//! Carries events over Redis or Valkey. One connection publishes, a second one is subscribed; one task runs both.

mod backoff;
mod channel_head;
mod channel_read;
mod clock;
mod connection;
mod connection_error;
mod connection_topics;
mod desired_topics;
mod event_stream;
mod fences;
mod health;
mod inbound_stream;
mod ingest;
mod keepalive;
mod publish_queue;
mod publish_script;
mod publisher;
mod push;
mod reader;
mod reconcile;
mod reply_reader;
mod revocation_store;
mod script_connection;
mod session_backlog;
mod session_command;
mod session_losses;
mod session_store;
mod session_writer;
mod store_arguments;
mod store_batch;
mod store_keys;
mod store_reader;
mod store_run;
mod store_script;
mod store_state;
mod supervisor;
mod timeouts;
mod topic_names;
mod url;
mod webhook_lanes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::budget::Budget;
use super::{
    BrokerLevels, Inbound, PublishError, Receipt, Settings, Status, StoreError, StoreRead, StoreState,
    StoredHistory, SubscribeOutcome, retained,
};
use crate::message::{AppMessages, ChannelPattern, Publication, RetentionRules, Sender};
use crate::telemetry::Metrics;
use desired_topics::DesiredTopics;
use fences::Fences;
use health::Health;
use inbound_stream::InboundStream;
use ingest::{IngestContext, IngestTasks, PlainIntake};
use publish_queue::PublishQueue;
use store_batch::StoreRequest;
use store_keys::StoreKeys;
use store_reader::StoreReader;
use store_state::SeenStore;
use supervisor::Supervisor;
use topic_names::TopicNames;
use url::RedisUrl;

pub use event_stream::{EventStream, EventStreamError};
pub use revocation_store::{REVOCATION_COMMANDS, RevocationSnapshot, RevocationStore};
pub use session_command::SessionFields;
pub use session_store::{SessionStore, SignExceptions, SignOfLife};

pub(super) use url::RedisUrlError;
pub use url::check_url;
pub use webhook_lanes::{
    LaneEntryId, LaneError, LaneEvent, LaneReader, LaneRequest, LaneState, LaneWriter, LeaseOutcome,
    WEBHOOK_COMMANDS,
};

/// Deadlines empty the queue. If it is not empty this long after the last one, the task has stopped working.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The broker of several nodes.
pub struct Redis {
    queue: Arc<PublishQueue>,
    budget: Budget,
    topics: Arc<DesiredTopics>,
    health: Arc<Health>,
    timeout: Duration,
    retention: Arc<RetentionRules>,
    fences: Arc<Fences>,
    store: mpsc::UnboundedSender<StoreRequest>,
    sessions: SessionStore,
    revocations: RevocationStore,
    ingest: Option<(Arc<PlainIntake>, IngestTasks)>,
    url: RedisUrl,
    keys: Arc<StoreKeys>,
    task: AbortHandle,
}

impl Redis {
    pub(super) fn start(
        settings: &Settings,
        sender_default: Sender,
        queue_bytes: usize,
        retention: Arc<RetentionRules>,
        apps: Arc<dyn AppMessages>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Inbound>), RedisUrlError> {
        let url = RedisUrl::parse(&settings.url)?;
        let timeout = settings.publish_timeout;
        let sessions = SessionStore::start(url.clone(), &settings.prefix, timeout);
        let names = Arc::new(TopicNames::new(&settings.prefix));
        let (inbound, receiver) = mpsc::unbounded_channel();
        let topics = Arc::new(DesiredTopics::default());
        let queue = Arc::new(PublishQueue::new(timeout, queue_bytes, names.clone()));
        let events_channel = String::from_utf8_lossy(&names.events).into_owned();
        let health = Arc::new(Health::new(queue.clone(), metrics.clone(), url.to_string(), events_channel));
        let revocations =
            RevocationStore::start(url.clone(), &settings.prefix, timeout, health.connections.subscribe());
        let (fences, seen) = (Arc::new(Fences::default()), Arc::new(SeenStore::default()));
        let keys = Arc::new(StoreKeys::new(&settings.prefix));
        let reader = StoreReader {
            url: url.clone(),
            timeout,
            keys: keys.clone(),
            queue: queue.clone(),
            seen: seen.clone(),
            rules: retention.clone(),
            sender_default: sender_default.clone(),
        };
        let (store, requests) = mpsc::unbounded_channel();
        // Ends with the requests.
        tokio::spawn(reader.run(requests));
        let ingest = (!retention.is_empty()).then(|| {
            ingest::start(IngestContext {
                url: url.clone(),
                timeout,
                names: names.clone(),
                keys: keys.clone(),
                seen: seen.clone(),
                topics: topics.clone(),
                sender_default: sender_default.clone(),
                retention: retention.clone(),
                apps,
                max_bytes: queue_bytes,
                metrics: metrics.clone(),
            })
        });
        let budget = Budget::new(queue_bytes);
        let stream = InboundStream {
            intake: ingest.as_ref().map(|(intake, _)| intake.clone()),
            queue: queue.clone(),
            names,
            topics: topics.clone(),
            fences: fences.clone(),
            seen: seen.clone(),
            sender_default,
            budget: budget.clone(),
            inbound,
            has_subscribed: false,
            metrics,
        };
        let supervisor = Supervisor {
            url: url.clone(),
            timeout,
            queue: queue.clone(),
            health: health.clone(),
            keys: keys.clone(),
            seen,
            rules: retention.clone(),
        };
        let task = tokio::spawn(supervisor.run(stream)).abort_handle();
        let redis = Self {
            queue,
            budget,
            topics,
            health,
            timeout,
            retention,
            fences,
            store,
            sessions,
            revocations,
            ingest,
            url,
            keys,
            task,
        };
        Ok((redis, receiver))
    }

    pub(super) fn publish(&self, mut publication: Publication, receipt: Receipt) {
        retained(&mut publication, &self.retention);
        self.queue.publish(publication, receipt);
    }

    pub(super) async fn read_histories(&self, reads: &[StoreRead]) -> Result<Vec<StoredHistory>, StoreError> {
        if reads.is_empty() {
            return Ok(Vec::new());
        }
        self.ask_store(|reply| StoreRequest::Histories(reads.to_vec(), reply)).await
    }

    pub(super) async fn store_state(&self, seen: Option<StoreState>) -> Result<StoreState, StoreError> {
        self.ask_store(|reply| StoreRequest::State(seen, reply)).await
    }

    pub(super) fn levels(&self) -> BrokerLevels {
        BrokerLevels { inbound_bytes: self.budget.taken(), outbound_messages: self.queue.len() }
    }

    pub(super) fn fence(&self, handled: oneshot::Sender<()>) {
        self.fences.add(handled);
    }

    async fn ask_store<A>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<A, StoreError>>) -> StoreRequest,
    ) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        // Fails only while the node shuts down.
        let _ = self.store.send(request(reply));
        answer.await.unwrap_or(Err(StoreError::Unreachable))
    }

    pub(super) fn event_stream(&self) -> EventStream {
        EventStream::new(self.url.clone(), self.keys.clone(), self.timeout)
    }

    pub(super) fn webhook_lanes(&self, names: &[String]) -> (LaneWriter, LaneReader) {
        webhook_lanes::webhook_lanes(&self.url, &self.keys, self.timeout, names)
    }

    pub(super) const fn sessions(&self) -> &SessionStore {
        &self.sessions
    }

    pub(super) const fn revocations(&self) -> &RevocationStore {
        &self.revocations
    }

    pub(super) fn subscribe(&self, topic: &str) -> SubscribeOutcome {
        self.topics.subscribe(topic)
    }

    pub(super) fn subscribe_prefix(&self, prefix: &str) {
        self.topics.subscribe_prefix(prefix);
    }

    pub(super) fn keep_topics(&self, patterns: Vec<ChannelPattern>) {
        if self.ingest.is_some() {
            ingest::keep_topics(&self.topics, patterns);
        }
    }

    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.topics.is_subscribed(topic)
    }

    pub(super) fn unsubscribe(&self, topic: &str) {
        self.topics.unsubscribe(topic);
    }

    pub(super) fn status(&self) -> Status {
        let reason = self.queue.closed_reason().or_else(|| self.health.unresponsive_reason());
        reason.map_or(Status::Ready, Status::Unavailable)
    }

    pub(super) async fn shutdown(&self) {
        self.health.stop();
        let drained = async {
            loop {
                let emptied = self.queue.emptied.notified();
                tokio::pin!(emptied);
                emptied.as_mut().enable();
                if self.queue.is_empty() {
                    return;
                }
                emptied.await;
            }
        };
        let ingested = async {
            if let Some((intake, _)) = &self.ingest {
                intake.drained().await;
            }
        };
        let drained = async { tokio::join!(drained, ingested) };
        let _ = tokio::time::timeout(self.timeout + SHUTDOWN_GRACE, drained).await;
        self.task.abort();
        self.queue.refuse_all(PublishError::TimedOut);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.health.stop();
        self.task.abort();
        self.queue.refuse_all(PublishError::Unreachable);
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("status", &self.status()).finish_non_exhaustive()
    }
}
