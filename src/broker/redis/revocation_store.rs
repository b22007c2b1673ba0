use std::time::Duration;

use redis::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::connection_error::ConnectionError;
use super::script_connection::ScriptConnection;
use super::url::RedisUrl;
use crate::broker::StoreError;
use crate::message::Revocation;

/// How long the connection is kept while nothing is asked.
const IDLE: Duration = Duration::from_secs(30);

/// Changes the revocations, and returns the identity of what is there, whether there was no room for one, and all of them.
///
/// KEYS: a sorted set of revocations by their ends, the identity. ARGV: a random identity, how many there may be, the latest end, then
/// revocations, each followed by its end; one that has ended is removed.
///
/// A later end than the latest one is moved there, also if it is stored: Redis refuses to expire a key at a time that is too far away,
/// and what a script has written before an error stays. `%d` writes a number without an exponent.
///
/// Without revocations in ARGV, what it writes only tidies up: a node that starts reads them also while Redis accepts no writes.
const SCRIPT: &str = "\
local now, last = tonumber(redis.call('TIME')[1]), tonumber(ARGV[3])
local write = #ARGV == 3 and redis.pcall or redis.call
write('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local new = write('SET', KEYS[2], ARGV[1], 'NX')
write('EXPIRE', KEYS[2], 2764800)
local full = 0
for i = 4, #ARGV, 2 do
  local known = redis.call('ZSCORE', KEYS[1], ARGV[i])
  local ends = math.min(tonumber(ARGV[i + 1]), last)
  if ends <= now then
    redis.call('ZREM', KEYS[1], ARGV[i])
  elseif known or redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) then
    if not known or tonumber(known) < ends then redis.call('ZADD', KEYS[1], string.format('%d', ends), ARGV[i]) end
  else
    full = 1
  end
end
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = #all, 2, -2 do
  if tonumber(all[i]) <= last then break end
  all[i] = ARGV[3]
  write('ZADD', KEYS[1], all[i], all[i - 1])
end
if #all > 0 then write('EXPIREAT', KEYS[1], all[#all]) end
local identity = redis.call('GET', KEYS[2])
return identity and {identity, full, all} or new";

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
        let script = ScriptConnection::new(url, SCRIPT, limit);
        tokio::spawn(Store { keys, script }.run(queue));
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
    keys: [String; 2],
    script: ScriptConnection,
}

impl Store {
    /// Runs until the requests end.
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Request>) {
        loop {
            match timeout(IDLE, queue.recv()).await {
                Ok(None) => return,
                Ok(Some((entries, reply))) => {
                    // Fails if nobody waits any more.
                    let _ = reply.send(self.change(&entries).await);
                }
                Err(_) => self.script.close(),
            }
        }
    }

    async fn change(&mut self, entries: &[(String, u64)]) -> Result<RevocationSnapshot, StoreError> {
        let keys = &self.keys;
        let called = self.script.call(|command| {
            command.arg(keys.len()).arg(keys);
            command.arg(format!("{:016x}", rand::random::<u64>()));
            command.arg(Revocation::MAX).arg(Revocation::MAX_TIME);
            for (text, until) in entries {
                command.arg(text).arg(until);
            }
        });
        let changed =
            called.await.and_then(|reply| parse(reply).ok_or(ConnectionError::Unexpected("EVALSHA")));
        changed.map_err(|error| {
            if error.is_refusal() {
                tracing::warn!(%error, "cannot keep revocations in Redis, retrying");
            } else {
                tracing::debug!(%error, "cannot keep revocations in Redis");
            }
            if error.is_denied() { StoreError::Denied } else { StoreError::Unreachable }
        })
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
