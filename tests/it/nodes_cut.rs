//! Nodes that are cut off from Redis, each in a network of its own: packets vanish, both ways or one, and nobody is told; or the
//! cable is out. Pages and the application still reach such a node.
//!
//! Needs `ip` of iproute2, and a user that may make networks; else it is skipped, and says so.

#![allow(clippy::disallowed_methods, reason = "what goes wrong goes on for a while by the real clock")]

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::audience::{Audience, Doors, Plan};
use crate::support::bounds::Bounds;
use crate::support::network::{self, Loss, Networks};
use crate::support::redis::Redis;
use crate::support::{BINARY, Client, Connection, Nest, Server, poll_path, said, since, until, updates_path};

/// Three nodes in networks of their own, that listen on a file each.
struct Parts {
    nodes: Vec<Server>,
    redis: Redis,
    networks: Networks,
    _nests: Vec<Nest>,
}

fn parts(name: &str, more: &[&str]) -> Option<Parts> {
    let networks = Networks::new(3)?;
    let redis = Redis::within(&networks.of_redis());
    let nests: Vec<Nest> = (0..3).map(|node| Nest::new(&format!("{name}-{node}"))).collect();
    let node = |(at, nest): (usize, &Nest)| {
        let url = format!("redis://{}:{}", Networks::host_of_redis(at), redis.port);
        let listener = nest.listener();
        let own = ["--listen", &listener, "--broker", &url, "--presence", "off"];
        let node = Server::run(network::command(Some(&networks.of_node(at)), BINARY), &[&own[..], more].concat());
        until("it is ready", || is_ready(&node));
        node
    };
    let nodes = nests.iter().enumerate().map(node).collect();
    Some(Parts { nodes, redis, networks, _nests: nests })
}

fn is_ready(node: &Server) -> bool {
    node.get("/ready").status == 200
}

/// The same client, by another node.
fn at<'s>(node: &'s Server, client: &Client<'_>) -> Client<'s> {
    Client { server: node, id: client.id.clone(), key: client.key.clone() }
}

fn park(client: &Client<'_>, since: &str) -> Connection {
    client.server.park_at(&updates_path(&[("client_id", &client.credential()), ("since", since)]))
}

#[test]
fn a_node_that_is_cut_off_says_so_keeps_its_pages_and_comes_back_by_itself() {
    let Some(parts) = parts("cut", &[]) else { return };
    let [a, b, c] = &parts.nodes[..] else { panic!("three nodes") };
    let alice = a.subscriber("alice", &["room"]);
    b.publish("room", "one");
    let first = alice.resume("");
    assert_eq!(said(&first), ["one"]);
    let mut parked = park(&alice, &since(&first));
    parts.networks.cut(0, Loss::All);

    // Whoever calls the node that is cut off is told; whoever comes new is sent away for a second; whoever is there stays.
    let refused = a.error("publish", json!(["room", "not done"]));
    assert!(refused["message"].as_str().is_some_and(|message| message.contains("Redis")), "{refused}");
    until("it is red", || !is_ready(a));
    assert_eq!(a.get("/health").status, 200);
    b.publish("room", "two");
    let second = at(c, &alice).resume(&since(&first));
    assert_eq!(said(&second), ["two"]);
    parked.waits();
    assert!(is_ready(b) && is_ready(c));

    parts.networks.mend(0);
    let late = parked.answer().json();
    assert_eq!(said(&late), ["two"], "by the token that it has, it has not had it");
    until("it is green again", || is_ready(a));
    a.publish("room", "three");
    let third = alice.resume(&since(&second));
    assert_eq!(said(&third), ["three"]);
    a.publish("room", "four");
    assert_eq!(said(&at(b, &alice).resume(&since(&third))), ["four"]);
}

#[test]
fn of_the_originals_protocol_a_node_that_is_cut_off_answers_nothing_while_another_does() {
    let Some(parts) = parts("cut-original", &[]) else { return };
    let [a, b, _] = &parts.nodes[..] else { panic!("three nodes") };
    let alice = a.subscriber("alice", &["room"]);
    let holder = || parts.redis.ask(&["HGET", "{shaveet}:client:alice", "holder"]);
    let there = at(b, &alice);
    a.publish("room", "before");
    assert!(alice.poll().text().contains("before"));
    let cut_off = holder();
    let mut here = alice.park();
    parts.networks.cut(0, Loss::All);

    // Another is given it when the node has not been heard of for long enough, and no sooner.
    let mut elsewhere = there.park();
    b.publish("room", "one");
    let news = elsewhere.answer();
    assert!(news.text().contains("one"), "{}", news.text());
    assert_ne!(holder(), cut_off);
    assert_eq!(parts.redis.ask(&["EXISTS", &format!("{{shaveet}}:node:{cut_off}")]), "0");
    // It does not know, and does not say what it does not have; nor does it to who asks anew.
    here.waits();
    let mut refused = a.connect();
    refused.send(crate::support::get(&poll_path(&[&alice])));
    if let Ok(answer) = refused.within(Duration::from_millis(150)) {
        assert!(!answer.text().contains("one"), "{}", answer.text());
    }
    drop(refused);

    parts.networks.mend(0);
    until("it is green again", || is_ready(a));
    elsewhere = there.park();
    for text in ["two", "three", "four", "five"] {
        a.publish("room", text);
        // One of them hears it, and polls again.
        let news = loop {
            if let Ok(answer) = here.within(Duration::from_millis(20)) {
                here = alice.park();
                break answer;
            }
            if let Ok(answer) = elsewhere.within(Duration::from_millis(20)) {
                elsewhere = there.park();
                break answer;
            }
        };
        assert!(news.text().contains(text), "{}", news.text());
        here.waits();
        elsewhere.waits();
    }
}

#[test]
fn pages_get_everything_once_whichever_nodes_are_cut_off_in_whatever_way() {
    let more = ["--poll-timeout", "5s", "--history", "500"];
    let Some(parts) = parts("cut-crowd", &more) else { return };
    let networks = &parts.networks;
    let doors = Doors::of(&parts.nodes);
    let plan = Plan { pages: 1000, originals: 0, channels: 20, pause: 0..80 };
    let bounds = Bounds::watch(&parts.nodes);
    let audience = Audience::gather(&plan, &doors, &doors);
    let pause = |seconds| thread::sleep(Duration::from_secs(seconds));
    let all_ready = || parts.nodes.iter().for_each(|node| until("it is green again", || is_ready(node)));
    pause(1);
    // For longer than it is believed to be there.
    networks.cut(0, Loss::All);
    pause(7);
    assert!(!is_ready(&parts.nodes[0]));
    networks.mend(0);
    // What it asks is done, and it does not know.
    networks.cut(1, Loss::ToNode);
    pause(3);
    networks.mend(1);
    all_ready();
    // It hears what others do, and is not heard.
    networks.cut(2, Loss::FromNode);
    pause(3);
    networks.mend(2);
    // So short that no connection breaks.
    networks.cut(0, Loss::All);
    thread::sleep(Duration::from_millis(400));
    networks.mend(0);
    // All at once, one by its cable.
    networks.pull(1);
    networks.cut(0, Loss::ToNode);
    networks.cut(2, Loss::All);
    pause(3);
    networks.plug_in(1);
    networks.mend(0);
    networks.mend(2);
    all_ready();
    pause(1);
    audience.end(0);
    bounds.end(&parts.nodes);
    for node in parts.nodes {
        assert_eq!(node.stop().code(), Some(0), "a debug build checks its hub when it stops");
    }
}
