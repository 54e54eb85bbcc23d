//! One node without sockets: hub, cluster and link, all of them the real ones, and the pages that poll it.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use shaveet::broker::{Address, Link, Options};
use shaveet::clock::Ms;
use shaveet::cluster::{Admission, Awake, Cluster};
use shaveet::config::Config;
use shaveet::hub::{Hub, Limits, Owner, Protocol, Since};
use shaveet::slots::Key;

pub(crate) struct Node {
    hub: Hub,
    cluster: Cluster,
    line: Option<u32>,
    /// Clients whose pages have come or come again, and how far they have come.
    comers: Vec<(u64, Since)>,
    /// Those that wait for their client to be fetched.
    visitors: HashMap<u64, Since>,
    pub(crate) deliveries: u64,
    /// What the longest turn took: in things that were looked at, and in CPU time.
    pub(crate) longest_steps: u64,
    pub(crate) longest_us: u64,
    is_busy: bool,
    /// Those who were asked to come again.
    failed: Vec<(u64, Since)>,
    random: fastrand::Rng,
}

/// What one turn may do, about what the server does in half a millisecond.
const EVENTS_PER_TURN: u64 = 128;
const POLLS_PER_TURN: usize = 128;
const LOOKS_PER_TURN: u32 = 512;

/// How long a page waits at most, and by how much less it may be, so that they spread.
const POLL_MS: u64 = 30_000;
const SPREAD_MS: u64 = 10_000;

impl Node {
    pub(crate) fn new(at: usize, max_idle: u64) -> Node {
        let limits = limits(max_idle);
        let address: Address = "redis://127.0.0.1".parse().expect("it is an address");
        let name = format!("node{at}");
        let timeout = Ms::from_secs(60);
        let link = Link::new(
            Options { address, prefix: "shaveet".into(), timeout, name: (&*name).into() },
            Ms::ZERO,
            at as u64,
        );
        Node {
            hub: Hub::following(Ms::ZERO, limits.clone()),
            cluster: Cluster::new(link, "shaveet", &name, &limits, at as u64),
            line: None,
            comers: Vec::new(),
            visitors: HashMap::new(),
            deliveries: 0,
            longest_steps: 0,
            longest_us: 0,
            is_busy: false,
            failed: Vec::new(),
            random: fastrand::Rng::with_seed(at as u64),
        }
    }

    /// A client's page comes, with no position.
    pub(crate) fn come(&mut self, client: usize) {
        self.comers.push((client as u64, Since::Acknowledged));
    }

    pub(crate) fn waiting(&self) -> usize {
        self.hub.stats().waiters
    }

    pub(crate) fn forget_longest(&mut self) {
        (self.longest_steps, self.longest_us) = (0, 0);
    }

    /// What has come from Redis.
    pub(crate) fn hear(&mut self, now: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.cluster.link.receive(Ms(now), bytes);
        }
    }

    /// Whether another turn is to follow at once.
    pub(crate) fn has_more(&self) -> bool {
        self.is_busy
    }

    /// One turn: so much of each kind of work as the server would do. What it asks of Redis.
    pub(crate) fn turn(&mut self, now: u64) -> Vec<u8> {
        let (now, began) = (Ms(now), cpu_us());
        let mut steps = 0;
        if self.cluster.link.next_timeout() <= now {
            self.cluster.link.handle_timeout(now);
        }
        self.keep_line(now);
        let mut budget = LOOKS_PER_TURN;
        self.hub.handle_timeout(now, &mut budget);
        steps += u64::from(LOOKS_PER_TURN - budget);
        let mut events = 0;
        while events < EVENTS_PER_TURN && self.cluster.hear_next(now, &mut self.hub) {
            events += 1;
        }
        for awake in self.cluster.take_awake() {
            if let Awake::Visitor(Owner(client)) = awake
                && let Some(since) = self.visitors.remove(&client)
            {
                steps += 1;
                self.poll(now, client, since);
            }
        }
        let comers = self.comers.len().saturating_sub(POLLS_PER_TURN);
        for (client, since) in self.comers.split_off(comers) {
            steps += 1;
            self.poll(now, client, since);
        }
        budget = LOOKS_PER_TURN;
        let mut answered = Vec::new();
        while let Some(answer) = self.hub.next_answer(now, &mut budget) {
            let position = answer.upto();
            self.deliveries += answer.messages().count() as u64;
            answered.push((answer.waiter(), answer.owner().0, position));
        }
        steps += events + u64::from(LOOKS_PER_TURN - budget);
        for (waiter, client, position) in answered {
            self.hub.delivered(now, waiter);
            self.comers.push((client, position.map_or(Since::Acknowledged, Since::At)));
        }
        self.cluster.turn(now, &mut self.hub);
        self.is_busy = self.cluster.link.has_events()
            || self.cluster.has_awake()
            || self.cluster.has_more()
            || !self.comers.is_empty()
            || self.hub.has_answers()
            || self.cluster.next_timeout().is_some_and(|at| at <= now)
            || self.hub.next_timeout().is_some_and(|at| at <= now);
        self.longest_steps = self.longest_steps.max(steps);
        self.longest_us = self.longest_us.max(cpu_us() - began);
        let asked = self.cluster.link.output().to_vec();
        self.cluster.link.sent(asked.len());
        asked
    }

    fn keep_line(&mut self, now: Ms) {
        let wanted = self.cluster.link.line().map(|(number, _)| number);
        if wanted != self.line {
            self.line = wanted;
            self.cluster.link.connected(now);
        }
    }

    fn poll(&mut self, now: Ms, client: u64, since: Since) {
        let (id, key) = (format!("c{client}"), format!("{client:032x}"));
        let upto = if let Since::At(position) = since { position } else { 0 };
        match self.cluster.admit(now, &self.hub, Owner(client), [(&*id, key.as_bytes())].into_iter(), Some(upto)) {
            Admission::Ready => {
                let deadline = now + Ms(POLL_MS - self.random.u64(..SPREAD_MS));
                let protocol = Protocol::Resume(since);
                let parked = self.hub.wait(now, Owner(client), &mut Key::unpack(0), [(&id, &key)], protocol, deadline);
                parked.expect("it is here, and its key is right");
            }
            Admission::Waits => {
                self.visitors.insert(client, since);
            }
            // It comes again.
            Admission::Failed(_) => self.failed.push((client, since)),
        }
    }

    /// Those who were sent away come again.
    pub(crate) fn retry(&mut self) {
        self.comers.append(&mut self.failed);
    }
}

fn limits(max_idle: u64) -> Limits {
    let mut config = Config { max_clients: 1 << 26, max_channels: 1 << 26, ..Config::default() };
    Arc::make_mut(&mut config.policies.default).presence = false;
    Limits { max_idle: Ms::from_secs(max_idle), ..config.hub_limits() }
}

/// CPU time of this thread.
fn cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
