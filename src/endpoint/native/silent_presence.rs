//! The users on channels whose clients are not told of each other, for an application that wants events of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use crate::channels::Channels;
use crate::hub::{ConnectionId, ConnectionWalk, Hub, Outbox};
use crate::message::{ChannelName, Sender};
use crate::protocol::native::{Native, PRESENCE_APP, member};
use crate::transport::{ConnectionInfo, EndpointContext};

/// Makes connections members of their channels in the engine, which their clients do not notice. Nothing is kept for a connection: the
/// engine knows whether it is a member.
#[derive(Debug)]
pub struct SilentPresence {
    channels: Arc<Channels>,
    app: Arc<str>,
    native: Arc<Native>,
    hub: Arc<Hub>,
    context: Arc<EndpointContext>,
    /// A connection of any kind may be a member, because the application has wanted other events before.
    has_changed: AtomicBool,
    /// Held while the connections are gone through.
    review: Mutex<()>,
}

impl SilentPresence {
    #[must_use]
    pub fn new(
        channels: Arc<Channels>,
        native: Arc<Native>,
        hub: Arc<Hub>,
        context: Arc<EndpointContext>,
    ) -> Arc<Self> {
        let (app, has_changed) = (PRESENCE_APP.into(), AtomicBool::new(false));
        Arc::new(Self { channels, app, native, hub, context, has_changed, review: Mutex::default() })
    }

    /// Makes a connection that has just joined the hub a member of its channel, if the application wants to know.
    pub(super) fn announce(&self, connection: ConnectionId, channel: &ChannelName, user: &Sender) {
        if self.is_wanted(channel) {
            self.enter(connection, channel, user);
        }
    }

    /// A connection has ended.
    pub(super) fn withdraw(&self, connection: ConnectionId, channel: &ChannelName) {
        if self.has_changed.load(Ordering::Acquire) || self.is_wanted(channel) {
            self.leave(connection, channel);
        }
    }

    /// The application wants other events: makes the connections that are open members, or no members any more. Needs a tokio runtime.
    pub fn review(self: &Arc<Self>) {
        self.has_changed.store(true, Ordering::Release);
        let presence = self.clone();
        tokio::spawn(async move { presence.review_all().await });
    }

    async fn review_all(&self) {
        /// Only a connection whose upgrade is not complete does not answer. Each time takes half a second.
        const ASK_TIMES: usize = 120;
        let _review = self.review.lock().await;
        let mut walk = ConnectionWalk::default();
        while let Some(listed) = self.hub.next_connections(&mut walk).await {
            let mut asked: Vec<_> = listed.into_iter().map(|listed| (listed.id, listed.outbox)).collect();
            for _ in 0..ASK_TIMES {
                if asked.is_empty() {
                    break;
                }
                let infos = self.context.inquiries.ask(&asked).await;
                asked.retain(|(id, outbox)| {
                    let Some(info) = infos.get(id) else { return outbox.ending().is_none() };
                    self.review_one(*id, outbox, info);
                    false
                });
            }
        }
    }

    fn review_one(&self, connection: ConnectionId, outbox: &Outbox, info: &ConnectionInfo) {
        let ConnectionInfo { app: None, user: Some(id), user_name, channels, .. } = info else { return };
        let user = Sender { name: user_name.clone().unwrap_or_else(|| "".into()), id: id.clone() };
        for channel in channels.iter().filter(|channel| !self.native.has_presence(channel)) {
            if self.is_wanted(channel) {
                self.enter(connection, channel, &user);
            }
            // The task of a connection that has ended may have withdrawn it before.
            if !self.is_wanted(channel) || outbox.ending().is_some() {
                self.leave(connection, channel);
            }
        }
    }

    /// Whether the application wants events of the users on a channel that the engine does not know otherwise.
    fn is_wanted(&self, channel: &ChannelName) -> bool {
        self.channels.knows_users(channel) && !self.native.has_presence(channel)
    }

    fn enter(&self, connection: ConnectionId, channel: &ChannelName, user: &Sender) {
        let name = self.channels.socket_id(connection);
        self.channels.add_member(&self.app, channel, name, || member(user));
    }

    fn leave(&self, connection: ConnectionId, channel: &ChannelName) {
        self.channels.exit(&self.app, channel, self.channels.socket_id(connection));
    }
}
