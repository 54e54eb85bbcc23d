//! Who is called what: [`Names`], from a name to a [`Key`], for a million of them and no turn that feels it.
//!
//! A plain hash map doubles when it is full, and moves everything it has while somebody waits: with a million names that
//! is a tenth of a second. Here are many small tables instead, chosen by some bits of the name's hash. Each grows and
//! shrinks by itself, so one step moves what one of them holds and no more.
//!
//! ```text
//!   hash of "alice":  | 22 bits | 10 bits |      32 bits      |
//!                                    │                │
//!                            which table        kept beside the key
//!
//!   table 0      [ key hash | key hash | . | key hash ]
//!   table 1      [ . | key hash ]                              the name itself stands in the thing alone:
//!     ...                                                      a look-up compares through Slots
//!   table 1023   [ key hash | . | . | key hash ]
//! ```
//!
//! The half of the hash that stands beside the key spares two ways through memory that nothing has in its caches: to the
//! thing and to its name, for each entry that moves and for nearly each that is not the one looked for.
//!
//! The names come from outside. So the hash has a key from the operating system (SipHash): nobody can choose names that
//! all fall into one place.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::slots::{Key, Slots};

/// A thing that has a name. It keeps the name for as long as it is in a table of names.
pub trait Named {
    /// What it is called.
    fn name(&self) -> &str;
}

/// From names to keys of the things that are called so; see the [module](self) for the idea.
pub struct Names<T> {
    /// By the hash's bits from [`TABLE_SHIFT`] on. None before there is a name.
    tables: Box<[HashTable<Entry<T>>]>,
    hasher: RandomState,
    len: usize,
}

/// One name: whose it is, and the lower half of its hash.
struct Entry<T> {
    key: Key<T>,
    hash: u32,
}

/// How many tables there are. Empty they take 32 KiB; with a million names each has a thousand, which are moved in some
/// 20 us. The tests see small ones grow.
const TABLES: usize = if cfg!(test) { 4 } else { 1024 };

/// The lower half of a hash stands in the entries; which table it is says the half above.
const TABLE_SHIFT: u32 = 32;

// The remainder is a mask.
const _: () = assert!(TABLES.is_power_of_two() && TABLES <= 1 << 16);

impl<T: Named> Names<T> {
    /// No names yet.
    #[must_use]
    pub fn new() -> Names<T> {
        Names { tables: Box::default(), hasher: RandomState::new(), len: 0 }
    }

    /// What is called so, among `things`.
    ///
    /// # Panics
    /// If `things` are not those whose names these are.
    #[must_use]
    pub fn find(&self, things: &Slots<T>, name: &str) -> Option<Key<T>> {
        let (table, hash) = self.place(name);
        let is_it = |entry: &Entry<T>| entry.hash == hash && things[entry.key].name() == name;
        self.tables.get(table)?.find(spread(hash), is_it).map(|entry| entry.key)
    }

    /// Takes a name in that is not here yet.
    pub fn insert(&mut self, name: &str, key: Key<T>) {
        self.make_tables();
        let (table, hash) = self.place(name);
        self.tables[table].insert_unique(spread(hash), Entry { key, hash }, |entry| spread(entry.hash));
        self.len += 1;
    }

    /// Forgets the name of a thing, which may have left its table already.
    ///
    /// # Panics
    /// If it is not here.
    pub fn remove(&mut self, name: &str, key: Key<T>) {
        let (at, hash) = self.place(name);
        let table = &mut self.tables[at];
        let found = table.find_entry(spread(hash), |entry| entry.key == key);
        found.unwrap_or_else(|_| panic!("the name of {key:?} is not here: it was removed before")).remove();
        // Less than a quarter is used: half of it goes back. An empty table holds nothing.
        if table.len() * 4 < table.capacity() {
            table.shrink_to(table.len() * 2, |entry| spread(entry.hash));
        }
        self.len -= 1;
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Walks all names, and asserts that each thing that has one is found by it and that there is no other.
    ///
    /// # Panics
    /// If not: a bug of whoever inserts and removes.
    pub fn check<'a>(&self, things: &'a Slots<T>, is_named: impl Fn(&'a T) -> bool) {
        assert_eq!(self.tables.iter().map(HashTable::len).sum::<usize>(), self.len);
        let named = things.iter().filter(|(_, thing)| is_named(thing));
        assert_eq!(named.map(|(key, thing)| assert_eq!(self.find(things, thing.name()), Some(key))).count(), self.len);
    }

    fn make_tables(&mut self) {
        if self.tables.is_empty() {
            self.tables = (0..TABLES).map(|_| HashTable::new()).collect();
        }
    }

    /// The table in which a name is, and the half of its hash that stands there.
    fn place(&self, name: &str) -> (usize, u32) {
        let hash = self.hasher.hash_one(name);
        let half = |hash: u64| u32::try_from(hash & u64::from(u32::MAX)).expect("the mask leaves 32 bits");
        (half(hash >> TABLE_SHIFT) as usize % TABLES, half(hash))
    }
}

/// The half of a hash as the small tables want it: they look at the lowest bits and at the seven highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl<T: Named> Default for Names<T> {
    fn default() -> Names<T> {
        Names::new()
    }
}

impl<T> fmt::Debug for Names<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Thing(String);

    impl Named for Thing {
        fn name(&self) -> &str {
            &self.0
        }
    }

    /// So nobody can choose names that all stand at one place.
    #[test]
    fn where_a_name_stands_is_another_each_time() {
        let places: std::collections::HashSet<_> = (0..20).map(|_| Names::<Thing>::new().place("name")).collect();
        assert!(places.len() > 15, "{places:?}");
    }

    #[test]
    fn does_what_a_map_does() {
        for seed in 0..50 {
            println!("seed {seed}");
            random_life(seed);
        }
    }

    fn random_life(seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut names, mut things, mut twin) = (Names::new(), Slots::new(), HashMap::new());
        for phase in 0..6 {
            // A crowd comes, and goes.
            let comes = if phase % 2 == 0 { 3 } else { 1 };
            for _ in 0..500 {
                let name = rng.u32(0..600).to_string();
                let found = names.find(&things, &name);
                assert_eq!(found, twin.get(&name).copied());
                match found {
                    None if rng.u32(0..4) < comes => {
                        let key = things.insert(Thing(name.clone()));
                        names.insert(&name, key);
                        twin.insert(name, key);
                    }
                    Some(key) if rng.u32(0..4) >= comes => {
                        twin.remove(&name);
                        things.remove(key);
                        names.remove(&name, key);
                    }
                    _ => {}
                }
                assert_eq!((names.len(), names.is_empty()), (twin.len(), twin.is_empty()));
            }
            names.check(&things, |_| true);
        }
    }

    #[test]
    fn memory_is_given_back() {
        let (mut names, mut things) = (Names::new(), Slots::new());
        let keys: Vec<_> = (0..10_000).map(|at: u32| (at.to_string(), things.insert(Thing(at.to_string())))).collect();
        keys.iter().for_each(|(name, key)| names.insert(name, *key));
        let room = |names: &Names<Thing>| names.tables.iter().map(HashTable::capacity).sum::<usize>();
        assert!(room(&names) >= 10_000);
        for (name, key) in &keys[10..] {
            things.remove(*key);
            names.remove(name, *key);
        }
        names.check(&things, |_| true);
        // A table has room for three at least.
        assert!(room(&names) <= 10 * 4 + TABLES * 3, "{}", room(&names));
        for (name, key) in &keys[..10] {
            names.remove(name, *key);
        }
        assert_eq!(room(&names), 0);
    }

    #[test]
    fn names_of_one_half_hash_are_told_apart() {
        // Two names whose 32 bits beside the key are the same are rare; here all are.
        let (mut names, mut things) = (Names::<Thing>::new(), Slots::new());
        let keys = ["a", "b", "c"].map(|name| things.insert(Thing(name.to_owned())));
        names.make_tables();
        let (table, hash) = names.place("b");
        for key in keys {
            names.tables[table].insert_unique(spread(hash), Entry { key, hash }, |entry| spread(entry.hash));
        }
        assert_eq!(names.find(&things, "b"), Some(keys[1]));
    }
}
