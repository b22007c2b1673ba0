//! A real Redis of a test's own, gone when it is dropped.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::PATIENCE;
use super::ports::own_port;
use super::signals::send_signal;

/// One `redis-server` on a port of its own, without persistence.
pub struct RedisServer {
    child: Option<Child>,
    /// Ends it if the test itself is killed and cannot.
    watchdog: Option<Child>,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts one without a password.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with these arguments besides: `["--requirepass", "secret"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::absent(arguments);
        server.restart();
        server
    }

    /// One that is not running yet: [`RedisServer::restart`] starts it.
    pub fn absent(arguments: &[&str]) -> Self {
        Self {
            child: None,
            watchdog: None,
            port: own_port(),
            directory: TempDir::new().expect("a temporary directory"),
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }
    }

    /// The URL without credentials.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The URL with credentials: `"user:password"`.
    pub fn url_as(&self, credentials: &str) -> String {
        format!("redis://{credentials}@127.0.0.1:{}", self.port)
    }

    /// The port for connections without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection of the `redis` crate, for what the test itself does there.
    pub async fn client(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        // The default of half a second is too short for a busy machine.
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection")
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            let _ = watchdog.kill();
            let _ = watchdog.wait();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            assert!(!ended && Instant::now() < deadline, "redis-server does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Deletes what it has persisted. It must not be running.
    pub fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.directory.path().join("appendonlydir"));
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open, nothing answers.
    pub fn pause(&self) {
        send_signal(self.running(), Signal::STOP);
    }

    /// Resumes it (SIGCONT): it then executes everything that was sent meanwhile.
    pub fn resume(&self) {
        send_signal(self.running(), Signal::CONT);
    }

    fn running(&self) -> &Child {
        self.child.as_ref().expect("it is running")
    }

    /// How many bytes it has not read yet from all its connections, as the kernel counts them.
    pub fn unread(&self) -> usize {
        unread(|connection| connection.local == self.port)
    }

    fn run(&mut self) {
        let log = self.log_file();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(self.directory.path())
            .arg("--logfile")
            .arg(log)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server cannot be run: install the Debian package `redis-server`");
        // Its standard input ends with this process, however that ends.
        let watchdog = Command::new("sh")
            .args(["-c", &format!("read _; kill -KILL {}", child.id())])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        self.watchdog = Some(watchdog);
        self.child = Some(child);
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let mut answer = [0; 7];
        // Without a password it answers +PONG, with one -NOAUTH.
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
    }

    /// Where it writes its log.
    pub fn log_file(&self) -> PathBuf {
        self.directory.path().join("redis.log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A connection in the kernel's table.
pub struct Connection {
    pub local: u16,
    pub remote: u16,
}

/// How many bytes wait to be read on the connections that are `counted`. A test that stops a process looks here for what has
/// reached it.
pub fn unread(counted: impl Fn(&Connection) -> bool) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let rows = table.lines().skip(1).filter_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let port = |address: &str| u16::from_str_radix(address.split_once(':')?.1, 16).ok();
        let connection = Connection { local: port(columns.get(1)?)?, remote: port(columns.get(2)?)? };
        let received = usize::from_str_radix(columns.get(4)?.split_once(':')?.1, 16).ok()?;
        // 0A is a listener, whose column counts connections.
        (columns.get(3)? != &"0A" && counted(&connection)).then_some(received)
    });
    rows.sum()
}
