//! Random faults on three real nodes and a real Redis, and what must hold in spite of them.
//!
//! `YAMABIKO_FAULT_SEED`, `YAMABIKO_FAULT_RUNS` and `YAMABIKO_FAULT_SECONDS` choose other schedules than the fixed ones.

mod checker;
mod client;
mod history;
mod publisher;
mod schedule;
mod shared;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use self::checker::{Report, check};
use self::schedule::Schedule;

/// How many runs share the machine. They wait for most of the time.
const PARALLEL: usize = 4;

#[test]
fn promises_hold_under_random_faults() {
    let given = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let (seed, runs) = (given("YAMABIKO_FAULT_SEED"), given("YAMABIKO_FAULT_RUNS"));
    // Without a choice these are the runs that every change goes through.
    let is_chosen = seed.is_some() || runs.is_some();
    let (first, runs) = (seed.unwrap_or(1), runs.unwrap_or(if is_chosen { 1 } else { 8 }));
    let seconds = given("YAMABIKO_FAULT_SECONDS").unwrap_or(if is_chosen { 30 } else { 8 });

    let waiting = Mutex::new(first..first + runs);
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(usize::try_from(runs).unwrap()) {
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

/// What all runs together were.
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

/// What to look at, and how to run it again.
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
