//! Makes what applications publish without a number part of the histories, exactly once: plain messages on the topics, and the
//! entries of the ingest stream.

mod feeder;
mod marker;
mod message_encoding;
mod message_key;
mod plain_intake;
mod plain_messages;
mod plain_writer;
mod stream_entry;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::desired_topics::DesiredTopics;
use super::store_keys::StoreKeys;
use super::store_state::SeenStore;
use super::topic_names::TopicNames;
use super::url::RedisUrl;
use crate::broker::envelope::NodeId;
use crate::broker::{EVENTS, SIGNALS};
use crate::message::{AppMessages, ChannelPattern, RetentionRules, Sender};
use crate::telemetry::Metrics;
use feeder::Feeder;
use plain_writer::PlainWriter;

pub(super) use plain_intake::{DecodedMessage, PlainIntake};

/// What the ingest needs.
pub(super) struct IngestContext {
    pub(super) url: RedisUrl,
    pub(super) timeout: Duration,
    pub(super) names: Arc<TopicNames>,
    pub(super) keys: Arc<StoreKeys>,
    pub(super) seen: Arc<SeenStore>,
    pub(super) topics: Arc<DesiredTopics>,
    pub(super) sender_default: Sender,
    pub(super) retention: Arc<RetentionRules>,
    pub(super) apps: Arc<dyn AppMessages>,
    /// Maximum bytes of plain messages that are held.
    pub(super) max_bytes: usize,
    pub(super) metrics: Arc<Metrics>,
}

/// The tasks that store what applications publish. They end when it is dropped.
#[derive(Debug)]
pub(super) struct IngestTasks(AbortHandle);

impl Drop for IngestTasks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Subscribes the topics of channels with a history for good.
pub(super) fn keep_topics(topics: &DesiredTopics, patterns: Vec<ChannelPattern>) {
    for pattern in patterns {
        match pattern {
            // What arrives on these is read by the nodes in another way.
            ChannelPattern::Name(name) if [EVENTS, SIGNALS].contains(&&*name) => {}
            ChannelPattern::Name(name) => topics.keep(&name),
            ChannelPattern::Prefix(prefix) => topics.subscribe_prefix(&prefix),
        }
    }
}

/// Starts the ingest, and subscribes the topics of channels with a history.
pub(super) fn start(context: IngestContext) -> (Arc<PlainIntake>, IngestTasks) {
    let IngestContext {
        url,
        timeout,
        names,
        keys,
        seen,
        topics,
        sender_default,
        retention,
        apps,
        max_bytes,
        metrics,
    } = context;
    keep_topics(&topics, apps.topics());
    let node = NodeId::random();
    let intake = Arc::new(PlainIntake::new(
        node.clone(),
        names.clone(),
        topics,
        retention.clone(),
        apps.clone(),
        max_bytes,
        metrics.clone(),
    ));
    let writer = PlainWriter {
        url: url.clone(),
        timeout,
        names: names.clone(),
        keys: keys.clone(),
        node,
        seen: seen.clone(),
        channel_bytes: retention.channel_bytes(),
        intake: intake.clone(),
    };
    let feeder = Feeder {
        url,
        timeout,
        names,
        keys,
        // Its batches are numbered apart from those of the writer.
        node: NodeId::random(),
        seen,
        sender_default,
        retention,
        apps,
        intake: intake.clone(),
        metrics,
    };
    let tasks = tokio::spawn(async move {
        tokio::join!(writer.run(), feeder.run());
    });
    (intake, IngestTasks(tasks.abort_handle()))
}
