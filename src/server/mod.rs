//! The server: the only rooms with a socket and a clock.
//!
//! One thread, one loop, edge-triggered: a socket is registered once, for its life. Whoever stops before a socket is
//! exhausted, because a budget is used up, has to leave it on the `queue`, for there will be no second event.
//!
//! `mod.rs` is the turn; `serve.rs` is what is done with one peer; `accept.rs` lets new ones in.

mod accept;
mod buffer;
mod clock;
mod listener;
mod peer;
mod serve;
mod signals;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use log::{debug, info};
use mio::{Events, Interest, Poll, Token};

use crate::api::Api;
use crate::clock::Ms;
use crate::config::Config;
use crate::hub::Hub;
use crate::slots::{Key, Slots};
use crate::wheel::Wheel;

pub use listener::{BindError, BoundAddress};

use accept::Door;
use clock::Clock;
use listener::Listener;
use peer::{Peer, Wait};
use signals::Signals;

/// Events taken from the kernel at once.
const EVENTS_PER_TURN: usize = 1024;

/// Bytes read in one turn; one read more may be under way when they are used up.
const READ_BYTES_PER_TURN: usize = 1 << 20;

/// Requests answered in one turn, at some us each; what is left of a pipeline waits for the next turn.
const REQUESTS_PER_TURN: u32 = 512;

/// Peers looked at in one turn.
const PEERS_PER_TURN: usize = 256;

/// Answers written in one turn: each is a system call of some 10 us.
const ANSWERS_PER_TURN: u32 = 64;

/// Subscribers and waiters looked at in one turn to find who is to be answered, at some 50 ns each.
const LOOKS_PER_TURN: u32 = 4096;

/// Reminders looked at in one turn, of peers and of the hub each.
const EXPIRIES_PER_TURN: u32 = 256;

/// The shared buffer that all sockets are read into: most requests are taken straight from it.
const INPUT_BYTES: usize = 64 << 10;

/// What a stopping server gives its last answers to leave, less than the second that it promises.
const STOP: Ms = Ms(800);

const SIGNALS: Token = Token(usize::MAX);

/// The listeners' tokens go down from here. A peer's is its key: generation and index would both have to be near their
/// end to reach them.
const FIRST_LISTENER: usize = usize::MAX - 1;

const _: () = assert!(usize::BITS == 64, "a peer's key fills a token of 64 bits");

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    config: Config,
    poll: Poll,
    events: Events,
    signals: Signals,
    clock: Clock,
    /// The turn's reading of the clock.
    now: Ms,
    api: Api,
    listeners: Vec<Listener>,
    door: Door,
    peers: Slots<Peer>,
    reminders: Wheel<Key<Peer>>,
    /// Peers whose reminder has fired; kept for its memory.
    late: Vec<Key<Peer>>,
    /// Peers to look at, in order.
    queue: VecDeque<Key<Peer>>,
    input: Vec<u8>,
    output: Vec<u8>,
    body: Vec<u8>,
    /// How much may still be read in this turn.
    bytes_left: usize,
    /// How many requests may still be answered in this turn.
    requests_left: u32,
    /// A signal has come; by then the last answers must have left.
    stopping: Option<Ms>,
}

impl Server {
    /// Listens on all addresses of the configuration, and raises the limit of descriptors as far as it goes.
    ///
    /// # Errors
    /// [`BindError`] names the address that cannot be listened on.
    pub fn bind(config: Config) -> Result<Server, BindError> {
        let poll = Poll::new().map_err(BindError::Loop)?;
        let signals = Signals::register(poll.registry(), SIGNALS).map_err(BindError::Loop)?;
        let mut listeners = config.listen.iter().map(Listener::bind).collect::<Result<Vec<_>, _>>()?;
        for (at, listener) in listeners.iter_mut().enumerate() {
            let token = Token(FIRST_LISTENER - at);
            poll.registry().register(listener.source(), token, Interest::READABLE).map_err(BindError::Loop)?;
        }
        let mut clock = Clock::start();
        let now = clock.now();
        let hub = Hub::new(now, config.hub_limits());
        let epoch = random().map_err(BindError::Loop)?;
        let seed = random().map_err(BindError::Loop)?;
        Ok(Server {
            api: Api::new(&config, hub, clock.date(), epoch, seed),
            door: Door::new(listeners.len(), accept::raise_descriptor_limit()),
            config,
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            signals,
            clock,
            now,
            listeners,
            peers: Slots::new(),
            reminders: Wheel::new(now),
            late: Vec::new(),
            queue: VecDeque::new(),
            input: vec![0; INPUT_BYTES],
            output: Vec::new(),
            body: Vec::new(),
            bytes_left: 0,
            requests_left: 0,
            stopping: None,
        })
    }

    /// Where it can be reached.
    #[must_use]
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().filter_map(|listener| listener.address().ok()).collect()
    }

    /// Serves until SIGINT or SIGTERM comes: then it answers the parked polls empty and returns within a second.
    ///
    /// # Errors
    /// If the kernel refuses to wait for events.
    pub fn run(mut self) -> io::Result<()> {
        while !self.is_done() {
            self.turn()?;
        }
        if cfg!(debug_assertions) {
            self.api.hub.check();
        }
        info!("stopped");
        Ok(())
    }

    /// The whole program.
    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        self.now = self.clock.now();
        self.note_events();
        self.accept();
        self.serve_queue();
        self.expire();
        self.deliver();
        Ok(())
    }

    /// The one place where the process sleeps: until something happens, or is due, or not at all if work is left over.
    fn wait(&mut self) -> io::Result<()> {
        let next = [self.reminders.next(), self.api.hub.next_timeout(), self.door.reopens_at(), self.stopping];
        let timeout = if !self.queue.is_empty() || self.api.hub.has_answers() || self.door.is_crowded() {
            Some(Duration::ZERO)
        } else {
            next.into_iter().flatten().min().map(|at| (at - self.now).as_duration())
        };
        match self.poll.poll(&mut self.events, timeout) {
            // A signal: an early turn.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Writes down what the kernel says; nothing is done about it yet.
    fn note_events(&mut self) {
        let mut stop = false;
        for event in &self.events {
            match event.token() {
                SIGNALS => stop = true,
                Token(token) if token > FIRST_LISTENER - self.door.width() => self.door.knock(FIRST_LISTENER - token),
                Token(token) => {
                    let key = Key::unpack(token as u64);
                    let Some(peer) = self.peers.get_mut(key) else { continue };
                    peer.readable |= event.is_readable() || event.is_error();
                    peer.hung_up |= event.is_read_closed() || event.is_error();
                    if !std::mem::replace(&mut peer.queued, true) {
                        self.queue.push_back(key);
                    }
                }
            }
        }
        if stop && self.signals.stop_requested() {
            self.stop();
        }
    }

    /// Looks at the peers on the queue. What is beyond the budgets stays on it.
    fn serve_queue(&mut self) {
        self.bytes_left = READ_BYTES_PER_TURN;
        self.requests_left = REQUESTS_PER_TURN;
        for _ in 0..self.queue.len().min(PEERS_PER_TURN) {
            if self.bytes_left == 0 || self.requests_left == 0 {
                break;
            }
            let Some(key) = self.queue.pop_front() else { break };
            self.serve(key);
        }
    }

    /// Does what is due: first the peers' deadlines, then the hub's.
    fn expire(&mut self) {
        let mut late = std::mem::take(&mut self.late);
        self.reminders.expire(self.now, &mut EXPIRIES_PER_TURN.clone(), &mut late);
        for key in late.drain(..) {
            self.look_at_deadline(key);
        }
        self.late = late;
        self.api.hub.handle_timeout(self.now, &mut EXPIRIES_PER_TURN.clone());
    }

    fn look_at_deadline(&mut self, key: Key<Peer>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.reminded > self.now {
            // A leftover: an earlier one has been here and has reminded anew.
            return;
        }
        peer.reminded = Ms::MAX;
        match peer.is_late(self.now) {
            None => self.remind(key),
            Some(Wait::Head | Wait::Body) => self.refuse_late(key),
            Some(late @ (Wait::Idle | Wait::Write | Wait::Drain | Wait::Nothing)) => {
                debug!("peer {key:?}: closed, it waited too long ({late:?})");
                self.bury(key);
            }
        }
    }

    /// Writes what the hub owes, one answer after the other, within the budgets.
    fn deliver(&mut self) {
        let mut looks = LOOKS_PER_TURN;
        for _ in 0..ANSWERS_PER_TURN {
            let Some(answer) = self.api.hub.next_answer(self.now, &mut looks) else { break };
            let key = Key::unpack(answer.owner().0);
            let peer = self.peers.get_mut(key).expect("a peer that goes takes its waiter with it");
            self.output.clear();
            let (epoch, date, is_last) = (self.api.epoch, self.clock.date(), self.stopping.is_some());
            let sent = peer.answer(&answer, epoch, is_last, date, &mut self.body, &mut self.output);
            self.settle(key, sent);
            self.look_again(key);
        }
    }

    /// Begins to stop: nobody new comes in, and everybody who waits is answered.
    fn stop(&mut self) {
        if self.stopping.is_none() {
            info!("stopping: {} connections, {} parked polls", self.peers.len(), self.api.hub.stats().waiters);
            self.listeners.clear();
            self.door.shut();
            self.stopping = Some(self.now + STOP);
            self.api.hub.end_all_waiting();
        }
    }

    fn is_done(&self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let all_answered =
            || self.peers.iter().all(|(_, peer)| peer.has_taken_all() && peer.waiter().is_none() && !peer.queued);
        self.now >= deadline || (!self.api.hub.has_answers() && all_answered())
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}
