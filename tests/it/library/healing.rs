//! What a failover has lost is put back by the nodes that still know of it.

use shaveet::config::Config;
use shaveet::hub::Limits;

use super::{EPOCH, Node};
use crate::support::resp::Reply;

const START: u64 = 1_700_000_000_000;

/// What is said of a message that is put back: seq, id, text.
type Back<'a> = (&'a str, &'a str, &'a str);

fn limits() -> Limits {
    Config::default().hub_limits()
}

/// A Redis that has these two nodes, a channel with one message (seq 3, id 1) and a client in it.
fn before() -> Node {
    let mut node = Node::new(&limits());
    node.turn_clock(START);
    node.call("publish", &["room", "null", "\"one\"", "", "", ""]);
    node.call("create_client", &["alice", "a"]);
    node.call("subscribe", &["alice", "room", ""]);
    node.call("alive", &["near#1", "6000"]);
    node.call("alive", &["far#1", "6000"]);
    node
}

/// Another process has the data.
fn fail_over(node: &mut Node) -> u64 {
    let whole: u64 = node.ask("seq", &[])[1].parse().expect("a seq");
    assert_eq!(node.hello("another", &limits())[5], whole.to_string());
    node.heard();
    whole
}

fn put_back(node: &mut Node, messages: &[Back<'_>], once: &str, lost: [&str; 2]) -> Reply {
    let mut arguments = vec!["room"];
    for (seq, id, text) in messages {
        arguments.extend([seq, id, "1700000000500", "app", "0", "", once, lost[0], lost[1], "null", text]);
    }
    node.call("heal", &arguments)
}

/// What is said in the channel, as [`Back`].
fn said(node: &mut Node) -> Vec<[String; 3]> {
    let heard = node.heard().into_iter().filter(|(channel, _)| channel == "says:room");
    let parts = heard.map(|(_, payload)| {
        let fields: Vec<String> = payload.splitn(11, '\n').map(String::from).collect();
        [fields[1].clone(), fields[2].clone(), fields[10].clone()]
    });
    parts.collect()
}

fn done(node: &mut Node, who: &str) -> u64 {
    node.call("healed", &[who]).number()
}

#[test]
fn nothing_new_is_done_before_all_nodes_have_put_back_what_they_have() {
    let mut node = before();
    let whole = fail_over(&mut node);
    let waits: [(&str, &[&str]); 9] = [
        ("publish", &["room", "null", "\"x\"", "", "", ""]),
        ("broadcast", &["null", "\"x\"", "", "", "", "room"]),
        ("create_client", &["bob", "b"]),
        ("rotate_key", &["alice", "b"]),
        ("kill_client", &["alice"]),
        ("subscribe", &["alice", "other", ""]),
        ("unsubscribe", &["alice", "room"]),
        ("revive", &["", "alice"]),
        ("sweep", &["100"]),
    ];
    for (function, arguments) in waits {
        assert_eq!(node.refused(function, arguments), "HEALING", "{function}");
    }
    assert_eq!(node.heard(), []);
    // What is there can be read, and told.
    assert_eq!(node.ask("channel_info", &["room"])[4], (whole - 1).to_string(), "no id is skipped yet");
    assert_eq!(node.call("touch", &["", "1000", "alice"]), Reply::List(Vec::new()));
    // Each is waited for, under whatever name it has come back.
    assert_eq!(done(&mut node, "near#2"), 4000);
    node.turn_clock(START + 1500);
    assert_eq!(done(&mut node, "near#3"), 2500);
    assert_eq!(done(&mut node, "far#2"), 0);
    let placed = node.ask("publish", &["room", "null", "\"x\"", "", "", ""]);
    assert_eq!(placed[1], (1_000_000 + whole + 1).to_string());
}

#[test]
fn who_does_not_come_back_is_not_waited_for_long() {
    let mut node = before();
    // It had been silent before.
    node.turn_clock(START + 6000);
    node.call("alive", &["near#1", "6000"]);
    fail_over(&mut node);
    assert_eq!(done(&mut node, "near#2"), 0);

    let mut node = before();
    fail_over(&mut node);
    node.turn_clock(START + 3999);
    assert_eq!(done(&mut node, "near#2"), 1);
    node.turn_clock(START + 4000);
    assert_eq!(done(&mut node, "near#2"), 0);
    // It comes too late.
    assert_eq!(put_back(&mut node, &[("6", "3", "\"x\"")], "", ["0", "0"]), Reply::Text("0".into()));
    assert_eq!(said(&mut node), [[""; 3]; 0]);
}

#[test]
fn who_has_come_back_and_is_slow_is_waited_for_longer() {
    let mut node = before();
    fail_over(&mut node);
    assert_eq!(done(&mut node, "near#2"), 4000);
    for heard in [500, 3500, 6000] {
        node.turn_clock(START + heard);
        node.call("alive", &["far#2", "6000"]);
    }
    node.turn_clock(START + 9000);
    assert_eq!(done(&mut node, "near#2"), 1000);
    assert_eq!(put_back(&mut node, &[("6", "3", "\"x\"")], "", ["0", "0"]), Reply::Text("1".into()));
    assert_eq!(done(&mut node, "far#2"), 0);
    assert_eq!(said(&mut node).len(), 1);

    // Until it is silent again.
    let mut node = before();
    fail_over(&mut node);
    node.turn_clock(START + 3500);
    node.call("alive", &["far#2", "6000"]);
    node.turn_clock(START + 7499);
    assert_eq!(done(&mut node, "near#2"), 1);
    assert_eq!(node.refused("sweep", &["100"]), "HEALING");
    node.turn_clock(START + 7500);
    assert_eq!(done(&mut node, "near#2"), 0);

    // Nor for ever.
    let mut node = before();
    fail_over(&mut node);
    node.turn_clock(START + 29_999);
    node.call("alive", &["far#2", "6000"]);
    assert_eq!(done(&mut node, "near#2"), 4000);
    node.turn_clock(START + 30_000);
    assert_eq!(done(&mut node, "near#2"), 0);
}

#[test]
fn messages_are_put_back_in_their_places_from_whomever_they_come() {
    let mut node = before();
    let whole = fail_over(&mut node);
    let seq = |ahead: u64| (whole + ahead).to_string();
    let id = |ahead: u64| (whole - 2 + ahead).to_string();
    let [one, two, three] = [1, 2, 3].map(seq);
    let [id_one, id_two, id_three] = [1, 2, 3].map(id);
    put_back(&mut node, &[(&two, &id_two, "\"two\""), (&three, &id_three, "\"three\"")], "", ["0", "0"]);
    put_back(&mut node, &[(&one, &id_one, "\"one\""), (&two, &id_two, "\"two\"")], "\"a key\"", ["0", "0"]);
    assert_eq!(said(&mut node), [[""; 3]; 0], "not before all are there");
    done(&mut node, "near#2");
    assert_eq!(done(&mut node, "far#2"), 0);
    let expected = [[&*one, &id_one, "\"one\""], [&two, &id_two, "\"two\""], [&three, &id_three, "\"three\""]];
    assert_eq!(said(&mut node), expected);
    // They are kept like all others.
    let followed = node.call("follow", &["room", &whole.to_string()]);
    let kept: Vec<String> = followed.list()[9].list().iter().map(|message| message.texts()[0].into()).collect();
    assert_eq!(kept, [one.clone(), two, three]);
    // The first was published with a key that nobody else knew.
    assert_eq!(node.ask("publish", &["room", "null", "\"one\"", "", "", "a key"]), [id_one, one]);
    // Ids go on far behind them.
    let next = node.ask("publish", &["room", "null", "\"x\"", "", "", ""]);
    assert_eq!(next[0].parse::<u64>().unwrap(), id_three.parse::<u64>().unwrap() + 1001);
    let kept = ["heal:room", "healing", "awaited"].map(|key| format!("{{shaveet}}:{key}"));
    assert_eq!(node.redis.ask(&["EXISTS", &kept[0], &kept[1], &kept[2]]), "0", "nothing of it stays");
}

#[test]
fn what_nobody_has_any_more_is_a_gap() {
    let mut node = before();
    let whole = fail_over(&mut node);
    let (lost, seq) = ((whole + 4).to_string(), (whole + 5).to_string());
    put_back(&mut node, &[(&seq, "9", "\"x\"")], "", [&lost, "0"]);
    done(&mut node, "near#2");
    done(&mut node, "far#2");
    let room = node.hash("channel:room");
    assert_eq!((&*room["lost0"], room.get("lost1")), (&*format!("{lost} 8 restart"), None));
}

#[test]
fn what_nobody_has_any_more_stays_a_gap_when_what_was_before_it_falls_out() {
    let mut node = before();
    // Two of these do not fit.
    let large = format!("\"{}\"", "x".repeat(600 << 10));
    node.call("publish", &["room", "null", &large, "", "", ""]);
    let whole = fail_over(&mut node);
    let (lost, seq) = ((whole + 4).to_string(), (whole + 5).to_string());
    put_back(&mut node, &[(&seq, "9", "\"x\"")], "", [&lost, "0"]);
    done(&mut node, "near#2");
    done(&mut node, "far#2");
    node.call("publish", &["room", "null", &large, "", "", ""]);
    let kept = node.call("follow", &["room", "0"]);
    let first =
        kept.list()[9].list().iter().map(Reply::texts).find(|message| message[3] == "app").expect("one is kept");
    assert_eq!(first[1], "9", "what was before it has fallen out");
    assert_eq!(node.hash("channel:room")["lost0"], format!("{lost} 8 restart"));
}

#[test]
fn much_is_put_back_bit_by_bit() {
    let mut node = before();
    let whole = fail_over(&mut node);
    for at in 1..=450 {
        let (seq, id) = ((whole + at).to_string(), (whole + at).to_string());
        put_back(&mut node, &[(&seq, &id, "\"x\"")], "", ["0", "0"]);
    }
    done(&mut node, "near#2");
    let mut calls = 0;
    while done(&mut node, "far#2") > 0 {
        calls += 1;
    }
    assert_eq!(calls, 2);
    assert_eq!(said(&mut node).len(), 450);
}

#[test]
fn a_client_is_what_the_node_says_that_has_heard_most() {
    let mut node = before();
    let whole = fail_over(&mut node);
    let heal = |node: &mut Node, heard: u64, subscriptions: &[&str]| {
        let heard = heard.to_string();
        let client = ["alice", &*heard, "a", "1700000000000", "3", "1", "0"];
        assert_eq!(node.call("heal_client", &[&client[..], subscriptions].concat()), Reply::Text("0".into()));
        let mut live = node.ask("channels_of", &["alice"]);
        live.sort();
        live
    };
    let new = [["new", "6", "6", "", "", "", ""], ["room", "3", "3", "", "", "", ""]].concat();
    // Who has heard less than Redis has nothing to say.
    assert_eq!(heal(&mut node, whole - 1, &new), ["room"]);
    assert_eq!(heal(&mut node, whole + 5, &new), ["new", "room"]);
    assert_eq!(node.heard(), [("tells:alice".into(), "subscribed 6 6 new".into())]);
    // Nor has who has heard less than another node.
    assert_eq!(heal(&mut node, whole + 4, &[]), ["new", "room"]);
    // It was unsubscribed after that: from one with something left to read, from the other without.
    let ended = ["new", "6", "6", "8", "7", "0", "1700000900000"];
    assert_eq!(heal(&mut node, whole + 6, &ended), [""; 0]);
    let told: Vec<String> = node.heard().into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(told, ["ended 6 6 8 7 0 1700000900000 new", "unsubscribed 3 room"]);
    assert_eq!(node.hash("client:alice")["position"], "3");
}

#[test]
fn a_subscription_that_ended_and_was_made_again_is_the_new_one_in_whatever_order_it_is_told() {
    let ended = ["room", "3", "3", "5", "5", "0", "1700000900000"];
    let live = ["room", "6", "6", "", "", "", ""];
    for parts in [[ended, live], [live, ended]] {
        let mut node = before();
        let whole = fail_over(&mut node);
        let heard = (whole + 5).to_string();
        let client = ["alice", &*heard, "a", "1700000000000", "3", "1", "0"];
        node.call("heal_client", &[&client[..], parts.as_flattened()].concat());
        assert_eq!(node.hash("subscriptions:alice")["room"], "6 6");
        assert_eq!(node.hash("ended:alice").into_values().collect::<Vec<_>>(), ["3 3 5 5 0 1700000900000 room"]);
        assert_eq!(node.redis.ask(&["SMEMBERS", "{shaveet}:members:room"]), "alice");
        let told: Vec<String> = node.heard().into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(told, ["ended 3 3 5 5 0 1700000900000 room", "subscribed 6 6 room"]);
    }
}

#[test]
fn of_an_ended_subscription_that_is_read_and_over_nothing_is_put_back() {
    let ended = |stale: u64| ["room", "3", "3", "5", "5", "0"].map(String::from).into_iter().chain([stale.to_string()]);
    // Read; and over, or not.
    for (stale, is_kept) in [(START, false), (START + 900_000, true)] {
        let mut node = before();
        let whole = fail_over(&mut node);
        let position = whole + 5;
        let heard = position.to_string();
        let client = ["alice", &*heard, "a", "1700000000000", &*heard, "1", "0"].map(String::from);
        let arguments: Vec<String> = client.into_iter().chain(ended(stale)).collect();
        node.call("heal_client", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(node.hash("ended:alice").len(), usize::from(is_kept));
        assert_eq!(node.redis.ask(&["EXISTS", "{shaveet}:subscriptions:alice"]), "0", "it has ended in any case");
        let told: Vec<String> = node.heard().into_iter().map(|(_, payload)| payload).collect();
        let end = if is_kept { format!("ended 3 3 5 5 0 {stale} room") } else { "unsubscribed 3 room".into() };
        assert_eq!(told, [end]);
    }
}

#[test]
fn a_client_that_was_made_last_is_there_again_and_one_that_is_gone_is_not() {
    let mut node = before();
    let whole = fail_over(&mut node);
    let heard = (whole + 2).to_string();
    let mut heal = |id: &str, created: u64| {
        let created = created.to_string();
        let room = ["room", "4", "4", "", "", "", ""];
        node.call("heal_client", &[&[id, &heard, "k", &created, "0", "1", "0"], &room[..]].concat()).number()
    };
    // Redis knew of all that had happened when it was told that a node is there.
    assert_eq!(heal("killed", START), 0);
    assert_eq!(heal("made", START + 1), 1);
    assert_eq!(node.refused("channels_of", &["killed"]), "UNKNOWNCLIENT");
    assert_eq!(node.ask("channels_of", &["made"]), ["room"]);
    assert_eq!(node.hash("client:made")["key"], "k");
    assert_eq!(
        node.ask("hello", &["n", "another", EPOCH, &shaveet::cluster::limits::write(&limits()), "", "", "", ""]).len(),
        6
    );
}
