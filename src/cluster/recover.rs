//! What is done when the link comes up: all that is followed is followed anew, and what was missed is fetched.
//!
//! Until all of it is there nobody is answered, as a position must not pass what is still to come. It is done in slices, so
//! that a node with many clients neither floods Redis nor holds up its own loop. If Redis has lost everything meanwhile what is
//! here is let go of first (`anew.rs`).

use log::{info, warn};

use super::facts::{Reader, epoch};
use super::{Cluster, Question, REPLY};
use crate::broker::{Failure, Value};
use crate::clock::Ms;
use crate::hub::Hub;

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Channels from this place on are still to be asked for; all have been.
    channel: u32,
    channels_asked: bool,
    /// Channels that are to be asked for once more.
    again: Vec<Box<str>>,
    /// Clients from this place on are.
    cursor: u32,
    all_asked: bool,
    /// Asked for, and not here.
    outstanding: usize,
    /// Something could not be asked for, as the link is full, say: it goes on then.
    at: Option<Ms>,
}

/// How far Redis has come, as it said when this node was let in; and up to where it has everything, while it heals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Welcome {
    seq: u64,
    whole: Option<u64>,
}

/// Questions on their way at a time.
pub(super) const OUTSTANDING_MAX: usize = 500;

/// Clients looked at in one turn.
const PLACES_PER_TURN: u32 = 256;

/// When it goes on if something could not be asked for, or was refused.
const AGAIN: Ms = Ms(50);

/// What Redis says to who says hello.
struct Hello {
    epoch: u64,
    seq: u64,
    time: u64,
    life: (String, String),
    whole: Option<u64>,
}

impl Hello {
    fn read(value: &Value) -> Option<Hello> {
        let mut reply = Reader::of(value)?;
        let (epoch, seq, time) = (epoch(reply.text()?)?, reply.number()?, reply.number()?);
        let (generation, server, whole) = (reply.text()?, reply.text()?, reply.next()?.number());
        Some(Hello { epoch, seq, time, life: (server.to_owned(), generation.to_owned()), whole })
    }
}

impl Cluster {
    /// The link is up: who are we, and how far has the world come?
    pub(super) fn greet(&mut self, now: Ms, hub: &mut Hub) {
        if self.is_greeting {
            return;
        }
        hub.set_behind(true);
        let before = self.rename();
        // If it fails the link goes down, and comes up again.
        self.is_greeting = self.say_hello(now, hub, Question::Hello).is_ok();
        // Nobody need wait for the leases of before.
        self.tell(now, "alive", &[before.as_bytes(), b"1"]);
    }

    fn say_hello(&mut self, now: Ms, hub: &Hub, question: Question) -> Result<(), Failure> {
        // A position of before is none of this epoch's.
        let seq = if self.anew.is_some() { 0 } else { hub.position() };
        let arguments = [
            self.names.node.clone(),
            String::new(),
            format!("{:016x}", self.random.u64(..)),
            self.limits.clone(),
            self.known_epoch(),
            seq.to_string(),
            self.life.0.clone(),
            self.life.1.clone(),
        ];
        self.call(now, question, "hello", &arguments.each_ref().map(|argument| argument.as_bytes())).map(drop)
    }

    /// Tells Redis the limits, which have changed. Nothing else has: who has a lease keeps it, and whoever waits may be answered.
    pub(super) fn say_limits(&mut self, now: Ms, hub: &Hub) {
        if self.say_hello(now, hub, Question::Limits).is_err() {
            self.upkeep.say_limits_again(now);
        }
    }

    pub(super) fn hear_limits(&mut self, now: Ms, hub: &mut Hub, result: &Result<Value, Failure>) {
        match result {
            Ok(value) => match Hello::read(value) {
                Some(hello) if self.epoch == Some(hello.epoch) && self.life == hello.life => {}
                Some(_) => self.greet(now, hub),
                None => self.note_junk("hello", REPLY),
            },
            // They are told when it is there again.
            Err(Failure::Lost | Failure::Down(_)) => {}
            Err(failure) => {
                info!("broker: the limits cannot be told now: {failure}");
                self.upkeep.say_limits_again(now);
            }
        }
    }

    /// The epoch that is known here, as Redis writes it; empty before the first hello.
    pub(super) fn known_epoch(&self) -> String {
        self.epoch.map_or(String::new(), |epoch| format!("{epoch:016x}"))
    }

    pub(super) fn hear_hello(&mut self, now: Ms, hub: &mut Hub, result: Result<Value, Failure>) {
        self.is_greeting = false;
        let value = match result {
            Ok(value) => value,
            Err(failure) => {
                warn!("broker: this node is not let in: {failure}");
                self.upkeep.greet_again(now);
                return;
            }
        };
        let Some(Hello { epoch, seq, time, life, whole }) = Hello::read(&value) else {
            self.note_junk("hello", REPLY);
            return self.upkeep.greet_again(now);
        };
        self.note_time(now, time);
        let is_other = self.epoch.is_some_and(|known| known != epoch);
        (self.epoch, self.life) = (Some(epoch), life);
        if is_other {
            warn!(
                "broker: it has lost everything; the clients of this node are made anew there, and their pages are told"
            );
            self.begin_anew(hub);
        }
        let welcome = Welcome { seq, whole };
        match &mut self.anew {
            Some(anew) => anew.welcome = Some(welcome),
            None => self.settle_in(now, hub, welcome),
        }
    }

    /// What is here is of the epoch that there is: on from there.
    pub(super) fn settle_in(&mut self, now: Ms, hub: &mut Hub, Welcome { seq, whole }: Welcome) {
        self.begin_healing(hub, whole);
        hub.advance(seq);
        // They were those of another name.
        hub.revoke_leases();
        self.upkeep.begin(now);
        self.begin_recovery(hub);
    }

    /// The link is down: nothing of what is on its way comes.
    pub(super) fn lose_link(&mut self, now: Ms, hub: &mut Hub) {
        hub.set_behind(true);
        (self.recovery, self.is_greeting) = (None, false);
        if let Some(anew) = &mut self.anew {
            anew.welcome = None;
        }
        self.filling.clear();
        self.unsettled.clear();
        self.taking.clear();
        self.strangers.give_all_back();
        for (_, adopting) in std::mem::take(&mut self.adopting) {
            for guest in adopting.guests() {
                self.arrived(now, guest, Some(Failure::Lost));
            }
        }
    }

    pub(super) fn begin_recovery(&mut self, hub: &mut Hub) {
        hub.set_behind(true);
        // What was asked for before still comes, and is waited for as before.
        let outstanding = self.recovery.take().map_or(0, |before| before.outstanding);
        self.recovery = Some(Recovery { outstanding, ..Recovery::default() });
    }

    /// One more of what was asked for is here, or cannot be had.
    pub(super) fn recovered_one(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.outstanding = recovery.outstanding.saturating_sub(1);
        }
    }

    /// Asks for some more. When all of it is here everybody may be answered.
    pub(super) fn go_on_recovering(&mut self, now: Ms, hub: &mut Hub) {
        if self.recovery.is_some() && !self.restore_some(now) {
            // Who is asked for before is unknown.
            return;
        }
        let Some(mut recovery) = self.recovery.take() else { return };
        if recovery.at.is_some_and(|at| at > now) {
            self.recovery = Some(recovery);
            return;
        }
        recovery.at = None;
        // Channels first: so the clients find theirs.
        let mut budget = PLACES_PER_TURN;
        while recovery.outstanding < OUTSTANDING_MAX && !(recovery.channels_asked && recovery.again.is_empty()) {
            let again = recovery.again.pop();
            let next = || hub.next_followed_channel(&mut recovery.channel, &mut budget).map(Box::from);
            let Some(name) = again.or_else(next) else {
                recovery.channels_asked = budget > 0;
                break;
            };
            let Some(after) = hub.last_seq_of(&name) else { continue };
            if let Some(filling) = self.filling.get_mut(&name) {
                // It is on its way, and waited for.
                recovery.outstanding += usize::from(!std::mem::replace(&mut filling.recovers, true));
                continue;
            }
            if self.refill(now, &name, after).is_err() {
                // The link is down or full: the same again later.
                recovery.again.push(name);
                recovery.at = Some(now + AGAIN);
                self.recovery = Some(recovery);
                return;
            }
            recovery.outstanding += 1;
        }
        while recovery.channels_asked && recovery.outstanding < OUTSTANDING_MAX && !recovery.all_asked {
            let before = recovery.cursor;
            let Some(client) = hub.next_followed(&mut recovery.cursor, &mut budget) else {
                recovery.all_asked = budget > 0;
                break;
            };
            let Some(id) = hub.name_of(client).map(Box::<str>::from) else { continue };
            if let Some(adopting) = self.adopting.get_mut(&id) {
                recovery.outstanding += usize::from(!std::mem::replace(&mut adopting.recovers, true));
            } else if self.heal_client(now, hub, client, &id).is_err() || self.begin_adopting(now, &id, true).is_err() {
                // As it was: it is healed once more.
                recovery.cursor = before;
                recovery.at = Some(now + AGAIN);
                break;
            } else {
                recovery.outstanding += 1;
            }
            hub.settle(client, false);
        }
        self.steps.note((PLACES_PER_TURN - budget) as usize);
        let is_up_to_date = recovery.all_asked && recovery.outstanding == 0 && recovery.again.is_empty();
        if is_up_to_date && self.has_healed(now) {
            info!("broker: all that is followed is up to date");
            hub.set_behind(false);
            self.heard_up_to = None;
        } else {
            self.recovery = Some(recovery);
        }
    }

    /// A channel is to be fetched once more, after a while.
    pub(super) fn recover_again(&mut self, now: Ms, name: Box<str>) {
        if let Some(recovery) = &mut self.recovery {
            recovery.again.push(name);
            recovery.at = Some(now + AGAIN);
        }
    }

    /// One more answer is waited for.
    pub(super) fn recovers_one(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.outstanding += 1;
        }
    }

    /// Whether there is more to ask for at once.
    #[must_use]
    pub fn has_more(&self) -> bool {
        let asks_more = |recovery: &Recovery| {
            let is_all_asked = recovery.all_asked && recovery.again.is_empty();
            !is_all_asked && recovery.at.is_none() && recovery.outstanding < OUTSTANDING_MAX && self.lost.is_empty()
        };
        let recovers = self.recovery.as_ref().is_some_and(asks_more);
        recovers || self.anew.is_some() || !self.held.is_empty() || self.wanted.has_more()
    }

    /// When there is, if something could not be asked for.
    pub(super) fn next_asking(&self) -> Ms {
        self.recovery.as_ref().and_then(|recovery| recovery.at).unwrap_or(Ms::MAX)
    }
}
