use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_code};
use super::publish_script::load;
use super::timeouts::within;
use super::url::RedisUrl;
use crate::broker::StoreError;
use crate::message::Revocation;

/// How long the connection is kept while nothing is asked.
const IDLE: Duration = Duration::from_secs(30);

/// Changes the revocations, and returns the identity of what is there, whether there was no room for one, and all of them.
///
/// KEYS: a sorted set of revocations by their ends, the identity. ARGV: a random identity, how many there may be, then revocations,
/// each followed by its end; one that has ended is removed.
const SCRIPT: &str = "\
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('SET', KEYS[2], ARGV[1], 'NX')
redis.call('EXPIRE', KEYS[2], 2764800)
local full = 0
for i = 3, #ARGV, 2 do
  local known = redis.call('ZSCORE', KEYS[1], ARGV[i])
  local ends = tonumber(ARGV[i + 1])
  if ends <= now then
    redis.call('ZREM', KEYS[1], ARGV[i])
  elseif known or redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) then
    if not known or tonumber(known) < ends then redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i]) end
  else
    full = 1
  end
end
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if #all > 0 then redis.call('EXPIREAT', KEYS[1], all[#all]) end
return {redis.call('GET', KEYS[2]), full, all}";

/// What the Redis user may do for it.
pub const REVOCATION_COMMANDS: &str = "+zadd +zrem +zcard +zscore +zrange +zremrangebyscore +set +get +expire +expireat +time \
                                       +script|load +evalsha";

/// The revoked tokens in Redis, where every node finds them. The texts of revocations are opaque here.
#[derive(Debug, Clone)]
pub struct RevocationStore {
    requests: mpsc::UnboundedSender<Request>,
    connections: watch::Receiver<u64>,
}

/// What the store holds at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationSnapshot {
    /// Changes if Redis has lost what it had.
    pub identity: Box<str>,
    /// One of those that were to be added was not: there are too many.
    pub is_full: bool,
    /// Each with its end, in Unix seconds.
    pub entries: Vec<(Box<str>, u64)>,
}

type Reply = oneshot::Sender<Result<RevocationSnapshot, StoreError>>;
type Request = (Vec<(String, u64)>, Reply);

impl RevocationStore {
    /// Needs a Tokio runtime. `connections` counts the connections of the broker.
    pub(super) fn start(
        url: RedisUrl,
        prefix: &str,
        limit: Duration,
        connections: watch::Receiver<u64>,
    ) -> Self {
        let (requests, queue) = mpsc::unbounded_channel();
        let keys = ["revocations", "revocations:id"].map(|name| format!("{prefix}yamabiko:{name}"));
        tokio::spawn(Store { url, keys, limit }.run(queue));
        Self { requests, connections }
    }

    /// Adds revocations, each with its end in Unix seconds, and returns all that are in force. One that has ended is removed.
    pub async fn change(&self, entries: Vec<(String, u64)>) -> Result<RevocationSnapshot, StoreError> {
        let (reply, answer) = oneshot::channel();
        // Fails only while the node shuts down.
        let _ = self.requests.send((entries, reply));
        answer.await.unwrap_or(Err(StoreError::Unreachable))
    }

    /// How often the broker has connected. What was read after that misses no revocation that the broker has not delivered since.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }
}

/// Asks Redis over a connection of its own, one request at a time: there are few.
struct Store {
    url: RedisUrl,
    keys: [String; 2],
    limit: Duration,
}

/// A connection, and the script as loaded there.
struct OpenStore {
    connection: RedisConnection,
    sha: Arc<[u8]>,
}

impl Store {
    /// Runs until the requests end.
    async fn run(self, mut queue: mpsc::UnboundedReceiver<Request>) {
        let mut open = None;
        loop {
            match timeout(IDLE, queue.recv()).await {
                Ok(None) => return,
                Ok(Some((entries, reply))) => {
                    // Fails if nobody waits any more.
                    let _ = reply.send(self.change(&entries, &mut open).await);
                }
                Err(_) => open = None,
            }
        }
    }

    async fn change(
        &self,
        entries: &[(String, u64)],
        open: &mut Option<OpenStore>,
    ) -> Result<RevocationSnapshot, StoreError> {
        let was_open = open.is_some();
        let changed = match self.try_change(entries, open).await {
            // The connection may have been lost while it was idle. Repeating the change does no harm.
            Err(_) if was_open => self.try_change(entries, open).await,
            changed => changed,
        };
        changed.map_err(|error| {
            tracing::debug!(%error, "cannot keep revocations in Redis");
            let is_denied = matches!(&error, ConnectionError::Refused(_, code) if code == "NOPERM");
            if is_denied { StoreError::Denied } else { StoreError::Unreachable }
        })
    }

    async fn try_change(
        &self,
        entries: &[(String, u64)],
        open: &mut Option<OpenStore>,
    ) -> Result<RevocationSnapshot, ConnectionError> {
        // Gone if this fails or is dropped.
        let mut store = match open.take() {
            Some(store) => store,
            None => OpenStore::open(&self.url).await?,
        };
        store.connection.write(&self.command(&store.sha, entries));
        let called = async {
            store.connection.flush().await?;
            store.connection.read().await
        };
        let reply = within(self.limit, called).await.unwrap_or(Err(ConnectionError::TimedOut("EVALSHA")))?;
        if let Value::ServerError(error) = &reply {
            // Inside a script, a denial has another code.
            let denied = error
                .details()
                .is_some_and(|details| details.contains("NOPERM") || details.contains("can't run"));
            let code = if denied { "NOPERM".to_owned() } else { error_code(error.code()) };
            return Err(ConnectionError::Refused("EVALSHA", code));
        }
        let stored = parse(reply).ok_or(ConnectionError::Unexpected("EVALSHA"))?;
        *open = Some(store);
        Ok(stored)
    }

    fn command(&self, sha: &[u8], entries: &[(String, u64)]) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(sha).arg(self.keys.len()).arg(&self.keys);
        command.arg(format!("{:016x}", rand::random::<u64>())).arg(Revocation::MAX);
        for (text, until) in entries {
            command.arg(text).arg(until);
        }
        command
    }
}

impl OpenStore {
    async fn open(url: &RedisUrl) -> Result<Self, ConnectionError> {
        let mut connection = RedisConnection::open_database(url).await?;
        let sha = load(&mut connection, SCRIPT).await?.into();
        Ok(Self { connection, sha })
    }
}

fn parse(reply: Value) -> Option<RevocationSnapshot> {
    let Value::Array(parts) = reply else { return None };
    let [identity, Value::Int(full), Value::Array(all)] = <[Value; 3]>::try_from(parts).ok()? else {
        return None;
    };
    let mut entries = Vec::with_capacity(all.len() / 2);
    let mut texts = all.into_iter().map(text);
    while let (Some(entry), Some(until)) = (texts.next(), texts.next()) {
        entries.push((entry?, until?.parse().ok()?));
    }
    Some(RevocationSnapshot { identity: text(identity)?, is_full: full == 1, entries })
}

fn text(value: Value) -> Option<Box<str>> {
    if let Value::BulkString(text) = value { String::from_utf8(text).ok().map(Into::into) } else { None }
}
