//! Coming to an end: SIGINT, SIGTERM. Nobody new comes in, whoever waits is answered, and when everybody has what they get it is
//! over. A second signal ends it at once.
//!
//! Pages that are answered come back, to the next server or to another. So a crowd is answered spread over the time of
//! `--drain`, and told to come back after a time of its own each; a few are answered at once.

use log::info;

use crate::clock::Ms;

use super::Server;
use super::supervisor::Supervisor;

/// Polls that are ended, or peers that are looked at, in one turn, at some 50 ns each.
const LOOKS_PER_TURN: u32 = 2048;

/// Polls that are ended within a millisecond at least: as many as nobody notices who comes back.
const PACE_LEAST: u64 = 1;

/// What the last answers are given to leave.
const LEAVE: Ms = Ms(800);

/// How far a server has come with stopping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    began: Ms,
    /// By then the last answers must have left.
    deadline: Ms,
    /// Polls that are ended within a millisecond.
    pace: u64,
    /// How many have been.
    ended: u64,
    /// The parked polls before this place are ended, those behind it are still to be; `None` when all are.
    polls: Option<u32>,
    /// When the next are to be.
    next: Ms,
    /// The peers before this place have got all that they get.
    peers: u32,
    /// More of them can be looked at at once.
    is_looking: bool,
}

impl Stop {
    fn begin(now: Ms, drain: Ms, parked: usize) -> Stop {
        let pace = (parked as u64).div_ceil(drain.0.max(1)).max(PACE_LEAST);
        let pace = if drain == Ms::ZERO { u64::MAX } else { pace };
        let deadline = now + drain + LEAVE;
        Stop { began: now, deadline, pace, ended: 0, polls: Some(0), next: now, peers: 0, is_looking: false }
    }

    /// How many polls may be ended by now, those that are included.
    fn allowed(&self, now: Ms) -> u64 {
        (now - self.began).0.saturating_add(1).saturating_mul(self.pace)
    }

    /// When there is something to do, if nothing happens.
    pub(super) fn wakes_at(&self) -> Ms {
        if self.polls.is_some() { self.next.min(self.deadline) } else { self.deadline }
    }
}

impl Server {
    /// Begins to stop, or ends it at once.
    pub(super) fn stop(&mut self) {
        if let Some(stop) = &mut self.stopping {
            info!("stopping at once");
            stop.deadline = self.now;
            return;
        }
        Supervisor::stops();
        let parked = self.api.hub.stats().waiters;
        info!("stopping: {} connections, {parked} parked polls", self.peers.len());
        self.listeners.clear();
        self.door.shut();
        if self.upgrade.is_some() {
            self.give_up_upgrade("the server stops");
        }
        self.stopping = Some(Stop::begin(self.now, self.config.drain, parked));
    }

    /// Answers some more of the parked polls. Those that come now are ended as they come.
    pub(super) fn end_polls(&mut self) {
        let Some(stop) = &mut self.stopping else { return };
        let Some(mut place) = stop.polls else { return };
        let (mut looks, may) = (LOOKS_PER_TURN, stop.allowed(self.now).saturating_sub(stop.ended));
        let mut left = may;
        let are_all = self.api.hub.end_waiting_from(&mut place, &mut looks, &mut left);
        stop.polls = (!are_all).then_some(place);
        stop.ended += may - left;
        // Those that may be ended in this millisecond are; the looks may be used up before.
        stop.next = if left == 0 { self.now + Ms(1) } else { self.now };
    }

    /// Whether more can be done about stopping at once.
    pub(super) fn is_stopping_on(&self) -> bool {
        self.stopping.is_some_and(|stop| stop.is_looking || stop.polls.is_some() && stop.next <= self.now)
    }

    /// Whether everybody has got all that they get, or the time for it is over. Looks at some more of the peers.
    pub(super) fn is_done(&mut self) -> bool {
        let Some(stop) = &mut self.stopping else { return false };
        if self.now >= stop.deadline {
            return true;
        }
        let is_idle = self.lines.are_empty() && self.jobs.is_empty();
        if stop.polls.is_some() || self.api.hub.has_answers() || !is_idle {
            return false;
        }
        let mut budget = LOOKS_PER_TURN;
        let mut place = stop.peers;
        stop.is_looking = false;
        while let Some((_, peer)) = self.peers.next_from(&mut place, &mut budget) {
            if !peer.has_taken_all() || peer.waiter().is_some() || peer.is_working() {
                return false;
            }
            stop.peers = place;
        }
        stop.is_looking = budget == 0;
        budget > 0 && self.has_left_broker()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_spread_over_the_time_and_a_few_are_not() {
        let ended_by = |drain, parked| {
            let stop = Stop::begin(Ms(10_000), drain, parked);
            (0..=60_000).find(|&ms| stop.allowed(Ms(10_000 + ms)) >= parked as u64)
        };
        assert_eq!(ended_by(Ms::from_secs(5), 10), Some(9));
        assert_eq!(ended_by(Ms::from_secs(5), 5_000), Some(4_999));
        assert_eq!(ended_by(Ms::from_secs(5), 1_000_000), Some(4_999));
        assert_eq!(ended_by(Ms::from_secs(60), 1_000_000), Some(58_823));
        assert_eq!(ended_by(Ms::ZERO, 1_000_000), Some(0));
    }
}
