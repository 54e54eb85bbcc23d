//! The server without its sockets: its decoder, API, hub and press, in turns cut by the server's own clock.
//!
//! It does what `src/server` does, in the same order and in the same small steps. What is missing is what the kernel does
//! (the reads, the writes, the events) and the peers' own deadlines.

use std::time::Duration;

use shaveet::api::{Api, Entrance, Habit, Outcome, Parked, Press, Progress, Visit};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::http::{Decoder, Exchange, Limits, Method, Step};
use shaveet::hub::{Hub, Owner, Waiter};
use shaveet::server::{Clock, EXPIRIES_PER_STEP, LOOKS_PER_STEP, Work};
use shaveet::slots::{Key, Slots};

use super::gauge;

/// What all answers are dated with.
const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

/// Steps of a large call at once, as in the server.
const STEPS_AT_ONCE: u32 = 16;

/// The server.
pub(crate) struct Edge {
    pub(crate) api: Api,
    pub(crate) now: Ms,
    pub(crate) spent: Spent,
    clock: Clock,
    limits: Limits,
    peers: Slots<Peer>,
    press: Press,
    output: Vec<u8>,
}

/// The server's end of a connection, without a socket and its deadline.
struct Peer {
    decoder: Decoder,
    habit: Habit,
    phase: Phase,
}

enum Phase {
    Serving,
    Parked(Parked),
}

/// Bytes of a request, and from whom.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<(Key<()>, usize)>,
}

/// What the turns since the last look took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    /// Reading and doing requests.
    pub(crate) serving: Duration,
    /// Reminders.
    pub(crate) expiring: Duration,
    /// Finding and writing answers.
    pub(crate) delivering: Duration,
    pub(crate) turns: u64,
    pub(crate) longest: Duration,
}

impl Edge {
    pub(crate) fn new(config: &Config) -> Edge {
        let now = Ms::from_secs(1);
        Edge {
            api: Api::new(config, Hub::new(now, config.hub_limits()), DATE, 1, 1),
            now,
            spent: Spent::default(),
            clock: Clock::start(),
            limits: config.http_limits(),
            peers: Slots::new(),
            press: Press::default(),
            output: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self) -> Key<()> {
        let peer = Peer { decoder: Decoder::new(), habit: Habit::default(), phase: Phase::Serving };
        Key::unpack(self.peers.insert(peer).pack())
    }

    /// One turn: takes requests from `arrivals`, from the place `next` on, does what is due, and answers. Returns who was
    /// answered in `answered`.
    pub(crate) fn turn(&mut self, arrivals: &Arrivals, next: &mut usize, answered: &mut Vec<Key<()>>) {
        let begin = gauge::cpu();
        self.clock.begin_turn();
        self.serve(arrivals, next);
        let served = gauge::cpu();
        self.expire();
        let expired = gauge::cpu();
        self.deliver(answered);
        let end = gauge::cpu();
        self.spent.serving += served - begin;
        self.spent.expiring += expired - served;
        self.spent.delivering += end - expired;
        self.spent.turns += 1;
        self.spent.longest = self.spent.longest.max(end - begin);
    }

    /// Whether another turn would do something without anybody saying anything.
    pub(crate) fn has_work(&self) -> bool {
        self.api.hub.has_answers() || self.api.hub.next_timeout().is_some_and(|at| at <= self.now)
    }

    /// What was written last.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// A page closes its connection, parked or not.
    #[inline(never)]
    pub(crate) fn bury(&mut self, key: Key<()>) {
        if let Some(Peer { phase: Phase::Parked(parked), .. }) = self.peers.remove(Key::unpack(key.pack())) {
            self.api.hub.cancel(self.now, parked.waiter);
        }
    }

    #[inline(never)]
    fn serve(&mut self, arrivals: &Arrivals, next: &mut usize) {
        self.clock.begin(Work::Serve);
        while let Some(&(key, end)) = arrivals.ends.get(*next) {
            let begin = next.checked_sub(1).map_or(0, |before| arrivals.ends[before].1);
            *next += 1;
            self.request(Key::unpack(key.pack()), &arrivals.bytes[begin..end]);
            if !self.clock.has_time() {
                break;
            }
        }
    }

    fn request(&mut self, key: Key<Peer>, bytes: &[u8]) {
        let peer = &mut self.peers[key];
        let step = peer.decoder.next(&self.limits, bytes);
        let Ok(Step::Request { request, used }) = step else { panic!("what we send are whole requests") };
        assert_eq!(used, bytes.len(), "one request at a time");
        let exchange = Exchange { head_only: request.method == Method::Head, keep_alive: request.keep_alive };
        let visit =
            Visit { now: self.now, date: DATE, owner: Owner(key.pack()), address: None, entrance: Entrance::Shared };
        self.output.clear();
        match self.api.handle(visit, &request, exchange, &mut peer.habit, &mut self.output) {
            Outcome::Answered => {}
            Outcome::Parked(parked) => peer.phase = Phase::Parked(parked),
            Outcome::Streaming(_) | Outcome::Ended => unreachable!("nobody streams here"),
            Outcome::Later(_) => unreachable!("nobody polls for nothing"),
            Outcome::Metrics(_) | Outcome::Proving(_) => unreachable!("nobody looks after it"),
            Outcome::Working(mut call) => {
                if call.wants_body().is_some() {
                    call.take_body(request.body.into_owned(), 0);
                }
                while self.api.work(&mut call, self.now, DATE, STEPS_AT_ONCE, &mut self.output) != Progress::Said {}
            }
        }
    }

    #[inline(never)]
    fn expire(&mut self) {
        self.clock.begin(Work::Expire);
        while self.api.hub.next_timeout().is_some_and(|at| at <= self.now) {
            self.api.hub.handle_timeout(self.now, &mut EXPIRIES_PER_STEP.clone());
            if !self.clock.has_time() {
                break;
            }
        }
    }

    #[inline(never)]
    fn deliver(&mut self, answered: &mut Vec<Key<()>>) {
        self.clock.begin(Work::Deliver);
        while self.api.hub.has_answers() && self.clock.has_time() {
            let Some(answer) = self.api.hub.next_answer(self.now, &mut LOOKS_PER_STEP.clone()) else { continue };
            let key: Key<Peer> = Key::unpack(answer.owner().0);
            let peer = self.peers.get_mut(key).expect("a peer that goes takes its waiter with it");
            let Phase::Parked(parked) = &peer.phase else { panic!("the hub answers a poll that is not parked") };
            let waiter: Key<Waiter> = parked.waiter;
            let bytes = self.press.print(parked, &peer.habit, &answer, self.api.epoch, DATE);
            assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"), "a poll is answered");
            peer.phase = Phase::Serving;
            self.api.hub.delivered(self.now, waiter);
            answered.push(Key::unpack(key.pack()));
        }
    }
}
