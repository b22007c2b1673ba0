//! The trace that a message or a request belongs to, as [W3C Trace Context](https://www.w3.org/TR/trace-context/) names it in
//! `traceparent`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A trace, and the span in it that caused what follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

/// Not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTraceContext;

/// The name of the header, and of the key in JSON.
pub(crate) const TRACEPARENT: &str = "traceparent";

impl TraceContext {
    /// A new trace that is recorded.
    #[must_use]
    pub fn root() -> Self {
        Self { trace: non_zero(rand::random), span: non_zero(rand::random), is_sampled: true }
    }

    /// A new trace that is not recorded: the decision was made, and nothing that follows makes it again.
    #[must_use]
    pub fn unsampled() -> Self {
        Self { is_sampled: false, ..Self::root() }
    }

    /// Reads a `traceparent`, if its trace is recorded. One that cannot be read is no reason to refuse what it comes with.
    #[must_use]
    pub fn read_sampled(text: &str) -> Option<Self> {
        text.parse().ok().filter(|context: &Self| context.is_sampled)
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: non_zero(rand::random), ..*self }
    }

    #[must_use]
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    #[must_use]
    pub const fn span_id(&self) -> [u8; 8] {
        self.span
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace), hex::encode(self.span));
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(self.is_sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceContext;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(5, '-');
        let mut part = || parts.next().ok_or(InvalidTraceContext);
        let version = digits::<1>(part()?)?;
        let (trace, span, flags) = (digits(part()?)?, digits(part()?)?, digits::<1>(part()?)?);
        // A later version may have more parts.
        let has_more = parts.next().is_some();
        if version == [0xff] || version == [0] && has_more || trace == [0; 16] || span == [0; 8] {
            return Err(InvalidTraceContext);
        }
        Ok(Self { trace, span, is_sampled: flags.iter().any(|flags| flags & 1 == 1) })
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a field that may have a `traceparent`, as [`TraceContext::read_sampled`] does.
pub(crate) fn deserialize_sampled<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<TraceContext>>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    Ok(text.and_then(|text| TraceContext::read_sampled(&text)).map(Box::new))
}

/// Lower-case hexadecimal digits, as the header has them.
fn digits<const N: usize>(text: &str) -> Result<[u8; N], InvalidTraceContext> {
    let mut bytes = [0; N];
    let is_lower = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if !is_lower || hex::decode_to_slice(text, &mut bytes).is_err() {
        return Err(InvalidTraceContext);
    }
    Ok(bytes)
}

fn non_zero<const N: usize>(random: impl Fn() -> [u8; N]) -> [u8; N] {
    loop {
        let bytes = random();
        if bytes != [0; N] {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_and_written() {
        let context: TraceContext = TEXT.parse().unwrap();
        assert!(context.is_sampled);
        assert_eq!(hex::encode(context.trace_id()), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex::encode(context.span_id()), "b7ad6b7169203331");
        assert_eq!(context.to_string(), TEXT);
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.span_id(), context.span_id());
        let root = TraceContext::root();
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn what_the_standard_does_not_permit_is_refused() {
        let unsampled = TEXT.replace("-01", "-00").parse::<TraceContext>().unwrap();
        assert!(!unsampled.is_sampled);
        assert_eq!(TraceContext::read_sampled(&unsampled.to_string()), None);
        assert_eq!(TraceContext::read_sampled(TEXT), TEXT.parse().ok());
        for later in [
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more-of-it",
            &TEXT.replacen("00", "cc", 1),
        ] {
            assert!(later.parse::<TraceContext>().is_ok(), "{later}");
        }
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(wrong.parse::<TraceContext>(), Err(InvalidTraceContext), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,80}") {
            let _ = text.parse::<TraceContext>();
        }
    }
}
