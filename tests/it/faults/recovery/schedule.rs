//! Random schedules of faults for pages that must miss nothing. The seed decides everything.

use std::fmt;
use std::time::Duration;

use super::super::schedule::{NODES, Random, Which};

/// How many kinds of faults there are.
pub(super) const KINDS: usize = 18;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`, and a new process in its place.
    KillNode(usize),
    /// `SIGTERM`; when the process has ended, a new one in its place.
    StopNode(usize),
    /// `SIGSTOP`, then `SIGCONT`.
    FreezeNode(usize),
    /// `kill -9`, and a new one with its append-only file.
    RestartRedis,
    /// `kill -9`, and a new one without any data.
    LoseRedis,
    /// `SIGSTOP`, then `SIGCONT`.
    FreezeRedis,
    /// `CLIENT KILL`.
    KillClients { node: usize, which: Which },
    /// `SCRIPT FLUSH`.
    FlushScripts,
    /// A node stops reading from Redis while much is published, so that Redis closes its subscriber.
    FillBuffers(usize),
    /// The connections between a node and Redis are reset in the middle of a reply. New ones work.
    BreakLink { node: usize, after: usize },
    /// The connections between a node and Redis end, and new ones too.
    CutLink(usize),
    /// Nothing passes between a node and Redis, and neither side is notified.
    SilenceLink(usize),
    /// The connection of a page is cut, perhaps in the middle of a frame.
    CutPage { page: usize, resets: bool, after: usize },
    /// The same for all pages at once.
    CutAllPages,
    /// A page cannot connect.
    KeepAway(usize),
    /// Nothing passes between a page and its node, and neither side is notified.
    StallPage(usize),
    /// A page receives slowly.
    DripPage { page: usize, bytes: usize },
    /// A page does not read while more is published than its node holds for it.
    FloodPage(usize),
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
    /// How long sessions are kept.
    pub(super) window: Duration,
    pub(super) steps: Vec<Step>,
}

impl Fault {
    /// The name of its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::KillNode(_) => "kill node",
            Self::StopNode(_) => "stop node",
            Self::FreezeNode(_) => "freeze node",
            Self::RestartRedis => "restart redis",
            Self::LoseRedis => "lose redis",
            Self::FreezeRedis => "freeze redis",
            Self::KillClients { .. } => "CLIENT KILL",
            Self::FlushScripts => "SCRIPT FLUSH",
            Self::FillBuffers(_) => "fill buffers",
            Self::BreakLink { .. } => "break link",
            Self::CutLink(_) => "cut link",
            Self::SilenceLink(_) => "silence link",
            Self::CutPage { .. } => "cut page",
            Self::CutAllPages => "cut all pages",
            Self::KeepAway(_) => "keep page away",
            Self::StallPage(_) => "stall page",
            Self::DripPage { .. } => "drip page",
            Self::FloodPage(_) => "flood page",
        }
    }

    /// The parts that no other fault may use at the same time.
    fn uses(&self) -> Vec<Part> {
        match *self {
            Self::KillNode(node) | Self::StopNode(node) | Self::FreezeNode(node) => vec![Part::Node(node)],
            Self::RestartRedis | Self::LoseRedis | Self::FreezeRedis | Self::FlushScripts => {
                vec![Part::Redis]
            }
            Self::KillClients { node, .. } | Self::FillBuffers(node) => vec![Part::Link(node), Part::Redis],
            Self::BreakLink { node, .. } | Self::CutLink(node) | Self::SilenceLink(node) => {
                vec![Part::Link(node)]
            }
            Self::CutPage { page, .. }
            | Self::KeepAway(page)
            | Self::StallPage(page)
            | Self::DripPage { page, .. }
            | Self::FloodPage(page) => vec![Part::Page(page)],
            Self::CutAllPages => vec![],
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
        let window = if random.below(3) == 0 { 5 } else { 120 };
        // Losing all data excuses many gaps: most schedules are without.
        let loses = random.below(4) == 0;
        let end = seconds * 1000;
        let mut steps: Vec<Step> = Vec::new();
        let mut busy: Vec<(Part, u64)> = Vec::new();
        let mut at = 1000;
        while at < end {
            let (fault, lasts) = random_fault(&mut random, loses, pages, end);
            let uses = fault.uses();
            let is_free = uses.iter().all(|part| !busy.iter().any(|(other, to)| other == part && *to > at));
            if is_free {
                // A part that is back may be hit again before it has recovered, or long after.
                let pause = random.between(100, 3000);
                busy.extend(uses.into_iter().map(|part| (part, at + lasts + pause)));
                let (at, lasts) = (Duration::from_millis(at), Duration::from_millis(lasts));
                steps.push(Step { at, lasts, fault });
            }
            at += random.between(0, 700);
        }
        Self { seed, seconds, window: Duration::from_secs(window), steps }
    }

    /// When the last fault is over.
    pub(super) fn end(&self) -> Duration {
        self.steps.iter().map(|step| step.at + step.lasts).max().unwrap_or_default()
    }
}

fn random_fault(random: &mut Random, loses: bool, pages: usize, end: u64) -> (Fault, u64) {
    let (node, page) = (random.index(NODES), random.index(pages));
    match random.below(32) {
        0 | 1 => (Fault::KillNode(node), random.between(50, 3000)),
        2 => (Fault::StopNode(node), random.between(0, 2000)),
        3 => (Fault::FreezeNode(node), random.between_scales(200, 8000.min(end / 2))),
        4 | 5 => (Fault::RestartRedis, random.between(50, 2000)),
        6 | 7 if loses => (Fault::LoseRedis, random.between(50, 2000)),
        6 | 7 => (Fault::FreezeRedis, random.between_scales(200, 4000)),
        8 | 9 => {
            let which = [Which::All, Which::Subscriber, Which::Publisher][random.index(3)];
            (Fault::KillClients { node, which }, 0)
        }
        10 => (Fault::FlushScripts, 0),
        11 => (Fault::FillBuffers(node), random.between(500, 2000)),
        12 | 13 => (Fault::BreakLink { node, after: random.index(600) }, 0),
        14 => (Fault::CutLink(node), random.between_scales(100, 4000)),
        15 => (Fault::SilenceLink(node), random.between_scales(100, 6000)),
        16 => (Fault::CutAllPages, 0),
        17 | 18 => (Fault::KeepAway(page), random.between_scales(200, 8000.min(end / 2))),
        19 | 20 => (Fault::StallPage(page), random.between_scales(200, 5000)),
        21 => {
            let bytes = usize::try_from(random.between(5, 60)).unwrap();
            (Fault::DripPage { page, bytes }, random.between_scales(200, 3000))
        }
        22 => (Fault::FloodPage(page), random.between(500, 1500)),
        _ => {
            let after = if random.below(2) == 0 { 0 } else { random.index(400) };
            (Fault::CutPage { page, resets: random.below(2) == 0, after }, 0)
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} s, sessions are kept for {} s",
            self.seed,
            self.seconds,
            self.window.as_secs()
        )?;
        for step in &self.steps {
            let (at, lasts) = (step.at.as_secs_f64(), step.lasts.as_secs_f64());
            writeln!(f, "  {at:7.3} s for {lasts:6.3} s  {:?}", step.fault)?;
        }
        Ok(())
    }
}

mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_decides_its_schedule() {
        assert_eq!(Schedule::random(7, 30, 15), Schedule::random(7, 30, 15));
        assert_ne!(Schedule::random(7, 30, 15), Schedule::random(8, 30, 15));
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
