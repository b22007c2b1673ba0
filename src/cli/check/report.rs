//! What `check` prints.

use std::fmt::Write;

use serde::Serialize;

use super::finding::{Figure, Finding, Health};

/// The worst health. A failed check outweighs one that could not be made.
pub(super) fn health(findings: &[Finding]) -> Health {
    let weight = |health: &Health| match health {
        Health::Ok => 0,
        Health::Unknown => 1,
        Health::Warning => 2,
        Health::Critical => 3,
    };
    findings.iter().map(|finding| finding.health).max_by_key(weight).unwrap_or(Health::Unknown)
}

/// One line in the format of the Monitoring Plugins, the worst findings first.
pub(super) fn line(findings: &[Finding]) -> String {
    let worst = health(findings);
    let word = match worst {
        Health::Ok => "OK",
        Health::Warning => "WARNING",
        Health::Critical => "CRITICAL",
        Health::Unknown => "UNKNOWN",
    };
    let (bad, good): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.health == worst);
    // The separator of the performance data must not occur in a text.
    let texts: Vec<String> = bad.iter().chain(&good).map(|finding| finding.text.replace('|', "/")).collect();
    let mut line = format!("YAMABIKO {word}: {}", texts.join(", "));
    let figures: Vec<String> =
        findings.iter().filter_map(|finding| finding.figure.as_ref()).map(performance_data).collect();
    if !figures.is_empty() {
        let _ = write!(line, " | {}", figures.join(" "));
    }
    line
}

pub(super) fn json(findings: &[Finding]) -> String {
    #[derive(Serialize)]
    struct Report<'a> {
        status: Health,
        checks: &'a [Finding],
    }
    let report = Report { status: health(findings), checks: findings };
    // Strings and numbers can always be written as JSON.
    serde_json::to_string(&report).unwrap_or_default()
}

/// `'label'=value[unit];[warning];[critical];[min];[max]`. Where low values are bad, the thresholds are ranges that end with a colon.
fn performance_data(figure: &Figure) -> String {
    let colon = if figure.falls { ":" } else { "" };
    let threshold =
        |limit: Option<f64>| limit.map_or(String::new(), |limit| format!("{}{colon}", number(limit)));
    let label = figure.label.replace(['\'', '='], "_");
    let max = figure.max.map_or(String::new(), number);
    let data = format!(
        "'{label}'={}{};{};{};0;{max}",
        number(figure.value),
        figure.unit,
        threshold(figure.warning),
        threshold(figure.critical),
    );
    data.trim_end_matches(';').to_owned()
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let connections = Figure::new("connections", 800.0, "").at_most(614.4, 729.6, Some(768.0));
        let certificate =
            Figure::new("certificate_ws.example.com", 1_000_000.5, "s").at_least(1_814_400.0, 604_800.0);
        vec![
            Finding::new("server", Health::Ok, "ready").with(Figure::new("time", 0.0042, "s")),
            Finding::new("connections", connections.health(), "800 connections | full").with(connections),
            Finding::new("certificate", certificate.health(), "11 days left").with(certificate),
        ]
    }

    #[test]
    fn the_worst_comes_first_and_figures_follow() {
        assert_eq!(
            line(&findings()),
            "YAMABIKO CRITICAL: 800 connections / full, ready, 11 days left | 'time'=0.004s;;;0 \
             'connections'=800;614.4;729.6;0;768 'certificate_ws.example.com'=1000000.5s;1814400:;604800:;0"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&findings())).unwrap();
        assert_eq!(json["status"], "critical");
        assert_eq!(json["checks"][2]["status"], "warning");
        assert_eq!(json["checks"][1]["figure"]["max"], 768.0);
    }

    #[test]
    fn a_failure_outweighs_what_is_not_known() {
        let of = |healths: &[Health]| {
            health(&healths.iter().map(|health| Finding::new("x", *health, "")).collect::<Vec<_>>())
        };
        assert_eq!(of(&[Health::Ok, Health::Unknown]), Health::Unknown);
        assert_eq!(of(&[Health::Unknown, Health::Warning, Health::Ok]), Health::Warning);
        assert_eq!(of(&[Health::Critical, Health::Unknown]), Health::Critical);
        assert_eq!(of(&[]), Health::Unknown);
    }
}
