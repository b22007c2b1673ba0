use std::collections::HashMap;
use std::time::Duration;

use redis::{Cmd, ServerError, ServerErrorKind, Value, cmd};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::connection::RedisConnection;
use super::connection_error::ConnectionError;
use super::publish_script::load;
use super::timeouts::within;
use super::url::RedisUrl;

/// Commands that wait to be sent. More are dropped: a session that is not written is lost only with its node.
pub(super) const QUEUE: usize = 65_536;

/// Maximum commands in one round trip.
const BATCH: usize = 1024;

/// How long the connection is kept while nothing is written.
const IDLE: Duration = Duration::from_secs(30);

/// How long after a failed attempt the next one is made. Until then, nothing is written or found.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The fields of a session.
pub type SessionFields = HashMap<String, String>;

/// The field with the time at which the session was claimed.
pub(super) const CLAIMED_AT: &str = "claimed_at";

/// Changes a session, unless another node has claimed it later.
///
/// KEYS: the session. ARGV: when the writer claimed it, what to do, how long the session lives in milliseconds, then fields, each
/// followed by `=` and its value, or `-` to remove it.
const SCRIPT: &str = "\
local claimed_at = redis.call('HGET', KEYS[1], 'claimed_at')
if claimed_at and tonumber(claimed_at) > tonumber(ARGV[1]) then return 0 end
if ARGV[2] ~= 'update' then redis.call('DEL', KEYS[1]) elseif not claimed_at then return 0 end
if ARGV[2] == 'remove' then return 1 end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '-' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], string.sub(ARGV[i + 1], 2))
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

/// The fields to change; `None` removes a field.
type FieldChanges = Vec<(String, Option<String>)>;

#[derive(Debug)]
pub(super) enum SessionChange {
    Replace(FieldChanges, Duration),
    Update(FieldChanges, Duration),
    Remove,
}

#[derive(Debug)]
pub(super) enum SessionCommand {
    /// Of the session under this key, which the writer claimed at this time.
    Change(String, u64, SessionChange),
    /// `None`: the node leaves.
    WriteSign(String, Option<(String, Duration)>),
    Find(String, oneshot::Sender<SessionFields>),
    ReadClaim(String, oneshot::Sender<Option<u64>>),
    /// The text, and how long it is still remembered, in milliseconds.
    ReadSign(String, oneshot::Sender<Option<(String, u64)>>),
}

/// Sends the commands over a connection of its own.
pub(super) struct SessionWriter {
    url: RedisUrl,
    limit: Duration,
    /// When the connection last failed.
    failed: Option<Instant>,
    /// What could not be written yet. Repeating it does no harm.
    unwritten: Vec<SessionCommand>,
    /// Redis denies the keys or the script, and that has been logged.
    is_denied: bool,
}

/// A connection, and the script as loaded there; without a script, Redis denies that.
struct OpenSessions {
    connection: RedisConnection,
    sha: Option<Vec<u8>>,
}

impl SessionWriter {
    pub(super) const fn new(url: RedisUrl, limit: Duration) -> Self {
        Self { url, limit, failed: None, unwritten: Vec::new(), is_denied: false }
    }

    /// Runs until the commands end.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<SessionCommand>) {
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

    async fn send(&mut self, batch: Vec<SessionCommand>, connection: &mut Option<OpenSessions>) {
        let was_open = connection.is_some();
        let mut sent = self.try_send(&batch, connection).await;
        if sent.is_err() && was_open {
            // The connection may have been lost while it was idle. All commands may be sent twice.
            sent = self.try_send(&batch, connection).await;
        }
        let mut replies = match sent {
            Ok(replies) => replies.into_iter(),
            Err(error) => {
                tracing::debug!(%error, "cannot keep sessions in Redis");
                self.failed = Some(Instant::now());
                self.unwritten = batch.into_iter().filter(SessionCommand::is_write).collect();
                let excess = self.unwritten.len().saturating_sub(QUEUE);
                self.unwritten.drain(..excess);
                return;
            }
        };
        for command in batch {
            let reply = replies.next().unwrap_or(Value::Nil);
            // Sending fails if nobody waits any more.
            match command {
                SessionCommand::Change(..) | SessionCommand::WriteSign(..) => {}
                SessionCommand::Find(_, found) => match reply {
                    // It is unknown whether there is one.
                    Value::ServerError(error) if !is_denial(&error) => drop(found),
                    reply => drop(found.send(fields(reply).unwrap_or_default())),
                },
                SessionCommand::ReadClaim(_, read) => match reply {
                    Value::ServerError(error) if !is_denial(&error) => drop(read),
                    reply => drop(read.send(text(reply).and_then(|text| text.parse().ok()))),
                },
                SessionCommand::ReadSign(_, read) => {
                    let left = match replies.next() {
                        Some(Value::Int(left)) => u64::try_from(left).ok(),
                        _ => None,
                    };
                    let _ = read.send(text(reply).zip(left));
                }
            }
        }
    }

    /// Returns the replies to all commands: two for a sign of life that is read, one for each other.
    async fn try_send(
        &mut self,
        batch: &[SessionCommand],
        connection: &mut Option<OpenSessions>,
    ) -> Result<Vec<Value>, ConnectionError> {
        let mut open = match connection.take() {
            Some(open) => open,
            None if self.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER) => {
                return Err(ConnectionError::Closed);
            }
            None => self.open().await?,
        };
        let commands: Vec<Cmd> =
            batch.iter().flat_map(|command| command.encode(open.sha.as_deref())).collect();
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
        if let Some(error) = errors().find(|error| is_denial(error)) {
            self.log_denial(error.code());
        }
        *connection = Some(open);
        Ok(replies)
    }

    async fn open(&mut self) -> Result<OpenSessions, ConnectionError> {
        let mut connection = RedisConnection::open_database(&self.url).await?;
        let sha = match load(&mut connection, SCRIPT).await {
            Ok(sha) => Some(sha),
            Err(ConnectionError::Refused(_, code)) if code == "NOPERM" => {
                self.log_denial(&code);
                None
            }
            Err(error) => return Err(error),
        };
        Ok(OpenSessions { connection, sha })
    }

    fn log_denial(&mut self, code: &str) {
        if !std::mem::replace(&mut self.is_denied, true) {
            tracing::warn!(
                code,
                hint = "grant ~<redis.prefix>yamabiko:* and +hset +hdel +hget +hgetall +del +pexpire +set +get \
                        +pttl +script|load +evalsha",
                "sessions denied by the Redis ACL: a page can resume its session only on the node that kept it"
            );
        }
    }
}

impl SessionCommand {
    const fn is_write(&self) -> bool {
        matches!(self, Self::Change(..) | Self::WriteSign(..))
    }

    fn encode(&self, sha: Option<&[u8]>) -> Vec<Cmd> {
        let command = match self {
            Self::Change(key, claimed_at, change) => match sha {
                Some(sha) => change.encode(sha, key, *claimed_at),
                // Denied. A command that is never denied keeps the replies in order.
                None => cmd("PING"),
            },
            Self::WriteSign(key, Some((text, ttl))) => {
                cmd("SET").arg(key).arg(text).arg("PX").arg(milliseconds(*ttl)).take()
            }
            Self::WriteSign(key, None) => cmd("DEL").arg(key).take(),
            Self::Find(key, _) => cmd("HGETALL").arg(key).take(),
            Self::ReadClaim(key, _) => cmd("HGET").arg(key).arg(CLAIMED_AT).take(),
            Self::ReadSign(key, _) => {
                return vec![cmd("GET").arg(key).take(), cmd("PTTL").arg(key).take()];
            }
        };
        vec![command]
    }
}

impl SessionChange {
    fn encode(&self, sha: &[u8], key: &str, claimed_at: u64) -> Cmd {
        let (what, fields, ttl) = match self {
            Self::Replace(fields, ttl) => ("replace", &fields[..], *ttl),
            Self::Update(fields, ttl) => ("update", &fields[..], *ttl),
            Self::Remove => ("remove", &[][..], Duration::ZERO),
        };
        let mut command = cmd("EVALSHA");
        command.arg(sha).arg(1).arg(key).arg(claimed_at).arg(what).arg(milliseconds(ttl));
        for (field, value) in fields {
            command.arg(field).arg(value.as_ref().map_or("-".to_owned(), |value| format!("={value}")));
        }
        command
    }
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn is_denial(error: &ServerError) -> bool {
    // Within a script, the code may follow other words.
    error.kind() == Some(ServerErrorKind::NoPerm)
        || error
            .details()
            .is_some_and(|details| details.contains("NOPERM") || details.contains("No permissions"))
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
