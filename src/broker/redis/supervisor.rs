use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::connection::RedisConnection;
use super::connection_error::ConnectionError;
use super::health::{ConnectionRole, Health};
use super::inbound_stream::InboundStream;
use super::publish_queue::PublishQueue;
use super::publisher::{Publisher, Publishing, UnansweredBatch};
use super::reader::{self, Disconnected, Opening};
use super::store_keys::StoreKeys;
use super::store_state::SeenStore;
use super::url::RedisUrl;
use crate::message::RetentionRules;

/// A connection that lasted this long was good: the next attempts start quickly again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// What the Redis user may do beside what every node needs, if a channel has a history.
const STORE_COMMANDS: &str = "+get +set +setrange +del +expire +pexpire +hset +hget +hincrby +hkeys +hdel +xadd +xrange \
    +script|load +evalsha +time";

/// Opens both connections and reconnects them with backoff.
pub(super) struct Supervisor {
    pub(super) url: RedisUrl,
    pub(super) timeout: Duration,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) health: Arc<Health>,
    pub(super) keys: Arc<StoreKeys>,
    pub(super) seen: Arc<SeenStore>,
    pub(super) rules: Arc<RetentionRules>,
}

/// What has been logged about the permissions of the Redis user.
#[derive(Default)]
struct LoggedDenials {
    scripts: bool,
    store: bool,
}

impl Supervisor {
    /// Runs both connections in one task, so that receipts and arriving copies have one order: see [`PublishQueue`].
    pub(super) async fn run(self, mut stream: InboundStream) {
        let (topics, inbound) = (stream.topics.clone(), stream.inbound.clone());
        tokio::join!(
            self.keep_publishing(),
            self.keep_subscribed(&mut stream),
            self.queue.expire(),
            topics.expire(inbound)
        );
    }

    async fn keep_publishing(&self) {
        let common = Publishing {
            queue: &self.queue,
            health: &self.health,
            keys: &self.keys,
            seen: &self.seen,
            timeout: self.timeout,
            rules: &self.rules,
        };
        let mut backoff = Backoff::new();
        let (mut logged, mut unanswered) = (LoggedDenials::default(), None);
        loop {
            let started = Instant::now();
            let error = self.publish_until_error(&common, &mut logged, &mut unanswered).await;
            self.pause(ConnectionRole::Publisher, &error, started, &mut backoff).await;
        }
    }

    async fn publish_until_error(
        &self,
        common: &Publishing<'_>,
        logged: &mut LoggedDenials,
        unanswered: &mut UnansweredBatch,
    ) -> ConnectionError {
        let start = async {
            let connection = if self.rules.is_empty() {
                RedisConnection::open(&self.url).await?
            } else {
                RedisConnection::open_database(&self.url).await?
            };
            Publisher::start(connection, common).await
        };
        let mut publisher = match start.await {
            Ok(publisher) => publisher,
            Err(error) => return error,
        };
        if !publisher.enforces_deadlines() && !std::mem::replace(&mut logged.scripts, true) {
            tracing::warn!(
                hint = "after a pause Redis may deliver messages whose senders were told `unavailable`; grant \
                        +script|load +evalsha +time +publish",
                "scripts denied by the Redis ACL"
            );
        }
        if !self.rules.is_empty() && !publisher.can_store() && !std::mem::replace(&mut logged.store, true) {
            let keys = self.keys.pattern();
            tracing::error!(
                hint = format!("grant ~{keys} and {STORE_COMMANDS}"),
                "history denied by the Redis ACL: messages on channels with a history are refused as `unavailable`"
            );
        }
        self.health.set_up(ConnectionRole::Publisher);
        publisher.run(unanswered).await
    }

    async fn keep_subscribed(&self, stream: &mut InboundStream) {
        let mut backoff = Backoff::new();
        let mut replacement = None;
        loop {
            let started = Instant::now();
            let disconnected = self.read_until_disconnected(replacement.take(), stream).await;
            replacement = disconnected.replacement;
            if replacement.is_some() {
                self.health.set_down(ConnectionRole::Subscriber, &disconnected.error.to_string());
            } else {
                self.pause(ConnectionRole::Subscriber, &disconnected.error, started, &mut backoff).await;
            }
        }
    }

    async fn read_until_disconnected(
        &self,
        replacement: Option<RedisConnection>,
        stream: &mut InboundStream,
    ) -> Disconnected {
        let names = stream.names.clone();
        let open = || -> Opening<'_> { Box::pin(reader::open(&self.url, &names)) };
        let opened = match replacement {
            Some(connection) => Ok(connection),
            None => open().await,
        };
        match opened {
            Ok(mut connection) => {
                reader::run(&mut connection, stream, &self.health, self.timeout, open).await
            }
            Err(error) => error.into(),
        }
    }

    async fn pause(
        &self,
        role: ConnectionRole,
        error: &ConnectionError,
        started: Instant,
        backoff: &mut Backoff,
    ) {
        self.health.set_down(role, &error.to_string());
        // The time that the attempt took counts as waiting.
        let mut waited = started.elapsed();
        if waited >= GOOD_AFTER {
            backoff.reset();
            waited = Duration::ZERO;
        }
        let delay = if error.is_nothing_listening() { backoff.next_while_absent() } else { backoff.next() };
        let connected = self.health.connected.notified();
        tokio::select! {
            () = sleep(delay.saturating_sub(waited)) => {}
            // The other connection got through.
            () = connected => {}
        }
    }
}
