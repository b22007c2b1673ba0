//! What arrives by the broker, in its order: to the subscribers of this node, and into its view.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::names::{USERS, is_told, watched};
use super::peer::Peer;
use super::said::{CachedEvent, Heard, NumberedChange, Said, Statement};
use super::state::TURN;
use super::waiting::{Joining, Purpose};
use super::{Cluster, names, said};
use crate::broker::SubscriptionId;
use crate::history::{Kept, Knowledge};
use crate::message::{Audience, ChannelName, Member, UserId};
use crate::presence::{Change, NodeName, Transition};
use crate::protocol::pusher::{
    App, Broadcast, CLIENT_PREFIX, Channel, Fatal, InvalidBroadcast, SubscriptionError, outgoing,
};
use crate::telemetry::Reason;
use crate::webhooks::WebhookEvent;

/// Who speaks to webhooks of what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// This node.
    Own,
    /// Another node.
    Others,
    /// Nobody: it is not new, this node has only now heard of it.
    Old,
}

impl News {
    pub(super) fn of(speaks: bool) -> Self {
        if speaks { Self::Own } else { Self::Others }
    }
}

impl Cluster {
    /// Takes a signal. Whether it was for the cluster. `hold` is its share of the broker's budget.
    pub fn hear(&self, signal: &Bytes, hold: OwnedSemaphorePermit) -> bool {
        match said::decode(signal) {
            Some(Heard::Broadcast(event)) => self.deliver(&event, hold, false),
            Some(Heard::Statement(statement)) => self.hear_node(statement),
            None => return false,
        }
        true
    }

    /// Takes the broker's word that it hears a channel's topic now. Who waited for it is on the channel: what is
    /// published there after the answer comes to it.
    pub fn listens(&self, listening: &SubscriptionId) {
        let Ok(name) = ChannelName::new(&listening.topic) else { return };
        let awaited = {
            let mut state = self.state();
            let is_it = state.awaited.get(&name).is_some_and(|awaited| awaited.number == listening.number);
            if is_it { state.unawait(&name) } else { None }
        };
        for (peer, channel, ticket) in awaited.into_iter().flat_map(|awaited| awaited.waiting) {
            peer.listens(&channel, ticket);
        }
    }

    /// Takes what Laravel's `redis` broadcaster published on a channel. Every node hears it by itself.
    pub fn hear_topic(&self, topic: &str, payload: &Bytes, hold: OwnedSemaphorePermit) {
        let Some(app) = self.apps.first() else { return };
        let Ok(channel) = ChannelName::new(topic) else { return };
        match Broadcast::from_laravel(app.credentials.id(), &channel, payload) {
            Ok(Some(event)) if event.data.len() > app.rules.event_bytes => {
                self.dropped(&channel, "too_large");
            }
            Ok(Some(event)) => self.deliver(&event, hold, true),
            Ok(None) => self.dropped(&channel, "empty"),
            Err(error) => {
                tracing::debug!(channel = channel.as_str(), %error, "not what Laravel publishes");
                let is_reserved = error == InvalidBroadcast::Reserved;
                self.dropped(&channel, if is_reserved { "reserved_event" } else { "invalid_event" });
            }
        }
    }

    fn dropped(&self, channel: &ChannelName, reason: &'static str) {
        self.metrics.broker_dropped.get_or_create(&Reason::new(reason)).inc();
        tracing::warn!(channel = channel.as_str(), reason, "message dropped");
    }

    /// To all subscribers on this node, encoded once a channel.
    fn deliver(&self, event: &Broadcast, mut hold: OwnedSemaphorePermit, by_topic: bool) {
        self.metrics.pusher_events.inc();
        let except = event.except.and_then(|socket| self.socket_ids.connection(socket));
        let audience = except.map_or(Audience::Everyone, Audience::Except);
        charge(&mut hold, event);
        let share = hold.num_permits() / event.channels.len().max(1);
        for channel in &event.channels {
            let hold = hold.split(share);
            let scoped = ChannelName::scoped(&event.app, channel.as_str());
            let encode = || {
                let frame = event.frame(channel);
                if frame.bytes().len() > self.hub.outbox_bytes() {
                    self.dropped(channel, "too_large");
                    return None;
                }
                Some(frame)
            };
            // A topic may have been given up since: the next event there would be missed.
            let is_last = !by_topic || self.broker.is_subscribed(channel.as_str());
            let is_kept = is_last && is_cache(channel) && !event.event.starts_with(CLIENT_PREFIX);
            if !is_kept {
                self.hub.publish(&scoped, hold, || encode().map(|frame| (audience.clone(), frame)));
                continue;
            }
            let Some(frame) = encode() else { continue };
            let (name, data) = (event.event.clone(), event.data.clone());
            let kept = Kept { event: name, data, frame: frame.clone(), at: self.cache_now(), by_topic };
            // Who subscribes meanwhile gets it either from the cache or from the hub.
            let mut state = self.state();
            if let Some(state) = state.apps.get_mut(&event.app) {
                state.cache.keep(channel, kept);
            }
            self.hub.publish(&scoped, hold, || Some((audience.clone(), frame)));
        }
    }

    fn hear_node(&self, Statement { node, since, said }: Statement) {
        let is_own = node == self.node;
        if let Said::Gone = said {
            if is_own {
                self.farewell_came_back();
            } else {
                self.node_gone(&node, since);
            }
            return;
        }
        {
            let (now, mut state) = (self.now(), self.state());
            if state.has_left
                || !state.heard(&node, since, matches!(said, Said::Everything { .. } | Said::Portion { .. }))
            {
                return;
            }
            if is_own {
                state.echo = now;
                self.echoed.notify_one();
            }
        }
        match said {
            Said::Alive | Said::Gone => {}
            Said::Ask => {
                let (now, mut state) = (self.now(), self.state());
                state.due.everything = true;
                state.asked_for_caches(&node, now);
            }
            Said::Changes(changes) => {
                for change in changes {
                    self.change(&node, change, is_own);
                }
            }
            Said::Everything { number, apps } => self.portion(&node, (number, 0, 1), apps, is_own),
            Said::Portion { number, index, of, apps } => {
                self.portion(&node, (number, index, of), apps, is_own);
            }
            Said::Cached(events) => {
                if !is_own {
                    self.fill_cache(events);
                }
            }
            Said::Terminate { app, user } => self.end_user(&app, &user),
        }
        self.wake.notify_one();
    }

    fn change(&self, node: &NodeName, change: NumberedChange, is_own: bool) {
        let NumberedChange { app, number, channel, change } = change;
        let Some(name) = names::read(&channel) else { return };
        let telling = self.telling();
        let mut state = self.state();
        let time = state.time;
        let joining = if is_own { state.joining.remove(&number) } else { None };
        let Some(app_state) = state.apps.get_mut(&app) else { return };
        // One text for what is on this node, too.
        let name = app_state.local.get_key_value(&name).map_or(name, |(name, _)| name.clone());
        let is_count = matches!(change, Change::Count(_));
        let transitions = app_state.view.change(node, number, &name, change, time);
        // The newcomers hear a change as everybody does.
        let is_waited_for = is_own && is_count && app_state.newcomers.remove(&name) && transitions.is_empty();
        let count = app_state.view.connections(&name);
        let is_new = transitions.iter().any(|transition| matches!(transition, Transition::MemberAdded(..)));
        let app = app_state.app.clone();
        let speaks = state.is_speaker();
        drop(state);
        self.tell(&app, transitions, News::of(speaks));
        if is_waited_for {
            self.tell_count_now(&app, &name, count);
        }
        drop(telling);
        if let Some(Joining { peer, purpose }) = joining {
            self.came_back(&app, number, &peer, purpose, is_new);
        }
    }

    /// A join of this node has come back: everybody knows it now. `is_new`: it is a user's first one, as far as is known.
    pub(super) fn came_back(&self, app: &App, number: u64, peer: &Arc<Peer>, purpose: Purpose, is_new: bool) {
        let id = app.credentials.id();
        match purpose {
            Purpose::SignIn(user) => {
                let online: Vec<UserId> = {
                    let state = self.state();
                    let Some(state) = state.apps.get(id) else { return };
                    let watched = user.watchlist.iter();
                    watched.filter(|user| state.view.is_member(&USERS, user)).cloned().collect()
                };
                peer.signed_in(&user, &online);
            }
            Purpose::Channel { channel, ticket } => {
                let name = channel.name();
                let members = self.state().apps.get(id).map_or(0, |state| state.view.member_count(name));
                let limit = app.rules.presence_members;
                if is_new && members > limit {
                    // Two nodes let the last one in at the same time. Who came back later goes again.
                    self.exit(id, name, peer.id(), Some(number));
                    peer.join_failed(name, ticket, SubscriptionError::ChannelFull(limit));
                    return;
                }
                peer.joined(&channel, ticket);
            }
        }
    }

    fn fill_cache(&self, events: Vec<CachedEvent>) {
        let now = self.cache_now();
        let mut state = self.state();
        // Another one speaks: what it has not said yet need not be said by this node.
        let turn = self.now() + TURN;
        state.cache_turn = state.cache_turn.map(|own| own.max(turn));
        for CachedEvent { app, channel, event, data, age, by_topic, version, certain } in events {
            if by_topic && !self.broker.is_subscribed(&channel) {
                continue;
            }
            let (Some(state), Ok(name)) = (state.apps.get_mut(&app), ChannelName::new(&channel)) else {
                continue;
            };
            let at = now.saturating_sub(age);
            let frame = outgoing::channel_event(&channel, &event, &data, None);
            let kept = Kept { event, data, frame, at, by_topic };
            state.cache.fill(&name, kept, Knowledge { version, certain });
        }
    }

    fn end_user(&self, app: &str, user: &UserId) {
        let peers: Vec<Arc<Peer>> = {
            let state = self.state();
            state.apps.get(app).map_or_else(Vec::new, |state| state.users.values().cloned().collect())
        };
        for peer in peers.into_iter().filter(|peer| peer.is_user(user)) {
            peer.close(Fatal::Unauthorized);
        }
    }

    /// Tells the subscribers of this node what has changed, and the webhooks if this node is to.
    ///
    /// A member's own connections hear nothing of it: the first one is subscribed only after this, and where one is
    /// already, the user was a member before.
    pub(super) fn tell(&self, app: &App, transitions: Vec<Transition>, news: News) {
        let id = app.credentials.id();
        for transition in transitions {
            let webhook = match transition {
                Transition::Occupied(channel) => {
                    is_told(&channel).then_some(WebhookEvent::ChannelOccupied { channel })
                }
                Transition::Vacated(channel) => {
                    is_told(&channel).then_some(WebhookEvent::ChannelVacated { channel })
                }
                Transition::MemberAdded(channel, member) => self.member_added(id, channel, &member),
                Transition::MemberRemoved(channel, user_id) => self.member_removed(id, channel, user_id),
                Transition::Count(channel, count) => self.counted(app, channel, count),
            };
            let Some(webhook) = webhook else { continue };
            match news {
                News::Own => self.tell_webhooks(id, webhook),
                News::Others if self.webhooks.has(id) => {
                    let mut state = self.state();
                    let time = state.time;
                    state.takeover.remember(time, id, webhook);
                }
                News::Others | News::Old => {}
            }
        }
    }

    fn member_added(&self, app: &str, channel: ChannelName, member: &Member) -> Option<WebhookEvent> {
        let user_id = member.user_id.clone();
        if channel == *USERS {
            let scoped = watched(app, &user_id);
            let online = || Some((Audience::Everyone, outgoing::watchlist_events(&[user_id], &[])));
            self.hub.publish(&scoped, None, online);
            return None;
        }
        let scoped = ChannelName::scoped(app, channel.as_str());
        let frame = || Some((Audience::Everyone, outgoing::member_added(channel.as_str(), member)));
        self.hub.publish(&scoped, None, frame);
        Some(WebhookEvent::MemberAdded { channel, user_id })
    }

    fn member_removed(&self, app: &str, channel: ChannelName, user_id: UserId) -> Option<WebhookEvent> {
        if channel == *USERS {
            let scoped = watched(app, &user_id);
            let offline = || Some((Audience::Everyone, outgoing::watchlist_events(&[], &[user_id])));
            self.hub.publish(&scoped, None, offline);
            return None;
        }
        let scoped = ChannelName::scoped(app, channel.as_str());
        let frame = || Some((Audience::Everyone, outgoing::member_removed(channel.as_str(), &user_id)));
        self.hub.publish(&scoped, None, frame);
        Some(WebhookEvent::MemberRemoved { channel, user_id })
    }
}

/// Takes the room of all its frames: each channel has one with its own copy of the data. Nobody can wait for room here; where
/// there is not enough left, the broker lets nothing in until there is.
fn charge(hold: &mut OwnedSemaphorePermit, event: &Broadcast) {
    let copies = event.channels.len().saturating_sub(1);
    if copies == 0 {
        return;
    }
    let budget = hold.semaphore().clone();
    let wanted = copies.saturating_mul(event.data.len()).min(budget.available_permits());
    let more = u32::try_from(wanted).ok().and_then(|wanted| budget.try_acquire_many_owned(wanted).ok());
    if let Some(more) = more {
        hold.merge(more);
    }
}

fn is_cache(name: &ChannelName) -> bool {
    Channel::new(name.as_str(), ChannelName::MAX_BYTES).is_ok_and(|channel| channel.is_cache())
}
