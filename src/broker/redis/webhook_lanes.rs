//! The events that webhooks have still to receive: a lane in Redis for each webhook, which one node at a time empties.
//!
//! A lane is a stream of events, and a hash: `owner`, the node that delivers its events `until` a time, in milliseconds; `bytes`, the size
//! of the events; and `epoch`, which changes if Redis has lost what it had.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use thiserror::Error;

use super::connection_error::ConnectionError;
use super::script_connection::ScriptConnection;
use super::store_keys::StoreKeys;
use super::url::RedisUrl;

/// What the Redis user may do for it.
pub const WEBHOOK_COMMANDS: &str =
    "+xadd +xrange +xdel +xlen +hset +hsetnx +hget +hmget +hdel +hincrby +expire +time +script|load +evalsha";

/// How long an unused lane is kept, in seconds.
const KEEP: u32 = 24 * 60 * 60;

/// Adds events in their order, and returns the indexes, from 1, of those for which there was no room.
///
/// KEYS: the stream and the hash of each lane. ARGV: the seconds that keys are kept, then for each event its lane from 1, how many events
/// and bytes there may be, and the event.
const ADD: &str = "\
local refused, used = {}, {}
for i = 2, #ARGV, 4 do
  local lane, event = tonumber(ARGV[i]), ARGV[i + 3]
  local stream, state = KEYS[lane * 2 - 1], KEYS[lane * 2]
  local length = redis.call('XLEN', stream)
  local bytes = tonumber(redis.call('HGET', state, 'bytes') or 0)
  if length == 0 then
    bytes = 0
    redis.call('HSET', state, 'bytes', 0)
  end
  if length >= tonumber(ARGV[i + 1]) or length > 0 and bytes + #event > tonumber(ARGV[i + 2]) then
    refused[#refused + 1] = (i + 2) / 4
  else
    redis.call('XADD', stream, '*', 'event', event)
    redis.call('HINCRBY', state, 'bytes', #event)
    used[stream], used[state] = 1, 1
  end
end
for i = 1, #KEYS do
  if used[KEYS[i]] then redis.call('EXPIRE', KEYS[i], ARGV[1]) end
end
return refused";

/// Removes what was delivered, takes lanes over whose node is gone, and reads further events. Returns the time in milliseconds, and for
/// each lane its epoch, whether the node has it (2: it has just taken it over), how many events it has, and the IDs and texts of events.
///
/// KEYS: the stream and the hash of each lane. ARGV: the node, a random epoch, how long it has a lane in milliseconds, the seconds that
/// keys are kept, how many bytes to read together, then for each lane: whether the node wants it, the epoch and the last ID that it
/// knows, how many events to read, how many were delivered, and their IDs.
const TAKE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room, reply, at = tonumber(ARGV[5]), {string.format('%d', now)}, 6
for i = 1, #KEYS, 2 do
  local stream, state = KEYS[i], KEYS[i + 1]
  local wants, known, after, limit, delivered =
    ARGV[at] == '1', ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  redis.call('HSETNX', state, 'epoch', ARGV[2])
  local fields = redis.call('HMGET', state, 'epoch', 'owner', 'until')
  local is_known, had = fields[1] == known, fields[2] == ARGV[1]
  for n = at + 5, at + 4 + delivered do
    local entry = is_known and redis.call('XRANGE', stream, ARGV[n], ARGV[n])[1]
    if entry then
      redis.call('XDEL', stream, ARGV[n])
      redis.call('HINCRBY', state, 'bytes', -#entry[2][2])
    end
  end
  at = at + 5 + delivered
  local has, events = 0, {}
  if not wants then
    if had then redis.call('HDEL', state, 'owner', 'until') end
  elseif had or not fields[2] or tonumber(fields[3]) < now then
    has = had and 1 or 2
    redis.call('HSET', state, 'owner', ARGV[1], 'until', string.format('%d', now + ARGV[3]))
    if not had or not is_known then after = '0-0' end
    while limit > 0 and room > 0 do
      local entries = redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', math.min(limit, 20))
      if #entries == 0 then break end
      for _, entry in ipairs(entries) do
        events[#events + 1], events[#events + 2] = entry[1], entry[2][2]
        after, limit, room = entry[1], limit - 1, room - #entry[2][2]
      end
    end
  end
  redis.call('EXPIRE', stream, ARGV[4])
  redis.call('EXPIRE', state, ARGV[4])
  reply[#reply + 1] = {fields[1], has, redis.call('XLEN', stream), events}
end
return reply";

/// Maximum bytes of the events that are read at a time, or one event more.
const READ_BYTES: u32 = 2 << 20;

/// Adds events to lanes. It has a connection of its own.
pub struct LaneWriter {
    keys: Arc<[String]>,
    script: ScriptConnection,
}

/// Takes events out of lanes. It has a connection of its own.
pub struct LaneReader {
    keys: Arc<[String]>,
    script: ScriptConnection,
    node: String,
}

/// Where an event is in its lane: its time in milliseconds of Unix time, and a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneEntryId {
    pub time: u64,
    number: u64,
}

/// An event for a lane.
#[derive(Debug)]
pub struct LaneEvent<'a> {
    /// The index of the lane.
    pub lane: usize,
    /// How many events and bytes the lane may have with it.
    pub max_events: usize,
    pub max_bytes: usize,
    pub event: &'a [u8],
}

/// What a node asks of a lane.
#[derive(Debug, Default)]
pub struct LaneRequest {
    /// Whether the node wants to have it. If not, it gives it up.
    pub wants: bool,
    /// The last epoch that the node knows.
    pub epoch: String,
    /// The last event that the node has read in that epoch.
    pub after: LaneEntryId,
    /// How many events to read.
    pub limit: usize,
    /// The events of that epoch that were delivered.
    pub delivered: Vec<LaneEntryId>,
}

/// The state of a lane.
#[derive(Debug)]
pub struct LaneState {
    pub epoch: String,
    pub lease: LeaseOutcome,
    /// How many events it has.
    pub length: usize,
    /// What was read of them.
    pub events: Vec<(LaneEntryId, Bytes)>,
}

/// Whether a node holds the lease of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    HeldByOther,
    Renewed,
    /// No other node held it. The events are read from the start.
    Acquired,
}

#[derive(Debug, Error)]
pub enum LaneError {
    /// The ACL of Redis does not permit it.
    #[error("denied by the ACL of Redis")]
    Denied,
    #[error("{0}")]
    Failed(String),
}

/// The lanes of these names.
pub(super) fn webhook_lanes(
    url: &RedisUrl,
    keys: &StoreKeys,
    limit: Duration,
    names: &[String],
) -> (LaneWriter, LaneReader) {
    let keys = names.iter().flat_map(|name| keys.webhook(name));
    let keys: Arc<[String]> = keys.collect();
    let script = |script| ScriptConnection::new(url.clone(), script, limit);
    let node = format!("{:016x}", rand::random::<u64>());
    (LaneWriter { keys: keys.clone(), script: script(ADD) }, LaneReader { keys, script: script(TAKE), node })
}

impl LaneWriter {
    /// Adds events in their order. Returns the indexes of those for which there was no room.
    pub async fn add(&mut self, events: &[LaneEvent<'_>]) -> Result<Vec<usize>, LaneError> {
        let keys = &self.keys;
        let called = self.script.call(|command| {
            command.arg(keys.len()).arg(&**keys).arg(KEEP);
            for LaneEvent { lane, max_events, max_bytes, event } in events {
                command.arg(lane + 1).arg(max_events).arg(max_bytes).arg(event);
            }
        });
        let Value::Array(refused) = called.await? else { return Err(unexpected()) };
        let index = |value| match value {
            Value::Int(index) => usize::try_from(index).ok()?.checked_sub(1),
            _ => None,
        };
        refused.into_iter().map(index).collect::<Option<_>>().ok_or_else(unexpected)
    }
}

impl LaneReader {
    /// Asks for all lanes, in their order. Returns the time of Redis, in milliseconds of Unix time. A lease that the node holds
    /// lasts for `lease` from now on.
    pub async fn take(
        &mut self,
        requests: &[LaneRequest],
        lease: Duration,
    ) -> Result<(u64, Vec<LaneState>), LaneError> {
        let (keys, node) = (&self.keys, &self.node);
        let epoch = format!("{:016x}", rand::random::<u64>());
        let called = self.script.call(|command| {
            command.arg(keys.len()).arg(&**keys).arg(node).arg(&epoch);
            command.arg(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)).arg(KEEP).arg(READ_BYTES);
            for LaneRequest { wants, epoch, after, limit, delivered } in requests {
                command.arg(u8::from(*wants)).arg(epoch).arg(after.to_string()).arg(limit);
                command.arg(delivered.len());
                for id in delivered {
                    command.arg(id.to_string());
                }
            }
        });
        parse(called.await?).ok_or_else(unexpected)
    }
}

impl fmt::Display for LaneEntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.time, self.number)
    }
}

impl FromStr for LaneEntryId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (time, number) = text.split_once('-').ok_or(())?;
        Ok(Self { time: time.parse().map_err(drop)?, number: number.parse().map_err(drop)? })
    }
}

impl From<ConnectionError> for LaneError {
    fn from(error: ConnectionError) -> Self {
        if error.is_denied() { Self::Denied } else { Self::Failed(error.to_string()) }
    }
}

fn unexpected() -> LaneError {
    ConnectionError::Unexpected("EVALSHA").into()
}

fn parse(reply: Value) -> Option<(u64, Vec<LaneState>)> {
    let Value::Array(parts) = reply else { return None };
    let mut parts = parts.into_iter();
    let now = text(parts.next()?)?.parse().ok()?;
    let lane = |value| {
        let Value::Array(parts) = value else { return None };
        let [epoch, Value::Int(has), Value::Int(length), Value::Array(entries)] =
            <[Value; 4]>::try_from(parts).ok()?
        else {
            return None;
        };
        let lease = match has {
            0 => LeaseOutcome::HeldByOther,
            1 => LeaseOutcome::Renewed,
            _ => LeaseOutcome::Acquired,
        };
        let (mut events, mut entries) = (Vec::with_capacity(entries.len() / 2), entries.into_iter());
        while let (Some(id), Some(event)) = (entries.next(), entries.next()) {
            let Value::BulkString(event) = event else { return None };
            events.push((text(id)?.parse().ok()?, event.into()));
        }
        Some(LaneState { epoch: text(epoch)?, lease, length: usize::try_from(length).ok()?, events })
    };
    Some((now, parts.map(lane).collect::<Option<_>>()?))
}

fn text(value: Value) -> Option<String> {
    if let Value::BulkString(text) = value { String::from_utf8(text).ok() } else { None }
}
