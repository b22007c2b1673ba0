//! The nodes: membership, heartbeats, the leader, isolation, the progress of snapshots, and the envelope of everything that nodes send
//! each other. Knows nothing of what is replicated.

mod gather;
mod nodes;
mod wire;

pub use gather::SnapshotProgress;
pub use nodes::{Lost, Nodes, TURN};
pub use wire::{Decoded, Envelope, Ignored, Message, decode, encode};
