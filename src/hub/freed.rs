//! The freed: names of channels that nobody used for long, so that a name that is used again goes on where it was.
//!
//! Ids of a name never go backwards (WIRE C5), and who begins in the past (`subscribe` with `since`) is told what it
//! cannot have any more. Of each name some numbers are kept under its hash, and no more than so many: of what is beyond,
//! only the newest `seq` is known, and every new channel is taken for one that may have had messages up to there.
//!
//! A crowd's channels leave as many as there may be, for as long as the server runs. So they are written as bytes, one
//! behind the other, some 22 for each. Each says how far before it the last one is whose hash has the same end; whoever looks
//! for a name goes back from one to the next. What falls out at the front needs no other change: who comes to a place
//! that is before the first one has come to the end.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::paged::Queue;

use super::record::FreedRecord;

/// Names that are remembered.
const NAMES_MAX: usize = if cfg!(test) { 100 } else { 5_000 };

/// Ends of hashes that are told apart, at 8 bytes each: whoever looks for a name passes two or three others. The tests have
/// longer ways.
const ENDS: usize = if cfg!(test) { 4 } else { 2048 };

// The remainder is a mask.
const _: () = assert!(ENDS.is_power_of_two());

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
    names: Written,
    /// How many names have a trace.
    known: usize,
    /// The newest `seq` of what is not remembered any more.
    floor: u64,
    /// So many ids a name may have had of which nothing is known here. Not written down: whoever stops writes all names.
    unseen: u64,
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
        self.remember(self.hasher.hash_one(name), trace);
    }

    fn remember(&mut self, hash: u64, trace: Trace) {
        self.names.push(hash, trace);
        self.known += 1;
        while self.known > NAMES_MAX || self.names.count > 2 * NAMES_MAX {
            if let Some(Trace { newest, .. }) = self.names.pop() {
                self.known -= 1;
                self.floor = newest[0].max(newest[1]).max(self.floor);
            }
        }
    }

    /// What is written down of it.
    pub(super) fn record(&self) -> FreedRecord {
        FreedRecord {
            seed: self.hasher.0,
            probe: self.hasher.hash_one(PROBE),
            floor: self.floor,
            names: self.names.iter().map(|(hash, trace)| (hash, trace.last_id, trace.newest, trace.fallen)).collect(),
        }
    }

    /// What was written down. A build of this program that hashes in another way finds none of the names: it knows only how
    /// far all of them have come.
    pub(super) fn restored(record: &FreedRecord) -> Freed {
        let mut freed = Freed { hasher: Seeded(record.seed), floor: record.floor, ..Freed::default() };
        let is_same = freed.hasher.hash_one(PROBE) == record.probe;
        for &(hash, last_id, newest, fallen) in &record.names {
            if is_same {
                freed.remember(hash, Trace { last_id, newest, fallen });
            } else {
                freed.floor = newest[0].max(newest[1]).max(freed.floor);
            }
        }
        freed
    }

    /// Every name may have had so many ids more than is known.
    pub(super) fn skip_ids(&mut self, count: u64) {
        self.unseen += count;
        let mut names = Written::default();
        for (hash, trace) in self.names.iter() {
            names.push(hash, Trace { last_id: trace.last_id + count, ..trace });
        }
        self.names = names;
    }

    /// So many ids a name may have had that has no trace.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// A channel of that name is made: what there was before.
    pub(super) fn take(&mut self, name: &str) -> Trace {
        match self.names.take(self.hasher.hash_one(name)) {
            Some(trace) => {
                self.known -= 1;
                trace
            }
            None => Trace { last_id: 0, newest: [self.floor, 0], fallen: [self.floor, 0] },
        }
    }
}

/// Hashes with their traces, in the order in which they were put in: for each its length, and an [`Entry`] in postcard's bytes.
#[derive(Debug, Default)]
struct Written {
    bytes: Queue<u8>,
    /// How many there are, with those whose trace was taken.
    count: usize,
    /// How many bytes have left at the front. The place of an entry is how many bytes have come with its first one, so the
    /// places of those that are here are greater than this.
    first: u64,
    /// The place of the last one whose hash has this end, or 0. Empty before there is one.
    last: Box<[u64]>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    hash: [u8; 8],
    /// How many places before it the last one of the same end is; 0 if there is none.
    back: u64,
    last_id: u64,
    newest: [u64; 2],
    /// By how much `fallen` is less than `newest`: mostly they are the same.
    behind: [u64; 2],
}

/// An entry's longest form: six numbers of up to ten bytes, and the hash.
const ENTRY_BYTES_MAX: usize = 8 + 6 * 10;

/// Stands in the length of one whose trace was taken.
const TAKEN: u8 = 0x80;

const _: () = assert!(ENTRY_BYTES_MAX < TAKEN as usize);

impl Written {
    fn push(&mut self, hash: u64, Trace { last_id, newest, fallen }: Trace) {
        if self.last.is_empty() {
            self.last = vec![0; ENDS].into();
        }
        let behind = std::array::from_fn(|kind| newest[kind].wrapping_sub(fallen[kind]));
        let place = self.first + self.bytes.len() as u64 + 1;
        let before = std::mem::replace(&mut self.last[end(hash)], place);
        let back = if before > self.first { place - before } else { 0 };
        let entry = Entry { hash: hash.to_le_bytes(), back, last_id, newest, behind };
        let mut buffer = [0; ENTRY_BYTES_MAX];
        let written = postcard::to_slice(&entry, &mut buffer).expect("there is room for the longest");
        self.bytes.push_back(u8::try_from(written.len()).expect("asserted above"));
        written.iter().for_each(|&byte| self.bytes.push_back(byte));
        self.count += 1;
    }

    /// Takes the first one out, if there is one: its trace, if it still had it.
    fn pop(&mut self) -> Option<Trace> {
        let (entry, is_taken, bytes) = self.read(0)?;
        (0..bytes).for_each(|_| _ = self.bytes.pop_front());
        self.first += bytes as u64;
        self.count -= 1;
        (!is_taken).then(|| entry.trace())
    }

    /// Takes the trace of the hash, if it has one.
    fn take(&mut self, hash: u64) -> Option<Trace> {
        let mut place = *self.last.get(end(hash))?;
        while place > self.first {
            let at = usize::try_from(place - self.first - 1).expect("it is in the queue");
            let (entry, is_taken, _) = self.read(at).expect("an entry is there as long as its place");
            if !is_taken && entry.hash == hash.to_le_bytes() {
                self.bytes[at] |= TAKEN;
                return Some(entry.trace());
            }
            if entry.back == 0 {
                break;
            }
            place -= entry.back;
        }
        None
    }

    /// Those that have their trace, the first first.
    fn iter(&self) -> impl Iterator<Item = (u64, Trace)> {
        let mut at = 0;
        let all = std::iter::from_fn(move || {
            let (entry, is_taken, bytes) = self.read(at)?;
            at += bytes;
            Some((entry, is_taken))
        });
        all.filter(|(_, is_taken)| !is_taken).map(|(entry, _)| (u64::from_le_bytes(entry.hash), entry.trace()))
    }

    /// The entry that begins there, whether it was taken, and how many bytes it has with its length; `None` at the end.
    fn read(&self, at: usize) -> Option<(Entry, bool, usize)> {
        if at == self.bytes.len() {
            return None;
        }
        let (length, is_taken) = (usize::from(self.bytes[at] & !TAKEN), self.bytes[at] & TAKEN > 0);
        let mut buffer = [0; ENTRY_BYTES_MAX];
        for (to, byte) in buffer[..length].iter_mut().enumerate() {
            *byte = self.bytes[at + 1 + to];
        }
        let entry = postcard::from_bytes(&buffer[..length]).expect("it was written here");
        Some((entry, is_taken, 1 + length))
    }
}

impl Entry {
    fn trace(&self) -> Trace {
        let fallen = std::array::from_fn(|kind| self.newest[kind].wrapping_sub(self.behind[kind]));
        Trace { last_id: self.last_id, newest: self.newest, fallen }
    }
}

fn end(hash: u64) -> usize {
    usize::try_from(hash % ENDS as u64).expect("the remainder is small")
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
            assert!(freed.names.count <= 2 * NAMES_MAX);
        }
        for seq in 1000..=1000 + NAMES_MAX as u64 {
            freed.note(&seq.to_string(), trace(seq));
        }
        assert_eq!((freed.known, freed.floor), (NAMES_MAX, 1000));
        assert_eq!(freed.take("1000"), Trace { last_id: 0, newest: [1000, 0], fallen: [1000, 0] });
        assert_eq!(freed.take("1001"), trace(1001));
    }

    /// The same promises kept the plain way.
    #[derive(Default)]
    struct Twin {
        names: Vec<(String, Option<Trace>)>,
        floor: u64,
    }

    impl Twin {
        fn known(&self) -> usize {
            self.names.iter().filter(|(_, trace)| trace.is_some()).count()
        }

        fn note(&mut self, name: &str, trace: Trace) {
            self.names.push((name.to_owned(), Some(trace)));
            while self.known() > NAMES_MAX || self.names.len() > 2 * NAMES_MAX {
                let (_, trace) = self.names.remove(0);
                self.floor = trace.map_or(0, |trace| trace.newest[0].max(trace.newest[1])).max(self.floor);
            }
        }

        fn take(&mut self, name: &str) -> Trace {
            let found = self.names.iter_mut().filter(|(other, _)| other == name).find_map(|(_, trace)| trace.take());
            found.unwrap_or(Trace { last_id: 0, newest: [self.floor, 0], fallen: [self.floor, 0] })
        }
    }

    #[test]
    fn it_remembers_what_a_list_does() {
        for seed in 0..50 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut freed, mut twin) = (Freed::default(), Twin::default());
            let names = rng.u32(50..150);
            for _ in 0..1000 {
                let name = rng.u32(..names).to_string();
                assert_eq!(freed.take(&name), twin.take(&name));
                // Of any length.
                let mut number = || rng.u64(..) >> rng.u32(1..64);
                let trace = Trace { last_id: 1 + number(), newest: [number(), number()], fallen: [number(), number()] };
                if rng.u32(..3) > 0 {
                    freed.note(&name, trace);
                    twin.note(&name, trace);
                }
                if rng.u32(..100) == 0 {
                    freed = Freed::restored(&freed.record());
                    freed.skip_ids(1);
                    twin.names.retain(|(_, trace)| trace.is_some());
                    twin.names.iter_mut().for_each(|(_, trace)| trace.as_mut().unwrap().last_id += 1);
                }
                assert_eq!((freed.known, freed.floor), (twin.known(), twin.floor));
            }
        }
    }

    #[test]
    fn a_name_takes_few_bytes() {
        let mut freed = Freed::default();
        for seq in 1_000_000..1_001_000 {
            freed.note(&seq.to_string(), Trace { last_id: 2, newest: [seq, seq - 1], fallen: [seq, seq - 1] });
        }
        let bytes = freed.names.bytes.len();
        assert!(bytes <= NAMES_MAX * 22, "{bytes}");
    }
}
