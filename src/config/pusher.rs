//! The settings of the Pusher protocol. They are known, so that they are no errors, and they do nothing yet.

use super::Problem;

const VARIABLES: [&str; 6] = [
    "PUSHER_APP_ID",
    "PUSHER_APP_KEY",
    "PUSHER_APP_SECRET",
    "REVERB_APP_ID",
    "REVERB_APP_KEY",
    "REVERB_APP_SECRET",
];

/// What was found and left alone.
#[derive(Debug, Default)]
pub(super) struct Ignored(Vec<String>);

impl Ignored {
    pub(super) fn note(&mut self, what: String) {
        self.0.push(what);
    }

    /// One warning for all of it.
    pub(super) fn warning(&self) -> Option<Problem> {
        let (verb, what) = match self.0.as_slice() {
            [] => return None,
            [one] => ("is", one.clone()),
            many => ("are", many.join(", ")),
        };
        let message = format!("the Pusher protocol is not served by this version; {what} {verb} ignored");
        Some(Problem::new("pusher", None, message))
    }
}

pub(super) fn is_section(name: &str) -> bool {
    matches!(name, "pusher" | "apps")
}

pub(super) fn is_variable(name: &str) -> bool {
    VARIABLES.contains(&name)
        || name.starts_with("YAMABIKO__PUSHER__")
        || name.starts_with("YAMABIKO__APPS__")
        || name == "YAMABIKO__APPS"
}
