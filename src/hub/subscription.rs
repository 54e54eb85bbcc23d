//! The crossing of a client and a channel.
//!
//! It is kept at both ends, as plain vectors whose entries know each other's index: the fan-out walks the channel's
//! end in one contiguous run, a poll walks the client's end, and leaving is two swaps whatever the crowd's size.
//!
//! A subscription that has ended stays at the client's end while something from its time may still be read, as what was
//! published before the end was meant for the client: until it is acknowledged, and no shorter than the channel keeps its
//! messages, as another page of the same client may be further back.

use crate::clock::Ms;
use crate::slots::Key;

use super::Hub;
use super::channel::Channel;
use super::client::Client;

/// The client's end.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: Key<Channel>,
    /// The `seq` of the hub when it was made.
    pub(super) made: u64,
    /// The `seq` at which it begins: when it was made, or earlier if the web application wanted so. What is older was
    /// never meant for this client (WIRE C1).
    pub(super) begin: u64,
    pub(super) seat: Seat,
}

/// A subscription's place among the channel's subscribers.
#[derive(Debug)]
pub(super) enum Seat {
    /// The index there.
    Taken(u32),
    /// None, as the client has departed; it may come back.
    Away,
    /// None any more: the client was unsubscribed.
    Ended(Box<End>),
}

/// The end of a subscription.
#[derive(Debug)]
pub(super) struct End {
    /// The `seq` of the hub when it ended: what is newer was not meant for the client.
    pub(super) until: u64,
    /// The newest messages of the channel at that time, by kind.
    pub(super) newest: [u64; 2],
    /// From then on a page that has not read it yet finds nothing of it any more: the channel's messages are older than it
    /// keeps them.
    pub(super) stale: Ms,
}

/// The channel's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber {
    pub(super) client: Key<Client>,
    /// Its index among the client's subscriptions.
    pub(super) at: u32,
}

impl Subscription {
    /// What a reader at `position` has had of the channel: all up to here. Who was there before the subscription was made
    /// has had nothing of it.
    pub(super) fn after(&self, position: u64) -> u64 {
        if position < self.made { self.begin } else { position }
    }

    /// Whether a reader at `position` has still to get what is from before the subscription was made.
    pub(super) fn is_behind(&self, position: u64) -> bool {
        self.begin < self.made && position < self.made
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.seat, Seat::Ended(_))
    }

    /// Whether it has ended, and who has had everything up to `after` has had all of it.
    pub(super) fn is_over(&self, after: u64) -> bool {
        matches!(&self.seat, Seat::Ended(end) if end.newest() <= after)
    }

    /// Up to where messages are meant for the client, and the newest of either kind that can be.
    pub(super) fn reach(&self) -> (u64, [u64; 2]) {
        match &self.seat {
            Seat::Taken(_) | Seat::Away => (u64::MAX, [u64::MAX; 2]),
            Seat::Ended(end) => (end.until, end.newest),
        }
    }
}

impl End {
    /// The `seq` of the last message that was meant for the client.
    pub(super) fn newest(&self) -> u64 {
        self.newest[0].max(self.newest[1])
    }
}

impl Hub {
    /// Where in the client's list the channel is, if it is subscribed. A walk over a contiguous run: clients have few
    /// subscriptions.
    pub(super) fn find_subscription(&self, client: Key<Client>, channel: Key<Channel>) -> Option<usize> {
        let subscriptions = &self.clients[client].subscriptions;
        subscriptions.iter().position(|subscription| subscription.channel == channel && !subscription.has_ended())
    }

    /// Begins a subscription: behind all that was published so far, or at an earlier `seq`.
    pub(super) fn link(&mut self, client: Key<Client>, channel: Key<Channel>, begin: Option<u64>) {
        if begin.is_some() {
            // A number of its own, so that every position of before is before it.
            self.seq += 1;
        }
        let made = self.seq;
        let begin = begin.unwrap_or(made).min(made);
        let subscriptions = &mut self.clients[client].subscriptions;
        let at = index(subscriptions.len());
        subscriptions.push(Subscription { channel, made, begin, seat: Seat::Away });
        self.subscriptions += 1;
        self.channels[channel].held += 1;
        self.take_seat(client, at as usize);
    }

    /// Ends a subscription of a client that is here. What it has not read of it stays for the resume protocol.
    pub(super) fn end(&mut self, now: Ms, client: Key<Client>, at: usize) {
        self.leave_seat(now, client, at);
        let Client { subscriptions, position, resumes, ended, .. } = &mut self.clients[client];
        let subscription = &mut subscriptions[at];
        let channel = &self.channels[subscription.channel];
        // A page of the original's protocol is where the client is; others may have had nothing yet.
        let read = if *resumes { subscription.begin } else { subscription.after(*position) };
        if channel.last_seq() > read {
            let stale = now + channel.policy.history_age;
            subscription.seat = Seat::Ended(Box::new(End { until: self.seq, newest: channel.newest(), stale }));
            *ended += 1;
            self.channels[subscription.channel].ended += 1;
            // No sweep comes by any more for what was published until now.
            self.look_at_polls(client);
        } else {
            self.unlink(now, client, at);
        }
    }

    /// Forgets a subscription that has no seat.
    pub(super) fn unlink(&mut self, now: Ms, client: Key<Client>, at: usize) {
        let Client { subscriptions, ended, .. } = &mut self.clients[client];
        let gone = subscriptions.swap_remove(at);
        self.subscriptions -= 1;
        assert!(!matches!(gone.seat, Seat::Taken(_)), "it has left its seat");
        *ended -= u32::from(gone.has_ended());
        if let Some(&Subscription { channel, seat: Seat::Taken(seat), .. }) = subscriptions.get(at) {
            self.channels[channel].subscribers[seat as usize].at = index(at);
        }
        let channel = &mut self.channels[gone.channel];
        channel.held -= 1;
        channel.ended -= u32::from(gone.has_ended());
        channel.used = now;
        self.remind_channel(gone.channel);
    }

    /// Forgets the ended subscriptions of which everything has been read, when no page finds anything of them any more.
    pub(super) fn forget_read(&mut self, now: Ms, client: Key<Client>) {
        let mut at = 0;
        while self.clients[client].ended > 0 && at < self.clients[client].subscriptions.len() {
            match self.read_end(client, at) {
                Some(stale) if stale <= now || !self.clients[client].resumes => self.forget_end(now, client, at),
                _ => at += 1,
            }
        }
    }

    /// Forgets an ended subscription that was read, before its time, to make room for another. False if there is none.
    pub(super) fn forget_one_read(&mut self, now: Ms, client: Key<Client>) -> bool {
        let found = (0..self.clients[client].subscriptions.len()).find(|&at| self.read_end(client, at).is_some());
        if let Some(at) = found {
            self.forget_end(now, client, at);
        }
        found.is_some()
    }

    /// From when on nobody finds anything of a subscription, if it has ended and the client has had everything of it.
    fn read_end(&self, client: Key<Client>, at: usize) -> Option<Ms> {
        let Client { subscriptions, position, .. } = &self.clients[client];
        match &subscriptions[at].seat {
            Seat::Ended(end) if end.newest() <= *position => Some(end.stale),
            Seat::Ended(_) | Seat::Taken(_) | Seat::Away => None,
        }
    }

    fn forget_end(&mut self, now: Ms, client: Key<Client>, at: usize) {
        let Client { subscriptions, resumes, forgotten, .. } = &mut self.clients[client];
        if let Seat::Ended(end) = &subscriptions[at].seat
            && *resumes
        {
            *forgotten = end.newest().max(*forgotten);
        }
        self.unlink(now, client, at);
    }

    /// Seats a client that was away among the channel's subscribers.
    pub(super) fn take_seat(&mut self, client: Key<Client>, at: usize) {
        let subscription = &mut self.clients[client].subscriptions[at];
        assert!(matches!(subscription.seat, Seat::Away), "who has a seat or has ended takes none");
        let channel = &mut self.channels[subscription.channel];
        subscription.seat = Seat::Taken(index(channel.subscribers.len()));
        channel.subscribers.push(Subscriber { client, at: index(at) });
        channel.held -= 1;
        channel.parked += u32::from(!self.clients[client].polls().is_empty());
    }

    /// Takes a client's seat among the channel's subscribers away; whoever sat last moves there.
    pub(super) fn leave_seat(&mut self, now: Ms, client: Key<Client>, at: usize) {
        let polls = !self.clients[client].polls().is_empty();
        let subscription = &mut self.clients[client].subscriptions[at];
        let Seat::Taken(seat) = std::mem::replace(&mut subscription.seat, Seat::Away) else {
            panic!("a client that is here has a seat in each of its channels");
        };
        let channel = &mut self.channels[subscription.channel];
        channel.held += 1;
        channel.used = now;
        channel.parked -= u32::from(polls);
        channel.subscribers.swap_remove(seat as usize);
        if let Some(&Subscriber { client: moved, at: moved_at }) = channel.subscribers.get(seat as usize) {
            self.clients[moved].subscriptions[moved_at as usize].seat = Seat::Taken(seat);
        }
    }
}

/// An index of these lists as it is stored: half the size of `usize`, as there is one for each subscription.
pub(super) fn index(at: usize) -> u32 {
    u32::try_from(at).expect("a list of 2^32 subscriptions does not fit into memory")
}
