//! What all channels together may hold, and what is given up when the whole process holds too much.
//!
//! When they hold more, the channels that were not used for longest give up their messages, all but the newest. Which
//! those are is found as a clock's hand finds it: every channel with messages stands in one queue; the hand passes over
//! who was used since it came by last, and takes from who was not. So a publish moves nobody, it sets a flag.

use crate::clock::Ms;
use crate::paged::Queue;
use crate::slots::{Key, Slots};

use super::channel::Channel;
use super::{Error, Hub, Limit};

/// Channels or messages that the hand looks at for one publish, so that it catches up bit by bit with what it left.
const STEPS: usize = 64;

/// The same for a publish that has added more bytes than these have freed, which only a large one can: some 200 us.
const STEPS_MAX: usize = 4096;

/// How much memory the process has left, as the edge knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that history is to give up: the limit is near.
    pub excess: usize,
    /// The limit, if it is reached: there is no room for new clients, subscriptions, channels and messages.
    pub full: Option<usize>,
}

/// The sum, and the queue.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Bytes of rendered messages.
    pub(super) bytes: usize,
    queue: Queue<Key<Channel>>,
    /// Places before those in the queue that are swept: there were no gone ones among them.
    swept: Queue<Key<Channel>>,
    is_sweeping: bool,
    /// How many places are of channels that have gone.
    gone: usize,
    /// The process's limit, if it is reached.
    pub(super) full: Option<usize>,
}

/// Places that are looked at for each channel that goes: more than one, so that sweeping comes to its end, and no more than
/// what takes less than a us.
const SWEPT_PER_CHANNEL: usize = 4;

impl Memory {
    /// A channel has been published to: it held `before` bytes and holds `after`.
    pub(super) fn note(&mut self, key: Key<Channel>, channel: &mut Channel, before: usize, after: usize) {
        self.bytes = self.bytes - before + after;
        channel.used_lately = true;
        if !std::mem::replace(&mut channel.queued, true) {
            self.queue.push_back(key);
        }
    }
}

impl Memory {
    /// A channel has gone. When more than half of the places are of such ones these are given up, some for each channel that
    /// goes.
    pub(super) fn sweep_up(&mut self, gone: &Channel, channels: &Slots<Channel>) {
        self.gone += usize::from(gone.queued);
        self.is_sweeping |= self.gone * 2 > self.queue.len() + self.swept.len();
        for _ in 0..SWEPT_PER_CHANNEL {
            if !self.is_sweeping {
                return;
            }
            match self.queue.pop_front() {
                Some(key) if channels.contains(key) => self.swept.push_back(key),
                Some(_) => self.gone -= 1,
                None => {
                    std::mem::swap(&mut self.queue, &mut self.swept);
                    self.is_sweeping = false;
                }
            }
        }
    }

    /// Takes the first place away. Those of channels that have gone are passed over, at no cost but for the time: some 100 us
    /// at most, after which it finds nothing this time.
    fn next_place(&mut self, channels: &Slots<Channel>) -> Option<Key<Channel>> {
        for _ in 0..STEPS_MAX {
            let key = self.swept.pop_front().or_else(|| self.queue.pop_front())?;
            if channels.contains(key) {
                return Some(key);
            }
            self.gone -= 1;
        }
        None
    }

    /// How many places there are, those of the gone included.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.queue.len() + self.swept.len()
    }
}

impl Hub {
    /// Lets channels give up messages until the sum fits, or the steps are used up.
    pub(super) fn keep_within_memory(&mut self, now: Ms, added: usize) {
        let mut freed = 0;
        for step in 0..STEPS_MAX {
            if self.memory.bytes <= self.limits.history_bytes_max || step >= STEPS && freed >= added {
                return;
            }
            let Some(lost) = self.move_hand(now) else { return };
            freed += lost;
        }
    }

    /// The process has so much memory left. History is given up, as much of it as the steps allow; what is still too much then
    /// is so the next time too.
    pub fn live_in(&mut self, now: Ms, room: Room) {
        self.memory.full = room.full;
        let mut freed = 0;
        for _ in 0..STEPS_MAX {
            if freed >= room.excess {
                return;
            }
            let Some(lost) = self.move_hand(now) else { return };
            freed += lost;
        }
    }

    /// Whether something new can come.
    pub(super) fn has_memory(&mut self) -> Result<(), Error> {
        self.memory.full.map_or(Ok(()), |max| Err(self.tally.refuse(Limit::Memory(max))))
    }

    /// One step of the hand, and how many bytes are given up by it. `None` if there is nothing left to give up.
    fn move_hand(&mut self, now: Ms) -> Option<usize> {
        let key = self.memory.next_place(&self.channels)?;
        let channel = &mut self.channels[key];
        if std::mem::take(&mut channel.used_lately) {
            self.memory.queue.push_back(key);
            return Some(0);
        }
        let before = channel.held_messages().1;
        if !channel.lose_oldest(now) {
            // Only its newest are left, which stay. It stands here again when it is published to.
            channel.queued = false;
            return Some(0);
        }
        let lost = before - channel.held_messages().1;
        self.memory.bytes -= lost;
        self.memory.swept.push_front(key);
        Some(lost)
    }
}
