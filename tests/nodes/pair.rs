//! One node and its Redis, with nothing wrong: for what a node asks of Redis, and how often.

use std::sync::Arc;

use shaveet::clock::Ms;
use shaveet::hub::{Limits, Policies, Policy, SystemShare};

use super::node::{Node, Request, Told, Way};
use super::redis::{Deed, Redis};

const BEGAN: u64 = 1_700_000_000_000;
pub(crate) const MAX_IDLE: u64 = 30_000;

/// One node and its Redis.
pub(crate) struct Pair {
    pub(crate) node: Node,
    pub(crate) redis: Redis,
    pub(crate) now: u64,
    /// What Redis was asked, and when.
    pub(crate) deeds: Vec<(u64, Deed)>,
    /// What the node has said to pages.
    pub(crate) told: Vec<Told>,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        let node = Node::new(0, "node", &limits(), 7);
        let mut pair = Pair { node, redis: Redis::new(BEGAN, false), now: 0, deeds: Vec::new(), told: Vec::new() };
        pair.flow();
        pair
    }

    /// With a client of this name, which the node has not heard of. And its key.
    pub(crate) fn with_client(id: &str) -> (Pair, String) {
        let (mut pair, key) = (Pair::new(), format!("{:032x}", 1));
        pair.ask(0, &["create_client", id, &key]);
        pair.flow();
        (pair, key)
    }

    pub(crate) fn ask(&mut self, owner: u64, parts: &[&str]) {
        self.node.ask(Request::Call { owner, parts: parts.iter().map(|part| (*part).to_owned()).collect() });
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = self.node.next_timeout().clamp(self.now + 1, end);
            self.redis.set_time(BEGAN + self.now);
            self.flow();
        }
    }

    pub(crate) fn flow(&mut self) {
        loop {
            for told in self.turn() {
                match told {
                    Told::Called { result, .. } => drop(result.expect("it is done")),
                    told => self.told.push(told),
                }
            }
            let mut moved = self.node.carry(&mut self.redis, true, false);
            self.serve();
            moved |= self.node.carry(&mut self.redis, false, true);
            if !moved {
                return;
            }
        }
    }

    /// A turn of the node, and what it says to others.
    pub(crate) fn turn(&mut self) -> Vec<Told> {
        self.node.turn(self.now, &mut self.redis, Way::Open)
    }

    /// The same, with time to hear so much.
    pub(crate) fn turn_hearing(&mut self, most: usize) {
        let told = self.node.turn_hearing(self.now, &mut self.redis, Way::Open, most);
        self.told.extend(told);
    }

    /// Redis does what the node has asked; what comes of it is on its way.
    pub(crate) fn send(&mut self) {
        self.node.carry(&mut self.redis, true, false);
        self.serve();
    }

    /// What is on its way has come to the node.
    pub(crate) fn receive(&mut self) {
        self.node.carry(&mut self.redis, false, true);
    }

    /// The texts of the first answer that a page was given.
    pub(crate) fn given(&self, owner: u64) -> Option<Vec<&str>> {
        self.told.iter().find_map(|told| match told {
            Told::Given(given) if given.owner == owner => Some(given.messages.iter().map(|got| &*got.text).collect()),
            _ => None,
        })
    }

    /// Redis does all that has come to it.
    pub(crate) fn serve(&mut self) {
        let connections: Vec<u64> = self.redis.connections.keys().copied().collect();
        for connection in connections {
            while let Some(done) = self.redis.take(connection) {
                self.deeds.extend(done.map(|deed| (self.now, deed)));
            }
        }
    }

    /// Those that were named in the calls of a function, and when.
    pub(crate) fn named(&self, function: &str, names: impl Fn(&[String]) -> Vec<String>) -> Vec<(u64, String)> {
        let calls = self.deeds.iter().filter(|(_, deed)| deed.function == function);
        let named = calls.flat_map(|(at, deed)| {
            let texts: Vec<String> =
                deed.arguments.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect();
            names(&texts).into_iter().map(|name| (*at, name)).collect::<Vec<_>>()
        });
        named.collect()
    }
}

/// A call as another node would write it: a function and its arguments.
pub(crate) fn command(parts: &[&str]) -> Vec<u8> {
    let function = format!("shaveet1_{}", parts[0]);
    let words = ["FCALL", &*function, "1", "{shaveet}:hub"].into_iter().chain(parts[1..].iter().copied());
    let words: Vec<String> = words.map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat()).into()
}

pub(crate) fn limits() -> Limits {
    let policy = Policy {
        history: 20,
        history_system: SystemShare::Shared,
        history_bytes: 1 << 20,
        history_age: Ms::from_secs(600),
        presence: false,
    };
    Limits {
        policies: Policies { default: Arc::new(policy), by_prefix: Vec::new() },
        max_idle: Ms(MAX_IDLE),
        min_alive: Ms::from_secs(1),
        sweep_interval: Ms::from_secs(1),
        channel_idle: Ms::from_secs(100_000),
        departed_max: 1000,
        departed_age: Ms::from_secs(100_000),
        answer_bytes: 1 << 20,
        polls_per_client: 20,
        clients_max: 1_000_000,
        channels_max: 1000,
        subscriptions_max: 1000,
        history_bytes_max: usize::MAX,
    }
}
