//! The JSON-RPC methods that the original had not, and the limits that it had not.

use crate::support::streams::WebSocket;
use crate::support::{Server, Shape, dies, get, heard, joins, leaves, post, said, says, since, texts, until};
use serde_json::{Value, json};

/// What a call fails with, in the original's dialect and in JSON-RPC 2.0: type, code, and the same text in both.
fn fails(server: &Server, method: &str, params: &Value, kind: &str, code: i32) -> String {
    let old = server.error(method, params.clone());
    let two = server.rpc(&json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}));
    assert_eq!(old["type"], kind, "{method}: {old}");
    assert_eq!(two["error"]["code"], code, "{method}: {two}");
    assert_eq!(old["message"], two["error"]["message"], "{method}");
    old["message"].as_str().expect("a text").to_owned()
}

fn lacks(server: &Server, method: &str, params: Value, code: i32) {
    fails(server, method, &params, "<type 'exceptions.KeyError'>", code);
}

fn is_wrong(server: &Server, method: &str, params: Value) {
    fails(server, method, &params, "<type 'exceptions.TypeError'>", -32602);
}

/// A limit is reached: the error names it, its value and the knob.
fn is_full(server: &Server, method: &str, params: Value, value: &str, knob: &str) {
    let text = fails(server, method, &params, "<type 'exceptions.OverflowError'>", -32003);
    assert!(text.contains(value) && text.contains(knob), "{method}: {text}");
}

const UNKNOWN_CLIENT: i32 = -32001;
const UNKNOWN_CHANNEL: i32 = -32002;

fn position(value: &Value) -> String {
    value["position"].as_str().unwrap_or_else(|| panic!("no position: {value}")).to_owned()
}

// --- publish

#[test]
fn publish_says_where_the_message_stands() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let first = server.call("publish", json!(["room", "1"]));
    let second = server.call("publish", json!({"channel": "room", "data": {"a": [1]}, "options": {"from": "bob"}}));
    assert_eq!((&first["id"], &second["id"]), (&json!(2), &json!(3)));
    assert_eq!(alice.news(), json!({"room": [[2, "1", null], [3, r#"{"a":[1]}"#, "bob"]]}));
    // A page at a message's position goes on behind it.
    assert_eq!(said(&alice.resume(&position(&first))), [r#"{"a":[1]}"#]);
    // A channel that does not exist is made.
    assert_eq!(server.call("publish", json!(["new", "m"]))["id"], 1);
}

#[test]
fn publish_is_the_same_in_both_dialects() {
    let server = Server::start();
    let old = server.rpc(&json!({"method": "publish", "params": ["room", "m"], "id": 7}));
    let two = server.rpc(&json!({"jsonrpc": "2.0", "method": "publish", "params": ["room", "m"], "id": 7}));
    assert_eq!((&old["result"]["id"], &old["id"], old.get("jsonrpc")), (&json!(1), &json!(7), None));
    assert_eq!((&two["result"]["id"], &two["id"], &two["jsonrpc"]), (&json!(2), &json!(7), &json!("2.0")));
}

#[test]
fn publish_from_is_delivered_as_given() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    for from in [json!("bob"), json!(7), json!(null), json!({"a": 1})] {
        server.call("publish", json!(["room", "m", {"from": from}]));
    }
    let news = alice.news();
    let from: Vec<&Value> = news["room"].as_array().unwrap().iter().map(|message| &message[2]).collect();
    assert_eq!(from, [&json!("bob"), &json!(7), &json!(null), &json!({"a": 1})]);
}

#[test]
fn publish_with_an_idempotency_key_happens_once() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let call = |key: &str, text: &str| server.call("publish", json!(["room", text, {"idempotency_key": key}]));
    let first = call("k1", "once");
    // Whatever is said with it.
    assert_eq!([call("k1", "once"), call("k1", "other")], [first.clone(), first]);
    call("k2", "twice");
    server.call("publish", json!(["other", "m", {"idempotency_key": "k1"}]));
    assert_eq!(alice.news()["room"], json!([[2, "once", null], [3, "twice", null]]));
    assert_eq!(server.call("channel_info", json!(["other"]))["messages"], 1, "each channel has its own keys");
}

#[test]
fn publish_excludes_clients_in_both_protocols() {
    let server = Server::start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|id| server.subscriber(id, &["room"]));
    let clients = [&alice, &bob, &carol];
    for client in clients {
        client.news();
    }
    server.call("publish", json!(["room", "not bob's", {"exclude": ["bob", "nobody"]}]));
    server.call("publish", json!(["room", "not alice's", {"exclude": "alice"}]));
    server.publish("room", "everybody's");
    let expected: [&[&str]; 3] =
        [&["not bob's", "everybody's"], &["not alice's", "everybody's"], &["not bob's", "not alice's", "everybody's"]];
    for (client, expected) in clients.iter().zip(expected) {
        assert_eq!(said(&client.resume("")), expected);
        assert_eq!(texts(&client.news(), "room"), expected);
    }
    // A poll is not woken by what is not for its client.
    let mut poll = alice.park();
    server.call("publish", json!(["room", "not alice's", {"exclude": ["alice"]}]));
    poll.waits();
}

#[test]
fn publish_with_a_ttl_is_delivered_for_so_long() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    server.call("publish", json!(["room", "brief", {"ttl_ms": 20}]));
    server.call("publish", json!(["room", "long", {"ttl_ms": 600_000}]));
    until("it is over", || server.call("history", json!(["room"]))["messages"].as_array().unwrap().len() == 2);
    assert_eq!(texts(&alice.news(), "room"), ["long"]);
    // Who waits gets it at once.
    let mut poll = alice.park();
    server.call("publish", json!(["room", "now", {"ttl_ms": 5000}]));
    assert_eq!(texts(&poll.news(), "room"), ["now"]);
}

#[test]
fn publish_takes_no_wrong_argument() {
    let server = Server::start();
    for params in [
        json!([]),
        json!(["room"]),
        json!([null, "m"]),
        json!([["room"], "m"]),
        json!(["room", "m", "options"]),
        json!(["room", "m", {}, 1]),
        json!(["room", "m", {"unknown": 1}]),
        json!(["room", "m", {"exclude": {"a": 1}}]),
        json!(["room", "m", {"exclude": [null]}]),
        json!(["room", "m", {"ttl_ms": -1}]),
        json!(["room", "m", {"ttl_ms": "soon"}]),
        json!(["room", "m", {"idempotency_key": []}]),
        json!({"channel": "room", "text": "m"}),
    ] {
        is_wrong(&server, "publish", params);
    }
    lacks(&server, "channel_info", json!(["room"]), UNKNOWN_CHANNEL);
}

#[test]
fn broadcast_publishes_in_each_channel() {
    let server = Server::start();
    let alice = server.listener("alice", &["x", "y"]);
    let call = || server.call("broadcast", json!([["x", "y", "z"], "m", {"from": "app", "idempotency_key": "k"}]));
    let placed = call();
    let ids: Vec<&Value> = placed.as_array().unwrap().iter().map(|placed| &placed["id"]).collect();
    assert_eq!(ids, [2, 2, 1]);
    assert_eq!(alice.news(), json!({"x": [says(2, "m")], "y": [says(2, "m")]}));
    assert_eq!(call(), placed, "the key holds for each of the channels");
    assert_eq!(server.call("broadcast", json!([[], "m"])), json!([]));
    is_wrong(&server, "broadcast", json!(["x", "m"]));
    is_wrong(&server, "broadcast", json!([[null], "m"]));
}

// --- history and the lists

#[test]
fn history_is_read_in_pages() {
    let server = Server::with(&["--presence", "off"]);
    server.publish_all("room", ["1", "2", "3", "4", "5"]);
    let all = server.call("history", json!(["room"]));
    assert_eq!(all["messages"][0], json!({"id": 1, "from": "app", "data": "1", "system": false}));
    assert_eq!((all["messages"].as_array().unwrap().len(), &all["gap"]), (5, &json!(false)));
    let (mut since, mut got) = (Value::Null, Vec::new());
    for expected in [2, 2, 1] {
        let page = server.call("history", json!({"channel": "room", "since": since, "limit": 2}));
        let some = page["messages"].as_array().unwrap().clone();
        assert_eq!(some.len(), expected);
        got.extend(some);
        since = page["position"].clone();
    }
    assert_eq!(json!(got), all["messages"]);
    let none = server.call("history", json!(["room", since, 2]));
    assert_eq!(none["messages"], json!([]));
    // Its position is one to poll from.
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "6");
    assert_eq!(said(&alice.resume(since.as_str().unwrap())), ["6"]);
}

#[test]
fn history_says_where_something_has_fallen_out() {
    let server = Server::with(&["--history", "2", "--presence", "off"]);
    let first = position(&server.call("publish", json!(["room", "1"])));
    let second = position(&server.call("publish", json!(["room", "2"])));
    server.publish_all("room", ["3", "4"]);
    let from = |since: Value| {
        let page = server.call("history", json!(["room", since]));
        (page["messages"].as_array().unwrap().len(), page["gap"].clone())
    };
    assert_eq!(from(Value::Null), (2, json!(true)));
    assert_eq!(from(json!(first)), (2, json!(true)));
    assert_eq!(from(json!(second)), (2, json!(false)));
    // A position of another life is one from which nothing is known.
    assert_eq!(from(json!("0123456789abcdef-5")), (2, json!(true)));
    is_wrong(&server, "history", json!(["room", "no position"]));
    is_wrong(&server, "history", json!(["room", 5]));
    lacks(&server, "history", json!(["nowhere"]), UNKNOWN_CHANNEL);
}

#[test]
fn history_with_a_limit_of_none_stays_where_it_is() {
    let server = Server::with(&["--presence", "off"]);
    server.publish_all("room", ["1", "2"]);
    let nothing = server.call("history", json!(["room", null, 0]));
    assert_eq!(nothing["messages"], json!([]));
    // Or who reads on from there has lost what there is.
    let rest = server.call("history", json!(["room", nothing["position"]]));
    assert_eq!(rest["messages"].as_array().unwrap().len(), 2);
}

#[test]
fn channel_info_counts() {
    let server = Server::calm(&["--presence", "off"]);
    lacks(&server, "channel_info", json!(["room"]), UNKNOWN_CHANNEL);
    let (alice, bob) = (server.subscriber("alice", &["room"]), server.subscriber("bob", &["room"]));
    let info = server.call("channel_info", json!(["room"]));
    assert_eq!([&info["subscribers"], &info["active"], &info["parked"]], [2, 2, 0]);
    assert_eq!([&info["messages"], &info["bytes"], &info["next_id"]], [0, 0, 1]);
    let poll = server.park_at(&Shape::Object.path(&[&alice], &position(&info)));
    bob.expire();
    let info = server.call("channel_info", json!({"channel": "room"}));
    assert_eq!([&info["subscribers"], &info["active"], &info["parked"]], [2, 1, 1]);
    let placed = server.call("publish", json!(["room", "m"]));
    let info = server.call("channel_info", json!(["room"]));
    assert_eq!([&info["messages"], &info["next_id"]], [1, 2]);
    assert_eq!(info["position"], placed["position"]);
    assert!(info["bytes"].as_u64().unwrap() >= 10, "{info}");
    drop(poll);
}

#[test]
fn client_info_says_where_a_client_stands() {
    let server = Server::start();
    lacks(&server, "client_info", json!(["alice"]), UNKNOWN_CLIENT);
    let alice = server.subscriber("alice", &["x", "y"]);
    let info = server.call("client_info", json!(["alice"]));
    assert_eq!((&info["here"], &info["parked"], &info["subscriptions"]), (&json!(true), &json!(0), &json!(2)));
    assert_eq!(info["transports"], json!([]));
    let token = since(&alice.resume(""));
    assert_ne!(info["acknowledged"], token);
    let resume = server.park_at(&Shape::Object.path(&[&alice], &token));
    let old = alice.park();
    let info = server.call("client_info", json!(["alice"]));
    assert_eq!((&info["parked"], &info["transports"]), (&json!(2), &json!(["poll", "resume"])));
    assert_eq!((&info["acknowledged"], &info["idle_ms"]), (&json!(token), &json!(0)));
    drop((resume, old));
    alice.is_left();
    until("she is idle", || server.call("client_info", json!(["alice"]))["idle_ms"].as_u64().unwrap() > 0);
}

#[test]
fn client_info_knows_the_departed() {
    let server = Server::calm(&[]);
    let alice = server.subscriber("alice", &["room"]);
    alice.expire();
    let info = server.call("client_info", json!(["alice"]));
    assert_eq!((&info["here"], &info["subscriptions"]), (&json!(false), &json!(1)));
}

/// All pages of a list, and how many there were.
fn pages(server: &Server, method: &str, prefix: &str, limit: usize) -> (Vec<String>, usize) {
    let what = method.strip_prefix("list_").expect("a list");
    let (mut names, mut after, mut count) = (Vec::new(), Value::Null, 0);
    loop {
        let page = server.call(method, json!({"prefix": prefix, "after": after, "limit": limit}));
        let some = page[what].as_array().unwrap_or_else(|| panic!("{page}"));
        assert!(some.len() <= limit);
        names.extend(some.iter().map(|name| name.as_str().expect("a name").to_owned()));
        count += 1;
        after = page["after"].clone();
        if after.is_null() {
            names.sort();
            return (names, count);
        }
    }
}

#[test]
fn the_lists_are_paged_and_filtered() {
    let server = Server::start();
    let ids: Vec<String> = (10..35).map(|n| format!("a-{n}")).collect();
    for id in &ids {
        server.subscriber(id, &[&format!("room-{id}")]);
    }
    server.client("b-1");
    assert_eq!(pages(&server, "list_clients", "a-", 7).0, ids);
    assert_eq!(pages(&server, "list_clients", "a-2", 1000).0, ids[10..20]);
    assert_eq!(pages(&server, "list_clients", "c", 10).0, [""; 0]);
    assert!(pages(&server, "list_clients", "", 5).1 > 5);
    let rooms: Vec<String> = ids.iter().map(|id| format!("room-{id}")).collect();
    assert_eq!(pages(&server, "list_channels", "room-", 10).0, rooms);
    // All arguments can be left out; there is a channel of announcements, too.
    let all = server.call("list_channels", json!([]));
    assert_eq!((all["channels"].as_array().unwrap().len(), &all["after"]), (26, &Value::Null));
    for params in [json!([1, "x"]), json!(["", -1]), json!(["", 0, 1.5]), json!([[], 0]), json!(["", 0, 1, 1])] {
        is_wrong(&server, "list_clients", params);
    }
    // A place behind all others, or behind all numbers.
    for after in [1_000_000_u64, u64::MAX] {
        assert_eq!(server.call("list_clients", json!(["", after])), json!({"clients": [], "after": null}));
    }
}

#[test]
fn a_list_of_many_is_no_long_call() {
    let server = Server::start();
    let many: Vec<String> = (0..30_000).map(|n| format!("c-{n}")).collect();
    let mut calls = server.connect();
    for some in many.chunks(1000) {
        let call = |id| json!({"jsonrpc": "2.0", "method": "create_client", "params": [id]});
        assert_eq!(calls.ask(post(some.iter().map(call).collect::<Value>().to_string())).status, 204);
    }
    // Few of many: pages may be empty with more behind them, as one call looks at so many places and no more.
    let (names, count) = pages(&server, "list_clients", "c-2999", 1000);
    assert_eq!((names.len(), count), (11, 4), "{names:?}");
    assert_eq!(pages(&server, "list_clients", "", 1000).0.len(), many.len());
}

#[test]
fn departed_clients_are_in_no_list() {
    let server = Server::calm(&[]);
    let alice = server.subscriber("alice", &["room"]);
    alice.expire();
    assert_eq!(pages(&server, "list_clients", "", 10).0, [""; 0]);
}

// --- clients

#[test]
fn rotate_key_ends_the_old_one_and_keeps_the_rest() {
    let server = Server::start();
    let mut alice = server.listener("alice", &["room"]);
    server.publish("room", "m");
    let old = alice.key.clone();
    let new = server.call("rotate_key", json!(["alice"]));
    assert!(new.as_str().is_some_and(|key| key.len() == 32 && key != old), "{new}");
    assert_eq!(alice.poll().status, 404);
    new.as_str().unwrap().clone_into(&mut alice.key);
    // What it has read it has read, and what it is in it is in.
    assert_eq!(alice.news(), json!({"room": [says(2, "m")]}));
    assert_eq!(server.call("create_client", json!(["alice"])), new);
    lacks(&server, "rotate_key", json!(["nobody"]), UNKNOWN_CLIENT);
}

#[test]
fn subscribe_with_since_reaches_back_and_the_old_signature_is_untouched() {
    let server = Server::with(&["--presence", "off"]);
    let first = position(&server.call("publish", json!(["room", "1"])));
    server.publish_all("room", ["2", "3"]);
    let (alice, bob) = (server.client("alice"), server.client("bob"));
    assert_eq!(server.call("subscribe", json!(["alice", "room", {"since": first}])), 1);
    assert_eq!(server.call("subscribe", json!({"client_id": "bob", "channel_name": "room"})), 1);
    server.publish("room", "4");
    // In both protocols.
    assert_eq!(said(&alice.resume("")), ["2", "3", "4"]);
    assert_eq!(texts(&alice.news(), "room"), ["2", "3", "4"]);
    assert_eq!(texts(&bob.news(), "room"), ["4"]);
    // It does not move a subscription that there is.
    assert_eq!(server.call("subscribe", json!(["bob", "room", {"since": first}])), 1);
    let mut poll = bob.park();
    poll.waits();
    for options in [json!({"since": "x"}), json!({"since": 3}), json!({"from": first}), json!("x"), json!([])] {
        is_wrong(&server, "subscribe", json!(["alice", "other", options]));
    }
    assert_eq!(alice.channels(), ["room"]);
}

#[test]
fn subscribe_with_a_position_of_another_life_begins_at_the_beginning() {
    let server = Server::with(&["--presence", "off", "--history", "2"]);
    server.publish_all("room", ["1", "2", "3"]);
    let alice = server.client("alice");
    assert_eq!(server.call("subscribe", json!(["alice", "room", {"since": "0123456789abcdef-7"}])), 1);
    let answer = alice.resume("");
    assert_eq!(said(&answer), ["2", "3"]);
    assert_eq!(answer["gaps"], json!([{"channel": "room", "next_id": 2, "reason": "count"}]));
}

// --- what the server says

/// The reasons of the system messages of a channel with the ids of the clients.
fn reasons(server: &Server, channel: &str) -> Vec<(String, String)> {
    let messages = server.call("history", json!([channel]))["messages"].take();
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    messages.as_array().expect("a list").iter().map(|m| (text(&m["from"]), text(&m["reason"]))).collect()
}

#[test]
fn joins_and_leaves_have_a_reason_and_their_old_text() {
    let server = Server::calm(&[]);
    let watcher = server.subscriber("watcher", &["room"]);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|id| server.subscriber(id, &["room"]));
    alice.unsubscribe("room");
    bob.kill();
    // The watcher stays, as its stream does.
    let mut socket = WebSocket::open(&watcher, None);
    carol.expire();
    let mut seen = Vec::new();
    while !seen.contains(&("carol".to_owned(), "expired".to_owned())) {
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let messages = socket.object()["messages"].take();
        seen.extend(messages.as_array().unwrap().iter().map(|m| (text(&m["from"]), text(&m["reason"]))));
    }
    drop(carol.park());
    let expected = [
        ("watcher", "subscribed"),
        ("alice", "subscribed"),
        ("bob", "subscribed"),
        ("carol", "subscribed"),
        ("alice", "unsubscribed"),
        ("bob", "killed"),
        ("carol", "expired"),
        ("carol", "returned"),
    ];
    let expected = expected.map(|(from, reason)| (from.to_owned(), reason.to_owned()));
    let all = reasons(&server, "room");
    assert_eq!(all[..8], expected);
    assert_eq!(seen[..7], expected[..7]);
}

#[test]
fn the_old_protocol_knows_no_reasons() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let bob = server.subscriber("bob", &["room"]);
    bob.unsubscribe("room");
    bob.subscribe("room");
    bob.kill();
    assert_eq!(alice.news(), json!({"room": [joins(2, "bob"), leaves(3, "bob"), joins(4, "bob"), dies(5, "bob")]}));
}

#[test]
fn presence_can_be_off_for_a_prefix() {
    let server = Server::with(&["--presence", "quiet-=off"]);
    let alice = server.subscriber("alice", &["quiet-room", "room"]);
    let bob = server.subscriber("bob", &["quiet-room", "room"]);
    bob.unsubscribe("quiet-room");
    bob.kill();
    server.publish("quiet-room", "m");
    let news = alice.news();
    assert_eq!(news["quiet-room"], json!([says(1, "m")]));
    assert_eq!(news["room"], json!([joins(1, "alice"), joins(2, "bob"), dies(3, "bob")]));
    // Who is there is counted all the same.
    assert_eq!(server.present("quiet-room"), ["alice"]);
    assert_eq!(server.call("channel_info", json!(["quiet-room"]))["active"], 1);
}

#[test]
fn presence_can_be_off_but_for_a_prefix() {
    let server = Server::with(&["--presence", "off,loud-=on"]);
    let alice = server.subscriber("alice", &["room", "loud-room"]);
    assert_eq!(alice.news(), json!({"loud-room": [joins(1, "alice")]}));
}

#[test]
fn history_is_kept_by_prefix_and_the_longest_counts() {
    let server = Server::with(&["--presence", "off", "--history", "3,chat-=2,chat-big-=5"]);
    for (channel, kept) in [("room", 3), ("chat-x", 2), ("chat-big-x", 5)] {
        server.publish_all(channel, ["1", "2", "3", "4", "5", "6"]);
        assert_eq!(server.call("channel_info", json!([channel]))["messages"], kept, "{channel}");
    }
}

#[test]
fn every_share_of_history_has_its_prefixes() {
    let server = Server::with(&[
        "--history-system",
        "100,few-=1,shared-=shared",
        "--history",
        "100,shared-=2",
        "--history-bytes",
        "1MiB,small-=1KiB",
        "--history-age",
        "1h,brief-=50ms",
    ]);
    for channel in ["few-", "shared-", "room"] {
        for id in ["a", "b", "c", "d"] {
            server.subscriber(id, &[channel]);
        }
        server.publish(channel, "m");
    }
    let kept = |channel: &str| server.call("channel_info", json!([channel]))["messages"].clone();
    assert_eq!(["few-", "shared-", "room"].map(kept), [2, 2, 5]);
    for channel in ["small-", "room2", "brief-"] {
        server.publish_all(channel, ["x", "y"].map(|text| text.repeat(600)).iter().map(String::as_str));
    }
    assert_eq!(["small-", "room2"].map(kept), [1, 2]);
    until("the older one is too old", || kept("brief-") == 1);
}

// --- limits

#[test]
fn max_clients_is_told_and_nothing_else_suffers() {
    let server = Server::with(&["--max-clients", "2"]);
    let (alice, bob) = (server.listener("alice", &["room"]), server.client("bob"));
    is_full(&server, "create_client", json!(["carol"]), "2", "--max-clients");
    // Who is there may be made again, and works on.
    assert_eq!(server.call("create_client", json!(["alice"])), json!(alice.key));
    server.publish("room", "m");
    assert_eq!(texts(&alice.news(), "room"), ["m"]);
    bob.kill();
    server.client("carol");
}

#[test]
fn who_may_come_back_makes_room_for_who_comes() {
    let server = Server::calm(&["--max-clients", "1"]);
    let alice = server.subscriber("alice", &["room"]);
    is_full(&server, "create_client", json!(["bob"]), "1", "--max-clients");
    alice.expire();
    let bob = server.subscriber("bob", &["room"]);
    assert!(bob.is_known());
    assert_eq!(alice.poll().status, 404);
}

#[test]
fn max_channels_is_told_by_whatever_makes_one() {
    let server = Server::with(&["--max-channels", "2"]);
    // `admin` is one of them.
    let alice = server.listener("alice", &["room"]);
    for (method, params) in [
        ("subscribe", json!(["alice", "new"])),
        ("unsubscribe", json!(["alice", "new"])),
        ("publish", json!(["new", "m"])),
        ("new_message", json!(["app", "m", "new", false])),
        ("subscribe_many", json!([{"new": ["alice"]}])),
        ("broadcast", json!([["new"], "m"])),
    ] {
        is_full(&server, method, params, "2", "--max-channels");
    }
    assert_eq!(alice.channels(), ["room"]);
    server.publish("room", "m");
    server.publish("admin", "m");
    assert_eq!(texts(&alice.news(), "room"), ["m"]);
}

#[test]
fn max_subscriptions_is_told_and_those_there_are_stay() {
    let server = Server::with(&["--max-subscriptions", "2", "--presence", "off"]);
    let alice = server.subscriber("alice", &["x", "y"]);
    is_full(&server, "subscribe", json!(["alice", "z"]), "2", "--max-subscriptions");
    is_full(&server, "subscribe", json!(["alice", "admin"]), "2", "--max-subscriptions");
    is_full(&server, "subscribe_many", json!([{"z": ["alice"]}]), "2", "--max-subscriptions");
    // No channel was made for it.
    lacks(&server, "channel_info", json!(["z"]), UNKNOWN_CHANNEL);
    alice.subscribe("x");
    alice.unsubscribe("x");
    alice.subscribe("z");
    assert_eq!(alice.channels(), ["y", "z"]);
    server.subscriber("bob", &["x", "y"]);
}

#[test]
fn max_subscriptions_counts_what_is_still_to_be_read() {
    let server = Server::with(&["--max-subscriptions", "2", "--presence", "off"]);
    let alice = server.subscriber("alice", &["x", "y"]);
    server.publish("x", "m");
    alice.unsubscribe("x");
    is_full(&server, "subscribe", json!(["alice", "z"]), "2", "--max-subscriptions");
    let token = since(&alice.resume(""));
    drop(server.park_at(&Shape::Object.path(&[&alice], &token)));
    alice.subscribe("z");
}

#[test]
fn an_old_page_that_never_names_a_position_can_change_channels_for_ever() {
    let server = Server::with(&["--max-subscriptions", "3"]);
    let alice = server.client("alice");
    for n in 0..20 {
        let channel = format!("room-{n}");
        alice.subscribe(&channel);
        assert_eq!(alice.news(), json!({ channel.as_str(): [joins(1, "alice")] }));
        server.publish(&channel, "m");
        alice.unsubscribe(&channel);
        // What she had not read is gone for her; her next answer is of something else.
        alice.subscribe("steady");
        server.publish("steady", "m");
        assert_eq!(texts(&alice.news(), "steady"), ["m"]);
    }
}

#[test]
fn max_name_is_told_for_every_name() {
    let server = Server::with(&["--max-name", "16"]);
    let (fits, long) = ("x".repeat(16), "é".repeat(8) + "x");
    let alice = server.subscriber(&fits, &[&fits]);
    for (method, params) in [
        ("create_client", json!([long])),
        ("subscribe", json!([fits, long])),
        ("unsubscribe", json!([fits, long])),
        ("new_message", json!(["app", "m", long, false])),
        ("subscribe_many", json!([{ long.as_str(): [fits] }])),
        ("publish", json!([long, "m"])),
        ("publish", json!(["room", "m", {"idempotency_key": long}])),
        ("broadcast", json!([[long], "m"])),
        ("channel_info", json!([long])),
        ("list_clients", json!([long])),
    ] {
        is_full(&server, method, params, "16", "--max-name");
    }
    // It is about names, not about what is said.
    server.publish(&fits, &"m".repeat(1000));
    assert_eq!(heard(&alice.resume("")).len(), 2);
}

#[test]
fn a_limit_within_a_batch_fails_one_call_of_it() {
    let server = Server::with(&["--max-clients", "1"]);
    let call = |id: &str| json!({"jsonrpc": "2.0", "method": "create_client", "params": [id], "id": id});
    let answers = server.rpc(&json!([call("a"), call("b"), call("a")]));
    assert_eq!(answers[0]["result"], answers[2]["result"]);
    assert_eq!((&answers[1]["error"]["code"], &answers[1]["id"]), (&json!(-32003), &json!("b")));
}

#[test]
fn the_additions_are_the_web_applications_alone() {
    let server = Server::with(&["--rpc-allow", "10.0.0.1"]);
    let call = json!({"method": "list_clients", "params": [], "id": 1});
    assert_eq!(server.ask(post(call.to_string())).status, 404);
    assert_eq!(server.ask(get("/message_updates?client_id=a_!!_b&since=")).status, 404);
}
