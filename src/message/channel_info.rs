/// The subscribers of a channel in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelInfo {
    /// How many connections are subscribed.
    pub subscriptions: u64,
    /// How many members a presence channel has.
    pub members: usize,
}

/// The last event of a cache channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// What subscribers receive as `data`.
    pub data: String,
    /// For how many seconds it is still kept.
    pub ttl: u64,
}
