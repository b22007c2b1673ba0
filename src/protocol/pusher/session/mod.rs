mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, ClientEvent, Joined, Refusal, Subscribe, Ticket, Unsubscribed};
use super::apps::App;
use super::channel::{Access, Channel};
use super::client_message::ClientMessage;
use super::reject_reason::{Fatal, RejectReason, SubscriptionError};
use super::server_message;
use super::user::{User, parse_member};
use crate::message::{ChannelName, Frame, Member, Rate, SocketId, TokenBucket, UserId};
use subscriptions::{SessionSubscription, Subscriptions};

/// The state machine of one connection. It does no I/O: each method returns the actions to perform.
///
/// `now` is in milliseconds of a monotonic clock.
#[derive(Debug)]
pub struct Session {
    app: Arc<App>,
    socket_id: SocketId,
    channels: Subscriptions,
    last_ticket: u32,
    /// Boxed, because most connections never sign in.
    user: Option<Box<User>>,
    /// Limits the rate of client events.
    client_event_bucket: TokenBucket,
    /// When the client last sent anything, or, while the session awaits a pong, when it sent the ping.
    since: u64,
    awaits_pong: bool,
    /// The deadline to sign in or to subscribe to a channel that needs a signature. `u64::MAX`: none, or already authorized.
    authorize_by: u64,
    is_closed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum SubscriptionState {
    Joining(Ticket),
    Active,
}

impl Session {
    /// Starts a session. Also returns the first frame, which the client waits for.
    #[must_use]
    pub fn open(app: Arc<App>, socket_id: SocketId, now: u64) -> (Self, Frame) {
        let greeting = server_message::connection_established(socket_id, app.rules.activity_timeout);
        let authorization_timeout = app.rules.authorization_timeout;
        let authorize_by = if authorization_timeout.is_zero() {
            u64::MAX
        } else {
            now.saturating_add(milliseconds(authorization_timeout))
        };
        let session = Self {
            client_event_bucket: client_event_rate(&app)
                .map(|rate| rate.full_bucket(now))
                .unwrap_or_default(),
            app,
            socket_id,
            channels: Subscriptions::default(),
            last_ticket: 0,
            user: None,
            since: now,
            awaits_pong: false,
            authorize_by,
            is_closed: false,
        };
        (session, greeting)
    }

    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The connection's name in the cluster, as its client knows it.
    #[must_use]
    pub const fn socket_id(&self) -> SocketId {
        self.socket_id
    }

    /// The user of a signed-in connection.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_deref()
    }

    /// Whether the session has ended. It then returns no further actions.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The channels of all active and pending subscriptions.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().map(|subscription| &subscription.channel)
    }

    /// The channels of active subscriptions.
    pub fn active_channels(&self) -> impl Iterator<Item = &Channel> {
        let active = self.channels.iter().filter(|of| of.state == SubscriptionState::Active);
        active.map(|subscription| &subscription.channel)
    }

    /// Removes and returns at most `most` channels. The caller uses it to leave the channels of an ended session in portions.
    pub fn take_channels(&mut self, most: usize) -> Vec<Unsubscribed> {
        self.channels.take(most).into_iter().map(Unsubscribed::from).collect()
    }

    /// Handles a message of the client.
    pub fn receive(&mut self, message: &[u8], now: u64) -> Vec<Action> {
        if self.is_closed {
            return Vec::new();
        }
        self.record_activity(now);
        let actions = ClientMessage::decode(message).and_then(|message| self.handle(message, now));
        actions.unwrap_or_else(|reason| vec![Action::Refuse(Refusal::Message(reason))])
    }

    /// Records that the client is alive. Also called for input that is not a message, such as a WebSocket pong.
    pub fn record_activity(&mut self, now: u64) {
        self.since = self.since.max(now);
        self.awaits_pong = false;
    }

    /// Handles timeouts: pings a silent client, and closes a connection that did not answer or did not authorize in time.
    pub fn tick(&mut self, now: u64) -> Vec<Action> {
        if self.is_closed || now < self.next_tick() {
            return Vec::new();
        }
        if now >= self.authorize_by {
            return self.close(Fatal::NeverAuthorized);
        }
        if self.awaits_pong {
            return self.close(Fatal::PongTimeout);
        }
        self.awaits_pong = true;
        self.since = now;
        // Sends both, because a client that answers WebSocket pings may not know `pusher:ping`.
        vec![Action::Ping, Action::Reply(server_message::ping())]
    }

    /// When to call [`tick`](Self::tick) next. Activity of the client postpones it, but not beyond the deadline to authorize.
    #[must_use]
    pub fn next_tick(&self) -> u64 {
        let rules = &self.app.rules;
        let wait = if self.awaits_pong { rules.pong_timeout } else { rules.activity_timeout };
        self.since.saturating_add(milliseconds(wait)).min(self.authorize_by)
    }

    /// Completes a subscription. The client must receive the frames before any event of the channel that is newer than
    /// `joined`. The session keeps `name` in place of its own copy, so that all subscribers share one allocation.
    pub fn joined(&mut self, name: &ChannelName, ticket: Ticket, joined: &Joined) -> Vec<Action> {
        let Some(subscription) = self.joining(name, ticket) else { return Vec::new() };
        subscription.state = SubscriptionState::Active;
        subscription.channel.share(name);
        let channel = &subscription.channel;
        let mut actions = vec![Action::Reply(if channel.is_presence() {
            server_message::presence_succeeded(name.as_str(), &joined.members, joined.position.as_deref())
        } else {
            server_message::subscription_succeeded(name.as_str(), joined.position.as_deref())
        })];
        if channel.is_cache() {
            let last = joined.cached.clone().unwrap_or_else(|| server_message::cache_miss(name.as_str()));
            actions.push(Action::Reply(last));
        }
        actions
    }

    /// Ends a pending subscription that failed.
    pub fn join_failed(
        &mut self,
        name: &ChannelName,
        ticket: Ticket,
        error: SubscriptionError,
    ) -> Vec<Action> {
        if self.joining(name, ticket).is_none() {
            return Vec::new();
        }
        self.channels.remove(name);
        vec![Action::Refuse(Refusal::Subscription(name.as_str().into(), error))]
    }

    /// Ends the session without frames, because the connection is already gone.
    pub fn abandon(&mut self) {
        self.is_closed = true;
    }

    /// Ends the session: reports the reason to the client and closes the connection.
    pub fn close(&mut self, fatal: Fatal) -> Vec<Action> {
        if self.is_closed {
            return Vec::new();
        }
        self.is_closed = true;
        vec![Action::Reply(server_message::fatal(fatal)), Action::Close(fatal.close())]
    }

    /// Whether this attempt to subscribe is still pending.
    #[must_use]
    pub fn is_joining(&self, name: &ChannelName, ticket: Ticket) -> bool {
        let subscription = self.channels.get(name).filter(|_| !self.is_closed);
        subscription.is_some_and(|subscription| subscription.state == SubscriptionState::Joining(ticket))
    }

    fn joining(&mut self, name: &ChannelName, ticket: Ticket) -> Option<&mut SessionSubscription> {
        if self.is_closed {
            return None;
        }
        self.channels
            .get_mut(name)
            .filter(|subscription| subscription.state == SubscriptionState::Joining(ticket))
    }

    fn handle(&mut self, message: ClientMessage<'_>, now: u64) -> Result<Vec<Action>, RejectReason> {
        match message {
            ClientMessage::Ping => Ok(vec![Action::Pong(server_message::pong())]),
            ClientMessage::Pong => Ok(Vec::new()),
            ClientMessage::Subscribe { channel, auth, channel_data, since } => {
                self.subscribe(&channel, auth.as_deref(), channel_data.as_deref(), since.as_deref())
            }
            ClientMessage::Unsubscribe { channel } => Ok(self.unsubscribe(&channel)),
            ClientMessage::SignIn { auth, user_data } => self.sign_in(&auth, &user_data),
            ClientMessage::ClientEvent { event, channel, data } => {
                self.client_event(&event, &channel, &data, now).map(|event| vec![Action::Publish(event)])
            }
        }
    }

    fn subscribe(
        &mut self,
        name: &str,
        auth: Option<&str>,
        channel_data: Option<&str>,
        since: Option<&str>,
    ) -> Result<Vec<Action>, RejectReason> {
        let reject = |error| Ok(vec![Action::Refuse(Refusal::Subscription(name.into(), error))]);
        let channel = match Channel::new(name, self.app.rules.channel_name_length) {
            Ok(channel) => channel,
            Err(error) => return reject(error.into()),
        };
        if self.channels.get(channel.name()).is_some() {
            return Err(RejectReason::AlreadySubscribed(name.to_owned()));
        }
        let member = match self.authorize(&channel, auth, channel_data) {
            Ok(member) => member,
            Err(error) => return reject(error),
        };
        if channel.access() != Access::Public {
            self.authorize_by = u64::MAX;
        }
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let ticket = Ticket(self.last_ticket);
        let subscription = SessionSubscription {
            channel: channel.clone(),
            user_id: member.as_ref().map(|member| Box::new(member.user_id.clone())),
            state: SubscriptionState::Joining(ticket),
        };
        self.channels.add(subscription);
        Ok(vec![Action::Subscribe(Subscribe { channel, member, ticket, since: since.map(Box::from) })])
    }

    /// Checks whether the connection may subscribe. Returns the member that joins a presence channel.
    fn authorize(
        &self,
        channel: &Channel,
        auth: Option<&str>,
        channel_data: Option<&str>,
    ) -> Result<Option<Member>, SubscriptionError> {
        let rules = &self.app.rules;
        let limit = rules.channels_per_connection;
        if limit > 0 && self.channels.len() >= limit {
            return Err(SubscriptionError::TooManyChannels(limit));
        }
        match channel.access() {
            Access::Public => return Ok(None),
            Access::User => {
                let owner = self.user.as_ref().map(|user| user.id.to_text());
                let is_owner = owner.is_some() && owner.as_deref() == channel.user_id();
                return if is_owner { Ok(None) } else { Err(SubscriptionError::NotThisUser) };
            }
            Access::Private | Access::Presence | Access::Encrypted => {}
        }
        let (socket_id, name) = (self.socket_id.to_string(), channel.name().as_str());
        self.app.credentials.verify_channel(auth.unwrap_or_default(), &socket_id, name, channel_data)?;
        if !channel.is_presence() {
            return Ok(None);
        }
        // A signed-in user is the default member.
        let member = match (channel_data, &self.user) {
            (None, Some(user)) if user.data.len() <= rules.presence_user_bytes => user.member(),
            (Some(data), _) if data.len() <= rules.presence_user_bytes => parse_member(data)?,
            (None, None) => parse_member("")?,
            _ => return Err(SubscriptionError::MemberTooLarge(rules.presence_user_bytes)),
        };
        Ok(Some(member))
    }

    fn unsubscribe(&mut self, name: &str) -> Vec<Action> {
        let Ok(name) = ChannelName::new(name) else { return Vec::new() };
        let subscription = self.channels.remove(&name);
        subscription.map(|subscription| Action::Unsubscribe(subscription.into())).into_iter().collect()
    }

    fn sign_in(&mut self, auth: &str, user_data: &str) -> Result<Vec<Action>, RejectReason> {
        if self.app.credentials.verify_user(auth, &self.socket_id.to_string(), user_data).is_err() {
            return Ok(self.close(Fatal::Unauthorized));
        }
        let user = User::parse(user_data).map_err(RejectReason::InvalidUser)?;
        match &self.user {
            Some(before) if before.id != user.id => Err(RejectReason::SignedInAsAnother),
            Some(before) => Ok(vec![Action::Reply(server_message::signin_success(&before.data))]),
            None => {
                self.authorize_by = u64::MAX;
                self.user = Some(Box::new(user.clone()));
                let success = server_message::signin_success(&user.data);
                let is_cut = user.is_watchlist_truncated;
                let mut actions = vec![Action::SignIn(user), Action::Reply(success)];
                if is_cut {
                    actions.push(Action::Reply(server_message::rejection(&RejectReason::WatchlistTooLong)));
                }
                Ok(actions)
            }
        }
    }

    fn client_event(
        &mut self,
        event: &str,
        channel: &str,
        data: &str,
        now: u64,
    ) -> Result<ClientEvent, RejectReason> {
        let rules = &self.app.rules;
        if !rules.client_events {
            return Err(RejectReason::ClientEventsDisabled);
        }
        let name = ChannelName::new(channel).map_err(|_| RejectReason::NotSubscribed)?;
        let subscription =
            self.channels.get(&name).filter(|subscription| subscription.state == SubscriptionState::Active);
        let subscription = subscription.ok_or(RejectReason::NotSubscribed)?;
        if !subscription.channel.allows_client_events() {
            return Err(RejectReason::ChannelTakesNone);
        }
        if event.chars().count() > rules.event_name_length {
            return Err(RejectReason::EventTooLong(rules.event_name_length));
        }
        if data.len() > rules.event_bytes {
            return Err(RejectReason::DataTooLarge(rules.event_bytes));
        }
        if client_event_rate(&self.app).is_some_and(|rate| !self.client_event_bucket.take(rate, now)) {
            return Err(RejectReason::RateLimited(rules.client_events_per_second));
        }
        Ok(ClientEvent {
            channel: subscription.channel.clone(),
            event: event.to_owned(),
            data: data.to_owned(),
            user_id: subscription.user_id.as_deref().cloned(),
        })
    }
}

fn client_event_rate(app: &App) -> Option<Rate> {
    let per_second = app.rules.client_events_per_second;
    Rate::new(per_second, per_second)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
