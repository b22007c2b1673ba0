//! One connection of the Pusher protocol: its session, and how the session's actions are performed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::PusherContext;
use super::recovering::{Recovering, parse_since};
use super::recovery::Recovery;
use super::refusal::record_refusal;
use super::tail::tell_subscription;
use crate::channels::{Attachment, Channels, Completion, JoinError, OverQuota};
use crate::hub::{Connection, ConnectionHandle, ReadProof};
use crate::message::{Broadcast, ChannelName, Close, Frame, SocketId, UserId};
use crate::protocol::pusher::{
    Action, App, Channel, ClientEvent, Fatal, Joined, Refusal, RejectReason, Session, SessionKey, Subscribe,
    SubscriptionError, Ticket, close,
};
use crate::telemetry::TailKind;
use crate::transport::DisconnectReason;

/// A connection's place on its channels. Dropping it leaves all of them, so that every admitted connection leaves.
#[derive(Debug)]
pub(super) struct ConnectionGuard(Arc<PusherConnection>);

/// A connection, as its own task and its completions share it.
///
/// Lock order: first the connection, then the engine's state. Code that holds the state must not lock a connection.
#[derive(Debug)]
pub(super) struct PusherConnection {
    pub(super) context: Arc<PusherContext>,
    pub(super) handle: ConnectionHandle,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) session: Session,
    /// The channels for notices about the users that it watches. Boxed, because few connections watch anybody.
    #[expect(clippy::box_collection, reason = "a boxed slice has 16 bytes")]
    pub(super) watching: Option<Box<Vec<ChannelName>>>,
    /// Of a page that has given a session token.
    pub(super) recovery: Option<Box<Recovery>>,
    /// The client has been told the name of its connection. Before, it is not known whether it resumes a session.
    pub(super) is_greeted: bool,
    /// It has left its channels, or a session keeps them.
    pub(super) has_left: bool,
}

impl ConnectionGuard {
    /// Opens a session of an app, or resumes the one with this key. The greeting goes into the connection's outbox, now or when it is
    /// known which of the two it is.
    ///
    /// Fails if the app has reached its limit of connections.
    pub(super) fn open(
        context: &Arc<PusherContext>,
        app: &Arc<App>,
        connection: &Connection,
        key: Option<SessionKey>,
    ) -> Result<Self, Fatal> {
        let channels = &context.channels;
        channels.connect(app.credentials.id()).map_err(|OverQuota| Fatal::OverQuota)?;
        let id = channels.socket_id(connection.id());
        let (session, greeting) = Session::open(app.clone(), id, channels.clock());
        if key.is_none() {
            connection.outbox().push(&greeting, connection.outbox_bytes());
        }
        let connection =
            Arc::new(PusherConnection::new(context.clone(), connection.handle(), session, key.is_none()));
        if let Some(key) = key {
            connection.claim(key);
        }
        Ok(Self(connection))
    }

    /// The connection's name in the cluster.
    pub(super) fn id(&self) -> SocketId {
        self.0.lock().session.socket_id()
    }

    /// Its name in the cluster, the user that it is signed in as, and its channels.
    pub(super) fn describe(&self) -> (SocketId, Option<UserId>, Vec<ChannelName>) {
        let inner = self.0.lock();
        let channels = inner.session.active_channels().map(|channel| channel.name().clone()).collect();
        (inner.session.socket_id(), inner.session.user().map(|user| user.id.clone()), channels)
    }

    /// Handles a message of the client. Answers go into the connection's outbox.
    pub(super) fn receive(&self, message: &[u8]) {
        let connection = &self.0;
        let mut inner = connection.lock();
        connection.greet_without_session(&mut inner);
        let actions = inner.session.receive(message, connection.channels().clock());
        connection.perform(&mut inner, actions);
    }

    /// The client has sent something that is not a message: it is alive.
    pub(super) fn on_activity(&self) {
        self.0.lock().session.record_activity(self.0.channels().clock());
    }

    /// The client has answered a ping with this payload.
    pub(super) fn on_pong(&self, payload: &[u8]) {
        let mut inner = self.0.lock();
        let Some(recovery) = &mut inner.recovery else { return };
        match ReadProof::parse(payload) {
            Some(proof) => {
                if let Some(last) = self.0.channels().delivered() {
                    let proven = recovery.prove(proof, last);
                    if !proven.is_empty() {
                        self.0.write_channels(&inner, &proven);
                    }
                }
            }
            None => recovery.answer(payload),
        }
    }

    /// Performs what is due. Returns whether that included a WebSocket ping.
    pub(super) fn tick(&self) -> bool {
        let connection = &self.0;
        let mut inner = connection.lock();
        let now = connection.channels().clock();
        let actions = inner.session.tick(now);
        let pings = actions.contains(&Action::Ping);
        connection.perform(&mut inner, actions);
        connection.leave_inherited(&mut inner, now);
        if inner.recovery.as_ref().is_some_and(|recovery| recovery.write_at() <= now) {
            connection.write_session(&mut inner);
        }
        pings
    }

    /// When [`tick`](Self::tick) has something to do, in milliseconds of the hub's clock.
    pub(super) fn next_tick(&self) -> u64 {
        let inner = self.0.lock();
        let of_recovery = |recovery: &Recovery| recovery.leave_at().min(recovery.write_at());
        let of_recovery = inner.recovery.as_deref().map_or(u64::MAX, of_recovery);
        inner.session.next_tick().min(of_recovery)
    }

    /// The connection has ended for this reason.
    pub(super) fn end(self, reason: DisconnectReason) {
        self.0.end(reason);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.end(DisconnectReason::Lost);
    }
}

impl Inner {
    pub(super) fn app_id(&self) -> &Arc<str> {
        self.session.app().credentials.id()
    }

    pub(super) fn scoped(&self, channel: &ChannelName) -> ChannelName {
        ChannelName::scoped(self.app_id(), channel.as_str())
    }
}

impl PusherConnection {
    pub(super) const fn new(
        context: Arc<PusherContext>,
        handle: ConnectionHandle,
        session: Session,
        is_greeted: bool,
    ) -> Self {
        let inner = Inner { session, watching: None, recovery: None, is_greeted, has_left: false };
        Self { context, handle, inner: Mutex::new(inner) }
    }

    pub(super) fn channels(&self) -> &Channels {
        &self.context.channels
    }

    pub(super) fn perform(self: &Arc<Self>, inner: &mut Inner, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply(frame) => {
                    self.handle.push(&frame);
                }
                Action::Refuse(refusal) => {
                    record_refusal(self.channels().metrics(), inner.app_id(), self.handle.id(), &refusal);
                    self.handle.push(&refusal.frame());
                }
                Action::Pong(frame) => {
                    if let Some(recovery) = &mut inner.recovery {
                        recovery.on_ping(self.channels().clock());
                    }
                    self.handle.push(&frame);
                }
                Action::Ping => {
                    self.handle.push(&Frame::ping());
                }
                Action::Subscribe(subscribe) => self.subscribe(inner, subscribe),
                Action::Unsubscribe(unsubscribed) => self.unsubscribe(inner, &unsubscribed),
                Action::Publish(event) => self.publish(inner, event),
                Action::SignIn(user) => self.sign_in(inner, user),
                Action::Close(close) => {
                    self.handle.outbox().close(close);
                }
            }
        }
    }

    fn subscribe(self: &Arc<Self>, inner: &mut Inner, subscribe: Subscribe) {
        let Subscribe { channel, member, ticket, since } = subscribe;
        if let Some(since) = since {
            let new = || Box::new(Recovery::without_session());
            inner.recovery.get_or_insert_with(new).want(channel.name(), parse_since(&since));
        }
        let Some(member) = member else {
            let has_entered =
                inner.recovery.as_ref().is_some_and(|recovery| recovery.is_local(channel.name()));
            if !has_entered {
                self.channels().enter(inner.app_id(), channel.name());
            }
            return self.finish_subscribe(inner, &channel, ticket);
        };
        let completion = || self.completion(channel.clone(), ticket);
        let id = inner.session.socket_id();
        if let Err(error) = self.channels().join(inner.app_id(), channel.name(), id, member, completion) {
            self.fail_subscribe(inner, channel.name(), ticket, error);
        }
    }

    /// Continues a subscription that waited for the cluster or the broker.
    fn completion(self: &Arc<Self>, channel: Channel, ticket: Ticket) -> Completion {
        let connection = self.clone();
        Box::new(move |joined| {
            let mut inner = connection.lock();
            match joined {
                Ok(_) => connection.finish_subscribe(&mut inner, &channel, ticket),
                Err(error) => connection.fail_subscribe(&mut inner, channel.name(), ticket, error),
            }
        })
    }

    fn finish_subscribe(self: &Arc<Self>, inner: &mut Inner, channel: &Channel, ticket: Ticket) {
        if inner.session.is_closed() {
            return;
        }
        let app = inner.app_id().clone();
        let later = || self.completion(channel.clone(), ticket);
        let mut recovering = None;
        self.channels().attach(&app, channel.name(), later, |attachment| {
            self.attach(inner, ticket, attachment, &mut recovering)
        });
        if let Some(recovering) = recovering {
            self.recover(inner, recovering);
        }
    }

    fn fail_subscribe(
        self: &Arc<Self>,
        inner: &mut Inner,
        channel: &ChannelName,
        ticket: Ticket,
        error: JoinError,
    ) {
        if !inner.session.is_joining(channel, ticket) {
            // The client has ended this subscription, and may have begun another one.
            return;
        }
        let has_session = inner.recovery.as_ref().is_some_and(|recovery| recovery.key().is_some());
        let error = match error {
            JoinError::Full(limit) => SubscriptionError::ChannelFull(limit),
            JoinError::Unavailable if has_session => {
                // The session keeps what it needs to resume the subscription then.
                self.handle.outbox().close(&close::UNAVAILABLE);
                return;
            }
            JoinError::Unavailable => SubscriptionError::Unavailable,
        };
        if let Some(recovery) = &mut inner.recovery {
            recovery.take_wanted(channel);
        }
        let actions = inner.session.join_failed(channel, ticket, error);
        self.perform(inner, actions);
    }

    /// Sends the reply, then subscribes, so that later events follow the reply. Returns whether the client still wants the
    /// subscription.
    fn attach(
        &self,
        inner: &mut Inner,
        ticket: Ticket,
        attachment: Attachment,
        recovering: &mut Option<Recovering>,
    ) -> bool {
        let Attachment { channel, members, last_event } = attachment;
        if !inner.session.is_joining(&channel, ticket) {
            return false;
        }
        if self.begins_nowhere(inner, &channel) {
            self.handle.outbox().close(&close::UNAVAILABLE);
            return false;
        }
        let position;
        (*recovering, position) = self.begin_recovery(inner, &channel, ticket);
        let joined = Joined { members, cached: last_event, position };
        let mut actions = inner.session.joined(&channel, ticket, &joined);
        if let Some(recovering) = recovering {
            recovering.withhold_cached(&mut actions);
        }
        let scoped = inner.scoped(&channel);
        for action in actions {
            if let Action::Reply(frame) = action {
                self.handle.push(&frame);
            }
        }
        self.handle.join(&scoped, recovering.is_some());
        if recovering.is_none() {
            self.tell_lost_session(inner, &channel);
        }
        if recovering.is_none()
            && let Some(recovery) = &mut inner.recovery
            && recovery.sent(&channel, ticket).is_some()
            && let Some((progress, ticket)) = recovery.progress()
        {
            self.handle.track(ticket, progress);
        }
        if inner.recovery.is_some() {
            self.write_channels(inner, std::slice::from_ref(&channel));
        }
        self.channels().metrics().pusher_subscriptions.inc();
        tell_subscription(
            self.channels().metrics(),
            TailKind::Subscribed,
            &inner.session,
            self.handle.id(),
            &channel,
        );
        true
    }

    fn publish(&self, inner: &Inner, event: ClientEvent) {
        let app = inner.app_id().clone();
        let broadcast = Broadcast {
            app: app.clone(),
            channels: vec![event.channel.name().clone()],
            event: event.event,
            data: event.data,
            except: Some(inner.session.socket_id()),
            user_id: event.user_id,
            trace: None,
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
                let refusal = Refusal::Message(RejectReason::Unavailable);
                record_refusal(metrics, &app, handle.id(), &refusal);
                handle.push(&refusal.frame());
            }
        });
    }

    /// Closes the connection before it has a session.
    pub(super) fn refuse(&self, close: &'static Close) {
        self.handle.outbox().close(close);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_small() {
        // With the two counts of its `Arc`, it takes an allocation of 192 bytes.
        assert!(size_of::<PusherConnection>() <= 176, "{}", size_of::<PusherConnection>());
    }
}
