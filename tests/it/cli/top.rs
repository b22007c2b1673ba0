//! `top`: a frame as text, and on a terminal.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::{Ran, run};
use crate::support::{Client, PATIENCE, Server, claims, eventually};

const KEY: &str = "a-key-of-the-tests-with-32-bytes";

fn serve() -> Server {
    Server::start(|options| {
        options.config(&format!("[[api.keys]]\nname = \"top\"\nsecret = \"{KEY}\"\nscopes = [\"read\"]\n"));
    })
}

/// Sends as fast as the server answers, until the sender is dropped.
fn flood(server: &Server, id: i64, channel: &str) -> mpsc::Sender<()> {
    let mut client = Client::connect(server, &claims(id, "Aoi", channel)).unwrap();
    let (end, ended) = mpsc::channel();
    thread::spawn(move || {
        while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
            client.say(&json!({ "message": "again" }));
            client.expect_sent();
            // Its own copy.
            client.expect_json();
        }
    });
    end
}

#[test]
fn a_frame_shows_who_floods_which_channel() {
    let server = serve();
    let url = format!("http://{}", server.admin);
    let _flood = flood(&server, 4711, "chat:flooded");
    let _quiet = Client::connect(&server, &claims(1, "Ken", "chat:quiet")).unwrap();
    let top = |more: &[&str]| {
        run(
            &[&["top", "--url", &url, "--once", "--interval", "1s"], more].concat(),
            &[("YAMABIKO_API_KEY", KEY)],
        )
    };
    let mut frame = String::new();
    eventually("the flood is seen", || {
        let Ran { code, out, err } = top(&[]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        frame = out;
        frame.contains("chat:flooded")
    });
    let lines: Vec<&str> = frame.lines().collect();
    assert!(lines.len() <= 24 && lines.iter().all(|line| line.chars().count() <= 80), "{frame}");
    assert!(lines[0].starts_with(&format!("yamabiko top  {url}  1 node")), "{frame}");
    assert!(lines[1].starts_with("2 connections   messages "), "{frame}");
    assert!(lines.iter().any(|line| line.contains(" ready      2   0%     2 ")), "{frame}");
    assert!(lines.iter().any(|line| line.starts_with("chat:flooded ") && line.contains(" 4711 ")), "{frame}");
    assert!(!frame.contains("chat:quiet"), "{frame}");

    let Ran { code, err, .. } = top(&["--sort", "users.color"]);
    assert!(code == Some(2) && err.contains("users has no column \"color\""), "{err}");
    assert_eq!(top(&["--sort", "nodes.cpu", "--sort", "channels.subs"]).code, Some(0));
}

#[test]
fn a_wrong_key_or_address_is_an_error() {
    let server = serve();
    let url = format!("http://{}", server.admin);
    let Ran { code, err, .. } = run(&["top", "--url", &url, "--once"], &[("YAMABIKO_API_KEY", "wrong")]);
    assert!(code == Some(1) && err.contains("/api/v1/nodes answered 401: "), "{err}");
    let Ran { code, err, .. } = run(&["top", "--url", &format!("http://{}", server.address), "--once"], &[]);
    assert!(code == Some(1) && err.contains("is it the operators' port?"), "{err}");
    let Ran { code, err, .. } = run(&["top", "--url", &url], &[("YAMABIKO_API_KEY", KEY)]);
    assert!(code == Some(2) && err.contains("--once"), "without a terminal: {err}");
}

#[test]
fn on_a_terminal_it_is_steered_by_keys_and_restores_the_screen() {
    let server = serve();
    let _flood = flood(&server, 4711, "chat:flooded");
    let command = format!(
        "stty rows 24 cols 80; exec {} top --url http://{} --interval 1s",
        env!("CARGO_BIN_EXE_yamabiko"),
        server.admin
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"])
        .env("YAMABIKO_API_KEY", KEY)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (chunks, screen) = mpsc::channel();
    let mut stdout = script.stdout.take().unwrap();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut chunk) {
            if chunks.send(String::from_utf8_lossy(&chunk[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    let mut expect = |wanted: &str| {
        let (start, deadline) = (seen.len(), Instant::now() + PATIENCE);
        while !seen[start..].contains(wanted) {
            // The screen changes every second.
            assert!(Instant::now() < deadline, "no {wanted:?}: {seen:?}");
            seen.push_str(
                &screen.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {wanted:?}: {seen:?}")),
            );
        }
    };
    let mut keys = script.stdin.take().unwrap();
    expect("chat:flooded");
    keys.write_all(b"p").unwrap();
    expect("paused");
    keys.write_all(b"\t\x1b[Bsrq").unwrap();
    // It leaves the alternate screen and shows the cursor.
    expect("\x1b[?1049l");
    assert!(script.wait().unwrap().success());
}
