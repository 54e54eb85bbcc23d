//! Handing a running server over to the program that its process becomes, and taking one over.
//!
//! What is known goes through a file without a name, in the format of the state file: the hub with its polls, then the
//! listeners, then every connection. The sockets go beside it (`passing.rs`), the listeners first, in the same order. The file
//! and the sockets are on the new program's standard input.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::api::{Entrance, Habit};
use crate::clock::Ms;
use crate::config::{Address, Config};
use crate::hub::{Resumption, Snapshot};
use crate::slots::{Key, Slots};
use crate::state::{Damage, Reader, Writer};

use super::listener::{Listener, Stream, UnixPath};
use super::peer::{Peer, Phase};
use super::storage::{self, Past};
use super::{BindError, INTEREST, Server, passing, token};

/// What follows the hub.
#[derive(Debug, Serialize, Deserialize)]
struct ServerRecord {
    listeners: Vec<ListenerRecord>,
    peers: usize,
    /// The last generation of peers.
    generation: u32,
}

/// A socket that is listened on.
#[derive(Debug, Serialize, Deserialize)]
struct ListenerRecord {
    /// As it is configured.
    address: String,
    is_for_calls: bool,
    /// A supervisor has made it.
    is_supervised: bool,
}

/// A connection. Its phase, its habit, and what is in its inbox and its outbox follow.
#[derive(Debug, Serialize, Deserialize)]
struct PeerRecord {
    at: Key<Peer>,
    is_unix: bool,
    address: Option<IpAddr>,
    entrance: Entrance,
    is_page: bool,
    hung_up: bool,
}

/// What was written down of a server.
pub(super) struct Inventory {
    pub(super) past: Past,
    listeners: Vec<ListenerRecord>,
    /// The last generation of peers.
    generation: u32,
    peers: Vec<(PeerRecord, Phase, Habit, Buffers)>,
}

/// What a peer has sent, and what it has not taken yet.
type Buffers = [Vec<u8>; 2];

/// A listener that was handed over, and for what.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) address: Address,
    pub(super) is_for_calls: bool,
    /// A supervisor has made it.
    pub(super) is_supervised: bool,
    pub(super) listener: Listener,
}

/// A server that was handed over.
pub(super) struct Estate {
    pub(super) past: Past,
    pub(super) listeners: Vec<Inherited>,
    pub(super) peers: Slots<Peer>,
}

impl Server {
    /// All that is known, in a file without a name.
    pub(super) fn write_down(&self) -> io::Result<File> {
        let file = memfd_create("shaveet", MemfdFlags::CLOEXEC)?;
        let mut writer = Writer::begin(File::from(file), true, &storage::header(self.now, self.api.epoch.number()))?;
        let mut snapshot = Snapshot::begin(true);
        while let Some(record) = self.api.hub.next_record(&mut snapshot, &mut u32::MAX.clone()) {
            writer.put(&record)?;
        }
        let addresses = self.config.listen.iter().map(|address| (address, false));
        let addresses = addresses.chain(self.config.rpc_listen.iter().map(|address| (address, true)));
        let record = |(address, is_for_calls): (&Address, bool)| {
            let is_supervised = self.supervised.contains(address);
            ListenerRecord { address: address.to_string(), is_for_calls, is_supervised }
        };
        let (peers, generation) = (self.peers.len(), self.peers.generation());
        writer.put(&ServerRecord { listeners: addresses.map(record).collect(), peers, generation })?;
        for (at, peer) in self.peers.iter() {
            writer.put(&PeerRecord {
                at,
                is_unix: matches!(peer.stream, Stream::Unix(_)),
                address: peer.address,
                entrance: peer.entrance,
                is_page: peer.is_page,
                hung_up: peer.hung_up,
            })?;
            // When it comes to it nobody is; a trial need not know.
            writer.put(if peer.is_busy() { &Phase::Serving } else { &peer.phase })?;
            writer.put(&peer.habit)?;
            writer.put(&peer.inbox.bytes())?;
            writer.put(&peer.unsent())?;
        }
        writer.finish()
    }

    /// What the new program takes from its standard input: the state, and all sockets.
    pub(super) fn bequeath(&self) -> io::Result<OwnedFd> {
        let state = self.write_down()?;
        let listeners = self.listeners.iter().map(Listener::as_fd);
        let peers = self.peers.iter().map(|(_, peer)| peer.stream.as_fd());
        passing::put(std::iter::once(state.as_fd()).chain(listeners).chain(peers))
    }

    /// Goes on with the connections of the one before.
    pub(super) fn adopt(&mut self, peers: Slots<Peer>) {
        self.peers = peers;
        // They were there when it was counted what is open.
        self.own_descriptors = self.own_descriptors.saturating_sub(self.peers.len() as u64);
        let mut cursor = 0;
        while let Some((key, _)) = self.peers.next_from(&mut cursor, &mut u32::MAX.clone()) {
            let peer = &mut self.peers[key];
            let registered = self.poll.registry().register(peer.stream.source(), token(key), INTEREST);
            peer.hung_up |= registered.is_err();
            if peer.waiter().is_some_and(|waiter| !self.api.hub.knows(waiter)) {
                // The rest of a canary's answer is in the outbox, and canaries are not handed over.
                peer.phase = Phase::Closing { drain: false };
            }
            self.visitors.was_here(peer.address);
            // What the socket has for us makes an event; what we have of it does not.
            self.lines.put(key, peer);
            self.look_again(key);
        }
    }
}

impl Inventory {
    /// # Errors
    /// [`Damage`] if it was not written by the like of us.
    pub(super) fn read(bytes: &[u8], config: &Config) -> Result<Inventory, Damage> {
        let mut reader = Reader::open(bytes)?;
        let (now, epoch) = (reader.header.now, Some(reader.header.epoch));
        let hub = storage::restore(&mut reader, config.hub_limits(), Resumption { now, away: Ms::ZERO })?;
        let ServerRecord { listeners, peers: count, generation } = reader.read()?;
        let mut peers = Vec::new();
        for _ in 0..count {
            peers.push((reader.read()?, reader.read()?, reader.read()?, [reader.read()?, reader.read()?]));
        }
        Ok(Inventory { past: Past { now, hub, epoch }, listeners, generation, peers })
    }

    /// Addresses for pages that a supervisor had handed over.
    pub(super) fn supervised(&self) -> Vec<Address> {
        let supervised = self.listeners.iter().filter(|one| one.is_supervised && !one.is_for_calls);
        supervised.filter_map(|one| one.address.parse().ok()).collect()
    }

    /// Whether it has a listener for what is configured.
    pub(super) fn has(&self, address: &Address, is_for_calls: bool) -> bool {
        self.listeners.iter().any(|one| one.address == address.to_string() && one.is_for_calls == is_for_calls)
    }
}

impl Estate {
    /// What this process was handed, on its standard input.
    ///
    /// # Errors
    /// [`BindError`] if it is not what it should be.
    pub(super) fn receive(config: &Config) -> Result<Estate, BindError> {
        let mut sockets = passing::take(rustix::stdio::stdin()).map_err(BindError::Loop)?.into_iter();
        let state = sockets.next().ok_or(BindError::Estate(Damage::Broken))?;
        let bytes = read_all(state.into()).map_err(BindError::Loop)?;
        let inventory = Inventory::read(&bytes, config).map_err(BindError::Estate)?;
        Estate::make(inventory, sockets).ok_or(BindError::Estate(Damage::Broken))
    }

    fn make(inventory: Inventory, mut sockets: impl Iterator<Item = OwnedFd>) -> Option<Estate> {
        let Inventory { past, listeners: records, generation, peers: people } = inventory;
        let mut listeners = Vec::new();
        for ListenerRecord { address, is_for_calls, is_supervised } in records {
            let (socket, address) = (sockets.next()?, address.parse().ok()?);
            let listener = match &address {
                Address::Unix(path) => {
                    let path = UnixPath { path: path.clone(), is_ours: !is_supervised };
                    Listener::Unix(UnixListener::from_std(socket.into()), path)
                }
                Address::Tcp(_) | Address::Everywhere(_) => Listener::Tcp(TcpListener::from_std(socket.into())),
            };
            listeners.push(Inherited { address, is_for_calls, is_supervised, listener });
        }
        let mut peers = Vec::new();
        for (record, phase, habit, [inbox, unsent]) in people {
            let socket = sockets.next()?;
            let stream = if record.is_unix {
                Stream::Unix(UnixStream::from_std(socket.into()))
            } else {
                Stream::Tcp(TcpStream::from_std(socket.into()))
            };
            let mut peer = Peer::new(stream, record.address, record.entrance);
            (peer.phase, peer.habit, peer.is_page, peer.hung_up) = (phase, habit, record.is_page, record.hung_up);
            peer.inbox.push(&inbox);
            peer.unread = !inbox.is_empty();
            peer.keep_unsent(&unsent);
            peers.push((record.at, peer));
        }
        Some(Estate { past, listeners, peers: Slots::restored(generation, peers) })
    }
}

impl Inherited {
    /// Takes the listener for what is configured out of those that were handed over.
    pub(super) fn take(all: &mut Vec<Inherited>, address: &Address, is_for_calls: bool) -> Option<Listener> {
        let is_it = |one: &Inherited| one.address == *address && one.is_for_calls == is_for_calls;
        all.iter().position(is_it).map(|at| all.swap_remove(at).listener)
    }
}

/// All of a file without a name, from its beginning.
pub(super) fn read_all(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
