//! Clients and their channels: fetched when a page polls, kept up to date by what is told of them.
//!
//! What is told while something is being fetched is in what comes, or comes after it: the link keeps the order. So nothing has
//! to be kept aside but the subscriptions to channels that are still to come.

use log::debug;

use super::facts::{ClientFacts, Filled, Word};
use super::{Cluster, Guest, Question, REPLY};
use crate::broker::{Failure, Value};
use crate::clock::Ms;
use crate::hub::{ChannelFacts, Client, EndFacts, Hub, LinkFacts, MessageFacts, Misfit};
use crate::slots::Key;

/// A client that is being fetched.
#[derive(Debug, Default)]
pub(super) struct Adopting {
    /// Whose polls wait for it.
    visitors: Vec<Visitor>,
    /// Whose polls wait for it whose key has been looked at.
    comers: Vec<Guest>,
    /// It is fetched because the link was down.
    pub(super) recovers: bool,
    /// It was asked for once more.
    is_again: bool,
    /// Nobody knows of it but who polls for it.
    is_named_by_visitors: bool,
}

/// A poll that waits for a client, and the key that it gave.
#[derive(Debug)]
struct Visitor {
    guest: Guest,
    key: Box<[u8]>,
    /// It came when the client had been asked for already: it may be that it was made in between.
    is_late: bool,
}

/// A channel that is being fetched.
#[derive(Debug, Default)]
pub(super) struct Filling {
    links: Vec<(Key<Client>, Subscribing)>,
    pub(super) recovers: bool,
    /// Something is missing in it: nobody is answered before it is there.
    is_hole: bool,
}

/// A subscription to a channel that is still to come.
#[derive(Clone, Copy, Debug)]
struct Subscribing {
    made: u64,
    begin: u64,
    end: Option<EndFacts>,
}

impl Cluster {
    /// Fetches a client for a visitor that gives this key.
    pub(super) fn adopt_for(&mut self, now: Ms, id: &str, guest: Guest, key: &[u8]) -> Result<(), Failure> {
        let is_late = self.adopting.contains_key(id);
        if !is_late {
            self.look_for(now, id)?;
        }
        if let Some(adopting) = self.adopting.get_mut(id) {
            adopting.visitors.push(Visitor { guest, key: key.into(), is_late });
        }
        Ok(())
    }

    /// What came is too old for some who came late: for them it is asked again.
    fn adopt_for_late(&mut self, now: Ms, id: &str, late: Vec<Visitor>) {
        if late.is_empty() {
            return;
        }
        if !self.adopting.contains_key(id)
            && let Err(failure) = self.look_for(now, id)
        {
            return late.into_iter().for_each(|visitor| self.arrived(now, visitor.guest, Some(failure.clone())));
        }
        if let Some(adopting) = self.adopting.get_mut(id) {
            adopting.visitors.extend(late.into_iter().map(|visitor| Visitor { is_late: false, ..visitor }));
        }
    }

    /// Fetches a client that somebody has named who may have made it up.
    fn look_for(&mut self, now: Ms, id: &str) -> Result<(), Failure> {
        if !self.strangers.take(now) {
            return Err(Failure::Crowded);
        }
        let begun = self.begin_adopting(now, id, false);
        match self.adopting.get_mut(id) {
            Some(adopting) if begun.is_ok() => adopting.is_named_by_visitors = true,
            _ => self.strangers.note(false),
        }
        begun
    }

    /// Asks for a client as it is in the epoch that is known here: of another one it would not be known that it is to come yet.
    fn ask_for(&mut self, now: Ms, function: &'static str, id: &str) -> Result<(), Failure> {
        let epoch = self.known_epoch();
        self.call(now, Question::Adopt(id.into()), function, &[epoch.as_bytes(), id.as_bytes()]).map(drop)
    }

    pub(super) fn begin_adopting(&mut self, now: Ms, id: &str, recovers: bool) -> Result<(), Failure> {
        self.link.follow(self.names.tells(id).as_bytes());
        self.ask_for(now, "look", id)?;
        self.adopting.insert(id.into(), Adopting { recovers, ..Adopting::default() });
        Ok(())
    }

    pub(super) fn hear_adopted(&mut self, now: Ms, hub: &mut Hub, id: Box<str>, result: Result<Value, Failure>) {
        let Some(mut adopting) = self.adopting.remove(&id) else { return };
        let facts = match &result {
            // Somebody has wiped Redis: when the world has begun anew it is asked again.
            Err(Failure::Refused(error)) if error.starts_with("NOHUB") => {
                return self.ask_again(now, hub, id, adopting);
            }
            Err(failure) => {
                self.note_lookup(&adopting, false);
                return self.end_adopting(now, hub, &id, adopting, Some(failure.clone()));
            }
            // It was asked in whatever epoch there is, which is not known here yet.
            Ok(Value::Null) if adopting.is_again => {
                self.note_lookup(&adopting, false);
                let failure = Failure::Refused("it has just lost everything".into());
                return self.end_adopting(now, hub, &id, adopting, Some(failure));
            }
            Ok(Value::Null) => {
                self.note_lookup(&adopting, true);
                let late = adopting.take_late(|_| true);
                self.drop_client(now, hub, &id);
                for visitor in &adopting.visitors {
                    if let Some(visit) = self.visit_of(visitor.guest) {
                        visit.is_bad = true;
                    }
                }
                self.end_adopting(now, hub, &id, adopting, None);
                return self.adopt_for_late(now, &id, late);
            }
            Ok(value) => match ClientFacts::read(value, now) {
                Some(facts) if self.epoch == Some(facts.epoch) => facts,
                Some(_) => return self.ask_again(now, hub, id, adopting),
                None => {
                    self.note_lookup(&adopting, false);
                    self.note_junk("look", REPLY);
                    let failure = Failure::Refused("it says of a client what is none of ours".into());
                    return self.end_adopting(now, hub, &id, adopting, Some(failure));
                }
            },
        };
        self.note_time(now, facts.time);
        hub.advance(facts.seq);
        let is_somebodys = adopting.visitors.iter().any(|visitor| facts.key.matches(&visitor.key));
        self.note_lookup(&adopting, !is_somebodys);
        let late = adopting.take_late(|key| !facts.key.matches(key));
        // Whoever gives a wrong key keeps nobody here, and brings nobody back (WIRE L4).
        let mut is_wanted = adopting.recovers || !adopting.comers.is_empty() || hub.find_client(&id).is_some();
        for Visitor { guest, key, .. } in &adopting.visitors {
            let Some(visit) = self.visit_of(*guest) else { continue };
            if !facts.key.matches(key) {
                visit.is_bad = true;
            } else if facts.has_departed {
                visit.departed.push(id.clone());
            } else {
                is_wanted = true;
            }
        }
        if facts.has_departed {
            match hub.find_client(&id) {
                // Its pages wait here, and nobody could be told so: it comes back.
                Some(client) if hub.is_polled(client) => {
                    self.revive_polled(now, hub, client, id.clone(), adopting);
                    return self.adopt_for_late(now, &id, late);
                }
                _ => self.drop_client(now, hub, &id),
            }
        } else if is_wanted {
            let client = self.take_over(now, hub, &id, &facts);
            self.upkeep.note_comer(client);
        }
        self.end_adopting(now, hub, &id, adopting, None);
        self.adopt_for_late(now, &id, late);
    }

    /// The world has begun anew while a client was being fetched: it is fetched from there.
    fn ask_again(&mut self, now: Ms, hub: &mut Hub, id: Box<str>, mut adopting: Adopting) {
        self.greet(now, hub);
        if std::mem::replace(&mut adopting.is_again, true) {
            // It may be that this node is not let in.
            self.note_lookup(&adopting, false);
            let failure = Failure::Refused("it has just lost everything".into());
            return self.end_adopting(now, hub, &id, adopting, Some(failure));
        }
        match self.call(now, Question::Adopt(id.clone()), "look", &[b"", id.as_bytes()]) {
            Ok(_) => {
                self.adopting.insert(id, adopting);
            }
            Err(failure) => {
                self.note_lookup(&adopting, false);
                self.end_adopting(now, hub, &id, adopting, Some(failure));
            }
        }
    }

    /// Whether it was in vain to look for a client, if that was for visitors alone.
    fn note_lookup(&mut self, adopting: &Adopting, is_in_vain: bool) {
        if adopting.is_named_by_visitors {
            self.strangers.note(is_in_vain);
        }
    }

    /// Has a client come back that had departed, for a visitor with its key.
    pub(super) fn revive_for(&mut self, now: Ms, id: Box<str>, guest: Guest) {
        if !self.adopting.contains_key(&id) {
            self.link.follow(self.names.tells(&id).as_bytes());
            if let Err(failure) = self.ask_for(now, "revive", &id) {
                return self.arrived(now, guest, Some(failure));
            }
            self.adopting.insert(id.clone(), Adopting::default());
        }
        if let Some(adopting) = self.adopting.get_mut(&id) {
            // Its key has been looked at.
            adopting.comers.push(guest);
        }
    }

    fn end_adopting(&mut self, now: Ms, hub: &Hub, id: &str, adopting: Adopting, failure: Option<Failure>) {
        if hub.find_client(id).is_none() {
            self.link.unfollow(self.names.tells(id).as_bytes());
        } else if failure.is_some() {
            // Its pages wait until it is known what has become of it.
            self.upkeep.fetch_again(id);
        }
        if adopting.recovers {
            self.recovered_one();
        }
        for guest in adopting.guests() {
            self.arrived(now, guest, failure.clone());
        }
    }

    /// A client as it is now: new here, or here from before the link broke.
    fn take_over(&mut self, now: Ms, hub: &mut Hub, id: &str, facts: &ClientFacts<'_>) -> Key<Client> {
        let client = match hub.find_client(id) {
            Some(client) => {
                // All that it waits for is asked for once more, or has come.
                self.forget_unsettled(client);
                self.bring_up_to_date(now, hub, client, id, facts);
                client
            }
            None => hub.adopt(&facts.adoption(id, now)),
        };
        for link in &facts.subscriptions {
            self.link_up(now, hub, client, link);
        }
        self.settle(hub, client);
        client
    }

    /// What has become of a client meanwhile: what it is subscribed to no more, its key, how far it has come.
    fn bring_up_to_date(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, id: &str, facts: &ClientFacts<'_>) {
        hub.change_key(id, facts.key);
        hub.forget_up_to(client, facts.forgotten);
        for (channel, made) in hub.subscriptions_of(client) {
            let same = |link: &&LinkFacts<'_>| *link.channel == *channel && link.made == made;
            let found = facts.subscriptions.iter().find(same);
            if found.is_none_or(|link| link.end.is_some()) {
                hub.end_at(now, client, &channel, found.and_then(|link| link.end));
            }
        }
        let position = hub.acknowledged(client);
        hub.move_client(now, client, facts.position);
        if position > facts.position || hub.resumes(client) && !facts.resumes {
            hub.note_told(client, false);
        }
    }

    /// A subscription: at once if its channel is here. If that cannot be asked for the client waits for it until it is fetched anew.
    fn link_up(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, link: &LinkFacts<'_>) {
        let subscribing = Subscribing { made: link.made, begin: link.begin, end: link.end };
        if hub.last_seq_of(link.channel).is_some() {
            subscribing.link(hub, client, link.channel);
            return;
        }
        *self.unsettled.entry(client).or_default() += 1;
        hub.settle(client, false);
        if !self.filling.contains_key(link.channel)
            && let Err(failure) = self.begin_filling(now, link.channel, 0)
        {
            debug!("{} cannot be fetched now: {failure}", link.channel);
            return self.upkeep.fetch_again(hub.name_of(client).unwrap_or_default());
        }
        if let Some(filling) = self.filling.get_mut(link.channel) {
            filling.links.push((client, subscribing));
        }
    }

    /// Fetches what a channel has after `after`, and follows it.
    pub(super) fn begin_filling(&mut self, now: Ms, name: &str, after: u64) -> Result<(), Failure> {
        self.link.follow(self.names.says(name).as_bytes());
        let after = after.to_string();
        self.call(now, Question::Follow(name.into()), "follow", &[name.as_bytes(), after.as_bytes()])?;
        self.filling.insert(name.into(), Filling::default());
        Ok(())
    }

    /// The same because the link was down.
    pub(super) fn refill(&mut self, now: Ms, name: &str, after: u64) -> Result<(), Failure> {
        self.begin_filling(now, name, after)?;
        if let Some(filling) = self.filling.get_mut(name) {
            filling.recovers = true;
        }
        Ok(())
    }

    pub(super) fn hear_filled(&mut self, now: Ms, hub: &mut Hub, name: Box<str>, result: Result<Value, Failure>) {
        let Some(filling) = self.filling.remove(&name) else { return };
        let is_here = match &result {
            Ok(Value::Null) => {
                self.put_back(now, hub, &name, 0);
                hub.fill_channel(now, &name, &ChannelFacts::default(), []);
                true
            }
            Ok(value) => match Filled::read(value, now).filter(|filled| self.epoch == Some(filled.epoch)) {
                Some(filled) => {
                    self.note_time(now, filled.time);
                    hub.advance(filled.seq);
                    self.put_back(now, hub, &name, filled.facts.newest[0].max(filled.facts.newest[1]));
                    hub.fill_channel(now, &name, &filled.facts, filled.messages);
                    true
                }
                None => {
                    self.note_junk("follow", REPLY);
                    false
                }
            },
            Err(failure) => {
                debug!("{name} cannot be fetched: {failure}");
                false
            }
        };
        self.steps.note(filling.links.len());
        for (client, subscribing) in filling.links {
            if is_here {
                subscribing.link(hub, client, &name);
            } else if let Some(id) = hub.name_of(client) {
                // Until then it waits.
                self.upkeep.fetch_again(id);
                continue;
            }
            if let Some(left) = self.unsettled.get_mut(&client) {
                *left -= 1;
            }
            self.settle(hub, client);
        }
        if filling.recovers {
            self.recovered_one();
        }
        if !is_here && hub.last_seq_of(&name).is_some() {
            // Not without it.
            self.begin_recovery(hub);
        } else if filling.is_hole && !self.filling.values().any(|other| other.is_hole) && self.recovery.is_none() {
            hub.set_behind(false);
        }
    }

    /// A client may be answered when it waits for no channel.
    fn settle(&mut self, hub: &mut Hub, client: Key<Client>) {
        if self.unsettled.get(&client).is_none_or(|&left| left == 0) {
            self.unsettled.remove(&client);
            hub.settle(client, true);
        }
    }

    /// It has gone, or is fetched anew: what it waits for does not count.
    pub(super) fn forget_unsettled(&mut self, client: Key<Client>) {
        if self.unsettled.remove(&client).is_none() {
            return;
        }
        for filling in self.filling.values_mut() {
            filling.links.retain(|(other, _)| *other != client);
        }
    }

    pub(super) fn hear_message(
        &mut self,
        now: Ms,
        hub: &mut Hub,
        channel: &str,
        before: u64,
        message: &MessageFacts<'_>,
    ) {
        match hub.hear(now, channel, before, message) {
            // Old ones and those of channels that are being fetched are in what comes.
            Ok(()) | Err(Misfit::Old | Misfit::Unknown) => {}
            Err(Misfit::Hole) if self.filling.contains_key(channel) => {}
            Err(Misfit::Hole) => {
                let after = hub.last_seq_of(channel).unwrap_or(0);
                self.note_junk(channel, &format!("a message behind {before}, where {after} is the last, of"));
                hub.set_behind(true);
                match self.begin_filling(now, channel, after) {
                    Ok(()) => {
                        if let Some(filling) = self.filling.get_mut(channel) {
                            // Who recovers is not done without it.
                            (filling.is_hole, filling.recovers) = (true, self.recovery.is_some());
                        }
                        self.recovers_one();
                    }
                    Err(_) => self.begin_recovery(hub),
                }
            }
        }
    }

    pub(super) fn hear_word(&mut self, now: Ms, hub: &mut Hub, id: &str, word: Word<'_>) {
        // What is told before it is here is in what comes.
        let Some(client) = hub.find_client(id) else {
            if let Word::Wanted(node) = word
                && node != self.names.node
            {
                self.release_unseen(now, id);
            }
            return;
        };
        match word {
            Word::Subscribed { made, begin, channel } => {
                hub.advance(made.saturating_sub(1));
                self.link_up(now, hub, client, &LinkFacts { channel, made, begin, end: None });
            }
            Word::Ended(link) => self.link_has_ended(now, hub, client, &link),
            Word::Unsubscribed { channel } => self.end_link(now, hub, client, channel, None),
            Word::Key(key) => hub.change_key(id, key),
            Word::Killed => self.drop_client(now, hub, id),
            Word::Departed => self.client_departed(now, hub, client, id),
            Word::Position(position) => hub.move_client(now, client, position),
            Word::Wanted(node) => self.lease_wanted(now, hub, client, node),
            Word::Free(position) => self.lease_free(now, hub, client, position),
            Word::Returned => {}
        }
    }

    /// The end of the subscription that is live, or of one before it, which another node has put back after a failover.
    fn link_has_ended(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, link: &LinkFacts<'_>) {
        let is_live = |&LinkFacts { channel, made, end, .. }: &LinkFacts<'_>| {
            (channel, made) == (link.channel, link.made) && end.is_none()
        };
        let is_to_come = self.filling.get(link.channel).is_some_and(|filling| {
            filling.links.iter().any(|(of, subscribing)| *of == client && subscribing.made == link.made)
        });
        if is_to_come || hub.links_of(client).any(|known| is_live(&known)) {
            self.end_link(now, hub, client, link.channel, link.end);
        } else {
            self.link_up(now, hub, client, link);
        }
    }

    fn end_link(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, channel: &str, end: Option<EndFacts>) {
        hub.end_at(now, client, channel, end);
        // It may be still to come.
        let Some(filling) = self.filling.get_mut(channel) else { return };
        for (of, subscribing) in &mut filling.links {
            if *of == client && subscribing.end.is_none() {
                subscribing.end = Some(end.unwrap_or(EndFacts { until: subscribing.made, newest: [0; 2], stale: now }));
            }
        }
    }

    /// A client was collected, as nobody has told Redis for long that it is needed. If its pages wait here it comes back.
    pub(super) fn client_departed(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, id: &str) {
        if self.adopting.contains_key(id) {
            return;
        }
        if hub.is_polled(client) {
            self.revive_polled(now, hub, client, id.into(), Adopting::default());
        } else {
            self.drop_client(now, hub, id);
        }
    }

    fn revive_polled(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, id: Box<str>, adopting: Adopting) {
        hub.settle(client, false);
        // Who departs loses its lease.
        hub.lease(now, client, false, 0);
        match self.ask_for(now, "revive", &id) {
            Ok(_) => {
                self.adopting.insert(id, adopting);
            }
            Err(failure) => self.end_adopting(now, hub, &id, adopting, Some(failure)),
        }
    }

    /// A client is not here any more: its pages are told so.
    pub(super) fn drop_client(&mut self, now: Ms, hub: &mut Hub, id: &str) {
        if let Some(client) = hub.find_client(id) {
            self.forget_unsettled(client);
            self.wanted.forget(client);
            hub.lose_client(now, id);
        }
        if !self.adopting.contains_key(id) {
            self.link.unfollow(self.names.tells(id).as_bytes());
        }
    }
}

impl Adopting {
    /// Those that came late, and to whom what came does not apply.
    fn take_late(&mut self, applies_not: impl Fn(&[u8]) -> bool) -> Vec<Visitor> {
        self.visitors.extract_if(.., |visitor| visitor.is_late && applies_not(&visitor.key)).collect()
    }

    /// Whose polls wait for it.
    pub(super) fn guests(self) -> impl Iterator<Item = Guest> {
        self.visitors.into_iter().map(|visitor| visitor.guest).chain(self.comers)
    }
}

impl Subscribing {
    fn link(self, hub: &mut Hub, client: Key<Client>, channel: &str) {
        match self.end {
            None => hub.link_at(client, channel, self.made, self.begin),
            Some(end) if end.newest == [0; 2] => {}
            Some(end) => hub.link_ended(client, channel, self.made, self.begin, end),
        }
    }
}
