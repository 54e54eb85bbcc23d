//! Why a client has a message, or has it not: the question that is asked when somebody says that something did not arrive.

use crate::clock::Ms;
use crate::slots::Key;

use super::channel::Channel;
use super::client::Client;
use super::ring::Loss;
use super::waiter::{State, Waiter};
use super::{Error, Hub};

/// What became of a message for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No message has this id yet.
    Unpublished,
    /// The client was not subscribed when it was published.
    NotSubscribed,
    /// Its publisher did not want this client to have it.
    Excluded,
    /// It was not read in the time that its publisher gave it.
    Expired,
    /// It fell out before the client came for it; the client is told of a gap.
    Lost(Loss),
    /// It has been written to the client's connection, as far as that takes it.
    OnItsWay,
    /// It is there for the client, which has not asked for it, or has not said yet that it has it.
    Waiting {
        /// The client has a poll parked.
        parked: bool,
    },
    /// The client has it.
    Delivered {
        /// A page has said so; if not, it has left the process in an answer of the original's protocol.
        by_page: bool,
        /// Time since that word, or since a later one, which was about this message too.
        ago: Ms,
        /// It was that word, not a later one.
        exactly: bool,
    },
}

impl Waiter {
    /// Whether an answer that includes this `seq` was made, of which nobody has said yet that it has arrived.
    fn has_sent(&self, seq: u64) -> bool {
        matches!(self.state, State::Sent { upto, is_empty: false, .. } if upto >= seq)
            || self.is_stream() && self.members.iter().all(|member| member.position >= seq)
    }
}

impl Hub {
    /// What became of message `id` of a channel for a client, as far as positions and rings tell.
    ///
    /// # Errors
    /// [`Error::UnknownClient`], [`Error::UnknownChannel`] if there is none of that name.
    pub fn why(&self, now: Ms, client: &str, channel: &str, id: u64) -> Result<Fate, Error> {
        let client = self.client_named(client).ok_or(Error::UnknownClient)?;
        let channel = self.channel_named(channel).ok_or(Error::UnknownChannel)?;
        if id == 0 || id >= self.channels[channel].next_id() {
            return Ok(Fate::Unpublished);
        }
        let Some(message) = self.channels[channel].message_by_id(id) else {
            return Ok(self.why_not_there(now, client, channel, id));
        };
        Ok(if !self.was_subscribed(client, channel, message.seq) {
            Fate::NotSubscribed
        } else if message.excluded().contains(&client) {
            Fate::Excluded
        } else if self.has_had(client, channel, message.seq) {
            self.delivered_fate(now, client, message.seq)
        } else if message.is_over(now) {
            Fate::Expired
        } else {
            let mut polls = self.clients[client].polls().iter().map(|&waiter| &self.waiters[waiter]);
            if polls.any(|poll| poll.has_sent(message.seq)) {
                Fate::OnItsWay
            } else {
                Fate::Waiting { parked: !self.clients[client].polls().is_empty() }
            }
        })
    }

    /// The same for a message that is not kept any more: its `seq` is not known, only that of the newest that fell out.
    fn why_not_there(&self, now: Ms, client: Key<Client>, channel: Key<Channel>, id: u64) -> Fate {
        // Not noted as fallen: its time was over when it went.
        let Some((seq, loss)) = self.channels[channel].fallen_at(id) else { return Fate::Expired };
        if !self.was_subscribed(client, channel, seq) {
            Fate::NotSubscribed
        } else if self.has_had(client, channel, seq) {
            // When is not known, as its own place in the order is not.
            self.delivered_fate(now, client, 0)
        } else {
            Fate::Lost(loss)
        }
    }

    fn was_subscribed(&self, client: Key<Client>, channel: Key<Channel>, seq: u64) -> bool {
        let mut subscriptions = self.clients[client].subscriptions.iter().filter(|of| of.channel == channel);
        subscriptions.any(|subscription| subscription.begin < seq && seq <= subscription.reach().0)
    }

    /// Whether the client's position is behind the message, in a subscription that covers it.
    fn has_had(&self, client: Key<Client>, channel: Key<Channel>, seq: u64) -> bool {
        let Client { subscriptions, position, .. } = &self.clients[client];
        let mut covering = subscriptions.iter().filter(|subscription| subscription.channel == channel);
        covering.any(|subscription| seq <= subscription.reach().0 && subscription.after(*position) >= seq)
    }

    fn delivered_fate(&self, now: Ms, client: Key<Client>, seq: u64) -> Fate {
        let Client { moved, moved_from, moved_by_page, .. } = self.clients[client];
        Fate::Delivered { by_page: moved_by_page, ago: now - moved, exactly: moved_from < seq }
    }
}
