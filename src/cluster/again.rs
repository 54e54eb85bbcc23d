//! What has failed is tried again: in rounds, some of it in each turn.
//!
//! When a link breaks in the middle of much, each of a crowd of clients may be among it.

use crate::hub::Client;
use crate::paged::Queue;
use crate::slots::Key;

/// What could not be done.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) enum Failed {
    /// To fetch a client whole.
    Fetch(Box<str>),
    /// To have the lease of a client.
    Take(Key<Client>),
    /// To give up the lease of a client that is not here.
    Release(Box<str>),
}

/// What is to be tried again.
#[derive(Debug)]
pub(super) struct Again {
    failed: Queue<Failed>,
    /// So many, the first, are to be tried in this round. What fails once more is for the next.
    due: usize,
}

/// So many are tried in one turn: each is a call.
const TRIES_PER_TURN: usize = 64;

impl Again {
    pub(super) fn new() -> Again {
        Again { failed: Queue::new(), due: 0 }
    }

    pub(super) fn note(&mut self, failed: Failed) {
        self.failed.push_back(failed);
    }

    /// All that has failed is to be tried.
    pub(super) fn begin_round(&mut self) {
        self.due = self.failed.len();
    }

    /// Whether there is something left of the round.
    pub(super) fn is_due(&self) -> bool {
        self.due > 0
    }

    /// What to try in this turn.
    pub(super) fn take_some(&mut self) -> Vec<Failed> {
        let count = self.due.min(TRIES_PER_TURN);
        self.due -= count;
        std::iter::from_fn(|| self.failed.pop_front()).take(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_tried_once_in_a_round_and_some_of_them_in_a_turn() {
        let mut again = Again::new();
        let client = |number: usize| Failed::Fetch(number.to_string().into());
        let count = 3 * TRIES_PER_TURN + 1;
        (0..count).for_each(|number| again.note(client(number)));
        assert!(!again.is_due() && again.take_some().is_empty(), "not before the round begins");
        for round in 0..3 {
            again.begin_round();
            let mut tried = Vec::new();
            while again.is_due() {
                let some = again.take_some();
                assert!((1..=TRIES_PER_TURN).contains(&some.len()), "round {round}: {}", some.len());
                // None can be done.
                some.iter().cloned().for_each(|failed| again.note(failed));
                tried.extend(some);
            }
            assert_eq!(tried, (0..count).map(client).collect::<Vec<_>>(), "round {round}");
        }
    }
}
