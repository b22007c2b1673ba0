//! Wire protocols: pure functions between bytes and events. No I/O.
pub mod native;
pub mod pusher;

#[cfg(test)]
mod tests {
    use super::{native, pusher};

    #[test]
    fn encodings_are_distinct() {
        assert_ne!(native::ENCODING, pusher::ENCODING);
    }

    #[test]
    fn close_reasons_fit_into_a_close_frame() {
        for close in native::close::ALL.into_iter().chain(pusher::close::ALL) {
            assert!(close.reason.len() <= 123, "{close:?}");
        }
    }
}
