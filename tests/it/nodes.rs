//! Several nodes that share one Redis: a page polls any of them, the web application calls any of them, and it is as if there
//! were one.

use crate::support::crowd::{newcomers, raise_descriptor_limit};
use crate::support::metrics::Scraper;
use crate::support::redis::Redis;
use crate::support::{Client, Connection, Nest, Server, Signal, get, heard, joins, said, since, until, updates_path};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Nodes that are up to date.
fn nodes<const N: usize>(redis: &Redis, more: &[&str]) -> [Server; N] {
    std::array::from_fn(|_| node(redis, more))
}

/// One for which no Redis is late, however busy the machine is, unless `more` says when it is.
fn node(redis: &Redis, more: &[&str]) -> Server {
    let url = redis.socket_url();
    let patient = if more.contains(&"--broker-timeout") { &[][..] } else { &["--broker-timeout", "1m"] };
    let server = Server::with(&[&["--broker", &url], patient, more].concat());
    follows(&server);
    server
}

fn follows(node: &Server) {
    until("it is ready", || node.get("/ready").status == 200);
}

const SILENT: [&str; 2] = ["--presence", "off"];

/// The same client, by another node.
fn at<'s>(node: &'s Server, client: &Client<'_>) -> Client<'s> {
    Client { server: node, id: client.id.clone(), key: client.key.clone() }
}

fn park(client: &Client<'_>, since: &str) -> Connection {
    client.server.park_at(&updates_path(&[("client_id", &client.credential()), ("since", since)]))
}

#[test]
fn a_page_polls_any_node_and_goes_on_with_the_token_it_has() {
    let redis = Redis::start();
    let [a, b, c] = nodes(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room"]);
    b.publish("room", "one");
    let first = at(&c, &alice).resume("");
    assert_eq!(said(&first), ["one"]);
    let mut poll = park(&at(&a, &alice), &since(&first));
    c.publish("room", "two");
    let second = poll.answer().json();
    assert_eq!(said(&second), ["two"]);
    // A node that has never heard of it, and one that is behind: nothing has happened in a channel that it follows.
    b.publish("hall", "elsewhere");
    a.publish("room", "three");
    assert_eq!(said(&at(&b, &alice).resume(&since(&second))), ["three"]);
    assert_eq!(said(&at(&c, &alice).resume(&since(&first))), ["two", "three"]);
}

#[test]
fn what_the_application_does_by_one_node_is_so_for_all() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis, &[]);
    let alice = a.subscriber("alice", &["room"]);
    let bob = b.subscriber("bob", &["room"]);
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice"), joins(2, "bob")]}));
    assert_eq!(at(&b, &alice).channels(), ["room"]);
    assert_eq!(a.present("room"), ["alice", "bob"]);
    let mut poll = alice.park();
    at(&b, &alice).unsubscribe("room");
    a.publish("room", "not for alice");
    at(&b, &alice).subscribe("room");
    assert_eq!(poll.news(), json!({"room": [joins(5, "alice")]}));
    // A kill reaches the poll where it is parked.
    let mut poll = park(&alice, "");
    poll.waits();
    at(&b, &alice).kill();
    assert_eq!(poll.answer().status, 404);
    assert_eq!(alice.poll().status, 404);
    assert!(!alice.is_known());
    // And a new key.
    bob.news();
    let mut poll = bob.park();
    a.call("rotate_key", json!(["bob"]));
    assert_eq!(poll.answer().text(), "cb({});");
    assert_eq!(bob.poll().status, 404);
}

#[test]
fn of_two_polls_of_the_originals_protocol_on_two_nodes_one_gets_a_message() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room"]);
    let there = at(&b, &alice);
    let (mut here, mut elsewhere) = (alice.park(), there.park());
    for text in ["one", "two", "three", "four"] {
        a.publish("room", text);
        // One of them hears it, and polls again.
        let heard = loop {
            if let Ok(answer) = here.within(std::time::Duration::from_millis(20)) {
                here = alice.park();
                break answer;
            }
            if let Ok(answer) = elsewhere.within(std::time::Duration::from_millis(20)) {
                elsewhere = there.park();
                break answer;
            }
        };
        assert!(heard.text().contains(text), "{}", heard.text());
        here.waits();
        elsewhere.waits();
    }
}

#[test]
fn a_node_that_is_killed_takes_nothing_with_it() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room"]);
    a.publish("room", "one");
    let first = alice.resume("");
    let poll = park(&alice, &since(&first));
    let old = at(&b, &alice);
    a.kill();
    drop(poll);
    b.publish("room", "two");
    assert_eq!(said(&old.resume(&since(&first))), ["two"]);
    // The original's protocol: what the dead node had to itself is free after a while.
    let c = node(&redis, &SILENT);
    c.publish("room", "three");
    assert_eq!(said(&at(&c, &old).resume(&since(&first))), ["two", "three"]);
}

#[test]
fn a_node_that_stops_leaves_at_once_what_it_has_to_itself() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room"]);
    a.publish("room", "one");
    assert_eq!(alice.news(), json!({"room": [[1, "one", "app"]]}));
    let there = redis.ask(&["KEYS", "{shaveet}:node:*"]);
    let holder = redis.ask(&["HGET", "{shaveet}:client:alice", "holder"]);
    assert!(there.contains(&holder) && there.lines().count() == 2, "{there}, and {holder} has the lease");
    let old = at(&b, &alice);
    let status = a.stop();
    assert_eq!(status.code(), Some(0));
    let left = redis.ask(&["KEYS", "{shaveet}:node:*"]);
    assert!(!left.contains(&holder) && left.lines().count() == 1, "{left}");
    b.publish("room", "two");
    assert_eq!(old.news(), json!({"room": [[2, "two", "app"]]}));
}

#[test]
fn a_node_that_stops_does_not_wait_for_a_redis_that_does_not_answer() {
    let redis = Redis::start();
    let a = node(&redis, &[&SILENT[..], &["--drain", "60s"]].concat());
    redis.signal(Signal::STOP);
    assert_eq!(a.stop().code(), Some(0));
    redis.signal(Signal::CONT);
}

#[test]
fn a_redis_that_freezes_keeps_polls_parked_and_nothing_is_lost() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis, &[&SILENT[..], &["--broker-timeout", "2s"]].concat());
    let alice = a.subscriber("alice", &["room"]);
    a.publish("room", "before");
    let first = alice.resume("");
    let mut poll = park(&alice, &since(&first));
    redis.signal(Signal::STOP);
    until("it is red", || a.get("/ready").status == 503 && b.get("/ready").status == 503);
    assert_eq!(a.get("/health").status, 200);
    let refused = b.error("publish", json!(["room", "not done", {"idempotency_key": "k"}]));
    assert!(refused["message"].as_str().unwrap().contains("Redis"), "{refused}");
    let two = b.rpc(&json!({"jsonrpc": "2.0", "method": "channel_info", "params": ["room"], "id": 1}));
    assert_eq!(two["error"]["code"], -32004);
    poll.waits();
    redis.signal(Signal::CONT);
    follows(&a);
    follows(&b);
    // Whoever is not sure repeats it.
    b.call("publish", json!(["room", "done once", {"idempotency_key": "k"}]));
    b.call("publish", json!(["room", "done once", {"idempotency_key": "k"}]));
    let mut all = heard(&poll.answer().json());
    b.publish("room", "next");
    while !all.iter().any(|(_, _, text)| text == "next") {
        let last = all.last().expect("there is one").1;
        all.extend(heard(&at(&b, &alice).resume(&since(&first))).into_iter().filter(|(_, id, _)| *id > last));
    }
    let texts: Vec<&str> = all.iter().map(|(_, _, text)| &**text).collect();
    assert!(texts == ["done once", "next"] || texts == ["not done", "next"], "{texts:?}");
}

#[test]
fn a_redis_that_loses_everything_is_a_told_gap() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room", "hall"]);
    a.publish("room", "one");
    let first = alice.resume("");
    let mut poll = park(&alice, &since(&first));
    redis.ask(&["FLUSHALL"]);
    let told = poll.answer().json();
    assert_eq!((said(&told), told["gaps"].as_array().unwrap().len()), (vec![], 2), "{told}");
    assert_eq!(told["gaps"][0]["reason"], "restart");
    until("both are there", || b.get("/ready").status == 200 && a.get("/ready").status == 200);
    b.publish("room", "two");
    assert_eq!(said(&at(&b, &alice).resume(&since(&told))), ["two"]);
    assert_eq!(at(&b, &alice).channels().len(), 2);
    assert_eq!(
        b.get(&updates_path(&[("client_id", "nobody_!!_00000000000000000000000000000000"), ("since", "")])).status,
        503
    );
}

#[test]
fn of_a_crowd_nobody_is_taken_for_gone_when_redis_loses_everything() {
    raise_descriptor_limit();
    let redis = Redis::start();
    // Who waits is told of three times a second: some of it comes between the loss and the word of it.
    let times = ["--max-idle", "1s", "--min-alive", "1h", "--poll-timeout", "1h"];
    let nodes: [Server; 2] = nodes(&redis, &[&SILENT[..], &times].concat());
    let ids: Vec<String> = (0..1500).map(|number| format!("page{number}")).collect();
    let keys = newcomers(&nodes[0], &ids);
    nodes[0].publish("room", "one");
    let pages = ids.iter().zip(keys).enumerate();
    let pages = pages.map(|(at, (id, key))| Client { server: &nodes[at % 2], id: id.clone(), key });
    let mut polls: Vec<(Client<'_>, Connection)> = pages
        .map(|page| {
            let poll = park(&page, &since(&page.resume("")));
            (page, poll)
        })
        .collect();
    for round in 0..3 {
        redis.ask(&["FLUSHALL"]);
        for (page, poll) in &mut polls {
            let answer = poll.answer();
            assert_eq!(answer.status, 200, "{} in round {round}: {}", page.id, answer.text());
            let told = answer.json();
            assert_eq!(told["gaps"][0]["reason"], "restart", "{}: {told}", page.id);
            *poll = park(page, &since(&told));
        }
        until("all are known again", || {
            nodes[0].call("channel_info", json!(["room"]))["subscribers"] == json!(ids.len())
        });
    }
    nodes[0].publish("room", "again");
    for (page, poll) in &mut polls {
        assert_eq!(said(&poll.answer().json()), ["again"], "{}", page.id);
    }
}

#[test]
fn what_a_failover_has_lost_is_put_back() {
    let mut master = Redis::start();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let nest = Nest::new("nodes-failover");
    let place = nest.file("redis", "");
    let lead_to = |redis: &Redis| {
        std::fs::remove_file(&place).expect("it is there");
        std::os::unix::fs::symlink(redis.socket_url().strip_prefix("unix://").unwrap(), &place).expect("it is ours");
    };
    lead_to(&master);
    let url = format!("unix://{}", place.display());
    let [a, b] = [(); 2].map(|()| {
        let node = Server::with(&["--broker", &url, "--broker-timeout", "1m", "--presence", "off"]);
        follows(&node);
        node
    });
    let (alice, bob) = (a.subscriber("alice", &["room"]), b.subscriber("bob", &["room", "hall"]));
    a.publish("room", "one");
    let (alice_first, bob_first) = (alice.resume(""), bob.resume(""));
    let mut bob_waits = park(&bob, &since(&bob_first));
    until("the replica has it", || {
        replica.ask(&["HGET", "{shaveet}:hub", "seq"]) == master.ask(&["HGET", "{shaveet}:hub", "seq"])
            && replica.ask(&["EXISTS", "{shaveet}:client:bob"]) == "1"
    });
    until("both say that they are there", || replica.ask(&["ZCARD", "{shaveet}:nodes"]) == "2");
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    // From here on the replica knows nothing; and the other node hears nothing, whose connection is broken while it stands still.
    b.signal(Signal::STOP);
    master.ask(&["CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"]);
    until("one is back", || master.nodes() == 1);
    follows(&a);
    let mut carol_waits = park(&a.subscriber("carol", &["hall"]), "");
    let two = a.call("publish", json!(["room", "two", {"idempotency_key": "a\nkey"}]));
    a.call("publish", json!(["room", "not for alice", {"exclude": ["alice"]}]));
    let alice_second = alice.resume(&since(&alice_first));
    assert_eq!(said(&alice_second), ["two"]);
    let mut alice_waits = park(&alice, &since(&alice_second));
    alice.subscribe("hall");
    alice_waits.waits();
    lead_to(&replica);
    master.kill();
    until("it has noticed", || a.get("/ready").status == 503);
    b.signal(Signal::CONT);
    follows(&a);
    follows(&b);
    // Who was told by one node comes to the other, and the other way round.
    let bob_second = bob_waits.answer().json();
    assert_eq!((said(&bob_second), &bob_second["gaps"]), (vec!["two".into(), "not for alice".into()], &json!([])));
    assert_eq!(b.call("publish", json!(["room", "two", {"idempotency_key": "a\nkey"}]))["id"], two["id"]);
    b.publish("hall", "three");
    let alice_third = alice_waits.answer().json();
    assert_eq!((said(&alice_third), &alice_third["gaps"]), (vec!["three".into()], &json!([])));
    let carol_first = carol_waits.answer().json();
    assert_eq!((said(&carol_first), &carol_first["gaps"]), (vec!["three".into()], &json!([])));
    assert_eq!(said(&at(&a, &bob).resume(&since(&bob_second))), ["three"]);
}

#[test]
fn names_that_are_made_up_have_redis_asked_only_so_often_and_keep_nobody_out() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room"]);
    let bob = b.subscriber("bob", &["room"]);
    a.publish("room", "zero");
    let first = alice.resume("");
    let mut number = 0;
    let mut strangers = || {
        let names = (0..100).map(|at| format!("nobody{}_!!_{:032x}", number + at, 1)).collect::<Vec<_>>();
        number += 100;
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| ("client_id", &**name)).chain([("since", "")]).collect();
        get(&updates_path(&pairs))
    };
    // All at a time. Who was looked for is not there; from some time on nobody is looked for, and nobody is told so.
    let asked: Vec<String> = (0..50).map(|_| strangers()).collect();
    let mut asked: Vec<Connection> = a.at_once(|| {
        let ask = |poll| {
            let mut connection = a.connect();
            connection.send(poll);
            connection
        };
        asked.iter().map(ask).collect()
    });
    let answers: Vec<u16> = asked.iter_mut().map(|connection| connection.answer().status).collect();
    let told = |status: u16| answers.iter().filter(|&&answer| answer == status).count();
    assert!(told(404) >= 20 && told(503) > 0 && told(404) + told(503) == 50, "{answers:?}");
    // All the while those who are known go on, and who comes new gets in a moment later.
    a.publish("room", "one");
    assert_eq!(said(&alice.resume(&since(&first))), ["one"]);
    until("the other one gets in", || {
        a.ask(strangers());
        let path = updates_path(&[("client_id", &bob.credential()), ("since", ""), ("wait", "0")]);
        a.get(&path).status == 200
    });
    let mut scraper = Scraper::new(&a);
    let (in_vain, put_off) =
        (scraper.get("broker_lookups_total{result=in_vain}"), scraper.get("broker_lookups_total{result=put_off}"));
    assert!(in_vain >= 2000.0 && put_off > 0.0, "{in_vain} in vain, {put_off} put off");
    assert_eq!(a.log().matches("are asked to come again").count(), 1, "{}", a.log());
}

#[test]
fn junk_that_somebody_publishes_is_refused_and_logged() {
    let redis = Redis::start();
    let a = node(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room"]);
    a.publish("room", "one");
    let first = alice.resume("");
    let mut poll = park(&alice, &since(&first));
    let epoch = since(&first).split('-').next().unwrap().to_owned();
    let forged = |seq: u64, before: u64| format!("{epoch}\n{seq}\n9\n{before}\n0\napp\n0\n\n\n\"x\"\n\"forged\"");
    for junk in ["", "x", &forged(0, 0), &forged(1_000_000, 999_999), &forged(u64::MAX, 7), "\n\n\n\n\n\n\n\n\n"] {
        redis.ask(&["PUBLISH", "{shaveet}:says:room", junk]);
    }
    let words =
        ["", "subscribed", "subscribed x 1 hall", "position -1", "key 0", "ended 1 1 room", "free x", "nonsense 1"];
    for junk in words {
        redis.ask(&["PUBLISH", "{shaveet}:tells:alice", junk]);
    }
    a.publish("room", "two");
    assert_eq!(said(&poll.answer().json()), ["two"]);
    assert!(a.log().contains("none of ours"), "{}", a.log());
    // All of it, the forged message that would leave a hole included.
    let junk = Scraper::new(&a).get("broker_junk_total");
    assert!(junk >= 12.0, "{junk}");
    assert_eq!(a.present("room"), ["alice"]);
}

#[test]
fn presence_counts_who_polls_anywhere() {
    let redis = Redis::start();
    let times = ["--max-idle", "3s", "--min-alive", "3s", "--sweep-interval", "500ms", "--poll-timeout", "500ms"];
    let [a, b] = nodes(&redis, &times);
    let alice = a.subscriber("alice", &["room"]);
    let there = at(&b, &alice);
    let bob = b.subscriber("bob", &["room"]);
    let (mut last, mut all) = (String::new(), Vec::new());
    // Bob never polls, and is collected; alice polls here and there.
    until("bob is collected", || {
        for node in [&alice, &there] {
            let answer = node.resume(&last);
            last = since(&answer);
            all.extend(said(&answer));
        }
        !bob.is_known()
    });
    assert_eq!(a.present("room"), ["alice"]);
    // What alice has not heard by now she hears next.
    all.extend(said(&alice.resume(&last)));
    assert!(all.iter().any(|text| text.contains("unsubscribe")), "{all:?}");
}

#[test]
fn a_node_that_becomes_another_refuses_nobody_meanwhile() {
    const UPGRADES: usize = 5;
    let redis = Redis::start();
    let a = node(&redis, &SILENT);
    let alice = a.subscriber("alice", &["room"]);
    let (published, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // Neither with an error nor without an answer.
                a.call("publish", json!(["room", published.fetch_add(1, Ordering::Relaxed).to_string()]));
            }
        });
        let page = scope.spawn(|| {
            let (mut position, mut all) = (String::new(), Vec::new());
            while !all.iter().any(|text| text == "the last") {
                let answer = alice.resume(&position);
                assert_eq!(answer["gaps"], json!([]));
                position = since(&answer);
                all.extend(said(&answer));
            }
            all
        });
        for upgrade in 1..=UPGRADES {
            let before = published.load(Ordering::Relaxed);
            until("some are published", || published.load(Ordering::Relaxed) > before + 5);
            a.signal(Signal::USR2);
            until("it has become another", || a.log().matches("has taken over").count() == upgrade);
        }
        is_over.store(true, Ordering::Relaxed);
        a.call("publish", json!(["room", "the last"]));
        let mut heard: Vec<usize> = page.join().unwrap().iter().filter_map(|text| text.parse().ok()).collect();
        heard.sort_unstable();
        assert!(heard.iter().enumerate().all(|(at, &number)| at == number), "{heard:?}");
        assert!(heard.len() + 1 >= published.load(Ordering::Relaxed), "one may come behind the last");
    });
}

#[test]
fn what_one_server_has_to_itself_is_refused_or_not_used() {
    let redis = Redis::start();
    let nest = Nest::new("nodes-state");
    let state = nest.file("state", "");
    let a = node(&redis, &["--state", state.to_str().unwrap()]);
    assert!(a.log().contains("--state is not used"), "{}", a.log());
    let request = crate::support::request("POST", "/dashboard/open", &["Content-Type: application/json"], "{}");
    let refused = a.ask(request);
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("/metrics"), "{}", refused.text());
    assert_eq!(a.stop().code(), Some(0));
}

#[test]
fn a_redis_that_takes_nothing_more_is_not_ready_and_says_why() {
    let redis = Redis::start();
    let a = node(&redis, &SILENT);
    a.publish("room", "one");
    redis.ask(&["CONFIG", "SET", "maxmemory", "1mb"]);
    until("it is red", || a.get("/ready").status == 503);
    let refused = a.error("publish", json!(["room", "two"]));
    assert!(refused["message"].as_str().unwrap().contains("maxmemory"), "{refused}");
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    follows(&a);
    redis.ask(&["HSET", "{shaveet}:hub", "format", "9"]);
    until("it is red again", || a.get("/ready").status == 503);
    let refused = a.error("publish", json!(["room", "two"]));
    assert!(refused["message"].as_str().unwrap().contains("format 9"), "{refused}");
    redis.ask(&["HSET", "{other}:hub", "format", "9"]);
    let url = redis.socket_url();
    let other = Server::with(&["--broker", &url, "--broker-prefix", "other"]);
    until("it says so", || other.log().contains("FORMAT 9"));
    // It asks once a second whether it is let in, and sleeps in between.
    let turns = |node: &Server| Scraper::new(node).get("turn_duration_seconds_count");
    let tries = || other.log().matches("FORMAT 9").count();
    let (turns_before, tries_before) = (turns(&other), tries());
    until("it has asked again", || tries() > tries_before + 1);
    let turned = turns(&other) - turns_before;
    assert!(turned < 1000.0, "{turned} turns");
    assert_eq!(redis.ask(&["HLEN", "{other}:hub"]), "1");
}
