use crate::message::NodeName;

/// A node that has left, and whose clients are expected elsewhere.
#[derive(Debug)]
pub(super) struct LingeringNode {
    pub(super) node: NodeName,
    /// When it was started.
    pub(super) since: u64,
    /// When what was on it is removed, by the clock of the failure detector.
    pub(super) until: u64,
    /// This node was started later, and another one has told it.
    pub(super) is_handed_over: bool,
}
