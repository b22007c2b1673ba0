//! What the options ask for, where one depends on another or on the settings.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::api::{self, Api};
use super::disturb::Disturbance;
use super::redis::Redis;
use super::speech::{Native, Protocol, Pusher, Speech};
use super::tally::Run;
use super::target::Target;
use super::voice::{Speakers, Voice};
use super::workload::Workload;
use super::{Args, Publish};
use crate::auth::Minter;
use crate::cli::Failure;
use crate::config::Config;
use crate::message::ChannelName;

/// A part of the messages that a server lets one sender send: a clock is not exact.
const BELOW_LIMIT: f64 = 0.8;

impl Args {
    /// Refuses what does not go together.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let only = |given: bool, option: &str, protocol: Protocol, name: &str| {
            if given && self.protocol != protocol {
                return Err(Failure::Usage(format!("{option} is for --protocol {name}")));
            }
            Ok(())
        };
        only(self.secret_file.is_some(), "--secret-file", Protocol::Native, "native")?;
        only(self.publish == Publish::Redis, "--publish redis", Protocol::Native, "native")?;
        only(self.publish == Publish::Http, "--publish http", Protocol::Pusher, "pusher")?;
        only(self.app_key.is_some(), "--app-key", Protocol::Pusher, "pusher")?;
        Ok(())
    }

    /// Messages a second that the server lets one connection send, as far as these settings are its own; 0: any number.
    pub(super) fn limit(&self, config: &Config) -> Result<u32, Failure> {
        let settings = &config.settings.server;
        Ok(match self.protocol {
            Protocol::Native => settings.limits.messages_per_second,
            Protocol::Pusher => {
                let app = Pusher::choose(&settings.apps, self.app_key.as_deref())?;
                let events = app.over(&settings.pusher).client_events_per_second;
                let limits = [settings.limits.messages_per_second, events];
                limits.into_iter().filter(|limit| *limit > 0).min().unwrap_or_default()
            }
            Protocol::Plain => 0,
        })
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
    pub(super) fn disturbance(&self, limit: u32) -> Result<Option<Disturbance>, Failure> {
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
    pub(super) fn channel(&self) -> Result<ChannelName, Failure> {
        let pusher = self.protocol == Protocol::Pusher;
        let default = if pusher { "private-bench" } else { "chat:bench" };
        let name = match &self.channel {
            Some(name) => name.clone(),
            None => ChannelName::new(default).map_err(|error| Failure::Usage(error.to_string()))?,
        };
        if pusher && !name.as_str().starts_with("private-") {
            return Err(Failure::Usage(format!(
                "--channel {}: with the Pusher protocol its name begins with private-, where clients may publish",
                name.as_str()
            )));
        }
        Ok(name)
    }

    /// What is spoken, with the secrets of the settings.
    pub(super) fn speech(&self, config: &Config) -> Result<Speech, Failure> {
        let settings = &config.settings.server;
        Ok(match self.protocol {
            Protocol::Native => Speech::Native(Box::new(Native(Minter::new(&settings.auth)?))),
            Protocol::Pusher => {
                Speech::Pusher(Pusher::new(Pusher::choose(&settings.apps, self.app_key.as_deref())?)?)
            }
            Protocol::Plain => Speech::Plain,
        })
    }

    /// Who publishes. Speakers are still to be opened.
    pub(super) fn voice(
        &self,
        config: &Config,
        targets: &[Arc<Target>],
        publishers: u16,
        run: &Arc<Run>,
        work: &Arc<Workload>,
    ) -> Result<Voice, Failure> {
        let redis = &config.settings.server.redis;
        Ok(match (self.publish, &work.speech) {
            (Publish::Redis, _) if redis.url.expose_secret().is_empty() => {
                return Err(Failure::Usage(
                    "--publish redis needs redis.url (YAMABIKO__REDIS__URL)".to_owned(),
                ));
            }
            (Publish::Redis, _) => {
                let topic = format!("{}broadcast", redis.prefix);
                Voice::Redis(Redis::start(&redis.url, topic, run.clone(), work.clone())?)
            }
            (Publish::Http, Speech::Pusher(pusher)) => {
                let window = self.window.is_some();
                Voice::Http(Api::start(targets, &pusher.app, (publishers, window), run, work)?)
            }
            (_, speech) if speech.echoes() => Voice::Readers,
            _ => Voice::Speakers(Speakers::default()),
        })
    }
}
