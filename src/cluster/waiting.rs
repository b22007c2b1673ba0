//! Who waits for what.

use std::sync::Arc;

use super::peer::Peer;
use crate::protocol::pusher::{Channel, Ticket, User};

/// A connection that waits for its own join to come back.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) peer: Arc<Peer>,
    pub(super) purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    Channel { channel: Channel, ticket: Ticket },
    SignIn(User),
}

/// A topic that the broker has still to confirm.
#[derive(Debug)]
pub(super) struct Awaited {
    /// That of the broker's listening.
    pub(super) number: u64,
    /// Who is to be told then.
    pub(super) waiting: Vec<(Arc<Peer>, Channel, Ticket)>,
}
