//! A node without its sockets: hub, cluster and link, all of them the real ones, and both of its ends: pages and Redis.
//!
//! It does what `src/server/broker.rs` and `serve.rs` do, in the same order.

use std::collections::BTreeMap;

use shaveet::broker::{Address, Failure, Link, Options, Ticket, Value};
use shaveet::clock::Ms;
use shaveet::cluster::{Admission, Awake, Cluster};
use shaveet::hub::{Ending, Hub, Kind, Limits, Owner, Protocol, Since, Transport, WaitError, Waiter};
use shaveet::slots::Key;

use super::redis::Redis;

/// What all keys begin with.
pub(crate) const PREFIX: &str = "shaveet";

/// `--broker-timeout`.
const TIMEOUT: Ms = Ms::from_secs(2);

/// When a poll is answered at the latest.
pub(crate) const POLL_MS: u64 = 25_000;

pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) cluster: Cluster,
    name: String,
    /// When it began, in the world's milliseconds.
    born: u64,
    line: Line,
    /// On its way to Redis, and from there.
    to_redis: Vec<u8>,
    from_redis: Vec<u8>,
    /// It had no time for all that has come from Redis.
    is_unheard: bool,
    /// What has come from pages and the web application, and was not looked at yet.
    inbox: Vec<Request>,
    /// Polls whose clients are being fetched.
    visitors: BTreeMap<u64, Asking>,
    /// Polls that wait, by their owners.
    waiters: BTreeMap<u64, Key<Waiter>>,
    told: Vec<Told>,
    /// How much it has time for.
    random: fastrand::Rng,
}

/// The socket of the link.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    None,
    /// It is dialled, and nobody has answered.
    Dialled(u32),
    Made {
        number: u32,
        connection: u64,
    },
}

/// Whether Redis can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Nothing comes through, and nobody says so.
    Cut,
    /// Nobody listens.
    Refused,
}

/// What comes from pages and the web application.
#[derive(Debug)]
pub(crate) enum Request {
    Poll {
        owner: u64,
        asking: Asking,
    },
    /// A function and its arguments.
    Call {
        owner: u64,
        parts: Vec<String>,
    },
    /// Who polls has gone.
    Leave {
        owner: u64,
    },
}

/// What a page asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) ids_and_keys: Vec<(String, String)>,
    pub(crate) start: Start,
    pub(crate) medium: Medium,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Original,
    Resume,
    Events,
    Socket,
}

/// Where it wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Acknowledged,
    Earliest,
    Behind { epoch: u64, seq: u64 },
}

/// What a node says to pages and to the web application.
#[derive(Debug)]
pub(crate) enum Told {
    /// A poll waits from now on. `is_lost` if its position is not believed.
    Parked {
        owner: u64,
        is_lost: bool,
    },
    Refused {
        owner: u64,
        why: Refusal,
    },
    Given(Given),
    Called {
        owner: u64,
        result: Result<Value, Failure>,
    },
}

impl Told {
    pub(crate) fn owner(&self) -> u64 {
        match self {
            Told::Parked { owner, .. } | Told::Refused { owner, .. } | Told::Called { owner, .. } => *owner,
            Told::Given(given) => given.owner,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is to come again: Redis cannot be asked.
    Away,
    Wait(WaitError),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) owner: u64,
    pub(crate) waiter: Key<Waiter>,
    pub(crate) messages: Vec<Got>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) epoch: u64,
    pub(crate) upto: Option<u64>,
    pub(crate) more: bool,
    pub(crate) ending: Option<Ending>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Got {
    pub(crate) channel: String,
    pub(crate) seq: u64,
    pub(crate) id: u64,
    pub(crate) text: String,
    pub(crate) is_system: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) channel: String,
    pub(crate) is_system: bool,
}

impl Node {
    pub(crate) fn new(now: u64, name: &str, limits: &Limits, seed: u64) -> Node {
        let address: Address = "redis://127.0.0.1".parse().expect("it is an address");
        let options = Options { address, prefix: PREFIX.into(), timeout: TIMEOUT, name: name.into() };
        let link = Link::new(options, Ms::ZERO, seed);
        let mut cluster = Cluster::new(link, PREFIX, name, limits, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        // So that others have turns in between.
        cluster.anew_steps = random.u32(4..=20);
        Node {
            hub: Hub::following(Ms::ZERO, limits.clone()),
            cluster,
            name: name.to_owned(),
            born: now,
            line: Line::None,
            to_redis: Vec::new(),
            from_redis: Vec::new(),
            is_unheard: false,
            inbox: Vec::new(),
            visitors: BTreeMap::new(),
            waiters: BTreeMap::new(),
            told: Vec::new(),
            random,
        }
    }

    fn clock(&self, now: u64) -> Ms {
        Ms(now - self.born)
    }

    /// A page or the web application asks for something. It is looked at in the next turn.
    pub(crate) fn ask(&mut self, request: Request) {
        self.inbox.push(request);
    }

    fn look_at(&mut self, now: Ms, request: Request) {
        match request {
            Request::Poll { owner, asking } => self.admit(now, owner, asking),
            Request::Call { owner, parts } => {
                if matches!(&*parts[0], "subscribe" | "unsubscribe") {
                    self.cluster.tell_position(now, &mut self.hub, &parts[1]);
                }
                let arguments: Vec<&[u8]> = parts[1..].iter().map(|part| part.as_bytes()).collect();
                if let Err(failure) = self.cluster.ask(now, Owner(owner), &parts[0], &arguments) {
                    self.told.push(Told::Called { owner, result: Err(failure) });
                }
            }
            // Its poll waits for nothing, or its answer is lost.
            Request::Leave { owner } => {
                self.visitors.remove(&owner);
                self.cluster.forget_visitor(Owner(owner));
                if let Some(waiter) = self.waiters.remove(&owner) {
                    self.hub.cancel(now, waiter);
                }
                self.told.retain(|told| told.owner() != owner);
            }
        }
    }

    fn admit(&mut self, now: Ms, owner: u64, asking: Asking) {
        let claims = asking.ids_and_keys.iter().map(|(id, key)| (&**id, key.as_bytes()));
        let since = match asking.start {
            Start::Behind { epoch, seq } => (self.cluster.epoch() == Some(epoch)).then_some(seq),
            Start::Acknowledged | Start::Earliest => Some(0),
        };
        match self.cluster.admit(now, &self.hub, Owner(owner), claims, since) {
            Admission::Ready => self.park(now, owner, &asking),
            Admission::Waits => {
                self.visitors.insert(owner, asking);
            }
            Admission::Failed(_) => self.told.push(Told::Refused { owner, why: Refusal::Away }),
        }
    }

    fn park(&mut self, now: Ms, owner: u64, asking: &Asking) {
        let since = match asking.start {
            Start::Acknowledged => Since::Acknowledged,
            Start::Earliest => Since::At(0),
            Start::Behind { epoch, seq } if self.cluster.epoch() == Some(epoch) && seq <= self.hub.position() => {
                Since::At(seq)
            }
            Start::Behind { .. } => Since::Lost,
        };
        let claims = asking.ids_and_keys.iter().map(|(id, key)| (id.as_bytes(), key.as_bytes()));
        let deadline = now + Ms(POLL_MS);
        let (hub, usual, owner_key) = (&mut self.hub, &mut Key::unpack(0), Owner(owner));
        let parked = match asking.medium {
            Medium::Original => hub.wait(now, owner_key, usual, claims, Protocol::Original, deadline),
            Medium::Resume => hub.wait(now, owner_key, usual, claims, Protocol::Resume(since), deadline),
            Medium::Events => hub.stream(now, owner_key, claims, since, Transport::Events),
            Medium::Socket => hub.stream(now, owner_key, claims, since, Transport::Socket),
        };
        self.told.push(match parked {
            Ok(waiter) => {
                self.waiters.insert(owner, waiter);
                Told::Parked { owner, is_lost: since == Since::Lost }
            }
            Err(error) => Told::Refused { owner, why: Refusal::Wait(error) },
        });
    }

    /// The poll or stream of an owner, which waits.
    pub(crate) fn waiter_of(&self, owner: u64) -> Key<Waiter> {
        self.waiters[&owner]
    }

    pub(crate) fn delivered(&mut self, now: u64, waiter: Key<Waiter>) {
        if self.hub.knows(waiter) {
            self.hub.delivered(self.clock(now), waiter);
        }
    }

    pub(crate) fn heard(&mut self, now: u64, waiter: Key<Waiter>, position: u64) {
        self.hub.heard(self.clock(now), waiter, position);
    }

    /// One turn, and all that follows from it at once. What it says to others.
    pub(crate) fn turn(&mut self, now: u64, redis: &mut Redis, way: Way) -> Vec<Told> {
        self.turn_hearing(now, redis, way, usize::MAX)
    }

    /// The same, but it has time for so much of what Redis says and no more: what pages ask for next comes in between.
    pub(crate) fn turn_hearing(&mut self, now: u64, redis: &mut Redis, way: Way, most: usize) -> Vec<Told> {
        let time = self.clock(now);
        let mut left = most;
        for _ in 0..TURNS_MAX {
            let mut is_quiet = self.inbox.is_empty();
            for request in std::mem::take(&mut self.inbox) {
                self.look_at(time, request);
            }
            self.see_to_line(time, redis, way);
            let bytes = std::mem::take(&mut self.from_redis);
            if !bytes.is_empty() {
                self.cluster.link.receive(time, &bytes);
            }
            // A turn hears as much as it has time for.
            let most = self.random.usize(1..=HEARD_MAX).min(left);
            let heard = (0..most).take_while(|_| self.cluster.hear_next(time, &mut self.hub)).count();
            self.is_unheard = heard == most;
            is_quiet &= heard == 0;
            left -= heard;
            // Redis is late only if nothing of it is left unread.
            if !self.is_unheard && self.cluster.link.next_timeout() <= time {
                self.cluster.link.handle_timeout(time);
                is_quiet = false;
            }
            self.cluster.turn(time, &mut self.hub);
            is_quiet &= self.wake(time);
            self.hub.handle_timeout(time, &mut 10_000);
            while self.answer(time) {
                is_quiet = false;
            }
            is_quiet &= !self.cluster.has_more() && self.cluster.link.next_timeout() > time;
            is_quiet |= left == 0;
            let output = self.cluster.link.output();
            self.to_redis.extend_from_slice(output);
            let count = output.len();
            self.cluster.link.sent(count);
            if is_quiet || self.is_beginning_anew() {
                return std::mem::take(&mut self.told);
            }
        }
        panic!("{} goes in circles", self.name);
    }

    /// Closes and opens the socket as the link wants it.
    fn see_to_line(&mut self, now: Ms, redis: &mut Redis, way: Way) {
        let wanted = self.cluster.link.line().map(|(number, _)| number);
        let number = match self.line {
            Line::None => None,
            Line::Dialled(number) | Line::Made { number, .. } => Some(number),
        };
        if wanted != number {
            if let Line::Made { connection, .. } = self.line {
                self.hang_up(redis, connection, way);
            }
            self.line = wanted.map_or(Line::None, Line::Dialled);
        }
        if let Line::Dialled(number) = self.line {
            match way {
                Way::Open => {
                    self.line = Line::Made { number, connection: redis.connect() };
                    self.cluster.link.connected(now);
                }
                Way::Refused => {
                    self.line = Line::None;
                    self.cluster.link.broken(now, "connection refused");
                }
                Way::Cut => {}
            }
        }
        if let Line::Made { connection, .. } = self.line
            && !redis.connections.contains_key(&connection)
        {
            self.break_line(now);
        }
    }

    /// The node's end is closed. What has left it is done, and nobody hears what comes of it.
    fn hang_up(&mut self, redis: &mut Redis, connection: u64, way: Way) {
        let left = std::mem::take(&mut self.to_redis);
        self.from_redis.clear();
        if let Some(found) = redis.connections.get_mut(&connection) {
            if way == Way::Open {
                found.inbox.extend_from_slice(&left);
            }
            found.is_closed = true;
        }
    }

    fn break_line(&mut self, now: Ms) {
        self.line = Line::None;
        self.to_redis.clear();
        self.from_redis.clear();
        self.cluster.link.broken(now, "connection reset by peer");
    }

    /// Both ends hear that the connection has broken. What was on its way to Redis may have come.
    pub(crate) fn reset(&mut self, now: u64, redis: &mut Redis, comes: bool) {
        if let Line::Made { connection, .. } = self.line {
            self.hang_up(redis, connection, if comes { Way::Open } else { Way::Cut });
            self.break_line(self.clock(now));
        }
    }

    /// It reads its settings anew.
    pub(crate) fn reload(&mut self, now: u64, limits: &Limits) {
        let now = self.clock(now);
        self.cluster.change_limits(now, &self.hub, limits);
    }

    /// The process has died.
    pub(crate) fn die(&mut self, redis: &mut Redis) {
        if let Line::Made { connection, .. } = self.line {
            self.hang_up(redis, connection, Way::Open);
        }
    }

    /// Moves bytes between the node and Redis. Whether there were any.
    pub(crate) fn carry(&mut self, redis: &mut Redis, up: bool, down: bool) -> bool {
        let Line::Made { connection, .. } = self.line else { return false };
        let Some(found) = redis.connections.get_mut(&connection) else { return false };
        let mut moved = false;
        if up && !self.to_redis.is_empty() {
            found.inbox.append(&mut self.to_redis);
            moved = true;
        }
        if down && !found.outbox.is_empty() {
            self.from_redis.append(&mut found.outbox);
            moved = true;
        }
        moved
    }

    /// Whether it lets go of what is of before: anything can happen between two turns of that.
    pub(crate) fn is_beginning_anew(&self) -> bool {
        self.hub.is_beginning_anew()
    }

    /// Whether bytes have come that it has not read.
    pub(crate) fn is_called(&self) -> bool {
        !self.from_redis.is_empty() || self.is_unheard
    }

    /// In the world's milliseconds.
    pub(crate) fn next_timeout(&self) -> u64 {
        let cluster = self.cluster.next_timeout().unwrap_or(Ms::MAX);
        let hub = self.hub.next_timeout().unwrap_or(Ms::MAX);
        self.cluster.link.next_timeout().min(cluster).min(hub).0.saturating_add(self.born)
    }

    /// Who waited goes on. Whether there was nobody.
    fn wake(&mut self, now: Ms) -> bool {
        let awake = self.cluster.take_awake();
        let is_quiet = awake.is_empty();
        for awake in awake {
            match awake {
                Awake::Visitor(Owner(owner)) => match self.visitors.remove(&owner) {
                    Some(asking) => self.admit(now, owner, asking),
                    None => self.cluster.forget_visitor(Owner(owner)),
                },
                Awake::Caller(Owner(owner), ticket) => self.called(owner, ticket),
            }
        }
        is_quiet
    }

    fn called(&mut self, owner: u64, ticket: Ticket) {
        let result = self.cluster.take_answer(ticket).expect("who is woken has an answer");
        self.told.push(Told::Called { owner, result });
    }

    fn answer(&mut self, now: Ms) -> bool {
        let epoch = self.cluster.epoch().unwrap_or(0);
        let Some(answer) = self.hub.next_answer(now, &mut 10_000) else { return false };
        let text = |json: &[u8]| serde_json::from_slice::<String>(json).expect("a text is a JSON string");
        let messages = answer.messages().map(|(channel, message)| Got {
            channel: channel.name().to_owned(),
            seq: message.seq(),
            id: serde_json::from_slice(message.id_json()).expect("an id is a number"),
            text: text(message.text_json()),
            is_system: matches!(message.kind(), Kind::System(_)),
        });
        let gaps =
            answer.gaps().map(|(channel, gap)| Gap { channel: channel.name().to_owned(), is_system: gap.system });
        let given = Given {
            owner: answer.owner().0,
            waiter: answer.waiter(),
            messages: messages.collect(),
            gaps: gaps.collect(),
            epoch,
            upto: answer.upto(),
            more: answer.more(),
            ending: answer.ending(),
        };
        self.told.push(Told::Given(given));
        true
    }
}

/// What a turn hears at most.
const HEARD_MAX: usize = 20;

/// Rounds of one turn: more would mean that it goes in circles.
const TURNS_MAX: usize = 10_000;
