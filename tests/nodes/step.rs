//! What can happen, drawn up front: a history is a setup and a list of steps, each of which means something whatever was left out
//! before it.

use std::sync::Arc;

use fastrand::Rng;
use shaveet::clock::Ms;
use shaveet::hub::{Limits, Policies, Policy, SystemShare};

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) limits: Limits,
    /// As Redis 7.2 and later do.
    pub(crate) says_own_last: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The web application calls this node.
    Call(u8, Call),
    /// A page polls this node. If it is slow what is said to it stays on its way until it reads.
    Poll {
        page: u8,
        node: u8,
        start: Begin,
        is_slow: bool,
    },
    /// It takes what was said to it.
    Read(u8),
    /// It goes away, whatever it waits for.
    Leave(u8),
    /// A node has a turn.
    Turn(u8),
    /// So many commands of a node's are done, and nothing comes back yet.
    Do {
        node: u8,
        count: u8,
    },
    /// What Redis has said comes to a node, which has time to hear so much of it.
    Hear {
        node: u8,
        count: u8,
    },
    /// All that is on its way comes, and all nodes have turns, until nothing happens any more.
    Flow,
    /// Milliseconds pass, and everything flows meanwhile.
    Advance(u16),
    Trouble(Trouble),
    /// All pages poll and read until nothing is due.
    Round,
}

/// How a page begins that has no position yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    Acknowledged,
    Earliest,
    /// It is loaded anew, and has forgotten its position.
    Reloaded,
}

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Create(u8),
    Subscribe { client: u8, channel: u8 },
    Unsubscribe { client: u8, channel: u8 },
    Publish { channel: u8, exclude: Option<u8>, ttl: Option<u16>, once: bool },
    Rotate(u8),
    Kill(u8),
}

/// What is wrong, until everything is mended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// A node's connection breaks. What it has sent comes, or not.
    Reset {
        node: u8,
        comes: bool,
    },
    /// Nothing gets through between a node and Redis, either way.
    Cut(u8),
    /// What Redis says does not get to a node.
    Deaf(u8),
    /// What a node says does not get to Redis.
    Dumb(u8),
    /// A node has no turn.
    Hang(u8),
    /// All of that has an end.
    Mend(u8),
    /// It is killed, and another one begins in its place.
    Kill(u8),
    Freeze,
    /// It does one thing now and then: what is asked of it may come to be done when its caller has given up.
    Slow,
    Thaw,
    /// A node reads its settings anew.
    Reload(u8),
    /// It has no memory: it refuses to write; or has again.
    Full(bool),
    /// A replica has everything up to here.
    Replicate,
    /// The replica becomes the master: what came after is lost.
    FailOver,
    /// It starts anew, with all it had, after so many milliseconds.
    Restart(u16),
    /// FLUSHALL.
    Flush,
}

const STEPS: usize = 300;

pub(crate) const CLIENTS: u8 = 5;
pub(crate) const CHANNELS: u8 = 5;
pub(crate) const PAGES: u8 = 14;

pub(crate) fn draw(random: &mut Rng) -> (Setup, Vec<Step>) {
    let setup = Setup { nodes: random.usize(2..=4), limits: limits(random), says_own_last: random.bool() };
    // Some histories are quiet, some full of trouble, a few see the worst.
    let troubles = *random.choice(&[0, 2, 5, 10]).expect("there are some");
    let is_worst = random.u8(..4) == 0;
    // In some nothing is wrong but that one Redis takes the place of another, now and then.
    let fails_over = random.u8(..8) == 0;
    let mut steps = Vec::new();
    for client in 0..CLIENTS {
        steps.push(Step::Call(client, Call::Create(client)));
        steps.push(Step::Call(client, Call::Subscribe { client, channel: random.u8(..CHANNELS) }));
        steps.push(Step::Advance(50));
    }
    while steps.len() < STEPS {
        match random.u8(..20) {
            0 if fails_over => steps.extend([Step::Trouble(Trouble::FailOver), Step::Advance(9000)]),
            1 if fails_over => steps.push(Step::Trouble(Trouble::Replicate)),
            _ => steps.push(step(random, if fails_over { 0 } else { troubles }, is_worst)),
        }
    }
    (setup, steps)
}

fn step(random: &mut Rng, troubles: u8, is_worst: bool) -> Step {
    match random.u8(..100) {
        at if at < troubles => Step::Trouble(trouble(random, is_worst)),
        ..35 => Step::Call(random.u8(..), call(random)),
        35..60 => {
            let start = match random.u8(..20) {
                0 => Begin::Reloaded,
                1..8 => Begin::Acknowledged,
                _ => Begin::Earliest,
            };
            Step::Poll { page: random.u8(..PAGES), node: random.u8(..), start, is_slow: random.u8(..4) == 0 }
        }
        60..66 => Step::Read(random.u8(..PAGES)),
        66..68 => Step::Leave(random.u8(..PAGES)),
        68..72 => Step::Turn(random.u8(..)),
        72..75 => Step::Hear { node: random.u8(..), count: random.u8(..6) },
        75..81 => Step::Do { node: random.u8(..), count: random.u8(1..6) },
        81..92 => Step::Flow,
        92..98 => Step::Advance(match random.u8(..8) {
            0 => random.u16(5000..40_000),
            1..4 => random.u16(100..3000),
            _ => random.u16(1..100),
        }),
        _ => Step::Round,
    }
}

fn call(random: &mut Rng) -> Call {
    let (client, channel) = (random.u8(..CLIENTS), random.u8(..CHANNELS));
    match random.u8(..40) {
        0 | 1 => Call::Create(client),
        2..9 => Call::Subscribe { client, channel },
        9..13 => Call::Unsubscribe { client, channel },
        13 => Call::Rotate(client),
        14 if random.bool() => Call::Kill(client),
        _ => {
            let exclude = (random.u8(..6) == 0).then(|| random.u8(..CLIENTS));
            let ttl = (random.u8(..8) == 0).then(|| random.u16(1..20_000));
            Call::Publish { channel, exclude, ttl, once: random.u8(..3) == 0 }
        }
    }
}

fn trouble(random: &mut Rng, is_worst: bool) -> Trouble {
    let node = random.u8(..);
    match random.u8(..32) {
        0..4 => Trouble::Reset { node, comes: random.bool() },
        4..6 => Trouble::Cut(node),
        6..9 => Trouble::Deaf(node),
        9..11 => Trouble::Dumb(node),
        11..13 => Trouble::Hang(node),
        13..19 => Trouble::Mend(node),
        19..21 => Trouble::Kill(node),
        21 => *random.choice(&[Trouble::Freeze, Trouble::Slow]).expect("there are some"),
        22..24 => Trouble::Thaw,
        24 => Trouble::Full(true),
        25 => Trouble::Full(false),
        26 => Trouble::Restart(random.u16(..5000)),
        27 if is_worst => Trouble::Flush,
        28 | 29 if is_worst => Trouble::FailOver,
        31 => Trouble::Reload(node),
        _ => Trouble::Replicate,
    }
}

fn limits(random: &mut Rng) -> Limits {
    let policy = |random: &mut Rng| {
        Arc::new(Policy {
            history: *random.choice(&[2, 5, 20, 200]).expect("there are some"),
            history_system: *random
                .choice(&[SystemShare::Shared, SystemShare::Own(1), SystemShare::Own(10)])
                .expect("there are some"),
            history_bytes: *random.choice(&[200, 2000, 1 << 20]).expect("there are some"),
            history_age: Ms(*random.choice(&[60_000, 86_400_000]).expect("there are some")),
            presence: random.u8(..4) > 0,
        })
    };
    let policies = Policies { default: policy(random), by_prefix: vec![("chat-".into(), policy(random))] };
    Limits {
        policies,
        max_idle: Ms(*random.choice(&[5_000, 30_000]).expect("there are some")),
        min_alive: Ms(*random.choice(&[1_000, 10_000]).expect("there are some")),
        sweep_interval: Ms(*random.choice(&[1_000, 5_000]).expect("there are some")),
        // The library's own tests are about channels that are freed, and clients that are forgotten.
        channel_idle: Ms::from_secs(100_000),
        departed_max: 1000,
        departed_age: Ms::from_secs(100_000),
        answer_bytes: *random.choice(&[300, 1 << 20]).expect("there are some"),
        polls_per_client: *random.choice(&[3, 20]).expect("there are some"),
        clients_max: 1000,
        channels_max: 1000,
        subscriptions_max: 1000,
        history_bytes_max: usize::MAX,
    }
}
