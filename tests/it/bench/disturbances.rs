//! Connections that are slow, dropped or short-lived on purpose.

use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use super::{Ran, bench, finish, number, start, sum};
use crate::support::Server;

#[test]
fn slow_readers_are_closed_and_others_miss_nothing() {
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0);
        // Enough for a client that reads late on a busy machine, not for one that never reads.
        options.set("limits.outbox_bytes", 8 * 1024 * 1024);
    });
    // In the second half more for each than the kernel and the outbox take; a client that reads may be late by a good part of it.
    let arguments = ["--connections", "6", "--rate", "150", "--duration", "4s", "--payload", "60000"];
    let slow = [&arguments[..], &["--slow", "0.3"]].concat();
    let Ran { code, report, err } = bench(&server, &slow);
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert_eq!(number(&report, "/chaos/slow/stalled"), 2);
    assert_eq!(sum(&report, "/chaos/slow/ended"), 2, "{report:#}");
    server.expect_metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}", 2);
    // They are neither due anything, nor has the run ended badly for them.
    assert_eq!(number(&report, "/deliveries/received"), number(&report, "/messages/sent") * 4);
    assert_eq!(sum(&report, "/connections/ended"), 0);
    let halves = ["before", "during"].map(|half| number(&report, &format!("/chaos/latency_{half}_us/count")));
    assert_eq!(halves[0] + halves[1], number(&report, "/latency_us/count"));
    assert!(halves.iter().all(|count| (1_100..=1_300).contains(count)), "{halves:?}");

    // One that may be as slow as it likes gets everything in the end.
    let server = Server::start(|_| {});
    let Ran { code, report, err } =
        bench(&server, &["--connections", "6", "--rate", "50", "--duration", "1s", "--slow", "0.3"]);
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert_eq!(sum(&report, "/chaos/slow/ended"), 0);
    assert_eq!(number(&report, "/chaos/received"), number(&report, "/messages/sent") * 2);
    assert!(report["warnings"].to_string().contains("none of the 2 slow readers"), "{report:#}");
}

#[test]
fn reconnects_and_churn_are_counted() {
    let server = Server::start(|_| {});
    let arguments = ["--connections", "20", "--channels", "2", "--rate", "50", "--duration", "2s"];
    let Ran { code, report, err } =
        bench(&server, &[&arguments[..], &["--reconnect", "0.25", "--churn", "20"]].concat());
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    for name in ["attempted", "opened", "handshake_us/count"] {
        assert_eq!(number(&report, &format!("/chaos/reconnect/{name}")), 5, "{report:#}");
    }
    assert!(report["chaos"]["reconnect"]["all_back_seconds"].is_f64(), "{report:#}");
    let churn = number(&report, "/chaos/churn/attempted");
    assert!((18..=20).contains(&churn), "{churn}");
    assert_eq!(number(&report, "/chaos/churn/opened"), churn);
    // Seven and eight stay on the two channels, which get as many messages, one more at most.
    let (sent, received) = (number(&report, "/messages/sent"), number(&report, "/deliveries/received"));
    assert!((sent * 15).abs_diff(received * 2) <= 1, "{sent} {received}");
    assert!(number(&report, "/chaos/received") > 5 * 50, "{report:#}");
    let closed =
        |reason: &str| server.metric(&format!("yamabiko_connections_closed_total{{reason=\"{reason}\"}}"));
    crate::support::eventually("all are gone", || server.metric("yamabiko_connections") == 0);
    assert_eq!((closed("client_closed"), closed("connection_lost")), (20 + i64::try_from(churn).unwrap(), 5));
}

#[test]
fn a_reconnected_client_that_receives_nothing_is_a_fault() {
    // A plain server that serves two clients; later ones are accepted or not, but receive nothing.
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
    assert!((15..=25).contains(&number(&report, "/chaos/missing")), "{report:#}");
    assert!(err.contains("copies are missing on disturbed connections"), "{err}");

    let Ran { code, report, err } = finish(start(&[start_server(false)], &arguments, &[]));
    assert_eq!(code, Some(1), "{report:#}");
    assert!(err.contains("1 dropped connections failed to reconnect"), "{err}");
    assert!(sum(&report, "/chaos/reconnect/refused") > 1, "{report:#}");
    assert_eq!(report["chaos"]["reconnect"]["all_back_seconds"], Value::Null);
}
