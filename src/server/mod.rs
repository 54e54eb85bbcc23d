//! The server: the only rooms with a socket and a clock.
//!
//! One thread, one loop, edge-triggered: a socket is registered once, for its life. Whoever stops before a socket is
//! exhausted, because a budget is used up, has to leave it in line, for there will be no second event.
//!
//! A turn lasts half a millisecond, whatever there is to do. Each kind of work has a share of it (`clock.rs`), and stops
//! between two small steps when that is used up; what is left makes the next wait return at once.
//!
//! `mod.rs` is the turn; `serve.rs` is what is done with one peer, `stream.rs` with one that streams; `accept.rs` lets new
//! ones in; `broker.rs` is the link to Redis.

mod accept;
mod broker;
mod channel;
mod clock;
mod drain;
mod handover;
mod lines;
mod listener;
mod look_up;
mod memory;
mod metrics;
mod passing;
mod peer;
mod proof;
mod reload;
mod serve;
mod signals;
mod storage;
mod stream;
mod supervisor;
mod upgrade;
mod verdict;
mod visitors;

use std::io;
use std::time::Duration;

use log::{debug, info, warn};
use mio::{Events, Interest, Poll, Token};

use crate::api::{Api, Cors, Entrance, Press, Readiness, Secret};
use crate::clock::Ms;
use crate::config::{Address, Config};
use crate::hub::Hub;
use crate::paged::Queue;
use crate::slots::{Key, Slots};
use crate::wheel::Wheel;

pub use clock::{Clock, Turns, Work};
pub use listener::{BindError, BoundAddress};
pub use storage::StateError;
pub use upgrade::{Beginning, VARIABLE as UPGRADE_VARIABLE};
pub use verdict::Verdict;

use accept::Door;
use broker::{BROKER, Broker, WATCH};
use drain::Stop;
use handover::Inherited;
use lines::Lines;
use listener::Listener;
use memory::Memory;
use metrics::Counts;
use peer::{Peer, Phase, Wait};
use reload::Origin;
use signals::Signals;
use storage::{Past, Storage};
use supervisor::Supervisor;
use upgrade::{Program, Upgrade};
use visitors::Visitors;

/// Events taken from the kernel at once.
const EVENTS_PER_TURN: usize = 1024;

/// Subscribers and waiters looked at before the clock is looked at again, at some 50 ns each.
pub const LOOKS_PER_STEP: u32 = 128;

/// Reminders looked at before the clock is looked at again, of peers and of the hub each. A client that leaves takes some
/// us for each of its channels.
pub const EXPIRIES_PER_STEP: u32 = 8;

/// The shared buffer that all sockets are read into: most requests are taken straight from it.
const INPUT_BYTES: usize = 64 << 10;

const SIGNALS: Token = Token(usize::MAX);

/// The listeners' tokens go down from here. A peer's is its key: generation and index would both have to be near their
/// end to reach them.
const FIRST_LISTENER: usize = usize::MAX - 3;

const _: () = assert!(usize::BITS == 64, "a peer's key fills a token of 64 bits");

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    config: Config,
    /// Where that comes from, if it can be read again.
    origin: Option<Origin>,
    poll: Poll,
    events: Events,
    signals: Signals,
    clock: Clock,
    /// The turn's reading of the clock.
    now: Ms,
    api: Api,
    listeners: Vec<Listener>,
    door: Door,
    visitors: Visitors,
    memory: Memory,
    peers: Slots<Peer>,
    reminders: Wheel<Key<Peer>>,
    /// Peers whose reminder has fired; kept for its memory.
    late: Vec<Key<Peer>>,
    /// Peers to look at.
    lines: Lines,
    /// Peers whose calls are not done, in turns.
    jobs: Queue<Key<Peer>>,
    input: Vec<u8>,
    output: Vec<u8>,
    press: Press,
    counts: Counts,
    /// Descriptors that are no peers'.
    own_descriptors: u64,
    storage: Option<Storage>,
    /// The Redis that it shares with other nodes.
    broker: Option<Box<Broker>>,
    supervisor: Supervisor,
    /// The addresses of listeners that it has handed over.
    supervised: Vec<Address>,
    program: Program,
    /// Another program is to take its place.
    upgrade: Option<Upgrade>,
    /// It has taken another's place, and leaves requests where they are.
    arrives_until: Option<Ms>,
    /// A signal has come.
    stopping: Option<Stop>,
}

impl Server {
    /// Listens on all addresses of the configuration, and raises the limit of descriptors as far as it goes. `used` is a gauge
    /// of the process's memory: bytes that it has asked of the allocator.
    ///
    /// # Errors
    /// [`BindError`] names the address that cannot be listened on.
    pub fn bind(config: Config, used: fn() -> usize) -> Result<Server, BindError> {
        let inherited = supervisor::listeners(&config).map_err(BindError::HandedOver)?;
        let limits = config.hub_limits();
        let past = |storage: Option<&Storage>| storage.map_or(Ok(None), |storage| storage.past(limits));
        Server::assemble(config, used, inherited, past)
    }

    /// The same with some listeners that are there already, and with what is known from before.
    fn assemble(
        mut config: Config,
        used: fn() -> usize,
        inherited: Vec<Inherited>,
        past: impl FnOnce(Option<&Storage>) -> Result<Option<Past>, StateError>,
    ) -> Result<Server, BindError> {
        let supervised: Vec<Address> =
            inherited.iter().filter(|one| one.is_supervised).map(|one| one.address.clone()).collect();
        let for_pages = inherited.iter().filter(|one| one.is_supervised && !one.is_for_calls);
        supervisor::amend(&mut config, for_pages.map(|one| &one.address));
        if config.broker.is_some() && config.state.take().is_some() {
            warn!("--state is not used: with --broker all that outlives the process is in Redis");
        }
        let program = Program::this();
        let poll = Poll::new().map_err(BindError::Loop)?;
        let signals = Signals::register(poll.registry(), SIGNALS).map_err(BindError::Loop)?;
        let mut listeners = bind_all(&config, inherited)?;
        for (at, listener) in listeners.iter_mut().enumerate() {
            let token = Token(FIRST_LISTENER - at);
            poll.registry().register(listener.source(), token, Interest::READABLE).map_err(BindError::Loop)?;
        }
        // After listening: if that fails another server runs, perhaps, and the state is its own.
        let mut storage = Storage::open(&config).map_err(BindError::State)?;
        let past = past(storage.as_ref()).map_err(BindError::State)?;
        let fresh = || Past { now: Ms::ZERO, hub: Hub::new(Ms::ZERO, config.hub_limits()), epoch: None };
        let Past { now, hub, epoch } = past.unwrap_or_else(fresh);
        let mut clock = Clock::start_at(now);
        let now = clock.begin_turn();
        if let Some(storage) = &mut storage {
            storage.begin(now);
        }
        let epoch = epoch.map_or_else(random, Ok).map_err(BindError::Loop)?;
        let seed = random().map_err(BindError::Loop)?;
        let mut api = Api::new(&config, hub, clock.date(), epoch, seed);
        if let Some(path) = &config.rpc_token_file {
            api.access.require(Secret::read(path).map_err(|error| BindError::Token(path.clone(), error))?);
        }
        let mut broker = Broker::new(&config).map_err(BindError::BrokerPassword)?;
        api.cluster = broker::join(&config, now, &mut api.hub).map_err(BindError::Loop)?;
        if let (Some(broker), Some(cluster)) = (&mut broker, &api.cluster) {
            broker.watch(&cluster.link, now).map_err(BindError::Loop)?;
        }
        let cors = Cors::new(&config);
        Ok(Server {
            api,
            door: Door::new(listeners.len(), config.listen.len(), accept::raise_descriptor_limit()),
            visitors: Visitors::new(&config),
            memory: Memory::new(used, config.memory_max),
            config,
            origin: None,
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            signals,
            clock,
            now,
            listeners,
            peers: Slots::new(),
            reminders: Wheel::new(now),
            late: Vec::new(),
            lines: Lines::default(),
            jobs: Queue::new(),
            input: vec![0; INPUT_BYTES],
            output: Vec::new(),
            press: Press::new(cors),
            counts: Counts::default(),
            own_descriptors: metrics::open_descriptors() + broker.as_ref().map_or(0, |broker| broker.descriptors()),
            storage,
            broker,
            supervisor: Supervisor::of_this_process(now),
            supervised,
            program,
            upgrade: None,
            arrives_until: None,
            stopping: None,
        })
    }

    /// Where it can be reached, the listeners for the API alone at the end.
    #[must_use]
    pub fn addresses(&self) -> Vec<(BoundAddress, Entrance)> {
        let listeners = self.listeners.iter().enumerate();
        listeners.filter_map(|(at, listener)| Some((listener.address().ok()?, self.entrance(at)))).collect()
    }

    /// What a listener is for.
    fn entrance(&self, listener: usize) -> Entrance {
        if self.config.rpc_listen.is_empty() {
            Entrance::Shared
        } else if listener < self.config.listen.len() {
            Entrance::Pages
        } else {
            Entrance::Rpc
        }
    }

    /// Serves until SIGINT or SIGTERM comes: then it answers the parked polls bit by bit, and returns when all have their answers.
    ///
    /// # Errors
    /// If the kernel refuses to wait for events, or the state cannot be written.
    pub fn run(mut self) -> io::Result<()> {
        Supervisor::is_ready();
        while !self.is_done() {
            self.turn()?;
        }
        if cfg!(debug_assertions) {
            self.api.hub.check();
            let buffered: usize = self.peers.iter().map(|(_, peer)| peer.buffered()).sum();
            assert_eq!(self.counts.buffer_bytes, buffered, "buffers are counted as they grow and shrink");
        }
        debug!("turns: {}", self.clock.turns());
        if let Some(storage) = &mut self.storage {
            storage.write_whole(self.now, self.api.epoch.number(), &self.api.hub).map_err(io::Error::other)?;
        }
        info!("stopped");
        Ok(())
    }

    /// The whole program.
    fn turn(&mut self) -> io::Result<()> {
        let slept_max = self.wait()?;
        let (now, stopped) = self.clock.wake(slept_max);
        self.now = now;
        if let Some(stopped) = stopped {
            warn!("the process was stopped for {:.1} s; deadlines wait for as long", stopped.as_secs_f64());
            self.forget_leases();
        }
        self.api.hub.live_in(self.now, self.memory.look(self.now));
        self.note_events();
        self.arrive();
        self.accept();
        self.serve_lines();
        self.expire();
        self.hear_broker();
        self.tell_figures();
        self.adapt();
        self.end_polls();
        self.deliver();
        self.work();
        self.save();
        self.see_off();
        self.flush_broker();
        self.go_on_upgrading();
        self.supervisor.turns(self.now);
        self.clock.end_turn();
        Ok(())
    }

    /// How long the turns were.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        self.clock.turns()
    }

    /// The one place where the process sleeps: until something happens, or is due, or not at all if work is left over.
    /// Returns for how long at most.
    fn wait(&mut self) -> io::Result<Option<Duration>> {
        let stops_at = self.stopping.as_ref().map(Stop::wakes_at);
        let saves_at = self.storage.as_ref().filter(|_| stops_at.is_none()).map(|storage| storage.due(self.now));
        let upgrades_at = self.upgrade.as_ref().map(Upgrade::until);
        let figures_at = self.api.figures_due().filter(|_| self.stopping.is_none());
        let broker_at = self.broker_due();
        let own = [stops_at, saves_at, upgrades_at, figures_at, broker_at, self.supervisor.due()];
        let next = [self.reminders.next(), self.api.hub.next_timeout(), self.door.reopens_at()].into_iter().chain(own);
        let is_left = !self.lines.are_empty() || !self.jobs.is_empty() || self.api.hub.is_changing();
        let timeout = if is_left || self.api.hub.has_answers() || self.door.is_crowded() || self.is_stopping_on() {
            Some(Duration::ZERO)
        } else {
            next.flatten().min().map(|at| (at - self.now).as_duration())
        };
        match self.poll.poll(&mut self.events, timeout) {
            // A signal: an early turn.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(timeout)
            }
            result => result.map(|()| timeout),
        }
    }

    /// Writes down what the kernel says; nothing is done about it yet.
    fn note_events(&mut self) {
        let mut signalled = false;
        for event in &self.events {
            match event.token() {
                SIGNALS => signalled = true,
                token @ (BROKER | WATCH) => self.broker.iter_mut().for_each(|broker| broker.note_event(token, event)),
                Token(token) if token > FIRST_LISTENER - self.door.width() => self.door.knock(FIRST_LISTENER - token),
                Token(token) => {
                    let key = Key::unpack(token as u64);
                    let Some(peer) = self.peers.get_mut(key) else { continue };
                    peer.readable |= event.is_readable() || event.is_error();
                    peer.hung_up |= event.is_read_closed() || event.is_error();
                    self.lines.put(key, peer);
                }
            }
        }
        if signalled {
            let wishes = self.signals.take();
            if wishes.reload {
                Supervisor::reloads();
                self.reload();
                Supervisor::is_ready();
            }
            if wishes.stop {
                self.stop();
            }
            if wishes.upgrade {
                self.begin_upgrade();
            }
        }
    }

    /// Looks at the peers in line, each once at most. Who is beyond the turn's share stays there, and so do all when
    /// messages might fall out that others wait for.
    fn serve_lines(&mut self) {
        if self.lines.len() == 0 {
            return;
        }
        self.clock.begin(Work::Serve);
        for _ in 0..self.lines.len() {
            let Some(key) = self.lines.next() else { break };
            self.serve(key);
            if !self.clock.has_time_for_another(self.counts.moved_bytes()) || self.api.hub.is_pressed() {
                break;
            }
        }
    }

    /// Does what is due: the peers' deadlines and the hub's, in turns.
    fn expire(&mut self) {
        let is_due = |server: &Server| {
            [server.reminders.next(), server.api.hub.next_timeout()].into_iter().flatten().any(|at| at <= server.now)
        };
        if !is_due(self) {
            return;
        }
        self.clock.begin(Work::Expire);
        while is_due(self) {
            let mut late = std::mem::take(&mut self.late);
            self.reminders.expire(self.now, &mut EXPIRIES_PER_STEP.clone(), &mut late);
            for key in late.drain(..) {
                self.look_at_deadline(key);
            }
            self.late = late;
            self.api.hub.handle_timeout(self.now, &mut EXPIRIES_PER_STEP.clone());
            if !self.clock.has_time() || self.api.hub.is_pressed() {
                break;
            }
        }
        self.api.forget(self.now);
    }

    fn look_at_deadline(&mut self, key: Key<Peer>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.reminded > self.now {
            // A leftover: an earlier one has been here and has reminded anew.
            return;
        }
        peer.reminded = Ms::MAX;
        let late = peer.is_late(self.now);
        if !matches!(late, None | Some(Wait::Beat | Wait::Hold)) {
            self.counts.buffer_bytes -= peer.buffered();
        }
        self.counts.refused.note_late(late.unwrap_or(Wait::Nothing));
        match late {
            None => self.remind(key),
            Some(Wait::Head | Wait::Body) => self.refuse_late(key),
            Some(Wait::Canary) => self.prove(key, Readiness::Late),
            Some(Wait::Beat) => self.beat(key),
            Some(Wait::Hold) => self.release(key),
            Some(late @ (Wait::Idle | Wait::Write | Wait::Drain | Wait::Nothing)) => {
                debug!("peer {key:?}: closed, it waited too long ({late:?})");
                self.bury(key);
            }
        }
    }

    /// Writes what the hub owes, one answer after the other, as long as the turn's share lasts.
    fn deliver(&mut self) {
        if !self.api.hub.has_answers() {
            return;
        }
        self.clock.begin(Work::Deliver);
        while self.api.hub.has_answers() && self.clock.has_time_for_another(self.counts.moved_bytes()) {
            let Some(answer) = self.api.hub.next_answer(self.now, &mut LOOKS_PER_STEP.clone()) else { continue };
            let key = Key::unpack(answer.owner().0);
            let peer = self.peers.get_mut(key).expect("a peer that goes takes its waiter with it");
            self.counts.buffer_bytes -= peer.buffered();
            if peer.has_left() {
                // It takes nothing (WIRE P18), even if its time to be seen off has not come yet.
                self.bury(key);
                continue;
            }
            if let Phase::Proving(_) = peer.phase {
                let readiness = if answer.brings_canary() { Readiness::Ready } else { Readiness::Stopping };
                self.prove(key, readiness);
                continue;
            }
            let (epoch, date, is_last) = (self.api.epoch, self.clock.date(), self.stopping.is_some());
            let sent = peer.answer(&answer, &mut self.press, epoch, is_last, date);
            self.settle(key, sent);
            self.look_again(key);
        }
    }

    /// Goes on with large calls, each some steps in turn, as long as the turn's share lasts.
    fn work(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        self.clock.begin(Work::Jobs);
        while let Some(key) = self.jobs.pop_front() {
            self.work_on(key);
            if !self.clock.has_time() {
                break;
            }
        }
    }

    /// Writes some of the state, while it is being written.
    fn save(&mut self) {
        if let Some(storage) = self.storage.as_mut().filter(|_| self.stopping.is_none())
            && storage.due(self.now) <= self.now
        {
            self.clock.begin(Work::Save);
            storage.write_some(self.now, self.api.epoch.number(), &self.api.hub, || self.clock.has_time());
        }
    }

    /// Buries who has left, as long as the turn lasts.
    fn see_off(&mut self) {
        if self.lines.leaving() == 0 {
            return;
        }
        self.clock.begin(Work::Farewell);
        for _ in 0..self.lines.leaving() {
            let Some(key) = self.lines.next_leaving() else { break };
            self.serve(key);
            if !self.clock.has_time() {
                break;
            }
        }
    }
}

/// Listens everywhere, for the API alone last. What is inherited need not be bound; what of it is not wanted any more is closed.
fn bind_all(config: &Config, mut inherited: Vec<Inherited>) -> Result<Vec<Listener>, BindError> {
    let shared = config.listen.iter().map(|address| (address, None));
    let for_rpc = config.rpc_listen.iter().map(|address| (address, Some(config.rpc_socket_mode)));
    let bind = |(address, mode): (&Address, Option<u32>)| {
        Inherited::take(&mut inherited, address, mode.is_some()).map_or_else(|| Listener::bind(address, mode), Ok)
    };
    shared.chain(for_rpc).map(bind).collect()
}

/// By which the kernel names a peer.
fn token(key: Key<Peer>) -> Token {
    Token(usize::try_from(key.pack()).expect("a token has 64 bits"))
}

/// For both, and never again: a full socket that empties makes an event of its own.
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}
