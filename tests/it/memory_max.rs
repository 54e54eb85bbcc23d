//! What becomes of a server that has used up its memory (`--memory-max`): history goes, then nothing new comes in, and those
//! who are there are served on. It is never the kernel that ends it.

use crate::support::{Connection, Missing, Server, get, poll_path, post, said, since, texts};
use serde_json::json;
use socket2::{Domain, Socket, Type};

const MIB: usize = 1 << 20;

/// Much more than a server without clients needs, and much less than any other limit allows.
const MEMORY: usize = 28 * MIB;

/// What such a process has in the kernel's eyes at most: the allocator has gaps, and the program's code counts too.
const RESIDENT_MAX: u64 = 44 << 20;

/// Of clients that are to fill it.
const NAME_BYTES: usize = 60_000;

fn server() -> Server {
    let large = ["--history-total", "1GiB", "--history-bytes", "1GiB", "--max-answer", "16MiB"];
    // To fill it may take a while.
    let long = ["--poll-timeout", "1h", "--min-alive", "1d", "--max-idle", "1d"];
    Server::with(&[&["--memory-max", &MEMORY.to_string()][..], &large, &long].concat())
}

/// Makes clients with long names until there is no memory for another; returns their names.
fn fill(server: &Server) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < MEMORY / NAME_BYTES {
        let name = format!("{}{}", names.len(), "x".repeat(NAME_BYTES));
        let answer = server.rpc(&json!({"method": "create_client", "params": [name], "id": 1}));
        if !answer["error"].is_null() {
            assert_eq!(answer["error"]["message"], told(), "{answer}");
            return names;
        }
        names.push(name);
    }
    panic!("so many do not fit");
}

fn told() -> String {
    format!("Server Exception :: {MEMORY} bytes of memory are used already; --memory-max is the limit")
}

#[test]
fn history_goes_first_and_that_is_told() {
    let server = server();
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "small");
    let begin = since(&alice.resume(""));
    let large = "x".repeat(MIB);
    for at in 0..15 {
        server.publish("room", &format!("{at}{large}"));
        server.publish("hall", &format!("{at}{large}"));
    }
    assert!(crate::support::crowd::memory(server.pid()) < RESIDENT_MAX);
    let answer = alice.resume(&begin);
    assert_eq!(answer["gaps"][0]["reason"], "memory", "{}", answer["gaps"]);
    assert!(said(&answer)[0].ends_with(&large), "what is still there comes");
    let history = server.call("history", json!(["room", null, 1000]));
    let kept = history["messages"].as_array().expect("a list").len();
    assert!((1..15).contains(&kept), "{kept} are kept");
}

#[test]
fn at_the_limit_nothing_new_comes_in_and_those_there_go_on() {
    let server = server();
    let alice = server.listener("alice", &["room"]);
    let mut poll = alice.park();
    let names = fill(&server);
    for (method, params) in [
        ("create_client", json!(["bob"])),
        ("subscribe", json!(["alice", "other"])),
        ("new_message", json!(["app", "hello", "room", false])),
        ("publish", json!(["room", "hello", {}])),
        ("broadcast", json!([["room"], "hello", {}])),
    ] {
        assert_eq!(server.error(method, params)["message"], told(), "{method}");
    }
    poll.waits();
    assert_eq!(server.call("create_client", json!(["alice"])), alice.key, "she is there already");
    assert_eq!(alice.channels(), ["room"]);
    assert!(server.log().contains("(--memory-max): new clients and messages are refused"), "{}", server.log());
    assert!(crate::support::crowd::memory(server.pid()) < RESIDENT_MAX);
    for name in &names[..20] {
        server.call("kill_client", json!([name]));
    }
    server.publish("room", "again");
    assert_eq!(texts(&poll.news(), "room"), ["again"]);
    server.client("bob");
}

#[test]
fn at_the_limit_nobody_has_memory_for_what_comes_slowly_or_is_not_read() {
    let server = server();
    let alice = server.listener("alice", &["room", "hall"]);
    // Together more than the buffers of both sockets can swallow. The newest of each channel stays.
    let large = "x".repeat(3 * MIB);
    server.publish("room", &large);
    server.publish("hall", &large);
    let names = fill(&server);
    // The body does not come to its end: what there is of it is not kept.
    let mut caller = server.connect();
    let call = post(json!({"method": "publish", "params": ["room", large, {}]}).to_string());
    caller.offer(&call[..call.len() / 2]);
    let refused = caller.answer();
    assert_eq!(
        (refused.status, refused.text()),
        (503, "there is no memory for a large request now; --memory-max is the limit\r\n")
    );
    // Small ones do.
    let mut caller = server.connect();
    let call = post(r#"{"method":"get_client_channels","params":["alice"],"id":1}"#);
    caller.send(&call[..call.len() - 1]);
    server.turn();
    caller.send(&call[call.len() - 1..]);
    assert_eq!(caller.answer().status, 200);
    // A page that does not take its answer at once.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("every socket can");
    let mut page = Connection::over(socket, server.address(), None);
    page.send(get(&poll_path(&[&alice])));
    server.turn();
    let got = page.within(crate::support::PATIENCE).map(|answer| (answer.status, answer.body.len()));
    assert_eq!(got, Err(Missing::Closed));
    for name in names {
        server.call("kill_client", json!([name]));
    }
    let news = alice.news();
    assert!(
        ["room", "hall"].iter().all(|channel| texts(&news, channel) == [large.as_str()]),
        "nothing is lost by that"
    );
}
