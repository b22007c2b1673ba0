use std::time::Duration;

use redis::{ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep_until};

use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_code};
use super::health::{ConnectionRole, Health};
use super::publish_queue::{PublishQueue, QueuedMessage};
use super::publish_script::{PublishScript, ScriptReply};
use super::timeouts::within;
use crate::broker::PublishError;

/// How long the connection may be idle before it is checked.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// How long to wait for an answer before the node reports that it is not ready. The publisher keeps waiting.
const UNRESPONSIVE_AFTER: Duration = Duration::from_millis(400);

/// The connection that publishes, one batch at a time. A batch takes all that is queued.
pub(super) struct Publisher<'a> {
    connection: RedisConnection,
    queue: &'a PublishQueue,
    health: &'a Health,
    /// How long a sender waits, and how long Redis may take to answer.
    timeout: Duration,
    /// `None` if Redis denies scripts.
    script: Option<PublishScript>,
}

impl<'a> Publisher<'a> {
    pub(super) async fn start(
        mut connection: RedisConnection,
        queue: &'a PublishQueue,
        health: &'a Health,
        timeout: Duration,
    ) -> Result<Self, ConnectionError> {
        let script = match PublishScript::load(&mut connection, timeout).await {
            Ok(script) => Some(script),
            Err(ConnectionError::Refused(_, code)) if matches!(&*code, "NOPERM" | "ERR") => None,
            Err(error) => return Err(error),
        };
        Ok(Self { connection, queue, health, timeout, script })
    }

    /// Whether Redis itself refuses messages after their deadline.
    pub(super) const fn enforces_deadlines(&self) -> bool {
        self.script.is_some()
    }

    /// Runs until the connection fails.
    pub(super) async fn run(&mut self) -> ConnectionError {
        loop {
            let batch = self.queue.take_batch();
            if !batch.is_empty() {
                if let Err(error) = self.send(&batch).await {
                    return error;
                }
                continue;
            }
            let heartbeat = sleep_until(Instant::now() + HEARTBEAT);
            tokio::select! {
                biased;
                () = self.queue.queued.notified() => {}
                unsolicited = self.connection.read() => return match unsolicited {
                    Ok(Value::ServerError(error)) => ConnectionError::refused("the connection", &error),
                    Ok(_) => ConnectionError::Unexpected("nothing"),
                    Err(error) => error,
                },
                () = heartbeat => if let Err(error) = self.send(&[]).await {
                    return error;
                },
            }
        }
    }

    /// Sends a batch and settles its messages by the reply. An empty batch is a heartbeat.
    async fn send(&mut self, batch: &[QueuedMessage]) -> Result<(), ConnectionError> {
        let (timeout, health) = (self.timeout, self.health);
        let sending = async {
            if self.script.is_some() {
                self.send_with_deadlines(batch).await
            } else if batch.is_empty() {
                self.connection.call("PING", &cmd("PING")).await.map(drop)
            } else {
                self.send_without_deadlines(batch).await
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
        let reply = loop {
            let asked = Instant::now();
            self.connection.write(&script.command(batch));
            self.connection.flush().await?;
            match self.connection.read().await? {
                // Nothing of the batch was published.
                Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => {
                    script.reload(&mut self.connection).await?;
                }
                Value::ServerError(error) => {
                    if error.kind() == Some(ServerErrorKind::NoPerm) {
                        for message in batch {
                            self.queue.refuse(message.seq, PublishError::Unreachable);
                        }
                    }
                    // After any other error some messages may have been published. Their copies or deadlines settle them.
                    return Err(ConnectionError::refused("PUBLISH", &error));
                }
                reply => break ScriptReply::parse(&reply, asked)?,
            }
        };
        for (index, message) in batch.iter().enumerate() {
            if index < reply.late {
                self.queue.refuse(message.seq, PublishError::TimedOut);
            } else if reply.denied.contains(&(index + 1)) {
                self.queue.refuse(message.seq, PublishError::Unreachable);
            } else {
                self.queue.accept(message.seq);
            }
        }
        script.update_clock(&reply);
        let Some(code) = reply.denial_code else { return Ok(()) };
        let denied = reply.denied.first().and_then(|number| batch.get(number.checked_sub(1)?));
        Err(match denied {
            Some(message) => denied_publish(code, message),
            None => ConnectionError::Refused("PUBLISH", code),
        })
    }

    async fn send_without_deadlines(&mut self, batch: &[QueuedMessage]) -> Result<(), ConnectionError> {
        for message in batch {
            self.connection.write(cmd("PUBLISH").arg(&message.topic[..]).arg(&message.payload[..]));
        }
        self.connection.flush().await?;
        let mut denied = None;
        for message in batch {
            match self.connection.read().await? {
                Value::Int(_) => self.queue.accept(message.seq),
                Value::ServerError(error) => {
                    self.queue.refuse(message.seq, PublishError::Unreachable);
                    denied = Some(denied_publish(error_code(error.code()), message));
                }
                _ => return Err(ConnectionError::Unexpected("PUBLISH")),
            }
        }
        denied.map_or(Ok(()), Err)
    }
}

/// Keeps only the code of Redis's error, which may quote the message.
fn denied_publish(code: String, message: &QueuedMessage) -> ConnectionError {
    let topic = String::from_utf8_lossy(&message.topic);
    ConnectionError::Denied("PUBLISH", code, format!("topic {topic}"))
}
