//! Snapshots in parts, so that no message grows with the state of a node.

use std::sync::Arc;

use super::app::{Local, Locals};
use super::wire::{AppSnapshot, ClusterMessage, OVERHEAD};
use crate::message::ChannelName;

/// Maximum bytes of names and members in one message, or one entry that is larger. A node applies them in about a
/// millisecond.
pub(super) const MAX_PART_BYTES: usize = 64 * 1024;

/// Iterates over the complete state of a node, one part at a time.
///
/// The state may change in between. Every entry that exists throughout is visited at least once: the walk goes from the last
/// entry to the first, and an entry that moves into the gap of a removed one comes from the part already visited. Entries that
/// are added later have a change with a higher number.
#[derive(Debug)]
pub(super) struct Walk {
    number: u64,
    /// The number of parts so far.
    index: usize,
    /// The remaining apps, the current one last.
    apps: Vec<Arc<str>>,
    /// The number of remaining channels of the current app, once the walk has begun it.
    channels: Option<usize>,
    /// The number of remaining members of the current channel, if the walk has begun it.
    members: Option<(ChannelName, usize)>,
}

impl Walk {
    pub(super) fn new(number: u64, apps: impl Iterator<Item = Arc<str>>) -> Self {
        Self { number, index: 0, apps: apps.collect(), channels: None, members: None }
    }

    /// The next part, and whether it is the last.
    pub(super) fn next<'a>(&mut self, locals: impl Fn(&str) -> Option<&'a Locals>) -> (ClusterMessage, bool) {
        let mut part = Part::default();
        while let Some(app) = self.apps.last().cloned() {
            part.begin(&app);
            if let Some(locals) = locals(&app)
                && !self.take(&mut part, locals)
            {
                break;
            }
            self.channels = None;
            self.apps.pop();
        }
        let (number, index, apps) = (self.number, self.index, part.apps);
        let is_last = self.apps.is_empty();
        self.index += 1;
        if is_last && index == 0 {
            return (ClusterMessage::Snapshot { number, apps }, true);
        }
        let of = if is_last { self.index } else { self.index + 1 };
        (ClusterMessage::SnapshotPart { number, index, of, apps }, is_last)
    }

    /// Takes as many of an app's channels as fit. Returns whether the app is complete.
    fn take(&mut self, part: &mut Part, locals: &Locals) -> bool {
        let mut left = self.channels.unwrap_or(locals.len()).min(locals.len());
        while let Some((name, local)) = left.checked_sub(1).and_then(|index| locals.get_index(index)) {
            let fits = match local {
                Local::Count(count) => part.add(name.as_str().len(), |app| app.add_count(name, *count)),
                Local::Members(members) => {
                    let begun = self.members.take().filter(|(begun, _)| begun == name);
                    let mut members_left = begun.map_or(members.len(), |(_, left)| left.min(members.len()));
                    while let Some((id, (_, member))) =
                        members_left.checked_sub(1).and_then(|index| members.get_index(index))
                    {
                        let bytes = name.as_str().len() + member.text_bytes();
                        if !part.add(bytes, |app| app.add_member(name, *id, member.clone())) {
                            self.members = Some((name.clone(), members_left));
                            break;
                        }
                        members_left -= 1;
                    }
                    members_left == 0
                }
            };
            if !fits {
                self.channels = Some(left);
                return false;
            }
            left -= 1;
        }
        true
    }
}

#[derive(Default)]
struct Part {
    apps: Vec<AppSnapshot>,
    bytes: usize,
}

impl Part {
    /// The snapshot includes apps without connections.
    fn begin(&mut self, app: &Arc<str>) {
        self.apps.push(AppSnapshot::new(app.clone()));
    }

    /// Adds an entry of this size to the current app, if it fits or is the first.
    fn add(&mut self, bytes: usize, add: impl FnOnce(&mut AppSnapshot)) -> bool {
        let bytes = bytes + OVERHEAD;
        if self.bytes > 0 && self.bytes + bytes > MAX_PART_BYTES {
            return false;
        }
        self.bytes += bytes;
        if let Some(app) = self.apps.last_mut() {
            add(app);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::{SnapshotProgress, encode};
    use crate::message::{Member, SocketId, UserId};
    use crate::presence::Snapshot;

    fn name(kind: &str, number: u64) -> ChannelName {
        ChannelName::new(&format!("{kind}-{number}")).unwrap()
    }

    fn member(number: u64) -> Member {
        let info = "x".repeat(500);
        let info = format!(r#"{{"n":"{info}"}}"#).into();
        Member { user_id: UserId::new(&number.to_string()), user_info: Some(info) }
    }

    /// This many channels with a connection count, and this many members, two per channel.
    fn locals(count: u64) -> Locals {
        let mut locals = Locals::new();
        for number in 0..count {
            locals.insert(name("c", number), Local::Count(number + 1));
            let entry = locals.entry(name("presence", number / 2));
            if let Local::Members(members) = entry.or_insert_with(|| Local::Members(Box::default())) {
                members.insert(SocketId::new(1, number), (number, member(number)));
            }
        }
        locals
    }

    fn snapshot(locals: &Locals) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (channel, local) in locals {
            match local {
                Local::Count(count) => snapshot.counts.push((channel.clone(), *count)),
                Local::Members(members) => snapshot
                    .members
                    .extend(members.iter().map(|(id, (_, member))| (channel.clone(), *id, member.clone()))),
            }
        }
        sorted(snapshot)
    }

    fn sorted(mut snapshot: Snapshot) -> Snapshot {
        snapshot.members.sort_by_key(|(channel, id, _)| (channel.clone(), id.to_string()));
        snapshot.members.dedup();
        snapshot.counts.sort();
        snapshot.counts.dedup();
        snapshot
    }

    /// The parts. The state changes before each one except the first.
    fn parts(apps: &mut [(Arc<str>, Locals)], mut change: impl FnMut(&mut Locals)) -> Vec<ClusterMessage> {
        let mut walk = Walk::new(7, apps.iter().map(|(id, _)| id.clone()));
        let mut all = Vec::new();
        loop {
            let find = |id: &str| apps.iter().find(|(app, _)| **app == *id).map(|(_, locals)| locals);
            let (message, is_last) = walk.next(find);
            all.push(message);
            if is_last {
                return all;
            }
            for (_, locals) in apps.iter_mut() {
                change(locals);
            }
        }
    }

    /// The merged contents of the parts for an app, if none is missing.
    fn gathered(parts: Vec<ClusterMessage>, id: &str) -> Option<Snapshot> {
        let (mut before, mut all) = (None, Snapshot::default());
        for message in parts {
            let ClusterMessage::SnapshotPart { number, index, of, apps } = message else {
                panic!("{message:?}")
            };
            let progress = SnapshotProgress::with(before.take(), number, index, of);
            for app in apps.into_iter().filter(|app| *app.app == *id) {
                let part = app.into_snapshot();
                all.members.extend(part.members);
                all.counts.extend(part.counts);
            }
            match progress {
                SnapshotProgress::Incomplete { .. } => before = Some(progress),
                SnapshotProgress::Complete => return Some(sorted(all)),
                SnapshotProgress::Gap => {}
            }
        }
        None
    }

    fn apps() -> Vec<(Arc<str>, Locals)> {
        [("1", 0), ("2", 600), ("3", 10)].map(|(id, count)| (id.into(), locals(count))).into()
    }

    fn all() -> Vec<ClusterMessage> {
        parts(&mut apps(), |_| {})
    }

    #[test]
    fn every_part_is_bounded_and_together_they_are_complete() {
        let all = all();
        assert!((5..20).contains(&all.len()), "{}", all.len());
        for message in self::all() {
            let bytes = encode(&"n".into(), 5, &message).len();
            assert!(bytes < MAX_PART_BYTES * 3 / 2, "{bytes}");
        }
        for (id, locals) in apps() {
            assert_eq!(gathered(self::all(), &id), Some(snapshot(&locals)), "{id}");
        }
    }

    #[test]
    fn a_small_snapshot_is_one_message() {
        let mut apps = [("1".into(), locals(0)), ("2".into(), locals(3))];
        let messages = parts(&mut apps, |_| {});
        assert!(matches!(&messages[..], [ClusterMessage::Snapshot { apps, .. }] if apps.len() == 2));
    }

    #[test]
    fn with_a_gap_nothing_counts_until_the_snapshot_is_sent_again() {
        for missing in 0..all().len() {
            let mut parts = all();
            parts.remove(missing);
            assert!(gathered(parts, "2").is_none(), "{missing}");
        }
        let mut parts = all();
        parts.truncate(2);
        parts.extend(all());
        assert!(gathered(parts, "2").is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn entries_that_stay_are_in_one_of_the_parts_while_others_come_and_go(seed in any::<u64>()) {
            let mut apps = [("1".into(), locals(400))];
            let mut stay = locals(400);
            let mut random = seed;
            let mut next = |below: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(random >> 33).unwrap() % below.max(1)
            };
            let mut number = 1000;
            let messages = parts(&mut apps, |locals| {
                for _ in 0..next(60) {
                    let at = next(locals.len());
                    let Some((name, local)) = locals.get_index_mut(at) else { continue };
                    let name = name.clone();
                    let gone = match local {
                        Local::Members(members) if members.len() > 1 => {
                            let id = *members.get_index(next(members.len())).unwrap().0;
                            members.swap_remove(&id);
                            if let Some(Local::Members(members)) = stay.get_mut(&name) {
                                members.swap_remove(&id);
                            }
                            false
                        }
                        _ => true,
                    };
                    if gone {
                        locals.swap_remove(&name);
                        stay.swap_remove(&name);
                    }
                    number += 1;
                    locals.insert(self::name("new", number), Local::Count(1));
                }
            });
            let met = gathered(messages, "1").unwrap();
            let stay = snapshot(&stay);
            prop_assert!(stay.counts.iter().all(|entry| met.counts.contains(entry)));
            prop_assert!(stay.members.iter().all(|entry| met.members.contains(entry)));
        }
    }
}
