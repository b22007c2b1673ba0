//! `yamabiko bench` against the real server: what it counts, what it says when things go wrong, and how it exits.
mod pusher;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::redis::RedisServer;
use crate::support::{SECRET, Server};
use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;
use tungstenite::Message;

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

#[test]
fn a_good_run_counts_every_copy_and_exits_0() {
    let server = Server::start(|_| {});
    let pid = server.pid().to_string();
    let Ran { code, report, err } = bench(
        &server,
        &["--connections", "30", "--channels", "3", "--rate", "60", "--duration", "1s", "--pid", &pid],
    );
    assert_eq!((code, &report["faults"]), (Some(0), &Value::Array(vec![])), "{err}\n{report:#}");
    assert_eq!(number(&report, "/connections/opened"), 30);
    let sent = number(&report, "/messages/sent");
    assert!((60..=75).contains(&sent), "{sent}");
    assert_eq!(number(&report, "/messages/accepted"), sent);
    assert_eq!(number(&report, "/deliveries/due"), sent * 10);
    assert_eq!(number(&report, "/deliveries/received"), sent * 10);
    // Every copy that was due while it was measured has a latency, also one that came later.
    assert_eq!(number(&report, "/latency_us/count") % 10, 0);
    assert_eq!(number(&report, "/latency_us/count"), number(&report, "/generator/late_us/count") * 10);
    assert!(report.pointer("/server/cpu_us_per_delivery").unwrap().is_f64(), "{report:#}");
    // The server saw each connection close as a page closes one.
    assert_eq!(server.metric("yamabiko_connections_closed_total{reason=\"client_closed\"}"), 30);
}

#[test]
fn a_closed_loop_has_as_much_on_its_way_as_asked() {
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0);
    });
    let Ran { code, report, err } =
        bench(&server, &["--connections", "4", "--window", "8", "--duration", "500ms"]);
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert!(number(&report, "/messages/sent") > 16, "{report:#}");
    assert_eq!(number(&report, "/deliveries/received"), number(&report, "/messages/sent") * 4);
}

#[test]
fn a_server_that_is_killed_is_not_glossed_over() {
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
fn close_codes_are_told() {
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
fn refusals_are_told_with_their_reasons() {
    let server = Server::start(|options| {
        // Room for two messages, and many come.
        options.set("limits.messages_per_second", 0).set("limits.message_bytes", 1024);
        options.set("limits.queue_bytes", 1024);
    });
    let arguments = ["--connections", "2", "--publishers", "1", "--window", "32", "--duration", "1s"];
    let Ran { code, report, err } = bench(&server, &arguments);
    // What was refused is not missing.
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert!(number(&report, "/messages/refused/unavailable") > 0, "{report:#}");
    assert!(report["cautions"].to_string().contains("unavailable"), "{report:#}");
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

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let Ran { code, report, .. } =
        finish(start(&[format!("ws://{free}")], &["--connections", "3", "--duration", "100ms"], &[]));
    assert_eq!(code, Some(1));
    assert_eq!(number(&report, "/connections/refused/connection refused"), 3, "{report:#}");
}

#[test]
fn it_publishes_over_redis_and_compares_two_nodes() {
    let redis = RedisServer::start();
    let node = || {
        Server::start(|options| {
            options.set("redis.url", redis.url()).set("redis.prefix", "bench_");
        })
    };
    let (one, two) = (node(), node());
    for server in [&one, &two] {
        crate::support::eventually("Redis is connected", || server.get_admin("/readyz").status == 200);
    }
    let urls = [url(&one), url(&two)];
    let redis_url = redis.url();
    let variables = [("YAMABIKO__REDIS__URL", redis_url.as_str()), ("YAMABIKO__REDIS__PREFIX", "bench_")];
    let arguments = ["--connections", "12", "--channels", "2", "--rate", "50", "--duration", "1s"];
    for publish in [&["--publish", "redis"][..], &["--publishers", "3"]] {
        let Ran { code, report, err } = finish(start(&urls, &[&arguments[..], publish].concat(), &variables));
        assert_eq!(code, Some(0), "{err}\n{report:#}");
        assert_eq!(number(&report, "/deliveries/received"), number(&report, "/messages/sent") * 6);
        assert_eq!(number(&report, "/messages/unanswered"), 0);
    }
    assert!(one.metric("yamabiko_deliveries_total") > 0 && two.metric("yamabiko_deliveries_total") > 0);
    let closed_loop = ["--connections", "2", "--publish", "redis", "--window", "4", "--duration", "300ms"];
    let Ran { code, report, err } = finish(start(&urls, &closed_loop, &variables));
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert!(number(&report, "/messages/sent") > 8, "{report:#}");
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
        // The run is over; each is let go when it has said so itself.
        for mut client in [first, second] {
            while client.read().is_ok() {}
        }
    });
    format!("ws://{address}")
}

#[test]
fn what_a_server_does_wrong_is_found() {
    every_fault_is_found(|spoil| {
        // One after the other, so that the first to connect is the first to be accepted.
        let arguments =
            ["--protocol", "plain", "--connections", "2", "--ramp", "20", "--rate", "20", "--duration", "1s"];
        finish(start(&[spoiling_server(spoil)], &arguments, &[]))
    });
}

/// Runs the benchmark against servers that do what they are told to the copies of a message.
fn every_fault_is_found(run: impl Fn(Spoil) -> Ran) {
    static KEPT: std::sync::Mutex<Option<Message>> = std::sync::Mutex::new(None);
    let faults: [(&str, Spoil); 4] = [
        ("", |_, message| vec![message]),
        ("missing", |number, message| if number == 3 { vec![] } else { vec![message] }),
        (
            "doubled",
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
        for name in ["missing", "doubled", "reordered"] {
            let expected = u64::from(name == fault);
            assert_eq!(number(&report, &format!("/deliveries/{name}")), expected, "{fault}: {report:#}");
        }
    }
}

/// What a part of the report that names reasons counts in all.
fn sum(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).unwrap().as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

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

#[test]
fn latency_counts_from_when_a_message_was_due() {
    // The server does nothing for 500 ms, and the messages of that time wait in the generator's socket.
    let url = spoiling_server(|number, message| {
        if number == 5 {
            thread::sleep(Duration::from_millis(500));
        }
        vec![message]
    });
    let arguments =
        ["--protocol", "plain", "--connections", "2", "--ramp", "20", "--rate", "100", "--duration", "1s"];
    let Ran { report, err, .. } = finish(start(&[url], &arguments, &[]));
    // About half of the messages waited, 250 ms on average: a generator that waits with them would hide it.
    assert!(number(&report, "/latency_us/p90") > 200_000, "{err}\n{report:#}");
    assert!(number(&report, "/messages/sent") >= 115, "{report:#}");
}

#[test]
fn a_peer_that_is_no_websocket_server_is_told_as_such() {
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
fn it_speaks_tls() {
    let server = Server::start(|_| {});
    let address = server.address;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    // A reverse proxy that ends TLS, as there is before most deployments.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut upstream = tokio::net::TcpStream::connect(address).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
            });
        }
    });
    let url = [format!("wss://localhost:{port}")];
    let arguments = ["--connections", "5", "--rate", "50", "--duration", "500ms", "--payload", "20000"];
    let Ran { code, report, err } =
        finish(start(&url, &arguments, &[("SSL_CERT_FILE", file.to_str().unwrap())]));
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert_eq!(number(&report, "/deliveries/received"), number(&report, "/messages/sent") * 5);

    let Ran { code, report, .. } = finish(start(&url, &["--connections", "1", "--duration", "100ms"], &[]));
    assert_eq!(code, Some(1));
    assert!(report["connections"]["refused"].to_string().contains("TLS: "), "{report:#}");
}

#[test]
fn wrong_usage_is_2() {
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
