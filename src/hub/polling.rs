//! Who waits, and the one door by which answers leave.
//!
//! [`Hub::wait`] always parks, even when messages are there already: the waiter is looked at before the hub sleeps
//! again. [`Hub::next_answer`] then finds the waiters to which something is due, in two ways: those that asked to be
//! looked at (`ready`), and the subscribers of channels that were published to (`sweeps`). Neither is a promise, only
//! a hint: what decides is the state, positions against rings, so a hint too many costs a look and never a message.

use smallvec::SmallVec;

use crate::clock::Ms;
use crate::slots::Key;

use super::Hub;
use super::answer::{Answer, News};
use super::channel::Channel;
use super::client::Client;
use super::waiter::{Ending, Member, NOWHERE, Owner, Protocol, Since, State, Then, Transport, Waiter};

/// Subscribers of one channel that are visited before another channel has its turn, so that a message to one client
/// does not wait behind a message to a million.
const SWEEP_SLICE: u32 = 16;

/// The same of a channel that is about to lose messages: it has most of the turns, and the others still have theirs.
const SWEEP_SLICE_URGENT: u32 = 16 * SWEEP_SLICE;

/// Clients of one poll: each is compared with the others, and each one's messages are put among those of the others.
const CLIENTS_PER_POLL_MAX: usize = 100;

/// Why a poll cannot be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// A client was never created, is forgotten or was killed (WIRE P11).
    UnknownClient,
    /// The key is not that client's (WIRE P11).
    WrongKey,
    /// A client has as many polls as it may, and none of them can be answered early.
    TooManyPolls,
    /// It is for more clients than a poll may be for.
    TooManyClients,
}

impl Hub {
    /// Parks a poll for one or several clients (WIRE P15), given by id and key, until `deadline` at the latest.
    /// Clients that had departed come back (WIRE L3). A position that the poll names is acknowledged for all of them.
    ///
    /// `usual` is whom the owner's last poll was for, and becomes whom this one is for: who polls again for the same client is
    /// not looked up by name. Any key will do for a first poll.
    ///
    /// # Errors
    /// [`WaitError`] if one of them is unknown, its key is wrong, or it has too many polls; then nothing has happened to
    /// any (WIRE P11, L4).
    pub fn wait<I: AsRef<[u8]>, K: AsRef<[u8]>>(
        &mut self,
        now: Ms,
        owner: Owner,
        usual: &mut Key<Client>,
        ids_and_keys: impl IntoIterator<Item = (I, K)>,
        protocol: Protocol,
        deadline: Ms,
    ) -> Result<Key<Waiter>, WaitError> {
        self.park(now, owner, usual, ids_and_keys, (protocol, Transport::Poll), deadline)
    }

    /// Begins a stream of the resume protocol, as [`Hub::wait`] but without an end. Its first answer comes at once, with
    /// nothing if nothing is due.
    ///
    /// # Errors
    /// As [`Hub::wait`].
    pub fn stream<I: AsRef<[u8]>, K: AsRef<[u8]>>(
        &mut self,
        now: Ms,
        owner: Owner,
        ids_and_keys: impl IntoIterator<Item = (I, K)>,
        since: Since,
        transport: Transport,
    ) -> Result<Key<Waiter>, WaitError> {
        let usual = &mut Key::unpack(0);
        self.park(now, owner, usual, ids_and_keys, (Protocol::Resume(since), transport), Ms::MAX)
    }

    fn park<I: AsRef<[u8]>, K: AsRef<[u8]>>(
        &mut self,
        now: Ms,
        owner: Owner,
        usual: &mut Key<Client>,
        ids_and_keys: impl IntoIterator<Item = (I, K)>,
        (protocol, transport): (Protocol, Transport),
        deadline: Ms,
    ) -> Result<Key<Waiter>, WaitError> {
        let mut members: SmallVec<[Member; 1]> = SmallVec::new();
        let (mut is_crowded, mut forgotten) = (false, 0);
        for (id, key) in ids_and_keys {
            let (client, found) = match self.clients.get(*usual) {
                Some(found) if *found.id.as_bytes() == *id.as_ref() => (*usual, found),
                _ => {
                    let named = std::str::from_utf8(id.as_ref()).ok().and_then(|id| self.client_named(id));
                    named.map(|client| (client, &self.clients[client])).ok_or(WaitError::UnknownClient)?
                }
            };
            if !found.key.matches(key.as_ref()) {
                return Err(WaitError::WrongKey);
            }
            is_crowded |= found.polls().len() >= self.limits.polls_per_client;
            forgotten = found.forgotten.max(forgotten);
            *usual = client;
            if members.iter().all(|member| member.client != client) {
                if members.len() == CLIENTS_PER_POLL_MAX {
                    return Err(WaitError::TooManyClients);
                }
                members.push(Member { client, position: 0 });
            }
        }
        if is_crowded {
            self.make_room(&members)?;
        }
        let protocol = match protocol {
            // A page from before what is forgotten: nobody knows what it has missed.
            Protocol::Resume(Since::At(position)) if position < forgotten => Protocol::Resume(Since::Lost),
            other => other,
        };
        for member in &mut members {
            member.position = self.admit(now, member.client, protocol, deadline);
        }
        let came = self.seq;
        let came_s = u32::try_from(now.0.div_ceil(1000)).unwrap_or(u32::MAX);
        let (state, queued, owes_word) = (State::Parked, false, transport != Transport::Poll);
        let waiter = Waiter { owner, members, deadline, protocol, transport, came, state, came_s, queued, owes_word };
        self.tally.parked[waiter.medium()] += 1;
        let waiter = self.waiters.insert(waiter);
        let is_looked_at = self.enlist(waiter);
        debug_assert!(is_looked_at || !self.is_due(now, waiter), "whoever is due something is looked at");
        Ok(waiter)
    }

    /// A client with a valid key polls. Returns from where.
    fn admit(&mut self, now: Ms, key: Key<Client>, protocol: Protocol, deadline: Ms) -> u64 {
        if !self.clients[key].is_here() {
            self.revive(now, key);
        }
        let client = &mut self.clients[key];
        client.seen = now;
        if protocol != Protocol::Original && !client.resumes {
            client.resumes = true;
            client.standing.move_on();
        }
        let acknowledged = client.position;
        if deadline < client.reminded {
            self.remind_client(key, deadline);
        }
        if let Protocol::Resume(Since::At(position)) = protocol {
            self.acknowledge(now, key, position, true);
        }
        match protocol {
            Protocol::Original | Protocol::Resume(Since::Lost) => 0,
            Protocol::Resume(Since::At(position)) => position,
            Protocol::Resume(Since::Acknowledged) => acknowledged,
        }
    }

    /// Puts a poll on the lists of its clients. Has it looked at, and says so, if something may be due to it already: mostly
    /// nothing is, as the page has had everything a moment ago.
    fn enlist(&mut self, key: Key<Waiter>) -> bool {
        let Hub { clients, channels, waiters, ready, .. } = self;
        let waiter = &mut waiters[key];
        let mut may_be_due = waiter.owes_word || waiter.is_lost();
        for member in &waiter.members {
            let client = &mut clients[member.client];
            client.polls_mut().push(key);
            let begins = client.polls().len() == 1;
            let position = waiter.position(member, client);
            for subscription in &client.subscriptions {
                let channel = &mut channels[subscription.channel];
                channel.parked += u32::from(begins && !subscription.has_ended());
                may_be_due |= channel.last_seq() > subscription.after(position);
            }
        }
        if may_be_due {
            waiter.queued = true;
            ready.push_back(key);
        }
        may_be_due
    }

    /// Everything up to `position` has been had.
    fn acknowledge(&mut self, now: Ms, key: Key<Client>, position: u64, by_page: bool) {
        assert!(position <= self.seq, "nobody has had what is still to come");
        if self.is_beginning_anew() {
            return;
        }
        if self.clients[key].acknowledge(now, position, by_page) {
            self.forget_read(now, key);
        }
    }

    /// Sees to it that each client may have one more poll: where there are too many, the oldest that can name its own
    /// position goes.
    fn make_room(&mut self, members: &[Member]) -> Result<(), WaitError> {
        let mut crowded: SmallVec<[Key<Waiter>; 1]> = SmallVec::new();
        for member in members {
            let polls = self.clients[member.client].polls();
            if polls.len() < self.limits.polls_per_client {
                continue;
            }
            let oldest = polls.iter().find(|&&poll| {
                let poll = &self.waiters[poll];
                !poll.is_original() && poll.state == State::Parked
            });
            let leaving = |poll: &&Key<Waiter>| matches!(self.waiters[**poll].state, State::Over(Ending::Crowded));
            match oldest {
                Some(&oldest) => crowded.push(oldest),
                None if polls.iter().any(|poll| leaving(&poll)) && polls.len() < 2 * self.limits.polls_per_client => {}
                None => {
                    self.tally.refused.polls += 1;
                    return Err(WaitError::TooManyPolls);
                }
            }
        }
        self.tally.refused.polls += crowded.len() as u64;
        for waiter in crowded {
            self.end_waiting(waiter, Ending::Crowded);
        }
        Ok(())
    }

    /// The answer has left the process whole: in the original's protocol its clients' positions move (WIRE P18). A stream
    /// goes on.
    ///
    /// # Panics
    /// If the waiter was not handed out by [`Hub::next_answer`].
    pub fn delivered(&mut self, now: Ms, waiter: Key<Waiter>) {
        let found = &self.waiters[waiter];
        let State::Sent { upto, is_empty, then } = found.state else {
            panic!("waiter {waiter:?} was not answered yet");
        };
        self.tally.delivered[found.medium()] += u64::from(!is_empty);
        if found.is_believed(now) {
            // Its page cannot say what it has had.
            for at in 0..self.waiters[waiter].members.len() {
                let Member { client, position } = self.waiters[waiter].members[at];
                self.acknowledge(now, client, position, false);
            }
        }
        let state = match then {
            Then::Leaves => {
                let found = self.waiters.remove(waiter).expect("it was here some lines ago");
                return self.take_off(now, waiter, &found, if found.is_original() { upto } else { 0 });
            }
            Then::Stays => State::Parked,
            Then::Ends(why) => State::Over(why),
        };
        let found = &mut self.waiters[waiter];
        found.state = state;
        if upto != NOWHERE {
            found.move_to(upto);
        }
        self.look_at(waiter);
    }

    /// The page of a stream says that it has had everything up to `position`. A stream that is gone already is none of our
    /// business.
    pub fn heard(&mut self, now: Ms, waiter: Key<Waiter>, position: u64) {
        for at in 0..self.waiters.get(waiter).map_or(0, |waiter| waiter.members.len()) {
            self.acknowledge(now, self.waiters[waiter].members[at].client, position, true);
        }
    }

    /// The page of a stream is to hear how far it has come, though nothing may be due: it sees that it is still connected.
    pub fn say_word(&mut self, waiter: Key<Waiter>) {
        if self.waiters[waiter].is_stream() && self.waiters[waiter].state == State::Parked {
            self.waiters[waiter].owes_word = true;
            self.look_at(waiter);
        }
    }

    /// The poll hung up, or its answer was lost on the way: it takes nothing (WIRE P18). A waiter that is gone already
    /// is none of our business.
    pub fn cancel(&mut self, now: Ms, waiter: Key<Waiter>) {
        if let Some(found) = self.waiters.remove(waiter) {
            let broke_off = matches!(found.state, State::Sent { is_empty: false, .. });
            self.tally.broken_off[found.medium()] += u64::from(broke_off);
            self.take_off(now, waiter, &found, 0);
        }
    }

    /// The next poll that is to be answered, if there is one: it counts as sent until [`Hub::delivered`] or
    /// [`Hub::cancel`]. Takes one off `budget` for each poll or subscriber it looks at, and finds nothing any more
    /// when that is used up; [`Hub::has_answers`] says whether to come back.
    pub fn next_answer(&mut self, now: Ms, budget: &mut u32) -> Option<Answer<'_>> {
        let waiter = self.next_due_waiter(now, budget)?;
        let found = &mut self.waiters[waiter];
        let ending = match found.state {
            State::Over(ending) => Some(ending),
            State::Parked | State::Sent { .. } => None,
        };
        let count = self.own.others(&self.draft);
        self.tally.note_answer(now, found, &self.draft, count, ending);
        let upto = self.draft.upto.unwrap_or(0);
        let then = if found.is_stream() && ending.is_none() { Then::Stays } else { Then::Leaves };
        found.state = State::Sent { upto, is_empty: self.draft.picks.is_empty(), then };
        found.owes_word = false;
        let owner = found.owner;
        Some(Answer { hub: self, owner, waiter, ending })
    }

    /// Whether something is due at once to a poll of the resume protocol that has just come, though its page has not come any
    /// further: it asks again for what it has been given. (In the original's protocol nobody can.)
    #[must_use]
    pub fn asks_again(&self, now: Ms, waiter: Key<Waiter>) -> bool {
        let waiter = &self.waiters[waiter];
        waiter.queued && !waiter.is_original() && waiter.clients().all(|client| self.clients[client].moved < now)
    }

    /// Whether there is such a poll or stream.
    #[must_use]
    pub fn knows(&self, waiter: Key<Waiter>) -> bool {
        self.waiters.contains(waiter)
    }

    /// Whether [`Hub::next_answer`] may have something.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.ready.is_empty() || !self.sweeps.is_empty() || self.is_looking_at_all()
    }

    /// Answers `polls` of the parked polls from a place in their table on, empty unless something is due: the server stops. Looks
    /// at `budget` places and moves `from` past them. Both say how much is left of them. True when there are no more polls; who
    /// comes meanwhile may be left out.
    pub fn end_waiting_from(&mut self, from: &mut u32, budget: &mut u32, polls: &mut u64) -> bool {
        while *polls > 0 {
            let Some((waiter, _)) = self.waiters.next_from(from, budget) else { return *budget > 0 };
            self.end_waiting(waiter, Ending::Stopping);
            *polls -= 1;
        }
        false
    }

    /// A parked poll is to be answered now, with nothing if nothing is due. A stream ends, when its answer has left if one
    /// is on the way.
    pub fn end_waiting(&mut self, waiter: Key<Waiter>, why: Ending) {
        match &mut self.waiters[waiter].state {
            state @ State::Parked => {
                *state = State::Over(why);
                self.look_at(waiter);
            }
            State::Sent { then: then @ Then::Stays, .. } => *then = Then::Ends(why),
            State::Sent { .. } | State::Over(_) => {}
        }
    }

    /// Has a waiter looked at before the hub sleeps again.
    pub(super) fn look_at(&mut self, waiter: Key<Waiter>) {
        if !std::mem::replace(&mut self.waiters[waiter].queued, true) {
            self.ready.push_back(waiter);
        }
    }

    /// Has all polls of a client looked at.
    pub(super) fn look_at_polls(&mut self, client: Key<Client>) {
        for at in 0..self.clients[client].polls().len() {
            self.look_at(self.clients[client].polls()[at]);
        }
    }

    /// Single polls and the sweeps take turns: small work does not wait behind a large sweep, and pages that poll again and
    /// again do not keep all others waiting.
    fn next_due_waiter(&mut self, now: Ms, budget: &mut u32) -> Option<Key<Waiter>> {
        while *budget > 0 {
            *budget -= 1;
            self.look_at_next();
            let is_for_sweeps = std::mem::take(&mut self.sweeps_next) && !self.sweeps.is_empty();
            if !is_for_sweeps && let Some(waiter) = self.ready.pop_front() {
                self.sweeps_next = true;
                if let Some(found) = self.waiters.get_mut(waiter) {
                    found.queued = false;
                }
                if self.collect(now, waiter) {
                    return Some(waiter);
                }
            } else if let Some(&channel) = self.sweeps.front() {
                if let Some(waiter) = self.sweep(now, channel) {
                    return Some(waiter);
                }
            } else if !self.is_looking_at_all() {
                return None;
            }
        }
        None
    }

    /// Has a channel's sweep come before the others'. It keeps its old place too, which is given up when its turn comes and
    /// nothing is left to visit.
    pub(super) fn sweep_first(&mut self, channel: Key<Channel>) {
        self.sweeps.push_front(channel);
        self.slice = 0;
    }

    /// Whether requests should wait until some answers are made: a channel's messages may fall out before those who wait
    /// for them have been visited.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.sweeps.front().is_some_and(|&channel| self.channels.get(channel).is_some_and(Channel::is_urgent))
    }

    /// Visits one subscriber of the channel whose turn it is.
    fn sweep(&mut self, now: Ms, channel: Key<Channel>) -> Option<Key<Waiter>> {
        let Some(subscriber) = self.channels.get_mut(channel).and_then(Channel::visit) else {
            self.sweeps.pop_front();
            self.slice = 0;
            return None;
        };
        self.slice += 1;
        let is_urgent = self.channels[channel].is_urgent();
        if self.slice >= if is_urgent { SWEEP_SLICE_URGENT } else { SWEEP_SLICE } {
            self.sweeps.rotate_left(1);
            self.slice = 0;
        }
        match *self.clients[subscriber.client].polls() {
            [] => None,
            [waiter] => self.collect(now, waiter).then_some(waiter),
            // Each by itself, the oldest first (WIRE P17).
            _ => {
                self.look_at_polls(subscriber.client);
                None
            }
        }
    }

    /// Finds what is due to a waiter. True if it is to be answered, with what then stands in the draft.
    fn collect(&mut self, now: Ms, key: Key<Waiter>) -> bool {
        let Some(waiter) = self.waiters.get(key) else { return false };
        if self.follower.is_some() && waiter.state != State::Over(Ending::Gone) && self.must_wait(waiter) {
            return self.postpone(now, key);
        }
        let news = self.news(waiter);
        match waiter.state {
            State::Sent { .. } => return false,
            State::Parked if news == News::None && !waiter.owes_word => {
                self.pass_over(key, self.seq);
                return false;
            }
            State::Parked if self.draft.is_made_of(&news, waiter, self.seq) => {
                debug_assert!(self.is_made_alike(now, key), "what was made once is what is due");
                return true;
            }
            State::Parked | State::Over(_) => {}
        }
        let mut draft = std::mem::take(&mut self.draft);
        draft.begin();
        let found = match waiter.state {
            State::Sent { .. } => unreachable!("it has been seen to above"),
            State::Parked => self.fill(now, waiter, &mut draft) || waiter.owes_word,
            State::Over(Ending::Gone) => true,
            State::Over(Ending::Crowded) if waiter.protocol != Protocol::Resume(Since::Lost) => {
                draft.upto = waiter.own_position();
                true
            }
            // Who has no position of ours cannot be sent away with it: it is told so.
            State::Over(Ending::Time | Ending::Stopping | Ending::Crowded) => {
                self.fill(now, waiter, &mut draft);
                true
            }
        };
        if found {
            self.note_origin(&news, waiter, &mut draft);
        }
        self.draft = draft;
        if !found && let Some(upto) = self.draft.upto {
            self.pass_over(key, upto);
        }
        found
    }

    /// Nothing up to here is for a waiter. A stream moves on: what falls out of it later is not its loss.
    fn pass_over(&mut self, waiter: Key<Waiter>, upto: u64) {
        let waiter = &mut self.waiters[waiter];
        if waiter.is_stream() {
            waiter.move_to(upto);
        }
    }

    /// Whether nobody knows what a client has got, as an answer of the original's protocol is on its way to it (P17). Of a
    /// client's only poll it is known that it waits.
    pub(super) fn is_held_up(&self, client: &Client) -> bool {
        match client.polls() {
            [_] => false,
            polls => polls.iter().any(|&poll| self.waiters[poll].holds_up()),
        }
    }

    /// Takes a poll that has gone off the lists of its clients, which have had everything up to `upto`.
    fn take_off(&mut self, now: Ms, key: Key<Waiter>, waiter: &Waiter, upto: u64) {
        if waiter.transport == Transport::Canary {
            return self.bury_canary(waiter);
        }
        self.tally.parked[waiter.medium()] -= 1;
        if self.follower.is_some() {
            self.wish_settled(waiter);
        }
        let upto = if self.is_beginning_anew() { 0 } else { upto };
        for at in waiter.clients() {
            let client = &mut self.clients[at];
            client.seen = now;
            client.polls_mut().retain(|poll| *poll != key);
            let ends = client.polls().is_empty();
            if ends {
                for subscription in client.subscriptions.iter().filter(|subscription| !subscription.has_ended()) {
                    self.channels[subscription.channel].parked -= 1;
                }
            }
            // Mostly its reminder is on its way.
            let may_expire = ends && client.stale_at(&self.limits) < client.reminded;
            if client.acknowledge(now, upto, false) {
                self.forget_read(now, at);
            }
            if ends {
                if may_expire {
                    self.remind_of_expiry(at);
                }
            } else if waiter.holds_up() {
                self.look_at_polls(at);
            }
        }
    }
}

impl Waiter {
    /// From where it goes on for one of its clients.
    pub(super) fn position(&self, member: &Member, client: &Client) -> u64 {
        if self.is_original() { client.position } else { member.position }
    }

    /// The position that a page has which is answered nothing; `None` if it is what its clients have acknowledged.
    pub(super) fn own_position(&self) -> Option<u64> {
        match self.protocol {
            Protocol::Original | Protocol::Resume(Since::Acknowledged | Since::Lost) => None,
            Protocol::Resume(Since::At(position)) => Some(position),
        }
    }
}
