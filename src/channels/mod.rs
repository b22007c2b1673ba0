//! The engine: the subscribers of each app's channels on all nodes.
//!
//! Every message between nodes goes through the broker and comes back, even on a single node: the broker's order is the order
//! in which every node sees events and changes. A message [changes the state](apply) under one lock, and the
//! [effects](effect) are performed after it, in the same order.

mod app;
mod app_changes;
mod apply;
mod changes;
mod connections;
mod departure;
mod effect;
mod heartbeat;
mod histories;
mod history;
mod history_state;
mod inbound;
mod lingering_node;
mod missed_reads;
mod node_queries;
mod outbound;
mod pending;
mod probe;
mod publish;
mod queries;
mod recent_events;
mod recovery;
mod reserved_channels;
mod responsibility;
mod rules;
mod session_claims;
mod shutdown;
mod snapshot;
mod socket_ids;
mod state;
mod stored_entries;
mod sweep;
mod topics;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, RwLock};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::cluster::Nodes;
use crate::hub::Hub;
use crate::message::{Dialect, MemberEncoder, NodeName};
use crate::telemetry::{ChannelMetrics, Metrics};
use crate::unix_time::unix_milliseconds;
use crate::webhooks::ActiveWebhooks;

pub use connections::{Attachment, OverQuota};
pub use histories::{Arrival, Histories};
pub use history::HistoryPage;
pub use history_state::{CaughtUp, Gap};
pub use node_queries::{NodeReplies, QueryHost};
pub use pending::{Completion, JoinError, Joined, Termination};
pub use publish::event_signal;
pub use rules::AppRules;
pub use session_claims::{SessionAnswer, SessionHost};

use app::AppState;
use effect::Effect;
use node_queries::NodeQueries;
use probe::Probe;
use session_claims::SessionClaims;
use socket_ids::SocketIds;
use state::State;
use topics::Topics;

/// The channels of all apps, as this node knows them.
pub struct Channels {
    dialect: &'static dyn Dialect,
    /// Of the apps that have one of their own, by their IDs.
    member_encoders: HashMap<Arc<str>, Arc<dyn MemberEncoder>>,
    /// Whether the dialect's kept topics are subscribed.
    has_kept_topics: AtomicBool,
    /// Whether this node tells the others that it is there. Without apps it does so from the first question on that a node asks the
    /// others: see [`node_queries`].
    is_in_cluster: AtomicBool,
    /// Signals that this node has to tell the others.
    joining: Notify,
    hub: Arc<Hub>,
    broker: Arc<Broker>,
    histories: Arc<Histories>,
    webhooks: Arc<ActiveWebhooks>,
    metrics: Arc<Metrics>,
    /// Of each app that speaks the dialect.
    metrics_of_apps: RwLock<HashMap<Arc<str>, Arc<ChannelMetrics>, RandomState>>,
    socket_ids: SocketIds,
    node: NodeName,
    /// When this node was started, in milliseconds since the Unix epoch.
    since: u64,
    /// Held briefly, never across an await, a receipt or the lock of a connection.
    state: Mutex<State>,
    /// Held from a change of the state until its effects are performed, so that subscribers are notified in the order of the changes.
    /// Taken before the state and the lock of a connection, never across an await.
    order: Mutex<()>,
    /// Signals that the views contain stale entries.
    unswept: Notify,
    /// Signals that there are messages to send to the other nodes.
    outbound: Notify,
    /// Signals that a message of this node has come back.
    echoed: Notify,
    /// Signals that this node's own `Leave` has come back.
    own_leave: Notify,
    /// Completed when this node has left. A second caller waits until the webhooks about that are queued.
    left: Once,
    probe: Probe,
    session_claims: SessionClaims,
    node_queries: NodeQueries,
}

impl Channels {
    /// Joins the cluster that the broker connects. Needs a tokio runtime, for the background tasks. Events that name
    /// no app belong to the first one that speaks the dialect.
    ///
    /// What the broker delivers must be passed to `handle_signal`, `handle_subscribed`, `handle_topic` and
    /// `handle_resumed`, in its order.
    #[must_use]
    pub fn start(
        apps: Vec<AppRules>,
        dialect: &'static dyn Dialect,
        hub: Arc<Hub>,
        broker: Arc<Broker>,
        histories: Arc<Histories>,
        webhooks: Arc<ActiveWebhooks>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        // An integer that JavaScript can represent.
        let number = rand::random::<u64>() >> 11;
        let node: NodeName = format!("{number:014x}").into();
        let since = unix_milliseconds();
        let has_apps = !apps.is_empty();
        let member_encoders =
            apps.iter().filter_map(|app| Some((app.id.clone(), app.member_encoder.clone()?))).collect();
        let topics = Topics::new(broker.clone(), dialect, app_changes::default_app(&apps));
        let of_protocol = apps.iter().filter(|app| app.member_encoder.is_none());
        let metrics_of_apps =
            of_protocol.map(|app| (app.id.clone(), app_changes::start_app(&metrics, app))).collect();
        let apps = apps.into_iter().map(|rules| {
            let has_webhooks = webhooks.has(&rules.id);
            AppState::new(rules, has_webhooks)
        });
        let state = State::new(apps, dialect, Nodes::new(node.clone(), since), topics);
        let channels = Arc::new(Self {
            dialect,
            member_encoders,
            has_kept_topics: AtomicBool::new(false),
            is_in_cluster: AtomicBool::new(has_apps),
            joining: Notify::new(),
            hub,
            broker,
            histories,
            webhooks,
            metrics,
            metrics_of_apps: RwLock::new(metrics_of_apps),
            socket_ids: SocketIds::new(number),
            node,
            since,
            state: Mutex::new(state),
            order: Mutex::new(()),
            unswept: Notify::new(),
            outbound: Notify::new(),
            echoed: Notify::new(),
            own_leave: Notify::new(),
            left: Once::new(),
            probe: Probe::default(),
            session_claims: SessionClaims::default(),
            node_queries: NodeQueries::default(),
        });
        channels.subscribe_kept_topics();
        let joining = channels.clone();
        tokio::spawn(async move {
            if !has_apps {
                joining.joining.notified().await;
            }
            tokio::spawn(joining.clone().send_changes());
            tokio::spawn(joining.clone().beat());
            joining.sweep().await;
        });
        channels
    }

    /// The metrics of this node.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The same, to keep.
    #[must_use]
    pub fn shared_metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Makes the other nodes know of this one. Returns whether they did before.
    fn join_cluster(&self) -> bool {
        let was_in_cluster = self.is_in_cluster();
        if !was_in_cluster && !self.is_in_cluster.swap(true, Ordering::Relaxed) {
            self.joining.notify_one();
        }
        was_in_cluster
    }

    fn is_in_cluster(&self) -> bool {
        self.is_in_cluster.load(Ordering::Relaxed)
    }

    /// Changes the state, then performs the effects in order, before those of the next change.
    fn update(&self, change: impl FnOnce(&mut State) -> Vec<Effect>) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let effects = change(&mut self.state());
        for effect in effects {
            self.perform(effect);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds of the hub's clock.
    fn now(&self) -> u64 {
        self.hub.clock().millis()
    }

    /// The clock of the history, in milliseconds. What other nodes keep may be older than this node, so that it does not begin
    /// at 0.
    fn history_now(&self) -> u64 {
        const BEFORE: u64 = 1 << 40;
        self.now() + BEFORE
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").field("node", &self.node).finish_non_exhaustive()
    }
}

/// For the tests of the rooms above.
#[cfg(test)]
impl Channels {
    pub(crate) fn pending_joins(&self) -> usize {
        self.state().joins.len()
    }

    pub(crate) fn known_channels(&self, app: &str) -> usize {
        self.state().apps[app].view.channels().count()
    }

    pub(crate) fn knows_others(&self) -> bool {
        self.state().nodes.has_others()
    }
}
