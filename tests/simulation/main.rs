//! A simulation: hub, API and HTTP decoder with a web application and pages, no socket, a clock that jumps, and chance.
//!
//! A naive model (`simulation/model.rs`) holds all that was ever published and who was subscribed when; it judges what
//! pages parse out of every answer: nothing missing, repeated, reordered or leaked, every gap that is told is real, and
//! every real gap is told. `Hub::check` and all counts are compared after every step.
//!
//! ```text
//!   cargo test --test simulation                            what CI runs: the seeds from 0 on
//!   SHAVEET_SIM_SEEDS=1000000 cargo test --release --test simulation -- --nocapture     for hours
//!   SHAVEET_SIM_FIRST=1000000 ...                           from that seed on
//!   SHAVEET_SIM_TALLY=1 ...                                 only says which seeds fail (for tests/mutations)
//!   SHAVEET_SIM_SEED=4711 cargo test --test simulation      one seed
//! ```
//!
//! A failure prints its seed and the shortest history found that still fails, with all that was said.

#![allow(clippy::unwrap_used, reason = "a test")]

mod edge;
mod judge;
mod model;
mod step;
mod world;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use shaveet::config::Config;
use step::Step;
use world::World;

/// Seeds that an ordinary run takes.
const SEEDS: u64 = 180;

/// Seeds from here on stand for histories in which the operator changes the limits now and then; so many of them are taken, too.
const RELOADED: u64 = 1 << 32;
const RELOADED_SEEDS: u64 = 60;

/// What those have to come to, in messages that pages have read: fewer would prove little.
const DELIVERIES_MIN: usize = 100_000;

/// Histories that are tried to find a shorter one that fails.
const SHRINKS_MAX: usize = 3000;

thread_local! {
    /// What the last panic said, and where.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

#[test]
fn every_page_gets_all_that_is_its_own_once_in_order_or_is_told() {
    panic::set_hook(Box::new(|info| SAID.with_borrow_mut(|said| *said = info.to_string())));
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("SHAVEET_SIM_SEED").or(number("SHAVEET_SIM_FIRST")).unwrap_or(0);
    let only = number("SHAVEET_SIM_SEED").map(|_| 1);
    let count = only.or(number("SHAVEET_SIM_SEEDS")).unwrap_or(SEEDS);
    let reloaded = if first == 0 && count == SEEDS { RELOADED_SEEDS } else { 0 };
    let seeds = || (first..first + count).chain(RELOADED..RELOADED + reloaded);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<(usize, Vec<u64>)> = std::thread::scope(|scope| {
        let start = |worker| scope.spawn(move || run_seeds(seeds().skip(worker).step_by(workers)));
        let running: Vec<_> = (0..workers).map(start).collect();
        running.into_iter().map(|worker| worker.join().expect("faults of the world are caught")).collect()
    });
    let deliveries: usize = results.iter().map(|(deliveries, _)| deliveries).sum();
    let failed: Vec<u64> = results.into_iter().flat_map(|(_, failed)| failed).collect();
    println!("simulation: {count} seeds from {first} on, {deliveries} deliveries, {} seeds failed", failed.len());
    let is_tally = std::env::var_os("SHAVEET_SIM_TALLY").is_some();
    let report = failed.iter().min().filter(|_| !is_tally).map(|&seed| report(seed));
    let _ = panic::take_hook();
    if let Some(report) = report {
        panic!("{report}");
    }
    assert!(failed.is_empty());
    assert!(count != SEEDS || deliveries >= DELIVERIES_MIN, "{deliveries} deliveries prove little");
}

/// Lets several histories happen: messages that pages have read, and the seeds that failed.
fn run_seeds(seeds: impl Iterator<Item = u64>) -> (usize, Vec<u64>) {
    let (mut deliveries, mut failed) = (0, Vec::new());
    for seed in seeds {
        let (config, steps) = history(seed);
        match run(&config, &steps, false) {
            Ok(count) => deliveries += count,
            Err(wrong) => {
                println!("seed {seed}: {}", wrong.replace('\n', " "));
                failed.push(seed);
            }
        }
    }
    (deliveries, failed)
}

/// What a seed stands for.
fn history(seed: u64) -> (Config, Vec<Step>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (config, mut steps) = (step::setup(&mut random), step::draw(&mut random));
    if seed >= RELOADED {
        for _ in 0..random.usize(1..12) {
            steps.insert(random.usize(..steps.len()), Step::Reload(random.u64(..)));
        }
    }
    (config, steps)
}

/// Lets a history happen. The number of messages that pages have read, or what is wrong.
fn run(config: &Config, steps: &[Step], has_trace: bool) -> Result<usize, String> {
    let mut world = World::new(config, has_trace);
    for step in steps {
        if let Some(trace) = &mut world.trace {
            trace.push(format!("{step:?}"));
        }
        if panic::catch_unwind(AssertUnwindSafe(|| world.step(step))).is_err() {
            let trace = world.trace.unwrap_or_default().join("\n");
            return Err(format!("{trace}\n{}", SAID.with_borrow(String::clone)));
        }
    }
    Ok(world.deliveries)
}

/// What is wrong with a seed, with as little around it as can be.
fn report(seed: u64) -> String {
    let (config, mut steps) = history(seed);
    let (mut chunk, mut left) = (steps.len() / 2, SHRINKS_MAX);
    while chunk > 0 && left > 0 {
        let (mut start, before) = (0, steps.len());
        while start < steps.len() && left > 0 {
            let mut fewer = steps.clone();
            fewer.drain(start..(start + chunk).min(steps.len()));
            left -= 1;
            if run(&config, &fewer, false).is_err() {
                steps = fewer;
            } else {
                start += chunk;
            }
        }
        if chunk > 1 || steps.len() == before {
            chunk /= 2;
        }
    }
    let wrong = run(&config, &steps, true).expect_err("it failed a moment ago");
    format!("SHAVEET_SIM_SEED={seed} fails; {} steps are enough:\n{config:#?}\n{wrong}", steps.len())
}
