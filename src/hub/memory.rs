//! What all channels together may hold.
//!
//! When they hold more, the channels that were not used for longest give up their messages, all but the newest. Which
//! those are is found as a clock's hand finds it: every channel with messages stands in one queue; the hand passes over
//! who was used since it came by last, and takes from who was not. So a publish moves nobody, it sets a flag.

use std::collections::VecDeque;

use crate::clock::Ms;
use crate::slots::{Key, Slots};

use super::Hub;
use super::channel::Channel;

/// Channels or messages that the hand looks at for one publish, so that it catches up bit by bit with what it left.
const STEPS: usize = 64;

/// The same for a publish that has added more bytes than these have freed, which only a large one can: some 200 us.
const STEPS_MAX: usize = 4096;

/// The sum, and the queue.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Bytes of rendered messages.
    pub(super) bytes: usize,
    queue: VecDeque<Key<Channel>>,
}

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
    /// A channel has gone. Its place in the queue stays until the look at two places for each that goes comes by it: so
    /// there are hardly more places of the dead than there are channels.
    pub(super) fn sweep_up(&mut self, channels: &Slots<Channel>) {
        for _ in 0..2 {
            match self.queue.pop_front() {
                Some(key) if channels.contains(key) => self.queue.push_back(key),
                Some(_) => {}
                None => break,
            }
        }
        if self.queue.len() * 4 < self.queue.capacity() {
            self.queue.shrink_to(self.queue.len() * 2);
        }
    }

    /// How many places there are, those of the dead included.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.queue.len()
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
            let Some(key) = self.memory.queue.pop_front() else { return };
            let Some(channel) = self.channels.get_mut(key) else { continue };
            if std::mem::take(&mut channel.used_lately) {
                self.memory.queue.push_back(key);
                continue;
            }
            let before = channel.held_messages().1;
            if channel.lose_oldest(now) {
                let lost = before - channel.held_messages().1;
                self.memory.bytes -= lost;
                freed += lost;
                self.memory.queue.push_front(key);
            } else {
                // Only its newest are left, which stay. It stands here again when it is published to.
                channel.queued = false;
            }
        }
    }
}
