//! Channels, cursors and system messages, section 5 of the wire.

use crate::support::{Server, dies, ids, joins, leaves, opens, says, texts};
use serde_json::json;
use std::time::Duration;

/// What the original keeps: ten messages, system messages among them.
const ORIGINAL_HISTORY: [&str; 4] = ["--history", "10", "--history-system", "shared"];

#[test]
fn c1_the_first_poll_begins_with_the_own_subscribe() {
    let server = Server::start();
    server.publish_all("room", ["old", "older"]);
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "new");
    assert_eq!(alice.news(), json!({"room": [joins(3, "alice"), says(4, "new")]}));
}

#[test]
fn c1_ids_count_from_1_in_each_channel() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["x", "y"]);
    server.publish_all("x", ["a", "b"]);
    server.publish("y", "c");
    let news = alice.news();
    assert_eq!(ids(&news, "x"), [1, 2, 3]);
    assert_eq!(ids(&news, "y"), [1, 2]);
}

#[test]
fn c2_subscribing_again_keeps_the_cursor() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    server.publish_all("room", ["1", "2"]);
    alice.subscribe("room");
    server.publish("room", "3");
    assert_eq!(alice.news(), json!({"room": [says(2, "1"), says(3, "2"), joins(4, "alice"), says(5, "3")]}));
}

#[test]
fn c2_what_was_polled_does_not_come_again() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    for (id, text) in [(2, "1"), (3, "2"), (4, "3")] {
        server.publish("room", text);
        assert_eq!(alice.news(), json!({"room": [says(id, text)]}));
    }
}

#[test]
fn c3_unsubscribing_forgets_the_cursor() {
    let server = Server::start();
    let alice = server.listener("alice", &["room", "kept"]);
    server.publish("room", "missed");
    alice.unsubscribe("room");
    server.publish("kept", "m");
    assert_eq!(alice.news(), json!({"kept": [says(2, "m")]}));
    alice.subscribe("room");
    assert_eq!(alice.news(), json!({"room": [joins(4, "alice")]}));
}

#[test]
fn c4_a_channel_holds_its_last_ten() {
    let server = Server::with(&ORIGINAL_HISTORY);
    let alice = server.listener("alice", &["room"]);
    let sent: Vec<String> = (0..15).map(|i| i.to_string()).collect();
    sent.iter().for_each(|text| server.publish("room", text));
    let news = alice.news();
    assert_eq!(texts(&news, "room"), sent[5..]);
    assert_eq!(ids(&news, "room"), (7..=16).collect::<Vec<u64>>());
}

#[test]
fn c4_the_number_held_can_be_set() {
    for (history, expected) in [("1", 1), ("3", 3), ("12", 12)] {
        let server = Server::with(&["--history", history]);
        let alice = server.listener("alice", &["room"]);
        (0..15).for_each(|i: u32| server.publish("room", &i.to_string()));
        assert_eq!(texts(&alice.news(), "room").len(), expected);
    }
}

#[test]
fn c4_system_messages_count_too() {
    let server = Server::with(&ORIGINAL_HISTORY);
    let alice = server.listener("alice", &["room"]);
    server.publish("room", "pushed out");
    for i in 0..10 {
        server.subscriber(&format!("bob{i}"), &["room"]);
    }
    let news = alice.news();
    assert_eq!(ids(&news, "room"), (3..=12).collect::<Vec<u64>>());
    assert_eq!(news["room"][0], joins(3, "bob0"));
}

#[test]
fn c4_a_late_subscriber_sees_only_its_own_subscribe() {
    let server = Server::start();
    (0..13).for_each(|i: u32| server.publish("room", &i.to_string()));
    assert_eq!(server.subscriber("alice", &["room"]).news(), json!({"room": [joins(14, "alice")]}));
}

#[test]
fn c4_a_slow_reader_of_many_channels_loses_only_in_the_full_ones() {
    let server = Server::with(&ORIGINAL_HISTORY);
    let alice = server.listener("alice", &["busy", "calm"]);
    server.publish("calm", "first");
    (0..30).for_each(|i: u32| server.publish("busy", &i.to_string()));
    let news = alice.news();
    assert_eq!(news["calm"], json!([says(2, "first")]));
    assert_eq!(ids(&news, "busy"), (22..=31).collect::<Vec<u64>>());
}

#[test]
fn c5_an_emptied_channel_does_not_go_backwards() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room", "other"]);
    server.publish_all("room", ["1", "2"]);
    alice.news();
    alice.unsubscribe("room");
    alice.subscribe("room");
    server.publish("room", "3");
    assert_eq!(alice.news(), json!({"room": [joins(5, "alice"), says(6, "3")]}));
}

#[test]
fn c5_an_idle_channel_is_freed_but_not_under_a_subscriber() {
    let server = Server::with(&["--channel-idle", "200ms", "--sweep-interval", "100ms"]);
    let alice = server.listener("alice", &["room"]);
    server.publish("room", "waits for alice");
    let chief = server.listener("chief", &["admin"]);
    server.publish("idle", "1");
    assert_eq!(chief.news(), json!({"admin": [opens(4, "idle")]}));
    // Between two messages the channel is idle for longer than it may be: the next one finds it freed.
    let mut poll = chief.park();
    let reopened = (0..10).find_map(|_| {
        server.publish("idle", "again");
        poll.within(Duration::from_millis(600)).ok()
    });
    assert_eq!(reopened.map(|r| r.news()), Some(json!({"admin": [opens(5, "idle")]})));
    server.publish("room", "kept");
    assert_eq!(alice.news(), json!({"room": [says(2, "waits for alice"), says(3, "kept")]}));
}

#[test]
fn s1_s2_coming_and_going_on_the_wire() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let bob = server.subscriber("bob", &["room"]);
    let news = alice.poll().updates("cb");
    assert_eq!(news, json!({"room": [[2, r#"{"type": "subscribe"}"#, "bob"]]}));
    bob.unsubscribe("room");
    bob.subscribe("room");
    bob.kill();
    assert_eq!(alice.news(), json!({"room": [leaves(3, "bob"), joins(4, "bob"), dies(5, "bob")]}));
}

#[test]
fn s2_whoever_is_killed_leaves_every_channel() {
    let server = Server::start();
    let alice = server.listener("alice", &["x", "y", "z"]);
    let bob = server.subscriber("bob", &["x", "z"]);
    alice.news();
    bob.kill();
    assert_eq!(alice.news(), json!({"x": [dies(3, "bob")], "z": [dies(3, "bob")]}));
}

#[test]
fn a1_new_channels_are_announced() {
    let server = Server::start();
    let chief = server.subscriber("chief", &["admin"]);
    // The first message announced `admin` itself, before the chief was there.
    assert_eq!(chief.news(), json!({"admin": [joins(2, "chief")]}));
    server.subscriber("alice", &["é\u{2028}\"room"]);
    server.publish("b", "x");
    server.publish("b", "y");
    server.publish("", "z");
    let expected = json!([opens(3, "é\u{2028}\"room"), opens(4, "b"), opens(5, "")]);
    assert_eq!(chief.news(), json!({"admin": expected}));
}

#[test]
fn a1_an_announcement_wakes_a_parked_poll() {
    let server = Server::start();
    let chief = server.listener("chief", &["admin"]);
    let mut poll = chief.park();
    server.publish("room", "x");
    assert_eq!(poll.news(), json!({"admin": [opens(3, "room")]}));
}

#[test]
fn a2_a_client_called_admin_is_an_ordinary_client() {
    let server = Server::start();
    let admin = server.listener("admin1", &["room"]);
    assert_eq!(server.call("new_message", json!(["admin1", "m", "room", false])), 1);
    assert_eq!(admin.news(), json!({"room": [[2, "m", "admin1"]]}));
    admin.kill();
    assert_eq!(admin.poll().status, 404);
}
