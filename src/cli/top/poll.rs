//! What the nodes answer.

use std::time::Instant;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::http_client::HttpClient;

/// The figures of all nodes at one time.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) at: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) channels: Vec<BusyChannel>,
    pub(super) senders: Vec<BusySender>,
    /// The number of nodes that have not answered.
    pub(super) missing: usize,
}

/// See `docs/api.md`. A node of another version may lack figures.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) started_at: u64,
    pub(super) broker: String,
    pub(super) draining: bool,
    pub(super) connections: u64,
    pub(super) connections_limit: u64,
    pub(super) channels: u64,
    pub(super) handshakes_refused: u64,
    pub(super) messages_refused: u64,
    pub(super) messages_received: u64,
    pub(super) deliveries: u64,
    pub(super) dropped: u64,
    pub(super) slow_consumers: u64,
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct BusyChannel {
    pub(super) app: Option<String>,
    pub(super) name: String,
    pub(super) subscribers: u64,
    pub(super) messages_per_second: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct BusySender {
    pub(super) app: Option<String>,
    pub(super) id: String,
    pub(super) messages_per_second: f64,
}

pub(super) async fn poll(client: &HttpClient) -> anyhow::Result<Poll> {
    #[derive(Deserialize)]
    struct Nodes {
        nodes: Vec<Node>,
        #[serde(default)]
        missing_nodes: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Traffic {
        channels: Vec<BusyChannel>,
        senders: Vec<BusySender>,
    }
    let Nodes { nodes, missing_nodes } = get(client, "/api/v1/nodes").await?;
    let at = Instant::now();
    let Traffic { channels, senders } = get(client, "/api/v1/traffic").await?;
    Ok(Poll { at, nodes, channels, senders, missing: missing_nodes.len() })
}

async fn get<T: DeserializeOwned>(client: &HttpClient, path: &str) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let url = &client.url;
    let answer = client.get(path).await.with_context(|| url.to_string())?;
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body)
            .with_context(|| format!("{url}{path}: unexpected answer"));
    }
    let status = answer.status;
    Err(match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(Problem { detail }) => anyhow!("{url}{path} answered {status}: {detail}"),
        Err(_) => anyhow!("{url}{path} answered {status}: is it the operators' port?"),
    })
}
