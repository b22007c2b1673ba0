//! One connection of the Pusher protocol: its session, and how the session's actions are performed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::PusherContext;
use super::leave::{AT_ONCE, Ended};
use crate::channels::{Attachment, Channels, Completion, JoinError, OverQuota};
use crate::hub::{Connection, ConnectionHandle, Subscription};
use crate::message::{Broadcast, ByName, ChannelName, Frame, SocketId};
use crate::protocol::pusher::{
    Action, App, Channel, ClientEvent, Fatal, Joined, RejectReason, Session, Subscribe, SubscriptionError,
    Ticket, User, server_message,
};
use crate::telemetry::Reason;

/// A connection's place on its channels. Dropping it leaves all of them, so that every admitted connection leaves.
#[derive(Debug)]
pub(super) struct ConnectionGuard(Arc<PusherConnection>);

/// A connection, as its own task and its completions share it.
///
/// Lock order: first the connection, then the engine's state. Code that holds the state must not lock a connection.
#[derive(Debug)]
pub(super) struct PusherConnection {
    context: Arc<PusherContext>,
    app: Arc<App>,
    handle: ConnectionHandle,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    subscriptions: ByName<Subscription>,
    /// The channels for notices about the users that it watches.
    watching: Box<[Subscription]>,
}

impl ConnectionGuard {
    /// Opens a session of an app. The greeting goes into the connection's outbox.
    ///
    /// Fails if the app has reached its limit of connections.
    pub(super) fn open(
        context: &Arc<PusherContext>,
        app: &Arc<App>,
        connection: &Connection,
    ) -> Result<Self, Fatal> {
        let channels = &context.channels;
        channels.connect(app.credentials.id()).map_err(|OverQuota| Fatal::OverQuota)?;
        let id = channels.socket_id(connection.id());
        let (session, greeting) = Session::open(app.clone(), id, channels.clock());
        let handle = connection.handle();
        handle.push(&greeting);
        let inner = Inner { session, subscriptions: ByName::default(), watching: Box::default() };
        Ok(Self(Arc::new(PusherConnection {
            context: context.clone(),
            app: app.clone(),
            handle,
            inner: Mutex::new(inner),
        })))
    }

    /// The connection's name in the cluster.
    pub(super) fn id(&self) -> SocketId {
        self.0.id()
    }

    /// Handles a message of the client. Answers go into the connection's outbox.
    pub(super) fn receive(&self, message: &[u8]) {
        let connection = &self.0;
        let mut inner = connection.lock();
        let actions = inner.session.receive(message, connection.channels().clock());
        connection.perform(&mut inner, actions);
    }

    /// The client has sent something that is not a message: it is alive.
    pub(super) fn on_activity(&self) {
        self.0.lock().session.record_activity(self.0.channels().clock());
    }

    /// Performs what is due. Returns whether that included a WebSocket ping.
    pub(super) fn tick(&self) -> bool {
        let connection = &self.0;
        let mut inner = connection.lock();
        let actions = inner.session.tick(connection.channels().clock());
        let pings = actions.contains(&Action::Ping);
        connection.perform(&mut inner, actions);
        pings
    }

    /// When [`tick`](Self::tick) has something to do, in milliseconds of the hub's clock.
    pub(super) fn next_tick(&self) -> u64 {
        self.0.lock().session.next_tick()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl PusherConnection {
    fn id(&self) -> SocketId {
        self.channels().socket_id(self.handle.id())
    }

    fn channels(&self) -> &Channels {
        &self.context.channels
    }

    fn app_id(&self) -> &Arc<str> {
        self.app.credentials.id()
    }

    fn perform(self: &Arc<Self>, inner: &mut Inner, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply(frame) => {
                    self.handle.push(&frame);
                }
                Action::Ping => {
                    self.handle.push(&Frame::ping());
                }
                Action::Subscribe(subscribe) => self.subscribe(inner, subscribe),
                Action::Unsubscribe(channel) => self.unsubscribe(inner, &channel),
                Action::Publish(event) => self.publish(event),
                Action::SignIn(user) => self.sign_in(user),
                Action::Close(close) => {
                    self.handle.outbox().close(close);
                }
            }
        }
    }

    fn subscribe(self: &Arc<Self>, inner: &mut Inner, Subscribe { channel, member, ticket }: Subscribe) {
        let Some(member) = member else {
            self.channels().enter(self.app_id(), channel.name());
            return self.finish_subscribe(inner, &channel, ticket);
        };
        let completion = || self.completion(channel.clone(), ticket);
        if let Err(error) = self.channels().join(self.app_id(), channel.name(), self.id(), member, completion)
        {
            self.fail_subscribe(inner, channel.name(), ticket, error);
        }
    }

    /// Continues a subscription that waited for the cluster or the broker.
    fn completion(self: &Arc<Self>, channel: Channel, ticket: Ticket) -> Completion {
        let connection = self.clone();
        Box::new(move |joined| {
            let mut inner = connection.lock();
            match joined {
                Ok(()) => connection.finish_subscribe(&mut inner, &channel, ticket),
                Err(error) => connection.fail_subscribe(&mut inner, channel.name(), ticket, error),
            }
        })
    }

    fn finish_subscribe(self: &Arc<Self>, inner: &mut Inner, channel: &Channel, ticket: Ticket) {
        if inner.session.is_closed() {
            return;
        }
        let later = || self.completion(channel.clone(), ticket);
        let attach = |attachment| self.attach(inner, ticket, attachment);
        self.channels().attach(self.app_id(), channel.name(), later, attach);
    }

    fn fail_subscribe(
        self: &Arc<Self>,
        inner: &mut Inner,
        channel: &ChannelName,
        ticket: Ticket,
        error: JoinError,
    ) {
        let error = match error {
            JoinError::Full(limit) => SubscriptionError::ChannelFull(limit),
            JoinError::Unavailable => SubscriptionError::Unavailable,
        };
        let actions = inner.session.join_failed(channel, ticket, error);
        self.perform(inner, actions);
    }

    /// Sends the reply, then subscribes, so that later events follow the reply. Returns whether the client still wants the
    /// subscription.
    fn attach(&self, inner: &mut Inner, ticket: Ticket, attachment: Attachment) -> bool {
        let Attachment { channel, members, last_event } = attachment;
        let actions = inner.session.joined(&channel, ticket, &Joined { members, cached: last_event });
        if actions.is_empty() {
            return false;
        }
        for action in actions {
            if let Action::Reply(frame) = action {
                self.handle.push(&frame);
            }
        }
        let scoped = ChannelName::scoped(self.app_id(), channel.as_str());
        inner.subscriptions.add(self.handle.subscribe(&scoped));
        self.channels().metrics().pusher_subscriptions.inc();
        true
    }

    fn unsubscribe(&self, inner: &mut Inner, channel: &Channel) {
        let name = channel.name();
        let scoped = ChannelName::scoped(self.app_id(), name.as_str());
        if inner.subscriptions.remove(&scoped).is_some() {
            self.channels().metrics().pusher_subscriptions.dec();
        }
        self.channels().exit(self.app_id(), name, self.id());
    }

    fn publish(&self, event: ClientEvent) {
        let broadcast = Broadcast {
            app: self.app_id().clone(),
            channels: vec![event.channel.name().clone()],
            event: event.event,
            data: event.data,
            except: Some(self.id()),
            user_id: event.user_id,
        };
        let (context, handle) = (self.context.clone(), self.handle.clone());
        let bytes = broadcast.data.len();
        handle.outbox().asked(bytes);
        self.context.channels.publish_client_event(broadcast, move |accepted| {
            handle.outbox().answered(bytes);
            let metrics = context.channels.metrics();
            if accepted.is_ok() {
                metrics.messages_accepted.inc();
            } else {
                metrics.messages_refused.get_or_create(&Reason::new("unavailable")).inc();
                handle.push(&server_message::rejection(&RejectReason::Unavailable));
            }
        });
    }

    fn sign_in(self: &Arc<Self>, user: User) {
        let id = user.id.clone();
        let connection = Arc::downgrade(self);
        let terminate = Box::new(move || {
            let Some(connection) = connection.upgrade() else { return };
            let mut inner = connection.lock();
            let actions = inner.session.close(Fatal::Unauthorized);
            connection.perform(&mut inner, actions);
        });
        let connection = self.clone();
        let completion = Box::new(move |_| connection.watch(&user));
        self.channels().sign_in(self.app_id(), self.id(), &id, terminate, completion);
    }

    /// The sign-in has come back: subscribes the connection to notices about the users that it watches.
    fn watch(&self, user: &User) {
        let mut inner = self.lock();
        if inner.session.is_closed() || !inner.watching.is_empty() {
            return;
        }
        let online = self.channels().online(self.app_id(), &user.watchlist);
        if !online.is_empty() {
            self.handle.push(&server_message::watchlist_events(&online, &[]));
        }
        let watched = user.watchlist.iter().map(|id| Channels::watched(self.app_id(), id));
        let mut channels: Vec<ChannelName> = watched.collect();
        channels.sort_unstable();
        channels.dedup();
        inner.watching = channels.iter().map(|channel| self.handle.subscribe(channel)).collect();
    }

    fn leave(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.session.abandon();
        inner.watching = Box::default();
        if inner.session.user().is_some() {
            self.channels().sign_out(self.app_id(), self.id());
        }
        drop(inner);
        if self.leave_some() {
            self.context.leaving.push(self.clone());
        }
        self.channels().disconnect(self.app_id(), self.id());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ended for PusherConnection {
    fn leave_some(&self) -> bool {
        let mut inner = self.lock();
        let subscriptions = inner.subscriptions.take(AT_ONCE);
        let channels = inner.session.take_channels(AT_ONCE);
        let has_more = !inner.subscriptions.is_empty() || inner.session.channels().next().is_some();
        drop(inner);
        let count = i64::try_from(subscriptions.len()).unwrap_or(i64::MAX);
        self.channels().metrics().pusher_subscriptions.dec_by(count);
        drop(subscriptions);
        for channel in channels {
            self.channels().exit(self.app_id(), channel.name(), self.id());
        }
        has_more
    }
}
