use std::borrow::Cow;
use std::collections::HashMap;

use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::clock::ClockReading;
use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_code, reports_acl_denial};
use super::publish_queue::QueuedMessage;
use super::publish_script::load;
use super::store_arguments::{RunArgument, StoreSending, batch_argument};
use super::store_keys::StoreKeys;
use super::store_run::{is_keyed, runs};
use super::store_state::SeenStore;
use crate::broker::StoreState;
use crate::broker::envelope::{NodeId, begin_run};
use crate::message::{ChannelName, Position};

/// Its first lines explain what it is given and what it answers.
pub(super) const SCRIPT: &str = include_str!("store_script.lua");

/// Tries the commands of the script and those that read histories. Returns the first one's error.
const PROBE: &str = "\
local function failed(...)
  local reply = redis.pcall(...)
  return type(reply) == 'table' and reply.err
end
return failed('SET', KEYS[1], '') or failed('EXPIRE', KEYS[1], 60) or failed('GET', KEYS[1])
  or failed('SETRANGE', KEYS[1], 0, '-') or failed('XADD', KEYS[2], 'MINID', '~', '1', '1', 'payload', '')
  or failed('PEXPIRE', KEYS[2], 60000) or failed('XRANGE', KEYS[2], '-', '+') or failed('DEL', KEYS[1], KEYS[2])
  or failed('HINCRBY', KEYS[1], 'a', 1) or failed('EXPIRE', KEYS[1], 60) or failed('HSET', KEYS[1], 'a', 1)
  or failed('HGET', KEYS[1], 'a') or failed('HKEYS', KEYS[1]) or failed('HDEL', KEYS[1], 'a')";

/// The script that stores messages, as loaded into Redis.
pub(super) struct StoreScript {
    sha: Vec<u8>,
    /// Maximum bytes of the messages that Redis keeps of a channel. An eighth more may be there for a moment.
    channel_bytes: usize,
    text: Cow<'static, str>,
    /// Keys after those that the script itself uses.
    more_keys: Vec<String>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was too late, and was not published.
    Late,
    Published,
    /// Redis has refused a command. It was not published.
    Refused,
    Stored(Position),
    /// Its idempotency key was used before; this is the position of the first one.
    Repeated(Option<Position>),
}

/// The script's reply.
pub(super) struct StoreReply {
    /// One for each message. `None`: the batch was sent before, and it is unknown whether it was executed.
    pub(super) outcomes: Option<Vec<Outcome>>,
    /// The code of the first error, if there was one.
    pub(super) error_code: Option<String>,
    pub(super) clock: ClockReading,
}

impl StoreScript {
    /// Loads the script over a new connection, once Redis has shown that it permits what the script does, and a store that has lost
    /// something has been replaced.
    pub(super) async fn load(
        connection: &mut RedisConnection,
        keys: &StoreKeys,
        node: &NodeId,
        seen: &SeenStore,
        channel_bytes: usize,
    ) -> Result<Self, ConnectionError> {
        Self::load_text(connection, keys, node, seen, channel_bytes, Cow::Borrowed(SCRIPT), Vec::new()).await
    }

    /// Loads a script that begins and ends as this one does, as far as its keys and arguments are concerned.
    pub(super) async fn load_text(
        connection: &mut RedisConnection,
        keys: &StoreKeys,
        node: &NodeId,
        seen: &SeenStore,
        channel_bytes: usize,
        text: Cow<'static, str>,
        more_keys: Vec<String>,
    ) -> Result<Self, ConnectionError> {
        let probe = load(connection, PROBE).await?;
        let mut command = cmd("EVALSHA");
        command.arg(probe).arg(2).arg(keys.probe(node, "head")).arg(keys.probe(node, "history"));
        if let Value::BulkString(error) = connection.call("EVALSHA", &command).await? {
            let error = String::from_utf8_lossy(&error);
            let code = if reports_acl_denial(&error) { "NOPERM".to_owned() } else { error_code(&error) };
            return Err(ConnectionError::Refused("EVALSHA", code));
        }
        seen.check(connection, keys).await?;
        Ok(Self { sha: load(connection, &text).await?, text, more_keys, channel_bytes })
    }

    /// Loads the script again, after another client has flushed Redis's scripts.
    pub(super) async fn reload(&mut self, connection: &mut RedisConnection) -> Result<(), ConnectionError> {
        self.sha = load(connection, &self.text).await?;
        Ok(())
    }

    /// The command that stores and publishes a batch. `deadline` is in Redis's time; 0 leaves a message out. `seen` names the
    /// store; the script finds another one by itself.
    pub(super) fn command(
        &self,
        keys: &StoreKeys,
        node: &NodeId,
        batch: &[QueuedMessage],
        sending: StoreSending,
        seen: Option<StoreState>,
        deadline: impl Fn(&QueuedMessage) -> u64,
    ) -> Cmd {
        let mut channels = Channels::default();
        let storages = || batch.iter().filter_map(|message| message.storage.as_deref());
        for retained in storages().flat_map(|storage| &storage.retained) {
            channels.add(&retained.channel);
        }
        let idempotency: Vec<String> = storages()
            .flat_map(|storage| [storage.idempotency_key.as_deref(), storage.second_key.as_deref()])
            .flatten()
            .map(|key| keys.idempotency(key))
            .collect();
        let mut command = cmd("EVALSHA");
        command.arg(&self.sha);
        command.arg(2 + 2 * channels.list.len() + idempotency.len() + self.more_keys.len());
        command.arg(keys.store()).arg(keys.batch(node));
        for channel in &channels.list {
            command.arg(keys.head(channel)).arg(keys.messages(channel));
        }
        let mut next_key = 3 + 2 * channels.list.len();
        command.arg(idempotency).arg(&self.more_keys);

        let stored = storages().filter(|storage| !storage.retained.is_empty()).count();
        let store = seen.map_or(0, |seen| seen.store);
        command.arg(batch_argument(first_seq(batch), sending, store, stored));
        for run in runs(batch, &deadline) {
            let Some(first) = run.first() else { continue };
            let storage = first.storage.as_deref();
            let mut argument = RunArgument::new(deadline(first), run.len(), storage);
            for retained in storage.iter().flat_map(|storage| &storage.retained) {
                let place = 1 + 2 * channels.place(&retained.channel);
                argument.add_channel(place, retained, self.channel_bytes);
            }
            if let Some(storage) = storage.filter(|storage| is_keyed(storage)) {
                for key in [&storage.idempotency_key, &storage.second_key] {
                    argument.add_key(key.is_some().then_some(next_key));
                    next_key += usize::from(key.is_some());
                }
            }
            command.arg(&first.topic[..]).arg(argument.as_bytes());
            if run.len() > 1 {
                command.arg(begin_run(run.iter().map(|message| &message.payload[..])));
            } else {
                command.arg(&first.payload[..]);
            }
        }
        command
    }
}

fn first_seq(batch: &[QueuedMessage]) -> u64 {
    batch.first().map_or(0, |message| message.seq)
}

/// The channels of a batch, each once.
#[derive(Default)]
struct Channels<'b> {
    list: Vec<&'b ChannelName>,
    places: HashMap<&'b ChannelName, usize>,
}

impl<'b> Channels<'b> {
    fn add(&mut self, channel: &'b ChannelName) {
        let place = self.list.len() + 1;
        self.places.entry(channel).or_insert_with(|| {
            self.list.push(channel);
            place
        });
    }

    /// From 1.
    fn place(&self, channel: &ChannelName) -> usize {
        self.places.get(channel).copied().unwrap_or_default()
    }
}

impl StoreReply {
    pub(super) fn parse(reply: &Value, asked: Instant, messages: usize) -> Result<Self, ConnectionError> {
        Self::try_parse(reply, asked, messages).ok_or(ConnectionError::Unexpected("EVALSHA"))
    }

    fn try_parse(reply: &Value, asked: Instant, messages: usize) -> Option<Self> {
        let Value::Array(values) = reply else { return None };
        let [Value::Int(micros), outcomes, code @ ..] = &values[..] else { return None };
        let error_code = match code {
            [Value::BulkString(code)] => Some(error_code(&String::from_utf8_lossy(code))),
            _ => None,
        };
        let outcomes = match outcomes {
            Value::BulkString(text) => Some(Outcome::parse_all(std::str::from_utf8(text).ok()?, messages)?),
            Value::Nil => None,
            _ => return None,
        };
        Some(Self { outcomes, error_code, clock: ClockReading::new(0, *micros, asked) })
    }
}

impl Outcome {
    /// The outcome of each of the messages, from those of their runs.
    fn parse_all(text: &str, messages: usize) -> Option<Vec<Self>> {
        let mut outcomes = Vec::with_capacity(messages);
        for run in text.split(' ') {
            let (first, length) = run.split_once('*').unwrap_or((run, "1"));
            let (first, length) = (Self::parse(first)?, length.parse::<usize>().ok()?);
            if length > messages - outcomes.len() {
                return None;
            }
            for after in 0..length {
                outcomes.push(first.nth(after)?);
            }
        }
        (outcomes.len() == messages).then_some(outcomes)
    }

    /// The outcome of a message of the run that begins with this one.
    fn nth(self, after: usize) -> Option<Self> {
        let Self::Stored(Position { epoch, offset }) = self else { return Some(self) };
        let offset = offset.checked_add(u64::try_from(after).ok()?)?;
        Some(Self::Stored(Position { epoch, offset }))
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "-" => Self::Late,
            "." => Self::Published,
            "!" => Self::Refused,
            "=" => Self::Repeated(None),
            _ => match text.strip_prefix('=') {
                Some(position) => Self::Repeated(Some(position.parse().ok()?)),
                None => Self::Stored(text.parse().ok()?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_parsed() {
        let position = "a-3".parse().unwrap();
        for (text, outcome) in [
            ("-", Some(Outcome::Late)),
            (".", Some(Outcome::Published)),
            ("!", Some(Outcome::Refused)),
            ("a-3", Some(Outcome::Stored(position))),
            ("=a-3", Some(Outcome::Repeated(Some(position)))),
            ("=", Some(Outcome::Repeated(None))),
            ("", None),
            ("a", None),
            ("=-", None),
        ] {
            assert_eq!(Outcome::parse(text), outcome, "{text}");
        }
    }

    #[test]
    fn outcomes_of_runs_are_those_of_their_messages() {
        let stored = |text: &str| Outcome::Stored(text.parse().unwrap());
        let outcomes = vec![stored("a-3"), stored("a-4"), Outcome::Published, Outcome::Late, Outcome::Late];
        assert_eq!(Outcome::parse_all("a-3*2 . -*2", 5), Some(outcomes));
        for (text, messages) in [
            ("a-3*2", 1),
            ("a-3*2", 3),
            ("a-3*", 1),
            ("a-3*-1", 1),
            ("a-3*18446744073709551616", 1),
            ("a-18446744073709551615*2", 2),
        ] {
            assert_eq!(Outcome::parse_all(text, messages), None, "{text}");
        }
    }
}
