use axum::body::Bytes;
use axum::http::{HeaderMap, header};

use crate::telemetry::Metrics;

/// The formats that Prometheus reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    Text,
    OpenMetrics,
    /// The only one with native histograms. Prometheus asks for it if it is configured to store them.
    Protobuf,
}

impl MetricsFormat {
    /// The one that is accepted by name with the highest quality.
    pub(super) fn negotiate(headers: &HeaderMap) -> Self {
        let (mut protobuf, mut open, mut text) = (0.0_f32, 0.0_f32, 0.0_f32);
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut is_delimited) = (1.0_f32, false);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.parse().unwrap_or(quality),
                    Some(("encoding", value)) => is_delimited = value == "delimited",
                    _ => {}
                }
            }
            if kind.eq_ignore_ascii_case("application/vnd.google.protobuf") && is_delimited {
                protobuf = protobuf.max(quality);
            } else if kind.eq_ignore_ascii_case("application/openmetrics-text") {
                open = open.max(quality);
            } else if ["text/plain", "text/*", "*/*"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
                text = text.max(quality);
            }
        }
        if protobuf > 0.0 && protobuf >= open && protobuf >= text {
            Self::Protobuf
        } else if open > 0.0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// `None`: a metric cannot be encoded.
    pub(super) fn page(self, metrics: &Metrics) -> Option<Bytes> {
        match self {
            Self::Text => Some(metrics.render_text().into()),
            Self::OpenMetrics => Some(metrics.render().into()),
            Self::Protobuf => metrics.render_protobuf().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_the_metrics_is_negotiated() {
        let format = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            MetricsFormat::negotiate(&headers)
        };
        assert_eq!(MetricsFormat::negotiate(&HeaderMap::new()), MetricsFormat::Text);
        for text in [
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2, text/plain;q=0.5",
            "application/json",
        ] {
            assert_eq!(format(text), MetricsFormat::Text, "{text}");
        }
        for open in [
            // Prometheus 2 and 3, and Grafana Alloy.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "Application/OpenMetrics-Text",
            "application/vnd.google.protobuf;q=1,application/openmetrics-text;q=0.5",
        ] {
            assert_eq!(format(open), MetricsFormat::OpenMetrics, "{open}");
        }
        // Prometheus 2 and 3, with native histograms.
        for protobuf in [
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
             application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1",
        ] {
            assert_eq!(format(protobuf), MetricsFormat::Protobuf, "{protobuf}");
        }
    }
}
