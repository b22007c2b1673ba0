//! Publishes over Redis, as Laravel does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::anyhow;
use redis::{Client, Connection, Pipeline};
use secrecy::ExposeSecret;

use super::deployment::RedisTopic;
use super::speech::broadcast;
use super::tally::Run;
use super::voice::Published;
use super::workload::{Due, Workload};

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);
/// So many messages share one way to Redis and back, if so many are due.
const BATCH: usize = 256;

/// A thread with a connection to Redis.
pub(super) struct Redis {
    pub(super) dues: Sender<Due>,
    thread: JoinHandle<Vec<Published>>,
}

impl Redis {
    /// Connects, and publishes to its topic from then on.
    pub(super) fn start(redis: &RedisTopic, run: Arc<Run>, work: Arc<Workload>) -> anyhow::Result<Self> {
        let client =
            Client::open(redis.url.expose_secret()).map_err(|error| anyhow!("redis.url: {error}"))?;
        let connection = connect(&client).map_err(|error| anyhow!("cannot connect to Redis: {error}"))?;
        let published = (0..work.channels.len()).map(|channel| Published::new(channel, 0)).collect();
        let (dues, inbox) = mpsc::channel();
        let mut publishing = Publishing {
            client,
            connection: Some(connection),
            topic: redis.topic.clone(),
            run,
            work,
            published,
        };
        let thread = thread::Builder::new().name("redis".to_owned()).spawn(move || {
            publishing.run(&inbox);
            publishing.published
        })?;
        Ok(Self { dues, thread })
    }

    /// Waits until it has nothing more to do; nobody else may hold a sender.
    pub(super) fn finish(self) -> anyhow::Result<Vec<Published>> {
        drop(self.dues);
        self.thread.join().map_err(|_| anyhow!("the publisher failed"))
    }
}

fn connect(client: &Client) -> redis::RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

struct Publishing {
    client: Client,
    connection: Option<Connection>,
    topic: String,
    run: Arc<Run>,
    work: Arc<Workload>,
    /// By channel.
    published: Vec<Published>,
}

impl Publishing {
    fn run(&mut self, inbox: &Receiver<Due>) {
        while let Ok(first) = inbox.recv() {
            let mut batch = vec![first];
            batch.extend(inbox.try_iter().take(BATCH - 1));
            if self.connection.is_none() && !self.run.is_over() {
                thread::sleep(PAUSE);
                self.connection = connect(&self.client).ok();
            }
            if self.connection.is_none() {
                self.run.unsent.fetch_add(batch.len() as u64, Ordering::Relaxed);
            } else {
                self.publish(&batch);
            }
            for _ in &batch {
                self.run.end();
            }
        }
    }

    fn publish(&mut self, batch: &[Due]) {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for due in batch {
            let Some(published) = self.published.get_mut(due.channel) else { continue };
            let Some(channel) = self.work.channel(due.channel) else { continue };
            let text = self.work.text(&published.next(&self.run, due.at));
            pipeline.publish(&self.topic, broadcast(channel, &text));
        }
        let Some(connection) = &mut self.connection else { return };
        let Ok(nodes) = pipeline.query::<Vec<u64>>(connection) else {
            // Whether they were published is unknown: they stay without an answer.
            self.connection = None;
            return;
        };
        for (due, nodes) in batch.iter().zip(nodes) {
            if nodes == 0 {
                self.run.refuse("no node listens to Redis");
            } else if let Some(published) = self.published.get_mut(due.channel) {
                published.accept(&self.run);
            }
        }
    }
}
