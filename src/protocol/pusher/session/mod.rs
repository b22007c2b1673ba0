mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, ClientEvent, Joined, Subscribe, Ticket};
use super::apps::App;
use super::channel::{Access, Channel};
use super::incoming::Incoming;
use super::outgoing;
use super::refusal::{Fatal, Refusal, SubscriptionError};
use super::user::{User, parse_member};
use crate::message::{ChannelName, Frame, Member, Rate, SocketId, TokenBucket, UserId};
use subscriptions::{Subscription, Subscriptions};

/// One connection: what the client has asked for, and what it may. Does no I/O.
///
/// `now` is always in milliseconds, of a clock that never goes back.
#[derive(Debug)]
pub struct Session {
    app: Arc<App>,
    socket_id: SocketId,
    channels: Subscriptions,
    tickets: u32,
    /// Apart, for most connections never sign in.
    user: Option<Box<User>>,
    /// How many client events the connection may still send.
    allowance: TokenBucket,
    /// When the client last said anything; or, if it has not answered, when it was asked whether it is there.
    since: u64,
    is_asked: bool,
    /// When the connection is closed unless it has signed in or shown a signature for a channel by then.
    authorize_by: u64,
    is_closed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Joining(Ticket),
    Active,
}

impl Session {
    /// Starts a session with the frame that the client waits for.
    #[must_use]
    pub fn open(app: Arc<App>, socket_id: SocketId, now: u64) -> (Self, Frame) {
        let greeting = outgoing::connection_established(socket_id, app.rules.activity_timeout);
        let authorization_timeout = app.rules.authorization_timeout;
        let authorize_by = if authorization_timeout.is_zero() {
            u64::MAX
        } else {
            now.saturating_add(milliseconds(authorization_timeout))
        };
        let session = Self {
            allowance: client_event_rate(&app).map(|rate| rate.full_bucket(now)).unwrap_or_default(),
            app,
            socket_id,
            channels: Subscriptions::default(),
            tickets: 0,
            user: None,
            since: now,
            is_asked: false,
            authorize_by,
            is_closed: false,
        };
        (session, greeting)
    }

    /// Who is signed in.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_deref()
    }

    /// Whether it has ended, so that nothing comes of it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The channels that the connection is on, or on its way to.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().map(|subscription| &subscription.channel)
    }

    /// Takes so many of the channels off a session that has ended, or all where there are fewer.
    pub fn take_channels(&mut self, most: usize) -> Vec<Channel> {
        self.channels.take(most).into_iter().map(|subscription| subscription.channel).collect()
    }

    /// Takes a message of the client.
    pub fn receive(&mut self, message: &[u8], now: u64) -> Vec<Action> {
        if self.is_closed {
            return Vec::new();
        }
        self.heard(now);
        let actions = Incoming::decode(message).and_then(|incoming| self.act(incoming, now));
        actions.unwrap_or_else(|refusal| vec![Action::Reply(outgoing::refusal(&refusal))])
    }

    /// Something came from the client that is no message, such as the pong of WebSocket: it is there.
    pub fn heard(&mut self, now: u64) {
        self.since = self.since.max(now);
        self.is_asked = false;
    }

    /// Does what the time demands: asks a silent client whether it is there, closes when there is no answer.
    pub fn tick(&mut self, now: u64) -> Vec<Action> {
        if self.is_closed || now < self.next_tick() {
            return Vec::new();
        }
        if now >= self.authorize_by {
            return self.close(Fatal::NeverAuthorized);
        }
        if self.is_asked {
            return self.close(Fatal::PongTimeout);
        }
        self.is_asked = true;
        self.since = now;
        // Clients that answer the pings of WebSocket need not know the protocol's own.
        vec![Action::Ping, Action::Reply(outgoing::ping())]
    }

    /// When [`tick`](Self::tick) has something to do, if nothing is heard before.
    #[must_use]
    pub fn next_tick(&self) -> u64 {
        let rules = &self.app.rules;
        let wait = if self.is_asked { rules.pong_timeout } else { rules.activity_timeout };
        self.since.saturating_add(milliseconds(wait)).min(self.authorize_by)
    }

    /// The connection is on the channel. The frames must reach the client before any event of the channel that is
    /// later than what `joined` tells. The text of `name` is shared from now on.
    pub fn joined(&mut self, name: &ChannelName, ticket: Ticket, joined: &Joined) -> Vec<Action> {
        let Some(subscription) = self.joining(name, ticket) else { return Vec::new() };
        subscription.state = State::Active;
        subscription.channel.share(name);
        let channel = &subscription.channel;
        let mut actions = vec![Action::Reply(if channel.is_presence() {
            outgoing::presence_succeeded(name.as_str(), &joined.members)
        } else {
            outgoing::subscription_succeeded(name.as_str())
        })];
        if channel.is_cache() {
            let last = joined.cached.clone().unwrap_or_else(|| outgoing::cache_miss(name.as_str()));
            actions.push(Action::Reply(last));
        }
        actions
    }

    /// The connection could not be put on the channel.
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
        vec![Action::Reply(outgoing::subscription_error(name.as_str(), error))]
    }

    /// The connection is gone: nobody is left to be told anything.
    pub fn abandon(&mut self) {
        self.is_closed = true;
    }

    /// Ends the session: the client is told why, then the socket is closed.
    pub fn close(&mut self, fatal: Fatal) -> Vec<Action> {
        if self.is_closed {
            return Vec::new();
        }
        self.is_closed = true;
        vec![Action::Reply(outgoing::fatal(fatal)), Action::Close(fatal.close())]
    }

    fn joining(&mut self, name: &ChannelName, ticket: Ticket) -> Option<&mut Subscription> {
        if self.is_closed {
            return None;
        }
        self.channels.get_mut(name).filter(|subscription| subscription.state == State::Joining(ticket))
    }

    fn act(&mut self, incoming: Incoming<'_>, now: u64) -> Result<Vec<Action>, Refusal> {
        match incoming {
            Incoming::Ping => Ok(vec![Action::Reply(outgoing::pong())]),
            Incoming::Pong => Ok(Vec::new()),
            Incoming::Subscribe { channel, auth, channel_data } => {
                self.subscribe(&channel, auth.as_deref(), channel_data.as_deref())
            }
            Incoming::Unsubscribe { channel } => Ok(self.unsubscribe(&channel)),
            Incoming::SignIn { auth, user_data } => self.sign_in(&auth, &user_data),
            Incoming::ClientEvent { event, channel, data } => {
                self.client_event(&event, &channel, &data, now).map(|event| vec![Action::Publish(event)])
            }
        }
    }

    fn subscribe(
        &mut self,
        name: &str,
        auth: Option<&str>,
        channel_data: Option<&str>,
    ) -> Result<Vec<Action>, Refusal> {
        let refused = |error| Ok(vec![Action::Reply(outgoing::subscription_error(name, error))]);
        let channel = match Channel::new(name, self.app.rules.channel_name_length) {
            Ok(channel) => channel,
            Err(error) => return refused(error.into()),
        };
        if self.channels.get(channel.name()).is_some() {
            return Err(Refusal::AlreadySubscribed(name.to_owned()));
        }
        let member = match self.permit(&channel, auth, channel_data) {
            Ok(member) => member,
            Err(error) => return refused(error),
        };
        if channel.access() != Access::Public {
            self.authorize_by = u64::MAX;
        }
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        let subscription = Subscription {
            channel: channel.clone(),
            user_id: member.as_ref().map(|member| Box::new(member.user_id.clone())),
            state: State::Joining(ticket),
        };
        self.channels.add(subscription);
        Ok(vec![Action::Subscribe(Subscribe { channel, member, ticket })])
    }

    /// Whether the connection may join, and as whom.
    fn permit(
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
        // Who has signed in need not be named once more.
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
        subscription.map(|subscription| Action::Unsubscribe(subscription.channel)).into_iter().collect()
    }

    fn sign_in(&mut self, auth: &str, user_data: &str) -> Result<Vec<Action>, Refusal> {
        if self.app.credentials.verify_user(auth, &self.socket_id.to_string(), user_data).is_err() {
            return Ok(self.close(Fatal::Unauthorized));
        }
        let user = User::parse(user_data).map_err(Refusal::InvalidUser)?;
        match &self.user {
            Some(before) if before.id != user.id => Err(Refusal::SignedInAsAnother),
            Some(before) => Ok(vec![Action::Reply(outgoing::signin_success(&before.data))]),
            None => {
                self.authorize_by = u64::MAX;
                self.user = Some(Box::new(user.clone()));
                let success = outgoing::signin_success(&user.data);
                let is_cut = user.is_watchlist_cut;
                let mut actions = vec![Action::SignIn(user), Action::Reply(success)];
                if is_cut {
                    actions.push(Action::Reply(outgoing::refusal(&Refusal::WatchlistTooLong)));
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
    ) -> Result<ClientEvent, Refusal> {
        let rules = &self.app.rules;
        if !rules.client_events {
            return Err(Refusal::ClientEventsDisabled);
        }
        let name = ChannelName::new(channel).map_err(|_| Refusal::NotSubscribed)?;
        let subscription =
            self.channels.get(&name).filter(|subscription| subscription.state == State::Active);
        let subscription = subscription.ok_or(Refusal::NotSubscribed)?;
        if !subscription.channel.allows_client_events() {
            return Err(Refusal::ChannelTakesNone);
        }
        if event.chars().count() > rules.event_name_length {
            return Err(Refusal::EventTooLong(rules.event_name_length));
        }
        if data.len() > rules.event_bytes {
            return Err(Refusal::DataTooLarge(rules.event_bytes));
        }
        if client_event_rate(&self.app).is_some_and(|rate| !self.allowance.take(rate, now)) {
            return Err(Refusal::RateLimited(rules.client_events_per_second));
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
