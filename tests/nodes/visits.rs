//! What a poll waits for before it is parked: its clients, whole, and nobody else's.

use shaveet::hub::Ending;

use super::node::{Asking, Medium, Refusal, Request, Start, Told};
use super::pair::{Pair, command};

/// What a call may not leave waiting in the link if others are to be taken.
const CROWD_BYTES: usize = 17 << 20;

fn poll(owner: u64, ids: &[&str], key: &str) -> Request {
    let ids_and_keys = ids.iter().map(|&id| (id.to_owned(), key.to_owned())).collect();
    Request::Poll { owner, asking: Asking { ids_and_keys, start: Start::Earliest, medium: Medium::Resume } }
}

#[test]
fn what_becomes_of_a_poll_that_was_answered_otherwise_says_nothing_of_the_next_one_of_its_connection() {
    let (mut pair, key) = Pair::with_client("alice");
    // So many strangers come that of two only one is looked for, and their page is asked to come again.
    for owner in 0..1999 {
        pair.node.ask(poll(1000 + owner, &[&format!("nobody{owner}")], &key));
    }
    pair.node.ask(poll(5, &["ghost", "shadow"], &key));
    let told = pair.turn();
    assert!(matches!(&told[..], [Told::Refused { owner: 5, why: Refusal::Away }]), "{told:?}");
    // By the same connection, which a proxy keeps, another page polls before it is known that nobody has the ghost.
    pair.now += 10;
    pair.node.ask(poll(5, &["alice"], &key));
    pair.flow();
    let own: Vec<&Told> = pair.told.iter().filter(|told| told.owner() == 5).collect();
    assert!(matches!(own[..], [Told::Parked { .. }]), "{own:?}");
}

#[test]
fn whoever_waits_is_told_of_a_kill_by_another_node_with_the_next_that_comes_from_redis() {
    let (mut pair, key) = Pair::with_client("alice");
    pair.node.ask(poll(1, &["alice"], &key));
    pair.flow();
    let other = pair.redis.connect();
    pair.redis.connections.get_mut(&other).expect("it is connected").inbox.extend(command(&["kill_client", "alice"]));
    pair.redis.take(other).flatten().expect("it is a function");
    pair.receive();
    let told = pair.turn();
    let [Told::Given(given)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((given.owner, given.ending), (1, Some(Ending::Gone)));
}

#[test]
fn a_client_of_whose_channels_one_could_not_be_asked_for_is_answered_when_it_has_come() {
    let (mut pair, key) = Pair::with_client("alice");
    pair.ask(0, &["create_client", "bob", &key]);
    for (id, channel) in [("alice", "room"), ("alice", "chat"), ("bob", "chat")] {
        pair.ask(0, &["subscribe", id, channel, ""]);
    }
    pair.ask(0, &["publish", "room", "\"web\"", "\"first\"", "", "", ""]);
    pair.node.ask(poll(1, &["bob"], &key));
    pair.flow();
    // The link is crowded in the moment in which it is known of which channels alice is.
    pair.node.ask(poll(2, &["alice"], &key));
    pair.turn();
    pair.send();
    pair.receive();
    pair.ask(0, &["client_info", &"x".repeat(CROWD_BYTES)]);
    let told = pair.turn();
    assert!(told.iter().any(|told| matches!(told, Told::Parked { owner: 2, .. })), "{told:?}");
    pair.send();
    pair.receive();
    pair.turn();
    // What is said in a channel that is here does not take it past what is to come of the other.
    pair.ask(0, &["publish", "chat", "\"web\"", "\"second\"", "", "", ""]);
    pair.flow();
    pair.pass(2000);
    assert_eq!(pair.given(2).as_deref(), Some(&["first", "second"][..]));
}
