use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::kept_session::{KeptChannel, KeptSession};
use super::recovering::Recovering;
use crate::broker::StoreState;
use crate::history::Since;
use crate::hub::{ReadProgress, ReadProof};
use crate::message::{ChannelName, Frame, SocketId};
use crate::protocol::pusher::{SessionKey, Ticket};

/// What a connection with a session token has to remember so that a later one can resume its session.
#[derive(Debug)]
pub(super) struct Recovery {
    /// `None`: it has given no token, but positions of its own.
    key: Option<SessionKey>,
    /// When this connection got the session, in milliseconds of Unix time.
    claimed_at: u64,
    /// `None` without a session.
    progress: Option<Arc<ReadProgress>>,
    /// How far the client has read on all channels with a history, except those of `unproven`.
    read: Option<StoreState>,
    last_ticket: u32,
    /// Channels with a history that the client has subscribed to since it last proved what it has read.
    unproven: Vec<UnprovenChannel>,
    /// What the previous connection of the session has left, if the client has not taken all of it over yet.
    inherited: Option<Box<Inherited>>,
    /// Until then, in milliseconds of the hub's clock, the client may subscribe to channels on which it was before, although the
    /// session lacks them.
    lacks_channels_until: u64,
    /// `None`: no task sends what the client has missed.
    queued: Option<Box<Queue>>,
    /// Until then, in milliseconds of the hub's clock, the client subscribes to the channels of a session that has begun: those on which
    /// it was before, if its session has been lost.
    begins_until: u64,
    /// The positions that the client has sent with pending subscriptions. `None`: an unreadable one.
    wanted: Vec<(ChannelName, Option<Since>)>,
    /// When the session is written again for other nodes, in milliseconds of the hub's clock. `u64::MAX`: there are none.
    write_at: u64,
    /// Wait for the answer to a [challenge](Recovery::challenge).
    challengers: Vec<oneshot::Sender<()>>,
    /// When the client's last `pusher:ping` came, in milliseconds of the hub's clock.
    pinged_at: Option<u64>,
}

#[derive(Debug)]
struct UnprovenChannel {
    channel: ChannelName,
    subscription: Ticket,
    /// How far the client had read before. `None`: it is not known.
    since: Option<StoreState>,
    /// Up to there it has missed something for good, and has been told so.
    follows_gap: bool,
    /// `None`: what it has missed has not been sent yet.
    ticket: Option<u32>,
}

/// Subscriptions for which the store has to be read, or that are sent more than fits at once. One is served after the other: only what
/// one of them has missed is in memory, and a client that subscribes again and again waits only for itself.
#[derive(Debug, Default)]
struct Queue(VecDeque<Recovering>);

#[derive(Debug)]
struct Inherited {
    session: KeptSession,
    /// When the channels are left that the client has not subscribed to again, in milliseconds of the hub's clock.
    leave_at: u64,
}

impl UnprovenChannel {
    fn is(&self, channel: &ChannelName, subscription: Ticket) -> bool {
        self.subscription == subscription && self.channel == *channel
    }

    /// Whether a client that has read everything up to this ticket and this number has read what it has been sent on the channel.
    fn is_proven(&self, ticket: u32, read: StoreState) -> bool {
        let is_sent = self.ticket.is_some_and(|own| ticket.wrapping_sub(own) <= u32::MAX / 2);
        // A client that subscribes while the node reads what it has missed begins further than the node has delivered: what comes
        // before that is not to be sent to it later.
        let is_ahead =
            self.since.is_some_and(|since| since.store == read.store && since.number > read.number);
        is_sent && !is_ahead
    }
}

/// How long a client may take to subscribe again to the channels of its session, in milliseconds. Each one may take a call to the
/// application.
const SUBSCRIBE_WITHIN: u64 = 30_000;

/// How soon the close of a client follows its `pusher:ping` if both were held up on their way, in milliseconds. pusher-js sends them
/// `pongTimeout` apart, 30 seconds by default.
const HELD_UP_WITHIN: u64 = 1_000;

/// The payload of the ping that a connection must answer to keep its session.
const CHALLENGE: &[u8] = b"elder";

impl Recovery {
    /// Of a client that has given no token, but positions of its own.
    pub(super) fn without_session() -> Self {
        Self::new(None, 0, None, 0)
    }

    /// Of a new session, or one that is resumed, which this connection has claimed at this time.
    pub(super) fn of_session(
        key: SessionKey,
        id: SocketId,
        claimed_at: u64,
        resumed: Option<KeptSession>,
        now: u64,
    ) -> Self {
        let progress = Some(Arc::new(ReadProgress::new(id)));
        Self { progress, ..Self::new(Some(key), claimed_at, resumed, now) }
    }

    fn new(key: Option<SessionKey>, claimed_at: u64, resumed: Option<KeptSession>, now: u64) -> Self {
        let may_lack = resumed.as_ref().is_some_and(|session| session.may_lack_channels);
        let lacks_channels_until = if may_lack { now + SUBSCRIBE_WITHIN } else { 0 };
        let begins_until = if key.is_some() && resumed.is_none() { now + SUBSCRIBE_WITHIN } else { 0 };
        let inherited = resumed.map(|session| Inherited { session, leave_at: now + SUBSCRIBE_WITHIN });
        let inherited = inherited.map(Box::new);
        Self {
            key,
            claimed_at,
            progress: None,
            read: None,
            last_ticket: 0,
            unproven: Vec::new(),
            inherited,
            lacks_channels_until,
            queued: None,
            begins_until,
            wanted: Vec::new(),
            write_at: u64::MAX,
            challengers: Vec::new(),
            pinged_at: None,
        }
    }

    pub(super) const fn key(&self) -> Option<SessionKey> {
        self.key
    }

    pub(super) const fn claimed_at(&self) -> u64 {
        self.claimed_at
    }

    /// A `pusher:ping` of the client has come.
    pub(super) const fn on_ping(&mut self, now: u64) {
        self.pinged_at = Some(now);
    }

    /// Whether a client that closes its connection now does so because its line stood still and it got no `pusher:pong`. It connects
    /// again. Its ping and its close arrive together as soon as the line works.
    pub(super) fn has_given_up(&self, now: u64) -> bool {
        self.pinged_at.is_some_and(|pinged_at| now.saturating_sub(pinged_at) < HELD_UP_WITHIN)
    }

    /// The client has subscribed to a channel with a history, of which it has read everything up to here. Until
    /// [`sent`](Self::sent), it is still being sent what it has missed.
    pub(super) fn subscribe(
        &mut self,
        channel: &ChannelName,
        subscription: Ticket,
        since: Option<StoreState>,
        follows_gap: bool,
    ) {
        let channel = channel.clone();
        self.unproven.push(UnprovenChannel { channel, subscription, since, follows_gap, ticket: None });
    }

    /// The client subscribes with a position of its own. `None`: an unreadable one.
    pub(super) fn want(&mut self, channel: &ChannelName, since: Option<Since>) {
        self.wanted.retain(|(of, _)| of != channel);
        self.wanted.push((channel.clone(), since));
    }

    /// Returns whether the client has given a position, and which one.
    pub(super) fn take_wanted(&mut self, channel: &ChannelName) -> (bool, Option<Since>) {
        match self.wanted.iter().position(|(of, _)| of == channel) {
            Some(position) => (true, self.wanted.swap_remove(position).1),
            None => (false, None),
        }
    }

    /// The client is told that what is missing on a channel ends here: it goes on from there, and is told again if it comes back before
    /// it has proven that it knows.
    pub(super) fn skip(&mut self, channel: &ChannelName, end: Option<StoreState>) {
        if let Some(waiting) = self.unproven.iter_mut().find(|unproven| unproven.channel == *channel) {
            (waiting.since, waiting.follows_gap) = (end, true);
        }
    }

    /// The client has been sent what it has missed on a channel. Returns the ticket for its proof; `None` if the client has ended this
    /// subscription.
    pub(super) fn sent(&mut self, channel: &ChannelName, subscription: Ticket) -> Option<u32> {
        let waiting = self.unproven.iter_mut().find(|unproven| unproven.is(channel, subscription))?;
        self.last_ticket = self.last_ticket.wrapping_add(1);
        waiting.ticket = Some(self.last_ticket);
        waiting.ticket
    }

    /// What a connection with a session is tracked with, and the last ticket of it.
    pub(super) fn progress(&self) -> Option<(&Arc<ReadProgress>, u32)> {
        Some((self.progress.as_ref()?, self.last_ticket))
    }

    /// Whether the client still waits for what it has missed, in this subscription to a channel.
    pub(super) fn is_sending(&self, channel: &ChannelName, subscription: Ticket) -> bool {
        let mut unproven = self.unproven.iter();
        unproven.any(|unproven| unproven.is(channel, subscription) && unproven.ticket.is_none())
    }

    /// What a client has missed cannot be sent at once, and is sent after what others of its channels wait for. Returns whether a task
    /// must be started that does so.
    pub(super) fn queue(&mut self, recovering: Recovering) -> bool {
        let is_first = self.queued.is_none();
        self.queued.get_or_insert_default().0.push_back(recovering);
        is_first
    }

    /// What the task is to send next. `None`: nothing, and it ends.
    pub(super) fn next_queued(&mut self) -> Option<Recovering> {
        let next = self.queued.as_mut()?.0.pop_front();
        if next.is_none() {
            self.queued = None;
        }
        next
    }

    pub(super) fn leave(&mut self, channel: &ChannelName) {
        self.unproven.retain(|unproven| unproven.channel != *channel);
        if let Some(Queue(queued)) = self.queued.as_deref_mut() {
            queued.retain(|recovering| recovering.channel != *channel);
        }
        self.take_wanted(channel);
        self.take_inherited(channel);
    }

    /// The client has read everything before the ping that it has answered. `last` is the last number that was delivered here. Returns
    /// the channels on which this is the first proof.
    pub(super) fn prove(&mut self, proof: ReadProof, last: StoreState) -> Vec<ChannelName> {
        let read = self.progress.as_ref().and_then(|progress| progress.on_answer(proof, last));
        let Some(read) = read else { return Vec::new() };
        self.read = Some(read);
        let proven = self.unproven.extract_if(.., |unproven| unproven.is_proven(proof.ticket, read));
        let proven = proven.map(|unproven| unproven.channel).collect();
        if self.unproven.is_empty() {
            self.unproven = Vec::new();
        }
        proven
    }

    /// Whether the client has proven to have read a channel since it has subscribed to it.
    pub(super) fn is_proven(&self, channel: &ChannelName) -> bool {
        self.read.is_some() && !self.unproven.iter().any(|unproven| unproven.channel == *channel)
    }

    /// How far the client has read on a channel with a history.
    pub(super) fn read_on(&self, channel: &ChannelName) -> Option<StoreState> {
        let unproven = self.unproven.iter().find(|unproven| unproven.channel == *channel);
        unproven.map_or(self.read, |unproven| unproven.since)
    }

    /// Whether the client may not know of a gap that ends where it has read to.
    pub(super) fn follows_gap(&self, channel: &ChannelName) -> bool {
        self.unproven.iter().any(|unproven| unproven.channel == *channel && unproven.follows_gap)
    }

    /// The channels that the client has not subscribed to again.
    pub(super) fn inherited(&self) -> impl Iterator<Item = &KeptChannel> {
        self.inherited.iter().flat_map(|inherited| &inherited.session.channels)
    }

    /// Whether the client may have been on a channel of which the session does not know.
    pub(super) const fn may_lack(&self, now: u64) -> bool {
        now < self.lacks_channels_until
    }

    /// Whether the session has just begun. A page whose session has been lost subscribes to its channels now.
    pub(super) const fn is_beginning(&self, now: u64) -> bool {
        now < self.begins_until
    }

    /// Whether the client may have to sign in again.
    pub(super) fn has_inherited_user(&self) -> bool {
        self.inherited.as_ref().is_some_and(|inherited| inherited.session.is_signed_in)
    }

    /// Whether this node counts the session among the subscribers of a channel that the client has not subscribed to again.
    pub(super) fn is_local(&self, channel: &ChannelName) -> bool {
        self.inherited().any(|kept| kept.channel.name() == channel && kept.is_local)
    }

    /// The session has been written for other nodes, and will be again.
    pub(super) fn written(&mut self, write_at: u64) {
        self.write_at = write_at;
    }

    /// When the session is written again, in milliseconds of the hub's clock.
    pub(super) fn write_at(&self) -> u64 {
        self.write_at
    }

    /// The channel of the previous connection, if the client has not subscribed to it since.
    pub(super) fn take_inherited(&mut self, channel: &ChannelName) -> Option<KeptChannel> {
        let inherited = self.inherited.as_mut()?;
        let channels = &mut inherited.session.channels;
        let position = channels.iter().position(|kept| kept.channel.name() == channel)?;
        let kept = channels.swap_remove(position);
        if channels.is_empty() && !inherited.session.is_signed_in {
            self.inherited = None;
        }
        Some(kept)
    }

    /// When [`take_rest`](Self::take_rest) is due, in milliseconds of the hub's clock.
    pub(super) fn leave_at(&self) -> u64 {
        self.inherited.as_ref().map_or(u64::MAX, |inherited| inherited.leave_at)
    }

    /// What the client has not taken over.
    pub(super) fn take_rest(&mut self) -> Option<KeptSession> {
        self.inherited.take().map(|inherited| inherited.session)
    }

    /// Another connection claims the session. Returns the ping that the client must answer to keep it. The receiver fails if the
    /// connection ends. Several connections may wait at once: the client answers all of them.
    pub(super) fn challenge(&mut self) -> (Frame, oneshot::Receiver<()>) {
        let (challenger, answered) = oneshot::channel();
        self.challengers.retain(|challenger| !challenger.is_closed());
        self.challengers.push(challenger);
        (Frame::ping_with(CHALLENGE), answered)
    }

    /// The client has answered a ping that is not a proof.
    pub(super) fn answer(&mut self, payload: &[u8]) {
        if payload == CHALLENGE {
            for challenger in std::mem::take(&mut self.challengers) {
                // Fails if the challenger has given up.
                let _ = challenger.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn recovering(channel: &ChannelName, subscription: Ticket) -> Recovering {
        let (channel, asked_at) = (channel.clone(), Instant::now());
        let (since, delivered, cached) = (None, None, Vec::new());
        Recovering { channel, subscription, asked_at, since, follows_gap: false, delivered, cached }
    }

    #[test]
    fn what_is_sent_for_a_subscription_that_has_ended_does_not_count_for_the_next_one() {
        let news = ChannelName::new("news").unwrap();
        let mut recovery = Recovery::without_session();
        let (first, second) = (Ticket(1), Ticket(2));
        recovery.subscribe(&news, first, None, false);
        assert!(recovery.is_sending(&news, first) && !recovery.is_sending(&news, second));
        recovery.leave(&news);
        recovery.subscribe(&news, second, None, false);
        assert!(!recovery.is_sending(&news, first) && recovery.is_sending(&news, second));
        assert!(recovery.sent(&news, first).is_none());
        assert!(recovery.is_sending(&news, second));
        assert!(recovery.sent(&news, second).is_some());
        assert!(!recovery.is_sending(&news, second));
    }

    #[test]
    fn one_task_serves_a_client_and_nothing_that_it_no_longer_wants() {
        let [news, chat] = ["news", "chat"].map(|name| ChannelName::new(name).unwrap());
        let mut recovery = Recovery::without_session();
        assert!(recovery.queue(recovering(&news, Ticket(1))));
        assert_eq!(recovery.next_queued().unwrap().subscription, Ticket(1));
        for number in 2..10 {
            recovery.leave(&news);
            assert!(!recovery.queue(recovering(&news, Ticket(number))));
        }
        assert!(!recovery.queue(recovering(&chat, Ticket(10))));
        let next: Vec<_> = std::iter::from_fn(|| recovery.next_queued()).collect();
        let next: Vec<_> = next.into_iter().map(|next| (next.channel, next.subscription)).collect();
        assert_eq!(next, [(news.clone(), Ticket(9)), (chat, Ticket(10))]);
        assert!(recovery.queue(recovering(&news, Ticket(11))), "the task has ended");
    }

    #[test]
    fn a_client_answers_all_that_claim_its_session() {
        let mut recovery = Recovery::without_session();
        let (_, gone) = recovery.challenge();
        drop(gone);
        let mut waiting = [recovery.challenge().1, recovery.challenge().1];
        assert_eq!(recovery.challengers.len(), 2);
        recovery.answer(b"other");
        assert!(waiting.iter_mut().all(|answered| answered.try_recv().is_err()));
        recovery.answer(CHALLENGE);
        assert_eq!(waiting.map(|mut answered| answered.try_recv()), [Ok(()), Ok(())]);
    }

    #[test]
    fn a_proof_does_not_take_a_client_back_behind_where_it_has_subscribed() {
        let at = |store, number| StoreState { store, number };
        let subscribed = |since, ticket| UnprovenChannel {
            channel: ChannelName::new("news").unwrap(),
            subscription: Ticket(1),
            since,
            follows_gap: false,
            ticket,
        };
        let ahead = subscribed(Some(at(9, 30)), Some(5));
        assert!(!ahead.is_proven(5, at(9, 29)));
        assert!(ahead.is_proven(5, at(9, 30)));
        assert!(ahead.is_proven(6, at(9, 31)));
        assert!(!ahead.is_proven(4, at(9, 31)), "the ping precedes what it was sent");
        assert!(ahead.is_proven(5, at(8, 1)), "the store has been lost since");
        assert!(subscribed(None, Some(u32::MAX)).is_proven(2, at(9, 1)), "tickets begin again");
        assert!(!subscribed(None, None).is_proven(5, at(9, 31)), "it is still being sent what it has missed");
    }
}
