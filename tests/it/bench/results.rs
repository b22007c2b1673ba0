//! The counts and measurements of a sound run.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

use super::{Ran, bench, finish, number, spoiling_server, start, url};
use crate::support::Server;
use crate::support::redis::RedisServer;

#[test]
fn a_run_without_faults_counts_every_copy_and_exits_0() {
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
    server.expect_metric("yamabiko_connections_closed_total{reason=\"client_closed\"}", 30);
}

#[test]
fn a_closed_loop_keeps_its_window_in_flight() {
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
fn a_run_publishes_over_redis_to_two_nodes() {
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

#[test]
fn latency_is_measured_from_the_scheduled_time() {
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
fn a_run_connects_over_tls() {
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
