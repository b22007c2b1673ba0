use std::time::Duration;

use super::client::NativeClient;
use super::sender_args::{SenderArgs, channel};
use super::{Failure, output};
use crate::config::Config;
use crate::message::ChannelName;

const TOKEN_TTL: Duration = Duration::from_secs(12 * 3600);

const EXAMPLES: &str = "\
Examples:
  yamabiko listen chat:default
  yamabiko listen chat:default --id 7                  includes messages that only user 7 receives
  yamabiko listen progress:42 | jq .data.info
  yamabiko listen --url wss://ws.example.com --token eyJ…
  yamabiko listen chat:default --since 9f3c20-17       first what came after the message with this id

When the connection ends, it prints the close code to standard error and exits with code 1.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The channel; with --token, the token names it
    #[arg(value_parser = channel, required_unless_present = "token", conflicts_with = "token")]
    channel: Option<ChannelName>,

    #[command(flatten)]
    user: SenderArgs,

    /// URL of the server [default: the server that the settings describe, on this machine]
    #[arg(long)]
    url: Option<String>,

    /// Print the messages after this id first, as far as the channel has a history; empty: print where it begins
    #[arg(long, value_name = "ID")]
    since: Option<String>,

    /// Connect with this token instead of a token signed with auth.secret
    #[arg(long, conflicts_with_all = ["id", "name"])]
    token: Option<String>,
}

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let token = match (&args.token, &args.channel) {
        (Some(token), _) => token.clone(),
        (None, Some(channel)) => args.user.token(config, channel, TOKEN_TTL)?,
        (None, None) => return Err(Failure::Usage("specify a channel or --token".to_owned())),
    };
    let mut client = NativeClient::connect(args.url.as_deref(), config, &token, args.since.as_deref())?;
    loop {
        match client.next()? {
            // In JSON, line breaks only occur between tokens, where a space is equivalent.
            Ok(frame) => output::line(&frame.replace(['\n', '\r'], " "))?,
            Err(closed) => return Err(closed.into_error().into()),
        }
    }
}
