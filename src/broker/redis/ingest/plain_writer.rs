use std::sync::Arc;
use std::time::Duration;

use redis::{ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep, sleep_until};

use super::message_encoding::encode;
use super::plain_intake::PlainIntake;
use super::plain_messages::{DueMessage, STORE_WITHIN, TICK};
use crate::broker::envelope::NodeId;
use crate::broker::redis::backoff::Backoff;
use crate::broker::redis::clock::{ClockReading, RedisClock};
use crate::broker::redis::connection::RedisConnection;
use crate::broker::redis::connection_error::ConnectionError;
use crate::broker::redis::publish_queue::{QueuedMessage, Storage};
use crate::broker::redis::store_arguments::StoreSending;
use crate::broker::redis::store_keys::StoreKeys;
use crate::broker::redis::store_script::{Outcome, StoreReply, StoreScript};
use crate::broker::redis::store_state::SeenStore;
use crate::broker::redis::timeouts::within;
use crate::broker::redis::topic_names::TopicNames;
use crate::broker::redis::url::RedisUrl;
use crate::message::Publication;

/// How precisely this node must know Redis's clock.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(200);
/// How often an idle connection is checked.
const IDLE: Duration = Duration::from_secs(5);
/// How long to wait after Redis has refused to store a message.
const REFUSED: Duration = Duration::from_millis(200);

/// The connection that publishes markers and stores plain messages.
pub(super) struct PlainWriter {
    pub(super) url: RedisUrl,
    pub(super) timeout: Duration,
    pub(super) names: Arc<TopicNames>,
    pub(super) keys: Arc<StoreKeys>,
    pub(super) node: NodeId,
    pub(super) seen: Arc<SeenStore>,
    /// See [`RetentionRules::channel_bytes`](crate::message::RetentionRules::channel_bytes).
    pub(super) channel_bytes: usize,
    pub(super) intake: Arc<PlainIntake>,
}

impl PlainWriter {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let tick = async {
            loop {
                sleep(TICK).await;
                self.intake.tick();
            }
        };
        tokio::join!(tick, self.keep_writing());
    }

    async fn keep_writing(&self) {
        let mut backoff = Backoff::new();
        loop {
            let started = Instant::now();
            let error = self.write_until_error().await;
            tracing::debug!(%error, "connection for messages without a number lost");
            if started.elapsed() > Duration::from_secs(10) {
                backoff.reset();
            }
            sleep(backoff.next()).await;
        }
    }

    async fn write_until_error(&self) -> ConnectionError {
        match self.try_write().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn try_write(&self) -> Result<std::convert::Infallible, ConnectionError> {
        let mut connection = RedisConnection::open_database(&self.url).await?;
        let mut script =
            StoreScript::load(&mut connection, &self.keys, &self.node, &self.seen, self.channel_bytes)
                .await?;
        let mut clock = read_clock(&mut connection).await?;
        let mut idle = Instant::now() + IDLE;
        loop {
            if let Some(marker) = self.intake.take_marker() {
                let publish = cmd("PUBLISH").arg(&self.names.events[..]).arg(marker.encode()).take();
                connection.call("PUBLISH", &publish).await?;
                continue;
            }
            let batch = self.intake.batch();
            if batch.is_empty() {
                tokio::select! {
                    () = self.intake.changed.notified() => {}
                    () = sleep_until(idle) => {
                        clock = read_clock(&mut connection).await?;
                        idle = Instant::now() + IDLE;
                    }
                    unsolicited = connection.read() => {
                        unsolicited?;
                        return Err(ConnectionError::Unexpected("nothing"));
                    }
                }
                continue;
            }
            let reply = within(self.timeout, self.store(&mut connection, &mut script, &batch, clock)).await;
            let reply = reply.ok_or(ConnectionError::TimedOut("EVALSHA"))??;
            clock = reply.clock.clock(CLOCK_TOLERANCE).unwrap_or(clock);
            let outcomes = reply.outcomes.unwrap_or_default();
            let is_stored = |outcome: &Outcome| !matches!(outcome, Outcome::Late | Outcome::Refused);
            let stored = batch.iter().zip(&outcomes).filter(|(_, outcome)| is_stored(outcome));
            self.intake.on_stored(stored.map(|(message, _)| message.place));
            // Another server may have become the master.
            if let Some(code) = reply.error_code.as_ref().filter(|code| *code == "READONLY") {
                return Err(ConnectionError::Refused("EVALSHA", code.clone()));
            }
            if outcomes.contains(&Outcome::Refused) {
                tracing::warn!(
                    reason = reply.error_code,
                    "Redis does not store messages of applications, retrying"
                );
                sleep(REFUSED).await;
            }
        }
    }

    async fn store(
        &self,
        connection: &mut RedisConnection,
        script: &mut StoreScript,
        batch: &[DueMessage<Publication>],
        clock: RedisClock,
    ) -> Result<StoreReply, ConnectionError> {
        let until = Instant::now() + STORE_WITHIN;
        let messages: Vec<QueuedMessage> =
            batch.iter().filter_map(|message| self.queued(message, until)).collect();
        loop {
            let asked = Instant::now();
            let deadline = clock.micros_at(until);
            connection.write(&script.command(
                &self.keys,
                &self.node,
                &messages,
                StoreSending::Unrepeatable,
                self.seen.get(),
                |_| deadline,
            ));
            connection.flush().await?;
            match connection.read().await? {
                Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => {
                    script.reload(connection).await?;
                }
                Value::ServerError(error) => return Err(ConnectionError::refused("EVALSHA", &error)),
                reply => return StoreReply::parse(&reply, asked, messages.len()),
            }
        }
    }

    fn queued(&self, message: &DueMessage<Publication>, deadline: Instant) -> Option<QueuedMessage> {
        let DueMessage { place, name, alias, content } = message;
        let (topic, payload) = encode(&content.dispatch, &self.names, &self.node, Some(name))?;
        let storage = Storage {
            retained: content.retained.clone(),
            idempotency_key: Some(name.clone()),
            second_key: alias.clone(),
        };
        Some(QueuedMessage { seq: *place, deadline, topic, payload, storage: Some(Box::new(storage)) })
    }
}

/// Asks for Redis's clock until the answer comes fast enough.
async fn read_clock(connection: &mut RedisConnection) -> Result<RedisClock, ConnectionError> {
    for _ in 0..3 {
        let asked = Instant::now();
        let reply = connection.call("TIME", &cmd("TIME")).await?;
        let Value::Array(values) = reply else { return Err(ConnectionError::Unexpected("TIME")) };
        let numbers: Vec<i64> = values.iter().filter_map(number).collect();
        let [seconds, micros] = numbers[..] else { return Err(ConnectionError::Unexpected("TIME")) };
        if let Some(clock) = ClockReading::new(seconds, micros, asked).clock(CLOCK_TOLERANCE) {
            return Ok(clock);
        }
    }
    Err(ConnectionError::TimedOut("TIME"))
}

fn number(value: &Value) -> Option<i64> {
    if let Value::BulkString(text) = value { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}
