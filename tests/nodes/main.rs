//! A simulation of several nodes: each a hub, a cluster and a link, all the real ones, over one modelled Redis that runs the very
//! functions of `library.lua`; the web application and pages that go from node to node; no socket, a clock that jumps, and chance.
//!
//! Redis delays, freezes, is slow, starts anew, loses its last writes, is wiped; connections break, or carry nothing, or only
//! one way; nodes hang, die, read their settings anew and come back empty. The judge (`judge.rs`) knows what was called and
//! published, in Redis's order, and says of every answer whether it is right.
//!
//! ```text
//!   cargo test --test nodes                            what CI runs: the seeds from 0 on
//!   SHAVEET_SIM_SEEDS=100000 cargo test --release --test nodes -- --nocapture     for hours
//!   SHAVEET_SIM_FIRST=100000 ...                       from that seed on
//!   SHAVEET_SIM_TALLY=1 ...                            only says which seeds fail
//!   SHAVEET_SIM_SEED=4711 cargo test --test nodes      one seed
//! ```
//!
//! A failure prints its seed and the shortest history found that still fails, with all that was said.

#![allow(clippy::unwrap_used, reason = "a test")]

mod judge;
mod keyspace;
mod leases;
mod model;
mod node;
mod pair;
mod positions;
mod recovery;
mod redis;
#[path = "../simulation/seeds.rs"]
mod seeds;
mod step;
mod strangers;
mod upkeep;
mod visits;
mod world;

use step::{Setup, Step};
use world::World;

/// Seeds that an ordinary run takes.
const SEEDS: u64 = 200;

/// What they have to come to, in messages that pages have read: fewer would prove little.
const DELIVERIES_MIN: usize = 20_000;

#[test]
fn every_page_gets_all_that_is_its_own_from_whatever_node() {
    let only = seeds::number("SHAVEET_SIM_SEED");
    let first = only.or(seeds::number("SHAVEET_SIM_FIRST")).unwrap_or(0);
    let count = only.map(|_| 1).or(seeds::number("SHAVEET_SIM_SEEDS")).unwrap_or(SEEDS);
    let deliveries = seeds::run::<World>(first..first + count);
    assert!(count != SEEDS || deliveries >= DELIVERIES_MIN, "{deliveries} deliveries prove little");
}

impl seeds::World for World {
    type Setup = Setup;
    type Step = Step;

    fn history(seed: u64) -> (Setup, Vec<Step>) {
        step::draw(&mut fastrand::Rng::with_seed(seed))
    }

    fn begin(setup: &Setup, has_trace: bool) -> World {
        World::new(setup, has_trace)
    }

    fn step(&mut self, step: &Step) {
        World::step(self, step);
    }

    fn end(&mut self) {
        self.settle();
    }

    fn trace(&mut self) -> Option<&mut Vec<String>> {
        self.trace.as_mut()
    }

    fn deliveries(&self) -> usize {
        World::deliveries(self)
    }
}
