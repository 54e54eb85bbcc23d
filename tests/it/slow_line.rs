//! Readers on a slow line: in a network of their own, whose one device lets through less than is published. Nobody else is
//! held up, they cost the server nothing that grows, and what they miss they are told.
//!
//! Needs `unshare`, `nsenter`, `ip`, `tc`, `curl` and `bash`, and a kernel that lets one make namespaces.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use crate::support::crowd::memory;
use crate::support::streams::{HANDSHAKE, WebSocket, stream_path};
use crate::support::{BINARY, Client, Nest, PATIENCE, Server, heard, received, request, until};
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
    let mut readers = [SlowReader::of_events(&slow), SlowReader::of_socket(&slow)];
    let mut lively = WebSocket::open(&other, None);
    lively.object();

    let text = "x".repeat(30_000);
    let (first, count) = (1000, 1000 + 2 * HISTORY);
    let mut before = 0;
    for id in 1..=count {
        if id == first + 1 {
            // Much was published while an answer was on its way. Now more is while another one is, which has told of a gap.
            until("each is told what it misses", || readers.iter().all(SlowReader::knows_of_a_gap));
        }
        server.publish("room", &text);
        assert_eq!(heard(&lively.news()), [("room".to_owned(), id, text.clone())]);
        if id == 200 {
            before = memory(server.pid()); // by now all have something to wait for
        }
    }
    let grown = memory(server.pid()).saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more after 27 MB more");

    for reader in &mut readers {
        let (ids, gaps) = reader.read_up_to(count);
        println!("{} messages, {} gaps", ids.len(), gaps.len());
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
    /// How many have come.
    gaps: Arc<AtomicUsize>,
}

/// Says its second argument at the port that is its first, and shows the answer.
const TALK: &str = "exec 3<>/dev/tcp/127.0.0.1/$0; printf %s \"$1\" >&3; exec cat <&3";

impl SlowReader {
    fn of_events(client: &Client<'_>) -> SlowReader {
        let url = format!("http://127.0.0.1:{}{}", port(client.server), stream_path("events", &[client], None));
        let mut process = in_network_of(client.server, &["curl", "--silent", "--no-buffer", &url]);
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let first = line(&mut output).expect("the stream begins");
        assert!(first.starts_with("retry: "), "{first}");
        SlowReader::new(process, output, next_of_events)
    }

    fn of_socket(client: &Client<'_>) -> SlowReader {
        let ask = request("GET", &stream_path("socket", &[client], None), &HANDSHAKE, "");
        let mut process = in_network_of(client.server, &["bash", "-c", TALK, &port(client.server).to_string(), &ask]);
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let first = line(&mut output).expect("the server answers");
        assert!(first.starts_with("HTTP/1.1 101 "), "{first}");
        while line(&mut output).expect("the head has an end") != "\r\n" {}
        SlowReader::new(process, output, next_of_socket)
    }

    fn new(process: Child, mut output: Output, next: fn(&mut Output) -> Option<Vec<Value>>) -> SlowReader {
        let (sender, events) = channel();
        let gaps = Arc::new(AtomicUsize::new(0));
        let told = gaps.clone();
        std::thread::spawn(move || {
            while let Some(news) = next(&mut output) {
                told.fetch_add(news.iter().filter(|event| event["next_id"].is_u64()).count(), Ordering::Relaxed);
                if news.into_iter().any(|event| sender.send(event).is_err()) {
                    return;
                }
            }
        });
        SlowReader { process, events, gaps }
    }

    fn knows_of_a_gap(&self) -> bool {
        self.gaps.load(Ordering::Relaxed) > 0
    }

    /// The ids of messages, and what gaps named as the next.
    fn read_up_to(&mut self, last: u64) -> (Vec<u64>, Vec<u64>) {
        let (mut ids, mut gaps) = (Vec::new(), Vec::new());
        while ids.last() != Some(&last) {
            let data = received(&self.events, PATIENCE).expect("it goes on");
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

type Output = BufReader<ChildStdout>;

fn port(server: &Server) -> u16 {
    server.addresses()[1].as_socket().unwrap().port()
}

fn in_network_of(server: &Server, command: &[&str]) -> Child {
    Command::new("nsenter")
        .args(["--target", &server.pid().to_string(), "--user", "--preserve-credentials", "--net"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The next line with its end; `None` when there are no more.
fn line(output: &mut Output) -> Option<String> {
    let mut line = String::new();
    (output.read_line(&mut line).ok()? > 0).then_some(line)
}

/// The message or the gap in the next line of an event stream, if it has one.
fn next_of_events(output: &mut Output) -> Option<Vec<Value>> {
    let line = line(output)?;
    Some(line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap()).into_iter().collect())
}

/// The gaps and the messages in the next frame of a WebSocket, if it has any: in one channel a gap is before what is left.
fn next_of_socket(output: &mut Output) -> Option<Vec<Value>> {
    const TEXT: u8 = 0x81;
    let mut head = [0; 2];
    output.read_exact(&mut head).ok()?;
    let (mut length, wide) = match head[1] {
        126 => (0, 2),
        127 => (0, 8),
        length => (u64::from(length), 0),
    };
    for _ in 0..wide {
        let mut byte = [0];
        output.read_exact(&mut byte).ok()?;
        length = length << 8 | u64::from(byte[0]);
    }
    let mut payload = Vec::new();
    output.take(length).read_to_end(&mut payload).ok()?;
    if head[0] != TEXT {
        return Some(Vec::new());
    }
    let object: Value = serde_json::from_slice(&payload).unwrap();
    let list = |name: &str| object[name].as_array().unwrap().clone();
    Some([list("gaps"), list("messages")].concat())
}
