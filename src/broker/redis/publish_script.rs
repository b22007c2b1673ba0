use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::clock::{ClockReading, RedisClock};
use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_code};
use super::publish_queue::QueuedMessage;

/// Publishes only messages whose deadline, by Redis's own clock, has not passed:
/// `docs/decisions/0001-publish-with-a-deadline.md`.
///
/// Arguments: channel, deadline (µs of Unix time) and payload of each message, the oldest first. Returns the number of
/// leading messages that were too late, and the clock. If Redis denied channels, also the first error's code and the
/// indexes, from 1, of the denied messages. Without messages it only returns the clock.
const SCRIPT: &str = "\
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local answer = {0, tonumber(t[1]), tonumber(t[2])}
for i = 1, #ARGV, 3 do
  if now <= tonumber(ARGV[i + 1]) then
    local reply = redis.pcall('PUBLISH', ARGV[i], ARGV[i + 2])
    if type(reply) == 'table' then
      answer[4] = answer[4] or string.match(reply['err'] or '', '^%S*')
      answer[#answer + 1] = (i + 2) / 3
    end
  else
    answer[1] = answer[1] + 1
  end
end
return answer";

/// The script as loaded into Redis, and the clock that its replies report.
pub(super) struct PublishScript {
    sha: Vec<u8>,
    clock: RedisClock,
    /// How long before a sender's deadline Redis stops publishing, so that the reply arrives in time.
    margin: Duration,
}

impl PublishScript {
    /// Loads the script. `timeout` is how long a sender waits.
    pub(super) async fn load(
        connection: &mut RedisConnection,
        timeout: Duration,
    ) -> Result<Self, ConnectionError> {
        let margin = (timeout / 4).min(Duration::from_millis(500));
        let sha = load(connection, SCRIPT).await?;
        // The first round trips may be slow by chance.
        for _ in 0..3 {
            let asked = Instant::now();
            let reply = connection.call("EVALSHA", &evalsha(&sha)).await?;
            if let Some(clock) = ScriptReply::parse(&reply, asked)?.clock.clock(margin) {
                return Ok(Self { sha, clock, margin });
            }
        }
        Err(ConnectionError::TimedOut("EVALSHA"))
    }

    /// Loads the script again, after another client has flushed Redis's scripts.
    pub(super) async fn reload(&mut self, connection: &mut RedisConnection) -> Result<(), ConnectionError> {
        self.sha = load(connection, SCRIPT).await?;
        Ok(())
    }

    /// The command that publishes a batch.
    pub(super) fn command(&self, batch: &[QueuedMessage]) -> Cmd {
        let mut command = evalsha(&self.sha);
        for message in batch {
            command.arg(&message.topic[..]).arg(self.deadline(message)).arg(&message.payload[..]);
        }
        command
    }

    /// Until when Redis publishes a message, by its own clock in microseconds.
    pub(super) fn deadline(&self, message: &QueuedMessage) -> u64 {
        self.clock.micros_at(message.deadline.checked_sub(self.margin).unwrap_or(message.deadline))
    }

    pub(super) fn update_clock(&mut self, reading: &ClockReading) {
        if let Some(clock) = reading.clock(self.margin) {
            self.clock = clock;
        }
    }
}

/// Loads a script. Returns the name by which Redis knows it.
pub(super) async fn load(connection: &mut RedisConnection, script: &str) -> Result<Vec<u8>, ConnectionError> {
    match connection.call("SCRIPT LOAD", cmd("SCRIPT").arg("LOAD").arg(script)).await? {
        Value::BulkString(sha) => Ok(sha),
        _ => Err(ConnectionError::Unexpected("SCRIPT LOAD")),
    }
}

fn evalsha(sha: &[u8]) -> Cmd {
    cmd("EVALSHA").arg(sha).arg(0).take()
}

/// The script's reply.
pub(super) struct ScriptReply {
    /// How many of the first messages were too late.
    pub(super) late: usize,
    /// The indexes, from 1, of the messages that Redis denied.
    pub(super) denied: Vec<usize>,
    /// The code of the first denial.
    pub(super) denial_code: Option<String>,
    pub(super) clock: ClockReading,
}

impl ScriptReply {
    pub(super) fn parse(reply: &Value, asked: Instant) -> Result<Self, ConnectionError> {
        let unexpected = ConnectionError::Unexpected("EVALSHA");
        let Value::Array(values) = reply else { return Err(unexpected) };
        let [Value::Int(late), Value::Int(seconds), Value::Int(micros), ref denials @ ..] = values[..] else {
            return Err(unexpected);
        };
        let (denial_code, denied) = match denials {
            [] => (None, Vec::new()),
            [Value::BulkString(code), indexes @ ..] => {
                let code = error_code(&String::from_utf8_lossy(code));
                (Some(code), indexes.iter().map(index).collect::<Option<_>>().ok_or(unexpected)?)
            }
            _ => return Err(unexpected),
        };
        let late = usize::try_from(late).unwrap_or(0);
        Ok(Self { late, denied, denial_code, clock: ClockReading::new(seconds, micros, asked) })
    }
}

fn index(value: &Value) -> Option<usize> {
    if let Value::Int(number) = value { usize::try_from(*number).ok() } else { None }
}
