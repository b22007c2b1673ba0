//! Hostile and broken clients. After each, the others are served as before.

mod churn;
mod messages;
mod requests;
mod slow_readers;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, Options, Raw, Request, Server, claims, token};

const OK: &str = r#"{"type":"sended","ok":true}"#;

const TEXT: OpCode = OpCode::Data(Data::Text);

/// Two clients that keep publishing on `chat:`.
struct Others([Client; 2], u64);

impl Others {
    fn join(server: &Server) -> Self {
        let join = |id, name| Client::connect(server, &claims(id, name, "chat:")).expect("upgraded");
        Self([join(1001, "Ren"), join(1002, "Yui")], 0)
    }

    /// Both send, and both receive both messages and nothing else.
    fn talk(&mut self) {
        self.talk_with("hello");
    }

    fn talk_with(&mut self, words: &str) {
        for speaker in 0..2 {
            self.1 += 1;
            let data = json!({ "message": words, "name": self.1.to_string() });
            self.0[speaker].say(&data);
            // A message of the hostile client may come in between; an answer may not be missing.
            next_but_strangers(&mut self.0[speaker], |text| text == OK);
            for client in &mut self.0 {
                next_but_strangers(client, |text| text.ends_with(&format!("\"data\":{data}}}")));
            }
        }
    }
}

/// Skips messages of the hostile client, and fails on anything else that is not expected.
fn next_but_strangers(client: &mut Client, due: impl Fn(&str) -> bool) {
    loop {
        let text = client.expect_text();
        if due(&text) {
            return;
        }
        let stranger = text.starts_with(r#"{"type":"message","sender":{"name":"Aoi","#);
        assert!(stranger, "unexpected: {}", text.get(..200).unwrap_or(&text));
    }
}

fn start(change: impl FnOnce(&mut Options)) -> Server {
    Server::start(|options| {
        // The others read only when they talk, and on a busy machine that is rarely.
        options.set("limits.messages_per_second", 0).set("heartbeat.interval", "10m");
        change(options);
    })
}

fn connect(server: &Server, channel: &str) -> Raw {
    connect_as(server, 7, channel)
}

fn connect_as(server: &Server, id: i64, channel: &str) -> Raw {
    let target = format!("/?token={}", token(&claims(id, "Aoi", channel)));
    Client::raw(Request::get(server.address, target)).expect("upgraded")
}

/// The server has to end the stream, in whatever way.
fn read_to_the_end(stream: &mut TcpStream) {
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the end was due: {error}"),
        }
    }
}

fn junk(bytes: usize) -> Vec<u8> {
    let mut junk = vec![0; bytes];
    StdRng::seed_from_u64(20_010_521).fill_bytes(&mut junk);
    junk
}

/// The resident set of the server, in bytes.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
