//! What was asked and is not answered: Redis answers in the order in which it was asked.

use std::collections::VecDeque;

use super::greeting::Step;
use crate::broker::Ticket;
use crate::clock::Ms;

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A call of this ticket's.
    Call(Ticket),
    /// A call that is late: its caller has been told, and the answer goes to nobody.
    Nobodys,
    /// Whether Redis is there.
    Ping,
    /// To follow a channel, or to leave it. The answer is a push; only an error is a reply.
    Channel,
    /// To be let in.
    Greeting(Step),
}

/// A queue of it.
#[derive(Debug, Default)]
pub(super) struct Owed {
    queue: VecDeque<(Asked, Ms)>,
    /// So many at the front are late and have been dealt with.
    late: usize,
    /// How many are calls that are not late.
    calls: usize,
}

impl Owed {
    pub(super) fn push(&mut self, asked: Asked, now: Ms) {
        self.calls += usize::from(matches!(asked, Asked::Call(_)));
        self.queue.push_back((asked, now));
    }

    /// What was asked first, and when: it is answered now.
    pub(super) fn pop(&mut self) -> Option<(Asked, Ms)> {
        let first = self.queue.pop_front()?;
        self.late = self.late.saturating_sub(1);
        self.calls -= usize::from(matches!(first.0, Asked::Call(_)));
        Some(first)
    }

    /// Takes what was asked first if it was to follow a channel, or to leave it. Says whether it was.
    pub(super) fn pop_channel(&mut self) -> bool {
        let is_channel = self.queue.front().is_some_and(|(asked, _)| *asked == Asked::Channel);
        is_channel && self.pop().is_some()
    }

    /// A call that has become late.
    pub(super) fn take_late(&mut self, now: Ms, timeout: Ms) -> Option<Ticket> {
        while let Some((asked, at)) = self.queue.get_mut(self.late).filter(|(_, at)| *at + timeout <= now) {
            debug_assert!(*at <= now);
            self.late += 1;
            if let Asked::Call(ticket) = *asked {
                *asked = Asked::Nobodys;
                self.calls -= 1;
                return Some(ticket);
            }
        }
        None
    }

    /// When the next becomes late.
    pub(super) fn next_late(&self, timeout: Ms) -> Option<Ms> {
        self.queue.get(self.late).map(|(_, at)| *at + timeout)
    }

    /// When the first was asked.
    pub(super) fn first_asked(&self) -> Option<Ms> {
        self.queue.front().map(|(_, at)| *at)
    }

    /// Calls that are not late.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Everything that waits for an answer, late calls included.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// All calls that are not late.
    pub(super) fn into_calls(self) -> impl Iterator<Item = Ticket> {
        self.queue.into_iter().filter_map(|(asked, _)| match asked {
            Asked::Call(ticket) => Some(ticket),
            _ => None,
        })
    }
}
