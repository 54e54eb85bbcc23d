//! The naive model: a list of all that was ever published, of what became of it, and of who was subscribed when.
//!
//! It knows no sweep, no reminder, no key, no ring: every question is answered by walking all there ever was. When the
//! hub collects a client or frees a channel is the hub's affair within limits; the model follows and judges whether it
//! was allowed, and whether it was not forgotten.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::hub::{Error, Hub, Policy, SystemShare};
use shaveet::json;

/// A message that was published.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) id: u64,
    at: Ms,
    pub(crate) expires: Ms,
    pub(crate) exclude: Vec<usize>,
    /// Whether the server said it, and why.
    pub(crate) system: Option<Option<&'static str>>,
    pub(crate) text: String,
    pub(crate) from: Value,
    pub(crate) bytes: usize,
    in_own_ring: bool,
    pub(crate) fate: Fate,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    /// It fell out for this reason.
    Lost(&'static str),
    /// It fell out when its time was over: nobody's loss.
    Expired,
}

/// A channel that there is or was.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: String,
    policy: Arc<Policy>,
    pub(crate) messages: Vec<Message>,
    /// All before this one have fallen out: a shortcut, or most of the time would go by looking at them.
    fallen: usize,
    used: Ms,
    is_freed: bool,
    /// For the clock's hand that finds whose messages go when all channels hold too much.
    used_lately: bool,
    is_queued: bool,
}

/// A client that there is or was.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) is_here: bool,
    created: Ms,
    seen: Ms,
    departed_at: Ms,
    pub(crate) position: u64,
    /// One of its pages has spoken the resume protocol.
    resumes: bool,
    /// A page from before this may have missed what nobody knows of any more.
    forgotten: u64,
    pub(crate) subscriptions: Vec<Subscription>,
    /// The connections on which it polls, the oldest first.
    pub(crate) polls: Vec<u64>,
}

/// That a client is or was subscribed to a channel.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) channel: usize,
    /// What was published later than this is for it...
    pub(crate) begin: u64,
    /// ...unless the reader was there already when it was made.
    pub(crate) made: u64,
    /// ...and what was published up to here.
    pub(crate) until: Option<u64>,
    /// From then on nobody who has not read it is waited for: the channel kept messages so long when it ended.
    stale: Ms,
}

/// How a poll says where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Original,
    Acknowledged,
    At(u64),
    Lost,
}

/// By what a page hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Poll,
    Events,
    Socket,
}

/// A poll or a stream that waits, or whose answer is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    /// Clients, and where each stood when the poll came.
    pub(crate) members: Vec<(usize, u64)>,
    pub(crate) since: Since,
    pub(crate) came: u64,
    /// From then on what was sent to an event stream counts as had.
    pub(crate) believed_from: Ms,
    /// It is answered at the latest between these.
    pub(crate) earliest: Ms,
    pub(crate) latest: Ms,
    pub(crate) state: State,
    pub(crate) transport: Transport,
    /// Its page is to hear something, be it nothing.
    pub(crate) owes_word: bool,
    /// What comes after the answer that is on its way: nothing more, or the end.
    pub(crate) is_last: bool,
    pub(crate) then: Option<Ending>,
}

/// Where a poll stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Parked,
    Over(Ending),
    Sent { upto: u64, is_empty: bool },
}

/// Why a poll is answered though nothing may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Time,
    Crowded,
    Stopping,
    Gone,
}

/// Why a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Unknown,
    Full,
}

/// Why a poll is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Gone,
    TooMany,
}

/// What is published.
pub(crate) struct Publication<'a> {
    pub(crate) text: &'a str,
    pub(crate) from: Value,
    pub(crate) exclude: &'a [String],
    pub(crate) ttl: Option<u64>,
}

/// All there ever was.
#[derive(Debug)]
pub(crate) struct Model {
    config: Config,
    /// When that changed: what is due by it since longer is due then.
    changed: Ms,
    pub(crate) seq: u64,
    pub(crate) channels: Vec<Channel>,
    pub(crate) names: BTreeMap<String, usize>,
    pub(crate) clients: Vec<Client>,
    pub(crate) ids: BTreeMap<String, usize>,
    /// By connection.
    pub(crate) polls: BTreeMap<u64, Poll>,
    /// The departed, who left first in front.
    departed: Vec<usize>,
    once: HashMap<String, (Ms, u64, u64)>,
    hand: VecDeque<usize>,
}

/// How late the hub may be with what is due: reminders are rounded up to ticks of 100 ms.
pub(crate) const SLACK: Ms = Ms(200);

/// What it costs to exclude a client from a message.
const EXCLUDED_BYTES: usize = 8;

/// How many channels or messages the hand looks at for one publish.
const LOOKS: usize = 64;

/// How long an idempotency key holds.
const ONCE: Ms = Ms(300_000);

impl Model {
    pub(crate) fn new(config: &Config) -> Model {
        Model {
            config: config.clone(),
            changed: Ms::ZERO,
            seq: 0,
            channels: Vec::new(),
            names: BTreeMap::new(),
            clients: Vec::new(),
            ids: BTreeMap::new(),
            polls: BTreeMap::new(),
            departed: Vec::new(),
            once: HashMap::new(),
            hand: VecDeque::new(),
        }
    }

    /// The hub has been written down, and read again after this time: it does not count for those who were here.
    pub(crate) fn restore(&mut self, now: Ms, away: Ms) {
        for client in self.clients.iter_mut().filter(|client| client.is_here) {
            (client.created, client.seen) = (client.created + away, client.seen + away);
        }
        self.departed.sort_by_key(|&client| (self.clients[client].departed_at, client));
        (0..self.channels.len()).for_each(|channel| self.refill(now, channel));
        // The hand begins anew, with who was published to first.
        let mut kept: Vec<_> =
            (0..self.channels.len()).filter(|&channel| self.kept(channel).next().is_some()).collect();
        kept.sort_by_key(|&channel| self.channels[channel].messages.last().map(|message| message.seq));
        for (at, channel) in self.channels.iter_mut().enumerate() {
            channel.is_queued = kept.contains(&at);
            channel.used_lately = channel.is_queued;
        }
        self.hand = kept.into();
    }

    // --- the web application's calls

    pub(crate) fn create_client(&mut self, now: Ms, name: &str, given: &str) -> Result<(), Fault> {
        if let Some(&client) = self.ids.get(name) {
            assert_eq!(self.clients[client].key, given, "a client that is known keeps its key");
            if !self.clients[client].is_here {
                self.revive(now, client);
                self.clients[client].created = now;
            }
            return Ok(());
        }
        if self.ids.len() >= self.config.max_clients {
            // Who may come back makes room for who comes.
            let oldest = *self.departed.first().ok_or(Fault::Full)?;
            self.forget(now, oldest);
        }
        self.ids.insert(name.to_owned(), self.clients.len());
        self.clients.push(Client {
            name: name.to_owned(),
            key: given.to_owned(),
            is_here: true,
            created: now,
            seen: now,
            departed_at: Ms::ZERO,
            position: 0,
            resumes: false,
            forgotten: 0,
            subscriptions: Vec::new(),
            polls: Vec::new(),
        });
        Ok(())
    }

    pub(crate) fn rotate_key(&mut self, name: &str, key: &str) -> Result<(), Fault> {
        let client = self.here(name)?;
        key.clone_into(&mut self.clients[client].key);
        for poll in self.clients[client].polls.clone() {
            self.end(poll, Ending::Gone);
        }
        Ok(())
    }

    pub(crate) fn subscribe(&mut self, now: Ms, client: &str, channel: &str, since: Option<u64>) -> Result<(), Fault> {
        let client = self.here(client)?;
        let known = self.names.get(channel).copied();
        let is_subscribed = known.is_some_and(|channel| self.subscription(client, channel).is_some());
        if self.clients[client].subscriptions.len() >= self.config.max_subscriptions && !is_subscribed {
            let position = self.clients[client].position;
            let ended = self.clients[client].subscriptions.iter().position(|one| self.is_read(one, position));
            self.forget_end(now, client, ended.ok_or(Fault::Full)?);
        }
        let channel = self.open(now, channel)?;
        if !is_subscribed {
            self.seq += u64::from(since.is_some());
            let (made, begin) = (self.seq, since.unwrap_or(self.seq).min(self.seq));
            self.clients[client].subscriptions.push(Subscription { channel, begin, made, until: None, stale: Ms::MAX });
        }
        self.say(now, client, channel, "subscribed");
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, now: Ms, client: &str, channel: &str) -> Result<(), Fault> {
        let client = self.here(client)?;
        let channel = self.open(now, channel)?;
        self.leave(now, client, channel);
        Ok(())
    }

    /// `order` is in which the hub has its clients; it is the hub's affair.
    pub(crate) fn unsubscribe_all(&mut self, now: Ms, channel: &str, exclude: &[String], order: &[String]) {
        let Some(&channel) = self.names.get(channel) else { return };
        for name in order.iter().filter(|name| !exclude.contains(name)) {
            self.leave(now, self.ids[name], channel);
        }
    }

    pub(crate) fn kill(&mut self, now: Ms, name: &str) -> Result<(), Fault> {
        let client = self.here(name)?;
        while let Some(last) = self.clients[client].subscriptions.pop() {
            self.channels[last.channel].used = now;
            if last.until.is_none() {
                self.say(now, client, last.channel, "killed");
            }
        }
        for key in std::mem::take(&mut self.clients[client].polls) {
            let poll = self.polls.get_mut(&key).expect("a client's polls are known");
            poll.members.retain(|&(member, _)| member != client);
            if poll.members.is_empty() {
                self.end(key, Ending::Gone);
            }
        }
        self.ids.remove(name);
        Ok(())
    }

    /// Publishes; the result is id and seq.
    pub(crate) fn publish(&mut self, now: Ms, channel: &str, what: &Publication<'_>) -> Result<(u64, u64), Fault> {
        let channel = self.open(now, channel)?;
        let exclude = what.exclude.iter().filter_map(|name| self.ids.get(name).copied()).collect();
        let expires = what.ttl.map_or(Ms::MAX, |ttl| now + Ms(ttl));
        Ok(self.append(now, channel, None, what.text, what.from.clone(), exclude, expires))
    }

    pub(crate) fn publish_once(
        &mut self,
        now: Ms,
        channel: &str,
        key: &str,
        what: &Publication<'_>,
    ) -> Result<(u64, u64), Fault> {
        let key = format!("{key}\0{channel}");
        if let Some(&(noted, id, seq)) = self.once.get(&key)
            && now < noted + ONCE
        {
            return Ok((id, seq));
        }
        let (id, seq) = self.publish(now, channel, what)?;
        self.once.insert(key, (now, id, seq));
        Ok((id, seq))
    }

    // --- the pages' polls

    pub(crate) fn wait(
        &mut self,
        now: Ms,
        connection: u64,
        credentials: &[(String, String)],
        since: Since,
        transport: Transport,
    ) -> Result<(), Refusal> {
        let mut members = Vec::new();
        for (name, key) in credentials {
            let client = *self.ids.get(name).ok_or(Refusal::Gone)?;
            if self.clients[client].key != *key {
                return Err(Refusal::Gone);
            }
            if !members.contains(&client) {
                members.push(client);
            }
        }
        let mut crowded = Vec::new();
        for &client in &members {
            crowded.extend(self.who_makes_room(client)?);
        }
        crowded.into_iter().for_each(|poll| self.end(poll, Ending::Crowded));
        let since = match since {
            Since::At(position) if members.iter().any(|&client| position < self.clients[client].forgotten) => {
                Since::Lost
            }
            other => other,
        };
        let mut poll = Poll {
            members: Vec::new(),
            since,
            came: 0,
            believed_from: Ms(now.0.div_ceil(1000) * 1000) + Ms::from_secs(10),
            earliest: now + (self.config.poll_timeout - Ms(self.config.poll_timeout.0 / 10)),
            latest: now + self.config.poll_timeout,
            state: State::Parked,
            transport,
            owes_word: transport != Transport::Poll,
            is_last: false,
            then: None,
        };
        if poll.is_stream() {
            (poll.earliest, poll.latest) = (Ms::MAX, Ms::MAX);
        }
        for client in members {
            if !self.clients[client].is_here {
                self.revive(now, client);
            }
            self.clients[client].seen = now;
            self.clients[client].resumes |= since != Since::Original;
            if let Since::At(position) = since {
                self.acknowledge(now, client, position);
            }
            poll.members.push((client, if let Since::At(at) = since { at } else { self.clients[client].position }));
            self.clients[client].polls.push(connection);
        }
        poll.came = self.seq;
        assert!(self.polls.insert(connection, poll).is_none(), "one poll on a connection");
        Ok(())
    }

    /// The poll that has to go so that this client may have one more.
    fn who_makes_room(&self, client: usize) -> Result<Option<u64>, Refusal> {
        let polls = &self.clients[client].polls;
        let most = self.config.max_polls;
        if polls.len() < most {
            return Ok(None);
        }
        let can_go = |key: &&u64| self.polls[key].since != Since::Original && self.polls[key].state == State::Parked;
        let is_going = |key: &u64| self.polls[key].state == State::Over(Ending::Crowded);
        match polls.iter().find(can_go) {
            Some(&oldest) => Ok(Some(oldest)),
            None if polls.iter().any(is_going) && polls.len() < 2 * most => Ok(None),
            None => Err(Refusal::TooMany),
        }
    }

    /// An answer has left the server whole.
    pub(crate) fn delivered(&mut self, now: Ms, connection: u64, hub: &Hub) {
        let poll = &self.polls[&connection];
        let State::Sent { upto, .. } = poll.state else { panic!("only what was sent is delivered") };
        if poll.since == Since::Original {
            for client in poll.members.iter().map(|&(client, _)| client).collect::<Vec<_>>() {
                self.acknowledge(now, client, upto);
            }
        }
        let poll = &self.polls[&connection];
        if poll.transport == Transport::Events && now >= poll.believed_from {
            // What it was sent before has arrived, as far as anybody knows.
            for (client, position) in poll.members.clone() {
                let passed = self.passed_over(now, client, position, hub);
                self.acknowledge(now, client, passed);
            }
        }
        let poll = self.polls.get_mut(&connection).expect("it is there");
        if !poll.is_stream() || poll.is_last {
            return self.cancel(now, connection);
        }
        poll.since = Since::At(upto);
        poll.members.iter_mut().for_each(|member| member.1 = upto);
        poll.state = poll.then.take().map_or(State::Parked, State::Over);
    }

    /// How far a stream has come for a client to which it has sent everything up to `position`: farther, if nothing until
    /// there was for it. That is the hub's affair, and is judged here.
    fn passed_over(&self, now: Ms, client: usize, position: u64, hub: &Hub) -> u64 {
        let known = hub.client_info(now, &self.clients[client].name).map_or(0, |info| info.position);
        // Who was there before a subscription was made has had nothing of it.
        for subscription in self.clients[client].subscriptions.iter().filter(|one| one.made <= known) {
            let (after, until) = (subscription.after(position), subscription.until.unwrap_or(u64::MAX).min(known));
            let messages = &self.channels[subscription.channel].messages;
            let start = messages.partition_point(|message| message.seq <= after);
            let unsent = messages[start..].iter().take_while(|message| message.seq <= until);
            let mut unsent = unsent.filter(|message| now < message.expires && !message.exclude.contains(&client));
            let is_known = known <= self.clients[client].position;
            assert!(is_known || unsent.next().is_none(), "a stream acknowledges what it has not sent");
        }
        known.max(position)
    }

    /// The page of a stream is to hear something, be it nothing.
    pub(crate) fn beat(&mut self, connection: u64) {
        if let Some(poll) = self.polls.get_mut(&connection).filter(|poll| poll.state == State::Parked) {
            poll.owes_word = true;
        }
    }

    /// The page of a WebSocket has had everything up to here.
    pub(crate) fn heard(&mut self, now: Ms, connection: u64, position: u64) {
        let members = self.polls.get(&connection).map_or(Vec::new(), |poll| poll.members.clone());
        members.into_iter().for_each(|(client, _)| self.acknowledge(now, client, position));
    }

    /// A poll's page has gone, or all is done.
    pub(crate) fn cancel(&mut self, now: Ms, connection: u64) {
        let Some(poll) = self.polls.remove(&connection) else { return };
        for (client, _) in poll.members {
            self.clients[client].seen = now;
            self.clients[client].polls.retain(|&other| other != connection);
        }
    }

    /// A parked poll is answered now, with nothing if nothing is due.
    pub(crate) fn end(&mut self, connection: u64, ending: Ending) {
        let poll = self.polls.get_mut(&connection).expect("it is a poll");
        if poll.state == State::Parked {
            poll.state = State::Over(ending);
        } else if poll.is_stream() && !poll.is_last && matches!(poll.state, State::Sent { .. }) {
            poll.then = poll.then.or(Some(ending));
        }
    }

    // --- time

    /// Follows the hub after it has done one thing that was due, and judges whether it was.
    pub(crate) fn follow(&mut self, now: Ms, hub: &Hub) {
        for client in 0..self.clients.len() {
            if self.is_known(client)
                && self.clients[client].is_here
                && !hub.client_info(now, &self.clients[client].name).is_ok_and(|info| info.here)
            {
                assert!(self.clients[client].polls.is_empty(), "a client that polls is not collected");
                assert!(self.stale_at(client) <= now, "{} is collected too early", self.clients[client].name);
                self.depart(now, client);
            }
        }
        for client in self.departed.clone() {
            if hub.client_info(now, &self.clients[client].name).is_err() {
                let left = self.clients[client].departed_at;
                assert!(left + self.config.departed_age <= now, "{} is forgotten early", self.clients[client].name);
                self.forget(now, client);
            }
        }
        for (name, channel) in self.names.clone() {
            match hub.channel_info(&name) {
                Ok(info) if info.messages < self.kept(channel).count() => self.lose_old(now, channel),
                Ok(_) => {}
                Err(Error::UnknownChannel) => {
                    self.lose_old(now, channel);
                    assert!(self.is_deserted(channel), "{name} is freed and somebody may still want something of it");
                    let due = self.channels[channel].used + self.config.channel_idle;
                    assert!(due <= now, "{name} is freed too early");
                    self.lose_all(now, channel);
                    self.channels[channel].is_freed = true;
                    self.names.remove(&name);
                    self.hand.retain(|&place| place != channel);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    /// The hub says that nothing is due any more: judges whether nothing was forgotten.
    pub(crate) fn all_is_done(&mut self, now: Ms) {
        for &client in self.ids.values() {
            let Client { name, is_here, polls, .. } = &self.clients[client];
            let due = match is_here {
                true if polls.is_empty() => self.stale_at(client),
                true => Ms::MAX,
                false => self.clients[client].departed_at + self.config.departed_age,
            };
            assert!(now < due.max(self.changed) + SLACK, "{name} is not collected or forgotten in time");
        }
        for (name, &channel) in &self.names {
            if self.is_deserted(channel) {
                let due = self.channels[channel].used + self.config.channel_idle;
                assert!(now < due.max(self.changed) + SLACK, "{name} is not freed in time");
            }
            let age = self.channels[channel].policy.history_age;
            for ring in [false, true] {
                let kept: Vec<&Message> = self.kept(channel).filter(|message| message.in_own_ring == ring).collect();
                // The newest stays, so nobody goes before somebody newer has come.
                let old =
                    kept.windows(2).find(|pair| (pair[0].at + age).max(pair[1].at).max(self.changed) + SLACK < now);
                assert!(old.is_none(), "{name} keeps what is too old: {old:?}");
            }
        }
        for poll in self.polls.values_mut() {
            if poll.state == State::Parked && poll.latest + SLACK <= now {
                poll.state = State::Over(Ending::Time);
            }
        }
    }

    /// Whether it cannot be known just now which of this client's polls have ended by time.
    pub(crate) fn is_unsure(&self, now: Ms, name: &str) -> bool {
        let polls = self.ids.get(name).map_or(&[][..], |&client| &self.clients[client].polls);
        polls.iter().map(|key| &self.polls[key]).any(|poll| poll.state == State::Parked && poll.earliest <= now)
    }

    fn depart(&mut self, now: Ms, client: usize) {
        for subscription in self.clients[client].subscriptions.clone() {
            if subscription.until.is_none() {
                self.channels[subscription.channel].used = now;
                self.say(now, client, subscription.channel, "expired");
            }
        }
        self.clients[client].is_here = false;
        self.clients[client].departed_at = now;
        self.departed.push(client);
        while self.departed.len() > self.config.departed_max {
            self.forget(now, self.departed[0]);
        }
    }

    fn revive(&mut self, now: Ms, client: usize) {
        self.departed.retain(|&other| other != client);
        self.clients[client].is_here = true;
        self.clients[client].seen = now;
        for subscription in self.clients[client].subscriptions.clone() {
            if subscription.until.is_none() {
                self.say(now, client, subscription.channel, "returned");
            }
        }
    }

    fn forget(&mut self, now: Ms, client: usize) {
        for subscription in std::mem::take(&mut self.clients[client].subscriptions) {
            self.channels[subscription.channel].used = now;
        }
        self.departed.retain(|&other| other != client);
        let name = self.clients[client].name.clone();
        self.ids.remove(&name);
    }

    /// The sweep at which a client is collected that has no polls.
    fn stale_at(&self, client: usize) -> Ms {
        let Client { created, seen, .. } = self.clients[client];
        let stale = (created + self.config.min_alive).max(seen + self.config.max_idle).0 + 1;
        Ms(stale.next_multiple_of(self.config.sweep_interval.0))
    }

    /// Everything up to `position` has been had.
    fn acknowledge(&mut self, now: Ms, client: usize, position: u64) {
        if position <= self.clients[client].position {
            return;
        }
        self.clients[client].position = position;
        // The order is the hub's: whoever is last moves into the place of who goes.
        let mut at = 0;
        while let Some(subscription) = self.clients[client].subscriptions.get(at) {
            // Another page may not be as far; it finds something of it as long as the channel keeps messages.
            let is_stale = !self.clients[client].resumes || subscription.stale <= now;
            if is_stale && self.is_read(subscription, position) {
                self.forget_end(now, client, at);
            } else {
                at += 1;
            }
        }
    }

    /// The `seq` of the last message that an ended subscription is for.
    fn last_of(&self, subscription: &Subscription, until: u64) -> u64 {
        let mut messages = self.channels[subscription.channel].messages.iter().rev();
        messages.find(|message| message.seq <= until).map_or(0, |message| message.seq)
    }

    /// Whether a subscription has ended and who is at this position has had all of it.
    fn is_read(&self, subscription: &Subscription, position: u64) -> bool {
        subscription.until.is_some_and(|until| self.last_of(subscription, until) <= position)
    }

    fn forget_end(&mut self, now: Ms, client: usize, at: usize) {
        let subscription = self.clients[client].subscriptions.swap_remove(at);
        let last = self.last_of(&subscription, subscription.until.unwrap_or(0));
        self.channels[subscription.channel].used = now;
        if self.clients[client].resumes {
            self.clients[client].forgotten = self.clients[client].forgotten.max(last);
        }
    }

    // --- publishing

    fn open(&mut self, now: Ms, name: &str) -> Result<usize, Fault> {
        if let Some(&channel) = self.names.get(name) {
            return Ok(channel);
        }
        if name != "admin" && self.names.len() >= self.config.max_channels {
            return Err(Fault::Full);
        }
        let channel = self.make(now, name);
        let admin = self.names.get("admin").copied().unwrap_or_else(|| {
            let admin = self.make(now, "admin");
            self.announce(now, admin, "admin");
            admin
        });
        self.announce(now, admin, name);
        Ok(channel)
    }

    fn make(&mut self, now: Ms, name: &str) -> usize {
        if let Some(freed) = self.channels.iter().position(|channel| channel.is_freed && channel.name == name) {
            // It was never quite gone: who begins in its past is to be told what is.
            let channel = &mut self.channels[freed];
            (channel.used, channel.is_freed, channel.used_lately, channel.is_queued) = (now, false, false, false);
            self.names.insert(name.to_owned(), freed);
            return freed;
        }
        self.names.insert(name.to_owned(), self.channels.len());
        self.channels.push(Channel {
            name: name.to_owned(),
            policy: self.config.policies.of(name).clone(),
            messages: Vec::new(),
            fallen: 0,
            used: now,
            is_freed: false,
            used_lately: false,
            is_queued: false,
        });
        self.channels.len() - 1
    }

    fn announce(&mut self, now: Ms, admin: usize, name: &str) {
        let mut quoted = Vec::new();
        json::write_str(&mut quoted, name);
        let quoted = String::from_utf8(quoted).expect("JSON is text");
        let text = format!(r#"{{"type": "new_channel", "name": {quoted}}}"#);
        self.append(now, admin, Some(None), &text, Value::from("system"), Vec::new(), Ms::MAX);
    }

    fn say(&mut self, now: Ms, client: usize, channel: usize, reason: &'static str) {
        if !self.channels[channel].policy.presence {
            return;
        }
        let text = match reason {
            "subscribed" | "returned" => r#"{"type": "subscribe"}"#,
            "unsubscribed" => r#"{"type": "unsubscribe", "gc": false}"#,
            _ => r#"{"type": "unsubscribe", "gc": true}"#,
        };
        let from = Value::from(self.clients[client].name.clone());
        self.append(now, channel, Some(Some(reason)), text, from, Vec::new(), Ms::MAX);
    }

    #[allow(clippy::too_many_arguments, reason = "they are the columns of the list of all that was published")]
    fn append(
        &mut self,
        now: Ms,
        channel: usize,
        system: Option<Option<&'static str>>,
        text: &str,
        from: Value,
        exclude: Vec<usize>,
        expires: Ms,
    ) -> (u64, u64) {
        self.seq += 1;
        let id = self.next_id(channel);
        let in_own_ring = ring_of(&self.channels[channel].policy, system.is_some());
        let mut triple = format!("[{id},").into_bytes();
        json::write_str(&mut triple, text);
        triple.push(b',');
        match &from {
            Value::String(from) => json::write_str(&mut triple, from),
            other => triple.extend_from_slice(other.to_string().as_bytes()),
        }
        let bytes = triple.len() + 1 + exclude.len() * EXCLUDED_BYTES;
        self.make_room(now, channel, in_own_ring, self.seq, bytes);
        let (seq, text) = (self.seq, text.to_owned());
        let fate = Fate::Kept;
        let message = Message { seq, id, at: now, expires, exclude, system, text, from, bytes, in_own_ring, fate };
        self.channels[channel].messages.push(message);
        self.channels[channel].used = now;
        self.turn_the_hand(now, channel);
        (id, seq)
    }

    /// The limits change, and all follow.
    pub(crate) fn change(&mut self, now: Ms, config: &Config) {
        (self.config, self.changed) = (config.clone(), now);
        for channel in 0..self.channels.len() {
            let policy = config.policies.of(&self.channels[channel].name).clone();
            let old = std::mem::replace(&mut self.channels[channel].policy, policy.clone());
            if ring_of(&old, true) == ring_of(&policy, true) {
                self.shrink(now, channel)
            } else {
                self.refill(now, channel)
            }
        }
        while self.departed.len() > self.config.departed_max {
            self.forget(now, self.departed[0]);
        }
    }

    /// The channels that were not used for longest give up their oldest messages until the sum fits.
    fn turn_the_hand(&mut self, now: Ms, used: usize) {
        self.channels[used].used_lately = true;
        if !std::mem::replace(&mut self.channels[used].is_queued, true) {
            self.hand.push_back(used);
        }
        for _ in 0..LOOKS {
            let held = self.names.values().flat_map(|&channel| self.kept(channel)).map(|message| message.bytes);
            if held.sum::<usize>() <= self.config.history_total {
                return;
            }
            let Some(channel) = self.hand.pop_front() else { return };
            if std::mem::take(&mut self.channels[channel].used_lately) {
                self.hand.push_back(channel);
                continue;
            }
            let oldest = |ring: bool| {
                let mut kept = self.kept(channel).filter(|message| message.in_own_ring == ring);
                kept.next().filter(|_| kept.next().is_some()).map(|message| message.seq)
            };
            match [false, true].into_iter().filter_map(|ring| Some((oldest(ring)?, ring))).min() {
                Some((_, ring)) => {
                    self.lose(now, channel, ring, "memory");
                    self.hand.push_front(channel);
                }
                None => self.channels[channel].is_queued = false,
            }
        }
    }

    /// The rings are filled anew, by the policy of today.
    fn refill(&mut self, now: Ms, channel: usize) {
        let Channel { messages, policy, .. } = &mut self.channels[channel];
        let mut kept = Vec::new();
        for message in messages.iter_mut().filter(|message| message.fate == Fate::Kept) {
            message.in_own_ring = ring_of(policy, message.system.is_some());
            kept.push((message.in_own_ring, message.seq, message.bytes));
        }
        for (in_own_ring, seq, bytes) in kept {
            self.make_room(now, channel, in_own_ring, seq, bytes);
        }
    }

    /// What is too much in the rings goes.
    fn shrink(&mut self, now: Ms, channel: usize) {
        let policy = self.channels[channel].policy.clone();
        for in_own_ring in [false, true] {
            loop {
                let ring = self.kept(channel).filter(|message| message.in_own_ring == in_own_ring);
                let (count, bytes) = ring.fold((0, 0), |(count, sum), message| (count + 1, sum + message.bytes));
                let why = match count > most(&policy, in_own_ring) {
                    _ if count <= 1 => break,
                    true => "count",
                    false if bytes > policy.history_bytes => "bytes",
                    false => break,
                };
                self.lose(now, channel, in_own_ring, why);
            }
        }
    }

    /// What has to go from a ring for a message with this `seq` and so many bytes.
    fn make_room(&mut self, now: Ms, channel: usize, in_own_ring: bool, seq: u64, bytes: usize) {
        let policy = self.channels[channel].policy.clone();
        let before = |model: &Model| -> (usize, usize) {
            let ring = model.kept(channel).filter(|message| message.in_own_ring == in_own_ring && message.seq < seq);
            ring.fold((0, 0), |(count, sum), message| (count + 1, sum + message.bytes))
        };
        while before(self).0 >= most(&policy, in_own_ring).max(1) {
            self.lose(now, channel, in_own_ring, "count");
        }
        while before(self).0 > 0 && before(self).1 + bytes > policy.history_bytes {
            self.lose(now, channel, in_own_ring, "bytes");
        }
    }

    /// The oldest message of a ring falls out.
    fn lose(&mut self, now: Ms, channel: usize, in_own_ring: bool, why: &'static str) {
        let Channel { messages, fallen, .. } = &mut self.channels[channel];
        let mut kept = messages[*fallen..].iter_mut().filter(|message| message.fate == Fate::Kept);
        let oldest = kept.find(|message| message.in_own_ring == in_own_ring).expect("there is one");
        oldest.fate = if now < oldest.expires { Fate::Lost(why) } else { Fate::Expired };
        *fallen += messages[*fallen..].iter().take_while(|message| message.fate != Fate::Kept).count();
    }

    fn lose_old(&mut self, now: Ms, channel: usize) {
        let limit = now - self.channels[channel].policy.history_age;
        for ring in [false, true] {
            let old = self.kept(channel).filter(|message| message.in_own_ring == ring && message.at < limit).count();
            let all = self.kept(channel).filter(|message| message.in_own_ring == ring).count();
            for _ in 0..old.min(all.saturating_sub(1)) {
                self.lose(now, channel, ring, "age");
            }
        }
    }

    fn lose_all(&mut self, now: Ms, channel: usize) {
        let shares: Vec<bool> = self.kept(channel).map(|message| message.in_own_ring).collect();
        shares.into_iter().for_each(|in_own_ring| self.lose(now, channel, in_own_ring, "age"));
    }

    fn leave(&mut self, now: Ms, client: usize, channel: usize) {
        if let Some(at) = self.subscription(client, channel) {
            self.channels[channel].used = now;
            let newest = self.channels[channel].messages.last().map_or(0, |message| message.seq);
            let Client { position, subscriptions, resumes, .. } = &mut self.clients[client];
            // Another page than the one that was here may have had nothing of it.
            let read = if *resumes { subscriptions[at].begin } else { subscriptions[at].after(*position) };
            if newest > read {
                subscriptions[at].until = Some(self.seq);
                subscriptions[at].stale = now + self.channels[channel].policy.history_age;
            } else {
                subscriptions.swap_remove(at);
            }
        }
        self.say(now, client, channel, "unsubscribed");
    }

    // --- questions

    pub(crate) fn here(&self, name: &str) -> Result<usize, Fault> {
        self.ids.get(name).copied().filter(|&client| self.clients[client].is_here).ok_or(Fault::Unknown)
    }

    fn is_known(&self, client: usize) -> bool {
        self.ids.get(&self.clients[client].name) == Some(&client)
    }

    pub(crate) fn subscription(&self, client: usize, channel: usize) -> Option<usize> {
        let subscriptions = &self.clients[client].subscriptions;
        subscriptions.iter().position(|subscription| subscription.channel == channel && subscription.until.is_none())
    }

    /// Whether a client counts as present (WIRE L1).
    pub(crate) fn is_active(&self, now: Ms, client: usize) -> bool {
        let Client { polls, created, seen, .. } = &self.clients[client];
        !polls.is_empty() || now <= *created + self.config.min_alive || now <= *seen + self.config.max_idle
    }

    /// Nobody is or may come back as a subscriber, and nobody has something left to read.
    fn is_deserted(&self, channel: usize) -> bool {
        let mut held = self.ids.values().flat_map(|&client| &self.clients[client].subscriptions);
        held.all(|subscription| subscription.channel != channel)
    }

    pub(crate) fn next_id(&self, channel: usize) -> u64 {
        self.channels[channel].messages.last().map_or(0, |message| message.id) + 1
    }

    pub(crate) fn kept(&self, channel: usize) -> impl Iterator<Item = &Message> {
        let Channel { messages, fallen, .. } = &self.channels[channel];
        messages[*fallen..].iter().filter(|message| message.fate == Fate::Kept)
    }

    /// Compares all counts with the hub's.
    pub(crate) fn compare(&self, now: Ms, hub: &Hub) {
        let stats = hub.stats();
        let departed = self.departed.len();
        let counts = [stats.clients, stats.departed, stats.channels, stats.waiters];
        assert_eq!(counts, [self.ids.len() - departed, departed, self.names.len(), self.polls.len()], "{stats:?}");
        assert_eq!(hub.position(), self.seq);
        for (name, &channel) in &self.names {
            let info = hub.channel_info(name).expect("the channel is there");
            let of_channel = |client: &Client| {
                let mine = client.subscriptions.iter().filter(|one| one.channel == channel);
                let mine = mine.filter(|one| one.until.is_none());
                (mine.clone().count(), mine.filter(|_| client.is_here).count())
            };
            let clients = self.ids.values().map(|&client| &self.clients[client]);
            let counts = clients.fold([0, 0, 0], |[all, active, parked], client| {
                let (mine, here) = of_channel(client);
                [all + mine, active + here, parked + if client.polls.is_empty() { 0 } else { here }]
            });
            assert_eq!([info.subscribers, info.active, info.parked], counts, "{name}");
            let bytes = self.kept(channel).map(|message| message.bytes).sum();
            assert_eq!((info.messages, info.bytes), (self.kept(channel).count(), bytes), "messages held by {name}");
            assert_eq!(info.next_id, self.next_id(channel));
        }
        for (name, &client) in &self.ids {
            let info = hub.client_info(now, name).expect("the client is there");
            let Client { is_here, seen, position, subscriptions, polls, .. } = &self.clients[client];
            let by = |transport| polls.iter().filter(|key| self.polls[key].transport == transport).count();
            let original = polls.iter().filter(|key| self.polls[key].since == Since::Original).count();
            let by = [original, by(Transport::Poll) - original, by(Transport::Events), by(Transport::Socket), 0];
            assert_eq!(info.here, *is_here, "{name}");
            assert_eq!(info.idle, if polls.is_empty() { now - *seen } else { Ms::ZERO }, "{name}");
            assert_eq!(info.polls, by, "{name}");
            assert_eq!(info.position, *position, "the acknowledged position of {name}");
            assert_eq!(info.subscriptions, subscriptions.iter().filter(|one| one.until.is_none()).count(), "{name}");
        }
    }
}

/// Whether a message goes into the ring of the server's own.
fn ring_of(policy: &Policy, is_system: bool) -> bool {
    is_system && policy.history_system != SystemShare::Shared
}

/// How many messages a ring has.
fn most(policy: &Policy, in_own_ring: bool) -> usize {
    if let (true, SystemShare::Own(most)) = (in_own_ring, policy.history_system) { most } else { policy.history }
}

impl Poll {
    pub(crate) fn is_stream(&self) -> bool {
        self.transport != Transport::Poll
    }
}

impl Subscription {
    /// What a reader at this position has had.
    pub(crate) fn after(&self, position: u64) -> u64 {
        if position < self.made { self.begin } else { position }
    }
}
