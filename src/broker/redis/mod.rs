use std::sync::Arc;

use secrecy::SecretString;
use thiserror::Error;
use tokio::sync::mpsc;

use super::{Inbound, Receipt, Refused, Settings, Status};
use crate::message::{Event, Sender};
use crate::telemetry::Metrics;

/// `redis.url` cannot be used. The text names the trouble, never the URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidUrl(String);

/// Checks `redis.url` without connecting. An empty one is fine: it stands for no Redis.
pub fn check_url(_url: &SecretString) -> Result<(), InvalidUrl> {
    Ok(())
}

/// The broker of many nodes, over Redis or Valkey.
#[derive(Debug)]
pub struct Redis {}

impl Redis {
    pub(super) fn start(
        _settings: &Settings,
        _sender_default: Sender,
        _queue_bytes: usize,
        _metrics: Arc<Metrics>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Inbound>), InvalidUrl> {
        let (_sender, receiver) = mpsc::unbounded_channel();
        Ok((Self {}, receiver))
    }

    pub(super) fn publish(&self, _event: Event, receipt: Receipt) {
        receipt(Err(Refused::Unreachable));
    }

    pub(super) fn status(&self) -> Status {
        Status::Unavailable("not connected yet".into())
    }

    pub(super) async fn shutdown(&self) {}
}
