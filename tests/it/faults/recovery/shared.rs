//! The state that the threads of a run share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use super::super::history::{MessageId, Micros};
use super::super::schedule::{NODES, Random};
use super::record::{Event, Outcome, Record, Sent, What};

/// How a node can be reached.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeState {
    /// While it has a process.
    pub(super) address: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    /// Whether a load balancer sends new connections to it.
    pub(super) is_open: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    start: Instant,
    record: Mutex<Record>,
    nodes: Mutex<[NodeState; NODES]>,
    /// By page: the socket id that it has.
    socket_ids: Mutex<Vec<Option<String>>>,
    pub(super) redis_url: String,
    quiet: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    pub(super) fn new(redis_url: String, record: Record) -> Self {
        let socket_ids = Mutex::new(vec![None; record.pages.len()]);
        Self {
            start: Instant::now(),
            record: Mutex::new(record),
            nodes: Mutex::default(),
            socket_ids,
            redis_url,
            quiet: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn now(&self) -> Micros {
        Micros::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    pub(super) fn node(&self, node: usize) -> NodeState {
        self.nodes.lock().unwrap()[node]
    }

    pub(super) fn change_node(&self, node: usize, change: impl FnOnce(&mut NodeState)) {
        change(&mut self.nodes.lock().unwrap()[node]);
    }

    /// A node that takes new connections.
    pub(super) fn open_node(&self, random: &mut Random) -> Option<(usize, SocketAddr)> {
        let nodes = self.nodes.lock().unwrap();
        let open: Vec<(usize, SocketAddr)> = nodes
            .iter()
            .enumerate()
            .filter(|(_, state)| state.is_open)
            .filter_map(|(node, state)| Some((node, state.address?)))
            .collect();
        open.get(random.index(open.len())).copied()
    }

    /// A node that has a process, whatever its state.
    pub(super) fn any_node(&self, random: &mut Random) -> Option<(usize, SocketAddr)> {
        let node = random.index(NODES);
        Some((node, self.node(node).address?))
    }

    pub(super) fn event(&self, page: usize, what: What) {
        let at = self.now();
        self.record().pages[page].events.push(Event { at, what });
    }

    pub(super) fn set_socket_id(&self, page: usize, socket_id: Option<String>) {
        self.socket_ids.lock().unwrap()[page] = socket_id;
    }

    /// A page that has a socket id.
    pub(super) fn any_socket_id(&self, random: &mut Random) -> Option<(usize, String)> {
        let ids = self.socket_ids.lock().unwrap();
        let known: Vec<_> =
            ids.iter().enumerate().filter_map(|(page, id)| Some((page, id.clone()?))).collect();
        known.get(random.index(known.len())).cloned()
    }

    pub(super) fn sent(&self, mut sent: Sent) -> usize {
        let mut record = self.record();
        sent.at = self.now();
        record.sent.push(sent);
        record.sent.len() - 1
    }

    pub(super) fn answered(&self, index: usize, outcome: Outcome) {
        self.record().sent[index].outcome = outcome;
    }

    pub(super) fn accepted(&self, index: usize) {
        let now = self.now();
        self.answered(index, Outcome::Accepted(now));
    }

    pub(super) fn mark(&self, id: MessageId) {
        self.record().marks.push(id);
    }

    pub(super) fn note(&self, text: String) {
        self.record().notes.push(text);
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
        self.quiet();
        self.over.store(true, Ordering::SeqCst);
    }
}
