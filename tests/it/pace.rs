//! A page in a hot loop does not take the server for itself (`--max-poll-rate`), and a page that has much to hear is no such
//! page.

#![allow(clippy::disallowed_methods, reason = "a page that is told to come later comes later")]

use crate::support::{Client, Connection, Server, Shape, get, poll_path, said, since, texts};
use serde_json::Value;
use std::time::Duration;

/// With so few a second, whoever is counted at all is soon over it: two seconds' worth are two polls.
const ONE: [&str; 2] = ["--max-poll-rate", "1"];

/// Polls in a row, all from the same position.
fn again(connection: &mut Connection, client: &Client<'_>, position: &str) -> Value {
    Shape::Object.read(&connection.ask(get(&Shape::Object.path(&[client], position))))
}

/// More messages than a page is allowed polls for nothing, each heard before the next is said.
const MANY: usize = 30;

#[test]
fn a_page_that_is_told_much_in_a_short_time_is_told_it_at_once() {
    let server = Server::with(&ONE);
    let alice = server.listener("alice", &["room"]);
    let bob = server.subscriber("bob", &["hall"]);
    let mut position = since(&bob.resume(""));
    for at in 0..MANY {
        let text = at.to_string();
        // Waiting for it, and finding it there.
        let mut waiting = alice.park();
        server.publish("room", &text);
        assert_eq!(texts(&waiting.news(), "room"), [text.as_str()]);
        server.publish("room", &text);
        assert_eq!(texts(&alice.news(), "room"), [text.as_str()]);
        let mut waiting = server.park_at(&Shape::Object.path(&[&bob], &position));
        server.publish("hall", &text);
        let first = Shape::Object.read(&waiting.answer());
        server.publish("hall", &text);
        let second = bob.resume(&since(&first));
        assert_eq!((said(&first), said(&second)), (vec![text.clone()], vec![text]));
        assert_eq!((&first["retry_ms"], &second["retry_ms"]), (&Value::from(0), &Value::from(0)));
        position = since(&second);
    }
}

#[test]
fn several_pages_of_one_client_do_not_count_as_a_loop() {
    let server = Server::with(&ONE);
    let alice = server.subscriber("alice", &["room"]);
    let begin = since(&alice.resume(""));
    let mut positions = [(); 3].map(|()| begin.clone());
    for at in 0..MANY {
        let mut pages = positions.each_ref().map(|position| server.park_at(&Shape::Object.path(&[&alice], position)));
        server.publish("room", &at.to_string());
        for (page, position) in pages.iter_mut().zip(&mut positions) {
            let answer = Shape::Object.read(&page.answer());
            assert_eq!((said(&answer), &answer["retry_ms"]), (vec![at.to_string()], &Value::from(0)));
            *position = since(&answer);
        }
    }
}

/// Asks for the same until the page is sent away; how often it was served before.
fn until_sent_away(connection: &mut Connection, client: &Client<'_>, position: &str) -> usize {
    let mut served = 0;
    loop {
        let answer = again(connection, client, position);
        if answer["retry_ms"] != 0 {
            assert_eq!((since(&answer), said(&answer)), (position.to_owned(), vec![]), "it stays where it was");
            return served;
        }
        assert_eq!(said(&answer), ["hello"]);
        served += 1;
        assert!(served < 100, "it is never sent away");
    }
}

#[test]
fn two_seconds_worth_of_polls_for_nothing_come_in_a_row() {
    let server = Server::with(&["--max-poll-rate", "5"]);
    let alice = server.subscriber("alice", &["room"]);
    let position = since(&alice.resume(""));
    server.publish("room", "hello");
    let served = until_sent_away(&mut server.connect(), &alice, &position);
    assert!(served >= 9, "{served}: two seconds' worth come in a row");
}

#[test]
fn a_page_that_asks_for_the_same_again_and_again_is_sent_away_and_then_waits() {
    let server = Server::with(&ONE);
    let alice = server.subscriber("alice", &["room"]);
    let position = since(&alice.resume(""));
    server.publish("room", "hello");
    let mut connection = server.connect();
    let served = until_sent_away(&mut connection, &alice, &position);
    assert!(served >= 2, "{served}: two seconds' worth come in a row");
    // It does not listen: soon nothing is said to it.
    let silent = (0..100).any(|_| {
        connection.send(get(&Shape::Object.path(&[&alice], &position)));
        // What is answered at once has been by then.
        server.turn();
        connection.within(crate::support::QUIET).is_err()
    });
    assert!(silent, "it is never put off");
    let mut other = server.connect();
    other.send(get(&Shape::Object.path(&[&alice], &position)));
    other.waits();
    // Others are served meanwhile.
    let bob = server.listener("bob", &["hall"]);
    server.publish("hall", "others");
    assert_eq!(texts(&bob.news(), "hall"), ["others"]);
    // In the end it is told what there is.
    let answer = Shape::Object.read(&connection.answer());
    assert!(said(&answer) == ["hello"] || answer["retry_ms"] != 0, "{answer}");
    // If it does as it is told it gets through.
    let obeyed = (0..20).any(|_| {
        let answer = alice.resume(&position);
        std::thread::sleep(Duration::from_millis(answer["retry_ms"].as_u64().expect("a time")));
        said(&answer) == ["hello"]
    });
    assert!(obeyed);
}

#[test]
fn a_page_that_breaks_off_again_and_again_waits_and_loses_nothing() {
    let server = Server::with(&ONE);
    let alice = server.listener("alice", &["room"]);
    for _ in 0..10 {
        drop(alice.park());
    }
    alice.is_left();
    server.publish("room", "hello");
    let mut page = server.connect();
    // What comes behind it waits too.
    page.send(get(&poll_path(&[&alice])) + &get("/nowhere"));
    page.waits();
    // So does whoever breaks off: it has taken nothing.
    let mut gone = server.connect();
    gone.send(get(&poll_path(&[&alice])));
    gone.waits();
    drop(gone);
    assert_eq!(texts(&page.news(), "room"), ["hello"]);
    assert_eq!(page.answer().status, 404);
}
