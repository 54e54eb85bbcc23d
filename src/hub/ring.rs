//! A ring of messages: the newest so many, of so many bytes, no older than so.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::Ms;

use super::message::Message;

/// Recent messages, oldest first. The newest always stays, whatever the limits say.
#[derive(Debug, Default)]
pub(super) struct Ring {
    messages: VecDeque<Message>,
    bytes: usize,
}

/// Messages that are given up for their age at a time. The channel is looked at again while there are more.
const AGED_MAX: usize = 2000;

/// Up to here a ring has room for no more than it has.
const FEW: usize = 3;

/// Why a message is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// The channel keeps only so many.
    Count,
    /// The channel keeps only so many bytes.
    Bytes,
    /// The channel keeps messages only so long.
    Age,
    /// All channels together keep only so many bytes.
    Memory,
    /// The server has started anew and does not know what the page had.
    Restart,
}

impl Loss {
    /// The word for it on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Loss::Count => "count",
            Loss::Bytes => "bytes",
            Loss::Age => "age",
            Loss::Memory => "memory",
            Loss::Restart => "restart",
        }
    }
}

impl Ring {
    /// Puts a message behind the others. What must go for it goes to `lose`, the oldest first.
    pub(super) fn push(&mut self, message: Message, count: usize, bytes: usize, mut lose: impl FnMut(Message, Loss)) {
        while self.messages.len() >= count.max(1) {
            lose(self.pop().expect("it is not empty"), Loss::Count);
        }
        while !self.messages.is_empty() && self.bytes + message.bytes() > bytes {
            lose(self.pop().expect("it is not empty"), Loss::Bytes);
        }
        self.bytes += message.bytes();
        if self.messages.len() == self.messages.capacity() && self.messages.len() < FEW {
            // Most rings of most channels have one message.
            self.messages.reserve_exact(1);
        }
        self.messages.push_back(message);
    }

    /// Gives up messages, the oldest first, until there are so many, of so many bytes, or the newest alone. Takes one off
    /// `budget` for each; false if it is not enough.
    pub(super) fn shrink(
        &mut self,
        count: usize,
        bytes: usize,
        budget: &mut u32,
        mut lose: impl FnMut(Message, Loss),
    ) -> bool {
        while self.messages.len() > 1 && (self.messages.len() > count || self.bytes > bytes) {
            let Some(left) = budget.checked_sub(1) else { return false };
            *budget = left;
            let loss = if self.messages.len() > count { Loss::Count } else { Loss::Bytes };
            lose(self.pop().expect("it is not empty"), loss);
        }
        true
    }

    /// Gives up the messages from before `time`, but for the newest; so many at a time that it takes some 100 us.
    pub(super) fn lose_older(&mut self, time: Ms, mut lose: impl FnMut(Message, Loss)) {
        for _ in 0..AGED_MAX {
            if self.messages.len() < 2 || self.messages[0].at >= time {
                return;
            }
            lose(self.pop().expect("it is not empty"), Loss::Age);
        }
    }

    /// Gives up its oldest message for the sake of the whole, unless it is the newest too.
    pub(super) fn lose_oldest(&mut self) -> Option<Message> {
        if self.messages.len() > 1 { self.pop() } else { None }
    }

    /// Its messages, oldest first.
    pub(super) fn into_messages(self) -> VecDeque<Message> {
        self.messages
    }

    /// Gives up all messages.
    pub(super) fn lose_all(&mut self, mut lose: impl FnMut(Message, Loss)) {
        while let Some(message) = self.pop() {
            lose(message, Loss::Age);
        }
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.bytes();
        if self.messages.len() * 4 < self.messages.capacity() {
            self.messages.shrink_to(self.messages.len() * 2);
        }
        Some(message)
    }

    /// The indices of the messages after `after` and up to `upto`.
    pub(super) fn between(&self, after: u64, upto: u64) -> std::ops::Range<usize> {
        let start = self.messages.partition_point(|message| message.seq <= after);
        start..self.messages.partition_point(|message| message.seq <= upto).max(start)
    }

    /// The `seq`s of the last message up to `after` and of the first one after it.
    pub(super) fn around(&self, after: u64) -> impl Iterator<Item = u64> {
        let next = self.messages.partition_point(|message| message.seq <= after);
        [next.checked_sub(1), Some(next)].into_iter().flatten().filter_map(|at| Some(self.messages.get(at)?.seq))
    }

    pub(super) fn get(&self, at: usize) -> &Message {
        &self.messages[at]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Message> {
        self.messages.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn oldest(&self) -> Option<&Message> {
        self.messages.front()
    }

    pub(super) fn newest(&self) -> Option<&Message> {
        self.messages.back()
    }

    /// The first message with an id after this one.
    pub(super) fn first_after_id(&self, id: u64) -> Option<&Message> {
        self.messages.get(self.messages.partition_point(|message| message.id <= id))
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self) {
        assert!(self.messages.iter().is_sorted_by(|a, b| a.seq < b.seq && a.id < b.id));
        assert_eq!(self.messages.iter().map(Message::bytes).sum::<usize>(), self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Kind, Sender};
    use super::*;

    fn push(ring: &mut Ring, seq: u64, text: &str, count: usize, bytes: usize) -> Vec<(u64, Loss)> {
        let mut lost = Vec::new();
        let message = Message::new(Ms(seq), seq, seq, Kind::Application, Sender::Json(b"0"), text);
        ring.push(message, count, bytes, |message, loss| lost.push((message.seq, loss)));
        ring.check();
        lost
    }

    #[test]
    fn it_keeps_the_newest_by_count_bytes_and_age() {
        let mut ring = Ring::default();
        for seq in [2, 5, 6] {
            assert_eq!(push(&mut ring, seq, "x", 3, 1000), []);
        }
        assert_eq!(push(&mut ring, 9, "x", 3, 1000), [(2, Loss::Count)]);
        assert_eq!((ring.between(0, 99), ring.between(5, 8), ring.between(9, 3)), (0..3, 1..2, 3..3));
        assert_eq!(push(&mut ring, 11, "x", 9, 25), [(5, Loss::Bytes), (6, Loss::Bytes)]);
        // The newest stays, however large.
        assert_eq!(push(&mut ring, 12, &"x".repeat(99), 9, 25), [(9, Loss::Bytes), (11, Loss::Bytes)]);
        assert_eq!(ring.len(), 1);
        push(&mut ring, 13, "x", 9, 1000);
        let mut lost = Vec::new();
        ring.lose_older(Ms(99), |message, loss| lost.push((message.seq, loss)));
        assert_eq!(lost, [(12, Loss::Age)]);
        assert!(ring.lose_oldest().is_none());
        ring.check();
    }
}
