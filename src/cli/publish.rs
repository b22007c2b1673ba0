use std::io::Read;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use redis::TypedCommands;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::Client;
use super::speaker::{Speaker, channel};
use super::{Failure, output};
use crate::config::Config;
use crate::message::{ChannelName, Sender, UserId};
use crate::protocol::native::Native;

const TOKEN_TTL: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  yamabiko publish chat:default '{\"message\":\"Hello\",\"name\":\"System\"}'
  yamabiko publish progress:42 '{\"info\":{\"percent\":50}}'
  yamabiko publish chat: '{\"message\":\"For you\",\"target_user_id\":7}' --id 3 --name Ken
  echo '{\"tweet\":\"…\"}' | yamabiko publish tweet: -

With a redis.url it speaks to Redis, as Laravel does, and says how many nodes got it. Without one, or with
--url, it speaks to a running server and waits until that has accepted the message.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The channel
    #[arg(value_parser = channel)]
    channel: ChannelName,

    /// The message's `data`, a JSON object; - reads it from standard input
    #[arg(value_name = "JSON")]
    data: String,

    #[command(flatten)]
    speaker: Speaker,

    /// Speak to this server, even with a redis.url
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let data = if args.data == "-" { read_input()? } else { args.data.clone() };
    let data = object(&data)?;
    tell_what_is_left_out(config, &args.channel, data);
    let redis = config.settings.server.redis.url.expose_secret();
    if args.url.is_none() && !redis.is_empty() {
        return to_redis(config, args, redis, data);
    }
    to_server(config, args, data)
}

/// By the rules in force here. Those of the server may be others, so it is published all the same.
fn tell_what_is_left_out(config: &Config, channel: &ChannelName, data: &RawValue) {
    let native = Native::new(&config.settings.server.channels);
    match native.preview(channel, &Bytes::copy_from_slice(data.get().as_bytes())) {
        Ok(None) => {}
        Ok(Some(left_out)) => output::complain(&format!("warning: {left_out}")),
        Err(invalid) => output::complain(&format!("warning: {invalid}: nobody gets this message")),
    }
}

/// What Laravel's `Redis::publish('broadcast', …)` sends.
#[derive(Serialize)]
struct Broadcast<'a> {
    channel: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<Speaks<'a>>,
}

#[derive(Serialize)]
struct Speaks<'a> {
    name: &'a str,
    id: &'a UserId,
}

fn to_redis(config: &Config, args: &Args, url: &str, data: &RawValue) -> Result<(), Failure> {
    let sender: Option<Sender> = args.speaker.given(config);
    let sender = sender.as_ref().map(|sender| Speaks { name: &sender.name, id: &sender.id });
    let payload = serde_json::to_string(&Broadcast { channel: args.channel.as_str(), data, sender })
        .context("cannot write JSON")?;
    let topic = format!("{}broadcast", config.settings.server.redis.prefix);
    let nodes = redis::Client::open(url)
        .and_then(|client| client.get_connection_with_timeout(PATIENCE))
        .and_then(|mut connection| {
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.publish(&topic, payload)
        })
        .map_err(|error| anyhow!("Redis did not take it: {error}"))?;
    if nodes == 0 {
        output::complain(&format!(
            "warning: nobody listens to {topic:?}; is a server running with the same redis.url and redis.prefix?"
        ));
    }
    output::line(&format!("published to {nodes} {}", if nodes == 1 { "node" } else { "nodes" }))
}

#[derive(Serialize)]
struct Said<'a> {
    data: &'a RawValue,
}

/// The server's answer; other frames may come before it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Answer {
    Sended {
        ok: bool,
        error: Option<Refused>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
    message: String,
}

fn to_server(config: &Config, args: &Args, data: &RawValue) -> Result<(), Failure> {
    let token = args.speaker.token(config, &args.channel, TOKEN_TTL)?;
    let mut client = Client::connect(args.url.as_deref(), config, &token)?;
    client.set_patience(PATIENCE)?;
    client.send(serde_json::to_string(&Said { data }).context("cannot write JSON")?)?;
    loop {
        let frame = match client.next().context("the server did not answer")? {
            Ok(frame) => frame,
            Err(ended) => return Err(ended.into_error().into()),
        };
        match serde_json::from_str(&frame) {
            Ok(Answer::Sended { ok: true, .. }) => break,
            Ok(Answer::Sended { error, .. }) => {
                let said = error.map(|error| format!("{} ({})", error.message, error.code));
                return Err(anyhow!("the server refused it: {}", said.unwrap_or_default()).into());
            }
            Ok(Answer::Other) | Err(_) => {}
        }
    }
    client.close();
    output::line("accepted")
}

fn read_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

/// JSON that stays as it was written: numbers, the order of keys.
fn object(text: &str) -> Result<&RawValue, Failure> {
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| Failure::Usage(format!("the message is not JSON: {error}")))?;
    if raw.get().starts_with('{') {
        Ok(raw)
    } else {
        Err(Failure::Usage("the message must be a JSON object, as {\"message\":\"Hello\"}".to_owned()))
    }
}
