//! Random faults on three real nodes and a real Redis, and what must hold in spite of them.
//!
//! `YAMABIKO_FAULT_SEED`, `YAMABIKO_FAULT_RUNS` and `YAMABIKO_FAULT_SECONDS` choose other schedules than the fixed ones.

mod checker;
mod client;
mod history;
mod publisher;
mod recovery;
mod schedule;
mod shared;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use self::checker::{Report, check};
use self::schedule::Schedule;

/// The seeds without a choice: together they have each kind of fault at least three times.
const FIXED: Range<u64> = 996..1004;
const FIXED_SECONDS: u64 = 8;

/// How many runs share the machine. They wait for most of the time.
const PARALLEL: usize = 4;

#[test]
fn promises_hold_under_random_faults() {
    let given = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let (seed, runs) = (given("YAMABIKO_FAULT_SEED"), given("YAMABIKO_FAULT_RUNS"));
    let is_chosen = seed.is_some() || runs.is_some();
    let first = seed.unwrap_or(FIXED.start);
    let seeds = if is_chosen { first..first + runs.unwrap_or(1) } else { FIXED };
    let seconds = given("YAMABIKO_FAULT_SECONDS").unwrap_or(if is_chosen { 30 } else { FIXED_SECONDS });

    let runs = seeds.clone().count();
    let waiting = Mutex::new(seeds);
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(runs) {
            scope.spawn(|| {
                loop {
                    let Some(seed) = waiting.lock().unwrap().next() else { return };
                    let schedule = Schedule::random(seed, seconds, world::PAGES);
                    let start = Instant::now();
                    let history = world::play(&schedule);
                    let report = check(&history);
                    eprintln!("seed {seed}: {} ({:.1} s)", summary(&report), start.elapsed().as_secs_f64());
                    totals.lock().unwrap().add(&schedule, report);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    eprintln!("{runs} schedules: {}\nfaults: {:?}", summary(&totals.report), totals.faults);
    assert!(totals.failures.is_empty(), "{}", totals.failures);
}

#[test]
fn the_fixed_schedules_have_every_kind_of_fault() {
    let mut totals = Totals::default();
    for seed in FIXED {
        totals.add(&Schedule::random(seed, FIXED_SECONDS, world::PAGES), Report::default());
    }
    assert_eq!(totals.faults.len(), schedule::KINDS, "{:?}", totals.faults);
    assert!(totals.faults.values().all(|count| *count >= 3), "{:?}", totals.faults);
}

/// The totals of all runs.
#[derive(Default)]
struct Totals {
    report: Report,
    faults: BTreeMap<&'static str, usize>,
    failures: String,
}

impl Totals {
    fn add(&mut self, schedule: &Schedule, report: Report) {
        for step in &schedule.steps {
            *self.faults.entry(step.fault.kind()).or_default() += 1;
        }
        if !report.violations.is_empty() {
            let failure = failure(schedule, &report);
            eprintln!("{failure}");
            self.failures.push_str(&failure);
        }
        self.report.add(report);
    }
}

fn summary(report: &Report) -> String {
    format!(
        "{} messages sent ({} accepted, {} refused, {} unknown), {} deliveries, {} of them required, {} refused and \
         delivered for a lost answer, {} refused without a fault, {} violations",
        report.sent,
        report.accepted,
        report.refused,
        report.unknown,
        report.delivered,
        report.required,
        report.answers_lost,
        report.refused_without_fault,
        report.violations.len()
    )
}

/// The report of a violation, with the command that repeats the run.
fn failure(schedule: &Schedule, report: &Report) -> String {
    const SHOWN: usize = 5;
    let mut text = format!("\n{schedule}");
    let count = report.violations.len();
    writeln!(text, "{count} violations, of which the first {}:", count.min(SHOWN)).unwrap();
    for violation in report.violations.iter().take(SHOWN) {
        writeln!(text, "  {}: {}", violation.rule, violation.text).unwrap();
    }
    let (seed, seconds) = (schedule.seed, schedule.seconds);
    writeln!(
        text,
        "again: YAMABIKO_FAULT_SEED={seed} YAMABIKO_FAULT_SECONDS={seconds} cargo test --locked --test it faults::"
    )
    .unwrap();
    text
}
