//! The state that the threads of a run share: the clock, the history, the nodes' addresses, and the desired state of the pages.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Orders;
use super::history::{Connection, Ending, Event, History, Micros, Outcome, Sent, What};
use super::schedule::{NODES, Random};

#[derive(Debug)]
pub(super) struct Shared {
    start: Instant,
    history: Mutex<History>,
    addresses: Mutex<[Option<SocketAddr>; NODES]>,
    admins: Mutex<[Option<SocketAddr>; NODES]>,
    orders: Vec<Mutex<Orders>>,
    pub(super) redis_url: String,
    quiet: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    pub(super) fn new(redis_url: String, orders: Vec<Orders>) -> Self {
        Self {
            start: Instant::now(),
            history: Mutex::default(),
            addresses: Mutex::default(),
            admins: Mutex::default(),
            orders: orders.into_iter().map(Mutex::new).collect(),
            redis_url,
            quiet: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn now(&self) -> Micros {
        Micros::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// The public address of a node, while it has a process.
    pub(super) fn address(&self, node: usize) -> Option<SocketAddr> {
        self.addresses.lock().unwrap()[node]
    }

    pub(super) fn set_address(&self, node: usize, address: Option<SocketAddr>) {
        self.addresses.lock().unwrap()[node] = address;
    }

    /// The operators' address of a node.
    pub(super) fn admin(&self, node: usize) -> Option<SocketAddr> {
        self.admins.lock().unwrap()[node]
    }

    pub(super) fn set_admin(&self, node: usize, address: Option<SocketAddr>) {
        self.admins.lock().unwrap()[node] = address;
    }

    pub(super) fn orders(&self, page: usize) -> Orders {
        self.orders[page].lock().unwrap().clone()
    }

    pub(super) fn order(&self, page: usize, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders[page].lock().unwrap());
    }

    pub(super) fn connected(&self, connection: Connection) -> usize {
        let mut history = self.history();
        history.connections.push(connection);
        history.connections.len() - 1
    }

    pub(super) fn ended(&self, connection: usize, ending: Ending) {
        let now = self.now();
        self.history().connections[connection].ended = Some((now, ending));
    }

    pub(super) fn event(&self, connection: usize, channel: &str, what: What) {
        let mut history = self.history();
        let event = Event { at: self.now(), channel: channel.to_owned(), what };
        history.connections[connection].events.push(event);
    }

    pub(super) fn sent(&self, sent: Sent) -> usize {
        let mut history = self.history();
        history.sent.push(sent);
        history.sent.len() - 1
    }

    pub(super) fn answered(&self, index: usize, outcome: Outcome) {
        self.history().sent[index].outcome = outcome;
    }

    pub(super) fn note(&self, text: String) {
        self.history().notes.push(text);
    }

    pub(super) fn may_publish(&self) -> bool {
        !self.quiet.load(Ordering::SeqCst)
    }

    /// Publishers fall silent.
    pub(super) fn quiet(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// All threads end.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

pub(super) fn random_pause(random: &mut Random, from: u64, to: u64) {
    thread::sleep(Duration::from_millis(random.between(from, to)));
}
