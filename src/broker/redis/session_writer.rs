use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ServerError, ServerErrorKind, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, is_acl_denial};
use super::publish_script::load;
use super::session_backlog::SessionBacklog;
use super::session_command::{SCRIPT, SessionCommand, fields, text};
use super::session_losses::SessionLosses;
use super::timeouts::within;
use super::url::RedisUrl;

/// Maximum commands in one round trip. Redis has to answer them within the limit of a call, however many wait.
const BATCH: usize = 1024;

/// How long the connection is kept while nothing is written.
const IDLE: Duration = Duration::from_secs(30);

/// How long after a failed attempt the next one is made. Until then, nothing is written, found or claimed.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Sends the commands over a connection of its own.
pub(super) struct SessionWriter {
    url: RedisUrl,
    limit: Duration,
    connection: Option<OpenSessions>,
    /// When the last attempt failed.
    failed: Option<Instant>,
    /// What is not written yet.
    backlog: SessionBacklog,
    losses: Arc<SessionLosses>,
    /// The last sign of life that Redis has confirmed.
    confirmed: Option<u64>,
    /// Redis denies the keys or the script, and that has been logged.
    is_denied: bool,
}

/// A connection, and the script as loaded there; without a script, Redis denies that.
struct OpenSessions {
    connection: RedisConnection,
    sha: Option<Vec<u8>>,
    /// What is written here follows what this node had written before: Redis still has the last sign of life of it.
    is_continued: bool,
}

impl SessionWriter {
    pub(super) fn new(url: RedisUrl, limit: Duration, losses: Arc<SessionLosses>) -> Self {
        Self {
            url,
            limit,
            connection: None,
            failed: None,
            backlog: SessionBacklog::default(),
            losses,
            confirmed: None,
            is_denied: false,
        }
    }

    /// Runs until the commands end.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<SessionCommand>) {
        let mut batch = Vec::new();
        loop {
            let patience = match (self.backlog.is_empty(), self.is_pausing()) {
                (true, _) => IDLE,
                (false, true) => RETRY_AFTER,
                (false, false) => Duration::ZERO,
            };
            match timeout(patience, queue.recv_many(&mut batch, BATCH)).await {
                Ok(0) => return,
                Err(_) if self.backlog.is_empty() => self.connection = None,
                Ok(_) | Err(_) => {}
            }
            let commands = std::mem::take(&mut batch);
            if self.is_pausing() {
                // This is no attempt: if it put off the next one, nothing would be written while commands keep coming.
                if self.backlog.defer(commands) {
                    self.losses.add_dropped();
                }
                continue;
            }
            let mut first = self.backlog.add(commands);
            while !first.is_empty() {
                let rest = first.split_off(BATCH.min(first.len()));
                self.send(std::mem::replace(&mut first, rest)).await;
            }
            let next = self.backlog.take(BATCH);
            if !next.is_empty() {
                self.send(next).await;
            }
        }
    }

    /// Whether an attempt has just failed.
    fn is_pausing(&self) -> bool {
        self.connection.is_none() && self.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER)
    }

    async fn send(&mut self, batch: Vec<SessionCommand>) {
        let sent = if self.is_pausing() {
            Err(ConnectionError::Closed)
        } else {
            let was_open = self.connection.is_some();
            let mut sent = self.try_send(&batch).await;
            if sent.is_err() && was_open {
                // The connection may have been lost while it was idle. All commands may be sent twice.
                sent = self.try_send(&batch).await;
            }
            if sent.is_err() {
                self.failed = Some(Instant::now());
            }
            sent
        };
        match sent {
            Ok(replies) => self.answer(batch, replies),
            Err(error) => {
                tracing::debug!(%error, "cannot keep sessions in Redis");
                if self.backlog.put_back(batch) {
                    self.losses.add_dropped();
                }
            }
        }
    }

    /// Passes the replies on. Sending fails if the caller has given up.
    fn answer(&mut self, batch: Vec<SessionCommand>, replies: Vec<Value>) {
        let mut replies = replies.into_iter();
        for command in batch {
            let reply = replies.next().unwrap_or(Value::Nil);
            match command {
                SessionCommand::Change(..) => {}
                SessionCommand::WriteSign(_, Some(sign)) => {
                    let written = replies.next();
                    if matches!(written, Some(Value::Int(_))) && !matches!(reply, Value::ServerError(_)) {
                        let before = text(reply).and_then(|number| number.parse().ok());
                        self.on_sign_written(before, sign.number);
                    }
                }
                SessionCommand::WriteSign(_, None) => self.confirmed = None,
                SessionCommand::Flush(flushed) => drop(flushed.send(())),
                SessionCommand::Find(_, found) => match reply {
                    // It is unknown whether there is one.
                    Value::ServerError(error) if !is_acl_denial(&error) => drop(found),
                    reply => drop(found.send(fields(reply).unwrap_or_default())),
                },
                SessionCommand::Claim(_, claimed) => match reply {
                    // It is unknown whether the node has it.
                    Value::ServerError(error) if !is_acl_denial(&error) => drop(claimed),
                    reply => drop(claimed.send(reply != Value::Int(0))),
                },
                SessionCommand::ReadSign(_, _, read) => {
                    let left = match replies.next() {
                        Some(Value::Int(left)) => u64::try_from(left).ok(),
                        _ => None,
                    };
                    let texts = if let Value::Array(texts) = reply { texts } else { Vec::new() };
                    let _ = read.send(texts.into_iter().find_map(text).zip(left));
                }
            }
        }
    }

    /// `before`: the number of the sign of life that was there before.
    fn on_sign_written(&mut self, before: Option<u64>, number: u64) {
        if let Some(confirmed) = self.confirmed.replace(number)
            && before.is_none_or(|before| before < confirmed)
        {
            // With the sign, it has lost sessions that were written before.
            self.losses.add_lost();
        }
        if let Some(open) = &mut self.connection {
            open.is_continued = true;
        }
    }

    /// Returns the replies to all commands.
    async fn try_send(&mut self, batch: &[SessionCommand]) -> Result<Vec<Value>, ConnectionError> {
        let mut open = match self.connection.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let (sha, losses) = (open.sha.as_deref(), &self.losses);
        let has_texts = |command: &SessionCommand| match command {
            SessionCommand::WriteSign(_, Some(sign)) => open.is_continued && !losses.is_within(sign.ttl),
            _ => false,
        };
        let commands: Vec<Cmd> =
            batch.iter().flat_map(|command| command.encode(sha, has_texts(command))).collect();
        for command in &commands {
            open.connection.write(command);
        }
        let called = async {
            open.connection.flush().await?;
            let mut replies = Vec::with_capacity(commands.len());
            for _ in &commands {
                replies.push(open.connection.read().await?);
            }
            Ok::<_, ConnectionError>(replies)
        };
        let replies =
            within(self.limit, called).await.unwrap_or(Err(ConnectionError::TimedOut("a session")))?;
        let errors = || {
            replies.iter().filter_map(|reply| match reply {
                Value::ServerError(error) => Some(error),
                _ => None,
            })
        };
        let is_temporary = |error: &&ServerError| {
            matches!(error.kind(), Some(ServerErrorKind::BusyLoading | ServerErrorKind::NoScript))
        };
        if let Some(error) = errors().find(is_temporary) {
            return Err(ConnectionError::refused("a session", error));
        }
        if errors().any(is_acl_denial) {
            self.log_denial();
        }
        let mut refused = errors().map(|error| ConnectionError::refused("a session", error));
        if let Some(error) = refused.find(ConnectionError::is_refusal) {
            tracing::warn!(%error, "cannot keep sessions in Redis");
        }
        self.connection = Some(open);
        Ok(replies)
    }

    async fn open(&mut self) -> Result<OpenSessions, ConnectionError> {
        let mut connection = RedisConnection::open_database(&self.url).await?;
        let sha = match load(&mut connection, SCRIPT).await {
            Ok(sha) => Some(sha),
            Err(error) if error.is_denied() => {
                self.log_denial();
                None
            }
            Err(error) => return Err(error),
        };
        Ok(OpenSessions { connection, sha, is_continued: self.confirmed.is_none() })
    }

    fn log_denial(&mut self) {
        if !std::mem::replace(&mut self.is_denied, true) {
            tracing::warn!(
                hint = "grant ~<redis.prefix>yamabiko:* and +hset +hdel +hget +hgetall +hmget +del +pexpire \
                        +pttl +script|load +evalsha",
                "sessions denied by the Redis ACL: a page can resume its session only on the node that kept it"
            );
        }
    }
}
