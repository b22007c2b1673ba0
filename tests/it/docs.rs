//! Checks the documents against the code: links, settings, names, snippets, codes, metrics.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use yamabiko::message::Reconnect;
use yamabiko::protocol::{native, pusher};
use yamabiko::telemetry::{ChannelGroup, KindLabel, Metrics, WebhookLabel, WebhookQueueLabel};
use yamabiko::transport;

const READMES: [&str; 2] = ["README.md", "README.ja.md"];
const LARAVEL_PAGES: [&str; 2] = ["docs/laravel.md", "docs/laravel.ja.md"];

#[test]
fn every_relative_link_resolves() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = without_code(&fs::read_to_string(&document).unwrap());
        for target in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let leads = file.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&file).unwrap()).contains(anchor));
            if !leads {
                broken.push(format!("{}: {target}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The pages that show each file of `docs/snippets`.
const SNIPPETS: [(&str, &[&str]); 12] = [
    ("broadcast.php", &["docs/pusher.md"]),
    ("browser.js", &LARAVEL_PAGES),
    ("command-line.sh", &LARAVEL_PAGES),
    ("durable.php", &LARAVEL_PAGES),
    ("echo.env", &["docs/pusher.md"]),
    ("events.php", &["docs/native.md"]),
    ("gate.php", &["docs/native.md"]),
    ("laravel-echo.js", &["docs/pusher.md"]),
    ("progress.php", &LARAVEL_PAGES),
    ("publish.php", &["README.md", "README.ja.md", "docs/laravel.md", "docs/laravel.ja.md"]),
    ("token.php", &["README.md", "README.ja.md", "docs/laravel.md", "docs/laravel.ja.md"]),
    ("webhook.php", &["docs/native.md"]),
];

#[test]
fn the_pages_show_the_snippets_to_the_letter() {
    let files: BTreeSet<String> = fs::read_dir(root().join("docs/snippets"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files.iter().map(String::as_str).collect::<Vec<_>>(), SNIPPETS.map(|(name, _)| name));
    for (name, pages) in SNIPPETS {
        let snippet = read(&format!("docs/snippets/{name}"));
        for page in pages {
            assert!(read(page).contains(&format!("\n{snippet}```\n")), "{page} does not show {name}");
        }
    }
}

#[test]
fn both_languages_show_the_same_code() {
    for pages in [READMES, LARAVEL_PAGES] {
        let code = pages.map(|page| {
            let text = read(page);
            let blocks: Vec<String> = text
                .split("```")
                .skip(1)
                .step_by(2)
                .filter(|block| !block.starts_with("mermaid"))
                .map(str::to_owned)
                .collect();
            assert!(blocks.len() >= 3, "{page}: {blocks:?}");
            blocks
        });
        assert_eq!(code[0], code[1], "{pages:?}");
    }
}

#[test]
fn the_console_says_in_both_languages_why_a_token_is_refused() {
    let (source, texts) = (read("src/auth/reject_reason.rs"), read("src/console/page/texts.js"));
    for code in words(&source).into_iter().filter(|word| is_code(word)) {
        assert!(texts.contains(&format!("  refused_{code}: [")), "texts.js has no words for {code}");
    }
}

#[test]
fn the_pages_set_all_that_the_token_route_takes_from_the_configuration() {
    let route = read("docs/snippets/token.php");
    let keys: BTreeSet<&str> = route
        .split("config('services.yamabiko.")
        .skip(1)
        .map(|rest| rest.split('\'').next().unwrap())
        .collect();
    assert_eq!(keys, BTreeSet::from(["secret", "url"]));
    assert!(!route.contains("localhost"), "the address is the application's, not this file's");
    for page in READMES.into_iter().chain(LARAVEL_PAGES) {
        let text = read(page);
        let services = text.lines().find(|line| line.starts_with("'yamabiko' => [")).unwrap();
        for key in &keys {
            assert!(services.contains(&format!("'{key}' => env(")), "{page}: {key} is not in {services}");
        }
        assert!(text.contains("APP_WS_URL=ws"), "{page}");
    }
}

#[test]
fn troubleshooting_md_says_what_to_check_for_every_refused_token() {
    let page = read("docs/troubleshooting.md");
    let part = between(&page, "## The token is refused", "### Comparing the secrets");
    let documented: BTreeSet<&str> =
        rows(part).flat_map(|row| row[0].split('`').skip(1).step_by(2).collect::<Vec<_>>()).collect();
    let source = read("src/auth/reject_reason.rs");
    let codes: BTreeSet<&str> = words(&source).into_iter().filter(|word| is_code(word)).collect();
    assert!(codes.len() >= 10, "{codes:?}");
    assert_eq!(documented, codes);
    for readme in READMES {
        assert!(read(readme).contains("(docs/troubleshooting.md)"), "{readme} does not lead there");
    }
}

/// Whether a word of the source is a code of a refused token.
fn is_code(word: &str) -> bool {
    word.contains('_') || word == "revoked"
}

#[test]
fn the_query_for_failed_webhooks_finds_every_line_about_them() {
    let page = read("docs/deploy.md");
    let query = between(&page, "--grep 'webhook (", ")'");
    let beginnings: Vec<String> = query.split('|').map(|word| format!("webhook {word}")).collect();
    let mut found = BTreeSet::new();
    for file in fs::read_dir(root().join("src/webhooks")).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(source) = fs::read_to_string(&file) else { continue };
        for text in source.split('"').filter(|text| text.starts_with("webhook ")) {
            if text.contains("failed") || text.contains("dropped") {
                let beginning = beginnings.iter().find(|beginning| text.starts_with(beginning.as_str()));
                found.insert(beginning.unwrap_or_else(|| panic!("{text} is not found")).clone());
            }
        }
    }
    assert_eq!(found, beginnings.into_iter().collect(), "every word finds something");
}

#[test]
fn native_md_has_the_codes_of_the_source_and_no_others() {
    let native = read("docs/native.md");
    for (from, to, files) in [
        (
            "### Refused handshakes",
            "## Sending",
            &["src/auth/reject_reason.rs", "src/transport/handshake.rs"][..],
        ),
        ("## Acknowledgements", "## Receiving", &["src/protocol/native/acknowledgement.rs"]),
        (
            "### Dropped messages",
            "### Removing a user",
            &["src/broker/envelope/decode.rs", "src/server/relay.rs", "src/broker/redis/inbound_stream.rs"],
        ),
    ] {
        let part = between(&native, from, to);
        let documented: BTreeSet<String> = rows(part)
            .map(|row| if row[0].parse::<u16>().is_ok() { row[1] } else { row[0] })
            .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
            .filter(|code| !code.contains('.') && code != "reason")
            .collect();
        assert!(documented.len() >= 5, "{from}: {documented:?}");
        let sources: Vec<String> = files.iter().map(|file| read(file)).collect();
        let words: BTreeSet<&str> = sources.iter().flat_map(|source| words(source)).collect();
        for code in &documented {
            assert!(words.contains(code.as_str()), "{from}: {code} is not in {files:?}");
        }
        // Other texts of one word are header names and keys.
        for word in words.iter().filter(|word| word.contains('_')) {
            assert!(documented.contains(*word), "{from}: {word} of {files:?} is missing");
        }
    }
}

#[test]
fn native_md_has_every_close_code() {
    let native = read("docs/native.md");
    let part = between(&native, "## Close codes", "### Reconnecting");
    let documented: BTreeSet<(&str, &str)> = rows(part).map(|row| (row[0], row[1])).collect();
    let closes = native::close::ALL.into_iter().chain(transport::close::ALL);
    let declared: BTreeSet<(String, String)> =
        closes.map(|close| (close.code.to_string(), format!("`{}`", close.reason))).collect();
    for (code, reason) in &declared {
        assert!(documented.contains(&(code.as_str(), reason.as_str())), "{code} {reason}");
    }
    // The codes that a client sees without a close frame of the server.
    for (code, _) in documented.iter().filter(|(code, _)| !["code", "1000", "1006"].contains(code)) {
        assert!(declared.iter().any(|(known, _)| known == code), "{code} is not a close code of the server");
    }
}

#[test]
fn pusher_md_has_every_close_code() {
    let pusher = read("docs/pusher.md");
    let part = between(&pusher, "## Errors and close codes", "A refused subscription");
    let codes =
        |row: &Vec<&str>| row[0].split(", ").filter_map(|code| code.parse().ok()).collect::<Vec<u16>>();
    let documented: BTreeMap<u16, String> = rows(part)
        .flat_map(|row| codes(&row).into_iter().map(move |code| (code, row[2].to_owned())))
        .collect();
    for close in pusher::close::ALL.into_iter().filter(|close| close.code >= 4000) {
        let does = match close.reconnect {
            Reconnect::AtOnce => "reconnects at once",
            Reconnect::AfterDelay => "reconnects after a second",
            Reconnect::Never | Reconnect::WithNewToken => "does not reconnect",
        };
        assert_eq!(documented.get(&close.code).map(String::as_str), Some(does), "{close:?}");
    }
}

#[test]
fn documents_name_only_existing_metrics() {
    let metrics = metrics();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("yamabiko_") {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '$' || c == '/' || c == '_') {
                continue;
            }
            let name: String =
                text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            assert!(metrics.contains(&name), "{}: {name}", document.display());
        }
    }
}

#[test]
fn metrics_md_lists_every_metric() {
    let page = read("docs/metrics.md");
    let rows: String = page.lines().filter(|line| line.starts_with("| `")).collect();
    let is_part = |name: &str| ["_bucket", "_sum", "_count"].iter().any(|part| name.ends_with(part));
    for name in metrics().iter().filter(|name| !is_part(name)) {
        assert!(
            [format!("`{name}`"), format!("`{name}{{")].iter().any(|cell| rows.contains(cell)),
            "docs/metrics.md has no row for {name}"
        );
    }
}

#[test]
fn deploy_md_quotes_the_log_to_the_letter() {
    let deploy = read("docs/deploy.md");
    let lines: Vec<&str> = rows(between(&deploy, "## Logs", "## File descriptors"))
        .skip(1)
        .flat_map(|row| row[0].split('`').skip(1).step_by(2).collect::<Vec<_>>())
        .collect();
    assert!(lines.len() >= 10, "{lines:?}");
    let sources = sources(&root().join("src"));
    for line in lines {
        assert!(sources.contains(&format!("\"{line}\"")), "no line of the log is {line:?}");
    }
}

/// All of the code, without its tests.
fn sources(folder: &Path) -> String {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "rs"));
    paths
        .iter()
        .map(|path| {
            if path.is_dir() {
                sources(path)
            } else {
                before_tests(&fs::read_to_string(path).unwrap()).to_owned()
            }
        })
        .collect()
}

/// The names that Prometheus shows.
fn metrics() -> BTreeSet<String> {
    let metrics = Metrics::new();
    // The kinds are those of an installation.
    metrics.fields_left_out.get_or_create(&KindLabel::new("some")).inc();
    drop(metrics.latency.gate.get_or_create(&KindLabel::new("some")));
    let _ = metrics.start_channels(&ChannelGroup::of_kind("some"));
    metrics.latency.start_webhooks(None);
    drop(metrics.levels.webhook_queue_events.get_or_create(&WebhookQueueLabel::new(None)));
    drop(metrics.levels.webhook_redis_events.get_or_create(&WebhookLabel::new(None, 0)));
    let page = metrics.render();
    // A histogram is named without its parts as well.
    let histograms = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"));
    let names: BTreeSet<String> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .chain(histograms)
        .map(str::to_owned)
        .collect();
    assert!(names.contains("yamabiko_broker_interruptions_total"), "{names:?}");
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document of the project.
fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for folder in ["", "docs", "docs/decisions"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    assert!(documents.len() >= 12, "{documents:?}");
    documents
}

/// Fenced code blanked: what looks like a link there is none.
fn without_code(text: &str) -> String {
    text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    without_code(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                    _ => None,
                })
                .collect()
        })
        .collect()
}

/// The rows of all tables, but for their rules; each a list of its cells.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to:?} after {from:?}")).0
}

fn before_tests(source: &str) -> &str {
    source.split("#[cfg(test)]").next().unwrap_or(source)
}

/// The quoted texts that could be codes: lower-case letters, optionally joined by `_`.
fn words(source: &str) -> BTreeSet<&str> {
    before_tests(source)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}
