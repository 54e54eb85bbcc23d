//! The canary: a message that is published to whoever asks whether messages come out, and to nobody else.
//!
//! It has a client, a channel and a poll of its own, and goes the way of all messages: it is given its place in the order,
//! stands in a ring, is found by a sweep over subscribers, and leaves by [`Hub::next_answer`], the one door. None of the three
//! has a name, so nobody else can ask for them, subscribe or poll; they are not listed nor counted, and their message is not
//! in what history may take. When the poll has gone all of it goes.

use crate::clock::Ms;
use crate::slots::Key;

use super::answer::Answer;
use super::channel::Channel;
use super::client::{Client, ClientKey};
use super::freed::Trace;
use super::message::{Kind, Sender};
use super::waiter::{Member, Owner, Protocol, Since, State, Transport, Waiter};
use super::{Error, Hub, Limit};

impl Hub {
    /// Publishes a canary for `owner`, who is answered by [`Hub::next_answer`] as if it had polled. It costs as much as a
    /// poll and a message, in this turn alone. Next: [`Hub::delivered`] or [`Hub::cancel`], as for a poll.
    ///
    /// # Errors
    /// [`Error::Full`] if no message can be published, as there is no memory for it.
    pub fn send_canary(&mut self, now: Ms, owner: Owner) -> Result<Key<Waiter>, Error> {
        if let Some(max) = self.memory.full {
            return Err(Error::Full(Limit::Memory(max)));
        }
        self.canaries += 1;
        let client = self.clients.insert(Client::new(now, Box::default(), ClientKey::new([0; 16])));
        let policy = self.limits.policies.of("").clone();
        let channel = self.channels.insert(Channel::new(now, "", policy, Trace::default()));
        self.clients[client].is_canary = true;
        self.channels[channel].is_canary = true;
        self.link(client, channel, None);
        let position = self.seq;
        let fact = self.order(now, channel, Kind::Application, Sender::Id(""), CANARY);
        let waiter = self.waiters.insert(Waiter {
            owner,
            members: [Member { client, position }].into_iter().collect(),
            deadline: Ms::MAX,
            protocol: Protocol::Resume(Since::At(position)),
            transport: Transport::Canary,
            // Not before its message: its time is nobody's latency.
            came: self.seq,
            state: State::Parked,
            came_s: 0,
            queued: false,
            owes_word: false,
        });
        self.clients[client].polls_mut().push(waiter);
        let channel = &mut self.channels[fact.channel];
        channel.parked += 1;
        channel.append(now, fact.message);
        channel.mark(Kind::Application);
        self.sweeps.push_back(fact.channel);
        Ok(waiter)
    }

    /// The poll of a canary has gone.
    pub(super) fn bury_canary(&mut self, waiter: &Waiter) {
        self.canaries -= 1;
        for client in waiter.clients() {
            let client = self.clients.remove(client).expect("it goes with its poll");
            for subscription in &client.subscriptions {
                self.channels.remove(subscription.channel);
                self.subscriptions -= 1;
            }
        }
    }
}

impl Answer<'_> {
    /// Whether it brings a canary's message, and nothing else is why it is made. If not, the server stops.
    #[must_use]
    pub fn brings_canary(&self) -> bool {
        self.ending.is_none()
            && self.messages().any(|(channel, message)| channel.is_canary && message.text_json() == CANARY_JSON)
    }
}

/// What it sings.
const CANARY: &str = "tweet";
const CANARY_JSON: &[u8] = b"\"tweet\"";
