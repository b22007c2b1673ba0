use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// How far a node may be behind that is not frozen.
const MAX_LAG: Duration = Duration::from_millis(300);
/// A message is its index in the order of publication.
type Id = usize;

/// What Redis delivers.
#[derive(Debug, Clone)]
enum Item {
    Plain { id: Id, topic: usize, text: u64 },
    Marker(Marker),
    Copy { name: Arc<str>, text: u64 },
}

#[derive(Debug)]
enum Command {
    Marker(Marker),
    Store { until: Instant, messages: Vec<DueMessage<Id>> },
}

#[derive(Debug)]
struct Node {
    state: PlainMessages<Id>,
    /// The next item that it reads. `None` while it is not connected.
    read: Option<usize>,
    /// From where on it is subscribed to the second topic.
    ready_at: Option<usize>,
    is_frozen: bool,
    /// One command at a time is on its way, then its reply.
    command: Option<Command>,
    reply: Vec<u64>,
    received: Vec<Id>,
    since_marker: Vec<Id>,
}

#[derive(Debug, Default)]
struct Redis {
    log: Vec<(Instant, Item)>,
    names: HashSet<Arc<str>>,
    stored: Vec<Id>,
}

/// Nodes, and a Redis that keeps everything in one order.
struct World {
    now: Instant,
    redis: Redis,
    texts: Vec<(usize, u64)>,
    nodes: Vec<Option<Node>>,
    /// What dead nodes have sent.
    ghosts: Vec<Command>,
    topics: [Arc<str>; 2],
    /// Received by a node that lost its connection before the next marker.
    interrupted: HashSet<Id>,
    /// Received by a node that connected after the last marker.
    unseen: HashSet<Id>,
}

impl World {
    fn new(nodes: usize) -> Self {
        let topics = ["broadcast", "news"].map(Into::into);
        let mut world = Self {
            now: Instant::now(),
            redis: Redis::default(),
            texts: Vec::new(),
            nodes: (0..nodes).map(|_| None).collect(),
            ghosts: Vec::new(),
            topics,
            interrupted: HashSet::new(),
            unseen: HashSet::new(),
        };
        for node in 0..nodes {
            world.start(node);
        }
        world
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].is_some() {
            return;
        }
        let name: Arc<str> = format!("node-{node}").into();
        self.nodes[node] = Some(Node {
            state: PlainMessages::new(name, usize::MAX, self.now),
            read: None,
            ready_at: None,
            is_frozen: false,
            command: None,
            reply: Vec::new(),
            received: Vec::new(),
            since_marker: Vec::new(),
        });
        self.connect(node);
    }

    /// Also interrupts a connection.
    fn connect(&mut self, node: usize) {
        let (now, end) = (self.now, self.redis.log.len());
        let Some(node) = self.node(node) else { return };
        (node.read, node.ready_at) = (Some(end), None);
        for given_up in node.state.on_connected(now) {
            node.received.retain(|id| *id != given_up.content);
        }
        let interrupted = std::mem::take(&mut node.since_marker);
        self.interrupted.extend(interrupted);
    }

    fn subscribe_second_topic(&mut self, node: usize) {
        let end = self.redis.log.len();
        if let Some(node) = self.node(node) {
            node.ready_at.get_or_insert(end);
        }
    }

    /// A node that is not frozen.
    fn node(&mut self, node: usize) -> Option<&mut Node> {
        self.nodes[node].as_mut().filter(|node| !node.is_frozen)
    }

    fn kill(&mut self, node: usize) {
        self.ghosts.extend(self.nodes[node].take().and_then(|node| node.command));
    }

    fn publish(&mut self, topic: usize, text: u64) {
        let id = self.texts.len();
        self.texts.push((topic, text));
        self.redis.log.push((self.now, Item::Plain { id, topic, text }));
    }

    fn read(&mut self, node: usize, count: usize) {
        let now = self.now;
        for _ in 0..count {
            let topics = self.topics.clone();
            let read = self.nodes[node].as_ref().and_then(|node| node.read);
            let item = read.and_then(|read| self.redis.log.get(read)).map(|(_, item)| item.clone());
            let Some(node) = self.node(node) else { return };
            let Some(at) = node.read else { return };
            if node.ready_at == Some(at) {
                node.state.on_ready();
                node.ready_at = Some(0);
            }
            let Some(item) = &item else { return };
            node.read = Some(at + 1);
            let mut unseen = None;
            match item {
                Item::Plain { topic: 1, .. } if node.ready_at.is_none_or(|ready| ready > at) => {}
                Item::Plain { id, topic, text } => {
                    node.received.push(*id);
                    node.since_marker.push(*id);
                    if node.state.view.is_none() {
                        unseen = Some(*id);
                    }
                    let topic = &topics[*topic];
                    let message =
                        Arrived { topic: topic.clone(), content: *id, fingerprint: *text, bytes: 1 };
                    assert!(node.state.on_message(topic, Some(message), now).is_none());
                }
                Item::Marker(marker) => {
                    node.state.on_marker(marker, now);
                    node.since_marker.clear();
                }
                Item::Copy { name, text } => {
                    node.state.on_copy(name, || *text, now);
                }
            }
            self.unseen.extend(unseen);
        }
    }

    fn send(&mut self, node: usize) {
        let now = self.now;
        let Some(node) = self.node(node) else { return };
        if node.command.is_some() || !node.reply.is_empty() {
            return;
        }
        node.command = if let Some(marker) = node.state.take_marker(now) {
            Some(Command::Marker(marker))
        } else {
            let messages = node.state.batch(3, usize::MAX, now);
            (!messages.is_empty()).then_some(Command::Store { until: now + STORE_WITHIN, messages })
        };
    }

    /// Redis executes a command, also of a node that is frozen.
    fn execute(&mut self, node: usize) {
        let Some(node) = &mut self.nodes[node] else { return };
        let Some(command) = node.command.take() else { return };
        node.reply = self.redis.execute(self.now, command, &self.texts);
    }

    fn reply(&mut self, node: usize) {
        let now = self.now;
        let Some(node) = self.node(node) else { return };
        for place in std::mem::take(&mut node.reply) {
            node.state.on_stored(place, now);
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        let late = self.now.checked_sub(MAX_LAG).unwrap();
        let due = self.redis.log.iter().take_while(|(at, _)| *at <= late).count();
        for node in 0..self.nodes.len() {
            let now = self.now;
            let behind =
                self.node(node).and_then(|node| node.read).map_or(0, |read| due.saturating_sub(read));
            self.read(node, behind);
            if let Some(node) = self.node(node) {
                assert!(node.state.tick(now).is_empty());
            }
        }
    }

    /// Lets everything come to rest. All nodes that live are connected.
    fn settle(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            node.is_frozen = false;
        }
        self.rest();
    }

    /// The same without the nodes that are frozen.
    fn rest(&mut self) {
        for _ in 0..120 {
            for command in std::mem::take(&mut self.ghosts) {
                self.redis.execute(self.now, command, &self.texts);
            }
            for node in 0..self.nodes.len() {
                self.subscribe_second_topic(node);
                self.read(node, usize::MAX);
                for _ in 0..4 {
                    self.send(node);
                    self.execute(node);
                    self.reply(node);
                }
                self.read(node, usize::MAX);
            }
            self.advance(Duration::from_millis(50));
        }
    }

    fn check_exactly_once(&self) -> Result<(), TestCaseError> {
        let mut once = HashSet::new();
        for id in &self.redis.stored {
            // The first node knows it by the marker before it and the second one by the next marker.
            let has_two_names = self.interrupted.contains(id) && self.unseen.contains(id);
            prop_assert!(once.insert(*id) || has_two_names, "{id} is stored twice: {:?}", self.redis.stored);
        }
        for node in self.nodes.iter().flatten() {
            for id in &node.received {
                prop_assert!(once.contains(id), "{id} is lost: {:?}", self.redis.stored);
            }
            prop_assert!(node.state.is_empty());
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.redis.stored.is_sorted(), "{:?}", self.redis.stored);
        Ok(())
    }
}

impl Redis {
    /// Returns the places of the messages that are stored.
    fn execute(&mut self, now: Instant, command: Command, texts: &[(usize, u64)]) -> Vec<u64> {
        match command {
            Command::Marker(marker) => self.log.push((now, Item::Marker(marker))),
            Command::Store { until, .. } if until < now => {}
            Command::Store { messages, .. } => {
                for DueMessage { name, alias, content: id, .. } in &messages {
                    let mut names = [Some(name), alias.as_ref()].into_iter().flatten();
                    if !names.clone().any(|name| self.names.contains(name)) {
                        self.stored.push(*id);
                        self.log.push((now, Item::Copy { name: name.clone(), text: texts[*id].1 }));
                    }
                    self.names.extend(names.by_ref().cloned());
                }
                return messages.iter().map(|message| message.place).collect();
            }
        }
        Vec::new()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish { topic: usize, count: usize },
    Read(usize, usize),
    Send(usize),
    Execute(usize),
    Reply(usize),
    Subscribe(usize),
    Advance(u64),
    Fault(usize, Fault),
    Ghost,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Start,
    Freeze,
    Thaw,
    Interrupt,
}

fn step() -> impl Strategy<Value = Step> {
    use Fault::{Freeze, Interrupt, Kill, Start, Thaw};
    let fault = prop::sample::select(vec![Kill, Start, Start, Freeze, Thaw, Thaw, Interrupt]);
    let node = 0..6usize;
    prop_oneof![
        6 => (0..2usize, 1..4usize).prop_map(|(topic, count)| Step::Publish { topic, count }),
        6 => (node.clone(), 1..6usize).prop_map(|(node, count)| Step::Read(node, count)),
        5 => node.clone().prop_map(Step::Send),
        5 => node.clone().prop_map(Step::Execute),
        4 => node.clone().prop_map(Step::Reply),
        3 => node.clone().prop_map(Step::Subscribe),
        6 => prop_oneof![1..=10u64, 10..=100u64].prop_map(Step::Advance),
        2 => (node, fault).prop_map(|(node, fault)| Step::Fault(node, fault)),
        1 => Just(Step::Ghost),
    ]
}

impl World {
    /// Faults happen to the first `faulty` nodes only, and only those delay what they send.
    fn run(&mut self, steps: &[Step], faulty: usize, text: impl Fn(usize) -> u64) {
        let all = self.nodes.len();
        for step in steps {
            match step {
                Step::Publish { topic, count } => {
                    for _ in 0..*count {
                        self.publish(*topic, text(self.texts.len()));
                    }
                }
                Step::Read(node, count) => self.read(node % all, *count),
                Step::Send(node) => self.send(node % all),
                Step::Execute(node) => self.execute(node % all),
                Step::Reply(node) => self.reply(node % all),
                Step::Subscribe(node) => self.subscribe_second_topic(node % all),
                Step::Advance(millis) => {
                    self.advance(Duration::from_millis(*millis));
                    for node in faulty..all {
                        self.read(node, usize::MAX);
                        for _ in 0..4 {
                            self.send(node);
                            self.execute(node);
                            self.reply(node);
                        }
                    }
                }
                Step::Fault(node, fault) => {
                    let node = node % faulty;
                    match fault {
                        Fault::Kill => self.kill(node),
                        Fault::Start => self.start(node),
                        Fault::Interrupt => self.connect(node),
                        Fault::Freeze | Fault::Thaw => {
                            if let Some(node) = &mut self.nodes[node] {
                                node.is_frozen = matches!(fault, Fault::Freeze);
                            }
                        }
                    }
                }
                Step::Ghost => {
                    if let Some(command) = self.ghosts.pop() {
                        self.redis.execute(self.now, command, &self.texts);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_a_living_node_has_received_is_stored_exactly_once(nodes in 1..4usize, steps in prop::collection::vec(step(), 0..250)) {
        let mut world = World::new(nodes);
        world.run(&steps, nodes, |id| id as u64);
        world.settle();
        world.check_exactly_once()?;
    }

    #[test]
    fn while_other_nodes_are_well_a_faulty_one_changes_neither_order_nor_number(steps in prop::collection::vec(step(), 0..250)) {
        let mut world = World::new(3);
        world.settle();
        // Equal texts are different messages.
        world.run(&steps, 1, |id| id as u64 % 2);
        world.settle();
        world.check_exactly_once()?;
        prop_assert_eq!(world.redis.stored.len(), world.texts.len());
        world.check_order()?;
    }
}

#[test]
fn the_leader_stores_at_once_and_the_others_do_not() {
    let mut world = World::new(3);
    world.settle();
    world.publish(0, 1);
    for node in 0..3 {
        world.read(node, usize::MAX);
        world.send(node);
    }
    assert_eq!(world.nodes.iter().flatten().filter(|node| node.command.is_some()).count(), 1);
}

#[test]
fn messages_without_room_are_given_back() {
    let mut state = PlainMessages::new("a".into(), 10, Instant::now());
    let topic: Arc<str> = "news".into();
    let mut push = || {
        let message = Arrived { topic: topic.clone(), content: 1, fingerprint: 1, bytes: 10 };
        state.on_message(&topic, Some(message), Instant::now()).is_some()
    };
    assert_eq!([push(), push()], [false, true]);
}

impl World {
    fn add_node(&mut self) -> usize {
        self.nodes.push(None);
        self.start(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn freeze(&mut self, node: usize, is_frozen: bool) {
        self.nodes[node].as_mut().unwrap().is_frozen = is_frozen;
    }

    fn leader(&self) -> usize {
        self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.state.leads())).unwrap()
    }
}

#[test]
fn a_node_that_has_just_connected_tells_messages_by_their_copies() {
    let mut world = World::new(1);
    world.settle();
    let new = world.add_node();
    world.publish(0, 7);
    // Before its marker, so that it knows no name.
    world.read(new, 1);
    world.read(0, 1);
    world.send(0);
    world.execute(0);
    world.kill(0);
    world.settle();
    assert_eq!(world.redis.stored, [0]);
}

#[test]
fn a_node_that_was_frozen_reads_what_others_have_stored_before_it_stores() {
    let mut world = World::new(1);
    world.settle();
    world.freeze(0, true);
    let new = world.add_node();
    world.publish(0, 7);
    // Nobody stores it, so that the new node does, under another name than the frozen one knows.
    world.read(new, 1);
    world.rest();
    assert_eq!(world.redis.stored, [0]);
    world.freeze(0, false);
    world.read(0, 1);
    world.send(0);
    world.execute(0);
    world.settle();
    assert_eq!(world.redis.stored, [0]);
}

#[test]
fn a_message_is_stored_under_both_of_its_names() {
    let mut world = World::new(2);
    world.settle();
    let (leader, new) = (world.leader(), world.add_node());
    let follower = 1 - leader;
    world.publish(0, 7);
    world.read(follower, 1);
    world.read(new, 1);
    world.kill(leader);
    // The marker of the new node gives the message its second name.
    world.subscribe_second_topic(new);
    world.read(new, 1);
    world.send(new);
    world.execute(new);
    world.read(follower, 1);
    world.freeze(follower, true);
    world.rest();
    assert_eq!(world.redis.stored, [0]);
    // The other one misses the copy.
    world.freeze(follower, false);
    world.connect(follower);
    world.settle();
    assert_eq!(world.redis.stored, [0]);
}
