use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::anyhow;
use redis::{Client, Connection, Pipeline};
use secrecy::ExposeSecret;

use super::deployment::RedisTopic;
use super::protocol::broadcast;
use super::publishers::PublishLog;
use super::run::Run;
use super::workload::{ScheduledMessage, Workload};

const TIMEOUT: Duration = Duration::from_secs(10);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Maximum messages per pipeline.
const BATCH: usize = 256;

/// A thread that publishes over Redis, as Laravel does.
pub(super) struct RedisPublisher {
    pub(super) inbox: Sender<ScheduledMessage>,
    thread: JoinHandle<Vec<PublishLog>>,
}

impl RedisPublisher {
    /// Connects and starts the thread.
    pub(super) fn start(redis: &RedisTopic, run: Arc<Run>, work: Arc<Workload>) -> anyhow::Result<Self> {
        let client =
            Client::open(redis.url.expose_secret()).map_err(|error| anyhow!("redis.url: {error}"))?;
        let connection = connect(&client).map_err(|error| anyhow!("cannot connect to Redis: {error}"))?;
        let logs = (0..work.channels.len()).map(|channel| PublishLog::new(channel, 0)).collect();
        let (inbox, messages) = mpsc::channel();
        let topic = redis.topic.clone();
        let mut worker = Worker { client, connection: Some(connection), topic, run, work, logs };
        let thread = thread::Builder::new().name("redis".to_owned()).spawn(move || {
            worker.run(&messages);
            worker.logs
        })?;
        Ok(Self { inbox, thread })
    }

    /// Waits until everything is published. The caller must have dropped all senders.
    pub(super) fn finish(self) -> anyhow::Result<Vec<PublishLog>> {
        drop(self.inbox);
        self.thread.join().map_err(|_| anyhow!("the publisher failed"))
    }
}

fn connect(client: &Client) -> redis::RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

struct Worker {
    client: Client,
    connection: Option<Connection>,
    topic: String,
    run: Arc<Run>,
    work: Arc<Workload>,
    /// By channel.
    logs: Vec<PublishLog>,
}

impl Worker {
    fn run(&mut self, messages: &Receiver<ScheduledMessage>) {
        while let Ok(first) = messages.recv() {
            let mut batch = vec![first];
            batch.extend(messages.try_iter().take(BATCH - 1));
            if self.connection.is_none() && !self.run.is_over() {
                thread::sleep(RECONNECT_PAUSE);
                self.connection = connect(&self.client).ok();
            }
            if self.connection.is_none() {
                self.run.counters.unsent.fetch_add(batch.len() as u64, Ordering::Relaxed);
            } else {
                self.publish(&batch);
            }
            for _ in &batch {
                self.run.end();
            }
        }
    }

    fn publish(&mut self, batch: &[ScheduledMessage]) {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for message in batch {
            let Some(log) = self.logs.get_mut(message.channel) else { continue };
            let Some(channel) = self.work.channel(message.channel) else { continue };
            let text = self.work.text(&log.next(&self.run, message.due));
            pipeline.publish(&self.topic, broadcast(channel, &text));
        }
        let Some(connection) = &mut self.connection else { return };
        let Ok(nodes) = pipeline.query::<Vec<u64>>(connection) else {
            // The messages may have been published: they count as unanswered.
            self.connection = None;
            return;
        };
        for (message, nodes) in batch.iter().zip(nodes) {
            if nodes == 0 {
                self.run.record_refused("no node is subscribed to Redis");
            } else if let Some(log) = self.logs.get_mut(message.channel) {
                log.accept(&self.run);
            }
        }
    }
}
