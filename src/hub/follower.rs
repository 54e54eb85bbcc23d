//! A hub that follows: what happens is decided elsewhere, and it is told.
//!
//! Several nodes share one model, which a broker keeps. A node's hub has copies of the clients whose pages poll here and of
//! the channels of these clients, and answers polls from them as any hub does. Nobody owns a client: a page of the resume
//! protocol says itself how far it has come, so two nodes may answer it. What the original's protocol leaves to the server,
//! how far a page has come, only one node at a time may decide: it has a *lease*.
//!
//! The verbs are facts: they say what has happened, in the order in which it did, and where a message stands. A position is
//! one number for all channels of a client, so nothing may be answered while a message from before it may still come: while
//! a channel is being filled its subscribers *settle*, and while the broker was not heard all clients do.

use crate::clock::Ms;
use crate::slots::Key;

use super::anew::Anew;
use super::answer::News;
use super::channel::Channel;
use super::client::Client;
use super::message::{Excluded, Kind, Message};
use super::record::{ChannelRecord, MessageRecord};
use super::subscription::{End, Seat, Subscription};
use super::waiter::{Ending, Protocol, Since, State, Waiter};
use super::{ClientKey, Hub, Limits};

/// What a hub that follows keeps beside its copies.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// Messages may be missing: nobody is answered.
    is_behind: bool,
    /// Of which number the leases are that count: a change of it revokes all that there are.
    leases: u8,
    /// How often it has changed since all clients were looked at. A number is given again only when nobody has it any more.
    revoked: u8,
    /// All clients are being looked at, some at a time.
    look: Option<Look>,
    /// The broker has lost everything, and what is of before is being let go of.
    pub(super) anew: Option<Anew>,
    /// What the broker is to be told.
    news: Vec<Wish>,
}

/// A walk through all clients, round and round: from where it goes on, and how many places are left.
#[derive(Clone, Copy, Debug)]
struct Look {
    cursor: u32,
    left: u32,
}

/// What a hub that follows has to say to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Something is due to a poll of the original's protocol: its clients' leases are wanted, all of them.
    Leases(Vec<Key<Client>>),
    /// An answer of the original's protocol to this client has left, or was lost: its position stands again.
    Settled(Key<Client>),
    /// Nobody here needs the client of this name any more.
    LeftClient {
        /// What it was called here.
        client: Key<Client>,
        /// Its name.
        id: Box<str>,
        /// This node has its lease.
        is_leased: bool,
    },
    /// Nobody here is subscribed to the channel of this name any more.
    LeftChannel(Box<str>),
}

/// What may be answered to a client of a hub that follows; to one of a hub of its own everything. And the number of its lease, in
/// the upper bits: without one another node may answer its polls of the original's protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing(u8);

impl Standing {
    /// A channel of it is being filled.
    const SETTLING: u8 = 1;
    /// Nothing of it is known here.
    pub(super) const NEW: Standing = Standing(Standing::SETTLING);
    /// Its lease has been asked for.
    const ASKED: u8 = 2;
    /// What it has had, or that it resumes, has not been told.
    const UNTOLD: u8 = 4;
    /// Where the number of its lease begins, and the largest there is.
    const LEASE: u32 = 3;
    const LEASE_MAX: u8 = u8::MAX >> Standing::LEASE;

    /// What is known of how far it has come has changed.
    pub(super) fn move_on(&mut self) {
        self.0 |= Standing::UNTOLD;
    }

    fn has(self, what: u8) -> bool {
        self.0 & what != 0
    }

    fn set(&mut self, what: u8, on: bool) {
        self.0 = if on { self.0 | what } else { self.0 & !what };
    }

    /// 0 if it has none.
    fn lease(self) -> u8 {
        self.0 >> Standing::LEASE
    }

    fn set_lease(&mut self, number: u8) {
        self.0 = self.0 & !(Standing::LEASE_MAX << Standing::LEASE) | number << Standing::LEASE;
    }
}

/// A client as the broker has it.
#[derive(Clone, Debug)]
pub struct Adoption<'a> {
    /// Its name.
    pub id: &'a str,
    /// What its pages prove themselves with.
    pub key: ClientKey,
    /// When it was made and last seen, on this hub's clock.
    pub created: Ms,
    /// See [`Adoption::created`].
    pub seen: Ms,
    /// What is acknowledged, a `seq`.
    pub position: u64,
    /// One of its pages has spoken the resume protocol.
    pub resumes: bool,
    /// The newest `seq` of what it was subscribed to and is forgotten.
    pub forgotten: u64,
}

/// A channel as the broker has it, but for its messages.
#[derive(Clone, Debug, Default)]
pub struct ChannelFacts {
    /// The id of its newest message.
    pub last_id: u64,
    /// The `seq` of the newest message: the web application's, the server's.
    pub newest: [u64; 2],
    /// The newest of either that fell out: `seq`, id, why.
    pub lost: [Option<(u64, u64, super::Loss)>; 2],
}

/// A message as the broker has it.
#[derive(Clone, Debug)]
pub struct MessageFacts<'a> {
    /// Its place in the order of all messages.
    pub seq: u64,
    /// Its channel's number of it.
    pub id: u64,
    /// When it was published, on this hub's clock.
    pub at: Ms,
    /// Who says it.
    pub kind: Kind,
    /// `"alice"`, pure ASCII JSON.
    pub from_json: &'a [u8],
    /// `"text"`, pure ASCII JSON.
    pub text_json: &'a [u8],
    /// From when on it is delivered to nobody; `Ms::MAX` for never.
    pub expires: Ms,
    /// Clients that do not get it.
    pub excluded: Vec<Box<str>>,
}

/// A subscription as the broker has it.
#[derive(Clone, Copy, Debug)]
pub struct LinkFacts<'a> {
    /// The name of its channel.
    pub channel: &'a str,
    /// The `seq` at which it was made.
    pub made: u64,
    /// What is behind this `seq` is its client's.
    pub begin: u64,
    /// If it has one.
    pub end: Option<EndFacts>,
}

/// The end of a subscription as the broker has it.
#[derive(Clone, Copy, Debug)]
pub struct EndFacts {
    /// The `seq` of its end.
    pub until: u64,
    /// The newest messages of the channel at that time, by kind.
    pub newest: [u64; 2],
    /// From then on nobody finds anything of it any more.
    pub stale: Ms,
}

/// Why a message is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The channel is not followed.
    Unknown,
    /// It is not newer than what is there.
    Old,
    /// Between what is there and this one something is missing.
    Hole,
}

impl Hub {
    /// An empty hub that follows. A channel that nobody here needs is left after [`Limits::channel_idle`].
    #[must_use]
    pub fn following(now: Ms, limits: Limits) -> Hub {
        let mut hub = Hub::new(now, limits);
        hub.follow_broker();
        hub
    }

    /// From now on it follows, with what it has.
    pub fn follow_broker(&mut self) {
        let clients: Vec<_> = self.clients.iter().map(|(key, _)| key).collect();
        for client in clients {
            self.clients[client].standing = Standing::NEW;
        }
        self.follower = Some(Box::new(Follower { is_behind: true, leases: 1, ..Follower::default() }));
    }

    /// Whether it follows.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.follower.is_some()
    }

    /// Everything up to `seq` of what is followed has been told: positions up to there may be given.
    pub fn advance(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }

    /// Whether messages may be missing (`true`): then nobody is answered.
    pub fn set_behind(&mut self, is_behind: bool) {
        let Some(follower) = &mut self.follower else { return };
        if std::mem::replace(&mut follower.is_behind, is_behind) && !is_behind {
            // What they missed meanwhile marks nobody.
            self.look_at_all();
        }
    }

    /// Has the polls of all clients looked at, some at a time.
    fn look_at_all(&mut self) {
        let left = self.clients.places();
        let Some(follower) = &mut self.follower else { return };
        let cursor = follower.look.map_or(0, |look| look.cursor);
        follower.look = Some(Look { cursor, left });
    }

    /// Whether there are clients left to be looked at.
    pub(super) fn is_looking_at_all(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.look.is_some())
    }

    /// Looks at one more place of the walk through all clients, if there is one.
    pub(super) fn look_at_next(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        let Some(Look { mut cursor, left }) = follower.look else { return };
        let (from, mut budget) = (cursor, 1);
        let found = self.clients.next_from(&mut cursor, &mut budget).map(|(key, _)| key);
        let left = left.saturating_sub(cursor - from);
        let is_at_end = budget > 0;
        follower.look = (left > 0).then_some(Look { cursor: if is_at_end { 0 } else { cursor }, left });
        if left == 0 {
            follower.revoked = 0;
        }
        let leases = follower.leases;
        if let Some(client) = found {
            let standing = &mut self.clients[client].standing;
            if standing.lease() != leases {
                standing.set_lease(0);
            }
            self.look_at_polls(client);
        }
    }

    /// Whether messages may be missing.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.is_behind)
    }

    /// What the broker is to be told.
    pub fn take_wishes(&mut self) -> Vec<Wish> {
        self.follower.as_mut().map_or(Vec::new(), |follower| std::mem::take(&mut follower.news))
    }

    /// Takes a client over that is not here yet, without subscriptions. It settles.
    ///
    /// # Panics
    /// If it is here.
    pub fn adopt(&mut self, adoption: &Adoption<'_>) -> Key<Client> {
        assert!(self.client_named(adoption.id).is_none(), "it is here");
        let mut client = Client::new(adoption.created, adoption.id.into(), adoption.key);
        self.advance(adoption.position);
        client.seen = adoption.seen;
        client.position = adoption.position;
        client.resumes = adoption.resumes;
        client.forgotten = adoption.forgotten;
        client.standing = Standing::NEW;
        let key = self.clients.insert(client);
        self.client_names.insert(adoption.id, key);
        self.remind_of_expiry(key);
        key
    }

    /// The client of that name, if there is a copy of it.
    #[must_use]
    pub fn find_client(&self, id: &str) -> Option<Key<Client>> {
        self.client_named(id)
    }

    /// The name of a client that is here.
    #[must_use]
    pub fn name_of(&self, client: Key<Client>) -> Option<&str> {
        self.clients.get(client).map(|client| &*client.id)
    }

    /// Whether a client's channels are all filled.
    #[must_use]
    pub fn is_settled(&self, client: Key<Client>) -> bool {
        self.clients.get(client).is_some_and(|client| !client.standing.has(Standing::SETTLING))
    }

    /// Says whether a client's channels are all filled. When they are its polls are looked at.
    pub fn settle(&mut self, client: Key<Client>, is_settled: bool) {
        if let Some(found) = self.clients.get_mut(client) {
            found.standing.set(Standing::SETTLING, !is_settled);
            if is_settled {
                self.look_at_polls(client);
            }
        }
    }

    /// The lease of a client: this node alone may answer its polls of the original's protocol, from that position on; or it
    /// may no more.
    pub fn lease(&mut self, now: Ms, client: Key<Client>, granted: bool, position: u64) {
        if !self.clients.contains(client) {
            return;
        }
        self.move_client(now, client, position);
        let lease = if granted { self.leases() } else { 0 };
        let standing = &mut self.clients[client].standing;
        standing.set_lease(lease);
        standing.set(Standing::ASKED, false);
        self.look_at_polls(client);
    }

    /// The lease was refused: it is asked for again when the client's position is told, or something else is due.
    pub fn refuse_lease(&mut self, client: Key<Client>) {
        if let Some(client) = self.clients.get_mut(client) {
            client.standing.set(Standing::ASKED, false);
        }
    }

    /// Whether this node may answer the client's polls of the original's protocol.
    #[must_use]
    pub fn has_lease(&self, client: Key<Client>) -> bool {
        self.clients.get(client).is_some_and(|client| client.standing.lease() == self.leases())
    }

    fn leases(&self) -> u8 {
        self.follower.as_ref().map_or(0, |follower| follower.leases)
    }

    /// Whether an answer of the original's protocol is on its way to it.
    #[must_use]
    pub fn is_being_answered(&self, client: Key<Client>) -> bool {
        self.clients.get(client).is_some_and(|client| client.polls().iter().any(|&poll| self.waiters[poll].holds_up()))
    }

    /// Whether a poll of it is to be looked at by [`Hub::next_answer`].
    #[must_use]
    pub fn is_to_be_looked_at(&self, client: Key<Client>) -> bool {
        self.clients.get(client).is_some_and(|client| client.polls().iter().any(|&poll| self.waiters[poll].queued))
    }

    /// What is acknowledged of a client.
    #[must_use]
    pub fn acknowledged(&self, client: Key<Client>) -> u64 {
        self.clients.get(client).map_or(0, |client| client.position)
    }

    /// A client has come to this position, on whatever node.
    pub fn move_client(&mut self, now: Ms, client: Key<Client>, position: u64) {
        let is_news = self.clients.get(client).is_some_and(|found| position > found.position);
        if is_news && !self.is_beginning_anew() {
            self.advance(position);
            let is_untold = self.is_untold(client);
            if self.clients[client].acknowledge(now, position, false) {
                self.forget_read(now, client);
            }
            // That much everybody knows.
            self.note_told(client, !is_untold);
            self.look_at_polls(client);
        }
    }

    /// The next client of which is to be told that it is still needed: for which polls wait, or did since `since`, or of which
    /// something else has not been told. Looks at `budget` places from `cursor` on, as
    /// [`Slots::next_from`](crate::slots::Slots::next_from).
    pub fn next_needed(&self, since: Ms, cursor: &mut u32, budget: &mut u32) -> Option<Key<Client>> {
        while let Some((key, client)) = self.clients.next_from(cursor, budget) {
            let is_needed = !client.polls().is_empty() || client.seen >= since || client.standing.has(Standing::UNTOLD);
            if is_needed && !client.is_canary {
                return Some(key);
            }
        }
        None
    }

    /// How many places [`Hub::next_needed`] and [`Hub::next_followed`] look at from the first to the last.
    #[must_use]
    pub fn client_places(&self) -> u32 {
        self.clients.places()
    }

    /// Whether it was not told how far a client has come, or that it resumes, since that changed.
    #[must_use]
    pub fn is_untold(&self, client: Key<Client>) -> bool {
        self.clients.get(client).is_some_and(|client| client.standing.has(Standing::UNTOLD))
    }

    /// It has been told how far a client has come; or that was in vain.
    pub fn note_told(&mut self, client: Key<Client>, is_told: bool) {
        if let Some(client) = self.clients.get_mut(client) {
            client.standing.set(Standing::UNTOLD, !is_told);
        }
    }

    /// The next client that there is a copy of, as [`Hub::next_needed`].
    pub fn next_followed(&self, cursor: &mut u32, budget: &mut u32) -> Option<Key<Client>> {
        self.clients.next_from(cursor, budget).map(|(key, _)| key)
    }

    /// The channels to which a client is subscribed, and when each subscription was made, a `seq`.
    #[must_use]
    pub fn subscriptions_of(&self, client: Key<Client>) -> Vec<(Box<str>, u64)> {
        let subscriptions = self.clients.get(client).map_or(&[][..], |client| &client.subscriptions);
        let kept = subscriptions.iter().filter(|subscription| !subscription.has_ended());
        kept.map(|subscription| (self.channels[subscription.channel].name().into(), subscription.made)).collect()
    }

    /// All subscriptions of a client, those too that have ended and of which something may still be read.
    pub fn links_of(&self, client: Key<Client>) -> impl Iterator<Item = LinkFacts<'_>> {
        let subscriptions = self.clients.get(client).map_or(&[][..], |client| &client.subscriptions);
        subscriptions.iter().map(|&Subscription { channel, made, begin, ref seat }| {
            let end = match seat {
                Seat::Ended(end) => Some(EndFacts { until: end.until, newest: end.newest, stale: end.stale }),
                _ => None,
            };
            LinkFacts { channel: self.channels[channel].name(), made, begin, end }
        })
    }

    /// Other nodes may answer the original's polls of all clients from now on.
    pub fn revoke_leases(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        follower.leases = follower.leases % Standing::LEASE_MAX + 1;
        follower.revoked += 1;
        let is_used_up = follower.revoked >= Standing::LEASE_MAX - 1;
        // What is due to them is asked for anew.
        self.look_at_all();
        while is_used_up && self.is_looking_at_all() {
            self.look_at_next();
        }
    }

    /// The next channel that is followed, as [`Hub::next_needed`].
    pub fn next_followed_channel(&self, cursor: &mut u32, budget: &mut u32) -> Option<&str> {
        while let Some((_, channel)) = self.channels.next_from(cursor, budget) {
            if !channel.is_canary {
                return Some(channel.name());
            }
        }
        None
    }

    /// The `seq` of the newest message of a channel, if it is followed.
    #[must_use]
    pub fn last_seq_of(&self, channel: &str) -> Option<u64> {
        self.channel_named(channel).map(|channel| self.channels[channel].last_seq())
    }

    /// What is kept of a channel behind `seq`, in order: facts that somebody else may lack; and of either kind the newest that
    /// fell out.
    #[must_use]
    pub fn messages_behind(&self, channel: &str, seq: u64) -> (Vec<MessageFacts<'_>>, [u64; 2]) {
        let Some(channel) = self.channel_named(channel) else { return (Vec::new(), [0; 2]) };
        let (messages, fallen) = self.channels[channel].messages_behind(seq);
        let facts = messages.into_iter().map(|message| {
            let MessageRecord { seq, id, at, kind, from_json, text_json, .. } = message.record();
            let excluded = message.names().iter().map(|(name, _)| name.clone()).collect();
            MessageFacts { seq, id, at, kind, from_json, text_json, expires: message.expires(), excluded }
        });
        (facts.collect(), fallen)
    }

    /// What is known of a client and [`Hub::subscriptions_of`] does not say: when it was made on this hub's clock, and up to which
    /// `seq` something is forgotten that it was subscribed to.
    #[must_use]
    pub fn origin_of(&self, client: Key<Client>) -> (Ms, u64) {
        self.clients.get(client).map_or((Ms::ZERO, 0), |client| (client.created, client.forgotten))
    }

    /// Begins to follow a channel, or goes on after a break: what it has become, and the messages that are newer than what is
    /// here. Those that do not fit are left out; how many these were.
    pub fn fill_channel<'m>(
        &mut self,
        now: Ms,
        name: &str,
        facts: &ChannelFacts,
        messages: impl IntoIterator<Item = MessageFacts<'m>>,
    ) -> usize {
        let channel = match self.channel_named(name) {
            Some(channel) => channel,
            None => self.begin_following(now, name),
        };
        let mut misfits = 0;
        for message in messages {
            if self.take_in(now, channel, &message).is_err() {
                misfits += 1;
            }
        }
        let found = &mut self.channels[channel];
        let before = found.held_messages().1;
        found.know(now, facts.last_id, facts.newest, facts.lost);
        self.memory.bytes -= before - self.channels[channel].held_messages().1;
        self.advance(self.channels[channel].last_seq());
        self.draft.forget_origin();
        self.remind_channel(channel);
        misfits
    }

    fn begin_following(&mut self, now: Ms, name: &str) -> Key<Channel> {
        let policy = self.limits.policies.of(name).clone();
        let record = ChannelRecord {
            at: Key::unpack(0),
            name: name.into(),
            last_id: 0,
            newest: [0; 2],
            unknown: 0,
            losses: None,
            used: now,
        };
        let channel = self.channels.insert(Channel::restored(&record, policy));
        self.channel_names.insert(name, channel);
        self.remind_channel(channel);
        channel
    }

    /// A message was published in a channel. `before` is the `seq` of the one before it there.
    ///
    /// # Errors
    /// [`Misfit`] if it does not go on where the channel is; then nothing has happened.
    pub fn hear(&mut self, now: Ms, channel: &str, before: u64, message: &MessageFacts<'_>) -> Result<(), Misfit> {
        let channel = self.channel_named(channel).ok_or(Misfit::Unknown)?;
        let last = self.channels[channel].last_seq();
        if message.seq <= last {
            return Err(Misfit::Old);
        }
        if before != last {
            return Err(Misfit::Hole);
        }
        self.take_in(now, channel, message)?;
        self.advance(message.seq);
        Ok(())
    }

    fn take_in(&mut self, now: Ms, channel: Key<Channel>, facts: &MessageFacts<'_>) -> Result<(), Misfit> {
        let found = &self.channels[channel];
        if facts.seq <= found.last_seq() || facts.id < found.next_id() {
            return Err(Misfit::Old);
        }
        let MessageFacts { seq, id, at, kind, from_json, text_json, expires, .. } = *facts;
        let mut message = Message::restored(&MessageRecord { seq, id, at, kind, text_json, from_json, bounds: None });
        let known = |name: &str| (name.into(), self.client_named(name));
        let excluded: Box<[Excluded]> = facts.excluded.iter().map(|name| known(name)).collect();
        message.bound(expires, excluded.iter().filter_map(|(_, client)| *client).collect());
        message.keep_names(excluded);
        self.append(now, super::Fact { channel, message });
        Ok(())
    }

    /// A client was subscribed to a channel that is followed. It has been already: nothing happens.
    pub fn link_at(&mut self, client: Key<Client>, channel: &str, made: u64, begin: u64) {
        let Some(channel) = self.channel_named(channel).filter(|_| self.clients.contains(client)) else { return };
        if self.find_subscription(client, channel).is_some() {
            return;
        }
        self.advance(made);
        self.add_subscription(client, Subscription { channel, made, begin: begin.min(made), seat: Seat::Away });
        let at = self.clients[client].subscriptions.len() - 1;
        self.take_seat(client, at);
        self.exclude_named(client, channel);
        self.look_at_polls(client);
    }

    /// A client was subscribed to a channel, and is no more; something of it may still be read. It is known already: nothing
    /// happens.
    pub fn link_ended(&mut self, client: Key<Client>, channel: &str, made: u64, begin: u64, end: EndFacts) {
        let Some(channel) = self.channel_named(channel).filter(|_| self.clients.contains(client)) else { return };
        let mut ends = self.clients[client].subscriptions.iter().filter(|subscription| subscription.has_ended());
        if ends.any(|subscription| subscription.channel == channel && subscription.made == made) {
            return;
        }
        self.advance(end.until.max(made));
        let seat = Seat::Ended(Box::new(End { until: end.until, newest: end.newest, stale: end.stale }));
        self.add_subscription(client, Subscription { channel, made, begin: begin.min(made), seat });
        self.clients[client].ended += 1;
        self.channels[channel].ended += 1;
        self.exclude_named(client, channel);
        self.look_at_polls(client);
    }

    fn add_subscription(&mut self, client: Key<Client>, subscription: Subscription) {
        let channel = subscription.channel;
        self.clients[client].subscriptions.push(subscription);
        self.subscriptions += 1;
        self.channels[channel].held += 1;
    }

    /// A client was unsubscribed. Without an end there is nothing of it to be read.
    pub fn end_at(&mut self, now: Ms, client: Key<Client>, channel: &str, end: Option<EndFacts>) {
        let Some(channel) = self.channel_named(channel).filter(|_| self.clients.contains(client)) else { return };
        let Some(at) = self.find_subscription(client, channel) else { return };
        self.leave_seat(now, client, at);
        let Some(EndFacts { until, newest, stale }) = end else { return self.unlink(now, client, at) };
        self.advance(until);
        let Client { subscriptions, ended, .. } = &mut self.clients[client];
        subscriptions[at].seat = Seat::Ended(Box::new(End { until, newest, stale }));
        *ended += 1;
        self.channels[channel].ended += 1;
        self.look_at_polls(client);
    }

    /// A client was killed, or has departed or is forgotten: its polls are answered that it is gone, if they wait for no others.
    pub fn lose_client(&mut self, now: Ms, id: &str) {
        // As a hub of its own does; nobody is told.
        let _ = self.kill_client(now, id);
    }

    /// A client has this key: if it had another, polls with that end.
    pub fn change_key(&mut self, id: &str, key: ClientKey) {
        if self.client_named(id).is_some_and(|client| self.clients[client].key != key) {
            let _ = self.rotate_key(id, key);
        }
    }

    /// When a client was last seen here.
    #[must_use]
    pub fn last_seen(&self, client: Key<Client>) -> Ms {
        self.clients.get(client).map_or(Ms::ZERO, |client| client.seen)
    }

    /// Whether one of a client's pages has spoken the resume protocol.
    #[must_use]
    pub fn resumes(&self, client: Key<Client>) -> bool {
        self.clients.get(client).is_some_and(|client| client.resumes)
    }

    /// Whether polls or streams wait for a client here.
    #[must_use]
    pub fn is_polled(&self, client: Key<Client>) -> bool {
        self.clients.get(client).is_some_and(|client| !client.polls().is_empty())
    }

    /// Of what a client was subscribed to and is not any more something is forgotten, up to this position.
    pub fn forget_up_to(&mut self, client: Key<Client>, position: u64) {
        if let Some(client) = self.clients.get_mut(client) {
            client.forgotten = client.forgotten.max(position);
        }
    }

    /// What a client's pages prove themselves with.
    #[must_use]
    pub fn key_of(&self, client: Key<Client>) -> Option<ClientKey> {
        self.clients.get(client).map(|client| client.key)
    }

    /// Messages from before a client was known here have its name: they are not for it.
    fn exclude_named(&mut self, client: Key<Client>, channel: Key<Channel>) {
        let Hub { clients, channels, .. } = self;
        channels[channel].exclude_named(&clients[client].id, client);
    }

    /// Nobody has polled for a client for long: it is left to the broker.
    pub(super) fn leave_client(&mut self, now: Ms, client: Key<Client>) {
        let (id, is_leased) = (self.clients[client].id.clone(), self.has_lease(client));
        self.lose_client(now, &id);
        self.wish(Wish::LeftClient { client, id, is_leased });
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        if let Some(follower) = &mut self.follower {
            follower.news.push(wish);
        }
    }

    /// An answer of the original's protocol has left or is lost. One with nothing in it has moved nobody.
    pub(super) fn wish_settled(&mut self, waiter: &Waiter) {
        if waiter.holds_up() {
            for client in waiter.clients() {
                self.wish(Wish::Settled(client));
            }
        }
    }

    /// Whether a waiter's clients may be answered now. If not, what is due to it waits.
    pub(super) fn must_wait(&self, waiter: &Waiter) -> bool {
        let Some(follower) = &self.follower else { return false };
        let blocks = |standing: Standing| {
            standing.has(Standing::SETTLING) || waiter.is_original() && standing.lease() != follower.leases
        };
        follower.is_behind || waiter.clients().any(|client| blocks(self.clients[client].standing))
    }

    /// What becomes of a waiter that [must wait](Hub::must_wait). True if it is answered all the same, with nothing: its time
    /// is up.
    pub(super) fn postpone(&mut self, now: Ms, key: Key<Waiter>) -> bool {
        let waiter = &self.waiters[key];
        match waiter.state {
            State::Sent { .. } => false,
            State::Parked => {
                let is_behind = self.follower.as_ref().is_some_and(|follower| follower.is_behind);
                let is_settling = waiter.clients().any(|client| self.clients[client].standing.has(Standing::SETTLING));
                let may_ask = waiter.is_original() && !is_behind && !is_settling && self.news(waiter) != News::None;
                // News may be for others, or over: who asks for nothing would ask again and again.
                if may_ask && self.is_due(now, key) {
                    self.ask_for_leases(key);
                }
                false
            }
            // It is told of what it has lost when that is known. A position of before is none by now.
            State::Over(Ending::Time | Ending::Stopping | Ending::Crowded)
                if waiter.protocol == Protocol::Resume(Since::Lost)
                    || !waiter.is_original() && self.is_beginning_anew() =>
            {
                false
            }
            State::Over(_) => {
                let upto = waiter.own_position();
                self.draft.begin();
                self.draft.upto = upto;
                true
            }
        }
    }

    fn ask_for_leases(&mut self, key: Key<Waiter>) {
        let clients: Vec<_> = self.waiters[key].clients().collect();
        if clients.iter().any(|&client| self.clients[client].standing.has(Standing::ASKED)) {
            return;
        }
        for &client in &clients {
            self.clients[client].standing.set(Standing::ASKED, true);
        }
        self.wish(Wish::Leases(clients));
    }
}
