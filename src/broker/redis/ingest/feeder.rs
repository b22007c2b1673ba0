use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::{ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep};

use super::message_encoding::encode;
use super::plain_intake::PlainIntake;
use super::stream_entry::{EntryReader, StreamEntry};
use crate::broker::envelope::NodeId;
use crate::broker::redis::backoff::Backoff;
use crate::broker::redis::connection::RedisConnection;
use crate::broker::redis::connection_error::{ConnectionError, error_code};
use crate::broker::redis::publish_queue::{QueuedMessage, Storage};
use crate::broker::redis::store_arguments::StoreSending;
use crate::broker::redis::store_keys::StoreKeys;
use crate::broker::redis::store_script::{SCRIPT, StoreScript};
use crate::broker::redis::store_state::SeenStore;
use crate::broker::redis::timeouts::within;
use crate::broker::redis::topic_names::TopicNames;
use crate::broker::redis::url::RedisUrl;
use crate::message::{AppMessages, Publication, RetentionRules, Sender};
use crate::telemetry::{Metrics, Reason};
use crate::unix_time::unix_time;

/// Maximum entries that are fed at a time.
const BATCH: usize = 100;
/// How long Redis waits for entries before it answers.
const BLOCK_MILLIS: u64 = 1000;
/// How often a node looks at the stream that another one feeds.
const LOOK: Duration = Duration::from_millis(500);
/// How often the bounds of the stream are enforced.
const TRIM: Duration = Duration::from_secs(10);
/// Maximum entries in the stream; the oldest are dropped first.
const MAX_ENTRIES: usize = 1_000_000;
/// How long an entry may wait in the stream.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long to wait after Redis has refused to store a message.
const REFUSED: Duration = Duration::from_millis(200);
/// A deadline that does not pass: Lua represents it exactly.
const NEVER: u64 = 1 << 53;

/// Feeds the ingest stream: the node that stores plain messages at once does it, or any other if entries stay there.
pub(super) struct Feeder {
    pub(super) url: RedisUrl,
    pub(super) timeout: Duration,
    pub(super) names: Arc<TopicNames>,
    pub(super) keys: Arc<StoreKeys>,
    pub(super) node: NodeId,
    pub(super) seen: Arc<SeenStore>,
    pub(super) sender_default: Sender,
    pub(super) retention: Arc<RetentionRules>,
    pub(super) apps: Arc<dyn AppMessages>,
    pub(super) intake: Arc<PlainIntake>,
    pub(super) metrics: Arc<Metrics>,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fed {
    All,
    /// Another node was faster.
    None,
    /// Redis has refused to store a message.
    Refused,
}

impl Feeder {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new();
        let mut has_logged = false;
        loop {
            let started = Instant::now();
            let Err(error) = self.feed_until_error().await;
            if let ConnectionError::Refused(command, _) = &error
                && error.is_denied()
                && !std::mem::replace(&mut has_logged, true)
            {
                tracing::warn!(
                    command,
                    hint = "grant +xread +xrange +xadd +xdel +xtrim +expire and the keys of the histories",
                    "ingest stream denied by the Redis ACL: what applications add with XADD is not delivered"
                );
            }
            tracing::debug!(%error, "connection for the ingest stream lost");
            if started.elapsed() > Duration::from_secs(10) {
                backoff.reset();
            }
            sleep(backoff.next()).await;
        }
    }

    async fn feed_until_error(&self) -> Result<Infallible, ConnectionError> {
        let mut connection = RedisConnection::open_database(&self.url).await?;
        let mut script = self.load(&mut connection).await?;
        // What another node should have fed by now.
        let mut waiting: Option<Vec<u8>> = None;
        let mut trimmed: Option<Instant> = None;
        loop {
            let leads = self.intake.leads();
            if leads && trimmed.is_none_or(|at| at.elapsed() > TRIM) {
                self.trim(&mut connection).await?;
                trimmed = Some(Instant::now());
            }
            if !leads {
                sleep(LOOK).await;
            }
            let count = if leads || waiting.is_some() { BATCH } else { 1 };
            let entries = self.read(&mut connection, count, leads).await?;
            let first = entries.first().map(|entry| entry.id.clone());
            if first.is_none() || !leads && first != waiting {
                waiting = first;
                continue;
            }
            match self.feed(&mut connection, &mut script, &entries).await? {
                Fed::All | Fed::None => {}
                Fed::Refused => sleep(REFUSED).await,
            }
        }
    }

    async fn load(&self, connection: &mut RedisConnection) -> Result<StoreScript, ConnectionError> {
        let text = [include_str!("feed_begin.lua"), SCRIPT, include_str!("feed_end.lua")].concat();
        let streams = vec![self.keys.ingest(), self.keys.dead_letters()];
        let script = StoreScript::load_text(
            connection,
            &self.keys,
            &self.node,
            &self.seen,
            self.retention.channel_bytes(),
            Cow::Owned(text),
            streams,
        )
        .await?;
        // What the ACL does not let leave the stream must not be published.
        let remove_none = cmd("XDEL").arg(self.keys.ingest()).arg("0-0").take();
        self.call(connection, "XDEL", &remove_none, self.timeout).await?;
        Ok(script)
    }

    /// Reads the first entries. Waits for one if `blocks`.
    async fn read(
        &self,
        connection: &mut RedisConnection,
        count: usize,
        blocks: bool,
    ) -> Result<Vec<StreamEntry>, ConnectionError> {
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(count);
        if blocks {
            command.arg("BLOCK").arg(BLOCK_MILLIS);
        }
        command.arg("STREAMS").arg(self.keys.ingest()).arg("0");
        let reply = self
            .call(connection, "XREAD", &command, Duration::from_millis(BLOCK_MILLIS) + self.timeout)
            .await?;
        StreamEntry::parse_all(reply).ok_or(ConnectionError::Unexpected("XREAD"))
    }

    /// Feeds the first entries. If the first one is not stored, only those before the first one that is: see the script.
    async fn feed(
        &self,
        connection: &mut RedisConnection,
        script: &mut StoreScript,
        entries: &[StreamEntry],
    ) -> Result<Fed, ConnectionError> {
        let reader = EntryReader {
            node: &self.node,
            sender_default: &self.sender_default,
            retention: &self.retention,
            apps: &*self.apps,
        };
        let mut messages = Vec::with_capacity(entries.len());
        let mut reasons: Vec<&'static str> = Vec::with_capacity(entries.len());
        let mut is_first_stored = false;
        for entry in entries {
            let message = reader.read(entry).and_then(|publication| self.queued(publication));
            let is_stored = message.as_ref().is_ok_and(|message| message.storage.is_some());
            is_first_stored |= is_stored && reasons.is_empty();
            if is_stored && !is_first_stored {
                break;
            }
            reasons.push(message.as_ref().err().copied().unwrap_or(""));
            messages.extend(message);
        }
        let count = reasons.len();
        let (fed, code) = loop {
            let mut command = script.command(
                &self.keys,
                &self.node,
                &messages,
                StoreSending::InOrder,
                self.seen.get(),
                |_| NEVER,
            );
            for (entry, reason) in entries.iter().zip(&reasons) {
                command.arg(&entry.id).arg(reason);
            }
            command.arg(count);
            match self.try_call(connection, "EVALSHA", &command, self.timeout).await? {
                Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => {
                    script.reload(connection).await?;
                }
                Value::ServerError(error) => return Err(ConnectionError::refused("EVALSHA", &error)),
                reply => break parse_reply(&reply).ok_or(ConnectionError::Unexpected("EVALSHA"))?,
            }
        };
        for reason in reasons.into_iter().take(fed).filter(|reason| !reason.is_empty()) {
            self.metrics.ingest_rejected.get_or_create(&Reason::new(reason)).inc();
            tracing::warn!(
                reason,
                "an entry of the ingest stream cannot be delivered: moved to the dead letters"
            );
        }
        // Another server may have become the master.
        if code == "READONLY" {
            return Err(ConnectionError::Refused("EVALSHA", code));
        }
        if fed == 0 && code.is_empty() {
            return Ok(Fed::None);
        }
        if fed < count {
            tracing::warn!(reason = code, "Redis does not store entries of the ingest stream, retrying");
            return Ok(Fed::Refused);
        }
        Ok(Fed::All)
    }

    fn queued(&self, publication: Publication) -> Result<QueuedMessage, &'static str> {
        let Publication { dispatch, retained, .. } = publication;
        let storage = (!retained.is_empty())
            .then(|| Box::new(Storage { retained, idempotency_key: None, second_key: None }));
        let encoded = encode(&dispatch, &self.names, &self.node, None);
        let (topic, mut payload) = encoded.ok_or("invalid_channel")?;
        if storage.is_none() {
            payload.push(b'}');
        }
        Ok(QueuedMessage { seq: 0, deadline: Instant::now(), topic, payload, storage })
    }

    /// Removes what is too old or too much, which happens only if no node has fed the stream for long.
    async fn trim(&self, connection: &mut RedisConnection) -> Result<(), ConnectionError> {
        let key = self.keys.ingest();
        let oldest = unix_time().saturating_sub(MAX_AGE).as_millis();
        for (reason, strategy, limit) in
            [("expired", "MINID", format!("{oldest}-0")), ("overflow", "MAXLEN", MAX_ENTRIES.to_string())]
        {
            let command = cmd("XTRIM").arg(&key).arg(strategy).arg(limit).take();
            let Value::Int(dropped) = self.call(connection, "XTRIM", &command, self.timeout).await? else {
                return Err(ConnectionError::Unexpected("XTRIM"));
            };
            if let Ok(dropped @ 1..) = u64::try_from(dropped) {
                self.metrics.ingest_lost.get_or_create(&Reason::new(reason)).inc_by(dropped);
                tracing::warn!(messages = dropped, reason, "entries of the ingest stream were dropped");
            }
        }
        let expire = cmd("EXPIRE").arg(&key).arg(MAX_AGE.as_secs()).take();
        self.call(connection, "EXPIRE", &expire, self.timeout).await.map(drop)
    }

    async fn call(
        &self,
        connection: &mut RedisConnection,
        name: &'static str,
        command: &redis::Cmd,
        limit: Duration,
    ) -> Result<Value, ConnectionError> {
        match self.try_call(connection, name, command, limit).await? {
            Value::ServerError(error) => Err(ConnectionError::refused(name, &error)),
            reply => Ok(reply),
        }
    }

    async fn try_call(
        &self,
        connection: &mut RedisConnection,
        name: &'static str,
        command: &redis::Cmd,
        limit: Duration,
    ) -> Result<Value, ConnectionError> {
        let calling = async {
            connection.write(command);
            connection.flush().await?;
            connection.read().await
        };
        within(limit, calling).await.unwrap_or(Err(ConnectionError::TimedOut(name)))
    }
}

/// How many entries were fed, and the code of the first error.
fn parse_reply(reply: &Value) -> Option<(usize, String)> {
    let Value::Array(values) = reply else { return None };
    let [Value::Int(fed), Value::BulkString(code)] = &values[..] else { return None };
    Some((usize::try_from(*fed).ok()?, error_code(&String::from_utf8_lossy(code))))
}
