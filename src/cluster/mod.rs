//! What this node follows of what all nodes share, and what it asks of the broker.
//!
//! The model of all nodes is in Redis: clients, subscriptions, channels, messages. Functions there change it, each in one go,
//! and say what they have done. A node's hub has copies of the clients whose pages poll here and of their channels
//! ([`Hub::following`]); this room fetches them, keeps them up to date, and lets go of what nobody needs.
//!
//! ```text
//!   a page polls --> admit: is its client here?      the web application calls --> ask
//!                      | no: adopt, follow                      |
//!   Hub <-- facts <-- replies and pushes <-- Link --> calls <---+
//! ```
//!
//! One connection carries calls and pushes, so what Redis did in one order is heard in that order: with a reply, all that was
//! published before it has been heard. That is why one number can be a position in all channels.
//!
//! `adopt.rs` is clients and their channels, `strangers.rs` how often Redis is asked for nobody, `recover.rs` what is done when the link
//! comes back, `anew.rs` when Redis has lost everything, `heal.rs` what is put back after a failover, `lease.rs` who answers the
//! original's polls, `upkeep.rs` what is told from time to time, `again.rs` what has failed, `steps.rs` how much a turn has done,
//! `facts.rs` how all of it is written.

mod adopt;
mod again;
mod anew;
mod facts;
mod heal;
mod lease;
pub mod limits;
mod picture;
mod recover;
mod steps;
mod strangers;
mod upkeep;

use std::collections::{HashMap, VecDeque};

use log::{info, warn};

use crate::broker::{Event, Failure, Link, Ticket, Value};
use crate::clock::Ms;
use crate::hub::{Client, Former, Hub, Limits, Owner, Wish};
use crate::slots::{Key, Slots};

pub use strangers::Lookups;

use adopt::{Adopting, Filling};
use anew::{Anew, Lost};
use facts::{Push, Reader};
use heal::{Healing, RecentKeys};
use lease::Wanted;
use recover::Recovery;
use steps::Steps;
use strangers::Strangers;
use upkeep::Upkeep;

/// What this node has to do with the others.
#[derive(Debug)]
pub struct Cluster {
    /// The connection to Redis.
    pub link: Link,
    names: Naming,
    hub_limits: Limits,
    /// The same as the functions read them.
    limits: String,
    /// The epoch of all positions, once Redis has said it.
    epoch: Option<u64>,
    /// Which life of the data that is, and how often it has skipped ahead: as the last hello said.
    life: (String, String),
    /// Draws an epoch where there is none.
    random: fastrand::Rng,
    /// It has been asked how far the world has come.
    is_greeting: bool,
    /// How far Redis's clock is ahead of the hub's, in milliseconds.
    ahead: u64,
    questions: Slots<Asked>,
    /// How often Redis has lost everything.
    era: u32,
    adopting: HashMap<Box<str>, Adopting>,
    filling: HashMap<Box<str>, Filling>,
    strangers: Strangers,
    steps: Steps,
    /// How many of its channels a client waits for.
    unsettled: HashMap<Key<Client>, usize>,
    /// What each owner waits for, and how many visits there were so far.
    visits: HashMap<u64, Visit>,
    last_visit: u64,
    wanted: Wanted,
    /// How many calls that ask for a client's lease are on their way.
    taking: HashMap<Key<Client>, u32>,
    recovery: Option<Recovery>,
    /// While it recovers: up to which `seq` it had heard everything when it fell behind.
    heard_up_to: Option<u64>,
    healing: Option<Healing>,
    recent_keys: RecentKeys,
    anew: Option<Anew>,
    /// How much of what is of before is let go of in one turn.
    pub anew_steps: u32,
    lost: Lost,
    /// Polls that wait until all that is of before has gone.
    held: VecDeque<u64>,
    upkeep: Upkeep,
    /// Visitors for whom what was wanted has come, or why not, until they come again.
    arrivals: HashMap<u64, Arrival>,
    answers: HashMap<Ticket, Result<Value, Failure>>,
    awake: Vec<Awake>,
    /// What came that is not what our functions say.
    junk: u64,
}

/// How things are called in Redis.
#[derive(Clone, Debug)]
struct Naming {
    /// `{shaveet}:`
    prefix: String,
    /// The key that all functions are called with.
    hub: String,
    /// This node.
    host: String,
    /// The same with a number that is drawn each time that it says hello: leases of before, and of a process before, are nobody's.
    node: String,
}

/// Of a function's reply that cannot be read.
const REPLY: &str = "as the reply of";

/// A call whose reply is to come.
#[derive(Debug)]
struct Asked {
    question: Question,
    /// [`Cluster::era`] when it was asked.
    era: u32,
}

/// What a call was for.
#[derive(Debug)]
enum Question {
    Hello,
    /// Other limits hold from now on.
    Limits,
    Adopt(Box<str>),
    Follow(Box<str>),
    /// A visitor names a position that is not known here yet.
    Sync(Guest),
    Touch,
    /// How far these have come.
    Positions(Vec<Key<Client>>),
    /// By whom, and whose leases.
    Take(String, Vec<(Key<Client>, Box<str>)>),
    /// The lease of this client, who is not here, is given up.
    Release(Box<str>),
    /// A client that was lost is made again.
    Restore(Former),
    /// Nothing is done with the reply.
    Tell,
    Sweep,
    /// Messages of this channel are put back.
    Heal(Box<str>),
    /// Whether all that was lost is put back.
    Healed,
    /// It was said then that this node is there.
    Alive(Ms),
    /// This node is to be there no more.
    Leave,
    /// A call of the web application's.
    Call(Owner),
}

/// Whose poll waits for something, and with which of its visits: one connection polls again and again, and what was wanted for a
/// poll that has been answered otherwise says nothing of the next one.
#[derive(Clone, Copy, Debug)]
struct Guest {
    owner: u64,
    visit: u64,
}

/// A poll that waits for its clients to be fetched.
#[derive(Debug, Default)]
struct Visit {
    /// Of all visits this is the one of this number.
    number: u64,
    /// So many things are still to come.
    left: usize,
    failure: Option<Failure>,
    /// One of its clients is unknown, or the key is not its own: nothing is to happen to the others.
    is_bad: bool,
    /// It was asked how far Redis has come after this poll came. A position beyond that is none.
    is_in_step: bool,
    /// Clients that have departed, and are to come back when all are known.
    departed: Vec<Box<str>>,
}

/// What came of a visit.
#[derive(Debug)]
struct Arrival {
    failure: Option<Failure>,
    /// As [`Visit::is_bad`]: it is refused.
    is_bad: bool,
    /// As [`Visit::is_in_step`].
    is_in_step: bool,
}

/// Somebody for whom what was wanted has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Awake {
    /// A poll: next, [`Cluster::admit`] again.
    Visitor(Owner),
    /// A call: [`Cluster::take_answer`] has what came of it.
    Caller(Owner, Ticket),
}

/// Whether a poll can be parked.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// At once.
    Ready,
    /// Not yet. Next: [`Awake::Visitor`].
    Waits,
    /// It cannot be found out.
    Failed(Failure),
}

impl Cluster {
    /// A node of that name. `limits` are those of a hub, the same on all nodes; `seed`, which should be random, is for the epochs
    /// that it begins.
    #[must_use]
    pub fn new(link: Link, prefix: &str, node: &str, limits: &Limits, seed: u64) -> Cluster {
        let prefix = format!("{{{prefix}}}:");
        Cluster {
            link,
            names: Naming { hub: format!("{prefix}hub"), prefix, host: node.to_owned(), node: node.to_owned() },
            hub_limits: limits.clone(),
            limits: limits::write(limits),
            epoch: None,
            life: Default::default(),
            random: fastrand::Rng::with_seed(seed),
            is_greeting: false,
            ahead: 0,
            questions: Slots::new(),
            era: 0,
            adopting: HashMap::new(),
            filling: HashMap::new(),
            strangers: Strangers::new(),
            steps: Steps::default(),
            unsettled: HashMap::new(),
            visits: HashMap::new(),
            last_visit: 0,
            wanted: Wanted::new(),
            taking: HashMap::new(),
            recovery: None,
            heard_up_to: None,
            healing: None,
            recent_keys: RecentKeys::default(),
            anew: None,
            anew_steps: anew::STEPS_PER_TURN,
            lost: Lost::new(),
            held: VecDeque::new(),
            upkeep: Upkeep::new(limits),
            arrivals: HashMap::new(),
            answers: HashMap::new(),
            awake: Vec::new(),
            junk: 0,
        }
    }

    /// From now on these limits hold, here and in Redis.
    pub fn change_limits(&mut self, now: Ms, hub: &Hub, limits: &Limits) {
        self.hub_limits = limits.clone();
        self.limits = limits::write(limits);
        self.upkeep.change_limits(limits);
        if self.link.is_live() {
            self.say_limits(now, hub);
        }
    }

    /// The epoch of all positions, when it is known.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Messages and replies that were no facts, since the start.
    #[must_use]
    pub fn junk(&self) -> u64 {
        self.junk
    }

    /// Steps of what is done bit by bit, of which a turn does some: the most in one turn, since the start.
    #[must_use]
    pub fn steps_most(&self) -> usize {
        self.steps.most()
    }

    /// What came of looking for clients for whom somebody polls, since the start.
    #[must_use]
    pub fn lookups(&self) -> Lookups {
        self.strangers.lookups()
    }

    /// Whether a poll for clients of these names and keys can be parked. It names a position up to `since`; `None` is one of another
    /// epoch.
    pub fn admit<'i>(
        &mut self,
        now: Ms,
        hub: &Hub,
        owner: Owner,
        ids_and_keys: impl Iterator<Item = (&'i str, &'i [u8])>,
        since: Option<u64>,
    ) -> Admission {
        if self.anew.is_some() {
            return self.hold(owner);
        }
        let is_in_step = match self.arrivals.remove(&owner.0) {
            // Nothing is to be found out about it.
            Some(Arrival { failure: None, is_bad: true, .. }) => return Admission::Ready,
            Some(Arrival { failure: Some(failure), .. }) => return Admission::Failed(failure),
            arrival => arrival.is_some_and(|arrival| arrival.is_in_step),
        };
        self.visits.remove(&owner.0);
        self.last_visit += 1;
        let mut visit = Visit { number: self.last_visit, ..Visit::default() };
        let guest = Guest { owner: owner.0, visit: visit.number };
        for (id, key) in ids_and_keys {
            // Of a key that does not fit Redis may know more: it has changed, and nobody could say so here.
            let has_key = |client| hub.key_of(client).is_some_and(|own| own.matches(key));
            if hub.find_client(id).is_some_and(has_key) {
                self.note_if_away(now, hub, id);
            } else {
                if let Err(failure) = self.adopt_for(now, id, guest, key) {
                    return Admission::Failed(failure);
                }
                visit.left += 1;
            }
        }
        // Of another epoch it may be that Redis has begun one and nobody has said so here. That its clients have come says nothing:
        // they may have been asked for before it had heard what it has.
        if visit.left == 0 && !is_in_step && since.is_none_or(|since| since > hub.position()) {
            match self.call(now, Question::Sync(guest), "seq", &[]) {
                Ok(_) => (visit.left, visit.is_in_step) = (1, true),
                Err(failure) => return Admission::Failed(failure),
            }
        }
        if visit.left == 0 {
            return Admission::Ready;
        }
        self.visits.insert(owner.0, visit);
        Admission::Waits
    }

    /// A client is about to be subscribed to something: what it has had must be known, as what was read to its end counts for
    /// nothing.
    pub fn tell_position(&mut self, now: Ms, hub: &mut Hub, id: &str) {
        if self.anew.is_some() {
            return;
        }
        if let Some(client) = hub.find_client(id) {
            self.tell_positions(now, hub, &[client]);
        }
    }

    /// Calls a function for the web application. Next: [`Awake::Caller`].
    ///
    /// # Errors
    /// [`Failure`] if it cannot be called; then nothing has happened.
    pub fn ask(&mut self, now: Ms, owner: Owner, function: &str, arguments: &[&[u8]]) -> Result<Ticket, Failure> {
        self.call(now, Question::Call(owner), function, arguments)
    }

    /// Whether something has come of a call.
    #[must_use]
    pub fn has_answer(&self, ticket: Ticket) -> bool {
        self.answers.contains_key(&ticket)
    }

    /// What came of a call, once.
    pub fn take_answer(&mut self, ticket: Ticket) -> Option<Result<Value, Failure>> {
        self.answers.remove(&ticket)
    }

    /// A visitor has gone, or comes no more.
    pub fn forget_visitor(&mut self, owner: Owner) {
        self.visits.remove(&owner.0);
        self.arrivals.remove(&owner.0);
    }

    /// Who can go on.
    pub fn take_awake(&mut self) -> Vec<Awake> {
        std::mem::take(&mut self.awake)
    }

    /// Whether there is somebody who can.
    #[must_use]
    pub fn has_awake(&self) -> bool {
        !self.awake.is_empty()
    }

    /// The next event of the link is done with. False if there is none.
    pub fn hear_next(&mut self, now: Ms, hub: &mut Hub) -> bool {
        let Some(event) = self.link.next_event() else { return false };
        self.steps.note(1);
        match event {
            Event::Up => {
                if let Some((_, place)) = self.link.line() {
                    info!("broker: {place} is there");
                }
                self.greet(now, hub);
            }
            Event::Down(why) => {
                warn!("broker: {why}");
                self.lose_link(now, hub);
            }
            Event::Reply(ticket, result) => self.hear_reply(now, hub, ticket, result),
            Event::Push { channel, payload } => self.hear_push(now, hub, &channel, &payload),
        }
        true
    }

    /// Tells the broker what the hub has to say, and does what is due.
    pub fn turn(&mut self, now: Ms, hub: &mut Hub) {
        self.keep_alive(now, hub);
        let wishes = hub.take_wishes();
        self.steps.note(wishes.len());
        for wish in wishes {
            match wish {
                Wish::Leases(clients) => self.take_leases(now, hub, clients),
                Wish::Settled(client) => self.settled(now, hub, client),
                Wish::LeftClient { client, id, is_leased } => {
                    self.forget_unsettled(client);
                    self.wanted.forget(client);
                    if is_leased {
                        self.release_unseen(now, &id);
                    }
                    if hub.find_client(&id).is_none() && !self.adopting.contains_key(&id) {
                        self.link.unfollow(self.names.tells(&id).as_bytes());
                    }
                }
                Wish::LeftChannel(name) => {
                    // It may be followed again by now.
                    if hub.last_seq_of(&name).is_none() && !self.filling.contains_key(&*name) {
                        self.link.unfollow(self.names.says(&name).as_bytes());
                    }
                }
            }
        }
        self.give_up_wanted(now, hub);
        self.go_on_anew(now, hub);
        self.go_on_recovering(now, hub);
        self.keep_up(now, hub);
        self.steps.end_turn();
    }

    /// This node stops: what it has to itself is anybody's. True when Redis has noted that, or cannot be told in time. Next, if it is
    /// false: the link's output is sent, and it is called again.
    pub fn has_left(&mut self, now: Ms) -> bool {
        if !self.link.is_live() || self.epoch.is_none() {
            return true;
        }
        if self.upkeep.begins_to_leave(now) {
            let node = self.names.node.clone();
            return self.call(now, Question::Leave, "leave", &[node.as_bytes()]).is_err();
        }
        self.upkeep.has_left(now)
    }

    /// When [`Cluster::turn`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Ms> {
        let healing = self.healing.as_ref().map_or(Ms::MAX, Healing::next);
        let own =
            || self.upkeep.next(self.epoch.is_some()).min(healing).min(self.next_restoring()).min(self.next_asking());
        self.link.is_live().then(own)
    }

    fn call(&mut self, now: Ms, question: Question, function: &str, arguments: &[&[u8]]) -> Result<Ticket, Failure> {
        let ticket = Ticket(self.questions.insert(Asked { question, era: self.era }).pack());
        let made =
            self.link.call(now, ticket, &format!("shaveet1_{function}"), &[self.names.hub.as_bytes()], arguments);
        if let Err(failure) = made {
            self.questions.remove(Key::unpack(ticket.0));
            return Err(failure);
        }
        Ok(ticket)
    }

    /// Calls a function whose result does not matter: if it is not done now it is done by the next one.
    fn tell(&mut self, now: Ms, function: &str, arguments: &[&[u8]]) {
        let _ = self.call(now, Question::Tell, function, arguments);
    }

    fn hear_reply(&mut self, now: Ms, hub: &mut Hub, ticket: Ticket, result: Result<Value, Failure>) {
        let Some(Asked { question, era }) = self.questions.remove(Key::unpack(ticket.0)) else { return };
        let is_of_now = era == self.era;
        if !is_of_now && matches!(question, Question::Adopt(_) | Question::Follow(_) | Question::Heal(_)) {
            // All was lost meanwhile. What was asked for then is waited for no more, and may have been asked for anew.
            return;
        }
        if let Err(Failure::Refused(error)) = &result
            && error.starts_with("NOHUB")
            && is_of_now
        {
            // Somebody has wiped Redis.
            self.greet(now, hub);
        }
        match question {
            Question::Hello => self.hear_hello(now, hub, result),
            Question::Limits => self.hear_limits(now, hub, &result),
            Question::Adopt(id) => self.hear_adopted(now, hub, id, result),
            Question::Follow(name) => self.hear_filled(now, hub, name, result),
            Question::Sync(guest) => {
                let failure = match result {
                    Ok(value) => {
                        let read = |value: &Value| {
                            let mut reply = Reader::of(value)?;
                            Some((facts::epoch(reply.text()?)?, reply.number()?))
                        };
                        match read(&value) {
                            Some((epoch, seq)) if self.epoch == Some(epoch) => {
                                hub.advance(seq);
                                None
                            }
                            Some(_) => {
                                self.greet(now, hub);
                                Some(Failure::Refused("it has just lost everything".into()))
                            }
                            None => {
                                self.note_junk("seq", REPLY);
                                None
                            }
                        }
                    }
                    Err(failure) => Some(failure),
                };
                self.arrived(now, guest, failure);
            }
            Question::Touch => self.hear_touched(now, hub, result),
            Question::Positions(clients) => self.hear_positions(now, hub, &clients, result),
            Question::Restore(former) => self.hear_restored(now, former, &result),
            Question::Release(id) => self.hear_released(id, &result),
            Question::Take(node, named) => self.hear_taken(now, hub, &node, &named, result),
            Question::Tell => {
                if let Err(failure) = result {
                    info!("broker: a call failed: {failure}");
                }
            }
            Question::Sweep => self.hear_swept(now, result),
            Question::Heal(name) => self.hear_put_back(now, name, &result),
            Question::Healed => self.hear_healed(now, &result),
            Question::Leave => self.upkeep.note_left(),
            Question::Alive(said) => self.hear_alive(now, hub, said, result),
            Question::Call(owner) => {
                self.answers.insert(ticket, result);
                self.awake.push(Awake::Caller(owner, ticket));
            }
        }
    }

    fn hear_push(&mut self, now: Ms, hub: &mut Hub, channel: &[u8], payload: &[u8]) {
        let Some((kind, name)) = self.names.read(channel) else {
            return self.note_junk("", "in a channel that is none");
        };
        let Some(push) = Push::read(kind, payload, self.to_hub_clock(now)) else {
            return self.note_junk(name, "something unreadable of");
        };
        match push {
            Push::Says { epoch, before, once, message } => {
                if self.epoch == Some(epoch) && self.anew.is_some() {
                    // It is fetched when its channel is.
                } else if self.epoch == Some(epoch) {
                    self.recent_keys.note(now, name, message.seq, once);
                    self.hear_message(now, hub, name, before, &message);
                } else {
                    // Somebody has wiped Redis, or what came is junk.
                    self.note_junk(name, "a message of another epoch of");
                    self.greet(now, hub);
                }
            }
            // What has become of its client is fetched with it.
            Push::Tells(_) if self.anew.is_some() => {}
            Push::Tells(word) => self.hear_word(now, hub, name, word),
        }
    }

    /// One of the things that a visitor waits for has come, or does not come.
    fn arrived(&mut self, now: Ms, guest: Guest, failure: Option<Failure>) {
        let owner = guest.owner;
        let Some(visit) = self.visit_of(guest) else { return };
        visit.left -= 1;
        visit.failure = visit.failure.take().or(failure);
        if visit.left > 0 {
            return;
        }
        let departed = std::mem::take(&mut visit.departed);
        if !visit.is_bad && visit.failure.is_none() && !departed.is_empty() {
            visit.left = departed.len();
            return departed.into_iter().for_each(|id| self.revive_for(now, id, guest));
        }
        if let Some(Visit { failure, is_bad, is_in_step, .. }) = self.visits.remove(&owner) {
            self.arrivals.insert(owner, Arrival { failure, is_bad, is_in_step });
        }
        self.awake.push(Awake::Visitor(Owner(owner)));
    }

    /// What a poll waits for, if it still does.
    fn visit_of(&mut self, guest: Guest) -> Option<&mut Visit> {
        self.visits.get_mut(&guest.owner).filter(|visit| visit.number == guest.visit)
    }

    /// What came is not what our functions say: it is left out, and not repeated in the log, as it may hold a key or a message.
    /// Who says much of it does not fill the log: each line tells of as much again as the one before.
    fn note_junk(&mut self, from: &str, what: &str) {
        self.junk += 1;
        if self.junk.is_power_of_two() {
            warn!("broker: it says what is none of ours, {what} {from:?}; that is the {}. time", self.junk);
        }
    }

    fn note_time(&mut self, now: Ms, redis: u64) {
        self.ahead = redis.saturating_sub(now.0);
    }

    /// A position as Redis and pages have it.
    fn token(&self, position: u64) -> String {
        format!("{:016x}-{position}", self.epoch.unwrap_or(0))
    }

    /// What a time of Redis's is on the hub's clock.
    fn to_hub_clock(&self, now: Ms) -> facts::HubClock {
        facts::HubClock { now, ahead: self.ahead }
    }
}

impl Naming {
    fn says(&self, channel: &str) -> String {
        format!("{}says:{channel}", self.prefix)
    }

    fn tells(&self, client: &str) -> String {
        format!("{}tells:{client}", self.prefix)
    }

    /// Of what something is said, and of whom.
    fn read<'c>(&self, channel: &'c [u8]) -> Option<(facts::Kind, &'c str)> {
        let rest = std::str::from_utf8(channel).ok()?.strip_prefix(&*self.prefix)?;
        let (kind, name) = rest.split_once(':')?;
        match kind {
            "says" => Some((facts::Kind::Says, name)),
            "tells" => Some((facts::Kind::Tells, name)),
            _ => None,
        }
    }
}
