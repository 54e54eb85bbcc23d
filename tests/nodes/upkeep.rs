//! What a node tells Redis of the clients whose pages wait: how often, how evenly, and that it is no more than has to be.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Asking, Medium, Request, Start};
use super::pair::{MAX_IDLE, Pair};

const CLIENTS: u64 = 2000;

#[test]
fn waiting_clients_are_told_of_evenly_and_no_more_than_has_to_be() {
    let mut pair = Pair::with_pages();
    // The first round tells of all that may have been lost; from the second one on it is quiet.
    pair.pass(2 * MAX_IDLE / 3);
    pair.deeds.clear();
    pair.pass(MAX_IDLE / 3 + 1000);
    let told = pair.named("touch", |arguments| arguments[2..].to_vec());
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
    let positions = pair.named("acknowledge_each", |arguments| arguments[1..].iter().step_by(3).cloned().collect());
    let names: BTreeSet<String> = positions.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!((positions.len(), names.len()), (reads.len(), reads.len()), "once, in three rounds");
    assert!(!pair.named("sweep", <[String]>::to_vec).is_empty(), "it was swept meanwhile");
    assert_eq!(pair.node.hub.stats().clients as u64, CLIENTS, "and nobody was collected");
}

impl Pair {
    /// All clients have a stream parked.
    fn with_pages() -> Pair {
        let mut pair = Pair::new();
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
}
