//! Random schedules of faults. The seed decides everything.

use std::fmt;
use std::time::Duration;

pub(super) const NODES: usize = 3;

/// How many kinds of faults there are.
pub(super) const KINDS: usize = 10;

/// Which connections of a node Redis is asked to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Subscriber,
    Publisher,
}

/// A fault, until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`, and a new process in its place.
    KillNode(usize),
    /// `SIGTERM`; when the process has ended, a new one in its place.
    StopNode(usize),
    /// `SIGSTOP`, then `SIGCONT`.
    FreezeNode(usize),
    /// `kill -9`, and a new one on the same port.
    KillRedis,
    /// `SIGSTOP`, then `SIGCONT`.
    FreezeRedis,
    /// `CLIENT KILL`.
    KillClients { node: usize, which: Which },
    /// The connections between a node and Redis end, and new ones too.
    CutLink(usize),
    /// Nothing passes between a node and Redis, and neither side is notified.
    SilenceLink(usize),
    /// A page goes, with a close frame or without, and comes back on a node; or it stays away.
    MovePage { page: usize, to: Option<usize>, closes: bool },
    /// A page leaves one of its channels and comes back to it.
    LeaveChannel(usize),
}

/// A fault, when it begins and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    /// The nodes reach Redis through a network that can fail.
    pub(super) proxied: bool,
    pub(super) steps: Vec<Step>,
}

impl Fault {
    /// The name of its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::KillNode(_) => "kill node",
            Self::StopNode(_) => "stop node",
            Self::FreezeNode(_) => "freeze node",
            Self::KillRedis => "kill redis",
            Self::FreezeRedis => "freeze redis",
            Self::KillClients { .. } => "CLIENT KILL",
            Self::CutLink(_) => "cut link",
            Self::SilenceLink(_) => "silence link",
            Self::MovePage { .. } => "page moves",
            Self::LeaveChannel(_) => "page leaves channel",
        }
    }

    /// The parts that no other fault may use at the same time.
    fn uses(&self) -> Vec<Part> {
        match *self {
            Self::KillNode(node) | Self::StopNode(node) | Self::FreezeNode(node) => vec![Part::Node(node)],
            Self::KillRedis | Self::FreezeRedis => vec![Part::Redis],
            Self::KillClients { node, .. } => vec![Part::Link(node), Part::Redis],
            Self::CutLink(node) | Self::SilenceLink(node) => vec![Part::Link(node)],
            Self::MovePage { page, .. } | Self::LeaveChannel(page) => vec![Part::Page(page)],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Node(usize),
    Link(usize),
    Redis,
    Page(usize),
}

impl Schedule {
    /// The schedule of this seed, for this number of pages.
    pub(super) fn random(seed: u64, seconds: u64, pages: usize) -> Self {
        let mut random = Random::new(seed);
        let proxied = random.below(3) > 0;
        let end = seconds * 1000;
        let mut steps: Vec<Step> = Vec::new();
        let mut busy: Vec<(Part, u64)> = Vec::new();
        let mut gone: Vec<usize> = Vec::new();
        let mut at = 1000;
        while at < end {
            let (fault, lasts) = random_fault(&mut random, proxied, pages, end);
            let uses = fault.uses();
            let is_free = uses.iter().all(|part| !busy.iter().any(|(other, to)| other == part && *to > at));
            let is_page = matches!(fault, Fault::MovePage { .. } | Fault::LeaveChannel(_));
            let is_gone = uses.iter().any(|part| matches!(part, Part::Page(page) if gone.contains(page)));
            if is_free && !is_gone {
                if let Fault::MovePage { page, to: None, .. } = fault {
                    gone.push(page);
                }
                // A part that is back may be hit again before it has recovered, or long after.
                let pause = random.between(100, 4000);
                busy.extend(uses.into_iter().map(|part| (part, at + lasts + pause)));
                let (at, lasts) = (Duration::from_millis(at), Duration::from_millis(lasts));
                steps.push(Step { at, lasts, fault });
            }
            at += if is_page { random.between(0, 300) } else { random.between(0, 1500) };
            // A calm, in which deliveries are required.
            if random.below(5) == 0 {
                at += random.between(3000, 6000);
            }
        }
        Self { seed, seconds, proxied, steps }
    }

    /// When the last fault is over.
    pub(super) fn end(&self) -> Duration {
        self.steps.iter().map(|step| step.at + step.lasts).max().unwrap_or_default()
    }
}

fn random_fault(random: &mut Random, proxied: bool, pages: usize, end: u64) -> (Fault, u64) {
    let node = random.index(NODES);
    match random.below(14) {
        0 => (Fault::KillNode(node), random.between(50, 3000)),
        1 => (Fault::StopNode(node), random.between(0, 2000)),
        2 | 3 => (Fault::FreezeNode(node), random.between_scales(200, 20_000.min(end * 2 / 3))),
        4 => (Fault::KillRedis, random.between(50, 3000)),
        5 => (Fault::FreezeRedis, random.between_scales(200, 4000)),
        6 | 7 => {
            let which = [Which::All, Which::Subscriber, Which::Publisher][random.index(3)];
            (Fault::KillClients { node, which }, 0)
        }
        8 if proxied => (Fault::CutLink(node), random.between_scales(100, 5000)),
        9 | 10 if proxied => (Fault::SilenceLink(node), random.between_scales(100, 8000)),
        11 => (Fault::LeaveChannel(random.index(pages)), random.between(0, 2000)),
        _ => {
            // A few stay away, so that a member that is listed but absent is detected.
            let to = (random.below(6) > 0).then_some(node);
            let fault = Fault::MovePage { page: random.index(pages), to, closes: random.below(2) == 0 };
            (fault, if to.is_some() { random.between(0, 3000) } else { 0 })
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = if self.proxied { "through a proxy" } else { "directly" };
        writeln!(f, "seed {}, {} s, nodes reach Redis {network}", self.seed, self.seconds)?;
        for step in &self.steps {
            let (at, lasts) = (step.at.as_secs_f64(), step.lasts.as_secs_f64());
            writeln!(f, "  {at:7.3} s for {lasts:6.3} s  {:?}", step.fault)?;
        }
        Ok(())
    }
}

/// `SplitMix64`: the same numbers for a seed in every version of every crate.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// As many between 200 ms and 400 ms as between 10 s and 20 s.
    pub(super) fn between_scales(&mut self, from: u64, to: u64) -> u64 {
        let mut upper = from;
        let mut scales = vec![];
        while upper < to {
            scales.push((upper, (upper * 2).min(to)));
            upper *= 2;
        }
        let (from, to) = scales.get(self.index(scales.len())).copied().unwrap_or((from, to));
        self.between(from, to)
    }
}

mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_decides_its_schedule() {
        assert_eq!(Schedule::random(7, 30, 15), Schedule::random(7, 30, 15));
        assert_ne!(Schedule::random(7, 30, 15), Schedule::random(8, 30, 15));
        assert_eq!(Random::new(1).next(), 0x910a_2dec_8902_5cc1);
    }

    #[test]
    fn every_kind_of_fault_comes_and_none_hits_what_is_already_hit() {
        let mut kinds = BTreeSet::new();
        for seed in 0..100 {
            let steps = Schedule::random(seed, 30, 15).steps;
            for (index, step) in steps.iter().enumerate() {
                kinds.insert(step.fault.kind());
                for later in &steps[index + 1..] {
                    let shares = step.fault.uses().iter().any(|part| later.fault.uses().contains(part));
                    assert!(!shares || later.at > step.at + step.lasts, "{seed}: {step:?}, {later:?}");
                }
            }
        }
        assert_eq!(kinds.len(), KINDS, "{kinds:?}");
    }
}
