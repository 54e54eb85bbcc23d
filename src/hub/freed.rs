//! The freed: names of channels that nobody used for long, so that a name that is used again goes on where it was.
//!
//! Ids of a name never go backwards (WIRE C5), and who begins in the past (`subscribe` with `since`) is told what it
//! cannot have any more. Of each name some numbers are kept under its hash, and no more than so many: of what is beyond,
//! only the newest `seq` is known, and every new channel is taken for one that may have had messages up to there.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use hashbrown::HashTable;

use crate::paged::Queue;

use super::record::FreedRecord;

/// Names that are remembered, at some 60 bytes each.
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
    hasher: Seeded,
    /// Who was freed first in front; of a name that is in use again a leftover without a trace.
    names: Queue<Name>,
    /// How many have left `names` at its front: the number of the first one there.
    first: u32,
    /// The numbers of the names that have a trace, by their hash. They go round: what is kept is far less than 2^32.
    numbers: HashTable<u32>,
    /// The newest `seq` of what is not remembered any more.
    floor: u64,
    /// So many ids a name may have had of which nothing is known here. Not written down: whoever stops writes all names.
    unseen: u64,
}

#[derive(Debug)]
struct Name {
    hash: u64,
    trace: Option<Trace>,
}

/// Hashes as nobody can foresee who does not know the seed, and as can be done again who does.
#[derive(Debug)]
struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Seeded {
        Seeded(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// Something whose hash is written down beside those of the names.
const PROBE: &str = "shaveet";

impl Freed {
    /// A channel has been freed, which was made by [`Freed::take`]: so there is no trace of its name.
    pub(super) fn note(&mut self, name: &str, trace: Trace) {
        if trace.last_id == 0 {
            return;
        }
        self.remember(Name { hash: self.hasher.hash_one(name), trace: Some(trace) });
    }

    fn remember(&mut self, name: Name) {
        let Freed { names, first, numbers, floor, .. } = self;
        let hash = name.hash;
        let number = first.wrapping_add(u32::try_from(names.len()).expect("no more than so many are kept"));
        names.push_back(name);
        numbers.insert_unique(hash, number, |&number| names[index(*first, number)].hash);
        while numbers.len() > NAMES_MAX || names.len() > 2 * NAMES_MAX {
            let oldest = names.front().expect("there are more than so many");
            if let Some(Trace { newest, .. }) = oldest.trace {
                let found = numbers.find_entry(oldest.hash, |number| number == first);
                found.unwrap_or_else(|_| unreachable!("who has a trace has its number here")).remove();
                *floor = newest[0].max(newest[1]).max(*floor);
            }
            names.pop_front();
            *first = first.wrapping_add(1);
        }
    }

    /// What is written down of it.
    pub(super) fn record(&self) -> FreedRecord {
        let of_name = |name: &Name| name.trace.map(|trace| (name.hash, trace.last_id, trace.newest, trace.fallen));
        FreedRecord {
            seed: self.hasher.0,
            probe: self.hasher.hash_one(PROBE),
            floor: self.floor,
            names: self.names.iter().filter_map(of_name).collect(),
        }
    }

    /// What was written down. A build of this program that hashes in another way finds none of the names: it knows only how
    /// far all of them have come.
    pub(super) fn restored(record: &FreedRecord) -> Freed {
        let mut freed = Freed { hasher: Seeded(record.seed), floor: record.floor, ..Freed::default() };
        let is_same = freed.hasher.hash_one(PROBE) == record.probe;
        for &(hash, last_id, newest, fallen) in &record.names {
            if is_same {
                freed.remember(Name { hash, trace: Some(Trace { last_id, newest, fallen }) });
            } else {
                freed.floor = newest[0].max(newest[1]).max(freed.floor);
            }
        }
        freed
    }

    /// Every name may have had so many ids more than is known.
    pub(super) fn skip_ids(&mut self, count: u64) {
        self.unseen += count;
        for at in 0..self.names.len() {
            if let Some(trace) = &mut self.names[at].trace {
                trace.last_id += count;
            }
        }
    }

    /// So many ids a name may have had that has no trace.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// A channel of that name is made: what there was before.
    pub(super) fn take(&mut self, name: &str) -> Trace {
        let Freed { hasher, names, first, numbers, floor, .. } = self;
        let hash = hasher.hash_one(name);
        match numbers.find_entry(hash, |&number| names[index(*first, number)].hash == hash) {
            Ok(found) => {
                let (number, _) = found.remove();
                names[index(*first, number)].trace.take().expect("whose number is here has a trace")
            }
            Err(_) => Trace { last_id: 0, newest: [*floor, 0], fallen: [*floor, 0] },
        }
    }
}

/// Where in the queue a name's number is, behind the number of the first.
fn index(first: u32, number: u32) -> usize {
    number.wrapping_sub(first) as usize
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
            assert!(freed.names.len() <= 2 * NAMES_MAX);
        }
        for seq in 1000..=1000 + NAMES_MAX as u64 {
            freed.note(&seq.to_string(), trace(seq));
        }
        assert_eq!((freed.numbers.len(), freed.floor), (NAMES_MAX, 1000));
        assert_eq!(freed.take("1000"), Trace { last_id: 0, newest: [1000, 0], fallen: [1000, 0] });
        assert_eq!(freed.take("1001"), trace(1001));
    }
}
