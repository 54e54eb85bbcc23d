//! Making an answer: what is due to a waiter, in which order, and how much of it fits.
//!
//! The answer is made in one [`Draft`] of the hub's, as places in rings: no message is copied or touched. It is lent out as
//! an [`Answer`], and whoever has it writes the messages down as they stand.

use crate::clock::Ms;
use crate::slots::Key;

use super::Hub;
use super::channel::{Channel, Gap, Place};
use super::client::Client;
use super::message::Message;
use super::ring::Loss;
use super::subscription::Subscription;
use super::waiter::{Ending, Owner, Protocol, Since, Waiter};

/// Messages in one answer of the resume protocol: the page asks for the rest at once.
const RESUME_MESSAGES_MAX: usize = 1000;

/// Bytes of messages, with their channels' names, in one answer of the resume protocol; a single larger message still goes out whole.
const RESUME_BYTES_MAX: usize = 1 << 20;

/// A message of the answer being made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    seq: u64,
    channel: Key<Channel>,
    place: Place,
}

/// Something that was due and is not there any more: what is told of it depends on how far the answer goes.
#[derive(Clone, Copy, Debug)]
struct Lack {
    channel: Key<Channel>,
    /// What the reader has had, and the newest of either kind that was meant for it.
    after: u64,
    newest: [u64; 2],
    /// Nobody knows what the reader has had.
    is_restart: bool,
}

/// The answer being made.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) picks: Vec<Pick>,
    lacks: Vec<Lack>,
    gaps: Vec<(Key<Channel>, Gap)>,
    /// The page's position after it, `None` if that is as unknown as before.
    pub(super) upto: Option<u64>,
    more: bool,
}

/// What is owed to one waiter, lent until the next call of the hub.
#[derive(Debug)]
pub struct Answer<'a> {
    pub(super) hub: &'a Hub,
    pub(super) waiter: Key<Waiter>,
    pub(super) ending: Option<Ending>,
}

impl Hub {
    /// Fills in what is due. True if anything is.
    pub(super) fn fill(&self, now: Ms, waiter: &Waiter, draft: &mut Draft) -> bool {
        // While an answer is on its way to one of the clients nobody knows what it has got: nothing is due (P17).
        if waiter.is_original() && waiter.clients().any(|client| self.is_held_up(client)) {
            return false;
        }
        for member in &waiter.members {
            let client = &self.clients[member.client];
            let position = if waiter.is_original() { client.position } else { member.position };
            for subscription in &client.subscriptions {
                if waiter.is_original() && subscription.has_ended() {
                    // What was not read by then is not read any more (WIRE C3).
                    continue;
                }
                self.fill_from(now, waiter, member.client, subscription, position, draft);
            }
        }
        self.finish(waiter, draft);
        !draft.picks.is_empty() || !draft.gaps.is_empty()
    }

    /// Fills in one subscription's share.
    fn fill_from(
        &self,
        now: Ms,
        waiter: &Waiter,
        client: Key<Client>,
        subscription: &Subscription,
        position: u64,
        draft: &mut Draft,
    ) {
        let channel = &self.channels[subscription.channel];
        let after = subscription.after(position);
        let (upto, newest) = subscription.reach();
        let is_lost = waiter.protocol == Protocol::Resume(Since::Lost) && subscription.made <= waiter.came;
        if is_lost && !subscription.has_ended() {
            draft.lacks.push(Lack { channel: subscription.channel, after, newest, is_restart: true });
        } else if channel.last_seq() <= after {
            return;
        } else if !waiter.is_original() && channel.gap(after, newest, u64::MAX).is_some() {
            draft.lacks.push(Lack { channel: subscription.channel, after, newest, is_restart: false });
        }
        // Of the oldest so many of all rings none is behind the oldest so many of its own.
        let most = if waiter.is_original() { usize::MAX } else { RESUME_MESSAGES_MAX + 1 };
        for places in channel.places(after, upto) {
            let places = places.filter_map(|place| {
                let message = channel.message(place);
                message.is_for(now, client).then_some(Pick { seq: message.seq, channel: subscription.channel, place })
            });
            draft.picks.extend(places.take(most));
        }
    }

    /// Brings what was found into order, and cuts it where it becomes too much.
    fn finish(&self, waiter: &Waiter, draft: &mut Draft) {
        if !draft.picks.is_sorted_by(|a, b| a.seq < b.seq) {
            // Several channels, rings or clients: all that any of them has not had, once (WIRE P16).
            draft.picks.sort_unstable_by_key(|pick| pick.seq);
            draft.picks.dedup_by_key(|pick| pick.seq);
        }
        let (count_max, bytes_max) = match waiter.protocol {
            Protocol::Original => (usize::MAX, self.limits.answer_bytes),
            Protocol::Resume(_) => (RESUME_MESSAGES_MAX, RESUME_BYTES_MAX.min(self.limits.answer_bytes)),
        };
        let mut bytes = 0;
        let fitting = draft.picks.iter().take(count_max).take_while(|pick| {
            let channel = &self.channels[pick.channel];
            bytes += channel.message(pick.place).bytes();
            if !waiter.is_original() {
                // Each message is written with its channel's name.
                bytes += channel.name_json().len();
            }
            bytes <= bytes_max
        });
        let fitting = fitting.count().max(1);
        draft.more = draft.picks.len() > fitting;
        draft.picks.truncate(fitting);
        let last = draft.picks.last().map_or(self.seq, |pick| pick.seq);
        let upto = if draft.more { last } else { self.seq };
        draft.upto = Some(upto);
        // What lies beyond the cut is told by the answer that goes beyond it.
        draft.gaps.extend(draft.lacks.drain(..).filter_map(|lack| {
            let channel = &self.channels[lack.channel];
            let gap = if lack.is_restart {
                Some(channel.restart_gap(lack.after))
            } else {
                channel.gap(lack.after, lack.newest, upto)
            };
            gap.map(|gap| (lack.channel, gap))
        }));
        // One for a channel: of several the one that says more.
        draft.gaps.sort_by_key(|&(channel, gap)| (channel, gap.loss != Loss::Restart, gap.system));
        draft.gaps.dedup_by_key(|&mut (channel, _)| channel);
        if waiter.is_original() && draft.picks.iter().any(|pick| pick.channel != draft.picks[0].channel) {
            draft.picks.sort_by_key(|pick| pick.channel);
        }
    }

    fn picked(&self, pick: &Pick) -> (&Channel, &Message) {
        let channel = &self.channels[pick.channel];
        (channel, channel.message(pick.place))
    }
}

impl Draft {
    pub(super) fn clear(&mut self) {
        self.picks.clear();
        self.lacks.clear();
        self.gaps.clear();
        self.upto = None;
        self.more = false;
    }
}

impl Answer<'_> {
    /// Whom it is for: what [`Hub::wait`] was told.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.hub.waiters[self.waiter].owner
    }

    /// The waiter, for [`Hub::delivered`] or [`Hub::cancel`].
    #[must_use]
    pub fn waiter(&self) -> Key<Waiter> {
        self.waiter
    }

    /// Why it is answered, if not for news alone.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The position after it; `None` if that is what the clients have acknowledged.
    #[must_use]
    pub fn upto(&self) -> Option<u64> {
        self.hub.draft.upto
    }

    /// There is more than fits: the page asks again at once.
    #[must_use]
    pub fn more(&self) -> bool {
        self.hub.draft.more
    }

    /// The messages, in the order in which they were published.
    pub fn messages(&self) -> impl Iterator<Item = (&Channel, &Message)> {
        self.hub.draft.picks.iter().map(|pick| self.hub.picked(pick))
    }

    /// What the page has missed for good.
    pub fn gaps(&self) -> impl Iterator<Item = (&Channel, Gap)> {
        self.hub.draft.gaps.iter().map(|&(channel, gap)| (&self.hub.channels[channel], gap))
    }

    /// The messages by channel, the oldest first; never a channel without (WIRE P2).
    pub fn channels(&self) -> impl Iterator<Item = (&Channel, impl Iterator<Item = &Message>)> {
        self.hub.draft.picks.chunk_by(|a, b| a.channel == b.channel).map(|picks| {
            let channel = &self.hub.channels[picks[0].channel];
            (channel, picks.iter().map(|pick| self.hub.picked(pick).1))
        })
    }
}
