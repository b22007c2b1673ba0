//! Delivers webhooks: one task per webhook, one request at a time, in order, retried until it is accepted or too old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderName;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::event::{WebhookEvent, webhook_body};
use super::http_client::{HttpClient, header_value, http_client, post};
use super::native::NativeEvents;
use super::queue::{Dropped, WebhookQueue};
use crate::protocol::native::PRESENCE_APP;
use crate::protocol::pusher::{App, Apps};
use crate::telemetry::{LevelMetrics, Metrics, WebhookCall, WebhookQueueLabel};
use crate::unix_time::unix_time;
use crate::webhook_target::WebhookTarget;

/// Maximum events that wait for one webhook.
const CAPACITY: usize = 10_000;

/// How long a response may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request is retried before its events are dropped.
const RETRY_FOR: Duration = Duration::from_secs(5 * 60);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Events that happen within this time go into one request.
const GATHER: Duration = Duration::from_millis(50);

/// The webhooks of all apps.
#[derive(Debug)]
pub struct Webhooks {
    of_apps: HashMap<Arc<str>, Vec<Arc<Webhook>>>,
    tasks: Mutex<JoinSet<()>>,
    /// The deadline of the tasks, once the node shuts down. A task without events left ends earlier.
    end: watch::Sender<Option<Instant>>,
    clock: Clock,
    /// Takes the events of native channels.
    native: Option<Arc<NativeEvents>>,
}

type End = watch::Receiver<Option<Instant>>;

/// Milliseconds since the node was started.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn millis(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One URL that receives an app's events.
#[derive(Debug)]
struct Webhook {
    app: Arc<App>,
    target: WebhookTarget,
    queue: Mutex<WebhookQueue>,
    pushed: Notify,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Webhooks {
    /// Starts a task for each webhook. Needs a tokio runtime, if there is one.
    pub fn start(apps: &Apps, metrics: &Arc<Metrics>) -> Self {
        let clock = Clock(Instant::now());
        let mut http = None;
        let mut of_apps: HashMap<Arc<str>, Vec<Arc<Webhook>>> = HashMap::new();
        let mut tasks = JoinSet::new();
        let end = watch::Sender::new(None);
        for app in apps.iter().filter(|app| app.enabled) {
            if !app.rules.webhooks.is_empty() {
                metrics.latency.start_webhooks(Some(app.credentials.id()));
            }
            for settings in &app.rules.webhooks {
                // Loading the settings has checked it.
                let Ok(target) = settings.target() else { continue };
                let webhook = Arc::new(Webhook {
                    app: app.clone(),
                    target,
                    queue: Mutex::new(WebhookQueue::new(settings, CAPACITY)),
                    pushed: Notify::new(),
                    clock,
                    metrics: metrics.clone(),
                });
                tasks.spawn(
                    webhook.clone().run(http.get_or_insert_with(http_client).clone(), end.subscribe()),
                );
                of_apps.entry(app.credentials.id().clone()).or_default().push(webhook);
            }
        }
        Self { of_apps, tasks: Mutex::new(tasks), end, clock, native: None }
    }

    /// The same with what the application is told of native channels.
    #[must_use]
    pub fn with_native(self, native: Option<Arc<NativeEvents>>) -> Self {
        Self { native, ..self }
    }

    pub fn is_empty(&self) -> bool {
        self.of_apps.is_empty() && self.native.is_none()
    }

    /// Whether an app has a webhook.
    pub fn has(&self, app: &str) -> bool {
        match &self.native {
            Some(native) if app == PRESENCE_APP => native.wants_presence(),
            _ => self.of_apps.contains_key(app),
        }
    }

    /// Queues an event for the webhooks of an app.
    pub fn push(&self, app: &str, event: WebhookEvent) {
        if app == PRESENCE_APP {
            if let Some(native) = &self.native {
                native.presence(&event);
            }
            return;
        }
        let now = self.clock.millis();
        let Some((last, others)) = self.of_apps.get(app).and_then(|webhooks| webhooks.split_last()) else {
            return;
        };
        for webhook in others {
            webhook.push(event.clone(), now);
        }
        last.push(event, now);
    }

    /// No connection returns, and no other node is left to deliver: see [`WebhookQueue::close`].
    pub fn close(&self) {
        for webhook in self.all() {
            webhook.queue().close();
            webhook.pushed.notify_one();
        }
    }

    /// Leaves events to other nodes: see [`WebhookQueue::hand_over`].
    pub fn hand_over(&self, is_theirs: impl Fn(u64, &WebhookEvent) -> bool) {
        let now = self.clock.millis();
        for webhook in self.all() {
            webhook.queue().hand_over(now, &is_theirs);
        }
    }

    /// Delivers what is ready, until `end` at the latest; events that are left then are counted and logged.
    pub async fn finish(&self, end: Instant) {
        self.end.send_replace(Some(end));
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        if let Some(native) = &self.native {
            native.finish(end).await;
        }
    }

    /// Sets how many events wait, those in a request not counted.
    pub fn measure(&self) {
        for (app, webhooks) in &self.of_apps {
            let waiting = webhooks.iter().map(|webhook| webhook.queue().len()).sum();
            if let Some(webhook) = webhooks.first() {
                let gauges = &webhook.metrics.levels.webhook_queue_events;
                LevelMetrics::set(&gauges.get_or_create(&WebhookQueueLabel::new(Some(app))), waiting);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.of_apps.values().flatten()
    }
}

impl Webhook {
    fn push(&self, event: WebhookEvent, now: u64) {
        let pushed = self.queue().push(event, now);
        if let Err(Dropped { events, kind, channel }) = pushed {
            self.metrics.webhooks_dropped.inc_by(events);
            tracing::warn!(
                app = &**self.app.credentials.id(),
                host = self.target.url.host(),
                event = kind.name(),
                %channel,
                events,
                "webhook queue full, event dropped"
            );
        }
        self.pushed.notify_one();
    }

    async fn run(self: Arc<Self>, http: HttpClient, end: End) {
        let mut sending = Vec::new();
        tokio::select! {
            () = self.deliver_all(&http, end.clone(), &mut sending) => {}
            () = deadline(end) => {}
        }
        let lost = sending.len() + self.queue().clear();
        if lost > 0 {
            self.metrics.webhooks_dropped.inc_by(lost as u64);
            let (app, host) = (&**self.app.credentials.id(), self.target.url.host().unwrap_or_default());
            tracing::warn!(
                app,
                host,
                events = lost,
                "webhook events dropped: not delivered before the shutdown"
            );
        }
    }

    /// Delivers what is ready, until nothing is left and the node shuts down. `sending` holds the events of the current request.
    async fn deliver_all(&self, http: &HttpClient, mut end: End, sending: &mut Vec<WebhookEvent>) {
        loop {
            // Read before the queue: the last events were queued before the deadline was set.
            let is_last = end.borrow().is_some();
            let next = {
                let mut queue = self.queue();
                *sending = queue.take(self.clock.millis());
                queue.next_ready()
            };
            if !sending.is_empty() {
                self.deliver(http, &mut end, sending).await;
                sending.clear();
            } else if is_last {
                return;
            } else {
                self.wait(&mut end, next).await;
            }
        }
    }

    /// Waits for an event, for a departure that becomes final, or for the deadline.
    async fn wait(&self, end: &mut End, next: Option<u64>) {
        let pushed = async {
            match next {
                None => self.pushed.notified().await,
                Some(at) => {
                    let left = at.saturating_sub(self.clock.millis());
                    let _ = timeout(Duration::from_millis(left), self.pushed.notified()).await;
                }
            }
            sleep(GATHER).await;
        };
        tokio::select! {
            () = pushed => {}
            Ok(()) = end.changed() => {}
        }
    }

    /// Repeats a request until it is accepted, or until its events are too old.
    async fn deliver(&self, http: &HttpClient, end: &mut End, events: &[WebhookEvent]) {
        let time = unix_time().as_millis();
        let body = Bytes::from(webhook_body(u64::try_from(time).unwrap_or(u64::MAX), events));
        let signature = self.app.credentials.sign_webhook(&body);
        let late = Instant::now() + RETRY_FOR;
        let mut pause = FIRST_PAUSE;
        end.mark_unchanged();
        loop {
            let began = Instant::now();
            let result = match timeout(RESPONSE_TIMEOUT, self.request(http, body.clone(), &signature)).await {
                Ok(Ok(status)) if status.is_success() => Ok(()),
                Ok(Ok(status)) => Err(("status", format!("the response is {status}"))),
                Ok(Err(failure)) => Err(("unreachable", failure)),
                Err(_) => Err(("timeout", "no response in time".to_owned())),
            };
            self.observe(began, result.as_ref().err().map_or("ok", |(outcome, _)| outcome));
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
            let spread = pause.mul_f64(rand::random_range(0.75..1.25));
            tokio::select! {
                () = sleep(spread) => pause = (pause * 2).min(LONGEST_PAUSE),
                // The deadline leaves no time for long pauses.
                Ok(()) = end.changed() => pause = FIRST_PAUSE,
            }
        }
    }

    fn observe(&self, began: Instant, outcome: &'static str) {
        let call = WebhookCall::new(Some(self.app.credentials.id()), outcome);
        self.metrics.latency.webhook.get_or_create(&call).observe(began.elapsed().as_secs_f64());
    }

    async fn request(&self, http: &HttpClient, body: Bytes, signature: &str) -> Result<StatusCode, String> {
        let mut request = post(&self.target, body)?;
        request.headers_mut().extend([
            (HeaderName::from_static("x-pusher-key"), header_value(self.app.credentials.key())?),
            (HeaderName::from_static("x-pusher-signature"), header_value(signature)?),
        ]);
        let response = http.request(request).await.map_err(|error| error.to_string())?;
        Ok(response.status())
    }

    fn queue(&self) -> MutexGuard<'_, WebhookQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the deadline.
async fn deadline(mut end: End) {
    let end = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
    if let Some(end) = end {
        sleep_until(end).await;
    }
}
