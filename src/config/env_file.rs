//! Parses `.env` files by the rules of vlucas/phpdotenv 5, which Laravel uses. They differ from a shell's rules.

use std::collections::BTreeMap;

use thiserror::Error;

/// A syntax error. Never quotes a value, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum EnvFileError {
    #[error("the name before the = is missing")]
    NoName,
    #[error("the name before the = may only contain letters, digits, _ and .")]
    InvalidName,
    #[error("a quote is not closed")]
    OpenQuote,
    #[error(
        "in double quotes, a \\ must be followed by \", \\, $, f, n, r, t or v; use single quotes for a literal \\"
    )]
    UnknownEscape,
    #[error("a value with white space must be in quotes")]
    WhiteSpace,
}

/// The variables of a file. `known` resolves `${NAME}` before the file's own variables. An error has its line number.
pub(super) fn parse(
    text: &str,
    known: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, (usize, EnvFileError)> {
    let mut variables = BTreeMap::new();
    for (number, entry) in entries(text.strip_prefix('\u{feff}').unwrap_or(text))? {
        let (name, value) = match entry.split_once('=') {
            Some((name, value)) => (name.trim_matches(BLANK), Some(value.trim_matches(BLANK))),
            None => (&*entry, None),
        };
        let name = self::name(name).map_err(|error| (number, error))?;
        // A name without a value unsets the variable.
        let Some(value) = value else {
            variables.remove(name);
            continue;
        };
        let value = EnvValue::parse(value).map_err(|error| (number, error))?;
        let value = value.resolve(|name| known(name).or_else(|| variables.get(name).cloned()));
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// The characters that PHP's `trim` removes.
const BLANK: [char; 6] = [' ', '\t', '\n', '\r', '\0', '\u{b}'];

/// The entries of a file with their line numbers. An entry with a double quote right after its = extends to the line that
/// closes the quote.
fn entries(text: &str) -> Result<Vec<(usize, String)>, (usize, EnvFileError)> {
    let mut entries = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in lines(text).enumerate() {
        let whole = match open.take() {
            None if line.contains("=\"") && !closes(line, true) => {
                open = Some((index + 1, line.to_owned()));
                continue;
            }
            None => (index + 1, line.to_owned()),
            Some((number, before)) => {
                let joined = (number, format!("{before}\n{line}"));
                if !closes(line, false) {
                    open = Some(joined);
                    continue;
                }
                joined
            }
        };
        let start = whole.1.trim_matches(BLANK);
        if !start.is_empty() && !start.starts_with('#') {
            entries.push(whole);
        }
    }
    // phpdotenv silently ignores an entry with an unclosed quote and everything after it.
    open.map_or(Ok(entries), |(number, _)| Err((number, EnvFileError::OpenQuote)))
}

/// Lines end with \n, \r or both.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Whether a line closes a double quote. On the line that `opens` it, that takes a second quote.
fn closes(line: &str, opens: bool) -> bool {
    if line == "\"" {
        return true;
    }
    let line = line.replace("\\\\", "");
    let before = line.chars();
    let quotes =
        before.zip(line.chars().skip(1)).filter(|(before, quote)| *quote == '"' && *before != '\\').count();
    if opens { quotes > 1 } else { quotes >= 1 }
}

fn name(text: &str) -> Result<&str, EnvFileError> {
    if text.is_empty() {
        return Err(EnvFileError::NoName);
    }
    // Like phpdotenv, ignore `export` before a name of one letter.
    let bare = text.strip_prefix("export").filter(|rest| rest.len() > 2 && rest.starts_with(BLANK));
    let name = bare.map_or(text, |rest| rest.trim_start_matches(BLANK));
    let unquoted = |mark: char| name.strip_prefix(mark)?.strip_suffix(mark).filter(|inner| !inner.is_empty());
    let name = unquoted('"').or_else(|| unquoted('\'')).unwrap_or(name);
    let is_valid = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    if is_valid { Ok(name) } else { Err(EnvFileError::InvalidName) }
}

/// A value, and the positions in it of each `$` that may start a `${NAME}`.
#[derive(Debug, Default)]
struct EnvValue {
    text: String,
    dollars: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParserState {
    Start,
    Bare,
    SingleQuoted,
    DoubleQuoted,
    Escape,
    After,
}

impl EnvValue {
    fn parse(text: &str) -> Result<Self, EnvFileError> {
        let mut value = Self::default();
        let mut state = ParserState::Start;
        for c in text.chars() {
            state = match (state, c) {
                (ParserState::Start, '\'') => ParserState::SingleQuoted,
                (ParserState::Start, '"') => ParserState::DoubleQuoted,
                // A comment extends to the end of the value.
                (ParserState::Start | ParserState::Bare | ParserState::After, '#') => return Ok(value),
                (ParserState::Bare | ParserState::After, c) if c.is_ascii_whitespace() || c == '\u{b}' => {
                    ParserState::After
                }
                (ParserState::After, _) => return Err(EnvFileError::WhiteSpace),
                (ParserState::Start | ParserState::Bare, '$') => value.dollar(ParserState::Bare),
                (ParserState::Start | ParserState::Bare, c) => value.push(c, ParserState::Bare),
                (ParserState::SingleQuoted, '\'') | (ParserState::DoubleQuoted, '"') => ParserState::After,
                (ParserState::SingleQuoted, c) => value.push(c, ParserState::SingleQuoted),
                (ParserState::DoubleQuoted, '\\') => ParserState::Escape,
                (ParserState::DoubleQuoted, '$') => value.dollar(ParserState::DoubleQuoted),
                (ParserState::DoubleQuoted, c) | (ParserState::Escape, c @ ('"' | '\\' | '$')) => {
                    value.push(c, ParserState::DoubleQuoted)
                }
                (ParserState::Escape, c) => value.push(control(c)?, ParserState::DoubleQuoted),
            };
        }
        match state {
            ParserState::SingleQuoted | ParserState::DoubleQuoted | ParserState::Escape => {
                Err(EnvFileError::OpenQuote)
            }
            ParserState::Start | ParserState::Bare | ParserState::After => Ok(value),
        }
    }

    fn push(&mut self, c: char, next: ParserState) -> ParserState {
        self.text.push(c);
        next
    }

    fn dollar(&mut self, next: ParserState) -> ParserState {
        self.dollars.push(self.text.len());
        self.push('$', next)
    }

    /// Substitutes each `${NAME}`. An unknown one stays.
    fn resolve(self, known: impl Fn(&str) -> Option<String>) -> String {
        let mut text = self.text;
        // From the end, so that substitutions do not move positions and are not expanded again.
        for at in self.dollars.into_iter().rev() {
            let Some((before, here)) = text.split_at_checked(at) else { continue };
            let inner = here.strip_prefix("${").and_then(|rest| rest.split_once('}'));
            let is_name = |name: &str| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
            };
            if let Some((name, after)) = inner.filter(|(name, _)| is_name(name))
                && let Some(value) = known(name)
            {
                text = format!("{before}{value}{after}");
            }
        }
        text
    }
}

fn control(escape: char) -> Result<char, EnvFileError> {
    Ok(match escape {
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        _ => return Err(EnvFileError::UnknownEscape),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, (usize, EnvFileError)> {
        let known = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        parse(text, known).map(|variables| variables.into_iter().collect())
    }

    fn value(text: &str) -> String {
        let mut found = read(&format!("A={text}")).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        found.pop().unwrap().1
    }

    #[test]
    fn values_are_parsed_as_phpdotenv_does() {
        for (text, expected) in [
            ("", ""),
            ("Kp$9xRt7", "Kp$9xRt7"),
            ("a&b;c(d)|e", "a&b;c(d)|e"),
            ("a\"b'c", "a\"b'c"),
            ("a\\b", "a\\b"),
            ("a#b", "a"),
            ("a # b", "a"),
            ("#b", ""),
            ("\"a#b\" # c", "a#b"),
            ("'a # b'", "a # b"),
            ("'$HOME ${HOME} \\n'", "$HOME ${HOME} \\n"),
            ("\"$HOME ${HOME} \\${HOME}\"", "$HOME /root ${HOME}"),
            ("${HOME}/x", "/root/x"),
            ("${NOTHING}$", "${NOTHING}$"),
            ("\"a\\\"b\\\\c\\nd\\te\"", "a\"b\\c\nd\te"),
            ("\"two\nlines\"", "two\nlines"),
            ("  \"spaced out\"  ", "spaced out"),
            ("base64:a+/=", "base64:a+/="),
            ("日本", "日本"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn files_are_parsed_as_phpdotenv_does() {
        let text = "\u{feff}# comment\r\n\r\nexport AB=1\n\"B\" = 2\n'C'=${AB}${B}\nAB=3\nD\nE=x\nE\n F.G=\"\nx\n\"\n";
        let expected = [("AB", "3"), ("B", "2"), ("C", "12"), ("F.G", "\nx\n")];
        assert_eq!(read(text).unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn errors_have_their_line() {
        for (text, line, error) in [
            ("\nA=two words", 2, EnvFileError::WhiteSpace),
            ("A='x", 1, EnvFileError::OpenQuote),
            ("A=\"x\nB=1\n", 1, EnvFileError::OpenQuote),
            ("A=1\n=2", 2, EnvFileError::NoName),
            ("A-B=1", 1, EnvFileError::InvalidName),
            ("A=\"\\d\"", 1, EnvFileError::UnknownEscape),
            ("A='x' y", 1, EnvFileError::WhiteSpace),
            ("A=1\n B", 2, EnvFileError::InvalidName),
        ] {
            assert_eq!(read(text), Err((line, error)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[A-C=\"'\\\\$ {}#\n\r a-c山]{0,40}") {
            let _ = read(&text);
        }

        #[test]
        fn single_quotes_may_contain_anything_but_themselves(text in "[^'\\p{Cc}]{0,30}") {
            // A double quote right after the = would start a multi-line value.
            prop_assume!(!text.contains("=\""));
            prop_assert_eq!(value(&format!("'{text}'")), text);
        }
    }
}
