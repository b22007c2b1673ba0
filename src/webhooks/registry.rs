use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ring::digest;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::app_events::AppEvents;
use super::app_webhook::AppWebhook;
use super::clock::Clock;
use super::event::WebhookEvent;
use super::lane_events::LaneEvents;
use super::lanes::Lanes;
use super::native::{NativeEvents, pending_native_events};
use super::pending_events::PendingEvents;
use super::request_signer::RequestSigner;
use super::retry::Ending;
use super::settings::{EventsSettings, NativeWebhookSettings};
use super::webhook::{Signer, Webhook};
use crate::broker::Broker;
use crate::http_client::http_client;
use crate::message::AppEvent;
use crate::protocol::native::PRESENCE_APP;
use crate::protocol::pusher::{Apps, WebhookSettings};
use crate::telemetry::{LevelMetrics, Metrics, WebhookQueueLabel};
use crate::webhook_target::WebhookTarget;

/// The webhooks of all apps and of native channels.
#[derive(Debug)]
pub struct Webhooks {
    of_apps: HashMap<Arc<str>, Vec<AppWebhook>>,
    /// Takes the events of native channels.
    native: Option<Arc<NativeEvents>>,
    all: Vec<Arc<Webhook>>,
    lanes: Option<Lanes>,
    /// The names of the lanes of all webhooks, if their events wait in Redis.
    lane_names: Vec<String>,
    /// Set once others have replaced these.
    replacement: OnceLock<Replacement>,
    /// A task without events left ends before the deadline.
    tasks: Mutex<JoinSet<()>>,
    end: watch::Sender<Option<Ending>>,
    is_handed_over: AtomicBool,
    metrics: Arc<Metrics>,
}

/// What the webhooks that have replaced others go on with.
#[derive(Debug)]
struct Replacement {
    lane_names: Vec<String>,
    keeps_stream: bool,
}

/// A webhook before it is started.
struct Plan<'a> {
    receives: Receives<'a>,
    signer: Signer,
    target: WebhookTarget,
    /// Its place in the settings of its app, or of native channels.
    index: usize,
    pending: Box<dyn PendingEvents>,
}

enum Receives<'a> {
    App(Arc<str>, &'a WebhookSettings),
    Native(&'a NativeWebhookSettings),
}

impl Webhooks {
    /// Starts a task for each webhook. Needs a tokio runtime, if there is one. `before` are those that they
    /// [replace](Self::replace_by), whose events come first.
    pub fn start(
        apps: &Apps,
        native: &[NativeWebhookSettings],
        events: &EventsSettings,
        broker: &Broker,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Self {
        let plans = plans(apps, native, events);
        let end = watch::Sender::new(None);
        let (mut of_apps, mut of_native): (HashMap<Arc<str>, Vec<AppWebhook>>, _) =
            (HashMap::new(), Vec::new());
        let (mut all, mut tasks, clock) = (Vec::new(), JoinSet::new(), Clock::start());
        let lane_names = lane_names(&plans);
        let opened = if plans.is_empty() { None } else { broker.webhook_lanes(&lane_names) };
        let lane_events = opened.is_some().then(|| Arc::new(LaneEvents::new()));
        let mut http = None;
        for (number, Plan { receives, signer, target, index, pending }) in plans.into_iter().enumerate() {
            let lane = lane_events.clone().map(|events| (events, number));
            if let Receives::App(app, _) = &receives {
                metrics.latency.start_webhooks(Some(app));
            } else {
                metrics.latency.start_webhooks(None);
            }
            let webhook = Webhook::new(signer, (target, index), pending, metrics, &clock, lane);
            let http = http.get_or_insert_with(http_client).clone();
            tasks.spawn(webhook.clone().run(http, end.subscribe()));
            match receives {
                Receives::App(app, settings) => {
                    of_apps.entry(app).or_default().push(AppWebhook::new(webhook.clone(), settings));
                }
                Receives::Native(settings) => of_native.push((webhook.clone(), settings)),
            }
            all.push(webhook);
        }
        let lanes_before = before.and_then(|before| before.lanes.as_ref());
        let start_lanes = |(opened, events)| Lanes::start(events, opened, &all, lanes_before);
        let lanes = opened.zip(lane_events).map(start_lanes);
        let native_before = before.and_then(|before| before.native.as_deref());
        let native = NativeEvents::new(&of_native, events, metrics, native_before);
        let (tasks, is_handed_over, metrics) = (Mutex::new(tasks), AtomicBool::new(false), metrics.clone());
        let replacement = OnceLock::new();
        Self { of_apps, native, all, lanes, lane_names, replacement, tasks, end, is_handed_over, metrics }
    }

    /// Takes the events of native channels, if the application wants any.
    #[must_use]
    pub const fn native(&self) -> Option<&Arc<NativeEvents>> {
        self.native.as_ref()
    }

    pub fn is_empty(&self) -> bool {
        self.of_apps.is_empty() && self.native.is_none()
    }

    /// Whether an app has a webhook.
    pub fn has(&self, app: &str) -> bool {
        match &self.native {
            Some(native) if app == PRESENCE_APP => native.wants_any_users(),
            _ => self.of_apps.contains_key(app),
        }
    }

    /// Queues an event for the webhooks of an app.
    pub fn push(&self, app: &str, event: &WebhookEvent) {
        if app == PRESENCE_APP {
            if let Some(native) = &self.native {
                native.presence(event);
            }
        } else if let Some(webhooks) = self.of_apps.get(app) {
            let channel = event.channel().clone();
            let encoded = AppEvent { name: event.kind().name(), channel, payload: event.encode() };
            for webhook in webhooks {
                webhook.push(event, &encoded);
            }
        }
    }

    /// Sets how many events wait, in the memory of this node and in Redis.
    pub fn measure(&self) {
        let mut waiting = HashMap::<_, usize>::new();
        for webhook in &self.all {
            *waiting.entry(webhook.app()).or_default() += webhook.pending().len();
        }
        for (app, events) in waiting {
            let gauges = &self.metrics.levels.webhook_queue_events;
            LevelMetrics::set(&gauges.get_or_create_owned(&WebhookQueueLabel::new(app)), events);
        }
        for webhook in &self.all {
            let gauges = &self.metrics.levels.webhook_redis_events;
            LevelMetrics::set(&gauges.get_or_create_owned(&webhook.label()), webhook.in_redis());
        }
    }

    /// Forgets what was measured of other webhooks.
    pub fn forget_measured(&self) {
        self.metrics.levels.forget_webhooks();
    }

    /// No connection returns, and no other node is left to deliver: departures do not wait.
    pub fn close(&self) {
        for webhook in &self.all {
            webhook.pending().close();
            webhook.changed.notify_one();
        }
    }

    /// Other webhooks take the place of these, and go on with what is queued in Redis and for the event stream.
    pub fn replace_by(&self, webhooks: &Self) {
        let lane_names = webhooks.lane_names.clone();
        let streams = self.native.as_deref().zip(webhooks.native.as_deref());
        let keeps_stream = streams.is_some_and(|(own, other)| own.shares_stream_with(other));
        // Once, for these are not in force afterwards.
        let _ = self.replacement.set(Replacement { lane_names, keeps_stream });
    }

    /// Waits until Redis has what is queued for it, however long it is away: other webhooks go on with it.
    pub(super) async fn queued_in_redis(&self) {
        if let Some(lanes) = &self.lanes {
            lanes.emptied().await;
        }
    }

    /// The node shuts down and leaves to the others what is queued in Redis.
    pub fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::Relaxed);
        // Departures that wait in memory are known to this node alone.
        self.all
            .iter()
            .filter(|webhook| !webhook.is_in_redis())
            .for_each(|webhook| webhook.pending().close());
    }

    /// Delivers what is ready, until `end` at the latest. Events that are left then stay in Redis; without Redis, they are counted and
    /// logged.
    pub async fn finish(&self, end: Instant) {
        let of_stream = async {
            let is_kept = self.replacement.get().is_some_and(|replacement| replacement.keeps_stream);
            if let Some(native) = self.native.as_ref().filter(|_| !is_kept) {
                native.finish(end).await;
            }
        };
        tokio::join!(self.finish_webhooks(end), of_stream);
    }

    async fn finish_webhooks(&self, deadline: Instant) {
        let is_handed_over = self.is_handed_over.load(Ordering::Relaxed);
        if let Some(lanes) = &self.lanes {
            lanes.flush(!is_handed_over, deadline).await;
        }
        self.end.send_replace(Some(Ending { deadline, is_handed_over }));
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        if let Some(lanes) = &self.lanes {
            let lost = lanes.release().await;
            if lost > 0 {
                self.metrics.webhooks_dropped.inc_by(lost as u64);
                tracing::warn!(events = lost, "webhook events dropped: Redis has not accepted them");
            }
        }
        match self.replacement.get().map(|replacement| &replacement.lane_names) {
            None => self.all.iter().for_each(|webhook| webhook.on_end()),
            Some(kept) => {
                let names = self.lane_names.iter();
                for (webhook, name) in self.all.iter().zip(names) {
                    if !webhook.is_in_redis() {
                        webhook.on_end();
                    } else if !kept.contains(name) {
                        webhook.on_removed();
                    }
                }
            }
        }
    }
}

fn plans<'a>(apps: &'a Apps, native: &'a [NativeWebhookSettings], events: &EventsSettings) -> Vec<Plan<'a>> {
    let of_apps = apps.iter().filter(|app| app.enabled).flat_map(|app| {
        app.rules.webhooks.iter().enumerate().filter_map(move |(index, settings)| {
            Some(Plan {
                index,
                receives: Receives::App(app.credentials.id().clone(), settings),
                signer: Signer::App(app.clone()),
                // Loading the settings has checked it.
                target: settings.target().ok()?,
                pending: Box::new(AppEvents::new(settings)),
            })
        })
    });
    let of_native = native.iter().enumerate().filter_map(|(index, settings)| {
        Some(Plan {
            index,
            receives: Receives::Native(settings),
            signer: Signer::Native(RequestSigner::new(&events.secret)),
            target: settings.target().ok()?,
            pending: pending_native_events(),
        })
    });
    of_apps.chain(of_native).collect()
}

/// Names that are the same on all nodes and after a restart: of the app and the URL, which can be a secret.
fn lane_names(plans: &[Plan<'_>]) -> Vec<String> {
    let mut names = Vec::with_capacity(plans.len());
    for Plan { receives, target, .. } in plans {
        let app = if let Receives::App(app, _) = receives { &**app } else { "" };
        let name = |number: usize| {
            let text = format!("{app}\n{}\n{number}", target.url);
            let digest = digest::digest(&digest::SHA256, text.as_bytes());
            hex::encode(digest.as_ref().iter().copied().take(8).collect::<Vec<_>>())
        };
        // Several webhooks can have the same URL.
        names.extend((0..plans.len()).map(name).find(|name| !names.contains(name)));
    }
    names
}
