//! What `deploy/`, the Dockerfile and `docs/deploy.md` promise of the binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that panics is how a test fails"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::redis::RedisServer;
use support::{Client, Request, Server, claims, eventually};

#[test]
fn the_health_check_tells_a_server_that_is_well_from_one_that_is_away() {
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
    assert!(said.contains(&format!("{admin} is not well")), "{said}");
}

#[test]
fn a_server_is_ready_while_redis_is_there_and_well_all_the_time() {
    let mut redis = RedisServer::absent(&[]);
    let server = Server::start(|options| {
        options.set("redis.url", redis.url());
    });
    let status = |target: &str| server.get_admin(target).status;
    assert_eq!((status("/healthz"), status("/readyz")), (200, 503));
    redis.restart();
    eventually("it is ready", || status("/readyz") == 200);
    redis.kill();
    eventually("it is not ready", || status("/readyz") == 503);
    assert_eq!(status("/healthz"), 200);
}

#[test]
fn sigterm_ends_it_with_success_after_a_word_to_everyone() {
    let server = Server::start(|options| {
        options.set("server.shutdown_grace", "2s");
    });
    let mut clients: Vec<Client> =
        (0..20).map(|id| Client::connect(&server, &claims(id, "Aoi", "chat:default")).unwrap()).collect();
    server.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.expect_close(), (1001, "going away".to_owned()));
    }
    let exit = server.wait(Duration::from_secs(5));
    assert!(exit.status.success(), "{exit:?}");
}

#[test]
fn wrong_settings_end_it_with_2_which_systemd_does_not_start_again() {
    let exit = Server::try_start(|options| {
        options.unset("auth.secret");
    })
    .map(|server| server.address)
    .expect_err("there is no secret");
    assert_eq!(exit.status.code(), Some(2), "{exit:?}");
}

#[test]
fn a_port_that_is_taken_is_told_in_the_form_of_the_log() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let exit = Server::try_start(|options| {
        options.set("server.port", port);
    })
    .map(|server| server.address)
    .expect_err("the port is taken");
    assert_eq!(exit.status.code(), Some(1), "{exit:?}");
    let [line] = exit.log.as_slice() else { panic!("{exit:?}") };
    assert_eq!(line["level"], "ERROR", "{line}");
    let said = line["message"].as_str().unwrap();
    let wanted =
        format!("cannot listen on 127.0.0.1:{port} (server.host, server.port): another process has the port");
    assert!(said.starts_with(&wanted), "{said}");
}

#[test]
fn strangers_cannot_fill_the_log() {
    const KNOCKS: u64 = 1_500;
    let server = Server::start(|_| {});
    for _ in 0..KNOCKS {
        assert_eq!(server.get("/ws").status, 426);
    }
    server.signal(Signal::TERM);
    let exit = server.wait(Duration::from_secs(15));
    let written = exit.log.iter().filter(|line| line["message"] == "handshake refused").count() as u64;
    let left_out: u64 = exit
        .log
        .iter()
        .filter(|line| line["line"] == "handshake refused")
        .map(|line| line["count"].as_u64().unwrap())
        .sum();
    assert!((1_000..KNOCKS).contains(&written), "{written} written");
    assert_eq!(written + left_out, KNOCKS);
}

#[test]
fn it_opens_as_many_files_as_it_may_and_says_where_that_is_too_few() {
    let started = |limits: &str| {
        let mut process = Command::new("bash")
            .args(["-c", &format!("{limits} exec \"$0\" serve"), env!("CARGO_BIN_EXE_yamabiko")])
            .env_clear()
            .env("YAMABIKO__AUTH__SECRET", support::SECRET)
            .env("YAMABIKO__SERVER__HOST", "127.0.0.1")
            .env("YAMABIKO__SERVER__PORT", "0")
            .env("YAMABIKO__ADMIN__LISTEN", "127.0.0.1:0")
            .env("YAMABIKO__LIMITS__CONNECTIONS", "100")
            .env("YAMABIKO__LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut warnings = Vec::new();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let admin: SocketAddr = loop {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            match line["admin"].as_str() {
                Some(admin) => break admin.parse().unwrap(),
                None => warnings.push(line),
            }
        };
        let page = Request::get(admin, "/metrics").send();
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let number = |text: &str, name| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)).expect("Linux");
            value.trim().parse::<u64>().unwrap()
        };
        // How many files the kernel's table has room for: it grows by powers of two.
        let room = number(&status, "FDSize:");
        (number(page.text(), "process_max_fds "), room, warnings)
    };
    let (files, room, warnings) = started("ulimit -Sn 64; ulimit -Hn 1000;");
    assert_eq!((files, room, warnings.len()), (1000, 1024, 0), "{warnings:?}");
    let (files, _, warnings) = started("ulimit -n 64;");
    assert_eq!((files, warnings.len()), (64, 1), "{warnings:?}");
    assert_eq!((&warnings[0]["level"], &warnings[0]["files"]), (&json!("WARN"), &json!(64)));
}

#[test]
fn the_operators_pages_are_not_on_the_public_port() {
    let server = Server::start(|_| {});
    for target in ["/metrics", "/readyz"] {
        assert_eq!(server.get(target).status, 404, "{target}");
        assert_eq!(server.get_admin(target).status, 200, "{target}");
    }
}

#[test]
fn two_nodes_on_one_redis_are_one_service() {
    let redis = RedisServer::start();
    let node = || {
        let server = Server::start(|options| {
            options.set("redis.url", redis.url());
        });
        eventually("it is ready", || server.get_admin("/readyz").status == 200);
        server
    };
    let (one, two) = (node(), node());
    let mut aoi = Client::connect(&one, &claims(7, "Aoi", "chat:default")).unwrap();
    let mut haruto = Client::connect(&two, &claims(12, "Haruto", "chat:default")).unwrap();
    aoi.say(&json!({ "message": "hello" }));
    aoi.expect_sent();
    let message = json!({
        "type": "message", "sender": { "name": "Aoi", "id": 7 }, "data": { "message": "hello" },
    });
    assert_eq!(aoi.expect_json(), message);
    assert_eq!(haruto.expect_json(), message);
}

#[test]
fn the_image_is_built_with_every_file_that_the_code_includes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (dockerfile, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let mut files = vec![root.join("src")];
    let mut outside = BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            for included in text.split("include_").skip(1).filter_map(|rest| rest.split('"').nth(1)) {
                let up = included.matches("../").count();
                let folder = path.ancestors().nth(1 + up).unwrap();
                let name = included.trim_start_matches("../");
                let folder_of_file = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                if up > 0 && folder == root {
                    outside.insert(folder_of_file.to_owned());
                }
            }
        }
    }
    assert!(
        outside.contains("config"),
        "config/default.toml is included, but only these were found: {outside:?}"
    );
    for folder in outside {
        assert!(
            dockerfile.contains(&format!("\nCOPY {folder} {folder}\n")),
            "Dockerfile does not copy {folder}"
        );
        assert!(ignored.contains(&format!("\n!{folder}\n")), ".dockerignore keeps {folder} out");
    }
}

fn healthcheck(admin: SocketAddr) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yamabiko"))
        .arg("healthcheck")
        .env("YAMABIKO__ADMIN__LISTEN", admin.to_string())
        .output()
        .unwrap()
}
