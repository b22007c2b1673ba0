//! Compares what was received with what was sent, and reports violations.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use super::history::{
    Connection, Ending, History, MessageId, Micros, Outcome, Route, Sent, Target, What, seconds,
};

/// How long after its acknowledgement a message may still be on its way where nothing is disturbed. A fault that begins later
/// is no excuse for not having delivered it; a slow machine is no violation.
pub(super) const MARGIN: Micros = 2_000_000;

/// A violation, with the part of the history that shows it.
#[derive(Debug, Clone)]
pub(super) struct Violation {
    pub(super) rule: &'static str,
    pub(super) text: String,
}

/// The violations, and how much was looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    pub(super) violations: Vec<Violation>,
    pub(super) sent: usize,
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
    pub(super) delivered: usize,
    /// Deliveries that nothing excuses.
    pub(super) required: usize,
    /// Refused messages that were delivered because a fault took the answer: documented.
    pub(super) answers_lost: usize,
    /// Messages that were refused although nothing was disturbed: slow, and not wrong.
    pub(super) refused_without_fault: usize,
}

impl Report {
    /// Adds the figures and violations of another run.
    pub(super) fn add(&mut self, other: Self) {
        self.violations.extend(other.violations);
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.delivered += other.delivered;
        self.required += other.required;
        self.answers_lost += other.answers_lost;
        self.refused_without_fault += other.refused_without_fault;
    }
}

/// A message on one of its channels.
type Delivery<'a> = (MessageId, &'a str);

/// Looks at everything.
pub(super) fn check(history: &History) -> Report {
    let mut checker = Checker::new(history);
    checker.deliveries_are_of_what_was_sent();
    checker.check_duplicates();
    checker.publishers_keep_their_order();
    checker.accepted_before_comes_before();
    checker.everybody_sees_one_order();
    checker.required_deliveries_came();
    checker.members_are_told_in_turn();
    checker.connections_end_for_a_reason();
    checker.check_final_state();
    for note in &history.notes {
        checker.violation("conduct", note, &[], &[]);
    }
    checker.report
}

struct Checker<'a> {
    history: &'a History,
    sent: HashMap<MessageId, &'a Sent>,
    report: Report,
}

impl<'a> Checker<'a> {
    fn new(history: &'a History) -> Self {
        let mut report = Report { sent: history.sent.len(), ..Report::default() };
        for sent in &history.sent {
            match sent.outcome {
                Outcome::Accepted(_) => report.accepted += 1,
                Outcome::Refused(_) => report.refused += 1,
                Outcome::Rejected => {}
                Outcome::Unknown => report.unknown += 1,
            }
        }
        Self { history, sent: history.sent.iter().map(|sent| (sent.id, sent)).collect(), report }
    }

    fn deliveries_are_of_what_was_sent(&mut self) {
        let mut refused = HashSet::new();
        for (index, connection) in self.history.connections.iter().enumerate() {
            for event in &connection.events {
                let (What::Delivered(id) | What::Replayed(id)) = event.what else { continue };
                self.report.delivered += 1;
                let wrong = match self.sent.get(&id) {
                    None => Some("it was never sent"),
                    Some(sent) if !sent.channels.contains(&event.channel) => Some("it is of another channel"),
                    // The last event of a cache channel is for everybody who subscribes later.
                    Some(sent) if sent.except == Some(index) && matches!(event.what, What::Delivered(_)) => {
                        Some("this connection is left out")
                    }
                    Some(sent) => match sent.outcome {
                        Outcome::Rejected => Some("it was rejected"),
                        Outcome::Refused(at) if self.loses_answer(sent, at) => {
                            refused.insert(id);
                            None
                        }
                        Outcome::Refused(_) => Some("it was refused, and no fault can have taken the answer"),
                        Outcome::Accepted(_) | Outcome::Unknown => None,
                    },
                };
                if let Some(wrong) = wrong {
                    let text = format!("{} received {id} on {}: {wrong}", connection.client, event.channel);
                    self.violation("sent", &text, &[id], &[index]);
                }
            }
        }
        self.report.answers_lost = refused.len();
        for sent in &self.history.sent {
            if let Outcome::Refused(at) = sent.outcome {
                let node = sent.node.unwrap_or_default();
                self.report.refused_without_fault += usize::from(!self.is_disturbed(node, sent.at, at));
            }
        }
    }

    fn check_duplicates(&mut self) {
        for (index, connection) in self.history.connections.iter().enumerate() {
            let mut seen = HashSet::new();
            for event in &connection.events {
                if let What::Delivered(id) = event.what
                    && !seen.insert((id, event.channel.as_str()))
                {
                    let text = format!("{} received {id} on {} twice", connection.client, event.channel);
                    self.violation("twice", &text, &[id], &[index]);
                }
            }
        }
    }

    /// The messages of a publisher on one connection arrive in order, even if it does not wait for answers.
    fn publishers_keep_their_order(&mut self) {
        for (index, connection) in self.history.connections.iter().enumerate() {
            let mut last: HashMap<(u16, usize), MessageId> = HashMap::new();
            for (id, _) in deliveries(connection) {
                let Some(of) = self.sent.get(&id).and_then(|sent| sent.connection) else { continue };
                let before = last.insert((id.publisher, of), id);
                if let Some(before) = before.filter(|before| before.number > id.number) {
                    let text = format!("{} received {before} before {id}", connection.client);
                    self.violation("publisher's order", &text, &[id, before], &[index]);
                }
            }
        }
    }

    /// A message that was accepted before another one was sent comes before it, whoever sends.
    fn accepted_before_comes_before(&mut self) {
        for (index, connection) in self.history.connections.iter().enumerate() {
            let mut latest: Option<&Sent> = None;
            for (id, _) in deliveries(connection) {
                let Some(sent) = self.sent.get(&id).copied() else { continue };
                if let (Outcome::Accepted(at), Some(latest)) = (sent.outcome, latest)
                    && at < latest.at
                {
                    let text = format!(
                        "{} received {} before {id}, which had been accepted when the other was sent",
                        connection.client, latest.id
                    );
                    self.violation("real-time order", &text, &[id, latest.id], &[index]);
                }
                if latest.is_none_or(|latest| latest.at < sent.at) {
                    latest = Some(sent);
                }
            }
        }
    }

    /// There is one order of all messages on all channels that no connection contradicts: that of the broker.
    fn everybody_sees_one_order(&mut self) {
        let mut after: BTreeMap<Delivery<'_>, BTreeSet<Delivery<'_>>> = BTreeMap::new();
        let mut before: BTreeMap<Delivery<'_>, usize> = BTreeMap::new();
        let orders: Vec<Vec<Delivery<'_>>> = self.history.connections.iter().map(each_once).collect();
        for order in &orders {
            for pair in order.windows(2) {
                if after.entry(pair[0]).or_default().insert(pair[1]) {
                    *before.entry(pair[1]).or_default() += 1;
                }
            }
        }
        let mut ready: Vec<Delivery<'_>> =
            after.keys().filter(|delivery| !before.contains_key(delivery)).copied().collect();
        while let Some(delivery) = ready.pop() {
            for next in after.remove(&delivery).unwrap_or_default() {
                let left = before.get_mut(&next).expect("counted above");
                *left -= 1;
                if *left == 0 {
                    before.remove(&next);
                    ready.push(next);
                }
            }
        }
        if before.is_empty() {
            return;
        }
        // The rest is on a cycle, or behind one. Nearly always two connections contradict each other.
        let positions: Vec<HashMap<Delivery<'_>, usize>> = orders
            .iter()
            .map(|order| order.iter().enumerate().map(|(at, delivery)| (*delivery, at)).collect())
            .collect();
        for (one, order) in orders.iter().enumerate() {
            let order: Vec<_> = order.iter().filter(|delivery| before.contains_key(*delivery)).collect();
            for pair in order.windows(2) {
                for (other, positions) in positions.iter().enumerate().skip(one + 1) {
                    let (Some(first), Some(second)) = (positions.get(pair[0]), positions.get(pair[1])) else {
                        continue;
                    };
                    if first > second {
                        let names = [one, other].map(|index| self.history.connections[index].client.as_str());
                        let text = format!(
                            "{} received {} before {}, and {} the other way round",
                            names[0], pair[0].0, pair[1].0, names[1]
                        );
                        self.violation("one order", &text, &[pair[0].0, pair[1].0], &[one, other]);
                        return;
                    }
                }
            }
        }
        let ids: Vec<MessageId> = before.keys().map(|(id, _)| *id).take(8).collect();
        let all: Vec<usize> = (0..orders.len()).collect();
        self.violation("one order", "no order fits all connections", &ids, &all);
    }

    /// A client that stays on a channel while nothing is disturbed receives every accepted message.
    fn required_deliveries_came(&mut self) {
        let connections = &self.history.connections;
        let mut received: Vec<HashSet<Delivery<'_>>> = Vec::with_capacity(connections.len());
        for connection in connections {
            let came = connection.events.iter().filter_map(|event| match event.what {
                What::Delivered(id) | What::Replayed(id) => Some((id, event.channel.as_str())),
                _ => None,
            });
            received.push(came.collect());
        }
        let mut stays: HashMap<&str, Vec<(usize, Micros, Micros)>> = HashMap::new();
        for (index, connection) in connections.iter().enumerate() {
            let channels: BTreeSet<&str> =
                connection.events.iter().map(|event| event.channel.as_str()).collect();
            for channel in channels {
                let of = connection.stays(channel).into_iter().map(|(from, to)| (index, from, to));
                stays.entry(channel).or_default().extend(of);
            }
        }
        for sent in &self.history.sent {
            let Outcome::Accepted(at) = sent.outcome else { continue };
            let until = at + MARGIN;
            for channel in &sent.channels {
                for &(index, from, to) in stays.get(channel.as_str()).into_iter().flatten() {
                    let is_own = sent.route == Route::ClientEvent && sent.connection == Some(index);
                    if from >= sent.at || to <= until || sent.except == Some(index) || is_own {
                        continue;
                    }
                    let node = connections[index].node;
                    let is_disturbed = self.is_disturbed(node, sent.at, until)
                        || sent.node.is_some_and(|node| self.is_disturbed(node, sent.at, until));
                    if is_disturbed {
                        continue;
                    }
                    self.report.required += 1;
                    if !received[index].contains(&(sent.id, channel)) {
                        let text =
                            format!("{} did not receive {} on {channel}", connections[index].client, sent.id);
                        self.violation("required delivery", &text, &[sent.id], &[index]);
                    }
                }
            }
        }
    }

    /// A member comes only if it was not there, and goes only if it was.
    fn members_are_told_in_turn(&mut self) {
        for (index, connection) in self.history.connections.iter().enumerate() {
            let mut views: HashMap<&str, BTreeSet<u64>> = HashMap::new();
            for event in &connection.events {
                let channel = event.channel.as_str();
                let wrong = match &event.what {
                    What::Joined(members) => {
                        if let Some(members) = members {
                            let is_listed = connection.user.is_some_and(|user| members.contains(&user));
                            views.insert(channel, members.clone());
                            if is_listed { None } else { Some("is not on its own list".to_owned()) }
                        } else {
                            None
                        }
                    }
                    What::Left => {
                        views.remove(channel);
                        None
                    }
                    What::Added(user) => match views.get_mut(channel).map(|view| view.insert(*user)) {
                        Some(false) => Some(format!("received the arrival of {user}, a member already")),
                        _ => None,
                    },
                    What::Removed(user) => match views.get_mut(channel).map(|view| view.remove(user)) {
                        Some(false) => Some(format!("received the departure of {user}, not a member")),
                        _ => None,
                    },
                    What::Delivered(_) | What::Replayed(_) => None,
                };
                if let Some(wrong) = wrong {
                    let text = format!("{} {wrong}: {channel} at {}", connection.client, seconds(event.at));
                    let text = format!("{text}\n{}", member_history(connection, channel));
                    self.violation("members", &text, &[], &[index]);
                }
            }
        }
    }

    fn connections_end_for_a_reason(&mut self) {
        for (index, connection) in self.history.connections.iter().enumerate() {
            let Some((at, Ending::Server(reason))) = &connection.ended else { continue };
            let process = Target::Process(connection.node);
            let is_disturbed = self
                .history
                .windows
                .iter()
                .any(|window| window.target == process && window.overlaps(*at, *at));
            if !is_disturbed {
                let text = format!("{} was closed at {}: {reason}", connection.client, seconds(*at));
                self.violation("closed", &text, &[], &[index]);
            }
        }
    }

    /// Each node and each member knows all members; every cache is the same.
    fn check_final_state(&mut self) {
        let history = self.history;
        for window in history.windows.iter().filter(|window| window.to.is_none()) {
            let text = format!("{:?} did not recover from: {}", window.target, window.fault);
            self.violation("end", &text, &[], &[]);
        }
        let open = history.connections.iter().filter(|connection| connection.socket_id.is_some());
        let open = open.filter(|connection| connection.ended.is_none()).count() as u64;
        let subscriptions = history.subscriptions();
        for (number, node) in history.finals.iter().enumerate() {
            let mut wrong = Vec::new();
            if !node.ready {
                wrong.push("is not ready".to_owned());
            }
            if node.connections != open {
                wrong.push(format!("counts {} connections of {open}", node.connections));
            }
            for (channel, members) in &node.members {
                let there = history.members(channel);
                if *members != there {
                    wrong.push(format!("lists {members:?} on {channel}, where {there:?} are"));
                }
            }
            for (channel, count) in &node.subscriptions {
                let there = subscriptions.get(channel.as_str()).copied().unwrap_or_default();
                if *count != there {
                    wrong.push(format!("counts {count} on {channel}, where {there} are"));
                }
            }
            for (channel, cached) in &node.caches {
                let other = &history.finals[0].caches[channel];
                if cached != other {
                    wrong.push(format!("keeps {cached} for {channel}, and node 0 {other}"));
                }
            }
            for wrong in wrong {
                self.violation("end", &format!("node {number} {wrong}"), &[], &[]);
            }
        }
        for (index, connection) in history.connections.iter().enumerate() {
            for channel in connection.channels() {
                let (told, there) = (connection.members(channel), history.members(channel));
                if channel.starts_with("presence-") && told != there {
                    let text =
                        format!("{} knows {told:?} on {channel}, where {there:?} are", connection.client);
                    let text = format!("{text}\n{}", member_history(connection, channel));
                    self.violation("end", &text, &[], &[index]);
                }
            }
        }
    }

    fn is_disturbed(&self, node: usize, from: Micros, to: Micros) -> bool {
        self.history.windows.iter().any(|window| window.touches(node) && window.overlaps(from, to))
    }

    fn loses_answer(&self, sent: &Sent, at: Micros) -> bool {
        let node = sent.node.unwrap_or_default();
        let mut windows = self.history.windows.iter();
        windows.any(|window| window.loses_answers && window.touches(node) && window.overlaps(sent.at, at))
    }

    fn violation(&mut self, rule: &'static str, text: &str, ids: &[MessageId], connections: &[usize]) {
        let text = format!("{text}\n{}", relevant(self.history, ids, connections));
        self.report.violations.push(Violation { rule, text });
    }
}

/// The messages that the broker carried to a connection, in its order. The answer to a subscription is not part of it.
fn deliveries(connection: &Connection) -> impl Iterator<Item = Delivery<'_>> {
    connection.events.iter().filter_map(|event| match event.what {
        What::Delivered(id) => Some((id, event.channel.as_str())),
        _ => None,
    })
}

fn each_once(connection: &Connection) -> Vec<Delivery<'_>> {
    let mut seen = HashSet::new();
    deliveries(connection).filter(|delivery| seen.insert(*delivery)).collect()
}

/// The messages and connections of a violation, what those received around it, and the faults of that time.
fn relevant(history: &History, ids: &[MessageId], connections: &[usize]) -> String {
    let mut text = String::new();
    let mut times: Vec<Micros> = Vec::new();
    for sent in history.sent.iter().filter(|sent| ids.contains(&sent.id)) {
        times.push(sent.at);
        if let Outcome::Accepted(at) | Outcome::Refused(at) = sent.outcome {
            times.push(at);
        }
        let node = sent.node.map_or("Redis".to_owned(), |node| format!("node {node}"));
        let (id, at, outcome) = (sent.id, seconds(sent.at), outcome(sent.outcome));
        writeln!(text, "    {at} {id} {:?} by {node} to {:?}: {outcome}", sent.route, sent.channels).unwrap();
    }
    for &index in connections.iter().take(8) {
        let connection = &history.connections[index];
        let ended = connection.ended.as_ref().map(|(at, ending)| (seconds(*at), ending));
        writeln!(text, "    {} on node {}, ended: {ended:?}", connection.client, connection.node).unwrap();
        let is_one =
            |what: &What| matches!(what, What::Delivered(id) | What::Replayed(id) if ids.contains(id));
        let hits: Vec<usize> = connection
            .events
            .iter()
            .enumerate()
            .filter(|(_, event)| is_one(&event.what))
            .map(|(at, _)| at)
            .collect();
        times.extend(hits.iter().map(|at| connection.events[*at].at));
        let near = |at: usize| hits.iter().any(|hit| hit.abs_diff(at) <= 1);
        for (_, event) in connection.events.iter().enumerate().filter(|(at, _)| near(*at)) {
            writeln!(text, "      {} {} {:?}", seconds(event.at), event.channel, event.what).unwrap();
        }
    }
    if let (Some(from), Some(to)) = (times.iter().min(), times.iter().max()) {
        for window in
            history.windows.iter().filter(|window| window.overlaps(from.saturating_sub(MARGIN), to + MARGIN))
        {
            let to = window.to.unwrap_or(Micros::MAX);
            let healed = window.healed.unwrap_or(Micros::MAX);
            let times = [window.from, healed, to].map(seconds);
            writeln!(
                text,
                "    fault {} from {}, over at {}, recovered at {}",
                window.fault, times[0], times[1], times[2]
            )
            .unwrap();
        }
    }
    text
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Accepted(at) => format!("accepted at {}", seconds(at)),
        Outcome::Refused(at) => format!("refused at {}", seconds(at)),
        Outcome::Rejected => "invalid".to_owned(),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

fn member_history(connection: &Connection, channel: &str) -> String {
    let mut text = String::new();
    for event in connection.events.iter().filter(|event| event.channel == channel) {
        if !matches!(event.what, What::Delivered(_) | What::Replayed(_)) {
            writeln!(text, "      {} {:?}", seconds(event.at), event.what).unwrap();
        }
    }
    text
}

mod tests {
    use serde_json::Value;

    use super::super::history::{Event, NodeView, Window};
    use super::*;

    fn id(number: u32) -> MessageId {
        MessageId { publisher: 1, number }
    }

    /// Sent at `number` seconds and accepted 0.1 seconds later.
    fn sent(number: u32) -> Sent {
        let at = Micros::from(number) * 1_000_000;
        let outcome = Outcome::Accepted(at + 100_000);
        let channels = vec!["a".to_owned(), "b".to_owned()];
        let (node, connection, except) = (Some(0), None, None);
        Sent { id: id(number), route: Route::Http, node, connection, channels, except, at, outcome }
    }

    /// On channel `a` from the start, and received these messages there.
    fn connection(name: &str, received: &[u32]) -> Connection {
        let mut events = vec![Event { at: 0, channel: "a".to_owned(), what: What::Joined(None) }];
        events.extend(received.iter().map(|number| Event {
            at: Micros::from(*number) * 1_000_000 + 50_000,
            channel: "a".to_owned(),
            what: What::Delivered(id(*number)),
        }));
        Connection { client: name.to_owned(), node: 1, user: Some(7), socket_id: None, ended: None, events }
    }

    /// Messages 1 and 2, received by two connections.
    fn sound() -> History {
        History {
            sent: vec![sent(1), sent(2)],
            connections: vec![connection("x", &[1, 2]), connection("y", &[1, 2])],
            ..History::default()
        }
    }

    fn window(target: Target, from: u64, to: u64) -> Window {
        let (from, to) = (from * 1_000_000, to * 1_000_000);
        Window { target, fault: "f".into(), loses_answers: true, from, healed: Some(to), to: Some(to) }
    }

    fn rules(history: &History) -> Vec<&'static str> {
        check(history).violations.iter().map(|violation| violation.rule).collect()
    }

    fn broken(change: impl FnOnce(&mut History)) -> Vec<&'static str> {
        let mut history = sound();
        change(&mut history);
        rules(&history)
    }

    fn push(history: &mut History, what: What) {
        let event = Event { at: 9_000_000, channel: "a".to_owned(), what };
        history.connections[0].events.push(event);
    }

    #[test]
    fn a_sound_history_has_no_violation() {
        let report = check(&sound());
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        assert_eq!((report.required, report.delivered, report.accepted), (4, 4, 2));
    }

    #[test]
    fn a_duplicate_is_detected() {
        assert_eq!(broken(|history| push(history, What::Delivered(id(2)))), ["twice"]);
    }

    #[test]
    fn a_message_that_was_never_sent_is_detected() {
        assert_eq!(broken(|history| push(history, What::Delivered(id(3)))), ["sent"]);
        assert_eq!(broken(|history| history.sent[0].outcome = Outcome::Rejected), ["sent", "sent"]);
        assert_eq!(broken(|history| history.sent[0].channels = vec!["b".to_owned()]), ["sent", "sent"]);
        assert_eq!(broken(|history| history.sent[0].except = Some(1)), ["sent"]);
        let replayed = |history: &mut History| {
            history.sent[1].except = Some(0);
            history.connections[0].events[2].what = What::Replayed(id(2));
        };
        assert!(!broken(replayed).contains(&"sent"));
    }

    #[test]
    fn a_refused_message_may_arrive_only_if_a_fault_lost_the_answer() {
        let refuse = |history: &mut History| history.sent[0].outcome = Outcome::Refused(3_000_000);
        assert_eq!(broken(refuse), ["sent", "sent"]);
        let excused = |target| {
            broken(move |history| {
                refuse(history);
                history.windows.push(window(target, 2, 3));
            })
        };
        assert!(excused(Target::Link(0)).is_empty());
        assert!(excused(Target::Redis).is_empty());
        assert_eq!(excused(Target::Link(1)), ["sent", "sent"]);
        let frozen = broken(|history| {
            refuse(history);
            history.windows.push(Window { loses_answers: false, ..window(Target::Process(0), 1, 3) });
        });
        assert_eq!(frozen, ["sent", "sent"]);
    }

    #[test]
    fn two_orders_are_seen() {
        let swap = |history: &mut History| history.connections[1].events.swap(1, 2);
        let concurrent = broken(|history| {
            history.sent[1].at = history.sent[0].at;
            swap(history);
        });
        assert_eq!(concurrent, ["one order"]);
        assert_eq!(broken(swap), ["real-time order", "one order"]);
        let pipelined = broken(|history| {
            for sent in &mut history.sent {
                sent.connection = Some(5);
                sent.outcome = Outcome::Unknown;
            }
            for connection in &mut history.connections {
                connection.events.swap(1, 2);
            }
        });
        assert_eq!(pipelined, ["publisher's order", "publisher's order"]);
    }

    #[test]
    fn a_cycle_of_three_connections_is_seen() {
        let cycle = broken(|history| {
            history.sent.push(sent(3));
            for sent in &mut history.sent {
                sent.outcome = Outcome::Unknown;
            }
            history.connections =
                [[1, 2], [2, 3], [3, 1]].iter().map(|order| connection("z", order)).collect();
        });
        assert_eq!(cycle, ["one order"]);
    }

    #[test]
    fn an_order_across_channels_is_held_to_as_well() {
        let crossed = broken(|history| {
            history.sent[1].at = history.sent[0].at;
            for connection in &mut history.connections {
                connection.events[2].channel = "b".to_owned();
                connection.events.push(Event { at: 0, channel: "b".to_owned(), what: What::Joined(None) });
            }
            history.sent[0].channels = vec!["a".to_owned()];
            history.sent[1].channels = vec!["b".to_owned()];
            history.connections[1].events.swap(1, 2);
        });
        assert_eq!(crossed, ["one order"]);
    }

    #[test]
    fn a_missing_delivery_is_seen_unless_something_excuses_it() {
        let lose = |history: &mut History| _ = history.connections[0].events.pop();
        assert_eq!(broken(lose), ["required delivery"]);
        let excused = |excuse: &dyn Fn(&mut History)| {
            broken(|history| {
                lose(history);
                excuse(history);
            })
        };
        for target in [Target::Process(0), Target::Process(1), Target::Link(1), Target::Redis] {
            assert!(excused(&|history| history.windows.push(window(target, 3, 5))).is_empty());
        }
        // Of another node, too early, too late.
        for window in
            [window(Target::Process(2), 1, 5), window(Target::Redis, 0, 1), window(Target::Redis, 5, 6)]
        {
            let rules = excused(&|history| history.windows.push(window.clone()));
            assert_eq!(rules, ["required delivery"]);
        }
        assert!(excused(&|history| history.sent[1].outcome = Outcome::Unknown).is_empty());
        assert!(excused(&|history| history.sent[1].except = Some(0)).is_empty());
        assert!(excused(&|history| history.connections[0].events[0].at = 2_000_000).is_empty());
        assert!(
            excused(&|history| history.connections[0].ended = Some((3_000_000, Ending::Client))).is_empty()
        );
        assert!(excused(&|history| push(history, What::Replayed(id(2)))).is_empty());
        let left = Event { at: 3_000_000, channel: "a".to_owned(), what: What::Left };
        assert!(excused(&|history| history.connections[0].events.push(left.clone())).is_empty());
    }

    #[test]
    fn a_member_that_comes_or_goes_twice_is_seen() {
        let join = What::Joined(Some([7, 8].into()));
        let told = |events: &[What]| {
            broken(|history| {
                push(history, join.clone());
                for what in events {
                    push(history, what.clone());
                }
            })
        };
        assert!(told(&[What::Added(9), What::Removed(9), What::Removed(8), What::Added(8)]).is_empty());
        assert_eq!(told(&[What::Added(8)]), ["members"]);
        assert_eq!(told(&[What::Removed(8), What::Removed(8)]), ["members"]);
        assert_eq!(broken(|history| push(history, What::Joined(Some([8].into())))), ["members"]);
    }

    #[test]
    fn a_connection_that_ends_without_a_fault_of_its_node_is_seen() {
        let end = |history: &mut History| {
            history.connections[0].ended = Some((9_000_000, Ending::Server("1013".to_owned())));
        };
        assert_eq!(broken(end), ["closed"]);
        let excused = |target| {
            broken(move |history| {
                end(history);
                history.windows.push(window(target, 8, 10));
            })
        };
        assert_eq!(excused(Target::Redis), ["closed"]);
        assert!(excused(Target::Process(1)).is_empty());
    }

    #[test]
    fn ghosts_and_missing_members_are_seen() {
        let view = |members: &[u64]| NodeView {
            ready: true,
            connections: 2,
            members: [("presence-p".to_owned(), members.iter().copied().collect())].into(),
            subscriptions: [("presence-p".to_owned(), 2)].into(),
            caches: [("cache-c".to_owned(), Value::Null)].into(),
        };
        let ended = |change: &dyn Fn(&mut History)| {
            broken(|history| {
                for (connection, user) in history.connections.iter_mut().zip([7, 8]) {
                    connection.user = Some(user);
                    connection.socket_id = Some("1.1".to_owned());
                    connection.events.push(Event {
                        at: 9_000_000,
                        channel: "presence-p".to_owned(),
                        what: What::Joined(Some([7, 8].into())),
                    });
                }
                history.finals = vec![view(&[7, 8]), view(&[7, 8])];
                change(history);
            })
        };
        assert!(ended(&|_| ()).is_empty());
        assert_eq!(ended(&|history| history.finals[1] = view(&[7, 8, 9])), ["end"]);
        assert_eq!(ended(&|history| history.finals[1] = view(&[7])), ["end"]);
        assert_eq!(ended(&|history| history.finals[1].connections = 3), ["end"]);
        assert_eq!(ended(&|history| history.finals[1].ready = false), ["end"]);
        assert_eq!(
            ended(&|history| _ = history.finals[1].subscriptions.insert("presence-p".into(), 1)),
            ["end"]
        );
        assert_eq!(
            ended(&|history| _ = history.finals[1].caches.insert("cache-c".into(), 1.into())),
            ["end"]
        );
        let added = Event { at: 9_000_001, channel: "presence-p".to_owned(), what: What::Added(9) };
        assert_eq!(ended(&|history| history.connections[1].events.push(added.clone())), ["end"]);
        let open = Window { to: None, ..window(Target::Redis, 8, 9) };
        assert_eq!(ended(&|history| history.windows.push(open.clone())), ["end"]);
        assert_eq!(ended(&|history| history.notes.push("a panic".to_owned())), ["conduct"]);
    }
}
