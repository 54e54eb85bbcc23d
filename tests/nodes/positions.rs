//! Positions that a node has not heard of: which of them are believed.

use super::node::{Asking, Medium, Node, Request, Start, Told, Way};
use super::pair::{Pair, limits};

#[test]
fn a_page_that_joins_those_who_wait_for_its_client_may_know_more_than_what_comes() {
    let (mut pair, key) = Pair::with_client("alice");
    pair.ask(0, &["subscribe", "alice", "room", ""]);
    pair.flow();
    let epoch = pair.node.cluster.epoch().expect("it is let in");
    let behind = |owner: u64, seq: u64| {
        let start = Start::Behind { epoch, seq };
        Request::Poll {
            owner,
            asking: Asking { ids_and_keys: vec![("alice".into(), key.clone())], start, medium: Medium::Resume },
        }
    };
    let seq = pair.node.hub.position();

    // Its client is asked for, and the reply is on its way.
    pair.node.ask(behind(1, seq));
    pair.turn();
    pair.send();
    // Meanwhile it hears a message from another node, and comes here with that position before the reply.
    let mut other = Node::new(0, "other", &limits(), 8);
    let mut publish = Some(Request::Call {
        owner: 9,
        parts: ["publish", "room", "\"web\"", "\"x\"", "", "", ""].map(String::from).into(),
    });
    let mut said = Vec::new();
    while said.is_empty() {
        if other.cluster.epoch().is_some() {
            publish.take().into_iter().for_each(|request| other.ask(request));
        }
        said = other.turn(pair.now, &mut pair.redis, Way::Open);
        other.carry(&mut pair.redis, true, false);
        pair.serve();
        other.carry(&mut pair.redis, false, true);
    }
    let [Told::Called { result: Ok(place), .. }] = &said[..] else { panic!("{said:?}") };
    let position = place.list().and_then(|place| place[1].number()).expect("an id and a seq");
    pair.node.ask(behind(2, position));
    pair.flow();
    let parked = pair.told.iter().any(|told| matches!(told, Told::Parked { owner: 2, is_lost: false }));
    assert!(parked, "{:?}", pair.told);
    assert!(!pair.told.iter().any(|told| matches!(told, Told::Parked { is_lost: true, .. })), "{:?}", pair.told);
    assert_eq!(pair.given(1).as_deref(), Some(&["x"][..]), "who has not had it gets it");
}
