use std::sync::Arc;

/// The name of a node: a new one at every start, so that nothing that an earlier process sent is taken for this one's.
pub type NodeName = Arc<str>;
