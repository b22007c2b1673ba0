use std::io::{ErrorKind, Read};
use std::net::TcpStream;

use serde_json::Value;

use super::{Request, Response, Server, claims, token};

/// A client of server-sent events on a TCP connection of its own.
#[derive(Debug)]
pub struct EventSource {
    /// The status and the headers.
    pub head: Response,
    stream: TcpStream,
    /// As they came.
    unread: Vec<u8>,
    /// Without transfer coding.
    text: Vec<u8>,
    has_ended: bool,
    /// The comments and the fields that are not of an event, so far.
    pub asides: Vec<String>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerSentEvent {
    /// `message` if it has no name.
    pub name: String,
    pub id: Option<String>,
    pub data: String,
}

impl EventSource {
    /// Connects as a user.
    pub fn join(server: &Server, id: i64, name: &str, channel: &str) -> Self {
        let target = format!("/sse?token={}", token(&claims(id, name, channel)));
        Self::open(Request::get(server.address, target)).expect("a stream")
    }

    /// Sends any request. A refusal is the response that came instead.
    pub fn open(request: Request) -> Result<Self, Response> {
        let (mut stream, mut head) = request.open();
        if head.status != 200 {
            head.finish(&mut stream);
            return Err(head);
        }
        assert_eq!(head.header("transfer-encoding"), Some("chunked"), "{head:?}");
        let unread = std::mem::take(&mut head.body);
        Ok(Self { head, stream, unread, text: Vec::new(), has_ended: false, asides: Vec::new() })
    }

    /// The next event, or nothing when the response has ended as it should. The first one, which names the connection, is left
    /// out.
    pub fn next(&mut self) -> Option<ServerSentEvent> {
        let event = self.next_of_any_name()?;
        if event.name == "connection" { self.next_of_any_name() } else { Some(event) }
    }

    /// The ID of the connection, from the first event.
    pub fn expect_connection(&mut self) -> String {
        let event = self.next_of_any_name().expect("an event");
        assert_eq!(event.name, "connection", "{event:?}");
        let data: Value = serde_json::from_str(&event.data).unwrap();
        data["id"].as_str().expect("an ID").to_owned()
    }

    fn next_of_any_name(&mut self) -> Option<ServerSentEvent> {
        let mut event = ServerSentEvent { name: "message".into(), id: None, data: String::new() };
        let mut has_data = false;
        loop {
            let line = self.line()?;
            match line.split_once(": ").unwrap_or((&line, "")) {
                ("data", text) => {
                    if std::mem::replace(&mut has_data, true) {
                        event.data.push('\n');
                    }
                    event.data.push_str(text);
                }
                ("event", name) => name.clone_into(&mut event.name),
                ("id", id) => event.id = Some(id.to_owned()),
                ("", "") if has_data => return Some(event),
                ("", "") => {}
                _ => self.asides.push(line),
            }
        }
    }

    /// The data of the next event, which is a message of the protocol.
    pub fn expect_json(&mut self) -> Value {
        let event = self.next().expect("an event");
        assert_eq!(event.name, "message", "{event:?}");
        let json: Value =
            serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        assert_eq!(json["id"].as_str(), event.id.as_deref(), "the ID is that of the data");
        json
    }

    /// The code and the reason with which the server ends the stream.
    pub fn expect_close(&mut self) -> (u64, String) {
        let event = self.next().expect("an event");
        assert_eq!(event.name, "close", "{event:?}");
        let json: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(self.next(), None, "nothing follows");
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "the connection is closed");
        (json["code"].as_u64().unwrap(), json["reason"].as_str().unwrap().to_owned())
    }

    /// Reads until a comment or a field that is not of an event is this one.
    pub fn expect_aside(&mut self, aside: &str) {
        while !self.asides.iter().any(|known| known == aside) {
            let line = self.line().expect("more");
            self.asides.push(line);
        }
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if self.has_ended {
                assert!(self.text.is_empty(), "the stream ended inside an event");
                return None;
            }
            self.chunk();
        }
    }

    /// Reads one chunk (RFC 9112, section 7.1).
    fn chunk(&mut self) {
        let head = loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                break end;
            }
            self.read();
        };
        let size = std::str::from_utf8(&self.unread[..head]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|error| panic!("{error}: {size:?}"));
        let end = head + 2 + size;
        while self.unread.len() < end + 2 {
            self.read();
        }
        self.text.extend_from_slice(&self.unread[head + 2..end]);
        self.unread.drain(..end + 2);
        self.has_ended = size == 0;
    }

    fn read(&mut self) {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => panic!("the connection ended inside a chunk"),
            Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("an event was due"),
            Err(error) => panic!("reading: {error}"),
        }
    }
}
