//! Reads a `.env` file by the rules of vlucas/phpdotenv 5, which Laravel uses: what a shell makes of the same text is
//! something else.

use std::collections::BTreeMap;

use thiserror::Error;

/// Why a file cannot be read. Quotes nothing of a value: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("the name before the = is missing")]
    NoName,
    #[error("the name before the = has characters other than letters, digits, _ and .")]
    InvalidName,
    #[error("a quote is not closed")]
    OpenQuote,
    #[error(
        "in double quotes a \\ stands before \", \\, $, f, n, r, t or v only; single quotes take it as it is"
    )]
    UnknownEscape,
    #[error("a value with white space has to be in quotes")]
    WhiteSpace,
}

/// The variables of a file. `known` are the variables of the process, which `${NAME}` may stand for and which win over
/// the file's. A fault comes with the number of its line.
pub(super) fn parse(
    text: &str,
    known: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, (usize, Fault)> {
    let mut variables = BTreeMap::new();
    for (number, entry) in entries(text.strip_prefix('\u{feff}').unwrap_or(text))? {
        let (name, value) = match entry.split_once('=') {
            Some((name, value)) => (name.trim_matches(BLANK), Some(value.trim_matches(BLANK))),
            None => (&*entry, None),
        };
        let name = self::name(name).map_err(|fault| (number, fault))?;
        // A name alone takes the variable away.
        let Some(value) = value else {
            variables.remove(name);
            continue;
        };
        let value = Value::read(value).map_err(|fault| (number, fault))?;
        let value = value.resolve(|name| known(name).or_else(|| variables.get(name).cloned()));
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// What PHP's `trim` takes away.
const BLANK: [char; 6] = [' ', '\t', '\n', '\r', '\0', '\u{b}'];

/// The lines that set something, each with its number. One that opens a double quote right after its = goes on until a
/// line closes it.
fn entries(text: &str) -> Result<Vec<(usize, String)>, (usize, Fault)> {
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
    // phpdotenv drops what an open quote begins, and all that comes after it, without a word.
    open.map_or(Ok(entries), |(number, _)| Err((number, Fault::OpenQuote)))
}

/// Lines end with \n, \r or both.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Whether a line ends what a double quote has opened: on the line that opens it, it takes a second one.
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

fn name(text: &str) -> Result<&str, Fault> {
    if text.is_empty() {
        return Err(Fault::NoName);
    }
    // As phpdotenv has it, a name of one letter is not exported.
    let bare = text.strip_prefix("export").filter(|rest| rest.len() > 2 && rest.starts_with(BLANK));
    let name = bare.map_or(text, |rest| rest.trim_start_matches(BLANK));
    let unquoted = |mark: char| name.strip_prefix(mark)?.strip_suffix(mark).filter(|inner| !inner.is_empty());
    let name = unquoted('"').or_else(|| unquoted('\'')).unwrap_or(name);
    let is_valid = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    if is_valid { Ok(name) } else { Err(Fault::InvalidName) }
}

/// A value, and where in it a `$` stands that may begin a `${NAME}`.
#[derive(Debug, Default)]
struct Value {
    text: String,
    dollars: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Bare,
    SingleQuoted,
    DoubleQuoted,
    Escape,
    After,
}

impl Value {
    fn read(text: &str) -> Result<Self, Fault> {
        let mut value = Self::default();
        let mut state = State::Start;
        for c in text.chars() {
            state = match (state, c) {
                (State::Start, '\'') => State::SingleQuoted,
                (State::Start, '"') => State::DoubleQuoted,
                // A comment goes on to the end, whatever it is made of.
                (State::Start | State::Bare | State::After, '#') => return Ok(value),
                (State::Bare | State::After, c) if c.is_ascii_whitespace() || c == '\u{b}' => State::After,
                (State::After, _) => return Err(Fault::WhiteSpace),
                (State::Start | State::Bare, '$') => value.dollar(State::Bare),
                (State::Start | State::Bare, c) => value.push(c, State::Bare),
                (State::SingleQuoted, '\'') | (State::DoubleQuoted, '"') => State::After,
                (State::SingleQuoted, c) => value.push(c, State::SingleQuoted),
                (State::DoubleQuoted, '\\') => State::Escape,
                (State::DoubleQuoted, '$') => value.dollar(State::DoubleQuoted),
                (State::DoubleQuoted, c) | (State::Escape, c @ ('"' | '\\' | '$')) => {
                    value.push(c, State::DoubleQuoted)
                }
                (State::Escape, c) => value.push(control(c)?, State::DoubleQuoted),
            };
        }
        match state {
            State::SingleQuoted | State::DoubleQuoted | State::Escape => Err(Fault::OpenQuote),
            State::Start | State::Bare | State::After => Ok(value),
        }
    }

    fn push(&mut self, c: char, next: State) -> State {
        self.text.push(c);
        next
    }

    fn dollar(&mut self, next: State) -> State {
        self.dollars.push(self.text.len());
        self.push('$', next)
    }

    /// Puts in what `${NAME}` stands for. One that stands for nothing stays as it is.
    fn resolve(self, known: impl Fn(&str) -> Option<String>) -> String {
        let mut text = self.text;
        // From the end, so that what is put in moves no position and is not looked at again.
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

fn control(escape: char) -> Result<char, Fault> {
    Ok(match escape {
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        _ => return Err(Fault::UnknownEscape),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, (usize, Fault)> {
        let known = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        parse(text, known).map(|variables| variables.into_iter().collect())
    }

    fn value(text: &str) -> String {
        let mut found = read(&format!("A={text}")).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        found.pop().unwrap().1
    }

    #[test]
    fn values() {
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
    fn files() {
        let text = "\u{feff}# comment\r\n\r\nexport AB=1\n\"B\" = 2\n'C'=${AB}${B}\nAB=3\nD\nE=x\nE\n F.G=\"\nx\n\"\n";
        let expected = [("AB", "3"), ("B", "2"), ("C", "12"), ("F.G", "\nx\n")];
        assert_eq!(read(text).unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, fault) in [
            ("\nA=two words", 2, Fault::WhiteSpace),
            ("A='x", 1, Fault::OpenQuote),
            ("A=\"x\nB=1\n", 1, Fault::OpenQuote),
            ("A=1\n=2", 2, Fault::NoName),
            ("A-B=1", 1, Fault::InvalidName),
            ("A=\"\\d\"", 1, Fault::UnknownEscape),
            ("A='x' y", 1, Fault::WhiteSpace),
            ("A=1\n B", 2, Fault::InvalidName),
        ] {
            assert_eq!(read(text), Err((line, fault)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(text in "[A-C=\"'\\\\$ {}#\n\r a-c山]{0,40}") {
            let _ = read(&text);
        }

        #[test]
        fn single_quotes_take_everything_but_themselves(text in "[^'\\p{Cc}]{0,30}") {
            // A double quote right behind the = would open a text of several lines.
            prop_assume!(!text.contains("=\""));
            prop_assert_eq!(value(&format!("'{text}'")), text);
        }
    }
}
