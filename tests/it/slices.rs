//! Long work is done in slices: each respects its budget, and between two of them others have their turn.
//!
//! The first half counts steps, over the hub and the API alone; the second half has the real server at work.

#![allow(clippy::disallowed_methods, reason = "the tests look at the clock only to give up")]
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::metrics::Scraper;
use crate::support::{Connection, Nest, Patience, Server, get, post};
use serde_json::{Map, Value, json};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::hub::{ClientKey, Hub, Owner, Protocol, Sender, Since, Spared, Submission};
use shaveet::slots::Key;
use std::sync::Arc;
use std::time::Duration;

/// How long anything may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

const NOW: Ms = Ms(1000);

fn hub_with(clients: usize, channel: &str) -> Hub {
    let mut config = Config { max_clients: 2_000_000, ..Config::default() };
    config.departed_max = config.max_clients;
    // Only the subscribers count here, not what is said about them.
    Arc::make_mut(&mut config.policies.default).presence = false;
    let mut hub = Hub::new(Ms::ZERO, config.hub_limits());
    for at in 0..clients {
        let id = format!("{channel}{at}");
        hub.create_client(NOW, &id, ClientKey::new([7; 16])).unwrap();
        hub.subscribe(NOW, &id, channel, None).unwrap();
    }
    hub
}

fn park(hub: &mut Hub, owner: u64, id: &str) {
    let key = ClientKey::new([7; 16]).to_string();
    let protocol = Protocol::Resume(Since::Acknowledged);
    hub.wait(NOW, Owner(owner), &mut Key::unpack(0), [(id, &*key)], protocol, Ms(30_000)).unwrap();
}

fn publish(hub: &mut Hub, channel: &str) {
    let submission = Submission { channel, from: Sender::Id("app"), text: "x", exclude: &[], ttl: None };
    hub.publish(NOW, submission).unwrap();
}

#[test]
fn a_broker_that_begins_anew_has_100_000_clients_let_go_of_in_slices() {
    const CLIENTS: usize = 100_000;
    const SLICE: u32 = 512;
    let mut hub = hub_with(CLIENTS, "big");
    (0..CLIENTS as u64).for_each(|at| park(&mut hub, at, &format!("big{at}")));
    for _ in 0..100 {
        publish(&mut hub, "big");
    }
    hub.follow_broker();
    hub.begin_anew();
    let (mut slices, mut formers) = (0, 0);
    while hub.is_beginning_anew() {
        let (mut budget, before) = (SLICE, formers);
        while let Some(former) = hub.next_former(NOW, &mut budget) {
            assert_eq!(former.channels.len(), 1);
            formers += 1;
        }
        slices += 1;
        // Of each a place and a subscription.
        assert!(formers - before <= SLICE as usize / 2, "{} clients in a slice", formers - before);
        assert!(hub.next_answer(NOW, &mut 100).is_none(), "nobody is told where it is meanwhile");
    }
    assert_eq!(
        (formers, hub.stats().clients, hub.stats().waiters, hub.stats().channels),
        (CLIENTS, CLIENTS, CLIENTS, 0)
    );
    // A place of each poll and each client, a subscription, and what the channels hold.
    let most = 3 * CLIENTS / SLICE as usize + 10;
    assert!((most - 10..=most).contains(&slices), "{slices} slices");
    hub.check();
}

#[test]
fn a_channel_of_one_is_answered_while_one_of_100_000_is_swept() {
    let mut hub = hub_with(100_000, "big");
    hub.create_client(NOW, "one", ClientKey::new([7; 16])).unwrap();
    hub.subscribe(NOW, "one", "small", None).unwrap();
    (0..100_000).for_each(|at| park(&mut hub, at, &format!("big{at}")));
    park(&mut hub, 100_000, "one");
    while let Some(_answer) = hub.next_answer(NOW, &mut 1_000_000) {}
    publish(&mut hub, "big");
    for _ in 0..1000 {
        assert!(hub.next_answer(NOW, &mut 1).is_some(), "everybody there is to be answered");
    }
    publish(&mut hub, "small");
    // The same turn looks at some hundreds.
    let found = (0..40).find(|_| hub.next_answer(NOW, &mut 1).is_some_and(|answer| answer.owner() == Owner(100_000)));
    assert!(found.is_some(), "it has waited behind the others");
}

#[test]
fn a_crowd_expires_by_as_many_as_the_budget_says() {
    let mut hub = hub_with(5_000, "room");
    let late = Ms::from_secs(1000);
    let mut slices = 0;
    while hub.next_timeout().is_some_and(|at| at <= late) {
        let before = hub.stats();
        let mut budget = 7;
        hub.handle_timeout(late, &mut budget);
        assert!(hub.stats().departed - before.departed <= 7);
        slices += 1;
    }
    assert_eq!(hub.stats().departed, 5_000);
    assert!(slices >= 5_000 / 7);
    hub.check();
}

#[test]
fn a_client_with_many_channels_counts_for_more_when_it_expires() {
    let mut hub = hub_with(10, "room");
    for (client, channel) in (0..10).flat_map(|client| (0..400).map(move |channel| (client, channel))) {
        hub.subscribe(NOW, &format!("room{client}"), &channel.to_string(), None).unwrap();
    }
    let late = Ms::from_secs(200);
    while hub.next_timeout().is_some_and(|at| at <= late) {
        let before = hub.stats().departed;
        hub.handle_timeout(late, &mut 8);
        assert!(hub.stats().departed <= before + 1, "one takes all of the budget");
    }
    assert_eq!(hub.stats().departed, 10);
}

#[test]
fn the_polls_of_a_server_that_stops_end_by_as_many_as_the_budget_says() {
    let mut hub = hub_with(1_000, "room");
    (0..1_000).for_each(|at| park(&mut hub, at, &format!("room{at}")));
    while let Some(_answer) = hub.next_answer(NOW, &mut 1_000_000) {}
    let (mut from, mut ended) = (0, 0);
    while !hub.end_waiting_from(&mut from, &mut 64, &mut u64::MAX.clone()) {
        let answers = std::iter::from_fn(|| hub.next_answer(NOW, &mut 1_000_000).map(|_| ())).count();
        assert!(answers <= 64);
        ended += answers;
    }
    ended += std::iter::from_fn(|| hub.next_answer(NOW, &mut 1_000_000).map(|_| ())).count();
    assert_eq!(ended, 1_000);
}

#[test]
fn a_walk_over_a_channel_misses_nobody_who_stays() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut hub = hub_with(50, "room");
        let mut leaving: Vec<usize> = (0..50).collect();
        random.shuffle(&mut leaving);
        leaving.truncate(20);
        let stays: Vec<String> = (0..50).filter(|at| !leaving.contains(at)).map(|at| format!("room{at}")).collect();
        let (mut walk, mut seen) = (hub.walk_channel("room").unwrap(), Vec::new());
        loop {
            let mut budget = random.u32(1..5);
            while let Some(id) = hub.next_client(NOW, &mut walk, &mut budget) {
                seen.push(id.to_owned());
            }
            if budget > 0 {
                break;
            }
            if let Some(at) = leaving.pop() {
                hub.unsubscribe(NOW, &format!("room{at}"), "room").unwrap();
            }
        }
        assert!(stays.iter().all(|id| seen.contains(id)), "seed {seed}");
    }
}

#[test]
fn everybody_is_unsubscribed_in_slices_while_others_come_and_go() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut hub = hub_with(50, "room");
        let mut spared = Spared::default();
        for id in ["room3", "room20", "nobody"] {
            hub.spare(&mut spared, id);
        }
        let mut walk = hub.walk_channel("room").unwrap();
        let mut come = 0;
        loop {
            let mut budget = random.u32(1..5);
            if hub.unsubscribe_some(NOW, &mut walk, &spared, &mut budget) {
                break;
            }
            assert_eq!(budget, 0);
            let at = random.u32(0..60);
            if at < 50 && at != 3 && at != 20 {
                hub.unsubscribe(NOW, &format!("room{at}"), "room").unwrap();
            } else if come < 5 {
                come += 1;
                let id = format!("new{come}");
                hub.create_client(NOW, &id, ClientKey::new([7; 16])).unwrap();
                hub.subscribe(NOW, &id, "room", None).unwrap();
            }
            hub.check();
        }
        let (mut rest, mut left) = (hub.walk_channel("room").unwrap(), Vec::new());
        while let Some(id) = hub.next_client(NOW, &mut rest, &mut 1) {
            left.push(id.to_owned());
        }
        assert!(
            left.iter().all(|id| id.starts_with("new") || id == "room3" || id == "room20"),
            "seed {seed}: {left:?}"
        );
        assert!(["room3", "room20"].iter().all(|id| left.iter().any(|left| left == id)), "seed {seed}: {left:?}");
    }
}

/// A server with so many clients, `c0` and so on.
fn crowded_server(clients: usize) -> Server {
    crowded(clients, &[])
}

fn crowded(clients: usize, more: &[&str]) -> Server {
    let server = Server::with(&[&["--min-alive", "1h", "--max-subscriptions", "10000"], more].concat());
    let mut calls = server.connect();
    let ids: Vec<usize> = (0..clients).collect();
    for ids in ids.chunks(1000) {
        let call =
            |at: &usize| json!({"jsonrpc": "2.0", "method": "create_client", "params": [format!("c{at}")], "id": at});
        let batch: Vec<Value> = ids.iter().map(call).collect();
        calls.send(post(Value::from(batch).to_string()));
        assert_eq!(calls.within(PATIENCE).unwrap().json().as_array().unwrap().len(), ids.len());
    }
    server
}

fn for_all(method: &str, clients: usize) -> String {
    let ids: Vec<String> = (0..clients).map(|at| format!("c{at}")).collect();
    json!({"method": method, "params": [{"room": ids}], "id": 1}).to_string()
}

fn active(server: &Server) -> u64 {
    let answer = server.rpc(&json!({"method": "channel_info", "params": ["room"], "id": 1}));
    answer["result"]["active"].as_u64().unwrap_or(0)
}

/// Waits until so many are subscribed. How many were at each look before.
fn watch(server: &Server, target: u64) -> Vec<u64> {
    let (patience, mut seen) = (Patience::new(PATIENCE), Vec::new());
    loop {
        let active = active(server);
        if active == target {
            return seen;
        }
        seen.push(active);
        assert!(!patience.is_over(), "{active} in place of {target}");
    }
}

#[test]
fn others_are_served_while_100_000_are_subscribed_listed_and_unsubscribed() {
    const MANY: usize = 100_000;
    let server = crowded_server(MANY);
    let mut caller = server.connect();
    // A request behind it waits for its turn.
    caller.send(post(for_all("subscribe_many", MANY)) + &get("/nowhere"));
    let seen = watch(&server, MANY as u64);
    assert!(seen.iter().any(|&active| 0 < active && active < MANY as u64), "nobody was served meanwhile");
    assert_eq!(caller.within(PATIENCE).unwrap().json(), json!({"result": 200, "id": 1}));
    assert_eq!(caller.within(PATIENCE).unwrap().status, 404);

    // The answer has 900 KB: it leaves in pieces, while others are served.
    caller.send(post(json!({"method": "get_channel_clients", "params": ["room"], "id": 1}).to_string()));
    server.turn();
    let mut listed: Vec<String> =
        serde_json::from_value(caller.within(PATIENCE).unwrap().json()["result"].take()).unwrap();
    listed.sort_unstable();
    listed.dedup();
    assert_eq!(listed.len(), MANY);

    caller.send(post(json!({"method": "unsubscribe_all_channel", "params": ["room", ["c5"]], "id": 1}).to_string()));
    let seen = watch(&server, 1);
    assert!(seen.iter().any(|&active| 1 < active && active < MANY as u64), "nobody was served meanwhile");
    assert_eq!(caller.within(PATIENCE).unwrap().json()["result"], 200);
    assert_eq!(server.present("room"), ["c5"]);
}

#[test]
fn others_are_served_while_the_state_of_20_000_is_written() {
    const WRITES: f64 = 3.0;
    let nest = Nest::new("slices-state");
    let state = nest.socket.with_file_name("state");
    let server = crowded(20_000, &["--state", state.to_str().unwrap(), "--state-interval", "10ms"]);
    let mut scraper = Scraper::new(&server);
    let writes = "state_writes_total{result=done}";
    scraper.until(writes, |count| count >= 1.0);
    let before = scraper.read();
    scraper.until(writes, |count| count >= before[writes] + WRITES);
    let after = scraper.read();
    let grown = |name: &str| after[name] - before[name];
    // Those that were made for the one who asks, and the waking up, are few. In one go each would take one.
    let turns = grown("turn_duration_seconds_count") / grown(writes);
    assert!(turns > 20.0, "{turns} turns for each");
    assert!(after["state_last_write_duration_seconds"] > 0.0);
}

#[test]
fn a_call_is_done_to_its_end_when_its_caller_goes() {
    const MANY: usize = 20_000;
    let server = crowded_server(MANY);
    let mut caller = server.connect();
    caller.send(post(for_all("subscribe_many", MANY)));
    drop(caller);
    watch(&server, MANY as u64);
    let mut caller = server.connect();
    caller.send(post(for_all("unsubscribe_many", MANY)));
    // It only says no more: it gets its answer.
    caller.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(caller.within(PATIENCE).unwrap().json()["result"], 200);
    assert_eq!(active(&server), 0);
}

#[test]
fn a_large_call_that_fails_names_the_client_and_keeps_what_was_done() {
    let server = crowded_server(3_000);
    let mut ids: Vec<String> = (0..3_000).map(|at| format!("c{at}")).collect();
    ids.insert(2_000, "nobody".to_owned());
    let error = server.error("subscribe_many", json!([{"room": ids}]));
    assert!(error["message"].as_str().unwrap().contains("nobody"), "{error}");
    assert_eq!(active(&server), 2_000);
}

#[test]
fn a_batch_of_large_calls_is_answered_in_order() {
    let server = crowded_server(1_000);
    let ids: Vec<String> = (0..1_000).map(|at| format!("c{at}")).collect();
    let call =
        |at: i32, method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params, "id": at});
    let batch = json!([
        call(0, "subscribe_many", json!([{"room": ids}])),
        {"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["room"]},
        call(1, "get_channel_clients", json!(["room"])),
        call(2, "subscribe_many", json!([{"other": ["c1", "nobody"]}])),
        call(3, "broadcast", json!([["room", "other", "room"], "x"])),
        call(4, "unsubscribe_all_channel", json!(["room", ids[..10]])),
        call(5, "get_channel_clients", json!(["room"])),
    ]);
    let answers = server.rpc(&batch);
    let answers = answers.as_array().unwrap();
    assert!(answers.iter().enumerate().all(|(at, answer)| answer["id"] == at) && answers.len() == 6, "{answers:?}");
    assert_eq!((&answers[0]["result"], answers[1]["result"].as_array().unwrap().len()), (&json!(200), 1_000));
    assert_eq!(answers[2]["error"]["code"], -32001);
    assert_eq!(answers[3]["result"].as_array().unwrap().len(), 3);
    assert_eq!(answers[5]["result"].as_array().unwrap().len(), 10);
}

#[test]
fn of_several_lists_of_one_channel_the_last_counts() {
    let server = crowded_server(3);
    let body = r#"{"method":"subscribe_many","params":[{"room":["c0","c1"],"other":["c2"],"room":["c1"]}],"id":1}"#;
    assert_eq!(server.ask(post(body)).json()["result"], 200);
    assert_eq!((server.present("room"), server.present("other")), (vec!["c1".to_owned()], vec!["c2".to_owned()]));
    // More channels than are looked through for that.
    let many: Map<String, Value> = (0..3_000).map(|at| (format!("room{at}"), json!(["c0"]))).collect();
    assert_eq!(server.call("subscribe_many", json!([many])), 200);
    assert_eq!(server.call("get_client_channels", json!(["c0"])).as_array().unwrap().len(), 3_000);
}

#[test]
fn a_large_body_is_read_in_pieces_and_means_the_same() {
    let server = Server::start();
    let reader = server.listener("reader", &["room"]);
    // Halves of surrogate pairs at every place of a piece, and characters of several bytes.
    let text = "\\ud83dé".repeat(50_000);
    let body = format!(r#"{{"method":"new_message","params":["app","{text}","room",false],"id":1}}"#);
    assert_eq!(server.ask(post(body)).json()["result"], 1);
    assert_eq!(reader.news()["room"][0][1], "\u{fffd}é".repeat(50_000));
    for broken in [r#""a" "#, r#""a",]"#, "\"\\x\""] {
        let body = format!(r#"{{"method":"new_message","params":["{}",{broken}"#, "x".repeat(100_000));
        assert_eq!(server.ask(post(body)).status, 400, "{broken}");
    }
}

#[test]
fn what_is_asked_for_at_once_is_limited() {
    let server = crowded_server(1);
    let names: Vec<String> = (0..1_001).map(|at| at.to_string()).collect();
    let error = server.error("publish", json!(["room", "x", {"exclude": names}]));
    assert!(error["message"].as_str().unwrap().contains("exclude"), "{error}");
    let members: Map<String, Value> = (0..300).map(|at| (format!("m{at}"), json!(0))).collect();
    assert_eq!(server.ask(post(Value::Object(members.clone()).to_string())).status, 400);
    assert_eq!(server.error("publish", json!(["room", "x", members]))["type"], "<type 'exceptions.TypeError'>");
    // 400 KB of messages are more than one history.
    let text = "x".repeat(100_000);
    (0..4).for_each(|_| server.publish("room", &text));
    let first = server.call("history", json!(["room"]));
    assert_eq!(first["messages"].as_array().unwrap().len(), 3);
    let rest = server.call("history", json!(["room", first["position"]]));
    assert_eq!(rest["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_poll_is_for_so_many_clients_and_a_client_given_twice_counts_once() {
    let server = Server::start();
    let clients: Vec<_> = (0..101).map(|at| server.subscriber(&format!("c{at}"), &["room"])).collect();
    let mut most: Vec<_> = clients[..100].iter().collect();
    most.push(most[5]);
    assert_eq!(server.poll(&most).status, 200);
    assert_eq!(server.poll(&clients.iter().collect::<Vec<_>>()).status, 400);
}

#[test]
fn nobody_waits_behind_a_crowd_that_leaves() {
    const MANY: usize = 2_000;
    crate::support::crowd::raise_descriptor_limit();
    let server = crowded_server(MANY);
    let mut caller = server.connect();
    let rotated = |at| json!({"jsonrpc": "2.0", "method": "create_client", "params": [format!("c{at}")], "id": at});
    let mut keys = Vec::new();
    for first in (0..MANY).step_by(1000) {
        caller.send(post(Value::from((first..first + 1000).map(rotated).collect::<Vec<_>>()).to_string()));
        keys.extend(caller.within(PATIENCE).unwrap().json().as_array().unwrap().clone());
    }
    caller.send(post(for_all("subscribe_many", MANY)));
    assert_eq!(caller.within(PATIENCE).unwrap().json()["result"], 200);
    let since = server.call("channel_info", json!(["room"]))["position"].as_str().unwrap().to_owned();
    let path = |at: usize| {
        let key = keys[at]["result"].as_str().unwrap();
        format!("/message_updates?client_id=c{at}_!!_{key}&since={since}")
    };
    let mut crowd: Vec<Connection> = (0..MANY)
        .map(|at| {
            let mut page = server.connect();
            page.send(get(&path(at)));
            page
        })
        .collect();
    let parked = |server: &Server| server.call("channel_info", json!(["room"]))["parked"].as_u64().unwrap();
    let patience = Patience::new(PATIENCE);
    while parked(&server) < MANY as u64 {
        assert!(!patience.is_over());
    }
    let mut stays = crowd.pop().unwrap();
    drop(crowd);
    // Everybody who has left takes nothing of it, whether their end was seen or not.
    server.publish("room", "after they left");
    let answer = stays.within(PATIENCE).unwrap().json();
    assert_eq!(answer["messages"][0]["data"], "after they left");
    let patience = Patience::new(PATIENCE);
    while parked(&server) > 0 {
        assert!(!patience.is_over());
    }
    for at in [0, MANY / 2, MANY - 2] {
        let answer = server.get(&path(at)).json();
        assert_eq!(answer["messages"][0]["data"], "after they left", "c{at}");
    }
}
