//! The room from outside: a file and an environment in, settings with their origins or all problems out.

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

mod apps;
mod documentation;
mod gates;
mod history;
mod layers;
mod problems;
mod secrets;
mod tracing;

const SECRET: (&str, &str) = ("YAMABIKO__AUTH__SECRET", "a secret of thirty-two bytes or so");

struct File {
    _directory: TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("yamabiko.toml");
    std::fs::write(&path, text).unwrap();
    File { _directory: directory, path }
}

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment: Environment = variables.iter().copied().collect();
    load(Some(&file(text).path), &environment, AuthKeys::Optional)
}

fn env(variables: &[(&str, &str)]) -> Config {
    load(None, &variables.iter().copied().collect(), AuthKeys::Optional).unwrap()
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    with(text, variables).unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn problem(text: &str, variables: &[(&str, &str)]) -> String {
    let found = problems(text, variables);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

fn origin<'a>(config: &'a Config, section: &str, name: &str) -> Option<&'a str> {
    config.origin(&Key::new(section, name))
}
