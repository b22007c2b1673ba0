//! A connection that has signed in as a user.

use std::sync::Arc;

use super::connection::{Inner, PusherConnection};
use super::sessions::SessionHolder;
use crate::channels::Channels;
use crate::message::ChannelName;
use crate::protocol::pusher::{User, server_message};

impl PusherConnection {
    pub(super) fn sign_in(self: &Arc<Self>, inner: &mut Inner, user: User) {
        let id = user.id.clone();
        let connection = Arc::downgrade(self);
        let (context, key) =
            (self.context.clone(), inner.recovery.as_ref().and_then(|recovery| recovery.key()));
        let terminate = Box::new(move || match key {
            // The connection may have ended, or another one may have resumed its session.
            Some(key) => context.terminate(&key),
            None => {
                if let Some(connection) = connection.upgrade() {
                    SessionHolder::terminate(connection);
                }
            }
        });
        let connection = self.clone();
        let completion = Box::new(move |_| connection.watch(&user));
        self.channels().sign_in(inner.app_id(), inner.session.socket_id(), &id, terminate, completion);
        self.write_session(inner);
    }

    /// The sign-in has come back: subscribes the connection to notices about the users that it watches.
    fn watch(&self, user: &User) {
        let mut inner = self.lock();
        if inner.session.is_closed() || inner.watching.is_some() {
            return;
        }
        let online = self.channels().online(inner.app_id(), &user.watchlist);
        if !online.is_empty() {
            self.handle.push(&server_message::watchlist_events(&online, &[]));
        }
        let watched = user.watchlist.iter().map(|id| Channels::watched(inner.app_id(), id));
        let mut channels: Vec<ChannelName> = watched.collect();
        channels.sort_unstable();
        channels.dedup();
        if !channels.is_empty() {
            for channel in &channels {
                self.handle.join(channel, false);
            }
            inner.watching = Some(Box::new(channels));
        }
    }

    pub(super) fn unwatch(&self, inner: &mut Inner) {
        let watching = inner.watching.take();
        watching.into_iter().flat_map(|channels| *channels).for_each(|channel| self.handle.leave(&channel));
    }
}
