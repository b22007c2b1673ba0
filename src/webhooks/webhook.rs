//! One webhook: its events, and their delivery, one request at a time, in order, retried until it is accepted or too old.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderName;
use hyper::{Request, StatusCode};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::clock::Clock;
use super::lane_events::{LaneEvents, PendingLaneEvent};
use super::lease::{Lease, expired};
use super::pending_events::{Dropped, PendingEvents};
use super::request_signer::RequestSigner;
use super::retry::{End, RetryOutcome, retry};
use crate::http_client::{HttpClient, header_value, post, set_trace};
use crate::message::AppEvent;
use crate::protocol::pusher::App;
use crate::telemetry::{Metrics, Span, SpanKind, WebhookCall, WebhookLabel};
use crate::trace_context::TraceContext;
use crate::unix_time::unix_time;
use crate::webhook_target::WebhookTarget;

/// How long a response may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Events that happen within this time go into one request.
const GATHER: Duration = Duration::from_millis(50);

/// One URL that receives events.
pub(super) struct Webhook {
    pub(super) signer: Signer,
    pub(super) target: WebhookTarget,
    /// Its place in the settings of its app, or of native channels.
    index: usize,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    /// Whether its events wait in Redis, and the index of their lane there.
    pub(super) lane: Option<(Arc<LaneEvents>, usize)>,
    /// How many events the lane has, of all nodes, as far as this node has been told.
    in_lane: AtomicUsize,
    pub(super) lease: watch::Sender<Lease>,
    pub(super) pending: Mutex<Box<dyn PendingEvents>>,
    /// There may be another request.
    pub(super) changed: Notify,
}

/// What the application verifies.
pub(super) enum Signer {
    App(Arc<App>),
    Native(RequestSigner),
}

impl Webhook {
    pub(super) fn new(
        signer: Signer,
        (target, index): (WebhookTarget, usize),
        pending: Box<dyn PendingEvents>,
        metrics: &Arc<Metrics>,
        clock: &Clock,
        lane: Option<(Arc<LaneEvents>, usize)>,
    ) -> Arc<Self> {
        let lease = if lane.is_some() { Lease::default() } else { Lease::ALWAYS };
        Arc::new(Self {
            signer,
            target,
            index,
            clock: clock.clone(),
            metrics: metrics.clone(),
            lane,
            in_lane: AtomicUsize::new(0),
            lease: watch::Sender::new(lease),
            pending: Mutex::new(pending),
            changed: Notify::new(),
        })
    }

    /// Queues an event: in Redis, or in memory. One of a public channel gives way to others.
    pub(super) fn push(&self, event: AppEvent, is_public: bool) {
        let Some((events, lane)) = &self.lane else { return self.push_local(&event) };
        let event = PendingLaneEvent { lane: *lane, is_public, event };
        if let Err(event) = events.push(event) {
            if events.is_denied() { self.push_local(&event) } else { self.on_full(&event) }
        }
    }

    /// Queues an event in the memory of this node.
    pub(super) fn push_local(&self, event: &AppEvent) {
        if let Err(Dropped { events, last }) = self.pending().push(&event.payload, self.clock.millis(), None)
        {
            let (kind, channel) = last.unwrap_or_else(|| (event.name, event.channel.clone()));
            self.on_dropped(events, kind, channel.as_str());
        }
        self.changed.notify_one();
    }

    /// There is no room for an event.
    pub(super) fn on_full(&self, event: &AppEvent) {
        self.on_dropped(1, event.name, event.channel.as_str());
    }

    pub(super) fn on_dropped(&self, events: u64, kind: &str, channel: &str) {
        self.metrics.webhooks_dropped.inc_by(events);
        tracing::warn!(
            app = self.app(),
            host = self.host(),
            event = kind,
            %channel,
            events,
            "webhook queue full, event dropped"
        );
    }

    /// Delivers until nothing is left and the node shuts down, or until the deadline of that.
    pub(super) async fn run(self: Arc<Self>, http: HttpClient, end: End) {
        tokio::select! {
            () = self.deliver_all(&http, end.clone()) => {}
            () = deadline(end) => {}
        }
    }

    /// How many events wait in Redis, of all nodes.
    pub(super) fn in_redis(&self) -> usize {
        if self.is_in_redis() { self.in_lane.load(Ordering::Relaxed) } else { 0 }
    }

    pub(super) fn set_in_lane(&self, events: usize) {
        self.in_lane.store(events, Ordering::Relaxed);
    }

    /// The settings lack it now. What waits for it in Redis is not lost yet.
    pub(super) fn on_removed(&self) {
        let events = self.in_redis();
        if events > 0 {
            tracing::warn!(
                app = self.app(),
                host = self.host(),
                events,
                hint = "add it again to the settings to have them delivered, with the same URL",
                "webhook removed: its events stay in Redis for a day"
            );
        }
    }

    /// Counts what is left in memory after the shutdown.
    pub(super) fn on_end(&self) {
        let left = self.pending().drain().len();
        if left == 0 {
            return;
        }
        let (app, host) = (self.app(), self.host());
        if self.is_in_redis() {
            tracing::info!(app, host, events = left, "webhook events are left in Redis for another node");
        } else {
            self.metrics.webhooks_dropped.inc_by(left as u64);
            tracing::warn!(
                app,
                host,
                events = left,
                "webhook events dropped: not delivered before the shutdown"
            );
        }
    }

    /// Whether events wait in Redis.
    pub(super) fn is_in_redis(&self) -> bool {
        self.lane.as_ref().is_some_and(|(events, _)| !events.is_denied())
    }

    async fn deliver_all(&self, http: &HttpClient, mut end: End) {
        let mut lease = self.lease.subscribe();
        loop {
            // Read before the queue: the last events were queued before the deadline was set.
            let ending = *end.borrow();
            if ending.is_some_and(|ending| ending.is_handed_over) && self.is_in_redis() {
                return;
            }
            let held = *lease.borrow_and_update();
            let (body, next) = {
                let mut pending = self.pending();
                let body = if held.is_valid() { pending.request(self.clock.millis()) } else { None };
                (body, pending.next_ready())
            };
            match body {
                Some(body) => self.deliver(http, &end, held, body).await,
                None if ending.is_some() => return,
                None => tokio::select! {
                    () = self.wait(next.filter(|_| held.is_valid())) => {}
                    Ok(()) = lease.changed() => {}
                    Ok(()) = end.changed() => {}
                },
            }
        }
    }

    /// Waits for an event, or for a departure that becomes final.
    async fn wait(&self, next: Option<u64>) {
        match next {
            None => self.changed.notified().await,
            Some(at) => {
                let left = at.saturating_sub(self.clock.millis());
                let _ = timeout(Duration::from_millis(left), self.changed.notified()).await;
            }
        }
        sleep(GATHER).await;
    }

    /// Delivers the current request while the lease is valid.
    async fn deliver(&self, http: &HttpClient, end: &End, lease: Lease, body: Bytes) {
        let (app, host) = (self.app(), self.host());
        let traces = if self.metrics.tracer().is_on() { self.pending().traces() } else { Vec::new() };
        let attempt = || self.attempt(http, body.clone(), &traces);
        let outcome = tokio::select! {
            outcome = retry((app, host), &self.metrics, end.clone(), || self.is_in_redis(), attempt) => outcome,
            () = expired(self.lease.subscribe(), lease.term) => {
                tracing::info!(app, host, "webhook left to the node that has the lease");
                return;
            }
        };
        let mut pending = self.pending();
        if self.lease.borrow().term != lease.term || matches!(outcome, RetryOutcome::HandedOver) {
            return;
        }
        let events = pending.finish_request();
        drop(pending);
        if let RetryOutcome::GivenUp(failure) = outcome {
            self.metrics.webhooks_dropped.inc_by(events as u64);
            tracing::warn!(app, host, failure, events, "webhook failed for too long, events dropped");
        }
        if let Some((lanes, _)) = &self.lane {
            lanes.wake_reader();
        }
    }

    async fn attempt(&self, http: &HttpClient, body: Bytes, traces: &[TraceContext]) -> Result<(), String> {
        let began = Instant::now();
        let span = self.start_span(traces);
        let request = self.request(http, body, span.as_ref());
        let (outcome, result) = match timeout(RESPONSE_TIMEOUT, request).await {
            Ok(Ok(status)) if status.is_success() => ("ok", Ok(())),
            Ok(Ok(status)) => ("status", Err(format!("the response is {status}"))),
            Ok(Err(failure)) => ("unreachable", Err(failure)),
            Err(_) => ("timeout", Err("no response in time".to_owned())),
        };
        let durations = &self.metrics.latency.webhook;
        let duration = durations.get_or_create_owned(&WebhookCall::new(self.app(), outcome));
        duration.observe(began.elapsed().as_secs_f64());
        Span::end(span, result.is_err().then_some(outcome));
        result
    }

    /// The span of a request. Its events can belong to several traces: it is a part of the first one, and linked to the others.
    fn start_span(&self, traces: &[TraceContext]) -> Option<Span> {
        let mut span = self.metrics.tracer().span(SpanKind::Client, "webhook", traces.first())?;
        span.link(traces.get(1..).unwrap_or_default());
        span.set("server.address", self.host());
        if let Some(app) = self.app() {
            span.set("yamabiko.app", app);
        }
        Some(span)
    }

    async fn request(
        &self,
        http: &HttpClient,
        body: Bytes,
        span: Option<&Span>,
    ) -> Result<StatusCode, String> {
        let mut request = post(&self.target, body.clone())?;
        self.signer.sign(&mut request, &body)?;
        if let Some(span) = span {
            set_trace(&mut request, &span.context());
        }
        let response = http.request(request).await.map_err(|error| error.to_string())?;
        Ok(response.status())
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Box<dyn PendingEvents>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How metrics name it.
    pub(super) fn label(&self) -> WebhookLabel {
        WebhookLabel::new(self.app(), self.index)
    }

    /// The path of a URL is often a secret.
    pub(super) fn host(&self) -> &str {
        self.target.url.host().unwrap_or_default()
    }

    /// The app whose events it receives.
    pub(super) fn app(&self) -> Option<&str> {
        if let Signer::App(app) = &self.signer { Some(app.credentials.id()) } else { None }
    }
}

// The URL can contain a secret.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs one attempt. Those of native channels have the time of the attempt, so that a late one is not taken for a replay.
    fn sign(&self, request: &mut Request<Full<Bytes>>, body: &[u8]) -> Result<(), String> {
        match self {
            Self::App(app) => {
                let signature = app.credentials.sign_webhook(body);
                request.headers_mut().extend([
                    (HeaderName::from_static("x-pusher-key"), header_value(app.credentials.key())?),
                    (HeaderName::from_static("x-pusher-signature"), header_value(&signature)?),
                ]);
            }
            Self::Native(signer) => signer.sign(request, body, unix_time().as_secs()),
        }
        Ok(())
    }
}

/// Waits for the deadline of the shutdown.
async fn deadline(mut end: End) {
    let ending = end.wait_for(Option::is_some).await.ok().and_then(|ending| *ending);
    match ending {
        Some(ending) => sleep_until(ending.deadline).await,
        // The process ends without a shutdown.
        None => std::future::pending().await,
    }
}
