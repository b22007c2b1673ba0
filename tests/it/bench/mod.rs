//! `yamabiko bench` against the real server: what it counts, how it reports faults, and its exit codes.

mod disturbances;
mod failures;
mod pusher;
mod results;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tungstenite::Message;

use crate::support::{SECRET, Server};

/// A run against these addresses, small enough for a debug build on a busy machine.
fn start(urls: &[String], arguments: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yamabiko"));
    command.env_clear().env("YAMABIKO__AUTH__SECRET", SECRET).envs(variables.iter().copied());
    command.args(["bench", "--json", "-"]).args(arguments);
    for (option, value) in [("--warmup", "200ms"), ("--ramp", "2000")] {
        if !arguments.contains(&option) {
            command.args([option, value]);
        }
    }
    for url in urls {
        command.args(["--url", url]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

struct Ran {
    code: Option<i32>,
    report: Value,
    err: String,
}

fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("eyJ") && !err.contains(SECRET), "a token or a secret: {err}");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ran { code: output.status.code(), report, err }
}

fn bench(server: &Server, arguments: &[&str]) -> Ran {
    finish(start(&[url(server)], arguments, &[]))
}

fn url(server: &Server) -> String {
    format!("ws://{}", server.address)
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} in {report:#}"))
}

type Spoil = fn(usize, Message) -> Vec<Message>;

/// A plain server of two clients that sends each message on, except that it does to some of them what `spoil` says:
/// the copies of the message with that number, for the second client.
fn spoiling_server(spoil: Spoil) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let accept = || tungstenite::accept(listener.accept().unwrap().0).unwrap();
        let (mut first, mut second) = (accept(), accept());
        for number in 0.. {
            let Ok(message @ Message::Text(_)) = first.read() else { break };
            first.send(message.clone()).unwrap();
            for copy in spoil(number, message) {
                second.send(copy).unwrap();
            }
        }
        // The run is over; each connection ends when the client closes it.
        for mut client in [first, second] {
            while client.read().is_ok() {}
        }
    });
    format!("ws://{address}")
}

/// Runs the benchmark against servers that drop, double or reorder copies of a message.
fn every_fault_is_found(run: impl Fn(Spoil) -> Ran) {
    static KEPT: std::sync::Mutex<Option<Message>> = std::sync::Mutex::new(None);
    let faults: [(&str, Spoil); 4] = [
        ("", |_, message| vec![message]),
        ("missing", |number, message| if number == 3 { vec![] } else { vec![message] }),
        (
            "duplicated",
            |number, message| if number == 3 { vec![message.clone(), message] } else { vec![message] },
        ),
        ("reordered", |number, message| match number {
            3 => {
                *KEPT.lock().unwrap() = Some(message);
                vec![]
            }
            4 => vec![message, KEPT.lock().unwrap().take().unwrap()],
            _ => vec![message],
        }),
    ];
    for (fault, spoil) in faults {
        let Ran { code, report, err } = run(spoil);
        assert_eq!(code, Some(i32::from(!fault.is_empty())), "{fault}: {err}\n{report:#}");
        for name in ["missing", "duplicated", "reordered"] {
            let expected = u64::from(name == fault);
            assert_eq!(number(&report, &format!("/deliveries/{name}")), expected, "{fault}: {report:#}");
        }
    }
}

/// The total of a part of the report that lists reasons.
fn sum(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).unwrap().as_object().unwrap().values().filter_map(Value::as_u64).sum()
}
