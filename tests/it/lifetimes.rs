//! How long clients live, how they are collected and how they come back: section 6 of the wire, with timers that are short when
//! it is their turn.

#![allow(clippy::disallowed_methods, reason = "a client is kept for a stretch of real time")]

use crate::support::{
    Client, Connection, HASTY, Server, dies, joins, opens, poll_path, says, texts, timed, until, updates_path,
};
use serde_json::json;
use std::time::{Duration, Instant};

const KEY_ERROR: &str = "<type 'exceptions.KeyError'>";

/// How long who does not poll is kept where that is what is tested: settings, and the same on our clock.
const ONE_SECOND: (&str, Duration) =
    ("min-alive = \"10ms\"\nmax-idle = \"1s\"\nsweep-interval = \"50ms\"\n", Duration::from_secs(1));

fn is_collected(client: &Client<'_>) {
    until("the client is collected", || !client.is_known());
}

/// Polls for a client with a key that is not its.
fn knock(client: &Client<'_>) -> u16 {
    let credential = format!("{}_!!_{}", client.id, "0".repeat(32));
    client.server.get(&updates_path(&[("callback", "cb"), ("client_id", &credential)])).status
}

#[test]
fn l1_a_new_client_lives_its_minimum_and_calls_do_not_keep_it() {
    let server = Server::with(&["--min-alive", "1s", "--max-idle", "100ms", "--sweep-interval", "100ms"]);
    // Asking for it all the time does not make it live longer.
    let (_, time) = timed(|| is_collected(&server.client("alice")));
    assert!(time >= Duration::from_millis(950), "{time:?}");
}

#[test]
fn l1_a_poll_keeps_a_client_for_the_idle_time() {
    let server = Server::calm(&[]);
    let alice = server.subscriber("alice", &["room"]);
    let ((), time) = timed(|| {
        alice.news();
        server.set(ONE_SECOND.0);
        is_collected(&alice);
    });
    assert!(time >= Duration::from_millis(950), "{time:?}");
}

#[test]
fn l1_a_parked_client_lives_and_its_twin_that_is_not_is_collected() {
    let server = Server::calm(&[]);
    let (alice, twin) = (server.listener("alice", &["room"]), server.listener("twin", &["else"]));
    let mut poll = alice.park();
    server.set(ONE_SECOND.0);
    is_collected(&twin);
    assert_eq!(server.present("room"), ["alice"]);
    // The answer counts as seen: the client has the idle time to come back.
    let begin = Instant::now();
    server.publish("room", "m");
    assert_eq!(poll.news(), json!({"room": [says(2, "m")]}));
    let there = server.present("room");
    assert!(there == ["alice"] || begin.elapsed() >= ONE_SECOND.1, "{there:?}");
    is_collected(&alice);
}

#[test]
fn l1_a_client_that_polls_on_is_kept() {
    let server = Server::calm(&["--poll-timeout", "100ms"]);
    let (alice, twin) = (server.listener("alice", &["room"]), server.listener("twin", &["else"]));
    let mut asked = Instant::now();
    // She is away between two polls, and that is less than from asking once to the next answer.
    let mut poll = || {
        let before = std::mem::replace(&mut asked, Instant::now());
        let news = alice.news();
        assert!(news == json!({}) || before.elapsed() >= ONE_SECOND.1, "{news}");
    };
    poll();
    server.set(ONE_SECOND.0);
    while twin.is_known() {
        poll();
    }
    (0..5).for_each(|_| poll());
}

#[test]
fn l1_a_poll_that_was_hung_up_does_not_keep_a_client() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    drop(alice.park());
    alice.expire();
}

#[test]
fn m6_m9_an_inactive_client_is_not_listed_and_not_unsubscribed() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    server.set(&ONE_SECOND.0.replace("sweep-interval = \"50ms\"", "sweep-interval = \"1h\""));
    until("the client is inactive", || server.present("room").is_empty());
    assert_eq!(server.call("unsubscribe_all_channel", json!(["room", []])), 200);
    assert_eq!(alice.channels(), ["room"], "inactive, but not collected");
    server.publish("room", "m");
    let begin = Instant::now();
    assert_eq!(alice.news(), json!({"room": [says(2, "m")]}));
    let there = server.present("room");
    assert!(there == ["alice"] || begin.elapsed() >= ONE_SECOND.1, "polling makes it active: {there:?}");
}

#[test]
fn l2_a_collected_client_is_unknown() {
    let server = Server::calm(&[]);
    let alice = server.subscriber("alice", &["room"]);
    alice.expire();
    assert_eq!(server.present("room"), [""; 0]);
    for (method, params) in [
        ("subscribe", json!(["alice", "room"])),
        ("unsubscribe", json!(["alice", "room"])),
        ("get_client_channels", json!(["alice"])),
        ("kill_client", json!(["alice"])),
        ("subscribe_many", json!([{"room": ["alice"]}])),
    ] {
        assert_eq!(server.error(method, params)["type"], KEY_ERROR, "{method}");
    }
}

#[test]
fn l2_others_are_told_in_each_channel() {
    let server = Server::calm(&[]);
    let bob = server.listener("bob", &["x", "y"]);
    server.subscriber("alice", &["x", "y"]);
    assert_eq!(bob.news(), json!({"x": [joins(2, "alice")], "y": [joins(2, "alice")]}));
    let mut poll = bob.park();
    server.set(HASTY);
    assert_eq!(poll.news(), json!({"x": [dies(3, "alice")], "y": [dies(3, "alice")]}));
}

#[test]
fn l3_a_collected_client_comes_back_with_all_it_had() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["x", "y"]);
    server.publish("x", "before");
    alice.expire();
    server.publish_all("x", ["while", "gone"]);
    let x = json!([says(2, "before"), dies(3, "alice"), says(4, "while"), says(5, "gone"), joins(6, "alice")]);
    assert_eq!(alice.news(), json!({"x": x, "y": [dies(2, "alice"), joins(3, "alice")]}));
    assert_eq!(alice.channels(), ["x", "y"]);
    server.publish("y", "after");
    assert_eq!(alice.news(), json!({"y": [says(4, "after")]}));
}

#[test]
fn l3_it_can_come_back_again_and_again() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    for round in [0, 1, 2] {
        alice.expire();
        assert_eq!(alice.news(), json!({"room": [dies(2 + 2 * round, "alice"), joins(3 + 2 * round, "alice")]}));
    }
}

#[test]
fn l3_the_ring_counts_for_who_comes_back() {
    let server = Server::calm(&["--history", "10", "--history-system", "shared"]);
    let alice = server.listener("alice", &["room"]);
    alice.expire();
    let sent: Vec<String> = (0..13).map(|i| i.to_string()).collect();
    sent.iter().for_each(|text| server.publish("room", text));
    let news = alice.news();
    assert_eq!(texts(&news, "room"), sent[4..]);
    assert_eq!(news["room"][9], joins(16, "alice"));
}

#[test]
fn l3_it_can_come_back_in_a_poll_with_others() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["x"]);
    alice.expire();
    server.publish("x", "m");
    let bob = server.subscriber("bob", &["y"]);
    let expected = json!({"x": [dies(2, "alice"), says(3, "m"), joins(4, "alice")], "y": [joins(1, "bob")]});
    assert_eq!(server.poll(&[&bob, &alice]).news(), expected);
}

#[test]
fn l3_p11_a_bad_id_beside_it_brings_nobody_back() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    alice.expire();
    let parameters = [("callback", "cb"), ("client_id", &alice.credential()), ("client_id", "nobody_!!_0")];
    assert_eq!(server.get(&updates_path(&parameters)).status, 404);
    assert!(!alice.is_known());
}

#[test]
fn l3_others_see_it_come_back() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    alice.expire();
    let bob = server.subscriber("bob", &["room"]);
    assert_eq!(bob.news(), json!({"room": [joins(3, "bob")]}));
    let mut poll = bob.park();
    alice.news();
    assert_eq!(poll.news(), json!({"room": [joins(4, "alice")]}));
    assert_eq!(server.present("room"), ["alice", "bob"]);
}

#[test]
fn l3_only_so_many_can_come_back_the_longest_gone_go_first() {
    let server = Server::calm(&["--departed-max", "2"]);
    let departed = ["alice", "bob", "carol"].map(|id| {
        let client = server.listener(id, &["room"]);
        client.expire();
        client
    });
    assert_eq!(departed.each_ref().map(|c| c.poll().status), [404, 200, 200]);
}

#[test]
fn l3_only_for_so_long_can_it_come_back() {
    let server = Server::calm(&["--departed-age", "20ms"]);
    let alice = server.listener("alice", &["room"]);
    alice.expire();
    // Another one departs later: then the first has been gone for longer than that, or will soon.
    until("the client is gone for good", || {
        let twin = server.client("twin");
        twin.expire();
        alice.poll().status == 404
    });
    let again = server.client("alice");
    assert_ne!(again.key, alice.key);
    assert_eq!(again.channels(), [""; 0]);
}

#[test]
fn l4_a_wrong_key_brings_nobody_back() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    alice.expire();
    assert_eq!(knock(&alice), 404);
    assert!(!alice.is_known());
    assert_eq!(server.present("room"), [""; 0]);
    server.publish("room", "m");
    assert_eq!(alice.news(), json!({"room": [dies(2, "alice"), says(3, "m"), joins(4, "alice")]}));
}

#[test]
fn l4_a_wrong_key_keeps_nobody_alive() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    server.set(HASTY);
    until("the client is collected", || {
        assert_eq!(knock(&alice), 404);
        !alice.is_known()
    });
}

#[test]
fn l5_who_never_polled_keeps_its_place() {
    let server = Server::calm(&[]);
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "before");
    alice.expire();
    server.publish("room", "while");
    let expected = [joins(1, "alice"), says(2, "before"), dies(3, "alice"), says(4, "while"), joins(5, "alice")];
    assert_eq!(alice.news(), json!({"room": expected}));
}

#[test]
fn l6_a_key_that_was_just_returned_works() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    alice.expire();
    let again = server.subscriber("alice", &["room"]);
    server.publish("room", "m");
    assert_eq!(texts(&again.news(), "room"), ["m"]);
    assert_eq!(server.client("alice").key, again.key);
    server.publish("room", "n");
    assert_eq!(again.news()["room"].as_array().map(Vec::len), Some(1));
}

#[test]
fn l7_a_restart_forgets_everything() {
    let (first, second) = (Server::start(), Server::start());
    let alice = first.listener("alice", &["room"]);
    assert_eq!(second.get(&poll_path(&[&alice])).status, 404);
    assert_ne!(second.client("alice").key, alice.key);
}

#[test]
fn m11_a_killed_client_does_not_come_back() {
    let server = Server::calm(&[]);
    let alice = server.listener("alice", &["room"]);
    let twin = server.client("twin");
    alice.kill();
    twin.expire();
    assert_eq!(alice.poll().status, 404);
}

#[test]
fn c5_a_channel_that_the_departed_may_come_back_to_is_kept() {
    let server = Server::calm(&["--channel-idle", "100ms"]);
    let alice = server.listener("alice", &["room"]);
    alice.expire();
    let chief = server.subscriber("chief", &["admin"]);
    chief.news();
    server.publish("idle", "1");
    let mut poll: Connection = chief.park();
    assert_eq!(poll.news()["admin"][0][1], opens(0, "idle")[1]);
    // The other idle channel is freed and announced again. By then alice's would have been, too.
    let mut poll = chief.park();
    let reopened = (0..10).find_map(|_| {
        server.publish("idle", "again");
        poll.within(Duration::from_millis(500)).ok()
    });
    assert_eq!(reopened.expect("it is freed").news()["admin"][0][1], opens(0, "idle")[1]);
    server.publish("room", "m");
    assert_eq!(alice.news(), json!({"room": [dies(2, "alice"), says(3, "m"), joins(4, "alice")]}));
}
