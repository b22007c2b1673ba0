use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use super::eventually;
use super::ports::own_port;

/// What an [`application`] is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request line and the headers, in lower case.
    pub head: String,
    pub body: String,
    /// The same, if it is not a text.
    pub bytes: Vec<u8>,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A status and a body.
pub type Answer = (u16, String);

/// The application's end: answers each request, in a thread of its own, with what `answer` returns, or closes the connection without
/// an answer. Returns its port.
pub fn application(answer: impl Fn(Asked) -> Option<Answer> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            thread::spawn(move || {
                let Some(asked) = read(&mut stream) else { return };
                let Some((status, body)) = answer(asked) else { return };
                // The server may have given the request up meanwhile.
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all([head, body].concat().as_bytes());
            });
        }
    });
    port
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let body = &bytes[end + 4..];
        let asked = Asked { head, body: String::from_utf8_lossy(body).into_owned(), bytes: body.to_vec() };
        let length: usize = asked.header("content-length").unwrap().parse().unwrap();
        if bytes.len() == end + 4 + length {
            return Some(asked);
        }
    }
}

/// PHP's own web server, which runs one script for every request. Dropping it ends it.
pub struct PhpServer {
    pub port: u16,
    process: Child,
}

impl PhpServer {
    /// `script` is a path in the repository.
    pub fn start(script: &str, env: &[(&str, &str)]) -> Self {
        Self::start_on(own_port(), script, env)
    }

    /// The same on this port.
    pub fn start_on(port: u16, script: &str, env: &[(&str, &str)]) -> Self {
        let process = Command::new("php")
            .args(["-S", &format!("127.0.0.1:{port}"), script])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("php runs");
        eventually("PHP listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, process }
    }
}

impl Drop for PhpServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
