/// A way to write events as bytes, of which a connection has one. A protocol declares a number for each of its encodings; the
/// number has no other meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding(u8);

impl Encoding {
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }
}
