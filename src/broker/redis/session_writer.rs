use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, ServerError, ServerErrorKind, Value, cmd};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, is_acl_denial};
use super::publish_script::load;
use super::timeouts::within;
use super::url::RedisUrl;

/// Commands that wait to be sent. More are dropped: a session that is not written is lost only with its node.
pub(super) const QUEUE: usize = 65_536;

/// Maximum commands in one round trip.
const BATCH: usize = 1024;

/// How long the connection is kept while nothing is written.
const IDLE: Duration = Duration::from_secs(30);

/// How long after a failed attempt the next one is made. Until then, nothing is written, found or claimed.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The fields of a session.
pub type SessionFields = HashMap<String, String>;

/// The field with the time at which the session was claimed.
pub(super) const CLAIMED_AT: &str = "claimed_at";

/// Changes a session, unless another node has claimed it later.
///
/// KEYS: the session. ARGV: when the writer claimed it, the latest claim of another node that the writer knows of, what to do, how long
/// the session lives in milliseconds, then fields, each followed by `=` and its value, or `-` to remove it.
const SCRIPT: &str = "\
local claimed_at = redis.call('HGET', KEYS[1], 'claimed_at')
if claimed_at and claimed_at ~= ARGV[1] and tonumber(claimed_at) > tonumber(ARGV[2]) then return 0 end
if ARGV[3] ~= 'update' then redis.call('DEL', KEYS[1]) elseif not claimed_at then return 0 end
if ARGV[3] == 'remove' then return 1 end
for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '-' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], string.sub(ARGV[i + 1], 2))
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1";

/// The field of a sign of life with what it says of all sessions that have no field of their own.
const ALL: &str = "all";

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
    WriteSign(String, Option<SessionSign>),
    Find(String, oneshot::Sender<SessionFields>),
    Claim(SessionClaim, oneshot::Sender<bool>),
    /// Of a node, for the session with this name. The text, and how long it is still remembered, in milliseconds.
    ReadSign(String, String, oneshot::Sender<Option<(String, u64)>>),
}

/// A sign of life.
#[derive(Debug)]
pub(super) struct SessionSign {
    pub(super) text: String,
    /// Single sessions by their names, with their texts.
    pub(super) exceptions: Vec<(String, String)>,
    pub(super) ttl: Duration,
}

/// When something was last dropped that was to be written.
#[derive(Debug, Default)]
pub(super) struct SessionDrops(Mutex<Option<Instant>>);

impl SessionDrops {
    pub(super) fn add(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_within(&self, time: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= time)
    }
}

/// A node takes a session, or begins it.
#[derive(Debug)]
pub(super) struct SessionClaim {
    pub(super) key: String,
    pub(super) claimed_at: u64,
    /// The claim that the node has read. It fails if there is a later one.
    pub(super) after: u64,
    pub(super) session: SessionChange,
}

/// Sends the commands over a connection of its own.
pub(super) struct SessionWriter {
    url: RedisUrl,
    limit: Duration,
    /// When the last attempt failed.
    failed: Option<Instant>,
    /// What could not be written yet. Repeating it does no harm.
    unwritten: Vec<SessionCommand>,
    drops: Arc<SessionDrops>,
    /// Redis denies the keys or the script, and that has been logged.
    is_denied: bool,
}

/// A connection, and the script as loaded there; without a script, Redis denies that.
struct OpenSessions {
    connection: RedisConnection,
    sha: Option<Vec<u8>>,
}

impl SessionWriter {
    pub(super) const fn new(url: RedisUrl, limit: Duration, drops: Arc<SessionDrops>) -> Self {
        Self { url, limit, failed: None, unwritten: Vec::new(), drops, is_denied: false }
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
        let failed_lately = self.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER);
        let sent = if connection.is_none() && failed_lately {
            // This is no attempt: if it put off the next one, nothing would be written while commands keep coming.
            Err(ConnectionError::Closed)
        } else {
            let was_open = connection.is_some();
            let mut sent = self.try_send(&batch, connection).await;
            if sent.is_err() && was_open {
                // The connection may have been lost while it was idle. All commands may be sent twice.
                sent = self.try_send(&batch, connection).await;
            }
            sent.inspect_err(|_| self.failed = Some(Instant::now()))
        };
        let mut replies = match sent {
            Ok(replies) => replies.into_iter(),
            Err(error) => {
                tracing::debug!(%error, "cannot keep sessions in Redis");
                self.unwritten = writes(batch);
                let excess = self.unwritten.len().saturating_sub(QUEUE);
                if excess > 0 {
                    self.drops.add();
                    self.unwritten.drain(..excess);
                }
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

    /// Returns the replies to all commands: two for a sign of life that is read, one for each other.
    async fn try_send(
        &mut self,
        batch: &[SessionCommand],
        connection: &mut Option<OpenSessions>,
    ) -> Result<Vec<Value>, ConnectionError> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let commands: Vec<Cmd> =
            batch.iter().flat_map(|command| command.encode(open.sha.as_deref(), &self.drops)).collect();
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
        *connection = Some(open);
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
        Ok(OpenSessions { connection, sha })
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

impl SessionCommand {
    fn encode(&self, sha: Option<&[u8]>, drops: &SessionDrops) -> Vec<Cmd> {
        let command = match self {
            // Denied. A command that is never denied keeps the replies in order.
            Self::Change(..) | Self::Claim(..) | Self::WriteSign(_, Some(_)) if sha.is_none() => cmd("PING"),
            Self::Change(key, claimed_at, change) => {
                change.encode(sha.unwrap_or_default(), key, *claimed_at, *claimed_at)
            }
            Self::Claim(SessionClaim { key, claimed_at, after, session }, _) => {
                session.encode(sha.unwrap_or_default(), key, *claimed_at, *after)
            }
            Self::WriteSign(key, Some(sign)) => {
                sign.fields(!drops.is_within(sign.ttl)).encode(sha.unwrap_or_default(), key, 0, 0)
            }
            Self::WriteSign(key, None) => cmd("DEL").arg(key).take(),
            Self::Find(key, _) => cmd("HGETALL").arg(key).take(),
            Self::ReadSign(key, name, _) => {
                return vec![cmd("HMGET").arg(key).arg(name).arg(ALL).take(), cmd("PTTL").arg(key).take()];
            }
        };
        vec![command]
    }
}

impl SessionSign {
    fn fields(&self, with_texts: bool) -> SessionChange {
        let mut fields = vec![(ALL.to_owned(), Some(String::new()))];
        if with_texts {
            fields = vec![(ALL.to_owned(), Some(self.text.clone()))];
            fields.extend(self.exceptions.iter().map(|(name, text)| (name.clone(), Some(text.clone()))));
        }
        SessionChange::Replace(fields, self.ttl)
    }
}

impl SessionChange {
    fn encode(&self, sha: &[u8], key: &str, claimed_at: u64, after: u64) -> Cmd {
        let (what, fields, ttl) = match self {
            Self::Replace(fields, ttl) => ("replace", &fields[..], *ttl),
            Self::Update(fields, ttl) => ("update", &fields[..], *ttl),
            Self::Remove => ("remove", &[][..], Duration::ZERO),
        };
        let mut command = cmd("EVALSHA");
        command.arg(sha).arg(1).arg(key).arg(claimed_at).arg(after).arg(what).arg(milliseconds(ttl));
        for (field, value) in fields {
            command.arg(field).arg(value.as_ref().map_or("-".to_owned(), |value| format!("={value}")));
        }
        command
    }
}

/// What has to be written of these. Of the signs of life, that is the last one.
fn writes(commands: Vec<SessionCommand>) -> Vec<SessionCommand> {
    let last = commands.iter().rposition(|command| matches!(command, SessionCommand::WriteSign(..)));
    let is_write = |(index, command): &(usize, SessionCommand)| match command {
        SessionCommand::Change(..) => true,
        SessionCommand::WriteSign(..) => Some(*index) == last,
        SessionCommand::Find(..) | SessionCommand::Claim(..) | SessionCommand::ReadSign(..) => false,
    };
    commands.into_iter().enumerate().filter(is_write).map(|(_, command)| command).collect()
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(text: &str) -> SessionSign {
        let exceptions = vec![("1.2".to_owned(), "late".to_owned())];
        SessionSign { text: text.to_owned(), exceptions, ttl: Duration::from_secs(60) }
    }

    #[test]
    fn a_sign_of_life_says_nothing_of_sessions_that_may_not_have_been_written() {
        let drops = SessionDrops::default();
        let encoded = || {
            let command = SessionCommand::WriteSign("node".to_owned(), Some(sign("all of them")));
            let commands = command.encode(Some(b"sha"), &drops);
            String::from_utf8(commands.iter().flat_map(Cmd::get_packed_command).collect()).unwrap()
        };
        let has_texts = || ["=all of them", "=late"].map(|text| encoded().contains(text));
        assert_eq!(has_texts(), [true; 2]);
        drops.add();
        assert_eq!(has_texts(), [false; 2]);
        assert!(encoded().contains("replace"), "it still says that the node is alive");
    }

    #[test]
    fn only_the_last_sign_of_life_waits_for_redis() {
        let key = || "session".to_owned();
        let write = |text| SessionCommand::WriteSign("node".to_owned(), Some(sign(text)));
        let change = |claimed_at| SessionCommand::Change(key(), claimed_at, SessionChange::Remove);
        let find = SessionCommand::Find(key(), oneshot::channel().0);
        let kept = writes(vec![write("1"), change(1), write("2"), find, change(2), write("3"), change(3)]);
        let kept = kept.iter().map(|command| match command {
            SessionCommand::Change(_, claimed_at, _) => claimed_at.to_string(),
            SessionCommand::WriteSign(_, Some(sign)) => format!("sign {}", sign.text),
            _ => "other".to_owned(),
        });
        assert_eq!(kept.collect::<Vec<_>>(), ["1", "2", "sign 3", "3"]);
    }
}
