/// Which node delivers webhooks about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Responsibility {
    Own,
    Others,
    /// No node: the change is old, and this node has only just received it.
    None,
}

impl Responsibility {
    pub(super) fn of(is_leader: bool) -> Self {
        if is_leader { Self::Own } else { Self::Others }
    }
}
