use std::time::Duration;

use redis::{ServerError, ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep_until};

use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_code};
use super::health::{ConnectionRole, Health};
use super::publish_queue::{PublishQueue, QueuedMessage};
use super::publish_script::{PublishScript, ScriptReply};
use super::store_arguments::StoreSending;
use super::store_keys::StoreKeys;
use super::store_script::{Outcome, StoreReply, StoreScript};
use super::store_state::SeenStore;
use super::timeouts::within;
use crate::broker::PublishError;
use crate::message::RetentionRules;

/// How long the connection may be idle before it is checked.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// How long to wait for an answer before the node reports that it is not ready. The publisher keeps waiting.
const UNRESPONSIVE_AFTER: Duration = Duration::from_millis(400);

/// What all connections that publish have in common.
pub(super) struct Publishing<'a> {
    pub(super) queue: &'a PublishQueue,
    pub(super) health: &'a Health,
    pub(super) keys: &'a StoreKeys,
    pub(super) seen: &'a SeenStore,
    /// How long a sender waits, and how long Redis may take to answer.
    pub(super) timeout: Duration,
    pub(super) rules: &'a RetentionRules,
}

/// A batch with stored messages whose outcome is unknown because its connection failed. The next connection sends it again, and the
/// script executes it at most once.
pub(super) type UnansweredBatch = Option<Vec<QueuedMessage>>;

/// The connection that publishes, one batch at a time. A batch takes all that is queued.
pub(super) struct Publisher<'a> {
    connection: RedisConnection,
    common: &'a Publishing<'a>,
    /// `None` if Redis denies scripts.
    script: Option<PublishScript>,
    store: Store,
}

/// Whether messages can be stored.
enum Store {
    /// The script is loaded when a message is to be stored.
    Unloaded,
    Loaded(StoreScript),
    /// Redis denies it.
    Denied,
}

impl<'a> Publisher<'a> {
    pub(super) async fn start(
        mut connection: RedisConnection,
        common: &'a Publishing<'a>,
    ) -> Result<Self, ConnectionError> {
        let script = match PublishScript::load(&mut connection, common.timeout).await {
            Ok(script) => Some(script),
            Err(ConnectionError::Refused(_, code)) if matches!(&*code, "NOPERM" | "ERR") => None,
            Err(error) => return Err(error),
        };
        let store = if script.is_none() {
            Store::Denied
        } else if !common.rules.is_empty() {
            Store::load(&mut connection, common).await?
        } else {
            Store::Unloaded
        };
        Ok(Self { connection, common, script, store })
    }

    /// Whether Redis itself refuses messages after their deadline.
    pub(super) const fn enforces_deadlines(&self) -> bool {
        self.script.is_some()
    }

    /// Whether Redis permits to store messages. It may refuse them nevertheless, at the moment.
    pub(super) const fn can_store(&self) -> bool {
        !matches!(self.store, Store::Denied)
    }

    /// Runs until the connection fails.
    pub(super) async fn run(&mut self, unanswered: &mut UnansweredBatch) -> ConnectionError {
        let queue = self.common.queue;
        unanswered.take_if(|batch| batch.iter().all(|message| queue.is_settled(message.seq)));
        if unanswered.is_some()
            && let Err(error) = self.send(Sending::Stored { batch: unanswered, is_repeated: true }).await
        {
            return error;
        }
        loop {
            let batch = queue.take_batch();
            if !batch.is_empty() {
                if let Err(error) = self.send_batch(batch, unanswered).await {
                    return error;
                }
                continue;
            }
            let heartbeat = sleep_until(Instant::now() + HEARTBEAT);
            tokio::select! {
                biased;
                () = queue.queued.notified() => {}
                unsolicited = self.connection.read() => return match unsolicited {
                    Ok(Value::ServerError(error)) => ConnectionError::refused("the connection", &error),
                    Ok(_) => ConnectionError::Unexpected("nothing"),
                    Err(error) => error,
                },
                () = heartbeat => if let Err(error) = self.send(Sending::Plain(&[])).await {
                    return error;
                },
            }
        }
    }

    async fn send_batch(
        &mut self,
        mut batch: Vec<QueuedMessage>,
        unanswered: &mut UnansweredBatch,
    ) -> Result<(), ConnectionError> {
        if batch.iter().all(|message| message.storage.is_none()) {
            return self.send(Sending::Plain(&batch)).await;
        }
        if matches!(self.store, Store::Unloaded) {
            self.store = Store::load(&mut self.connection, self.common).await?;
        }
        if matches!(self.store, Store::Loaded(_)) {
            *unanswered = Some(batch);
            return self.send(Sending::Stored { batch: unanswered, is_repeated: false }).await;
        }
        batch.retain(|message| {
            if message.storage.is_some() {
                self.common.queue.refuse(message.seq, PublishError::Unreachable);
            }
            message.storage.is_none()
        });
        self.send(Sending::Plain(&batch)).await
    }

    /// Sends a batch and settles its messages by the reply.
    async fn send(&mut self, sending: Sending<'_>) -> Result<(), ConnectionError> {
        let Publishing { timeout, health, .. } = *self.common;
        let sending = async {
            match sending {
                Sending::Stored { batch, is_repeated } => self.send_stored(batch, is_repeated).await,
                Sending::Plain(batch) if self.script.is_some() => self.send_with_deadlines(batch).await,
                Sending::Plain([]) => self.connection.ping().await,
                Sending::Plain(batch) => self.send_without_deadlines(batch).await,
            }
        };
        tokio::pin!(sending);
        if let Some(sent) = within(UNRESPONSIVE_AFTER, &mut sending).await {
            return sent;
        }
        health.set_unresponsive(ConnectionRole::Publisher, "PUBLISH");
        let sent = within(timeout.saturating_sub(UNRESPONSIVE_AFTER), sending).await;
        health.set_responsive(ConnectionRole::Publisher);
        sent.unwrap_or(Err(ConnectionError::TimedOut("PUBLISH")))
    }

    async fn send_with_deadlines(&mut self, batch: &[QueuedMessage]) -> Result<(), ConnectionError> {
        let Some(script) = &mut self.script else { return Ok(()) };
        let queue = self.common.queue;
        let reply = loop {
            let asked = Instant::now();
            self.connection.write(&script.command(batch));
            self.connection.flush().await?;
            match self.connection.read().await? {
                // Nothing of the batch was published.
                Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => {
                    script.reload(&mut self.connection).await?;
                }
                Value::ServerError(error) => return Err(failed_script(&error, batch, queue)),
                reply => break ScriptReply::parse(&reply, asked)?,
            }
        };
        for (index, message) in batch.iter().enumerate() {
            if index < reply.late {
                queue.refuse(message.seq, PublishError::TimedOut);
            } else if reply.denied.contains(&(index + 1)) {
                queue.refuse(message.seq, PublishError::Unreachable);
            } else {
                queue.accept(message.seq, None);
            }
        }
        script.update_clock(&reply.clock);
        let Some(code) = reply.denial_code else { return Ok(()) };
        let denied = reply.denied.first().and_then(|number| batch.get(number.checked_sub(1)?));
        Err(match denied {
            Some(message) => denied_publish(code, message),
            None => ConnectionError::Refused("PUBLISH", code),
        })
    }

    /// Leaves the batch where it is until its outcome is known.
    async fn send_stored(
        &mut self,
        unanswered: &mut UnansweredBatch,
        is_repeated: bool,
    ) -> Result<(), ConnectionError> {
        let (Some(script), Store::Loaded(store)) = (&mut self.script, &mut self.store) else { return Ok(()) };
        let Some(batch) = unanswered.as_deref() else { return Ok(()) };
        let Publishing { queue, keys, .. } = *self.common;
        let sending = if is_repeated { StoreSending::Repeated } else { StoreSending::First };
        // Messages without a storage are sent once: if Redis has lost its memory, they may have been delivered.
        let is_left_out = |message: &QueuedMessage| {
            is_repeated && (message.storage.is_none() || queue.is_settled(message.seq))
        };
        let reply = loop {
            let asked = Instant::now();
            let deadline = |message: &_| if is_left_out(message) { 0 } else { script.deadline(message) };
            let seen = self.common.seen.get();
            self.connection.write(&store.command(keys, &queue.node, batch, sending, seen, deadline));
            self.connection.flush().await?;
            match self.connection.read().await? {
                Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => {
                    store.reload(&mut self.connection).await?;
                }
                Value::ServerError(error) => return Err(failed_script(&error, batch, queue)),
                reply => break StoreReply::parse(&reply, asked, batch.len())?,
            }
        };
        script.update_clock(&reply.clock);
        let mut denied = None;
        for (message, outcome) in batch.iter().zip(reply.outcomes.into_iter().flatten()) {
            let seq = message.seq;
            match outcome {
                Outcome::Late if is_left_out(message) => {}
                Outcome::Late => queue.refuse(seq, PublishError::TimedOut),
                Outcome::Published => queue.accept(seq, None),
                Outcome::Stored(position) => queue.accept(seq, Some(position)),
                Outcome::Repeated(first) => queue.accept_repeated(seq, first),
                Outcome::Refused => {
                    queue.refuse(seq, PublishError::Unreachable);
                    if message.storage.is_none() {
                        denied = denied.or(Some(message));
                    }
                }
            }
        }
        let code = reply.error_code.unwrap_or_default();
        let failure = match denied {
            Some(message) => Some(denied_publish(code, message)),
            // Another server may have become the master.
            None if code == "READONLY" => Some(ConnectionError::Refused("EVALSHA", code)),
            None if code.is_empty() => None,
            None => {
                tracing::warn!(reason = code, "Redis refused to store messages");
                None
            }
        };
        *unanswered = None;
        failure.map_or(Ok(()), Err)
    }

    async fn send_without_deadlines(&mut self, batch: &[QueuedMessage]) -> Result<(), ConnectionError> {
        let queue = self.common.queue;
        for message in batch {
            self.connection.write(cmd("PUBLISH").arg(&message.topic[..]).arg(&message.payload[..]));
        }
        self.connection.flush().await?;
        let mut denied = None;
        for message in batch {
            match self.connection.read().await? {
                Value::Int(_) => queue.accept(message.seq, None),
                Value::ServerError(error) => {
                    queue.refuse(message.seq, PublishError::Unreachable);
                    denied = Some(denied_publish(error_code(error.code()), message));
                }
                _ => return Err(ConnectionError::Unexpected("PUBLISH")),
            }
        }
        denied.map_or(Ok(()), Err)
    }
}

impl Store {
    async fn load(
        connection: &mut RedisConnection,
        common: &Publishing<'_>,
    ) -> Result<Self, ConnectionError> {
        let Publishing { queue, keys, seen, rules, .. } = common;
        let load = StoreScript::load(connection, keys, &queue.node, seen, rules.channel_bytes());
        match load.await {
            Ok(script) => Ok(Self::Loaded(script)),
            Err(ConnectionError::Refused(_, code)) if matches!(&*code, "NOPERM" | "ERR") => Ok(Self::Denied),
            // Redis accepts no writes now, which is of no concern to messages that are not stored.
            Err(error @ ConnectionError::Refused(..)) => {
                tracing::warn!(%error, "Redis refuses to store messages");
                Ok(Self::Unloaded)
            }
            Err(error) => Err(error),
        }
    }
}

/// What is sent at a time.
enum Sending<'b> {
    /// Messages that are only published. None at all is a heartbeat.
    Plain(&'b [QueuedMessage]),
    Stored {
        batch: &'b mut UnansweredBatch,
        is_repeated: bool,
    },
}

/// The error of a script that did not finish.
fn failed_script(error: &ServerError, batch: &[QueuedMessage], queue: &PublishQueue) -> ConnectionError {
    // After any other error some messages may have been published. Their copies or deadlines settle them.
    if error.kind() == Some(ServerErrorKind::NoPerm) {
        for message in batch {
            queue.refuse(message.seq, PublishError::Unreachable);
        }
    }
    ConnectionError::refused("PUBLISH", error)
}

/// Keeps only the code of Redis's error, which may quote the message.
fn denied_publish(code: String, message: &QueuedMessage) -> ConnectionError {
    let topic = String::from_utf8_lossy(&message.topic);
    ConnectionError::Denied("PUBLISH", code, format!("topic {topic}"))
}
