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
mod seeds;
mod step;
mod world;

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

#[test]
fn every_page_gets_all_that_is_its_own_once_in_order_or_is_told() {
    let only = seeds::number("SHAVEET_SIM_SEED");
    let first = only.or(seeds::number("SHAVEET_SIM_FIRST")).unwrap_or(0);
    let count = only.map(|_| 1).or(seeds::number("SHAVEET_SIM_SEEDS")).unwrap_or(SEEDS);
    let reloaded = if first == 0 && count == SEEDS { RELOADED_SEEDS } else { 0 };
    let deliveries = seeds::run::<World>((first..first + count).chain(RELOADED..RELOADED + reloaded));
    assert!(count != SEEDS || deliveries >= DELIVERIES_MIN, "{deliveries} deliveries prove little");
}

impl seeds::World for World {
    type Setup = Config;
    type Step = Step;

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

    fn begin(config: &Config, has_trace: bool) -> World {
        World::new(config, has_trace)
    }

    fn step(&mut self, step: &Step) {
        World::step(self, step);
    }

    fn trace(&mut self) -> Option<&mut Vec<String>> {
        self.trace.as_mut()
    }

    fn deliveries(&self) -> usize {
        self.deliveries
    }
}
