//! The log: what it records, how it is bounded, and that it never blocks the server.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Raw, Request, Server, claims, eventually, send_signal, token};

#[test]
fn unauthenticated_requests_cannot_flood_the_log() {
    const KNOCKS: u64 = 5_000;
    // The rate limit of src/telemetry/ for lines at level INFO: burst, and per second.
    const BURST: u64 = 1_000;
    const PER_SECOND: u64 = 200;
    let server = Server::start(|_| {});
    let started = Instant::now();
    let mut connection = Raw::connect(server.address);
    for _ in 0..KNOCKS / 100 {
        knock_100_times(&mut connection);
    }
    let allowed = BURST + PER_SECOND * (started.elapsed().as_secs() + 1);
    server.signal(Signal::TERM);
    let exit = server.wait(Duration::from_secs(15));
    let written = exit.log.iter().filter(|line| line["message"] == "handshake refused").count() as u64;
    let left_out: u64 = exit
        .log
        .iter()
        .filter(|line| line["line"] == "handshake refused")
        .map(|line| line["count"].as_u64().unwrap())
        .sum();
    assert!((BURST..=allowed).contains(&written), "{written} written, {allowed} allowed");
    assert_eq!(written + left_out, KNOCKS);
}

/// Standard error is a full pipe that is never read, as when a log collector hangs.
#[test]
fn an_unread_log_does_not_block_the_server() {
    for format in ["text", "json"] {
        let server = Unread::start(format);
        for _ in 0..600 {
            assert_eq!(Request::get(server.address, "/ws").send().status, 426);
        }
        server.drop_lines();
        let mut aoi = Client::upgrade(server.handshake()).unwrap();
        aoi.say(&json!({ "message": "hello" }));
        aoi.expect_sent();
        assert_eq!(Request::get(server.address, "/healthz").send().status, 200);
        assert_eq!(Request::get(server.admin, "/healthz").send().status, 200);
        let status = server.end();
        assert!(status.success(), "{format}: {status:?}");
    }
}

#[test]
fn a_second_signal_exits_even_if_the_log_is_not_read() {
    let server = Unread::start("text");
    server.drop_lines();
    // It never answers the close frame, and so keeps the server draining.
    let _stubborn = Client::raw(server.handshake()).unwrap();
    server.signal(Signal::TERM);
    eventually("it drains", || Request::get(server.admin, "/readyz").send().status == 503);
    let status = server.end();
    assert_eq!(status.code(), Some(1), "{status:?}");
}

#[test]
fn dropped_log_lines_are_reported_when_the_log_is_read_again() {
    let mut server = Unread::start("text");
    server.drop_lines();
    let mut lines = server.stderr.take().unwrap().lines().map(Result::unwrap);
    let told = lines.find(|line| line.contains("log lines dropped")).unwrap();
    let count: i64 = told.split_once("count=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(count > 0, "{told}");
    server.signal(Signal::TERM);
    // Everything that is written before the exit is read.
    assert!(lines.last().unwrap().contains("stopped"));
    assert!(server.end().success());
}

#[test]
fn client_chosen_names_cannot_forge_log_lines() {
    let names = [
        "chat: user=1 ip=10.0.0.1",
        "chat:\" user=1",
        "chat:\u{2028}INFO yamabiko: forged",
        "chat:\u{202e}gnp.exe",
        "chat:\u{feff}\u{200b}hidden",
        "chat:plain",
        "chat:\u{5c71}\u{5f66}",
    ];
    for format in ["text", "json"] {
        let server = Server::start(|options| {
            options.set("log.format", format).set("limits.message_bytes", 16);
        });
        let is_of = |line: &Value, what: &str| match line {
            Value::String(line) => line.contains(&format!(": {what} ")),
            line => line["message"] == what,
        };
        for (index, name) in names.into_iter().enumerate() {
            let mut client = Client::connect(&server, &claims(7, "Aoi", name)).unwrap();
            // Too large: the server closes the connection and logs its channel.
            client.say(&json!({ "message": "far too long a message" }));
            client.expect_close();
            drop(client);
            // One after the other, so that the lines have the order of the names.
            eventually("it is gone", || {
                server.log().iter().filter(|line| is_of(line, "disconnected")).count() == index + 1
            });
        }
        let raw = server.raw_log();
        for what in ["connected", "disconnected"] {
            let lines: Vec<_> = raw.iter().zip(server.log()).filter(|(_, line)| is_of(line, what)).collect();
            assert_eq!(lines.len(), names.len(), "{raw:#?}");
            for ((raw, line), name) in lines.into_iter().zip(names) {
                let hidden = |c: char| c.is_control() || "\u{2028}\u{202e}\u{85}\u{feff}\u{200b}".contains(c);
                assert!(!raw.contains(hidden), "{raw:?}");
                assert_eq!(
                    raw.matches(" user=").count(),
                    usize::from(format == "text") + name.matches(" user=").count()
                );
                match line {
                    Value::String(line) => {
                        assert!(line.contains(&format!(" user=7 channel={name:?} ")), "{line} of {name:?}");
                    }
                    line => assert_eq!(line["channel"], name),
                }
            }
        }
        if format == "text" {
            assert!(
                raw.iter().any(|line| line.contains(r#" reason="message_too_large" code=1009"#)),
                "{raw:#?}"
            );
        }
    }
}

/// Pipelines requests that cause a log line each.
fn knock_100_times(connection: &mut Raw) {
    connection.write("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100).as_bytes());
    let mut text = String::new();
    while text.matches("HTTP/1.1 426").count() < 100 {
        let mut chunk = [0; 4096];
        let read = connection.stream().read(&mut chunk).unwrap();
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
}

/// A server whose log is not read after it has started.
struct Unread {
    address: SocketAddr,
    admin: SocketAddr,
    process: Child,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Unread {
    fn start(format: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_yamabiko"))
            .arg("serve")
            .env_clear()
            .env("YAMABIKO__AUTH__SECRET", crate::support::SECRET)
            .env("YAMABIKO__SERVER__HOST", "127.0.0.1")
            .env("YAMABIKO__SERVER__PORT", "0")
            .env("YAMABIKO__SERVER__SHUTDOWN_GRACE", "2s")
            .env("YAMABIKO__ADMIN__LISTEN", "127.0.0.1:0")
            .env("YAMABIKO__LOG__LEVEL", "trace")
            .env("YAMABIKO__LOG__FORMAT", format)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
        }
        let address = |field: &str| {
            let (_, rest) =
                line.split_once(&format!("{field}\":\"")).or(line.split_once(&format!("{field}="))).unwrap();
            rest.split([' ', '"']).next().unwrap().parse().unwrap()
        };
        Self { address: address("address"), admin: address("admin"), process, stderr: Some(stderr) }
    }

    /// Brings about more lines than the pipe and a queue hold.
    fn drop_lines(&self) {
        let mut connection = Raw::connect(self.address);
        eventually("lines are dropped", || {
            self.dropped_lines() > 0 || {
                knock_100_times(&mut connection);
                false
            }
        });
    }

    fn dropped_lines(&self) -> u64 {
        let page = Request::get(self.admin, "/metrics").send();
        let line =
            page.text().lines().find_map(|line| line.strip_prefix("yamabiko_log_lines_dropped_total "));
        line.expect("the metric").parse().unwrap()
    }

    fn handshake(&self) -> Request {
        let token = token(&claims(7, "Aoi", "chat:default"));
        Request::get(self.address, format!("/?token={token}"))
    }

    fn signal(&self, signal: Signal) {
        send_signal(&self.process, signal);
    }

    /// Asks it to end and waits until it has.
    fn end(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it was due to end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_json_log_records_connections_and_refusals() {
    let server = Server::start(|options| {
        options.set("log.level", "trace");
    });
    visit(&server);
    let connected = server.expect_log(|line| line["message"] == "connected");
    let gone = server.expect_log(|line| line["message"] == "disconnected");
    for line in [&connected, &gone] {
        assert_eq!((&line["user"], &line["channel"]), (&json!(7), &json!("notes:山")), "{line}");
        assert!(line["connection"].is_u64() && line["timestamp"].is_string(), "{line}");
    }
    assert_eq!(connected["connection"], gone["connection"]);
    assert_eq!(connected["ip"], "127.0.0.1");
    assert_eq!((&gone["reason"], &gone["code"]), (&json!("client_closed"), &json!(1005)));
    let refused = server.expect_log(|line| line["message"] == "handshake refused");
    assert_eq!((&refused["reason"], &refused["status"]), (&json!("bad_signature"), &json!(401)));
    for line in server.log() {
        assert!(line.is_object(), "no JSON: {line}");
    }
    keeps_quiet(&server);
}

#[test]
fn the_text_log_records_connections_and_refusals() {
    let server = Server::start(|options| {
        options.set("log.format", "text").set("log.level", "trace");
    });
    visit(&server);
    let has = |line: &Value, words: &[&str]| {
        let text = line.as_str().expect("text");
        words.iter().all(|word| text.contains(word))
    };
    server.expect_log(|line| {
        has(line, &["INFO", " connected ", "connection=", "user=7", "channel=\"notes:山\"", "ip=127.0.0.1"])
    });
    server.expect_log(|line| {
        has(line, &[" disconnected ", "connection=", "user=7", "reason=\"client_closed\""])
    });
    server.expect_log(|line| has(line, &["handshake refused", "bad_signature"]));
    assert!(!server.log().iter().any(|line| has(line, &["\u{1b}"])), "colours in a file");
    keeps_quiet(&server);
}

/// Connects, sends and leaves; then tries to connect with a token whose signature is wrong.
fn visit(server: &Server) {
    let mut client = Client::connect(server, &claims(7, "Aoi", "notes:山")).expect("upgraded");
    client.say(&json!({ "message": "words of a user" }));
    client.expect_sent();
    client.expect_text();
    client.send_text("words of a user without braces");
    client.expect_text();
    client.close();
    let token = token(&claims(7, "Aoi", "notes:山"));
    let refused = Client::with_token(server, &format!("{token}AAAA")).expect_err("refused");
    assert_eq!(refused.status, 401);
    let other = Request::get(server.address, "/elsewhere?token=".to_owned() + &token);
    assert_eq!(other.send().status, 404);
    server.expect_log(|line| line.to_string().contains("handshake refused"));
}

/// Nothing that users say, or call themselves. (Tokens and secrets are looked for after every test.)
fn keeps_quiet(server: &Server) {
    for line in server.log() {
        let text = line.to_string();
        assert!(!text.contains("words of a user") && !text.contains("Aoi"), "{text}");
    }
}
