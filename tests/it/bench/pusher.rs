//! Over the Pusher protocol.

use std::net::TcpListener;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::{Ran, every_fault_is_found, finish, number, start, sum, url};
use crate::support::Server;

const APP: [(&str, &str); 3] =
    [("PUSHER_APP_ID", "1"), ("PUSHER_APP_KEY", "the-key"), ("PUSHER_APP_SECRET", "the app's own secret")];

/// The real server with that app.
fn server(client_events_per_second: u32) -> Server {
    Server::start(|options| {
        for (name, value) in APP {
            options.env(name, value);
        }
        options.set("pusher.client_events", true).set("limits.messages_per_second", 0);
        options.set("pusher.client_events_per_second", client_events_per_second);
    })
}

fn bench(url: String, arguments: &[&str], more: &[(&str, &str)]) -> Ran {
    let ran = finish(start(&[url], &[&["--protocol", "pusher"], arguments].concat(), &[&APP, more].concat()));
    assert!(!ran.err.contains("own secret") && !ran.report.to_string().contains("own secret"), "{}", ran.err);
    ran
}

#[test]
fn a_good_run_counts_every_copy_of_client_events_and_of_the_http_api() {
    for publish in ["websocket", "http"] {
        let server = server(0);
        let arguments = ["--connections", "30", "--channels", "3", "--rate", "60", "--duration", "1s"];
        let pid = server.pid().to_string();
        let more = ["--publish", publish, "--publishers", "2", "--pid", &pid];
        let Ran { code, report, err } = bench(url(&server), &[&arguments[..], &more].concat(), &[]);
        assert_eq!((code, &report["faults"]), (Some(0), &Value::Array(vec![])), "{err}\n{report:#}");
        assert_eq!(
            (&report["load"]["protocol"], &report["load"]["publish"]),
            (&json!("pusher"), &json!(publish))
        );
        // Connections that only publish are not included.
        assert_eq!(number(&report, "/connections/opened"), 30);
        let sent = number(&report, "/messages/sent");
        assert!((60..=75).contains(&sent), "{sent}");
        assert_eq!(number(&report, "/messages/accepted"), if publish == "http" { sent } else { 0 });
        assert_eq!(number(&report, "/messages/unanswered"), 0);
        assert_eq!(number(&report, "/deliveries/due"), sent * 10);
        assert_eq!(number(&report, "/deliveries/received"), sent * 10);
        assert_eq!(number(&report, "/latency_us/count"), number(&report, "/generator/late_us/count") * 10);
        assert!(report.pointer("/server/cpu_us_per_delivery").unwrap().is_f64(), "{report:#}");
        assert_eq!(number(&report, "/deliveries/unrecognized"), 0);
        let connections = if publish == "http" { 30 } else { 36 };
        let closed = "yamabiko_connections_closed_total{reason=\"client_closed\"}";
        crate::support::eventually("all have said goodbye", || server.metric(closed) == connections);
    }
}

#[test]
fn a_closed_loop_continues_until_the_end() {
    for publish in ["websocket", "http"] {
        let server = server(0);
        let arguments = ["--connections", "4", "--channels", "2", "--window", "8", "--duration", "2s"];
        let more = ["--publish", publish, "--publishers", "3"];
        let Ran { code, report, err } = bench(url(&server), &[&arguments[..], &more].concat(), &[]);
        assert_eq!(code, Some(0), "{err}\n{report:#}");
        // Eight times three on each of the two channels are only the beginning.
        assert!(number(&report, "/messages/sent") > 2 * 48, "{report:#}");
        assert_eq!(number(&report, "/deliveries/received"), number(&report, "/messages/sent") * 2);
    }
}

#[test]
fn refusals_are_reported_with_codes_and_reasons() {
    let limited = server(5);
    let arguments = ["--connections", "2", "--publishers", "1", "--rate", "100", "--duration", "1s"];
    let Ran { code, report, err } = bench(url(&limited), &arguments, &[]);
    // A refused message is not missing.
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    let refused = sum(&report, "/messages/refused");
    assert!(refused > 80, "{report:#}");
    assert!(report["warnings"].to_string().contains("messages were refused: 4301 "), "{report:#}");
    assert_eq!(number(&report, "/deliveries/received"), (number(&report, "/messages/sent") - refused) * 2);
    // The server's own limit determines how many have to publish.
    let settings = [("YAMABIKO__PUSHER__CLIENT_EVENTS_PER_SECOND", "5")];
    let Ran { code, report, err } =
        bench(url(&limited), &["--connections", "9", "--rate", "20", "--duration", "1s"], &settings);
    assert_eq!((code, sum(&report, "/messages/refused")), (Some(0), 0), "{err}\n{report:#}");
    assert_eq!(number(&report, "/load/publishers_per_channel"), 5);

    let server = server(0);
    let few = ["--connections", "3", "--duration", "100ms"];
    let told = |more: &[(&str, &str)]| {
        let Ran { code, report, .. } = bench(url(&server), &few, more);
        assert_eq!((code, number(&report, "/connections/opened")), (Some(1), 0), "{report:#}");
        assert!(sum(&report, "/connections/refused") >= 3, "{report:#}");
        report["connections"]["refused"].to_string()
    };
    let refused = told(&[("PUSHER_APP_KEY", "another-key")]);
    assert!(refused.contains("\"4001 "), "{refused}");
    let refused = told(&[("PUSHER_APP_SECRET", "a wrong secret")]);
    assert!(refused.contains("\"401 "), "{refused}");
    // The secret is right, and the id is none of the server's.
    let http = ["--connections", "3", "--duration", "500ms", "--publish", "http"];
    let Ran { code, report, .. } = bench(url(&server), &http, &[("PUSHER_APP_ID", "2")]);
    assert_eq!(code, Some(1));
    assert!(number(&report, "/messages/refused/HTTP 404 Not Found") > 10, "{report:#}");
}

#[test]
fn one_of_several_apps_is_chosen_by_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("apps.toml");
    let apps = r#"
        [[apps]]
        id = "1"
        key = "the-key"
        secret = "the app's own secret"
        [[apps]]
        id = "2"
        key = "second"
        secret = "another app's own secret"
    "#;
    std::fs::write(&file, apps).unwrap();
    let server = server(0);
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yamabiko"));
        command.env_clear().arg("--config").arg(&file).args([
            "bench",
            "--protocol",
            "pusher",
            "--url",
            &url(&server),
        ]);
        command
            .args(["--connections", "2", "--rate", "20", "--warmup", "0s", "--duration", "300ms"])
            .args(more);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = run(&[]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("--app-key: the-key, second"), "{err}");
    let (code, err) = run(&["--app-key", "the-key"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, err) = run(&["--app-key", "second"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("4001 "), "{err}");
    let (code, err) = run(&["--app-key", "third"]);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn reconnects_and_churn_are_counted() {
    let server = server(0);
    let arguments = ["--connections", "20", "--channels", "2", "--rate", "50", "--duration", "2s"];
    let more = ["--reconnect", "0.25", "--churn", "20"];
    let Ran { code, report, err } = bench(url(&server), &[&arguments[..], &more].concat(), &[]);
    assert_eq!(code, Some(0), "{err}\n{report:#}");
    assert_eq!(number(&report, "/chaos/reconnect/opened"), 5, "{report:#}");
    assert!(number(&report, "/chaos/received") > 5 * 50, "{report:#}");
}

type Spoil = fn(usize, Message) -> Vec<Message>;

/// A Pusher server of two that listen and one that publishes, in the order in which they come, which does to the copies
/// of the second listener what `spoil` says.
fn spoiling_server(spoil: Spoil) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut first, mut second, mut speaker) =
            (welcome(&listener), welcome(&listener), welcome(&listener));
        for number in 0.. {
            let Ok(message @ Message::Text(_)) = speaker.read() else { break };
            first.send(message.clone()).unwrap();
            for copy in spoil(number, message) {
                second.send(copy).unwrap();
            }
        }
        for mut client in [first, second, speaker] {
            while client.read().is_ok() {}
        }
    });
    format!("ws://{address}")
}

fn welcome(listener: &TcpListener) -> WebSocket<std::net::TcpStream> {
    let mut client = tungstenite::accept(listener.accept().unwrap().0).unwrap();
    let mut say = |event: &str, data: Value| {
        let text = json!({ "event": event, "data": data.to_string() }).to_string();
        client.send(Message::text(text)).unwrap();
    };
    say("pusher:connection_established", json!({ "socket_id": "1.2", "activity_timeout": 30 }));
    // At any time, also before it has subscribed.
    say("pusher:ping", json!({}));
    let answers: Vec<Value> =
        (0..2).map(|_| serde_json::from_str(client.read().unwrap().to_text().unwrap()).unwrap()).collect();
    let mut events: Vec<&str> = answers.iter().filter_map(|answer| answer["event"].as_str()).collect();
    events.sort_unstable();
    assert_eq!(events, ["pusher:pong", "pusher:subscribe"]);
    // Without data, as some servers do.
    let subscribed = json!({ "event": "pusher_internal:subscription_succeeded" });
    client.send(Message::text(subscribed.to_string())).unwrap();
    client
}

#[test]
fn lost_doubled_and_reordered_copies_are_faults() {
    every_fault_is_found(|spoil| {
        let arguments =
            ["--connections", "2", "--ramp", "20", "--rate", "20", "--duration", "1s", "--publishers", "1"];
        bench(spoiling_server(spoil), &arguments, &[])
    });
}

#[test]
fn an_accepted_message_without_copies_is_missing() {
    // Everything after the third is swallowed silently.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut reader, mut speaker) = (welcome(&listener), welcome(&listener));
        for number in 0.. {
            let Ok(message @ Message::Text(_)) = speaker.read() else { break };
            if number < 3 {
                reader.send(message).unwrap();
            }
        }
        while reader.read().is_ok() {}
    });
    let arguments =
        ["--connections", "1", "--publishers", "1", "--warmup", "0s", "--rate", "20", "--duration", "500ms"];
    let Ran { code, report, err } = bench(format!("ws://{address}"), &arguments, &[]);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(
        number(&report, "/deliveries/missing"),
        number(&report, "/messages/sent") - 3,
        "{err}\n{report:#}"
    );
}
