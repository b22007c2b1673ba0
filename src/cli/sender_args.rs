use std::time::Duration;

use super::Failure;
use crate::auth::TokenIssuer;
use crate::config::Config;
use crate::message::{ChannelName, InvalidChannelName, Sender, UserId};

/// The user that a command connects or publishes as.
#[derive(Debug, clap::Args)]
pub(super) struct SenderArgs {
    /// The user's id, a number or a string [default: the setting sender.id]
    #[arg(long, allow_negative_numbers = true)]
    id: Option<UserId>,

    /// The user's name [default: the setting sender.name]
    #[arg(long)]
    name: Option<String>,
}

impl SenderArgs {
    /// The sender given on the command line, if any.
    pub(super) fn given(&self, config: &Config) -> Option<Sender> {
        (self.id.is_some() || self.name.is_some()).then(|| self.or_default(config))
    }

    /// Completes the arguments from the setting `sender`.
    fn or_default(&self, config: &Config) -> Sender {
        let default = &config.settings.server.sender;
        Sender {
            name: self.name.as_deref().unwrap_or(&default.name).into(),
            id: self.id.clone().unwrap_or_else(|| default.id.into()),
        }
    }

    /// A token for the channel, signed with `auth.secret`.
    pub(super) fn token(
        &self,
        config: &Config,
        channel: &ChannelName,
        ttl: Duration,
    ) -> Result<String, Failure> {
        let sender = self.or_default(config);
        Ok(TokenIssuer::new(&config.settings.server.auth)?.issue(&sender.id, &sender.name, channel, ttl))
    }
}

/// Parses a channel name argument.
pub(super) fn channel(text: &str) -> Result<ChannelName, InvalidChannelName> {
    ChannelName::new(text)
}
