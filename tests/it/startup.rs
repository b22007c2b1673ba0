//! How the process starts, and how it fails to.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Request, Server};

#[test]
fn wrong_settings_exit_2() {
    let exit = Server::try_start(|options| {
        options.unset("auth.secret");
    })
    .map(|server| server.address)
    .expect_err("there is no secret");
    assert_eq!(exit.status.code(), Some(2), "{exit:?}");
}

#[test]
fn a_taken_port_is_reported_in_the_log_format() {
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
fn the_descriptor_limit_is_raised_and_a_low_one_is_reported() {
    let started = |limits: &str| {
        let mut process = Command::new("bash")
            .args(["-c", &format!("{limits} exec \"$0\" serve"), env!("CARGO_BIN_EXE_yamabiko")])
            .env_clear()
            .env("YAMABIKO__AUTH__SECRET", crate::support::SECRET)
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
