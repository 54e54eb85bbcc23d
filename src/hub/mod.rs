//! The hub: who is subscribed to what, who waits, and what is owed to whom.
//!
//! It is a value without surroundings: no socket, no clock, no log, no randomness. What happens in the world comes in
//! as a verb with `now` as an argument; what is owed goes out by [`Hub::next_answer`], the one door: a poll that finds
//! messages waiting, one that is woken by a message and one whose time is up all leave by it, so ten publishes in one
//! turn of the loop make one answer of ten messages.
//!
//! ```text
//!   web application                  pages
//!   create_client, subscribe,        wait, cancel,
//!   publish, kill_client ...         delivered
//!            |                          |
//!   mod.rs   v   polling.rs, answer.rs   v            lifetimes.rs
//!   +--------------------------------------------+   handle_timeout:
//!   | Channel --- Subscription --- Client --- Waiter   departs, forgets
//!   +--------------------------------------------+
//!                        | next_answer
//! ```
//!
//! Every message gets two numbers: its channel's own `id`, which pages see, and `seq`, which counts over the whole hub.
//! A client's position is one `seq` for all its channels, so a reader that is slow or away costs one number, never a
//! queue.

mod anew;
mod answer;
mod busiest;
mod canary;
mod change;
mod channel;
mod check;
mod client;
mod departed;
mod follower;
mod freed;
mod lifetimes;
mod memory;
mod message;
mod once;
mod own;
mod policy;
mod polling;
mod questions;
mod record;
mod restore;
mod ring;
mod snapshot;
mod subscription;
mod tally;
mod waiter;
mod walks;
mod why;

use std::collections::VecDeque;

use crate::clock::Ms;
use crate::json;
use crate::names::Names;
use crate::paged::Queue;
use crate::slots::{Key, Slots};
use crate::wheel::Wheel;

pub use anew::Former;
pub use answer::Answer;
pub use channel::{Channel, Gap};
pub use client::{Client, ClientKey};
pub use follower::{Adoption, ChannelFacts, EndFacts, LinkFacts, MessageFacts, Misfit, Wish};
pub use memory::Room;
pub use message::{Kind, Message, Reason, Sender};
pub use own::Busy;
pub use policy::{Policies, Policy, SystemShare};
pub use polling::WaitError;
pub use questions::{ChannelInfo, ClientInfo, History, Page};
pub use record::Record;
pub use restore::{Restoration, Resumption};
pub use ring::Loss;
pub use snapshot::Snapshot;
pub use tally::{Refused, Tally, Usage};
pub use waiter::{Ending, MEDIA, Owner, Protocol, Since, Transport, Waiter};
pub use walks::{Spared, Walk};
pub use why::Fate;

use answer::Draft;
use change::Change;
use channel::{Marked, index_of};
use departed::Departed;
use follower::Follower;
use freed::Freed;
use lifetimes::Reminder;
use memory::Memory;
use once::Once;
use own::Own;

/// The channel on which new channels are announced (WIRE A1).
pub const ADMIN_CHANNEL: &str = "admin";

/// Clients with this anywhere in their id are left out of lists and spared by `unsubscribe_all` (WIRE M9, A2).
pub const ADMIN_MARK: &str = "admin";

/// What the announcements of new channels are from (WIRE A1).
const SYSTEM_SENDER: &str = "system";

/// The hub's own limits and times, all from the operator's configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What channels keep of their past.
    pub policies: Policies,
    /// A client is collected when it was not seen for longer than this (WIRE L1)...
    pub max_idle: Ms,
    /// ...and was created longer ago than this (WIRE L1).
    pub min_alive: Ms,
    /// Stale clients are collected at multiples of this (WIRE L2).
    pub sweep_interval: Ms,
    /// A channel without subscribers is freed this long after its last use (WIRE C5).
    pub channel_idle: Ms,
    /// How many collected clients can still come back (WIRE L3).
    pub departed_max: usize,
    /// How long a collected client can come back.
    pub departed_age: Ms,
    /// How many bytes of messages one answer carries at most; a single larger message still goes out whole.
    pub answer_bytes: usize,
    /// Polls that one client may have parked at a time.
    pub polls_per_client: usize,
    /// Clients, the departed included.
    pub clients_max: usize,
    /// Channels.
    pub channels_max: usize,
    /// Subscriptions of one client, the ended ones included of which something is still to be read.
    pub subscriptions_max: usize,
    /// Bytes of rendered messages in all channels together, but for each one's newest.
    pub history_bytes_max: usize,
}

/// Why a verb of the web application's side failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No client of that name is here: never created, collected or killed (WIRE J6's KeyError).
    UnknownClient,
    /// No channel of that name exists.
    UnknownChannel,
    /// There are as many as there may be.
    Full(Limit),
}

/// A limit that has been reached, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::clients_max`]
    Clients(usize),
    /// [`Limits::channels_max`]
    Channels(usize),
    /// [`Limits::subscriptions_max`]
    Subscriptions(usize),
    /// [`Room::full`]
    Memory(usize),
}

/// A wish to publish: what is to be said and where, not yet in any order.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The channel's name; the channel is made if it is new.
    pub channel: &'a str,
    /// Who says it.
    pub from: Sender<'a>,
    /// The text, delivered as it is.
    pub text: &'a str,
    /// Clients that are not to get it; names that nobody has are nobody.
    pub exclude: &'a [&'a str],
    /// How long it is worth delivering; `None` for as long as it is kept.
    pub ttl: Option<Ms>,
}

/// An ordered fact: a submission that has been given its place.
#[derive(Debug)]
struct Fact {
    channel: Key<Channel>,
    message: Message,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// In its channel.
    pub id: u64,
    /// In the hub.
    pub seq: u64,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Clients that are here.
    pub clients: usize,
    /// Clients that may come back.
    pub departed: usize,
    /// Channels.
    pub channels: usize,
    /// Polls that are parked or whose answer is on the way.
    pub waiters: usize,
}

/// All clients, channels and polls of one server.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    /// The `seq` of the newest message of all.
    seq: u64,
    /// What was published with a key to publish it by only once.
    once: Once,
    clients: Slots<Client>,
    client_names: Names<Client>,
    channels: Slots<Channel>,
    channel_names: Names<Channel>,
    freed: Freed,
    waiters: Slots<Waiter>,
    departed: Departed,
    /// How many subscriptions there are, of all clients.
    subscriptions: usize,
    /// How many of the clients, and of the channels, are canaries.
    canaries: usize,
    own: Own,
    /// If it follows a broker.
    follower: Option<Box<Follower>>,
    tally: Tally,
    /// Waiters to look at again: new ones, timed out ones, and those that another poll of their client held up.
    ready: Queue<Key<Waiter>>,
    /// Channels whose subscribers are being visited, in turns.
    sweeps: VecDeque<Key<Channel>>,
    /// What all channels hold together.
    memory: Memory,
    /// How many subscribers the front channel may still visit before the next one has its turn.
    slice: u32,
    /// A single waiter was looked at last: the next look is the sweeps'.
    sweeps_next: bool,
    reminders: Wheel<Reminder>,
    /// The reminder that has fired; kept for its memory.
    fired: Vec<Reminder>,
    /// The limits have changed, and not all that was there has followed.
    change: Option<Change>,
    /// The answer being made; kept for its memory.
    draft: Draft,
    /// For debug builds: the same made once more, to compare.
    twin: Draft,
}

impl Hub {
    /// An empty hub at the time `now`.
    #[must_use]
    pub fn new(now: Ms, limits: Limits) -> Hub {
        Hub {
            limits,
            seq: 0,
            once: Once::default(),
            clients: Slots::new(),
            client_names: Names::new(),
            channels: Slots::new(),
            channel_names: Names::new(),
            freed: Freed::default(),
            waiters: Slots::new(),
            departed: Departed::default(),
            subscriptions: 0,
            canaries: 0,
            own: Own::default(),
            follower: None,
            tally: Tally::default(),
            ready: Queue::new(),
            sweeps: VecDeque::new(),
            memory: Memory::default(),
            slice: 0,
            sweeps_next: false,
            reminders: Wheel::new(now),
            fired: Vec::new(),
            change: None,
            draft: Draft::default(),
            twin: Draft::default(),
        }
    }

    /// Makes a client and returns its key (WIRE M1): `key` for a new one, which must be unpredictable; the one it has
    /// for a client that is here. One that has departed comes back with its key and subscriptions (WIRE L6).
    ///
    /// # Errors
    /// [`Error::Full`] if there are too many already, or the process has no memory for it.
    pub fn create_client(&mut self, now: Ms, id: &str, key: ClientKey) -> Result<ClientKey, Error> {
        if let Some(client) = self.client_named(id) {
            if !self.clients[client].is_here() {
                self.revive(now, client);
                // Its page is only about to load: it has the grace of a new client.
                self.clients[client].created = now;
                self.remind_of_expiry(client);
            }
            return Ok(self.clients[client].key);
        }
        self.has_memory()?;
        self.add_client(now, id, key, self.limits.clients_max)
    }

    /// Makes a client that is not known yet, if there are fewer than so many.
    fn add_client(&mut self, now: Ms, id: &str, key: ClientKey, most: usize) -> Result<ClientKey, Error> {
        if self.clients.len() - self.canaries >= most {
            // Who may come back makes room for who comes.
            let Some(oldest) = self.departed.oldest() else {
                return Err(self.tally.refuse(Limit::Clients(self.limits.clients_max)));
            };
            self.forget(now, oldest);
        }
        let client = self.clients.insert(Client::new(now, id.into(), key));
        self.client_names.insert(id, client);
        self.tally.created += 1;
        self.remind_of_expiry(client);
        Ok(key)
    }

    /// Gives a client another key. It keeps everything else; polls with the old key end.
    ///
    /// # Errors
    /// [`Error::UnknownClient`] if it is not here.
    pub fn rotate_key(&mut self, id: &str, key: ClientKey) -> Result<(), Error> {
        let client = self.here(id)?;
        self.clients[client].key = key;
        for at in 0..self.clients[client].polls().len() {
            self.end_waiting(self.clients[client].polls()[at], Ending::Gone);
        }
        Ok(())
    }

    /// Subscribes a client, which gets the messages from its own `subscribe` message on (WIRE M2, C1), or from an earlier
    /// position (`since`, a `seq`). If it was subscribed already it stays where it was, and the message is published all
    /// the same (WIRE C2).
    ///
    /// # Errors
    /// [`Error::UnknownClient`] if it is not here, [`Error::Full`] if it or the hub has too many already, or the process has no
    /// memory for it.
    pub fn subscribe(&mut self, now: Ms, client: &str, channel: &str, since: Option<u64>) -> Result<(), Error> {
        let client = self.here(client)?;
        if self.clients[client].subscriptions.len() >= self.limits.subscriptions_max
            && self.channel_named(channel).is_none_or(|key| self.find_subscription(client, key).is_none())
            && !self.forget_one_read(now, client)
        {
            return Err(self.tally.refuse(Limit::Subscriptions(self.limits.subscriptions_max)));
        }
        let channel = self.open_channel(now, channel)?;
        if self.find_subscription(client, channel).is_none() {
            self.has_memory()?;
            self.link(client, channel, since);
            self.look_at_polls(client);
        }
        self.say(now, client, channel, Reason::Subscribed);
        Ok(())
    }

    /// Ends a subscription (WIRE M3). What was published until now is still due in the resume protocol; in the original's
    /// what the client had not read it will not read (WIRE C3). The `unsubscribe` message is published even if it was
    /// not subscribed.
    ///
    /// # Errors
    /// [`Error::UnknownClient`] if it is not here, [`Error::Full`] if the channel is new and there are too many already.
    pub fn unsubscribe(&mut self, now: Ms, client: &str, channel: &str) -> Result<(), Error> {
        let client = self.here(client)?;
        let channel = self.open_channel(now, channel)?;
        if let Some(at) = self.find_subscription(client, channel) {
            self.end(now, client, at);
        }
        self.say(now, client, channel, Reason::Unsubscribed);
        Ok(())
    }

    /// Forgets a client at once (WIRE M11). Its polls are answered empty, unless they wait for others too (WIRE P10).
    ///
    /// # Errors
    /// [`Error::UnknownClient`] if it is not here.
    pub fn kill_client(&mut self, now: Ms, id: &str) -> Result<(), Error> {
        let client = self.here(id)?;
        self.leave_all(now, client);
        for &waiter in &std::mem::take(self.clients[client].polls_mut()) {
            let poll = &mut self.waiters[waiter];
            poll.members.retain(|member| member.client != client);
            if poll.members.is_empty() {
                self.end_waiting(waiter, Ending::Gone);
            }
        }
        self.client_names.remove(id, client);
        self.clients.remove(client);
        Ok(())
    }

    /// Publishes a message (WIRE M7). Its subscribers are answered by [`Hub::next_answer`] from now on.
    ///
    /// # Errors
    /// [`Error::Full`] if the channel is new and there are too many already, or the process has no memory for it.
    pub fn publish(&mut self, now: Ms, submission: Submission<'_>) -> Result<Placed, Error> {
        let fact = self.submit(now, submission)?;
        let placed = Placed { id: fact.message.id, seq: fact.message.seq };
        self.append(now, fact);
        Ok(placed)
    }

    /// Publishes, unless the same key was used to publish within the last minutes: then nothing happens, and the result is
    /// that of the first time.
    ///
    /// # Errors
    /// As [`Hub::publish`].
    pub fn publish_once(&mut self, now: Ms, key: &str, submission: Submission<'_>) -> Result<Placed, Error> {
        if let Some(placed) = self.once.find(now, key) {
            return Ok(placed);
        }
        let placed = self.publish(now, submission)?;
        self.once.note(now, key, placed);
        Ok(placed)
    }

    /// The first half of publishing: the wish is given its place in the order of all messages. A hub that stands alone
    /// gives it itself.
    fn submit(&mut self, now: Ms, submission: Submission<'_>) -> Result<Fact, Error> {
        self.has_memory()?;
        let channel = self.open_channel(now, submission.channel)?;
        let mut fact = self.order(now, channel, Kind::Application, submission.from, submission.text);
        let excluded = submission.exclude.iter().filter_map(|id| self.client_named(id)).collect();
        fact.message.bound(submission.ttl.map_or(Ms::MAX, |ttl| now + ttl), excluded);
        Ok(fact)
    }

    fn order(&mut self, now: Ms, channel: Key<Channel>, kind: Kind, from: Sender<'_>, text: &str) -> Fact {
        self.seq += 1;
        let id = self.channels[channel].next_id();
        Fact { channel, message: Message::new(now, self.seq, id, kind, from, text) }
    }

    /// The second half: the fact goes into its channel's ring, and a sweep over the subscribers is asked for.
    fn append(&mut self, now: Ms, fact: Fact) {
        let channel = &mut self.channels[fact.channel];
        let (before, kind) = (channel.held_messages().1, fact.message.kind);
        if self.own.note(fact.channel) {
            self.tally.published[index_of(kind)] += 1;
            self.tally.published_bytes += fact.message.bytes() as u64;
        }
        channel.append(now, fact.message);
        let after = channel.held_messages().1;
        let marked = channel.mark(kind);
        self.memory.note(fact.channel, channel, before, after);
        match marked {
            Marked::Begun => self.sweeps.push_back(fact.channel),
            Marked::UnderWay => {}
            Marked::Urgent => self.sweep_first(fact.channel),
        }
        self.remind_channel(fact.channel);
        self.keep_within_memory(now, after.saturating_sub(before));
    }

    /// Publishes what the server itself says about a client, from that client (WIRE S1, S2), if the channel wants it. Whoever
    /// follows a broker hears it from there.
    fn say(&mut self, now: Ms, client: Key<Client>, channel: Key<Channel>, reason: Reason) {
        if self.follower.is_some() || !self.channels[channel].policy.presence {
            return;
        }
        let text = match reason {
            Reason::Subscribed | Reason::Returned => JOINED,
            Reason::Unsubscribed => LEFT,
            Reason::Expired | Reason::Killed => GONE,
        };
        self.seq += 1;
        let (id, from) = (self.channels[channel].next_id(), Sender::Id(&self.clients[client].id));
        let message = Message::new(now, self.seq, id, Kind::System(Some(reason)), from, text);
        self.append(now, Fact { channel, message });
    }

    /// The channel of that name, made and announced if it is new (WIRE A1; `admin` is its own first message).
    fn open_channel(&mut self, now: Ms, name: &str) -> Result<Key<Channel>, Error> {
        if let Some(channel) = self.channel_named(name) {
            return Ok(channel);
        }
        self.has_memory()?;
        // The channel of announcements has its place in any case.
        if name != ADMIN_CHANNEL && self.channels.len() - self.canaries >= self.limits.channels_max {
            return Err(self.tally.refuse(Limit::Channels(self.limits.channels_max)));
        }
        let channel = self.make_channel(now, name);
        let admin = match self.channel_named(ADMIN_CHANNEL) {
            Some(admin) => admin,
            None => {
                let admin = self.make_channel(now, ADMIN_CHANNEL);
                self.announce(now, admin, ADMIN_CHANNEL);
                admin
            }
        };
        self.announce(now, admin, name);
        Ok(channel)
    }

    fn make_channel(&mut self, now: Ms, name: &str) -> Key<Channel> {
        let policy = self.limits.policies.of(name).clone();
        let before = self.freed.take(name);
        let mut channel = Channel::new(now, name, policy, before);
        if before.last_id == 0 {
            channel.skip_ids(self.freed.unseen());
        }
        let channel = self.channels.insert(channel);
        self.channel_names.insert(name, channel);
        self.remind_channel(channel);
        channel
    }

    fn announce(&mut self, now: Ms, admin: Key<Channel>, name: &str) {
        let mut text = br#"{"type": "new_channel", "name": "#.to_vec();
        json::write_str(&mut text, name);
        text.push(b'}');
        let text = String::from_utf8(text).expect("JSON is written in ASCII");
        let fact = self.order(now, admin, Kind::System(None), Sender::Id(SYSTEM_SENDER), &text);
        self.append(now, fact);
    }

    /// How many there are of each.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            clients: self.clients.len() - self.canaries - self.departed.len(),
            departed: self.departed.len(),
            channels: self.channels.len() - self.canaries,
            waiters: self.waiters.len() - self.canaries,
        }
    }

    fn here(&self, id: &str) -> Result<Key<Client>, Error> {
        match self.client_named(id) {
            Some(client) if self.clients[client].is_here() => Ok(client),
            _ => Err(Error::UnknownClient),
        }
    }

    /// The client of that name, here or departed.
    fn client_named(&self, id: &str) -> Option<Key<Client>> {
        self.client_names.find(&self.clients, id)
    }

    fn channel_named(&self, name: &str) -> Option<Key<Channel>> {
        self.channel_names.find(&self.channels, name)
    }
}

/// What a channel is told when a client subscribes (WIRE S1)...
const JOINED: &str = r#"{"type": "subscribe"}"#;
/// ...when it is unsubscribed...
const LEFT: &str = r#"{"type": "unsubscribe", "gc": false}"#;
/// ...and when it is collected or killed (WIRE S2).
const GONE: &str = r#"{"type": "unsubscribe", "gc": true}"#;

#[cfg(test)]
mod tests;
