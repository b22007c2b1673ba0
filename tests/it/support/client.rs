use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

use super::{PATIENCE, Raw, Request, Response, Server, token};

/// A WebSocket client on a TCP connection of its own. Answers pings while it reads.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket<TcpStream>,
}

impl Client {
    /// Connects as the pages do, with a token of these claims. A refusal is the response that came instead.
    pub fn connect(server: &Server, claims: &Value) -> Result<Self, Response> {
        Self::with_token(server, &token(claims))
    }

    /// Connects with a token made elsewhere.
    pub fn with_token(server: &Server, token: &str) -> Result<Self, Response> {
        Self::upgrade(Request::get(server.address, format!("/?token={token}")))
    }

    /// Turns any request into a WebSocket handshake and sends it.
    pub fn upgrade(request: Request) -> Result<Self, Response> {
        let (stream, early) = handshake(request)?;
        Ok(Self { socket: WebSocket::from_partially_read(stream, early, Role::Client, None) })
    }

    /// The same handshake, with the bytes of the wire afterwards.
    pub fn raw(request: Request) -> Result<Raw, Response> {
        let (stream, early) = handshake(request)?;
        Ok(Raw::new(stream, early))
    }

    /// Sends JSON in a text message.
    pub fn send_json(&mut self, value: &Value) {
        self.send_text(&value.to_string());
    }

    /// Sends `data` as the protocol wraps it.
    pub fn say(&mut self, data: &Value) {
        self.send_json(&serde_json::json!({ "data": data }));
    }

    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    /// Sends a message of any kind.
    pub fn send(&mut self, message: Message) {
        self.socket.send(message).unwrap();
    }

    /// The next message as JSON.
    pub fn expect_json(&mut self) -> Value {
        let text = self.expect_text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// The next message as text.
    pub fn expect_text(&mut self) -> String {
        match self.next(PATIENCE) {
            Some(Message::Text(text)) => text.to_string(),
            Some(other) => panic!("a text message was due, but {other:?} came"),
            None => panic!("a text message was due, but nothing came"),
        }
    }

    /// Reads the confirmation that the broker has accepted what was sent.
    pub fn expect_sent(&mut self) {
        assert_eq!(self.expect_text(), r#"{"type":"sended","ok":true}"#);
    }

    /// Waits and fails if a message or a close frame comes.
    pub fn expect_nothing(&mut self, wait: Duration) {
        if let Some(message) = self.next(wait) {
            panic!("nothing was due, but {message:?} came");
        }
    }

    /// Fails if anything was on its way to this client: sends a message and expects its answer and its own copy next. The broker
    /// carries everything in one order, so that what was published before would come before.
    pub fn expect_quiet(&mut self) {
        let marker = serde_json::json!({ "message": "marker" });
        self.say(&marker);
        self.expect_sent();
        let copy = self.expect_json();
        assert_eq!(copy["data"], marker, "{copy}");
    }

    /// All text messages up to the server's close frame, and its code and reason.
    pub fn expect_last(&mut self) -> (Vec<String>, (u16, String)) {
        let mut texts = Vec::new();
        loop {
            match self.next(PATIENCE) {
                Some(Message::Text(text)) => texts.push(text.to_string()),
                Some(Message::Close(Some(CloseFrame { code, reason }))) => {
                    self.expect_end();
                    return (texts, (code.into(), reason.to_string()));
                }
                other => panic!("text or a close frame was due, but {other:?} came"),
            }
        }
    }

    /// The server's close code and reason. Fails on a message that comes before it, and if the connection stays open.
    pub fn expect_close(&mut self) -> (u16, String) {
        let (code, reason) = match self.next(PATIENCE) {
            Some(Message::Close(Some(CloseFrame { code, reason }))) => (code.into(), reason.to_string()),
            Some(Message::Close(None)) => (1005, String::new()),
            Some(other) => panic!("a close frame was due, but {other:?} came"),
            None => panic!("a close frame was due, but nothing came"),
        };
        self.expect_end();
        (code, reason)
    }

    /// Reads a WebSocket ping, and answers it. Fails on a message that comes before it.
    pub fn expect_ping(&mut self) -> Vec<u8> {
        loop {
            match self.socket.read().unwrap() {
                Message::Ping(payload) => {
                    self.socket.flush().unwrap();
                    return payload.to_vec();
                }
                Message::Pong(_) => {}
                other => panic!("a ping was due, but {other:?} came"),
            }
        }
    }

    /// The next text message, or the code with which the server closes instead.
    pub fn text_or_close(&mut self) -> Result<String, u16> {
        match self.next(PATIENCE) {
            Some(Message::Text(text)) => Ok(text.to_string()),
            Some(Message::Close(Some(CloseFrame { code, .. }))) => Err(code.into()),
            other => panic!("text or a close frame was due, but {other:?} came"),
        }
    }

    /// The next text message, or nothing if the connection ends instead.
    pub fn text_or_end(&mut self) -> Option<String> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Closes as a page does and waits for the answer.
    pub fn close(mut self) {
        self.socket.close(None).unwrap();
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return,
                Err(error) => panic!("closing: {error}"),
            }
        }
    }

    /// Closes as a browser does that leaves the page.
    pub fn leave_page(mut self) {
        self.socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).unwrap();
        while self.socket.read().is_ok() {}
    }

    /// Ends the connection without a word, as a phone does in a tunnel.
    pub fn vanish(self) {
        self.socket.get_ref().shutdown(Shutdown::Both).unwrap();
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    fn expect_end(&mut self) {
        match self.socket.read() {
            Err(Error::ConnectionClosed) => {}
            other => panic!("the connection was due to end, but: {other:?}"),
        }
    }

    /// The next message that is not a ping or pong, or nothing if none comes in time.
    fn next(&mut self, wait: Duration) -> Option<Message> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.get_ref().set_read_timeout(Some(left)).unwrap();
            let read = self.socket.read();
            self.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
            match read {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return Some(message),
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(error) => panic!("reading: {error}"),
            }
        }
    }
}

/// Upgrades, or returns the whole response that refuses it.
fn handshake(request: Request) -> Result<(TcpStream, Vec<u8>), Response> {
    let key = generate_key();
    let request = request
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", key.as_str());
    let (mut stream, mut response) = request.open();
    if response.status != 101 {
        response.finish(&mut stream);
        return Err(response);
    }
    assert_eq!(response.header("sec-websocket-accept"), Some(&*derive_accept_key(key.as_bytes())));
    assert!(response.header("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")));
    Ok((stream, response.body))
}
