//! A server that runs out of file descriptors: it serves whom it has, says so once, and takes others again later.

use crate::support::{BINARY, Connection, Missing, PATIENCE, Server, get, says, until};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

const LIMIT: usize = 40;

fn poor() -> Server {
    limited(LIMIT)
}

fn limited(descriptors: usize) -> Server {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""), BINARY]);
    Server::run(shell, &[])
}

/// Asks on the connection. No answer within a while: the server has not accepted it, or has closed it.
fn is_served(connection: &mut Connection) -> bool {
    connection.offer(get("/nowhere"));
    connection.within(Duration::from_millis(500)).is_ok_and(|r| r.status == 404)
}

/// Opens connections until one is not served, and the server says so.
fn fill(server: &Server) -> (Vec<Connection>, Connection) {
    let mut served = Vec::new();
    loop {
        let mut next = server.connect();
        next.offer(get("/nowhere"));
        let mut answer = Err(Missing::Silent);
        until("it is served, or the limit is told", || {
            answer = next.within(Duration::from_millis(20));
            answer.is_ok() || server.log().contains("no more connections for now")
        });
        match answer {
            Ok(answer) => assert_eq!(answer.status, 404),
            Err(_) => return (served, next),
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
        assert_eq!(connection.ask(get("/nowhere")).status, 404);
    }
    // A message through a connection that it has wakes a poll that it has.
    let call = json!({"method": "new_message", "params": ["app", "hello", "room", false], "id": 1});
    assert_eq!(served[0].ask(crate::support::post(call.to_string())).json()["result"], 1);
    assert_eq!(poll.news(), json!({"room": [says(2, "hello")]}));
    drop((more, outside));
    served.truncate(5);
    until("others are served again", || is_served(&mut server.connect()));
    for connection in &mut served {
        assert_eq!(connection.ask(get("/nowhere")).status, 404);
    }
}

#[test]
fn a_connection_that_waited_outside_is_served_when_another_leaves() {
    let server = poor();
    let (mut served, mut outside) = fill(&server);
    served.clear();
    // It has asked already; if it was turned away instead, a new one gets in.
    assert!(outside.within(PATIENCE).is_ok() || server.connect().ask(get("/nowhere")).status == 404);
}

#[test]
fn the_limit_is_told_once_and_not_for_each_connection() {
    let server = poor();
    let (served, _outside) = fill(&server);
    let more: Vec<Connection> = (0..20).map(|_| server.connect()).collect();
    assert!(!is_served(&mut server.connect()));
    let told = |log: &str| log.lines().filter(|l| l.contains("WARN") || l.contains("ERROR")).count();
    assert_eq!(told(&server.log()), 1, "{}", server.log());
    drop((served, more));
}

/// They come in waves, each of more than there are descriptors, and each goes without a word when the next one is there.
#[test]
fn twenty_thousand_that_come_to_a_thousand_descriptors_keep_nobody_inside_waiting() {
    const WAVES: usize = 10;
    const WAVE: usize = 2000;
    crate::support::crowd::raise_descriptor_limit();
    let server = limited(1024);
    let alice = server.listener("alice", &["room"]);
    let mut page = server.connect();
    let mut caller = server.connect();
    assert_eq!((caller.ask(get("/nowhere")).status, page.ask(get("/nowhere")).status), (404, 404));
    let call = json!({"method": "new_message", "params": ["app", "hello", "room", false], "id": 1}).to_string();
    let mut crowd = Vec::new();
    for wave in 0..WAVES {
        crowd.extend((0..WAVE).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("every socket can");
            // It is under way: whether it comes in is not for us to wait for.
            let _ = socket.connect(server.address());
            let _ = (&socket).write(get("/nowhere").as_bytes());
            socket
        }));
        page.send(get(&crate::support::poll_path(&[&alice])));
        assert_eq!(caller.ask(crate::support::post(&call)).json()["result"], 1);
        assert_eq!(page.news(), json!({"room": [says(wave as u64 + 2, "hello")]}));
        crowd.drain(..crowd.len().saturating_sub(WAVE));
    }
    assert!(server.log().contains("the limit is 1024 descriptors"), "{}", server.log());
    drop(crowd);
    until("others are served again", || is_served(&mut server.connect()));
    until("all have gone", || crate::support::crowd::descriptors(server.pid()) < LIMIT);
}
