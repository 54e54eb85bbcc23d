//! Histories by seeds: many of them at once, and the shortest one that still fails.

use std::cell::RefCell;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};

/// Histories that are tried to find a shorter one that fails.
const SHRINKS_MAX: usize = 3000;

thread_local! {
    /// What the last panic said, and where.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What happens, and to whom.
pub(crate) trait World {
    type Setup: Debug;
    type Step: Debug + Clone;

    /// What a seed stands for.
    fn history(seed: u64) -> (Self::Setup, Vec<Self::Step>);

    /// With a trace it keeps all that is said.
    fn begin(setup: &Self::Setup, has_trace: bool) -> Self;

    fn step(&mut self, step: &Self::Step);

    /// The last of it.
    fn end(&mut self) {}

    fn trace(&mut self) -> Option<&mut Vec<String>>;

    /// Messages that pages have read.
    fn deliveries(&self) -> usize;
}

/// Lets all of them happen. The number of messages that pages have read.
///
/// # Panics
/// With the shortest history found that fails.
pub(crate) fn run<W: World>(seeds: impl Iterator<Item = u64> + Clone + Send) -> usize {
    panic::set_hook(Box::new(|info| SAID.with_borrow_mut(|said| *said = info.to_string())));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<(usize, Vec<u64>)> = std::thread::scope(|scope| {
        let start = |worker| {
            let seeds = seeds.clone().skip(worker).step_by(workers);
            scope.spawn(move || run_seeds::<W>(seeds))
        };
        let running: Vec<_> = (0..workers).map(start).collect();
        running.into_iter().map(|worker| worker.join().expect("faults of the world are caught")).collect()
    });
    let deliveries: usize = results.iter().map(|(deliveries, _)| deliveries).sum();
    let failed: Vec<u64> = results.into_iter().flat_map(|(_, failed)| failed).collect();
    println!("simulation: {} seeds, {deliveries} deliveries, {} seeds failed", seeds.count(), failed.len());
    let is_tally = std::env::var_os("SHAVEET_SIM_TALLY").is_some();
    let report = failed.iter().min().filter(|_| !is_tally).map(|&seed| report::<W>(seed));
    let _ = panic::take_hook();
    if let Some(report) = report {
        panic!("{report}");
    }
    assert!(failed.is_empty());
    deliveries
}

/// The number that an environment variable says.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Lets several histories happen: messages that pages have read, and the seeds that failed.
fn run_seeds<W: World>(seeds: impl Iterator<Item = u64>) -> (usize, Vec<u64>) {
    let (mut deliveries, mut failed) = (0, Vec::new());
    for seed in seeds {
        let (setup, steps) = W::history(seed);
        match happen::<W>(&setup, &steps, false) {
            Ok(count) => deliveries += count,
            Err(wrong) => {
                println!("seed {seed}: {}", wrong.replace('\n', " "));
                failed.push(seed);
            }
        }
    }
    (deliveries, failed)
}

/// Lets a history happen. The number of messages that pages have read, or what is wrong.
fn happen<W: World>(setup: &W::Setup, steps: &[W::Step], has_trace: bool) -> Result<usize, String> {
    let mut world = W::begin(setup, has_trace);
    let goes_well = |world: &mut W, said: &dyn Fn() -> String, deed: &dyn Fn(&mut W)| {
        if let Some(trace) = world.trace() {
            trace.push(said());
        }
        if panic::catch_unwind(AssertUnwindSafe(|| deed(world))).is_err() {
            let trace = world.trace().map_or(String::new(), |trace| trace.join("\n"));
            return Err(format!("{trace}\n{}", SAID.with_borrow(String::clone)));
        }
        Ok(())
    };
    for step in steps {
        goes_well(&mut world, &|| format!("{step:?}"), &|world| world.step(step))?;
    }
    goes_well(&mut world, &|| "the end".into(), &W::end)?;
    Ok(world.deliveries())
}

/// The line of the program that says that something is wrong.
fn place_of(wrong: &str) -> &str {
    let from = wrong.rfind("panicked at ").unwrap_or(0);
    wrong[from..].lines().next().unwrap_or_default()
}

/// What is wrong with a seed, with as little around it as can be.
fn report<W: World>(seed: u64) -> String {
    let (setup, mut steps) = W::history(seed);
    let (mut chunk, mut left) = (steps.len() / 2, SHRINKS_MAX);
    // Another fault is another story.
    let place = |steps: &[W::Step]| happen::<W>(&setup, steps, false).err().map(|wrong| place_of(&wrong).to_owned());
    let first = place(&steps);
    while chunk > 0 && left > 0 {
        let (mut start, before) = (0, steps.len());
        while start < steps.len() && left > 0 {
            let mut fewer = steps.clone();
            fewer.drain(start..(start + chunk).min(steps.len()));
            left -= 1;
            if place(&fewer) == first {
                steps = fewer;
            } else {
                start += chunk;
            }
        }
        if chunk > 1 || steps.len() == before {
            chunk /= 2;
        }
    }
    let wrong = happen::<W>(&setup, &steps, true).expect_err("it failed a moment ago");
    format!("SHAVEET_SIM_SEED={seed} fails; {} steps are enough:\n{setup:#?}\n{wrong}", steps.len())
}
