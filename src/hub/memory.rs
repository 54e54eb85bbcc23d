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

    /// How many places there are, those of the gone included.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.queue.len()
    }
}

impl Hub {
    /// Lets channels give up messages until the sum fits, or the steps are used up.
    pub(super) fn keep_within_memory(&mut self, now: Ms) {
        for _ in 0..STEPS {
            if self.memory.bytes <= self.limits.history_bytes_max {
                return;
            }
            let Some(key) = self.memory.queue.pop_front() else { return };
            let Some(channel) = self.channels.get_mut(key) else {
                self.memory.gone -= 1;
                continue;
            };
            if std::mem::take(&mut channel.used_lately) {
                self.memory.queue.push_back(key);
                continue;
            }
            let before = channel.held_messages().1;
            if channel.lose_oldest(now) {
                self.memory.bytes -= before - channel.held_messages().1;
                self.memory.queue.push_front(key);
            } else {
                // Only its newest are left, which stay. It stands here again when it is published to.
                channel.queued = false;
            }
        }
    }
}
