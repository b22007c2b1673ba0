use std::io::Read;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use redis::TypedCommands;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::NativeClient;
use super::sender_args::{SenderArgs, channel};
use super::{Failure, output};
use crate::config::Config;
use crate::message::{ChannelName, Sender, UserId};
use crate::protocol::native::Native;

const TOKEN_TTL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  yamabiko publish chat:default '{\"message\":\"Hello\",\"name\":\"System\"}'
  yamabiko publish progress:42 '{\"info\":{\"percent\":50}}'
  yamabiko publish chat: '{\"message\":\"For you\",\"target_user_id\":7}' --id 3 --name Ken
  echo '{\"tweet\":\"…\"}' | yamabiko publish tweet: -

With redis.url set, it publishes to Redis as Laravel does and prints how many nodes received the message. Without it, or
with --url, it connects to a running server and waits until the server has accepted the message.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The channel
    #[arg(value_parser = channel)]
    channel: ChannelName,

    /// The message's `data`, a JSON object; `-` reads standard input
    #[arg(value_name = "JSON")]
    data: String,

    #[command(flatten)]
    sender: SenderArgs,

    /// Publish through the server at this URL, even if redis.url is set
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let data = if args.data == "-" { read_input()? } else { args.data.clone() };
    let data = object(&data)?;
    warn_about_removed_keys(config, &args.channel, data);
    let redis = config.settings.server.redis.url.expose_secret();
    if args.url.is_none() && !redis.is_empty() {
        return to_redis(config, args, redis, data);
    }
    to_server(config, args, data)
}

/// Only warns: the rules of the server may differ from these settings.
fn warn_about_removed_keys(config: &Config, channel: &ChannelName, data: &RawValue) {
    let native = Native::new(&config.settings.server.channels);
    match native.preview(channel, &Bytes::copy_from_slice(data.get().as_bytes())) {
        Ok(None) => {}
        Ok(Some(left_out)) => output::eprint(&format!("warning: {left_out}")),
        Err(invalid) => output::eprint(&format!("warning: {invalid}: no client receives this message")),
    }
}

/// The payload of Laravel's `Redis::publish('broadcast', …)`.
#[derive(Serialize)]
struct Payload<'a> {
    channel: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<PayloadSender<'a>>,
}

#[derive(Serialize)]
struct PayloadSender<'a> {
    name: &'a str,
    id: &'a UserId,
}

fn to_redis(config: &Config, args: &Args, url: &str, data: &RawValue) -> Result<(), Failure> {
    let sender: Option<Sender> = args.sender.given(config);
    let sender = sender.as_ref().map(|sender| PayloadSender { name: &sender.name, id: &sender.id });
    let payload = serde_json::to_string(&Payload { channel: args.channel.as_str(), data, sender })
        .context("cannot write JSON")?;
    let topic = format!("{}broadcast", config.settings.server.redis.prefix);
    let nodes = redis::Client::open(url)
        .and_then(|client| client.get_connection_with_timeout(TIMEOUT))
        .and_then(|mut connection| {
            connection.set_read_timeout(Some(TIMEOUT))?;
            connection.publish(&topic, payload)
        })
        .map_err(|error| anyhow!("cannot publish to Redis: {error}"))?;
    if nodes == 0 {
        output::eprint(&format!(
            "warning: no node is subscribed to {topic:?}; is a server running with the same redis.url and redis.prefix?"
        ));
    }
    output::line(&format!("published to {nodes} {}", if nodes == 1 { "node" } else { "nodes" }))
}

#[derive(Serialize)]
struct ClientMessage<'a> {
    data: &'a RawValue,
}

/// The server's answer. Other frames may precede it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ServerMessage {
    Sended {
        ok: bool,
        error: Option<PublishRejection>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct PublishRejection {
    code: String,
    message: String,
}

fn to_server(config: &Config, args: &Args, data: &RawValue) -> Result<(), Failure> {
    let token = args.sender.token(config, &args.channel, TOKEN_TTL)?;
    let mut client = NativeClient::connect(args.url.as_deref(), config, &token, None)?;
    client.set_read_timeout(TIMEOUT)?;
    client.send(serde_json::to_string(&ClientMessage { data }).context("cannot write JSON")?)?;
    loop {
        let frame = match client.next().context("the server did not answer")? {
            Ok(frame) => frame,
            Err(closed) => return Err(closed.into_error().into()),
        };
        match serde_json::from_str(&frame) {
            Ok(ServerMessage::Sended { ok: true, .. }) => break,
            Ok(ServerMessage::Sended { error, .. }) => {
                let reason = error.map(|error| format!("{} ({})", error.message, error.code));
                return Err(anyhow!("the server rejected the message: {}", reason.unwrap_or_default()).into());
            }
            Ok(ServerMessage::Other) | Err(_) => {}
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

/// Keeps the text as written, including numbers and the order of keys.
fn object(text: &str) -> Result<&RawValue, Failure> {
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| Failure::Usage(format!("the message is not JSON: {error}")))?;
    if raw.get().starts_with('{') {
        Ok(raw)
    } else {
        Err(Failure::Usage("the message must be a JSON object, such as {\"message\":\"Hello\"}".to_owned()))
    }
}
