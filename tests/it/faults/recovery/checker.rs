//! Compares what the pages received with what was sent, and reports violations.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use super::super::history::{MessageId, Micros, seconds};
use super::super::schedule::NODES;
use super::record::{Level, Outcome, Page, Position, Record, Route, Sent, Target, What};
use super::view::{Receipt, Told, View};

const SECOND: Micros = 1_000_000;

/// What a busy machine may add to any time.
pub(super) const SLACK: Micros = 2 * SECOND;

/// How long nodes wait for one that has gone before they store a plain `PUBLISH` instead.
const PLAIN_WAITS: Micros = 4 * SECOND;

/// What an unmodified page may receive twice: what came within this time before its connection ended.
const REPEATED: Micros = SECOND;

/// How much longer that is where the node was killed: since its last sign of life, which is one a second, less two seconds.
const REPEATED_AFTER_KILL: Micros = 3 * SECOND;

/// How long before the end of a connection its node may have subscribed it without having written that.
const UNWRITTEN: Micros = SECOND;

/// A violation, with the part of the record that shows it.
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
    /// Acknowledged, so that each page was due to receive it.
    pub(super) acknowledged: usize,
    pub(super) received: usize,
    /// Deliveries that were due.
    pub(super) due: usize,
    /// Those that a gap stands for.
    pub(super) covered: usize,
    pub(super) gaps: usize,
    pub(super) recovered: usize,
    pub(super) sessions_lost: usize,
    pub(super) connections: usize,
    /// Received twice by unmodified pages.
    pub(super) repeated: usize,
    /// How long before the end of a connection such a message had come, at most.
    pub(super) longest_repeat: Micros,
    /// Acknowledged messages by route.
    pub(super) routes: BTreeMap<Route, usize>,
}

impl Report {
    pub(super) fn add(&mut self, other: Self) {
        self.violations.extend(other.violations);
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.received += other.received;
        self.due += other.due;
        self.covered += other.covered;
        self.gaps += other.gaps;
        self.recovered += other.recovered;
        self.sessions_lost += other.sessions_lost;
        self.connections += other.connections;
        self.repeated += other.repeated;
        self.longest_repeat = self.longest_repeat.max(other.longest_repeat);
        for (route, count) in other.routes {
            *self.routes.entry(route).or_default() += count;
        }
    }
}

/// Looks at everything.
pub(super) fn check(record: &Record) -> Report {
    let mut checker = Checker::new(record);
    checker.only_what_was_sent_is_received();
    checker.nothing_is_received_twice();
    checker.everybody_sees_one_order();
    checker.accepted_before_comes_before();
    checker.positions_identify_messages();
    checker.positions_have_no_holes();
    checker.what_is_acknowledged_arrives();
    checker.gaps_have_a_reason();
    checker.sessions_are_resumed();
    checker.signatures_are_used_again();
    checker.members_stay();
    checker.all_ends_well();
    checker.report
}

struct Checker<'a> {
    record: &'a Record,
    sent: HashMap<MessageId, &'a Sent>,
    /// Where each message is, as pages were told.
    positions: HashMap<(MessageId, &'a str), &'a Position>,
    /// Each page on each of its channels.
    views: Vec<View<'a>>,
    report: Report,
}

impl<'a> Checker<'a> {
    fn new(record: &'a Record) -> Self {
        let mut report = Report { sent: record.sent.len(), ..Report::default() };
        let mut views = Vec::new();
        for (number, page) in record.pages.iter().enumerate() {
            for event in &page.events {
                match &event.what {
                    What::Connected { .. } => report.connections += 1,
                    What::Recovered { .. } => report.recovered += 1,
                    What::Message { .. } => report.received += 1,
                    _ => {}
                }
            }
            views.extend(page.channels.iter().map(|channel| View::new(number, record, channel)));
        }
        report.gaps = views.iter().map(|view| view.gaps.len()).sum();
        let mut positions = HashMap::new();
        for view in &views {
            for receipt in &view.receipts {
                if let Some(position) = receipt.position {
                    positions.entry((receipt.id, view.channel)).or_insert(position);
                }
            }
        }
        let sent = record.sent.iter().map(|sent| (sent.id, sent)).collect();
        Self { record, sent, positions, views, report }
    }

    fn only_what_was_sent_is_received(&mut self) {
        let mut wrong = Vec::new();
        for (number, page) in self.record.pages.iter().enumerate() {
            for event in &page.events {
                let What::Message { channel, id, .. } = &event.what else { continue };
                let reason = match self.sent.get(id) {
                    None => "it was never sent",
                    Some(sent) if !sent.channels.contains(channel) => "it is of another channel",
                    Some(sent) if sent.leaves_out(number, page.socket_id(event.at)) => {
                        "this page is left out"
                    }
                    Some(sent) => match sent.outcome {
                        Outcome::Rejected => "it was rejected",
                        Outcome::Refused(at) if !self.loses_answer(sent, at) => "it was refused",
                        _ => continue,
                    },
                };
                wrong.push((number, *id, format!("{} received {id} on {channel}: {reason}", page.name)));
            }
        }
        for (page, id, text) in wrong {
            self.violation("sent", &text, &[id], &[page]);
        }
    }

    fn nothing_is_received_twice(&mut self) {
        let mut wrong = Vec::new();
        for view in &self.views {
            let mut last: HashMap<MessageId, &Receipt<'_>> = HashMap::new();
            for receipt in &view.receipts {
                let Some(before) = last.insert(receipt.id, receipt) else { continue };
                let id = receipt.id;
                if self.may_be_stored_twice(id) {
                    continue;
                }
                let (page, channel) = (&view.page.name, view.channel);
                if view.page.level != Level::Unmodified || before.connection == receipt.connection {
                    wrong.push((view.number, id, format!("{page} received {id} on {channel} twice")));
                    continue;
                }
                let ended = view.ends.get(before.connection).copied().unwrap_or(before.at);
                let age = ended.saturating_sub(before.at);
                self.report.repeated += 1;
                self.report.longest_repeat = self.report.longest_repeat.max(age);
                let limit = self.repeated_limit(view, before.told(), receipt.told());
                if age > limit {
                    let text = format!(
                        "{page} received {id} on {channel} again, {} s before its connection ended",
                        seconds(age)
                    );
                    wrong.push((view.number, id, text));
                }
            }
        }
        for (page, id, text) in wrong {
            self.violation("twice", &text, &[id], &[page]);
        }
    }

    /// How old a message or a gap may be that a page receives twice. Where the line or the node stood still, its answer did too.
    fn repeated_limit(&self, view: &View<'_>, before: Told, again: Told) -> Micros {
        let ended = view.ends.get(before.connection).copied().unwrap_or(before.at);
        let mut limit = REPEATED + SLACK;
        for of in &self.record.disturbances {
            let touches = match of.target {
                Target::Line(page) => page == view.number,
                Target::Killed(_) | Target::Frozen(_) => {
                    before.node.is_some_and(|node| of.target.touches(node))
                }
                Target::Lines | Target::Redis | Target::Store => true,
                Target::Stopped(_) | Target::Link(_) | Target::Overflow(_) => {
                    before.node.is_some_and(|node| of.target.touches(node))
                }
            };
            if touches && of.overlaps(before.at, again.at) {
                let lasted = of.healed.unwrap_or(again.at).min(again.at).saturating_sub(of.from);
                let killed = matches!(of.target, Target::Killed(_)) && of.overlaps(before.at, ended + SLACK);
                // So it is where the page comes back to another node, and its own has not reached Redis meanwhile.
                let is_cut_off = matches!(of.target, Target::Redis | Target::Store | Target::Link(_))
                    && before.node != again.node
                    && of.overlaps(before.at, ended + SLACK);
                limit += lasted + if killed || is_cut_off { REPEATED_AFTER_KILL } else { 0 };
            }
        }
        limit
    }

    /// On each channel there is one order that no page contradicts.
    fn everybody_sees_one_order(&mut self) {
        let channels: BTreeSet<&str> = self.views.iter().map(|view| view.channel).collect();
        for channel in channels {
            let views: Vec<usize> =
                (0..self.views.len()).filter(|view| self.views[*view].channel == channel).collect();
            let orders: Vec<Vec<MessageId>> =
                views.iter().map(|view| self.stored_once(self.views[*view].firsts())).collect();
            let Some(cyclic) = cycle(&orders) else { continue };
            let pages: Vec<usize> = views.iter().map(|view| self.views[*view].number).collect();
            let (text, ids, pages) =
                if let Some((one, other, first, second)) = contradiction(&orders, &cyclic) {
                    let names = [one, other].map(|of| self.record.pages[pages[of]].name.as_str());
                    let text = format!(
                        "{} received {first} before {second} on {channel}, and {} the other way round",
                        names[0], names[1]
                    );
                    (text, vec![first, second], vec![pages[one], pages[other]])
                } else {
                    (
                        format!("no order on {channel} fits all pages"),
                        cyclic.iter().copied().take(8).collect(),
                        pages,
                    )
                };
            self.violation("one order", &text, &ids, &pages);
        }
    }

    /// A message that was stored before another one was sent comes before it, and what a publisher publishes keeps its order.
    fn accepted_before_comes_before(&mut self) {
        let mut wrong = Vec::new();
        for view in &self.views {
            let mut latest: Option<&Sent> = None;
            let mut last: HashMap<u16, MessageId> = HashMap::new();
            for id in self.stored_once(view.firsts()) {
                let Some(sent) = self.sent.get(&id).copied() else { continue };
                let name = &view.page.name;
                if let (Outcome::Accepted(at), Some(latest), true) =
                    (sent.outcome, latest, sent.route.is_direct())
                    && at < latest.at
                {
                    let text = format!(
                        "{name} received {} before {id}, stored before the other was sent",
                        latest.id
                    );
                    wrong.push((view.number, vec![id, latest.id], text));
                }
                if latest.is_none_or(|latest| latest.at < sent.at) {
                    latest = Some(sent);
                }
                // A publisher that waits for each answer is covered above. What is published with `PUBLISH` while the node that
                // stores it ends is stored by another one, later.
                if !sent.route.is_direct()
                    && (sent.route == Route::Ingest || self.is_calm_around(sent))
                    && let Some(before) = last.insert(id.publisher, id)
                    && before.number > id.number
                {
                    let text = format!("{name} received {before} before {id} of the same publisher");
                    wrong.push((view.number, vec![id, before], text));
                }
            }
        }
        for (page, ids, text) in wrong {
            self.violation("order", &text, &ids, &[page]);
        }
    }

    /// A position is that of one message for all pages, and a message has one position.
    fn positions_identify_messages(&mut self) {
        let mut messages: HashMap<(&str, &Position), (MessageId, usize)> = HashMap::new();
        let mut wrong = Vec::new();
        for view in &self.views {
            for receipt in &view.receipts {
                let Some(position) = receipt.position else { continue };
                let (id, first) =
                    *messages.entry((view.channel, position)).or_insert((receipt.id, view.number));
                if id != receipt.id {
                    let text = format!("{id} and {} are both at {position} of {}", receipt.id, view.channel);
                    wrong.push((vec![first, view.number], vec![id, receipt.id], text));
                }
                let known = self.positions[&(receipt.id, view.channel)];
                if known != position && !self.may_be_stored_twice(receipt.id) {
                    let text = format!("{} is at {known} and at {position} of {}", receipt.id, view.channel);
                    wrong.push((vec![view.number], vec![receipt.id], text));
                }
            }
        }
        for (pages, ids, text) in wrong {
            self.violation("position", &text, &ids, &pages);
        }
    }

    /// Positions that a page sees follow one another, except where it is told of a gap or left out; an epoch does not come back.
    fn positions_have_no_holes(&mut self) {
        let mut excluded: HashMap<(&str, &Position), &Sent> = HashMap::new();
        for ((id, channel), position) in &self.positions {
            if let Some(sent) = self.sent.get(id).filter(|sent| sent.except.is_some()) {
                excluded.insert((*channel, *position), *sent);
            }
        }
        let placed: HashSet<(&str, &Position)> =
            self.positions.iter().map(|((_, channel), position)| (*channel, *position)).collect();
        let mut wrong = Vec::new();
        for view in &self.views {
            let mut epochs: Vec<&str> = Vec::new();
            let mut last: Option<&Receipt<'_>> = None;
            // Messages that leave this page out, and whose positions no other page has seen.
            let unplaced = self.record.sent.iter().filter(|sent| {
                may_be_left_out(view, sent)
                    && sent.channels.iter().any(|channel| channel == view.channel)
                    && !self.positions.contains_key(&(sent.id, view.channel))
            });
            let mut unplaced = unplaced.count();
            for receipt in view.receipts.iter().filter(|receipt| receipt.position.is_some()) {
                let (Some(position), before) = (receipt.position, last.replace(receipt)) else { continue };
                let name = &view.page.name;
                if epochs.last().is_none_or(|epoch| *epoch != position.epoch) {
                    if epochs.contains(&position.epoch.as_str()) {
                        let text =
                            format!("{name}: {} went back to an earlier epoch at {position}", view.channel);
                        wrong.push((view.number, vec![receipt.id], text));
                    }
                    epochs.push(&position.epoch);
                }
                let Some((before, Some(from))) = before.map(|before| (before, before.position)) else {
                    continue;
                };
                if from.epoch != position.epoch || view.has_gap(before.index, receipt.index) {
                    continue;
                }
                let is_next = position.offset == from.offset + 1;
                let is_excused = (from.offset + 1..position.offset).all(|offset| {
                    let between = Position { epoch: from.epoch.clone(), offset };
                    if let Some(sent) = excluded.get(&(view.channel, &between)) {
                        return may_be_left_out(view, sent);
                    }
                    let is_one_of_them = unplaced > 0 && !placed.contains(&(view.channel, &between));
                    unplaced -= usize::from(is_one_of_them);
                    is_one_of_them
                });
                if position.offset <= from.offset || (!is_next && !is_excused) {
                    let text = format!("{name}: {position} came after {from} on {}", view.channel);
                    wrong.push((view.number, vec![before.id, receipt.id], text));
                }
            }
        }
        for (page, ids, text) in wrong {
            self.violation("hole", &text, &ids, &[page]);
        }
    }

    /// Each page on a channel receives what was acknowledged, or is told of a gap that may stand for it.
    fn what_is_acknowledged_arrives(&mut self) {
        let mut wrong = Vec::new();
        let received: Vec<HashSet<MessageId>> = self.views.iter().map(View::ids).collect();
        for sent in &self.record.sent {
            if !self.is_acknowledged(sent) {
                continue;
            }
            self.report.acknowledged += 1;
            *self.report.routes.entry(sent.route).or_default() += 1;
            for (view, received) in self.views.iter().zip(&received) {
                let is_due = sent.channels.iter().any(|channel| channel == view.channel)
                    && !may_be_left_out(view, sent)
                    && view.since.is_some_and(|since| since < sent.at);
                if !is_due {
                    continue;
                }
                self.report.due += 1;
                if received.contains(&sent.id) {
                    continue;
                }
                if self.is_covered(view, sent) {
                    self.report.covered += 1;
                    continue;
                }
                let text = format!("{} did not receive {} on {}", view.page.name, sent.id, view.channel);
                wrong.push((view.number, sent.id, text));
            }
        }
        for (page, id, text) in wrong {
            self.violation("lost", &text, &[id], &[page]);
        }
    }

    /// Whether the publisher has reason to believe that a message is stored.
    ///
    /// `PUBLISH` alone proves nothing: at least one node must have been listening and undisturbed until it has stored the message,
    /// and for a topic of Laravel's redis driver it must have had a page on the channel all the time.
    fn is_acknowledged(&self, sent: &Sent) -> bool {
        let Outcome::Accepted(at) = sent.outcome else { return false };
        let (from, to) = (sent.at.saturating_sub(SLACK), at + SLACK);
        match sent.route {
            Route::Http | Route::HttpRetried | Route::Native | Route::NativeRetried | Route::Ingest => true,
            Route::Broadcast => self.record.has_calm_node(from, to + PLAIN_WAITS),
            Route::Driver => self
                .views
                .iter()
                .filter(|view| sent.channels.contains(&view.channel.to_owned()))
                .any(|view| {
                    view.stays.iter().any(|stay| {
                        stay.from <= from
                            && stay.to >= to + PLAIN_WAITS
                            && stay.node.is_some_and(|node| self.record.is_calm(node, from, to + PLAIN_WAITS))
                    })
                }),
        }
    }

    /// Whether one of the gaps that a page was told of may be where the message was.
    fn is_covered(&self, view: &View<'_>, sent: &Sent) -> bool {
        let position = self.positions.get(&(sent.id, view.channel)).copied();
        view.gaps.iter().any(|gap| {
            // What is stored twice has two places.
            let mut placed = view.receipts.iter().filter(|receipt| !self.may_be_stored_twice(receipt.id));
            let before = placed.clone().rfind(|receipt| receipt.index < gap.index);
            let after = placed.find(|receipt| receipt.index >= gap.index);
            let is_after = before.is_none_or(|before| self.may_follow(view.channel, sent, position, before));
            let is_before = after.is_none_or(|after| self.may_precede(view.channel, sent, position, after))
                && sent.at <= gap.at + SLACK;
            is_after && is_before
        })
    }

    fn may_follow(
        &self,
        channel: &str,
        sent: &Sent,
        position: Option<&Position>,
        before: &Receipt<'_>,
    ) -> bool {
        match (position, self.positions.get(&(before.id, channel))) {
            (Some(position), Some(before)) if position.epoch == before.epoch => {
                position.offset > before.offset
            }
            _ => self.sent.get(&before.id).is_none_or(|before| match sent.outcome {
                // Others are stored later than the publisher is told.
                Outcome::Accepted(at) if sent.route.is_direct() => at + SLACK >= before.at,
                _ => true,
            }),
        }
    }

    fn may_precede(
        &self,
        channel: &str,
        sent: &Sent,
        position: Option<&Position>,
        after: &Receipt<'_>,
    ) -> bool {
        match (position, self.positions.get(&(after.id, channel))) {
            (Some(position), Some(after)) if position.epoch == after.epoch => position.offset < after.offset,
            _ => self.sent.get(&after.id).is_none_or(|after| match after.outcome {
                Outcome::Accepted(at) if after.route.is_direct() => sent.at <= at + SLACK,
                _ => true,
            }),
        }
    }

    /// A page is told of a gap only if the store has lost something, if too much or too old was missed, or if Redis was out of reach.
    fn gaps_have_a_reason(&mut self) {
        let mut wrong = Vec::new();
        for view in &self.views {
            for gap in &view.gaps {
                let (node, to) = (gap.node, gap.at);
                // What the page has read last may have been on its way for long.
                let read = view.receipts.iter().rfind(|receipt| receipt.index < gap.index);
                let read = read.and_then(|receipt| self.sent.get(&receipt.id)).map(|sent| sent.at);
                let read = read.map_or(gap.since, |read| read.min(gap.since));
                // So may the gap, behind that, on a line that stands still.
                let is_late = self.record.disturbances.iter().any(|of| {
                    matches!(of.target, Target::Line(page) if page == view.number) && of.overlaps(read, to)
                });
                let from = if is_late { read } else { gap.since }.saturating_sub(SLACK);
                let kept = self.record.kept.get(view.channel);
                let missed = self.record.sent.iter().filter(|sent| {
                    sent.at >= read.saturating_sub(SLACK)
                        && sent.at <= to
                        && sent.channels.iter().any(|channel| channel == view.channel)
                });
                let is_too_much = kept.is_some_and(|kept| missed.count() >= kept.messages);
                let is_too_old = kept.is_some_and(|kept| to - read + SLACK >= kept.age);
                let is_forgotten =
                    view.page.level == Level::Unmodified && to - gap.since + SLACK >= self.record.window;
                let is_unreadable = node.is_none_or(|node| !self.record.reaches_store(node, from, to));
                // The node may have subscribed the page at the end of its connection without being able to write it.
                let may_be_unwritten = view.unwritten_on(gap.index).iter().any(|(node, from, end)| {
                    let from = end.saturating_sub(UNWRITTEN + SLACK).max(*from);
                    node.is_none_or(|node| !self.record.reaches_store(node, from, end.saturating_add(SLACK)))
                });
                // It may resume a connection that it has not noticed, because it was busy: that one was open at any time before, on any node.
                let follows_unnoticed = gap.connection == 0
                    && (self.record.is_lost(0, to)
                        || (0..NODES).any(|node| !self.record.reaches_store(node, 0, to)));
                // What the page has not proven to know is said again.
                let is_repeated = view.page.level == Level::Unmodified
                    && view.gaps.iter().any(|before| {
                        let ended = view.ends.get(before.connection).copied();
                        let limit = self.repeated_limit(view, before.told(), gap.told());
                        before.connection < gap.connection
                            && ended.is_some_and(|ended| ended.saturating_sub(before.at) <= limit)
                    });
                if !(self.record.is_lost(from, to)
                    || is_repeated
                    || is_too_much
                    || is_too_old
                    || is_forgotten
                    || is_unreadable
                    || may_be_unwritten
                    || follows_unnoticed)
                {
                    let text = format!(
                        "{} was told of a gap on {} at {}",
                        view.page.name,
                        view.channel,
                        seconds(to)
                    );
                    wrong.push((view.number, view.around(gap.index), text));
                }
            }
        }
        for (page, ids, text) in wrong {
            self.violation("gap", &text, &ids, &[page]);
        }
    }

    /// An unmodified page that comes back within the window has its session, unless what Redis has of it may be lost.
    fn sessions_are_resumed(&mut self) {
        let mut wrong = Vec::new();
        for (number, page) in self.record.pages.iter().enumerate() {
            // The id of the session, when it began, and when its last connection ended.
            let mut last: Option<&Option<String>> = None;
            // Without a channel there is nothing to resume.
            let (mut began, mut ended, mut has_channels) = (0, None, false);
            for event in &page.events {
                match &event.what {
                    What::Connected { node, socket_id } => {
                        let Some(id) = last.replace(socket_id) else {
                            began = event.at;
                            continue;
                        };
                        if id == socket_id {
                            continue;
                        }
                        if !std::mem::take(&mut has_channels) {
                            began = event.at;
                            continue;
                        }
                        self.report.sessions_lost += 1;
                        let away = event.at - ended.unwrap_or(event.at);
                        let is_excused = away + SLACK >= self.record.window
                            || self.record.is_lost(began, event.at)
                            || !node.is_some_and(|node| {
                                self.record.reaches_store(node, event.at - SLACK, event.at)
                            });
                        if !is_excused {
                            let text = format!(
                                "{} came back at {} and lost its session",
                                page.name,
                                seconds(event.at)
                            );
                            wrong.push((number, text));
                        }
                        began = event.at;
                    }
                    What::Subscribed { .. } => has_channels = true,
                    What::Disconnected(_) => ended = Some(event.at),
                    _ => {}
                }
            }
        }
        for (page, text) in wrong {
            self.violation("session", &text, &[], &[page]);
        }
    }

    /// A page with the plugin asks the application only once for each channel and session.
    fn signatures_are_used_again(&mut self) {
        let mut wrong = Vec::new();
        for (number, page) in
            self.record.pages.iter().enumerate().filter(|(_, page)| page.level == Level::Plugin)
        {
            let sessions = page.sessions();
            let mut asked: HashMap<&str, usize> = HashMap::new();
            for event in &page.events {
                match &event.what {
                    What::Authorized { channel } => *asked.entry(channel).or_default() += 1,
                    // It may be the signature that was wrong.
                    What::Refused { channel, .. } => {
                        let count = asked.entry(channel).or_default();
                        *count = count.saturating_sub(1);
                    }
                    _ => {}
                }
            }
            for (channel, count) in asked {
                if count > sessions {
                    let text =
                        format!("{} asked {count} times for {channel} in {} sessions", page.name, sessions);
                    wrong.push((number, text));
                }
            }
        }
        for (page, text) in wrong {
            self.violation("signature", &text, &[], &[page]);
        }
    }

    /// No member is reported gone that comes back within the window.
    fn members_stay(&mut self) {
        let mut wrong = Vec::new();
        for (number, page) in self.record.pages.iter().enumerate() {
            for event in &page.events {
                let What::Removed { channel, user } = &event.what else { continue };
                let is_excused = self.record.pages.iter().any(|other| {
                    other.user == *user
                        && other.channels.contains(channel)
                        && self.may_be_gone(other, channel, event.at)
                });
                if !is_excused {
                    let text = format!(
                        "{} was told at {} that {user} has left {channel}",
                        page.name,
                        seconds(event.at)
                    );
                    wrong.push((number, text));
                }
            }
        }
        for (page, text) in wrong {
            self.violation("members", &text, &[], &[page]);
        }
    }

    /// Whether a page had been away for long, or what the nodes know of it may have been lost.
    fn may_be_gone(&self, page: &Page, channel: &str, at: Micros) -> bool {
        // The nodes remove a node that is silent after 15 seconds.
        let patience = self.record.window.min(13 * SECOND).saturating_sub(SLACK);
        let (mut has_subscribed, mut away_since) = (false, None);
        for event in page.events.iter().take_while(|event| event.at <= at) {
            match &event.what {
                What::Subscribed { channel: of, .. } if of == channel => {
                    (has_subscribed, away_since) = (true, None);
                }
                What::Disconnected(_) => away_since = away_since.or(Some(event.at)),
                _ => {}
            }
        }
        // A connection that ends before its first subscription has succeeded ends that as well.
        !has_subscribed
            || away_since.is_some_and(|since| at - since >= patience)
            || self.record.disturbances.iter().any(|of| {
                matches!(of.target, Target::Redis | Target::Store | Target::Link(_) | Target::Frozen(_))
                    && of.overlaps(at.saturating_sub(20 * SECOND), at)
            })
    }

    /// All is well again at the end, and the last messages have come.
    fn all_ends_well(&mut self) {
        let record = self.record;
        for of in record.disturbances.iter().filter(|of| of.to.is_none()) {
            self.violation("end", &format!("{:?} did not recover from: {}", of.target, of.fault), &[], &[]);
        }
        let marks: HashSet<MessageId> = record.marks.iter().copied().collect();
        if !marks.is_empty() {
            let unmarked: Vec<(usize, String)> = self
                .views
                .iter()
                .filter(|view| {
                    let is_received = view.receipts.iter().any(|receipt| marks.contains(&receipt.id));
                    let mut marks = record.sent.iter().filter(|sent| {
                        marks.contains(&sent.id)
                            && sent.channels.iter().any(|channel| channel == view.channel)
                    });
                    let mut is_missed = || marks.any(|mark| view.gaps.iter().any(|gap| gap.at >= mark.at));
                    !is_received && !is_missed()
                })
                .map(|view| {
                    let text =
                        format!("{} received no message on {} at the end", view.page.name, view.channel);
                    (view.number, text)
                })
                .collect();
            for (page, text) in unmarked {
                self.violation("end", &text, &[], &[page]);
            }
        }
        for note in &record.notes {
            self.violation("conduct", note, &[], &[]);
        }
    }

    /// Without those that may be stored twice.
    fn stored_once(&self, ids: Vec<MessageId>) -> Vec<MessageId> {
        ids.into_iter().filter(|id| !self.may_be_stored_twice(*id)).collect()
    }

    /// A store that is lost forgets which keys it has seen: what was published around that time may be stored twice. So may a plain
    /// `PUBLISH` while one node has just lost Redis and another one has just found it.
    fn may_be_stored_twice(&self, id: MessageId) -> bool {
        let Some(sent) = self.sent.get(&id) else { return false };
        if matches!(sent.route, Route::Broadcast | Route::Driver) {
            let (from, to) = (sent.at.saturating_sub(5 * SECOND), sent.at + 5 * SECOND);
            let disturbed = (0..NODES).filter(|node| !self.record.is_calm(*node, from, to)).count();
            if disturbed > 1 {
                return true;
            }
        }
        let to = match sent.outcome {
            Outcome::Accepted(at) | Outcome::Refused(at) => at + SLACK,
            Outcome::Rejected | Outcome::Unknown => sent.at + 10 * SECOND,
        };
        sent.route != Route::Http && sent.route != Route::Native && self.record.is_lost(sent.at, to)
    }

    /// Whether all nodes are undisturbed while a message is stored.
    fn is_calm_around(&self, sent: &Sent) -> bool {
        let (from, to) = (sent.at.saturating_sub(5 * SECOND), sent.at + SLACK);
        (0..NODES).all(|node| self.record.is_calm(node, from, to))
    }

    fn loses_answer(&self, sent: &Sent, at: Micros) -> bool {
        sent.node.is_some_and(|node| !self.record.is_calm(node, sent.at, at))
    }

    fn violation(&mut self, rule: &'static str, text: &str, ids: &[MessageId], pages: &[usize]) {
        let text = format!("{text}\n{}", evidence(self.record, ids, pages));
        self.report.violations.push(Violation { rule, text });
    }
}

/// Whether a page is not due to receive a message that leaves it out, or one of its earlier sessions.
fn may_be_left_out(view: &View<'_>, sent: &Sent) -> bool {
    sent.except.as_ref().is_some_and(|(page, _)| *page == view.number)
}

/// The messages that no order can have, if there are any.
fn cycle(orders: &[Vec<MessageId>]) -> Option<BTreeSet<MessageId>> {
    let mut after: BTreeMap<MessageId, BTreeSet<MessageId>> = BTreeMap::new();
    let mut before: BTreeMap<MessageId, usize> = BTreeMap::new();
    for pair in orders.iter().flat_map(|order| order.windows(2)) {
        if after.entry(pair[0]).or_default().insert(pair[1]) {
            *before.entry(pair[1]).or_default() += 1;
        }
    }
    let mut ready: Vec<MessageId> = after.keys().filter(|id| !before.contains_key(id)).copied().collect();
    while let Some(id) = ready.pop() {
        for next in after.remove(&id).unwrap_or_default() {
            let left = before.get_mut(&next).expect("counted above");
            *left -= 1;
            if *left == 0 {
                before.remove(&next);
                ready.push(next);
            }
        }
    }
    (!before.is_empty()).then(|| before.into_keys().collect())
}

/// Two orders that contradict each other, and in which messages.
fn contradiction(
    orders: &[Vec<MessageId>],
    cyclic: &BTreeSet<MessageId>,
) -> Option<(usize, usize, MessageId, MessageId)> {
    let places: Vec<HashMap<MessageId, usize>> =
        orders.iter().map(|order| order.iter().copied().zip(0..).collect()).collect();
    for (one, order) in orders.iter().enumerate() {
        let order: Vec<MessageId> = order.iter().copied().filter(|id| cyclic.contains(id)).collect();
        for pair in order.windows(2) {
            for (other, places) in places.iter().enumerate().skip(one + 1) {
                if let (Some(first), Some(second)) = (places.get(&pair[0]), places.get(&pair[1]))
                    && first > second
                {
                    return Some((one, other, pair[0], pair[1]));
                }
            }
        }
    }
    None
}

/// The messages of a violation, what the pages received around them, and the faults of that time.
fn evidence(record: &Record, ids: &[MessageId], pages: &[usize]) -> String {
    let mut text = String::new();
    let mut times: Vec<Micros> = Vec::new();
    for sent in record.sent.iter().filter(|sent| ids.contains(&sent.id)) {
        times.push(sent.at);
        let outcome = match sent.outcome {
            Outcome::Accepted(at) => format!("accepted at {}", seconds(at)),
            Outcome::Refused(at) => format!("refused at {}", seconds(at)),
            other => format!("{other:?}"),
        };
        let node = sent.node.map_or("Redis".to_owned(), |node| format!("node {node}"));
        let (at, id, route, channels) = (seconds(sent.at), sent.id, sent.route.name(), &sent.channels);
        writeln!(text, "    {at} {id} by {route} to {node} for {channels:?}: {outcome}").unwrap();
    }
    for &page in pages.iter().take(4) {
        let page = &record.pages[page];
        writeln!(text, "    {} ({:?}, user {})", page.name, page.level, page.user).unwrap();
        let is_one = |what: &What| matches!(what, What::Message { id, .. } if ids.contains(id));
        let hits: Vec<usize> =
            (0..page.events.len()).filter(|index| is_one(&page.events[*index].what)).collect();
        times.extend(hits.iter().map(|index| page.events[*index].at));
        let last = times.iter().max().copied().unwrap_or_default();
        for (index, event) in page.events.iter().enumerate() {
            let is_near = hits.iter().any(|hit| hit.abs_diff(index) <= 3);
            let is_message = matches!(event.what, What::Message { .. });
            let is_in_time =
                times.iter().any(|time| event.at + 5 * SECOND >= *time) && event.at <= last + 10 * SECOND;
            if is_near || (!is_message && is_in_time) {
                writeln!(text, "      {event}").unwrap();
            }
        }
    }
    if let (Some(from), Some(to)) = (times.iter().min(), times.iter().max()) {
        for of in &record.disturbances {
            if of.overlaps(from.saturating_sub(10 * SECOND), to + 5 * SECOND) {
                let times =
                    [of.from, of.healed.unwrap_or(Micros::MAX), of.to.unwrap_or(Micros::MAX)].map(seconds);
                writeln!(
                    text,
                    "    fault {} from {}, over at {}, recovered at {}",
                    of.fault, times[0], times[1], times[2]
                )
                .unwrap();
            }
        }
    }
    text
}

mod tests {
    use super::super::record::{Disturbance, Event, Kept};
    use super::*;

    fn id(number: u32) -> MessageId {
        MessageId { publisher: 1, number }
    }

    /// Sent at `number` seconds and accepted 0.1 seconds later.
    fn sent(number: u32) -> Sent {
        let at = Micros::from(number) * SECOND;
        let outcome = Outcome::Accepted(at + 100_000);
        let (channels, node, except) = (vec!["a".to_owned()], Some(0), None);
        Sent { id: id(number), route: Route::Http, channels, node, except, at, outcome }
    }

    fn place(epoch: &str, offset: u64) -> Position {
        Position { epoch: epoch.to_owned(), offset }
    }

    fn channel() -> String {
        "a".to_owned()
    }

    /// Received at `tenths`, at the position of its number.
    fn message(tenths: u64, number: u32) -> Event {
        let position = Some(place("e", number.into()));
        Event { at: tenths * 100_000, what: What::Message { channel: channel(), id: id(number), position } }
    }

    fn at(tenths: u64, what: What) -> Event {
        Event { at: tenths * 100_000, what }
    }

    fn subscribed(fresh: bool) -> What {
        What::Subscribed { channel: channel(), fresh }
    }

    fn connected() -> What {
        What::Connected { node: Some(1), socket_id: Some("1.1".to_owned()) }
    }

    fn gone() -> What {
        What::Disconnected("1006".to_owned())
    }

    fn gap() -> What {
        What::Gap { channel: channel() }
    }

    /// Received 1 to 5, was cut, and came back, when it received 6 to 9.
    fn page(level: Level) -> Page {
        let mut events = vec![at(0, connected()), at(1, subscribed(true))];
        events.extend((1..=5).map(|number| message(u64::from(number) * 10 + 1, number)));
        events.extend([at(52, gone()), at(70, connected()), at(71, subscribed(false)), message(72, 6)]);
        events.extend((7..=9).map(|number| message(u64::from(number) * 10 + 5, number)));
        Page { name: format!("{level:?}"), level, user: "7".to_owned(), channels: vec![channel()], events }
    }

    const SIXTH: usize = 10;

    /// Nine messages, on two pages that were away for the sixth.
    fn sound() -> Record {
        Record {
            sent: (1..=9).map(sent).collect(),
            pages: vec![page(Level::Native), page(Level::Unmodified)],
            kept: [(channel(), Kept { messages: 100, age: 60 * SECOND })].into(),
            window: 60 * SECOND,
            ..Record::default()
        }
    }

    fn disturb(record: &mut Record, target: Target, from: u64, to: u64) {
        let (from, to) = (from * SECOND, Some(to * SECOND));
        record.disturbances.push(Disturbance { target, fault: "f".to_owned(), from, healed: to, to });
    }

    fn broken(change: impl FnOnce(&mut Record)) -> Vec<&'static str> {
        let mut record = sound();
        change(&mut record);
        let mut rules: Vec<&str> = check(&record).violations.iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }

    const NONE: [&str; 0] = [];

    /// A page receives the third and the fourth message the other way round.
    fn swap(record: &mut Record, page: usize) {
        for event in &mut record.pages[page].events {
            let What::Message { id: of, position, .. } = &mut event.what else { continue };
            *position = None;
            *of = match of.number {
                3 => id(4),
                4 => id(3),
                _ => *of,
            };
        }
    }

    #[test]
    fn a_sound_record_has_no_violation() {
        let report = check(&sound());
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        assert_eq!((report.due, report.received, report.acknowledged, report.connections), (18, 18, 9, 4));
    }

    #[test]
    fn what_is_missing_is_seen_unless_a_gap_stands_for_it() {
        let lose = |record: &mut Record| _ = record.pages[1].events.remove(SIXTH);
        // No page shows a position: the acknowledgement alone says that it is due.
        let forget_positions = |record: &mut Record| {
            for event in record.pages.iter_mut().flat_map(|page| &mut page.events) {
                if let What::Message { position, .. } = &mut event.what {
                    *position = None;
                }
            }
        };
        assert_eq!(
            broken(|record| {
                lose(record);
                forget_positions(record);
            }),
            ["lost"]
        );
        assert_eq!(broken(lose), ["hole", "lost"]);
        // So is what a page had not read whose line stood still, on a node that was frozen or killed.
        for target in [Target::Frozen(0), Target::Killed(0)] {
            let missed = broken(|record| {
                lose(record);
                disturb(record, Target::Line(1), 5, 80);
                disturb(record, target, 6, 80);
            });
            assert_eq!(missed, ["hole", "lost"]);
        }
        // A page whose session was lost with Redis is told by a node that has seen that.
        let without_session = |target: Target| {
            broken(|record| {
                lose(record);
                forget_positions(record);
                let other = Some("1.2".to_owned());
                record.pages[1].events[8].what = What::Connected { node: Some(1), socket_id: other };
                disturb(record, Target::Store, 5, 80);
                disturb(record, target, 6, 7);
            })
        };
        assert_eq!(without_session(Target::Killed(2)), ["lost"]);
        assert_eq!(without_session(Target::Killed(1)), NONE);
        let with_gap = |index: usize, tenths: u64| {
            broken(move |record| {
                lose(record);
                disturb(record, Target::Store, 5, 7);
                record.pages[1].events.insert(index, at(tenths, gap()));
            })
        };
        assert_eq!(with_gap(SIXTH, 72), NONE);
        // It was told of a gap, and it is another one.
        assert_eq!(with_gap(4, 30), ["hole", "lost", "gap"]);
        assert_eq!(with_gap(SIXTH + 2, 86), ["hole", "lost"]);
        // What waits in the ingest stream is stored later, or was going to be.
        let with_late_gap = |route: Route| {
            broken(move |record| {
                lose(record);
                forget_positions(record);
                disturb(record, Target::Link(1), 5, 9);
                record.sent[5].route = route;
                record.pages[1].events.insert(SIXTH + 3, at(96, gap()));
            })
        };
        assert_eq!(with_late_gap(Route::Http), ["lost"]);
        assert_eq!(with_late_gap(Route::Ingest), NONE);
        assert_eq!(
            broken(|record| {
                lose(record);
                record.sent[5].except = Some((1, "1.1".to_owned()));
            }),
            NONE
        );
        assert_eq!(
            broken(|record| {
                lose(record);
                forget_positions(record);
                record.sent[5].outcome = Outcome::Unknown;
            }),
            NONE
        );
    }

    #[test]
    fn a_page_that_starts_anew_is_promised_nothing_of_before() {
        let fresh = |record: &mut Record| {
            record.pages[1].events.remove(SIXTH);
            record.pages[1].events[SIXTH - 1].what = subscribed(true);
        };
        assert_eq!(broken(fresh), ["hole"]);
    }

    #[test]
    fn a_gap_needs_a_reason() {
        let tell = |record: &mut Record| record.pages[0].events.insert(SIXTH, at(72, gap()));
        assert_eq!(broken(tell), ["gap"]);
        let because = |reason: &dyn Fn(&mut Record)| {
            broken(|record| {
                tell(record);
                reason(record);
            })
        };
        assert_eq!(because(&|record| disturb(record, Target::Store, 6, 7)), NONE);
        assert_eq!(because(&|record| disturb(record, Target::Link(1), 6, 7)), NONE);
        assert_eq!(because(&|record| disturb(record, Target::Link(2), 6, 7)), ["gap"]);
        assert_eq!(because(&|record| disturb(record, Target::Overflow(1), 6, 7)), ["gap"]);
        assert_eq!(because(&|record| disturb(record, Target::Store, 8, 9)), ["gap"]);
        assert_eq!(because(&|record| record.kept.get_mut("a").unwrap().age = 4 * SECOND), NONE);
        assert_eq!(because(&|record| record.kept.get_mut("a").unwrap().messages = 2), NONE);
        // What it had read last had been on its way for six seconds.
        assert_eq!(
            because(&|record| {
                record.kept.get_mut("a").unwrap().age = 8 * SECOND;
                record.sent[4].at = SECOND;
            }),
            NONE
        );
        assert_eq!(because(&|record| record.kept.get_mut("a").unwrap().age = 8 * SECOND), ["gap"]);
        // The gap had been on its way as long, because the page's line stood still.
        let is_late = |line| {
            because(&|record| {
                record.sent[4].at = SECOND;
                disturb(record, Target::Link(1), 1, 2);
                disturb(record, Target::Line(line), 6, 7);
            })
        };
        assert_eq!((is_late(0), is_late(1)), (NONE.to_vec(), vec!["gap"]));
        // The window is for those who have no position.
        assert_eq!(because(&|record| record.window = SECOND), ["gap"]);
    }

    #[test]
    fn a_node_that_was_disturbed_may_not_have_written_a_subscription() {
        let told = |reason: &dyn Fn(&mut Record)| {
            broken(|record| {
                let events = &mut record.pages[1].events;
                let after = events.split_off(SIXTH + 1);
                *events = vec![at(0, connected()), at(52, gone()), at(70, connected())];
                events.extend([at(71, subscribed(false)), at(71, gap())]);
                events.extend(after);
                reason(record);
            })
        };
        assert_eq!(told(&|_| ()), ["gap"]);
        assert_eq!(told(&|record| disturb(record, Target::Killed(1), 2, 4)), NONE);
        assert_eq!(told(&|record| disturb(record, Target::Killed(2), 2, 4)), ["gap"]);
        // It has long been written, and is there when the page is back.
        assert_eq!(told(&|record| disturb(record, Target::Link(1), 0, 1)), ["gap"]);
        assert_eq!(told(&|record| disturb(record, Target::Overflow(1), 2, 4)), ["gap"]);
    }

    #[test]
    fn a_page_may_not_have_noticed_the_connection_that_it_resumes() {
        let told = |reason: &dyn Fn(&mut Record)| {
            broken(|record| {
                let events = &mut record.pages[1].events;
                let after = events.split_off(SIXTH + 1);
                *events = vec![at(70, connected()), at(71, subscribed(false)), at(71, gap())];
                events.extend(after);
                reason(record);
            })
        };
        assert_eq!(told(&|_| ()), ["gap"]);
        for target in [Target::Store, Target::Killed(2), Target::Link(1)] {
            assert_eq!(told(&|record| disturb(record, target, 2, 3)), NONE, "{target:?}");
            assert_eq!(told(&|record| disturb(record, target, 8, 9)), ["gap"], "{target:?}");
        }
    }

    #[test]
    fn what_is_stored_twice_does_not_say_where_a_gap_is() {
        let stored_twice = |record: &mut Record| {
            let events = &mut record.pages[1].events;
            let again = What::Message { channel: channel(), id: id(2), position: None };
            events.splice(SIXTH..=SIXTH, [at(72, gap()), at(72, again)]);
            record.sent[1].route = Route::HttpRetried;
            disturb(record, Target::Store, 2, 7);
        };
        assert_eq!(broken(stored_twice), NONE);
    }

    #[test]
    fn a_message_that_comes_twice_is_seen() {
        let again = |page: usize, tenths: u64, number: u32| {
            broken(move |record| record.pages[page].events.insert(SIXTH, message(tenths, number)))
        };
        assert_eq!(again(0, 71, 5), ["twice", "hole"]);
        let unmodified = |numbers: &'static [u32]| {
            broken(move |record| {
                let events = numbers.iter().map(|number| {
                    at(71, What::Message { channel: channel(), id: id(*number), position: None })
                });
                record.pages[1].events.splice(SIXTH..SIXTH, events);
            })
        };
        assert_eq!(unmodified(&[4, 5]), NONE);
        // Too long before the end of the connection.
        assert_eq!(unmodified(&[1]), ["twice"]);
        // On the same connection.
        assert_eq!(unmodified(&[5, 5]), ["twice"]);
        let report = |change: &dyn Fn(&mut Record)| {
            let mut record = sound();
            let what = What::Message { channel: channel(), id: id(1), position: None };
            record.pages[1].events.insert(SIXTH, at(71, what));
            change(&mut record);
            check(&record)
        };
        let killed = report(&|record| disturb(record, Target::Killed(1), 5, 9));
        assert!(killed.violations.is_empty(), "{:?}", killed.violations);
        assert_eq!((killed.repeated, killed.longest_repeat), (1, 4_100_000));
        assert!(!report(&|record| disturb(record, Target::Killed(0), 5, 9)).violations.is_empty());
        // Its node cannot say on another one how far the page has read.
        let moved = report(&|record| {
            disturb(record, Target::Link(1), 5, 5);
            let socket_id = Some("1.1".to_owned());
            record.pages[1].events[SIXTH - 2].what = What::Connected { node: Some(2), socket_id };
        });
        assert!(moved.violations.is_empty(), "{:?}", moved.violations);
        assert!(!report(&|record| disturb(record, Target::Link(1), 5, 5)).violations.is_empty());
    }

    #[test]
    fn what_is_stored_twice_is_seen() {
        let twice = |record: &mut Record| {
            let what = What::Message { channel: channel(), id: id(5), position: Some(place("e", 10)) };
            record.pages[0].events.push(at(99, what));
        };
        assert_eq!(broken(twice), ["twice", "position"]);
    }

    #[test]
    fn what_was_never_sent_or_refused_is_seen() {
        assert_eq!(broken(|record| _ = record.sent.remove(2)), ["sent"]);
        assert_eq!(broken(|record| record.sent[2].outcome = Outcome::Rejected), ["sent"]);
        assert_eq!(broken(|record| record.sent[2].except = Some((0, "1.1".to_owned()))), ["sent"]);
        assert_eq!(broken(|record| record.sent[2].channels = vec!["b".to_owned()]), ["sent"]);
        let refused = |record: &mut Record| record.sent[2].outcome = Outcome::Refused(4 * SECOND);
        assert_eq!(broken(refused), ["sent"]);
        assert_eq!(
            broken(|record| {
                refused(record);
                disturb(record, Target::Link(0), 3, 4);
            }),
            NONE
        );
        assert_eq!(
            broken(|record| {
                refused(record);
                disturb(record, Target::Link(2), 3, 4);
            }),
            ["sent"]
        );
    }

    #[test]
    fn two_orders_are_seen() {
        assert_eq!(broken(|record| swap(record, 1)), ["one order", "order"]);
        let concurrent = |record: &mut Record| {
            swap(record, 1);
            record.sent[3].at = record.sent[2].at;
        };
        assert_eq!(broken(concurrent), ["one order"]);
        // All pages agree, and the publisher has published in another order.
        let plain = |record: &mut Record| {
            for sent in &mut record.sent {
                sent.route = Route::Ingest;
            }
            swap(record, 0);
            swap(record, 1);
        };
        assert_eq!(broken(plain), ["order"]);
    }

    #[test]
    fn holes_and_returning_epochs_are_seen() {
        let hole = |record: &mut Record| {
            _ = record.pages[0].events.remove(SIXTH);
            record.sent[5].outcome = Outcome::Unknown;
        };
        assert_eq!(broken(hole), ["hole"]);
        // A page that is left out sees a hole where the message is.
        assert_eq!(
            broken(|record| {
                hole(record);
                record.sent[5].except = Some((0, "1.1".to_owned()));
            }),
            NONE
        );
        let move_to = |record: &mut Record, from: u32, to: u32, epoch: &str| {
            for event in record.pages.iter_mut().flat_map(|page| &mut page.events) {
                if let What::Message { id, position, .. } = &mut event.what
                    && (from..=to).contains(&id.number)
                {
                    *position = Some(place(epoch, id.number.into()));
                }
            }
        };
        let new_epoch = |record: &mut Record| {
            move_to(record, 6, 9, "f");
            disturb(record, Target::Store, 6, 7);
        };
        assert_eq!(broken(new_epoch), NONE);
        // What nothing was lost for.
        assert_eq!(broken(|record| move_to(record, 6, 9, "f")), ["gap"]);
        assert_eq!(
            broken(|record| {
                new_epoch(record);
                move_to(record, 8, 9, "e");
            }),
            ["hole"]
        );
        let same = |record: &mut Record| {
            for event in &mut record.pages[1].events {
                if let What::Message { id, position, .. } = &mut event.what
                    && id.number == 9
                {
                    *position = Some(place("e", 8));
                }
            }
        };
        assert_eq!(broken(same), ["position", "hole"]);
    }

    #[test]
    fn a_plain_publish_counts_where_a_node_was_listening() {
        let plain = |route: Route, target: Option<Target>| {
            broken(move |record| {
                for page in &mut record.pages {
                    page.events
                        .retain(|event| !matches!(event.what, What::Message { id, .. } if id.number == 9));
                }
                record.sent[8].route = route;
                record.sent[8].outcome = Outcome::Accepted(9 * SECOND + 1);
                if let Some(target) = target {
                    disturb(record, target, 8, 9);
                }
                record.sent.push(Sent { outcome: Outcome::Rejected, ..sent(10) });
            })
        };
        assert_eq!(plain(Route::Broadcast, None), ["lost"]);
        assert_eq!(plain(Route::Broadcast, Some(Target::Killed(0))), ["lost"]);
        assert_eq!(plain(Route::Broadcast, Some(Target::Redis)), NONE);
        assert_eq!(plain(Route::Ingest, Some(Target::Redis)), ["lost"]);
        // The pages came to node 1 only at 7.1 seconds.
        assert_eq!(plain(Route::Driver, None), NONE);
        let long_there = broken(|record| {
            record.sent.push(Sent { route: Route::Driver, ..sent(10) });
        });
        assert_eq!(long_there, ["lost"]);
    }

    #[test]
    fn a_member_that_is_only_cut_off_stays() {
        let removed = What::Removed { channel: channel(), user: "7".to_owned() };
        let told = |tenths: u64, change: &dyn Fn(&mut Record)| {
            broken(|record| {
                record.pages[0].events.push(at(tenths, removed.clone()));
                change(record);
            })
        };
        assert_eq!(told(65, &|_| ()), ["members"]);
        assert_eq!(told(65, &|record| disturb(record, Target::Link(1), 1, 2)), NONE);
        assert_eq!(told(65, &|record| record.window = 3 * SECOND), NONE);
        assert_eq!(told(300, &|record| record.pages[1].events.push(at(100, gone()))), NONE);
    }

    #[test]
    fn what_does_not_recover_is_seen() {
        assert_eq!(broken(|record| record.notes.push("a panic".to_owned())), ["conduct"]);
        assert_eq!(broken(|record| record.marks.push(id(9))), NONE);
        assert_eq!(broken(|record| record.marks.push(id(10))), ["end"]);
        // A gap that a page is told of after the last message stands for it, one before does not.
        let told = |tenths: u64| {
            broken(move |record| {
                record.marks.push(id(9));
                disturb(record, Target::Store, 8, 10);
                let events = &mut record.pages[1].events;
                events.truncate(events.len() - 1);
                events.push(at(tenths, gap()));
            })
        };
        assert_eq!(told(96), NONE);
        assert_eq!(told(88), ["end"]);
        let open = |record: &mut Record| {
            disturb(record, Target::Redis, 1, 2);
            record.disturbances[0].to = None;
        };
        assert_eq!(broken(open), ["end"]);
    }
}
