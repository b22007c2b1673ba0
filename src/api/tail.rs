//! The live tail: what happens on all nodes, as it happens.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{MissedTickBehavior, interval};
use utoipa::IntoParams;

use super::listing::{Part, merge};
use super::node_query::NodeQuery;
use super::node_tails::MAX_TAILS;
use super::problem::Problems;
use super::request::ApiQuery;
use super::tail_line::{ALL, TailFilter, TailLine, name};
use super::{Access, ApiState, Caller, Problem, Scope};
use crate::message::NodeName;
use crate::telemetry::{TailReader, Tailed};

/// How often the other nodes are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// An empty line is sent when there has been none for this many questions, so that proxies keep the response open.
const QUIET_TICKS: u32 = 10;

/// Lines are sent together up to this many bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// The chunks that wait for the client. When it does not read, events are skipped.
const CHUNKS: usize = 16;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TailParams {
    /// Which types of lines, separated by commas. Without it, all.
    #[param(example = "connected,disconnected")]
    types: Option<String>,
    /// Only of the app with this ID. Empty: only what is native.
    app: Option<String>,
    /// Only about this channel; `chat:*` means all whose names start with `chat:`.
    channel: Option<String>,
    /// Only about the user with this ID.
    user: Option<String>,
}

/// Follow what happens
///
/// One JSON object per line, as it happens, until the client closes the response: connections of all nodes that open, close and are
/// refused, subscriptions, messages that are published, refused or dropped. What happens on the node that is asked comes at once,
/// and what happens on the others a second later; messages are told by the node that is asked. Who reads too slowly is told how many
/// events were skipped. The data of messages is there only for a key that has the scope `tail` too.
#[utoipa::path(
    get,
    path = "/tail",
    tag = "Nodes",
    security(("key" = ["read"])),
    params(TailParams),
    responses((status = 200, body = TailLine, content_type = "application/x-ndjson"), Problems)
)]
pub(super) async fn tail(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    Extension(access): Extension<Access>,
    ApiQuery(params): ApiQuery<TailParams>,
) -> Result<Response, Problem> {
    let filter = params.check(&state)?;
    let place = state.tails.place().ok_or_else(|| {
        Problem::unavailable(format!("{MAX_TAILS} tails are followed on this node already: close one"))
    })?;
    tracing::info!(key = caller.name(), "API: the live tail is followed");
    let (chunks, body) = channel(CHUNKS);
    let follower = Follower {
        reader: state.context.metrics.tail.open(),
        others: filter.for_other_nodes().map(|filter| state.tail_query(filter)),
        state,
        access,
        caller,
        filter,
        chunks,
    };
    tokio::spawn(async move {
        follower.run().await;
        drop(place);
    });
    let body = Body::from_stream(unfold(body, |mut body| async move {
        body.recv().await.map(|chunk: Bytes| (Ok::<_, Infallible>(chunk), body))
    }));
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx passes each line on at once.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}

impl TailParams {
    fn check(self, state: &ApiState) -> Result<TailFilter, Problem> {
        let mut kinds = Vec::new();
        for word in self.types.iter().flat_map(|types| types.split(',')).filter(|word| !word.is_empty()) {
            let kind = ALL.into_iter().find(|kind| name(*kind) == word).ok_or_else(|| {
                let known = ALL.map(name).join(", ");
                Problem::bad_request("invalid_query", format!("`types` has {word:?}, and may have {known}"))
            })?;
            kinds.push(kind);
        }
        if let Some(app) = self.app.as_deref().filter(|app| !app.is_empty()) {
            state.app(app)?;
        }
        let Self { app, channel, user, .. } = self;
        Ok(TailFilter { kinds, app, channel, user })
    }
}

impl ApiState {
    /// What to ask the other nodes, under a name of its own.
    fn tail_query(&self, filter: TailFilter) -> NodeQuery {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let by = self.channels.node().clone();
        let name = format!("{by}-{}", LAST.fetch_add(1, Ordering::Relaxed));
        NodeQuery::Tail { by, name, filter }
    }
}

/// What the other nodes answer.
type Answers = Pin<Box<dyn Future<Output = (Vec<Part<TailLine>>, Vec<NodeName>)> + Send>>;

/// Follows the tail for one client.
struct Follower {
    state: Arc<ApiState>,
    access: Access,
    caller: Caller,
    filter: TailFilter,
    reader: TailReader,
    /// `None`: the other nodes are not asked.
    others: Option<NodeQuery>,
    chunks: Sender<Bytes>,
}

impl Follower {
    /// Sends lines until the client leaves, the key is gone, or the server stops.
    async fn run(mut self) {
        let mut nodes = (Vec::from([self.state.channels.node().clone()]), Vec::new());
        if !self.send(&[nodes_line(&nodes)]).await {
            return;
        }
        let mut tick = interval(ASK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut answers, mut quiet) = (None::<Answers>, 0);
        loop {
            let lines = tokio::select! {
                () = self.chunks.closed() => return,
                tailed = self.reader.next() => self.lines(tailed).await,
                _ = tick.tick() => {
                    if let Some(reason) = self.ending() {
                        self.send(&[TailLine::ended(reason)]).await;
                        return;
                    }
                    if answers.is_none() {
                        answers = self.ask();
                    }
                    quiet += 1;
                    if quiet > QUIET_TICKS {
                        quiet = 0;
                        // Fails if the client has left.
                        let _ = self.chunks.send(Bytes::from_static(b"\n")).await;
                    }
                    continue;
                }
                (parts, missing) = answered(&mut answers) => {
                    answers = None;
                    let (mut lines, _) = merge(parts, usize::MAX, Vec::new());
                    lines.sort_by_key(|line: &TailLine| line.at);
                    let now = (self.state.channels.known_nodes(), missing);
                    if now != nodes {
                        nodes = now;
                        lines.insert(0, nodes_line(&nodes));
                    }
                    lines
                }
            };
            if !lines.is_empty() {
                quiet = 0;
                if !self.send(&lines).await {
                    return;
                }
            }
        }
    }

    /// Why nothing may follow any more.
    fn ending(&self) -> Option<&'static str> {
        if !self.access.still_permits(&self.caller, Scope::Read) {
            Some("the key is not valid any more")
        } else if self.state.context.is_draining() {
            Some("the node is shutting down")
        } else {
            None
        }
    }

    /// The lines of an event, and of those that wait behind it.
    async fn lines(&mut self, first: Tailed) -> Vec<TailLine> {
        let (mut lines, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(tailed) = next {
            match tailed {
                Tailed::Skipped(count) => lines.push(TailLine::skipped(self.state.channels.node(), count)),
                Tailed::Event(event) if self.filter.wants(event.kind) => {
                    // The key can lose the scope while it follows.
                    let with_data = self.access.still_permits(&self.caller, Scope::Tail);
                    let line = self.state.tail_line(&event, with_data).await;
                    if self.filter.matches(&line) {
                        bytes += line.data.as_ref().map_or(0, String::len) + 256;
                        lines.push(line);
                    }
                }
                Tailed::Event(_) => {}
            }
            next = if bytes < CHUNK_BYTES { self.reader.try_next() } else { None };
        }
        lines
    }

    fn ask(&self) -> Option<Answers> {
        let (state, query) = (self.state.clone(), self.others.clone()?);
        Some(Box::pin(async move { state.gather::<TailLine>(&query).await }))
    }

    /// Waits until the client has room. Returns whether it is still there.
    async fn send(&self, lines: &[TailLine]) -> bool {
        let mut chunk = Vec::new();
        for line in lines {
            // Strings and numbers can always be written as JSON.
            if serde_json::to_writer(&mut chunk, line).is_ok() {
                chunk.push(b'\n');
            }
        }
        self.chunks.send(chunk.into()).await.is_ok()
    }
}

/// Waits for the answers, if there is a question.
async fn answered(answers: &mut Option<Answers>) -> (Vec<Part<TailLine>>, Vec<NodeName>) {
    match answers {
        Some(answers) => answers.await,
        None => pending().await,
    }
}

/// Tells which nodes are followed.
fn nodes_line((nodes, missing): &(Vec<NodeName>, Vec<NodeName>)) -> TailLine {
    TailLine {
        kind: "nodes".to_owned(),
        nodes: Some(nodes.iter().filter(|node| !missing.contains(node)).cloned().collect()),
        missing: Some(missing.clone()),
        ..TailLine::default()
    }
}
