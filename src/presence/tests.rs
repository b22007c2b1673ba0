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

/// Takes out all that is out of date.
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

/// A snapshot in two parts, as far as that is possible.
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
            Transition::MemberRemoved(room.clone(), UserId::new("7")),
            Transition::Count(room.clone(), 0),
            Transition::Vacated(room.clone())
        ]
    );
    assert_eq!(view.channels().count(), 0);
}

#[test]
fn counts_of_other_channels_add_up() {
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
fn a_snapshot_heals_what_was_lost() {
    let (a, room) = (node("a"), channel("presence-r"));
    let mut view = Presence::default();
    view.change(&a, 1, &room, join(1, "7"), 0);
    view.change(&a, 4, &room, join(4, "9"), 0);
    // The leave of 1 and the join of 2 never came.
    let others = Snapshot { members: vec![(room.clone(), socket(2), member("8"))], counts: vec![] };
    let mut transitions = snapshot(&mut view, &a, 3, others, 0);
    transitions.retain(|transition| !is_count(transition));
    transitions.sort_by_key(|transition| format!("{transition:?}"));
    assert_eq!(
        transitions,
        [
            Transition::MemberAdded(room.clone(), member("8")),
            Transition::MemberRemoved(room.clone(), UserId::new("7"))
        ]
    );
    assert_eq!(view.members(&room), [member("8"), member("9")]);
    assert_eq!(snapshot(&mut view, &a, 3, Snapshot::default(), 0), [], "it is a repeated one");
    assert_eq!(snapshot(&mut view, &a, 2, Snapshot::default(), 0), [], "it is an older one");
}

#[test]
fn who_changes_connections_within_a_snapshot_has_not_left() {
    let (a, room) = (node("a"), channel("presence-r"));
    let mut view = Presence::default();
    view.change(&a, 1, &room, join(1, "7"), 0);
    let other = Snapshot { members: vec![(room.clone(), socket(2), member("7"))], counts: vec![] };
    let transitions = snapshot(&mut view, &a, 2, other, 0);
    assert!(transitions.iter().all(is_count), "{transitions:?}");
    assert_eq!((view.members(&room), view.connections(&room)), (vec![member("7")], 1));
}

#[test]
fn a_dead_node_stays_dead_and_a_slow_one_comes_back() {
    let (own, b, room) = (node("a"), node("b"), channel("presence-r"));
    let mut view = Presence::default();
    view.change(&own, 1, &room, join(9, "1"), 0);
    view.change(&b, 1, &room, join(1, "7"), 1000);
    view.heard(&b, 2000);
    assert_eq!(lose_silent(&mut view, &own, 500, 2500), []);
    let removed = Transition::MemberRemoved(room.clone(), UserId::new("7"));
    assert_eq!(lose_silent(&mut view, &own, 500, 2501)[0], removed);
    assert_eq!(view.change(&b, 2, &room, join(2, "8"), 2502), [], "it comes from the grave");
    let late = Snapshot { members: vec![(room.clone(), socket(1), member("7"))], counts: vec![] };
    assert_eq!(snapshot(&mut view, &b, 2, late.clone(), 2503), []);
    assert_eq!(snapshot(&mut view, &b, 3, late, 2504)[0], Transition::MemberAdded(room.clone(), member("7")));
    assert_eq!(lose_silent(&mut view, &own, 500, 9000)[0], removed);
    lose_silent(&mut view, &own, 500, 90_000);
    assert_eq!(view.nodes.len(), 1, "it is forgotten");
}

#[test]
fn between_nodes() {
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

/// What happens in the cluster, and on the way to the one view.
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
    /// Any message that was ever sent arrives, perhaps again.
    Arrive(Index),
    Die {
        node: usize,
    },
    /// The view takes a node for dead, rightly or not.
    Lose {
        node: usize,
    },
    /// Something that is out of date is taken out of the view.
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
        1 => node.clone().prop_map(|node| Step::Die { node }),
        1 => node.clone().prop_map(|node| Step::Lose { node }),
        3 => node.prop_map(|node| Step::Sweep { node }),
    ]
}

#[derive(Debug, Clone)]
enum Message {
    Change(ChannelName, Change),
    Snapshot(Snapshot),
}

/// What is really on a node.
#[derive(Debug, Default)]
struct Truth {
    is_dead: bool,
    number: u64,
    connections: BTreeMap<SocketId, (ChannelName, Member)>,
    count: u64,
}

impl Truth {
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

/// What a subscriber, or the application, has been told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    occupied: BTreeSet<String>,
    members: BTreeSet<(String, String)>,
    counts: BTreeMap<String, u64>,
}

impl Told {
    fn hear(&mut self, transitions: Vec<Transition>) -> Result<(), TestCaseError> {
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
                Transition::MemberRemoved(name, user) => {
                    let pair = (name.to_string(), user.to_text().into_owned());
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

    /// What somebody who asks the view finds out.
    fn from_view(view: &Presence) -> Self {
        let counts: BTreeMap<_, _> = view.channels().map(|(name, count)| (name.to_string(), count)).collect();
        let rooms = counts.keys().flat_map(|room| {
            let members = view.members(&channel(room));
            members.into_iter().map(|member| (room.clone(), member.user_id.to_text().into_owned()))
        });
        Self { occupied: counts.keys().cloned().collect(), members: rooms.collect(), counts: counts.clone() }
    }

    fn from_truth(truths: &[Truth]) -> Self {
        let mut told = Self::default();
        for truth in truths.iter().filter(|truth| !truth.is_dead) {
            for (room, member) in truth.connections.values() {
                told.members.insert((room.to_string(), member.user_id.to_text().into_owned()));
                *told.counts.entry(room.to_string()).or_default() += 1;
            }
            *told.counts.entry("news".into()).or_default() += truth.count;
        }
        told.counts.retain(|_, count| *count > 0);
        told.occupied = told.counts.keys().cloned().collect();
        told
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However messages are lost, repeated and reordered: nobody is told of a member twice or of one who leaves
    /// without having been there, and after one snapshot of every node that lives the view is the truth.
    #[test]
    fn no_ghosts_no_doubles_no_losses(steps in prop::collection::vec(step(), 0..120)) {
        let names: Vec<NodeName> = (0..NODES).map(|at| node(&at.to_string())).collect();
        let mut truths: Vec<Truth> = (0..NODES).map(|_| Truth::default()).collect();
        let mut sent: Vec<(usize, u64, Message)> = Vec::new();
        let (mut view, mut told) = (Presence::default(), Told::default());
        let mut sockets = 0;
        for step in steps {
            let mut send = |at: usize, truth: &mut Truth, message: &dyn Fn(&Truth) -> Message| {
                truth.number += 1;
                sent.push((at, truth.number, message(truth)));
            };
            match step {
                Step::Join { node, room, user } if !truths[node].is_dead => {
                    sockets += 1;
                    let (room, member) = (channel(ROOMS[room]), member(USERS[user]));
                    truths[node].connections.insert(socket(sockets), (room.clone(), member.clone()));
                    let change = Change::Join { connection: socket(sockets), member };
                    send(node, &mut truths[node], &|_| Message::Change(room.clone(), change.clone()));
                }
                Step::Leave { node, which } if !truths[node].is_dead && !truths[node].connections.is_empty() => {
                    let keys: Vec<_> = truths[node].connections.keys().copied().collect();
                    let connection = *which.get(&keys);
                    let (room, _) = truths[node].connections.remove(&connection).unwrap();
                    let change = Change::Leave { connection };
                    send(node, &mut truths[node], &|_| Message::Change(room.clone(), change.clone()));
                }
                Step::Count { node, count } if !truths[node].is_dead => {
                    truths[node].count = count;
                    send(node, &mut truths[node], &|_| Message::Change(channel("news"), Change::Count(count)));
                }
                Step::Snapshot { node } if !truths[node].is_dead => {
                    send(node, &mut truths[node], &|truth| Message::Snapshot(truth.snapshot()));
                }
                Step::Arrive(which) if !sent.is_empty() => {
                    let (at, number, message) = which.get(&sent).clone();
                    told.hear(match message {
                        Message::Change(room, change) => view.change(&names[at], number, &room, change, 0),
                        Message::Snapshot(snapshot) => take(&mut view, &names[at], number, snapshot, 0),
                    })?;
                }
                Step::Die { node } => truths[node].is_dead = true,
                Step::Lose { node } => view.lose(&names[node], 0),
                Step::Sweep { node } => told.hear(view.sweep(&names[node], 1).unwrap_or_default())?,
                _ => {}
            }
            prop_assert_eq!(&told, &Told::from_view(&view));
        }
        for (name, truth) in names.iter().zip(&mut truths) {
            truth.number += 1;
            told.hear(if truth.is_dead {
                lose(&mut view, name)
            } else {
                snapshot(&mut view, name, truth.number, truth.snapshot(), 0)
            })?;
            if !truth.is_dead {
                // After a snapshot nothing is kept of what is no more.
                let there = truth.connections.len() + usize::from(truth.count > 0);
                prop_assert_eq!(view.nodes[name].entries.len(), there);
            }
        }
        prop_assert_eq!(&told, &Told::from_truth(&truths));
        // Whatever was sent may come again: it changes nothing. (But a snapshot of a dead node that comes for the first
        // time is a sign of life, until the node has been silent for long enough.)
        for (at, number, message) in sent {
            if truths[at].is_dead && matches!(message, Message::Snapshot(_)) {
                continue;
            }
            let transitions = match message {
                Message::Change(room, change) => view.change(&names[at], number, &room, change, 0),
                Message::Snapshot(snapshot) => take(&mut view, &names[at], number, snapshot, 0),
            };
            prop_assert_eq!(transitions, vec![]);
        }
    }

    /// If everything arrives once at least, in whatever order, the view is the truth without a further snapshot.
    #[test]
    fn order_does_not_matter(
        steps in prop::collection::vec(step(), 0..80),
        order in prop::collection::vec(any::<u32>(), 160),
    ) {
        let names: Vec<NodeName> = (0..NODES).map(|at| node(&at.to_string())).collect();
        let mut truths: Vec<Truth> = (0..NODES).map(|_| Truth::default()).collect();
        let mut sent: Vec<(usize, u64, Message)> = Vec::new();
        let mut sockets = 0;
        for step in steps {
            let (at, message) = match step {
                Step::Join { node, room, user } => {
                    sockets += 1;
                    let (room, member) = (channel(ROOMS[room]), member(USERS[user]));
                    truths[node].connections.insert(socket(sockets), (room.clone(), member.clone()));
                    (node, Message::Change(room, Change::Join { connection: socket(sockets), member }))
                }
                Step::Leave { node, which } if !truths[node].connections.is_empty() => {
                    let keys: Vec<_> = truths[node].connections.keys().copied().collect();
                    let connection = *which.get(&keys);
                    let (room, _) = truths[node].connections.remove(&connection).unwrap();
                    (node, Message::Change(room, Change::Leave { connection }))
                }
                Step::Count { node, count } => {
                    truths[node].count = count;
                    (node, Message::Change(channel("news"), Change::Count(count)))
                }
                Step::Snapshot { node } => (node, Message::Snapshot(truths[node].snapshot())),
                _ => continue,
            };
            truths[at].number += 1;
            sent.push((at, truths[at].number, message));
        }
        // Each twice, shuffled.
        let mut arriving: Vec<_> = order.into_iter().zip(sent.iter().chain(&sent)).collect();
        arriving.sort_by_key(|(key, _)| *key);
        let (mut view, mut told) = (Presence::default(), Told::default());
        for (_, (at, number, message)) in arriving {
            told.hear(match message.clone() {
                Message::Change(room, change) => view.change(&names[*at], *number, &room, change, 0),
                Message::Snapshot(all) => snapshot(&mut view, &names[*at], *number, all, 0),
            })?;
        }
        prop_assert_eq!(&told, &Told::from_truth(&truths));
        prop_assert_eq!(&told, &Told::from_view(&view));
    }
}
