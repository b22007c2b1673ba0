use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::time::timeout;

use super::otlp::rejected_spans;
use crate::http_client::{HttpClient, http_client, post};
use crate::webhook_target::WebhookTarget;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// The longest pause that a collector may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Takes spans over HTTP.
pub(super) struct Collector {
    target: WebhookTarget,
    http: HttpClient,
}

/// The collector has not taken the spans.
#[derive(Debug)]
pub(super) struct ExportError {
    /// The `reason` in the metric and the log.
    pub(super) reason: &'static str,
    pub(super) failure: String,
    /// The same request may succeed later.
    pub(super) may_retry: bool,
    /// How long the collector wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Collector {
    pub(super) fn new(target: WebhookTarget) -> Self {
        Self { target, http: http_client() }
    }

    /// The path of a URL is often a secret.
    pub(super) fn host(&self) -> &str {
        self.target.url.host().unwrap_or_default()
    }

    /// Sends the body of a request. Returns how many of its spans the collector has rejected.
    pub(super) async fn send(&self, body: Bytes) -> Result<u64, ExportError> {
        timeout(RESPONSE_TIMEOUT, self.request(body)).await.unwrap_or_else(|_| {
            Err(ExportError {
                reason: "timeout",
                failure: "no response in time".to_owned(),
                may_retry: true,
                retry_after: None,
            })
        })
    }

    async fn request(&self, body: Bytes) -> Result<u64, ExportError> {
        let unreachable =
            |failure| ExportError { reason: "unreachable", failure, may_retry: true, retry_after: None };
        let mut request = post(&self.target, body).map_err(unreachable)?;
        let encoding = HeaderValue::from_static("application/x-protobuf");
        request.headers_mut().insert(CONTENT_TYPE, encoding);
        let response = self.http.request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let (head, body) = response.into_parts();
        // Read to the end also if it does not matter, so that the connection can be used again.
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await;
        if head.status.is_success() {
            // It has the spans, whatever it answers.
            return Ok(body.map(|body| rejected_spans(&body.to_bytes())).unwrap_or_default());
        }
        // Those that the specification of OTLP names.
        let may_retry = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ]
        .contains(&head.status);
        Err(ExportError {
            reason: "status",
            failure: format!("the response is {}", head.status),
            may_retry,
            retry_after: retry_after(&head.headers),
        })
    }
}

/// A date, which the header may be as well, is left to the pauses between attempts.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_bounded() {
        let read = |value: &str| {
            retry_after(&[(RETRY_AFTER, value.parse().unwrap())].into_iter().collect::<HeaderMap>())
        };
        assert_eq!(read("2"), Some(Duration::from_secs(2)));
        assert_eq!(read("99999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!([read("soon"), read("-1"), read("")], [None; 3]);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
