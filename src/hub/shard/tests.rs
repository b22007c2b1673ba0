use std::collections::hash_map::Entry;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::hub::InFlight;
use crate::hub::read_proof::ReadProof;
use crate::hub::read_reports::ReadReports;
use crate::hub::wire_format::tests::{CLOSES, FORMAT};
use crate::message::{Audience, Frame, Position, SocketId};

const CONNECTIONS: u64 = 6;
const CHANNELS: usize = 4;
const LIMIT: usize = 1 << 20;

fn shard() -> Shard {
    shard_with_inbox().0
}

/// The shard, and what keeps its inbox open, in which it leaves commands to itself.
fn shard_with_inbox() -> (Shard, UnboundedSender<Command>) {
    let (commands, inbox) = unbounded_channel();
    let (delivered, reports) = (Arc::default(), Arc::new(ReadReports::of_shards(1)));
    let proving = Proving::new(0, commands.downgrade(), delivered, reports);
    (Shard::new(inbox, Clock::start(), LIMIT, proving, Arc::new(Metrics::new())), commands)
}

fn key(channel: usize) -> ChannelKey {
    ChannelKey(u64::try_from(channel).unwrap() + 1)
}

fn deliver(channel: usize, audience: Audience, text: &str) -> Command {
    let frame = Frame::from_wire(Bytes::copy_from_slice(text.as_bytes()));
    Command::Deliver(Arc::new(Delivery {
        key: key(channel),
        audience,
        frame,
        place: Place::None,
        _in_flight: InFlight::default(),
    }))
}

/// A shard whose connections have no sockets, so that tests can inspect what is pushed to them.
struct Bench {
    shard: Shard,
    outboxes: Vec<Arc<Outbox>>,
    commands: Vec<Command>,
}

impl Bench {
    fn new(connections: u64) -> Self {
        let outboxes: Vec<_> = (0..connections).map(|_| Arc::new(Outbox::new(&FORMAT))).collect();
        let connect = |(id, outbox): (u64, &Arc<Outbox>)| Command::Connect { id, outbox: outbox.clone() };
        let commands = (0..).zip(&outboxes).map(connect).collect();
        Self { shard: shard(), outboxes, commands }
    }

    fn outbox(&self, id: ConnectionId) -> &Arc<Outbox> {
        &self.outboxes[usize::try_from(id).unwrap()]
    }

    fn join(&mut self, id: ConnectionId, channel: usize, user: i64) {
        let outbox = self.outbox(id).clone();
        self.commands.push(Command::Join {
            key: key(channel),
            id,
            user: Some(user.into()),
            outbox,
            gated: false,
        });
    }

    fn leave(&mut self, id: ConnectionId, channel: usize) {
        self.commands.push(Command::Leave { key: key(channel), id });
    }

    fn publish(&mut self, channel: usize, audience: Audience, text: &str) {
        self.commands.push(deliver(channel, audience, text));
    }

    /// One turn of the shard.
    fn turn(&mut self) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.shard.handle(&mut self.commands));
    }

    fn received(&self, id: ConnectionId) -> String {
        String::from_utf8(self.outbox(id).queued()).unwrap()
    }

    /// How many writes it takes.
    fn blocks(&self, id: ConnectionId) -> usize {
        self.outbox(id).queued_blocks()
    }
}

#[test]
fn a_connection_on_several_channels_receives_them_in_one_order() {
    let mut bench = Bench::new(3);
    for id in 0..2 {
        bench.join(id, 0, 0);
        bench.join(id, 1, 0);
    }
    bench.join(2, 0, 0);
    for number in 0..10 {
        bench.publish(number % 2, Audience::Everyone, &number.to_string());
    }
    bench.turn();
    assert_eq!([0, 1, 2].map(|id| bench.received(id)), ["0123456789", "0123456789", "02468"]);
    assert_eq!([0, 1, 2].map(|id| bench.blocks(id)), [1, 1, 1], "all of a turn is one write");
}

#[test]
fn a_connection_proves_at_once_what_precedes_its_tickets() {
    let (shard, _inbox) = shard_with_inbox();
    let mut bench = Bench { shard, ..Bench::new(1) };
    bench.join(0, 0, 0);
    bench.publish(0, Audience::Everyone, "a");
    let progress = Arc::new(ReadProgress::new(SocketId::new(1, 2)));
    let track = |ticket| Command::Track { id: 0, ticket, progress: progress.clone() };
    bench.commands.extend([1, 2].map(track));
    bench.turn();
    assert_eq!(bench.received(0), "a");
    while let Ok(command) = bench.shard.inbox.try_recv() {
        bench.commands.push(command);
    }
    bench.turn();
    let ping = ReadProof { number: 0, ticket: 2, ping: 1 }.ping();
    assert_eq!(bench.outbox(0).queued(), [b"a", &ping.bytes()[..]].concat(), "one ping for both");
}

#[test]
fn a_message_that_is_not_for_everyone_keeps_its_place() {
    let mut bench = Bench::new(2);
    for id in 0..2 {
        bench.join(id, 0, 7);
        bench.join(id, 1, 8);
    }
    bench.publish(0, Audience::Everyone, "a");
    bench.publish(1, Audience::Except(1), "b");
    bench.publish(0, Audience::User(7.into()), "c");
    bench.publish(1, Audience::User(7.into()), "d");
    bench.publish(1, Audience::User(8.into()), "e");
    bench.publish(0, Audience::Everyone, "f");
    bench.turn();
    assert_eq!([0, 1].map(|id| bench.received(id)), ["abcef", "acef"]);
}

#[test]
fn a_run_for_very_many_is_delivered_in_parts_and_to_all() {
    let connections = 10_000;
    let mut bench = Bench::new(connections);
    for id in 0..connections {
        bench.join(id, 0, 0);
        bench.join(id, 1 + usize::try_from(id % 3).unwrap(), 0);
    }
    for number in 0..8 {
        bench.publish(number % 4, Audience::Everyone, &number.to_string());
    }
    bench.turn();
    for id in 0..connections {
        assert_eq!(bench.received(id), ["0145", "0246", "0347"][usize::try_from(id % 3).unwrap()]);
        assert_eq!(bench.blocks(id), 1);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(ConnectionId, usize, i64),
    Leave(ConnectionId, usize),
    Publish(usize, Audience),
    Turn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let audience = prop_oneof![
        4 => Just(Audience::Everyone),
        1 => (1i64..3).prop_map(|user| Audience::User(user.into())),
        1 => (0..CONNECTIONS).prop_map(Audience::Except),
    ];
    let step = prop_oneof![
        2 => (0..CONNECTIONS, 0..CHANNELS, 1i64..3).prop_map(|(id, channel, user)| Step::Join(id, channel, user)),
        1 => (0..CONNECTIONS, 0..CHANNELS).prop_map(|(id, channel)| Step::Leave(id, channel)),
        8 => (0..CHANNELS, audience).prop_map(|(channel, audience)| Step::Publish(channel, audience)),
        1 => Just(Step::Turn),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn every_connection_receives_its_messages_once_and_in_the_order_of_the_run(steps in steps()) {
        let mut bench = Bench::new(CONNECTIONS);
        let mut members: HashMap<(ConnectionId, usize), i64> = HashMap::new();
        let mut expected = vec![String::new(); usize::try_from(CONNECTIONS).unwrap()];
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Join(id, channel, user) => {
                    // The hub asks for no second join.
                    if let Entry::Vacant(entry) = members.entry((id, channel)) {
                        entry.insert(user);
                        bench.join(id, channel, user);
                    }
                }
                Step::Leave(id, channel) => {
                    members.remove(&(id, channel));
                    bench.leave(id, channel);
                }
                Step::Publish(channel, audience) => {
                    let text = format!("{number} ");
                    for (id, expected) in (0..).zip(&mut expected) {
                        let included = members.get(&(id, channel)).is_some_and(|user| match &audience {
                            Audience::Everyone => true,
                            Audience::User(of) => of.number() == Some(*user),
                            Audience::Except(excluded) => id != *excluded,
                        });
                        if included {
                            expected.push_str(&text);
                        }
                    }
                    bench.publish(channel, audience, &text);
                }
                Step::Turn => bench.turn(),
            }
        }
        bench.turn();
        for (id, expected) in (0..).zip(expected) {
            prop_assert_eq!(bench.received(id), expected);
        }
    }
}

#[derive(Debug, Clone)]
enum GateStep {
    Publish(usize),
    Attach(ConnectionId, usize),
    /// Reads the history of the channel.
    Read(ConnectionId, usize),
    Open(ConnectionId, usize),
    Leave(ConnectionId, usize),
    Turn,
}

fn gate_steps() -> impl Strategy<Value = Vec<GateStep>> {
    let at = || (0u64..3, 0usize..2);
    let step = prop_oneof![
        6 => (0usize..2).prop_map(GateStep::Publish),
        2 => at().prop_map(|(id, channel)| GateStep::Attach(id, channel)),
        2 => at().prop_map(|(id, channel)| GateStep::Read(id, channel)),
        2 => at().prop_map(|(id, channel)| GateStep::Open(id, channel)),
        1 => at().prop_map(|(id, channel)| GateStep::Leave(id, channel)),
        1 => Just(GateStep::Turn),
    ];
    prop::collection::vec(step, 0..120)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attached {
    /// Up to where the history has been read.
    Gated(Option<usize>),
    Open,
}

fn position(offset: usize) -> Position {
    Position { epoch: 1, offset: u64::try_from(offset).unwrap().try_into().unwrap() }
}

fn message(channel: usize, offset: usize) -> Frame {
    Frame::from_wire(Bytes::from(format!("{channel}:{offset} ")))
}

/// The messages of one channel among all that were received.
fn of_channel(received: &str, channel: usize) -> Vec<usize> {
    let prefix = format!("{channel}:");
    received.split(' ').filter_map(|text| text.strip_prefix(&prefix)?.parse().ok()).collect()
}

proptest! {
    #[test]
    fn a_replay_comes_first_and_then_every_live_message_once(steps in gate_steps()) {
        let mut bench = Bench::new(3);
        let mut published = [0; 2];
        let mut attached: HashMap<(ConnectionId, usize), Attached> = HashMap::new();
        let mut expected: HashMap<(ConnectionId, usize), Vec<usize>> = HashMap::new();
        for step in steps {
            match step {
                GateStep::Publish(channel) => {
                    published[channel] += 1;
                    let offset = published[channel];
                    for ((id, _), _) in attached.iter().filter(|((_, of), state)| *of == channel && **state == Attached::Open) {
                        expected.entry((*id, channel)).or_default().push(offset);
                    }
                    let frame = message(channel, offset);
                    let delivery = Delivery {
                        key: key(channel), audience: Audience::Everyone, frame,
                        place: Place::At(position(offset)), _in_flight: InFlight::default(),
                    };
                    bench.commands.push(Command::Deliver(Arc::new(delivery)));
                }
                GateStep::Attach(id, channel) => {
                    if let Entry::Vacant(entry) = attached.entry((id, channel)) {
                        entry.insert(Attached::Gated(None));
                        let outbox = bench.outbox(id).clone();
                        bench.commands.push(Command::Join { key: key(channel), id, user: None, outbox, gated: true });
                    }
                }
                GateStep::Read(id, channel) => {
                    if let Some(Attached::Gated(head)) = attached.get_mut(&(id, channel)) {
                        *head = Some(published[channel]);
                    }
                }
                GateStep::Open(id, channel) => {
                    let Some(Attached::Gated(Some(head))) = attached.get(&(id, channel)).copied() else { continue };
                    attached.insert((id, channel), Attached::Open);
                    // All of the history, and what was published since, each once and in order.
                    expected.entry((id, channel)).or_default().extend(1..=published[channel]);
                    let frames = (1..=head).map(|offset| message(channel, offset)).collect();
                    let end = (head > 0).then(|| position(head));
                    let replay = Replay { frames, end };
                    bench.commands.push(Command::Open { key: key(channel), id, replay });
                }
                GateStep::Leave(id, channel) => {
                    attached.remove(&(id, channel));
                    bench.leave(id, channel);
                }
                GateStep::Turn => bench.turn(),
            }
        }
        bench.turn();
        for id in 0..3 {
            let received = bench.received(id);
            for channel in 0..2 {
                let expected = expected.remove(&(id, channel)).unwrap_or_default();
                prop_assert_eq!(of_channel(&received, channel), expected);
            }
        }
    }

    #[test]
    fn a_gate_that_overflows_closes_the_connection_and_sends_no_part(
        sizes in prop::collection::vec(1usize..200, 1..40), limit in 64usize..2000,
    ) {
        let mut bench = Bench::new(1);
        bench.shard.outbox_bytes = limit;
        let outbox = bench.outbox(0).clone();
        bench.commands.push(Command::Join { key: key(0), id: 0, user: None, outbox: outbox.clone(), gated: true });
        for size in &sizes {
            bench.publish(0, Audience::Everyone, &"x".repeat(*size));
        }
        bench.turn();
        let held: usize = sizes.iter().map(|size| (*size).max(64)).sum();
        prop_assert_eq!(outbox.ending().is_some(), held > limit);
        bench.commands.push(Command::Open { key: key(0), id: 0, replay: Replay::default() });
        bench.turn();
        let close_frame = Frame::close(&CLOSES.slow_consumer);
        if held > limit {
            prop_assert_eq!(outbox.queued(), close_frame.bytes().to_vec());
        } else {
            prop_assert_eq!(outbox.queued().len(), sizes.iter().sum::<usize>());
        }
    }
}
