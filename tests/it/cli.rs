//! The real binary on the command line: what it prints, what it refuses, and with which exit code.
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::redis::RedisServer;
use crate::support::{Client, PATIENCE, SECRET, Server, claims, eventually};
use redis::PubSubCommands;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use yamabiko::auth::{Authenticator, Identity};
use yamabiko::config::{AuthKeys, load};

/// The binary with these variables and no others.
fn yamabiko(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yamabiko"));
    command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "LLVM_PROFILE_FILE"));
    command.envs(variables.iter().copied()).args(arguments).stdin(Stdio::null());
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    ran(yamabiko(arguments, variables).output().unwrap())
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn identity(token: &str, variables: &[(&str, &str)]) -> Identity {
    let config = load(None, &variables.iter().copied().collect(), AuthKeys::Required).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Authenticator::new(&config.settings.server.auth).unwrap().verify(token, now).unwrap()
}

#[test]
fn help_is_help_and_wrong_usage_is_2() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["dev", "--help"],
        &["token", "--help"],
        &["publish", "--help"],
        &["listen", "--help"],
        &["bench", "--help"],
        &["config", "--help"],
        &["--version"],
    ] {
        let Ran { code, out, err } = run(arguments, &[]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(out.contains("amabiko"), "{out}");
    }
    for arguments in [
        &["nonsense"][..],
        &["--nonsense"],
        &["token"],
        &["token", "--id", "", "--name", "A", "--channel", "chat:"],
        &["token", "--id", "7", "--name", "A", "--channel", ""],
        &["token", "--id", "7", "--name", "A", "--channel", "chat:", "--ttl", "0s"],
        &["publish", "chat:"],
        &["publish", "chat:", "nonsense"],
        &["publish", "chat:", "[]"],
        &["listen"],
        &["listen", "chat:", "--url", "chat.example"],
        &["config", "nonsense"],
    ] {
        let Ran { code, out, err } = run(arguments, &[("APP_WS_JWT_SECRET", SECRET)]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.starts_with("error: "), "{err}");
    }
}

#[test]
fn serve_without_a_key_says_what_to_set() {
    for arguments in [&[][..], &["serve"], &["config", "check"]] {
        let Ran { code, err, .. } = run(arguments, &[]);
        assert_eq!(code, Some(2));
        assert!(err.contains("YAMABIKO__AUTH__SECRET") && err.contains("APP_WS_JWT_SECRET"), "{err}");
    }
}

#[test]
fn all_problems_come_in_one_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("y.toml");
    std::fs::write(&path, "[server]\nprot = 1\n[heartbeat]\ninterval = \"1500ms\"\n").unwrap();
    let variables = [("YAMABIKO_CONFIG", path.to_str().unwrap()), ("YAMABIKO__LIMITS__BURST", "0")];
    let Ran { code, err, .. } = run(&["serve"], &variables);
    assert_eq!(code, Some(2));
    let from_file = format!("(from {})", path.display());
    for wanted in [
        "4 problems in the settings:",
        &format!("  - server.prot: there is no such setting; did you mean port? {from_file}\n"),
        &format!("  - heartbeat.interval: must be whole seconds, such as \"30s\" {from_file}\n"),
        "  - limits.burst: must be at least 1, or nobody could send anything (from YAMABIKO__LIMITS__BURST)\n",
        "  - auth.secret: no key to check tokens with",
    ] {
        assert!(err.contains(wanted), "{wanted}\nin {err}");
    }
}

#[test]
fn config_check_is_about_the_settings_of_serve() {
    let Ran { code, out, err } = run(&["config", "check"], &[("APP_WS_JWT_SECRET", SECRET)]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "The settings are good.\n", ""));

    let short = [("APP_WS_JWT_SECRET", "17 bytes of text!")];
    let Ran { code, err, .. } = run(&["config", "check"], &short);
    assert_eq!(code, Some(0));
    assert!(err.contains("warning: auth.secret: has 17 bytes"), "{err}");
    assert!(!err.contains("17 bytes of text"), "{err}");

    let app = [("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "k"), ("REVERB_APP_SECRET", "hunter2")];
    let Ran { code, out, err } = run(&["config", "check"], &app);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "The settings are good.\n", ""));
    let Ran { code, err, .. } = run(&["config", "check"], &app[..2]);
    assert_eq!(code, Some(2));
    assert!(err.contains("REVERB_APP_SECRET: is missing beside REVERB_APP_ID and REVERB_APP_KEY"), "{err}");
    let Ran { out, .. } = run(&["config", "show"], &app);
    let shown = "apps = [{ id = \"1\", key = \"k\", secret = \"********\" }]  # REVERB_APP_ID, REVERB_APP_KEY, REVERB_APP_SECRET\n";
    assert!(out.starts_with(shown), "{out}");
}

#[test]
fn config_show_hides_secrets_and_names_sources() {
    let variables = [
        ("APP_WS_JWT_SECRET", "hunter2"),
        ("REDIS_URL", "redis://user:hunter2@redis.example:6380/1"),
        ("YAMABIKO__AUTH__KEYS", "[{ algorithm = \"HS256\", kid = \"k\", secret = \"hunter2\" }]"),
    ];
    for arguments in [&["config"][..], &["config", "show"]] {
        let Ran { code, out, .. } = run(arguments, &variables);
        assert_eq!(code, Some(0));
        assert!(!out.contains("hunter2"), "{out}");
        assert!(out.contains("\nsecret = \"********\"  # APP_WS_JWT_SECRET\n"), "{out}");
        assert!(
            out.contains("\nurl = \"redis://user:********@redis.example:6380/1\"  # REDIS_URL\n"),
            "{out}"
        );
        assert!(out.contains("\nport = 8080  # default\n"), "{out}");
    }
}

#[test]
fn a_file_of_variables_is_read_by_every_command_that_has_settings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    let secret = "Kp$9xRt7&;(#'`\\ and more, thirty-two bytes in all";
    std::fs::write(
        &path,
        format!("APP_WS_JWT_SECRET=\"{}\"\nREDIS_PREFIX=null\n", secret.replace('\\', r"\\")),
    )
    .unwrap();
    let file = path.to_str().unwrap();
    let Ran { code, out, err } = run(&["--env-file", file, "config", "check"], &[]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "The settings are good.\n", ""));
    let Ran { out, .. } = run(&["config", "show", "--env-file", file], &[]);
    assert!(out.contains(&format!("secret = \"********\"  # APP_WS_JWT_SECRET in {file}\n")), "{out}");
    assert!(out.contains("prefix = \"\"  # default\n"), "{out}");
    let arguments = ["token", "--env-file", file, "--id", "7", "--name", "A", "--channel", "chat:"];
    let Ran { out, .. } = run(&arguments, &[]);
    assert_eq!(identity(out.trim(), &[("APP_WS_JWT_SECRET", secret)]).id.form(), Ok(7));
    let Ran { code, err, .. } = run(&["--env-file", "/nowhere/.env", "config", "check"], &[]);
    assert_eq!(code, Some(2));
    assert!(err.starts_with("error: /nowhere/.env: cannot be read"), "{err}");
}

#[test]
fn a_token_is_good_for_the_server_with_the_same_settings() {
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
fn a_closed_output_is_no_panic() {
    for arguments in [&["config", "show"][..], &["--help"]] {
        let mut child =
            yamabiko(arguments, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let Ran { code, err, .. } = ran(child.wait_with_output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn dev_needs_nothing_and_serves_what_it_promises() {
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
    let line = loop {
        let Ran { code, err, .. } = run(&publish, &[("YAMABIKO__AUTH__SECRET", secret)]);
        assert_eq!(code, Some(0), "{err}");
        if let Some(line) = listener.line(Duration::from_millis(200)) {
            break line;
        }
    };
    assert_eq!(
        line,
        json!({"type": "message", "sender": {"name": "System", "id": 0}, "data": {"message": "Hello"}})
    );

    // Where there is no terminal that could be closed, SIGHUP means as little as to `serve`.
    for (ignored, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        signal(&child, ignored);
        while !listening.contains(&format!("signal ignored signal=\"{name}\"")) {
            assert_ne!(err.read_line(&mut listening).unwrap(), 0, "{listening}");
        }
    }

    // Tokens are shown to the one at the screen, and not logged.
    signal(&child, Signal::INT);
    err.read_to_string(&mut listening).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!listening.contains(&token) && !listening.contains(secret), "{listening}");
    assert_eq!(listener.wait().code(), Some(1));
}

#[test]
fn a_server_with_an_app_only_refuses_every_token() {
    let server = Server::start(|options| {
        options.unset("auth.secret");
        options.env("PUSHER_APP_ID", "1").env("PUSHER_APP_KEY", "k").env("PUSHER_APP_SECRET", "hunter2");
    });
    let refused = Client::connect(&server, &claims(7, "Aoi", "chat:default")).unwrap_err();
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (401, Some("no_keys")));
}

#[test]
fn a_second_signal_ends_at_once() {
    let redis = RedisServer::start();
    let node = || {
        let server = Server::start(|options| {
            options.set("redis.url", redis.url()).set("server.shutdown_grace", "60s");
        });
        eventually("the node is ready", || server.get_admin("/readyz").status == 200);
        server
    };
    // Beside another node it has no reason to hurry, and waits for one who does not answer its close frame.
    let (server, _other) = (node(), node());
    let mut client = Client::connect(&server, &claims(7, "Aoi", "chat:default")).unwrap();
    client.say(&json!({"message": "still here"}));
    client.expect_sent();
    server.signal(Signal::TERM);
    server.expect_log(|line| line["message"].as_str().is_some_and(|text| text.starts_with("shutting down")));
    server.signal(Signal::TERM);
    let exit = server.wait(PATIENCE);
    assert_eq!(exit.status.code(), Some(1));
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
fn publish_tells_what_the_server_answered() {
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
    assert!(err.contains("the server refused it") && err.contains("not_allowed"), "{err}");

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
fn publish_speaks_to_redis_as_laravel_does() {
    let directory = tempfile::tempdir().unwrap();
    let (_redis, url) = start_redis(directory.path());
    let mut subscriber = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
    let variables = [("REDIS_URL", url.as_str()), ("REDIS_PREFIX", "laravel_database_")];

    let Ran { code, out, err } = run(&["publish", "chat:", "{}"], &variables);
    assert_eq!((code, out.as_str()), (Some(0), "published to 0 nodes\n"));
    assert!(err.starts_with("warning: nobody listens to \"laravel_database_broadcast\""), "{err}");

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

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
