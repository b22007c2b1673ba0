use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwapOption;
use axum::Router;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Settings;
use super::api::{api_state, may_disconnect, on_admin_port, on_public_port};
use super::apps::{apps, rules};
use super::drain::Drain;
use super::laravel_messages::LaravelMessages;
use super::levels::Levels;
use super::public::{landing, public};
use super::relay::Relay;
use super::reload::{Parts, Reloader, Reloads};
use super::retention::retention;
use super::webhooks::start_webhooks;
use crate::admin::{self, AdminHosts, AdminState, Load};
use crate::api::{Access, ApiKeys};
use crate::auth::{Authenticator, TokenIssuer};
use crate::broker::{Broker, Inbound, Status};
use crate::channels::{Channels, Histories};
use crate::console::{self, ConsoleState};
use crate::endpoint::native::{self, NativeEndpoint, NativeService, Presence, SilentPresence};
use crate::endpoint::pusher::{self, PusherEndpoint};
use crate::history::Limits;
use crate::hub::Hub;
use crate::message::{RetentionRules, Sender};
use crate::protocol::native::{Native, PRESENCE_APP, PresenceEncoder};
use crate::protocol::pusher::{App, PusherDialect};
use crate::telemetry::Metrics;
use crate::tokens::{Revoker, refresh_keys};
use crate::transport::{
    Admission, ConnectionOptions, Descriptors, EndpointContext, HttpTimeouts, OriginPolicy, TrustedProxies,
    accept_http, bind,
};
use crate::webhooks::ActiveWebhooks;

/// How long the last webhooks may take after the connections are closed. Not part of the grace period, which the connections may
/// have used up.
const LAST_WEBHOOKS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the collector may take for the last spans. Nothing else waits for it.
const LAST_SPANS_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until `shutdown` completes, then drains. `reloads` changes the settings meanwhile. Needs a multi-threaded tokio runtime.
///
/// Fails if it cannot start: a port that is in use, a key that cannot be read. Warnings about the settings are up to the caller, who loads
/// them.
pub async fn run(
    settings: Settings,
    reloads: Option<Reloads>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let authenticator = authenticator(&settings)?;
    let apps = apps(&settings)?;

    let listener = bind(&settings.server.host, settings.server.port, "server.host, server.port").await?;
    let admin_address = settings.admin.listen;
    let admin_listener = bind(&admin_address.ip().to_string(), admin_address.port(), "admin.listen").await?;

    let channel_bytes = settings.recovery.channel_bytes;
    let retention = Arc::new(RetentionRules::new(retention(&settings.channels, &apps, channel_bytes)));
    let laravel_messages = Arc::new(LaravelMessages::new(apps.clone(), retention.clone()));
    let (broker, inbound) = broker(&settings, &laravel_messages, &retention, &metrics)?;
    let shards = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let hub = Hub::start(shards, settings.limits.outbox_bytes, &metrics);
    let webhooks = Arc::new(ActiveWebhooks::new(start_webhooks(&settings, &apps, &broker, &metrics, None)));
    let limits = Limits { channel_bytes, total_bytes: settings.recovery.total_bytes };
    let histories = Histories::start(broker.clone(), retention.clone(), limits);
    let native = Arc::new(Native::new(&settings.channels));
    let encoder = Arc::new(PresenceEncoder::new(&(&settings.sender).into()));
    let has_presence = native.has_any_presence();
    let has_members = has_presence || webhooks.has(PRESENCE_APP);
    let channels = Channels::start(
        rules(&apps, has_members.then_some(&encoder)),
        &PusherDialect,
        hub.clone(),
        broker.clone(),
        histories.clone(),
        webhooks.clone(),
        metrics.clone(),
    );
    metrics.start_traces(&settings.tracing, channels.node());
    refresh_keys(&authenticator, &metrics);
    let max_token_age = settings.auth.max_token_age;
    let revoker = Revoker::start(&authenticator, broker.clone(), hub.clone(), metrics.clone(), max_token_age);
    let descriptors = Descriptors::of_process();
    let context = context(&settings, &hub, &metrics, &descriptors);
    start_relay(inbound, &native, &hub, &channels, &histories, &revoker, &context);

    let measure = Levels::new(&hub, &broker, &channels, &metrics).measure();
    let service = native_service(
        &settings,
        &context,
        &native,
        &broker,
        &hub,
        &channels,
        &histories,
        &authenticator,
        &webhooks,
    );
    let endpoint = NativeEndpoint::new(service.clone(), hub.clone(), &settings.auth)
        .with_presence(has_presence.then(|| Presence::new(channels.clone(), encoder.clone())));

    let api_keys = Arc::new(ApiKeys::new(&settings.api.keys));
    let api = api_state(&settings, &broker, &channels, &native, &apps, &context, &hub, &revoker);
    let app = apps.iter().find(|app| app.enabled).cloned();
    let pusher_endpoint =
        PusherEndpoint::new(context.clone(), hub.clone(), apps, channels.clone(), settings.recovery.window);
    if let Some(reloads) = reloads {
        let parts = Parts {
            authenticator: authenticator.clone(),
            native: service,
            context: context.clone(),
            pusher: pusher_endpoint.clone(),
            channels: channels.clone(),
            api: api.clone(),
            api_keys: api_keys.clone(),
            broker: broker.clone(),
            retention,
            laravel_messages,
            webhooks,
            encoder,
            metrics: metrics.clone(),
            clock: hub.clock(),
        };
        Reloader::start(reloads, settings.clone(), parts);
    }
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
    let console = console(&settings, &broker, authenticator.clone(), native, address, app)?;
    let load = load(context.clone(), authenticator, revoker);
    let hosts = AdminHosts::new(admin_address.ip(), &settings.admin.hosts);
    let access = Access::operators(api_keys.clone(), admin_address.ip());
    let admin_state = AdminState { broker: broker.clone(), metrics: metrics.clone(), measure, load };
    let operators = admin::routes(admin_state, hosts.clone(), may_disconnect(access.clone()))
        .merge(on_admin_port(api.clone(), &access, hosts));
    let routes = native_routes(endpoint, settings.server.sse, console.is_some())
        .merge(pusher::routes(pusher_endpoint.clone()))
        .merge(on_public_port(api, api_keys, &settings.api))
        .merge(console.unwrap_or_default());
    let everyone = public(routes);
    let timeouts = timeouts(&settings);
    tokio::spawn(accept_http(admin_listener, operators, timeouts, descriptors.admin, metrics.clone()));
    let accepting =
        tokio::spawn(accept_http(listener, everyone, timeouts, descriptors.public, metrics.clone()));
    log_listening(address, admin_address, &broker, &channels);

    shutdown.await;
    let drain = Drain { context, hub };
    stop(&drain, &channels, &pusher_endpoint, &broker, settings.server.shutdown_grace).await;
    accepting.abort();
    metrics.tracer().finish(LAST_SPANS_TIMEOUT).await;
    tracing::info!("stopped");
    Ok(())
}

fn load(
    context: Arc<EndpointContext>,
    authenticator: Arc<Authenticator>,
    revoker: Arc<Revoker>,
) -> impl Fn() -> Load + Clone + Send + Sync + 'static {
    move || Load {
        draining: context.is_draining(),
        connections: context.admission.open(),
        waiting_for: waiting_for(&authenticator, &revoker),
    }
}

/// What is missing to check tokens.
fn waiting_for(authenticator: &Authenticator, revoker: &Revoker) -> Option<&'static str> {
    if !authenticator.is_ready() {
        Some("the keys of auth.jwks_url")
    } else if !revoker.is_ready() {
        Some("revoked tokens")
    } else {
        None
    }
}

/// Closes the connections, and leaves the other nodes.
async fn stop(
    drain: &Drain,
    channels: &Arc<Channels>,
    pusher: &PusherEndpoint,
    broker: &Broker,
    grace: Duration,
) {
    let cut = drain.run(channels, grace).await;
    let linger = pusher.finish().await;
    channels.leave(LAST_WEBHOOKS_TIMEOUT, linger).await;
    broker.shutdown().await;
    drain.close_held().await;
    if cut > 0 {
        tracing::warn!(
            connections = cut,
            "connections cut: they did not finish within server.shutdown_grace"
        );
    }
}

/// The broker, and what it delivers.
fn broker(
    settings: &Settings,
    laravel_messages: &Arc<LaravelMessages>,
    retention: &Arc<RetentionRules>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Arc<Broker>, UnboundedReceiver<Inbound>)> {
    let (broker, inbound) = Broker::start_for(
        &settings.redis,
        Sender::from(&settings.sender),
        settings.limits.queue_bytes,
        retention.clone(),
        laravel_messages.clone(),
        metrics.clone(),
    )?;
    Ok((Arc::new(broker), inbound))
}

/// Delivers what the broker has.
fn start_relay(
    inbound: UnboundedReceiver<Inbound>,
    native: &Arc<Native>,
    hub: &Arc<Hub>,
    channels: &Arc<Channels>,
    histories: &Arc<Histories>,
    revoker: &Arc<Revoker>,
    context: &EndpointContext,
) {
    let relay = Relay {
        native: native.clone(),
        hub: hub.clone(),
        channels: channels.clone(),
        histories: histories.clone(),
        revoker: revoker.clone(),
        streams: context.streams.clone(),
        metrics: context.metrics.clone(),
    };
    tokio::spawn(relay.run(inbound));
}

fn native_routes(endpoint: NativeEndpoint, has_sse: bool, has_console: bool) -> Router {
    let endpoint = Arc::new(endpoint);
    let sse = has_sse.then(|| native::sse_routes(endpoint.clone()));
    native::routes(endpoint, move || landing(has_console)).merge(sse.unwrap_or_default())
}

#[expect(clippy::too_many_arguments, reason = "each is a room that the endpoint works with")]
fn native_service(
    settings: &Settings,
    context: &Arc<EndpointContext>,
    native: &Arc<Native>,
    broker: &Arc<Broker>,
    hub: &Arc<Hub>,
    channels: &Arc<Channels>,
    histories: &Arc<Histories>,
    authenticator: &Arc<Authenticator>,
    webhooks: &ActiveWebhooks,
) -> Arc<NativeService> {
    let silent_presence = SilentPresence::new(channels.clone(), native.clone(), hub.clone(), context.clone());
    let service = Arc::new(NativeService {
        context: context.clone(),
        native: native.clone(),
        broker: broker.clone(),
        channels: channels.clone(),
        histories: histories.clone(),
        authenticator: authenticator.clone(),
        close_on_expiry: settings.auth.close_on_expiry,
        gates: ArcSwapOption::empty(),
        events: ArcSwapOption::from(webhooks.native()),
        silent_presence,
        gate_queues: Arc::default(),
    });
    service.set_gates(&settings.channels, &settings.events, settings.limits.message_bytes);
    service
}

fn authenticator(settings: &Settings) -> anyhow::Result<Arc<Authenticator>> {
    let authenticator = Authenticator::new(&settings.auth).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("{}", lines.join("\n"))
    })?;
    Ok(Arc::new(authenticator))
}

fn log_listening(address: SocketAddr, admin: SocketAddr, broker: &Broker, channels: &Channels) {
    tracing::info!(
        %address,
        %admin,
        version = env!("CARGO_PKG_VERSION"),
        node = &**channels.node(),
        broker = if matches!(broker, Broker::Memory(_)) { "memory" } else { "redis" },
        "listening"
    );
    if let Status::Unavailable(reason) = broker.status() {
        tracing::info!(reason = &*reason, "waiting for the broker");
    }
}

fn timeouts(settings: &Settings) -> HttpTimeouts {
    HttpTimeouts {
        handshake: settings.limits.handshake_timeout,
        keep_alive: settings.limits.keep_alive_timeout,
    }
}

/// What the endpoints share.
fn context(
    settings: &Settings,
    hub: &Hub,
    metrics: &Arc<Metrics>,
    descriptors: &Descriptors,
) -> Arc<EndpointContext> {
    let proxies = TrustedProxies::new(settings.server.trusted_proxies.clone());
    EndpointContext::new(
        Admission::new(&settings.limits),
        metrics.clone(),
        ConnectionOptions::new(hub.clock(), &settings.limits, &settings.heartbeat),
        OriginPolicy::new(&settings.server.origins),
        proxies,
        descriptors.sockets,
    )
}

/// The console, if it is enabled. It signs tokens, so it needs a secret.
fn console(
    settings: &Settings,
    broker: &Arc<Broker>,
    authenticator: Arc<Authenticator>,
    native: Arc<Native>,
    address: SocketAddr,
    app: Option<Arc<App>>,
) -> anyhow::Result<Option<Router>> {
    if !settings.console.enabled {
        return Ok(None);
    }
    let issuer = TokenIssuer::new(&settings.auth).context("console.enabled")?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "console.enabled: anyone who can reach this address can create tokens for any user");
    }
    let sender = Sender::from(&settings.sender);
    let state = ConsoleState::new(broker.clone(), issuer, authenticator, native, sender).with_app(app);
    Ok(Some(console::routes(state)))
}
