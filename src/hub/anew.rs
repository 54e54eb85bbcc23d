//! The broker has lost everything, and begins anew.
//!
//! All that is kept of channels is of another order of messages then, as are all positions. Clients stay, without subscriptions;
//! who waits is told that it has lost something as soon as its client has them again.
//!
//! There may be very many of all of them, so they are let go of in a walk that pauses. Until it is over the hub is *behind*:
//! nobody is answered. Nobody's position moves, as what was sent before may still arrive. And nothing is told of what there is now:
//! no client is adopted, no channel filled, nobody parked.

use crate::clock::Ms;
use crate::slots::Key;

use super::channel::Channel;
use super::client::Client;
use super::follower::Standing;
use super::{ClientKey, Hub};

/// How far the walk has come.
#[derive(Debug, Default)]
pub(super) struct Anew {
    section: Section,
    cursor: u32,
    /// A client that is being let go of, as it has many subscriptions.
    client: Option<(Key<Client>, Former)>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Section {
    /// First, as nobody who waits is to be told a position of before.
    #[default]
    Waiters,
    Clients,
    /// Last: nobody is subscribed to them any more.
    Channels,
}

/// A client as it was before the broker lost everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its name.
    pub id: Box<str>,
    /// What its pages prove themselves with.
    pub key: ClientKey,
    /// The channels that it was subscribed to.
    pub channels: Vec<Box<str>>,
}

impl Hub {
    /// The broker has lost everything. Next: [`Hub::next_former`], until [`Hub::is_beginning_anew`] says that it is over. If it has
    /// lost everything once more meanwhile the walk goes on: nothing of what was in between is here.
    pub fn begin_anew(&mut self) {
        self.set_behind(true);
        if let Some(follower) = &mut self.follower {
            follower.anew.get_or_insert_default();
        }
    }

    /// Whether something of before is still here.
    #[must_use]
    pub fn is_beginning_anew(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.anew.is_some())
    }

    /// Lets go of what is of before until it is done with a client, and says what that was. Takes one off `budget` for each place,
    /// subscription and message that it lets go of, and pauses with `None` when nothing is left of it.
    pub fn next_former(&mut self, now: Ms, budget: &mut u32) -> Option<Former> {
        let mut anew = self.follower.as_mut()?.anew.take()?;
        while *budget > 0 {
            match anew.section {
                Section::Waiters => match self.waiters.next_from(&mut anew.cursor, budget).map(|(key, _)| key) {
                    Some(waiter) => self.waiters[waiter].forget_position(),
                    None if *budget > 0 => anew.enter(Section::Clients),
                    None => {}
                },
                Section::Clients => match self.next_client_of(&mut anew, budget) {
                    Some(client) => {
                        if let Some(former) = self.let_go_of(now, client, &mut anew, budget) {
                            self.put_back(anew);
                            return Some(former);
                        }
                    }
                    None if *budget > 0 => anew.enter(Section::Channels),
                    None => {}
                },
                Section::Channels => match self.channels.next_from(&mut anew.cursor, budget).map(|(key, _)| key) {
                    Some(channel) => self.let_go_of_channel(channel, budget),
                    None if *budget > 0 => {
                        self.sweeps.clear();
                        self.draft.forget_origin();
                        self.seq = 0;
                        return None;
                    }
                    None => {}
                },
            }
        }
        self.put_back(anew);
        None
    }

    fn put_back(&mut self, anew: Anew) {
        self.follower.as_mut().expect("it had the walk").anew = Some(anew);
    }

    /// The client whose turn it is: the one at which the walk has paused, if that has not left meanwhile.
    fn next_client_of(&self, anew: &mut Anew, budget: &mut u32) -> Option<Key<Client>> {
        if let Some((client, _)) = &anew.client
            && self.clients.contains(*client)
        {
            return Some(*client);
        }
        let (key, client) = self.clients.next_from(&mut anew.cursor, budget)?;
        let former = Former { id: client.id.clone(), key: client.key, channels: Vec::new() };
        anew.client = Some((key, former));
        Some(key)
    }

    /// Lets go of a client's subscriptions. What it was, when none are left.
    fn let_go_of(&mut self, now: Ms, client: Key<Client>, anew: &mut Anew, budget: &mut u32) -> Option<Former> {
        let (_, former) = anew.client.as_mut().expect("it is the one whose turn it is");
        while let Some(at) = self.clients[client].subscriptions.len().checked_sub(1) {
            if *budget == 0 {
                return None;
            }
            *budget -= 1;
            let subscription = &self.clients[client].subscriptions[at];
            if !subscription.has_ended() {
                former.channels.push(self.channels[subscription.channel].name().into());
                self.leave_seat(now, client, at);
            }
            self.unlink(now, client, at);
        }
        let found = &mut self.clients[client];
        (found.position, found.moved_from, found.forgotten) = (0, 0, 0);
        found.standing = Standing::NEW;
        anew.client.take().map(|(_, former)| former)
    }

    fn let_go_of_channel(&mut self, key: Key<Channel>, budget: &mut u32) {
        debug_assert!(self.channels[key].is_deserted(), "nobody is subscribed any more");
        let channel = self.channels.remove(key).expect("it was here a line ago");
        let (messages, bytes) = channel.held_messages();
        *budget = budget.saturating_sub(u32::try_from(messages).unwrap_or(u32::MAX));
        self.channel_names.remove(channel.name(), key);
        self.memory.bytes -= bytes;
        self.memory.sweep_up(&channel, &self.channels);
    }
}

impl Anew {
    fn enter(&mut self, section: Section) {
        (self.section, self.cursor) = (section, 0);
    }
}
