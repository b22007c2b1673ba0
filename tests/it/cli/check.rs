//! `check`: exit codes and performance data of monitoring plugins.

use std::time::Duration;

use serde_json::Value;

use super::{Ran, run};
use crate::support::redis::RedisServer;
use crate::support::tls_proxy::TlsProxy;
use crate::support::{Client, Server, claims, eventually};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn url(server: &Server) -> String {
    format!("http://{}", server.admin)
}

fn check(arguments: &[&str]) -> (i32, String) {
    let Ran { code, out, err } = run(&[&["check"], arguments].concat(), &[]);
    assert_eq!(err, "");
    let line = out.strip_suffix('\n').unwrap().to_owned();
    assert!(!line.contains('\n'), "{line}");
    (code.unwrap(), line)
}

#[test]
fn connections_are_compared_with_the_limit() {
    let server = Server::start(|options| {
        options.set("limits.connections", 10);
    });
    let url = url(&server);
    let (code, line) = check(&["--url", &url]);
    assert_eq!(code, 0, "{line}");
    assert!(
        line.starts_with(
            "YAMABIKO OK: ready, broker ready, 0 of 10 connections (0%), 0 messages wait for the broker | 'time'=0"
        ),
        "{line}"
    );
    assert!(line.ends_with(" 'connections'=0;8;9.5;0;10 'lag'=0;1000;10000;0"), "{line}");

    let mut clients = Vec::new();
    for (count, expected, word) in [(8, 1, "WARNING"), (10, 2, "CRITICAL")] {
        while clients.len() < count {
            clients.push(Client::connect(&server, &claims(1, "a", "chat:")).unwrap());
        }
        server.expect_metric("yamabiko_connections", i64::try_from(count).unwrap());
        let (code, line) = check(&["--url", &url]);
        let start = format!("YAMABIKO {word}: {count} of 10 connections");
        assert!(code == expected && line.starts_with(&start), "{line}");
    }
    let (code, _) = check(&["--url", &url, "--connections-warning", "100", "--connections-critical", "100%"]);
    assert_eq!(code, 2);

    let (code, json) = check(&["--url", &url, "--json", "--connections-critical", "100"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["status"]), (2, &Value::from("critical")), "{report}");
    let connections =
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "connections").unwrap();
    assert_eq!(connections["figure"]["value"], 10.0, "{report}");
}

#[test]
fn without_redis_the_state_is_critical() {
    let mut redis = RedisServer::start();
    let server = Server::start(|options| {
        options.set("redis.url", redis.url());
    });
    let url = url(&server);
    eventually("the node is ready", || check(&["--url", &url]).0 == 0);
    redis.kill();
    eventually("the loss is noticed", || check(&["--url", &url]).0 == 2);
    let (_, line) = check(&["--url", &url]);
    assert!(line.starts_with("YAMABIKO CRITICAL: not ready, broker unavailable: "), "{line}");
}

#[test]
fn an_absent_server_is_critical_and_what_cannot_be_checked_is_unknown() {
    let server = Server::start(|_| {});
    let absent = Server::start(|_| {});
    let address = url(&absent);
    drop(absent);
    let (code, line) = check(&["--url", &address]);
    assert!(
        code == 2 && line.starts_with(&format!("YAMABIKO CRITICAL: {address}: cannot connect: ")),
        "{line}"
    );

    // The port of the clients.
    let (code, line) = check(&["--url", &format!("http://{}", server.address)]);
    assert!(code == 3 && line.contains("is it the operators' port?"), "{line}");
    let (code, line) = check(&["--key-file", "/nonexistent"]);
    assert!(code == 3 && line.starts_with("YAMABIKO UNKNOWN: cannot read /nonexistent"), "{line}");
    // Settings that are wrong: there is no secret, which only `serve` needs, but this port is none.
    let Ran { code, out, .. } = run(&["check"], &[("YAMABIKO__ADMIN__LISTEN", "nonsense")]);
    assert!(code == Some(3) && out.contains("admin.listen"), "{out}");

    for arguments in [&["check", "--nonsense"][..], &["check", "--url", "nonsense"], &["check", "--timeout"]]
    {
        let Ran { code, out, err } = run(arguments, &[]);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    }
    assert_eq!(run(&["check", "--help"], &[]).code, Some(0));
    assert_eq!(run(&["publish", "check"], &[]).code, Some(2), "only the command itself counts");
}

#[test]
fn the_way_of_the_browsers_and_its_certificate_are_checked() {
    let server = Server::start(|_| {});
    let url = url(&server);
    let check = |proxy: &TlsProxy, host: &str, trusts: bool| {
        let public = format!("wss://{host}:{}", proxy.port());
        let authority = proxy.certificate();
        let none = authority.with_file_name("none.pem");
        std::fs::write(&none, "").unwrap();
        let roots = if trusts { authority } else { none };
        let Ran { code, out, .. } = run(
            &["check", "--url", &url, "--public-url", &public],
            &[("SSL_CERT_FILE", roots.to_str().unwrap())],
        );
        (code.unwrap(), out)
    };
    for (life, expected, text) in [
        (60 * DAY, 0, "certificate of localhost valid for 59 days"),
        (10 * DAY, 1, "YAMABIKO WARNING: certificate of localhost valid for 9 days"),
        (2 * DAY, 2, "YAMABIKO CRITICAL: certificate of localhost valid for 1 days"),
    ] {
        let proxy = TlsProxy::start(server.address, Some(life));
        let (code, line) = check(&proxy, "localhost", true);
        assert!(code == expected && line.contains(text), "{line}");
        assert!(
            line.contains(" 'certificate_localhost'=") && line.contains("s;1814400:;604800:;0"),
            "{line}"
        );
    }
    let proxy = TlsProxy::start(server.address, Some(60 * DAY));
    for (line, why) in [
        (check(&proxy, "127.0.0.1", true), "not valid for name"),
        (check(&proxy, "localhost", false), "UnknownIssuer"),
        (check(&TlsProxy::start(server.address, None), "localhost", true), "expired"),
    ] {
        assert!(line.0 == 2 && line.1.contains("TLS failed") && line.1.contains(why), "{line:?}");
    }
    // A proxy whose server is away.
    let (code, line) =
        check(&TlsProxy::start("127.0.0.1:1".parse().unwrap(), Some(60 * DAY)), "localhost", true);
    assert!(code == 2 && line.contains("YAMABIKO CRITICAL: https://localhost:"), "{line}");
}
