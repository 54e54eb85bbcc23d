//! How the server ends, and what it leaves behind; and its Unix socket, which must not be left behind.

use crate::support::redis::free_port;
use crate::support::streams::{Events, Frame, WebSocket};
use crate::support::{Connection, Nest, Server, Shape, Signal, get, joins, post, texts, timed, until};
use serde_json::{Value, json};
use std::time::Duration;

/// When a page that is sent away comes back.
const RETRY_MS: std::ops::RangeInclusive<u64> = 500..=5000;

/// Whoever waits for this waits longer than a test.
const LONG: [&str; 2] = ["--drain", "10m"];

#[test]
fn both_signals_answer_parked_polls_empty_and_exit_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::with(&LONG);
        let mut polls = [
            server.listener("alice", &["room"]).park(),
            server.client("bob").park(),
            server.park(&[&server.listener("carol", &["x"]), &server.listener("dave", &["y"])]),
        ];
        server.signal(signal);
        assert_eq!(server.exit().code(), Some(0), "{signal:?}");
        for poll in &mut polls {
            let response = poll.answer();
            assert_eq!((response.status, response.text()), (200, "cb({});"));
            poll.closes();
        }
    }
}

#[test]
fn what_is_in_flight_does_not_hold_it_up() {
    let server = Server::with(&LONG);
    let mut silent = server.connect();
    let mut idle = server.connect();
    assert_eq!(idle.ask(get("/nowhere")).status, 404);
    let (mut in_head, mut in_body) = (server.connect(), server.connect());
    in_head.send("POST / HTTP/1.1\r\nHost:");
    in_body.send("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{");
    server.turn();
    assert_eq!(server.stop().code(), Some(0));
    silent.closes();
    idle.closes();
}

#[test]
fn requests_behind_a_parked_poll_do_not_hold_it_up() {
    let server = Server::start();
    let mut poll = server.listener("alice", &["room"]).park();
    poll.send(get("/nowhere"));
    server.turn();
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(poll.news(), json!({}));
}

#[test]
fn a_poll_that_had_news_gets_them() {
    let server = Server::start();
    let mut poll = server.listener("alice", &["room"]).park();
    server.publish("room", "last words");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(texts(&poll.news(), "room"), ["last words"]);
}

#[test]
fn a_crowd_is_answered_bit_by_bit_and_a_second_signal_ends_it_at_once() {
    const CROWD: usize = 3000;
    let mut server = Server::with(&[&LONG[..], &["--max-polls", "1000"]].concat());
    let clients: Vec<_> = (0..3).map(|id| server.client(&id.to_string())).collect();
    let paths = clients.iter().map(|client| Shape::Object.path(&[client], "")).collect::<Vec<_>>();
    let mut polls: Vec<Connection> = (0..CROWD).map(|_| server.connect()).collect();
    for (at, poll) in polls.iter_mut().enumerate() {
        poll.send(get(&paths[at % paths.len()]));
    }
    let all = format!("shaveet_parked{{transport=\"resume\"}} {CROWD}\n");
    until("all are parked", || server.get("/metrics").text().contains(&all));
    drop(clients);
    server.signal(Signal::TERM);
    let answer = polls[0].answer().json();
    assert!(RETRY_MS.contains(&answer["retry_ms"].as_u64().unwrap()), "{answer}");
    // The others are told one in a millisecond.
    server.signal(Signal::TERM);
    assert_eq!(server.exit().code(), Some(0));
    assert!(server.log().contains("stopping at once"), "{}", server.log());
    polls.last_mut().unwrap().closes();
}

#[test]
fn streams_are_told_why_they_end() {
    let server = Server::with(&["--presence", "off"]);
    let (alice, bob) = (server.subscriber("alice", &["room"]), server.subscriber("bob", &["room"]));
    let (mut events, mut socket) = (Events::open(&alice, None), WebSocket::open(&bob, None));
    server.publish("room", "last words");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(events.message()["data"], "last words");
    assert_eq!(events.next(), None);
    assert!(events.retry_ms.is_some_and(|retry| RETRY_MS.contains(&retry)));
    assert_eq!(socket.closes(), Some(1001));
}

#[test]
fn a_new_server_binds_the_same_port_at_once() {
    // No connection begins at this address, and takes the port.
    let server = Server::with(&["--listen", "127.0.0.6:0"]);
    let port = format!("127.0.0.6:{}", server.port());
    let mut kept = server.connect();
    assert_eq!(kept.ask(get("/nowhere")).status, 404);
    let _poll = server.listener("alice", &["room"]).park();
    assert_eq!(server.stop().code(), Some(0));
    let again = Server::with(&["--listen", &port]);
    again.turn();
}

#[test]
fn after_a_kill_it_listens_again_within_a_second_and_no_page_is_left_hanging() {
    let address = format!("127.0.0.1:{}", free_port());
    let starts = (0..5).map(|_| {
        // Of the one before there are connections that have not come to their end: they are in nobody's way.
        let (server, start) = timed(|| Server::with(&["--listen", &address]));
        let alice = server.listener("alice", &["room"]);
        let mut polls: Vec<Connection> = (0..10).map(|_| alice.park()).collect();
        let mut idle = server.connect();
        assert_eq!(idle.ask(get("/nowhere")).status, 404);
        let (mut events, mut socket) = (Events::open(&alice, None), WebSocket::open(&alice, None));
        assert!(matches!(socket.next(), Frame::Text(_)));
        server.kill();
        polls.iter_mut().for_each(Connection::closes);
        idle.closes();
        events.connection.ends();
        socket.connection.ends();
        start
    });
    // One start of several: a machine may have other things to do.
    let fastest = starts.min().expect("five");
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[test]
fn a_unix_socket_serves_and_is_removed_at_the_end() {
    let nest = Nest::new("serves");
    let server = Server::with(&["--listen", &nest.listener()]);
    let alice = server.subscriber("alice", &["room"]);
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice")]}));
    let mut poll = alice.park();
    server.publish("room", "m");
    assert_eq!(texts(&poll.news(), "room"), ["m"]);
    let mut poll = alice.park();
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(poll.news(), json!({}));
    assert!(!nest.socket.exists());
    Server::with(&["--listen", &nest.listener()]).turn();
}

#[test]
fn the_socket_of_a_server_that_was_killed_is_no_obstacle() {
    let nest = Nest::new("killed");
    drop(Server::with(&["--listen", &nest.listener()]));
    assert!(nest.socket.exists());
    Server::with(&["--listen", &nest.listener()]).turn();
}

#[test]
fn it_listens_at_several_places_and_they_share_what_it_knows() {
    let nest = Nest::new("several");
    let server = Server::with(&["--listen", "127.0.0.1:0", "--listen", &nest.listener()]);
    let mut calls = Connection::open(&socket2::SockAddr::unix(&nest.socket).unwrap(), None);
    let alice = server.listener("alice", &["room"]);
    let mut poll = alice.park();
    let call: Value = json!({"method": "new_message", "params": ["app", "m", "room", false], "id": 1});
    assert_eq!(calls.ask(post(call.to_string())).json()["result"], 1);
    assert_eq!(texts(&poll.news(), "room"), ["m"]);
}
