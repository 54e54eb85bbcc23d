//! What is left of a call that is not done in one step: calls for many clients or channels, and long lists.
//!
//! It knows places of its body and keys of the hub, no more, so it can wait while the world changes. Each step is a single
//! call of the kind that there is for one; see the [module above](super) for what that means to others.

use std::borrow::Cow;
use std::collections::{BTreeMap, btree_map};

use crate::broker::{Failure, Ticket};
use crate::hub::{self, ADMIN_MARK, Channel, Client, Spared};
use crate::json;

use super::additions::{Publishing, write_place};
use super::call::{Service, list, name};
use super::fault::{Fault, faults};
use super::remote::{self, Remote, fault};
use super::value::{Json, Text, Walk};

/// What is left of a call.
#[derive(Debug)]
pub(super) enum Work {
    Nothing,
    Pairs(Pairs),
    UnsubscribeAll(UnsubscribeAll),
    Clients(Names<Channel>),
    Channels(Names<Client>),
    Broadcast(Box<Broadcast>),
    Remote(Box<Remote>),
}

impl Work {
    /// The reply that it waits for, if it does.
    pub(super) fn waits_for(&self) -> Option<Ticket> {
        match self {
            Work::Pairs(pairs) => pairs.waits_for,
            Work::UnsubscribeAll(work) => work.waits_for,
            Work::Broadcast(broadcast) => broadcast.waits_for,
            Work::Remote(remote) => Some(remote.ticket()),
            Work::Nothing | Work::Clients(_) | Work::Channels(_) => None,
        }
    }

    /// Goes on, and takes one off `budget` for each step. True when nothing is left.
    pub(super) fn go_on(
        &mut self,
        text: Text<'_>,
        service: &mut Service<'_>,
        out: &mut Vec<u8>,
        budget: &mut u32,
    ) -> Result<bool, Fault> {
        match self {
            Work::Nothing => Ok(true),
            Work::Remote(remote) => {
                *budget = budget.saturating_sub(1);
                remote.go_on(service, out)
            }
            Work::Pairs(pairs) => pairs.go_on(text, service, out, budget),
            Work::UnsubscribeAll(work) => work.go_on(text, service, out, budget),
            Work::Clients(names) => {
                let (hub, now) = (&service.hub, service.now);
                Ok(names.write(out, budget, |walk, budget| hub.next_client(now, walk, budget)))
            }
            Work::Channels(names) => {
                Ok(names.write(out, budget, |walk, budget| service.hub.next_channel(walk, budget)))
            }
            Work::Broadcast(broadcast) => broadcast.go_on(text, service, out, budget),
        }
    }
}

/// A list of names, written as a walk finds them.
#[derive(Debug)]
pub(super) struct Names<T> {
    walk: hub::Walk<T>,
    open: &'static [u8],
}

impl<T> Names<T> {
    pub(super) fn new(walk: hub::Walk<T>) -> Names<T> {
        Names { walk, open: b"[" }
    }

    /// Writes more of it. There is no next one, and something of the budget is left: that is the end.
    fn write<'h>(
        &mut self,
        out: &mut Vec<u8>,
        budget: &mut u32,
        next: impl Fn(&mut hub::Walk<T>, &mut u32) -> Option<&'h str>,
    ) -> bool {
        while let Some(name) = next(&mut self.walk, budget) {
            out.extend_from_slice(std::mem::replace(&mut self.open, b","));
            json::write_str(out, name);
        }
        if *budget == 0 {
            return false;
        }
        out.extend_from_slice(if self.open == b"[" { b"[]" } else { b"]" });
        true
    }
}

/// What is done with a client and a channel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Subscribe,
    Unsubscribe,
}

impl Verb {
    fn perform(self, service: &mut Service<'_>, client: &str, channel: &str) -> Result<(), Fault> {
        let done = match self {
            Verb::Subscribe => service.hub.subscribe(service.now, client, channel, None),
            Verb::Unsubscribe => service.hub.unsubscribe(service.now, client, channel),
        };
        done.map_err(|error| faults(error, client))
    }

    /// Asks for it to be done with some clients and channels.
    fn ask(self, service: &mut Service<'_>, pairs: &[(Box<str>, Box<str>)]) -> Result<Ticket, Fault> {
        let function = match self {
            Verb::Subscribe => "subscribe_each",
            Verb::Unsubscribe => "unsubscribe_each",
        };
        for (client, _) in pairs {
            service.tell_position(client);
        }
        let names: Vec<&[u8]> =
            pairs.iter().flat_map(|(client, channel)| [client.as_bytes(), channel.as_bytes()]).collect();
        service.ask(function, &names)
    }
}

/// So many clients and channels are seen to in one go where the broker does it, and as many channels are published in: what is
/// said in one go is heard in one go (WIRE P19).
const TOGETHER: usize = 32;

/// The same for every client of every channel in `{channel: [client, ...]}` (WIRE M4). Stops at the first client that is not
/// here; what was done stays done (WIRE M5).
#[derive(Debug)]
pub(super) struct Pairs {
    verb: Verb,
    order: Order,
    /// The channel that is being worked on, and its clients.
    channel: Option<(Box<str>, Walk)>,
    /// What the broker is to do next.
    gathered: Vec<(Box<str>, Box<str>)>,
    /// The reply that is to come: of what was gathered.
    waits_for: Option<Ticket>,
}

/// In which order the channels come.
#[derive(Debug)]
enum Order {
    /// They are being collected, as of several of one name only the last counts (WIRE J13).
    Collecting { all: Walk, rest: Walk, found: BTreeMap<Box<str>, usize> },
    /// By name, with the place of the list.
    ByName(btree_map::IntoIter<Box<str>, usize>),
    /// As they stand: there are too many to collect them. Of several of one name each counts.
    AsGiven(Walk),
}

/// Channels that are collected to see whether names come twice. Nobody's encoder writes a name twice: this is for the letter
/// of the rule.
const COLLECTED_MAX: usize = 1000;

impl Pairs {
    pub(super) fn new(channels: Json<'_>, verb: Verb) -> Pairs {
        let walk = channels.walk();
        Pairs {
            verb,
            order: Order::Collecting { all: walk, rest: walk, found: BTreeMap::new() },
            channel: None,
            gathered: Vec::new(),
            waits_for: None,
        }
    }

    fn go_on(
        &mut self,
        text: Text<'_>,
        service: &mut Service<'_>,
        out: &mut Vec<u8>,
        budget: &mut u32,
    ) -> Result<bool, Fault> {
        while *budget > 0 {
            if self.waits_for.is_some() || self.gathered.len() >= TOGETHER {
                if !self.have_done(service)? {
                    return Ok(false);
                }
                continue;
            }
            *budget -= 1;
            if let Some((channel, clients)) = &mut self.channel {
                match clients.next_element(text) {
                    Some(client) => {
                        let id = service.limited(name(client)?)?;
                        if service.is_shared() {
                            self.gathered.push((id.into(), channel.clone()));
                        } else {
                            self.verb.perform(service, &id, channel)?;
                        }
                    }
                    None => self.channel = None,
                }
            } else if let Some((channel, clients)) = self.order.next(text) {
                let Some((channel, clients)) = channel.zip(clients) else { continue };
                let channel = service.limited(Cow::Owned(channel.into()))?;
                self.channel = Some((channel.into(), list(text.value_at(clients))?));
            } else if !self.gathered.is_empty() {
                if !self.have_done(service)? {
                    return Ok(false);
                }
            } else {
                out.extend_from_slice(b"200");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Has the broker do what was gathered. True when it is done.
    fn have_done(&mut self, service: &mut Service<'_>) -> Result<bool, Fault> {
        let Some(ticket) = self.waits_for else {
            self.waits_for = Some(self.verb.ask(service, &self.gathered)?);
            return Ok(false);
        };
        let Some(answer) = service.take_answer(ticket) else { return Ok(false) };
        self.waits_for = None;
        let gathered = std::mem::take(&mut self.gathered);
        let value = answer.map_err(|failure| fault(failure, ""))?;
        let [done, error] = remote::texts(&value).ok_or_else(|| remote::none_of_ours(&value))?;
        if error.is_empty() {
            return Ok(true);
        }
        let failed = done.parse().ok().and_then(|at: usize| gathered.get(at));
        Err(fault(Failure::Refused(error.into()), failed.map_or("", |(client, _)| client)))
    }
}

impl Order {
    /// The next channel, and where the list of its clients begins. `Some` with nothing in it is a step on the way to it.
    fn next(&mut self, text: Text<'_>) -> Option<(Option<Box<str>>, Option<usize>)> {
        match self {
            Order::Collecting { all, rest, found } => {
                match rest.next_member(text) {
                    Some(_) if found.len() == COLLECTED_MAX => *self = Order::AsGiven(*all),
                    Some((channel, clients)) => {
                        found.insert(channel.unquote().into(), clients.start());
                    }
                    None => *self = Order::ByName(std::mem::take(found).into_iter()),
                }
                Some((None, None))
            }
            Order::ByName(found) => found.next().map(|(channel, clients)| (Some(channel), Some(clients))),
            Order::AsGiven(walk) => {
                let (channel, clients) = walk.next_member(text)?;
                Some((Some(channel.unquote().into()), Some(clients.start())))
            }
        }
    }
}

/// Unsubscribes the clients of a channel (WIRE M6).
#[derive(Debug)]
pub(super) struct UnsubscribeAll {
    channel: Box<str>,
    /// The names of the spared that are still to be looked up.
    exclude: Option<Walk>,
    spared: Spared,
    walk: Option<hub::Walk<Channel>>,
    /// The names of the spared, where the broker does it.
    names: Vec<Box<str>>,
    waits_for: Option<Ticket>,
}

/// Clients that the broker unsubscribes in one go.
const PER_CALL: &[u8] = b"20";

impl UnsubscribeAll {
    pub(super) fn new(channel: &str, exclude: Option<Walk>) -> UnsubscribeAll {
        UnsubscribeAll {
            channel: channel.into(),
            exclude,
            spared: Spared::default(),
            walk: None,
            names: Vec::new(),
            waits_for: None,
        }
    }

    fn go_on(
        &mut self,
        text: Text<'_>,
        service: &mut Service<'_>,
        out: &mut Vec<u8>,
        budget: &mut u32,
    ) -> Result<bool, Fault> {
        while let Some(exclude) = &mut self.exclude {
            if *budget == 0 {
                return Ok(false);
            }
            *budget -= 1;
            match exclude.next_element(text) {
                Some(client) if service.is_shared() => self.names.push(name(client)?.into()),
                Some(client) => service.hub.spare(&mut self.spared, &name(client)?),
                None => {
                    self.exclude = None;
                    self.walk = service.hub.walk_channel(&self.channel);
                }
            }
        }
        if service.is_shared() {
            return self.go_on_remotely(service, out, budget);
        }
        let is_done = match &mut self.walk {
            Some(walk) => service.hub.unsubscribe_some(service.now, walk, &self.spared, budget),
            None => true,
        };
        if is_done {
            out.extend_from_slice(b"200");
        }
        Ok(is_done)
    }
}

impl UnsubscribeAll {
    /// The broker does it, some at a time, and says each time from where to go on.
    fn go_on_remotely(
        &mut self,
        service: &mut Service<'_>,
        out: &mut Vec<u8>,
        budget: &mut u32,
    ) -> Result<bool, Fault> {
        *budget = budget.saturating_sub(1);
        let cursor = match self.waits_for {
            None => "0".to_owned(),
            Some(ticket) => {
                let Some(answer) = service.take_answer(ticket) else { return Ok(false) };
                let value = answer.map_err(|failure| fault(failure, &self.channel))?;
                let cursor = value.list().and_then(|values| values.first()?.text()).unwrap_or("").to_owned();
                if cursor.is_empty() {
                    self.waits_for = None;
                    out.extend_from_slice(b"200");
                    return Ok(true);
                }
                cursor
            }
        };
        let mut arguments: Vec<&[u8]> =
            vec![self.channel.as_bytes(), ADMIN_MARK.as_bytes(), cursor.as_bytes(), PER_CALL];
        arguments.extend(self.names.iter().map(|name| name.as_bytes()));
        self.waits_for = Some(service.ask("unsubscribe_some", &arguments)?);
        Ok(false)
    }
}

/// The same message to many channels.
#[derive(Debug)]
pub(super) struct Broadcast {
    /// All names are looked at before anything is published.
    unseen: Option<Walk>,
    channels: Walk,
    text: Box<str>,
    publishing: Publishing<'static>,
    open: &'static [u8],
    /// Where the broker is to publish next.
    gathered: Vec<Box<str>>,
    /// The reply that is to come: of what was gathered.
    waits_for: Option<Ticket>,
}

impl Broadcast {
    pub(super) fn new(channels: Walk, text: &str, publishing: Publishing<'static>) -> Broadcast {
        Broadcast {
            unseen: Some(channels),
            channels,
            text: text.into(),
            publishing,
            open: b"[",
            gathered: Vec::new(),
            waits_for: None,
        }
    }

    fn go_on(
        &mut self,
        text: Text<'_>,
        service: &mut Service<'_>,
        out: &mut Vec<u8>,
        budget: &mut u32,
    ) -> Result<bool, Fault> {
        while *budget > 0 {
            if self.waits_for.is_some() || self.gathered.len() >= TOGETHER {
                if !self.have_published(service, out)? {
                    return Ok(false);
                }
                continue;
            }
            *budget -= 1;
            if let Some(unseen) = &mut self.unseen {
                match unseen.next_element(text) {
                    Some(channel) => {
                        service.limited(name(channel)?)?;
                    }
                    None => self.unseen = None,
                }
                continue;
            }
            let Some(channel) = self.channels.next_element(text) else {
                if !self.gathered.is_empty() {
                    if !self.have_published(service, out)? {
                        return Ok(false);
                    }
                    continue;
                }
                out.extend_from_slice(if self.open == b"[" { b"[]" } else { b"]" });
                return Ok(true);
            };
            if service.is_shared() {
                self.gathered.push(name(channel)?.into());
                continue;
            }
            out.extend_from_slice(std::mem::replace(&mut self.open, b","));
            // Names that are left out are looked up for each channel.
            *budget = budget.saturating_sub(self.publishing.steps());
            self.publishing.perform(service, out, &name(channel)?, &self.text)?;
        }
        Ok(false)
    }

    /// Has the broker publish in the channels that were gathered. True when it is done, and the places are written.
    fn have_published(&mut self, service: &mut Service<'_>, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let Some(ticket) = self.waits_for else {
            self.waits_for = Some(self.publishing.ask_for(service, &self.gathered, &self.text)?);
            return Ok(false);
        };
        let Some(answer) = service.take_answer(ticket) else { return Ok(false) };
        self.waits_for = None;
        self.gathered.clear();
        let value = answer.map_err(|failure| fault(failure, ""))?;
        let places = remote::places(&value).ok_or_else(|| remote::none_of_ours(&value))?;
        for (id, seq) in places {
            out.extend_from_slice(std::mem::replace(&mut self.open, b","));
            write_place(service, id, seq, out);
        }
        Ok(true)
    }
}
