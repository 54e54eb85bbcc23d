//! Who has a client's lease, as its node and Redis believe.

use super::keyspace::Reply;
use super::node::{Asking, Medium, Request, Start, Way};
use super::pair::{Pair, command};

#[test]
fn a_lease_that_came_late_is_not_given_up_while_it_is_taken_once_more() {
    let mut pair = Pair::new();
    let key = format!("{:032x}", 1);
    for parts in [
        &["create_client", "alice", &*key][..],
        &["subscribe", "alice", "room", ""],
        &["publish", "room", "\"web\"", "\"x\"", "", "", ""],
    ] {
        pair.ask(0, parts);
    }
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
    pair.node.turn(pair.now, &mut pair.redis, Way::Open);
    pair.node.carry(&mut pair.redis, true, false);
    pair.serve();
    pair.node.carry(&mut pair.redis, false, true);
    // The lease is asked for, and that does not get through. Meanwhile the other node gives it up: it is asked for again.
    for at in 0..4 {
        pair.node.turn(pair.now, &mut pair.redis, Way::Open);
        if at == 0 {
            pair.node.carry(&mut pair.redis, true, false);
            pair.serve();
        }
        pair.node.carry(&mut pair.redis, false, true);
    }
    pair.now += 1500;
    call(&mut pair, &["release", "other#1", "alice", "0"]);
    pair.node.carry(&mut pair.redis, false, true);
    pair.node.turn(pair.now, &mut pair.redis, Way::Open);
    // The first question is late; then all of it gets through.
    pair.now += 600;
    pair.node.turn(pair.now, &mut pair.redis, Way::Open);
    pair.flow();
    let alice = pair.node.hub.find_client("alice").expect("it is here");
    assert!(pair.node.hub.has_lease(alice));
    let Reply::List(asked) = call(&mut pair, &["take", "other#2", "alice"]) else { panic!("it is here") };
    assert!(matches!(&asked[0], Reply::Text(granted) if granted == b"0"), "two nodes have it");
}
