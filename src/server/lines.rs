//! Who is to be looked at: three lines of peers.
//!
//! Callers have a request of which nobody knows how long it may wait: the web application's calls, and whoever is new.
//! Pages have polled before and poll again; after a message to many there are thousands of them at once, and the next
//! message is a while away. Who has left while its poll was parked waits for nothing. So callers and pages take turns, one of
//! each, and those who have left come last: a small call does not stand behind a crowd.

use crate::paged::Queue;
use crate::slots::Key;

use super::peer::Peer;

/// The lines. A peer is in one of them at most.
#[derive(Debug, Default)]
pub(super) struct Lines {
    callers: Queue<Key<Peer>>,
    pages: Queue<Key<Peer>>,
    leaving: Queue<Key<Peer>>,
    /// The last one looked at was a caller.
    was_caller: bool,
}

impl Lines {
    /// Puts a peer at the end of its line, unless it is in one.
    pub(super) fn put(&mut self, key: Key<Peer>, peer: &mut Peer) {
        if std::mem::replace(&mut peer.queued, true) {
            return;
        }
        let line = if peer.has_left() {
            &mut self.leaving
        } else if peer.is_page {
            &mut self.pages
        } else {
            &mut self.callers
        };
        line.push_back(key);
    }

    /// The next caller or page, in turns.
    pub(super) fn next(&mut self) -> Option<Key<Peer>> {
        self.was_caller = !self.was_caller && !self.callers.is_empty() || self.pages.is_empty();
        if self.was_caller { self.callers.pop_front() } else { self.pages.pop_front() }
    }

    /// The next one that has left.
    pub(super) fn next_leaving(&mut self) -> Option<Key<Peer>> {
        self.leaving.pop_front()
    }

    /// How many callers and pages there are.
    pub(super) fn len(&self) -> usize {
        self.callers.len() + self.pages.len()
    }

    /// How many have left.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Whether nobody is in any line.
    pub(super) fn are_empty(&self) -> bool {
        self.len() == 0 && self.leaving.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use mio::net::UnixStream;

    use super::super::listener::Stream;
    use super::*;
    use crate::api::Entrance;
    use crate::slots::Slots;

    #[test]
    fn a_caller_stands_behind_one_page_of_many() {
        let (mut lines, mut peers) = (Lines::default(), Slots::new());
        let mut come = |lines: &mut Lines, is_page| {
            let stream = Stream::Unix(UnixStream::pair().unwrap().0);
            let mut peer = Peer::new(stream, None, Entrance::Shared);
            peer.is_page = is_page;
            let key = peers.insert(peer);
            lines.put(key, &mut peers[key]);
            // Who is in line already stays at its place.
            lines.put(key, &mut peers[key]);
            key
        };
        let pages: Vec<_> = (0..5).map(|_| come(&mut lines, true)).collect();
        let callers: Vec<_> = (0..2).map(|_| come(&mut lines, false)).collect();
        let order: Vec<_> = std::iter::from_fn(|| lines.next()).collect();
        assert_eq!(order, [callers[0], pages[0], callers[1], pages[1], pages[2], pages[3], pages[4]]);
        assert!(lines.are_empty());
    }
}
