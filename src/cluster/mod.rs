//! What this node knows of all nodes, and what it does for the apps of the Pusher protocol.
//!
//! Everything that is said goes through the broker and comes back by it, also on a single node: the broker's one order
//! is the order in which every node sees events and who comes and goes.

mod app;
mod counts;
mod farewell;
mod hear;
mod leave;
mod names;
mod peer;
mod said;
mod snapshot;
mod socket_ids;
mod speak;
mod state;
mod sweep;
mod tend;
mod waiting;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::task::yield_now;

use crate::broker::{Broker, PublishError, Receipt, SubscribeOutcome, SubscriptionId};
use crate::hub::Hub;
use crate::message::{ChannelName, Dispatch, Frame, Member, SocketId, UserId};
use crate::presence::NodeName;
use crate::protocol::pusher::http::{Cached, ChannelInfo};
use crate::protocol::pusher::{Apps, Broadcast};
use crate::telemetry::Metrics;
use crate::unix_time::unix_time;
use crate::webhooks::WebhookEvent;

pub use peer::Client;

use crate::webhooks::Webhooks;
use app::AppState;
use peer::Peer;
use said::{Said, Statement};
use socket_ids::SocketIds;
use state::State;
use waiting::Awaited;

/// The Pusher side of one node.
pub struct Cluster {
    apps: Apps,
    hub: Arc<Hub>,
    broker: Arc<Broker>,
    metrics: Arc<Metrics>,
    /// The names of its connections.
    socket_ids: SocketIds,
    node: NodeName,
    /// When it was started, in milliseconds since the Unix epoch.
    since: u64,
    /// Held for moments only, never across an await, a receipt or the lock of a peer.
    state: Mutex<State>,
    /// Held from a change of the views until subscribers have been told of it, so that they hear of changes in their order. Taken
    /// before the state, never across an await.
    telling: Mutex<()>,
    /// Something in the views is out of date.
    unswept: Notify,
    /// Connections that have ended and are still on channels.
    leaving: mpsc::UnboundedSender<Arc<Peer>>,
    /// There is something to say.
    wake: Notify,
    /// Something that this node has said has come back.
    echoed: Notify,
    /// This node's own farewell has come back.
    farewell: Notify,
    /// Done when this node has gone. Who comes second waits until all of that is queued.
    left: Once,
    webhooks: Webhooks,
}

impl Cluster {
    /// Joins the cluster that the broker connects. Needs a tokio runtime, for the tasks that keep the node known.
    ///
    /// What arrives by the broker has to be handed to [`hear`](Self::hear) and [`hear_topic`](Self::hear_topic), in
    /// its order.
    #[must_use]
    pub fn new(apps: Apps, hub: Arc<Hub>, broker: Arc<Broker>, metrics: Arc<Metrics>) -> Arc<Self> {
        // Few enough bits to be a whole number for JavaScript.
        let number = rand::random::<u64>() >> 11;
        let node: NodeName = format!("{number:014x}").into();
        let webhooks = Webhooks::start(&apps, &metrics);
        let since = unix_millis();
        let state = Mutex::new(State::new(&apps, node.clone(), since));
        let (leaving, to_leave) = mpsc::unbounded_channel();
        let cluster = Arc::new(Self {
            apps,
            hub,
            broker,
            metrics,
            socket_ids: SocketIds::new(number),
            node,
            since,
            state,
            telling: Mutex::new(()),
            unswept: Notify::new(),
            leaving,
            wake: Notify::new(),
            echoed: Notify::new(),
            farewell: Notify::new(),
            left: Once::new(),
            webhooks,
        });
        if !cluster.apps.is_empty() {
            for beginning in names::CACHES {
                cluster.broker.subscribe_prefix(beginning);
            }
            tokio::spawn(cluster.clone().speak());
            tokio::spawn(cluster.clone().tend());
            tokio::spawn(cluster.clone().sweep());
            tokio::spawn(leave::leave_in_turn(to_leave));
        }
        cluster
    }

    /// The apps that are served.
    #[must_use]
    pub fn apps(&self) -> &Apps {
        &self.apps
    }

    /// Where what happens is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends an event to the subscribers of its channels on all nodes, all or nothing. Done when the broker has taken
    /// it.
    pub fn broadcast(
        &self,
        event: &Broadcast,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        self.send(said::broadcast(event))
    }

    /// Ends all connections of an app that are signed in as a user, on all nodes. Done when the broker has taken it.
    pub fn terminate(
        &self,
        app: &Arc<str>,
        user: &UserId,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        self.say(Said::Terminate { app: app.clone(), user: user.clone() })
    }

    /// An app's channels in the cluster that have a subscriber and whose names start with this, by name.
    ///
    /// The channels of users are among them only where the prefix is theirs. They are looked at in steps: what comes or goes
    /// meanwhile is among them or not.
    pub async fn channels(&self, app: &str, prefix: &str) -> Vec<(ChannelName, ChannelInfo)> {
        const STEP: usize = 512;
        let is_asked = |name: &ChannelName| {
            !name.is_scoped()
                && name.as_str().starts_with(prefix)
                && (names::is_told(name) || !prefix.is_empty())
        };
        let mut found: Vec<(ChannelName, ChannelInfo)> = Vec::new();
        // From the last to the first, because what is removed leaves its place to the last one.
        let (mut seen, mut here) = (usize::MAX, usize::MAX);
        while seen > 0 || here > 0 {
            {
                let state = self.state();
                let Some(app) = state.apps.get(app) else { return Vec::new() };
                let names = app.view.channels_before(&mut seen, STEP);
                // Those that nobody has heard of yet are on this node.
                here = here.min(app.local.len());
                let before = here.saturating_sub(STEP);
                let local = app.local.get_range(before..here).into_iter().flat_map(|range| range.keys());
                here = before;
                let asked = names.chain(local).filter(|name| is_asked(name));
                let about = asked.map(|name| (name.clone(), app.about(&self.node, name)));
                found.extend(about.filter(|(_, about)| about.subscriptions > 0));
            }
            yield_now().await;
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.dedup_by(|(a, _), (b, _)| a == b);
        found
    }

    /// A channel in the cluster: how many connections are on it, and how many members. Of this node's own connections it
    /// says how it is, of the others how they have told.
    #[must_use]
    pub fn channel(&self, app: &str, channel: &ChannelName) -> ChannelInfo {
        let state = self.state();
        state.apps.get(app).map_or_else(ChannelInfo::default, |state| state.about(&self.node, channel))
    }

    /// The last event of a cache channel, as far as this node knows.
    #[must_use]
    pub fn last_event(&self, app: &str, channel: &ChannelName) -> Option<Cached> {
        let state = self.state();
        let state = state.apps.get(app)?;
        let (data, left) = state.cache.data(channel, cache_ttl(state), self.cache_now())?;
        Some(Cached { data: data.to_owned(), ttl: left.div_ceil(1000) })
    }

    /// The members of a presence channel in the cluster, by their ids.
    #[must_use]
    pub fn users(&self, app: &str, channel: &ChannelName) -> Vec<Member> {
        self.state().apps.get(app).map_or_else(Vec::new, |state| state.view.members(channel))
    }

    /// An app's connections in the cluster.
    #[must_use]
    pub fn connections(&self, app: &str) -> u64 {
        self.channel(app, &names::CONNECTIONS).subscriptions
    }

    fn say(&self, said: Said) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        self.send(Statement { node: self.node.clone(), since: self.since, said }.encode())
    }

    fn send(&self, signal: Bytes) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        let published = self.broker.publish_and_wait(Dispatch::Signal(signal));
        async { published.await.map(drop) }
    }

    fn publish(&self, signal: Bytes, receipt: Receipt) {
        self.broker.publish(Dispatch::Signal(signal), receipt);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds of the hub's clock.
    fn now(&self) -> u64 {
        self.hub.clock().millis()
    }

    /// The clock of caches, in milliseconds. What has been kept on other nodes may be older than this one, so that it
    /// does not begin at 0.
    fn cache_now(&self) -> u64 {
        const BEFORE: u64 = 1 << 40;
        self.now() + BEFORE
    }

    /// A connection is off a channel.
    fn exit(&self, app: &Arc<str>, channel: &ChannelName, connection: SocketId, join: Option<u64>) {
        let mut state = self.state();
        let mut awaited = None;
        if state.exit(app, channel, connection, join) && self.has_topic(app, channel) {
            self.broker.unsubscribe(channel.as_str());
            awaited = state.unawait(channel);
            if !self.broker.is_subscribed(channel.as_str())
                && let Some(state) = state.apps.get_mut(app)
            {
                state.cache.unlistened(channel);
            }
        }
        drop(state);
        drop(awaited);
        self.wake.notify_one();
    }

    /// The first connection of this node is on a channel: what Laravel publishes there by Redis is for it.
    fn listen(&self, state: &mut State, app: &Arc<str>, channel: &ChannelName) {
        if !self.has_topic(app, channel) {
            return;
        }
        match self.broker.subscribe(channel.as_str()) {
            SubscribeOutcome::Pending(SubscriptionId { number, .. }) => {
                state.awaited.insert(channel.clone(), Awaited { number, waiting: Vec::new() });
            }
            SubscribeOutcome::Reserved if matches!(*self.broker, Broker::Redis(_)) => {
                if state.reserved_told.insert(channel.clone()) {
                    tracing::warn!(
                        channel = channel.as_str(),
                        "the nodes use this topic themselves: what Laravel's redis broadcaster publishes on it reaches no page"
                    );
                }
            }
            SubscribeOutcome::Active | SubscribeOutcome::AlreadySubscribed | SubscribeOutcome::Reserved => {}
        }
    }

    /// Laravel's `redis` broadcaster names no app: it speaks to the first one.
    fn has_topic(&self, app: &Arc<str>, channel: &ChannelName) -> bool {
        names::is_told(channel) && self.apps.first().is_some_and(|first| first.credentials.id() == app)
    }

    /// The last event of a cache channel.
    fn cached(&self, state: &AppState, channel: &ChannelName) -> Option<Frame> {
        state.cache.get(channel, cache_ttl(state), self.cache_now())
    }

    fn tell_webhooks(&self, app: &str, event: WebhookEvent) {
        self.webhooks.push(app, event);
    }
}

/// In milliseconds.
fn cache_ttl(state: &AppState) -> u64 {
    u64::try_from(state.app.rules.cache_ttl.as_millis()).unwrap_or(u64::MAX)
}

fn unix_millis() -> u64 {
    u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
