//! Over Redis or Valkey: one connection publishes, one is subscribed, one task runs both.

mod backoff;
mod clock;
mod health;
mod link;
mod names;
mod outgoing;
mod publisher;
mod pulse;
mod replies;
mod subscriber;
mod subscription;
mod target;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::budget::Budget;
use super::{Inbound, PublishError, Receipt, Settings, Status, SubscribeOutcome};
use crate::message::{Dispatch, Sender};
use crate::telemetry::Metrics;
use backoff::Backoff;
use health::{Health, Role};
use link::{Link, Trouble};
use names::Names;
use outgoing::Outgoing;
use publisher::Publisher;
use subscriber::{Delivery, Lost, Opening};
use target::Target;
use topics::Topics;

pub use target::{InvalidUrl, check_url};

/// Deadlines empty the queue in the end; after so much more the task is taken to be gone.
const GRACE: Duration = Duration::from_secs(1);
/// A connection that held for so long was a good one: the next attempts begin quickly again.
const GOOD: Duration = Duration::from_secs(10);

/// The broker of many nodes, over Redis or Valkey.
pub struct Redis {
    outgoing: Arc<Outgoing>,
    topics: Arc<Topics>,
    health: Arc<Health>,
    patience: Duration,
    task: AbortHandle,
}

impl Redis {
    pub(super) fn start(
        settings: &Settings,
        sender_default: Sender,
        queue_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Inbound>), InvalidUrl> {
        let target = Target::parse(&settings.url)?;
        let patience = settings.publish_timeout;
        let names = Arc::new(Names::new(&settings.prefix));
        let (inbound, receiver) = mpsc::unbounded_channel();
        let topics = Arc::new(Topics::default());
        let outgoing = Arc::new(Outgoing::new(patience, queue_bytes, names.clone()));
        let topic = String::from_utf8_lossy(&names.events).into_owned();
        let health = Arc::new(Health::new(outgoing.clone(), metrics.clone(), target.to_string(), topic));
        let delivery = Delivery {
            outgoing: outgoing.clone(),
            names,
            topics: topics.clone(),
            sender_default,
            budget: Budget::new(queue_bytes),
            inbound,
            has_subscribed: false,
            metrics,
        };
        let connections =
            Connections { target, patience, outgoing: outgoing.clone(), health: health.clone() };
        let task = tokio::spawn(connections.run(delivery)).abort_handle();
        Ok((Self { outgoing, topics, health, patience, task }, receiver))
    }

    pub(super) fn publish(&self, dispatch: Dispatch, receipt: Receipt) {
        self.outgoing.publish(dispatch, receipt);
    }

    pub(super) fn subscribe(&self, topic: &str) -> SubscribeOutcome {
        self.topics.subscribe(topic)
    }

    pub(super) fn subscribe_prefix(&self, beginning: &str) {
        self.topics.subscribe_prefix(beginning);
    }

    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.topics.is_subscribed(topic)
    }

    pub(super) fn unsubscribe(&self, topic: &str) {
        self.topics.unsubscribe(topic);
    }

    pub(super) fn status(&self) -> Status {
        let reason = self.outgoing.closed().or_else(|| self.health.silence());
        reason.map_or(Status::Ready, Status::Unavailable)
    }

    pub(super) async fn shutdown(&self) {
        self.health.stop();
        let drained = async {
            loop {
                let emptied = self.outgoing.emptied.notified();
                tokio::pin!(emptied);
                emptied.as_mut().enable();
                if self.outgoing.is_empty() {
                    return;
                }
                emptied.await;
            }
        };
        let _ = timeout(self.patience + GRACE, drained).await;
        self.task.abort();
        self.outgoing.refuse_all(PublishError::TimedOut);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.health.stop();
        self.task.abort();
        self.outgoing.refuse_all(PublishError::Unreachable);
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("status", &self.status()).finish_non_exhaustive()
    }
}

struct Connections {
    target: Target,
    patience: Duration,
    outgoing: Arc<Outgoing>,
    health: Arc<Health>,
}

impl Connections {
    /// One task, so that receipts and arrivals have one order (see [`Outgoing`]).
    async fn run(self, mut delivery: Delivery) {
        let (topics, inbound) = (delivery.topics.clone(), delivery.inbound.clone());
        tokio::join!(
            self.keep_publishing(),
            self.keep_subscribed(&mut delivery),
            self.outgoing.expire(),
            topics.expire(inbound)
        );
    }

    async fn keep_publishing(&self) {
        let mut backoff = Backoff::new();
        let mut warned = false;
        loop {
            let started = Instant::now();
            let trouble = self.publish_until_trouble(&mut warned).await;
            self.pause(Role::Publisher, &trouble, started, &mut backoff).await;
        }
    }

    async fn publish_until_trouble(&self, warned: &mut bool) -> Trouble {
        let started = async {
            let link = Link::open(&self.target).await?;
            Publisher::start(link, &self.outgoing, &self.health, self.patience).await
        };
        let mut publisher = match started.await {
            Ok(publisher) => publisher,
            Err(trouble) => return trouble,
        };
        if !publisher.keeps_deadlines() && !std::mem::replace(warned, true) {
            tracing::warn!(
                "Redis does not permit scripts: if it pauses, it may deliver messages whose senders were told \
                 `unavailable` (allow +script|load +evalsha +time +publish)"
            );
        }
        self.health.up(Role::Publisher);
        publisher.run().await
    }

    async fn keep_subscribed(&self, delivery: &mut Delivery) {
        let mut backoff = Backoff::new();
        let mut replacement = None;
        loop {
            let started = Instant::now();
            let lost = self.deliver_until_lost(replacement.take(), delivery).await;
            replacement = lost.replacement;
            if replacement.is_some() {
                self.health.down(Role::Subscriber, &lost.trouble.to_string());
            } else {
                self.pause(Role::Subscriber, &lost.trouble, started, &mut backoff).await;
            }
        }
    }

    async fn deliver_until_lost(&self, replacement: Option<Link>, delivery: &mut Delivery) -> Lost {
        let names = delivery.names.clone();
        let open = || -> Opening<'_> { Box::pin(subscriber::open(&self.target, &names)) };
        let opened = match replacement {
            Some(link) => Ok(link),
            None => open().await,
        };
        match opened {
            Ok(mut link) => subscriber::run(&mut link, delivery, &self.health, self.patience, open).await,
            Err(trouble) => trouble.into(),
        }
    }

    async fn pause(&self, role: Role, trouble: &Trouble, started: Instant, backoff: &mut Backoff) {
        self.health.down(role, &trouble.to_string());
        // An attempt that took its time was a wait already.
        let mut waited = started.elapsed();
        if waited >= GOOD {
            backoff.reset();
            waited = Duration::ZERO;
        }
        let wait = if trouble.is_absence() { backoff.next_probe() } else { backoff.next() };
        let risen = self.health.risen.notified();
        tokio::select! {
            () = sleep(wait.saturating_sub(waited)) => {}
            // The other connection got through.
            () = risen => {}
        }
    }
}
