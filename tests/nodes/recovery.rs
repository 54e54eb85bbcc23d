//! A node that comes back to Redis: what it asks for, what it waits for, and what pages notice of it.

use super::node::{Asking, Medium, Request, Start, Told};
use super::pair::{Pair, limits};

/// What a call may not leave waiting in the link if others are to be taken.
const CROWD_BYTES: usize = 17 << 20;

fn asking(id: &str, key: &str, start: Start, medium: Medium) -> Asking {
    Asking { ids_and_keys: vec![(id.into(), key.into())], start, medium }
}

/// A page waits for alice, who is subscribed to the room.
fn with_page(medium: Medium) -> (Pair, String) {
    let (mut pair, key) = Pair::with_client("alice");
    pair.ask(0, &["subscribe", "alice", "room", ""]);
    pair.node.ask(Request::Poll { owner: 1, asking: asking("alice", &key, Start::Acknowledged, medium) });
    pair.flow();
    (pair, key)
}

fn publish(pair: &mut Pair, text: &str) {
    pair.ask(0, &["publish", "room", "\"web\"", &format!("\"{text}\""), "", "", ""]);
}

/// Its connection breaks, and is made again; hello is on its way.
fn come_back(pair: &mut Pair) {
    pair.node.reset(pair.now, &mut pair.redis, true);
    loop {
        pair.now += 20;
        pair.turn_hearing(usize::MAX);
        if pair.node.cluster.link.is_live() {
            return;
        }
        pair.send();
        pair.receive();
    }
}

#[test]
fn a_node_that_cannot_ask_as_the_link_is_full_sleeps_until_it_can() {
    let (mut pair, _) = with_page(Medium::Resume);
    come_back(&mut pair);
    pair.send();
    pair.receive();
    // In the turn in which it is let in the link is full.
    pair.ask(0, &["list_channels", &"x".repeat(CROWD_BYTES), "0", "1", "1"]);
    pair.turn_hearing(1);
    assert!(pair.node.hub.is_behind() && !pair.node.cluster.has_more(), "it would go in circles");
    assert!((pair.now + 1..=pair.now + 100).contains(&pair.node.next_timeout()), "it comes back soon");
    pair.pass(200);
    assert!(!pair.node.hub.is_behind(), "it goes on by itself");
}

#[test]
fn what_was_asked_for_before_all_was_lost_is_nothing_that_is_waited_for_after_that() {
    let (mut pair, key) = with_page(Medium::Resume);
    let replica = pair.redis.keyspace();
    publish(&mut pair, "lost");
    pair.flow();
    let (epoch, seq) = (pair.node.cluster.epoch().expect("it is let in"), pair.node.hub.position());
    let asking = asking("alice", &key, Start::Behind { epoch, seq }, Medium::Resume);
    pair.node.ask(Request::Poll { owner: 2, asking });
    pair.flow();
    // A replica takes the place of Redis, which lacks the last message. When the node asks for what there is all is lost.
    pair.redis.restart(replica, 1);
    come_back(&mut pair);
    pair.send();
    pair.receive();
    pair.turn_hearing(usize::MAX);
    pair.redis.flush();
    pair.deeds.clear();
    // It hears that there is another epoch, says hello, and puts the message back all the same.
    pair.send();
    pair.receive();
    pair.turn_hearing(usize::MAX);
    pair.send();
    assert!(
        ["hello", "heal", "look"].iter().all(|function| asks(&pair, function)),
        "they are done, in the other epoch"
    );
    pair.receive();
    // It hears that, and asks for all of it anew, before it has heard the rest.
    pair.turn_hearing(1);
    while pair.node.is_beginning_anew() {
        pair.turn_hearing(0);
    }
    pair.turn_hearing(usize::MAX);
    assert!(pair.node.hub.is_behind(), "its client has not come");
    pair.flow();
    assert!(!pair.node.hub.is_behind());
    let is_told = |told: &Told| matches!(told, Told::Given(given) if given.owner == 2 && !given.gaps.is_empty());
    assert!(pair.told.iter().any(is_told), "{:?}", pair.told);
}

#[test]
fn nobody_notices_that_a_node_reads_its_settings_anew() {
    let (mut pair, key) = with_page(Medium::Original);
    publish(&mut pair, "one");
    pair.flow();
    assert_eq!(pair.given(1).as_deref(), Some(&["one"][..]));
    let waiter = pair.node.waiter_of(1);
    pair.deeds.clear();
    // While the answer is on its way.
    pair.node.reload(pair.now, &limits());
    pair.flow();
    assert!(asks(&pair, "hello"));
    assert!(!pair.node.hub.is_behind());
    pair.node.delivered(pair.now, waiter);
    pair.flow();
    pair.node.ask(Request::Poll { owner: 2, asking: asking("alice", &key, Start::Acknowledged, Medium::Original) });
    publish(&mut pair, "two");
    pair.pass(2000);
    assert_eq!(pair.given(2).as_deref(), Some(&["two"][..]));
    assert!(!asks(&pair, "follow") && !asks(&pair, "look") && !asks(&pair, "take"), "it had all of it");
}

#[test]
fn limits_that_redis_does_not_take_are_told_again() {
    let (mut pair, _) = with_page(Medium::Resume);
    let mut limits = limits();
    limits.clients_max = 777;
    let known = |pair: &Pair| {
        let told = pair.named("hello", |arguments| arguments[3..4].to_vec());
        told.iter().filter(|(_, limits)| limits.contains("777")).count()
    };
    pair.redis.is_full = true;
    pair.node.reload(pair.now, &limits);
    pair.flow();
    assert_eq!(known(&pair), 0);
    pair.redis.is_full = false;
    pair.pass(1500);
    assert_eq!(known(&pair), 1, "once");
    pair.pass(5000);
    assert_eq!(known(&pair), 1, "once");
}

/// Whether Redis was asked this.
fn asks(pair: &Pair, function: &str) -> bool {
    pair.deeds.iter().any(|(_, deed)| deed.function == function)
}
