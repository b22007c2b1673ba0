//! Random faults on three real nodes, a real Redis and pages behind real connections that break: nothing is missed.
//!
//! `YAMABIKO_FAULT_SEED`, `YAMABIKO_FAULT_RUNS` and `YAMABIKO_FAULT_SECONDS` choose other schedules than the fixed ones.

mod checker;
mod native_page;
mod publishers;
mod pusher_pages;
mod record;
mod schedule;
mod shared;
mod view;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use self::checker::{Report, Violation};
use self::schedule::Schedule;
use super::history::seconds;

/// The seeds without a choice: together they have every kind of fault.
const FIXED: Range<u64> = 0..10;
const FIXED_SECONDS: u64 = 8;

/// How many runs share the machine. They wait for most of the time.
const PARALLEL: usize = 4;

#[test]
fn nothing_is_missed_under_random_faults() {
    let given = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let (seed, runs) = (given("YAMABIKO_FAULT_SEED"), given("YAMABIKO_FAULT_RUNS"));
    let is_chosen = seed.is_some() || runs.is_some();
    let first = seed.unwrap_or(FIXED.start);
    let seeds = if is_chosen { first..first + runs.unwrap_or(1) } else { FIXED };
    let seconds = given("YAMABIKO_FAULT_SECONDS").unwrap_or(if is_chosen { 20 } else { FIXED_SECONDS });

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
                    let report = world::play(&schedule);
                    eprintln!("seed {seed}: {} ({:.1} s)", summary(&report), start.elapsed().as_secs_f64());
                    totals.lock().unwrap().add(&schedule, report);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    let routes: BTreeMap<&str, usize> =
        totals.report.routes.iter().map(|(route, count)| (route.name(), *count)).collect();
    eprintln!(
        "{runs} schedules: {}\nfaults: {:?}\nroutes: {routes:?}",
        summary(&totals.report),
        totals.faults
    );
    assert!(totals.failures.is_empty(), "{}", totals.failures);
}

#[test]
fn the_fixed_schedules_have_every_kind_of_fault() {
    let mut totals = Totals::default();
    for seed in FIXED {
        let schedule = Schedule::random(seed, FIXED_SECONDS, world::PAGES);
        totals.add(&schedule, Report::default());
    }
    assert_eq!(totals.faults.len(), schedule::KINDS, "{:?}", totals.faults);
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
        "{} messages sent ({} acknowledged), {} received on {} connections, {} due, {} of them in one of {} gaps, {} times \
         recovered, {} sessions lost, {} received again (up to {} s old), {} violations",
        report.sent,
        report.acknowledged,
        report.received,
        report.connections,
        report.due,
        report.covered,
        report.gaps,
        report.recovered,
        report.sessions_lost,
        report.repeated,
        seconds(report.longest_repeat),
        report.violations.len()
    )
}

/// The report of a violation, with the command that repeats the run.
fn failure(schedule: &Schedule, report: &Report) -> String {
    const SHOWN: usize = 5;
    let mut text = format!("\n{schedule}");
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in &report.violations {
        *rules.entry(violation.rule).or_default() += 1;
    }
    let count = report.violations.len();
    writeln!(text, "{count} violations {rules:?}, of which the first {}:", count.min(SHOWN)).unwrap();
    // One of each rule first.
    let mut shown: Vec<&Violation> = Vec::new();
    for rule in rules.keys() {
        shown.extend(report.violations.iter().find(|violation| violation.rule == *rule));
    }
    for violation in shown.into_iter().chain(&report.violations).take(SHOWN) {
        writeln!(text, "  {}: {}", violation.rule, violation.text).unwrap();
    }
    let (seed, seconds) = (schedule.seed, schedule.seconds);
    writeln!(
        text,
        "again: YAMABIKO_FAULT_SEED={seed} YAMABIKO_FAULT_SECONDS={seconds} cargo test --locked --test it faults::recovery::"
    )
    .unwrap();
    text
}
