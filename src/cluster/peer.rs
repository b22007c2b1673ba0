//! One connection of the Pusher protocol: its session, and what its actions do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Cluster;
use super::counts::is_counted;
use super::leave::AT_ONCE;
use super::names::{CONNECTIONS, USERS, watched};
use super::waiting::{Joining, Purpose};
use crate::hub::{Connection, Seat, Subscription};
use crate::message::{ByName, ChannelName, Frame, Member, SocketId, UserId};
use crate::protocol::pusher::{
    Action, App, Broadcast, Channel, ClientEvent, Fatal, Joined, Refusal, Session, Subscribe,
    SubscriptionError, Ticket, User, outgoing,
};
use crate::telemetry::Reason;
use crate::webhooks::WebhookEvent;

/// A connection's place in the cluster. Dropping it leaves all of it: admitted cannot miss left.
#[derive(Debug)]
pub struct Client(Arc<Peer>);

/// The part of a connection that the cluster knows, too.
///
/// The order of locks: a peer's own, then the cluster's state. Who holds the state locks no peer.
#[derive(Debug)]
pub(super) struct Peer {
    cluster: Arc<Cluster>,
    app: Arc<App>,
    seat: Seat,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    subscriptions: ByName<Subscription>,
    /// Where it hears of the users that it watches.
    watching: Box<[Subscription]>,
}

impl Client {
    /// Opens a session of an app; the greeting goes into the connection's outbox.
    ///
    /// Fails where the app has as many connections as it may have.
    pub fn open(cluster: &Arc<Cluster>, app: &Arc<App>, connection: &Connection) -> Result<Self, Fatal> {
        let limit = app.rules.connections;
        {
            let mut state = cluster.state();
            let (id, connections) = (app.credentials.id(), CONNECTIONS.clone());
            if limit > 0 && state.local_count(id, &connections) >= u64::try_from(limit).unwrap_or(u64::MAX) {
                return Err(Fatal::OverQuota);
            }
            state.enter(id, &connections);
        }
        cluster.wake.notify_one();
        cluster.metrics.pusher_connections.inc();
        let id = cluster.socket_ids.name(connection.id());
        let (session, greeting) = Session::open(app.clone(), id, cluster.now());
        let seat = connection.seat();
        seat.push(&greeting);
        let inner = Inner { session, subscriptions: ByName::default(), watching: Box::default() };
        Ok(Self(Arc::new(Peer {
            cluster: cluster.clone(),
            app: app.clone(),
            seat,
            inner: Mutex::new(inner),
        })))
    }

    /// The connection's name in the cluster.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.0.id()
    }

    /// Takes a message of the client. Answers go into the connection's outbox.
    pub fn receive(&self, message: &[u8]) {
        let peer = &self.0;
        let mut inner = peer.lock();
        let actions = inner.session.receive(message, peer.cluster.now());
        peer.carry_out(&mut inner, actions);
    }

    /// Something came that is no message: the client is there.
    pub fn heard(&self) {
        self.0.lock().session.heard(self.0.cluster.now());
    }

    /// Does what the time demands. Whether that was a ping of WebSocket.
    #[must_use]
    pub fn tick(&self) -> bool {
        let peer = &self.0;
        let mut inner = peer.lock();
        let actions = inner.session.tick(peer.cluster.now());
        let pings = actions.contains(&Action::Ping);
        peer.carry_out(&mut inner, actions);
        pings
    }

    /// When [`tick`](Self::tick) has something to do, in milliseconds of the hub's clock.
    #[must_use]
    pub fn next_tick(&self) -> u64 {
        self.0.lock().session.next_tick()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Peer {
    pub(super) fn id(&self) -> SocketId {
        self.cluster.socket_ids.name(self.seat.id())
    }

    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The join has come back: everybody knows it, and nobody has said anything on the channel since.
    pub(super) fn joined(self: &Arc<Self>, channel: &Channel, ticket: Ticket) {
        let mut inner = self.lock();
        self.be_on(&mut inner, channel, ticket);
    }

    /// The broker hears the channel's topic now.
    pub(super) fn listens(self: &Arc<Self>, channel: &Channel, ticket: Ticket) {
        let mut inner = self.lock();
        self.be_on(&mut inner, channel, ticket);
    }

    /// The join was not possible after all.
    pub(super) fn join_failed(
        self: &Arc<Self>,
        name: &ChannelName,
        ticket: Ticket,
        error: SubscriptionError,
    ) {
        let mut inner = self.lock();
        let actions = inner.session.join_failed(name, ticket, error);
        self.carry_out(&mut inner, actions);
    }

    /// The sign-in has come back: from now on the connection hears of the users that it watches.
    pub(super) fn signed_in(&self, user: &User, online: &[UserId]) {
        let mut inner = self.lock();
        if inner.session.is_closed() || !inner.watching.is_empty() {
            return;
        }
        if !online.is_empty() {
            self.seat.push(&outgoing::watchlist_events(online, &[]));
        }
        let watched = user.watchlist.iter().map(|id| watched(self.app.credentials.id(), id));
        let mut channels: Vec<ChannelName> = watched.collect();
        channels.sort_unstable();
        channels.dedup();
        inner.watching = channels.iter().map(|channel| self.seat.subscribe(channel)).collect();
    }

    /// Ends the connection.
    pub(super) fn close(self: &Arc<Self>, fatal: Fatal) {
        let mut inner = self.lock();
        let actions = inner.session.close(fatal);
        self.carry_out(&mut inner, actions);
    }

    /// Whether it is signed in as this user.
    pub(super) fn is_user(&self, user: &UserId) -> bool {
        self.lock().session.user().is_some_and(|own| own.id == *user)
    }

    fn carry_out(self: &Arc<Self>, inner: &mut Inner, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply(frame) => {
                    self.seat.push(&frame);
                }
                Action::Ping => {
                    self.seat.push(&Frame::ping());
                }
                Action::Subscribe(subscribe) => self.subscribe(inner, subscribe),
                Action::Unsubscribe(channel) => self.unsubscribe(inner, &channel),
                Action::Publish(event) => self.publish(event),
                Action::SignIn(user) => self.sign_in(user),
                Action::Close(close) => {
                    self.seat.outbox().close(close);
                }
            }
        }
    }

    fn subscribe(self: &Arc<Self>, inner: &mut Inner, Subscribe { channel, member, ticket }: Subscribe) {
        match member {
            Some(member) => self.become_member(inner, channel, member, ticket),
            None => self.enter(inner, &channel, ticket),
        }
        self.cluster.wake.notify_one();
    }

    /// A member is there when every node can know it: when the join has come back by the broker.
    fn become_member(self: &Arc<Self>, inner: &mut Inner, channel: Channel, member: Member, ticket: Ticket) {
        let (app, name) = (self.app.credentials.id(), channel.name().clone());
        let mut state = self.cluster.state();
        let error = if state.is_full() {
            Some(SubscriptionError::Unavailable)
        } else if !state.apps.get(app).is_some_and(|state| state.has_room(&name, &member)) {
            Some(SubscriptionError::ChannelFull(self.app.rules.presence_members))
        } else {
            let (number, first) = state.enter_as(app, &name, self.id(), member);
            let purpose = Purpose::Channel { channel, ticket };
            state.joining.insert(number, Joining { peer: self.clone(), purpose });
            if first {
                self.cluster.listen(&mut state, app, &name);
            }
            None
        };
        drop(state);
        if let Some(error) = error {
            let actions = inner.session.join_failed(&name, ticket, error);
            self.carry_out(inner, actions);
        }
    }

    /// Nobody sees a subscriber of another channel, so that the others have not to be waited for.
    fn enter(self: &Arc<Self>, inner: &mut Inner, channel: &Channel, ticket: Ticket) {
        let app = self.app.credentials.id();
        {
            let mut state = self.cluster.state();
            if state.enter(app, channel.name()) {
                self.cluster.listen(&mut state, app, channel.name());
            }
        }
        self.be_on(inner, channel, ticket);
    }

    /// Puts the connection on the channel, now or as soon as the broker hears the channel's topic.
    fn be_on(self: &Arc<Self>, inner: &mut Inner, channel: &Channel, ticket: Ticket) {
        if inner.session.is_closed() {
            return;
        }
        let (app, name) = (self.app.credentials.id(), channel.name());
        let mut state = self.cluster.state();
        if let Some(awaited) = state.awaited.get_mut(name).filter(|_| self.cluster.has_topic(app, name)) {
            awaited.waiting.push((self.clone(), channel.clone(), ticket));
            return;
        }
        let Some(app_state) = state.apps.get(app) else { return };
        // One text for all who are on the channel.
        let shared =
            app_state.local.get_key_value(name).map_or_else(|| name.clone(), |(name, _)| name.clone());
        let members = if channel.is_presence() { app_state.view.members(name) } else { Vec::new() };
        let cached = if channel.is_cache() { self.cluster.cached(app_state, name) } else { None };
        let missed = channel.is_cache() && cached.is_none();
        // What is delivered to a cache channel is kept under this lock: it comes either from the cache or after it.
        let state = if channel.is_cache() {
            Some(state)
        } else {
            drop(state);
            None
        };
        let is_on = self.settle(inner, &shared, ticket, &Joined { members, cached });
        drop(state);
        if is_on && is_counted(&self.app, name) {
            // It is on the channel now, so that it hears the number when that comes back.
            self.cluster.state().count_for_newcomer(app, &shared);
            self.cluster.wake.notify_one();
        }
        if is_on && missed {
            self.cluster.tell_webhooks(app, WebhookEvent::CacheMiss { channel: name.clone() });
        }
    }

    /// Answers, then subscribes: what is published after this comes after the answer. Whether it is so.
    fn settle(
        self: &Arc<Self>,
        inner: &mut Inner,
        channel: &ChannelName,
        ticket: Ticket,
        joined: &Joined,
    ) -> bool {
        let actions = inner.session.joined(channel, ticket, joined);
        if actions.is_empty() {
            return false;
        }
        for action in actions {
            if let Action::Reply(frame) = action {
                self.seat.push(&frame);
            }
        }
        let scoped = ChannelName::scoped(self.app.credentials.id(), channel.as_str());
        inner.subscriptions.add(self.seat.subscribe(&scoped));
        self.cluster.metrics.pusher_subscriptions.inc();
        true
    }

    fn unsubscribe(&self, inner: &mut Inner, channel: &Channel) {
        let name = channel.name();
        let scoped = ChannelName::scoped(self.app.credentials.id(), name.as_str());
        if inner.subscriptions.remove(&scoped).is_some() {
            self.cluster.metrics.pusher_subscriptions.dec();
        }
        self.cluster.exit(self.app.credentials.id(), name, self.id(), None);
    }

    fn publish(&self, event: ClientEvent) {
        let broadcast = Broadcast {
            app: self.app.credentials.id().clone(),
            channels: vec![event.channel.name().clone()],
            event: event.event,
            data: event.data,
            except: Some(self.id()),
            user_id: event.user_id,
        };
        let (cluster, seat, id) = (self.cluster.clone(), self.seat.clone(), self.id());
        let signal = super::said::broadcast(&broadcast);
        let bytes = broadcast.data.len();
        seat.outbox().asked(bytes);
        let receipt = move |accepted: Result<_, _>| {
            seat.outbox().answered(bytes);
            let metrics = &cluster.metrics;
            if accepted.is_err() {
                metrics.messages_refused.get_or_create(&Reason::new("unavailable")).inc();
                seat.push(&outgoing::refusal(&Refusal::Unavailable));
                return;
            }
            metrics.messages_accepted.inc();
            let Broadcast { app, channels, event, data, user_id, .. } = broadcast;
            let Some(channel) = channels.into_iter().next() else { return };
            let event = WebhookEvent::ClientEvent { channel, event, data, socket_id: id, user_id };
            cluster.tell_webhooks(&app, event);
        };
        self.cluster.publish(signal, Box::new(receipt));
    }

    fn sign_in(self: &Arc<Self>, user: User) {
        let app = self.app.credentials.id();
        let mut state = self.cluster.state();
        if let Some(state) = state.apps.get_mut(app) {
            state.users.insert(self.seat.id(), self.clone());
        }
        let member = Member { user_id: user.id.clone(), user_info: None };
        let (number, _) = state.enter_as(app, &USERS, self.id(), member);
        state.joining.insert(number, Joining { peer: self.clone(), purpose: Purpose::SignIn(user) });
        drop(state);
        self.cluster.wake.notify_one();
    }

    fn leave(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.session.abandon();
        inner.watching = Box::default();
        let app = self.app.credentials.id();
        if inner.session.user().is_some() {
            if let Some(state) = self.cluster.state().apps.get_mut(app) {
                state.users.remove(&self.seat.id());
            }
            self.cluster.exit(app, &USERS, self.id(), None);
        }
        drop(inner);
        if self.leave_some() {
            // Fails where the task has ended with the runtime.
            let _ = self.cluster.leaving.send(self.clone());
        }
        self.cluster.exit(app, &CONNECTIONS, self.id(), None);
        self.cluster.metrics.pusher_connections.dec();
    }

    /// Leaves some of the channels of a session that has ended. Whether there are more.
    pub(super) fn leave_some(&self) -> bool {
        let mut inner = self.lock();
        let subscriptions = inner.subscriptions.take(AT_ONCE);
        let channels = inner.session.take_channels(AT_ONCE);
        let has_more = !inner.subscriptions.is_empty() || inner.session.channels().next().is_some();
        drop(inner);
        self.cluster
            .metrics
            .pusher_subscriptions
            .dec_by(i64::try_from(subscriptions.len()).unwrap_or(i64::MAX));
        drop(subscriptions);
        for channel in channels {
            self.cluster.exit(self.app.credentials.id(), channel.name(), self.id(), None);
        }
        has_more
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
