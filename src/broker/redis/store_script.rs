use std::borrow::Cow;
use std::collections::HashMap;

use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::clock::ClockReading;
use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_code};
use super::publish_queue::QueuedMessage;
use super::publish_script::load;
use super::store_keys::StoreKeys;
use crate::broker::envelope::NodeId;
use crate::message::{ChannelName, Position, Retention};

/// Its first lines explain what it is given and what it answers.
pub(super) const SCRIPT: &str = include_str!("store_script.lua");

/// Tries the commands of the script and those that read histories. Returns the first one's error.
const PROBE: &str = "\
local function failed(...)
  local reply = redis.pcall(...)
  return type(reply) == 'table' and reply.err
end
return failed('GET', KEYS[1]) or failed('SET', KEYS[1], '', 'EX', 60)
  or failed('XADD', KEYS[2], 'MINID', '~', '1-0', '1-0', 'payload', '') or failed('PEXPIRE', KEYS[2], 60000)
  or failed('XRANGE', KEYS[2], '-', '+') or failed('XREVRANGE', KEYS[2], '+', '-')
  or failed('DEL', KEYS[1], KEYS[2])";

/// The place of an idempotency key: a message that is neither stored nor has a key.
const PLAIN: i64 = -1;

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
    /// Loads the script, once Redis has shown that it permits what the script does.
    pub(super) async fn load(
        connection: &mut RedisConnection,
        keys: &StoreKeys,
        node: &NodeId,
        channel_bytes: usize,
    ) -> Result<Self, ConnectionError> {
        Self::load_text(connection, keys, node, channel_bytes, Cow::Borrowed(SCRIPT), Vec::new()).await
    }

    /// Loads a script that begins and ends as this one does, as far as its keys and arguments are concerned.
    pub(super) async fn load_text(
        connection: &mut RedisConnection,
        keys: &StoreKeys,
        node: &NodeId,
        channel_bytes: usize,
        text: Cow<'static, str>,
        more_keys: Vec<String>,
    ) -> Result<Self, ConnectionError> {
        let probe = load(connection, PROBE).await?;
        let mut command = cmd("EVALSHA");
        command.arg(probe).arg(2).arg(keys.probe(node, "head")).arg(keys.probe(node, "history"));
        if let Value::BulkString(error) = connection.call("EVALSHA", &command).await? {
            let error = String::from_utf8_lossy(&error);
            // Before version 7 the message has no code of its own.
            let is_denied = error.contains("NOPERM") || error.contains("can't");
            let code = if is_denied { "NOPERM".to_owned() } else { error_code(&error) };
            return Err(ConnectionError::Refused("EVALSHA", code));
        }
        Ok(Self { sha: load(connection, &text).await?, text, more_keys, channel_bytes })
    }

    /// Loads the script again, after another client has flushed Redis's scripts.
    pub(super) async fn reload(&mut self, connection: &mut RedisConnection) -> Result<(), ConnectionError> {
        self.sha = load(connection, &self.text).await?;
        Ok(())
    }

    /// The command that stores and publishes a batch. `deadline` is in Redis's time; 0 leaves a message out. `is_repeated`: the batch
    /// may have been executed already.
    pub(super) fn command(
        &self,
        keys: &StoreKeys,
        node: &NodeId,
        batch: &[QueuedMessage],
        is_repeated: bool,
        deadline: impl Fn(&QueuedMessage) -> u64,
    ) -> Cmd {
        let mut channels = Channels::default();
        let retained = || batch.iter().filter_map(|message| message.storage.as_deref());
        for storage in retained() {
            for retained in &storage.retained {
                channels.add(&retained.channel, retained.retention);
            }
        }
        let idempotency: Vec<String> = retained()
            .flat_map(|storage| [storage.idempotency_key.as_deref(), storage.second_key.as_deref()])
            .flatten()
            .map(|key| keys.idempotency(key))
            .collect();
        let mut command = cmd("EVALSHA");
        command.arg(&self.sha);
        command.arg(2 + 2 * channels.list.len() + idempotency.len() + self.more_keys.len());
        command.arg(keys.store()).arg(keys.batch(node));
        for (channel, _) in &channels.list {
            command.arg(keys.head(channel)).arg(keys.messages(channel));
        }
        let mut next_key = 3 + 2 * channels.list.len();
        command.arg(idempotency).arg(&self.more_keys);

        let stored = retained().filter(|storage| !storage.retained.is_empty()).count();
        command.arg(batch.first().map_or(0, |message| message.seq)).arg(u8::from(is_repeated));
        // A new store or epoch must have an identity that no other had.
        command.arg(format!("{:x}", rand::random::<u64>())).arg(stored).arg(channels.list.len());
        for (_, retention) in &channels.list {
            let age = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_AGE);
            command.arg(retention.messages.max(1)).arg(self.channel_bytes.max(1)).arg(age);
        }
        for message in batch {
            command.arg(&message.topic[..]).arg(deadline(message)).arg(&message.payload[..]);
            let Some(storage) = &message.storage else {
                command.arg(PLAIN);
                continue;
            };
            for key in [&storage.idempotency_key, &storage.second_key] {
                command.arg(if key.is_some() { next_key } else { 0 });
                next_key += usize::from(key.is_some());
            }
            command.arg(storage.retained.len());
            for retained in &storage.retained {
                command.arg(channels.place(&retained.channel)).arg(retained.index);
            }
        }
        command
    }
}

/// An age that Redis's clock can be compared with: some thousand years in milliseconds.
const MAX_AGE: u64 = 1 << 46;

/// The channels of a batch, each once.
#[derive(Default)]
struct Channels<'b> {
    list: Vec<(&'b ChannelName, Retention)>,
    places: HashMap<&'b ChannelName, usize>,
}

impl<'b> Channels<'b> {
    fn add(&mut self, channel: &'b ChannelName, retention: Retention) {
        let place = self.list.len() + 1;
        self.places.entry(channel).or_insert_with(|| {
            self.list.push((channel, retention));
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
        let [
            Value::Int(seconds),
            Value::Int(micros),
            Value::BulkString(code),
            Value::Int(status),
            Value::BulkString(outcomes),
        ] = &values[..]
        else {
            return None;
        };
        let clock = ClockReading::new(*seconds, *micros, asked);
        let error_code = (!code.is_empty()).then(|| error_code(&String::from_utf8_lossy(code)));
        let outcomes = match status {
            0 | 1 => {
                let texts = std::str::from_utf8(outcomes).ok()?.split(' ');
                let outcomes = texts.map(Outcome::parse).collect::<Option<Vec<_>>>()?;
                if outcomes.len() != messages {
                    return None;
                }
                Some(outcomes)
            }
            _ => None,
        };
        Some(Self { outcomes, error_code, clock })
    }
}

impl Outcome {
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
}
