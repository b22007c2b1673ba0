//! What the options ask for, where one depends on another or on the settings.

use std::sync::Arc;

use super::api::{self, Api};
use super::deployment::RedisTopic;
use super::disturb::Disturbance;
use super::options::{Options, Publish};
use super::redis::Redis;
use super::speech::{Protocol, Speech};
use super::tally::Run;
use super::target::Target;
use super::voice::{Speakers, Voice};
use super::workload::Workload;
use crate::error::BenchError;

/// A part of the messages that a server lets one sender send: a clock is not exact.
const BELOW_LIMIT: f64 = 0.8;

impl Options {
    /// Refuses what does not go together.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let only = |given: bool, option: &str, protocol: Protocol, name: &str| {
            if given && self.protocol != protocol {
                return Err(BenchError::Usage(format!("{option} is for --protocol {name}")));
            }
            Ok(())
        };
        only(self.secret_file.is_some(), "--secret-file", Protocol::Native, "native")?;
        only(self.publish == Publish::Redis, "--publish redis", Protocol::Native, "native")?;
        only(self.publish == Publish::Http, "--publish http", Protocol::Pusher, "pusher")?;
        only(self.app_key.is_some(), "--app-key", Protocol::Pusher, "pusher")?;
        let name = self.channel_name();
        if self.protocol == Protocol::Pusher && !name.starts_with("private-") {
            return Err(BenchError::Usage(format!(
                "--channel {name}: with the Pusher protocol its name begins with private-, where clients may publish",
            )));
        }
        Ok(())
    }

    /// Publishers on each channel, so that none says more than the server lets it say.
    pub(super) fn publishers(&self, limit: u32) -> u16 {
        match self.publish {
            Publish::Redis => return 1,
            Publish::Http => return self.publishers.unwrap_or(1),
            Publish::Websocket => {}
        }
        if let Some(publishers) = self.publishers {
            return publishers;
        }
        if limit == 0 || self.window.is_some() {
            return 1;
        }
        let rate = self.rate.unwrap_or(100.0) / f64::from(self.channels);
        let needed = (rate / (f64::from(limit) * BELOW_LIMIT)).ceil();
        let most = (self.connections / self.channels).clamp(1, u16::MAX.into());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let publishers = needed.clamp(1.0, f64::from(most)) as u16;
        publishers
    }

    /// Connections that are there to publish only.
    pub(super) fn speakers(&self, limit: u32) -> u64 {
        let publishers = u64::from(self.publishers(limit)) * u64::from(self.channels);
        match (self.protocol, self.publish) {
            (Protocol::Pusher, Publish::Websocket) => publishers,
            (Protocol::Pusher, Publish::Http) => publishers.min(api::CONNECTIONS as u64),
            _ => 0,
        }
    }

    /// Who disturbs. The limit decides how many connections have to be left to publish.
    pub(super) fn disturbance(&self, limit: u32) -> Result<Option<Disturbance>, BenchError> {
        if self.slow.or(self.reconnect).or(self.churn).is_none() {
            return Ok(None);
        }
        let shares = [self.slow, self.reconnect, self.churn].map(Option::unwrap_or_default);
        // Where none of them publishes, each channel still needs one that reads.
        let publishing =
            if self.protocol == Protocol::Pusher { 1 } else { usize::from(self.publishers(limit)) };
        Disturbance::new(self.connections as usize, shares, publishing * self.channels as usize).map(Some)
    }

    /// What the names of the channels begin with.
    pub(super) fn channel_name(&self) -> &str {
        let default = if self.protocol == Protocol::Pusher { "private-bench" } else { "chat:bench" };
        self.channel.as_deref().unwrap_or(default)
    }

    /// The name of the last channel, which is the longest.
    #[must_use]
    pub fn last_channel(&self) -> String {
        format!("{}-{}", self.channel_name(), self.channels.saturating_sub(1))
    }

    /// Who publishes. Speakers are still to be opened.
    pub(super) fn voice(
        &self,
        redis: Option<&RedisTopic>,
        targets: &[Arc<Target>],
        publishers: u16,
        run: &Arc<Run>,
        work: &Arc<Workload>,
    ) -> Result<Voice, BenchError> {
        Ok(match (self.publish, &work.speech) {
            (Publish::Redis, _) => {
                let redis = redis.ok_or_else(|| {
                    BenchError::Usage("--publish redis needs redis.url (YAMABIKO__REDIS__URL)".to_owned())
                })?;
                Voice::Redis(Redis::start(redis, run.clone(), work.clone())?)
            }
            (Publish::Http, Speech::Pusher(pusher)) => {
                let window = self.window.is_some();
                Voice::Http(Api::start(targets, &*pusher.app, (publishers, window), run, work)?)
            }
            (_, speech) if speech.echoes() => Voice::Readers,
            _ => Voice::Speakers(Speakers::default()),
        })
    }
}
