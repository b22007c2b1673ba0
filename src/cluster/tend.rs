//! The task that lets the others know that this node is there, and notices when they are not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::hear::News;
use super::state::{SILENT_AFTER, State};
use super::sweep::Sweep;
use super::{Cluster, cache_ttl};
use crate::broker::Status;
use crate::message::ChannelName;
use crate::presence::{NodeName, Presence};
use crate::protocol::pusher::App;
use crate::webhooks::WebhookEvent;

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

/// What the loss of nodes means for an app.
pub(super) struct Lost {
    app: Arc<App>,
    /// What one of them was to tell webhooks, and perhaps could not any more.
    untold: Vec<WebhookEvent>,
}

impl Cluster {
    /// Tends until this node has left.
    pub(super) async fn tend(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        for tick in (0u32..).cycle() {
            let now = ticks.tick().await;
            let elapsed = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX);
            last = now;
            if self.state().has_left {
                return;
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
    pub fn may_have_missed(&self) {
        if self.apps.is_empty() {
            return;
        }
        let mut state = self.state();
        state.due.ask = true;
        state.due.everything = true;
        for app in state.apps.values_mut() {
            app.cache.doubt();
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Loses the nodes that are silent. A node that hears not even itself knows nothing of the others, so that time
    /// stands still for it.
    fn find_silent(&self, elapsed: u64) {
        let lost = {
            let (now, mut state) = (self.now(), self.state());
            let hears =
                self.broker.status() == Status::Ready && now.saturating_sub(state.echo) <= HEARS_WITHIN;
            state.pass(elapsed, hears);
            let spoke = state.is_speaker();
            let Some(last_heard) = state.unsettle_silent() else { return };
            let last_heard = (!spoke).then_some(last_heard);
            lose(&mut state, last_heard, |view, time| view.lose_silent(&self.node, SILENT_AFTER, time))
        };
        tracing::warn!("a node is gone, with all that was on it");
        self.tell_lost(lost);
    }

    pub(super) fn tell_lost(&self, lost: Vec<Lost>) {
        for Lost { app, untold } in lost {
            for event in untold {
                self.tell_webhooks(app.credentials.id(), event);
            }
        }
        self.unswept.notify_one();
    }

    fn tell_counts(&self) {
        let mut due: Vec<(Arc<str>, ChannelName, u64)> = Vec::new();
        let speaks = {
            let mut state = self.state();
            for (id, app) in &mut state.apps {
                for channel in std::mem::take(&mut app.uncounted) {
                    let count = app.view.connections(&channel);
                    due.push((id.clone(), channel, count));
                }
            }
            state.is_speaker()
        };
        for (app, channel, count) in due {
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

/// Loses nodes, so that they are swept out of the views. If one of them spoke to webhooks: from when on it may not have told
/// them what it was to tell.
pub(super) fn lose(
    state: &mut State,
    spoke_until: Option<u64>,
    lose: impl Fn(&mut Presence, u64) -> Vec<NodeName>,
) -> Vec<Lost> {
    let speaks = state.is_speaker();
    let inherits = spoke_until.filter(|_| speaks);
    let State { apps, takeover, time, sweeps, .. } = state;
    let all = apps.iter_mut().map(|(id, app)| {
        let nodes = lose(&mut app.view, *time).into_iter();
        sweeps.extend(nodes.map(|node| Sweep { app: id.clone(), node, news: News::of(speaks) }));
        let untold = inherits.map_or_else(Vec::new, |until| takeover.since(until, id));
        Lost { app: app.app.clone(), untold }
    });
    all.collect()
}
