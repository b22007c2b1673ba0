//! The Pusher protocol, as every server for Laravel Echo speaks it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{Address, Greeted, Heard, data, quoted};
use crate::deployment::App;
use crate::frames::{self, Received, close_in_words};
use crate::target::{Opened, Wire, in_words};

pub(super) const PING: &[u8] = br#"{"event":"pusher:ping","data":{}}"#;
const PONG: &[u8] = br#"{"event":"pusher:pong","data":{}}"#;
/// What connections say without being told to is far below this.
const MAX_GREETING: usize = 64 * 1024;

/// Signs as the application's server does.
pub(crate) struct Pusher {
    pub(crate) app: Arc<dyn App>,
}

impl Pusher {
    pub(super) fn address(&self) -> Address {
        let version = env!("CARGO_PKG_VERSION");
        Address {
            path: format!("app/{}?protocol=7&client=yamabiko-bench&version={version}", self.app.key()),
            token: None,
        }
    }

    /// Waits to be let in, and subscribes.
    pub(super) async fn greet(&self, opened: &mut Opened, channel: &str) -> Result<Greeted, String> {
        #[derive(Deserialize)]
        struct Established {
            socket_id: String,
            activity_timeout: Option<u64>,
        }
        let mut talk = Talk { wire: &mut *opened.wire, bytes: std::mem::take(&mut opened.early) };
        let established = talk.wait_for("pusher:connection_established").await?;
        let established: Established =
            Event::read(&established).and_then(|event| event.data()).ok_or(NOT_PUSHER)?;
        let subscribe = format!(
            r#"{{"event":"pusher:subscribe","data":{{"channel":{},"auth":{}}}}}"#,
            quoted(channel),
            quoted(&self.app.sign_channel(&established.socket_id, channel)),
        );
        talk.say(OpCode::Data(Data::Text), subscribe.as_bytes()).await?;
        // Soketi says no more than that.
        talk.wait_for("pusher_internal:subscription_succeeded").await?;
        let ask_after = established.activity_timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Ok(Greeted { early: talk.bytes, ask_after })
    }
}

/// What a page sends that whispers.
pub(super) fn client_event(channel: &str, text: &[u8]) -> Vec<u8> {
    let channel = quoted(channel);
    let mut message = format!(r#"{{"event":"client-bench","channel":{channel},"data":"#).into_bytes();
    data(text, &mut message);
    message.push(b'}');
    message
}

/// What Laravel posts to `/apps/{id}/events`.
pub(crate) fn api_event(channel: &str, text: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    data(text, &mut object);
    let (data, channel) = (quoted(&String::from_utf8_lossy(&object)), quoted(channel));
    format!(r#"{{"name":"bench","data":{data},"channels":[{channel}]}}"#).into_bytes()
}

pub(super) fn hear(message: &[u8]) -> Heard<'_> {
    match Event::read(message) {
        Some(event) => match &*event.event {
            "pusher:ping" => Heard::Asked(PONG),
            "pusher:error" => Heard::Refused(event.refusal().into()),
            name if name == "pusher:pong" || name.starts_with("pusher_internal:") => Heard::Talk,
            _ => Heard::Foreign,
        },
        None => Heard::Foreign,
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl<'a> Event<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(message).ok()
    }

    /// Its data, which are an object or a text that holds one.
    fn data<T: DeserializeOwned>(&self) -> Option<T> {
        let data = self.data?.get();
        if data.starts_with('"') {
            let text: String = serde_json::from_str(data).ok()?;
            return serde_json::from_str(&text).ok();
        }
        serde_json::from_str(data).ok()
    }

    /// What `pusher:error` and `pusher:subscription_error` say: a code, if there is one, and a reason.
    fn refusal(&self) -> String {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Refusal {
            code: Option<u32>,
            status: Option<u32>,
            message: Option<String>,
            error: Option<String>,
        }
        let Refusal { code, status, message, error } = self.data().unwrap_or_default();
        let code = code.or(status).map(|code| code.to_string());
        let words: Vec<String> = [code, message.or(error)].into_iter().flatten().collect();
        if words.is_empty() { "without a reason".to_owned() } else { words.join(" ") }
    }
}

/// A connection that is not at work yet.
struct Talk<'a> {
    wire: &'a mut dyn Wire,
    /// What came and was not read yet.
    bytes: Vec<u8>,
}

impl Talk<'_> {
    async fn say(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), String> {
        let mut frame = Vec::new();
        frames::write(opcode, payload, &mut frame);
        self.wire.write_all(&frame).await.map_err(|error| in_words(&error))?;
        self.wire.flush().await.map_err(|error| in_words(&error))
    }

    /// That event; what else comes before it is passed over, but for refusals.
    async fn wait_for(&mut self, name: &str) -> Result<Vec<u8>, String> {
        loop {
            let Some((received, length)) = frames::first(&self.bytes).map_err(|_| NOT_PUSHER)? else {
                self.read().await?;
                continue;
            };
            let mut answer = None;
            let mut found = None;
            match received {
                Received::Message(message) => {
                    let event = Event::read(message).ok_or(NOT_PUSHER)?;
                    match &*event.event {
                        "pusher:error" | "pusher:subscription_error" => return Err(event.refusal()),
                        "pusher:ping" => answer = Some((OpCode::Data(Data::Text), PONG.to_vec())),
                        other if other == name => found = Some(message.to_vec()),
                        _ => {}
                    }
                }
                Received::Ping(payload) => answer = Some((OpCode::Control(Control::Pong), payload.to_vec())),
                Received::Close(payload) => return Err(close_in_words(payload)),
            }
            self.bytes.drain(..length);
            if let Some((opcode, payload)) = answer {
                self.say(opcode, &payload).await?;
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        let mut chunk = [0; 1024];
        let read = self.wire.read(&mut chunk).await.map_err(|error| in_words(&error))?;
        if read == 0 {
            return Err("closed before it was subscribed".to_owned());
        }
        self.bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if self.bytes.len() > MAX_GREETING { Err(NOT_PUSHER.to_owned()) } else { Ok(()) }
    }
}

const NOT_PUSHER: &str = "the server does not speak the Pusher protocol";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_stands_in_what_pages_and_laravel_send() {
        let json: serde_json::Value = serde_json::from_slice(&client_event("private-a", b"text")).unwrap();
        assert_eq!(json["event"], "client-bench");
        assert_eq!(
            (json["channel"].as_str(), json["data"]["message"].as_str()),
            (Some("private-a"), Some("text"))
        );
        let json: serde_json::Value = serde_json::from_slice(&api_event("private-a", b"text")).unwrap();
        assert_eq!(json["channels"][0], "private-a");
        let data: serde_json::Value = serde_json::from_str(json["data"].as_str().unwrap()).unwrap();
        assert_eq!(data["message"], "text");
    }

    #[test]
    fn what_servers_say_is_understood_as_a_text_and_as_an_object() {
        for data in [r#"{"code":4301,"message":"too fast"}"#, r#""{\"code\":4301,\"message\":\"too fast\"}""#]
        {
            let message = format!(r#"{{"event":"pusher:error","data":{data}}}"#);
            assert_eq!(hear(message.as_bytes()), Heard::Refused("4301 too fast".into()));
        }
        let without_code = br#"{"event":"pusher:error","data":{"code":null,"message":"no"}}"#;
        assert_eq!(hear(without_code), Heard::Refused("no".into()));
        assert_eq!(hear(br#"{"event":"pusher:error"}"#), Heard::Refused("without a reason".into()));
        assert_eq!(hear(br#"{"event":"pusher:ping"}"#), Heard::Asked(PONG));
        assert_eq!(hear(br#"{"event":"pusher:pong","data":"{}"}"#), Heard::Talk);
        assert_eq!(
            hear(br#"{"event":"pusher_internal:subscription_count","channel":"a","data":"{}"}"#),
            Heard::Talk
        );
        assert_eq!(hear(br#"{"event":"news","channel":"a","data":"{}"}"#), Heard::Foreign);
        assert_eq!(hear(b"nonsense"), Heard::Foreign);
    }
}
