use std::time::Duration;

use redis::{Cmd, ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep_until};

use super::clock::Clock;
use super::health::{Health, Role};
use super::link::{Link, Trouble, code_of, within};
use super::outgoing::{Outgoing, Sending};
use crate::broker::PublishError;

/// Publishes only what is not too late by Redis's own clock: `docs/decisions/0001-publish-with-a-deadline.md`.
///
/// Arguments: topic, deadline (µs of Unix time) and payload of each message, the oldest first. Answers: how many
/// of the first were too late, and the clock; where Redis refused topics also the first error's code, and the
/// numbers, from 1, of the messages that it refused. Without messages it only tells the clock.
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

/// A connection on which nothing was published for so long is tried.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// Without an answer for so long the node says that it is not ready. It goes on waiting for the answer.
const SILENT_AFTER: Duration = Duration::from_millis(400);

/// The connection that publishes: one batch at a time, all that waits in one batch.
pub(super) struct Publisher<'a> {
    link: Link,
    outgoing: &'a Outgoing,
    health: &'a Health,
    /// How long a sender waits, and the longest that Redis may be silent.
    patience: Duration,
    mode: Mode,
}

enum Mode {
    /// The script's name, and the clock that its answers tell.
    Deadline { script: Vec<u8>, clock: Clock },
    /// Scripts are not permitted.
    Plain,
}

impl<'a> Publisher<'a> {
    pub(super) async fn start(
        mut link: Link,
        outgoing: &'a Outgoing,
        health: &'a Health,
        patience: Duration,
    ) -> Result<Self, Trouble> {
        let mode = match deadline_mode(&mut link, patience).await {
            Ok(mode) => mode,
            Err(Trouble::Refused(_, code)) if matches!(&*code, "NOPERM" | "ERR") => Mode::Plain,
            Err(trouble) => return Err(trouble),
        };
        Ok(Self { link, outgoing, health, patience, mode })
    }

    /// Whether Redis itself refuses what is too late.
    pub(super) const fn keeps_deadlines(&self) -> bool {
        matches!(self.mode, Mode::Deadline { .. })
    }

    /// Runs until the connection fails.
    pub(super) async fn run(&mut self) -> Trouble {
        loop {
            let batch = self.outgoing.batch();
            if !batch.is_empty() {
                if let Err(trouble) = self.send(&batch).await {
                    return trouble;
                }
                continue;
            }
            let heartbeat = sleep_until(Instant::now() + HEARTBEAT);
            tokio::select! {
                biased;
                () = self.outgoing.queued.notified() => {}
                unasked = self.link.read() => return match unasked {
                    Ok(Value::ServerError(error)) => Trouble::refused("the connection", &error),
                    Ok(_) => Trouble::Unexpected("nothing"),
                    Err(trouble) => trouble,
                },
                () = heartbeat => if let Err(trouble) = self.send(&[]).await {
                    return trouble;
                },
            }
        }
    }

    /// Sends a batch and settles what the answer settles. An empty one is a heartbeat.
    async fn send(&mut self, batch: &[Sending]) -> Result<(), Trouble> {
        let (patience, health) = (self.patience, self.health);
        let sending = async {
            match self.mode {
                Mode::Deadline { .. } => self.send_with_deadline(batch).await,
                Mode::Plain if batch.is_empty() => self.link.ask("PING", &cmd("PING")).await.map(drop),
                Mode::Plain => self.send_plainly(batch).await,
            }
        };
        tokio::pin!(sending);
        if let Some(sent) = within(SILENT_AFTER, &mut sending).await {
            return sent;
        }
        health.silent(Role::Publisher, "PUBLISH");
        let sent = within(patience.saturating_sub(SILENT_AFTER), sending).await;
        health.answers(Role::Publisher);
        sent.unwrap_or(Err(Trouble::Silent("PUBLISH")))
    }

    async fn send_with_deadline(&mut self, batch: &[Sending]) -> Result<(), Trouble> {
        let Mode::Deadline { script, clock } = &mut self.mode else { return Ok(()) };
        let margin = margin(self.patience);
        let answer = loop {
            let asked = Instant::now();
            self.link.write(&publish_batch(script, batch, clock, margin));
            self.link.flush().await?;
            match self.link.read().await? {
                // Someone flushed the scripts: nothing of the batch was published.
                Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => {
                    *script = load(&mut self.link).await?;
                }
                Value::ServerError(error) => {
                    if error.kind() == Some(ServerErrorKind::NoPerm) {
                        for sending in batch {
                            self.outgoing.refused(sending.seq, PublishError::Unreachable);
                        }
                    }
                    // After any other error a part may have been published: copies and deadlines tell.
                    return Err(Trouble::refused("PUBLISH", &error));
                }
                reply => break Answer::read(&reply, asked)?,
            }
        };
        for (index, sending) in batch.iter().enumerate() {
            if index < answer.late {
                self.outgoing.refused(sending.seq, PublishError::TimedOut);
            } else if answer.denied.contains(&(index + 1)) {
                self.outgoing.refused(sending.seq, PublishError::Unreachable);
            } else {
                self.outgoing.accepted(sending.seq);
            }
        }
        if let Some(sample) = answer.clock(margin) {
            *clock = sample;
        }
        let Some(code) = answer.refusal else { return Ok(()) };
        let denied = answer.denied.first().and_then(|number| batch.get(number.checked_sub(1)?));
        Err(denied.map_or(Trouble::Refused("PUBLISH", code.clone()), |sending| denied_publish(code, sending)))
    }

    async fn send_plainly(&mut self, batch: &[Sending]) -> Result<(), Trouble> {
        for sending in batch {
            self.link.write(cmd("PUBLISH").arg(&sending.topic[..]).arg(&sending.payload[..]));
        }
        self.link.flush().await?;
        let mut trouble = None;
        for sending in batch {
            match self.link.read().await? {
                Value::Int(_) => self.outgoing.accepted(sending.seq),
                Value::ServerError(error) => {
                    self.outgoing.refused(sending.seq, PublishError::Unreachable);
                    trouble = Some(denied_publish(code_of(error.code()), sending));
                }
                _ => return Err(Trouble::Unexpected("PUBLISH")),
            }
        }
        trouble.map_or(Ok(()), Err)
    }
}

/// Redis may publish until this long before the sender gives up: the way back must fit in.
fn margin(patience: Duration) -> Duration {
    (patience / 4).min(Duration::from_millis(500))
}

async fn deadline_mode(link: &mut Link, patience: Duration) -> Result<Mode, Trouble> {
    let script = load(link).await?;
    // A first answer can be slow by chance.
    for _ in 0..3 {
        let asked = Instant::now();
        let reply = link.ask("EVALSHA", &run_script(&script)).await?;
        if let Some(clock) = Answer::read(&reply, asked)?.clock(margin(patience)) {
            return Ok(Mode::Deadline { script, clock });
        }
    }
    Err(Trouble::Silent("EVALSHA"))
}

async fn load(link: &mut Link) -> Result<Vec<u8>, Trouble> {
    match link.ask("SCRIPT LOAD", cmd("SCRIPT").arg("LOAD").arg(SCRIPT)).await? {
        Value::BulkString(name) => Ok(name),
        _ => Err(Trouble::Unexpected("SCRIPT LOAD")),
    }
}

/// Without messages it asks for the clock.
fn run_script(script: &[u8]) -> Cmd {
    cmd("EVALSHA").arg(script).arg(0).take()
}

fn publish_batch(script: &[u8], batch: &[Sending], clock: &Clock, margin: Duration) -> Cmd {
    let mut command = run_script(script);
    for sending in batch {
        let deadline = sending.deadline.checked_sub(margin).unwrap_or(sending.deadline);
        command.arg(&sending.topic[..]).arg(clock.micros_at(deadline)).arg(&sending.payload[..]);
    }
    command
}

/// What the script answers.
struct Answer {
    late: usize,
    /// The numbers, from 1, of the messages that Redis refused, and why.
    denied: Vec<usize>,
    /// The code of the first refusal.
    refusal: Option<String>,
    micros: u64,
    asked: Instant,
    received: Instant,
}

impl Answer {
    fn read(reply: &Value, asked: Instant) -> Result<Self, Trouble> {
        let unexpected = Trouble::Unexpected("EVALSHA");
        let Value::Array(values) = reply else { return Err(unexpected) };
        let [Value::Int(late), Value::Int(seconds), Value::Int(micros), ref refusals @ ..] = values[..]
        else {
            return Err(unexpected);
        };
        let (refusal, denied) = match refusals {
            [] => (None, Vec::new()),
            [Value::BulkString(code), numbers @ ..] => {
                let code = code_of(&String::from_utf8_lossy(code));
                (Some(code), numbers.iter().map(position).collect::<Option<_>>().ok_or(unexpected)?)
            }
            _ => return Err(unexpected),
        };
        let positive = |number: i64| u64::try_from(number).unwrap_or(0);
        let micros = positive(seconds).saturating_mul(1_000_000).saturating_add(positive(micros));
        let late = usize::try_from(late).unwrap_or(0);
        Ok(Self { late, denied, refusal, micros, asked, received: Instant::now() })
    }

    fn clock(&self, tolerance: Duration) -> Option<Clock> {
        Clock::sample(self.asked, self.received, self.micros, tolerance)
    }
}

/// Redis's words may quote the message.
fn denied_publish(code: String, sending: &Sending) -> Trouble {
    Trouble::Denied("PUBLISH", code, format!("topic {}", String::from_utf8_lossy(&sending.topic)))
}

fn position(value: &Value) -> Option<usize> {
    if let Value::Int(number) = value { usize::try_from(*number).ok() } else { None }
}
