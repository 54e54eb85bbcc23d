//! Publishing only once: what was published with which key.
//!
//! A web application that does not know whether its call has arrived calls again with the same key. The keys are kept for
//! a while, and no more than so many: the oldest go first.

use crate::clock::Ms;
use crate::names::{Named, Names};
use crate::paged::Queue;
use crate::slots::{Key, Slots};

use super::Placed;
use super::record::OnceRecord;

/// How long a key is remembered: longer than anybody retries one call.
const WINDOW: Ms = Ms::from_secs(300);

/// Keys that are remembered.
const KEYS_MAX: usize = 100_000;

/// Bytes of these keys: each is as long as a name may be (`--max-name`), and most are far shorter.
const BYTES_MAX: usize = 16 << 20;

/// Old keys that one call forgets: more than it can add, so that all go in time, and none of them waits for many.
const FORGET_STEP: usize = 4;

/// The keys of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Once {
    notes: Slots<Note>,
    names: Names<Note>,
    /// The same notes, the oldest first.
    order: Queue<Key<Note>>,
    bytes: usize,
}

/// What was published with a key, and when.
#[derive(Debug)]
struct Note {
    key: Box<str>,
    noted: Ms,
    placed: Placed,
}

impl Named for Note {
    fn name(&self) -> &str {
        &self.key
    }
}

impl Once {
    /// What was published with this key.
    pub(super) fn find(&mut self, now: Ms, key: &str) -> Option<Placed> {
        for _ in 0..FORGET_STEP {
            let Some(&oldest) = self.order.front() else { break };
            if self.notes.get(oldest).is_some_and(|note| now < note.noted + WINDOW) {
                break;
            }
            self.forget_oldest();
        }
        let found = self.names.find(&self.notes, key)?;
        let note = &self.notes[found];
        (now < note.noted + WINDOW).then_some(note.placed)
    }

    /// Remembers what was published with a key that was not found.
    pub(super) fn note(&mut self, now: Ms, key: &str, placed: Placed) {
        if let Some(outdated) = self.names.find(&self.notes, key) {
            // It is too old and not forgotten yet: its place on the list stays, and finds nothing.
            self.forget(outdated);
        }
        while self.order.len() >= KEYS_MAX || self.bytes + key.len() > BYTES_MAX && !self.order.is_empty() {
            self.forget_oldest();
        }
        self.bytes += key.len();
        let note = self.notes.insert(Note { key: key.into(), noted: now, placed });
        self.names.insert(key, note);
        self.order.push_back(note);
    }

    /// What is written down of the next note at or after `cursor`, which moves past it; as [`Slots::next_from`].
    pub(super) fn next_record(&self, cursor: &mut u32, budget: &mut u32) -> Option<OnceRecord<'_>> {
        let (_, Note { key, noted, placed: Placed { id, seq } }) = self.notes.next_from(cursor, budget)?;
        Some(OnceRecord { key: key.as_ref().into(), noted: *noted, id: *id, seq: *seq })
    }

    /// What was written down, in any order.
    pub(super) fn restored(mut records: Vec<OnceRecord<'_>>) -> Once {
        let mut once = Once::default();
        records.sort_by_key(|record| record.noted);
        for OnceRecord { key, noted, id, seq } in records {
            once.note(noted, &key, Placed { id, seq });
        }
        once
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: Key<Note>) {
        if let Some(note) = self.notes.remove(key) {
            self.bytes -= note.key.len();
            self.names.remove(&note.key, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_for_its_window_and_no_more_than_so_many_are() {
        let mut once = Once::default();
        let placed = |id| Placed { id, seq: id };
        once.note(Ms(0), "first", placed(1));
        assert_eq!(once.find(Ms(299_999), "first"), Some(placed(1)));
        assert_eq!(once.find(Ms(300_000), "first"), None);
        once.note(Ms(300_000), "again", placed(2));
        (0..10).for_each(|at| once.note(Ms(600_000 - 1), &at.to_string(), placed(at)));
        // It is too old, and its time begins anew.
        assert_eq!(once.find(Ms(600_000), "again"), None);
        once.note(Ms(600_000), "again", placed(3));
        assert_eq!(once.find(Ms(600_001), "again"), Some(placed(3)));
        for id in 0..=KEYS_MAX as u64 {
            once.note(Ms(900_000), &id.to_string(), placed(id));
        }
        assert_eq!((once.find(Ms(900_000), "0"), once.find(Ms(900_000), "1")), (None, Some(placed(1))));
        assert_eq!((once.notes.len(), once.order.len()), (KEYS_MAX, KEYS_MAX));
        // Of long ones there are fewer.
        let key = |id: usize| format!("{id}{}", "x".repeat(1 << 20));
        (0..20).for_each(|id| once.note(Ms(900_000), &key(id), placed(1)));
        let kept = (0..20).filter(|&id| once.find(Ms(900_000), &key(id)).is_some()).count();
        assert_eq!((kept, once.notes.len()), (15, 15));
    }
}
