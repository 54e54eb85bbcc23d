//! A thousand pages at three nodes, while the nodes are killed and hang and Redis freezes and is started again: each page gets
//! every message of its channels once and in order, or the test says which one it did not.

#![allow(clippy::disallowed_methods, reason = "what goes wrong goes on for a while by the real clock")]

use std::thread;
use std::time::Duration;

use crate::support::audience::{Audience, Doors, Plan};
use crate::support::bounds::Bounds;
use crate::support::redis::Redis;
use crate::support::{Server, Signal, until};

const PLAN: Plan = Plan { pages: 1000, originals: 0, channels: 20, pause: 0..20 };

fn node(redis: &Redis) -> Server {
    let url = redis.url();
    let times = ["--poll-timeout", "5s", "--presence", "off", "--history", "500"];
    Server::with(&[&["--broker", &*url], &times[..]].concat())
}

fn is_up(node: &Server) -> bool {
    node.get("/ready").status == 200
}

/// What happens to them.
fn trouble(servers: &mut Vec<Server>, redis: &mut Redis, nodes: &Doors, bounds: &Bounds, round: usize) {
    let pause = || thread::sleep(Duration::from_millis(1500));
    pause();
    // One is killed, and another takes its place elsewhere.
    let killed = servers.remove(round % servers.len());
    nodes.shut(&killed);
    bounds.bury(&killed);
    killed.kill();
    pause();
    let other = node(redis);
    bounds.watch_also(&other);
    until("it is up", || is_up(&other));
    nodes.open(&other);
    servers.push(other);
    pause();
    // One hangs, the first time for longer than it is believed to be there.
    servers[0].signal(Signal::STOP);
    thread::sleep(Duration::from_secs(if round == 0 { 7 } else { 2 }));
    servers[0].signal(Signal::CONT);
    pause();
    redis.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    redis.signal(Signal::CONT);
    pause();
    redis.kill();
    thread::sleep(Duration::from_millis(500));
    redis.start_again();
    servers.iter().for_each(|node| until("it is up again", || is_up(node)));
}

#[test]
fn a_thousand_pages_get_everything_once_whatever_happens_to_nodes_and_redis() {
    let mut redis = Redis::with(&["--appendonly", "yes"]);
    let mut servers: Vec<Server> = (0..3).map(|_| node(&redis)).collect();
    servers.iter().for_each(|node| until("it is up", || is_up(node)));
    let nodes = Doors::of(&servers);
    let bounds = Bounds::watch(&servers);
    let audience = Audience::gather(&PLAN, &nodes, &nodes);
    // All of it happens once, or as often as somebody wants.
    let rounds = std::env::var("TEST_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number"));
    for round in 0..rounds {
        trouble(&mut servers, &mut redis, &nodes, &bounds, round);
    }
    audience.end(0);
    bounds.end(&servers);
    for node in servers {
        assert_eq!(node.stop().code(), Some(0), "a debug build checks its hub when it stops");
    }
}
