//! Letting new connections in, and closing the door for a moment when the process has no descriptors left.

use std::io;

use log::{debug, info, warn};
use mio::{Interest, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::Ms;

use super::Server;
use super::clock::Work;
use super::peer::Peer;

/// How long the door stays closed when descriptors have run out. The crowd waits in the kernel's backlog meanwhile.
const PAUSE: Ms = Ms(250);

/// Who knocks, and whether anybody can come in.
#[derive(Debug)]
pub(super) struct Door {
    /// For each listener, whether there may be somebody to accept.
    knocking: Vec<bool>,
    /// Descriptors have run out: nobody is accepted before this time.
    closed_until: Option<Ms>,
    /// That they have run out has been logged, and nobody has been accepted since.
    complained: bool,
    /// How many descriptors the process may have open.
    descriptors: u64,
}

impl Door {
    pub(super) fn new(listeners: usize, descriptors: u64) -> Door {
        Door { knocking: vec![false; listeners], closed_until: None, complained: false, descriptors }
    }

    pub(super) fn width(&self) -> usize {
        self.knocking.len()
    }

    pub(super) fn knock(&mut self, listener: usize) {
        self.knocking[listener] = true;
    }

    /// Whether somebody can be let in at once.
    pub(super) fn is_crowded(&self) -> bool {
        self.closed_until.is_none() && self.knocking.contains(&true)
    }

    /// When the door opens again, if it is closed.
    pub(super) fn reopens_at(&self) -> Option<Ms> {
        self.closed_until
    }

    /// Closes it for good.
    pub(super) fn shut(&mut self) {
        *self = Door::new(0, self.descriptors);
    }
}

impl Server {
    /// Lets in who comes, as long as the turn's share lasts.
    pub(super) fn accept(&mut self) {
        if self.door.closed_until.is_some_and(|until| until > self.now) {
            return;
        }
        self.door.closed_until = None;
        if !self.door.is_crowded() {
            return;
        }
        self.clock.begin(Work::Accept);
        // One of each in turns: a crowd at one listener does not shut the others.
        while self.door.is_crowded() && self.clock.has_time() {
            for at in 0..self.listeners.len() {
                if self.door.knocking[at] && self.door.closed_until.is_none() {
                    self.accept_one(at);
                }
            }
        }
    }

    fn accept_one(&mut self, at: usize) {
        match self.listeners[at].accept() {
            Ok((mut stream, address)) => {
                let entrance = self.entrance(at);
                let registry = self.poll.registry();
                let key = self.peers.insert_with(|key| {
                    let token = Token(usize::try_from(key.pack()).expect("a token has 64 bits"));
                    // For both, and never again: a full socket that empties makes an event of its own.
                    let registered = registry.register(stream.source(), token, Interest::READABLE | Interest::WRITABLE);
                    let mut peer = Peer::new(stream, address, entrance);
                    peer.hung_up = registered.is_err();
                    peer
                });
                if self.peers[key].hung_up {
                    warn!("peer {key:?}: closed, the kernel does not watch any more sockets");
                    self.bury(key);
                    return;
                }
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

    /// Nobody can be accepted for now. Those inside are served on, and when some leave others can come in.
    fn close_door(&mut self, error: &io::Error) {
        self.door.closed_until = Some(self.now + PAUSE);
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
const DESCRIPTORS_OF_OUR_OWN: u64 = 10;
