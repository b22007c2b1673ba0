//! The task that lets the others know that this node is there, and notices when they are not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::hear::News;
use super::state::{SILENT_AFTER, State};
use super::{Cluster, cache_ttl};
use crate::broker::Status;
use crate::message::ChannelName;
use crate::protocol::pusher::WebhookEvent;

const TICK: Duration = Duration::from_millis(500);

/// So often a node says that it is there.
const ALIVE_TICKS: u32 = 6;

/// So often the number of subscribers is told where it is large and changes.
const COUNT_TICKS: u32 = 10;

/// So often old events are thrown away.
const EXPIRE_TICKS: u32 = 120;

/// A tick counts for no longer, however long the machine has slept.
const LONGEST_TICK: u64 = 1_000;

/// The broker is believed to carry what the others say if something came that recently, in milliseconds.
const HEARS_WITHIN: u64 = 5_000;

impl Cluster {
    /// Tends for ever.
    pub(super) async fn tend(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        let mut interruptions = self.metrics.broker_interruptions.get();
        for tick in (0u32..).cycle() {
            let now = ticks.tick().await;
            let elapsed = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX);
            last = now;
            let interrupted = self.metrics.broker_interruptions.get();
            if interrupted != interruptions {
                interruptions = interrupted;
                self.may_have_missed();
            }
            self.find_silent(elapsed.min(LONGEST_TICK));
            if tick % ALIVE_TICKS == 0 {
                self.state().due.alive = true;
            }
            if tick % COUNT_TICKS == 0 {
                self.tell_counts();
            }
            if tick % EXPIRE_TICKS == 0 {
                self.expire();
            }
            self.wake.notify_one();
        }
    }

    /// The broker was lost: everybody tells everything.
    fn may_have_missed(&self) {
        let mut state = self.state();
        state.due.ask = true;
        state.due.everything = true;
        for app in state.apps.values_mut() {
            app.cache.doubt();
        }
    }

    /// Loses the nodes that are silent. A node that hears not even itself knows nothing of the others, so that time
    /// stands still for it.
    fn find_silent(&self, elapsed: u64) {
        let (now, mut told) = (self.now(), Vec::new());
        {
            let mut state = self.state();
            let hears =
                self.broker.status() == Status::Ready && now.saturating_sub(state.echo) <= HEARS_WITHIN;
            state.pass(elapsed, hears);
            let Some(last_heard) = state.unsettle_silent() else { return };
            let time = state.time;
            let State { apps, untold, .. } = &mut *state;
            for app in apps.values_mut() {
                let spoke = app.view.is_speaker(&self.node);
                let transitions = app.view.lose_silent(&self.node, SILENT_AFTER, time);
                let speaks = app.view.is_speaker(&self.node);
                // The one that is gone was to tell this, and perhaps could not any more.
                let inherited = if speaks && !spoke {
                    untold.since(last_heard, app.app.credentials.id())
                } else {
                    Vec::new()
                };
                told.push((app.app.clone(), inherited, transitions, speaks));
            }
        }
        tracing::warn!("a node is gone, with all that was on it");
        for (app, inherited, transitions, speaks) in told {
            for event in inherited {
                self.tell_webhooks(app.credentials.id(), event);
            }
            self.tell(&app, transitions, News::of(speaks));
        }
    }

    fn tell_counts(&self) {
        let mut due: Vec<(Arc<str>, ChannelName, u64, bool)> = Vec::new();
        for (id, app) in &mut self.state().apps {
            let speaks = app.view.is_speaker(&self.node);
            for channel in std::mem::take(&mut app.uncounted) {
                let count = app.view.connections(&channel);
                due.push((id.clone(), channel, count, speaks));
            }
        }
        for (app, channel, count, speaks) in due {
            self.tell_count(&app, &channel, count);
            if speaks {
                self.tell_webhooks(
                    &app,
                    WebhookEvent::SubscriptionCount { channel, subscription_count: count },
                );
            }
        }
    }

    fn expire(&self) {
        let now = self.cache_now();
        for app in self.state().apps.values_mut() {
            app.cache.expire(cache_ttl(app), now);
        }
    }
}
