//! The crossing of a client and a channel.
//!
//! It is kept at both ends, as plain vectors whose entries know each other's index: the fan-out walks the channel's
//! end in one contiguous run, a poll walks the client's end, and leaving is two swaps whatever the crowd's size.

use crate::clock::Ms;
use crate::slots::Key;

use super::Hub;
use super::channel::Channel;
use super::client::Client;

/// The client's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) channel: Key<Channel>,
    /// The `seq` of the hub when it began: what is older was never meant for this client (WIRE C1).
    pub(super) since: u64,
    /// Its seat among the channel's subscribers; `None` while the client has departed.
    pub(super) seat: Option<u32>,
}

/// The channel's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber {
    pub(super) client: Key<Client>,
    /// Its index among the client's subscriptions.
    pub(super) at: u32,
}

impl Hub {
    /// Where in the client's list the channel is. A walk over a contiguous run: clients have few subscriptions.
    pub(super) fn find_subscription(&self, client: Key<Client>, channel: Key<Channel>) -> Option<usize> {
        self.clients[client].subscriptions.iter().position(|subscription| subscription.channel == channel)
    }

    /// Begins a subscription, behind all that was published so far.
    pub(super) fn link(&mut self, client: Key<Client>, channel: Key<Channel>) {
        let at = index(self.clients[client].subscriptions.len());
        self.clients[client].subscriptions.push(Subscription { channel, since: self.seq, seat: None });
        self.take_seat(client, channel, at);
    }

    /// Ends a subscription of a client that is here: its position in the channel is forgotten (WIRE C3).
    pub(super) fn unlink(&mut self, now: Ms, client: Key<Client>, at: usize) {
        self.leave_seat(now, client, at);
        let subscriptions = &mut self.clients[client].subscriptions;
        subscriptions.swap_remove(at);
        if subscriptions.is_empty() {
            *subscriptions = Vec::new();
        }
        if let Some(&Subscription { channel, seat: Some(seat), .. }) = self.clients[client].subscriptions.get(at) {
            self.channels[channel].subscribers[seat as usize].at = index(at);
        }
    }

    /// Seats a client among the channel's subscribers.
    pub(super) fn take_seat(&mut self, client: Key<Client>, channel: Key<Channel>, at: u32) {
        let subscribers = &mut self.channels[channel].subscribers;
        let seat = index(subscribers.len());
        subscribers.push(Subscriber { client, at });
        self.clients[client].subscriptions[at as usize].seat = Some(seat);
    }

    /// Takes a client's seat among the channel's subscribers away; whoever sat last moves there.
    pub(super) fn leave_seat(&mut self, now: Ms, client: Key<Client>, at: usize) {
        let subscription = &mut self.clients[client].subscriptions[at];
        let seat = subscription.seat.take().expect("a client that is here has a seat in each of its channels") as usize;
        let key = subscription.channel;
        let channel = &mut self.channels[key];
        channel.subscribers.swap_remove(seat);
        if channel.subscribers.len() * 4 < channel.subscribers.capacity() {
            channel.subscribers.shrink_to(channel.subscribers.len() * 2);
        }
        if let Some(&Subscriber { client: moved, at: moved_at }) = channel.subscribers.get(seat) {
            self.clients[moved].subscriptions[moved_at as usize].seat = Some(index(seat));
        }
        channel.used = now;
        self.remind_channel(key);
    }
}

/// An index of these lists as it is stored: half the size of `usize`, as there is one for each subscription.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("a list of 2^32 subscriptions does not fit into memory")
}
