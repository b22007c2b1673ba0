//! Three nodes on a Redis, pages and publishers, and the faults that happen to them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::{self, Kind, Orders, Profile};
use super::history::{History, MessageId, NodeView, Target, Window};
use super::publisher::{self, Application, CHANNELS, NATIVE_CHANNELS, PREFIX};
use super::schedule::{Fault, NODES, Schedule, Which};
use super::shared::Shared;
use crate::support::proxy::{Proxy, Traffic};
use crate::support::redis::RedisServer;
use crate::support::{Server, claims, token};

/// How many pages there are.
pub(super) const PAGES: usize = 15;

/// A node that responds and receives from Redis again may still have to replace a connection or its state. It is excluded for this long.
const SETTLES: Duration = Duration::from_secs(2);

/// A dead node is listed for 15 seconds. Whatever takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

const APPS: &str = r#"
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
client_events = true
"#;

/// Runs a schedule and returns the history of events.
pub(super) fn play(schedule: &Schedule) -> History {
    // It listens on 127.0.0.1 only; other loopback addresses may connect as well.
    let redis = RedisServer::start_with(&["--protected-mode", "no"]);
    let pages = pages();
    let orders =
        pages.iter().map(|page| Orders { node: Some(page.node), departures: 0, closes: false, leaves: None });
    let shared = Arc::new(Shared::new(redis.url(), orders.collect()));
    thread::scope(|scope| {
        let mut world = World::new(schedule, &shared, redis);
        // Threads end also if this one panics.
        let _end = EndOnDrop(&shared);
        for (page, profile) in pages.iter().enumerate() {
            let (shared, seed) = (&shared, schedule.seed * 100 + page as u64);
            scope.spawn(move || client::run(shared, page, profile, seed));
        }
        for publisher in 0..4_u16 {
            let (shared, seed) = (&shared, schedule.seed * 100 + 50 + u64::from(publisher));
            scope.spawn(move || {
                if publisher < 2 {
                    publisher::over_http(shared, publisher, seed);
                } else {
                    publisher::over_redis(shared, publisher, seed);
                }
            });
        }
        scope.spawn(|| watch(&shared));
        world.play(schedule);
        world.finish()
    })
}

/// On each node two native pages and three of the Pusher protocol; one of each kind publishes.
fn pages() -> Vec<Profile> {
    let mut pages = Vec::new();
    for node in 0..NODES {
        for (index, channel) in NATIVE_CHANNELS.iter().enumerate() {
            let publisher = (index == node % 2).then(|| 10 + u16::try_from(pages.len()).unwrap());
            let kind = Kind::Native { channel: (*channel).to_owned() };
            pages.push(Profile { name: format!("native{}", pages.len()), node, kind, publisher });
        }
        for index in 0..3 {
            let publisher = (index == 0).then(|| 10 + u16::try_from(pages.len()).unwrap());
            // All but one; users 1 to 5, so that most have tabs on two nodes.
            let without = (node * 3 + index) % 5 + 1;
            let channels = CHANNELS.iter().enumerate().filter(|(channel, _)| *channel != without);
            let channels = channels.map(|(_, channel)| (*channel).to_owned()).collect();
            let user = (node * 3 + index) as u64 % 5 + 1;
            let kind = Kind::Pusher { user, channels };
            pages.push(Profile { name: format!("page{}", pages.len()), node, kind, publisher });
        }
    }
    assert_eq!(pages.len(), PAGES);
    pages
}

struct EndOnDrop<'a>(&'a Shared);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.quiet();
        self.0.end();
    }
}

struct World<'a> {
    shared: &'a Arc<Shared>,
    nodes: [Option<Server>; NODES],
    proxies: Vec<Proxy>,
    redis: RedisServer,
    _runtime: Runtime,
}

impl<'a> World<'a> {
    fn new(schedule: &Schedule, shared: &'a Arc<Shared>, redis: RedisServer) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let proxies = if schedule.proxied { NODES } else { 0 };
        let proxies = (0..proxies)
            .map(|node| runtime.block_on(Proxy::start_from(source(node), redis.port())))
            .collect();
        let mut world = Self { shared, nodes: [const { None }; NODES], proxies, redis, _runtime: runtime };
        for node in 0..NODES {
            world.start_node(node);
        }
        eventually(|| (0..NODES).all(|node| is_ready(shared, node)));
        world
    }

    fn start_node(&mut self, node: usize) {
        let url = self.proxies.get(node).map_or_else(|| self.redis.url(), Proxy::url);
        let server = Server::start(|options| {
            options.set("redis.url", url).set("redis.prefix", PREFIX);
            options.set("server.shutdown_grace", "1s").config(APPS);
        });
        self.shared.set_address(node, Some(server.address));
        self.shared.set_admin(node, Some(server.admin));
        self.nodes[node] = Some(server);
    }

    /// Begins and ends each fault at its time.
    fn play(&mut self, schedule: &Schedule) {
        let mut turns: Vec<(Duration, bool, usize)> = Vec::new();
        for (index, step) in schedule.steps.iter().enumerate() {
            turns.push((step.at, false, index));
            turns.push((step.at + step.lasts, true, index));
        }
        turns.sort_by_key(|(at, ends, index)| (*at, *index, *ends));
        let mut windows: BTreeMap<usize, usize> = BTreeMap::new();
        let start = Instant::now();
        for (at, ends, index) in turns {
            thread::sleep(at.saturating_sub(start.elapsed()));
            let fault = schedule.steps[index].fault;
            if ends {
                self.heal(fault);
                if let Some(window) = windows.get(&index) {
                    self.shared.history().windows[*window].healed = Some(self.shared.now());
                }
            } else {
                if let Some(window) = self.window(fault) {
                    let mut history = self.shared.history();
                    history.windows.push(window);
                    windows.insert(index, history.windows.len() - 1);
                }
                self.begin(fault);
            }
        }
        thread::sleep(schedule.end().saturating_sub(start.elapsed()));
    }

    fn window(&self, fault: Fault) -> Option<Window> {
        let (target, loses_answers) = match fault {
            Fault::KillNode(node) => (Target::Process(node), true),
            Fault::StopNode(node) | Fault::FreezeNode(node) => (Target::Process(node), false),
            Fault::KillClients { node, .. } if !self.proxies.is_empty() => (Target::Link(node), true),
            Fault::CutLink(node) | Fault::SilenceLink(node) => (Target::Link(node), true),
            Fault::KillRedis | Fault::FreezeRedis | Fault::KillClients { .. } => (Target::Redis, true),
            Fault::MovePage { .. } | Fault::LeaveChannel(_) => return None,
        };
        let from = self.shared.now();
        Some(Window { target, fault: format!("{fault:?}"), loses_answers, from, healed: None, to: None })
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillNode(node) => {
                self.shared.set_address(node, None);
                if let Some(server) = self.nodes[node].take() {
                    server.signal(Signal::KILL);
                    self.ended(node, server, false);
                }
            }
            Fault::StopNode(node) => self.signal(node, Signal::TERM),
            Fault::FreezeNode(node) => self.signal(node, Signal::STOP),
            Fault::KillRedis => self.redis.kill(),
            Fault::FreezeRedis => self.redis.pause(),
            Fault::KillClients { node, which } => self.kill_clients(node, which),
            Fault::CutLink(node) => self.proxies[node].set(Traffic::Cut),
            Fault::SilenceLink(node) => self.proxies[node].set(Traffic::Blackhole),
            Fault::MovePage { page, closes, .. } => self.shared.order(page, |orders| {
                *orders = Orders { node: None, departures: orders.departures + 1, closes, leaves: None };
            }),
            Fault::LeaveChannel(page) => self.shared.order(page, |orders| {
                let channel = CHANNELS[orders.departures as usize % CHANNELS.len()];
                orders.leaves = Some(channel.to_owned());
            }),
        }
    }

    fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::KillNode(node) => self.start_node(node),
            Fault::StopNode(node) => {
                if let Some(server) = self.nodes[node].take() {
                    self.ended(node, server, true);
                }
                self.start_node(node);
            }
            Fault::FreezeNode(node) => self.signal(node, Signal::CONT),
            Fault::KillRedis => self.redis.restart(),
            Fault::FreezeRedis => self.redis.resume(),
            Fault::KillClients { .. } => {}
            Fault::CutLink(node) | Fault::SilenceLink(node) => self.proxies[node].set(Traffic::Open),
            Fault::MovePage { page, to, .. } => self.shared.order(page, |orders| orders.node = to),
            Fault::LeaveChannel(page) => self.shared.order(page, |orders| orders.leaves = None),
        }
    }

    fn signal(&self, node: usize, signal: Signal) {
        if let Some(server) = &self.nodes[node] {
            server.signal(signal);
        }
    }

    /// Waits for a process that was asked to exit, and checks its output.
    fn ended(&self, node: usize, server: Server, succeeds: bool) {
        let exit = server.wait(PATIENCE);
        if succeeds && !exit.status.success() {
            self.shared.note(format!("node {node} ended with {}", exit.status));
        }
        self.look_for_panics(node, &exit.log);
    }

    fn look_for_panics(&self, node: usize, log: &[Value]) {
        for line in log.iter().map(Value::to_string).filter(|line| line.contains("panicked")) {
            self.shared.note(format!("node {node}: {line}"));
        }
    }

    /// Redis ends connections of a node. Where they do not come from an address of the node's own, those of all nodes.
    fn kill_clients(&self, node: usize, which: Which) {
        let mut application = Application::new(self.shared);
        let Some(list) = application.command::<String>(redis::cmd("CLIENT").arg("LIST")) else { return };
        let source = source(node).to_string();
        for client in list.lines() {
            let fields: BTreeMap<&str, &str> =
                client.split(' ').filter_map(|field| field.split_once('=')).collect();
            let address = fields.get("addr").copied().unwrap_or_default();
            let is_subscriber =
                ["sub", "psub"].iter().any(|kind| fields.get(kind).is_some_and(|of| *of != "0"));
            let is_meant = match which {
                Which::All => true,
                Which::Subscriber => is_subscriber,
                Which::Publisher => !is_subscriber,
            };
            let is_of_node = self.proxies.is_empty() || address.starts_with(&format!("{source}:"));
            if is_meant && is_of_node {
                let mut kill = redis::cmd("CLIENT");
                kill.arg("KILL").arg("ADDR").arg(address).arg("SKIPME").arg("yes");
                let _ = application.command::<i64>(&kill);
            }
        }
    }

    /// Waits until everything works, keeps it running for a while, and then queries every node and page.
    fn finish(&self) -> History {
        let shared = self.shared;
        eventually(|| shared.history().windows.iter().all(|window| window.to.is_some()));
        eventually(|| self.are_pages_where_they_should_be());
        // Publishing continues while nothing is disturbed: every message is required to arrive.
        thread::sleep(SETTLES);
        shared.quiet();
        self.mark();
        // What was published at the last moment is still on its way.
        let may_end_soon = |rule: &str| ["end", "required delivery"].contains(&rule);
        eventually(|| {
            let views = self.views();
            let mut history = shared.history();
            history.finals = views;
            !super::checker::check(&history).violations.iter().any(|violation| may_end_soon(violation.rule))
        });
        for (node, server) in self.nodes.iter().enumerate() {
            match server {
                Some(server) => self.look_for_panics(node, &server.log()),
                None => shared.note(format!("node {node} is not there")),
            }
        }
        shared.history().clone()
    }

    fn are_pages_where_they_should_be(&self) -> bool {
        let subscriptions: u64 = self.shared.history().subscriptions().values().sum();
        let pages = pages();
        let wanted = pages.iter().enumerate().map(|(page, profile)| {
            let orders = self.shared.orders(page);
            match (&profile.kind, orders.node) {
                (_, None) => 0,
                (Kind::Native { .. }, _) => 1,
                (Kind::Pusher { channels, .. }, _) => channels.len() as u64,
            }
        });
        subscriptions == wanted.sum::<u64>()
    }

    /// Sends one message to each channel, and waits until it has come: all earlier ones have then come before it.
    fn mark(&self) {
        let mut application = Application::new(self.shared);
        let mut marks: Vec<MessageId> = Vec::new();
        for (number, channel) in (0_u32..).zip(NATIVE_CHANNELS.iter().chain(&CHANNELS)) {
            let id = MessageId { publisher: 99, number };
            let is_sent = if NATIVE_CHANNELS.contains(channel) {
                application.native(id, channel, true)
            } else {
                application.event(id, channel, true)
            };
            if is_sent {
                marks.push(id);
            }
        }
        let expected: u64 = self.shared.history().subscriptions().values().sum();
        eventually(|| {
            let history = self.shared.history();
            let events = history.connections.iter().flat_map(|connection| &connection.events);
            let came = events.filter(|event| event.is_one_of(&marks)).count() as u64;
            came >= expected
        });
    }

    fn views(&self) -> Vec<NodeView> {
        (0..NODES).map(|node| self.view(node).unwrap_or_default()).collect()
    }

    fn view(&self, node: usize) -> Option<NodeView> {
        let address = self.shared.address(node)?;
        let mut view = NodeView { ready: is_ready(self.shared, node), ..NodeView::default() };
        view.connections = publisher::get(address, "/apps/1/connections")?["connections"].as_u64()?;
        for channel in CHANNELS {
            let path = format!("/apps/1/channels/{channel}");
            let info = publisher::get(address, &format!("{path}?info=subscription_count"))?;
            let count = info["subscription_count"].as_u64().unwrap_or_default();
            view.subscriptions.insert(channel.to_owned(), count);
            if channel.starts_with("presence-") {
                let users = publisher::get(address, &format!("{path}/users"))?;
                let ids =
                    users["users"].as_array()?.iter().filter_map(|user| user["id"].as_str()?.parse().ok());
                view.members.insert(channel.to_owned(), ids.collect());
            } else if channel.starts_with("cache-") {
                let info = publisher::get(address, &format!("{path}?info=cache"))?;
                view.caches.insert(channel.to_owned(), info["cache"]["data"].clone());
            }
        }
        Some(view)
    }
}

/// Closes the windows of faults that are over, once the nodes work again.
fn watch(shared: &Shared) {
    let mut application = Application::new(shared);
    while !shared.is_over() {
        thread::sleep(Duration::from_millis(50));
        let open: Vec<(usize, Target)> = {
            let history = shared.history();
            let windows = history.windows.iter().enumerate();
            windows
                .filter(|(_, window)| window.healed.is_some() && window.to.is_none())
                .map(|(index, window)| (index, window.target))
                .collect()
        };
        let mut works: [Option<bool>; NODES] = [None; NODES];
        for (index, target) in open {
            let nodes = match target {
                Target::Process(node) | Target::Link(node) => node..node + 1,
                Target::Redis => 0..NODES,
            };
            let all = nodes.into_iter().all(|node| {
                *works[node]
                    .get_or_insert_with(|| is_ready(shared, node) && receives(shared, &mut application, node))
            });
            if all {
                let settles = u64::try_from(SETTLES.as_micros()).unwrap();
                let to = shared.now() + settles;
                shared.history().windows[index].to = Some(to);
            }
        }
    }
}

fn is_ready(shared: &Shared, node: usize) -> bool {
    let answer = shared
        .admin(node)
        .and_then(|address| publisher::request(address, "GET", "/readyz", "", Duration::from_secs(1)));
    answer.is_some_and(|(status, _)| status == 200)
}

/// Whether what is published on Redis now reaches a new page on this node.
fn receives(shared: &Shared, application: &mut Application<'_>, node: usize) -> bool {
    let Some(address) = shared.address(node) else { return false };
    let channel = format!("probe:{node}");
    let Some(mut socket) = probe(address, &channel) else { return false };
    for _ in 0..5 {
        if !application.probe(&channel) {
            return false;
        }
        if socket.read().is_ok_and(|message| message.is_text()) {
            return true;
        }
    }
    false
}

fn probe(address: SocketAddr, channel: &str) -> Option<tungstenite::WebSocket<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    let url = format!("ws://{address}/?token={}", token(&claims(1, "probe", channel)));
    tungstenite::client(url, stream).ok().map(|(socket, _)| socket)
}

/// The address from which the proxy of a node connects to Redis.
fn source(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 11 + u8::try_from(node).unwrap())
}

/// Waits until something holds, or for longer than anything takes: what is missing then is a violation.
fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
}
