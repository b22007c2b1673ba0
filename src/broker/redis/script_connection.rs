use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::connection::RedisConnection;
use super::connection_error::ConnectionError;
use super::publish_script::load;
use super::timeouts::within;
use super::url::RedisUrl;

/// Runs one script over a connection of its own, which is opened with the first call.
pub(super) struct ScriptConnection {
    url: RedisUrl,
    script: &'static str,
    limit: Duration,
    open: Option<Open>,
}

/// A connection, and the script as loaded there.
struct Open {
    connection: RedisConnection,
    sha: Vec<u8>,
}

impl ScriptConnection {
    /// `limit` is how long a call may take.
    pub(super) const fn new(url: RedisUrl, script: &'static str, limit: Duration) -> Self {
        Self { url, script, limit, open: None }
    }

    /// Runs the script with the keys and arguments that `complete` adds: their number first. Repeating it must do no harm: the
    /// connection may have been lost while it was idle.
    pub(super) async fn call(&mut self, complete: impl Fn(&mut Cmd)) -> Result<Value, ConnectionError> {
        let was_open = self.open.is_some();
        match self.try_call(&complete).await {
            Err(error) if was_open && !error.is_denied() => self.try_call(&complete).await,
            called => called,
        }
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    async fn try_call(&mut self, complete: impl Fn(&mut Cmd)) -> Result<Value, ConnectionError> {
        // Gone if this fails or is dropped.
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.url, self.script).await?,
        };
        let mut command = cmd("EVALSHA");
        command.arg(&open.sha);
        complete(&mut command);
        open.connection.write(&command);
        let called = async {
            open.connection.flush().await?;
            open.connection.read().await
        };
        let reply = within(self.limit, called).await.unwrap_or(Err(ConnectionError::TimedOut("EVALSHA")))?;
        if let Value::ServerError(error) = &reply {
            return Err(ConnectionError::refused("EVALSHA", error));
        }
        self.open = Some(open);
        Ok(reply)
    }
}

impl Open {
    async fn new(url: &RedisUrl, script: &str) -> Result<Self, ConnectionError> {
        let mut connection = RedisConnection::open_database(url).await?;
        let sha = load(&mut connection, script).await?;
        Ok(Self { connection, sha })
    }
}
