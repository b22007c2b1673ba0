//! Snapshots in portions: no signal grows with what is on a node.

use std::sync::Arc;

use super::app::{Local, Locals};
use super::said::{AppSnapshot, Said};
use crate::message::ChannelName;

/// So many bytes of names and members go into one signal, or one entry that is larger. Whoever takes it in does so in
/// about a millisecond.
pub(super) const PORTION: usize = 64 * 1024;

/// What an entry costs beside its texts, in bytes of JSON.
pub(super) const OVERHEAD: usize = 64;

/// A walk over all that is on a node, a portion at a time.
///
/// What is on the node may change in between. Everything that is there all the time is met at least once: the walk goes from the
/// last entry to the first, and an entry that moves into the gap of a removed one comes from where the walk has been. What
/// comes later is told by a change with a higher number.
#[derive(Debug)]
pub(super) struct Walk {
    number: u64,
    /// How many portions there have been.
    index: usize,
    /// The apps that are left, the current one last.
    apps: Vec<Arc<str>>,
    /// How many channels of the current app are left, once it has been begun.
    channels: Option<usize>,
    /// How many members of the current channel are left, where it has been begun.
    members: Option<(ChannelName, usize)>,
}

impl Walk {
    pub(super) fn new(number: u64, apps: impl Iterator<Item = Arc<str>>) -> Self {
        Self { number, index: 0, apps: apps.collect(), channels: None, members: None }
    }

    /// The next portion, and whether it is the last.
    pub(super) fn next<'a>(&mut self, locals: impl Fn(&str) -> Option<&'a Locals>) -> (Said, bool) {
        let mut portion = Portion::default();
        while let Some(app) = self.apps.last().cloned() {
            portion.begin(&app);
            if let Some(locals) = locals(&app)
                && !self.take(&mut portion, locals)
            {
                break;
            }
            self.channels = None;
            self.apps.pop();
        }
        let (number, index, apps) = (self.number, self.index, portion.apps);
        let is_last = self.apps.is_empty();
        self.index += 1;
        if is_last && index == 0 {
            return (Said::Everything { number, apps }, true);
        }
        let of = if is_last { self.index } else { self.index + 1 };
        (Said::Portion { number, index, of, apps }, is_last)
    }

    /// Takes what fits of an app's channels. Whether that is all.
    fn take(&mut self, portion: &mut Portion, locals: &Locals) -> bool {
        let mut left = self.channels.unwrap_or(locals.len()).min(locals.len());
        while let Some((name, local)) = left.checked_sub(1).and_then(|index| locals.get_index(index)) {
            let fits = match local {
                Local::Count(count) => portion.add(name.as_str().len(), |app| app.add_count(name, *count)),
                Local::Members(members) => {
                    let begun = self.members.take().filter(|(begun, _)| begun == name);
                    let mut members_left = begun.map_or(members.len(), |(_, left)| left.min(members.len()));
                    while let Some((id, (_, member))) =
                        members_left.checked_sub(1).and_then(|index| members.get_index(index))
                    {
                        let bytes = name.as_str().len() + member.text_bytes();
                        if !portion.add(bytes, |app| app.add_member(name, *id, member.clone())) {
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
struct Portion {
    apps: Vec<AppSnapshot>,
    bytes: usize,
}

impl Portion {
    /// Also an app without anybody is told of.
    fn begin(&mut self, app: &Arc<str>) {
        self.apps.push(AppSnapshot::new(app.clone()));
    }

    /// Adds an entry of so many bytes to the current app, if it fits or is the first.
    fn add(&mut self, bytes: usize, add: impl FnOnce(&mut AppSnapshot)) -> bool {
        let bytes = bytes + OVERHEAD;
        if self.bytes > 0 && self.bytes + bytes > PORTION {
            return false;
        }
        self.bytes += bytes;
        if let Some(app) = self.apps.last_mut() {
            add(app);
        }
        true
    }
}

/// How much of a node's snapshot has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathered {
    number: u64,
    next: usize,
}

/// What a portion is to those before it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gathering {
    /// There are more to come.
    Waiting(Gathered),
    /// This is the last one.
    Complete,
    /// Something was missed.
    Gap,
}

impl Gathered {
    /// Adds a portion to those before, if there are any.
    pub(super) fn add(before: Option<Self>, number: u64, index: usize, of: usize) -> Gathering {
        let follows = |before: Self| before.number == number && before.next == index;
        if index > 0 && !before.is_some_and(follows) {
            return Gathering::Gap;
        }
        let next = index.saturating_add(1);
        if next >= of { Gathering::Complete } else { Gathering::Waiting(Self { number, next }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::said::Statement;
    use crate::message::{Member, SocketId};
    use crate::presence::Snapshot;
    use crate::protocol::pusher::parse_member;

    fn name(kind: &str, number: u64) -> ChannelName {
        ChannelName::new(&format!("{kind}-{number}")).unwrap()
    }

    fn member(number: u64) -> Member {
        let info = "x".repeat(500);
        parse_member(&format!(r#"{{"user_id":{number},"user_info":{{"n":"{info}"}}}}"#)).unwrap()
    }

    /// So many channels with a number of connections, and members, two on each channel.
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

    /// The portions; before each but the first, what is there changes.
    fn portions(apps: &mut [(Arc<str>, Locals)], mut change: impl FnMut(&mut Locals)) -> Vec<Said> {
        let mut walk = Walk::new(7, apps.iter().map(|(id, _)| id.clone()));
        let mut all = Vec::new();
        loop {
            let find = |id: &str| apps.iter().find(|(app, _)| **app == *id).map(|(_, locals)| locals);
            let (said, is_last) = walk.next(find);
            all.push(said);
            if is_last {
                return all;
            }
            for (_, locals) in apps.iter_mut() {
                change(locals);
            }
        }
    }

    /// What the portions say of an app together, if none is missing.
    fn gathered(portions: Vec<Said>, id: &str) -> Option<Snapshot> {
        let (mut before, mut all) = (None, Snapshot::default());
        for said in portions {
            let Said::Portion { number, index, of, apps } = said else { panic!("{said:?}") };
            let gathering = Gathered::add(before.take(), number, index, of);
            for app in apps.into_iter().filter(|app| *app.app == *id) {
                let part = app.into_snapshot();
                all.members.extend(part.members);
                all.counts.extend(part.counts);
            }
            match gathering {
                Gathering::Waiting(gathered) => before = Some(gathered),
                Gathering::Complete => return Some(sorted(all)),
                Gathering::Gap => {}
            }
        }
        None
    }

    fn apps() -> Vec<(Arc<str>, Locals)> {
        [("1", 0), ("2", 600), ("3", 10)].map(|(id, count)| (id.into(), locals(count))).into()
    }

    fn all() -> Vec<Said> {
        portions(&mut apps(), |_| {})
    }

    #[test]
    fn every_portion_is_bounded_and_together_they_are_all() {
        let all = all();
        assert!((5..20).contains(&all.len()), "{}", all.len());
        for said in self::all() {
            let bytes = Statement { node: "n".into(), since: 5, said }.encode().len();
            assert!(bytes < PORTION * 3 / 2, "{bytes}");
        }
        for (id, locals) in apps() {
            assert_eq!(gathered(self::all(), &id), Some(snapshot(&locals)), "{id}");
        }
    }

    #[test]
    fn what_is_small_is_said_at_once() {
        let mut apps = [("1".into(), locals(0)), ("2".into(), locals(3))];
        let said = portions(&mut apps, |_| {});
        assert!(matches!(&said[..], [Said::Everything { apps, .. }] if apps.len() == 2));
    }

    #[test]
    fn with_a_gap_nothing_counts_until_it_is_said_again() {
        for missing in 0..all().len() {
            let mut portions = all();
            portions.remove(missing);
            assert!(gathered(portions, "2").is_none(), "{missing}");
        }
        let mut portions = all();
        portions.truncate(2);
        portions.extend(all());
        assert!(gathered(portions, "2").is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Channels and members that are there from the beginning to the end are in one of the portions.
        #[test]
        fn what_stays_is_met_while_others_come_and_go(seed in any::<u64>()) {
            let mut apps = [("1".into(), locals(400))];
            let mut stay = locals(400);
            let mut random = seed;
            let mut next = |below: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(random >> 33).unwrap() % below.max(1)
            };
            let mut number = 1000;
            let said = portions(&mut apps, |locals| {
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
            let met = gathered(said, "1").unwrap();
            let stay = snapshot(&stay);
            prop_assert!(stay.counts.iter().all(|entry| met.counts.contains(entry)));
            prop_assert!(stay.members.iter().all(|entry| met.members.contains(entry)));
        }
    }
}
