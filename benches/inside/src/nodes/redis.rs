//! A Redis that is only counted: it answers what nodes ask as the functions of `library.lua` do for clients that need nothing
//! unusual, and charges each command the microseconds that it was measured to take (docs/scaling.md).
//!
//! A client's name says all of it: `c17` is the 17th, and its number says which room it is in. So ten million of them take no memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Rooms;

/// What was done, how often, and what it cost.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) count: u64,
    pub(crate) us: f64,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

pub(crate) struct Redis {
    now: u64,
    seq: u64,
    rooms: Rooms,
    /// By room: its newest id and seq, and the nodes that follow it.
    channels: Vec<Channel>,
    /// What it says to each node.
    pub(crate) outboxes: Vec<Vec<u8>>,
    pub(crate) costs: BTreeMap<&'static str, Cost>,
}

#[derive(Clone, Default)]
struct Channel {
    id: u64,
    seq: u64,
    followers: Vec<usize>,
}

const EPOCH: &str = "0123456789abcdef";

/// Redis's clock when the hubs' is 0.
const BEGAN: u64 = 1_700_000_000_000;

impl Redis {
    pub(crate) fn new(nodes: usize, rooms: Rooms) -> Redis {
        let channels = vec![Channel::default(); rooms.count()];
        Redis { now: 0, seq: 0, rooms, channels, outboxes: vec![Vec::new(); nodes], costs: BTreeMap::new() }
    }

    pub(crate) fn set_time(&mut self, now: u64) {
        self.now = now;
    }

    pub(crate) fn forget_costs(&mut self) {
        self.costs.clear();
    }

    /// A node is there no more.
    pub(crate) fn hang_up(&mut self, node: usize) {
        self.channels.iter_mut().for_each(|channel| channel.followers.retain(|follower| *follower != node));
        self.outboxes[node].clear();
    }

    /// The web application publishes in a room, by whichever node.
    pub(crate) fn publish(&mut self, room: usize) {
        self.seq += 1;
        let channel = &mut self.channels[room];
        let before = channel.seq;
        (channel.id, channel.seq) = (channel.id + 1, self.seq);
        let text = format!("\"{:0>100}\"", self.seq);
        let says = format!(
            "{EPOCH}\n{}\n{}\n{before}\n{}\napp\n0\n\n\n\"web\"\n{text}",
            self.seq,
            channel.id,
            BEGAN + self.now
        );
        let name = format!("{{shaveet}}:says:r{room}");
        let push = format!(">3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n${}\r\n{says}\r\n", name.len(), says.len());
        for &node in &channel.followers {
            self.outboxes[node].extend_from_slice(push.as_bytes());
        }
        let followers = channel.followers.len();
        let cost = self.costs.entry("publish").or_default();
        cost.count += 1;
        cost.us += 65.0 + 1.6 * followers as f64;
        cost.up += 217;
        cost.down += (push.len() * followers) as u64 + 25;
    }

    /// Does all that a node asks.
    pub(crate) fn serve(&mut self, node: usize, asked: &[u8]) {
        let mut rest = asked;
        while !rest.is_empty() {
            let before = rest.len();
            let count = number(line(&mut rest, b'*'));
            let parts: Vec<&str> = (0..count).map(|_| text(&mut rest)).collect();
            let up = before - rest.len();
            let mut reply = String::new();
            let (kind, us) = self.run(node, &parts, &mut reply);
            self.outboxes[node].extend_from_slice(reply.as_bytes());
            let cost = self.costs.entry(kind).or_default();
            cost.count += 1;
            cost.us += us;
            cost.up += up as u64;
            cost.down += reply.len() as u64;
        }
    }

    fn run(&mut self, node: usize, parts: &[&str], out: &mut String) -> (&'static str, f64) {
        match parts[0] {
            "HELLO" => {
                out.push_str("%3\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n");
                ("greeting", 5.0)
            }
            "FCALL_RO" => {
                out.push_str(":1000\r\n");
                ("greeting", 5.0)
            }
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                let is_begun = parts[0] == "SUBSCRIBE";
                if let Some(room) = parts[1].strip_prefix("{shaveet}:says:r") {
                    let followers = &mut self.channels[room.parse::<usize>().expect("a room's number")].followers;
                    followers.retain(|follower| *follower != node);
                    followers.extend(is_begun.then_some(node));
                }
                out.push_str(if is_begun { ">3\r\n$9\r\nsubscribe\r\n" } else { ">3\r\n$11\r\nunsubscribe\r\n" });
                write(out, parts[1]);
                out.push_str(":1\r\n");
                ("SUBSCRIBE", 3.0)
            }
            "FCALL" => self.call(parts[1].trim_start_matches("shaveet1_"), &parts[4..], out),
            other => panic!("nobody knows {other}"),
        }
    }

    fn call(&mut self, function: &str, arguments: &[&str], out: &mut String) -> (&'static str, f64) {
        let (seq, time) = (self.seq.to_string(), (BEGAN + self.now).to_string());
        let list = |out: &mut String, texts: &[&str]| texts.iter().for_each(|text| write(out, text));
        match function {
            "hello" => {
                out.push_str("*6\r\n");
                list(out, &[EPOCH, &seq, &time, "0", "run", ""]);
                ("hello", 60.0)
            }
            "alive" => {
                write(out, EPOCH);
                ("alive", 21.0)
            }
            "seq" => {
                out.push_str("*3\r\n");
                list(out, &[EPOCH, &seq, &time]);
                ("seq", 10.0)
            }
            "look" => {
                let client: usize = arguments[1][1..].parse().expect("a client's number");
                let room = format!("r{}", self.rooms.of(client));
                out.push_str("*11\r\n");
                list(out, &[&format!("{client:032x}"), &time, "0", "1", "0", "", &time, EPOCH, &seq]);
                out.push_str("*1\r\n*3\r\n");
                list(out, &[&room, "0", "0"]);
                out.push_str("*0\r\n");
                ("look", 37.0)
            }
            // Nobody who comes has missed anything: its rings are empty.
            "follow" => {
                let channel = &self.channels[arguments[0][1..].parse::<usize>().expect("a room's number")];
                out.push_str("*10\r\n");
                list(out, &[&channel.id.to_string(), &channel.seq.to_string(), "0", "", "", &time, &time, EPOCH, &seq]);
                out.push_str("*0\r\n");
                ("follow", 55.0)
            }
            "touch" => {
                out.push_str("*0\r\n");
                ("touch", 8.0 + 2.1 * (arguments.len() - 2) as f64)
            }
            "acknowledge_each" => {
                out.push_str("*0\r\n");
                ("acknowledge_each", 8.0 + 17.0 * ((arguments.len() - 1) / 3) as f64)
            }
            "sweep" => {
                out.push_str("*2\r\n");
                list(out, &["0", ""]);
                ("sweep", 15.0)
            }
            other => panic!("the model has no {other}"),
        }
    }
}

fn write(out: &mut String, text: &str) {
    let _ = write!(out, "${}\r\n{text}\r\n", text.len());
}

fn line<'a>(rest: &mut &'a [u8], kind: u8) -> &'a [u8] {
    assert_eq!(rest[0], kind, "nodes send arrays of texts");
    let end = rest.iter().position(|byte| *byte == b'\r').expect("a line has an end");
    let line = &rest[1..end];
    *rest = &rest[end + 2..];
    line
}

fn text<'a>(rest: &mut &'a [u8]) -> &'a str {
    let length = number(line(rest, b'$'));
    let text = &rest[..length];
    *rest = &rest[length + 2..];
    std::str::from_utf8(text).expect("it is text")
}

fn number(digits: &[u8]) -> usize {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).expect("a number")
}
