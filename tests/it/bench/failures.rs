//! Servers that are killed, that refuse, or that are none, and wrong usage.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use super::{Ran, bench, every_fault_is_found, finish, number, spoiling_server, start, url};
use crate::support::ports::own_port;
use crate::support::{SECRET, Server};

#[test]
fn a_killed_server_fails_the_run() {
    let server = Server::start(|_| {});
    let child = start(&[url(&server)], &["--connections", "10", "--rate", "100", "--duration", "3s"], &[]);
    crate::support::eventually("messages on their way", || server.metric("yamabiko_deliveries_total") > 200);
    server.signal(Signal::KILL);
    let Ran { code, report, err } = finish(child);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(
        report["connections"]["ended"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| key.starts_with("1006"))
            .count(),
        report["connections"]["ended"].as_object().unwrap().len()
    );
    let ended: u64 =
        report["connections"]["ended"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(ended, 10);
    let (sent, unsent) = (number(&report, "/messages/sent"), number(&report, "/messages/unsent"));
    assert!(sent >= 20 && unsent > 0, "{report:#}");
    // 3.2 seconds of the schedule, sent or not.
    assert!((310..=325).contains(&(sent + unsent)), "{sent} + {unsent}");
    assert!(err.contains("10 connections ended before the run did"), "{err}");
}

#[test]
fn close_codes_are_reported() {
    let server = Server::start(|options| {
        options.set("server.shutdown_grace", "1s");
    });
    let child = start(&[url(&server)], &["--connections", "5", "--rate", "50", "--duration", "3s"], &[]);
    crate::support::eventually("messages on their way", || server.metric("yamabiko_deliveries_total") > 50);
    server.signal(Signal::TERM);
    let Ran { code, report, .. } = finish(child);
    assert_eq!(code, Some(1));
    assert_eq!(number(&report, "/connections/ended/1001 going away"), 5, "{report:#}");
}

#[test]
fn refusals_are_reported_with_their_reasons() {
    let server = Server::start(|options| {
        // Room for two messages, and many come.
        options.set("limits.messages_per_second", 0).set("limits.message_bytes", 1024);
        options.set("limits.queue_bytes", 1024);
    });
    let arguments = ["--connections", "2", "--publishers", "1", "--window", "32", "--duration", "1s"];
    let Ran { code, report, err } = bench(&server, &arguments);
    // A refused message is not missing.
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert!(number(&report, "/messages/refused/unavailable") > 0, "{report:#}");
    assert!(report["warnings"].to_string().contains("unavailable"), "{report:#}");
    assert_eq!(number(&report, "/deliveries/received"), number(&report, "/messages/accepted") * 2);

    let stranger = [("YAMABIKO__AUTH__SECRET", "another secret, 32 bytes long ….")];
    let Ran { code, report, .. } =
        finish(start(&[url(&server)], &["--connections", "3", "--duration", "100ms"], &stranger));
    assert_eq!(code, Some(1));
    assert_eq!(number(&report, "/connections/refused/401 Unauthorized (bad_signature)"), 3, "{report:#}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let arguments = ["--connections", "3", "--duration", "100ms", "--secret-file", file.to_str().unwrap()];
    assert_eq!(finish(start(&[url(&server)], &arguments, &stranger)).code, Some(0));

    let nobody = format!("ws://127.0.0.1:{}", own_port());
    let Ran { code, report, .. } =
        finish(start(&[nobody], &["--connections", "3", "--duration", "100ms"], &[]));
    assert_eq!(code, Some(1));
    assert_eq!(number(&report, "/connections/refused/connection refused"), 3, "{report:#}");
}

#[test]
fn lost_doubled_and_reordered_copies_are_faults() {
    every_fault_is_found(|spoil| {
        // One after the other, so that the first to connect is the first to be accepted.
        let arguments =
            ["--protocol", "plain", "--connections", "2", "--ramp", "20", "--rate", "20", "--duration", "1s"];
        finish(start(&[spoiling_server(spoil)], &arguments, &[]))
    });
}

#[test]
fn a_server_that_is_no_websocket_server_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let Ran { code, report, .. } = finish(start(&[url], &["--connections", "2", "--duration", "100ms"], &[]));
    assert_eq!(code, Some(1));
    assert_eq!(number(&report, "/connections/refused/200 OK"), 2, "{report:#}");
}

#[test]
fn wrong_usage_exits_2() {
    for arguments in [
        &["--url", "http://127.0.0.1"][..],
        &["--url", "nonsense"],
        &["--rate", "0"],
        &["--rate", "5", "--window", "5"],
        &["--payload", "5"],
        &["--connections", "4000000000"],
        &["--publish", "redis"],
        &["--secret-file", "/nowhere"],
        &["--duration", "soon"],
        &["--slow", "1.5"],
        &["--slow", "0.5", "--reconnect", "0.5"],
        &["--churn", "0"],
        &["--protocol", "morse"],
        &["--protocol", "pusher"],
        &["--publish", "http"],
        &["--app-key", "a"],
        &["--protocol", "plain", "--secret-file", "/dev/null"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yamabiko"));
        let output =
            command.env_clear().env("YAMABIKO__AUTH__SECRET", SECRET).arg("bench").args(arguments).output();
        let output = output.unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
}
