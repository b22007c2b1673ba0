use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{Endpoint, ProtocolSession, ServerMessage, quoted, write_data};
use crate::deployment::AppSigner;
use crate::frames::{self, ServerFrame, describe_close};
use crate::target::{ByteStream, Upgraded, describe_error};

pub(super) const PING: &[u8] = br#"{"event":"pusher:ping","data":{}}"#;
const PONG: &[u8] = br#"{"event":"pusher:pong","data":{}}"#;
/// More than a server sends before the subscription succeeds.
const MAX_HANDSHAKE: usize = 64 * 1024;

/// The Pusher protocol, as all servers for Laravel Echo speak it.
pub(crate) struct Pusher {
    pub(crate) app: Arc<dyn AppSigner>,
}

impl Pusher {
    pub(super) fn endpoint(&self) -> Endpoint {
        let version = env!("CARGO_PKG_VERSION");
        Endpoint {
            path: format!("app/{}?protocol=7&client=yamabiko-bench&version={version}", self.app.key()),
            token: None,
        }
    }

    /// Waits for the connection to be established, and subscribes.
    pub(super) async fn open_session(
        &self,
        opened: &mut Upgraded,
        channel: &str,
    ) -> Result<ProtocolSession, String> {
        #[derive(Deserialize)]
        struct Established {
            socket_id: String,
            activity_timeout: Option<u64>,
        }
        let mut handshake =
            Handshake { stream: &mut *opened.stream, bytes: std::mem::take(&mut opened.early) };
        let established = handshake.wait_for("pusher:connection_established").await?;
        let established: Established =
            Event::read(&established).and_then(|event| event.data()).ok_or(NOT_PUSHER)?;
        let subscribe = format!(
            r#"{{"event":"pusher:subscribe","data":{{"channel":{},"auth":{}}}}}"#,
            quoted(channel),
            quoted(&self.app.sign_channel(&established.socket_id, channel)),
        );
        handshake.send(OpCode::Data(Data::Text), subscribe.as_bytes()).await?;
        // Soketi sends no data with this event.
        handshake.wait_for("pusher_internal:subscription_succeeded").await?;
        let ping_after = established.activity_timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Ok(ProtocolSession { early: handshake.bytes, ping_after })
    }
}

/// What a page sends with `whisper`.
pub(super) fn client_event(channel: &str, text: &[u8]) -> Vec<u8> {
    let channel = quoted(channel);
    let mut message = format!(r#"{{"event":"client-bench","channel":{channel},"data":"#).into_bytes();
    write_data(text, &mut message);
    message.push(b'}');
    message
}

/// What Laravel posts to `/apps/{id}/events`.
pub(crate) fn api_event(channel: &str, text: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    write_data(text, &mut object);
    let (data, channel) = (quoted(&String::from_utf8_lossy(&object)), quoted(channel));
    format!(r#"{{"name":"bench","data":{data},"channels":[{channel}]}}"#).into_bytes()
}

pub(super) fn classify(message: &[u8]) -> ServerMessage<'_> {
    match Event::read(message) {
        Some(event) => match &*event.event {
            "pusher:ping" => ServerMessage::ReplyWith(PONG),
            "pusher:error" => ServerMessage::Refused(event.refusal().into()),
            name if name == "pusher:pong" || name.starts_with("pusher_internal:") => ServerMessage::Ignored,
            _ => ServerMessage::Unrecognized,
        },
        None => ServerMessage::Unrecognized,
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

    /// The data, which is an object or a string that contains one.
    fn data<T: DeserializeOwned>(&self) -> Option<T> {
        let data = self.data?.get();
        if data.starts_with('"') {
            let text: String = serde_json::from_str(data).ok()?;
            return serde_json::from_str(&text).ok();
        }
        serde_json::from_str(data).ok()
    }

    /// The code, if there is one, and the reason of `pusher:error` and `pusher:subscription_error`.
    fn refusal(&self) -> String {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct ErrorData {
            code: Option<u32>,
            status: Option<u32>,
            message: Option<String>,
            error: Option<String>,
        }
        let ErrorData { code, status, message, error } = self.data().unwrap_or_default();
        let code = code.or(status).map(|code| code.to_string());
        let words: Vec<String> = [code, message.or(error)].into_iter().flatten().collect();
        if words.is_empty() { "without a reason".to_owned() } else { words.join(" ") }
    }
}

/// A connection that is not on its channel yet.
struct Handshake<'a> {
    stream: &'a mut dyn ByteStream,
    /// Received and not parsed yet.
    bytes: Vec<u8>,
}

impl Handshake<'_> {
    async fn send(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), String> {
        let mut frame = Vec::new();
        frames::write(opcode, payload, &mut frame);
        self.stream.write_all(&frame).await.map_err(|error| describe_error(&error))?;
        self.stream.flush().await.map_err(|error| describe_error(&error))
    }

    /// Waits for the event, answers pings, ignores other events, and fails on errors.
    async fn wait_for(&mut self, name: &str) -> Result<Vec<u8>, String> {
        loop {
            let Some((received, length)) = frames::parse_first(&self.bytes).map_err(|_| NOT_PUSHER)? else {
                self.read().await?;
                continue;
            };
            let mut reply = None;
            let mut found = None;
            match received {
                ServerFrame::Message(message) => {
                    let event = Event::read(message).ok_or(NOT_PUSHER)?;
                    match &*event.event {
                        "pusher:error" | "pusher:subscription_error" => return Err(event.refusal()),
                        "pusher:ping" => reply = Some((OpCode::Data(Data::Text), PONG.to_vec())),
                        other if other == name => found = Some(message.to_vec()),
                        _ => {}
                    }
                }
                ServerFrame::Ping(payload) => {
                    reply = Some((OpCode::Control(Control::Pong), payload.to_vec()));
                }
                ServerFrame::Close(payload) => return Err(describe_close(payload)),
            }
            self.bytes.drain(..length);
            if let Some((opcode, payload)) = reply {
                self.send(opcode, &payload).await?;
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        let mut chunk = [0; 1024];
        let read = self.stream.read(&mut chunk).await.map_err(|error| describe_error(&error))?;
        if read == 0 {
            return Err("closed before the subscription succeeded".to_owned());
        }
        self.bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if self.bytes.len() > MAX_HANDSHAKE { Err(NOT_PUSHER.to_owned()) } else { Ok(()) }
    }
}

const NOT_PUSHER: &str = "the server does not speak the Pusher protocol";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_laravel_send_the_text() {
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
    fn data_may_be_an_object_or_a_string() {
        for data in [r#"{"code":4301,"message":"too fast"}"#, r#""{\"code\":4301,\"message\":\"too fast\"}""#]
        {
            let message = format!(r#"{{"event":"pusher:error","data":{data}}}"#);
            assert_eq!(classify(message.as_bytes()), ServerMessage::Refused("4301 too fast".into()));
        }
        let without_code = br#"{"event":"pusher:error","data":{"code":null,"message":"no"}}"#;
        assert_eq!(classify(without_code), ServerMessage::Refused("no".into()));
        assert_eq!(
            classify(br#"{"event":"pusher:error"}"#),
            ServerMessage::Refused("without a reason".into())
        );
        assert_eq!(classify(br#"{"event":"pusher:ping"}"#), ServerMessage::ReplyWith(PONG));
        assert_eq!(classify(br#"{"event":"pusher:pong","data":"{}"}"#), ServerMessage::Ignored);
        assert_eq!(
            classify(br#"{"event":"pusher_internal:subscription_count","channel":"a","data":"{}"}"#),
            ServerMessage::Ignored
        );
        assert_eq!(classify(br#"{"event":"news","channel":"a","data":"{}"}"#), ServerMessage::Unrecognized);
        assert_eq!(classify(b"nonsense"), ServerMessage::Unrecognized);
    }
}
