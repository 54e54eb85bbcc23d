//! What the hub has no counterpart for: who says hello, what is told to whom, who may answer, and Redis's own troubles.

use shaveet::clock::Ms;
use shaveet::cluster::limits;
use shaveet::config::Config;
use shaveet::hub::{Limits, Policies, Policy, SystemShare};

use super::{EPOCH, HUB, Node};
use crate::support::resp::Reply;

const DAY: u64 = 24 * 3600 * 1000;
const START: u64 = 20_000 * DAY;

fn policy() -> Policy {
    Policy {
        history: 10,
        history_system: SystemShare::Own(10),
        history_bytes: 1_000_000,
        history_age: Ms::from_secs(3600),
        presence: true,
    }
}

fn limits() -> Limits {
    Limits { policies: Policies::uniform(policy()), ..Config::default().hub_limits() }
}

fn publish(node: &mut Node, channel: &str, text: &str) -> [u64; 2] {
    let placed = node.call("publish", &[channel, "null", text, "", "", ""]);
    [0, 1].map(|at| placed.list()[at].number())
}

/// What a client's nodes are told, and the kinds of what is said in channels, in order.
fn told(node: &mut Node) -> Vec<String> {
    let short = |(channel, payload): (String, String)| match channel.split_once(':').expect("a kind and a name") {
        ("says", name) => format!("{name}: {}", payload.split('\n').nth(5).expect("a kind")),
        (_, id) => format!("{id} is told: {payload}"),
    };
    node.heard().into_iter().map(short).collect()
}

#[test]
fn nobody_is_served_before_hello_and_after_all_was_lost_the_world_begins_anew() {
    let mut node = Node::silent();
    assert_eq!(node.refused("seq", &[]), "NOHUB");
    assert_eq!(node.hello("run", &limits())[..2], [EPOCH, "0"]);
    assert_eq!(node.ask("seq", &[])[..2], [EPOCH, "0"]);
    publish(&mut node, "room", "\"x\"");
    node.redis.ask(&["FLUSHALL"]);
    // Who only reads does not begin it.
    for function in ["seq", "follow", "members", "look", "stats"] {
        assert_eq!(node.refused(function, &["1", "2", "3", "4"]), "NOHUB");
    }
    // It has a channel `admin` again, and another epoch.
    assert_eq!(publish(&mut node, "room", "\"x\""), [1, 3]);
    let anew = node.ask("seq", &[]);
    assert_ne!(anew[0], EPOCH);
    // Who speaks of the one before is not told that a client is unknown, which is to be made again.
    for (function, more) in [("look", &["alice"][..]), ("revive", &["alice"]), ("touch", &["0", "alice"])] {
        assert_eq!(node.refused(function, &[&[EPOCH], more].concat()), "NOHUB");
    }
    assert_eq!(node.refused("acknowledge_each", &[EPOCH, "alice", "", "1"]), "NOHUB");
    assert_eq!(node.ask("touch", &[&anew[0], "0", "alice"]), ["alice"]);
    assert_eq!(node.hello("run", &limits())[0], anew[0]);
}

#[test]
fn another_format_is_not_touched() {
    let mut node = Node::new(&limits());
    node.redis.ask(&["HSET", HUB, "format", "2"]);
    let before = node.hash("hub");
    let hello = node.call("hello", &["node", "run", EPOCH, &limits::write(&limits()), "", "", "", ""]);
    let publish = node.call("publish", &["room", "null", "\"x\"", "", "", ""]);
    assert_eq!([hello, publish], [(); 2].map(|()| Reply::Error("FORMAT 2".into())));
    assert_eq!(node.hash("hub"), before);
}

#[test]
fn limits_that_are_not_understood_are_refused_and_change_nothing() {
    let mut node = Node::new(&limits());
    let before = node.hash("hub");
    for bad in ["", "[]", "{\"policies\":[]}", "{\"policies\":[{\"prefix\":\"a\"}]}"] {
        assert_eq!(node.refused("hello", &["node", "run", EPOCH, bad, "", "", "", ""]), "ERR");
    }
    assert_eq!(node.hash("hub"), before);
}

#[test]
fn numbers_skip_ahead_when_redis_has_started_anew() {
    let mut node = Node::new(&limits());
    // No second passes in its life.
    node.turn_clock(START);
    assert_eq!(publish(&mut node, "room", "\"x\""), [1, 3]);
    let said = node.hello("run", &limits());
    assert_eq!((&*said[0], &*said[1], &*said[3]), (EPOCH, "3", "0"));
    let said = node.hello("another", &limits());
    assert_eq!((&*said[0], &*said[1], &*said[3]), (EPOCH, "1000003", "1"));
    node.hello("a third", &limits());
    node.heals();
    assert_eq!(node.ask("channel_info", &["room"])[4], "2001");
    assert_eq!(publish(&mut node, "room", "\"x\""), [2001, 2_000_004]);
    assert_eq!(publish(&mut node, "room", "\"x\""), [2002, 2_000_005]);
    // Who knows of more than is here: it was lost. In another epoch it means nothing.
    let limits = limits::write(&limits());
    assert_eq!(
        node.ask("hello", &["node", "a third", "other", &limits, "other", "9000000", "a third", "2"])[1],
        "2000005"
    );
    assert_eq!(
        node.ask("hello", &["node", "a third", "other", &limits, EPOCH, "9000000", "a third", "2"])[1],
        "9000000"
    );
    assert_eq!(node.ask("hello", &["node", "a third", "other", &limits, EPOCH, "5", "a third", "2"])[1], "9000000");
}

#[test]
fn numbers_that_another_life_of_the_data_has_skipped_to_are_not_given_again() {
    let mut node = Node::new(&limits());
    // No second passes in its life.
    node.turn_clock(START);
    publish(&mut node, "room", "\"x\"");
    let said = node.hello("a replica that has not seen the other's start", &limits());
    assert_eq!((&*said[1], &*said[3]), ("1000003", "1"));
    node.heals();
    assert_eq!(publish(&mut node, "room", "\"x\""), [1002, 1_000_004]);
    let limits = limits::write(&limits());
    let mut seen = |server: &str, generation: &str| {
        let run = "a replica that has not seen the other's start";
        let said = node.ask("hello", &["node", run, "other", &limits, EPOCH, "1000001", server, generation]);
        (said[1].clone(), said[3].clone(), said[4] == run)
    };
    // A node has heard as much of one that is no more: what that has said has these numbers, too.
    assert_eq!(seen("the other", "1"), ("2000004".into(), "2".into(), true));
    // One that was told by this one has not, nor one that knows of less.
    assert_eq!(seen("a replica that has not seen the other's start", "2"), ("2000004".into(), "2".into(), true));
    assert_eq!(seen("the other", "1"), ("2000004".into(), "2".into(), true));
    assert_eq!(publish(&mut node, "room", "\"x\""), [2003, 2_000_005]);
    // Another that starts 500 s after the model began has none of what one has said that started before.
    let began: u64 = node.hash("hub")["began"].parse().unwrap();
    node.turn_clock(began + 500_000);
    let said = node.ask("hello", &["node", "a third", "other", &limits, "", "", "", ""]);
    assert_eq!((&*said[1], &*said[3]), ("500000005", "500"));
    node.heals();
    assert_eq!(publish(&mut node, "room", "\"x\"")[0], 500_001);
}

#[test]
fn large_numbers_are_written_out() {
    let mut node = Node::new(&limits());
    let seen = 9_007_199_254_740_000_u64;
    node.ask("hello", &["node", "run", EPOCH, &limits::write(&limits()), EPOCH, &seen.to_string(), "run", "0"]);
    node.call("create_client", &["alice", "k"]);
    node.call("subscribe", &["alice", "room", ""]);
    assert_eq!(publish(&mut node, "room", "\"x\""), [2, seen + 4]);
    assert!(node.ask("acknowledge_each", &["", "alice", &(seen + 4).to_string(), "1"]).is_empty());
    assert_eq!(node.ask("client_info", &["alice"])[2], (seen + 4).to_string());
    let followed = node.call("follow", &["room", &(seen + 3).to_string()]);
    assert_eq!(followed.list()[9].list()[0].list()[0].number(), seen + 4);
    let adopted = node.call("look", &["", "alice"]);
    assert_eq!(adopted.list()[9].list()[0].texts(), ["room", &(seen + 2).to_string(), &(seen + 2).to_string()]);
}

#[test]
fn a_client_is_told_of_before_its_channels_are() {
    let mut node = Node::new(&limits());
    node.turn_clock(START);
    node.call("create_client", &["alice", "key"]);
    node.call("subscribe", &["alice", "a room", ""]);
    assert_eq!(
        told(&mut node),
        ["admin: new", "admin: new", "alice is told: subscribed 2 2 a room", "a room: subscribed"]
    );
    node.call("subscribe", &["alice", "a room", ""]);
    assert_eq!(told(&mut node), ["a room: subscribed"]);
    node.call("subscribe", &["alice", "other", "1"]);
    assert_eq!(told(&mut node), ["admin: new", "alice is told: subscribed 6 1 other", "other: subscribed"]);
    node.call("unsubscribe", &["alice", "a room"]);
    let stale = START + 3_600_000;
    let end = format!("alice is told: ended 2 2 7 0 4 {stale} a room");
    assert_eq!(told(&mut node), [&*end, "a room: unsubscribed"]);
    node.call("acknowledge_each", &["", "alice", "7", "1"]);
    node.call("acknowledge_each", &["", "alice", "7", "1"]);
    node.call("rotate_key", &["alice", "other key"]);
    assert_eq!(told(&mut node), ["alice is told: position 7", "alice is told: key other key"]);
    node.turn_clock(START + 600_000);
    node.call("sweep", &["100"]);
    assert_eq!(told(&mut node), ["alice is told: departed", "other: expired"]);
    assert_eq!(node.ask("touch", &["", "0", "alice", "nobody"]), ["alice", "nobody"]);
    node.call("revive", &["", "alice"]);
    assert_eq!(told(&mut node), ["alice is told: returned", "other: returned"]);
    node.call("kill_client", &["alice"]);
    assert_eq!(told(&mut node), ["alice is told: killed", "other: killed"]);
    let left: Vec<String> = node.redis.ask(&["KEYS", "*alice*"]).lines().map(String::from).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn what_was_read_and_ended_is_told_as_unsubscribed() {
    let mut node = Node::new(&limits());
    node.call("create_client", &["alice", "key"]);
    node.call("subscribe", &["alice", "room", ""]);
    node.call("acknowledge_each", &["", "alice", "3", "0"]);
    node.heard();
    node.call("unsubscribe", &["alice", "room"]);
    assert_eq!(told(&mut node), ["alice is told: unsubscribed 3 room", "room: unsubscribed"]);
}

#[test]
fn a_client_is_made_again_with_its_subscriptions_if_it_is_gone() {
    let mut node = Node::new(&limits());
    assert_eq!(node.call("look", &["", "alice"]), Reply::Nil);
    for key in ["key", "another"] {
        assert_eq!(node.call("restore", &["alice", key, "one", "two"]), Reply::Text("OK".into()));
    }
    assert_eq!(node.ask("channels_of", &["alice"]), ["one", "two"]);
    assert_eq!(node.ask("channel_info", &["one"])[4], "2");
    let before = node.hash("client:alice");
    let seen = node.call("look", &["", "alice"]);
    assert_eq!((seen.list()[0].text(), node.hash("client:alice")), ("key", before));
    // Others are to come yet, until nobody has been made again for three seconds.
    node.turn_clock(START + 2500);
    node.call("restore", &["bob", "key"]);
    for later in [2500, 5499] {
        node.turn_clock(START + later);
        assert_eq!(node.refused("look", &["", "carol"]), "RESTORING");
        assert_eq!(node.refused("revive", &["", "carol"]), "RESTORING");
        // Or whoever kills her would be told that she is gone, and then she came.
        for (function, arguments) in [
            ("kill_client", &["carol"][..]),
            ("rotate_key", &["carol", "another"]),
            ("subscribe", &["carol", "room", ""]),
            ("unsubscribe", &["carol", "room"]),
            ("channels_of", &["carol"]),
            ("client_info", &["carol"]),
        ] {
            assert_eq!(node.refused(function, arguments), "RESTORING", "{function}");
        }
    }
    node.turn_clock(START + 5500);
    assert_eq!(node.call("look", &["", "carol"]), Reply::Nil);
    assert_eq!(node.call("revive", &["", "carol"]), Reply::Nil);
    assert_eq!(node.refused("kill_client", &["carol"]), "UNKNOWNCLIENT");
}

#[test]
fn an_ended_subscription_that_was_read_makes_room_for_another() {
    let mut node = Node::new(&Limits { subscriptions_max: 2, ..limits() });
    node.call("create_client", &["alice", "key"]);
    for channel in ["one", "two"] {
        node.call("subscribe", &["alice", channel, ""]);
    }
    node.call("acknowledge_each", &["", "alice", "", "1"]);
    node.call("unsubscribe", &["alice", "one"]);
    assert_eq!(node.refused("subscribe", &["alice", "three", ""]), "FULL subscriptions 2");
    assert_eq!(node.hash("ended:alice").len(), 1);
    node.call("acknowledge_each", &["", "alice", "6", "1"]);
    assert_eq!(node.call("subscribe", &["alice", "three", ""]), Reply::Text("OK".into()));
    assert_eq!((node.hash("ended:alice").len(), &*node.hash("client:alice")["forgotten"]), (0, "3"));
}

#[test]
fn the_channel_of_announcements_has_its_place_in_any_case() {
    let mut node = Node::new(&Limits { channels_max: 1, ..limits() });
    publish(&mut node, "room", "\"x\"");
    assert_eq!(node.ask("stats", &[])[2], "2");
    assert_eq!(node.refused("publish", &["other", "null", "\"x\"", "", "", ""]), "FULL channels 1");
    let mut node = Node::new(&Limits { channels_max: 0, ..limits() });
    assert_eq!(publish(&mut node, "admin", "\"x\""), [2, 2]);
}

#[test]
fn who_is_created_again_has_the_grace_of_a_new_client() {
    let (min_alive, max_idle) = (Ms::from_secs(60), Ms::from_secs(10));
    let mut node = Node::new(&Limits { min_alive, max_idle, sweep_interval: Ms(1), ..limits() });
    node.turn_clock(START);
    node.call("create_client", &["alice", "key"]);
    node.call("subscribe", &["alice", "room", ""]);
    for (pass, here) in [(60_001, "0"), (60_002, "1"), (120_002, "1"), (120_003, "0")] {
        node.turn_clock(START + pass);
        node.call("sweep", &["10"]);
        if pass == 60_002 {
            assert_eq!(node.call("create_client", &["alice", "another"]).text(), "key");
        }
        assert_eq!(node.ask("client_info", &["alice"])[0], here, "{pass}");
        assert_eq!(node.ask("members", &["room", "admin", "0", "10"]).len() == 2, here == "1", "{pass}");
    }
}

#[test]
fn nobody_has_had_what_is_still_to_come() {
    let mut node = Node::new(&limits());
    node.call("create_client", &["alice", "key"]);
    publish(&mut node, "room", "\"x\"");
    node.call("acknowledge_each", &["", "alice", "99", "1"]);
    assert_eq!(node.ask("client_info", &["alice"])[2], "3");
}

#[test]
fn a_message_is_said_with_all_that_nodes_need() {
    let mut node = Node::new(&limits());
    node.turn_clock(START);
    publish(&mut node, "room", "\"first\"");
    node.heard();
    node.call("publish", &["room", "{\"a\":1}", "\"two\\nlines\"", "500", "[\"bob\"]", ""]);
    let payload = format!("{EPOCH}\n4\n2\n3\n{START}\napp\n{}\n[\"bob\"]\n\n{{\"a\":1}}\n\"two\\nlines\"", START + 500);
    assert_eq!(node.heard(), [("says:room".to_owned(), payload)]);
    let followed = node.call("follow", &["room", "3"]);
    let [start, expires] = [START, START + 500].map(|at| at.to_string());
    let message = ["4", "2", &start, "app", &expires, "[\"bob\"]", "{\"a\":1}", "\"two\\nlines\""];
    assert_eq!(followed.list()[9].list()[0].texts(), message);
    assert_eq!(followed.list().len(), 10);
}

#[test]
fn what_is_published_with_a_key_is_published_once() {
    let mut node = Node::new(&limits());
    let first = node.ask("publish", &["room", "null", "\"x\"", "", "", "a key"]);
    node.heard();
    assert_eq!(node.ask("publish", &["room", "null", "\"y\"", "", "", "a key"]), first);
    assert_eq!(told(&mut node), [""; 0]);
    let ttl: u64 = node.redis.ask(&["PTTL", "{shaveet}:once:a key"]).parse().expect("a time");
    assert!((290_000..=300_000).contains(&ttl), "{ttl}");
    assert_eq!(node.ask("publish", &["room", "null", "\"y\"", "", "", "another"])[0], "2");
}

#[test]
fn of_two_streams_a_follower_sees_one_and_as_much_as_it_wants() {
    let mut node = Node::new(&limits());
    node.call("create_client", &["alice", "key"]);
    for _ in 0..3 {
        publish(&mut node, "room", "\"x\"");
        node.call("subscribe", &["alice", "room", ""]);
    }
    let seqs = |reply: Reply| reply.list()[9].list().iter().map(|one| one.list()[0].number()).collect::<Vec<_>>();
    assert_eq!(seqs(node.call("follow", &["room", "0"])), [3, 4, 5, 6, 7, 8]);
    assert_eq!(seqs(node.call("follow", &["room", "4"])), [5, 6, 7, 8]);
    assert_eq!(seqs(node.call("follow", &["room", "3", "3"])), [4, 5, 6]);
    assert_eq!(node.call("follow", &["nowhere", "0"]), Reply::Nil);
}

#[test]
fn one_node_at_a_time_answers_for_a_client() {
    let mut node = Node::new(&limits());
    for id in ["alice", "bob"] {
        node.call("create_client", &[id, "key"]);
    }
    publish(&mut node, "room", "\"x\"");
    for name in ["one", "two"] {
        node.call("alive", &[name, "60000"]);
    }
    node.heard();
    assert_eq!(node.ask("take", &["one", "alice"]), ["1", "0"]);
    // All or none.
    assert_eq!(node.ask("take", &["two", "alice", "bob"]), ["0", "0", "0"]);
    assert_eq!(told(&mut node), ["alice is told: wanted two"]);
    assert_eq!(node.ask("take", &["one", "alice", "bob"]), ["1", "0", "0"]);
    assert_eq!(node.call("give", &["one", "alice", "2"]).text(), "1");
    assert_eq!(node.call("release", &["one", "alice", "3"]).text(), "1");
    assert_eq!(told(&mut node), ["alice is told: position 2", "alice is told: free 3"]);
    assert_eq!(node.ask("take", &["two", "alice"]), ["1", "3"]);
    // Who has not the right to it any more has delivered all the same what it has.
    publish(&mut node, "room", "\"x\"");
    node.heard();
    assert_eq!(node.call("release", &["one", "alice", "4"]).text(), "0");
    assert_eq!(told(&mut node), ["alice is told: position 4"]);
    // A node that has gone holds nothing.
    node.redis.ask(&["DEL", "{shaveet}:node:two"]);
    assert_eq!(node.ask("take", &["one", "alice"]), ["1", "4"]);
    assert_eq!(node.refused("take", &["one", "alice", "nobody"]), "UNKNOWNCLIENT");
}

#[test]
fn a_large_channel_is_listed_and_left_bit_by_bit() {
    let mut node = Node::new(&limits());
    for at in 0..700 {
        let id = format!("{}{at}", if at % 100 == 0 { "admin" } else { "page" });
        node.call("create_client", &[&id, "key"]);
        node.call("subscribe", &[&id, "room", ""]);
    }
    let listed = |node: &mut Node| {
        let (mut cursor, mut ids, mut largest) = (String::from("0"), std::collections::BTreeSet::new(), 0);
        while !cursor.is_empty() {
            let mut some = node.ask("members", &["room", "admin", &cursor, "50"]).into_iter();
            cursor = some.next().expect("from where to go on");
            largest = some.len().max(largest);
            ids.extend(some);
        }
        assert!(largest < 200, "{largest} at a time");
        ids
    };
    assert_eq!(listed(&mut node).len(), 693);
    let (mut cursor, mut done) = (String::from("0"), 0);
    while !cursor.is_empty() {
        let said = node.ask("unsubscribe_some", &["room", "admin", &cursor, "50", "page1", "nobody"]);
        cursor = said[0].clone();
        done += said[1].parse::<u32>().expect("a number");
    }
    assert_eq!((done, listed(&mut node).into_iter().collect::<Vec<_>>()), (692, vec!["page1".to_owned()]));
    assert_eq!(node.ask("channel_info", &["room"])[1], "8");
    assert_eq!(node.ask("unsubscribe_some", &["nowhere", "admin", "0", "50"]), ["", "0"]);
}

#[test]
fn ids_of_a_name_go_on_for_a_day_and_after_that_nobody_knows() {
    let mut node = Node::new(&Limits { channel_idle: Ms::from_secs(60), ..limits() });
    node.turn_clock(START);
    assert_eq!(publish(&mut node, "room", "\"x\""), [1, 3]);
    node.turn_clock(START + 60_000);
    while node.ask("sweep", &["10"])[0] != "0" {}
    assert_eq!(node.ask("stats", &[])[2], "0");
    assert_eq!(node.refused("channel_info", &["room"]), "UNKNOWNCHANNEL");
    let ttl: u64 = node.redis.ask(&["PTTL", "{shaveet}:channel:room"]).parse().expect("a time");
    assert!((DAY - 10_000..=DAY).contains(&ttl), "{ttl}");
    assert_eq!(node.redis.ask(&["KEYS", "*messages*"]), "");
    assert_eq!(publish(&mut node, "room", "\"x\"")[0], 2);
    assert_eq!(node.call("follow", &["room", "0"]).list()[3].text(), "3 1 age");
    assert_eq!(node.redis.ask(&["PTTL", "{shaveet}:channel:room"]), "-1");
    // Of `other` nothing was before today; two days later nobody knows.
    publish(&mut node, "other", "\"x\"");
    let lost = |node: &mut Node, name| node.call("follow", &[name, "0"]).list()[3].text().to_owned();
    assert_eq!(lost(&mut node, "other"), "");
    node.turn_clock(START + 120_000);
    while node.ask("sweep", &["10"])[0] != "0" {}
    let newest = node.ask("seq", &[])[1].clone();
    node.turn_clock(START + 2 * DAY);
    publish(&mut node, "third", "\"x\"");
    assert_eq!(lost(&mut node, "third"), format!("{newest} 0 age"));
}

#[test]
fn what_is_too_much_by_other_limits_goes_bit_by_bit() {
    let with = |history| Limits { policies: Policies::uniform(Policy { history, ..policy() }), ..limits() };
    let mut node = Node::new(&with(3000));
    for _ in 0..2500 {
        publish(&mut node, "room", "\"x\"");
    }
    let left = |node: &mut Node| node.ask("channel_info", &["room"])[2].clone();
    assert_eq!(left(&mut node), "2500");
    node.hello("run", &with(5));
    for expected in ["1501", "502", "5", "5"] {
        publish(&mut node, "room", "\"x\"");
        assert_eq!(left(&mut node), expected);
    }
    let followed = node.call("follow", &["room", "0"]);
    assert_eq!((followed.list()[9].list().len(), followed.list()[3].text()), (5, "2501 2499 count"));
}

#[test]
fn what_somebody_has_deleted_by_hand_is_no_hindrance() {
    let limits = Limits { policies: Policies::uniform(Policy { history: 2, ..policy() }), ..limits() };
    let mut node = Node::new(&limits);
    for _ in 0..5 {
        publish(&mut node, "room", "\"x\"");
    }
    node.redis.ask(&["DEL", "{shaveet}:messages:room"]);
    assert_eq!(publish(&mut node, "room", "\"x\"")[0], 6);
    assert_eq!(node.ask("channel_info", &["room"])[2..4], ["1", "12"]);
}

#[test]
fn nobody_is_stuck_whose_channels_somebody_has_deleted_by_hand() {
    let mut node = Node::new(&Limits { departed_max: 1, ..limits() });
    node.turn_clock(START);
    for id in ["alice", "bob", "carol"] {
        node.call("create_client", &[id, "key"]);
        node.call("subscribe", &[id, "room", ""]);
        node.call("subscribe", &[id, "ended", ""]);
        node.call("unsubscribe", &[id, "ended"]);
    }
    let delete = |node: &mut Node| node.redis.ask(&["DEL", "{shaveet}:channel:room", "{shaveet}:channel:ended"]);
    assert_eq!(delete(&mut node), "2");
    assert_eq!(node.call("kill_client", &["alice"]), Reply::Text("OK".into()));
    delete(&mut node);
    node.turn_clock(START + DAY / 2);
    node.redis.ask(&["ZADD", "{shaveet}:departed", "1", "nobody"]);
    while node.ask("sweep", &["10"])[0] != "0" {}
    assert_eq!(node.ask("stats", &[])[..2], ["0", "1"]);
    delete(&mut node);
    assert!(
        matches!(node.call("revive", &["", "bob"]), Reply::List(_))
            || matches!(node.call("revive", &["", "carol"]), Reply::List(_))
    );
}

#[test]
fn a_call_for_which_there_is_no_memory_is_not_half_done() {
    let mut node = Node::new(&limits());
    node.call("create_client", &["alice", "key"]);
    publish(&mut node, "room", "\"x\"");
    node.heard();
    node.redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for (function, arguments) in [
        ("publish", &["new", "null", "\"x\"", "", "", "once"][..]),
        ("subscribe", &["alice", "new", "0"]),
        ("create_client", &["bob", "key"]),
        ("sweep", &["10"]),
    ] {
        assert_eq!(node.refused(function, arguments), "OOM");
    }
    assert_eq!(node.call("follow", &["room", "0"]).list()[9].list().len(), 1);
    assert_eq!((node.heard(), &*node.ask("stats", &[])[3]), (vec![], "3"));
    node.redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(publish(&mut node, "new", "\"x\""), [1, 5]);
}

#[test]
fn a_node_may_do_nothing_else() {
    let mut node = Node::new(&limits());
    for forbidden in [
        &["SET", "else", "1"][..],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["CONFIG", "GET", "*"],
        &["EVAL", "return 1", "0"],
        &["PUBLISH", "else", "x"],
        &["FUNCTION", "KILL"],
    ] {
        assert!(
            matches!(node.session.call(forbidden), Reply::Error(error) if error.starts_with("NOPERM")),
            "{forbidden:?}"
        );
    }
}

#[test]
fn a_message_is_said_with_the_key_to_publish_it_by_only_once() {
    let mut node = Node::new(&limits());
    publish(&mut node, "room", "\"first\"");
    node.heard();
    node.call("publish", &["room", "null", "\"x\"", "", "", "of\ntwo \"lines\""]);
    let (_, payload) = node.heard().remove(0);
    assert_eq!(payload.split('\n').nth(8), Some("\"of\\ntwo \\\"lines\\\"\""));
}

#[test]
fn who_waits_somewhere_is_not_idle_and_is_collected_when_nobody_says_so_any_more() {
    let times = (Ms::from_secs(1), Ms::from_secs(30), Ms(1));
    let (min_alive, max_idle, sweep_interval) = times;
    let mut node = Node::new(&Limits { min_alive, max_idle, sweep_interval, ..limits() });
    node.turn_clock(START);
    for id in ["waits", "left", "polls"] {
        node.call("create_client", &[id, "key"]);
        node.call("subscribe", &[id, "room", ""]);
    }
    assert!(node.ask("touch", &["", "10000", "waits", "left"]).is_empty());
    let idle = |node: &mut Node, id| node.ask("client_info", &[id])[1].clone();
    node.turn_clock(START + 10_000);
    assert_eq!(["waits", "left", "polls"].map(|id| idle(&mut node, id)), ["0", "0", "10000"]);
    // One node says when its page left; another one's waits, and that stands.
    node.call("touch", &["", "10000", "waits"]);
    assert_eq!(node.ask("touch", &["", "-2000", "waits", "polls", "nobody"]), ["nobody"]);
    node.turn_clock(START + 20_000);
    assert_eq!(["waits", "left", "polls"].map(|id| idle(&mut node, id)), ["0", "10000", "12000"]);
    for (pass, left) in [(38_000, 3), (38_001, 2), (40_000, 2), (40_001, 1), (50_000, 1), (50_001, 0)] {
        node.turn_clock(START + pass);
        assert_eq!(node.ask("members", &["room", "admin", "0", "10"]).len() - 1, left, "{pass}");
        node.call("sweep", &["10"]);
        assert_eq!(node.ask("stats", &[])[0], left.to_string(), "{pass}");
    }
    assert_eq!(idle(&mut node, "left"), "40001", "the departed have not been seen since");
}
