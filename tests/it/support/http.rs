use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// An HTTP/1.1 request, written byte for byte as it is built.
pub struct Request {
    address: SocketAddr,
    from: Option<IpAddr>,
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    /// `GET target`, with a `Host` header and no other.
    pub fn get(address: SocketAddr, target: impl Into<String>) -> Self {
        Self {
            address,
            from: None,
            method: "GET",
            target: target.into(),
            headers: vec![("Host".into(), address.to_string())],
            body: String::new(),
        }
    }

    /// `POST target` with a JSON text.
    pub fn post_json(address: SocketAddr, target: impl Into<String>, json: impl Into<String>) -> Self {
        let body = json.into();
        let length = body.len().to_string();
        let request = Self { body, ..Self::get(address, target) };
        request.method("POST").header("Content-Type", "application/json").header("Content-Length", length)
    }

    /// Another method than GET.
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Gives a header another value.
    pub fn replace(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.header(name, value)
    }

    /// The source address of the connection, any of 127.0.0.0/8.
    pub fn from(mut self, address: impl Into<IpAddr>) -> Self {
        self.from = Some(address.into());
        self
    }

    /// Sends it on a connection of its own and reads the whole answer.
    pub fn send(self) -> Response {
        let (mut stream, mut response) = self.header("Connection", "close").open();
        stream.read_to_end(&mut response.body).unwrap();
        response
    }

    /// Sends it, for a response that has lines of JSON and goes on.
    pub fn lines(self) -> Lines {
        let (stream, head) = self.open();
        assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")), "{head:?}");
        Lines { stream, raw: head.body, text: Vec::new() }
    }

    /// Sends it without another header and reads the answer, whose head names its length.
    pub fn send_as_is(self) -> Response {
        let (mut stream, mut response) = self.open();
        response.finish(&mut stream);
        response
    }

    /// Sends it and reads the head of the answer, and as much of the body as came with it.
    pub fn open(&self) -> (TcpStream, Response) {
        let mut stream = connect(self.address, self.from);
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        head.push_str(&self.body);
        stream.write_all(head.as_bytes()).unwrap();
        let response = Response::read(&mut stream);
        (stream, response)
    }
}

/// A response with lines of JSON that goes on.
#[derive(Debug)]
pub struct Lines {
    stream: TcpStream,
    /// Chunks that have arrived.
    raw: Vec<u8>,
    text: Vec<u8>,
}

impl Iterator for Lines {
    type Item = Value;

    /// The next line that is not empty. `None`: the response has ended.
    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = find(&self.text, b"\n") {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                if end > 0 {
                    return Some(serde_json::from_slice(&line).unwrap());
                }
                continue;
            }
            let size = self.chunk(|raw| find(raw, b"\r\n"));
            let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap(), 16).unwrap();
            let chunk = self.chunk(|raw| (raw.len() >= size + 2).then_some(size));
            if size == 0 {
                return None;
            }
            self.text.extend(chunk);
        }
    }
}

impl Lines {
    /// Reads until `end` says how long a part is, which a line break follows.
    fn chunk(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        loop {
            if let Some(end) = end(&self.raw) {
                let part: Vec<u8> = self.raw.drain(..end + 2).collect();
                return part[..end].to_vec();
            }
            let mut bytes = [0; 16 * 1024];
            let read = self.stream.read(&mut bytes).unwrap();
            assert_ne!(read, 0, "closed before the end of the response");
            self.raw.extend_from_slice(&bytes[..read]);
        }
    }
}

/// An HTTP/1.1 response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Reads the rest of a body whose length the head names.
    pub(super) fn finish(&mut self, stream: &mut TcpStream) {
        let length = self.header("content-length").map_or(0, |length| length.parse().unwrap());
        let have = self.body.len();
        self.body.resize(length, 0);
        stream.read_exact(&mut self.body[have..]).unwrap();
    }

    pub(super) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                break end;
            }
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "closed before a response: {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..read]);
        };
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { status, headers, body }
    }
}

pub(super) fn connect(address: SocketAddr, from: Option<IpAddr>) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    }
    socket.connect_timeout(&address.into(), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
