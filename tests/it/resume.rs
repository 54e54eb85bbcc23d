//! The resume protocol of `/message_updates`: a poll that names a position. The first tests are one for each decision of its
//! design; every test runs with answers as objects and as scripts, but for those that are about one of them.

use crate::support::{
    Client, Connection, PATIENCE, Patience, Response, Server, Shape, Signal, get, heard, request, said, says, since,
    texts, timed, until, updates_path,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Nobody hears of comings and goings: what a test publishes has the ids 1, 2, 3...
const SILENT: [&str; 2] = ["--presence", "off"];

/// When a page that is sent away comes back.
const RETRY_MS: std::ops::RangeInclusive<u64> = 500..=5000;

/// The same test for both shapes of answers, each with a server of its own.
fn both(arguments: &[&str], test: impl Fn(&Server, Shape)) {
    for shape in Shape::BOTH {
        test(&Server::with(arguments), shape);
    }
}

fn silent(more: &[&str], test: impl Fn(&Server, Shape)) {
    both(&[&SILENT[..], more].concat(), test);
}

/// A page: its position, and how it wants its answers.
struct Page<'s> {
    clients: Vec<&'s Client<'s>>,
    shape: Shape,
    since: String,
}

impl<'s> Page<'s> {
    fn new(client: &'s Client<'s>, shape: Shape) -> Page<'s> {
        Page { clients: vec![client], shape, since: String::new() }
    }

    /// One poll, and on from there.
    fn poll(&mut self) -> Value {
        let answer = self.peek();
        self.since = since(&answer);
        answer
    }

    /// One poll whose answer is lost.
    fn peek(&self) -> Value {
        self.shape.read(&self.ask())
    }

    fn ask(&self) -> Response {
        self.clients[0].server.get(&self.path())
    }

    fn path(&self) -> String {
        self.shape.path(&self.clients, &self.since)
    }

    /// A poll that waits.
    fn park(&self) -> Connection {
        self.clients[0].server.park_at(&self.path())
    }

    /// The answer to it.
    fn hear(&mut self, poll: &mut Connection) -> Value {
        let answer = self.shape.read(&poll.answer());
        self.since = since(&answer);
        answer
    }
}

/// A message of [`Server::publish`], as it is in an answer.
fn message(channel: &str, id: u64, text: &str) -> Value {
    json!({"channel": channel, "id": id, "from": "app", "data": text, "system": false})
}

fn gap(channel: &str, next_id: u64, reason: &str) -> Value {
    json!({"channel": channel, "next_id": next_id, "reason": reason})
}

/// How far a client has come, as the web application sees it.
fn acknowledged(client: &Client<'_>) -> String {
    let info = client.server.call("client_info", json!([client.id]));
    info["acknowledged"].as_str().expect("a position").to_owned()
}

/// Publishes, and says where the message stands.
fn place(server: &Server, channel: &str, text: &str) -> String {
    let placed = server.call("publish", json!([channel, text, {"from": "app"}]));
    placed["position"].as_str().expect("a position").to_owned()
}

/// Many messages by one call: they are published in one turn.
fn publish_batch(server: &Server, channel: &str, texts: &[String]) {
    for some in texts.chunks(1000) {
        let call = |text| json!({"jsonrpc": "2.0", "method": "publish", "params": [channel, text, {"from": "app"}]});
        let batch: Value = some.iter().map(call).collect();
        assert_eq!(server.ask(crate::support::post(batch.to_string())).status, 204, "a batch of notifications");
    }
}

fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|n| n.to_string()).collect()
}

/// A position that the server has not got to yet.
fn future(token: &str) -> String {
    let (epoch, seq) = token.split_once('-').expect("an epoch and a number");
    format!("{epoch}-{}", seq.parse::<u64>().expect("a number") + 1)
}

/// A position of another life of the server.
const ELSEWHEN: &str = "0123456789abcdef-5";

// --- the decisions

#[test]
fn d01_since_decides_the_protocol_before_any_other_check() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "m");
        let impostor = Client { server, id: "alice".into(), key: "0".repeat(32) };
        let stranger = Client { server, id: "nobody".into(), key: "0".repeat(32) };
        for client in [&impostor, &stranger] {
            // Whatever the position, an epoch that is not ours included.
            for position in ["", ELSEWHEN] {
                let response = server.get(&shape.path(&[client], position));
                assert_eq!(shape.error(&response).0, 404);
            }
            // In the original's protocol no page can read it.
            let response = client.poll();
            assert_eq!((response.status, response.header("access-control-allow-origin")), (404, None));
        }
        assert_eq!(Page::new(&alice, shape).poll()["messages"], json!([message("room", 1, "m")]));
    });
}

#[test]
fn d01_a_bad_callback_is_a_plain_400_in_either_protocol() {
    let server = Server::start();
    let alice = server.client("alice").credential();
    for since in [Some(""), None, Some("bad token")] {
        let mut parameters = vec![("client_id", alice.as_str()), ("callback", "alert(1)//")];
        parameters.extend(since.map(|since| ("since", since)));
        let response = server.get(&updates_path(&parameters));
        assert_eq!((response.status, response.media_type()), (400, "text/plain"));
        assert_eq!(response.header("access-control-allow-origin"), None);
        assert!(!response.text().contains("alert"), "{response:?}");
    }
}

#[test]
fn d02_an_empty_since_means_the_acknowledged_position_and_acknowledges_nothing() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish_all("room", ["1", "2"]);
        let mut page = Page::new(&alice, shape);
        let first = page.peek();
        assert_eq!(said(&first), ["1", "2"]);
        // Again and again: asking so takes nothing.
        assert_eq!(page.poll(), first);
        assert_eq!(said(&alice.resume("")), ["1", "2"]);
        // The token takes it.
        server.publish("room", "3");
        let before = page.since.clone();
        assert_eq!(said(&page.poll()), ["3"]);
        assert_eq!(acknowledged(&alice), before);
        assert_eq!(said(&alice.resume("")), ["3"]);
    });
}

#[test]
fn d02_both_protocols_move_one_position_and_it_only_rises() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let positions = ["1", "2", "3"].map(|text| place(server, "room", text));
        let mut page = Page::new(&alice, shape);
        // A poll with a token is judged by its token alone, whatever was acknowledged before or after.
        for (at, position) in positions.iter().enumerate().take(2).rev() {
            page.since.clone_from(position);
            assert_eq!(said(&page.peek()), ["1", "2", "3"][at + 1..]);
            assert_eq!(acknowledged(&alice), positions[1]);
        }
        // The original's poll goes on from there, and moves it.
        assert_eq!(alice.news(), json!({"room": [says(3, "3")]}));
        assert_eq!(acknowledged(&alice), positions[2]);
        page.since.clone_from(&positions[0]);
        assert_eq!(said(&page.peek()), ["2", "3"]);
        page.since.clear();
        let mut poll = page.park();
        poll.waits();
        server.publish("room", "4");
        assert_eq!(said(&page.hear(&mut poll)), ["4"]);
    });
}

#[test]
fn d03_a_token_holds_for_all_clients_of_a_poll_and_acknowledges_for_all() {
    silent(&[], |server, shape| {
        let (alice, bob) = (server.subscriber("alice", &["x", "both"]), server.subscriber("bob", &["y", "both"]));
        for channel in ["x", "y", "both"] {
            server.publish(channel, channel);
        }
        let mut page = Page::new(&alice, shape);
        page.clients.push(&bob);
        // What both get comes once.
        assert_eq!(said(&page.poll()), ["x", "y", "both"]);
        let before = page.since.clone();
        server.publish("y", "more");
        assert_eq!(said(&page.poll()), ["more"]);
        assert_eq!([acknowledged(&alice), acknowledged(&bob)], [before.clone(), before]);
    });
}

#[test]
fn d03_one_bad_id_is_404_for_all_and_nothing_moves() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let position = place(server, "room", "m");
        let before = acknowledged(&alice);
        let bad = Client { server, id: "alice".into(), key: "0".repeat(32) };
        let nobody = Client { server, id: "nobody".into(), key: "0".repeat(32) };
        for clients in [[&alice, &bad], [&nobody, &alice], [&alice, &nobody]] {
            let response = server.get(&shape.path(&clients, &position));
            assert_eq!(shape.error(&response).0, 404);
            assert_eq!(acknowledged(&alice), before);
        }
    });
}

#[test]
fn d04_a_position_exists_for_a_channel_without_messages_too() {
    silent(&["--history", "2", "--poll-timeout", "100ms"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        let empty = page.poll();
        assert_eq!((&empty["messages"], &empty["gaps"], &empty["retry_ms"]), (&json!([]), &json!([]), &json!(0)));
        server.publish_all("room", ["1", "2"]);
        let all = page.peek();
        assert_eq!((said(&all), &all["gaps"]), (vec!["1".into(), "2".into()], &json!([])));
        server.publish("room", "3");
        assert_eq!(page.poll()["gaps"], json!([gap("room", 2, "count")]));
    });
}

#[test]
fn d04_a_fresh_subscription_has_no_gap() {
    silent(&["--history", "1"], |server, shape| {
        server.publish_all("room", ["1", "2", "3"]);
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "4");
        let answer = Page::new(&alice, shape).poll();
        assert_eq!((said(&answer), &answer["gaps"]), (vec!["4".into()], &json!([])));
        // Nor has one that a page gets while its position is of long ago.
        let bob = server.client("bob");
        let mut page = Page::new(&bob, shape);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        server.publish_all("old", ["1", "2", "3"]);
        bob.subscribe("old");
        server.publish("old", "4");
        let answer = page.hear(&mut poll);
        assert_eq!((said(&answer), &answer["gaps"]), (vec!["4".into()], &json!([])));
    });
}

#[test]
fn d04_a_client_without_subscriptions_parks_and_gets_the_hubs_position() {
    silent(&["--poll-timeout", "300ms"], |server, shape| {
        let alice = server.client("alice");
        let position = place(server, "room", "not for alice");
        let mut page = Page::new(&alice, shape);
        let (answer, time) = timed(|| page.poll());
        assert!(time >= Duration::from_millis(250), "{time:?}");
        assert_eq!(answer, json!({"since": position, "messages": [], "gaps": [], "retry_ms": 0}));
    });
}

#[test]
fn d05_with_more_the_token_is_of_the_last_message_included() {
    silent(&["--history", "2000"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let all = numbered(1500);
        publish_batch(server, "room", &all[..999]);
        let thousandth = place(server, "room", "1000");
        publish_batch(server, "room", &all[1000..]);
        let mut page = Page::new(&alice, shape);
        let first = page.poll();
        assert_eq!((said(&first), &first["more"]), (all[..1000].to_vec(), &json!(true)));
        assert_eq!((page.since.as_str(), &first["retry_ms"]), (thousandth.as_str(), &json!(0)));
        let second = page.poll();
        assert_eq!((said(&second), second.get("more")), (all[1000..].to_vec(), None));
    });
}

#[test]
fn d05_a_gap_is_told_by_the_answer_that_passes_it_and_once() {
    silent(&["--history", "2000,brief=1"], |server, shape| {
        let alice = server.subscriber("alice", &["room", "brief"]);
        publish_batch(server, "room", &numbered(1200));
        server.publish_all("brief", ["a", "b", "c"]);
        let mut page = Page::new(&alice, shape);
        let first = page.poll();
        assert_eq!((heard(&first).len(), &first["gaps"]), (1000, &json!([])));
        // A lost answer tells it again.
        for second in [page.peek(), page.poll()] {
            assert_eq!(heard(&second).len(), 201);
            assert_eq!(second["gaps"], json!([gap("brief", 3, "count")]));
        }
        server.publish("brief", "d");
        let third = page.poll();
        assert_eq!((said(&third), &third["gaps"]), (vec!["d".into()], &json!([])));
    });
}

#[test]
fn d05_an_answer_holds_at_least_one_message_and_the_newest_stays_however_large() {
    silent(&["--history-bytes", "1KiB"], |server, shape| {
        let alice = server.subscriber("alice", &["room", "other"]);
        let large = "x".repeat(3 << 20);
        server.publish("room", "small");
        server.publish("room", &large);
        server.publish("other", "after");
        let mut page = Page::new(&alice, shape);
        let first = page.poll();
        assert!(said(&first) == [large], "one large message");
        assert_eq!((&first["gaps"], &first["more"]), (&json!([gap("room", 2, "bytes")]), &json!(true)));
        assert_eq!(said(&page.poll()), ["after"]);
    });
}

#[test]
fn d06_next_id_is_the_first_survivor_after_the_newest_that_fell_and_earlier_ones_come_too() {
    both(&["--history", "1"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish_all("room", ["2", "3"]);
        let bob = server.subscriber("bob", &["room"]);
        let answer = Page::new(&alice, shape).poll();
        // Alice's join has survived in its own share; the 2 has not.
        let ids: Vec<u64> = heard(&answer).into_iter().map(|(_, id, _)| id).collect();
        assert_eq!((ids, &answer["gaps"]), (vec![1, 3, 4], &json!([gap("room", 3, "count")])));
        // Where nothing survives it is the id to come: here nothing ever was.
        server.call("subscribe", json!([bob.id, "nothing"]));
        let mut page = Page::new(&bob, shape);
        page.since = ELSEWHEN.into();
        let answer = page.poll();
        assert!(answer["gaps"].as_array().is_some_and(|gaps| gaps.contains(&gap("nothing", 1, "restart"))), "{answer}");
    });
}

#[test]
fn d06_the_reason_is_that_of_the_newest_message_that_fell() {
    silent(&["--history", "3", "--history-bytes", "1KiB"], |server, shape| {
        let large = "x".repeat(1000);
        let alice = server.subscriber("alice", &["x", "y"]);
        server.publish_all("x", ["1", "2", "3", "4", &large]);
        server.publish_all("y", [&large, "2", "3", "4", "5"]);
        let answer = Page::new(&alice, shape).poll();
        // In x the 1 fell by count, then the others for the large one; in y the large one first, then the 2.
        assert_eq!(answer["gaps"], json!([gap("x", 5, "bytes"), gap("y", 3, "count")]));
    });
}

#[test]
fn d06_a_gap_of_system_messages_alone_says_so() {
    both(&["--history-system", "1"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "2");
        server.subscriber("bob", &["room"]);
        server.subscriber("carol", &["room"]);
        let answer = Page::new(&alice, shape).poll();
        let told = json!({"channel": "room", "next_id": 4, "reason": "count", "system": true});
        assert_eq!(answer["gaps"], json!([told]));
        let ids: Vec<u64> = heard(&answer).into_iter().map(|(_, id, _)| id).collect();
        assert_eq!(ids, [2, 4]);
    });
}

#[test]
fn d06_holes_in_the_ids_are_no_gaps() {
    silent(&["--history", "3"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "1");
        server.call("publish", json!(["room", "2", {"exclude": ["alice", "nobody"]}]));
        server.call("publish", json!(["room", "3", {"ttl_ms": 1}]));
        until("the message is over", || {
            server.call("history", json!(["room"]))["messages"].as_array().unwrap().len() < 3
        });
        let mut page = Page::new(&alice, shape);
        let answer = page.peek();
        assert_eq!((said(&answer), &answer["gaps"]), (vec!["1".into()], &json!([])));
        // When the 3 falls out nobody has lost it any more.
        server.call("publish", json!(["brief", "m", {"ttl_ms": 1}]));
        page.poll();
        server.publish_all("room", ["4", "5", "6"]);
        let answer = page.poll();
        assert_eq!(said(&answer), ["4", "5", "6"]);
        assert_eq!(answer["gaps"], json!([]));
    });
}

#[test]
fn d07_what_was_published_before_an_unsubscribe_is_delivered_and_what_came_after_is_not() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room", "other"]);
        server.publish("room", "before");
        alice.unsubscribe("room");
        server.publish("room", "after");
        assert_eq!(alice.channels(), ["other"]);
        let mut page = Page::new(&alice, shape);
        // Until it is acknowledged it is due again.
        assert_eq!(said(&page.peek()), ["before"]);
        assert_eq!(said(&page.poll()), ["before"]);
        server.publish("other", "m");
        assert_eq!(said(&page.poll()), ["m"]);
        assert_eq!(server.call("channel_info", json!(["room"]))["subscribers"], 0);
        // Who comes back later has nothing from between.
        alice.subscribe("room");
        server.publish("room", "again");
        assert_eq!(said(&page.poll()), ["again"]);
    });
}

#[test]
fn d07_a_page_that_is_not_as_far_as_another_still_gets_what_was_before_the_end() {
    silent(&["--max-subscriptions", "2"], |server, shape| {
        let alice = server.subscriber("alice", &["room", "other"]);
        server.publish_all("room", ["1", "2"]);
        let mut page = Page::new(&alice, shape);
        page.poll();
        let mut behind = Page::new(&alice, shape);
        behind.since.clone_from(&page.since);
        server.publish("room", "3");
        alice.unsubscribe("room");
        assert_eq!(said(&page.poll()), ["3"]);
        server.publish("other", "m");
        assert_eq!(said(&page.poll()), ["m"]);
        assert_eq!(said(&behind.peek()), ["3", "m"]);
        // When there is no room for what has ended, such a page is told that its position is not known any more.
        alice.subscribe("new");
        let answer = behind.poll();
        let mut told = [gap("new", 1, "restart"), gap("other", 1, "restart")].to_vec();
        told.retain(|gap| !answer["gaps"].as_array().unwrap().contains(gap));
        assert_eq!((told, answer["gaps"].as_array().unwrap().len()), (vec![], 2));
        assert_eq!(said(&answer), ["m"]);
    });
}

#[test]
fn d07_subscribe_with_since_to_a_channel_that_was_freed_tells_what_has_gone() {
    let hasty = ["--channel-idle", "50ms", "--min-alive", "1d"];
    silent(&hasty, |server, shape| {
        let alice = server.client("alice");
        let first = place(server, "room", "1");
        server.publish("room", "2");
        until("the channel is forgotten", || !is_channel(server, "room"));
        assert_eq!(server.call("subscribe", json!([alice.id, "room", {"since": first}])), 1);
        let mut page = Page::new(&alice, shape);
        let answer = page.poll();
        assert_eq!((said(&answer), &answer["gaps"]), (vec![], &json!([gap("room", 3, "age")])));
        // Ids go on.
        server.publish("room", "3");
        assert_eq!(heard(&page.poll()), [("room".into(), 3, "3".into())]);
    });
}

#[test]
fn d07_in_the_old_protocol_what_was_not_read_is_not_read_any_more() {
    let server = Server::with(&SILENT);
    let alice = server.subscriber("alice", &["room", "other"]);
    server.publish("room", "before");
    alice.unsubscribe("room");
    server.publish("other", "m");
    assert_eq!(alice.news(), json!({"other": [says(1, "m")]}));
}

#[test]
fn d07_a_gap_in_an_ended_subscription_is_told() {
    silent(&["--history", "1"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish_all("room", ["1", "2"]);
        alice.unsubscribe("room");
        let mut page = Page::new(&alice, shape);
        let answer = page.peek();
        assert_eq!((said(&answer), &answer["gaps"]), (vec!["2".into()], &json!([gap("room", 2, "count")])));
        // What came after the end pushes the last one out, but is nothing to her.
        server.publish("room", "3");
        let answer = page.poll();
        assert_eq!((said(&answer), &answer["gaps"]), (vec![], &json!([gap("room", 3, "count")])));
    });
}

#[test]
fn d07_subscribe_with_since_begins_in_the_past() {
    silent(&["--history", "3"], |server, shape| {
        let positions = ["1", "2", "3"].map(|text| place(server, "room", text));
        let alice = server.client("alice");
        assert_eq!(server.call("subscribe", json!([alice.id, "room", {"since": positions[0]}])), 1);
        let mut page = Page::new(&alice, shape);
        let answer = page.peek();
        assert_eq!((said(&answer), &answer["gaps"]), (vec!["2".into(), "3".into()], &json!([])));
        // What the ring no longer holds is a told gap.
        server.publish_all("room", ["4", "5"]);
        let answer = page.poll();
        assert_eq!((heard(&answer).len(), &answer["gaps"]), (3, &json!([gap("room", 3, "count")])));
        // A page whose position is later than the wished one gets it all the same, as it had no subscription then.
        let bob = server.client("bob");
        let mut page = Page::new(&bob, shape);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        poll.waits();
        assert_eq!(server.call("subscribe", json!([bob.id, "room", {"since": positions[2]}])), 1);
        assert_eq!(said(&page.hear(&mut poll)), ["4", "5"]);
        server.publish("room", "6");
        assert_eq!(said(&page.poll()), ["6"]);
    });
}

#[test]
fn d08_a_position_of_another_epoch_or_of_the_future_is_a_gap_in_each_channel() {
    silent(&[], |server, shape| {
        server.publish("x", "before the subscription");
        let alice = server.subscriber("alice", &["x", "y", "z"]);
        server.publish_all("x", ["x2", "x3"]);
        server.publish("y", "y1");
        let ours = since(&alice.resume(""));
        let expected = json!([gap("x", 2, "restart"), gap("y", 1, "restart"), gap("z", 1, "restart")]);
        for lost in [ELSEWHEN.to_owned(), future(&ours)] {
            let mut page = Page::new(&alice, shape);
            page.since = lost;
            for answer in [page.peek(), page.poll()] {
                assert_eq!(said(&answer), ["x2", "x3", "y1"]);
                let mut gaps = answer["gaps"].clone();
                gaps.as_array_mut().unwrap().sort_by_key(|gap| gap["channel"].as_str().expect("a name").to_owned());
                assert_eq!(gaps, expected);
            }
            // It has a position of this life now.
            assert_eq!(page.since, ours);
            let mut poll = page.park();
            poll.waits();
        }
    });
}

#[test]
fn d08_a_start_from_nothing_is_a_new_epoch() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "m");
        let old = since(&alice.resume(""));
        let again = Server::with(&SILENT);
        let alice = again.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since.clone_from(&old);
        let answer = page.poll();
        assert_eq!(answer["gaps"], json!([gap("room", 1, "restart")]));
        assert_ne!(page.since.split_once('-').unwrap().0, old.split_once('-').unwrap().0);
    });
}

#[test]
fn d09_a_channel_is_not_freed_while_a_live_or_departed_client_is_subscribed() {
    for shape in Shape::BOTH {
        let server = &Server::calm(&[&SILENT[..], &["--channel-idle", "50ms"]].concat());
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        server.publish("room", "1");
        assert_eq!(said(&page.poll()), ["1"]);
        // She is here, in a poll.
        let poll = page.park();
        outlast_a_channel(server);
        // She has departed.
        drop(poll);
        alice.expire();
        server.publish("room", "2");
        outlast_a_channel(server);
        let info = server.call("channel_info", json!(["room"]));
        assert_eq!([&info["subscribers"], &info["active"]], [1, 0]);
        let answer = page.poll();
        assert_eq!((heard(&answer), &answer["gaps"]), (vec![("room".into(), 2, "2".into())], &json!([])));
        // When she is forgotten it goes.
        alice.kill();
        until("the channel is forgotten", || !is_channel(server, "room"));
    }
}

/// Until a channel has been forgotten that is as old as all others at most.
fn outlast_a_channel(server: &Server) {
    server.publish("deserted", "m");
    until("a deserted channel is forgotten", || !is_channel(server, "deserted"));
}

fn is_channel(server: &Server, name: &str) -> bool {
    server.rpc(&json!({"method": "channel_info", "params": [name], "id": 1})).get("error").is_none()
}

#[test]
fn d10_of_too_many_polls_the_oldest_is_answered_with_its_own_position_and_comes_back_later() {
    silent(&["--max-polls", "2"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        let (mut first, mut second, mut third) = (page.park(), page.park(), page.park());
        let answer = shape.read(&first.answer());
        assert_eq!((since(&answer), heard(&answer)), (page.since.clone(), vec![]));
        assert!(RETRY_MS.contains(&answer["retry_ms"].as_u64().unwrap()), "{answer}");
        second.waits();
        server.publish("room", "m");
        for poll in [&mut second, &mut third] {
            let answer = shape.read(&poll.answer());
            assert_eq!((said(&answer), &answer["retry_ms"]), (vec!["m".into()], &json!(0)));
        }
        // One that has named no position has none.
        let mut page = Page::new(&alice, shape);
        page.since = since(&alice.resume(""));
        page.poll_nothing();
        page.since.clear();
        let mut polls = [page.park(), page.park(), page.park()];
        assert_eq!(shape.read(&polls[0].answer())["since"], "");
    });
}

impl Page<'_> {
    /// Acknowledges all there is, and hangs up.
    fn poll_nothing(&self) {
        self.park().waits();
        self.clients[0].is_left();
    }
}

#[test]
fn d10_an_old_poll_is_never_answered_early() {
    silent(&["--max-polls", "2"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        // Among others it is the others that go, older or not.
        let mut old = alice.park();
        let (mut first, mut second) = (page.park(), page.park());
        assert_ne!(shape.read(&first.answer())["retry_ms"], 0);
        let mut another = alice.park();
        assert_ne!(shape.read(&second.answer())["retry_ms"], 0);
        // Where there are only such the new one is refused.
        let response = page.ask();
        assert_eq!(shape.error(&response).0, 503);
        let response = alice.poll();
        assert_eq!((response.status, response.header("access-control-allow-origin")), (503, None));
        old.waits();
        server.publish("room", "m");
        assert_eq!(old.news(), json!({"room": [says(1, "m")]}));
        another.waits();
    });
}

#[test]
fn d10_the_old_protocols_answers_are_bounded_and_nothing_is_left_out() {
    let server = Server::with(&["--presence", "off", "--max-answer", "2KiB"]);
    let alice = server.subscriber("alice", &["x", "y"]);
    let text = |n: usize| format!("{n}{}", "x".repeat(500));
    for n in 0..10 {
        server.publish(["x", "y"][n % 2], &text(n));
    }
    let mut got = Vec::new();
    while got.len() < 10 {
        let response = alice.poll();
        assert!(response.body.len() < 3 << 10, "{response:?}");
        let news = response.news();
        let mut some = [texts(&news, "x"), texts(&news, "y")].concat();
        some.sort();
        got.extend(some);
    }
    assert_eq!(got, (0..10).map(text).collect::<Vec<_>>());
}

#[test]
fn d11_a_poll_whose_client_is_killed_gets_the_404_at_once() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        alice.kill();
        assert_eq!(shape.error(&poll.answer()).0, 404);
        assert_eq!(shape.error(&page.ask()).0, 404);
    });
}

#[test]
fn d11_with_other_clients_left_the_poll_stays() {
    silent(&[], |server, shape| {
        let (alice, bob) = (server.subscriber("alice", &["x"]), server.subscriber("bob", &["y"]));
        let mut page = Page::new(&alice, shape);
        page.clients.push(&bob);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        alice.kill();
        poll.waits();
        server.publish_all("x", ["nobody's"]);
        server.publish("y", "m");
        assert_eq!(said(&page.hear(&mut poll)), ["m"]);
        assert_eq!(shape.error(&page.ask()).0, 404);
    });
}

#[test]
fn d12_system_marks_what_the_server_says_and_data_is_always_a_string() {
    both(&[], |server, shape| {
        let admin = server.subscriber("an-admin", &["admin"]);
        let alice = server.subscriber("alice", &["room"]);
        // The fourth argument of `new_message` is without effect.
        server.call("new_message", json!(["app", {"b": [1, null], "a": "é\u{2028}"}, "room", true]));
        server.call("new_message", json!([null, 1.50, "room", false]));
        alice.unsubscribe("room");
        let mut page = Page::new(&alice, shape);
        let answer = page.poll();
        let joined = json!({"channel": "room", "id": 1, "from": "alice", "data": r#"{"type": "subscribe"}"#,
            "system": true, "reason": "subscribed"});
        let messages = answer["messages"].as_array().unwrap();
        assert_eq!(messages[0], joined);
        assert_eq!((&messages[1]["system"], &messages[2]["system"]), (&json!(false), &json!(false)));
        assert_eq!(messages[2]["from"], Value::Null);
        assert_eq!(messages.len(), 3);
        let announced = Page::new(&admin, shape).poll();
        let new = announced["messages"].as_array().unwrap().last().unwrap();
        assert_eq!((&new["system"], &new["from"], new.get("reason")), (&json!(true), &json!("system"), None));
        // Both protocols have the same strings.
        let bob = server.subscriber("bob", &["room2"]);
        server.call("new_message", json!(["app", {"b": [1, null], "a": "é\u{2028}"}, "room2", true]));
        let resumed = said(&Page::new(&bob, shape).poll());
        let news = bob.poll().updates("cb");
        assert_eq!((&news["room2"][0][1], &news["room2"][1][1]), (&json!(resumed[0]), &json!(resumed[1])));
    });
}

#[test]
fn d13_a_burst_larger_than_the_ring_is_a_told_gap_also_for_a_connected_page() {
    silent(&["--history", "5"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        publish_batch(server, "room", &numbered(20));
        let answer = page.hear(&mut poll);
        assert_eq!(said(&answer), numbered(20)[15..]);
        assert_eq!(answer["gaps"], json!([gap("room", 16, "count")]));
    });
}

#[test]
fn d14_tokens_need_no_encoding_and_an_unknown_epoch_tells_a_stranger_nothing() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "m");
        let mut page = Page::new(&alice, shape);
        page.poll();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        assert!(!page.since.is_empty() && page.since.bytes().all(allowed), "{}", page.since);
        let impostor = Client { server, id: "alice".into(), key: "0".repeat(32) };
        let refused = |since: &str| server.get(&shape.path(&[&impostor], since)).body;
        let refusals = ["", &page.since, &future(&page.since), ELSEWHEN].map(refused);
        assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    });
}

// --- what a page can rely on

#[test]
fn a_lost_answer_is_asked_for_again() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        server.publish("room", "1");
        // It arrives, and the page dies over it; the next one never leaves the kernel, as nobody reads it.
        page.shape.read(&poll.answer());
        poll.send(get(&page.path()));
        server.turn();
        drop(poll);
        server.publish("room", "2");
        assert_eq!(said(&page.poll()), ["1", "2"]);
    });
}

#[test]
fn repeating_a_poll_gives_the_same_messages() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["x", "y"]);
        server.publish_all("x", ["1", "2"]);
        let mut page = Page::new(&alice, shape);
        page.poll();
        server.publish_all("y", ["3"]);
        server.publish_all("x", ["4"]);
        let first = page.ask().body;
        for _ in 0..3 {
            assert_eq!(page.ask().body, first);
        }
        // What is new meanwhile comes behind.
        server.publish("y", "5");
        assert_eq!(said(&page.poll()), ["3", "4", "5"]);
    });
}

#[test]
fn several_pages_with_one_client_do_not_disturb_each_other() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut pages = [0; 4].map(|_| Page::new(&alice, shape));
        for page in &mut pages {
            page.since = place(server, "elsewhere", "m");
        }
        let mut heard: [Vec<String>; 4] = Default::default();
        for round in 0..6 {
            // Each misses another one of the rounds, and one never waits.
            let mut polls: Vec<_> = (0..4).filter(|at| round % 4 != *at).map(|at| (at, pages[at].park())).collect();
            server.publish("room", &round.to_string());
            for (at, poll) in &mut polls {
                heard[*at].extend(said(&pages[*at].hear(poll)));
            }
        }
        for (page, heard) in pages.iter_mut().zip(&mut heard) {
            if heard.len() < 6 {
                heard.extend(said(&page.poll()));
            }
            assert_eq!(*heard, ["0", "1", "2", "3", "4", "5"]);
        }
    });
}

#[test]
fn messages_of_several_channels_come_in_the_order_in_which_they_were_published() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["z", "a", "m"]);
        for n in 0..9 {
            server.publish(["a", "z", "m"][n % 3], &n.to_string());
        }
        assert_eq!(said(&Page::new(&alice, shape).poll()).concat(), "012345678");
    });
}

#[test]
fn a_parked_poll_is_answered_at_once_and_at_the_timeout_empty_with_a_position() {
    silent(&["--poll-timeout", "200ms"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.poll();
        let before = page.since.clone();
        let position = place(server, "elsewhere", "m");
        let empty = page.poll();
        assert_eq!(empty, json!({"since": position, "messages": [], "gaps": [], "retry_ms": 0}));
        assert_ne!(page.since, before);
    });
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        server.publish("room", "m");
        assert_eq!(page.hear(&mut poll)["messages"], json!([message("room", 1, "m")]));
    });
}

#[test]
fn two_pages_behind_one_connection_get_their_answers_in_order() {
    silent(&[], |server, shape| {
        let (alice, bob) = (server.subscriber("alice", &["x"]), server.subscriber("bob", &["y"]));
        let (first, second) = (Page::new(&alice, shape), Page::new(&bob, shape));
        let mut connection = first.park();
        connection.send(get(&second.path()));
        server.publish("y", "2");
        connection.waits();
        server.publish("x", "1");
        assert_eq!(said(&shape.read(&connection.answer())), ["1"]);
        assert_eq!(said(&shape.read(&connection.answer())), ["2"]);
    });
}

// --- errors

#[test]
fn a_bad_token_is_a_400_that_says_so() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "m");
        let good = since(&alice.resume(""));
        let tail = good[..good.len() - 1].to_owned();
        for bad in ["0", "x", "-", "é", "1-1", " ", &good.to_uppercase(), &format!("{good} "), &tail.replace('-', "")]
        {
            let response = server.get(&shape.path(&[&alice], bad));
            let (code, text) = shape.error(&response);
            assert!(code == 400 && text.contains("since"), "{bad:?}: {response:?}");
        }
        // A byte that is no text is no token either.
        let path = shape.path(&[&alice], "") + "&x=";
        let response = server.get(&path.replace("since=", "since=%ff"));
        assert_eq!(shape.error(&response).0, 400);
    });
}

#[test]
fn a_poll_without_a_client_or_with_a_malformed_one_is_an_error_that_the_page_can_read() {
    let server = Server::start();
    for shape in Shape::BOTH {
        assert_eq!(shape.error(&server.get(&shape.path(&[], ""))).0, 400);
        let path = shape.path(&[], "") + "&client_id=no-separator";
        assert_eq!(shape.error(&server.get(&path)).0, 404);
    }
}

#[test]
fn a_poll_needs_no_preflight_and_those_who_ask_may() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let path = Shape::Object.path(&[&alice], "");
    let answer = server.ask(request("GET", &path, &["Origin: http://app.test"], ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let preflight = request("OPTIONS", &path, &["Origin: http://app.test", "Access-Control-Request-Method: GET"], "");
    let answer = server.ask(preflight);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
    // HEAD takes nothing.
    let head = server.connect().ask(request("HEAD", &path, &[], ""));
    assert_eq!((head.status, head.media_type()), (200, "application/json"));
    assert_eq!(heard(&alice.resume("")).len(), 1);
}

#[test]
fn a_key_that_was_exchanged_ends_the_polls_and_keeps_the_position() {
    silent(&[], |server, shape| {
        let mut alice = server.subscriber("alice", &["room"]);
        let token = since(&{
            server.publish("room", "1");
            alice.resume("")
        });
        let mut poll = server.park_at(&shape.path(&[&alice], &token));
        let key = server.call("rotate_key", json!(["alice"]));
        assert_eq!(shape.error(&poll.answer()).0, 404);
        assert_eq!(shape.error(&server.get(&shape.path(&[&alice], &token))).0, 404);
        key.as_str().unwrap().clone_into(&mut alice.key);
        server.publish("room", "2");
        assert_eq!(said(&alice.resume("")), ["2"]);
    });
}

// --- gaps

#[test]
fn count_a_page_that_is_too_many_messages_behind() {
    silent(&["--history", "3"], |server, shape| {
        let alice = server.subscriber("alice", &["room", "quiet"]);
        server.publish_all("room", ["1", "2", "3", "4", "5"]);
        server.publish("quiet", "q");
        is_told(&mut Page::new(&alice, shape), gap("room", 3, "count"), &["3", "4", "5", "q"]);
    });
}

#[test]
fn bytes_a_page_that_is_too_many_bytes_behind() {
    silent(&["--history-bytes", "1KiB"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let text = |n: u32| format!("{n}{}", "x".repeat(300));
        let texts = [1, 2, 3, 4, 5].map(text);
        server.publish_all("room", texts.iter().map(String::as_str));
        let survivors: Vec<&str> = texts[2..].iter().map(String::as_str).collect();
        is_told(&mut Page::new(&alice, shape), gap("room", 3, "bytes"), &survivors);
    });
}

#[test]
fn age_a_page_that_comes_too_late() {
    silent(&["--history-age", "200ms"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish_all("room", ["1", "2", "3"]);
        // The newest stays.
        until("the others are too old", || server.call("channel_info", json!(["room"]))["messages"] == 1);
        is_told(&mut Page::new(&alice, shape), gap("room", 3, "age"), &["3"]);
    });
}

#[test]
fn memory_a_page_of_a_channel_that_gave_up_its_messages_for_others() {
    silent(&["--history-total", "64KiB"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish_all("room", ["1", "2", "3"]);
        let filler: Vec<String> = (0..90).map(|n| format!("{n}{}", "x".repeat(1000))).collect();
        publish_batch(server, "busy", &filler);
        is_told(&mut Page::new(&alice, shape), gap("room", 3, "memory"), &["3"]);
        let bytes = server.call("channel_info", json!(["busy"]))["bytes"].as_u64().unwrap();
        assert!(bytes <= 64 << 10, "{bytes}");
    });
}

#[test]
fn restart_a_page_of_an_earlier_life() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish_all("room", ["1", "2", "3"]);
        let mut page = Page::new(&alice, shape);
        page.since = ELSEWHEN.into();
        is_told(&mut page, gap("room", 1, "restart"), &["1", "2", "3"]);
    });
}

/// The next answer tells this one gap and has what survives; the one after that goes on as if nothing had been.
fn is_told(page: &mut Page<'_>, gap: Value, survivors: &[&str]) {
    let answer = page.poll();
    assert_eq!((&answer["gaps"], said(&answer)), (&json!([gap]), survivors.iter().map(|s| (*s).to_owned()).collect()));
    let channel = gap["channel"].as_str().expect("a name");
    page.clients[0].server.publish(channel, "on we go");
    let answer = page.poll();
    assert_eq!((&answer["gaps"], said(&answer)), (&json!([]), vec!["on we go".to_owned()]));
}

#[test]
fn a_gap_wakes_a_page_that_waits_even_if_nothing_survives_for_it() {
    silent(&["--history", "1"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        let mut poll = page.park();
        let for_alice = json!({"jsonrpc": "2.0", "method": "publish", "params": ["room", "for alice"]});
        let others =
            json!({"jsonrpc": "2.0", "method": "publish", "params": ["room", "others", {"exclude": ["alice"]}]});
        assert_eq!(server.ask(crate::support::post(json!([for_alice, others]).to_string())).status, 204);
        let answer = page.hear(&mut poll);
        assert_eq!((heard(&answer), &answer["gaps"]), (vec![], &json!([gap("room", 2, "count")])));
    });
}

#[test]
fn a_gap_of_both_kinds_that_an_answer_cuts_apart_is_told_of_both() {
    both(&["--history", "2000,room=1", "--history-system", "100,room=1"], |server, shape| {
        let alice = server.subscriber("alice", &["room", "busy"]);
        server.publish_all("room", ["2", "3"]);
        publish_batch(server, "busy", &numbered(1200));
        // The joins fall behind what the first answer can hold, the message before it.
        for id in ["bob", "carol"] {
            server.subscriber(id, &["room"]);
        }
        let mut page = Page::new(&alice, shape);
        let first = page.poll();
        assert_eq!((heard(&first).len(), &first["gaps"]), (1000, &json!([gap("room", 3, "count")])));
        let second = page.poll();
        let told = json!({"channel": "room", "next_id": 5, "reason": "count", "system": true});
        assert_eq!(second["gaps"], json!([told]));
    });
}

#[test]
fn a_gap_of_an_ended_subscription_is_told_though_what_fell_last_was_not_its_own() {
    silent(&["--history", "2000,room=1"], |server, shape| {
        let alice = server.subscriber("alice", &["room", "busy"]);
        server.publish("room", "hers");
        alice.unsubscribe("room");
        publish_batch(server, "busy", &numbered(1200));
        server.publish_all("room", ["2", "3"]);
        let mut page = Page::new(&alice, shape);
        // The next poll acknowledges all that was hers.
        let first = page.poll();
        assert_eq!((heard(&first).len(), &first["gaps"]), (1000, &json!([gap("room", 3, "count")])));
        let second = page.poll();
        assert_eq!((heard(&second).len(), &second["gaps"]), (200, &json!([])));
    });
}

#[test]
fn a_page_of_an_earlier_life_is_told_so_even_if_there_are_too_many_polls() {
    silent(&["--max-polls", "2"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        server.publish("room", "m");
        let mut connections = [0; 3].map(|_| {
            let mut connection = server.connect();
            assert_eq!(connection.ask(get("/nowhere")).status, 404);
            connection
        });
        // All three come in one turn, before any of them is looked at.
        server.signal(Signal::STOP);
        for connection in &mut connections {
            connection.send(get(&shape.path(&[&alice], ELSEWHEN)));
        }
        server.signal(Signal::CONT);
        for connection in &mut connections {
            let answer = shape.read(&connection.answer());
            assert_eq!((&answer["gaps"], said(&answer)), (&json!([gap("room", 1, "restart")]), vec!["m".into()]));
        }
    });
}

// --- large answers

#[test]
fn long_names_count_in_the_bound_of_an_answer() {
    silent(&["--history", "2000"], |server, shape| {
        let name = "x".repeat(10_000);
        let alice = server.subscriber("alice", &[&name]);
        let all = numbered(300);
        publish_batch(server, &name, &all);
        let mut page = Page::new(&alice, shape);
        let mut got = Vec::new();
        loop {
            let response = page.ask();
            assert!(response.body.len() < 2 << 20, "{} bytes", response.body.len());
            let answer = shape.read(&response);
            page.since = since(&answer);
            got.extend(said(&answer));
            if answer.get("more").is_none() {
                break;
            }
        }
        assert_eq!(got, all);
    });
}

#[test]
fn more_than_a_mebibyte_comes_in_several_answers_at_once() {
    silent(&["--history-bytes", "64MiB"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let text = |n: usize| format!("{n} {}", "x".repeat(100_000));
        for n in 0..30 {
            server.publish("room", &text(n));
        }
        let mut page = Page::new(&alice, shape);
        let mut got = Vec::new();
        let patience = Patience::new(PATIENCE);
        loop {
            let answer = page.poll();
            let some = said(&answer);
            assert!(some.iter().map(String::len).sum::<usize>() <= 1 << 20, "a bounded answer");
            got.extend(some);
            if answer.get("more").is_none() {
                break;
            }
            assert_eq!(answer["retry_ms"], 0);
        }
        assert!(got == (0..30).map(text).collect::<Vec<_>>(), "all of them, in order");
        assert!(!patience.is_over(), "nobody waited");
    });
}

// --- the old protocol

/// The whole response but for the line of the date.
fn undated(response: &Response) -> String {
    let headers = response.headers.iter().filter(|(name, _)| name != "date");
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{}\n{headers}\n{}", response.status_line, response.text())
}

#[test]
fn without_since_the_answer_is_the_originals_byte_for_byte() {
    let server = Server::with(&["--poll-timeout", "100ms"]);
    let alice = server.subscriber("alice", &["room"]);
    server.call("new_message", json!(["bob", {"a": "é"}, "room", false]));
    let head = "HTTP/1.1 200 OK\ncontent-type: application/x-javascript\ncache-control: no-cache\n\
                x-content-type-options: nosniff\naccess-control-allow-origin: *\ncontent-length: ";
    let answer = |body: &str| format!("{head}{}\n\n{body}", body.len());
    let both = r#"cb({"room":[[1,"{\"type\": \"subscribe\"}","alice"],[2,"{\"a\":\"\\u00e9\"}","bob"]]});"#;
    assert_eq!(undated(&alice.poll()), answer(both));
    assert_eq!(undated(&alice.poll()), answer("cb({});"));
    // A page of the same client that is on the resume protocol changes nothing about it.
    server.publish("room", "m");
    Page::new(&alice, Shape::Object).poll();
    assert_eq!(undated(&alice.poll()), answer(r#"cb({"room":[[3,"m","app"]]});"#));
    for (path, status, text) in [
        ("/message_updates?callback=cb&client_id=x_!!_y".to_owned(), "404 Not Found", "Not Found\r\n"),
        ("/message_updates?client_id=x_!!_y".to_owned(), "400 Bad Request", "the parameter callback is missing\r\n"),
    ] {
        let response = server.get(&path);
        assert_eq!(response.status_line, format!("HTTP/1.1 {status}"));
        assert_eq!((response.text(), response.header("access-control-allow-origin")), (text, None));
    }
}

#[test]
fn an_old_poll_and_a_new_one_of_one_client_each_get_everything() {
    silent(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        page.since = place(server, "elsewhere", "m");
        let (mut old, mut new) = (alice.park(), page.park());
        server.publish("room", "m");
        assert_eq!(old.news(), json!({"room": [says(1, "m")]}));
        assert_eq!(said(&page.hear(&mut new)), ["m"]);
    });
}

#[test]
fn who_waits_counts_as_present_in_either_protocol() {
    let short = ["--min-alive", "10ms", "--max-idle", "10ms", "--sweep-interval", "1d"];
    silent(&short, |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        until("she has not polled", || server.present("room").is_empty());
        let poll = Page::new(&alice, shape).park();
        assert_eq!(server.present("room"), ["alice"]);
        drop(poll);
        until("she has hung up", || server.present("room").is_empty());
    });
}

// --- the end

#[test]
fn a_clean_stop_answers_with_a_position_and_spreads_the_return() {
    silent(&["--max-polls", "100"], |_, shape| {
        let mut server = Server::with(&SILENT);
        let positions: Vec<String> = (0..12).map(|n| place(&server, "elsewhere", &n.to_string())).collect();
        let mut polls = Vec::new();
        for (n, position) in positions.iter().enumerate() {
            let client = server.subscriber(&format!("client-{n}"), &["room"]);
            polls.push(server.park_at(&shape.path(&[&client], position)));
        }
        server.signal(Signal::TERM);
        assert_eq!(server.exit().code(), Some(0));
        let mut delays = Vec::new();
        for poll in &mut polls {
            let answer = shape.read(&poll.answer());
            assert_eq!(heard(&answer), []);
            let (epoch, seq) = positions[11].split_once('-').unwrap();
            let (same, now) = answer["since"].as_str().unwrap().split_once('-').unwrap();
            assert!(epoch == same && now.parse::<u64>().unwrap() >= seq.parse().unwrap(), "{answer}");
            delays.push(answer["retry_ms"].as_u64().unwrap());
            poll.closes();
        }
        assert!(delays.iter().all(|delay| RETRY_MS.contains(delay)), "{delays:?}");
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 6, "{delays:?}");
    });
}

#[test]
fn a_clean_stop_still_delivers_what_is_due() {
    silent(&[], |_, shape| {
        let server = Server::with(&SILENT);
        let alice = server.subscriber("alice", &["room"]);
        let mut poll = server.park_at(&shape.path(&[&alice], ""));
        server.publish("room", "last words");
        assert_eq!(server.stop().code(), Some(0));
        assert_eq!(said(&shape.read(&poll.answer())), ["last words"]);
    });
}

// --- an answer at once

#[test]
fn with_wait_0_a_poll_is_answered_at_once_whether_or_not_there_is_something() {
    silent(&["--poll-timeout", "1h"], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let mut page = Page::new(&alice, shape);
        server.publish("room", "one");
        let ask = |page: &mut Page<'_>| {
            let answer = shape.read(&server.get(&(page.path() + "&wait=0")));
            page.since = since(&answer);
            (said(&answer), answer["retry_ms"].clone())
        };
        assert_eq!(ask(&mut page), (vec!["one".to_owned()], json!(0)));
        let had = page.since.clone();
        assert_eq!((ask(&mut page), &page.since), ((vec![], json!(0)), &had));
        server.publish("room", "two");
        assert_eq!(ask(&mut page), (vec!["two".to_owned()], json!(0)));
        // It acknowledges as any other.
        let acknowledged = server.call("client_info", json!(["alice"]))["acknowledged"].clone();
        assert_eq!(acknowledged, had);
    });
}

#[test]
fn nobody_says_how_long_a_poll_waits_but_not_at_all() {
    both(&[], |server, shape| {
        let alice = server.subscriber("alice", &["room"]);
        let page = Page::new(&alice, shape);
        for wait in ["", "1", "00", "0s", "-0"] {
            let (code, text) = shape.error(&server.get(&format!("{}&wait={wait}", page.path())));
            assert_eq!((code, text.as_str()), (400, "wait is 0, for an answer at once, or is left out"), "{wait}");
        }
        // In the original's protocol there is no such thing: it is one of the parameters that nobody looks at.
        let news = server.get(&format!("{}&wait=1", crate::support::poll_path(&[&alice])));
        assert_eq!(news.status, 200);
    });
}
