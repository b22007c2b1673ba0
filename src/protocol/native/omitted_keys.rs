use std::fmt;

/// The keys of a message that the rules of its channel do not deliver, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OmittedKeys {
    /// The kind whose rules apply.
    pub kind: String,
    /// The keys that the kind delivers.
    pub fields: Vec<String>,
    /// The keys of the message that are not among `fields`, at least one.
    pub keys: Vec<String>,
}

impl fmt::Display for OmittedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delivers = if self.fields.is_empty() { "no key".to_owned() } else { list(&self.fields) };
        let verb = if self.keys.len() == 1 { "was" } else { "were" };
        write!(f, "`{}` delivers {delivers}: {} {verb} left out", self.kind, list(&self.keys))
    }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    match quoted.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_delivered_and_the_omitted_keys() {
        let text = |fields: &[&str], keys: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            OmittedKeys { kind: "chat".into(), fields: owned(fields), keys: owned(keys) }.to_string()
        };
        assert_eq!(
            text(&["message", "name"], &["massage"]),
            "`chat` delivers `message` and `name`: `massage` was left out"
        );
        assert_eq!(
            text(&["a", "b", "c"], &["x", "y\n"]),
            "`chat` delivers `a`, `b` and `c`: `x` and `y\\n` were left out"
        );
        assert_eq!(text(&[], &["x"]), "`chat` delivers no key: `x` was left out");
    }
}
