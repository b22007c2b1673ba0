//! Health and readiness, and the `healthcheck` command.

use std::net::SocketAddr;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::json;

use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

#[test]
fn healthcheck_distinguishes_healthy_stuck_and_absent_servers() {
    let server = Server::start(|_| {});
    let well = healthcheck(server.admin);
    assert!(well.status.success(), "{well:?}");

    server.signal(Signal::STOP);
    let stuck = healthcheck(server.admin);
    assert_eq!(stuck.status.code(), Some(1), "{stuck:?}");
    server.signal(Signal::CONT);

    let admin = server.admin;
    drop(server);
    let away = healthcheck(admin);
    assert_eq!(away.status.code(), Some(1), "{away:?}");
    let said = String::from_utf8(away.stderr).unwrap();
    assert!(said.contains(&format!("{admin} is not healthy")), "{said}");
}

fn healthcheck(admin: SocketAddr) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yamabiko"))
        .arg("healthcheck")
        .env("YAMABIKO__ADMIN__LISTEN", admin.to_string())
        .output()
        .unwrap()
}

#[test]
fn a_server_without_redis_is_healthy_but_not_ready() {
    let memory = Server::start(|_| {});
    let ready = memory.get_admin("/readyz");
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        json!({ "ready": true, "broker": "ready", "draining": false, "connections": 0 })
    );
    // The operators' pages are not for the public.
    for page in ["/readyz", "/metrics"] {
        assert_eq!(memory.get(page).status, 404, "{page}");
    }

    let mut redis = RedisServer::absent(&[]);
    let server = Server::start(|options| {
        options.set("redis.url", redis.url());
    });
    let healthy = |server: &Server| {
        assert_eq!((server.get("/healthz").status, server.get_admin("/healthz").status), (200, 200));
    };
    let becomes = |status: u16| {
        eventually(&format!("readyz {status}"), || server.get_admin("/readyz").status == status);
        let ready = server.get_admin("/readyz").json();
        assert_eq!(ready["ready"], status == 200);
        assert_eq!(ready["broker"] == "ready", status == 200, "{ready}");
        server.expect_metric("yamabiko_broker_up", i64::from(status == 200));
        healthy(&server);
    };
    becomes(503);
    redis.restart();
    becomes(200);
    server.expect_log(|line| line["message"] == "connected to Redis");
    redis.kill();
    becomes(503);
    server.expect_metric("yamabiko_broker_interruptions_total", 1);
    server.expect_log(|line| line["level"] == "WARN" && line["reason"].is_string());
    redis.restart();
    becomes(200);
}
