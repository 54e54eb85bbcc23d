//! Writing a hub down, bit by bit. What was written is made a hub again in `restore.rs`.
//!
//! A walk takes some records at a time, so it holds nobody up however much there is. If something happens between two
//! steps, what was written is of no single moment: such records are only good for a hub that owns up to having
//! forgotten something (a new epoch). Without a pause they are the hub, to the last position.
//!
//! Clients come before channels, as a channel outlives its subscriptions: what a record points to is there, or was gone
//! already. Reminders, counts and lists are not written down, as they follow from the rest; nor are canaries, nor, but for the
//! process that takes over polls, the own channel and who listens to it: the next server has one of its own.

use crate::slots::Key;

use super::Hub;
use super::channel::Channel;
use super::client::{Client, Presence};
use super::record::{ClientRecord, HubRecord, Record, SubscriptionRecord, WaiterRecord};
use super::subscription::{Seat, Subscription};
use super::waiter::{Transport, Waiter};

/// How far a walk through all of a hub has come.
#[derive(Debug)]
pub struct Snapshot {
    section: Section,
    cursor: u32,
    with_waiters: bool,
}

#[derive(Clone, Copy, Debug)]
enum Section {
    Clients,
    Channels,
    /// Of a channel, after this place.
    Messages(Key<Channel>, (usize, u64)),
    Once,
    Waiters,
    Hub,
    Over,
}

impl Snapshot {
    /// At the beginning. The polls and streams of a process that ends have ended; those of one that another takes over have not
    /// (`with_waiters`).
    #[must_use]
    pub fn begin(with_waiters: bool) -> Snapshot {
        Snapshot { section: Section::Clients, cursor: 0, with_waiters }
    }

    /// Whether everything was written.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.section, Section::Over)
    }

    fn enter(&mut self, section: Section) {
        (self.section, self.cursor) = (section, 0);
    }
}

impl Hub {
    /// The next record. Takes one off `budget` for each place that it looks at; `None` is a pause when nothing is left of it, or
    /// the end of the [`Snapshot`].
    pub fn next_record(&self, snapshot: &mut Snapshot, budget: &mut u32) -> Option<Record<'_>> {
        while *budget > 0 {
            let cursor = &mut snapshot.cursor;
            match snapshot.section {
                Section::Clients => match self.clients.next_from(cursor, budget) {
                    Some((_, client)) if client.is_canary || !snapshot.with_waiters && self.is_own(client) => {}
                    Some((key, client)) => return Some(Record::Client(client.record(key, snapshot.with_waiters))),
                    None if *budget > 0 => snapshot.enter(Section::Channels),
                    None => {}
                },
                Section::Channels => match self.channels.next_from(cursor, budget) {
                    Some((_, channel)) if channel.is_canary => {}
                    Some((key, _)) if !snapshot.with_waiters && self.own.is(key) => {}
                    Some((key, channel)) => {
                        snapshot.section = Section::Messages(key, (0, 0));
                        return Some(Record::Channel(channel.record(key)));
                    }
                    None if *budget > 0 => snapshot.enter(Section::Once),
                    None => {}
                },
                Section::Messages(key, place) => {
                    *budget -= 1;
                    match self.channels.get(key).and_then(|channel| channel.next_message(place)) {
                        Some((ring, message)) => {
                            snapshot.section = Section::Messages(key, (ring, message.seq));
                            return Some(Record::Message(message.record()));
                        }
                        None => snapshot.section = Section::Channels,
                    }
                }
                Section::Once => match self.once.next_record(cursor, budget) {
                    Some(record) => return Some(Record::Once(record)),
                    None if *budget > 0 && snapshot.with_waiters => snapshot.enter(Section::Waiters),
                    None if *budget > 0 => snapshot.enter(Section::Hub),
                    None => {}
                },
                Section::Waiters => match self.waiters.next_from(cursor, budget) {
                    Some((_, waiter)) if waiter.transport == Transport::Canary => {}
                    Some((key, waiter)) => return Some(Record::Waiter(waiter.record(key))),
                    None if *budget > 0 => snapshot.enter(Section::Hub),
                    None => {}
                },
                Section::Hub => {
                    snapshot.enter(Section::Over);
                    return Some(Record::Hub(self.record()));
                }
                Section::Over => return None,
            }
        }
        None
    }

    fn record(&self) -> HubRecord {
        HubRecord {
            seq: self.seq,
            generations: [self.clients.generation(), self.channels.generation(), self.waiters.generation()],
            freed: self.freed.record(),
        }
    }
}

impl Client {
    fn record(&self, at: Key<Client>, with_polls: bool) -> ClientRecord<'_> {
        let departed = match &self.presence {
            Presence::Here { .. } => None,
            Presence::Departed(departure) => Some(departure.until),
        };
        ClientRecord {
            at,
            id: self.id.as_ref().into(),
            key: self.key.bytes(),
            created: self.created,
            seen: self.seen,
            position: self.position,
            moved: self.moved,
            moved_from: self.moved_from,
            moved_by_page: self.moved_by_page,
            resumes: self.resumes,
            forgotten: self.forgotten,
            departed,
            subscriptions: self.subscriptions.iter().map(Subscription::record).collect(),
            polls: if with_polls { self.polls().to_vec() } else { Vec::new() },
        }
    }
}

impl Subscription {
    fn record(&self) -> SubscriptionRecord {
        let ended = match &self.seat {
            Seat::Taken(_) | Seat::Away => None,
            Seat::Ended(end) => Some((end.until, end.newest, end.stale)),
        };
        SubscriptionRecord { channel: self.channel, made: self.made, begin: self.begin, ended }
    }
}

impl Waiter {
    fn record(&self, at: Key<Waiter>) -> WaiterRecord {
        WaiterRecord {
            at,
            owner: self.owner.0,
            members: self.members.iter().map(|member| (member.client, member.position)).collect(),
            deadline: self.deadline,
            protocol: self.protocol,
            transport: self.transport,
            came: self.came,
            came_s: self.came_s,
            state: self.state,
            owes_word: self.owes_word,
        }
    }
}
