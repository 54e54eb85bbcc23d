//! A channel: a ring of recent messages, and who is subscribed.
//!
//! The ring is the only place where messages are kept. A reader holds one number, its position, so a slow or absent
//! reader costs nothing here; what falls out of the ring is gone for whoever had not read it yet (WIRE C4).

use std::collections::VecDeque;
use std::rc::Rc;

use crate::clock::Ms;
use crate::json;

use super::message::Message;
use super::subscription::Subscriber;

/// One channel of the hub.
#[derive(Debug)]
pub struct Channel {
    /// The name as clients know it; shared with the hub's table of names.
    pub(super) name: Rc<str>,
    /// The name as a JSON string, quotes included: rendered once for all answers.
    name_json: Box<[u8]>,
    ring: VecDeque<Message>,
    last_id: u64,
    last_seq: u64,
    /// The subscribed clients that are here. In no order: leaving swaps the last one into the gap.
    pub(super) subscribers: Vec<Subscriber>,
    /// How many departed clients would be subscribed again if they came back. They keep the channel alive.
    pub(super) departed: u32,
    /// Where the sweep over the subscribers stands, while one is under way.
    pub(super) sweep: Option<Sweep>,
    /// When it was last published to, or lost a subscriber.
    pub(super) used: Ms,
    /// A reminder to look whether it is idle is on its way.
    pub(super) reminded: bool,
}

/// A walk over the subscribers from the last to the first, in slices.
///
/// Downwards, because leaving swaps the last subscriber into the gap: whoever moves then has been visited already,
/// and whoever joins at the end meanwhile is published about, which asks for one more pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// The subscribers below this index are still to be visited in this pass.
    pub(super) left: usize,
    /// Something was published since the pass began: once more when it ends.
    pub(super) again: bool,
}

impl Channel {
    pub(super) fn new(now: Ms, name: Rc<str>) -> Channel {
        let mut name_json = Vec::with_capacity(name.len() + 2);
        json::write_str(&mut name_json, &name);
        Channel {
            name,
            name_json: name_json.into_boxed_slice(),
            ring: VecDeque::new(),
            last_id: 0,
            last_seq: 0,
            subscribers: Vec::new(),
            departed: 0,
            sweep: None,
            used: now,
            reminded: false,
        }
    }

    /// Puts a message behind the others; the oldest goes when there are more than `history`.
    pub(super) fn append(&mut self, now: Ms, id: u64, message: Message, history: usize) {
        assert!(id > self.last_id && message.seq() > self.last_seq, "ids and seqs only rise: they are given in order");
        self.last_id = id;
        self.last_seq = message.seq();
        self.used = now;
        while self.ring.len() >= history {
            self.ring.pop_front();
        }
        self.ring.push_back(message);
    }

    /// Asks for every subscriber to be visited once from now on. True when no sweep was under way, so that the caller
    /// has to queue it.
    pub(super) fn mark(&mut self) -> bool {
        match &mut self.sweep {
            Some(sweep) => {
                sweep.again = true;
                false
            }
            None => {
                self.sweep = Some(Sweep { left: self.subscribers.len(), again: false });
                true
            }
        }
    }

    /// The next subscriber of the sweep, or `None` when it is over.
    pub(super) fn visit(&mut self) -> Option<Subscriber> {
        let subscribers = self.subscribers.len();
        let sweep = self.sweep.as_mut()?;
        // Some may have left since the last slice.
        sweep.left = sweep.left.min(subscribers);
        if sweep.left == 0 && sweep.again {
            *sweep = Sweep { left: subscribers, again: false };
        }
        if sweep.left == 0 {
            self.sweep = None;
            return None;
        }
        sweep.left -= 1;
        Some(self.subscribers[sweep.left])
    }

    /// Nobody is subscribed, and nobody who may come back is either.
    pub(super) fn is_deserted(&self) -> bool {
        self.subscribers.is_empty() && self.departed == 0
    }

    /// The id that the next message of this channel gets (WIRE C1: 1, 2, 3...).
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// The `seq` of its newest message; 0 if there never was one.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Its name as a JSON string in pure ASCII, quotes included.
    #[must_use]
    pub fn name_json(&self) -> &[u8] {
        &self.name_json
    }

    /// What the ring holds of the messages after `after` and up to `upto`, oldest first.
    pub fn messages(&self, after: u64, upto: u64) -> impl Iterator<Item = &Message> {
        let start = self.ring.partition_point(|message| message.seq() <= after);
        let end = self.ring.partition_point(|message| message.seq() <= upto).max(start);
        self.ring.range(start..end)
    }

    /// Asserts what must always hold (for [`Hub::check`](super::Hub::check)).
    pub(super) fn check(&self, history: usize) {
        assert!(self.ring.len() <= history);
        assert!(self.ring.iter().is_sorted_by(|a, b| a.seq() < b.seq()));
        assert_eq!(self.ring.back().map_or(0, Message::seq), self.last_seq);
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Sender;
    use super::*;
    use crate::slots::Key;

    fn channel(history: usize, seqs: &[u64]) -> Channel {
        let mut channel = Channel::new(Ms::ZERO, Rc::from("room"));
        for &seq in seqs {
            let id = channel.next_id();
            channel.append(Ms::ZERO, id, Message::new(seq, id, "x", Sender::Json(b"null")), history);
            channel.check(history);
        }
        channel
    }

    fn seqs(channel: &Channel, after: u64, upto: u64) -> Vec<u64> {
        channel.messages(after, upto).map(Message::seq).collect()
    }

    #[test]
    fn the_ring_keeps_the_newest() {
        let channel = channel(3, &[2, 5, 6, 9, 11]);
        assert_eq!(seqs(&channel, 0, u64::MAX), [6, 9, 11]);
        assert_eq!(channel.next_id(), 6);
        assert_eq!(seqs(&channel, 6, 10), [9]);
        assert_eq!(seqs(&channel, 11, 20), [0; 0]);
        assert_eq!(seqs(&channel, 20, 3), [0; 0]);
    }

    #[test]
    fn a_sweep_visits_everybody_and_once_more_when_marked_meanwhile() {
        let mut channel = channel(3, &[]);
        for at in 0..3 {
            channel.subscribers.push(Subscriber { client: Key::unpack(7), at });
        }
        assert!(channel.mark());
        assert_eq!(channel.visit().map(|s| s.at), Some(2));
        assert!(!channel.mark());
        let rest: Vec<u32> = std::iter::from_fn(|| channel.visit()).map(|s| s.at).collect();
        assert_eq!(rest, [1, 0, 2, 1, 0]);
        assert!(channel.sweep.is_none() && channel.mark());
    }

    #[test]
    fn a_sweep_survives_that_everybody_leaves() {
        let mut channel = channel(3, &[]);
        channel.subscribers.push(Subscriber { client: Key::unpack(7), at: 0 });
        channel.mark();
        channel.subscribers.clear();
        assert!(channel.visit().is_none() && channel.sweep.is_none());
    }
}
