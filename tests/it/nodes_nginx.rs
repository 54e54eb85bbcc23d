//! What the whole is for: three nodes behind a real nginx, as `packaging/nginx` and `docs/nodes.md` say, with one Redis. Each node is
//! killed and started again, and Redis too, under load, and no page loses or repeats a message.

#![allow(clippy::disallowed_methods, reason = "what goes wrong goes on for a while by the real clock")]

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::audience::{Audience, Doors, Plan};
use crate::support::bounds::Bounds;
use crate::support::metrics::Scraper;
use crate::support::nginx::{LISTEN, Nginx, RECIPE, SHAVEET, put, surroundings};
use crate::support::redis::Redis;
use crate::support::{Server, until};

const PLAN: Plan = Plan { pages: 600, originals: 60, channels: 20, pause: 0..80 };

/// A node, here; in the end, where it was before. Its address is no connection's, so that it can be had again.
fn node(redis: &Redis, listener: &str) -> Server {
    let url = redis.url();
    let times = ["--poll-timeout", "5s", "--presence", "off", "--history", "500"];
    let node = Server::with(&[&["--listen", listener, "--broker", &*url], &times[..]].concat());
    until("it is ready", || is_up(&node));
    node
}

fn is_up(node: &Server) -> bool {
    node.get("/ready").status == 200
}

/// The recipe, with what `docs/nodes.md` says of several nodes.
fn before(nodes: &[Server]) -> Nginx {
    let at = |node: &Server| node.address().as_socket().expect("TCP");
    let lines: String = nodes.iter().map(|node| format!("server {};\n", at(node))).collect();
    let recipe = put(RECIPE, "#hash $shaveet_client consistent;", "hash $shaveet_client consistent;");
    let recipe = put(&recipe, SHAVEET, &lines);
    Nginx::start(|address, directory| {
        let recipe = put(&recipe, LISTEN, &format!("listen {address};"));
        fs::write(directory.join("shaveet.conf"), recipe).expect("the directory is ours");
        surroundings(directory)
    })
}

#[test]
fn three_nodes_behind_nginx_of_which_any_is_killed_and_redis_is_restarted_lose_and_repeat_nothing() {
    let mut redis = Redis::with(&["--appendonly", "yes"]);
    let mut nodes: Vec<Server> = (2..5).map(|host| node(&redis, &format!("127.0.0.{host}:0"))).collect();
    let nginx = before(&nodes);
    let application = Doors::of(&nodes);
    let bounds = Bounds::watch(&nodes);
    let audience = Audience::gather(&PLAN, &application, &Doors::to([&nginx.address].into_iter()));
    let pause = || thread::sleep(Duration::from_millis(1000));
    let mut breaks = 0;
    for turn in 0..3 {
        pause();
        let listener = nodes[0].address().as_socket().expect("TCP").to_string();
        Scraper::new(&nodes[0]).until("clients", |clients| clients > 50.0);
        bounds.bury(&nodes[0]);
        nodes.remove(0).kill();
        breaks += 1;
        match turn {
            // At once, so that many a page comes to it that nginx has not yet led elsewhere.
            0 => {}
            // Its pages have gone elsewhere, and come back.
            1 => thread::sleep(Duration::from_secs(3)),
            // Redis goes with it, and is the first to be back.
            _ => {
                redis.kill();
                breaks += 1;
                pause();
                redis.start_again();
            }
        }
        nodes.push(node(&redis, &listener));
        bounds.watch_also(&nodes[2]);
        pause();
        // As an administrator does it.
        redis.shut_down();
        breaks += 1;
        pause();
        redis.start_again();
        nodes.iter().for_each(|node| until("it is up again", || is_up(node)));
    }
    pause();
    audience.end(breaks);
    bounds.end(&nodes);
    for node in nodes {
        assert_eq!(node.stop().code(), Some(0), "a debug build checks its hub when it stops");
    }
}
