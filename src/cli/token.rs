use std::time::Duration;

use super::sender_args::channel;
use super::{Failure, output};
use crate::auth::TokenIssuer;
use crate::config::Config;
use crate::message::{ChannelName, UserId};

const EXAMPLES: &str = "\
Examples:
  yamabiko token --id 7 --name Aoi --channel chat:default
  yamabiko token --id 7 --name Aoi --channel progress:42 --ttl 30m
  TOKEN=$(yamabiko token --id 7 --name Aoi --channel chat:)

The token is signed with auth.secret (YAMABIKO__AUTH__SECRET or APP_WS_JWT_SECRET).";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The user's id: a number, or a string of 1 to 64 bytes
    #[arg(long, allow_negative_numbers = true)]
    id: UserId,

    /// The user's name
    #[arg(long)]
    name: String,

    /// The channel that the token admits to
    #[arg(long, value_parser = channel)]
    channel: ChannelName,

    /// How long the token is valid
    #[arg(long, default_value = "12h", value_parser = ttl)]
    ttl: Duration,
}

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let issuer = TokenIssuer::new(&config.settings.server.auth)?;
    output::line(&issuer.issue(&args.id, &args.name, &args.channel, args.ttl))
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text)
        .map_err(|_| "must be a duration such as 30m, 12h or 7d".to_owned())?;
    if ttl < Duration::from_secs(1) {
        return Err("must be at least 1s".to_owned());
    }
    Ok(ttl)
}
