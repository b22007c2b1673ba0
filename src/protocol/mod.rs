//! Wire protocols: pure functions between bytes and events. No I/O.
pub mod native;
pub mod pusher;

#[cfg(test)]
mod tests {
    use super::{native, pusher};

    #[test]
    fn encodings_are_distinct() {
        let all: Vec<_> =
            native::ENCODINGS.into_iter().chain([pusher::ENCODING, pusher::ENCODING_WITH_IDS]).collect();
        for (number, encoding) in all.iter().enumerate() {
            assert!(!all[number + 1..].contains(encoding), "{encoding:?}");
        }
    }

    #[test]
    fn close_reasons_fit_into_a_close_frame() {
        for close in native::close::ALL.into_iter().chain(pusher::close::ALL) {
            assert!(close.reason.len() <= 123, "{close:?}");
        }
    }
}
