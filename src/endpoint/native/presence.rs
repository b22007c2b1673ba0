//! The users on the channels of kinds with `presence`, as their connections see them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::channels::{Channels, Completion, JoinError, Joined};
use crate::hub::{ConnectionHandle, Subscription};
use crate::message::{ChannelName, Member, MemberEncoder as _, Sender};
use crate::protocol::native::{PRESENCE_APP, PresenceEncoder, close, encode_connected, member};

/// What all connections on such channels share.
#[derive(Debug)]
pub struct Presence {
    channels: Arc<Channels>,
    app: Arc<str>,
    encoder: Arc<PresenceEncoder>,
}

/// The place of a connection among those that are on its channel. Dropping it gives up the place.
#[derive(Debug)]
pub(super) struct Membership(Arc<Place>);

/// Lock order: first the place, then the engine's state.
#[derive(Debug)]
struct Place {
    presence: Arc<Presence>,
    handle: ConnectionHandle,
    channel: ChannelName,
    member: Member,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
enum Progress {
    New,
    Joining,
    /// All nodes know it.
    Joined {
        /// To what clients are told of other users.
        _notices: Subscription,
    },
    Left,
}

impl Presence {
    /// `encoder` must be that of the app [`PRESENCE_APP`] of the engine.
    #[must_use]
    pub fn new(channels: Arc<Channels>, encoder: Arc<PresenceEncoder>) -> Arc<Self> {
        Arc::new(Self { channels, app: PRESENCE_APP.into(), encoder })
    }

    /// A place for a connection that has not [joined](Membership::join) yet.
    pub(super) fn membership(
        self: &Arc<Self>,
        handle: ConnectionHandle,
        channel: &ChannelName,
        user: &Sender,
    ) -> Membership {
        Membership(Arc::new(Place {
            presence: self.clone(),
            handle,
            channel: channel.clone(),
            member: member(user),
            progress: Mutex::new(Progress::New),
        }))
    }
}

impl Membership {
    /// Joins the channel. Once all nodes know of the connection, the client learns who is there, and then of every change.
    pub(super) fn join(&self) {
        self.0.join();
    }

    /// Does the same, for a task that has something to do before.
    pub(super) fn joiner(&self) -> Joiner {
        Joiner(self.0.clone())
    }

    pub(super) fn leave(&self) {
        self.0.leave();
    }
}

/// Joins a connection in the place of its [`Membership`].
#[derive(Debug)]
pub(super) struct Joiner(Arc<Place>);

impl Joiner {
    pub(super) fn join(self) {
        self.0.join();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Place {
    fn join(self: &Arc<Self>) {
        let mut progress = self.progress();
        if !matches!(*progress, Progress::New) {
            return;
        }
        *progress = Progress::Joining;
        let Presence { channels, app, .. } = &*self.presence;
        let id = channels.socket_id(self.handle.id());
        let joined = channels.join(app, &self.channel, id, self.member.clone(), || self.completion());
        if joined.is_err() {
            self.refuse(&mut progress);
        }
    }

    fn completion(self: &Arc<Self>) -> Completion {
        let place = self.clone();
        Box::new(move |joined| {
            let mut progress = place.progress();
            if matches!(*progress, Progress::Joining) {
                match joined {
                    Ok(joined) => *progress = Progress::Joined { _notices: place.arrive(joined) },
                    Err(JoinError::Full(_) | JoinError::Unavailable) => place.refuse(&mut progress),
                }
            }
        })
    }

    /// Sends the client the users who were there before it, and then each change. Its own user is among them if an older connection
    /// of that user is still open, as may happen when a page is reloaded; otherwise it follows as a newcomer.
    /// It has not been subscribed when the others were told of its own arrival.
    fn arrive(&self, Joined { is_first }: Joined) -> Subscription {
        let Presence { channels, app, encoder } = &*self.presence;
        let encoding = self.handle.outbox().format().encoding;
        let members = channels.users(app, &self.channel);
        // Half of the outbox is for what else is queued.
        let newcomer = is_first.then_some(&self.member.user_id);
        let (frame, omitted) = encode_connected(&members, newcomer, self.handle.outbox_bytes() / 2, encoding);
        self.handle.push(&frame);
        if omitted > 0 {
            channels.metrics().presence_users_omitted.inc_by(omitted as u64);
            tracing::warn!(
                channel = self.channel.as_str(),
                users = members.len(),
                omitted,
                "the list of users is longer than half of limits.outbox_bytes: some are omitted"
            );
        }
        if is_first {
            self.handle.push(&encoder.member_added(&self.member, encoding));
        }
        self.handle.subscribe(&ChannelName::scoped(app, self.channel.as_str()))
    }

    /// The broker does not accept the join.
    fn refuse(&self, progress: &mut Progress) {
        *progress = Progress::Left;
        self.handle.outbox().close(&close::UNAVAILABLE);
    }

    fn leave(&self) {
        let mut progress = self.progress();
        if matches!(*progress, Progress::Joining | Progress::Joined { .. }) {
            let Presence { channels, app, .. } = &*self.presence;
            channels.exit(app, &self.channel, channels.socket_id(self.handle.id()));
        }
        *progress = Progress::Left;
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
