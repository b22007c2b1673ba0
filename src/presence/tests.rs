use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn node(name: &str) -> NodeName {
    name.into()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn member(user: &str) -> Member {
    Member { user_id: UserId::new(user), user_info: None }
}

fn socket(number: u64) -> SocketId {
    SocketId::new(1, number)
}

fn join(number: u64, user: &str) -> Change {
    Change::Join { connection: socket(number), member: member(user) }
}

fn leave(number: u64) -> Change {
    Change::Leave { connection: socket(number) }
}

/// Sweeps until the view has no outdated entries of the node.
fn sweep(view: &mut Presence, node: &NodeName) -> Vec<Transition> {
    let mut transitions = Vec::new();
    while let Some(swept) = view.sweep(node, 2) {
        transitions.extend(swept);
    }
    transitions
}

fn lose(view: &mut Presence, node: &NodeName) -> Vec<Transition> {
    view.lose(node, 0);
    sweep(view, node)
}

fn lose_silent(view: &mut Presence, own: &NodeName, limit: u64, now: u64) -> Vec<Transition> {
    let lost = view.lose_silent(own, limit, now);
    lost.iter().flat_map(|node| sweep(view, node)).collect()
}

/// Applies a snapshot in two parts, without the sweep that follows.
fn take(
    view: &mut Presence,
    node: &NodeName,
    number: u64,
    mut snapshot: Snapshot,
    now: u64,
) -> Vec<Transition> {
    let members = snapshot.members.split_off(snapshot.members.len() / 2);
    let mut transitions = view.snapshot_part(node, number, snapshot, now);
    transitions.extend(view.snapshot_part(node, number, Snapshot { members, counts: Vec::new() }, now));
    view.snapshot_ends(node, number);
    transitions
}

fn snapshot(
    view: &mut Presence,
    node: &NodeName,
    number: u64,
    snapshot: Snapshot,
    now: u64,
) -> Vec<Transition> {
    let mut transitions = take(view, node, number, snapshot, now);
    transitions.extend(sweep(view, node));
    transitions
}

fn is_count(transition: &Transition) -> bool {
    matches!(transition, Transition::Count(..))
}

#[test]
fn several_tabs_on_several_nodes_are_one_member() {
    let (a, b, room) = (node("a"), node("b"), channel("presence-r"));
    let mut view = Presence::default();
    assert_eq!(
        view.change(&a, 1, &room, join(1, "7"), 0),
        [
            Transition::Occupied(room.clone()),
            Transition::MemberAdded(room.clone(), member("7")),
            Transition::Count(room.clone(), 1)
        ]
    );
    assert_eq!(view.change(&a, 2, &room, join(2, "7"), 0), [Transition::Count(room.clone(), 2)]);
    assert_eq!(view.change(&b, 1, &room, join(3, "7"), 0), [Transition::Count(room.clone(), 3)]);
    assert_eq!((view.member_count(&room), view.connections(&room)), (1, 3));
    assert!(view.is_member(&room, &UserId::new("7")));
    assert_eq!(view.change(&a, 3, &room, leave(1), 0), [Transition::Count(room.clone(), 2)]);
    assert_eq!(lose(&mut view, &b), [Transition::Count(room.clone(), 1)]);
    assert_eq!(
        view.change(&a, 4, &room, leave(2), 0),
        [
            Transition::MemberRemoved(room.clone(), member("7")),
            Transition::Count(room.clone(), 0),
            Transition::Vacated(room.clone())
        ]
    );
    assert_eq!(view.channels().count(), 0);
}

#[test]
fn counts_of_all_nodes_are_summed() {
    let (a, b, news) = (node("a"), node("b"), channel("news"));
    let mut view = Presence::default();
    view.change(&a, 1, &news, Change::Count(3), 0);
    assert_eq!(view.change(&b, 1, &news, Change::Count(2), 0), [Transition::Count(news.clone(), 5)]);
    assert_eq!(view.change(&a, 1, &news, Change::Count(9), 0), []);
    assert_eq!(lose(&mut view, &a), [Transition::Count(news.clone(), 2)]);
    let vacated = [Transition::Count(news.clone(), 0), Transition::Vacated(news.clone())];
    assert_eq!(view.change(&b, 2, &news, Change::Count(0), 0), vacated);
}

#[test]
fn a_leave_that_overtakes_its_join_leaves_no_ghost() {
    let (a, room) = (node("a"), channel("presence-r"));
    let mut view = Presence::default();
    assert_eq!(view.change(&a, 2, &room, leave(1), 0), []);
    assert_eq!(view.change(&a, 1, &room, join(1, "7"), 0), []);
    assert_eq!(snapshot(&mut view, &a, 3, Snapshot::default(), 0), []);
    assert_eq!(view.change(&a, 1, &room, join(1, "7"), 0), []);
}

#[test]
fn a_snapshot_repairs_lost_changes() {
    let (a, room) = (node("a"), channel("presence-r"));
    let mut view = Presence::default();
    view.change(&a, 1, &room, join(1, "7"), 0);
    view.change(&a, 4, &room, join(4, "9"), 0);
    // The leave of 1 and the join of 2 were lost.
    let others = Snapshot { members: vec![(room.clone(), socket(2), member("8"))], counts: vec![] };
    let mut transitions = snapshot(&mut view, &a, 3, others, 0);
    transitions.retain(|transition| !is_count(transition));
    transitions.sort_by_key(|transition| format!("{transition:?}"));
    assert_eq!(
        transitions,
        [
            Transition::MemberAdded(room.clone(), member("8")),
            Transition::MemberRemoved(room.clone(), member("7"))
        ]
    );
    assert_eq!(view.members(&room), [member("8"), member("9")]);
    assert_eq!(snapshot(&mut view, &a, 3, Snapshot::default(), 0), [], "the snapshot is repeated");
    assert_eq!(snapshot(&mut view, &a, 2, Snapshot::default(), 0), [], "the snapshot is outdated");
}

#[test]
fn a_snapshot_that_replaces_a_connection_does_not_remove_its_member() {
    let (a, room) = (node("a"), channel("presence-r"));
    let mut view = Presence::default();
    view.change(&a, 1, &room, join(1, "7"), 0);
    let other = Snapshot { members: vec![(room.clone(), socket(2), member("7"))], counts: vec![] };
    let transitions = snapshot(&mut view, &a, 2, other, 0);
    assert!(transitions.iter().all(is_count), "{transitions:?}");
    assert_eq!((view.members(&room), view.connections(&room)), (vec![member("7")], 1));
}

#[test]
fn a_lost_node_returns_only_with_a_newer_snapshot() {
    let (own, b, room) = (node("a"), node("b"), channel("presence-r"));
    let mut view = Presence::default();
    view.change(&own, 1, &room, join(9, "1"), 0);
    view.change(&b, 1, &room, join(1, "7"), 1000);
    view.heard(&b, 2000);
    assert_eq!(lose_silent(&mut view, &own, 500, 2500), []);
    let removed = Transition::MemberRemoved(room.clone(), member("7"));
    assert_eq!(lose_silent(&mut view, &own, 500, 2501)[0], removed);
    assert_eq!(view.change(&b, 2, &room, join(2, "8"), 2502), [], "a change of a lost node is ignored");
    let late = Snapshot { members: vec![(room.clone(), socket(1), member("7"))], counts: vec![] };
    assert_eq!(snapshot(&mut view, &b, 2, late.clone(), 2503), []);
    assert_eq!(snapshot(&mut view, &b, 3, late, 2504)[0], Transition::MemberAdded(room.clone(), member("7")));
    assert_eq!(lose_silent(&mut view, &own, 500, 9000)[0], removed);
    lose_silent(&mut view, &own, 500, 90_000);
    assert_eq!(view.nodes.len(), 1, "the lost node is forgotten");
}

#[test]
fn golden_encoding_of_changes() {
    for (change, text) in [
        (join(1, "7"), r#"{"join":{"connection":"1.1","member":{"user_id":"7"}}}"#),
        (leave(1), r#"{"leave":{"connection":"1.1"}}"#),
        (Change::Count(3), r#"{"count":3}"#),
    ] {
        assert_eq!(serde_json::to_string(&change).unwrap(), text);
        assert_eq!(serde_json::from_str::<Change>(text).unwrap(), change);
    }
}

const NODES: usize = 3;
const USERS: [&str; 3] = ["1", "2", "3"];
const ROOMS: [&str; 2] = ["presence-a", "presence-b"];

/// A step of the cluster, or of the network between the nodes and the view.
#[derive(Debug, Clone)]
enum Step {
    Join {
        node: usize,
        room: usize,
        user: usize,
    },
    Leave {
        node: usize,
        which: Index,
    },
    Count {
        node: usize,
        count: u64,
    },
    Snapshot {
        node: usize,
    },
    /// Delivers any message that was sent, possibly again.
    Arrive(Index),
    Crash {
        node: usize,
    },
    /// The view declares a node dead, correctly or not.
    Lose {
        node: usize,
    },
    /// Removes one portion of outdated entries from the view.
    Sweep {
        node: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    prop_oneof![
        4 => (node.clone(), 0..ROOMS.len(), 0..USERS.len()).prop_map(|(node, room, user)| Step::Join { node, room, user }),
        3 => (node.clone(), any::<Index>()).prop_map(|(node, which)| Step::Leave { node, which }),
        1 => (node.clone(), 0u64..3).prop_map(|(node, count)| Step::Count { node, count }),
        1 => node.clone().prop_map(|node| Step::Snapshot { node }),
        8 => any::<Index>().prop_map(Step::Arrive),
        1 => node.clone().prop_map(|node| Step::Crash { node }),
        1 => node.clone().prop_map(|node| Step::Lose { node }),
        3 => node.prop_map(|node| Step::Sweep { node }),
    ]
}

#[derive(Debug, Clone)]
enum Message {
    Change(ChannelName, Change),
    Snapshot(Snapshot),
}

/// The actual state of a node.
#[derive(Debug, Default)]
struct ActualNode {
    has_crashed: bool,
    number: u64,
    connections: BTreeMap<SocketId, (ChannelName, Member)>,
    count: u64,
}

impl ActualNode {
    fn snapshot(&self) -> Snapshot {
        let members = self.connections.iter();
        Snapshot {
            members: members
                .map(|(socket, (room, member))| (room.clone(), *socket, member.clone()))
                .collect(),
            counts: vec![(channel("news"), self.count)],
        }
    }
}

/// The state as reported to subscribers and to the application.
#[derive(Debug, Default, PartialEq, Eq)]
struct ReportedState {
    occupied: BTreeSet<String>,
    members: BTreeSet<(String, String)>,
    counts: BTreeMap<String, u64>,
}

impl ReportedState {
    fn apply(&mut self, transitions: Vec<Transition>) -> Result<(), TestCaseError> {
        for transition in transitions {
            match transition {
                Transition::Occupied(name) => prop_assert!(self.occupied.insert(name.to_string())),
                Transition::Vacated(name) => {
                    prop_assert!(self.occupied.remove(name.as_str()));
                    prop_assert!(self.members.iter().all(|(room, _)| room != name.as_str()));
                }
                Transition::MemberAdded(name, member) => {
                    let pair = (name.to_string(), member.user_id.to_text().into_owned());
                    prop_assert!(self.members.insert(pair), "added twice");
                }
                Transition::MemberRemoved(name, member) => {
                    let pair = (name.to_string(), member.user_id.to_text().into_owned());
                    prop_assert!(self.members.remove(&pair), "removed without having been there");
                }
                Transition::Count(name, count) => {
                    prop_assert_ne!(self.counts.insert(name.to_string(), count), Some(count));
                }
            }
        }
        self.counts.retain(|_, count| *count > 0);
        Ok(())
    }

    /// The state that queries of the view return.
    fn from_view(view: &Presence) -> Self {
        let counts: BTreeMap<_, _> = view.channels().map(|(name, count)| (name.to_string(), count)).collect();
        let rooms = counts.keys().flat_map(|room| {
            let members = view.members(&channel(room));
            members.into_iter().map(|member| (room.clone(), member.user_id.to_text().into_owned()))
        });
        Self { occupied: counts.keys().cloned().collect(), members: rooms.collect(), counts: counts.clone() }
    }

    fn from_nodes(actual_nodes: &[ActualNode]) -> Self {
        let mut reported = Self::default();
        for actual in actual_nodes.iter().filter(|actual| !actual.has_crashed) {
            for (room, member) in actual.connections.values() {
                reported.members.insert((room.to_string(), member.user_id.to_text().into_owned()));
                *reported.counts.entry(room.to_string()).or_default() += 1;
            }
            *reported.counts.entry("news".into()).or_default() += actual.count;
        }
        reported.counts.retain(|_, count| *count > 0);
        reported.occupied = reported.counts.keys().cloned().collect();
        reported
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Messages may be lost, repeated and reordered. The view never reports a member twice, nor the leave of an absent member,
    /// and one snapshot of every live node makes it equal to the actual state.
    #[test]
    fn the_view_converges_despite_lost_repeated_and_reordered_messages(steps in prop::collection::vec(step(), 0..120)) {
        let names: Vec<NodeName> = (0..NODES).map(|at| node(&at.to_string())).collect();
        let mut actual_nodes: Vec<ActualNode> = (0..NODES).map(|_| ActualNode::default()).collect();
        let mut sent: Vec<(usize, u64, Message)> = Vec::new();
        let (mut view, mut reported) = (Presence::default(), ReportedState::default());
        let mut sockets = 0;
        for step in steps {
            let mut send = |at: usize, actual: &mut ActualNode, message: &dyn Fn(&ActualNode) -> Message| {
                actual.number += 1;
                sent.push((at, actual.number, message(actual)));
            };
            match step {
                Step::Join { node, room, user } if !actual_nodes[node].has_crashed => {
                    sockets += 1;
                    let (room, member) = (channel(ROOMS[room]), member(USERS[user]));
                    actual_nodes[node].connections.insert(socket(sockets), (room.clone(), member.clone()));
                    let change = Change::Join { connection: socket(sockets), member };
                    send(node, &mut actual_nodes[node], &|_| Message::Change(room.clone(), change.clone()));
                }
                Step::Leave { node, which } if !actual_nodes[node].has_crashed && !actual_nodes[node].connections.is_empty() => {
                    let keys: Vec<_> = actual_nodes[node].connections.keys().copied().collect();
                    let connection = *which.get(&keys);
                    let (room, _) = actual_nodes[node].connections.remove(&connection).unwrap();
                    let change = Change::Leave { connection };
                    send(node, &mut actual_nodes[node], &|_| Message::Change(room.clone(), change.clone()));
                }
                Step::Count { node, count } if !actual_nodes[node].has_crashed => {
                    actual_nodes[node].count = count;
                    send(node, &mut actual_nodes[node], &|_| Message::Change(channel("news"), Change::Count(count)));
                }
                Step::Snapshot { node } if !actual_nodes[node].has_crashed => {
                    send(node, &mut actual_nodes[node], &|actual| Message::Snapshot(actual.snapshot()));
                }
                Step::Arrive(which) if !sent.is_empty() => {
                    let (at, number, message) = which.get(&sent).clone();
                    reported.apply(match message {
                        Message::Change(room, change) => view.change(&names[at], number, &room, change, 0),
                        Message::Snapshot(snapshot) => take(&mut view, &names[at], number, snapshot, 0),
                    })?;
                }
                Step::Crash { node } => actual_nodes[node].has_crashed = true,
                Step::Lose { node } => view.lose(&names[node], 0),
                Step::Sweep { node } => reported.apply(view.sweep(&names[node], 1).unwrap_or_default())?,
                _ => {}
            }
            prop_assert_eq!(&reported, &ReportedState::from_view(&view));
        }
        for (name, actual) in names.iter().zip(&mut actual_nodes) {
            actual.number += 1;
            reported.apply(if actual.has_crashed {
                lose(&mut view, name)
            } else {
                snapshot(&mut view, name, actual.number, actual.snapshot(), 0)
            })?;
            if !actual.has_crashed {
                // A snapshot leaves no outdated entries.
                let there = actual.connections.len() + usize::from(actual.count > 0);
                prop_assert_eq!(view.nodes[name].entries.len(), there);
            }
        }
        prop_assert_eq!(&reported, &ReportedState::from_nodes(&actual_nodes));
        // Repeated messages change nothing. The exception is the first arrival of a snapshot of a dead node: it counts as a
        // sign of life until the node times out.
        for (at, number, message) in sent {
            if actual_nodes[at].has_crashed && matches!(message, Message::Snapshot(_)) {
                continue;
            }
            let transitions = match message {
                Message::Change(room, change) => view.change(&names[at], number, &room, change, 0),
                Message::Snapshot(snapshot) => take(&mut view, &names[at], number, snapshot, 0),
            };
            prop_assert_eq!(transitions, vec![]);
        }
    }

    /// If every message arrives at least once, in any order, the view equals the actual state without a further snapshot.
    #[test]
    fn the_view_does_not_depend_on_the_order_of_messages(
        steps in prop::collection::vec(step(), 0..80),
        order in prop::collection::vec(any::<u32>(), 160),
    ) {
        let names: Vec<NodeName> = (0..NODES).map(|at| node(&at.to_string())).collect();
        let mut actual_nodes: Vec<ActualNode> = (0..NODES).map(|_| ActualNode::default()).collect();
        let mut sent: Vec<(usize, u64, Message)> = Vec::new();
        let mut sockets = 0;
        for step in steps {
            let (at, message) = match step {
                Step::Join { node, room, user } => {
                    sockets += 1;
                    let (room, member) = (channel(ROOMS[room]), member(USERS[user]));
                    actual_nodes[node].connections.insert(socket(sockets), (room.clone(), member.clone()));
                    (node, Message::Change(room, Change::Join { connection: socket(sockets), member }))
                }
                Step::Leave { node, which } if !actual_nodes[node].connections.is_empty() => {
                    let keys: Vec<_> = actual_nodes[node].connections.keys().copied().collect();
                    let connection = *which.get(&keys);
                    let (room, _) = actual_nodes[node].connections.remove(&connection).unwrap();
                    (node, Message::Change(room, Change::Leave { connection }))
                }
                Step::Count { node, count } => {
                    actual_nodes[node].count = count;
                    (node, Message::Change(channel("news"), Change::Count(count)))
                }
                Step::Snapshot { node } => (node, Message::Snapshot(actual_nodes[node].snapshot())),
                _ => continue,
            };
            actual_nodes[at].number += 1;
            sent.push((at, actual_nodes[at].number, message));
        }
        // Delivers each message twice, shuffled.
        let mut arriving: Vec<_> = order.into_iter().zip(sent.iter().chain(&sent)).collect();
        arriving.sort_by_key(|(key, _)| *key);
        let (mut view, mut reported) = (Presence::default(), ReportedState::default());
        for (_, (at, number, message)) in arriving {
            reported.apply(match message.clone() {
                Message::Change(room, change) => view.change(&names[*at], *number, &room, change, 0),
                Message::Snapshot(all) => snapshot(&mut view, &names[*at], *number, all, 0),
            })?;
        }
        prop_assert_eq!(&reported, &ReportedState::from_nodes(&actual_nodes));
        prop_assert_eq!(&reported, &ReportedState::from_view(&view));
    }
}

#[test]
fn a_channel_without_members_stays_small() {
    assert!(size_of::<(Subject, Entry)>() <= 48);
    assert!(size_of::<ChannelView>() <= 16);
}
