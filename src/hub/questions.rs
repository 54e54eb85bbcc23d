//! What the web application may ask about clients and channels. Nothing here changes anything.

use crate::clock::Ms;
use crate::slots::Slots;

use super::channel::Channel;
use super::client::Client;
use super::message::Message;
use super::{Error, Hub, MEDIA};

/// What is known of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Subscribed clients, those included that have departed and may come back.
    pub subscribers: usize,
    /// Subscribed clients that are here.
    pub active: usize,
    /// Those of them that have a poll parked.
    pub parked: usize,
    /// Messages that it holds.
    pub messages: usize,
    /// Bytes that they are.
    pub bytes: usize,
    /// The id that its next message gets.
    pub next_id: u64,
    /// The hub's `seq`: who subscribes or reads from here on misses nothing from now on.
    pub position: u64,
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// It takes part; if not, it has departed and may come back.
    pub here: bool,
    /// Time since it was last seen; 0 while it polls.
    pub idle: Ms,
    /// What its pages hear by: how many of each of the [`MEDIA`].
    pub polls: [usize; MEDIA.len()],
    /// Everything up to this `seq` is acknowledged.
    pub position: u64,
    /// How many channels it is subscribed to.
    pub subscriptions: usize,
}

/// Some of what a channel holds.
#[derive(Debug)]
pub struct History<'a> {
    /// In order.
    pub messages: Vec<&'a Message>,
    /// Something that would have been among them has fallen out already.
    pub is_lossy: bool,
    /// Where to go on: behind the last one, or the hub's `seq` if there is no more.
    pub upto: u64,
}

/// When the messages of a history come to this, it ends: copying them takes some 100 us.
const HISTORY_BYTES: usize = 256 << 10;

/// Messages that are looked at for one, those included that have expired.
const HISTORY_LOOKS_MAX: usize = 10_000;

/// A page of a long list: names, and from where the next page goes on.
pub type Page<'a> = (Vec<&'a str>, Option<u32>);

impl Hub {
    /// The `seq` of the newest message of all: a position from which everything is still to come.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.seq
    }

    /// What is known of a channel.
    ///
    /// # Errors
    /// [`Error::UnknownChannel`] if there is none of that name: asking makes none (WIRE M18).
    pub fn channel_info(&self, name: &str) -> Result<ChannelInfo, Error> {
        let channel = &self.channels[self.channel_named(name).ok_or(Error::UnknownChannel)?];
        let (messages, bytes) = channel.held_messages();
        Ok(ChannelInfo {
            subscribers: channel.subscribers.len() + (channel.held - channel.ended) as usize,
            active: channel.subscribers.len(),
            parked: channel.parked as usize,
            messages,
            bytes,
            next_id: channel.next_id(),
            position: self.seq,
        })
    }

    /// What is known of a client, here or departed.
    ///
    /// # Errors
    /// [`Error::UnknownClient`] if there is none of that name.
    pub fn client_info(&self, now: Ms, id: &str) -> Result<ClientInfo, Error> {
        let client = &self.clients[self.client_named(id).ok_or(Error::UnknownClient)?];
        let mut polls = [0; MEDIA.len()];
        for &poll in client.polls() {
            let poll = &self.waiters[poll];
            polls[poll.medium()] += 1;
        }
        Ok(ClientInfo {
            here: client.is_here(),
            idle: if client.polls().is_empty() { now - client.seen } else { Ms::ZERO },
            polls,
            position: client.position,
            subscriptions: client.subscriptions.len() - client.ended as usize,
        })
    }

    /// What a channel holds after `since` (a `seq`), in order, `limit` messages and some 256 KiB at most.
    ///
    /// # Errors
    /// [`Error::UnknownChannel`] if there is none of that name.
    pub fn history(&self, now: Ms, name: &str, since: u64, limit: usize) -> Result<History<'_>, Error> {
        let channel = &self.channels[self.channel_named(name).ok_or(Error::UnknownChannel)?];
        let is_lossy = channel.gap(None, since, [u64::MAX; 2], u64::MAX).is_some();
        let mut history = History { messages: Vec::new(), is_lossy, upto: since };
        let [first, second] = channel.places(since, u64::MAX).map(|places| places.map(|at| channel.message(at)));
        let (mut first, mut second) = (first.peekable(), second.peekable());
        let mut bytes = 0;
        for _ in 0..HISTORY_LOOKS_MAX {
            if history.messages.len() >= limit || bytes >= HISTORY_BYTES {
                return Ok(history);
            }
            let is_second = match (first.peek(), second.peek()) {
                (Some(first), Some(second)) => second.seq < first.seq,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            let Some(message) = (if is_second { second.next() } else { first.next() }) else {
                history.upto = self.seq;
                return Ok(history);
            };
            history.upto = message.seq;
            if !message.is_over(now) {
                bytes += message.bytes();
                history.messages.push(message);
            }
        }
        Ok(history)
    }

    /// Channels whose names begin with `prefix`, from a place in the table on; looks at `budget` places at most. In no
    /// order; one that is there all the while is in exactly one page.
    #[must_use]
    pub fn list_channels(&self, prefix: &str, from: u32, limit: usize, budget: u32) -> Page<'_> {
        let is_listed = |channel: &Channel| !channel.is_canary && channel.name().starts_with(prefix);
        page(&self.channels, from, limit, budget, |channel| is_listed(channel).then(|| channel.name()))
    }

    /// Clients that are here, as [`Hub::list_channels`].
    #[must_use]
    pub fn list_clients(&self, prefix: &str, from: u32, limit: usize, budget: u32) -> Page<'_> {
        let is_listed = |client: &Client| client.is_here() && !client.is_canary && client.id.starts_with(prefix);
        page(&self.clients, from, limit, budget, |client| is_listed(client).then_some(&*client.id))
    }
}

fn page<'a, T>(
    table: &'a Slots<T>,
    mut from: u32,
    limit: usize,
    mut budget: u32,
    name: impl Fn(&'a T) -> Option<&'a str>,
) -> Page<'a> {
    let mut names = Vec::new();
    while names.len() < limit {
        match table.next_from(&mut from, &mut budget) {
            Some((_, entry)) => names.extend(name(entry)),
            None => return (names, (budget == 0).then_some(from)),
        }
    }
    (names, Some(from))
}
