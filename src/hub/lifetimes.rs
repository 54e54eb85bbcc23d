//! When clients depart, come back and are forgotten, and when channels are freed (WIRE section 6, C5).
//!
//! The wheel holds reminders; the truth is in the objects. Touching a client writes one field and moves no timer. Each
//! client has one reminder that counts, at the next moment at which anything about it can be due: a poll's deadline,
//! its collection, its being forgotten. When it fires the client is looked at, and reminded of again if need be.

use crate::clock::Ms;
use crate::slots::Key;

use super::channel::Channel;
use super::client::{Client, Presence};
use super::follower::Wish;
use super::message::Reason;
use super::subscription::Seat;
use super::waiter::Ending;
use super::{Hub, Limits};

/// What a reminder is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reminder {
    Client(Key<Client>),
    Channel(Key<Channel>),
}

/// Channels that a client leaves in one step, at some 300 ns each.
const CHANNELS_PER_STEP: usize = 4;

impl Hub {
    /// When [`Hub::handle_timeout`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Ms> {
        self.reminders.next()
    }

    /// Does what is due by now: ends polls whose time is up, collects stale clients, frees idle channels. Takes one off
    /// `budget` for each reminder it looks at, and more for a client with many channels; what it does not get to is done by
    /// the next call.
    pub fn handle_timeout(&mut self, now: Ms, budget: &mut u32) {
        while *budget > 0 {
            let mut look = 1;
            self.reminders.expire(now, &mut look, &mut self.fired);
            *budget -= 1;
            match self.fired.pop() {
                Some(Reminder::Client(client)) => {
                    *budget = budget.saturating_sub(self.steps_of(client));
                    self.look_at_client(now, client);
                }
                Some(Reminder::Channel(channel)) => self.look_at_channel(now, channel),
                // There was nothing to look at.
                None if look > 0 => {
                    *budget += 1;
                    return;
                }
                None => {}
            }
        }
    }

    /// What looking at a client may take, beyond one step.
    pub(super) fn steps_of(&self, client: Key<Client>) -> u32 {
        let channels = self.clients.get(client).map_or(0, |client| client.subscriptions.len());
        u32::try_from(channels / CHANNELS_PER_STEP).unwrap_or(u32::MAX)
    }

    fn look_at_client(&mut self, now: Ms, key: Key<Client>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.reminded_far <= now {
            client.reminded_far = Ms::MAX;
        }
        if client.reminded > now {
            // A leftover: an earlier one has been here and has reminded anew.
            return;
        }
        client.reminded = Ms::MAX;
        if let Presence::Departed(departure) = &client.presence {
            let until = departure.until;
            if until <= now {
                self.forget(now, key);
            } else {
                self.remind_of_end(key, until);
            }
        } else if self.is_stale(now, key) {
            if self.is_following() {
                self.leave_client(now, key);
            } else {
                self.depart(now, key);
            }
        } else {
            self.end_late_polls(now, key);
            self.remind_of_expiry(key);
        }
    }

    /// Ends the polls of a client whose deadline has come, and has it reminded of the next one.
    pub(super) fn end_late_polls(&mut self, now: Ms, client: Key<Client>) {
        let mut next = Ms::MAX;
        for at in 0..self.clients[client].polls().len() {
            let waiter = self.clients[client].polls()[at];
            let deadline = self.waiters[waiter].deadline;
            if deadline <= now {
                self.end_waiting(waiter, Ending::Time);
            } else {
                next = next.min(deadline);
            }
        }
        self.remind_client(client, next);
    }

    /// Whether a client counts as present (WIRE L1).
    pub(super) fn is_active(&self, now: Ms, client: &Client) -> bool {
        !client.polls().is_empty()
            || now <= client.created + self.limits.min_alive
            || now <= client.seen + self.limits.max_idle
    }

    /// Whether a client is to be collected: like [`Hub::is_active`], but only at a sweep.
    fn is_stale(&self, now: Ms, client: Key<Client>) -> bool {
        self.clients[client].polls().is_empty() && self.expires_at(client) <= now
    }

    /// The sweep at which a client is collected unless it polls before.
    fn expires_at(&self, client: Key<Client>) -> Ms {
        let stale = self.clients[client].stale_at(&self.limits);
        let interval = self.limits.sweep_interval.0.max(1);
        Ms(stale.0.div_ceil(interval).saturating_mul(interval))
    }

    /// Collects a client: it leaves its channels and may come back (WIRE L2, L3).
    fn depart(&mut self, now: Ms, client: Key<Client>) {
        for at in 0..self.clients[client].subscriptions.len() {
            if !self.clients[client].subscriptions[at].has_ended() {
                self.leave_seat(now, client, at);
                self.say(now, client, self.clients[client].subscriptions[at].channel, Reason::Expired);
            }
        }
        self.tally.departed += 1;
        let until = now + self.limits.departed_age;
        self.departed.push(&mut self.clients, client, until);
        self.remind_of_end(client, until);
        // If there are more that are too many, a change of the limits sees to them.
        if self.departed.len() > self.limits.departed_max {
            let oldest = self.departed.oldest().expect("the list is not empty");
            self.forget(now, oldest);
        }
    }

    /// Has a departed client back, with its subscriptions and its position (WIRE L3).
    pub(super) fn revive(&mut self, now: Ms, client: Key<Client>) {
        self.tally.returned += 1;
        self.departed.remove(&mut self.clients, client);
        self.clients[client].seen = now;
        self.remind_of_expiry(client);
        for at in 0..self.clients[client].subscriptions.len() {
            if matches!(self.clients[client].subscriptions[at].seat, Seat::Away) {
                self.take_seat(client, at);
                self.say(now, client, self.clients[client].subscriptions[at].channel, Reason::Returned);
            }
        }
    }

    /// Forgets a departed client for good: its next poll gets a 404.
    pub(super) fn forget(&mut self, now: Ms, key: Key<Client>) {
        while let Some(last) = self.clients[key].subscriptions.len().checked_sub(1) {
            self.unlink(now, key, last);
        }
        self.departed.remove(&mut self.clients, key);
        self.tally.forgotten += 1;
        let client = self.clients.remove(key).expect("it was on the list");
        self.client_names.remove(&client.id, key);
    }

    /// A client that is here leaves all its channels, for good (WIRE M11).
    pub(super) fn leave_all(&mut self, now: Ms, client: Key<Client>) {
        while let Some(subscription) = self.clients[client].subscriptions.last() {
            let (channel, had_ended) = (subscription.channel, subscription.has_ended());
            let at = self.clients[client].subscriptions.len() - 1;
            if !had_ended {
                self.leave_seat(now, client, at);
            }
            self.unlink(now, client, at);
            if !had_ended {
                self.say(now, client, channel, Reason::Killed);
            }
        }
    }

    /// Lets go of a channel's old messages, frees it if nobody has used it for long (WIRE C5), or has it looked at again.
    fn look_at_channel(&mut self, now: Ms, key: Key<Channel>) {
        let idle = self.channel_idle();
        let Some(channel) = self.channels.get_mut(key) else { return };
        if channel.reminded > now {
            // A leftover, as of a client.
            return;
        }
        channel.reminded = Ms::MAX;
        let (count, bytes) = channel.held_messages();
        channel.lose_old(now);
        self.draft.forget_origin();
        self.tally.aged += (count - channel.held_messages().0) as u64;
        self.memory.bytes -= bytes - channel.held_messages().1;
        if channel.is_deserted() && channel.used + idle <= now {
            let mut channel = self.channels.remove(key).expect("it was here a line ago");
            self.channel_names.remove(channel.name(), key);
            self.tally.freed += 1;
            self.memory.bytes -= channel.held_messages().1;
            self.memory.sweep_up(&channel, &self.channels);
            let trace = channel.lose_all(now);
            if self.is_following() {
                self.wish(Wish::LeftChannel(channel.name().into()));
            } else {
                self.freed.note(channel.name(), trace);
            }
        } else {
            self.remind_channel(key);
        }
    }

    /// How long a channel is kept that nobody is subscribed to. What a broker keeps need not be kept here.
    fn channel_idle(&self) -> Ms {
        let Limits { channel_idle, max_idle, .. } = self.limits;
        if self.is_following() { channel_idle.min(max_idle) } else { channel_idle }
    }

    /// Has the client looked at by `at`.
    pub(super) fn remind_client(&mut self, key: Key<Client>, at: Ms) {
        let client = &mut self.clients[key];
        if at < client.reminded {
            client.reminded = at;
            self.reminders.remind(at, Reminder::Client(key));
        }
    }

    /// Has a client that has departed looked at by the time it is to be forgotten, or before: if it has departed before, the
    /// reminder of then is still on its way, and will see to the next.
    pub(super) fn remind_of_end(&mut self, key: Key<Client>, until: Ms) {
        let client = &mut self.clients[key];
        if until < client.reminded_far {
            client.reminded_far = until;
            self.reminders.remind(until, Reminder::Client(key));
        }
        client.reminded = client.reminded.min(client.reminded_far);
    }

    /// Has a client that is here looked at by the time it may have to be collected.
    pub(super) fn remind_of_expiry(&mut self, client: Key<Client>) {
        if self.clients[client].polls().is_empty() {
            self.remind_client(client, self.expires_at(client));
        }
    }

    /// Has a channel looked at when it may be idle, or some of its messages too old.
    pub(super) fn remind_channel(&mut self, key: Key<Channel>) {
        let idle = self.channel_idle();
        let channel = &mut self.channels[key];
        let idle_at = channel.is_deserted().then_some(channel.used + idle);
        let Some(at) = idle_at.into_iter().chain(channel.ages_at()).min() else { return };
        if at < channel.reminded {
            channel.reminded = at;
            self.reminders.remind(at, Reminder::Channel(key));
        }
    }
}
