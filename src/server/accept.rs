//! Letting new connections in, and closing the door for a moment when the process has no descriptors left.

use std::io;

use log::{debug, info, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::{Ms, Seldom};

use super::clock::Work;
use super::peer::Peer;
use super::visitors::Excess;
use super::{INTEREST, Server, token};

/// How long the door stays closed when descriptors have run out. The crowd waits in the kernel's backlog meanwhile.
const PAUSE: Ms = Ms(250);

/// Who knocks, and whether anybody can come in.
#[derive(Debug)]
pub(super) struct Door {
    /// For each listener, whether there may be somebody to accept.
    knocking: Vec<bool>,
    /// Descriptors have run out: nobody is accepted before this time.
    closed_until: Option<Ms>,
    /// There are as many connections as there may be: only calls by their own listener are accepted before this time.
    full_until: Option<Ms>,
    /// The listeners from here on are for calls alone.
    for_calls: usize,
    /// That they have run out has been logged, and nobody has been accepted since.
    complained: bool,
    /// How many descriptors the process may have open.
    descriptors: u64,
    /// Whether it may be logged that there are too many: of one address, and in all.
    aloud: [Seldom; 2],
}

impl Door {
    pub(super) fn new(listeners: usize, for_calls: usize, descriptors: u64) -> Door {
        Door {
            knocking: vec![false; listeners],
            closed_until: None,
            full_until: None,
            for_calls,
            complained: false,
            descriptors,
            aloud: [Seldom::default(); 2],
        }
    }

    /// How many descriptors the process may have open.
    pub(super) fn descriptors(&self) -> u64 {
        self.descriptors
    }

    pub(super) fn width(&self) -> usize {
        self.knocking.len()
    }

    pub(super) fn knock(&mut self, listener: usize) {
        self.knocking[listener] = true;
    }

    /// Whether somebody can be let in at once.
    pub(super) fn is_crowded(&self) -> bool {
        self.closed_until.is_none() && self.knocking[self.first_open()..].contains(&true)
    }

    /// When the door opens again, if it is closed.
    pub(super) fn reopens_at(&self) -> Option<Ms> {
        self.closed_until.or(self.full_until)
    }

    /// From which listener on somebody is let in.
    fn first_open(&self) -> usize {
        if self.full_until.is_some() { self.for_calls } else { 0 }
    }

    /// Closes it for good.
    pub(super) fn shut(&mut self) {
        *self = Door::new(0, 0, self.descriptors);
    }
}

impl Server {
    /// Lets in who comes, as long as the turn's share lasts.
    pub(super) fn accept(&mut self) {
        if self.door.closed_until.is_some_and(|until| until > self.now) {
            return;
        }
        self.door.closed_until = None;
        self.door.full_until = self.door.full_until.filter(|until| *until > self.now);
        if !self.door.is_crowded() {
            return;
        }
        self.clock.begin(Work::Accept);
        // One of each in turns: a crowd at one listener does not shut the others.
        while self.door.is_crowded() && self.clock.has_time() {
            for at in self.door.first_open()..self.listeners.len() {
                if self.door.knocking[at] && self.door.closed_until.is_none() {
                    self.accept_one(at);
                }
            }
        }
    }

    fn accept_one(&mut self, at: usize) {
        // Calls by their own listener come in though pages are too many.
        if self.peers.len() >= self.config.max_connections && at < self.door.for_calls {
            self.door.full_until = Some(self.now + PAUSE);
            self.counts.refused.connections += 1;
            return self.complain_of_crowd(0, "in all; --max-connections is the limit");
        }
        match self.listeners[at].accept() {
            Ok((mut stream, address)) => {
                if let Err(excess) = self.visitors.come(self.now, address) {
                    self.counts.refused.note_excess(excess);
                    return self.complain_of_crowd(
                        1,
                        match excess {
                            Excess::Open => "of one address; --max-connections-per-address is the limit",
                            Excess::New => "of one address within a second; --max-new-per-address is the limit",
                        },
                    );
                }
                let entrance = self.entrance(at);
                let registry = self.poll.registry();
                let key = self.peers.insert_with(|key| {
                    let registered = registry.register(stream.source(), token(key), INTEREST);
                    let mut peer = Peer::new(stream, address, entrance);
                    peer.hung_up = registered.is_err();
                    peer
                });
                if self.peers[key].hung_up {
                    warn!("peer {key:?}: closed, the kernel does not watch any more sockets");
                    self.bury(key);
                    return;
                }
                self.counts.accepted += 1;
                debug!("peer {key:?}: connected");
                if std::mem::take(&mut self.door.complained) {
                    info!("accepting connections again");
                }
                self.peers[key].set_deadline(self.now, &self.config);
                self.remind(key);
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => self.door.knocking[at] = false,
                // It has gone before we came to it: the next may be better.
                io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {
                    debug!("a connection could not be accepted: {error}");
                }
                // Descriptors or memory have run out, or something that may last (accept(2)).
                _ => self.close_door(&error),
            },
        }
    }

    /// There are too many connections.
    fn complain_of_crowd(&mut self, kind: usize, which: &str) {
        if self.door.aloud[kind].is_due(self.now) {
            warn!("too many connections {which} ({} are open)", self.peers.len());
        }
    }

    /// Nobody can be accepted for now. Those inside are served on, and when some leave others can come in.
    fn close_door(&mut self, error: &io::Error) {
        self.door.closed_until = Some(self.now + PAUSE);
        self.counts.refused.descriptors += 1;
        if !std::mem::replace(&mut self.door.complained, true) {
            warn!(
                "no more connections for now, {} are open: {error}; the limit is {} descriptors (ulimit -n, or \
                 LimitNOFILE= of systemd)",
                self.peers.len(),
                self.door.descriptors
            );
        }
    }
}

/// Raises the soft limit of open descriptors to the hard one, and says how many connections that makes.
pub(super) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            warn!("the limit of open descriptors stays as it is: {error}");
            limit.current
        }
    };
    let descriptors = current.unwrap_or(u64::MAX);
    info!(
        "room for about {} connections ({descriptors} descriptors)",
        descriptors.saturating_sub(DESCRIPTORS_OF_OUR_OWN)
    );
    descriptors
}

/// Standard streams, the poll, the signals' pipe, a listener or two.
pub(super) const DESCRIPTORS_OF_OUR_OWN: u64 = 10;
