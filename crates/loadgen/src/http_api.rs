use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::REFUSED_PAUSE;
use super::deployment::AppSigner;
use super::protocol::{ProtocolClient, api_event};
use super::publisher::Publisher;
use super::publishers::PublishLog;
use super::run::Run;
use super::target::{Target, tls_config};
use super::workload::{ScheduledMessage, Workload};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Concurrent calls; beyond that, publishers share a connection.
pub(super) const CONNECTIONS: usize = 64;
/// Calls that still wait this long after the measurement, because the server answers too slowly, are not sent.
/// Nanoseconds.
const MAX_BACKLOG: u64 = 10_000_000_000;
/// More than any response.
const MAX_RESPONSE: usize = 64 * 1024;

/// Publishes over the HTTP API of the Pusher protocol, as Laravel does.
///
/// Each task has one connection and makes one call after the other, so that a publisher's messages keep their order.
pub(super) struct HttpApi {
    channels: usize,
    publishers: u16,
    calls: Vec<UnboundedSender<(u16, ScheduledMessage)>>,
    tasks: JoinSet<Vec<PublishLog>>,
}

impl HttpApi {
    /// Starts one task per publisher, up to [`CONNECTIONS`]. In a closed loop a refused message is replaced.
    pub(super) fn start(
        targets: &[Arc<Target>],
        app: &dyn AppSigner,
        (publishers, closed_loop): (u16, bool),
        run: &Arc<Run>,
        work: &Arc<Workload>,
    ) -> anyhow::Result<Self> {
        let channels = work.channels.len();
        let path = format!("/apps/{}/events", utf8_percent_encode(app.id(), NON_ALPHANUMERIC));
        let mut api = Self { channels, publishers, calls: Vec::new(), tasks: JoinSet::new() };
        for target in targets.iter().cycle().take(CONNECTIONS.min(channels * usize::from(publishers))) {
            let (calls, inbox) = unbounded_channel();
            api.calls.push(calls);
            let caller = Caller {
                client: client()?,
                url: target.http(&path).parse().context("the address of the HTTP API")?,
                closed_loop,
                run: run.clone(),
                work: work.clone(),
                logs: BTreeMap::new(),
            };
            api.tasks.spawn(caller.run(inbox));
        }
        Ok(api)
    }

    /// The publisher with this number on a channel. All of its messages use one connection.
    pub(super) fn publisher(&self, channel: usize, number: u16) -> Option<Publisher> {
        let place = usize::from(number) * self.channels + channel;
        let calls = self.calls.get(place % self.calls.len().max(1))?;
        (number < self.publishers).then(|| Publisher::Http(number, calls.clone()))
    }

    /// Waits until everything is published. The caller must have dropped all [`Publisher`]s.
    pub(super) async fn finish(mut self) -> anyhow::Result<Vec<PublishLog>> {
        self.calls.clear();
        let mut all = Vec::new();
        while let Some(logs) = self.tasks.join_next().await {
            all.extend(logs.context("a publisher failed")?);
        }
        Ok(all)
    }
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> anyhow::Result<HttpClient> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls_config()?).https_or_http().enable_http1();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector.wrap_connector(tcp)))
}

struct Caller {
    client: HttpClient,
    url: Uri,
    closed_loop: bool,
    run: Arc<Run>,
    work: Arc<Workload>,
    /// By channel and publisher.
    logs: BTreeMap<(usize, u16), PublishLog>,
}

impl Caller {
    async fn run(mut self, mut inbox: UnboundedReceiver<(u16, ScheduledMessage)>) -> Vec<PublishLog> {
        while let Some((publisher, mut message)) = inbox.recv().await {
            if self.run.now() > self.run.measured().1.saturating_add(MAX_BACKLOG) {
                self.run.counters.unsent.fetch_add(1, Relaxed);
                self.run.end();
                continue;
            }
            loop {
                if self.closed_loop {
                    // A closed loop has no schedule: a message is due when its publisher can send it.
                    message.due = self.run.now();
                }
                let refused = self.publish(publisher, message).await;
                self.run.end();
                if !refused || !self.closed_loop {
                    break;
                }
                sleep(REFUSED_PAUSE).await;
                if !self.run.begin() {
                    break;
                }
            }
        }
        self.logs.into_values().collect()
    }

    /// Returns whether the server refused the message.
    async fn publish(&mut self, publisher: u16, message: ScheduledMessage) -> bool {
        let Some(channel) = self.work.channel(message.channel) else { return false };
        let ProtocolClient::Pusher(pusher) = &self.work.protocol else { return false };
        let place = (message.channel, publisher);
        let log = self.logs.entry(place).or_insert_with(|| PublishLog::new(message.channel, publisher));
        let text = self.work.text(&log.next(&self.run, message.due));
        let body = api_event(channel, &text);
        match timeout(TIMEOUT, call(&self.client, &self.url, &*pusher.app, body)).await {
            Ok(Ok(None)) => log.accept(&self.run),
            Ok(Ok(Some(refusal))) => {
                self.run.record_refused(&refusal);
                return true;
            }
            // The message may have been published: it counts as unanswered.
            Ok(Err(_)) | Err(_) => {}
        }
        false
    }
}

/// Soketi sends this with status 200.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "error")]
    _error: IgnoredAny,
}

/// Returns the reason if the server refused the message.
async fn call(
    client: &HttpClient,
    url: &Uri,
    app: &dyn AppSigner,
    body: Vec<u8>,
) -> anyhow::Result<Option<String>> {
    let url: Uri = format!("{url}?{}", app.sign_request(url.path(), &body)).parse()?;
    let mut request = Request::new(Full::new(Bytes::from(body)));
    (*request.method_mut(), *request.uri_mut()) = (Method::POST, url);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response = client.request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    let refused = !status.is_success() || serde_json::from_slice::<ErrorBody>(&body).is_ok();
    Ok(refused.then(|| format!("HTTP {status}")))
}
