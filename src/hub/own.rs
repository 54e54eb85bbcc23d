//! The hub's own channel, on which the server says to its dashboards what goes on, and which channels have the most to say.
//!
//! It is a channel as any other, to which clients subscribe, so all transports are served by the one door. But it is made by
//! nobody's wish: it is not announced, nobody is told who comes and goes, it keeps little and not for long, whatever the
//! configuration says of others, and what is said there is not in the [tally](super::Tally), which it is to show. Who the
//! busiest channels are is counted only while somebody wants to know.

use std::sync::Arc;

use crate::clock::Ms;
use crate::slots::Key;

use super::answer::Draft;
use super::busiest::Busiest;
use super::channel::Channel;
use super::client::Client;
use super::freed::Trace;
use super::message::{Kind, Sender};
use super::policy::{Policy, SystemShare};
use super::{ClientKey, Error, Hub, SYSTEM_SENDER};

/// The own channel, if there is one.
#[derive(Debug, Default)]
pub(super) struct Own {
    channel: Option<Key<Channel>>,
    busiest: Option<Box<Busiest>>,
}

/// A channel that says much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy<'a> {
    /// Its name.
    pub name: &'a str,
    /// So many messages at least, since this was asked the last time.
    pub messages: u64,
    /// Subscribed clients that are here.
    pub active: usize,
}

/// Messages that the own channel keeps: figures that come a second late are worth little.
const HISTORY: usize = 3;

/// Bytes of them; the newest stays in any case.
const HISTORY_BYTES: usize = 64 << 10;

/// For how long.
const HISTORY_AGE: Ms = Ms::from_secs(10);

/// So many clients of dashboards may come beyond the limit.
const OWN_CLIENTS: usize = 16;

impl Own {
    pub(super) fn is(&self, channel: Key<Channel>) -> bool {
        self.channel == Some(channel)
    }

    /// How many messages of an answer are not ours.
    pub(super) fn others(&self, draft: &Draft) -> usize {
        match self.channel {
            None => draft.picks.len(),
            Some(_) => draft.picks.iter().filter(|pick| !self.is(pick.channel)).count(),
        }
    }

    /// Something was published in a channel. Whether that counts: it is not our own.
    pub(super) fn note(&mut self, channel: Key<Channel>) -> bool {
        if self.is(channel) {
            return false;
        }
        if let Some(busiest) = &mut self.busiest {
            busiest.note(channel);
        }
        true
    }
}

impl Hub {
    /// Makes the own channel if it is not there. If there is a channel of that name, it is that from now on.
    pub fn open_own(&mut self, now: Ms, name: &str) {
        if self.own.channel.is_some_and(|channel| self.channels.contains(channel)) {
            return;
        }
        let channel = self.channel_named(name).unwrap_or_else(|| {
            let policy = Policy {
                history: HISTORY,
                history_system: SystemShare::Own(1),
                history_bytes: HISTORY_BYTES,
                history_age: HISTORY_AGE,
                presence: false,
            };
            let channel = self.channels.insert(Channel::new(now, name, Arc::new(policy), Trace::default()));
            self.channel_names.insert(name, channel);
            self.remind_channel(channel);
            channel
        });
        self.own.channel = Some(channel);
    }

    /// Makes a client for who comes to see what goes on, with this key, which must be unpredictable. That may be because a limit
    /// is reached: a few of them may come when no others may.
    ///
    /// # Errors
    /// [`Error::Full`] if those are too many, too.
    pub fn create_own_client(&mut self, now: Ms, id: &str, key: ClientKey) -> Result<ClientKey, Error> {
        self.add_client(now, id, key, self.limits.clients_max.saturating_add(OWN_CLIENTS))
    }

    /// Whether a client is here for what is said there.
    pub(super) fn is_own(&self, client: &Client) -> bool {
        self.own.channel.is_some() && client.subscriptions.iter().any(|subscription| self.own.is(subscription.channel))
    }

    /// How many clients wait for what is said there.
    #[must_use]
    pub fn own_listeners(&self) -> usize {
        let channel = self.own.channel.and_then(|channel| self.channels.get(channel));
        channel.map_or(0, |channel| channel.parked as usize)
    }

    /// Says something there. That takes no more memory than was taken before, so it is said also when there is none for others.
    pub fn say_own(&mut self, now: Ms, text: &str) {
        let Some(channel) = self.own.channel.filter(|&channel| self.channels.contains(channel)) else { return };
        let fact = self.order(now, channel, Kind::Application, Sender::Id(SYSTEM_SENDER), text);
        self.append(now, fact);
    }

    /// The channels with the most messages since this was asked the last time, the busiest first, and ten at most. Nothing is
    /// known at first: it is counted from now on, until [`Hub::forget_busiest`].
    pub fn take_busiest(&mut self) -> Vec<Busy<'_>> {
        let found = self.own.busiest.get_or_insert_default().take();
        let channels = &self.channels;
        let known = found.into_iter().filter_map(|(key, messages)| {
            let channel = channels.get(key)?;
            Some(Busy { name: channel.name(), messages, active: channel.subscribers.len() })
        });
        known.collect()
    }

    /// Nobody wants to know any more.
    pub fn forget_busiest(&mut self) {
        self.own.busiest = None;
    }
}
