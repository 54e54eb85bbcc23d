//! How often this node asks Redis for clients that nobody has.
//!
//! A poll for a client that is not here costs a call, as it may be on another node. Whoever polls with names that were made up
//! could have Redis do nothing else. So a look-up takes from a stock, and gives it back when the client is found and a key fits;
//! what was asked in vain comes back with time. Where nothing is left the page is asked to come again: nobody is told that it is
//! unknown without having been looked for.

use log::warn;

use crate::clock::{Ms, Seldom};

/// What may still be asked, and what came of it.
#[derive(Debug)]
pub(super) struct Strangers {
    left: u64,
    /// Until when what comes back with time has come back.
    at: Ms,
    lookups: Lookups,
    /// Whether the log may say that polls are put off, and how many it has not said.
    aloud: Seldom,
    unsaid: u64,
}

/// What came of looking for clients for whom somebody polls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// It was somebody's whose key fits, or nobody can say.
    pub done: u64,
    /// Nobody has it, or no key fits.
    pub in_vain: u64,
    /// It was not asked for, as there were too many in vain.
    pub put_off: u64,
}

/// Look-ups on their way at a time, and those in vain in a burst: what one core of Redis does in some 50 ms.
const STOCK: u64 = 2000;

/// One in vain comes back in so many milliseconds: 500 in a second are some 1 % of Redis's core.
const COMES_BACK: u64 = 2;

impl Strangers {
    pub(super) fn new() -> Strangers {
        Strangers { left: STOCK, at: Ms::ZERO, lookups: Lookups::default(), aloud: Seldom::default(), unsaid: 0 }
    }

    /// One more is to be looked for. False if there are too many.
    pub(super) fn take(&mut self, now: Ms) -> bool {
        let back = (now - self.at).0 / COMES_BACK;
        self.at += Ms(back * COMES_BACK);
        self.left = (self.left + back).min(STOCK);
        let may = self.left > 0;
        self.left -= u64::from(may);
        if !may {
            self.lookups.put_off += 1;
            self.unsaid += 1;
            self.complain(now);
        }
        may
    }

    /// What came of one: whether it was in vain.
    pub(super) fn note(&mut self, is_in_vain: bool) {
        if is_in_vain {
            self.lookups.in_vain += 1;
        } else {
            self.lookups.done += 1;
            self.left = (self.left + 1).min(STOCK);
        }
    }

    /// The link is down: nothing comes of those that are on their way.
    pub(super) fn give_all_back(&mut self) {
        self.left = STOCK;
    }

    pub(super) fn lookups(&self) -> Lookups {
        self.lookups
    }

    fn complain(&mut self, now: Ms) {
        if self.aloud.is_due(now) {
            warn!(
                "broker: {} polls are asked to come again, as {STOCK} were for clients that nobody has, or with a key that is not \
                 theirs: somebody makes them up, or pages of before have not heard that they are gone; see docs/redis.md",
                std::mem::take(&mut self.unsaid)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_in_vain_comes_back_with_time_and_all_else_at_once() {
        let mut strangers = Strangers::new();
        let now = Ms::from_secs(100);
        assert!((0..STOCK).all(|_| strangers.take(now)));
        assert!(!strangers.take(now), "so many are on their way");
        for is_in_vain in [false, true, false] {
            strangers.note(is_in_vain);
            assert_eq!(strangers.take(now), !is_in_vain);
        }
        assert!(!strangers.take(now + Ms(1)));
        assert!(strangers.take(now + Ms(2)));
        assert!(!strangers.take(now + Ms(3)));
        let later = now + Ms::from_secs(1000);
        assert_eq!((0..3 * STOCK).filter(|_| strangers.take(later)).count() as u64, STOCK);
        strangers.give_all_back();
        strangers.note(false);
        assert_eq!((0..3 * STOCK).filter(|_| strangers.take(later)).count() as u64, STOCK, "and never more");
        let lookups = strangers.lookups();
        assert_eq!((lookups.done, lookups.in_vain, lookups.put_off), (3, 1, 4 + 4 * STOCK));
    }
}
