//! The metrics page, the alerting rules in `deploy/yamabiko.rules.yml`, and the dashboard in `deploy/grafana.json`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Request, Server};

#[test]
fn the_metrics_format_follows_the_accept_header() {
    let server = Server::start(|_| {});
    let page = |accept: &str| Request::get(server.admin, "/metrics").header("Accept", accept).send();
    let text = page("*/*");
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(text.text().contains("# TYPE yamabiko_connections_opened_total counter\n"), "{}", text.text());
    let open = page("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.text().ends_with("# EOF\n"), "{}", open.text());
}

/// Debian's `promtool` runs the rules on series that must fire them and on series that must not: `tests/alerts.yml`.
#[test]
fn each_alert_fires_exactly_when_it_should() {
    promtool(&["check", "rules", "deploy/yamabiko.rules.yml"], "");
    promtool(&["test", "rules", "tests/alerts.yml"], "");
    let (rules, cases) = (read("deploy/yamabiko.rules.yml"), read("tests/alerts.yml"));
    let alerts: Vec<&str> =
        rules.split("- alert: ").skip(1).map(|rest| rest.lines().next().unwrap()).collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    let cases: Vec<&str> = cases.split("alertname: ").skip(1).collect();
    for alert in alerts {
        let of_it = || cases.iter().filter(|case| case.lines().next() == Some(alert));
        let is_silent =
            |case: &&&str| case.lines().nth(1).is_some_and(|line| line.ends_with("exp_alerts: []"));
        assert!(of_it().any(|case| is_silent(&case)), "no case in which {alert} must not fire");
        assert!(of_it().any(|case| !is_silent(&case)), "no case in which {alert} must fire");
    }
}

/// Also what an expression or a document names with its labels.
#[test]
fn every_metric_in_rules_dashboard_and_docs_is_exported_from_the_start() {
    let server = Server::start(|options| {
        options.config(EVERYTHING);
    });
    let page = server.get_admin("/metrics");
    promtool(&["check", "metrics"], page.text());
    let series: BTreeSet<&str> = page
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let histograms =
        page.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"));
    let names: BTreeSet<&str> =
        series.iter().map(|series| series.split('{').next().unwrap()).chain(histograms).collect();
    for (file, text) in [
        ("deploy/yamabiko.rules.yml", read("deploy/yamabiko.rules.yml")),
        ("deploy/grafana.json", dashboard_queries().join("\n")),
        ("docs/metrics.md", read("docs/metrics.md")),
        ("docs/deploy.md", read("docs/deploy.md")),
    ] {
        let mut found = 0;
        for prefix in ["yamabiko_", "process_"] {
            for (at, _) in text.match_indices(prefix) {
                let name: String =
                    text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let before = text[..at].chars().next_back();
                if name == prefix || before.is_some_and(|c| c.is_ascii_alphanumeric() || "_/".contains(c)) {
                    continue;
                }
                assert!(names.contains(&*name), "{file}: {name} is not in {names:#?}");
                found += 1;
                let labels =
                    text[at + name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next());
                for matcher in labels.into_iter().flat_map(|labels| labels.split(',')) {
                    // What Prometheus adds, and what is named without a value.
                    let (label, value) = matcher.split_once('=').unwrap_or((matcher, ""));
                    let label = label.trim_end_matches('!').trim();
                    if ["job", "instance", "le"].contains(&label) {
                        continue;
                    }
                    let wanted =
                        format!("{label}={}", if ["", "\"\""].contains(&value) { "\"" } else { value });
                    assert!(
                        series.iter().any(|series| {
                            series.starts_with(&format!("{name}{{")) && series.contains(&wanted)
                                || series.starts_with(&format!("{name}_count{{")) && series.contains(&wanted)
                                || file == "docs/metrics.md" && label == "key"
                        }),
                        "{file}: {name} with {wanted} is not in {series:#?}"
                    );
                }
            }
        }
        assert!(found >= 8, "{file}: {found}");
    }
    let native = read("docs/native.md");
    for (metric, from, to) in [
        ("yamabiko_handshakes_refused_total", "### Refused handshakes", "## Sending"),
        ("yamabiko_renewals_refused_total", "### Renewing a token", "### Keys and rotation"),
        ("yamabiko_messages_refused_total", "## Acknowledgements", "## Receiving"),
        ("yamabiko_broker_dropped_total", "### Dropped messages", "### Removing a user"),
    ] {
        let part = native.split_once(from).unwrap().1.split_once(to).unwrap().0;
        for row in part.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let cell = if cells[1].parse::<u16>().is_ok() { cells[2] } else { cells[1] };
            for reason in
                cell.split('`').skip(1).step_by(2).filter(|word| !word.contains('.') && *word != "reason")
            {
                let wanted = format!("{metric}{{reason=\"{reason}\"}}");
                assert!(series.contains(&*wanted), "{wanted} is not in {series:#?}");
            }
        }
    }
}

#[test]
fn the_reasons_for_refused_subscriptions_are_those_of_the_document() {
    let server = Server::start(|options| {
        options.config(EVERYTHING);
    });
    let pusher = read("docs/pusher.md");
    let table =
        pusher.split_once("A refused subscription has one").unwrap().1.split_once("The log names").unwrap().0;
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let reasons = rows.flat_map(|row| row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let documented: BTreeSet<&str> = reasons.collect();
    let page = server.get_admin("/metrics");
    let exported: BTreeSet<&str> = page
        .text()
        .lines()
        .filter_map(|line| {
            line.strip_prefix("yamabiko_pusher_subscriptions_refused_total{reason=\"")?.split('"').next()
        })
        .collect();
    assert_eq!(documented, exported);
}

/// Settings with which every metric has a series.
const EVERYTHING: &str = r#"
    [events]
    secret = "the-secret-of-events-with-32-bytes-or-more"
    [[webhooks]]
    url = "http://127.0.0.1:9/hook"
    [channels.room]
    gate = { url = "http://127.0.0.1:9/gate" }
    fields = ["message"]
    [[apps]]
    id = "1"
    key = "a-key"
    secret = "a-secret-with-at-least-32-characters"
    webhooks = [{ url = "http://127.0.0.1:9/app" }]
"#;

/// The expressions of the panels of `deploy/grafana.json`.
pub(crate) fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}
