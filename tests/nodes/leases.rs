//! Who has a client's lease, as its node and Redis believe.

use super::keyspace::Reply;
use super::node::{Asking, Medium, Request, Start};
use super::pair::{Pair, command};

#[test]
fn a_lease_that_came_late_is_not_given_up_while_it_is_taken_once_more() {
    let (mut pair, key) = Pair::with_client("alice");
    pair.ask(0, &["subscribe", "alice", "room", ""]);
    pair.ask(0, &["publish", "room", "\"web\"", "\"x\"", "", "", ""]);
    pair.flow();
    // Another node has it, and something is due to a poll here.
    let other = pair.redis.connect();
    let call = |pair: &mut Pair, parts: &[&str]| {
        pair.redis.connections.get_mut(&other).expect("it is connected").inbox.extend(command(parts));
        pair.redis.take(other).flatten().expect("it is a function").reply
    };
    let took = call(&mut pair, &["take", "other#1", "alice"]);
    assert!(matches!(took, Reply::List(_)), "it is granted");
    let asking = Asking {
        ids_and_keys: vec![("alice".into(), key.clone())],
        start: Start::Acknowledged,
        medium: Medium::Original,
    };
    pair.node.ask(Request::Poll { owner: 1, asking });
    pair.turn();
    pair.send();
    pair.receive();
    // The lease is asked for, and that does not get through. Meanwhile the other node gives it up: it is asked for again.
    for at in 0..4 {
        pair.turn();
        if at == 0 {
            pair.send();
        }
        pair.receive();
    }
    pair.now += 1500;
    call(&mut pair, &["release", "other#1", "alice", "0"]);
    pair.receive();
    pair.turn();
    // The first question is late; then all of it gets through.
    pair.now += 600;
    pair.turn();
    pair.flow();
    let alice = pair.node.hub.find_client("alice").expect("it is here");
    assert!(pair.node.hub.has_lease(alice));
    let Reply::List(asked) = call(&mut pair, &["take", "other#2", "alice"]) else { panic!("it is here") };
    assert!(matches!(&asked[0], Reply::Text(granted) if granted == b"0"), "two nodes have it");
}
