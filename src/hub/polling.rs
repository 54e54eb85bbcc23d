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
use super::channel::Channel;
use super::client::Client;
use super::message::Message;
use super::waiter::{Owner, State, Waiter};

/// Subscribers of one channel that are visited before another channel has its turn, so that a message to one client
/// does not wait behind a message to a million.
const SWEEP_SLICE: u32 = 16;

/// Why a poll cannot be parked (WIRE P11: both are a 404 to the page).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// A client was never created, is forgotten or was killed.
    UnknownClient,
    /// The key is not that client's.
    WrongKey,
}

/// A channel's share of an answer: what its ring holds after this `seq`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    channel: Key<Channel>,
    after: u64,
}

/// What is owed to one waiter, lent until the next call of the hub.
#[derive(Debug)]
pub struct Answer<'a> {
    hub: &'a Hub,
    waiter: Key<Waiter>,
    upto: u64,
}

impl Hub {
    /// Parks a poll for one or several clients (WIRE P15), given by id and key, until `deadline` at the latest.
    /// Clients that had departed come back (WIRE L3).
    ///
    /// # Errors
    /// [`WaitError`] if one of them is unknown or its key is wrong; then nothing has happened to any (WIRE P11, L4).
    pub fn wait<'a>(
        &mut self,
        now: Ms,
        owner: Owner,
        ids_and_keys: impl IntoIterator<Item = (&'a str, &'a str)>,
        deadline: Ms,
    ) -> Result<Key<Waiter>, WaitError> {
        let mut clients = SmallVec::new();
        for (id, key) in ids_and_keys {
            let client = *self.client_names.get(id).ok_or(WaitError::UnknownClient)?;
            if !self.clients[client].key.matches(key) {
                return Err(WaitError::WrongKey);
            }
            if !clients.contains(&client) {
                clients.push(client);
            }
        }
        for &client in &clients {
            if !self.clients[client].is_here() {
                self.revive(now, client);
            }
            self.clients[client].seen = now;
            self.remind_client(client, deadline);
        }
        let waiter = self.waiters.insert(Waiter { owner, clients, deadline, state: State::Parked, queued: false });
        for at in 0..self.waiters[waiter].clients.len() {
            let client = self.waiters[waiter].clients[at];
            self.clients[client].polls_mut().push(waiter);
        }
        self.look_at(waiter);
        Ok(waiter)
    }

    /// The answer has left the process whole: its clients' positions move (WIRE P18).
    ///
    /// # Panics
    /// If the waiter was not handed out by [`Hub::next_answer`].
    pub fn delivered(&mut self, now: Ms, waiter: Key<Waiter>) {
        let State::Sent { upto } = self.waiters[waiter].state else {
            panic!("waiter {waiter:?} was not answered yet");
        };
        for at in 0..self.waiters[waiter].clients.len() {
            let client = &mut self.clients[self.waiters[waiter].clients[at]];
            client.position = client.position.max(upto);
        }
        self.remove_waiter(now, waiter);
    }

    /// The poll hung up, or its answer was lost on the way: it takes nothing (WIRE P18). A waiter that is gone already
    /// is none of our business.
    pub fn cancel(&mut self, now: Ms, waiter: Key<Waiter>) {
        if self.waiters.contains(waiter) {
            self.remove_waiter(now, waiter);
        }
    }

    /// The next poll that is to be answered, if there is one: it counts as sent until [`Hub::delivered`] or
    /// [`Hub::cancel`]. Takes one off `budget` for each poll or subscriber it looks at, and finds nothing any more
    /// when that is used up; [`Hub::has_answers`] says whether to come back.
    pub fn next_answer(&mut self, budget: &mut u32) -> Option<Answer<'_>> {
        let waiter = self.next_due_waiter(budget)?;
        let upto = self.limit_answer();
        self.waiters[waiter].state = State::Sent { upto };
        Some(Answer { hub: self, waiter, upto })
    }

    /// Whether [`Hub::next_answer`] may have something.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.ready.is_empty() || !self.sweeps.is_empty()
    }

    /// Answers every parked poll that there is, empty unless something is due: the server stops.
    pub fn end_all_waiting(&mut self) {
        let all: Vec<Key<Waiter>> = self.waiters.iter().map(|(waiter, _)| waiter).collect();
        for waiter in all {
            self.end_waiting(waiter);
        }
    }

    /// A parked poll is to be answered now, with nothing if nothing is due.
    pub(super) fn end_waiting(&mut self, waiter: Key<Waiter>) {
        let state = &mut self.waiters[waiter].state;
        if *state == State::Parked {
            *state = State::Over;
            self.look_at(waiter);
        }
    }

    /// Has a waiter looked at before the hub sleeps again.
    fn look_at(&mut self, waiter: Key<Waiter>) {
        if !std::mem::replace(&mut self.waiters[waiter].queued, true) {
            self.ready.push_back(waiter);
        }
    }

    /// A look at single polls goes before the sweeps: small work first.
    fn next_due_waiter(&mut self, budget: &mut u32) -> Option<Key<Waiter>> {
        while *budget > 0 {
            *budget -= 1;
            if let Some(waiter) = self.ready.pop_front() {
                if let Some(found) = self.waiters.get_mut(waiter) {
                    found.queued = false;
                }
                if self.collect(waiter) {
                    return Some(waiter);
                }
            } else if let Some(&channel) = self.sweeps.front() {
                if let Some(waiter) = self.sweep(channel) {
                    return Some(waiter);
                }
            } else {
                return None;
            }
        }
        None
    }

    /// Visits one subscriber of the channel whose turn it is: of its polls the oldest that can be answered is
    /// (WIRE P17).
    fn sweep(&mut self, channel: Key<Channel>) -> Option<Key<Waiter>> {
        let Some(subscriber) = self.channels.get_mut(channel).and_then(Channel::visit) else {
            self.sweeps.pop_front();
            self.slice = 0;
            return None;
        };
        self.slice += 1;
        if self.slice >= SWEEP_SLICE {
            self.sweeps.rotate_left(1);
            self.slice = 0;
        }
        for at in 0..self.clients[subscriber.client].polls().len() {
            let waiter = self.clients[subscriber.client].polls()[at];
            if self.collect(waiter) {
                return Some(waiter);
            }
        }
        None
    }

    /// Finds what is due to a waiter. True if it is to be answered, with what then stands in `self.due`.
    fn collect(&mut self, waiter: Key<Waiter>) -> bool {
        self.due.clear();
        let Some(waiter) = self.waiters.get(waiter) else { return false };
        let over = match waiter.state {
            State::Parked => false,
            State::Over => true,
            State::Sent { .. } => return false,
        };
        // While an answer is on its way to one of the clients nobody knows what it has got: nothing is due (P17).
        if waiter.clients.iter().any(|&client| self.is_being_answered(client)) {
            return over;
        }
        for &client in &waiter.clients {
            let client = &self.clients[client];
            for subscription in &client.subscriptions {
                let after = client.position.max(subscription.since);
                if self.channels[subscription.channel].last_seq() > after {
                    self.due.push(Due { channel: subscription.channel, after });
                }
            }
        }
        if waiter.clients.len() > 1 {
            // All that any of them has not had, once (WIRE P16).
            self.due.sort_unstable_by_key(|due| (due.channel, due.after));
            self.due.dedup_by_key(|due| due.channel);
        }
        over || !self.due.is_empty()
    }

    fn is_being_answered(&self, client: Key<Client>) -> bool {
        self.clients[client].polls().iter().any(|&waiter| self.waiters[waiter].is_sent())
    }

    /// Up to which `seq` the collected answer goes: all there is, or as many of the oldest messages as fit.
    /// At least one message is in it, however large. 0 if nothing is due.
    fn limit_answer(&self) -> u64 {
        if self.due.is_empty() {
            return 0;
        }
        let messages = || self.due.iter().flat_map(|due| self.channels[due.channel].messages(due.after, u64::MAX));
        if messages().map(|message| message.triple().len()).sum::<usize>() <= self.limits.answer_bytes {
            return self.seq;
        }
        let mut sizes: Vec<(u64, usize)> = messages().map(|message| (message.seq(), message.triple().len())).collect();
        sizes.sort_unstable();
        let mut bytes = 0;
        let fitting = sizes.iter().take_while(|(_, size)| {
            bytes += size;
            bytes <= self.limits.answer_bytes
        });
        let fitting = fitting.count().max(1);
        sizes[fitting - 1].0
    }

    fn remove_waiter(&mut self, now: Ms, key: Key<Waiter>) {
        let waiter = self.waiters.remove(key).expect("the caller has seen it");
        for &client in &waiter.clients {
            self.clients[client].seen = now;
            self.clients[client].polls_mut().retain(|poll| *poll != key);
            if waiter.is_sent() {
                // It may have held up the others.
                for at in 0..self.clients[client].polls().len() {
                    self.look_at(self.clients[client].polls()[at]);
                }
            }
            self.remind_of_expiry(client);
        }
    }
}

impl Answer<'_> {
    /// Whom it is for: what [`Hub::wait`] was told.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.hub.waiters[self.waiter].owner
    }

    /// The waiter, for [`Hub::delivered`] or [`Hub::cancel`].
    #[must_use]
    pub fn waiter(&self) -> Key<Waiter> {
        self.waiter
    }

    /// The channels with news, each with its messages, the oldest first; never one without messages (WIRE P2).
    pub fn channels(&self) -> impl Iterator<Item = (&Channel, impl Iterator<Item = &Message>)> {
        self.hub.due.iter().filter_map(|due| {
            let channel = &self.hub.channels[due.channel];
            let mut messages = channel.messages(due.after, self.upto).peekable();
            messages.peek().is_some().then_some((channel, messages))
        })
    }
}
