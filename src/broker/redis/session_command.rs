//! What is written and read of sessions, as commands for Redis.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::sync::oneshot;

/// The fields of a session.
pub type SessionFields = HashMap<String, String>;

/// The field with the time at which the session was claimed.
pub(super) const CLAIMED_AT: &str = "claimed_at";

/// Changes a session, unless another node has claimed it later.
///
/// KEYS: the session. ARGV: when the writer claimed it, the latest claim of another node that the writer knows of, what to do, how long
/// the session lives in milliseconds, then fields, each followed by `=` and its value, or `-` to remove it.
pub(super) const SCRIPT: &str = "\
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

/// The field of a sign of life with its number.
const NUMBER: &str = "number";

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
    /// Completes once everything before it has been written.
    Flush(oneshot::Sender<()>),
    Find(String, oneshot::Sender<SessionFields>),
    Claim(SessionClaim, oneshot::Sender<bool>),
    /// Of a node, for the session with this name. The text, and how long it is still remembered, in milliseconds.
    ReadSign(String, String, oneshot::Sender<Option<(String, u64)>>),
}

/// A sign of life.
#[derive(Debug)]
pub(super) struct SessionSign {
    /// Counts the signs of this node.
    pub(super) number: u64,
    pub(super) text: String,
    /// Single sessions by their names, with their texts.
    pub(super) exceptions: Vec<(String, String)>,
    pub(super) ttl: Duration,
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

impl SessionCommand {
    /// The session that is changed, found or claimed.
    pub(super) fn session(&self) -> Option<&str> {
        match self {
            Self::Change(key, ..) | Self::Find(key, _) | Self::Claim(SessionClaim { key, .. }, _) => {
                Some(key)
            }
            Self::WriteSign(..) | Self::Flush(_) | Self::ReadSign(..) => None,
        }
    }

    /// Whether a page waits for the reply.
    pub(super) const fn is_awaited(&self) -> bool {
        matches!(self, Self::Find(..) | Self::Claim(..) | Self::ReadSign(..))
    }

    /// Whether it still has to be sent if it could not be sent now.
    pub(super) const fn is_write(&self) -> bool {
        matches!(self, Self::Change(..) | Self::WriteSign(..))
    }

    /// `sha`: of the script. `None`: Redis denies it. `sign_has_texts`: whether a sign of life says more than that the node is alive.
    pub(super) fn encode(&self, sha: Option<&[u8]>, sign_has_texts: bool) -> Vec<Cmd> {
        let command = match self {
            // Denied. A command that is never denied keeps the replies in order.
            Self::Change(..) | Self::Claim(..) if sha.is_none() => cmd("PING"),
            Self::WriteSign(_, Some(_)) if sha.is_none() => return vec![cmd("PING"), cmd("PING")],
            Self::Flush(_) => cmd("PING"),
            Self::Change(key, claimed_at, change) => {
                change.encode(sha.unwrap_or_default(), key, *claimed_at, *claimed_at)
            }
            Self::Claim(SessionClaim { key, claimed_at, after, session }, _) => {
                session.encode(sha.unwrap_or_default(), key, *claimed_at, *after)
            }
            Self::WriteSign(key, Some(sign)) => {
                let write = sign.fields(sign_has_texts).encode(sha.unwrap_or_default(), key, 0, 0);
                return vec![cmd("HGET").arg(key).arg(NUMBER).take(), write];
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
        let text = if with_texts { self.text.clone() } else { String::new() };
        let mut fields =
            vec![(NUMBER.to_owned(), Some(self.number.to_string())), (ALL.to_owned(), Some(text))];
        if with_texts {
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

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// The fields in the reply to HGETALL.
pub(super) fn fields(found: Value) -> Option<SessionFields> {
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

pub(super) fn text(value: Value) -> Option<String> {
    if let Value::BulkString(text) = value { String::from_utf8(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_without_texts_still_says_that_the_node_is_alive() {
        let exceptions = vec![("1.2".to_owned(), "late".to_owned())];
        let ttl = Duration::from_secs(60);
        let sign = SessionSign { number: 17, text: "all of them".to_owned(), exceptions, ttl };
        let command = SessionCommand::WriteSign("node".to_owned(), Some(sign));
        let encoded = |has_texts| {
            let commands = command.encode(Some(b"sha"), has_texts);
            String::from_utf8(commands.iter().flat_map(Cmd::get_packed_command).collect()).unwrap()
        };
        let parts = ["replace", "=17", "=all of them", "=late"];
        assert_eq!(parts.map(|part| encoded(true).contains(part)), [true; 4]);
        assert_eq!(parts.map(|part| encoded(false).contains(part)), [true, true, false, false]);
    }
}
