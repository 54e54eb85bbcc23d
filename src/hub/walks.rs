//! Walks over crowds, which pause between two turns: the clients of a channel, the channels of a client.
//!
//! A walk goes from the last of a list to the first. Leaving swaps the last one into the gap, so whoever moves while the walk
//! pauses has been seen already: nobody who is there all the while is left out. If others leave meanwhile somebody may be
//! seen twice; who comes meanwhile may not be seen.

use std::collections::BTreeSet;

use crate::clock::Ms;
use crate::slots::Key;

use super::channel::Channel;
use super::client::Client;
use super::message::Reason;
use super::{ADMIN_MARK, Error, Hub};

/// How far a walk over the things of a `T` has come.
#[derive(Debug)]
pub struct Walk<T> {
    of: Key<T>,
    /// The places below this one are still to be looked at.
    left: usize,
}

/// Clients that are spared.
#[derive(Debug, Default)]
pub struct Spared(BTreeSet<Key<Client>>);

impl Hub {
    /// A walk over the clients of a channel; `None` if there is no such channel. Asking makes none.
    #[must_use]
    pub fn walk_channel(&self, name: &str) -> Option<Walk<Channel>> {
        let of = self.channel_named(name)?;
        Some(Walk { of, left: self.channels[of].subscribers.len() })
    }

    /// A walk over the channels of a client.
    ///
    /// # Errors
    /// [`Error::UnknownClient`] if it is not here.
    pub fn walk_client(&self, id: &str) -> Result<Walk<Client>, Error> {
        let of = self.here(id)?;
        Ok(Walk { of, left: self.clients[of].subscriptions.len() })
    }

    /// The id of the next of a channel's clients that is active, less the hidden ones (WIRE M9). Takes one off `budget` for
    /// each that it looks at. `None` with some of it left is the end.
    pub fn next_client(&self, now: Ms, walk: &mut Walk<Channel>, budget: &mut u32) -> Option<&str> {
        self.next_listed(now, walk, budget).map(|client| &*self.clients[client].id)
    }

    /// The name of the next channel that a client is subscribed to (WIRE M10), as [`Hub::next_client`].
    pub fn next_channel(&self, walk: &mut Walk<Client>, budget: &mut u32) -> Option<&str> {
        // Whoever was killed meanwhile has no channels.
        let subscriptions = &self.clients.get(walk.of)?.subscriptions;
        while walk.step(subscriptions.len(), budget) {
            let subscription = &subscriptions[walk.left];
            if !subscription.has_ended() {
                return Some(self.channels[subscription.channel].name());
            }
        }
        None
    }

    /// Has a client spared; a name that nobody has is nobody.
    pub fn spare(&self, spared: &mut Spared, id: &str) {
        spared.0.extend(self.client_named(id));
    }

    /// Unsubscribes some of those whom [`Hub::next_client`] lists, but for the spared (WIRE M6). Takes one off `budget` for
    /// each that it looks at. True when it has come to the end.
    pub fn unsubscribe_some(&mut self, now: Ms, walk: &mut Walk<Channel>, spared: &Spared, budget: &mut u32) -> bool {
        while let Some(client) = self.next_listed(now, walk, budget) {
            if !spared.0.contains(&client) {
                let at = self.channels[walk.of].subscribers[walk.left].at as usize;
                self.end(now, client, at);
                self.say(now, client, walk.of, Reason::Unsubscribed);
            }
        }
        *budget > 0
    }

    fn next_listed(&self, now: Ms, walk: &mut Walk<Channel>, budget: &mut u32) -> Option<Key<Client>> {
        // A channel that was freed meanwhile has no clients.
        let subscribers = &self.channels.get(walk.of)?.subscribers;
        while walk.step(subscribers.len(), budget) {
            let key = subscribers[walk.left].client;
            let client = &self.clients[key];
            if !client.id.is_empty() && !client.id.contains(ADMIN_MARK) && self.is_active(now, client) {
                return Some(key);
            }
        }
        None
    }
}

impl<T> Walk<T> {
    /// On to the next place of a list that has so many now.
    fn step(&mut self, places: usize, budget: &mut u32) -> bool {
        self.left = self.left.min(places);
        if self.left == 0 || *budget == 0 {
            return false;
        }
        *budget -= 1;
        self.left -= 1;
        true
    }
}
