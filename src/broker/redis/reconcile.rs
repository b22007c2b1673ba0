use std::collections::VecDeque;

use redis::{ServerError, cmd};

use super::connection::RedisConnection;
use super::connection_error::error_message;
use super::connection_topics::{ConnectionTopics, TopicCommand};
use super::desired_topics::DesiredTopics;
use super::topic_names::TopicNames;
use crate::broker::SubscriptionId;

/// Maximum commands that await their replies: more would fill the buffers on both sides.
const MAX_IN_FLIGHT: usize = 1024;

/// Brings one connection's subscriptions in line with the desired topics.
pub(super) struct Reconciler {
    topics: ConnectionTopics,
    unsent: VecDeque<TopicCommand>,
    /// Commands without a reply, in the order in which they were sent.
    in_flight: VecDeque<InFlight>,
    is_ready: bool,
    /// A denied topic has been logged. The others are usually denied for the same reason.
    has_logged_denial: bool,
}

/// A command without a reply.
#[derive(Debug)]
enum InFlight {
    Topic(TopicCommand),
    /// A PING, and the number of its fence.
    Ping(Option<u64>),
}

impl Reconciler {
    pub(super) fn start(desired: &DesiredTopics) -> Self {
        let (topics, commands) = desired.connect();
        Self {
            topics,
            unsent: commands.into(),
            in_flight: VecDeque::new(),
            is_ready: false,
            has_logged_denial: false,
        }
    }

    /// Whether it has become ready since the last call: see [`Reconciler::is_ready`].
    pub(super) fn becomes_ready(&mut self) -> bool {
        let is_done = self.unsent.is_empty() && self.in_flight.is_empty();
        is_done && !std::mem::replace(&mut self.is_ready, true)
    }

    /// Whether Redis has answered for every topic that was desired when the connection started.
    pub(super) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether it can take changes: until then there are commands left to send.
    pub(super) fn is_idle(&self) -> bool {
        self.is_ready && self.unsent.is_empty()
    }

    /// Takes the changes of the desired topics. Returns the subscriptions that are complete without a command.
    pub(super) fn take_changes(&mut self, desired: &DesiredTopics) -> Vec<SubscriptionId> {
        let (commands, completed) = desired.commands(&mut self.topics);
        self.unsent = commands.into();
        completed
    }

    /// Queues commands as far as the window allows. Returns whether the connection is to be flushed.
    pub(super) fn write(&mut self, connection: &mut RedisConnection, names: &TopicNames) -> bool {
        // Half a window at a time, to avoid a small write for each reply.
        if self.unsent.is_empty() || self.in_flight.len() > MAX_IN_FLIGHT / 2 {
            return false;
        }
        while self.in_flight.len() < MAX_IN_FLIGHT
            && let Some(command) = self.unsent.pop_front()
        {
            // One topic per command: Redis rejects a whole SUBSCRIBE if it denies one of its topics.
            connection.write(&match &command {
                TopicCommand::Subscribe(topic, _) => cmd("SUBSCRIBE").arg(names.channel(topic)).take(),
                TopicCommand::Unsubscribe(topic) => cmd("UNSUBSCRIBE").arg(names.channel(topic)).take(),
                TopicCommand::SubscribePrefix(prefix) => {
                    cmd("PSUBSCRIBE").arg(names.prefix_pattern(prefix)).take()
                }
            });
            self.in_flight.push_back(InFlight::Topic(command));
        }
        true
    }

    /// A command has been answered. Returns the subscriptions that this completes.
    pub(super) fn on_reply(&mut self, desired: &DesiredTopics) -> Vec<SubscriptionId> {
        match self.in_flight.pop_front() {
            Some(InFlight::Topic(command)) => desired.on_reply(&command, &mut self.topics),
            _ => Vec::new(),
        }
    }

    /// A command has been denied. Returns the subscriptions that this completes, as nothing will confirm them.
    pub(super) fn on_denied(&mut self, desired: &DesiredTopics, error: &ServerError) -> Vec<SubscriptionId> {
        let reason = error_message(error);
        match self.in_flight.pop_front() {
            Some(InFlight::Topic(TopicCommand::SubscribePrefix(prefix))) => {
                tracing::warn!(
                    topic = format!("{prefix}*"),
                    reason,
                    hint = "cache channels keep events published by Laravel's redis broadcaster only while they have \
                            a subscriber, and histories do not contain these events; grant +psubscribe and this pattern",
                    "PSUBSCRIBE denied by the Redis ACL"
                );
                self.unsent.extend(desired.on_prefix_denied(&prefix, &mut self.topics));
                Vec::new()
            }
            Some(InFlight::Topic(command)) => {
                if let TopicCommand::Subscribe(topic, _) = &command
                    && !std::mem::replace(&mut self.has_logged_denial, true)
                {
                    tracing::warn!(
                        topic = &**topic,
                        reason,
                        hint = "messages published on this topic do not arrive; grant +subscribe +unsubscribe and \
                                the topics under redis.prefix",
                        "SUBSCRIBE denied by the Redis ACL"
                    );
                }
                desired.on_reply(&command, &mut self.topics)
            }
            // A refused PING is a sign of life like any other reply.
            Some(InFlight::Ping(_)) | None => Vec::new(),
        }
    }

    /// Whether the connection is of use although the next reply is an error. Redis refuses PING also while it accepts no writes.
    pub(super) fn next_is_optional(&self) -> bool {
        matches!(
            self.in_flight.front(),
            Some(InFlight::Topic(TopicCommand::SubscribePrefix(_)) | InFlight::Ping(_))
        )
    }

    /// A PING has been sent, for a fence if it has a number.
    pub(super) fn on_ping_sent(&mut self, fence: Option<u64>) {
        self.in_flight.push_back(InFlight::Ping(fence));
    }

    /// A PING has been answered.
    pub(super) fn on_pong(&mut self) {
        if let Some(InFlight::Ping(_)) = self.in_flight.front() {
            self.in_flight.pop_front();
        }
    }

    /// The fence whose PING is answered next. Also an error shows that everything before it has arrived.
    pub(super) fn next_fence(&self) -> Option<u64> {
        if let Some(InFlight::Ping(fence)) = self.in_flight.front() { *fence } else { None }
    }
}
