//! A server that runs out of file descriptors: it serves whom it has, says so once, and takes others again later.

mod support;

use serde_json::json;
use std::process::Command;
use std::time::Duration;
use support::{BINARY, Connection, Server, get, says, until};

const LIMIT: usize = 40;

fn poor() -> Server {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\""), BINARY]);
    Server::run(shell, &[])
}

/// Asks on the connection. No answer within a while: the server has not accepted it, or has closed it.
fn is_served(connection: &mut Connection) -> bool {
    connection.offer(get("/nowhere"));
    // Long enough for any machine to make a turn; only the connections that are not served wait for it.
    connection.within(Duration::from_millis(500)).is_ok_and(|r| r.status == 404)
}

/// Opens connections until one is not served.
fn fill(server: &Server) -> (Vec<Connection>, Connection) {
    let mut served = Vec::new();
    loop {
        let mut next = server.connect();
        if !is_served(&mut next) {
            return (served, next);
        }
        served.push(next);
        assert!(served.len() < LIMIT, "more connections than descriptors");
    }
}

#[test]
fn at_the_limit_those_it_has_are_served_and_others_later() {
    let server = poor();
    let alice = server.listener("alice", &["room"]);
    let mut poll = alice.park();
    let (mut served, outside) = fill(&server);
    assert!(served.len() >= LIMIT / 2, "only {} connections", served.len());
    let more: Vec<Connection> = (0..20).map(|_| server.connect()).collect();
    for connection in &mut served {
        assert!(is_served(connection));
    }
    // A message through a connection that it has wakes a poll that it has.
    let call = json!({"method": "new_message", "params": ["app", "hello", "room", false], "id": 1});
    assert_eq!(served[0].ask(support::post(call.to_string())).json()["result"], 1);
    assert_eq!(poll.news(), json!({"room": [says(2, "hello")]}));
    drop((more, outside));
    served.truncate(5);
    until("others are served again", || is_served(&mut server.connect()));
    for connection in &mut served {
        assert!(is_served(connection));
    }
}

#[test]
fn a_connection_that_waited_outside_is_served_when_another_leaves() {
    let server = poor();
    let (mut served, mut outside) = fill(&server);
    served.clear();
    // It has asked already; if it was turned away instead, a new one gets in.
    let patience = Duration::from_secs(2);
    assert!(outside.within(patience).is_ok() || is_served(&mut server.connect()));
}

#[test]
fn the_limit_is_told_once_and_not_for_each_connection() {
    let server = poor();
    let (served, _outside) = fill(&server);
    let more: Vec<Connection> = (0..20).map(|_| server.connect()).collect();
    assert!(!is_served(&mut server.connect()));
    let told = |log: &str| log.lines().filter(|l| l.contains("WARN") || l.contains("ERROR")).count();
    until("the log tells it", || told(&server.log()) > 0);
    assert_eq!(told(&server.log()), 1, "{}", server.log());
    drop((served, more));
}
