//! Completions that wait for a reply from the cluster or the broker.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::message::{ChannelName, SocketId};

/// Called once with the result, never while the state is locked.
pub type Completion = Box<dyn FnOnce(Result<Joined, JoinError>) + Send>;

/// What a connection that has waited is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Joined {
    /// It is the first connection of its user on a presence channel.
    pub is_first: bool,
}

/// Ends a connection. Called at most once, never while the state is locked.
pub type Termination = Box<dyn FnOnce() + Send>;

/// Why a connection cannot join a presence channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinError {
    #[error("the channel has as many members as it may have: {0}")]
    Full(usize),
    #[error("the broker does not accept it")]
    Unavailable,
}

/// A join of this node that has not come back yet.
pub(super) struct PendingJoin {
    pub(super) app: Arc<str>,
    pub(super) channel: ChannelName,
    pub(super) connection: SocketId,
    pub(super) completion: Completion,
}

impl fmt::Debug for PendingJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingJoin").field("channel", &self.channel).finish_non_exhaustive()
    }
}
