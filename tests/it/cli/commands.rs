//! `token`, `dev`, `listen` and `publish`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::PubSubCommands;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Ran, identity, run, yamabiko};
use crate::support::{Client, PATIENCE, SECRET, Server, claims, eventually, send_signal};

#[test]
fn token_signs_for_a_server_with_the_same_settings() {
    let variables = [("APP_WS_JWT_SECRET", "17 bytes of text!"), ("YAMABIKO__AUTH__ALGORITHMS", "HS512")];
    let arguments = ["token", "--id", "-7", "--name", "あおい", "--channel", "chat:", "--ttl", "30m"];
    let Ran { code, out, .. } = run(&arguments, &variables);
    assert_eq!(code, Some(0));
    let identity = identity(out.strip_suffix('\n').unwrap(), &variables);
    assert_eq!((identity.id, &*identity.name, identity.channel.as_str()), ((-7).into(), "あおい", "chat:"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 1790..=now + 1800).contains(&identity.expires_at));
}

#[test]
fn dev_runs_without_settings_and_accepts_its_token() {
    let mut child = yamabiko(&["dev", "--port", "0"], &[("YAMABIKO__ADMIN__LISTEN", "127.0.0.1:0")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut banner = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    while !banner.contains("Ctrl-C") {
        assert_ne!(out.read_line(&mut banner).unwrap(), 0, "{banner}");
    }
    let mut listening = String::new();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    while !listening.contains("listening") {
        assert_ne!(err.read_line(&mut listening).unwrap(), 0, "{listening}");
    }
    let token = banner.lines().find(|line| line.starts_with("eyJ")).unwrap().to_owned();
    let url = banner.split_whitespace().find(|word| word.starts_with("ws://")).unwrap().to_owned();
    let secret = banner.lines().find_map(|line| line.trim().strip_prefix("YAMABIKO__AUTH__SECRET=")).unwrap();

    // The other commands reach it, with the ready-made token and with the secret.
    let mut listener = Piped::start(&["listen", "--url", &url, "--token", &token], &[]);
    let publish = ["publish", "chat:default", r#"{"message":"Hello"}"#, "--url", &url];
    // The clients of `chat` see each other.
    for expected in ["connected", "connectOther"] {
        assert_eq!(listener.line(PATIENCE).expect("a line")["type"], expected);
    }
    let line = 'message: loop {
        let Ran { code, err, .. } = run(&publish, &[("YAMABIKO__AUTH__SECRET", secret)]);
        assert_eq!(code, Some(0), "{err}");
        while let Some(line) = listener.line(Duration::from_millis(200)) {
            if line["type"] == "message" {
                break 'message line;
            }
        }
    };
    let id = line["id"].as_str().expect("the channels of `dev` have a history").to_owned();
    assert_eq!(
        line,
        json!({"type": "message", "id": id, "sender": {"name": "System", "id": 0}, "data": {"message": "Hello"}})
    );

    // There is no terminal that could be closed, and the settings are those of `dev`.
    for (ignored, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        send_signal(&child, ignored);
        while !listening.contains(&format!("signal ignored signal=\"{name}\"")) {
            assert_ne!(err.read_line(&mut listening).unwrap(), 0, "{listening}");
        }
    }

    // Tokens are shown to the one at the screen, and not logged.
    send_signal(&child, Signal::INT);
    err.read_to_string(&mut listening).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!listening.contains(&token) && !listening.contains(secret), "{listening}");
    assert_eq!(listener.wait().code(), Some(1));
}

#[test]
fn listen_prints_each_message_and_why_it_ended() {
    let server = Server::start(|_| {});
    let url = format!("ws://{}", server.address);
    let variables = [("APP_WS_JWT_SECRET", SECRET)];
    let mut listener = Piped::start(&["listen", "chat:default", "--url", &url, "--id", "3"], &variables);
    let mut client = Client::connect(&server, &claims(7, "Aoi", "chat:default")).unwrap();
    eventually("the listener has joined", || server.metric("yamabiko_connections") >= 2);
    // Line breaks in the sender's JSON do not break the line.
    client.send_text("{\"data\":{\"message\":\n\"hello\",\"target_user_id\":3}}");
    let line = listener.line(PATIENCE).unwrap();
    assert_eq!(
        line,
        json!({"type": "message", "sender": {"name": "Aoi", "id": 7}, "data": {"message": "hello"}})
    );

    server.signal(Signal::TERM);
    assert_eq!(listener.wait().code(), Some(1));
    assert!(listener.complaint().contains("1001 going away"));
}

#[test]
fn publish_reports_the_servers_answer() {
    let server = Server::start(|options| {
        options.set("channels.news.client_send", false);
    });
    let url = format!("ws://{}", server.address);
    let variables = [("APP_WS_JWT_SECRET", SECRET)];
    let mut reader = Client::connect(&server, &claims(7, "Aoi", "chat:default")).unwrap();
    reader.say(&json!({"message": "joined"}));
    reader.expect_sent();
    reader.expect_text();

    let publish =
        |channel, data| run(&["publish", channel, data, "--url", &url, "--name", "Ken"], &variables);
    let Ran { code, out, err } = publish("chat:default", r#"{"message":12345678901234567890123}"#);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "accepted\n", ""));
    assert_eq!(
        reader.expect_text(),
        r#"{"type":"message","sender":{"name":"Ken","id":0},"data":{"message":12345678901234567890123}}"#
    );

    let Ran { code, out, err } = publish("news:", "{}");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("the server rejected the message") && err.contains("not_allowed"), "{err}");

    let wrong = [("APP_WS_JWT_SECRET", "not the secret of the server at all")];
    let Ran { code, err, .. } = run(&["publish", "chat:", "{}", "--url", &url], &wrong);
    assert_eq!(code, Some(1));
    assert!(err.contains("401") && err.contains("signature"), "{err}");
    assert!(!err.contains("eyJ"), "{err}");

    drop(server);
    let Ran { code, err, .. } = publish("chat:default", "{}");
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot connect") && !err.contains("eyJ"), "{err}");
}

#[test]
fn publish_writes_to_redis_as_laravel_does() {
    let directory = tempfile::tempdir().unwrap();
    let (_redis, url) = start_redis(directory.path());
    let mut subscriber = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
    let variables = [("REDIS_URL", url.as_str()), ("REDIS_PREFIX", "laravel_database_")];

    let Ran { code, out, err } = run(&["publish", "chat:", "{}"], &variables);
    assert_eq!((code, out.as_str()), (Some(0), "published to 0 nodes\n"));
    assert!(err.starts_with("warning: no node is subscribed to \"laravel_database_broadcast\""), "{err}");

    let messages = thread::spawn(move || {
        let mut texts = Vec::new();
        subscriber
            .subscribe(&["laravel_database_broadcast"], |message: redis::Msg| {
                texts.push(message.get_payload::<String>().unwrap());
                if texts.len() == 2 { redis::ControlFlow::Break(()) } else { redis::ControlFlow::Continue }
            })
            .unwrap();
        texts
    });
    eventually("the subscription", || {
        let mut counter = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
        let subscribers: (String, usize) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg("laravel_database_broadcast").query(&mut counter).unwrap();
        subscribers.1 == 1
    });
    let Ran { code, out, err } = run(&["publish", "chat:", r#"{"b":1.0,"a":"\u00e9"}"#], &variables);
    let left_out = "warning: `chat` delivers `message` and `name`: `b` and `a` were left out\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "published to 1 node\n", left_out));
    let mut child = yamabiko(&["publish", "chat:", "-", "--id", "7", "--name", "Aoi"], &variables)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b" {} \n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        messages.join().unwrap(),
        [
            r#"{"channel":"chat:","data":{"b":1.0,"a":"\u00e9"}}"#,
            r#"{"channel":"chat:","data":{},"sender":{"name":"Aoi","id":7}}"#,
        ]
    );
}

/// A Redis of this test's own, on a socket in its directory: no port that another could have.
fn start_redis(directory: &Path) -> (Killed, String) {
    let socket = directory.join("redis.sock");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket)
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is needed for this test");
    eventually("Redis has started", || socket.exists());
    (Killed(child), format!("redis+unix://{}", socket.display()))
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command whose lines are read while it runs.
struct Piped {
    child: Killed,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Piped {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child =
            yamabiko(arguments, variables).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child: Killed(child), lines }
    }

    fn line(&mut self, patience: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(patience).ok()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        self.child.0.wait().unwrap()
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        self.child.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}
