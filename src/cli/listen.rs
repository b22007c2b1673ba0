use std::time::Duration;

use super::client::Client;
use super::speaker::{Speaker, channel};
use super::{Failure, output};
use crate::config::Config;
use crate::message::ChannelName;

const TOKEN_TTL: Duration = Duration::from_secs(12 * 3600);

const EXAMPLES: &str = "\
Examples:
  yamabiko listen chat:default
  yamabiko listen chat:default --id 7                  also what is meant for user 7 only
  yamabiko listen progress:42 | jq .data.info
  yamabiko listen --url wss://ws.example.com --token eyJ…

It ends with the connection: exit code 1, and the close code on standard error.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The channel; not needed with --token, which names one
    #[arg(value_parser = channel, required_unless_present = "token", conflicts_with = "token")]
    channel: Option<ChannelName>,

    #[command(flatten)]
    listener: Speaker,

    /// The server [default: the one that the settings describe, on this machine]
    #[arg(long)]
    url: Option<String>,

    /// Connect with this token instead of one signed with the secret in force
    #[arg(long, conflicts_with_all = ["id", "name"])]
    token: Option<String>,
}

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let token = match (&args.token, &args.channel) {
        (Some(token), _) => token.clone(),
        (None, Some(channel)) => args.listener.token(config, channel, TOKEN_TTL)?,
        (None, None) => return Err(Failure::Usage("name a channel, or give a --token".to_owned())),
    };
    let mut client = Client::connect(args.url.as_deref(), config, &token)?;
    loop {
        match client.next()? {
            // JSON has line breaks only between its parts, where a space means the same.
            Ok(frame) => output::line(&frame.replace(['\n', '\r'], " "))?,
            Err(ended) => return Err(ended.into_error().into()),
        }
    }
}
