//! How often a client may poll for nothing.
//!
//! A page comes again as soon as it is answered, and a crowd of messages makes it come many times a second: that is what it is
//! for. A page in a hot loop is another thing: it asks for what it has had already, or breaks off and asks anew. So only such
//! polls are counted. Of those a client has so many a second and two seconds' worth in a row; whoever is beyond that is sent
//! away for a while, or waits for its answer.
//!
//! Only clients that were counted lately are remembered, in two tables that take turns: nothing has to be looked for. A table
//! that is full has its turn at once, as when a crowd leaves: no step of it takes long, and nobody's past is worth more memory.

use std::collections::HashMap;

use crate::clock::Ms;
use crate::hub::Client;
use crate::slots::Key;

/// What each client has spent.
#[derive(Debug)]
pub(super) struct Pace {
    /// What one poll costs, in microseconds.
    cost_us: u64,
    /// By client, the time in microseconds until which it has spent its share.
    spent: HashMap<Key<Client>, u64>,
    /// Who is not in `spent` may be here; it becomes `spent` next time, and what was there is forgotten.
    spent_before: HashMap<Key<Client>, u64>,
    turns_at: Ms,
}

/// Whether a client may poll now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may.
    Now,
    /// It is early, and should be told to come after this time, which counts as a poll.
    Early(Ms),
    /// It has been told so and comes all the same: nothing is said to it before then.
    Later(Ms),
}

/// How far ahead of its share a client may be: the worth of that time in polls, in a row.
const AHEAD: Ms = Ms::from_secs(2);

/// Nobody gets farther ahead than this.
const AHEAD_MAX: Ms = Ms::from_secs(6);

/// As nobody is ahead for longer, whoever was not counted for so long owes nothing.
const REMEMBERED: Ms = AHEAD_MAX;

/// Clients in one table: to grow to so many takes some 100 us.
const REMEMBERED_MAX: usize = 4096;

impl Pace {
    /// With so many polls a second for each client.
    pub(super) fn new(rate: u32) -> Pace {
        Pace { cost_us: cost_us(rate), spent: HashMap::new(), spent_before: HashMap::new(), turns_at: Ms::ZERO }
    }

    /// From now on a client has so many polls a second. What it has spent stays spent.
    pub(super) fn set_rate(&mut self, rate: u32) {
        self.cost_us = cost_us(rate);
    }

    /// A poll of this client came to nothing new.
    pub(super) fn count(&mut self, now: Ms, client: Key<Client>) {
        if now >= self.turns_at || self.spent.len() >= REMEMBERED_MAX {
            self.spent_before = std::mem::take(&mut self.spent);
            self.turns_at = now + REMEMBERED;
        }
        let spent = self.spent_by(client).max(us(now)) + self.cost_us;
        self.spent.insert(client, spent.min(us(now + AHEAD_MAX)));
    }

    /// Gives the tables back when nobody owes anything any more.
    pub(super) fn forget(&mut self, now: Ms) {
        if now >= self.turns_at + REMEMBERED && self.spent.capacity() + self.spent_before.capacity() > 0 {
            (self.spent, self.spent_before) = (HashMap::new(), HashMap::new());
        }
    }

    /// Whether it may poll.
    pub(super) fn turn(&self, now: Ms, client: Key<Client>) -> Turn {
        // Mostly nobody owes anything.
        if self.spent.is_empty() && self.spent_before.is_empty() {
            return Turn::Now;
        }
        let early = Ms(self.spent_by(client).saturating_sub(us(now + AHEAD)).div_ceil(1000));
        match early {
            Ms::ZERO => Turn::Now,
            early if early <= AHEAD => Turn::Early(early + Ms(self.cost_us.div_ceil(1000))),
            early => Turn::Later(now + early),
        }
    }

    fn spent_by(&self, client: Key<Client>) -> u64 {
        self.spent.get(&client).or_else(|| self.spent_before.get(&client)).copied().unwrap_or(0)
    }
}

fn cost_us(rate: u32) -> u64 {
    1_000_000 / u64::from(rate.max(1))
}

fn us(time: Ms) -> u64 {
    time.0.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Key<Client> {
        Key::unpack(1)
    }

    /// With 100 polls a second, so many times in a row.
    fn counted(times: u64) -> Pace {
        let mut pace = Pace::new(100);
        (0..times).for_each(|_| pace.count(Ms(1000), client()));
        pace
    }

    #[test]
    fn two_seconds_worth_come_in_a_row_then_it_is_early_then_it_has_to_wait() {
        let turn = |times, now| counted(times).turn(Ms(now), client());
        assert_eq!(turn(0, 1000), Turn::Now);
        assert_eq!(turn(200, 1000), Turn::Now);
        assert_eq!(turn(201, 1000), Turn::Early(Ms(20)));
        assert_eq!(turn(400, 1000), Turn::Early(Ms(2010)));
        assert_eq!(turn(401, 1000), Turn::Later(Ms(3010)));
        assert_eq!(turn(401, 3010), Turn::Now);
        assert_eq!(turn(100_000, 1000), Turn::Later(Ms(5000)), "nobody has to wait for long");
        assert_eq!(counted(1000).turn(Ms(1000), Key::unpack(2)), Turn::Now, "another one");
    }

    #[test]
    fn who_comes_when_it_was_told_is_served() {
        let mut pace = counted(300);
        let Turn::Early(wait) = pace.turn(Ms(1000), client()) else { panic!("it is early") };
        pace.count(Ms(1000), client());
        assert_eq!(pace.turn(Ms(1000) + wait, client()), Turn::Now);
    }

    #[test]
    fn the_rate_is_kept_and_whoever_pauses_is_forgotten() {
        let mut pace = Pace::new(100);
        let mut served = 0;
        for now in 0..20_000 {
            if pace.turn(Ms(now), client()) == Turn::Now {
                pace.count(Ms(now), client());
                served += 1;
            }
        }
        assert!((2200..=2201).contains(&served), "{served} in 20 s");
        for other in 2..1000 {
            pace.count(Ms(20_000), Key::unpack(other));
        }
        pace.count(Ms(30_000), client());
        pace.count(Ms(40_000), client());
        assert_eq!((pace.spent.len(), pace.spent_before.len()), (1, 1));
        // A crowd.
        for other in 0..10 * REMEMBERED_MAX as u64 {
            pace.count(Ms(40_000), Key::unpack(other));
        }
        assert!(pace.spent.len() <= REMEMBERED_MAX && pace.spent_before.len() <= REMEMBERED_MAX);
    }

    #[test]
    fn a_crowd_that_has_gone_leaves_no_room_behind() {
        let mut pace = counted(401);
        (2..1000).for_each(|other| pace.count(Ms(1000), Key::unpack(other)));
        for now in [1000, 6999, 7000, 12_999] {
            let turn = pace.turn(Ms(now), client());
            pace.forget(Ms(now));
            assert_eq!(pace.turn(Ms(now), client()), turn, "it owes what it owed");
        }
        assert!(pace.spent.capacity() >= 1000);
        pace.forget(Ms(13_000));
        assert_eq!(pace.spent.capacity() + pace.spent_before.capacity(), 0);
    }
}
