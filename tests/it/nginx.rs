//! Debian's nginx with `deploy/nginx.conf` in front of the real binary, and Debian's Caddy with `deploy/Caddyfile`.
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::ports::own_port;
use crate::support::redis::RedisServer;
use crate::support::{Client, EventSource, PATIENCE, Request, Server, claims, token};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

/// The address of a browser, distinct from that of nginx, which connects from 127.0.0.1.
const BROWSER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
/// A forged client address.
const SPOOFED: &str = "203.0.113.9";

#[test]
fn messages_pass_through_the_proxy_both_ways() {
    let server = Server::start(|options| {
        options.set("server.trusted_proxies", "127.0.0.1");
    });
    let nginx = Nginx::start(server.address);
    let mut aoi = Client::upgrade(nginx.request("/")).expect("upgraded");
    aoi.say(&json!({ "message": "hello", "name": "Aoi" }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json()["data"], json!({ "message": "hello", "name": "Aoi" }));

    server.signal(Signal::TERM);
    assert_eq!(aoi.expect_close(), (1001, "going away".to_owned()));
}

#[test]
fn server_sent_events_stream_through_the_proxy() {
    let server = Server::start(|options| {
        options.set("server.trusted_proxies", "127.0.0.1");
    });
    let nginx = Nginx::start(server.address);
    let mut stream =
        EventSource::open(nginx.request("/sse").header("Connection", "close")).expect("a stream");
    let post = Request::post_json(nginx.address, target("/sse"), r#"{"data":{"message":"hello"}}"#).send();
    assert_eq!((post.status, &post.json()["ok"]), (200, &json!(true)));
    // While the response is going on.
    assert_eq!(stream.expect_json()["data"], json!({ "message": "hello" }));
    assert_eq!(connected_from(&server, 1), [BROWSER.to_string()]);
    server.signal(Signal::TERM);
    assert_eq!(stream.expect_close(), (1001, "going away".to_owned()));
}

#[test]
fn refusals_pass_through_the_proxy() {
    let server = Server::start(|_| {});
    let nginx = Nginx::start(server.address);
    let refused = Client::upgrade(Request::get(nginx.address, "/?token=nonsense")).expect_err("refused");
    assert_eq!(refused.status, 401);
    assert!(refused.json()["error"]["code"].is_string(), "{refused:?}");
    assert_eq!(Request::get(nginx.address, "/ws").send().status, 426);
}

#[test]
fn only_the_last_hop_of_a_trusted_proxy_is_the_client() {
    let server = Server::start(|options| {
        options.set("server.trusted_proxies", "127.0.0.1");
    });
    let nginx = Nginx::start(server.address);

    let _honest = Client::upgrade(nginx.request("/")).expect("upgraded");
    assert_eq!(connected_from(&server, 1), [BROWSER.to_string()]);

    // nginx appends the address it saw to what the client claims; only the appended one counts.
    let _liar = Client::upgrade(nginx.request("/").header("X-Forwarded-For", SPOOFED)).expect("upgraded");
    assert_eq!(connected_from(&server, 2)[1], BROWSER.to_string());
}

#[test]
fn forwarded_headers_of_untrusted_peers_are_ignored() {
    let server = Server::start(|options| {
        options.set("server.trusted_proxies", "127.0.0.1");
    });
    let _liar = Client::upgrade(
        Request::get(server.address, target("/")).from(BROWSER).header("X-Forwarded-For", SPOOFED),
    )
    .expect("upgraded");
    assert_eq!(connected_from(&server, 1), [BROWSER.to_string()]);
}

#[test]
fn without_trusted_proxies_the_client_address_is_the_proxys() {
    let server = Server::start(|_| {});
    let nginx = Nginx::start(server.address);
    let _aoi = Client::upgrade(nginx.request("/")).expect("upgraded");
    assert_eq!(connected_from(&server, 1), ["127.0.0.1"]);
}

#[test]
fn proxy_logs_contain_no_token() {
    let server = Server::start(|_| {});
    let nginx = Nginx::start(server.address);
    let request = |target: &str| Request::get(nginx.address, target);
    let target = target("/ws");
    Client::upgrade(request(&target)).expect("upgraded").close();
    drop(server);
    assert_eq!(Client::upgrade(request(&target)).expect_err("the node is away").status, 502);

    crate::support::eventually("both requests are logged", || nginx.log("access").lines().count() >= 2);
    let logs = nginx.log("access") + &nginx.log("error");
    assert!(logs.contains("\"GET /ws\" 101") && logs.contains("\"GET /ws\" 502"), "{logs}");
    let secret = target.split_once("token=").unwrap().1;
    for part in secret.split('.') {
        assert!(!logs.contains(part), "{logs}");
    }
}

#[test]
fn a_rolling_restart_behind_nginx_refuses_no_connection() {
    let redis = RedisServer::start();
    let nodes = [node(&redis, own_port()), node(&redis, own_port())];
    let nginx = Nginx::balance(&nodes.each_ref().map(|node| node.address));
    // nginx retries on the next node: no client has to reconnect twice.
    rolling_restart(&redis, nodes, nginx.address, |connect, when| {
        connect().unwrap_or_else(|refused| panic!("{when}: {refused:?}"))
    });
}

#[test]
fn a_rolling_restart_behind_caddy_refuses_no_connection() {
    let redis = RedisServer::start();
    let nodes = [node(&redis, own_port()), node(&redis, own_port())];
    let caddy = Caddy::balance(&nodes.each_ref().map(|node| node.address));
    rolling_restart(&redis, nodes, caddy.address, |connect, when| {
        let mut client = None;
        crate::support::eventually(when, || {
            client = match connect() {
                Ok(client) => Some(client),
                // Caddy does not retry on the next node when one is shutting down: the page does.
                Err(refused) if when.contains("shuts down") => {
                    assert!(refused == "4100" || refused.starts_with("503"), "{refused}");
                    None
                }
                Err(refused) => panic!("{when}: {refused}"),
            };
            client.is_some()
        });
        client.unwrap()
    });
}

/// A node of an app on a Redis, ready.
fn node(redis: &RedisServer, port: u16) -> Server {
    let server = Server::start(|options| {
        options
            .config("[[apps]]\nid = \"1\"\nkey = \"page\"\nsecret = \"app-secret-of-the-tests\"")
            .set("redis.url", redis.url())
            .set("server.port", port)
            .set("server.shutdown_grace", "3s");
    });
    crate::support::eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    server
}

/// Restarts one node after the other behind a proxy, with pages coming all the time. `come` is given what connects one, and
/// answers why not.
fn rolling_restart(
    redis: &RedisServer,
    nodes: [Server; 2],
    proxy: SocketAddr,
    come: impl Fn(&dyn Fn() -> Result<Client, String>, &str) -> Client,
) {
    let mut nodes = Vec::from(nodes);
    let native = || {
        let page = Client::upgrade(Request::get(proxy, target("/")));
        page.map_err(|refused| format!("{}: {}", refused.status, refused.text()))
    };
    let echo = || {
        let page = Client::upgrade(Request::get(proxy, "/app/page?protocol=7"));
        let mut page = page.map_err(|refused| format!("{}: {}", refused.status, refused.text()))?;
        match page.text_or_close() {
            Ok(greeting) if greeting.contains("pusher:connection_established") => Ok(page),
            Ok(other) => Err(other),
            Err(closed) => Err(closed.to_string()),
        }
    };
    let mut pages: Vec<Client> = (0..4).map(|_| come(&native, "at first")).collect();
    let mut newcomers = Vec::new();
    let mut all_come = |when: &str| {
        for _ in 0..3 {
            newcomers.extend([come(&native, when), come(&echo, when)]);
        }
    };
    for _ in 0..2 {
        let server = nodes.remove(0);
        let port = server.address.port();
        // It never answers the close frame, and so keeps the node draining.
        let _stubborn = Client::raw(Request::get(server.address, target("/"))).expect("upgraded");
        server.signal(Signal::TERM);
        server.expect_log(|line| line["message"].as_str().is_some_and(|text| text.starts_with("shutting")));
        all_come("while a node shuts down");
        assert_eq!(server.wait(PATIENCE).status.code(), Some(0));
        all_come("while a node is away");
        nodes.push(node(redis, port));
        all_come("when the node is back");
    }
    // Every connection of the beginning was asked to reconnect, and could.
    for page in &mut pages {
        assert_eq!(page.expect_close(), (1001, "going away".to_owned()));
    }
    all_come("in the end");
}

/// The field `ip` of the log lines `connected`, once there are that many.
fn connected_from(server: &Server, count: usize) -> Vec<String> {
    let addresses = || -> Vec<String> {
        server
            .log()
            .iter()
            .filter(|line| line["message"] == "connected")
            .map(|line| line["ip"].as_str().unwrap_or_else(|| panic!("no `ip`: {line}")).to_owned())
            .collect()
    };
    crate::support::eventually("the connections are logged", || addresses().len() >= count);
    addresses()
}

fn target(path: &str) -> String {
    format!("{path}?token={}", token(&claims(7, "Aoi", "chat:default")))
}

/// A running nginx; dropping it ends it.
struct Nginx {
    address: SocketAddr,
    process: Child,
    folder: TempDir,
}

impl Nginx {
    fn start(upstream: SocketAddr) -> Self {
        Self::balance(&[upstream])
    }

    /// In front of several nodes.
    fn balance(upstreams: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], own_port()));
        let path = |name: &str| folder.path().join(name).display().to_string();

        // The shipped file, with nothing changed but addresses and the place of the logs.
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
        let mut site = fs::read_to_string(shipped).unwrap();
        let line = site.lines().find(|line| line.contains("server 127.0.0.1:8080")).unwrap().to_owned();
        let lines: Vec<_> =
            upstreams.iter().map(|node| line.replace("127.0.0.1:8080", &node.to_string())).collect();
        for (from, to, times) in [
            ("listen 80;", format!("listen {address};"), 1),
            (&line, lines.join("\n"), 1),
            ("/var/log/nginx/yamabiko.", path(""), 2),
        ] {
            assert_eq!(site.matches(from).count(), times, "{from} in deploy/nginx.conf");
            site = site.replace(from, &to);
        }
        fs::write(path("site.conf"), site).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};", path(kind)))
            .concat();
        let main = format!(
            "daemon off; worker_processes 1; pid {}; error_log {};
             events {{ worker_connections 256; }}
             http {{ {temporary} include {}; }}",
            path("pid"),
            path("main.log"),
            path("site.conf"),
        );
        fs::write(path("nginx.conf"), main).unwrap();

        let process = Command::new("nginx")
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()))
            .args(["-e", &path("main.log"), "-c", &path("nginx.conf")])
            .spawn()
            .expect("nginx runs");
        let mut nginx = Self { address, process, folder };
        crate::support::eventually("nginx listens", || TcpStream::connect(address).is_ok());
        assert!(nginx.process.try_wait().unwrap().is_none(), "{}", nginx.log("main"));
        nginx
    }

    /// A browser's request for a path, with a good token.
    fn request(&self, path: &str) -> Request {
        Request::get(self.address, target(path)).from(BROWSER)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, not KILL: the master has to end its worker.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

/// A running Caddy; dropping it ends it.
struct Caddy {
    address: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl Caddy {
    fn balance(upstreams: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], own_port()));
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/Caddyfile");
        let mut file = fs::read_to_string(shipped).unwrap();
        // The shipped file, without TLS and without the port on which Caddy is administered.
        let open = "\n{\n";
        assert_eq!(file.matches(open).count(), 1, "deploy/Caddyfile has one block of global options");
        file = file.replace(open, &format!("{open}\tadmin off\n"));
        let path = folder.path().join("Caddyfile");
        fs::write(&path, file).unwrap();
        let nodes: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
        let process = Command::new("caddy")
            .env("YAMABIKO_DOMAIN", format!("http://{address}"))
            .env("YAMABIKO_UPSTREAM", nodes.join(" "))
            .env("HOME", folder.path())
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .expect("caddy runs");
        let mut caddy = Self { address, process, _folder: folder };
        crate::support::eventually("Caddy listens", || TcpStream::connect(address).is_ok());
        assert!(caddy.process.try_wait().unwrap().is_none(), "it has ended");
        caddy
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
