//! What anybody may write in Redis, or publish there, as a node takes it: a page waits here, subscribed to a channel. Whatever comes, the
//! hub stands, the node asks no more than it should, and what the page gets is text, in order.
//!
//! The input is records, with `~` between them. The first byte says what one is:
//!
//! ```text
//!   sPAYLOAD   is published of the channel `room`, tPAYLOAD of the client `alice`
//!   r[a,[b],_] is the reply to the oldest call, as a list of texts; `_` is nothing
//!   u          is the reply that our functions would give, eERROR an error
//!   k          time passes
//! ```

use std::collections::VecDeque;

use shaveet::broker::{Link, Options, library};
use shaveet::clock::Ms;
use shaveet::cluster::{Admission, Awake, Cluster};
use shaveet::config::Config;
use shaveet::hub::{Hub, Owner, Protocol, Since, Waiter};
use shaveet::slots::Key;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const EPOCH: &str = "0123456789abcdef";

/// Calls that one record may lead to: clients and channels are few here.
const CALLS_MAX: usize = 200;

/// Rounds of a turn: more would be a node that goes in circles.
const ROUNDS_MAX: usize = 100;

pub(crate) fn check(input: &[u8]) {
    let mut node = Node::new();
    for record in input.split(|&byte| byte == b'~').take(100) {
        node.take(record);
        node.hub.check();
    }
    for _ in 0..CALLS_MAX {
        if node.calls.is_empty() {
            break;
        }
        node.answer_usual();
    }
    node.hub.check();
}

struct Node {
    hub: Hub,
    cluster: Cluster,
    now: Ms,
    line: Option<u32>,
    /// Names of functions, in the order in which they were called.
    calls: VecDeque<String>,
    /// What comes behind the reply to the oldest call.
    behind: VecDeque<(usize, Vec<u8>)>,
    page: State,
    position: u64,
}

/// What the page does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Away,
    /// Its client is being fetched.
    Visits,
    Waits(Key<Waiter>),
    /// Its client is no more.
    Gone,
}

impl Node {
    /// With its page, which waits.
    fn new() -> Node {
        let limits = Config::default().hub_limits();
        let address = "redis://127.0.0.1".parse().expect("an address");
        let options = Options { address, prefix: "shaveet".into(), timeout: Ms(2000), name: "n".into() };
        let mut node = Node {
            hub: Hub::following(Ms::ZERO, limits.clone()),
            cluster: Cluster::new(Link::new(options, Ms::ZERO, 1), "shaveet", "n", &limits, 1),
            now: Ms::ZERO,
            line: None,
            calls: VecDeque::new(),
            behind: VecDeque::new(),
            page: State::Away,
            position: 0,
        };
        node.turn();
        while !node.calls.is_empty() {
            node.answer_usual();
        }
        assert!(matches!(node.page, State::Waits(_)), "{:?}", node.page);
        node
    }

    fn take(&mut self, record: &[u8]) {
        let Some((kind, rest)) = record.split_first() else { return };
        match kind {
            b's' => self.hear(&message(b"{shaveet}:says:room", rest)),
            b't' => self.hear(&message(b"{shaveet}:tells:alice", rest)),
            b'r' => self.answer(&list(rest)),
            b'e' => {
                let line: Vec<u8> = rest.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
                self.answer(&[b"-", &*line, b"\r\n"].concat());
            }
            b'u' => self.answer_usual(),
            b'k' => {
                self.now += Ms(700);
                self.turn();
            }
            _ => {}
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        if self.cluster.link.is_live() {
            self.cluster.link.receive(self.now, bytes);
        }
        self.turn();
    }

    fn answer_usual(&mut self) {
        let Some(name) = self.calls.front() else { return self.turn() };
        let reply = match &**name {
            "hello" => format!("[{EPOCH},5,1000,1,,run,]"),
            "alive" => return self.answer(&text(EPOCH.as_bytes())),
            "look" | "adopt" | "revive" => format!("[{KEY},0,0,1,0,,1000,{EPOCH},5,[[room,1,1]],[]]"),
            "follow" => format!("[0,0,0,,,0,1000,{EPOCH},5,[]]"),
            "seq" => format!("[{EPOCH},5,1000]"),
            "take" => "[1,0]".to_owned(),
            "sweep" => "[0,]".to_owned(),
            "touch" | "acknowledge_each" => "[]".to_owned(),
            "heal" | "healed" => return self.answer(&text(b"0")),
            _ => return self.answer(b"_\r\n"),
        };
        self.answer(&list(reply.as_bytes()));
    }

    /// The oldest call has this reply.
    fn answer(&mut self, reply: &[u8]) {
        if self.calls.pop_front().is_none() {
            return;
        }
        let mut bytes = reply.to_vec();
        self.behind.iter_mut().for_each(|(calls, _)| *calls -= 1);
        while self.behind.front().is_some_and(|(calls, _)| *calls == 0) {
            bytes.extend(self.behind.pop_front().expect("just seen").1);
        }
        self.hear(&bytes);
    }

    /// All that follows from what has come.
    fn turn(&mut self) {
        let mut calls = 0;
        for _ in 0..ROUNDS_MAX {
            let mut is_quiet = true;
            if self.cluster.link.next_timeout() <= self.now {
                self.cluster.link.handle_timeout(self.now);
            }
            self.see_to_line();
            while self.cluster.hear_next(self.now, &mut self.hub) {
                is_quiet = false;
            }
            self.cluster.turn(self.now, &mut self.hub);
            for awake in self.cluster.take_awake() {
                assert_eq!(awake, Awake::Visitor(Owner(1)));
                self.admit();
                is_quiet = false;
            }
            self.hub.handle_timeout(self.now, &mut 10_000);
            while self.give() {
                is_quiet = false;
            }
            if self.page == State::Away && self.cluster.link.is_live() && self.cluster.epoch().is_some() {
                self.admit();
                is_quiet &= self.page == State::Away;
            }
            is_quiet &= self.cluster.link.output().is_empty() && !self.cluster.has_more();
            calls += self.read_output();
            assert!(calls <= CALLS_MAX, "it asks {calls} times");
            if is_quiet {
                return;
            }
        }
        panic!("it goes in circles");
    }

    fn see_to_line(&mut self) {
        let line = self.cluster.link.line().map(|(number, _)| number);
        if line != self.line {
            (self.calls, self.behind) = Default::default();
            self.line = line;
            if line.is_some() {
                self.cluster.link.connected(self.now);
            }
        }
    }

    /// The page polls.
    fn admit(&mut self) {
        let claim = ("alice", KEY);
        let claims = std::iter::once((claim.0, claim.1.as_bytes()));
        self.page = match self.cluster.admit(self.now, &self.hub, Owner(1), claims, Some(self.position)) {
            Admission::Waits => State::Visits,
            Admission::Failed(_) => State::Away,
            Admission::Ready => {
                let since = if self.position <= self.hub.position() { Since::At(self.position) } else { Since::Lost };
                let (protocol, until) = (Protocol::Resume(since), self.now + Ms(25_000));
                match self.hub.wait(self.now, Owner(1), &mut Key::unpack(0), [claim], protocol, until) {
                    Ok(waiter) => State::Waits(waiter),
                    Err(_) => State::Gone,
                }
            }
        };
    }

    /// Takes an answer to the page, if there is one.
    fn give(&mut self) -> bool {
        let Some(answer) = self.hub.next_answer(self.now, &mut 10_000) else { return false };
        let mut last = 0;
        for (_, message) in answer.messages() {
            assert!(message.seq() > last, "{} behind {last}", message.seq());
            last = message.seq();
            assert!(message.text_json().is_ascii());
            serde_json::from_slice::<serde_json::Value>(message.text_json()).expect("what a page gets is JSON");
        }
        assert!(answer.gaps().count() <= 1, "it has one channel");
        self.position = answer.upto().unwrap_or(self.position);
        let waiter = answer.waiter();
        assert_eq!(self.page, State::Waits(waiter));
        self.page = State::Away;
        self.hub.delivered(self.now, waiter);
        true
    }

    /// Takes what goes to Redis. How many functions are called.
    fn read_output(&mut self) -> usize {
        let output = self.cluster.link.output().to_vec();
        self.cluster.link.sent(output.len());
        let (mut rest, mut calls) = (&*output, 0);
        while !rest.is_empty() {
            let command: Vec<Vec<u8>> = (0..number(&mut rest)).map(|_| text_of(&mut rest)).collect();
            let reply = match &*command[0] {
                b"HELLO" => b"%1\r\n+version\r\n+7.0.0\r\n".to_vec(),
                b"FCALL_RO" => format!(":{}\r\n", library::REVISION).into_bytes(),
                b"SUBSCRIBE" | b"UNSUBSCRIBE" => {
                    let kind = command[0].to_ascii_lowercase();
                    [b">3\r\n".to_vec(), text(&kind), text(&command[1]), b":1\r\n".to_vec()].concat()
                }
                b"PING" => b"+PONG\r\n".to_vec(),
                b"FCALL" => {
                    let name = String::from_utf8_lossy(&command[1]);
                    self.calls.push_back(name.strip_prefix("shaveet1_").expect("one of ours").to_owned());
                    calls += 1;
                    continue;
                }
                other => panic!("it asks for {}", other.escape_ascii()),
            };
            if self.calls.is_empty() {
                self.cluster.link.receive(self.now, &reply);
            } else {
                self.behind.push_back((self.calls.len(), reply));
            }
        }
        calls
    }
}

fn number(rest: &mut &[u8]) -> usize {
    let end = rest.windows(2).position(|window| window == b"\r\n").expect("a line");
    let digits = std::str::from_utf8(&rest[1..end]).expect("digits");
    *rest = &rest[end + 2..];
    digits.parse().expect("a number")
}

fn text_of(rest: &mut &[u8]) -> Vec<u8> {
    let length = number(rest);
    let (text, behind) = rest.split_at(length);
    *rest = &behind[2..];
    text.to_vec()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn message(channel: &[u8], payload: &[u8]) -> Vec<u8> {
    [b">3\r\n".to_vec(), text(b"message"), text(channel), text(payload)].concat()
}

/// `[a,[b],_]`. Whatever is not closed ends with the input.
fn list(input: &[u8]) -> Vec<u8> {
    let mut open: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    let mut word: Option<Vec<u8>> = None;
    let said = |word: &mut Option<Vec<u8>>, open: &mut Vec<Vec<Vec<u8>>>| {
        if let (Some(word), Some(list)) = (word.take(), open.last_mut()) {
            list.push(if word == b"_" { b"_\r\n".to_vec() } else { text(&word) });
        }
    };
    let close = |open: &mut Vec<Vec<Vec<u8>>>| {
        if open.len() > 1
            && let (Some(inner), Some(outer)) = (open.pop(), open.last_mut())
        {
            outer.push([format!("*{}\r\n", inner.len()).into_bytes(), inner.concat()].concat());
        }
    };
    for (at, &byte) in input.iter().enumerate() {
        match byte {
            b'[' if open.len() < 10 => {
                word = None;
                open.push(Vec::new());
            }
            b']' => {
                if at > 0 && input[at - 1] == b',' {
                    word.get_or_insert_default();
                }
                said(&mut word, &mut open);
                close(&mut open);
            }
            b',' => {
                if input[at.saturating_sub(1)] != b']' {
                    word.get_or_insert_default();
                }
                said(&mut word, &mut open);
            }
            byte => word.get_or_insert_default().push(byte),
        }
    }
    said(&mut word, &mut open);
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().and_then(|mut all| all.drain(..).next()).unwrap_or_else(|| b"_\r\n".to_vec())
}
