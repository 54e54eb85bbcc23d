//! What can happen, drawn up front: a history is a setup and a list of steps.
//!
//! A step says everything that chance decides in it, and names things by small numbers that are taken modulo what there
//! is when its turn comes. So any steps can be left out and the rest still means something: that is how a history shrinks.

use std::sync::Arc;

use fastrand::Rng;
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::hub::{Policies, Policy, SystemShare};

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The web application calls a method.
    Call(Call, Dialect),
    /// It calls several in one batch.
    Batch(Vec<Call>),
    /// A page polls.
    Poll(Polling),
    /// The rest of a request that came in part.
    Arrive(u8),
    /// The server writes answers: looks it may take, answers it may write, bytes of each that the sockets take at once.
    Deliver { looks: u8, answers: u8, take: u16 },
    /// A socket takes more.
    Flush { connection: u8, bytes: u16 },
    /// A page reads what has come.
    Read(u8),
    /// A connection breaks on the page's side; the server may hear of it, or go on writing into the void.
    Break { connection: u8, is_heard: bool },
    /// Milliseconds pass.
    Advance(u16),
    /// The hub does what is due, so many reminders of it.
    Expire(u8),
    /// The server starts anew.
    Restart(Restart),
    /// The operator changes limits and times: a seed.
    Reload(u64),
    /// Another process takes the server over, with its connections.
    TakeOver,
    /// Everything under way comes to its end.
    Settle,
    /// These calls, and all pages poll and read until nothing is due.
    Round(Vec<Call>),
}

/// How a server came to start anew.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Restart {
    /// It was killed, and has forgotten everything.
    Killed,
    /// It was stopped, so it has answered its polls, and has forgotten everything.
    Stopped,
    /// It was stopped, and goes on after so many seconds from what it has written down.
    Saved { away_s: u8 },
}

/// A poll.
#[derive(Clone, Debug)]
pub(crate) struct Polling {
    pub(crate) page: u8,
    pub(crate) since: Since,
    pub(crate) credential: Credential,
    pub(crate) callback: bool,
    /// Where the request is cut into packets: a seed.
    pub(crate) cuts: u64,
    /// Only the first packet comes for now.
    pub(crate) is_held: bool,
    pub(crate) is_last: bool,
}

/// What a page of the resume protocol says it has had.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Since {
    /// What it was told last.
    Mine,
    /// What it was told some answers ago: it repeats itself, or is another tab that began there.
    Older(u8),
    /// Nothing: it has just been loaded.
    Nothing,
    /// A position that is still to come.
    Future,
    /// No position at all.
    Bad,
}

/// What a page shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credential {
    Current,
    /// The one that it had before.
    Stale,
    Wrong,
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    Original,
    Two,
    Named,
}

/// A call of the web application's.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Create(u8),
    Subscribe { client: u8, channel: u8, since: Option<Past> },
    Unsubscribe { client: u8, channel: u8 },
    SubscribeMany(Vec<(u8, Vec<u8>)>),
    UnsubscribeMany(Vec<(u8, Vec<u8>)>),
    UnsubscribeAll { channel: u8, exclude: Vec<u8> },
    NewMessage { channel: u8, size: u8 },
    Publish { channels: Vec<u8>, size: u8, from: u8, options: Options, is_broadcast: bool },
    Kill(u8),
    Rotate(u8),
    History { channel: u8, since: Option<Past>, limit: Option<u8> },
    ChannelInfo(u8),
    ClientInfo(u8),
    ChannelClients(u8),
    ClientChannels(u8),
    ListChannels,
    ListClients,
}

/// A position in the past.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Past {
    /// So many messages ago.
    Back(u8),
    /// Of another epoch.
    Foreign,
}

/// The options of `publish`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) exclude: Vec<u8>,
    pub(crate) ttl: Option<u16>,
    pub(crate) once: Option<u8>,
}

/// How many steps a history has.
const STEPS: usize = 600;

/// The steps that a seed stands for.
pub(crate) fn draw(random: &mut Rng) -> Vec<Step> {
    let mut steps = vec![gathering(random)];
    while steps.len() < STEPS {
        one(random, &mut steps);
    }
    steps.push(Step::Settle);
    steps
}

/// Something that happens, and what must come behind it.
pub(crate) fn one(random: &mut Rng, steps: &mut Vec<Step>) {
    let byte = random.u8(..);
    steps.push(match random.u32(0..1000) {
        0..260 => Step::Call(call(random), dialect(random)),
        260..280 => Step::Batch((0..random.usize(1..5)).map(|_| call(random)).collect()),
        280..480 => Step::Poll(polling(random)),
        480..490 => Step::Arrive(byte),
        490..690 => deliver(random),
        690..740 => Step::Flush { connection: byte, bytes: random.u16(1..600) },
        740..830 => Step::Read(byte),
        830..860 => Step::Break { connection: byte, is_heard: random.bool() },
        860..910 => Step::Advance(if random.u8(..) < 200 { random.u16(0..20) } else { random.u16(0..700) }),
        910..940 => Step::Expire(if random.bool() { random.u8(1..4) } else { 255 }),
        940..943 => Step::Restart(restart(random)),
        943..946 => Step::TakeOver,
        946..954 => Step::Settle,
        954..957 => gathering(random),
        _ => Step::Round((0..random.usize(1..12)).map(|_| everyday_call(random)).collect()),
    });
    if let Some(Step::Restart(Restart::Killed | Restart::Stopped)) = steps.last() {
        steps.push(gathering(random));
    }
}

/// Most clients are made and subscribed to something.
pub(crate) fn gathering(random: &mut Rng) -> Step {
    let clients = (0..6).flat_map(|client| {
        let subscriptions = (0..random.usize(0..5)).map(|_| random.u8(..));
        let subscriptions = subscriptions.map(|channel| Call::Subscribe { client, channel, since: None });
        std::iter::once(Call::Create(client)).chain(subscriptions.collect::<Vec<_>>())
    });
    Step::Round(clients.collect())
}

fn everyday_call(random: &mut Rng) -> Call {
    match random.u8(0..10) {
        0 => call(random),
        1..4 => publish(random),
        _ => Call::NewMessage { channel: random.u8(..), size: size(random) },
    }
}

impl Polling {
    /// As a page polls most of the time.
    pub(crate) fn everyday(page: usize) -> Polling {
        Polling {
            page: u8::try_from(page).expect("there are few pages"),
            since: Since::Mine,
            credential: Credential::Current,
            callback: false,
            cuts: 0,
            is_held: false,
            is_last: false,
        }
    }
}

fn restart(random: &mut Rng) -> Restart {
    match random.u8(0..4) {
        0 => Restart::Killed,
        1 => Restart::Stopped,
        _ => Restart::Saved { away_s: if random.bool() { 0 } else { random.u8(..) } },
    }
}

fn deliver(random: &mut Rng) -> Step {
    match random.u8(0..4) {
        0 => Step::Deliver { looks: random.u8(1..5), answers: 255, take: u16::MAX },
        1 => Step::Deliver { looks: 255, answers: random.u8(1..4), take: random.u16(0..600) },
        _ => Step::Deliver { looks: 255, answers: 255, take: u16::MAX },
    }
}

fn polling(random: &mut Rng) -> Polling {
    Polling {
        page: random.u8(..),
        since: match random.u8(0..40) {
            0..30 => Since::Mine,
            30..35 => Since::Older(random.u8(0..6)),
            35..38 => Since::Nothing,
            38 => Since::Future,
            _ => Since::Bad,
        },
        credential: match random.u8(0..30) {
            0 => Credential::Stale,
            1 => Credential::Wrong,
            _ => Credential::Current,
        },
        callback: random.bool(),
        cuts: if random.bool() { 0 } else { random.u64(..) },
        is_held: random.u8(0..20) == 0,
        is_last: random.u8(0..8) == 0,
    }
}

fn dialect(random: &mut Rng) -> Dialect {
    *random.choice(&[Dialect::Original, Dialect::Two, Dialect::Named]).expect("there are three")
}

fn call(random: &mut Rng) -> Call {
    let (client, channel) = (random.u8(..), random.u8(..));
    match random.u32(0..200) {
        0..25 => Call::Create(client),
        25..55 => Call::Subscribe { client, channel, since: (random.u8(0..3) == 0).then(|| past(random)) },
        55..67 => Call::Unsubscribe { client, channel },
        67..71 => Call::SubscribeMany(pairs(random)),
        71..73 => Call::UnsubscribeMany(pairs(random)),
        73..75 => Call::UnsubscribeAll { channel, exclude: some(random) },
        75..105 => Call::NewMessage { channel, size: size(random) },
        105..160 => publish(random),
        160..163 => Call::Kill(client),
        163..167 => Call::Rotate(client),
        167..175 => Call::History {
            channel,
            since: random.bool().then(|| past(random)),
            limit: random.bool().then(|| random.u8(0..9)),
        },
        175..180 => Call::ChannelInfo(channel),
        180..185 => Call::ClientInfo(client),
        185..190 => Call::ChannelClients(channel),
        190..195 => Call::ClientChannels(client),
        195..198 => Call::ListChannels,
        _ => Call::ListClients,
    }
}

fn publish(random: &mut Rng) -> Call {
    let is_broadcast = random.u8(0..4) == 0;
    let count = if is_broadcast { random.usize(0..5) } else { 1 };
    let is_plain = random.bool();
    Call::Publish {
        channels: (0..count).map(|_| random.u8(..)).collect(),
        size: size(random),
        from: random.u8(..),
        options: if is_plain {
            Options::default()
        } else {
            Options {
                exclude: some(random),
                ttl: random.bool().then(|| random.u16(0..400)),
                once: random.bool().then(|| random.u8(0..5)),
            }
        },
        is_broadcast,
    }
}

fn past(random: &mut Rng) -> Past {
    if random.u8(0..10) == 0 { Past::Foreign } else { Past::Back(random.u8(0..40)) }
}

fn size(random: &mut Rng) -> u8 {
    if random.u8(0..5) == 0 { random.u8(..) } else { random.u8(0..10) }
}

fn some(random: &mut Rng) -> Vec<u8> {
    (0..random.usize(0..3)).map(|_| random.u8(..)).collect()
}

fn pairs(random: &mut Rng) -> Vec<(u8, Vec<u8>)> {
    (0..random.usize(0..4)).map(|_| (random.u8(..), some(random))).collect()
}

/// A configuration that may follow this one. The model does not follow everything into the past: how long those are remembered who
/// have departed before, which polls or subscriptions are too many after the fact, what all channels together keep.
pub(crate) fn changed(old: &Config, random: &mut Rng) -> Config {
    let Config { poll_timeout, history_total, max_polls, max_subscriptions, departed_age, .. } = *old;
    Config { poll_timeout, history_total, max_polls, max_subscriptions, departed_age, ..setup(random) }
}

/// The server's configuration: limits that are reached soon, times that pass soon.
pub(crate) fn setup(random: &mut Rng) -> Config {
    let policies = Policies {
        default: Arc::new(policy(random)),
        by_prefix: vec![
            ("chat-".to_owned(), Arc::new(policy(random))),
            ("chat-big".to_owned(), Arc::new(policy(random))),
        ],
    };
    let is_roomy = random.bool();
    Config {
        policies,
        poll_timeout: if random.bool() { Ms(9) } else { Ms(random.u64(100..3000)) },
        max_idle: Ms(random.u64(10..500)),
        min_alive: Ms(random.u64(10..2000)),
        sweep_interval: Ms(random.u64(1..500)),
        channel_idle: Ms(random.u64(100..2000)),
        history_total: if is_roomy { 1 << 20 } else { random.usize(100..3000) },
        max_clients: random.usize(3..9),
        max_channels: random.usize(3..9),
        max_subscriptions: random.usize(2..9),
        max_polls: random.usize(1..6),
        max_poll_rate: 1_000_000,
        departed_max: random.usize(1..5),
        departed_age: Ms(random.u64(100..9000)),
        max_answer: if random.bool() { 1 << 20 } else { random.usize(30..600) },
        ..Config::default()
    }
}

fn policy(random: &mut Rng) -> Policy {
    Policy {
        history: random.usize(1..12),
        history_system: if random.bool() { SystemShare::Shared } else { SystemShare::Own(random.usize(1..8)) },
        history_bytes: if random.bool() { 1 << 20 } else { random.usize(40..900) },
        history_age: if random.bool() { Ms(1 << 30) } else { Ms(random.u64(50..3000)) },
        presence: random.u8(0..6) > 0,
    }
}
