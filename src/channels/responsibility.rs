/// Which node delivers webhooks about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Responsibility {
    Own,
    Others,
    /// None: the change is not new, this node has only now heard of it.
    Nobody,
}

impl Responsibility {
    pub(super) fn of(is_leader: bool) -> Self {
        if is_leader { Self::Own } else { Self::Others }
    }
}
