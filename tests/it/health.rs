//! `/health` and `/ready`: that the loop turns, and that a message comes out; and that nobody else sees how that is tried.

use crate::support::metrics::Scraper;
use crate::support::{Connection, Response, Server, Signal, get, poll_path, request, says, until};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, Ipv4Addr};

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn said(response: &Response) -> (u16, &str) {
    (response.status, response.text())
}

#[test]
fn a_server_is_alive_and_ready_for_everybody_at_every_listener() {
    let server = Server::with(&["--rpc-listen", "127.0.0.1:0"]);
    for address in [server.address(), &server.for_calls[0]] {
        for from in [None, Some(STRANGER)] {
            // One after the other, on one connection.
            let mut connection = Connection::open(address, from);
            for (path, text) in [("/health", "ok\n"), ("/ready", "ready\n"), ("/health", "ok\n"), ("/ready", "ready\n")]
            {
                let answer = connection.ask(request("GET", path, &["X-Forwarded-For: 203.0.113.7"], ""));
                assert_eq!(said(&answer), (200, text));
                assert_eq!(answer.header("cache-control"), Some("no-store"));
            }
        }
    }
}

#[test]
fn it_is_read_by_get_and_head() {
    let server = Server::start();
    for (path, length) in [("/health", 3), ("/ready", 6)] {
        let head = server.ask(request("HEAD", path, &[], ""));
        assert_eq!((head.status, head.body.len(), head.content_length()), (200, 0, length));
        let put = server.ask(request("PUT", path, &[], ""));
        assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[test]
fn nothing_is_seen_or_left_of_the_message_that_is_tried() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut poll = alice.park();
    let mut scraper = Scraper::new(&server);
    let mut connection = server.connect();
    // The first of each takes memory that stays.
    connection.ask(get("/ready"));
    scraper.read();
    let used = scraper.get("memory_used_bytes");
    let moved = scraper.moved(|| {
        for _ in 0..1000 {
            assert_eq!(said(&connection.ask(get("/ready"))), (200, "ready\n"));
        }
    });
    assert_eq!(moved, ["readiness_checks_total{result=ready} +1000"]);
    let grown = scraper.get("memory_used_bytes") - used;
    assert!(grown < 20_000.0, "{grown} bytes are left of a thousand");
    assert_eq!(server.call("list_clients", json!([]))["clients"], json!(["alice"]));
    let mut channels = server.call("list_channels", json!([]))["channels"].as_array().expect("a list").clone();
    channels.sort_by_key(ToString::to_string);
    assert_eq!(channels, ["admin", "room"]);
    poll.waits();
    server.publish("room", "hello");
    assert_eq!(poll.news(), json!({"room": [says(2, "hello")]}));
}

/// Some in one packet, some that go before they are answered, and a publisher beside them.
#[test]
fn many_ask_at_once_and_some_do_not_wait_for_the_answer() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    for round in 0..20 {
        let mut poll = alice.park();
        let mut askers: Vec<Connection> = (0..20).map(|_| server.connect()).collect();
        for asker in &mut askers {
            asker.send(get("/ready") + &get("/health") + &get("/ready"));
        }
        drop(askers.split_off(10));
        server.publish("room", "hello");
        assert_eq!(poll.news(), json!({"room": [says(round + 2, "hello")]}));
        for asker in &mut askers {
            let answers = [(); 3].map(|()| asker.answer());
            assert_eq!(answers.each_ref().map(said), [(200, "ready\n"), (200, "ok\n"), (200, "ready\n")]);
        }
    }
    // In a debug build a clean stop walks everything.
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_server_whose_memory_is_full_is_alive_and_not_ready() {
    let server = Server::with(&["--memory-max", "16MiB", "--min-alive", "1h"]);
    let mut names = Vec::new();
    loop {
        let name = format!("{}{}", names.len(), "x".repeat(60_000));
        let made = server.rpc(&json!({"method": "create_client", "params": [name], "id": 1}));
        if !made["error"].is_null() {
            break;
        }
        names.push(name);
        assert!(names.len() < 300, "so many do not fit");
    }
    let refused = server.get("/ready");
    assert_eq!(said(&refused), (503, "not ready: memory is full, nothing can be published; see --memory-max\n"));
    assert_eq!(said(&server.get("/health")), (200, "ok\n"));
    let checks = Scraper::new(&server).read();
    assert_eq!(checks["refusals_total{limit=memory-max}"], 1.0, "the question is not counted among what was refused");
    assert_eq!(checks["readiness_checks_total{result=memory}"], 1.0);
    for name in &names[..20] {
        server.call("kill_client", json!([name]));
    }
    until("it is ready again", || said(&server.get("/ready")) == (200, "ready\n"));
}

#[test]
fn a_server_that_stops_is_alive_and_not_ready() {
    let mut server = Server::with(&["--history-bytes", "16MiB", "--max-answer", "16MiB"]);
    let alice = server.listener("alice", &["room"]);
    // A page that does not take its answer holds the server up for a while.
    let text = "x".repeat(3 << 20);
    server.publish_all("room", [text.as_str(); 2]);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("every socket can");
    let mut deaf = Connection::over(socket, server.address(), None);
    deaf.send(get(&poll_path(&[&alice])));
    let mut askers = [server.connect(), server.connect()];
    for asker in &mut askers {
        assert_eq!(said(&asker.ask(get("/ready"))), (200, "ready\n"));
    }
    server.signal(Signal::TERM);
    until("it stops", || server.log().contains("stopping"));
    let answers = askers.each_mut().map(|asker| asker.ask(get("/ready")));
    for answer in &answers[..1] {
        assert_eq!(said(answer), (503, "not ready: the server stops\n"));
        assert!(answer.is_last());
    }
    assert_eq!(server.exit().code(), Some(0));
}
