//! The freed: names of channels that nobody used for long, so that a name that is used again goes on where it was.
//!
//! Ids of a name never go backwards (WIRE C5), and who begins in the past (`subscribe` with `since`) is told what it
//! cannot have any more. Of each name some numbers are kept under its hash, and no more than so many: of what is beyond,
//! only the newest `seq` is known, and every new channel is taken for one that may have had messages up to there.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Names that are remembered, at some 100 bytes each: half a megabyte.
const NAMES_MAX: usize = if cfg!(test) { 100 } else { 5_000 };

/// What a channel had when it was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) last_id: u64,
    /// The newest message of either kind, as `seq`; 0 if there never was one.
    pub(super) newest: [u64; 2],
    /// The newest that a reader has lost by it.
    pub(super) fallen: [u64; 2],
}

/// What is remembered of names.
#[derive(Debug, Default)]
pub(super) struct Freed {
    hasher: RandomState,
    /// By a name's hash, with the number of its being freed.
    traces: HashMap<u64, (u64, Trace)>,
    /// The same, who was freed first in front; of a name that is in use again, or was freed once more, a leftover.
    order: VecDeque<(u64, u64)>,
    count: u64,
    /// The newest `seq` of what is not remembered any more.
    floor: u64,
}

impl Freed {
    /// A channel has been freed.
    pub(super) fn note(&mut self, name: &str, trace: Trace) {
        if trace.last_id == 0 {
            return;
        }
        let hash = self.hasher.hash_one(name);
        self.count += 1;
        self.traces.insert(hash, (self.count, trace));
        self.order.push_back((hash, self.count));
        while self.traces.len() > NAMES_MAX || self.order.len() > 2 * NAMES_MAX {
            let Some((hash, count)) = self.order.pop_front() else { return };
            if self.traces.get(&hash).is_some_and(|&(last, _)| last == count) {
                let (_, Trace { newest, .. }) = self.traces.remove(&hash).expect("it was there a line ago");
                self.floor = self.floor.max(newest[0]).max(newest[1]);
            }
        }
    }

    /// A channel of that name is made: what there was before.
    pub(super) fn take(&mut self, name: &str) -> Trace {
        match self.traces.remove(&self.hasher.hash_one(name)) {
            Some((_, trace)) => trace,
            None => Trace { last_id: 0, newest: [self.floor, 0], fallen: [self.floor, 0] },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(seq: u64) -> Trace {
        Trace { last_id: seq, newest: [seq, 0], fallen: [seq, 0] }
    }

    #[test]
    fn a_name_is_remembered_until_it_is_used_and_of_too_many_only_how_far_they_came() {
        let mut freed = Freed::default();
        freed.note("never used", Trace::default());
        freed.note("room", trace(7));
        assert_eq!(
            (freed.take("room"), freed.take("room").last_id, freed.take("other")),
            (trace(7), 0, Trace::default())
        );
        // Freed and used again all day.
        for seq in 1..1000 {
            freed.note("room", trace(seq));
            assert_eq!(freed.take("room"), trace(seq));
            assert!(freed.order.len() <= 2 * NAMES_MAX);
        }
        for seq in 1000..=1000 + NAMES_MAX as u64 {
            freed.note(&seq.to_string(), trace(seq));
        }
        assert_eq!((freed.traces.len(), freed.floor), (NAMES_MAX, 1000));
        assert_eq!(freed.take("1000"), Trace { last_id: 0, newest: [1000, 0], fallen: [1000, 0] });
        assert_eq!(freed.take("1001"), trace(1001));
    }
}
