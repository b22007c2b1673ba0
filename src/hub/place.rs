use crate::message::Position;

/// What a delivery is to the history of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is not in the history.
    None,
    At(Position),
    /// It tells that messages may be missing before it.
    Gap,
    /// The same, but all gated subscribers are answered by what is read later: they are told then if messages are missing.
    GapForOpen,
}

impl From<Option<Position>> for Place {
    fn from(position: Option<Position>) -> Self {
        position.map_or(Self::None, Self::At)
    }
}
