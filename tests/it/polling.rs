//! Long polling at `/message_updates`, section 4 of the wire.

use crate::support::{
    Client, Connection, Response, Server, Shape, dies, get, ids, joins, leaves, said, says, texts, timed, until,
    updates_path,
};
use serde_json::{Value, json};
use socket2::Socket;
use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

fn nothing() -> Value {
    json!({})
}

/// A poll with these parameters as they are.
fn poll_with(server: &Server, query: &str) -> Response {
    server.get(&format!("/message_updates{query}"))
}

/// Holds if it is refused with this status, and no page of another origin can read it.
fn is_refused(response: &Response, statuses: &[u16]) {
    assert!(statuses.contains(&response.status), "{response:?}");
    assert_eq!(response.header("access-control-allow-origin"), None, "{response:?}");
}

// --- the answer

#[test]
fn p1_an_answer_on_the_wire() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    assert_eq!(server.call("new_message", json!(["bob", "text", "room", false])), 1);
    let path = updates_path(&[("callback", "my_cb"), ("client_id", &alice.credential())]);
    let response = server.get(&path);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/x-javascript"));
    assert_eq!(response.header("cache-control"), Some("no-cache"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.text().replace(' ', ""), r#"my_cb({"room":[[2,"text","bob"]]});"#);
}

#[test]
fn p2_only_channels_with_news_and_ids_ascending() {
    let server = Server::start();
    let alice = server.listener("alice", &["x", "y", "silent"]);
    server.publish("x", "1");
    server.publish("y", "2");
    assert_eq!(server.call("new_message", json!(["app", {"a": 1}, "x", false])), 1);
    let news = alice.news();
    assert_eq!(ids(&news, "x"), [2, 3]);
    assert!(news["x"][1][1].is_string());
    assert_eq!(news["y"], json!([says(2, "2")]));
    assert_eq!(news.as_object().unwrap().len(), 2, "{news}");
}

#[test]
fn p3_answers_are_ascii() {
    let server = Server::start();
    let client = server.subscriber("é😀", &["канал\u{7f}"]);
    server.publish("канал\u{7f}", "日本\u{2028}😀\u{7f}");
    let response = client.poll();
    assert!(response.text().is_ascii(), "{response:?}");
    let body = response.text().to_ascii_lowercase();
    assert!(body.contains(r"\ud83d\ude00") && body.contains(r"\u2028"), "{body}");
    assert_eq!(texts(&response.news(), "канал\u{7f}"), ["日本\u{2028}😀\u{7f}"]);
}

// --- the question

#[test]
fn p4_parameters_are_form_decoded() {
    let server = Server::start();
    let client = server.subscriber("a b+cé😀", &["room"]);
    let id = format!("client_id=a+b%2Bc%C3%A9%f0%9f%98%80_%21%21_{}", client.key);
    let response = poll_with(&server, &format!("?foo=%%zz&{id}&ts=1234&callback=first&callback=second"));
    assert_eq!(response.updates("first").as_object().unwrap().len(), 1);
    server.publish("room", "hello");
    let response = poll_with(&server, &format!("?%63allback=cb&&empty&=&{}", id.replace("client", "%63lient")));
    assert_eq!(texts(&response.news(), "room"), ["hello"]);
}

#[test]
fn p4_p14_callbacks_that_libraries_make() {
    let server = Server::start();
    let alice = server.client("alice");
    let long = "c".repeat(256);
    for callback in [
        "cb",
        "noop",
        "_jqjsp",
        "jsonp1300000000000",
        "jQuery17203_1",
        "a.b.c",
        "a.b[0]",
        "$",
        "$.cb_1",
        "Ext.data.JsonP.callback1",
        &long,
    ] {
        alice.subscribe("room");
        let response = server.get(&updates_path(&[("callback", callback), ("client_id", &alice.credential())]));
        assert_eq!(response.updates(callback)["room"].as_array().unwrap().len(), 1, "{callback}");
    }
}

#[test]
fn p14_other_callbacks_are_refused() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let long = "c".repeat(10_000);
    for callback in [
        "alert(1)//",
        "a;b",
        "a=b",
        "a,b",
        "a-b",
        "a/b",
        "a\\b",
        "<script>",
        "a b",
        "é",
        "\u{2028}",
        "a\r\nX: y",
        "a\0",
        "'",
        "\"",
        "`",
        &long,
    ] {
        let response = server.get(&updates_path(&[("callback", callback), ("client_id", &alice.credential())]));
        is_refused(&response, &[400]);
    }
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice")]}));
}

#[test]
fn p11_an_unknown_client_or_a_wrong_key_is_404_for_all() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let (good, zeros) = (alice.credential(), "0".repeat(32));
    for bad in [
        format!("nobody_!!_{zeros}"),
        format!("alice_!!_{zeros}"),
        "alice_!!_".to_owned(),
        format!("{good}0"),
        format!("{good} "),
        format!("alice_!!_{}", alice.key.to_uppercase() + "x"),
        format!("alice_!!_{}", &alice.key[..31]),
        format!("Alice_!!_{}", alice.key),
        format!("_!!_{}", alice.key),
    ] {
        for credentials in [&[&bad][..], &[&good, &bad], &[&bad, &good]] {
            let mut parameters = vec![("callback", "cb")];
            parameters.extend(credentials.iter().map(|c| ("client_id", c.as_str())));
            let response = server.get(&updates_path(&parameters));
            is_refused(&response, &[404]);
            assert_eq!((response.media_type(), response.text()), ("text/plain", "Not Found\r\n"), "{bad}");
        }
    }
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice")]}));
}

#[test]
fn p12_p13_malformed_polls_are_4xx_without_cors() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let good = format!("client_id=alice_!!_{}", alice.key);
    for (query, statuses) in [
        (String::new(), &[400][..]),
        ("?".to_owned(), &[400]),
        ("?callback=cb".to_owned(), &[400]),
        (format!("?{good}"), &[400]),
        (format!("?callback=&{good}"), &[400]),
        (format!("?callback&{good}"), &[400]),
        ("?callback=cb&client_id=".to_owned(), &[400, 404]),
        ("?callback=cb&client_id=x".to_owned(), &[404]),
        (format!("?callback=cb&{good}&client_id=x"), &[404]),
        (format!("?callback=cb&client_id=%ff_!!_{}", alice.key), &[400, 404]),
        ("?callback=%ff&client_id=x".to_owned(), &[400]),
    ] {
        is_refused(&poll_with(&server, &query), statuses);
        let mut connection = server.connect();
        let from_a_page =
            crate::support::request("GET", &format!("/message_updates{query}"), &["Origin: http://page.test"], "");
        is_refused(&connection.ask(from_a_page), statuses);
    }
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice")]}));
}

#[test]
fn p13_an_id_with_a_separator_works() {
    let server = Server::start();
    for id in ["a_!!_b", "_!!_", "a_!!__!!_"] {
        assert_eq!(server.subscriber(id, &[id]).news(), json!({id: [joins(1, id)]}));
    }
}

// --- at once, or parked

#[test]
fn p5_all_news_of_all_channels_come_at_once() {
    let server = Server::start();
    let channels = ["a", "b", "c", "d", "e"];
    let alice = server.subscriber("alice", &channels);
    for text in ["0", "1", "2"] {
        channels.iter().for_each(|c| server.publish(c, text));
    }
    let news = alice.news();
    for channel in channels {
        assert_eq!(news[channel], json!([joins(1, "alice"), says(2, "0"), says(3, "1"), says(4, "2")]));
    }
}

#[test]
fn p6_a_message_wakes_a_parked_poll() {
    let server = Server::start();
    let alice = server.listener("alice", &["room", "other"]);
    let mut poll = alice.park();
    poll.waits();
    server.publish("room", "now");
    assert_eq!(poll.news(), json!({"room": [says(2, "now")]}));
}

#[test]
fn p6_a_parked_poll_is_woken_well_under_100_ms() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let wake = |_| {
        let mut poll = alice.park();
        server.publish("room", "now");
        // Whatever else the machine does: as soon as whoever asks afterwards.
        server.turn();
        timed(|| poll.news()).1
    };
    let mut times: Vec<Duration> = (0..21).map(wake).collect();
    times.sort();
    // One or another may fall into a moment in which the machine does something else.
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
}

#[test]
fn p6_a_new_subscription_wakes_a_parked_poll() {
    let server = Server::start();
    let alice = server.listener("alice", &["other"]);
    let mut poll = alice.park();
    alice.subscribe("room");
    assert_eq!(poll.news(), json!({"room": [joins(1, "alice")]}));
}

#[test]
fn p6_others_coming_and_going_wake_a_parked_poll() {
    let server = Server::start();
    let (alice, bob) = (server.listener("alice", &["room"]), server.client("bob"));
    let mut poll = alice.park();
    bob.subscribe("room");
    assert_eq!(poll.news(), json!({"room": [joins(2, "bob")]}));
    let mut poll = alice.park();
    bob.unsubscribe("room");
    assert_eq!(poll.news(), json!({"room": [leaves(3, "bob")]}));
    let mut poll = alice.park();
    bob.kill();
    alice.subscribe("room");
    assert_eq!(poll.news()["room"][0], joins(4, "alice"), "a client in no channel dies in silence");
}

#[test]
fn p6_one_message_wakes_all_who_wait() {
    let server = Server::start();
    let names: Vec<String> = (0..100).map(|i| format!("client{i}")).collect();
    let clients: Vec<Client<'_>> = names.iter().map(|id| server.subscriber(id, &["room"])).collect();
    clients.iter().for_each(|c| assert!(c.news()["room"].is_array()));
    let mut polls: Vec<Connection> = clients.iter().map(Client::park).collect();
    server.publish("room", "all");
    for poll in &mut polls {
        assert_eq!(poll.news(), json!({"room": [says(101, "all")]}));
    }
}

#[test]
fn p7_without_news_the_answer_is_empty_in_time() {
    let server = Server::with(&["--poll-timeout", "1s"]);
    let alice = server.listener("alice", &["room"]);
    let poll = |_| {
        let (response, time) = timed(|| alice.poll());
        assert_eq!((response.status, response.text()), (200, "cb({});"));
        assert_eq!(response.header("content-type"), Some("application/x-javascript"));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        // It may come a tenth early, so that those who began together do not come back together.
        assert!(time >= Duration::from_millis(880), "{time:?}");
        time
    };
    // One or another may fall into a moment in which the machine stands still.
    let times: Vec<Duration> = (0..3).map(poll).collect();
    assert!(times.iter().any(|&time| time < Duration::from_millis(2000)), "{times:?}");
}

#[test]
fn p8_a_wake_that_leaves_nothing_parks_again() {
    let server = Server::start();
    let alice = server.listener("alice", &["x", "y"]);
    let mut poll = alice.park();
    alice.unsubscribe("x");
    poll.waits();
    server.publish("x", "not for alice");
    server.publish("y", "m");
    assert_eq!(poll.news(), json!({"y": [says(2, "m")]}));
}

#[test]
fn p9_a_client_without_subscriptions_parks() {
    let server = Server::start();
    let alice = server.client("alice");
    let mut poll = alice.park();
    poll.waits();
    alice.subscribe("room");
    assert_eq!(poll.news(), json!({"room": [joins(1, "alice")]}));
}

#[test]
fn p9_a_client_without_subscriptions_gets_the_empty_answer_in_time() {
    let server = Server::with(&["--poll-timeout", "500ms"]);
    let (news, time) = timed(|| server.client("alice").news());
    assert_eq!(news, nothing());
    assert!(time >= Duration::from_millis(400), "{time:?}");
}

#[test]
fn p10_kill_answers_a_parked_poll_empty() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut poll = alice.park();
    alice.kill();
    assert_eq!(poll.answer().text(), "cb({});");
    assert_eq!(alice.poll().status, 404);
}

#[test]
fn p10_a_poll_whose_last_channel_is_left_gets_an_empty_answer() {
    let server = Server::with(&["--poll-timeout", "1s"]);
    let alice = server.listener("alice", &["room"]);
    let mut poll = alice.park();
    alice.unsubscribe("room");
    server.publish("room", "too late");
    assert_eq!(poll.news(), nothing());
}

#[test]
fn p10_killing_one_of_several_keeps_the_poll_for_the_others() {
    for bob_is_last in [true, false] {
        let server = Server::start();
        let (alice, bob) = (server.listener("alice", &["a"]), server.listener("bob", &["b"]));
        let both = if bob_is_last { [&alice, &bob] } else { [&bob, &alice] };
        let mut poll = server.park(&both);
        bob.kill();
        poll.waits();
        server.publish("a", "m");
        assert_eq!(poll.news(), json!({"a": [says(2, "m")]}));
        assert_eq!(server.poll(&both).status, 404);
    }
}

#[test]
fn p10_the_death_of_one_of_several_is_news_in_a_shared_channel() {
    let server = Server::start();
    let (alice, bob) = (server.subscriber("alice", &["room"]), server.subscriber("bob", &["room"]));
    assert_eq!(server.poll(&[&alice, &bob]).news(), json!({"room": [joins(1, "alice"), joins(2, "bob")]}));
    let mut poll = server.park(&[&alice, &bob]);
    bob.kill();
    assert_eq!(poll.news(), json!({"room": [dies(3, "bob")]}));
}

#[test]
fn an_answer_is_bounded_and_the_rest_comes_with_the_next() {
    let server = Server::with(&["--max-answer", "1KiB"]);
    let alice = server.listener("alice", &["a", "b"]);
    let sent: Vec<String> = (0..8).map(|i| format!("{i}{}", "x".repeat(300))).collect();
    for text in &sent {
        server.publish("a", text);
        server.publish("b", text);
    }
    let (mut a, mut b, mut polls) = (Vec::new(), Vec::new(), 0);
    while a.len() + b.len() < 2 * sent.len() {
        let response = alice.poll();
        assert!(response.body.len() <= 1024, "{response:?}");
        a.extend(texts(&response.news(), "a"));
        b.extend(texts(&response.news(), "b"));
        polls += 1;
        assert!(polls <= 2 * sent.len(), "an answer without a message");
    }
    assert_eq!((&a, &b), (&sent, &sent));
    // A message that is larger than an answer may be still comes, alone.
    let large = "y".repeat(5000);
    server.publish_all("a", ["before", &large, "after"]);
    let mut got = Vec::new();
    while got.len() < 3 {
        got.extend(texts(&alice.news(), "a"));
    }
    assert_eq!(got, ["before", &large, "after"]);
}

// --- several clients in one poll

#[test]
fn p15_several_clients_get_the_union_of_their_channels() {
    let server = Server::start();
    let (alice, bob) = (server.subscriber("alice", &["x", "both"]), server.subscriber("bob", &["y", "both"]));
    let first = server.poll(&[&alice, &bob]).news();
    assert_eq!(first["both"], json!([joins(1, "alice"), joins(2, "bob")]));
    assert_eq!((&first["x"], &first["y"]), (&json!([joins(1, "alice")]), &json!([joins(1, "bob")])));
    ["x", "y", "both"].iter().for_each(|c| server.publish(c, "m"));
    let second = server.poll(&[&alice, &bob]).news();
    assert_eq!(second, json!({"x": [says(2, "m")], "y": [says(2, "m")], "both": [says(3, "m")]}));
    let mut poll = server.park(&[&bob, &alice]);
    server.publish("both", "n");
    assert_eq!(poll.news(), json!({"both": [says(4, "n")]}));
    server.publish("y", "o");
    assert_eq!(bob.news(), json!({"y": [says(3, "o")]}));
}

#[test]
fn p15_the_cursors_of_all_move() {
    let server = Server::start();
    let (alice, bob) = (server.subscriber("alice", &["room"]), server.subscriber("bob", &["room"]));
    server.poll(&[&alice, &bob]).news();
    server.publish("room", "one");
    assert_eq!(server.poll(&[&alice, &bob]).news(), json!({"room": [says(3, "one")]}));
    server.publish("room", "two");
    assert_eq!(alice.news(), json!({"room": [says(4, "two")]}));
    assert_eq!(bob.news(), json!({"room": [says(4, "two")]}));
}

#[test]
fn p16_a_shared_channel_with_different_cursors_loses_nothing() {
    for late_is_last in [true, false] {
        let server = Server::start();
        let early = server.listener("early", &["room"]);
        server.publish_all("room", ["1", "2"]);
        let late = server.subscriber("late", &["room"]);
        server.publish("room", "3");
        let both = if late_is_last { [&early, &late] } else { [&late, &early] };
        let expected = json!([says(2, "1"), says(3, "2"), joins(4, "late"), says(5, "3")]);
        assert_eq!(server.poll(&both).news(), json!({"room": expected}));
        server.publish("room", "4");
        assert_eq!(early.news(), json!({"room": [says(6, "4")]}));
        assert_eq!(late.news(), json!({"room": [says(6, "4")]}));
    }
}

#[test]
fn p20_the_same_id_twice_counts_once() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    assert_eq!(server.poll(&[&alice, &alice]).news(), json!({"room": [joins(1, "alice")]}));
    let mut poll = server.park(&[&alice, &alice]);
    server.publish("room", "m");
    assert_eq!(poll.news(), json!({"room": [says(2, "m")]}));
}

// --- several polls of one client

#[test]
fn p17_two_polls_of_one_client_one_message() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut polls = [alice.park(), alice.park()];
    server.publish("room", "one");
    let mut answered = None;
    until("one of the polls is answered", || {
        answered = polls.iter_mut().position(|poll| match poll.within(Duration::from_millis(5)) {
            Ok(response) => {
                assert_eq!(response.news(), json!({"room": [says(2, "one")]}));
                true
            }
            Err(_) => false,
        });
        answered.is_some()
    });
    let other = &mut polls[1 - answered.unwrap()];
    other.waits();
    server.publish("room", "two");
    assert_eq!(other.news(), json!({"room": [says(3, "two")]}));
}

#[test]
fn p17_many_polls_of_one_client_get_each_message_once() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut polls: Vec<Connection> = (0..8).map(|_| alice.park()).collect();
    let sent: Vec<String> = (0..8).map(|i| i.to_string()).collect();
    sent.iter().for_each(|text| server.publish("room", text));
    let mut got = Vec::new();
    until("all messages have come", || {
        for poll in &mut polls {
            got.extend(poll.within(Duration::from_millis(5)).into_iter().flat_map(|r| texts(&r.news(), "room")));
        }
        got.len() >= sent.len()
    });
    got.sort();
    assert_eq!(got, sent);
}

#[test]
fn p17_polls_of_different_clients_do_not_share() {
    let server = Server::start();
    let (alice, bob) = (server.subscriber("alice", &["room"]), server.subscriber("bob", &["room"]));
    server.poll(&[&alice, &bob]).news();
    let mut polls = [server.park(&[&alice]), server.park(&[&bob])];
    server.publish("room", "m");
    for poll in &mut polls {
        assert_eq!(poll.news(), json!({"room": [says(3, "m")]}));
    }
}

// --- peers that go away

/// Ends a parked poll in a way of its own, and waits until the server has seen it.
fn p18_takes_nothing(end: impl FnOnce(Socket)) {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    end(alice.park().socket);
    alice.is_left();
    server.publish_all("room", ["a", "b"]);
    assert_eq!(alice.news(), json!({"room": [says(2, "a"), says(3, "b")]}));
}

#[test]
fn p18_a_closed_connection_takes_nothing() {
    p18_takes_nothing(drop);
}

#[test]
fn p18_a_reset_connection_takes_nothing() {
    p18_takes_nothing(|socket| socket.set_linger(Some(Duration::ZERO)).unwrap());
}

#[test]
fn p18_a_closed_connection_with_more_requests_takes_nothing() {
    // The second is more than the server keeps behind a poll, so it has to notice the end without reading up to it; but
    // not more than the kernel takes on top, or the end would never arrive.
    for count in [1, 1700] {
        let more = get("/nowhere").repeat(count);
        p18_takes_nothing(|mut socket| socket.write_all(more.as_bytes()).unwrap());
    }
}

#[test]
fn p18_a_half_closed_connection_is_answered_or_takes_nothing() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut poll = alice.park();
    poll.socket.shutdown(Shutdown::Write).unwrap();
    server.turn();
    server.publish("room", "m");
    // An answer has left by then, if there is one.
    server.turn();
    let news = match poll.within(crate::support::QUIET) {
        Ok(response) => response.news(),
        Err(_) => alice.news(),
    };
    assert_eq!(news, json!({"room": [says(2, "m")]}));
}

// --- together, and in order

#[test]
fn p19_one_call_is_seen_together() {
    let server = Server::start();
    let alice = server.listener("alice", &["other"]);
    let mut poll = alice.park();
    let channels = ["a", "b", "c", "d", "e", "f"];
    let wish: Value =
        channels.iter().map(|c| (c.to_string(), json!(["alice"]))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(server.call("subscribe_many", json!([wish])), 200);
    let news = poll.news();
    assert_eq!(news.as_object().unwrap().keys().collect::<Vec<_>>(), channels);
}

#[test]
fn p19_a_stream_arrives_in_order_and_once() {
    let server = Server::with(&["--history", "100"]);
    let alice = server.listener("alice", &["room"]);
    let sent: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    let (mut got, mut numbers) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| sent.iter().for_each(|text| server.publish("room", text)));
        while got.len() < sent.len() {
            let news = alice.news();
            assert_ne!(news, nothing());
            got.extend(texts(&news, "room"));
            numbers.extend(ids(&news, "room"));
        }
    });
    assert_eq!(got, sent);
    assert_eq!(numbers, (2..=101).collect::<Vec<u64>>());
}

// --- the same message for pages that want it in different words

#[test]
fn each_page_of_a_crowd_gets_the_message_in_its_own_words() {
    let server = Server::start();
    let names = ["a", "b", "c", "d", "e", "f"];
    let pages: Vec<Client<'_>> = names.iter().map(|name| server.listener(name, &["room"])).collect();
    // The last one has seen all the others come.
    pages[..5].iter().for_each(|page| drop(page.news()));
    let path = |page: usize, more: &str| format!("/message_updates?client_id={}{more}", pages[page].credential());
    let park = |connection: &mut Connection, page: usize, more: &str, version: &str| {
        connection.send(get("/nowhere") + &get(&path(page, more)).replace("HTTP/1.1", version));
        assert_eq!(connection.answer().status, 404);
        server.turn();
    };
    let mut connections: Vec<Connection> = names.iter().map(|_| server.connect()).collect();
    let mut since = String::new();
    for text in ["first", "second"] {
        let (object, script) = (format!("&since={since}"), format!("&since={since}&callback=cb"));
        let words = ["&callback=cb", "&callback=cb", "&callback=cc", "&callback=cb", &object, &script];
        for (page, more) in words.into_iter().enumerate() {
            // The fourth one's connection ends with its answer.
            let version = if page == 3 { "HTTP/1.0" } else { "HTTP/1.1" };
            park(&mut connections[page], page, more, version);
        }
        server.publish("room", text);
        let answers: Vec<Response> = connections.iter_mut().map(Connection::answer).collect();
        for (answer, callback) in answers.iter().zip(["cb", "cb", "cc", "cb"]) {
            assert_eq!(texts(&answer.updates(callback), "room"), [text], "{answer:?}");
        }
        let (object, script) = (Shape::Object.read(&answers[4]), Shape::Script.read(&answers[5]));
        assert_eq!((said(&object), &script), (vec![text.to_owned()], &object));
        since = crate::support::since(&object);
        let closes: Vec<bool> = answers.iter().map(|answer| answer.header("connection") == Some("close")).collect();
        assert_eq!(closes, [false, false, false, true, false, false]);
        connections[3] = server.connect();
    }
}
