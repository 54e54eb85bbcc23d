//! What a node tells Redis of the clients whose pages wait: how often, how evenly, and that it is no more than has to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use shaveet::clock::Ms;
use shaveet::hub::{Limits, Policies, Policy, SystemShare};

use super::node::{Asking, Medium, Node, Request, Start, Told, Way};
use super::redis::{Deed, Redis};

const BEGAN: u64 = 1_700_000_000_000;
const CLIENTS: u64 = 2000;
const MAX_IDLE: u64 = 30_000;

/// One node and its Redis.
struct Pair {
    node: Node,
    redis: Redis,
    now: u64,
    /// What Redis was asked, and when.
    deeds: Vec<(u64, Deed)>,
}

#[test]
fn waiting_clients_are_told_of_evenly_and_no_more_than_has_to_be() {
    let mut pair = Pair::with_pages();
    // The first round tells of all that may have been lost; from the second one on it is quiet.
    pair.pass(2 * MAX_IDLE / 3);
    pair.deeds.clear();
    pair.pass(MAX_IDLE / 3 + 1000);
    let told = pair.named("touch", |arguments| arguments[1..].to_vec());
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    told.iter().for_each(|(_, id)| *times.entry(id).or_default() += 1);
    assert_eq!(times.len() as u64, CLIENTS, "each is told of in a third of --max-idle, or a second more");
    assert!(times.values().all(|&count| count <= 2), "and once, or at the borders of a round twice");
    let mut by_second = BTreeMap::new();
    told.iter().for_each(|(at, _)| *by_second.entry(at / 1000).or_insert(0) += 1);
    let evenly = CLIENTS * 1000 / (MAX_IDLE / 3);
    let most = by_second.values().max().copied().unwrap_or(0);
    assert!(most <= 2 * evenly, "{most} in one second, where {evenly} are even: {by_second:?}");
    let calls = pair.deeds.iter().filter(|(_, deed)| deed.function == "touch").count() as u64;
    assert!(calls <= CLIENTS / 32, "{calls} calls");
    assert_eq!(pair.named("acknowledge_each", <[String]>::to_vec), [], "nobody has read anything");

    // Whoever has read something is told of once more, with how far it has come.
    let reads: Vec<u64> = (0..CLIENTS).step_by(100).collect();
    pair.publish();
    for &page in &reads {
        pair.hear(page);
    }
    pair.deeds.clear();
    pair.pass(MAX_IDLE);
    let positions = pair.named("acknowledge_each", |arguments| arguments.iter().step_by(3).cloned().collect());
    let names: std::collections::BTreeSet<String> = positions.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!((positions.len(), names.len()), (reads.len(), reads.len()), "once, in three rounds");
    assert!(!pair.named("sweep", <[String]>::to_vec).is_empty(), "it was swept meanwhile");
    assert_eq!(pair.node.hub.stats().clients as u64, CLIENTS, "and nobody was collected");
}

impl Pair {
    /// All clients have a stream parked.
    fn with_pages() -> Pair {
        let node = Node::new(0, "node", &limits(), 7);
        let mut pair = Pair { node, redis: Redis::new(BEGAN, false), now: 0, deeds: Vec::new() };
        pair.flow();
        for number in 0..CLIENTS {
            let id = format!("page{number}");
            let key = format!("{number:032x}");
            pair.ask(CLIENTS + number, &["create_client", &id, &key]);
            pair.ask(2 * CLIENTS + number, &["subscribe", &id, "room", ""]);
        }
        pair.flow();
        for number in 0..CLIENTS {
            let ids_and_keys = vec![(format!("page{number}"), format!("{number:032x}"))];
            let asking = Asking { ids_and_keys, start: Start::Acknowledged, medium: Medium::Socket };
            pair.node.ask(Request::Poll { owner: number, asking });
        }
        pair.flow();
        assert_eq!(pair.node.hub.stats().waiters as u64, CLIENTS);
        pair
    }

    fn ask(&mut self, owner: u64, parts: &[&str]) {
        self.node.ask(Request::Call { owner, parts: parts.iter().map(|part| (*part).to_owned()).collect() });
    }

    fn publish(&mut self) {
        self.ask(0, &["publish", "room", "\"web\"", "\"text\"", "", "", ""]);
        self.flow();
    }

    /// A page says that it has had all that there is.
    fn hear(&mut self, page: u64) {
        let waiter = self.node.waiter_of(page);
        let position = self.node.hub.position();
        self.node.delivered(self.now, waiter);
        self.node.heard(self.now, waiter, position);
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = self.node.next_timeout().clamp(self.now + 1, end);
            self.redis.set_time(BEGAN + self.now);
            self.flow();
        }
    }

    fn flow(&mut self) {
        loop {
            for told in self.node.turn(self.now, &mut self.redis, Way::Open) {
                if let Told::Called { result, .. } = told {
                    result.expect("it is done");
                }
            }
            let mut moved = self.node.carry(&mut self.redis, true, false);
            let connections: Vec<u64> = self.redis.connections.keys().copied().collect();
            for connection in connections {
                while let Some(done) = self.redis.take(connection) {
                    self.deeds.extend(done.map(|deed| (self.now, deed)));
                }
            }
            moved |= self.node.carry(&mut self.redis, false, true);
            if !moved {
                return;
            }
        }
    }

    /// Those that were named in the calls of a function, and when.
    fn named(&self, function: &str, names: impl Fn(&[String]) -> Vec<String>) -> Vec<(u64, String)> {
        let calls = self.deeds.iter().filter(|(_, deed)| deed.function == function);
        let named = calls.flat_map(|(at, deed)| {
            let texts: Vec<String> =
                deed.arguments.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect();
            names(&texts).into_iter().map(|name| (*at, name)).collect::<Vec<_>>()
        });
        named.collect()
    }
}

fn limits() -> Limits {
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
