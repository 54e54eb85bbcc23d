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
    /// How many places in it are of channels that have gone.
    gone: usize,
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
    /// A channel has gone. When more than half of the places are of such ones, all of them are given up.
    pub(super) fn sweep_up(&mut self, gone: &Channel, channels: &Slots<Channel>) {
        self.gone += usize::from(gone.queued);
        if self.gone * 2 > self.queue.len() {
            self.queue.retain(|&key| channels.contains(key));
            self.queue.shrink_to(self.queue.len() * 2);
            self.gone = 0;
        }
    }

    /// The channel at the front.
    fn next_place(&mut self, channels: &Slots<Channel>) -> Option<Key<Channel>> {
        loop {
            let key = self.queue.pop_front()?;
            if channels.contains(key) {
                return Some(key);
            }
            self.gone -= 1;
        }
    }

    /// How many places there are, those of the gone included.
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
            // The places of channels that have gone cost nothing: each is passed over once.
            let Some(key) = self.memory.next_place(&self.channels) else { return };
            let channel = &mut self.channels[key];
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
