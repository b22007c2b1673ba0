//! Connections that are slow, dropped or short-lived on purpose.

use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use super::{Ran, bench, finish, number, start, sum};
use crate::support::Server;

#[test]
fn slow_readers_are_let_go_of_and_the_others_miss_nothing() {
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0);
        // Room for who reads and is late on a busy machine, not for who never reads.
        options.set("limits.outbox_bytes", 8 * 1024 * 1024);
    });
    // In the second half more for each than the kernel and the outbox take; who reads may be late by a good part of it.
    let arguments = ["--connections", "6", "--rate", "150", "--duration", "4s", "--payload", "60000"];
    let slow = [&arguments[..], &["--slow", "0.3"]].concat();
    let Ran { code, report, err } = bench(&server, &slow);
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert_eq!(number(&report, "/disturbance/slow/stalled"), 2);
    assert_eq!(sum(&report, "/disturbance/slow/ended"), 2, "{report:#}");
    assert_eq!(server.metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}"), 2);
    // They are neither due anything, nor has the run ended badly for them.
    assert_eq!(number(&report, "/deliveries/received"), number(&report, "/messages/sent") * 4);
    assert_eq!(sum(&report, "/connections/ended"), 0);
    let halves =
        ["before", "during"].map(|half| number(&report, &format!("/disturbance/latency_{half}_us/count")));
    assert_eq!(halves[0] + halves[1], number(&report, "/latency_us/count"));
    assert!(halves.iter().all(|count| (1_100..=1_300).contains(count)), "{halves:?}");

    // One that may be as slow as it likes gets everything in the end.
    let server = Server::start(|_| {});
    let Ran { code, report, err } =
        bench(&server, &["--connections", "6", "--rate", "50", "--duration", "1s", "--slow", "0.3"]);
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert_eq!(sum(&report, "/disturbance/slow/ended"), 0);
    assert_eq!(number(&report, "/disturbance/received"), number(&report, "/messages/sent") * 2);
    assert!(report["cautions"].to_string().contains("none of the 2 slow readers"), "{report:#}");
}

#[test]
fn connections_come_back_and_come_and_go() {
    let server = Server::start(|_| {});
    let arguments = ["--connections", "20", "--channels", "2", "--rate", "50", "--duration", "2s"];
    let Ran { code, report, err } =
        bench(&server, &[&arguments[..], &["--reconnect", "0.25", "--churn", "20"]].concat());
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    for name in ["tried", "opened", "handshake_us/count"] {
        assert_eq!(number(&report, &format!("/disturbance/reconnect/{name}")), 5, "{report:#}");
    }
    assert!(report["disturbance"]["reconnect"]["all_back_seconds"].is_f64(), "{report:#}");
    let churn = number(&report, "/disturbance/churn/tried");
    assert!((18..=20).contains(&churn), "{churn}");
    assert_eq!(number(&report, "/disturbance/churn/opened"), churn);
    // Seven and eight stay on the two channels, which get as many messages, one more at most.
    let (sent, received) = (number(&report, "/messages/sent"), number(&report, "/deliveries/received"));
    assert!((sent * 15).abs_diff(received * 2) <= 1, "{sent} {received}");
    assert!(number(&report, "/disturbance/received") > 5 * 50, "{report:#}");
    let closed =
        |reason: &str| server.metric(&format!("yamabiko_connections_closed_total{{reason=\"{reason}\"}}"));
    crate::support::eventually("all are gone", || server.metric("yamabiko_connections") == 0);
    assert_eq!((closed("client_closed"), closed("connection_lost")), (20 + i64::try_from(churn).unwrap(), 5));
}

#[test]
fn who_comes_back_and_gets_nothing_is_noticed() {
    // A plain server that knows two clients; who comes later is let in or not, but gets nothing.
    let start_server = |lets_in: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut first = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            let mut second = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if lets_in {
                        thread::spawn(move || {
                            let mut client = tungstenite::accept(stream).unwrap();
                            while client.read().is_ok() {}
                        });
                    }
                }
            });
            while let Ok(message) = first.read() {
                if message.is_text() {
                    let _ = second.send(message.clone());
                    first.send(message).unwrap();
                }
            }
        });
        format!("ws://{address}")
    };
    let arguments =
        ["--protocol", "plain", "--connections", "2", "--ramp", "20", "--rate", "50", "--duration", "1s"];
    let arguments = [&arguments[..], &["--reconnect", "0.5"]].concat();
    let Ran { code, report, err } = finish(start(&[start_server(true)], &arguments, &[]));
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(number(&report, "/deliveries/missing"), 0, "{report:#}");
    // Half a second's messages, and some that were on their way.
    assert!((15..=25).contains(&number(&report, "/disturbance/missing")), "{report:#}");
    assert!(err.contains("copies are missing where connections were disturbed on purpose"), "{err}");

    let Ran { code, report, err } = finish(start(&[start_server(false)], &arguments, &[]));
    assert_eq!(code, Some(1), "{report:#}");
    assert!(err.contains("1 connections did not come back"), "{err}");
    assert!(sum(&report, "/disturbance/reconnect/refused") > 1, "{report:#}");
    assert_eq!(report["disturbance"]["reconnect"]["all_back_seconds"], Value::Null);
}
