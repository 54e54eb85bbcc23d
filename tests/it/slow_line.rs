//! Readers on a slow line: in a network of their own, whose one device lets through less than is published. Nobody else is
//! held up, they cost the server nothing that grows, and what they miss they are told.
//!
//! Needs `unshare`, `nsenter`, `ip` and `tc`, and a kernel that lets one make namespaces.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::support::crowd::memory;
use crate::support::streams::WebSocket;
use crate::support::{BINARY, Client, Nest, PATIENCE, Server, heard};
use serde_json::Value;

/// Becomes the server, in a network that passes on 375 kB a second, with as little memory for what is on the way as a cheap
/// line has.
const SLOW: &str = "ip link set lo up mtu 1500
    for kind in rmem wmem; do echo 4096 65536 262144 >/proc/sys/net/ipv4/tcp_$kind || true; done
    tc qdisc add dev lo root tbf rate 3mbit burst 256kb latency 50ms
    exec \"$0\" \"$@\"";

const HISTORY: u64 = 50;

#[test]
fn readers_on_a_slow_line_harm_nobody_and_are_told_what_they_miss() {
    let nest = Nest::new("slow");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-ec", SLOW, BINARY]);
    let history = HISTORY.to_string();
    let listeners = ["--listen", &nest.listener(), "--listen", "127.0.0.1:0"];
    let limits = ["--presence", "off", "--history", &history, "--history-bytes", "16MiB"];
    // The web application and the page next door come by the Unix socket, which knows no network.
    let server = Server::run(command, &[&listeners[..], &limits].concat());
    let (slow, other) = (server.subscriber("slow", &["room"]), server.subscriber("other", &["room"]));
    let mut readers = [SlowReader::open(&slow), SlowReader::open(&slow)];
    let mut lively = WebSocket::open(&other, None);
    lively.object();

    let text = "x".repeat(30_000);
    let count = 1000;
    let mut before = 0;
    for id in 1..=count {
        server.publish("room", &text);
        let news = std::iter::repeat_with(|| heard(&lively.object())).find(|news| !news.is_empty());
        assert_eq!(news, Some(vec![("room".to_owned(), id, text.clone())]));
        if id == 200 {
            before = memory(server.pid()); // by now all have something to wait for
        }
    }
    let grown = memory(server.pid()).saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more after 24 MB more");

    for reader in &mut readers {
        let (ids, gaps) = reader.read_up_to(count);
        assert!(gaps.len() > 1, "it is slow: {} messages, {} gaps", ids.len(), gaps.len());
        // Whatever is missing was told right before.
        let mut last = 0;
        let mut told = gaps.into_iter();
        for id in ids {
            assert!(id > last, "{id} behind {last}");
            if id != last + 1 {
                assert_eq!(told.next(), Some(id), "behind {last}");
            }
            last = id;
        }
        assert_eq!(told.next(), None);
    }
}

/// A page in the server's network, which takes what it gets as soon as it comes.
struct SlowReader {
    process: Child,
    events: Receiver<Value>,
}

impl SlowReader {
    fn open(client: &Client<'_>) -> SlowReader {
        let server = client.server;
        let port = server.addresses()[1].as_socket().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/events?client_id={}_!!_{}", client.id, client.key);
        let mut process = Command::new("nsenter")
            .args(["--target", &server.pid().to_string(), "--user", "--preserve-credentials", "--net"])
            .args(["curl", "--silent", "--no-buffer", &url])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the stream begins").unwrap();
        assert!(first.starts_with("retry: "), "{first}");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Some(data) = line.strip_prefix("data: ") else { continue };
                if sender.send(serde_json::from_str(data).unwrap()).is_err() {
                    return;
                }
            }
        });
        SlowReader { process, events }
    }

    /// The ids of messages, and what gaps named as the next.
    fn read_up_to(&mut self, last: u64) -> (Vec<u64>, Vec<u64>) {
        let (mut ids, mut gaps) = (Vec::new(), Vec::new());
        while ids.last() != Some(&last) {
            let data = self.events.recv_timeout(PATIENCE).expect("it goes on");
            match (data["id"].as_u64(), data["next_id"].as_u64()) {
                (Some(id), None) => ids.push(id),
                (None, Some(next)) => gaps.push(next),
                _ => panic!("{data}"),
            }
        }
        (ids, gaps)
    }
}

impl Drop for SlowReader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
