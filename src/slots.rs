//! Where everything lives that others point to: [`Slots`] owns the values, a [`Key`] is the only pointer to one.
//!
//! A peer knows its waiter, a waiter its client, a reminder its peer, and any of them may be gone when the other asks. A
//! bare index would by then name whoever moved in afterwards, and one user would be handed the messages of another. So a
//! key carries two numbers, the slot and a *generation*, and the slot remembers the generation of its tenant: a key whose
//! tenant has left finds nothing, and finding nothing is an everyday answer ([`Slots::get`] is an `Option`). There is
//! nothing to unregister when a value dies, and no reference counting.
//!
//! ```text
//!   index        0         1         2         3
//!            ┌─────────┬─────────┬─────────┬─────────┐
//!            │ gen 1   │ vacant  │ gen 9   │ gen 4   │      Key 2.9  finds the tenant
//!            │ value   │         │ value   │ value   │      Key 2.3  is of a former one: nothing
//!            └─────────┴─────────┴─────────┴─────────┘      Key 1.2  nobody there: nothing
//! ```
//!
//! The generations come from one counter for the whole table, not one per slot: a vacant slot has nothing to remember, so
//! its memory is given back, page by page, without making old keys valid again.
//!
//! Limits: 2^32 values at a time. The counter goes round after 2^32 insertions, so a stale key could meet a tenant of its
//! own generation only if it is kept over exactly that many insertions (five days at 10,000 a second) and its slot
//! is the one filled by the very last of them. Nobody keeps a key to the dead that long: reminders fire within minutes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use slab::Slab;

/// Names one value of a [`Slots<T>`], for as long as that value lives, and never another. Eight bytes, free to copy.
///
/// Only the table that made it can make sense of it: the type keeps the keys of peers and clients apart, but not those of
/// two tables of the same type. Keys are ordered by age, the oldest first (until the counter of generations goes round).
pub struct Key<T> {
    index: u32,
    // Never 0, so that an `Option` of a key takes no more room than a key.
    generation: NonZeroU32,
    // A function that returns T, not T itself: a key owns nothing, so it is Copy and Send whatever T is.
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The key as one number, for those who carry only a number: the token of a socket, a field in a log line.
    pub fn pack(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// The key that [`Key::pack`] made into `packed`. Any other number is a key that finds nothing, or finds by chance.
    pub fn unpack(packed: u64) -> Key<T> {
        let generation = u32::try_from(packed >> 32).expect("the shift leaves 32 bits");
        Key {
            index: u32::try_from(packed & u64::from(u32::MAX)).expect("the mask leaves 32 bits"),
            generation: NonZeroU32::new(generation).unwrap_or(NonZeroU32::MAX),
            of: PhantomData,
        }
    }
}

// Written out, as a derive would ask the same of T, which a key does not even contain.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Key<T> {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Key<T>) -> bool {
        self.pack() == other.pack()
    }
}

impl<T> Eq for Key<T> {}

impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Key<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Key<T>) -> Ordering {
        self.pack().cmp(&other.pack())
    }
}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pack().hash(state);
    }
}

/// Slot and generation, such as `17.4`.
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// As the number that [`Key::pack`] makes.
impl<T> Serialize for Key<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pack().serialize(serializer)
    }
}

impl<'a, T> Deserialize<'a> for Key<T> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Key<T>, D::Error> {
        u64::deserialize(deserializer).map(Key::unpack)
    }
}

/// A table of values that are found by [`Key`]; see the [module](self) for the idea.
///
/// Insertion, look-up and removal take constant time, but for the page that is asked for or given back now and then.
#[derive(Debug)]
pub struct Slots<T> {
    /// The table in pieces of [`PAGE`] slots, each of a size of its own until it has values. A table that was once large is
    /// small again when few are left, but for the pages that those stand on.
    pages: Vec<Slab<(NonZeroU32, T)>>,
    /// The pages with vacant slots. The first one is filled first, so that the last ones become empty.
    open: BTreeSet<usize>,
    len: usize,
    /// The last one that was given.
    generation: NonZeroU32,
}

/// Slots of a page: small enough for one that survives not to keep much, large enough to be asked for seldom. The tests
/// have many pages with few values.
const PAGE: usize = if cfg!(test) { 8 } else { 256 };

impl<T> Slots<T> {
    /// An empty table that holds no memory yet.
    pub fn new() -> Slots<T> {
        Slots { pages: Vec::new(), open: BTreeSet::new(), len: 0, generation: NonZeroU32::MAX }
    }

    /// A table of which everything was written down: its values under their keys, in no order, and the last generation that it
    /// gave. Of two values for one slot the later counts.
    pub fn restored(generation: u32, entries: impl IntoIterator<Item = (Key<T>, T)>) -> Slots<T> {
        let mut slots = Slots { generation: NonZeroU32::new(generation).unwrap_or(NonZeroU32::MAX), ..Slots::new() };
        let mut by_page: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (key, value) in entries {
            let (page, slot) = place(key);
            by_page.entry(page).or_default().push((slot, (key.generation, value)));
        }
        for (page, entries) in by_page {
            slots.open.extend(slots.pages.len()..page);
            slots.pages.resize_with(page, Slab::new);
            let mut slab = Slab::from_iter(entries);
            slab.reserve_exact(PAGE - slab.len());
            slots.len += slab.len();
            if slab.len() < PAGE {
                slots.open.insert(page);
            }
            slots.pages.push(slab);
        }
        slots
    }

    /// The last generation that was given.
    pub fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// Takes the value in and says under which key.
    pub fn insert(&mut self, value: T) -> Key<T> {
        self.insert_with(|_| value)
    }

    /// Takes in a value that wants to know its own key.
    pub fn insert_with(&mut self, make: impl FnOnce(Key<T>) -> T) -> Key<T> {
        let page = self.open.first().copied().unwrap_or(self.pages.len());
        if page == self.pages.len() {
            self.pages.push(Slab::new());
            self.open.insert(page);
        }
        let slab = &mut self.pages[page];
        if slab.capacity() == 0 {
            slab.reserve_exact(PAGE);
        }
        let vacant = slab.vacant_entry();
        let index = u32::try_from(page * PAGE + vacant.key()).expect("memory ends long before 2^32 values");
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let key = Key { index, generation: self.generation, of: PhantomData };
        vacant.insert((key.generation, make(key)));
        if slab.len() == PAGE {
            self.open.remove(&page);
        }
        self.len += 1;
        key
    }

    /// Takes the value out, or `None` if it has left before. From now on its key finds nothing.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let (page, slot) = place(key);
        let slab = self.pages.get_mut(page)?;
        if slab.get(slot).is_none_or(|(generation, _)| *generation != key.generation) {
            return None;
        }
        if slab.len() == PAGE {
            self.open.insert(page);
        }
        let (_, value) = slab.remove(slot);
        self.len -= 1;
        // The first page stays: a table that has one value, none, one, none is not to ask for memory each time.
        if slab.is_empty() && page > 0 {
            *slab = Slab::new();
            self.give_back();
        }
        Some(value)
    }

    /// Gives back the list of pages as far as nobody stands behind.
    fn give_back(&mut self) {
        while self.pages.len() > 1 && self.pages.last().is_some_and(Slab::is_empty) {
            self.pages.pop();
            self.open.remove(&self.pages.len());
        }
        if self.pages.len() * 4 < self.pages.capacity() {
            self.pages.shrink_to(self.pages.len() * 2);
        }
    }

    /// The value, or `None` if it has left.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        let (page, slot) = place(key);
        match self.pages.get(page)?.get(slot) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value to change, or `None` if it has left.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let (page, slot) = place(key);
        match self.pages.get_mut(page)?.get_mut(slot) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Whether the value is still here.
    pub fn contains(&self, key: Key<T>) -> bool {
        self.get(key).is_some()
    }

    /// How many values are here.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no value is here.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values in the order of their slots. For a table that may be large see [`Slots::next_from`].
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.pages.iter().enumerate().flat_map(|(page, slab)| {
            slab.iter().map(move |(slot, (generation, value))| {
                let index = u32::try_from(page * PAGE + slot).expect("insertion has checked it");
                (Key { index, generation: *generation, of: PhantomData }, value)
            })
        })
    }

    /// How many slots there are, vacant or not: where a walk by [`Slots::next_from`] ends.
    pub fn places(&self) -> u32 {
        u32::try_from(self.pages.len() * PAGE).unwrap_or(u32::MAX)
    }

    /// One step of a walk through the table that can pause: the next value at or after `cursor`, which moves past it.
    ///
    /// Each slot that is looked at takes one off `budget`, vacant or not, and each empty page, as a table that was once large
    /// may hold very many in a row. `None` with nothing left of the budget is a pause: go on with the same
    /// `cursor` in the next turn. `None` with budget left is the end of the walk. A walk begins with a `cursor` of 0.
    ///
    /// The table may be changed between two steps. What is here during the whole walk is seen exactly once; what comes
    /// or goes meanwhile is seen once or not at all. A walk of fewer slots a turn than the table grows by has no end.
    ///
    /// ```
    /// # use shaveet::slots::Slots;
    /// # let mut slots = Slots::new();
    /// # slots.insert(2);
    /// # slots.insert(3);
    /// # let (mut cursor, mut sum) = (0, 0);
    /// let mut budget = 1000;
    /// while let Some((key, _)) = slots.next_from(&mut cursor, &mut budget) {
    ///     sum += slots[key];
    /// }
    /// let finished = budget > 0;
    /// # assert!(finished);
    /// # assert_eq!(sum, 5);
    /// ```
    pub fn next_from(&self, cursor: &mut u32, budget: &mut u32) -> Option<(Key<T>, &T)> {
        let end = self.places();
        while *cursor < end && *budget > 0 {
            let index = *cursor;
            *budget -= 1;
            let (page, slot) = place_of(index);
            let slab = &self.pages[page];
            if slab.is_empty() {
                // On to the next page.
                *cursor = u32::try_from((page + 1) * PAGE).unwrap_or(u32::MAX);
                continue;
            }
            *cursor += 1;
            if let Some((generation, value)) = slab.get(slot) {
                return Some((Key { index, generation: *generation, of: PhantomData }, value));
            }
        }
        None
    }
}

fn place<T>(key: Key<T>) -> (usize, usize) {
    place_of(key.index)
}

/// Page and slot of an index.
fn place_of(index: u32) -> (usize, usize) {
    (index as usize / PAGE, index as usize % PAGE)
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots::new()
    }
}

/// For keys that cannot be stale because whoever dies takes them away: two objects that always know of each other.
///
/// # Panics
///
/// If the value has left: then that bookkeeping is broken, and going on would serve the wrong one.
impl<T> Index<Key<T>> for Slots<T> {
    type Output = T;

    fn index(&self, key: Key<T>) -> &T {
        match self.get(key) {
            Some(value) => value,
            None => dead_key(key),
        }
    }
}

/// As [`Index`], with the same panic.
impl<T> IndexMut<Key<T>> for Slots<T> {
    fn index_mut(&mut self, key: Key<T>) -> &mut T {
        match self.get_mut(key) {
            Some(value) => value,
            None => dead_key(key),
        }
    }
}

#[cold]
fn dead_key<T>(key: Key<T>) -> ! {
    let of = std::any::type_name::<T>();
    panic!(
        "key {key:?} of a {of} that has left: whoever removes a value must first take its key from all who index by it"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    /// The same promises kept the plain way: ids that only grow, never used again.
    #[derive(Default)]
    struct Twin {
        last_id: u64,
        values: HashMap<u64, u32>,
    }

    #[test]
    fn does_what_a_map_with_ever_growing_ids_does() {
        for seed in 0..200 {
            println!("seed {seed}");
            random_life(seed);
        }
    }

    fn random_life(seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut slots = Slots::new();
        let mut twin = Twin::default();
        let mut keys: Vec<(Key<u32>, u64)> = Vec::new(); // Of the living and the dead.
        let growth = rng.u32(2..6);
        for _ in 0..500 {
            if rng.u32(0..100) == 0 {
                let mut entries: Vec<_> = slots.iter().map(|(key, &value)| (key, value)).collect();
                rng.shuffle(&mut entries);
                slots = Slots::restored(slots.generation(), entries);
            }
            let deed = rng.u32(0..10);
            if deed < growth || keys.is_empty() {
                let value = rng.u32(..);
                twin.last_id += 1;
                twin.values.insert(twin.last_id, value);
                keys.push((slots.insert(value), twin.last_id));
                continue;
            }
            let (key, id) = keys[rng.usize(..keys.len())];
            match deed {
                8..=9 => {
                    if let (Some(value), Some(same)) = (slots.get_mut(key), twin.values.get_mut(&id)) {
                        (*value, *same) = (value.wrapping_add(1), same.wrapping_add(1));
                    }
                }
                _ => assert_eq!(slots.remove(key), twin.values.remove(&id)),
            }
            assert_eq!(slots.get(key), twin.values.get(&id));
        }
        for &(key, id) in &keys {
            assert_eq!(slots.get(key), twin.values.get(&id));
            assert_eq!(slots.get_mut(key).copied(), twin.values.get(&id).copied());
            assert_eq!(slots.contains(key), twin.values.contains_key(&id));
        }
        let living = keys.iter().filter(|(_, id)| twin.values.contains_key(id)).map(|(key, _)| *key);
        assert_eq!(slots.iter().map(|(key, _)| key).collect::<HashSet<_>>(), living.collect());
        assert_eq!(slots.iter().count(), slots.len());
        assert_eq!((slots.len(), slots.is_empty()), (twin.values.len(), twin.values.is_empty()));
    }

    #[test]
    fn a_stale_key_never_reaches_the_next_tenant() {
        let mut slots = Slots::new();
        let alice = slots.insert("alice");
        assert_eq!(slots.remove(alice), Some("alice"));
        let bob = slots.insert("bob");
        assert_eq!(alice.index, bob.index);
        assert_eq!(slots.get(alice), None);
        assert_eq!(slots.get_mut(alice), None);
        assert_eq!(slots.remove(alice), None);
        assert_eq!(slots[bob], "bob");
    }

    #[test]
    fn pages_without_values_are_given_back() {
        let mut slots = Slots::new();
        let keys: Vec<_> = (0..10 * PAGE).map(|value| slots.insert(value)).collect();
        let held = |slots: &Slots<usize>| slots.pages.iter().filter(|slab| slab.capacity() > 0).count();
        assert_eq!((held(&slots), slots.open.len()), (10, 0));
        let stays = keys[5 * PAGE + 3];
        for key in keys.iter().rev().filter(|key| **key != stays) {
            slots.remove(*key);
        }
        // Beside the one that is needed the first, which stays.
        assert_eq!((held(&slots), slots.pages.len(), slots.open.len()), (2, 6, 6));
        // The first are filled first.
        let first = slots.insert(0);
        assert_eq!(first.index, 0);
        assert_eq!(slots.remove(stays), Some(5 * PAGE + 3));
        assert_eq!((held(&slots), slots.pages.len()), (1, 1));
        slots.remove(first);
        assert_eq!((held(&slots), slots.pages.len(), slots.open.len()), (1, 1, 1));
    }

    #[test]
    fn a_value_can_know_its_own_key() {
        let mut slots = Slots::new();
        slots.insert_with(|key| key.pack());
        let key = slots.insert_with(|key| key.pack());
        assert_eq!(Key::unpack(slots[key]), key);
        slots[key] += 1;
        assert_eq!(slots[key], key.pack() + 1);
    }

    #[test]
    fn generations_go_round_without_a_panic() {
        let mut slots = Slots::new();
        slots.generation = NonZeroU32::MAX;
        slots.insert(9);
        slots.generation = NonZeroU32::new(u32::MAX - 1).unwrap();
        let keys: Vec<_> = (0..4).map(|value| slots.insert(value)).collect();
        assert!((0..4).all(|value| slots[keys[value]] == value));
    }

    #[test]
    fn keys_pack_print_and_sort() {
        let old: Key<String> = Key { index: 17, generation: NonZeroU32::new(4).unwrap(), of: PhantomData };
        let young = Key { index: 3, generation: NonZeroU32::new(5).unwrap(), of: PhantomData };
        assert_eq!(format!("{old:?}"), "17.4");
        assert!(old < young);
        assert_eq!(Key::unpack(old.pack()), old);
        assert_eq!(Key::<()>::unpack(u64::MAX).pack(), u64::MAX);
        assert_eq!((size_of::<Key<String>>(), size_of::<Option<Key<String>>>()), (8, 8));
    }

    #[test]
    #[should_panic(expected = "that has left")]
    fn indexing_by_a_dead_key_is_a_bug() {
        let mut slots = Slots::new();
        let key = slots.insert(1);
        slots.remove(key);
        let _ = slots[key];
    }

    #[test]
    fn a_walk_in_slices_sees_once_what_stays() {
        for seed in 0..200 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut slots = Slots::new();
            let mut keys: Vec<_> = (0..100).map(|value| slots.insert(value)).collect();
            rng.shuffle(&mut keys);
            for key in keys.drain(..50) {
                slots.remove(key);
            }
            let mut others = keys.split_off(30); // Keys that may leave during the walk; the first thirty stay.
            let mut seen = Vec::new();
            let (mut cursor, budget_max) = (0, rng.u32(1..40));
            loop {
                let mut budget = budget_max;
                while let Some((key, value)) = slots.next_from(&mut cursor, &mut budget) {
                    assert_eq!(slots.get(key), Some(value));
                    seen.push(key);
                }
                if budget > 0 {
                    break;
                }
                // No more than leave: a table that grows as fast as the walk goes would never be walked through.
                if let Some(key) = others.pop() {
                    slots.remove(key);
                    slots.insert(0);
                }
            }
            assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "twice");
            assert!(keys.iter().all(|key| seen.contains(key)), "missed");
        }
    }

    #[test]
    fn a_walk_past_vacant_slots_keeps_to_its_budget() {
        let mut slots = Slots::new();
        let keys: Vec<_> = (0..1000).map(|value| slots.insert(value)).collect();
        for key in &keys[..999] {
            slots.remove(*key);
        }
        // 124 empty pages, and 6 vacant slots of the last one.
        let (mut cursor, mut budget) = (0, 130);
        assert_eq!(slots.next_from(&mut cursor, &mut budget), None);
        assert_eq!((cursor, budget), (998, 0));
        budget = 2;
        assert_eq!(slots.next_from(&mut cursor, &mut budget), Some((keys[999], &999)));
    }
}
