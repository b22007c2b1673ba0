//! What `deploy/`, the Dockerfile and `docs/deploy.md` promise of the binary.
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::redis::RedisServer;
use crate::support::{Client, PATIENCE, Raw, Request, Server, claims, eventually};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

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

/// Standard error of a service whose collector hangs: a pipe that is open, full, and read by nobody.
#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    for format in ["text", "json"] {
        let server = Unread::start(format);
        for _ in 0..600 {
            assert_eq!(Request::get(server.address, "/ws").send().status, 426);
        }
        server.drop_lines();
        let mut aoi = Client::upgrade(server.handshake()).unwrap();
        aoi.say(&json!({ "message": "hello" }));
        aoi.expect_sent();
        assert_eq!(Request::get(server.address, "/healthz").send().status, 200);
        assert_eq!(Request::get(server.admin, "/healthz").send().status, 200);
        let status = server.end();
        assert!(status.success(), "{format}: {status:?}");
    }
}

#[test]
fn a_second_signal_ends_it_also_where_nobody_reads_the_log() {
    let server = Unread::start("text");
    server.drop_lines();
    // It never answers the close frame, and so keeps the server draining.
    let _stubborn = Client::raw(server.handshake()).unwrap();
    server.signal(Signal::TERM);
    eventually("it drains", || Request::get(server.admin, "/readyz").send().status == 503);
    let status = server.end();
    assert_eq!(status.code(), Some(1), "{status:?}");
}

#[test]
fn what_was_not_read_in_time_is_told_when_the_log_is_read_again() {
    let mut server = Unread::start("text");
    server.drop_lines();
    let mut lines = server.stderr.take().unwrap().lines().map(Result::unwrap);
    let told = lines.find(|line| line.contains("log lines dropped")).unwrap();
    let count: i64 = told.split_once("count=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(count > 0, "{told}");
    server.signal(Signal::TERM);
    // All that is written before the end is read.
    assert!(lines.last().unwrap().contains("stopped"));
    assert!(server.end().success());
}

#[test]
fn what_others_name_cannot_forge_a_line_of_the_log() {
    let names = [
        "chat: user=1 ip=10.0.0.1",
        "chat:\" user=1",
        "chat:\u{2028}INFO yamabiko: forged",
        "chat:\u{202e}gnp.exe",
        "chat:\u{feff}\u{200b}hidden",
        "chat:plain",
        "chat:\u{5c71}\u{5f66}",
    ];
    for format in ["text", "json"] {
        let server = Server::start(|options| {
            options.set("log.format", format).set("limits.message_bytes", 16);
        });
        let is_of = |line: &Value, what: &str| match line {
            Value::String(line) => line.contains(&format!(": {what} ")),
            line => line["message"] == what,
        };
        for (index, name) in names.into_iter().enumerate() {
            let mut client = Client::connect(&server, &claims(7, "Aoi", name)).unwrap();
            // Too large: the server closes, and says so of the channel.
            client.say(&json!({ "message": "far too long a message" }));
            client.expect_close();
            drop(client);
            // One after the other, so that the lines have the order of the names.
            eventually("it is gone", || {
                server.log().iter().filter(|line| is_of(line, "disconnected")).count() == index + 1
            });
        }
        let raw = server.raw_log();
        for what in ["connected", "disconnected"] {
            let lines: Vec<_> = raw.iter().zip(server.log()).filter(|(_, line)| is_of(line, what)).collect();
            assert_eq!(lines.len(), names.len(), "{raw:#?}");
            for ((raw, line), name) in lines.into_iter().zip(names) {
                let hidden = |c: char| c.is_control() || "\u{2028}\u{202e}\u{85}\u{feff}\u{200b}".contains(c);
                assert!(!raw.contains(hidden), "{raw:?}");
                assert_eq!(
                    raw.matches(" user=").count(),
                    usize::from(format == "text") + name.matches(" user=").count()
                );
                match line {
                    Value::String(line) => {
                        assert!(line.contains(&format!(" user=7 channel={name:?} ")), "{line} of {name:?}");
                    }
                    line => assert_eq!(line["channel"], name),
                }
            }
        }
        if format == "text" {
            assert!(
                raw.iter().any(|line| line.contains(r#" reason="message_too_large" code=1009"#)),
                "{raw:#?}"
            );
        }
    }
}

/// A server whose log nobody reads once it has started.
struct Unread {
    address: SocketAddr,
    admin: SocketAddr,
    process: Child,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Unread {
    fn start(format: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_yamabiko"))
            .arg("serve")
            .env_clear()
            .env("YAMABIKO__AUTH__SECRET", crate::support::SECRET)
            .env("YAMABIKO__SERVER__HOST", "127.0.0.1")
            .env("YAMABIKO__SERVER__PORT", "0")
            .env("YAMABIKO__SERVER__SHUTDOWN_GRACE", "2s")
            .env("YAMABIKO__ADMIN__LISTEN", "127.0.0.1:0")
            .env("YAMABIKO__LOG__LEVEL", "trace")
            .env("YAMABIKO__LOG__FORMAT", format)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
        }
        let address = |field: &str| {
            let (_, rest) =
                line.split_once(&format!("{field}\":\"")).or(line.split_once(&format!("{field}="))).unwrap();
            rest.split([' ', '"']).next().unwrap().parse().unwrap()
        };
        Self { address: address("address"), admin: address("admin"), process, stderr: Some(stderr) }
    }

    /// Brings about more lines than the pipe and a queue hold.
    fn drop_lines(&self) {
        let mut connection = Raw::connect(self.address);
        eventually("lines are dropped", || {
            self.dropped_lines() > 0 || {
                connection.write("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100).as_bytes());
                let mut text = String::new();
                while text.matches("HTTP/1.1 426").count() < 100 {
                    let mut chunk = [0; 4096];
                    let read = connection.stream().read(&mut chunk).unwrap();
                    text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
                }
                false
            }
        });
    }

    fn dropped_lines(&self) -> u64 {
        let page = Request::get(self.admin, "/metrics").send();
        let line =
            page.text().lines().find_map(|line| line.strip_prefix("yamabiko_log_lines_dropped_total "));
        line.expect("the metric").parse().unwrap()
    }

    fn handshake(&self) -> Request {
        let token = crate::support::token(&claims(7, "Aoi", "chat:default"));
        Request::get(self.address, format!("/?token={token}"))
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Asks it to end and waits until it has.
    fn end(mut self) -> ExitStatus {
        let _ = rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it was due to end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn it_opens_as_many_files_as_it_may_and_says_where_that_is_too_few() {
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

#[test]
fn the_operators_pages_are_not_on_the_public_port() {
    let server = Server::start(|_| {});
    for target in ["/metrics", "/readyz"] {
        assert_eq!(server.get(target).status, 404, "{target}");
        assert_eq!(server.get_admin(target).status, 200, "{target}");
    }
}

/// A page of the internet that makes its own name resolve to the operators' address, or posts across origins.
#[test]
fn the_operators_port_believes_no_page() {
    let server = Server::start(|options| {
        options.set("admin.hosts", "yamabiko,node-1.example.com");
    });
    let port = server.admin.port();
    let status = |method: &'static str, target: &str, host: &str, origin: Option<&str>| {
        let request = match method {
            "POST" => Request::post_json(server.admin, target, r#"{"user":7}"#),
            _ => Request::get(server.admin, target),
        };
        let request = request.replace("Host", host);
        match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        }
        .send()
        .status
    };
    for (method, target) in [
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("GET", "/healthz"),
        ("POST", "/disconnect"),
        ("GET", "/none"),
    ] {
        let good = if target == "/none" { 404 } else { 200 };
        for host in
            [&*format!("127.0.0.1:{port}"), "localhost", "[::1]:8081", "yamabiko:8081", "NODE-1.example.com"]
        {
            assert_eq!(status(method, target, host, None), good, "{target} {host}");
            assert_eq!(
                status(method, target, host, Some(&format!("http://{host}"))),
                good,
                "{target} {host}"
            );
            for origin in ["https://evil.example", "null", "http://localhost:3000", ""] {
                assert_eq!(status(method, target, host, Some(origin)), 403, "{target} {host} {origin}");
            }
        }
        // Nobody reaches a loopback address under another one.
        for host in
            ["evil.example", &*format!("evil.example:{port}"), "127.0.0.1.nip.io", "10.0.0.1:8081", ""]
        {
            assert_eq!(status(method, target, host, None), 403, "{target} {host}");
            assert_eq!(status(method, target, host, Some(&format!("http://{host}"))), 403, "{target} {host}");
        }
        let twice = Request::get(server.admin, target).header("Host", "evil.example").send();
        assert!([400, 403].contains(&twice.status), "{twice:?}");
    }
    let told = server.expect_log(|line| line["host"] == "evil.example");
    assert_eq!(told["level"], "INFO");

    // A probe of HTTP/1.0 names no host, and no browser is one.
    let mut probe = Raw::connect(server.admin);
    probe.write(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(probe.read_head().status, 200);

    // Kubelets and Prometheus reach it by the address of the pod.
    let everywhere = Server::start(|options| {
        options.set("admin.listen", "0.0.0.0:0");
    });
    let reachable = SocketAddr::from((Ipv4Addr::LOCALHOST, everywhere.admin.port()));
    for (host, answer) in [
        ("10.1.2.3:8081", 200),
        ("[fd00::7]:8081", 200),
        ("localhost", 200),
        ("evil.example", 403),
        ("yamabiko", 403),
    ] {
        let response = Request::get(reachable, "/readyz").replace("Host", host).send();
        assert_eq!(response.status, answer, "{host}: {response:?}");
    }
}

#[test]
fn metrics_come_in_the_format_that_is_asked_for() {
    let server = Server::start(|_| {});
    let page = |accept: &str| Request::get(server.admin, "/metrics").header("Accept", accept).send();
    let text = page("*/*");
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(text.text().contains("# TYPE yamabiko_connections_opened_total counter\n"), "{}", text.text());
    let open = page("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.text().ends_with("# EOF\n"), "{}", open.text());
}

/// Debian's `promtool` runs the rules on series that must fire them and on series that must not: `tests/alerts.yml`.
#[test]
fn each_alert_fires_when_it_must_and_only_then() {
    promtool(&["check", "rules", "deploy/yamabiko.rules.yml"], "");
    promtool(&["test", "rules", "tests/alerts.yml"], "");
    let (rules, cases) = (read("deploy/yamabiko.rules.yml"), read("tests/alerts.yml"));
    let alerts: Vec<&str> =
        rules.split("- alert: ").skip(1).map(|rest| rest.lines().next().unwrap()).collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    let cases: Vec<&str> = cases.split("alertname: ").skip(1).collect();
    for alert in alerts {
        let of_it = || cases.iter().filter(|case| case.lines().next() == Some(alert));
        let is_silent =
            |case: &&&str| case.lines().nth(1).is_some_and(|line| line.ends_with("exp_alerts: []"));
        assert!(of_it().any(|case| is_silent(&case)), "no case in which {alert} must not fire");
        assert!(of_it().any(|case| !is_silent(&case)), "no case in which {alert} must fire");
    }
}

/// Also what an expression or a document names with its labels.
#[test]
fn each_metric_of_the_rules_is_on_the_page_from_the_start() {
    let server = Server::start(|_| {});
    let page = server.get_admin("/metrics");
    promtool(&["check", "metrics"], page.text());
    let series: BTreeSet<&str> = page
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let names: BTreeSet<&str> = series.iter().map(|series| series.split('{').next().unwrap()).collect();
    for (file, text) in [
        ("deploy/yamabiko.rules.yml", read("deploy/yamabiko.rules.yml")),
        ("docs/deploy.md", read("docs/deploy.md")),
    ] {
        let mut found = 0;
        for prefix in ["yamabiko_", "process_"] {
            for (at, _) in text.match_indices(prefix) {
                let name: String =
                    text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let before = text[..at].chars().next_back();
                if name == prefix || before.is_some_and(|c| c.is_ascii_alphanumeric() || "_/".contains(c)) {
                    continue;
                }
                assert!(names.contains(&*name), "{file}: {name} is not in {names:#?}");
                found += 1;
                let labels =
                    text[at + name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next());
                let Some((label, value)) = labels.and_then(|labels| labels.split_once("=\"")) else {
                    continue;
                };
                // `!=` names one that is there as well.
                let wanted = format!("{name}{{{}=\"{value}}}", label.trim_end_matches('!'));
                assert!(
                    label == "job" || series.contains(&*wanted),
                    "{file}: {wanted} is not in {series:#?}"
                );
            }
        }
        assert!(found >= 8, "{file}: {found}");
    }
    let native = read("docs/native.md");
    for (metric, from, to) in [
        ("yamabiko_handshakes_refused_total", "### Refused handshakes", "## Sending"),
        ("yamabiko_messages_refused_total", "## Answers", "## Broadcasts"),
        ("yamabiko_broker_dropped_total", "What cannot be delivered", "The reply of `PUBLISH`"),
    ] {
        let part = native.split_once(from).unwrap().1.split_once(to).unwrap().0;
        for row in part.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let cell = if cells[1].parse::<u16>().is_ok() { cells[2] } else { cells[1] };
            for reason in
                cell.split('`').skip(1).step_by(2).filter(|word| !word.contains('.') && *word != "reason")
            {
                let wanted = format!("{metric}{{reason=\"{reason}\"}}");
                assert!(series.contains(&*wanted), "{wanted} is not in {series:#?}");
            }
        }
    }
}

fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
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
        // With a folder come those in it.
        let is_in = |text: &str, line: &dyn Fn(&str) -> String| {
            let mut folders = Path::new(&folder).ancestors().filter_map(Path::to_str);
            folders.any(|folder| text.contains(&line(folder)))
        };
        let copy = |folder: &str| format!("\nCOPY {folder} {folder}\n");
        assert!(is_in(&dockerfile, &copy), "Dockerfile does not copy {folder}");
        let admit = |folder: &str| format!("\n!{folder}\n");
        assert!(is_in(&ignored, &admit), ".dockerignore keeps {folder} out");
    }
}

fn healthcheck(admin: SocketAddr) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yamabiko"))
        .arg("healthcheck")
        .env("YAMABIKO__ADMIN__LISTEN", admin.to_string())
        .output()
        .unwrap()
}
