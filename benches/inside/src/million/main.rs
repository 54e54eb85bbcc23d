//! The real decoder, API, hub and press with up to a million pages in one process, without sockets: what a page takes of
//! memory, what each deed costs, and how long the longest turn is.
//!
//! `benches/million` runs it for several sizes and judges; one run is one size and prints one line of JSON. Everything is
//! counted in CPU time of the one thread, which others on the machine do not add to; what the pages and the web
//! application do between the turns is not counted.

mod edge;
mod gauge;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::slots::Key;

use edge::{Arrivals, Edge, Spent};
use gauge::Memory;

/// Lets so many pages live a whole life in one process and prints what it cost.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Pages.
    #[arg(long, default_value_t = 1_000_000)]
    pages: u32,
    /// One channel for all, or one for each.
    #[arg(long, value_enum, default_value = "one")]
    channels: Channels,
    /// Messages to random pages (`--channels own`).
    #[arg(long, default_value_t = 100_000)]
    messages: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Channels {
    One,
    Own,
}

/// Requests that have come when a turn begins: as many as the server takes of the kernel's events.
const REQUESTS_PER_TURN: usize = 1024;

/// Messages published between two turns, to as many pages.
const MESSAGES_PER_TURN: usize = 64;

/// Bytes of a key in hexadecimal.
const KEY_BYTES: usize = 32;

/// What a browser sends with a poll from another origin, about 450 bytes.
const BROWSER: &str = "Host: push.example.org\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\nUser-Agent: \
    Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nsec-ch-ua: \
    \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nAccept: \
    */*\r\nOrigin: https://www.example.org\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: \
    empty\r\nReferer: https://www.example.org/\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n";

fn main() {
    let options = Options::parse();
    let mut life = Life::new(&options);
    life.arrive();
    life.poll(Phase::Poll);
    match options.channels {
        Channels::One => life.fan_out(),
        Channels::Own => life.unicast(),
    }
    life.time_out();
    life.leave();
    life.expire();
    println!("{}", life.report());
}

/// What is done, in this order. Each is measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Create,
    Subscribe,
    Poll,
    Publish,
    PollAgain,
    Timeout,
    Leave,
    Expire,
    Forget,
}

/// The pages and the web application, and what they have seen of the server.
struct Life {
    options: Options,
    edge: Edge,
    application: Key<()>,
    /// By page.
    keys: Vec<u8>,
    peers: Vec<Key<()>>,
    arrivals: Arrivals,
    answered: Vec<Key<()>>,
    /// Peer to page; a peer's place is the low half of its key.
    pages: Vec<u32>,
    empty: Memory,
    parked: Memory,
    gone: Memory,
    lines: Vec<(Phase, u64, Spent)>,
}

impl Life {
    fn new(options: &Options) -> Life {
        let pages = options.pages as usize;
        // Large enough for a million pages, each in its channel; nobody is announced, as in a crowd of n each join would be
        // n deliveries, which is another bench (`benches/run`, joins).
        let mut config = Config { max_clients: 1 << 21, max_channels: 1 << 21, ..Config::default() };
        // The same share of a crowd can come back, whatever its size.
        config.departed_max = pages / 10;
        Arc::make_mut(&mut config.policies.default).presence = false;
        let mut edge = Edge::new(&config);
        let application = edge.connect();
        // What is ours is there, and touched, before the first look at memory.
        let mut life = Life {
            options: options.clone(),
            edge,
            application,
            keys: vec![b'0'; pages * KEY_BYTES],
            peers: vec![application; pages],
            arrivals: Arrivals::default(),
            answered: vec![application; pages],
            pages: vec![1; pages + 1024],
            empty: gauge::memory(),
            parked: gauge::memory(),
            gone: gauge::memory(),
            lines: Vec::with_capacity(16),
        };
        life.answered.clear();
        life.arrivals.bytes = vec![1; 2 << 20];
        life.arrivals.ends = vec![(application, 1); REQUESTS_PER_TURN + 1];
        life.clear_arrivals();
        life.empty = gauge::memory();
        life
    }

    /// The web application makes a client for each page, and subscribes it.
    fn arrive(&mut self) {
        mark();
        for page in 0..self.options.pages {
            self.call(format_args!(r#"{{"method":"create_client","params":["page{page}"],"id":1}}"#));
            self.turn();
            let at = page as usize * KEY_BYTES;
            let output = self.edge.output();
            let key = find(output, br#""result":""#).map(|begin| &output[begin..begin + KEY_BYTES]);
            self.keys[at..at + KEY_BYTES].copy_from_slice(key.expect("a client is made"));
        }
        self.note(Phase::Create, self.options.pages.into());
        mark();
        for page in 0..self.options.pages {
            let room = self.room(page);
            self.call(format_args!(r#"{{"method":"subscribe","params":["page{page}","room{room}"],"id":1}}"#));
            if self.arrivals.ends.len() == REQUESTS_PER_TURN {
                self.settle();
            }
        }
        self.settle();
        self.note(Phase::Subscribe, self.options.pages.into());
    }

    /// Every page that is not connected yet connects, and polls.
    fn poll(&mut self, phase: Phase) {
        for page in 0..self.options.pages {
            let peer = self.edge.connect();
            self.peers[page as usize] = peer;
            self.pages[place(peer)] = page;
        }
        mark();
        for page in 0..self.options.pages {
            self.ask(page);
        }
        self.settle();
        self.note(phase, self.options.pages.into());
        assert_eq!(self.edge.api.hub.stats().waiters, self.options.pages as usize, "everybody waits");
        self.parked = gauge::memory();
    }

    /// A message to all, and all poll again.
    fn fan_out(&mut self) {
        for _ in 0..2 {
            mark();
            self.call(format_args!(r#"{{"method":"new_message","params":["app","{TEXT}","room0",false],"id":1}}"#));
            self.settle();
            self.note(Phase::Publish, self.options.pages.into());
            self.all_are_answered();
            mark();
            self.poll_again();
            self.note(Phase::PollAgain, self.options.pages.into());
        }
    }

    /// Messages to random pages, which poll again.
    fn unicast(&mut self) {
        let mut random = fastrand::Rng::with_seed(1);
        mark();
        let mut count = 0_u64;
        while count < self.options.messages.into() {
            for _ in 0..MESSAGES_PER_TURN {
                let room = random.u32(0..self.options.pages);
                self.call(format_args!(
                    r#"{{"method":"new_message","params":["app","{TEXT}","room{room}",false],"id":1}}"#
                ));
            }
            self.settle();
            count += MESSAGES_PER_TURN as u64;
            self.poll_again();
        }
        self.note(Phase::Publish, count);
        assert_eq!(self.edge.api.hub.stats().waiters, self.options.pages as usize, "everybody waits again");
    }

    /// The time of all polls is over at once.
    fn time_out(&mut self) {
        mark();
        self.edge.now += Ms::from_secs(25);
        self.settle();
        self.note(Phase::Timeout, self.options.pages.into());
        self.all_are_answered();
        mark();
        self.poll_again();
        self.note(Phase::PollAgain, self.options.pages.into());
    }

    /// All close their connections.
    fn leave(&mut self) {
        mark();
        for at in 0..self.peers.len() {
            let begin = gauge::cpu();
            self.edge.bury(self.peers[at]);
            let took = gauge::cpu() - begin;
            self.edge.spent.serving += took;
            self.edge.spent.longest = self.edge.spent.longest.max(took);
        }
        self.settle();
        self.note(Phase::Leave, self.options.pages.into());
        assert_eq!(self.edge.api.hub.stats().waiters, 0, "nobody waits");
    }

    /// All are collected at once; and a day later those who could have come back are forgotten.
    fn expire(&mut self) {
        mark();
        self.edge.now += Ms::from_secs(120);
        self.settle();
        self.note(Phase::Expire, self.options.pages.into());
        assert_eq!(self.edge.api.hub.stats().clients, 0, "all are collected");
        mark();
        let departed = self.edge.api.hub.stats().departed as u64;
        // What a departed client is subscribed to is freed some time after it.
        for _ in 0..2 {
            self.edge.now += Ms::from_secs(25 * 60 * 60);
            self.settle();
        }
        self.note(Phase::Forget, departed);
        assert_eq!(self.edge.api.hub.stats().departed, 0, "all are forgotten");
        self.gone = gauge::memory();
    }

    fn poll_again(&mut self) {
        let answered = std::mem::take(&mut self.answered);
        for &peer in &answered {
            self.ask(self.pages[place(peer)]);
        }
        self.answered = answered;
        self.answered.clear();
        self.settle();
    }

    fn all_are_answered(&self) {
        assert_eq!(self.answered.len(), self.options.pages as usize, "each gets it once");
    }

    /// A page polls.
    fn ask(&mut self, page: u32) {
        if self.arrivals.ends.len() >= REQUESTS_PER_TURN {
            self.settle();
        }
        let at = page as usize * KEY_BYTES;
        let bytes = &mut self.arrivals.bytes;
        bytes.extend_from_slice(b"GET /message_updates?callback=noop&client_id=page");
        bytes.extend_from_slice(page.to_string().as_bytes());
        bytes.extend_from_slice(b"_!!_");
        bytes.extend_from_slice(&self.keys[at..at + KEY_BYTES]);
        bytes.extend_from_slice(b"&ts=1763800000000 HTTP/1.1\r\n");
        bytes.extend_from_slice(BROWSER.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        self.arrivals.ends.push((self.peers[page as usize], bytes.len()));
    }

    /// The web application calls.
    fn call(&mut self, body: std::fmt::Arguments<'_>) {
        let body = body.to_string();
        let head = format!("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len());
        self.arrivals.bytes.extend_from_slice(head.as_bytes());
        self.arrivals.bytes.extend_from_slice(body.as_bytes());
        self.arrivals.ends.push((self.application, self.arrivals.bytes.len()));
    }

    /// Turns until everything that came is done, and everything that is owed.
    fn settle(&mut self) {
        let mut next = 0;
        while next < self.arrivals.ends.len() || self.edge.has_work() {
            self.edge.turn(&self.arrivals, &mut next, &mut self.answered);
        }
        self.clear_arrivals();
    }

    /// One turn for the one request that came.
    fn turn(&mut self) {
        self.edge.turn(&self.arrivals, &mut 0, &mut self.answered);
        self.clear_arrivals();
    }

    fn clear_arrivals(&mut self) {
        self.arrivals.bytes.clear();
        self.arrivals.ends.clear();
    }

    fn note(&mut self, phase: Phase, count: u64) {
        let spent = std::mem::take(&mut self.edge.spent);
        self.lines.push((phase, count, spent));
    }

    fn room(&self, page: u32) -> u32 {
        if self.options.channels == Channels::Own { page } else { 0 }
    }

    fn report(&self) -> String {
        let pages = u64::from(self.options.pages);
        let mut out = format!("{{\"pages\":{pages},");
        for (name, memory) in [("empty", self.empty), ("parked", self.parked), ("gone", self.gone)] {
            let Memory { allocated, resident } = memory;
            let _ = write!(out, "\"{name}_allocated\":{allocated},\"{name}_resident\":{resident},");
        }
        out.push_str("\"phases\":[");
        for (at, (phase, count, spent)) in self.lines.iter().enumerate() {
            let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(u32::try_from(*count).unwrap_or(1).max(1));
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(
                out,
                "{comma}{{\"name\":\"{phase:?}\",\"count\":{count},\"turns\":{},\"longest_us\":{:.1},\"serving_ns\":{:.1},\
                 \"expiring_ns\":{:.1},\"delivering_ns\":{:.1}}}",
                spent.turns,
                spent.longest.as_secs_f64() * 1e6,
                each(spent.serving),
                each(spent.expiring),
                each(spent.delivering)
            );
        }
        out.push_str("]}");
        out
    }
}

/// 64 bytes, as in the other benchmarks.
const TEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Between two phases: valgrind writes down here what it has counted (`benches/million --instructions`).
#[inline(never)]
fn mark() {
    std::hint::black_box(());
}

fn place(peer: Key<()>) -> usize {
    usize::try_from(peer.pack() & u64::from(u32::MAX)).expect("it is a number of 32 bits")
}

/// Where what follows `mark` begins.
fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark).map(|at| at + mark.len())
}
