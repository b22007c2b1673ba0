//! Snapshots in portions: no signal grows with what is on a node.

use std::sync::Arc;

use super::said::{AppSnapshot, Said};
use crate::protocol::pusher::presence::Snapshot;

/// So many bytes of names and members go into one signal, or one entry that is larger.
pub(super) const PORTION: usize = 256 * 1024;

/// What an entry costs beside its texts, in bytes of JSON.
pub(super) const OVERHEAD: usize = 64;

/// All that is on a node, as it is to be said: without a change in between.
pub(super) fn portions(number: u64, apps: impl Iterator<Item = (Arc<str>, Snapshot)>) -> Vec<Said> {
    let mut portions = Portions::default();
    for (app, snapshot) in apps {
        portions.begin(&app);
        for (name, id, member) in snapshot.members {
            let bytes = name.as_str().len() + member.text_bytes();
            portions.add(&app, bytes, |snapshot| snapshot.add_member(&name, id, member));
        }
        for (name, count) in snapshot.counts {
            portions.add(&app, name.as_str().len(), |snapshot| snapshot.add_count(&name, count));
        }
    }
    let Portions { mut done, current, .. } = portions;
    if done.is_empty() {
        return vec![Said::Everything { number, apps: current }];
    }
    done.push(current);
    let of = done.len();
    let said = |(index, apps)| Said::Portion { number, index, of, apps };
    done.into_iter().enumerate().map(said).collect()
}

#[derive(Default)]
struct Portions {
    done: Vec<Vec<AppSnapshot>>,
    current: Vec<AppSnapshot>,
    bytes: usize,
}

impl Portions {
    /// Also an app without anybody is told of.
    fn begin(&mut self, app: &Arc<str>) {
        self.current.push(AppSnapshot::new(app.clone()));
    }

    /// Adds an app's next entry, of so many bytes.
    fn add(&mut self, app: &Arc<str>, bytes: usize, add: impl FnOnce(&mut AppSnapshot)) {
        let bytes = bytes + OVERHEAD;
        if self.bytes > 0 && self.bytes + bytes > PORTION {
            self.done.push(std::mem::take(&mut self.current));
            self.bytes = 0;
        }
        self.bytes += bytes;
        if self.current.last().is_none_or(|last| last.app != *app) {
            self.begin(app);
        }
        if let Some(last) = self.current.last_mut() {
            add(last);
        }
    }
}

/// The portions of a node's snapshot that have come so far.
#[derive(Debug)]
pub(super) struct Gathered {
    number: u64,
    next: usize,
    apps: Vec<AppSnapshot>,
}

/// What a portion makes of those before it.
#[derive(Debug)]
pub(super) enum Portion {
    /// There are more to come.
    Waiting(Gathered),
    /// This is all.
    Complete(Vec<AppSnapshot>),
    /// Something was missed.
    Gap,
}

impl Gathered {
    /// Adds a portion to those before, if there are any.
    pub(super) fn add(
        before: Option<Self>,
        number: u64,
        index: usize,
        of: usize,
        apps: Vec<AppSnapshot>,
    ) -> Portion {
        let gathered = match before {
            _ if index == 0 => Self { number, next: 1, apps },
            Some(mut gathered) if gathered.number == number && gathered.next == index => {
                gathered.next += 1;
                for portion in apps {
                    match gathered.apps.iter_mut().find(|other| other.app == portion.app) {
                        Some(other) => other.extend(portion),
                        None => gathered.apps.push(portion),
                    }
                }
                gathered
            }
            _ => return Portion::Gap,
        };
        if gathered.next >= of { Portion::Complete(gathered.apps) } else { Portion::Waiting(gathered) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::said::Statement;
    use crate::message::ChannelName;
    use crate::protocol::pusher::{Member, SocketId};

    fn snapshot(count: u64) -> Snapshot {
        let name = |kind: &str, number: u64| ChannelName::new(&format!("{kind}-{number}")).unwrap();
        let info = "x".repeat(500);
        let member = |number: u64| {
            Member::parse(&format!(r#"{{"user_id":{number},"user_info":{{"n":"{info}"}}}}"#)).unwrap()
        };
        Snapshot {
            members: (0..count)
                .map(|number| (name("presence", number), SocketId::new(1, number), member(number)))
                .collect(),
            counts: (0..count).map(|number| (name("c", number), number + 1)).collect(),
        }
    }

    fn gathered(portions: Vec<Said>) -> Option<Vec<AppSnapshot>> {
        let mut before = None;
        for said in portions {
            let Said::Portion { number, index, of, apps } = said else { panic!("{said:?}") };
            match Gathered::add(before.take(), number, index, of, apps) {
                Portion::Waiting(gathered) => before = Some(gathered),
                Portion::Complete(apps) => return Some(apps),
                Portion::Gap => {}
            }
        }
        None
    }

    fn all() -> Vec<Said> {
        let apps = [("1", snapshot(0)), ("2", snapshot(3000)), ("3", snapshot(10))];
        portions(7, apps.into_iter().map(|(app, snapshot)| (app.into(), snapshot)))
    }

    #[test]
    fn every_portion_is_bounded_and_together_they_are_all() {
        let portions = all();
        assert!((5..20).contains(&portions.len()), "{}", portions.len());
        for said in all() {
            let bytes = Statement { node: "n".into(), since: 5, said }.encode().len();
            assert!(bytes < PORTION * 3 / 2, "{bytes}");
        }
        let apps = gathered(portions).unwrap();
        let expected = [("1", snapshot(0)), ("2", snapshot(3000)), ("3", snapshot(10))];
        assert_eq!(apps.len(), 3);
        for (apps, (id, snapshot)) in apps.into_iter().zip(expected) {
            assert_eq!(&*apps.app, id);
            assert_eq!(apps.into_snapshot(), snapshot);
        }
    }

    #[test]
    fn what_is_small_is_said_at_once() {
        let apps = [("1", snapshot(0)), ("2", snapshot(3))];
        let said = portions(7, apps.into_iter().map(|(app, snapshot)| (app.into(), snapshot)));
        assert!(matches!(&said[..], [Said::Everything { apps, .. }] if apps.len() == 2));
    }

    #[test]
    fn with_a_gap_nothing_counts_until_it_is_said_again() {
        for missing in 0..all().len() {
            let mut portions = all();
            portions.remove(missing);
            assert!(gathered(portions).is_none(), "{missing}");
        }
        let mut portions = all();
        portions.truncate(2);
        portions.extend(all());
        assert!(gathered(portions).is_some());
    }
}
