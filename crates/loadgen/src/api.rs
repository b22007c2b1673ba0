//! Publishes over the HTTP API of the Pusher protocol, as Laravel does.

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
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::PAUSE;
use super::deployment::App;
use super::pacer::Publisher;
use super::speech::{Speech, api_event};
use super::tally::Run;
use super::target::{Target, tls_config};
use super::voice::Published;
use super::workload::{Due, Workload};

const PATIENCE: Duration = Duration::from_secs(10);
/// Calls at a time: further publishers share a connection.
pub(super) const CONNECTIONS: usize = 64;
/// What still waits so long after the measurement, in nanoseconds, because the server answers too slowly, is not sent.
const LEFT_WITHIN: u64 = 10_000_000_000;
/// More than any answer.
const MAX_ANSWER: usize = 64 * 1024;

/// Tasks with a connection each. One makes one call after the other, so that what it publishes keeps its order.
pub(super) struct Api {
    channels: usize,
    publishers: u16,
    calls: Vec<UnboundedSender<(u16, Due)>>,
    tasks: JoinSet<Vec<Published>>,
}

impl Api {
    /// Starts as many tasks as there are publishers on all channels together, up to 64. In a closed loop (`window`) what
    /// is refused is followed by another one.
    pub(super) fn start(
        targets: &[Arc<Target>],
        app: &dyn App,
        (publishers, window): (u16, bool),
        run: &Arc<Run>,
        work: &Arc<Workload>,
    ) -> anyhow::Result<Self> {
        let channels = work.channels.len();
        let path = format!(
            "/apps/{}/events",
            percent_encoding::utf8_percent_encode(app.id(), percent_encoding::NON_ALPHANUMERIC)
        );
        let mut api = Self { channels, publishers, calls: Vec::new(), tasks: JoinSet::new() };
        for target in targets.iter().cycle().take(CONNECTIONS.min(channels * usize::from(publishers))) {
            let (calls, inbox) = unbounded_channel();
            api.calls.push(calls);
            let task = Caller {
                client: client()?,
                url: target.http(&path).parse().context("the address of the HTTP API")?,
                window,
                run: run.clone(),
                work: work.clone(),
                published: BTreeMap::new(),
            };
            api.tasks.spawn(task.run(inbox));
        }
        Ok(api)
    }

    /// The publisher with this number on a channel; all of its messages go over one connection.
    pub(super) fn publisher(&self, channel: usize, number: u16) -> Option<Publisher> {
        let place = usize::from(number) * self.channels + channel;
        let calls = self.calls.get(place % self.calls.len().max(1))?;
        (number < self.publishers).then(|| Publisher::Http(number, calls.clone()))
    }

    /// Waits until nothing more is to be published; nobody else may hold a publisher.
    pub(super) async fn finish(mut self) -> anyhow::Result<Vec<Published>> {
        self.calls.clear();
        let mut all = Vec::new();
        while let Some(published) = self.tasks.join_next().await {
            all.extend(published.context("a publisher failed")?);
        }
        Ok(all)
    }
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> anyhow::Result<Http> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls_config()?).https_or_http().enable_http1();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector.wrap_connector(tcp)))
}

struct Caller {
    client: Http,
    url: Uri,
    window: bool,
    run: Arc<Run>,
    work: Arc<Workload>,
    /// By channel and publisher.
    published: BTreeMap<(usize, u16), Published>,
}

impl Caller {
    async fn run(mut self, mut inbox: UnboundedReceiver<(u16, Due)>) -> Vec<Published> {
        while let Some((publisher, mut due)) = inbox.recv().await {
            if self.run.now() > self.run.measured().1.saturating_add(LEFT_WITHIN) {
                self.run.unsent.fetch_add(1, Relaxed);
                self.run.end();
                continue;
            }
            loop {
                if self.window {
                    // A closed loop has no clock: a message is due when its publisher comes to it.
                    due.at = self.run.now();
                }
                let refused = self.publish(publisher, due).await;
                self.run.end();
                if !refused || !self.window {
                    break;
                }
                sleep(PAUSE).await;
                if !self.run.begin() {
                    break;
                }
            }
        }
        self.published.into_values().collect()
    }

    /// Whether it was refused.
    async fn publish(&mut self, publisher: u16, due: Due) -> bool {
        let Some(channel) = self.work.channel(due.channel) else { return false };
        let Speech::Pusher(speech) = &self.work.speech else { return false };
        let place = (due.channel, publisher);
        let account = self.published.entry(place).or_insert_with(|| Published::new(due.channel, publisher));
        let text = self.work.text(&account.next(&self.run, due.at));
        let body = api_event(channel, &text);
        match timeout(PATIENCE, call(&self.client, &self.url, &*speech.app, body)).await {
            Ok(Ok(None)) => account.accept(&self.run),
            Ok(Ok(Some(refusal))) => {
                self.run.refuse(&refusal);
                return true;
            }
            // Whether it was published is unknown: it stays without an answer.
            Ok(Err(_)) | Err(_) => {}
        }
        false
    }
}

/// What Soketi answers with status 200.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "error")]
    _error: IgnoredAny,
}

/// Why the server refused, if it did.
async fn call(client: &Http, url: &Uri, app: &dyn App, body: Vec<u8>) -> anyhow::Result<Option<String>> {
    let url: Uri = format!("{url}?{}", app.sign_request(url.path(), &body)).parse()?;
    let mut request = Request::new(Full::new(Bytes::from(body)));
    (*request.method_mut(), *request.uri_mut()) = (Method::POST, url);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response = client.request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    let refused = !status.is_success() || serde_json::from_slice::<Refusal>(&body).is_ok();
    Ok(refused.then(|| format!("HTTP {status}")))
}
