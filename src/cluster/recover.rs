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

impl Cluster {
    /// The link is up: who are we, and how far has the world come?
    pub(super) fn greet(&mut self, now: Ms, hub: &mut Hub) {
        if self.is_greeting {
            return;
        }
        hub.set_behind(true);
        let before = self.rename();
        let names = self.names.clone();
        let known = self.known_epoch();
        // A position of before is none of this epoch's.
        let seq = if self.anew.is_some() { 0 } else { hub.position() };
        let (candidate, seq) = (format!("{:016x}", self.random.u64(..)), seq.to_string());
        let arguments: [&[u8]; 8] = [
            names.node.as_bytes(),
            b"",
            candidate.as_bytes(),
            self.limits.as_bytes(),
            known.as_bytes(),
            seq.as_bytes(),
            self.life.0.as_bytes(),
            self.life.1.as_bytes(),
        ];
        let arguments = arguments.map(<[u8]>::to_vec);
        let arguments: Vec<&[u8]> = arguments.iter().map(|argument| &**argument).collect();
        // If it fails the link goes down, and comes up again.
        self.is_greeting = self.call(now, Question::Hello, "hello", &arguments).is_ok();
        // Nobody need wait for the leases of before.
        self.tell(now, "alive", &[before.as_bytes(), b"1"]);
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
        let read = |value: &Value| {
            let mut reply = Reader::of(value)?;
            let (epoch, seq, time) = (epoch(reply.text()?)?, reply.number()?, reply.number()?);
            let (generation, server, whole) = (reply.text()?, reply.text()?, reply.next()?.number());
            Some((epoch, seq, time, (server.to_owned(), generation.to_owned()), whole))
        };
        let Some((epoch, seq, time, life, whole)) = read(&value) else {
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

    /// A channel is to be fetched once more.
    pub(super) fn recover_again(&mut self, name: Box<str>) {
        if let Some(recovery) = &mut self.recovery {
            recovery.again.push(name);
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
        let asks_more =
            |recovery: &Recovery| !recovery.all_asked && recovery.outstanding < OUTSTANDING_MAX && self.lost.is_empty();
        self.anew.is_some() || !self.held.is_empty() || self.recovery.as_ref().is_some_and(asks_more)
    }
}
