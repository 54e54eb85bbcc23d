//! A web application and pages, over decoder, API and hub: what they do stands in the input, and a model that knows no ring
//! and no sweep judges what the pages get (`tests/simulation`).

#[path = "../../tests/simulation/edge.rs"]
mod edge;
#[path = "../../tests/simulation/judge.rs"]
mod judge;
#[path = "../../tests/simulation/model.rs"]
mod model;
#[path = "../../tests/simulation/step.rs"]
mod step;
#[path = "../../tests/simulation/world.rs"]
mod world;

use fastrand::Rng;
use shaveet::config::Config;
use step::Step;
use world::World;

/// Steps of a history: more find nothing that fewer do not.
const STEPS: usize = 600;

pub(crate) fn check(input: &[u8]) {
    let (config, steps) = history(input);
    let mut world = World::new(&config, false);
    steps.iter().for_each(|step| world.step(step));
}

/// What bytes stand for, four for each step: whoever changes some of them changes some of the steps, and no others.
fn history(bytes: &[u8]) -> (Config, Vec<Step>) {
    let mut seeds = bytes.chunks(4).map(|chunk| chunk.iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte)));
    let mut random = Rng::with_seed(seeds.next().unwrap_or(0));
    let config = step::setup(&mut random);
    let mut steps = vec![step::gathering(&mut random)];
    seeds.take(STEPS).for_each(|seed| step::one(&mut Rng::with_seed(seed), &mut steps));
    steps.push(Step::Settle);
    (config, steps)
}
