//! What is told from time to time: that this node is there, which clients its polls are for; and that somebody has to see to
//! what is due in Redis.

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
    touch_at: Ms,
    /// The round that is under way: from where in the table it goes on, and who was seen since.
    round: Option<(u32, Ms)>,
    round_began: Ms,
    sweep_at: Ms,
    greet_at: Option<Ms>,
    /// What has failed is to be tried again.
    is_again: bool,
    fetch_again: Vec<Box<str>>,
    take_again: Vec<Vec<Key<Client>>>,
    release_again: Vec<Box<str>>,
}

/// Clients named in one call.
const CLIENTS_PER_CALL: usize = 64;

/// Clients looked at in one turn.
const PLACES_PER_TURN: u32 = 512;

/// How often a node says that it is there.
const ALIVE_EVERY: Ms = Ms::from_secs(1);

/// What is due in Redis that one call sees to.
const SWEEP_COUNT: &[u8] = b"100";

impl Upkeep {
    pub(super) fn new(limits: &Limits) -> Upkeep {
        Upkeep {
            // Often enough that nobody is collected who polls.
            touch_every: Ms((limits.max_idle.0 / 3).clamp(200, 3000)),
            sweep_every: Ms((limits.sweep_interval.0 / 4).clamp(100, 1000)),
            alive_at: Ms::ZERO,
            is_alive: false,
            is_refused: false,
            alive_until: Ms::ZERO,
            touch_at: Ms::ZERO,
            round: None,
            round_began: Ms::ZERO,
            sweep_at: Ms::ZERO,
            greet_at: None,
            is_again: false,
            fetch_again: Vec::new(),
            take_again: Vec::new(),
            release_again: Vec::new(),
        }
    }

    /// The link is up: everything at once.
    pub(super) fn begin(&mut self, now: Ms) {
        (self.alive_at, self.touch_at, self.sweep_at, self.greet_at) = (now, now, now, None);
        self.round = None;
        self.is_alive = false;
        self.release_again.clear();
    }

    /// When there is something to tell. Who is not let in has only to ask again.
    pub(super) fn next(&self, is_let_in: bool) -> Ms {
        let again = self.greet_at.unwrap_or(Ms::MAX);
        match self.round {
            _ if !is_let_in => again,
            Some(_) => Ms::ZERO,
            None => self.alive_at.min(self.touch_at).min(self.sweep_at).min(again),
        }
    }

    pub(super) fn greet_again(&mut self, now: Ms) {
        self.greet_at = Some(now + ALIVE_EVERY);
    }

    /// Whether what it takes is its own.
    pub(super) fn may_take(&self) -> bool {
        self.is_alive
    }

    /// A client could not be fetched whole.
    pub(super) fn fetch_again(&mut self, id: &str) {
        self.fetch_again.push(id.into());
    }

    /// The lease of a client could not be given up.
    pub(super) fn release_again(&mut self, id: Box<str>) {
        self.release_again.push(id);
    }

    /// The leases of these clients could not be had.
    pub(super) fn take_again(&mut self, clients: Vec<Key<Client>>) {
        self.take_again.push(clients);
    }
}

impl Cluster {
    /// Says that this node is there, before it takes any lease.
    pub(super) fn keep_alive(&mut self, now: Ms, hub: &mut Hub) {
        if now >= self.upkeep.alive_until && std::mem::take(&mut self.upkeep.is_alive) {
            // Others may have taken them; and those of whom nobody has heard in time are not to stand when it is heard again.
            hub.revoke_leases(now);
            self.rename();
        }
        if self.epoch.is_some() && self.upkeep.alive_at <= now {
            self.upkeep.alive_at = now + ALIVE_EVERY;
            self.say_alive(now);
            self.upkeep.is_again = true;
        }
    }

    /// Tells what is due.
    pub(super) fn keep_up(&mut self, now: Ms, hub: &mut Hub) {
        if self.upkeep.greet_at.is_some_and(|at| at <= now) {
            self.upkeep.greet_at = None;
            self.greet(now, hub);
        }
        if self.epoch.is_none() {
            return;
        }
        if std::mem::take(&mut self.upkeep.is_again) {
            for id in std::mem::take(&mut self.upkeep.fetch_again) {
                let is_wanted = hub.find_client(&id).is_some() && !self.adopting.contains_key(&id);
                if is_wanted && self.begin_adopting(now, &id, false).is_err() {
                    self.upkeep.fetch_again(&id);
                }
            }
            for id in std::mem::take(&mut self.upkeep.release_again) {
                if !hub.find_client(&id).is_some_and(|client| hub.has_lease(client)) {
                    self.release_unseen(now, &id);
                }
            }
            for client in std::mem::take(&mut self.upkeep.take_again).into_iter().flatten() {
                if !hub.has_lease(client) {
                    hub.lease(now, client, false, 0);
                }
            }
        }
        if self.upkeep.touch_at <= now {
            self.upkeep.touch_at = now + self.upkeep.touch_every;
            if self.upkeep.round.is_none() {
                self.upkeep.round = Some((0, self.upkeep.round_began));
                self.upkeep.round_began = now;
            }
        }
        self.touch_some(now, hub);
        if self.upkeep.sweep_at <= now {
            self.upkeep.sweep_at = now + self.upkeep.sweep_every;
            let _ = self.call(now, Question::Sweep, "sweep", &[SWEEP_COUNT]);
        }
    }

    /// Whether Redis refuses what changes anything: it is full, say.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.upkeep.is_refused
    }

    /// Nobody knows what has happened meanwhile: the leases are no good.
    pub fn revoke(&mut self, now: Ms, hub: &mut Hub) {
        self.upkeep.is_alive = false;
        hub.revoke_leases(now);
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
        self.upkeep.is_again |= !std::mem::replace(&mut self.upkeep.is_alive, true);
        if value.text().and_then(epoch) != self.epoch {
            self.greet(now, hub);
        }
    }

    fn touch_some(&mut self, now: Ms, hub: &Hub) {
        let Some((mut cursor, since)) = self.upkeep.round else { return };
        let mut budget = PLACES_PER_TURN;
        let mut arguments: Vec<Vec<u8>> = Vec::new();
        loop {
            let needed = hub.next_needed(since, &mut cursor, &mut budget);
            if let Some((id, position, resumes)) = needed {
                let resumes = if resumes { b"1" } else { b"0" };
                arguments.extend([id.as_bytes().to_vec(), self.token(position).into_bytes(), resumes.to_vec()]);
            }
            if arguments.len() >= 3 * CLIENTS_PER_CALL || needed.is_none() && !arguments.is_empty() {
                let borrowed: Vec<&[u8]> = arguments.iter().map(|argument| &**argument).collect();
                let _ = self.call(now, Question::Touch, "touch", &borrowed);
                arguments.clear();
            }
            if needed.is_none() {
                break;
            }
        }
        self.upkeep.round = (budget == 0).then_some((cursor, since));
    }

    /// Tells at once that a client is here, and how far it has come.
    pub(super) fn touch(&mut self, now: Ms, hub: &Hub, id: &str) {
        let Some(client) = hub.find_client(id) else { return };
        let (position, resumes) = (self.token(hub.acknowledged(client)), hub.resumes(client));
        let arguments: [&[u8]; 3] = [id.as_bytes(), position.as_bytes(), if resumes { b"1" } else { b"0" }];
        let _ = self.call(now, Question::Touch, "touch", &arguments);
    }

    /// Who has been away for so long may not count as present there.
    pub(super) fn touch_if_away(&mut self, now: Ms, hub: &Hub, id: &str) {
        let is_away = |client| !hub.is_polled(client) && hub.last_seen(client) + self.upkeep.touch_every < now;
        if hub.find_client(id).is_some_and(is_away) {
            self.touch(now, hub, id);
        }
    }

    /// Who is unknown there has gone.
    pub(super) fn hear_touched(&mut self, now: Ms, hub: &mut Hub, result: Result<Value, Failure>) {
        let Ok(value) = result else { return };
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
