//! A Sentinel makes another Redis the master, under load.

#![allow(clippy::disallowed_methods, reason = "what goes wrong goes on for a while by the real clock")]

use std::thread;
use std::time::Duration;

use crate::support::audience::{Audience, Doors, Plan};
use crate::support::bounds::Bounds;
use crate::support::redis::Redis;
use crate::support::{Server, until};

const PLAN: Plan = Plan { pages: 500, originals: 0, channels: 20, pause: 0..80 };

/// A master, a replica that has all of it, and a Sentinel that knows both.
struct Parts {
    master: Redis,
    replica: Redis,
    sentinel: Redis,
    nodes: Vec<Server>,
    bounds: Bounds,
}

impl Parts {
    fn new() -> Parts {
        let master = Redis::start();
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        until("it is a replica", || replica.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        let sentinel = Redis::sentinel(&master);
        until("the Sentinel knows the replica", || sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).contains("slave"));
        let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
        let times = ["--poll-timeout", "5s", "--presence", "off", "--history", "500"];
        let nodes: Vec<Server> = (0..3).map(|_| Server::with(&[&["--broker", &*url], &times[..]].concat())).collect();
        nodes.iter().for_each(|node| until("it is ready", || is_ready(node)));
        let bounds = Bounds::watch(&nodes);
        Parts { master, replica, sentinel, nodes, bounds }
    }

    /// All nodes are at the one that was the replica.
    fn is_over(&self) -> bool {
        self.replica.nodes() == self.nodes.len() && self.nodes.iter().all(is_ready)
    }

    /// All is well again, and goes on; nobody has lost anything.
    fn end(self, audience: Audience) {
        until("all is well again", || self.is_over());
        audience.hears_more(50);
        audience.end(0);
        self.bounds.end(&self.nodes);
        for node in self.nodes {
            assert_eq!(node.stop().code(), Some(0), "a debug build checks its hub when it stops");
        }
    }
}

fn is_ready(node: &Server) -> bool {
    node.get("/ready").status == 200
}

/// By itself a Sentinel waits for nothing, and lets the old master go on for ten seconds: so writing is paused first, until the replica has
/// all of it.
#[test]
fn a_planned_failover_loses_nothing() {
    let parts = Parts::new();
    let doors = Doors::of(&parts.nodes);
    let audience = Audience::gather(&PLAN, &doors, &doors);
    thread::sleep(Duration::from_secs(2));
    parts.master.ask(&["CLIENT", "PAUSE", "30000", "WRITE"]);
    let offset = |redis: &Redis| {
        let told = redis.ask(&["INFO", "replication"]);
        told.lines().find_map(|line| line.strip_prefix("master_repl_offset:")).expect("it says so").to_owned()
    };
    until("the replica has all of it", || offset(&parts.master) == offset(&parts.replica));
    parts.sentinel.fails_over();
    parts.end(audience);
}

#[test]
fn a_master_that_dies_loses_nothing_that_a_node_has_heard() {
    let mut parts = Parts::new();
    let doors = Doors::of(&parts.nodes);
    let audience = Audience::gather(&PLAN, &doors, &doors);
    thread::sleep(Duration::from_secs(2));
    // The replica gets nothing more, and nobody waits for it.
    parts.replica.ask(&["CONFIG", "SET", "masterauth", "no password is asked for"]);
    parts.master.ask(&["CLIENT", "KILL", "TYPE", "replica"]);
    // What is published now the replica does not have.
    audience.hears_more(50);
    parts.master.kill();
    parts.sentinel.fails_over();
    parts.end(audience);
}

/// The old master goes on for ten seconds; then it is made a replica, and what it was told is lost. The nodes are told by the Sentinel
/// and are gone by then.
#[test]
fn a_failover_that_nobody_prepared_loses_nothing_that_a_node_has_heard() {
    let parts = Parts::new();
    let doors = Doors::of(&parts.nodes);
    let audience = Audience::gather(&PLAN, &doors, &doors);
    thread::sleep(Duration::from_secs(2));
    parts.sentinel.fails_over();
    let is_replica = || parts.master.try_ask(&["ROLE"]).starts_with("slave");
    until("there is another master", || parts.replica.try_ask(&["ROLE"]).starts_with("master"));
    until("no node is at the old one", || parts.master.nodes() == 0);
    assert!(!is_replica(), "nobody was sent away by it");
    thread::sleep(Duration::from_secs(9));
    until("it is a replica", is_replica);
    parts.end(audience);
}
