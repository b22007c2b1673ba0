//! Three nodes on a Redis, pages behind lines that fail, publishers, and the faults that happen to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::super::history::Micros;
use super::super::publisher::{PREFIX, request};
use super::super::schedule::{NODES, Random, Which};
use super::checker::{self, Report};
use super::native_page;
use super::publishers::{self, NATIVE, PUSHER, Redis};
use super::pusher_pages::PusherPages;
use super::record::{Disturbance, Kept, Level, Page, Record, Target, What};
use super::schedule::{Fault, Schedule};
use super::shared::Shared;
use crate::support::line::{Cut, Flow, Line};
use crate::support::redis::RedisServer;
use crate::support::{Server, claims, token};

/// How many pages of each kind there are.
const NATIVE_PAGES: usize = 5;
const UNMODIFIED_PAGES: usize = 4;
const PLUGIN_PAGES: usize = 4;
pub(super) const PAGES: usize = NATIVE_PAGES + UNMODIFIED_PAGES + PLUGIN_PAGES;

/// Whatever takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

const NOWHERE: usize = usize::MAX;

const SETTINGS: &str = r#"
[channels.room]
history = { messages = 2000, age = "2m" }

[channels.brief]
history = { messages = 20, age = "3s" }

[recovery]
window = "WINDOW"

[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"

[[apps.history]]
channels = ["private-brief"]
messages = 20
age = "3s"

[[apps.history]]
channels = ["private-*", "presence-*", "news"]
messages = 2000
age = "2m"
"#;

/// Runs a schedule, and looks at what came of it.
pub(super) fn play(schedule: &Schedule) -> Report {
    // Every write is on disk before it is acknowledged. It listens on 127.0.0.1 only; other loopback addresses may connect as well.
    let redis = RedisServer::start_with(&[
        "--protected-mode",
        "no",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--client-output-buffer-limit",
        "pubsub 1mb 512kb 1",
    ]);
    let redis_log = redis.log_file();
    let shared = Arc::new(Shared::new(redis.url(), empty(schedule)));
    thread::scope(|scope| {
        let mut world = World::new(schedule, &shared, redis);
        // Threads end also if this one panics.
        let _end = EndOnDrop(&shared);
        for (page, line) in world.lines.iter().enumerate().take(NATIVE_PAGES) {
            let (shared, seed) = (&shared, schedule.seed * 100 + page as u64);
            let (address, node) = (local(line.port()), world.balancers[page].clone());
            scope.spawn(move || native_page::run(shared, page, address, || node.last(), seed));
        }
        let mut host = None;
        if PAGES > NATIVE_PAGES {
            let balancers = world.balancers.clone();
            let host = host.insert(PusherPages::start(&shared, move |page| balancers[page].last()));
            let pages = shared.record().pages.clone();
            for (page, profile) in pages.iter().enumerate().skip(NATIVE_PAGES) {
                let token = format!("{}-{page}-0123456789abcdef", schedule.seed);
                host.open(page, profile, world.lines[page].port(), &token);
            }
        }
        let publishers = (0..6_u16).map(|publisher| {
            let (shared, seed) = (&shared, schedule.seed * 100 + 50 + u64::from(publisher));
            scope.spawn(move || match publisher {
                0 | 1 => publishers::over_http(shared, publisher, seed),
                2 => publishers::over_pubsub(shared, publisher, seed),
                3 => publishers::over_stream(shared, publisher, seed),
                _ => native_page::send(shared, publisher, NATIVE[usize::from(publisher) % 2], seed),
            })
        });
        let publishers: Vec<_> = publishers.collect();
        scope.spawn(|| watch(&shared, &redis_log));
        world.play(schedule);
        let report = world.finish(schedule, publishers);
        shared.end();
        drop(host);
        report
    })
}

fn empty(schedule: &Schedule) -> Record {
    let mut pages = Vec::new();
    for index in 0..NATIVE_PAGES {
        let channel = NATIVE[index % NATIVE.len()].to_owned();
        pages.push(page(Level::Native, index, vec![channel]));
    }
    for index in 0..UNMODIFIED_PAGES + PLUGIN_PAGES {
        let level = if index < UNMODIFIED_PAGES { Level::Unmodified } else { Level::Plugin };
        // All but one.
        let channels = (0..PUSHER.len()).filter(|channel| *channel != index % PUSHER.len());
        pages.push(page(level, index, channels.map(|channel| PUSHER[channel].to_owned()).collect()));
    }
    let channels = NATIVE.iter().chain(&PUSHER);
    let kept = channels.map(|channel| {
        let is_brief = channel.contains("brief");
        let kept = if is_brief {
            Kept { messages: 20, age: 3_000_000 }
        } else {
            Kept { messages: 2000, age: 120_000_000 }
        };
        ((*channel).to_owned(), kept)
    });
    let window = Micros::try_from(schedule.window.as_micros()).unwrap();
    Record { pages, kept: kept.collect(), window, ..Record::default() }
}

fn page(level: Level, index: usize, channels: Vec<String>) -> Page {
    let name = match level {
        Level::Native => "native",
        Level::Unmodified => "unmodified",
        Level::Plugin => "plugin",
    };
    let user = format!("{name}-{index}");
    Page { name: format!("{name}{index}"), level, user, channels, events: Vec::new() }
}

struct EndOnDrop<'a>(&'a Shared);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Chooses the node for each new connection of a page.
#[derive(Clone)]
struct Balancer {
    shared: Arc<Shared>,
    random: Arc<Mutex<Random>>,
    last: Arc<AtomicUsize>,
}

impl Balancer {
    fn choose(&self) -> Option<SocketAddr> {
        let (node, address) = self.shared.open_node(&mut self.random.lock().unwrap())?;
        self.last.store(node, Ordering::SeqCst);
        Some(address)
    }

    fn last(&self) -> Option<usize> {
        Some(self.last.load(Ordering::SeqCst)).filter(|node| *node != NOWHERE)
    }
}

struct World<'a> {
    shared: &'a Arc<Shared>,
    nodes: [Option<Server>; NODES],
    /// Between each node and Redis.
    links: Vec<Line>,
    /// Between each page and the nodes.
    lines: Vec<Line>,
    balancers: Vec<Balancer>,
    redis: RedisServer,
    window: Duration,
    floods: u32,
    logs: Vec<(usize, Vec<Value>)>,
    _runtime: Runtime,
}

impl<'a> World<'a> {
    fn new(schedule: &Schedule, shared: &'a Arc<Shared>, redis: RedisServer) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let to_redis = local(redis.port());
        let links = (0..NODES)
            .map(|node| runtime.block_on(Line::start(source(node), Arc::new(move || Some(to_redis)))))
            .collect();
        let balancers: Vec<Balancer> = (0..PAGES as u64)
            .map(|page| Balancer {
                shared: shared.clone(),
                random: Arc::new(Mutex::new(Random::new(schedule.seed * 100 + page))),
                last: Arc::new(AtomicUsize::new(NOWHERE)),
            })
            .collect();
        let to_nodes = balancers
            .iter()
            .map(|balancer| {
                let balancer = balancer.clone();
                runtime.block_on(Line::start(Ipv4Addr::LOCALHOST, Arc::new(move || balancer.choose())))
            })
            .collect();
        let nodes = [const { None }; NODES];
        let (window, logs) = (schedule.window, Vec::new());
        let mut world = Self {
            shared,
            nodes,
            links,
            lines: to_nodes,
            balancers,
            redis,
            window,
            floods: 0,
            logs,
            _runtime: runtime,
        };
        for node in 0..NODES {
            world.start_node(node);
        }
        eventually(|| (0..NODES).all(|node| is_ready(shared, node)));
        world
    }

    fn start_node(&mut self, node: usize) {
        let url = format!("redis://127.0.0.1:{}", self.links[node].port());
        let settings = SETTINGS.replace("WINDOW", &format!("{}s", self.window.as_secs()));
        let server = Server::start(|options| {
            options.set("redis.url", url).set("redis.prefix", PREFIX);
            options.set("limits.outbox_bytes", 256 << 10);
            options.set("server.shutdown_grace", "1s").config(&settings);
        });
        let (address, admin) = (Some(server.address), Some(server.admin));
        self.nodes[node] = Some(server);
        self.shared.change_node(node, |state| {
            state.address = address;
            state.admin = admin;
            state.is_open = true;
        });
    }

    /// Begins and ends each fault at its time.
    fn play(&mut self, schedule: &Schedule) {
        let mut turns: Vec<(Duration, bool, usize)> = Vec::new();
        for (index, step) in schedule.steps.iter().enumerate() {
            turns.push((step.at, false, index));
            turns.push((step.at + step.lasts, true, index));
        }
        turns.sort_by_key(|(at, ends, index)| (*at, *index, *ends));
        let mut begun: BTreeMap<usize, usize> = BTreeMap::new();
        let start = Instant::now();
        for (at, ends, index) in turns {
            thread::sleep(at.saturating_sub(start.elapsed()));
            let fault = schedule.steps[index].fault;
            if ends {
                self.heal(fault);
                let now = self.shared.now();
                if let Some(begun) = begun.get(&index) {
                    self.shared.record().disturbances[*begun].healed = Some(now);
                }
            } else {
                let from = self.shared.now();
                let fault_text = format!("{fault:?}");
                let of =
                    Disturbance { target: target(fault), fault: fault_text, from, healed: None, to: None };
                let mut record = self.shared.record();
                record.disturbances.push(of);
                begun.insert(index, record.disturbances.len() - 1);
                drop(record);
                self.begin(fault);
            }
        }
        thread::sleep(schedule.end().saturating_sub(start.elapsed()));
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillNode(node) => {
                self.shared.change_node(node, |state| {
                    state.is_open = false;
                    state.address = None;
                });
                if let Some(server) = self.nodes[node].take() {
                    server.signal(Signal::KILL);
                    self.ended(node, server, false);
                }
            }
            Fault::StopNode(node) => {
                self.shared.change_node(node, |state| state.is_open = false);
                self.signal(node, Signal::TERM);
            }
            Fault::FreezeNode(node) => {
                self.shared.change_node(node, |state| state.is_open = false);
                self.signal(node, Signal::STOP);
            }
            Fault::RestartRedis => self.redis.kill(),
            Fault::LoseRedis => {
                self.redis.kill();
                self.redis.forget();
            }
            Fault::FreezeRedis => self.redis.pause(),
            Fault::KillClients { node, which } => self.kill_clients(node, which),
            Fault::FlushScripts => {
                let mut command = redis::cmd("SCRIPT");
                command.arg("FLUSH");
                let _ = Redis::new(self.shared).command::<String>(&command);
            }
            Fault::FillBuffers(node) => {
                self.links[node].set(Flow::Stalled);
                let shared = self.shared.clone();
                thread::spawn(move || {
                    let (padding, mut redis) = ("x".repeat(60 << 10), Redis::new(&shared));
                    for _ in 0..80 {
                        redis.probe("probe:junk", &padding);
                    }
                });
            }
            Fault::BreakLink { node, after } => self.links[node].cut(Cut { resets: true, after }),
            Fault::CutLink(node) => self.links[node].set(Flow::Down),
            Fault::SilenceLink(node) => self.links[node].set(Flow::Stalled),
            Fault::CutPage { page, resets, after } => self.lines[page].cut(Cut { resets, after }),
            Fault::CutAllPages => {
                for line in &self.lines {
                    line.cut(Cut { resets: false, after: 0 });
                }
            }
            Fault::KeepAway(page) => self.lines[page].set(Flow::Down),
            Fault::StallPage(page) => self.lines[page].set(Flow::Stalled),
            Fault::DripPage { page, bytes } => self.lines[page].set(Flow::Dripping(bytes)),
            Fault::FloodPage(page) => {
                let page = page % NATIVE_PAGES;
                self.lines[page].set(Flow::Stalled);
                let channel = self.shared.record().pages[page].channels[0].clone();
                let (shared, first) = (self.shared.clone(), self.floods);
                thread::spawn(move || publishers::flood(&shared, &channel, first));
                self.floods += 100;
            }
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
            Fault::FreezeNode(node) => {
                self.signal(node, Signal::CONT);
                self.shared.change_node(node, |state| state.is_open = true);
            }
            Fault::RestartRedis | Fault::LoseRedis => self.redis.restart(),
            Fault::FreezeRedis => self.redis.resume(),
            Fault::FillBuffers(node) | Fault::CutLink(node) | Fault::SilenceLink(node) => {
                self.links[node].set(Flow::Open);
            }
            Fault::KeepAway(page) | Fault::StallPage(page) | Fault::DripPage { page, .. } => {
                self.lines[page].set(Flow::Open);
            }
            Fault::FloodPage(page) => self.lines[page % NATIVE_PAGES].set(Flow::Open),
            Fault::KillClients { .. }
            | Fault::FlushScripts
            | Fault::BreakLink { .. }
            | Fault::CutPage { .. }
            | Fault::CutAllPages => {}
        }
    }

    fn signal(&self, node: usize, signal: Signal) {
        if let Some(server) = &self.nodes[node] {
            server.signal(signal);
        }
    }

    /// Waits for a process that was asked to exit, and keeps its output.
    fn ended(&mut self, node: usize, server: Server, succeeds: bool) {
        let exit = server.wait(PATIENCE);
        if succeeds && !exit.status.success() {
            self.shared.note(format!("node {node} ended with {}", exit.status));
        }
        self.logs.push((node, exit.log));
    }

    /// Redis ends connections of a node.
    fn kill_clients(&self, node: usize, which: Which) {
        let mut redis = Redis::new(self.shared);
        let Some(list) = redis.command::<String>(redis::cmd("CLIENT").arg("LIST")) else { return };
        let source = format!("{}:", source(node));
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
            if is_meant && address.starts_with(&source) {
                let mut kill = redis::cmd("CLIENT");
                kill.arg("KILL").arg("ADDR").arg(address);
                let _ = redis.command::<i64>(&kill);
            }
        }
    }

    /// Waits until everything works, sends the last messages, and waits until they have come.
    fn finish(&mut self, schedule: &Schedule, publishers: Vec<ScopedJoinHandle<'_, ()>>) -> Report {
        let shared = self.shared;
        let is_healed = || shared.record().disturbances.iter().all(|of| of.to.is_some());
        eventually(is_healed);
        eventually(|| shared.record().pages.iter().all(is_subscribed));
        thread::sleep(Duration::from_secs(1));
        shared.quiet();
        // Whatever they were sending counts as well.
        for publisher in publishers {
            publisher.join().unwrap();
        }
        let mut attempt = 0;
        eventually(|| {
            attempt += 1;
            publishers::mark(shared, attempt)
        });
        eventually(|| {
            checker::check(&shared.record()).violations.iter().all(|of| of.rule != "end" && of.rule != "lost")
        });
        for (node, server) in self.nodes.iter().enumerate() {
            match server {
                Some(server) => self.logs.push((node, server.log())),
                None => shared.note(format!("node {node} is not there")),
            }
        }
        for (node, line) in self.logs.iter().flat_map(|(node, log)| log.iter().map(move |line| (node, line)))
        {
            let line = line.to_string();
            if line.contains("panicked") {
                shared.note(format!("node {node}: {line}"));
            }
        }
        let report = checker::check(&shared.record());
        if !report.violations.is_empty() {
            self.keep_evidence(schedule);
        }
        report
    }

    /// Writes down everything that is known, for whoever looks for the cause.
    fn keep_evidence(&self, schedule: &Schedule) {
        let mut text = schedule.to_string();
        let record = self.shared.record();
        for of in &record.disturbances {
            writeln!(text, "{of:?}").unwrap();
        }
        for note in &record.notes {
            writeln!(text, "note: {note}").unwrap();
        }
        for sent in &record.sent {
            writeln!(text, "{sent:?}").unwrap();
        }
        for page in &record.pages {
            writeln!(text, "\n{} {:?} {:?}", page.name, page.level, page.channels).unwrap();
            for event in &page.events {
                writeln!(text, "  {event}").unwrap();
            }
        }
        for (node, log) in &self.logs {
            writeln!(text, "\nnode {node}").unwrap();
            for line in log {
                writeln!(text, "  {line}").unwrap();
            }
        }
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recovery-{}.log", schedule.seed));
        std::fs::write(&file, text).unwrap();
        eprintln!("seed {}: everything is in {}", schedule.seed, file.display());
    }
}

fn target(fault: Fault) -> Target {
    match fault {
        Fault::KillNode(node) => Target::Killed(node),
        Fault::StopNode(node) => Target::Stopped(node),
        Fault::FreezeNode(node) => Target::Frozen(node),
        Fault::KillClients { node, .. }
        | Fault::BreakLink { node, .. }
        | Fault::CutLink(node)
        | Fault::SilenceLink(node) => Target::Link(node),
        // The buffers of the other nodes become full as well.
        Fault::RestartRedis | Fault::FreezeRedis | Fault::FlushScripts | Fault::FillBuffers(_) => {
            Target::Redis
        }
        Fault::LoseRedis => Target::Store,
        Fault::CutPage { page, .. }
        | Fault::KeepAway(page)
        | Fault::StallPage(page)
        | Fault::DripPage { page, .. } => Target::Line(page),
        Fault::FloodPage(page) => Target::Line(page % NATIVE_PAGES),
        Fault::CutAllPages => Target::Lines,
    }
}

/// Whether a page is on all of its channels now.
fn is_subscribed(page: &Page) -> bool {
    let connected = page.events.iter().rposition(|event| matches!(event.what, What::Connected { .. }));
    let Some(connected) = connected else { return false };
    let events = &page.events[connected..];
    page.channels.iter().all(|channel| {
        events
            .iter()
            .any(|event| matches!(&event.what, What::Subscribed { channel: of, .. } if of == channel))
    }) && !events.iter().any(|event| matches!(event.what, What::Disconnected(_)))
}

/// How often Redis has disconnected each node because its buffer was full, by the log of Redis.
fn overflowed(log: &str) -> [usize; NODES] {
    let lines = log.lines().filter(|line| line.contains("overcoming of output buffer limits"));
    std::array::from_fn(|node| {
        let address = format!(" addr={}:", source(node));
        lines.clone().filter(|line| line.contains(&address)).count()
    })
}

/// Notes when Redis disconnects a node that reads too slowly, and when the nodes work again after faults that are over.
fn watch(shared: &Shared, redis_log: &Path) {
    let mut redis = Redis::new(shared);
    let mut overflows = [0; NODES];
    while !shared.is_over() {
        let from = shared.now();
        thread::sleep(Duration::from_millis(50));
        let now = overflowed(&std::fs::read_to_string(redis_log).unwrap_or_default());
        for node in (0..NODES).filter(|node| now[*node] > overflows[*node]) {
            let (fault, healed) = ("its buffer in Redis is full".to_owned(), Some(shared.now()));
            let of = Disturbance { target: Target::Overflow(node), fault, from, healed, to: None };
            shared.record().disturbances.push(of);
        }
        overflows = now;
        let open: Vec<(usize, Target)> = {
            let record = shared.record();
            let disturbances = record.disturbances.iter().enumerate();
            disturbances
                .filter(|(_, of)| of.healed.is_some() && of.to.is_none())
                .map(|(index, of)| (index, of.target))
                .collect()
        };
        let mut works: [Option<bool>; NODES] = [None; NODES];
        for (index, target) in open {
            let is_over = (0..NODES).filter(|node| target.touches(*node)).all(|node| {
                *works[node]
                    .get_or_insert_with(|| is_ready(shared, node) && receives(shared, &mut redis, node))
            });
            if is_over {
                let now = shared.now();
                shared.record().disturbances[index].to = Some(now);
            }
        }
    }
}

fn is_ready(shared: &Shared, node: usize) -> bool {
    let admin = shared.node(node).admin;
    let answer = admin.and_then(|address| request(address, "GET", "/readyz", "", Duration::from_secs(1)));
    answer.is_some_and(|(status, _)| status == 200)
}

/// Whether what is published on Redis now reaches a new page on this node.
fn receives(shared: &Shared, redis: &mut Redis<'_>, node: usize) -> bool {
    let Some(address) = shared.node(node).address else { return false };
    let channel = format!("probe:{node}");
    let target = format!("/?token={}", token(&claims(1, "probe", &channel)));
    let limit = Duration::from_millis(500);
    let Some(mut socket) = native_page::connect(address, &target, limit) else { return false };
    for _ in 0..5 {
        if !redis.probe(&channel, "") {
            return false;
        }
        if socket.read().is_ok_and(|message| message.is_text()) {
            return true;
        }
    }
    false
}

/// The address from which a node connects to Redis.
fn source(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 11 + u8::try_from(node).unwrap())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until something holds, or for longer than anything takes: what is missing then is a violation.
fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_node_that_redis_disconnects_is_known_from_the_log_of_redis() {
    let line = |address: &str| {
        format!(
            "7:M 26 Nov 2026 11:18:20.976 # Client id=3 addr={address}:34176 laddr=127.0.0.1:47311 fd=8 cmd=subscribe \
             scheduled to be closed ASAP for overcoming of output buffer limits.\n"
        )
    };
    let log = [line("127.0.0.12"), line("127.0.0.13"), line("127.0.0.12"), line("127.0.0.1")].concat();
    assert_eq!(overflowed(&log), [0, 2, 1]);
    assert_eq!(overflowed("7:M 26 Nov 2026 11:18:20.976 * Ready to accept connections\n"), [0, 0, 0]);
}
