use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::time::{Instant, sleep, timeout};

use super::event_queue::EventQueue;
use crate::message::AppEvent;
use crate::telemetry::{Metrics, WebhookCall};
use crate::unix_time::unix_time;
use crate::webhook_target::WebhookTarget;
use crate::webhooks::http_client::{HttpClient, post};
use crate::webhooks::request_signer::RequestSigner;

/// Maximum events in one request.
const MAX_BATCH: usize = 100;

/// Maximum bytes of the events in one request, or one event that is larger.
const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Events that happen within this time go into one request.
const GATHER: Duration = Duration::from_millis(20);

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request is retried before its events are dropped.
const RETRY_FOR: Duration = Duration::from_secs(5 * 60);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Delivers the events of a queue to one URL: one request at a time, in their order.
pub(super) struct Delivery {
    pub(super) target: WebhookTarget,
    pub(super) queue: Arc<EventQueue>,
    pub(super) http: HttpClient,
    pub(super) signer: RequestSigner,
    pub(super) metrics: Arc<Metrics>,
}

impl Delivery {
    pub(super) async fn run(self) {
        loop {
            self.queue.first(1, 0).await;
            sleep(GATHER).await;
            let events = self.queue.first(MAX_BATCH, MAX_REQUEST_BYTES).await;
            self.deliver(&events).await;
            self.queue.remove(events.len());
        }
    }

    /// Repeats a request until it is accepted, or until its events are too old.
    async fn deliver(&self, events: &[AppEvent]) {
        let body = encode(events);
        let late = Instant::now() + RETRY_FOR;
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let result = match timeout(RESPONSE_TIMEOUT, self.request(body.clone())).await {
                Ok(Ok(status)) if status.is_success() => Ok(()),
                Ok(Ok(status)) => Err(("status", format!("the response is {status}"))),
                Ok(Err(failure)) => Err(("unreachable", failure)),
                Err(_) => Err(("timeout", "no response in time".to_owned())),
            };
            let call = WebhookCall::new(None, result.as_ref().err().map_or("ok", |(outcome, _)| outcome));
            self.metrics.latency.webhook.get_or_create(&call).observe(began.elapsed().as_secs_f64());
            let Err((_, failure)) = result else {
                self.metrics.webhooks_sent.inc();
                return;
            };
            self.metrics.webhooks_failed.inc();
            let host = self.target.url.host().unwrap_or_default();
            if Instant::now() + pause >= late {
                self.metrics.webhooks_dropped.inc_by(events.len() as u64);
                tracing::warn!(
                    host,
                    failure,
                    events = events.len(),
                    "webhook failed for too long, events dropped"
                );
                return;
            }
            tracing::info!(host, failure, retry_in = ?pause, "webhook failed, retrying");
            // Jitter, so that nodes that fail together do not retry together.
            sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Signs each attempt with its own time, so that a late one is not taken for a replay.
    async fn request(&self, body: Bytes) -> Result<StatusCode, String> {
        let mut request = post(&self.target, body.clone())?;
        self.signer.sign(&mut request, &body, unix_time().as_secs());
        let response = self.http.request(request).await.map_err(|error| error.to_string())?;
        Ok(response.status())
    }
}

fn encode(events: &[AppEvent]) -> Bytes {
    let mut body = br#"{"events":["#.to_vec();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&event.payload);
    }
    body.extend_from_slice(b"]}");
    body.into()
}
