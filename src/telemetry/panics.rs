use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::thread;

/// Logs panics, in the log's format. The default hook writes to standard error, which blocks forever when it is not read.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        // Captured only if RUST_BACKTRACE is set.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(
            thread = thread::current().name(),
            location,
            panic = message(panic.payload()),
            backtrace,
            "a thread panicked"
        );
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(not a string)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_message_is_extracted() {
        let message_of = |work: fn()| message(&*panic::catch_unwind(work).unwrap_err()).to_owned();
        assert_eq!(message_of(|| panic!("a text")), "a text");
        assert_eq!(message_of(|| panic!("a {}", "number")), "a number");
        assert_eq!(message_of(|| panic::panic_any(7)), "(not a string)");
    }
}
