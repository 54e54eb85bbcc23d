//! What is told from time to time: that this node is there, which clients its polls are for; and that somebody has to see to
//! what is due in Redis.

use std::collections::BTreeMap;

use super::again::{Again, Failed};
use super::facts::{Reader, epoch};
use super::lease::NODE_TTL;
use super::{Cluster, Question, REPLY};
use crate::broker::{Failure, Value};
use crate::clock::Ms;
use crate::hub::{Client, Hub, Limits};
use crate::slots::Key;

/// When what is to be told next.
#[derive(Debug)]
pub(super) struct Upkeep {
    touch_every: Ms,
    sweep_every: Ms,
    alive_at: Ms,
    /// Whether this node's leases are good, and until when.
    is_alive: bool,
    /// Redis refused to note that this node is there.
    is_refused: bool,
    alive_until: Ms,
    round: Round,
    /// Clients whose pages have come here: it is told at once.
    comers: Vec<Key<Client>>,
    sweep_at: Ms,
    greet_at: Option<Ms>,
    /// The limits could not be told.
    limits_at: Option<Ms>,
    /// It leaves: until then at the latest.
    leave_by: Option<Ms>,
    again: Again,
}

/// A walk through the table of clients, spread over [`Upkeep::touch_every`], that tells of each that it is still needed.
#[derive(Debug)]
struct Round {
    began: Ms,
    /// When the one before began: who was seen since then is told of.
    before: Ms,
    /// From where in the table it goes on, and when.
    cursor: u32,
    at: Ms,
}

/// Clients named in one call.
const CLIENTS_PER_CALL: usize = 64;

/// Clients looked at in one turn.
const PLACES_PER_TURN: u32 = 256;

/// How often a round goes on, at the least and at the most: when some call's worth of clients is due.
const PACE_MIN: Ms = Ms(20);
const PACE_MAX: Ms = Ms::from_secs(1);

/// How often a node says that it is there.
const ALIVE_EVERY: Ms = Ms::from_secs(1);

/// How long a node that stops waits for Redis to note it. If it does not, the leases are good for [`NODE_TTL`].
const LEAVE: Ms = Ms(500);

/// What is due in Redis that one call sees to.
const SWEEP_COUNT: &[u8] = b"100";

impl Upkeep {
    pub(super) fn new(limits: &Limits) -> Upkeep {
        let [touch_every, sweep_every] = Upkeep::intervals(limits);
        Upkeep {
            touch_every,
            sweep_every,
            alive_at: Ms::ZERO,
            is_alive: false,
            is_refused: false,
            alive_until: Ms::ZERO,
            round: Round { began: Ms::ZERO, before: Ms::ZERO, cursor: 0, at: Ms::ZERO },
            comers: Vec::new(),
            sweep_at: Ms::ZERO,
            greet_at: None,
            limits_at: None,
            leave_by: None,
            again: Again::new(),
        }
    }

    pub(super) fn change_limits(&mut self, limits: &Limits) {
        [self.touch_every, self.sweep_every] = Upkeep::intervals(limits);
    }

    /// How often it is told that a client is needed, and somebody sees to what is due. A third of `--max-idle` is often enough that
    /// nobody is collected who polls, even if a call or two are lost.
    fn intervals(limits: &Limits) -> [Ms; 2] {
        [Ms((limits.max_idle.0 / 3).max(200)), Ms((limits.sweep_interval.0 / 4).clamp(100, 1000))]
    }

    /// The link is up: everything at once.
    pub(super) fn begin(&mut self, now: Ms) {
        (self.alive_at, self.sweep_at, self.greet_at) = (now, now, None);
        // Whatever was told before may be lost.
        self.round = Round { began: now, before: Ms::ZERO, cursor: 0, at: now };
        self.is_alive = false;
    }

    /// When there is something to tell. Who is not let in has only to ask again.
    pub(super) fn next(&self, is_let_in: bool) -> Ms {
        let again = self.greet_at.unwrap_or(Ms::MAX).min(self.limits_at.unwrap_or(Ms::MAX));
        if let Some(leave_by) = self.leave_by {
            leave_by
        } else if !is_let_in {
            again
        } else if !self.comers.is_empty() || self.again.is_due() {
            Ms::ZERO
        } else {
            self.alive_at.min(self.round.at).min(self.sweep_at).min(again)
        }
    }

    /// It is there no more, as soon as Redis knows. True the first time.
    pub(super) fn begins_to_leave(&mut self, now: Ms) -> bool {
        let begins = self.leave_by.is_none();
        if begins {
            self.leave_by = Some(now + LEAVE);
        }
        begins
    }

    pub(super) fn note_left(&mut self) {
        self.leave_by = Some(Ms::ZERO);
    }

    pub(super) fn has_left(&self, now: Ms) -> bool {
        self.leave_by.is_some_and(|by| by <= now)
    }

    pub(super) fn greet_again(&mut self, now: Ms) {
        self.greet_at = Some(now + ALIVE_EVERY);
    }

    pub(super) fn say_limits_again(&mut self, now: Ms) {
        self.limits_at = Some(now + ALIVE_EVERY);
    }

    /// Whether what it takes is its own.
    pub(super) fn may_take(&self) -> bool {
        self.is_alive
    }

    /// A client could not be fetched whole.
    pub(super) fn fetch_again(&mut self, id: &str) {
        self.again.note(Failed::Fetch(id.into()));
    }

    /// A client's page has come here.
    pub(super) fn note_comer(&mut self, client: Key<Client>) {
        self.comers.push(client);
    }

    /// The lease of a client could not be given up.
    pub(super) fn release_again(&mut self, id: Box<str>) {
        self.again.note(Failed::Release(id));
    }

    /// The leases of these clients could not be had.
    pub(super) fn take_again(&mut self, clients: Vec<Key<Client>>) {
        clients.into_iter().for_each(|client| self.again.note(Failed::Take(client)));
    }
}

impl Cluster {
    /// Says that this node is there, before it takes any lease.
    pub(super) fn keep_alive(&mut self, now: Ms, hub: &mut Hub) {
        if now >= self.upkeep.alive_until && std::mem::take(&mut self.upkeep.is_alive) {
            // Others may have taken them; and those of whom nobody has heard in time are not to stand when it is heard again.
            hub.revoke_leases();
            self.rename();
        }
        if self.epoch.is_some() && self.upkeep.alive_at <= now && self.upkeep.leave_by.is_none() {
            self.upkeep.alive_at = now + ALIVE_EVERY;
            self.say_alive(now);
            self.upkeep.again.begin_round();
        }
    }

    /// Tells what is due.
    pub(super) fn keep_up(&mut self, now: Ms, hub: &mut Hub) {
        if self.upkeep.greet_at.is_some_and(|at| at <= now) {
            self.upkeep.greet_at = None;
            self.greet(now, hub);
        }
        if self.upkeep.limits_at.is_some_and(|at| at <= now) {
            self.upkeep.limits_at = None;
            self.say_limits(now, hub);
        }
        if self.epoch.is_none() || self.upkeep.leave_by.is_some() || self.anew.is_some() {
            return;
        }
        self.try_again(now, hub);
        let comers = std::mem::take(&mut self.upkeep.comers);
        self.steps.note(comers.len());
        self.touch(now, hub, &comers);
        if self.upkeep.round.at <= now {
            self.go_round(now, hub);
        }
        if self.upkeep.sweep_at <= now {
            self.upkeep.sweep_at = now + self.upkeep.sweep_every;
            let _ = self.call(now, Question::Sweep, "sweep", &[SWEEP_COUNT]);
        }
    }

    /// Tries some of what has failed.
    fn try_again(&mut self, now: Ms, hub: &mut Hub) {
        let some = self.upkeep.again.take_some();
        self.steps.note(some.len());
        for failed in some {
            match failed {
                Failed::Fetch(id) => {
                    let is_wanted = hub.find_client(&id).is_some() && !self.adopting.contains_key(&id);
                    if is_wanted && self.begin_adopting(now, &id, false).is_err() {
                        self.upkeep.fetch_again(&id);
                    }
                }
                Failed::Take(client) if !hub.has_lease(client) => hub.lease(now, client, false, 0),
                Failed::Take(_) => {}
                Failed::Release(id) => self.release_unused(now, hub, &id),
            }
        }
    }

    /// Whether Redis refuses what changes anything: it is full, say.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.upkeep.is_refused
    }

    /// Nobody knows what has happened meanwhile: the leases are no good.
    pub fn revoke(&mut self, hub: &mut Hub) {
        self.upkeep.is_alive = false;
        hub.revoke_leases();
    }

    fn say_alive(&mut self, now: Ms) {
        let (node, ttl) = (self.names.node.clone(), NODE_TTL.0.to_string());
        let _ = self.call(now, Question::Alive(now), "alive", &[node.as_bytes(), ttl.as_bytes()]);
    }

    /// It was believed from then on, at the earliest; a little is taken off, as clocks do not run alike.
    pub(super) fn hear_alive(&mut self, now: Ms, hub: &mut Hub, said: Ms, result: Result<Value, Failure>) {
        self.upkeep.is_refused = matches!(result, Err(Failure::Refused(_)));
        let Ok(value) = result else { return };
        self.upkeep.alive_until = said + NODE_TTL - Ms(500);
        // Leases can be taken from now on.
        if !std::mem::replace(&mut self.upkeep.is_alive, true) {
            self.upkeep.again.begin_round();
        }
        if value.text().and_then(epoch) != self.epoch {
            self.greet(now, hub);
        }
    }

    /// Tells of those whose turn it is. If it cannot be told it is tried again.
    fn go_round(&mut self, now: Ms, hub: &mut Hub) {
        let (places, every) = (hub.client_places(), self.upkeep.touch_every);
        let Round { began, before, cursor, .. } = self.upkeep.round;
        let due = u64::from(places) * (now - began).min(every).0 / every.0;
        let due = u32::try_from(due).expect("it is a part of the places");
        let (mut budget, mut reached) = (due.saturating_sub(cursor).min(PLACES_PER_TURN), cursor);
        self.steps.note(budget as usize);
        let needed = std::iter::from_fn(|| hub.next_needed(before, &mut reached, &mut budget)).collect::<Vec<_>>();
        let pace =
            Ms(every.0 * CLIENTS_PER_CALL as u64 / u64::from(places.max(1))).clamp(PACE_MIN, PACE_MAX).min(every);
        if !self.touch(now, hub, &needed) {
            self.upkeep.round.at = now + pace;
        } else if reached < due {
            (self.upkeep.round.cursor, self.upkeep.round.at) = (reached, now);
        } else if now < began + every {
            (self.upkeep.round.cursor, self.upkeep.round.at) = (reached, now + pace);
        } else {
            self.upkeep.round = Round { began: now, before: began, cursor: 0, at: now + pace };
        }
    }

    /// Tells that these clients are needed: of those whose pages wait, or have just come, until it is told again; of others when they
    /// were seen. And how far they have come, if that is news. False if it cannot be told.
    fn touch(&mut self, now: Ms, hub: &mut Hub, clients: &[Key<Client>]) -> bool {
        // Mostly all are of one kind.
        let mut by_span: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for &client in clients {
            let Some(id) = hub.name_of(client) else { continue };
            let away = now - hub.last_seen(client);
            let waits = hub.is_polled(client) || away == Ms::ZERO;
            let span = if waits { self.upkeep.touch_every + PACE_MAX } else { away };
            let span = i64::try_from(span.0).unwrap_or(i64::MAX);
            by_span.entry(if waits { span } else { -span }).or_default().push(id);
        }
        let epoch = self.known_epoch();
        for (span, ids) in by_span {
            let span = span.to_string();
            for ids in ids.chunks(CLIENTS_PER_CALL) {
                let arguments = [&*epoch, &*span].into_iter().chain(ids.iter().copied());
                let arguments: Vec<&[u8]> = arguments.map(str::as_bytes).collect();
                if self.call(now, Question::Touch, "touch", &arguments).is_err() {
                    return false;
                }
            }
        }
        self.tell_positions(now, hub, clients)
    }

    /// Tells how far these clients have come, and whether they resume, if it has not been told. False if it cannot be told.
    pub(super) fn tell_positions(&mut self, now: Ms, hub: &mut Hub, clients: &[Key<Client>]) -> bool {
        let untold: Vec<Key<Client>> = clients.iter().copied().filter(|&client| hub.is_untold(client)).collect();
        for some in untold.chunks(CLIENTS_PER_CALL) {
            let mut arguments: Vec<Vec<u8>> = Vec::with_capacity(1 + 3 * some.len());
            arguments.push(self.known_epoch().into_bytes());
            for &client in some {
                let id = hub.name_of(client).expect("it is untold, so it is here");
                let resumes = if hub.resumes(client) { b"1" } else { b"0" };
                let position = self.token(hub.acknowledged(client)).into_bytes();
                arguments.extend([id.as_bytes().to_vec(), position, resumes.to_vec()]);
            }
            let borrowed: Vec<&[u8]> = arguments.iter().map(|argument| &**argument).collect();
            if self.call(now, Question::Positions(some.to_vec()), "acknowledge_each", &borrowed).is_err() {
                return false;
            }
            some.iter().for_each(|&client| hub.note_told(client, true));
        }
        true
    }

    pub(super) fn hear_positions(
        &mut self,
        now: Ms,
        hub: &mut Hub,
        clients: &[Key<Client>],
        result: Result<Value, Failure>,
    ) {
        if result.is_err() {
            // Nobody knows whether it was done.
            clients.iter().for_each(|&client| hub.note_told(client, false));
        }
        self.hear_touched(now, hub, result);
    }

    /// Who has been away for so long may not count as present there.
    pub(super) fn note_if_away(&mut self, now: Ms, hub: &Hub, id: &str) {
        let is_away =
            |client: &Key<Client>| !hub.is_polled(*client) && hub.last_seen(*client) + self.upkeep.touch_every < now;
        if let Some(client) = hub.find_client(id).filter(is_away) {
            self.upkeep.note_comer(client);
        }
    }

    /// Who is unknown there has gone.
    pub(super) fn hear_touched(&mut self, now: Ms, hub: &mut Hub, result: Result<Value, Failure>) {
        let Ok(value) = result else { return };
        if self.anew.is_some() {
            // They are made again.
            return;
        }
        let Some(mut unknown) = Reader::of(&value) else { return self.note_junk("touch", REPLY) };
        while let Some(id) = unknown.next() {
            match id.text() {
                Some(id) => {
                    if let Some(client) = hub.find_client(id) {
                        self.client_departed(now, hub, client, id);
                    }
                }
                None => self.note_junk("touch", REPLY),
            }
        }
    }

    pub(super) fn hear_swept(&mut self, now: Ms, result: Result<Value, Failure>) {
        let Ok(value) = result else { return };
        let looks = Reader::of(&value).and_then(|mut reply| reply.number());
        if looks.is_some_and(|looks| looks.to_string().as_bytes() == SWEEP_COUNT) {
            // There is more.
            self.upkeep.sweep_at = now;
        }
    }
}
