//! The server's edge without its sockets: connections over the real decoder, API and hub.
//!
//! It does what `src/server/serve.rs` and `stream.rs` do, in the same order: requests are answered until one parks or a stream
//! begins, one for a connection, an answer is whole when the last byte of it was taken.

use std::collections::BTreeMap;

use shaveet::api::{Api, Habit, Outcome, Parked, Press, Progress, Streaming, Visit};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::http::{Decoder, Exchange, Method, Step};
use shaveet::hub::{Hub, Owner, Record, Restoration, Resumption, Snapshot, Waiter};
use shaveet::slots::Key;
use shaveet::state::{Header, Reader, Writer};

/// What all answers are dated with.
const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

/// A server.
pub(crate) struct Edge {
    pub(crate) api: Api,
    config: Config,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    press: Press,
}

/// The server's end of a connection.
struct Connection {
    decoder: Decoder,
    habit: Habit,
    inbox: Vec<u8>,
    phase: Phase,
    outbox: Vec<u8>,
}

enum Phase {
    Serving,
    Parked(Parked),
    Streaming { streaming: Box<Streaming>, is_answered: bool },
    Answering { waiter: Key<Waiter>, keep_alive: bool },
}

/// What came of bytes that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// No whole request yet.
    Part,
    /// It was answered with this; whether the connection stays open.
    Answered(Vec<u8>, bool),
    Parked,
    /// A stream has begun, with this.
    Streaming(Vec<u8>),
}

/// What came of bytes that the socket took.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    /// The answer to a poll or of a stream has left whole.
    pub(crate) is_whole: bool,
    pub(crate) is_closed: bool,
}

impl Edge {
    pub(crate) fn new(now: Ms, config: &Config, epoch: u64, first_connection: u64) -> Edge {
        Edge {
            api: Api::new(config, Hub::new(now, config.hub_limits()), DATE, epoch, epoch),
            config: config.clone(),
            connections: BTreeMap::new(),
            next: first_connection,
            press: Press::default(),
        }
    }

    /// The limits become others, and all that is there follows, a few steps at a time.
    pub(crate) fn change(&mut self, now: Ms, config: &Config) {
        self.api.change(now, config, None, DATE);
        self.press.change(config);
        self.config = config.clone();
        while self.api.hub.is_changing() {
            self.api.hub.go_on_changing(now, &mut 3);
        }
    }

    /// Another process takes over: it has a hub that is made of what this one has written down, in as small steps as can be.
    pub(crate) fn take_over(&mut self, now: Ms, away: Ms) {
        let header = Header { program: String::new(), epoch: 0, now, wall_ms: 0 };
        let mut writer = Writer::begin(Vec::new(), true, &header).expect("memory takes everything");
        let mut snapshot = Snapshot::begin(true);
        while !snapshot.is_over() {
            if let Some(record) = self.api.hub.next_record(&mut snapshot, &mut 1) {
                writer.put(&record).expect("memory takes everything");
            }
        }
        let bytes = writer.finish().expect("memory takes everything");
        let mut reader = Reader::open(&bytes).expect("it is as it was written");
        let mut restoration = Restoration::begin(self.config.hub_limits());
        self.api.hub = loop {
            let record: Record<'_> = reader.read().expect("the last record makes the hub");
            if let Some(hub) = restoration.take(Resumption { now, away }, record) {
                break hub;
            }
        };
        self.press = Press::default();
    }

    /// All connections are gone, and had nothing parked.
    pub(crate) fn hang_up(&mut self) {
        assert_eq!(self.api.hub.stats().waiters, 0);
        self.connections.clear();
    }

    pub(crate) fn connect(&mut self) -> u64 {
        self.next += 1;
        let (decoder, habit, inbox, outbox) = (Decoder::new(), Habit::default(), Vec::new(), Vec::new());
        self.connections.insert(self.next, Connection { decoder, habit, inbox, phase: Phase::Serving, outbox });
        self.next
    }

    pub(crate) fn hear(&mut self, now: Ms, key: u64, bytes: &[u8]) -> Heard {
        let connection = self.connections.get_mut(&key).expect("it is connected");
        connection.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut connection.inbox);
        let step = connection.decoder.next(&self.config.http_limits(), &inbox);
        let Step::Request { request, used } = step.expect("pages and the web application speak HTTP") else {
            connection.inbox = inbox;
            return Heard::Part;
        };
        assert_eq!(used, inbox.len(), "one request at a time");
        let keep_alive = request.keep_alive;
        let exchange = Exchange { head_only: request.method == Method::Head, keep_alive };
        let visit =
            Visit { now, date: DATE, owner: Owner(key), address: None, entrance: shaveet::api::Entrance::Shared };
        let mut out = Vec::new();
        // Calls are done in the smallest slices; what others do between them is not for here (`tests/it/slices.rs`).
        self.api.steps_at_once = 1;
        let outcome = match self.api.handle(visit, &request, exchange, &mut connection.habit, &mut out) {
            Outcome::Working(mut call) => {
                if call.wants_body().is_some() {
                    call.take_body(request.body.into_owned(), 0);
                }
                while self.api.work(&mut call, now, DATE, 1, &mut out) != Progress::Said {}
                Outcome::Answered
            }
            outcome => outcome,
        };
        match outcome {
            Outcome::Answered => {
                if !keep_alive {
                    self.connections.remove(&key);
                }
                Heard::Answered(out, keep_alive)
            }
            Outcome::Parked(parked) => {
                connection.phase = Phase::Parked(parked);
                Heard::Parked
            }
            Outcome::Working(_) => unreachable!("it has been done"),
            Outcome::Later(_) => unreachable!("pages poll as often as they like"),
            Outcome::Metrics(_) | Outcome::Proving(_) => unreachable!("nobody looks after it"),
            Outcome::Streaming(streaming) => {
                connection.phase = Phase::Streaming { streaming, is_answered: false };
                Heard::Streaming(out)
            }
            Outcome::Ended => {
                self.connections.remove(&key);
                Heard::Answered(out, false)
            }
        }
    }

    /// Writes the next answer that is owed: whose it is, and all of it. The socket has taken nothing yet.
    pub(crate) fn answer(&mut self, now: Ms, looks: &mut u32) -> Option<(u64, Vec<u8>)> {
        let answer = self.api.hub.next_answer(now, looks)?;
        let Owner(key) = answer.owner();
        let connection = self.connections.get_mut(&key).expect("a connection that goes takes its waiter with it");
        if let Phase::Streaming { streaming, is_answered } = &mut connection.phase {
            assert!(streaming.waiter == answer.waiter() && !std::mem::replace(is_answered, true));
            let out = self.press.print_part(streaming, &answer, self.api.epoch).to_vec();
            if answer.ending().is_some() {
                connection.phase = Phase::Answering { waiter: streaming.waiter, keep_alive: false };
            }
            connection.outbox.clone_from(&out);
            return Some((key, out));
        }
        let Phase::Parked(parked) = &connection.phase else { panic!("the hub answers a poll that is not parked") };
        assert_eq!(parked.waiter, answer.waiter(), "the hub answers another poll than the one that is parked");
        let out = self.press.print(parked, &connection.habit, &answer, self.api.epoch, DATE).to_vec();
        connection.phase = Phase::Answering { waiter: parked.waiter, keep_alive: parked.exchange.keep_alive };
        connection.outbox.clone_from(&out);
        Some((key, out))
    }

    /// The socket takes so many bytes more, or what there is.
    pub(crate) fn flush(&mut self, now: Ms, key: u64, count: usize) -> Taken {
        let Some(connection) = self.connections.get_mut(&key) else { return Taken::default() };
        let count = count.min(connection.outbox.len());
        let bytes = connection.outbox.drain(..count).collect();
        match &mut connection.phase {
            &mut Phase::Answering { waiter, keep_alive } if connection.outbox.is_empty() => {
                connection.phase = Phase::Serving;
                self.api.hub.delivered(now, waiter);
                if !keep_alive {
                    self.connections.remove(&key);
                }
                Taken { bytes, is_whole: true, is_closed: !keep_alive }
            }
            Phase::Streaming { streaming, is_answered } if *is_answered && connection.outbox.is_empty() => {
                *is_answered = false;
                self.api.hub.delivered(now, streaming.waiter);
                Taken { bytes, is_whole: true, is_closed: false }
            }
            _ => Taken { bytes, is_whole: false, is_closed: false },
        }
    }

    /// The server hears that the other end has gone.
    pub(crate) fn bury(&mut self, now: Ms, key: u64) {
        match self.connections.remove(&key).map(|connection| connection.phase) {
            Some(Phase::Parked(Parked { waiter, .. }) | Phase::Answering { waiter, .. }) => {
                self.api.hub.cancel(now, waiter);
            }
            Some(Phase::Streaming { streaming, .. }) => self.api.hub.cancel(now, streaming.waiter),
            Some(Phase::Serving) | None => {}
        }
    }

    /// A stream's page is to hear something, be it nothing.
    pub(crate) fn beat(&mut self, key: u64) {
        let connection = self.connections.get_mut(&key).expect("it is connected");
        if let Phase::Streaming { streaming, .. } = &mut connection.phase {
            streaming.beat();
            self.api.hub.say_word(streaming.waiter);
        }
    }

    /// The page of a WebSocket says something. Whether it is listened to: not after the stream's last answer.
    pub(crate) fn say(&mut self, now: Ms, key: u64, bytes: &[u8]) -> bool {
        let connection = self.connections.get_mut(&key).expect("it is connected");
        let Phase::Streaming { streaming, .. } = &mut connection.phase else { return false };
        assert_eq!(self.api.receive(now, streaming, bytes, &mut Vec::new()), shaveet::api::Heard::All);
        true
    }

    /// Makes one call of the web application's, over a connection of its own.
    pub(crate) fn call(&mut self, now: Ms, body: &[u8]) -> Vec<u8> {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let key = self.connect();
        match self.hear(now, key, &[head.as_bytes(), body].concat()) {
            Heard::Answered(answer, false) => answer,
            other => panic!("a call is answered at once: {other:?}"),
        }
    }
}
