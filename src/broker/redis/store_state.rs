use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{Cmd, Value, cmd};

use super::connection::RedisConnection;
use super::connection_error::ConnectionError;
use super::publish_script::load;
use super::store_keys::StoreKeys;
use crate::broker::StoreState;
use crate::message::Stored;

/// Identifies the store, and replaces one that has lost something: it has given fewer numbers than a node has seen.
///
/// KEYS: the store. ARGV: a random number in hexadecimal, the store that was seen and its last number.
const SCRIPT: &str = "\
local store = redis.call('HKEYS', KEYS[1])[1]
local number = store and redis.call('HGET', KEYS[1], store) - 1
if not store or store == ARGV[2] and number < tonumber(ARGV[3]) then
  store, number = ARGV[1], 0
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], store, 1)
  redis.call('EXPIRE', KEYS[1], 2764800)
end
return string.format('%s %d', store, number)";

/// A store's identity as Redis has it.
pub(super) fn identity(store: u64) -> String {
    format!("{store:016x}")
}

/// The script that identifies the store, as loaded into Redis.
pub(super) struct StateScript {
    sha: Vec<u8>,
}

impl StateScript {
    pub(super) async fn load(connection: &mut RedisConnection) -> Result<Self, ConnectionError> {
        Ok(Self { sha: load(connection, SCRIPT).await? })
    }

    pub(super) fn command(&self, keys: &StoreKeys, seen: Option<StoreState>) -> Cmd {
        let number = seen.map_or(0, |seen| seen.number);
        let mut command = cmd("EVALSHA");
        command.arg(&self.sha).arg(1).arg(keys.store());
        command.arg(identity(rand::random())).arg(identity(seen.map_or(0, |seen| seen.store))).arg(number);
        command
    }

    pub(super) fn parse(reply: &Value) -> Result<StoreState, ConnectionError> {
        let parse = || {
            let Value::BulkString(text) = reply else { return None };
            let (store, number) = std::str::from_utf8(text).ok()?.split_once(' ')?;
            let store = u64::from_str_radix(store, 16).ok()?;
            Some(StoreState { store, number: number.parse().ok()? })
        };
        parse().ok_or(ConnectionError::Unexpected("EVALSHA"))
    }
}

/// What this node has seen of the store. Before it stores anything over a new connection, it compares that with what the store knows:
/// a store that has lost something must not give the same numbers again.
#[derive(Debug, Default)]
pub(super) struct SeenStore(Mutex<Option<StoreState>>);

impl SeenStore {
    pub(super) fn get(&self) -> Option<StoreState> {
        *self.lock()
    }

    /// Compares it with what the store knows, over a new connection.
    pub(super) async fn check(
        &self,
        connection: &mut RedisConnection,
        keys: &StoreKeys,
    ) -> Result<(), ConnectionError> {
        let command = StateScript::load(connection).await?.command(keys, self.get());
        self.set(StateScript::parse(&connection.call("EVALSHA", &command).await?)?);
        Ok(())
    }

    /// A message has arrived.
    pub(super) fn on_stored(&self, stored: &Stored) {
        self.set(StoreState { store: stored.store, number: stored.number });
    }

    pub(super) fn set(&self, state: StoreState) {
        let mut seen = self.lock();
        let number = seen.filter(|seen| seen.store == state.store).map_or(0, |seen| seen.number);
        *seen = Some(StoreState { number: number.max(state.number), ..state });
    }

    fn lock(&self) -> MutexGuard<'_, Option<StoreState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
