//! The checks themselves.

use std::time::Instant;

use serde::Deserialize;

use super::Args;
use super::finding::{Figure, Finding, Health};
use crate::cli::certificate::expiry;
use crate::cli::http_client::{Answer, HttpClient};
use crate::telemetry::MetricSamples;
use crate::unix_time::unix_time;

const DAY: f64 = 24.0 * 3600.0;

/// The answer to `/readyz`.
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    broker: String,
    draining: bool,
    waiting_for: Option<String>,
}

/// Checks what the operators' port tells.
pub(super) async fn operators(client: &HttpClient, args: &Args) -> Vec<Finding> {
    let started = Instant::now();
    let answer = match client.get("/readyz").await {
        Ok(answer) => answer,
        Err(error) => return vec![unreachable("server", client, &error)],
    };
    let time = Figure::new("time", started.elapsed().as_secs_f64(), "s");
    let Ok(readiness) = serde_json::from_slice::<Readiness>(&answer.body) else {
        let text =
            format!("{} answered {} to /readyz: is it the operators' port?", client.url, answer.status);
        return vec![Finding::new("server", Health::Unknown, text)];
    };
    let mut findings = vec![server(&readiness).with(time), broker(&readiness)];
    findings.extend(certificate(client, &answer, args));
    match client.get("/metrics").await {
        Ok(Answer { status: 200, body, .. }) => {
            let samples = MetricSamples::parse(&String::from_utf8_lossy(&body));
            findings.push(connections(&samples, args));
            findings.extend(lag(&samples, args));
        }
        Ok(Answer { status, .. }) => {
            let text = format!("{} answered {status} to /metrics", client.url);
            findings.push(Finding::new("connections", Health::Unknown, text));
        }
        Err(error) => findings.push(unreachable("connections", client, &error)),
    }
    findings
}

/// Checks that the way of the browsers is open.
pub(super) async fn public(client: &HttpClient, args: &Args) -> Vec<Finding> {
    match client.get("/healthz").await {
        Ok(answer) => {
            let (health, text) = match answer.status {
                200 => (Health::Ok, format!("{} answers", client.url)),
                status => (Health::Critical, format!("{} answered {status} to /healthz", client.url)),
            };
            let mut findings = vec![Finding::new("public", health, text)];
            findings.extend(certificate(client, &answer, args));
            findings
        }
        Err(error) => vec![unreachable("public", client, &error)],
    }
}

fn unreachable(name: &'static str, client: &HttpClient, error: &anyhow::Error) -> Finding {
    Finding::new(name, Health::Critical, format!("{}: {error:#}", client.url))
}

fn server(readiness: &Readiness) -> Finding {
    let (health, text) = if readiness.draining {
        (Health::Warning, "shutting down".to_owned())
    } else if let Some(waiting_for) = &readiness.waiting_for {
        (Health::Critical, format!("not ready: waiting for {waiting_for}"))
    } else if readiness.ready {
        (Health::Ok, "ready".to_owned())
    } else {
        (Health::Critical, "not ready".to_owned())
    };
    Finding::new("server", health, text)
}

fn broker(readiness: &Readiness) -> Finding {
    match readiness.broker.as_str() {
        "ready" => Finding::new("broker", Health::Ok, "broker ready"),
        reason => Finding::new("broker", Health::Critical, format!("broker unavailable: {reason}")),
    }
}

fn connections(samples: &MetricSamples, args: &Args) -> Finding {
    let values = (samples.get("yamabiko_connections"), samples.get("yamabiko_connections_limit"));
    let (Some(open), Some(limit)) = values else {
        return Finding::new("connections", Health::Unknown, "/metrics has no yamabiko_connections_limit");
    };
    let share = |percent: f64| limit * percent / 100.0;
    let figure = Figure::new("connections", open, "").at_most(
        share(args.connections_warning),
        share(args.connections_critical),
        Some(limit),
    );
    let text = format!("{open} of {limit} connections ({:.0}%)", open / limit.max(1.0) * 100.0);
    Finding::new("connections", figure.health(), text).with(figure)
}

/// Messages that wait for Redis, or for its copy of them: none without Redis. There are none to speak of unless Redis or the node cannot
/// keep up. A node of an older version does not tell.
fn lag(samples: &MetricSamples, args: &Args) -> Option<Finding> {
    let waiting = samples.get("yamabiko_broker_outbound_messages")?;
    let figure =
        Figure::new("lag", waiting, "").at_most(args.lag_warning.into(), args.lag_critical.into(), None);
    Some(Finding::new("lag", figure.health(), format!("{waiting} messages wait for the broker")).with(figure))
}

/// An expired certificate fails the request: this tells how long it is valid still.
fn certificate(client: &HttpClient, answer: &Answer, args: &Args) -> Option<Finding> {
    let certificate = answer.certificate.as_ref()?;
    let host = client.url.host();
    let Some(end) = expiry(certificate) else {
        let text = format!("the certificate of {host} cannot be read");
        return Some(Finding::new("certificate", Health::Unknown, text));
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds, for a person")]
    let left = end as f64 - unix_time().as_secs_f64();
    let figure = Figure::new(format!("certificate_{host}"), left, "s")
        .at_least(args.certificate_warning.as_secs_f64(), args.certificate_critical.as_secs_f64());
    let text = format!("certificate of {host} valid for {:.0} days", (left / DAY).floor());
    Some(Finding::new("certificate", figure.health(), text).with(figure))
}
