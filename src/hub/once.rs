//! Publishing only once: what was published with which key.
//!
//! A web application that does not know whether its call has arrived calls again with the same key. The keys are kept for
//! a while, and no more than so many: the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::clock::Ms;

use super::Placed;

/// How long a key is remembered: longer than anybody retries one call.
const WINDOW: Ms = Ms::from_secs(300);

/// Keys that are remembered: with keys of 100 bytes some 20 MB. A key is as long as a name may be (`--max-name`), and its
/// length is not counted.
const KEYS_MAX: usize = 100_000;

/// The keys of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Once {
    placed: HashMap<Rc<str>, Placed>,
    /// The same keys with when they were noted, the oldest first.
    order: VecDeque<(Ms, Rc<str>)>,
}

impl Once {
    /// What was published with this key.
    pub(super) fn find(&mut self, now: Ms, key: &str) -> Option<Placed> {
        while self.order.front().is_some_and(|&(noted, _)| noted + WINDOW <= now) {
            self.forget_oldest();
        }
        self.placed.get(key).copied()
    }

    /// Remembers what was published with a key that was not found.
    pub(super) fn note(&mut self, now: Ms, key: &str, placed: Placed) {
        if self.order.len() >= KEYS_MAX {
            self.forget_oldest();
        }
        let key: Rc<str> = Rc::from(key);
        self.placed.insert(Rc::clone(&key), placed);
        self.order.push_back((now, key));
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.placed.remove(&key);
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
        for id in 0..=KEYS_MAX as u64 {
            once.note(Ms(300_000), &id.to_string(), placed(id));
        }
        assert_eq!((once.find(Ms(300_000), "0"), once.find(Ms(300_000), "1")), (None, Some(placed(1))));
        assert_eq!((once.placed.len(), once.order.len()), (KEYS_MAX, KEYS_MAX));
    }
}
