use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::signals::send_signal;
use super::{PATIENCE, Request, Response, SECRET, eventually};

/// The real binary, serving on free ports of its own. Dropping it ends the process, and fails the test if a line
/// of its log holds a token or a secret.
pub struct Server {
    /// The public address.
    pub address: SocketAddr,
    /// The operators' address.
    pub admin: SocketAddr,
    process: Child,
    log: Log,
    reader: Option<JoinHandle<()>>,
    secrets: Vec<String>,
    files: TempDir,
}

/// How a [`Server`] is started.
#[derive(Debug, Default)]
pub struct Options {
    env: BTreeMap<String, String>,
    config: Option<String>,
    files: Option<u64>,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// Its standard error, line by line; JSON where a line is JSON.
    pub log: Vec<Value>,
}

impl Options {
    /// A setting by its name in `config/default.toml`, such as `redis.url`.
    pub fn set(&mut self, key: &str, value: impl ToString) -> &mut Self {
        let name = key.to_uppercase().replace('.', "__");
        self.env(&format!("YAMABIKO__{name}"), value)
    }

    /// An environment variable.
    pub fn env(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Takes away what was set, also a default of the tests, so that the next source counts.
    pub fn unset(&mut self, key: &str) -> &mut Self {
        let name = key.to_uppercase().replace('.', "__");
        self.env.remove(&format!("YAMABIKO__{name}"));
        self
    }

    /// How many files the process may have open.
    pub fn files(&mut self, files: u64) -> &mut Self {
        self.files = Some(files);
        self
    }

    /// The text of a file given with `--config`.
    pub fn config(&mut self, toml: &str) -> &mut Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// Texts that must not appear in a log, besides tokens.
    fn secrets(&self) -> Vec<String> {
        let secrets =
            self.env.iter().filter(|(name, _)| name.ends_with("SECRET")).map(|(_, value)| value.clone());
        let in_urls = self.env.values().filter_map(|value| {
            let (credentials, _) = value.strip_prefix("redis://")?.split_once('@')?;
            credentials.split_once(':').map(|(_, password)| password.to_owned())
        });
        secrets.chain(in_urls).filter(|secret| !secret.is_empty()).collect()
    }
}

impl Server {
    /// Starts `yamabiko serve` and waits until it listens. `change` is given the options of the tests:
    /// loopback, free ports, [`SECRET`], the broker in memory, JSON logs.
    pub fn start(change: impl FnOnce(&mut Options)) -> Self {
        Self::try_start(change)
            .unwrap_or_else(|exit| panic!("the server ended with {}: {:#?}", exit.status, exit.log))
    }

    /// Like [`Server::start`], for a server that may refuse to start.
    pub fn try_start(change: impl FnOnce(&mut Options)) -> Result<Self, Exit> {
        let mut options = Options::default();
        options
            .set("server.host", "127.0.0.1")
            .set("server.port", 0)
            .set("admin.listen", "127.0.0.1:0")
            .set("auth.secret", SECRET)
            .set("log.format", "json");
        change(&mut options);

        let files = tempfile::tempdir().unwrap();
        let mut command = match options.files {
            None => Command::new(env!("CARGO_BIN_EXE_yamabiko")),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\""));
                shell.arg(env!("CARGO_BIN_EXE_yamabiko"));
                shell
            }
        };
        // The developer's environment must not affect a test.
        command.env_clear().envs(std::env::vars().filter(|(name, _)| KEPT.contains(&name.as_str())));
        command.envs(&options.env).arg("serve");
        if let Some(toml) = &options.config {
            let path = files.path().join("yamabiko.toml");
            std::fs::write(&path, toml).unwrap();
            command.arg("--config").arg(path);
        }
        command.current_dir(files.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = Log::default();
        let reader = thread::spawn({
            let stderr = BufReader::new(process.stderr.take().unwrap());
            let log = log.clone();
            move || log.fill(stderr)
        });

        let Some(line) = log.wait_for(|line| addresses(line).is_some(), PATIENCE) else {
            // Has no effect if the process has already exited.
            let _ = process.kill();
            let status = process.wait().unwrap();
            reader.join().unwrap();
            return Err(Exit { status, log: log.lines() });
        };
        let (address, admin) = addresses(&line).unwrap();
        let secrets = options.secrets();
        Ok(Self { address, admin, process, log, reader: Some(reader), secrets, files })
    }

    /// Replaces the file given with `--config`.
    pub fn write_config(&self, toml: &str) {
        std::fs::write(self.files.path().join("yamabiko.toml"), toml).unwrap();
    }

    /// `GET` on the public port.
    pub fn get(&self, target: &str) -> Response {
        Request::get(self.address, target).send()
    }

    /// `GET` on the operators' port.
    pub fn get_admin(&self, target: &str) -> Response {
        Request::get(self.admin, target).send()
    }

    /// `POST` of a JSON text on the operators' port.
    pub fn post_admin(&self, target: &str, json: &str) -> Response {
        Request::post_json(self.admin, target, json).send()
    }

    /// The value of a metric, spelled as on the page (`yamabiko_connections`,
    /// `yamabiko_broker_dropped_total{reason="invalid_json"}`); 0 where it is not there yet.
    pub fn metric(&self, name: &str) -> i64 {
        let page = self.get_admin("/metrics");
        assert_eq!(page.status, 200);
        page.text()
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has this value: a message can be received before it is counted.
    pub fn expect_metric(&self, name: &str, value: i64) {
        eventually(&format!("{name} is {value}"), || self.metric(name) == value);
    }

    /// Everything logged so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lines()
    }

    /// The same, unparsed.
    pub fn raw_log(&self) -> Vec<String> {
        self.log.0.state.lock().unwrap().raw.clone()
    }

    /// Waits for a log line, also one of the past, and returns it.
    pub fn expect_log(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.log.wait_for(wanted, PATIENCE).unwrap_or_else(|| panic!("a log line was due"))
    }

    /// Sends a signal, as [`send_signal`] does.
    pub fn signal(&self, signal: Signal) {
        send_signal(&self.process, signal);
    }

    /// Waits until the process has exited without a signal.
    pub fn wait(mut self, patience: Duration) -> Exit {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                self.reader.take().unwrap().join().unwrap();
                return Exit { status, log: self.log.lines() };
            }
            assert!(Instant::now() < deadline, "the server was due to end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Has no effect if the process has already exited.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            for line in self.log.lines() {
                eprintln!("yamabiko: {line}");
            }
            return;
        }
        for line in self.log.lines() {
            let text = line.as_str().map_or_else(|| line.to_string(), str::to_owned);
            assert!(!has_token(&text), "a token is in the log: {text}");
            assert!(
                !self.secrets.iter().any(|secret| text.contains(secret)),
                "a secret is in the log: {text}"
            );
        }
    }
}

/// Whether a text has a JWT, which begins with the base64 of `{"`. The name of a temporary file may have these letters too, and is
/// short.
fn has_token(text: &str) -> bool {
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let length = |at: usize| text.as_bytes()[at..].iter().take_while(|byte| is_of_token(byte)).count();
    text.match_indices("eyJ").any(|(at, _)| length(at) >= 12)
}

/// The variables of the developer that the server is given: where to find programs, where coverage goes.
const KEPT: [&str; 2] = ["PATH", "LLVM_PROFILE_FILE"];

/// The public and the operators' address, out of the line that names them, in JSON or as text.
fn addresses(line: &Value) -> Option<(SocketAddr, SocketAddr)> {
    let address = |field: &str| -> Option<SocketAddr> {
        let text = match line {
            Value::String(text) => text.split_once(&format!("{field}="))?.1.split(' ').next()?,
            line => line[field].as_str()?,
        };
        text.parse().ok()
    };
    let is_it = match line {
        Value::String(text) => text.contains(" listening "),
        line => line["message"] == "listening",
    };
    if is_it { Some((address("address")?, address("admin")?)) } else { None }
}

/// The growing log of a process.
#[derive(Clone, Default)]
struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Value>,
    raw: Vec<String>,
    ended: bool,
}

impl Log {
    fn fill(&self, stderr: impl BufRead) {
        for line in stderr.lines() {
            let line = line.unwrap();
            let parsed = serde_json::from_str(&line).unwrap_or_else(|_| Value::String(line.clone()));
            let mut state = self.0.state.lock().unwrap();
            state.lines.push(parsed);
            state.raw.push(line);
            drop(state);
            self.0.grown.notify_all();
        }
        self.0.state.lock().unwrap().ended = true;
        self.0.grown.notify_all();
    }

    fn lines(&self) -> Vec<Value> {
        self.0.state.lock().unwrap().lines.clone()
    }

    /// The first line that is wanted; nothing if the process ends before, or time is up.
    fn wait_for(&self, wanted: impl Fn(&Value) -> bool, patience: Duration) -> Option<Value> {
        let deadline = Instant::now() + patience;
        let mut state = self.0.state.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.0.grown.wait_timeout(state, left).unwrap().0;
        }
    }
}
