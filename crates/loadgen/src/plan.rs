//! What follows from the options where one depends on another or on the deployment.

use std::sync::Arc;

use super::chaos::ChaosPlan;
use super::deployment::RedisTopic;
use super::http_api::{self, HttpApi};
use super::options::{Options, PublishVia};
use super::protocol::{Protocol, ProtocolClient};
use super::publishers::{PublisherConnections, Publishers};
use super::redis_publisher::RedisPublisher;
use super::run::Run;
use super::target::Target;
use super::workload::Workload;
use crate::error::BenchError;

/// The share of a rate limit that a publisher uses, because neither clock is exact.
const LIMIT_MARGIN: f64 = 0.8;

impl Options {
    /// Rejects options that contradict each other.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let only = |given: bool, option: &str, protocol: Protocol, name: &str| {
            if given && self.protocol != protocol {
                return Err(BenchError::Usage(format!("{option} requires --protocol {name}")));
            }
            Ok(())
        };
        only(self.secret_file.is_some(), "--secret-file", Protocol::Native, "native")?;
        only(self.publish == PublishVia::Redis, "--publish redis", Protocol::Native, "native")?;
        only(self.publish == PublishVia::Http, "--publish http", Protocol::Pusher, "pusher")?;
        only(self.app_key.is_some(), "--app-key", Protocol::Pusher, "pusher")?;
        let name = self.channel_name();
        if self.protocol == Protocol::Pusher && !name.starts_with("private-") {
            return Err(BenchError::Usage(format!(
                "--channel {name}: the Pusher protocol allows client events on private channels only: choose a name that begins with private-",
            )));
        }
        Ok(())
    }

    /// By default as many publishers as are needed to keep each of them below the server's rate limit.
    pub(super) fn publishers_per_channel(&self, limit: u32) -> u16 {
        match self.publish {
            PublishVia::Redis => return 1,
            PublishVia::Http => return self.publishers.unwrap_or(1),
            PublishVia::Websocket => {}
        }
        if let Some(publishers) = self.publishers {
            return publishers;
        }
        if limit == 0 || self.window.is_some() {
            return 1;
        }
        let rate = self.rate.unwrap_or(100.0) / f64::from(self.channels);
        let needed = (rate / (f64::from(limit) * LIMIT_MARGIN)).ceil();
        let most = (self.connections / self.channels).clamp(1, u16::MAX.into());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let publishers = needed.clamp(1.0, f64::from(most)) as u16;
        publishers
    }

    /// Connections that only publish.
    pub(super) fn publish_only_connections(&self, limit: u32) -> u64 {
        let publishers = u64::from(self.publishers_per_channel(limit)) * u64::from(self.channels);
        match (self.protocol, self.publish) {
            (Protocol::Pusher, PublishVia::Websocket) => publishers,
            (Protocol::Pusher, PublishVia::Http) => publishers.min(http_api::CONNECTIONS as u64),
            _ => 0,
        }
    }

    /// The plan of what disturbs the run. The rate limit decides how many connections must stay undisturbed to publish.
    pub(super) fn chaos(&self, limit: u32) -> Result<Option<ChaosPlan>, BenchError> {
        if self.slow.or(self.reconnect).or(self.churn).is_none() {
            return Ok(None);
        }
        let shares = [self.slow, self.reconnect, self.churn].map(Option::unwrap_or_default);
        // If subscribers do not publish, each channel still needs one that reads.
        let undisturbed = if self.protocol == Protocol::Pusher {
            1
        } else {
            usize::from(self.publishers_per_channel(limit))
        };
        ChaosPlan::new(self.connections as usize, shares, undisturbed * self.channels as usize).map(Some)
    }

    /// The prefix of the channels' names.
    pub(super) fn channel_name(&self) -> &str {
        let default = if self.protocol == Protocol::Pusher { "private-bench" } else { "chat:bench" };
        self.channel.as_deref().unwrap_or(default)
    }

    /// The longest name of a channel.
    #[must_use]
    pub fn last_channel(&self) -> String {
        format!("{}-{}", self.channel_name(), self.channels.saturating_sub(1))
    }

    /// The publishers. Publish-only connections are opened later.
    pub(super) fn publishers(
        &self,
        redis: Option<&RedisTopic>,
        targets: &[Arc<Target>],
        per_channel: u16,
        run: &Arc<Run>,
        work: &Arc<Workload>,
    ) -> Result<Publishers, BenchError> {
        Ok(match (self.publish, &work.protocol) {
            (PublishVia::Redis, _) => {
                let redis = redis.ok_or_else(|| {
                    BenchError::Usage("--publish redis needs redis.url (YAMABIKO__REDIS__URL)".to_owned())
                })?;
                Publishers::Redis(RedisPublisher::start(redis, run.clone(), work.clone())?)
            }
            (PublishVia::Http, ProtocolClient::Pusher(pusher)) => {
                let closed_loop = self.window.is_some();
                Publishers::Http(HttpApi::start(
                    targets,
                    &*pusher.app,
                    (per_channel, closed_loop),
                    run,
                    work,
                )?)
            }
            (_, protocol) if protocol.echoes() => Publishers::Subscribers,
            _ => Publishers::Connections(PublisherConnections::default()),
        })
    }
}
