use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ServerError, ServerErrorKind, Value, cmd};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::connection::RedisConnection;
use super::connection_error::ConnectionError;
use super::timeouts::within;
use super::url::RedisUrl;
use crate::broker::StoreError;

/// Commands that wait to be sent. More are dropped: a session that is not written is lost only with its node.
const QUEUE: usize = 65_536;

/// Maximum commands in one round trip.
const BATCH: usize = 1024;

/// How long the connection is kept while nothing is written.
const IDLE: Duration = Duration::from_secs(30);

/// How long after a failed attempt the next one is made. Until then, nothing is written or found.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long Redis may take to find a session. A page waits for it.
const FIND_WITHIN: Duration = Duration::from_secs(1);

/// The sessions of pages in Redis, where another node finds them. Writing never waits.
#[derive(Debug, Clone)]
pub struct SessionStore {
    base: Arc<str>,
    commands: mpsc::Sender<SessionCommand>,
}

/// The fields of a session.
pub type SessionFields = HashMap<String, String>;

/// The last sign of life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOfLife {
    pub text: String,
    pub age: Duration,
}

#[derive(Debug)]
enum SessionCommand {
    /// Commands whose replies only matter if Redis denies them.
    Write(Vec<Cmd>),
    Find(String, oneshot::Sender<SessionFields>),
    Read(String, oneshot::Sender<Option<(String, u64)>>),
}

impl SessionStore {
    /// Needs a Tokio runtime. The connection is opened with the first command.
    pub(super) fn start(url: RedisUrl, prefix: &str, limit: Duration) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let base = format!("{prefix}yamabiko:").into();
        tokio::spawn(
            SessionWriter { url, limit, failed: None, unwritten: Vec::new(), is_denied: false }.run(queue),
        );
        Self { base, commands }
    }

    /// Writes a session, in place of what is there.
    pub fn write(&self, session: &str, fields: impl IntoIterator<Item = (String, String)>, ttl: Duration) {
        let key = self.session(session);
        let mut set = cmd("HSET").arg(&key).take();
        fields.into_iter().for_each(|(field, value)| {
            set.arg(field).arg(value);
        });
        let replace = vec![cmd("MULTI"), cmd("DEL").arg(&key).take(), set, expire(&key, ttl), cmd("EXEC")];
        self.send(SessionCommand::Write(replace));
    }

    /// Changes one field of a session.
    pub fn set(&self, session: &str, field: &str, value: &str, ttl: Duration) {
        let key = self.session(session);
        let set = cmd("HSET").arg(&key).arg(field).arg(value).take();
        self.send(SessionCommand::Write(vec![set, expire(&key, ttl)]));
    }

    /// Removes one field of a session.
    pub fn unset(&self, session: &str, field: &str) {
        self.send(SessionCommand::Write(vec![cmd("HDEL").arg(self.session(session)).arg(field).take()]));
    }

    /// Removes a session.
    pub fn remove(&self, session: &str) {
        self.send(SessionCommand::Write(vec![cmd("DEL").arg(self.session(session)).take()]));
    }

    /// Finds a session. It stays where it is, because a reply can be lost: the node that resumes it writes its own over it. Where Redis
    /// denies the keys, there is nothing.
    pub async fn find(&self, session: &str) -> Result<Option<SessionFields>, StoreError> {
        let (reply, found) = oneshot::channel();
        self.send(SessionCommand::Find(self.session(session), reply));
        // Without a reply, it is unknown whether there is one.
        let fields = timeout(FIND_WITHIN, found).await.map_err(|_| StoreError::Unreachable)?;
        let fields = fields.map_err(|_| StoreError::Unreachable)?;
        Ok((!fields.is_empty()).then_some(fields))
    }

    /// Tells the other nodes that this one is alive. `ttl` is how long that is remembered.
    pub fn write_sign_of_life(&self, node: &str, text: &str, ttl: Duration) {
        let ttl = ttl.as_millis().to_string();
        let set = cmd("SET").arg(self.node(node)).arg(text).arg("PX").arg(ttl).take();
        self.send(SessionCommand::Write(vec![set]));
    }

    pub fn remove_sign_of_life(&self, node: &str) {
        self.send(SessionCommand::Write(vec![cmd("DEL").arg(self.node(node)).take()]));
    }

    /// The last sign of life of a node, which it has written with this `ttl`.
    pub async fn sign_of_life(&self, node: &str, ttl: Duration) -> Option<SignOfLife> {
        let (reply, read) = oneshot::channel();
        self.send(SessionCommand::Read(self.node(node), reply));
        let (text, left) = timeout(FIND_WITHIN, read).await.ok()?.ok()??;
        Some(SignOfLife { text, age: ttl.saturating_sub(Duration::from_millis(left)) })
    }

    /// Waits until everything that was written before has been sent, or `limit` has passed.
    pub async fn flush(&self, limit: Duration) {
        let (reply, read) = oneshot::channel();
        self.send(SessionCommand::Read(self.node("none"), reply));
        let _ = timeout(limit, read).await;
    }

    fn send(&self, command: SessionCommand) {
        if self.commands.try_send(command).is_err() {
            tracing::debug!("too many sessions wait to be written to Redis: one is dropped");
        }
    }

    fn session(&self, session: &str) -> String {
        format!("{}session:{session}", self.base)
    }

    fn node(&self, node: &str) -> String {
        format!("{}node:{node}", self.base)
    }
}

fn expire(key: &str, ttl: Duration) -> Cmd {
    cmd("PEXPIRE").arg(key).arg(ttl.as_millis().to_string()).take()
}

/// Sends the commands over a connection of its own.
struct SessionWriter {
    url: RedisUrl,
    limit: Duration,
    /// When the connection last failed.
    failed: Option<Instant>,
    /// What could not be written yet. Repeating it does no harm.
    unwritten: Vec<SessionCommand>,
    /// Redis denies the keys, and that has been logged.
    is_denied: bool,
}

impl SessionWriter {
    /// Runs until the commands end.
    async fn run(mut self, mut queue: mpsc::Receiver<SessionCommand>) {
        let (mut batch, mut connection) = (Vec::new(), None);
        loop {
            let patience = if self.unwritten.is_empty() { IDLE } else { RETRY_AFTER };
            match timeout(patience, queue.recv_many(&mut batch, BATCH)).await {
                Ok(0) => return,
                Err(_) if self.unwritten.is_empty() => connection = None,
                Ok(_) | Err(_) => {
                    let mut commands = std::mem::take(&mut self.unwritten);
                    commands.append(&mut batch);
                    self.send(commands, &mut connection).await;
                }
            }
        }
    }

    async fn send(&mut self, batch: Vec<SessionCommand>, connection: &mut Option<RedisConnection>) {
        let was_open = connection.is_some();
        let mut commands = Vec::new();
        for command in &batch {
            match command {
                SessionCommand::Write(writes) => commands.extend(writes.iter().cloned()),
                SessionCommand::Find(key, _) => commands.push(cmd("HGETALL").arg(key).take()),
                SessionCommand::Read(key, _) => {
                    commands.extend([cmd("GET").arg(key).take(), cmd("PTTL").arg(key).take()]);
                }
            }
        }
        let mut sent = self.try_send(&commands, connection).await;
        if sent.is_err() && was_open {
            // The connection may have been lost while it was idle. All commands may be sent twice.
            sent = self.try_send(&commands, connection).await;
        }
        let mut replies = match sent {
            Ok(replies) => replies.into_iter(),
            Err(error) => {
                tracing::debug!(%error, "cannot keep sessions in Redis");
                self.failed = Some(Instant::now());
                let writes = batch.into_iter().filter(|command| matches!(command, SessionCommand::Write(_)));
                self.unwritten = writes.collect();
                let excess = self.unwritten.len().saturating_sub(QUEUE);
                self.unwritten.drain(..excess);
                return;
            }
        };
        for command in batch {
            match command {
                SessionCommand::Write(writes) => drop(replies.by_ref().take(writes.len()).count()),
                SessionCommand::Find(_, reply) => {
                    match replies.next() {
                        // Redis is starting, for example: it is unknown whether there is one.
                        Some(Value::ServerError(error)) if !is_denial(&error) => drop(reply),
                        found => drop(reply.send(found.and_then(fields).unwrap_or_default())),
                    }
                }
                SessionCommand::Read(_, reply) => {
                    let (text, left) = (replies.next().and_then(text), replies.next());
                    let left =
                        if let Some(Value::Int(left)) = left { u64::try_from(left).ok() } else { None };
                    let _ = reply.send(text.zip(left));
                }
            }
        }
    }

    async fn try_send(
        &mut self,
        commands: &[Cmd],
        connection: &mut Option<RedisConnection>,
    ) -> Result<Vec<Value>, ConnectionError> {
        let mut open = match connection.take() {
            Some(open) => open,
            None if self.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER) => {
                return Err(ConnectionError::Closed);
            }
            None => RedisConnection::open_database(&self.url).await?,
        };
        for command in commands {
            open.write(command);
        }
        let called = async {
            open.flush().await?;
            let mut replies = Vec::with_capacity(commands.len());
            for _ in commands {
                replies.push(open.read().await?);
            }
            Ok::<_, ConnectionError>(replies)
        };
        let replies =
            within(self.limit, called).await.unwrap_or(Err(ConnectionError::TimedOut("a session")))?;
        let loading = replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) if error.kind() == Some(ServerErrorKind::BusyLoading) => Some(error),
            _ => None,
        });
        if let Some(error) = loading {
            return Err(ConnectionError::refused("a session", error));
        }
        let denied = replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) if is_denial(error) => Some(error.code()),
            _ => None,
        });
        if let Some(code) = denied
            && !std::mem::replace(&mut self.is_denied, true)
        {
            tracing::warn!(
                code,
                hint = "grant ~<redis.prefix>yamabiko:* and +hset +hdel +hgetall +del +pexpire +set +get +pttl \
                        +multi +exec",
                "sessions denied by the Redis ACL: a page can resume its session only on the node that kept it"
            );
        }
        *connection = Some(open);
        Ok(replies)
    }
}

/// Whether the ACL denies a command, or the transaction that it is part of.
fn is_denial(error: &ServerError) -> bool {
    matches!(error.kind(), Some(ServerErrorKind::NoPerm | ServerErrorKind::ExecAbort))
}

/// The fields in the reply to HGETALL.
fn fields(found: Value) -> Option<SessionFields> {
    let texts = match found {
        Value::Array(texts) => texts,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(field, value)| [field, value]).collect(),
        _ => return None,
    };
    let mut texts = texts.into_iter();
    let mut fields = SessionFields::new();
    while let (Some(field), Some(value)) = (texts.next(), texts.next()) {
        fields.insert(text(field)?, text(value)?);
    }
    Some(fields)
}

fn text(value: Value) -> Option<String> {
    if let Value::BulkString(text) = value { String::from_utf8(text).ok() } else { None }
}
