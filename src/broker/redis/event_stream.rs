use std::sync::Arc;
use std::time::Duration;

use redis::{Value, cmd};
use thiserror::Error;

use super::connection::RedisConnection;
use super::connection_error::ConnectionError;
use super::store_keys::StoreKeys;
use super::timeouts::within;
use super::url::RedisUrl;
use crate::message::AppEvent;

/// The stream from which the application reads events. It has a connection of its own.
pub struct EventStream {
    url: RedisUrl,
    keys: Arc<StoreKeys>,
    timeout: Duration,
    connection: Option<RedisConnection>,
}

/// The events were not added, or perhaps some of them.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct EventStreamError(ConnectionError);

impl EventStream {
    pub(super) const fn new(url: RedisUrl, keys: Arc<StoreKeys>, timeout: Duration) -> Self {
        Self { url, keys, timeout, connection: None }
    }

    /// Adds events in their order. The stream keeps about `max_entries`.
    pub async fn append(&mut self, events: &[AppEvent], max_entries: usize) -> Result<(), EventStreamError> {
        // A connection that has failed is not used again.
        let open = self.connection.take();
        let appending = async {
            let mut connection = match open {
                Some(open) => open,
                None => RedisConnection::open_database(&self.url).await?,
            };
            for event in events {
                let command = cmd("XADD")
                    .arg(self.keys.events())
                    .arg("MAXLEN")
                    .arg("~")
                    .arg(max_entries)
                    .arg("*")
                    .arg("event")
                    .arg(event.name)
                    .arg("channel")
                    .arg(event.channel.as_str())
                    .arg("payload")
                    .arg(&*event.payload)
                    .take();
                connection.write(&command);
            }
            connection.flush().await?;
            let mut refused = None;
            for _ in events {
                if let Value::ServerError(error) = connection.read().await? {
                    refused.get_or_insert(ConnectionError::refused("XADD", &error));
                }
            }
            refused.map_or(Ok(connection), Err)
        };
        let appended = within(self.timeout, appending).await;
        let connection =
            appended.unwrap_or(Err(ConnectionError::TimedOut("XADD"))).map_err(EventStreamError)?;
        self.connection = Some(connection);
        Ok(())
    }
}
