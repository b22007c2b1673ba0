use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::channel_read::ChannelRead;
use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_code};
use super::publish_queue::PublishQueue;
use super::store_batch::{Answers, Questions, StoreBatch, StoreRequest};
use super::store_keys::StoreKeys;
use super::store_state::{SeenStore, StateScript};
use super::timeouts::within;
use super::url::RedisUrl;
use crate::broker::envelope::{StoredEnvelope, decode_stored};
use crate::broker::{StoreError, StoreRead, StoredHistory};
use crate::message::{Position, RetentionRules, Sender};

/// How long the connection is kept while nobody reads.
const IDLE: Duration = Duration::from_secs(30);
/// How many channels are read together. Their histories are in memory at a time, until those who wait for them have them.
const MAX_CHANNELS: usize = 16;

/// Reads histories over a connection of its own, which is open only while somebody reads. What several
/// requests that wait want is read once.
pub(super) struct StoreReader {
    pub(super) url: RedisUrl,
    pub(super) timeout: Duration,
    pub(super) keys: Arc<StoreKeys>,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) seen: Arc<SeenStore>,
    pub(super) rules: Arc<RetentionRules>,
    pub(super) sender_default: Sender,
}

impl StoreReader {
    /// Runs until the requests end.
    pub(super) async fn run(self, mut requests: mpsc::UnboundedReceiver<StoreRequest>) {
        let (mut batch, mut store) = (Vec::new(), None);
        loop {
            match timeout(IDLE, requests.recv_many(&mut batch, usize::MAX)).await {
                Ok(0) => return,
                Ok(_) => self.answer(std::mem::take(&mut batch), &mut store).await,
                Err(_) => store = None,
            }
        }
    }

    async fn answer(&self, requests: Vec<StoreRequest>, store: &mut Option<OpenStore>) {
        let mut batch = StoreBatch::new(requests);
        while let Some(questions) = batch.next(MAX_CHANNELS) {
            match self.ask(&questions, store).await {
                Ok(answers) => batch.answer(questions, answers),
                Err(error) => return batch.fail(error),
            }
        }
    }

    async fn ask(&self, questions: &Questions, store: &mut Option<OpenStore>) -> Result<Answers, StoreError> {
        // A connection that was open may have been lost since.
        let was_open = store.is_some();
        match self.try_ask(questions, store).await {
            Err(_) if was_open => {
                *store = None;
                self.try_ask(questions, store).await
            }
            answered => answered,
        }
        .map_err(|error| {
            *store = None;
            tracing::debug!(%error, "cannot read histories from Redis");
            if error.is_denied() { StoreError::Denied } else { StoreError::Unreachable }
        })
    }

    async fn try_ask(
        &self,
        questions: &Questions,
        store: &mut Option<OpenStore>,
    ) -> Result<Answers, ConnectionError> {
        let open = match store {
            Some(open) => open,
            None => store.insert(OpenStore::open(&self.url).await?),
        };
        let mut states = Vec::with_capacity(questions.states.len());
        for seen in &questions.states {
            let reply = open.call(&[open.script.command(&self.keys, *seen)], self.timeout).await?.pop();
            let state = StateScript::parse(&reply.unwrap_or(Value::Nil))?;
            self.seen.set(state);
            states.push(state);
        }
        let histories = self.read(&questions.reads, open).await?;
        Ok(Answers { states, histories })
    }

    async fn read(
        &self,
        reads: &[StoreRead],
        open: &mut OpenStore,
    ) -> Result<Vec<StoredHistory>, ConnectionError> {
        if reads.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = vec![cmd("TIME"), cmd("HKEYS").arg(self.keys.store()).take()];
        commands.extend(reads.iter().map(|read| cmd("GET").arg(self.keys.head(&read.channel)).take()));
        let mut replies = open.call(&commands, self.timeout).await?.into_iter();
        let now = replies.next().and_then(|time| milliseconds(&time));
        let now = now.ok_or(ConnectionError::Unexpected("TIME"))?;
        let store = first_text(replies.next());
        let store = store.as_deref();
        let mut channels: Vec<ChannelRead> = reads
            .iter()
            .zip(replies)
            .map(|(read, head)| {
                let head = if let Value::BulkString(bytes) = &head { Some(&bytes[..]) } else { None };
                ChannelRead::new(read.after, self.rules.of(&read.channel), store, head)
            })
            .collect();
        loop {
            let mut asked = Vec::new();
            let mut commands = Vec::new();
            for (channel, read) in channels.iter_mut().zip(reads) {
                if let Some((from, to)) = channel.next_page() {
                    let key = self.keys.messages(&read.channel);
                    commands
                        .push(cmd("XRANGE").arg(key).arg(format!("{from}-0")).arg(format!("{to}-0")).take());
                    asked.push(channel);
                }
            }
            if commands.is_empty() {
                break;
            }
            let replies = open.call(&commands, self.timeout).await?;
            for (channel, reply) in asked.into_iter().zip(replies) {
                channel.on_page(entries(reply), |payload, position| self.decode(payload, position));
            }
        }
        Ok(channels.into_iter().map(|channel| channel.finish(now)).collect())
    }

    fn decode(&self, payload: &Bytes, position: Position) -> Option<Vec<StoredEnvelope>> {
        let decoded = decode_stored(payload, position, &self.queue.node, &self.sender_default);
        if decoded.is_none() {
            tracing::warn!(%position, "dropped a message from the history in Redis");
        }
        for message in decoded.as_deref().unwrap_or_default() {
            // Its copy was missed, and its sender may still wait.
            if let Some(seq) = message.seq {
                self.queue.on_copy(seq, message.receipt);
            }
        }
        decoded
    }
}

/// An open connection, and the script as loaded there.
struct OpenStore {
    connection: RedisConnection,
    script: StateScript,
}

impl OpenStore {
    async fn open(url: &RedisUrl) -> Result<Self, ConnectionError> {
        let mut connection = RedisConnection::open_database(url).await?;
        let script = StateScript::load(&mut connection).await?;
        Ok(Self { connection, script })
    }

    /// The replies to these commands.
    async fn call(&mut self, commands: &[Cmd], limit: Duration) -> Result<Vec<Value>, ConnectionError> {
        for command in commands {
            self.connection.write(command);
        }
        let called = async {
            self.connection.flush().await?;
            let mut replies = Vec::with_capacity(commands.len());
            for _ in commands {
                match self.connection.read().await? {
                    Value::ServerError(error) => {
                        let code = error_code(error.code());
                        return Err(ConnectionError::Refused("reading a history", code));
                    }
                    reply => replies.push(reply),
                }
            }
            Ok(replies)
        };
        within(limit, called).await.unwrap_or(Err(ConnectionError::TimedOut("reading a history")))
    }
}

fn milliseconds(time: &Value) -> Option<u64> {
    let Value::Array(parts) = time else { return None };
    let mut parts = parts.iter().map(|part| text(Some(part.clone()))?.parse::<u64>().ok());
    let (seconds, micros) = (parts.next()??, parts.next()??);
    seconds.checked_mul(1000)?.checked_add(micros / 1000)
}

fn text(value: Option<Value>) -> Option<String> {
    if let Some(Value::BulkString(text)) = value { String::from_utf8(text).ok() } else { None }
}

fn first_text(value: Option<Value>) -> Option<String> {
    if let Some(Value::Array(values)) = value { text(values.into_iter().next()) } else { None }
}

/// The offsets and payloads in the reply to XRANGE.
fn entries(reply: Value) -> impl DoubleEndedIterator<Item = (u64, Bytes)> {
    let entries = if let Value::Array(entries) = reply { entries } else { Vec::new() };
    entries.into_iter().filter_map(|entry| {
        let Value::Array(entry) = entry else { return None };
        let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(entry).ok()? else {
            return None;
        };
        let offset = std::str::from_utf8(&id).ok()?.strip_suffix("-0")?.parse().ok()?;
        let payload = fields.into_iter().nth(1)?;
        if let Value::BulkString(payload) = payload { Some((offset, payload.into())) } else { None }
    })
}
