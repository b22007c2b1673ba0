use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::event::WebhookEvent;
use super::{NativeEvents, Webhooks};
use crate::message::ChannelName;

/// How long webhooks that were replaced deliver what they have queued.
const FINISH_WITHIN: Duration = Duration::from_secs(5 * 60);

/// How often to look whether an event is still being queued.
const IN_USE_POLL: Duration = Duration::from_millis(10);

/// The webhooks in force. They can be replaced while events happen.
#[derive(Debug)]
pub struct ActiveWebhooks {
    current: ArcSwap<Webhooks>,
    replaced: Mutex<Replaced>,
}

/// Those that deliver what was queued before they were replaced.
#[derive(Debug, Default)]
struct Replaced {
    webhooks: Vec<Arc<Webhooks>>,
    tasks: JoinSet<()>,
}

impl ActiveWebhooks {
    #[must_use]
    pub fn new(webhooks: Webhooks) -> Self {
        Self { current: ArcSwap::from_pointee(webhooks), replaced: Mutex::default() }
    }

    /// Queues events for these webhooks from now on. The previous ones deliver what they have. Needs a tokio runtime.
    pub fn replace(&self, webhooks: Webhooks) {
        self.current.load().replace_by(&webhooks);
        webhooks.forget_measured();
        let before = self.current.swap(Arc::new(webhooks));
        let mut replaced = self.replaced();
        while replaced.tasks.try_join_next().is_some() {}
        replaced.webhooks.retain(|webhooks| Arc::strong_count(webhooks) > 1);
        replaced.webhooks.push(before.clone());
        replaced.tasks.spawn(async move {
            // Besides this task and the list.
            while Arc::strong_count(&before) > 2
                || before.native().is_some_and(|native| Arc::strong_count(native) > 1)
            {
                sleep(IN_USE_POLL).await;
            }
            // The next webhooks go on with what is in Redis. In memory, a departure does not wait for a return, of which only they are
            // told.
            before.hand_over();
            before.queued_in_redis().await;
            before.finish(Instant::now() + FINISH_WITHIN).await;
        });
    }

    /// Those in force. Events are queued for them as long as this is kept.
    #[must_use]
    pub fn current(&self) -> Arc<Webhooks> {
        self.current.load_full()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current.load().is_empty()
    }

    /// Whether an app has a webhook.
    #[must_use]
    pub fn has(&self, app: &str) -> bool {
        self.current.load().has(app)
    }

    /// Takes the events of native channels, if the application wants any.
    #[must_use]
    pub fn native(&self) -> Option<Arc<NativeEvents>> {
        self.current.load().native().cloned()
    }

    /// Whether the application wants to know who is on a native channel.
    #[must_use]
    pub fn wants_users(&self, channel: &ChannelName) -> bool {
        self.current.load().native().is_some_and(|native| native.wants_users(channel))
    }

    /// Sets how many events wait in the memory of this node, for webhooks and for the event stream.
    pub fn measure(&self) {
        let current = self.current.load();
        current.measure();
        if let Some(native) = current.native() {
            native.measure();
        }
    }

    /// Queues an event for the webhooks of an app.
    pub fn push(&self, app: &str, event: &WebhookEvent) {
        self.current.load().push(app, event);
    }

    /// No connection returns, and no other node is left to deliver: see [`Webhooks::close`].
    pub fn close(&self) {
        self.current.load().close();
    }

    /// Leaves events to other nodes: see [`Webhooks::hand_over`].
    pub fn hand_over(&self) {
        self.current.load().hand_over();
    }

    /// Delivers what is ready, until `end` at the latest: see [`Webhooks::finish`].
    pub async fn finish(&self, end: Instant) {
        let Replaced { webhooks, mut tasks } = std::mem::take(&mut *self.replaced());
        let replaced = async {
            let _ = timeout_at(end, async { while tasks.join_next().await.is_some() {} }).await;
        };
        let current = self.current.load_full();
        tokio::join!(current.finish(end), replaced);
        drop(tasks);
        for before in webhooks {
            // Counts what is left.
            before.finish(end).await;
        }
    }

    fn replaced(&self) -> MutexGuard<'_, Replaced> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
