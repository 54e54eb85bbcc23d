//! A hub made of what was written down of one (`snapshot.rs`).
//!
//! The limits may be others than they were. What is more than they allow goes as it would have gone: with the next message,
//! with the next client.

use crate::clock::Ms;
use crate::slots::{Key, Slots};

use super::change::Change;
use super::channel::Channel;
use super::client::{Client, ClientKey, Presence};
use super::freed::Freed;
use super::message::Message;
use super::once::Once;
use super::record::{ClientRecord, HubRecord, OnceRecord, Record, SubscriptionRecord, WaiterRecord};
use super::subscription::{End, Seat, Subscription};
use super::waiter::{Member, Owner, Waiter};
use super::{Hub, Limits};

/// What has been read so far.
#[derive(Debug)]
pub struct Restoration<'a> {
    limits: Limits,
    clients: Vec<ClientRecord<'a>>,
    channels: Vec<(Key<Channel>, Channel)>,
    /// Of the last channel.
    messages: Vec<Message>,
    once: Vec<OnceRecord<'a>>,
    waiters: Vec<(Key<Waiter>, Waiter)>,
}

/// When a hub goes on.
#[derive(Clone, Copy, Debug)]
pub struct Resumption {
    /// The time, on the clock that it had.
    pub now: Ms,
    /// For how long nobody could be heard: that counts for nobody's absence who was here.
    pub away: Ms,
}

impl<'a> Restoration<'a> {
    /// Nothing is there yet.
    #[must_use]
    pub fn begin(limits: Limits) -> Restoration<'a> {
        let (clients, channels, messages) = (Vec::new(), Vec::new(), Vec::new());
        Restoration { limits, clients, channels, messages, once: Vec::new(), waiters: Vec::new() }
    }

    /// Takes a record, in the order in which they were written. The last one makes the hub.
    pub fn take(&mut self, at: Resumption, record: Record<'a>) -> Option<Hub> {
        match record {
            Record::Client(client) => self.clients.push(client),
            Record::Channel(record) => {
                self.end_channel(at.now);
                let policy = self.limits.policies.of(&record.name).clone();
                self.channels.push((record.at, Channel::restored(&record, policy)));
            }
            Record::Message(record) => self.messages.push(Message::restored(&record)),
            Record::Once(record) => self.once.push(record),
            Record::Waiter(record) => self.waiters.push((record.at, Waiter::restored(&record))),
            Record::Hub(record) => {
                self.end_channel(at.now);
                return Some(self.finish(at, &record));
            }
        }
        None
    }

    /// All messages of the last channel are there. Which ring keeps which may have changed: they go in by age.
    fn end_channel(&mut self, now: Ms) {
        let Some((_, channel)) = self.channels.last_mut() else { return };
        self.messages.sort_by_key(Message::seq);
        for message in self.messages.drain(..) {
            channel.put_back(now, message);
        }
        channel.end_put_back(now);
    }

    fn finish(&mut self, at: Resumption, record: &HubRecord) -> Hub {
        let mut hub = Hub::new(at.now, self.limits.clone());
        let [clients, channels, waiters] = record.generations;
        hub.seq = record.seq;
        hub.freed = Freed::restored(&record.freed);
        hub.once = Once::restored(std::mem::take(&mut self.once));
        hub.channels = Slots::restored(channels, std::mem::take(&mut self.channels));
        hub.waiters = Slots::restored(waiters, std::mem::take(&mut self.waiters));
        hub.name_channels();
        let mut departed = Vec::new();
        let restored = self.clients.drain(..).map(|record| {
            departed.extend(record.departed.map(|until| (until, record.at)));
            (record.at, hub.restored_client(at, &record))
        });
        hub.clients = Slots::restored(clients, restored.collect::<Vec<_>>());
        hub.name_clients();
        departed.retain(|&(_, client)| hub.clients.contains(client));
        departed.sort_unstable();
        for (until, client) in departed {
            hub.departed.push(&mut hub.clients, client, until);
        }
        hub.seat_all();
        hub.remind_all(at.now);
        hub
    }
}

impl Hub {
    /// More has happened than was written down: no id is given again of so many that each channel may have given meanwhile.
    pub fn skip_ids(&mut self, count: u64) {
        self.freed.skip_ids(count);
        let channels: Vec<_> = self.channels.iter().map(|(key, _)| key).collect();
        channels.into_iter().for_each(|key| self.channels[key].skip_ids(count));
    }

    /// Names the channels. In what was written while something happened one name may stand twice.
    fn name_channels(&mut self) {
        let mut twins = Vec::new();
        for (key, channel) in self.channels.iter() {
            match self.channel_names.find(&self.channels, channel.name()) {
                Some(_) => twins.push(key),
                None => self.channel_names.insert(channel.name(), key),
            }
        }
        for twin in twins {
            self.channels.remove(twin);
        }
    }

    /// As [`Hub::name_channels`].
    fn name_clients(&mut self) {
        let mut twins = Vec::new();
        for (key, client) in self.clients.iter() {
            match self.client_names.find(&self.clients, &client.id) {
                Some(_) => twins.push(key),
                None => self.client_names.insert(&client.id, key),
            }
        }
        for twin in twins {
            self.clients.remove(twin);
        }
    }

    /// A client that is here, without its seats, and with those of its subscriptions and polls that there are.
    fn restored_client(&self, at: Resumption, record: &ClientRecord<'_>) -> Client {
        let away = if record.departed.is_none() { at.away } else { Ms::ZERO };
        let client = Client::new(record.created + away, record.id.as_ref().into(), ClientKey::new(record.key));
        let subscriptions = record.subscriptions.iter().filter(|one| self.channels.contains(one.channel));
        let polls = record.polls.iter().copied().filter(|&poll| self.waiters.contains(poll));
        let mut client = Client {
            seen: record.seen + away,
            position: record.position.min(self.seq),
            moved: record.moved,
            moved_from: record.moved_from,
            moved_by_page: record.moved_by_page,
            resumes: record.resumes,
            forgotten: record.forgotten,
            subscriptions: subscriptions.map(Subscription::restored).collect(),
            presence: Presence::Here { polls: polls.collect() },
            ..client
        };
        let ended = client.subscriptions.iter().filter(|subscription| subscription.has_ended()).count();
        client.ended = u32::try_from(ended).expect("a client has fewer subscriptions");
        client
    }

    /// Gives every client that is here its seats, and counts those that have none.
    fn seat_all(&mut self) {
        let clients: Vec<_> = self.clients.iter().map(|(key, client)| (key, client.is_here())).collect();
        for (client, is_here) in clients {
            for at in 0..self.clients[client].subscriptions.len() {
                self.subscriptions += 1;
                let subscription = &self.clients[client].subscriptions[at];
                let has_ended = subscription.has_ended();
                let channel = &mut self.channels[subscription.channel];
                channel.held += 1;
                channel.ended += u32::from(has_ended);
                if is_here && !has_ended {
                    self.take_seat(client, at);
                }
            }
        }
    }

    /// Has everything looked at when it is time, and the polls at once.
    fn remind_all(&mut self, now: Ms) {
        let mut channels: Vec<_> = self.channels.iter().map(|(key, channel)| (channel.last_seq(), key)).collect();
        channels.sort_unstable();
        for (_, key) in channels {
            let channel = &mut self.channels[key];
            let (count, bytes) = channel.held_messages();
            if count > 0 {
                self.memory.note(key, channel, 0, bytes);
            }
            self.remind_channel(key);
        }
        let clients: Vec<_> = self.clients.iter().map(|(key, _)| key).collect();
        for key in clients {
            match &self.clients[key].presence {
                Presence::Departed(departure) => self.remind_of_end(key, departure.until),
                Presence::Here { .. } => {
                    self.end_late_polls(now, key);
                    self.remind_of_expiry(key);
                }
            }
        }
        let waiters: Vec<_> = self.waiters.iter().map(|(key, _)| key).collect();
        for waiter in waiters {
            self.tally.parked[self.waiters[waiter].medium()] += 1;
            self.look_at(waiter);
        }
        // There may be more than may come back now.
        self.change = Some(Change::Departed);
    }
}

impl Subscription {
    /// Without its seat.
    fn restored(record: &SubscriptionRecord) -> Subscription {
        let ended = |(until, newest, stale)| Seat::Ended(Box::new(End { until, newest, stale }));
        let seat = record.ended.map_or(Seat::Away, ended);
        Subscription { channel: record.channel, made: record.made, begin: record.begin, seat }
    }
}

impl Waiter {
    fn restored(record: &WaiterRecord) -> Waiter {
        let member = |&(client, position): &(Key<Client>, u64)| Member { client, position };
        Waiter {
            owner: Owner(record.owner),
            members: record.members.iter().map(member).collect(),
            deadline: record.deadline,
            protocol: record.protocol,
            transport: record.transport,
            came: record.came,
            state: record.state,
            came_s: record.came_s,
            queued: false,
            owes_word: record.owes_word,
        }
    }
}
