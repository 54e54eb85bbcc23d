//! Making an answer: what is due to a waiter, in which order, and how much of it fits.
//!
//! The answer is made in one [`Draft`] of the hub's, as places in rings: no message is copied or touched. It is lent out as
//! an [`Answer`], and whoever has it writes the messages down as they stand.
//!
//! What is due to one subscriber of a channel is mostly due to the next one too. So a draft remembers what it was made of
//! ([`Origin`]), and serves as it is whoever is due the same. The answers that it makes are of one *edition*: whoever
//! writes them down writes one, and copies it.

use std::ops::Range;

use crate::clock::Ms;
use crate::slots::Key;

use super::Hub;
use super::channel::{Channel, Gap, Place};
use super::client::Client;
use super::message::Message;
use super::ring::Loss;
use super::subscription::Subscription;
use super::waiter::{Ending, Owner, Protocol, State, Waiter};

/// Messages in one answer of the resume protocol: the page asks for the rest at once.
const RESUME_MESSAGES_MAX: usize = 1000;

/// Bytes of messages, with their channels' names, in one answer of the resume protocol; a single larger message still goes out whole.
const RESUME_BYTES_MAX: usize = 256 << 10;

/// The same in one answer of a stream, which is asked again as soon as it has left: what a slow reader's socket does not
/// take is kept, and is to be little.
const STREAM_BYTES_MAX: usize = 64 << 10;

/// A message of the answer being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    seq: u64,
    pub(super) channel: Key<Channel>,
    place: Place,
}

/// Something that was due and is not there any more: what is told of it depends on how far the answer goes.
#[derive(Clone, Copy, Debug)]
struct Lack {
    channel: Key<Channel>,
    reader: Key<Client>,
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
    pub(super) gaps: Vec<(Key<Channel>, Gap)>,
    /// The `seq` of its oldest message, and when that was published; 0 if there is none.
    pub(super) oldest: (u64, Ms),
    /// The page's position after it, `None` if that is as unknown as before.
    pub(super) upto: Option<u64>,
    more: bool,
    /// Up to here it is not cut, however much it is: a position before it would say that nothing of a subscription has been
    /// had that began in the past.
    whole_upto: u64,
    /// A message was looked at that not everybody gets.
    is_personal: bool,
    origin: Option<Origin>,
    edition: u64,
}

/// What an answer follows from: whoever finds the same gets the same.
#[derive(Clone, Debug)]
struct Origin {
    /// The one channel that has news.
    channel: Key<Channel>,
    /// Who has had everything of it up to one of these.
    after: Range<u64>,
    is_original: bool,
    is_stream: bool,
    /// The `seq` of the hub: nothing has been published anywhere since.
    seq: u64,
}

/// Where there may be something for a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nowhere: nothing is due.
    None,
    /// In one channel, for who has had everything up to `after`.
    One { channel: Key<Channel>, after: u64 },
    /// In several, or its subscriptions are not plain ones.
    Many,
}

/// What is owed to one waiter, lent until the next call of the hub.
#[derive(Debug)]
pub struct Answer<'a> {
    pub(super) hub: &'a Hub,
    pub(super) owner: Owner,
    pub(super) waiter: Key<Waiter>,
    pub(super) ending: Option<Ending>,
}

impl Hub {
    /// Where there may be something for a waiter: one look at each of its channels. What is on its way to one of its clients
    /// comes first, as nobody knows what it has got (P17).
    pub(super) fn news(&self, waiter: &Waiter) -> News {
        let (mut news, is_lost) = (News::None, waiter.is_lost());
        for member in &waiter.members {
            let client = &self.clients[member.client];
            if waiter.is_original() && self.is_held_up(client) {
                return News::None;
            }
            let position = waiter.position(member, client);
            for subscription in &client.subscriptions {
                let after = subscription.after(position);
                if subscription.is_over(after) {
                    // It is kept for pages that are not as far.
                    continue;
                }
                let is_special = subscription.has_ended() || subscription.is_behind(position);
                if is_lost || is_special {
                    news = News::Many;
                } else if self.channels[subscription.channel].last_seq() > after {
                    let one = News::One { channel: subscription.channel, after };
                    news = if news == News::None { one } else { News::Many };
                }
            }
        }
        news
    }

    /// Fills in what is due. True if anything is.
    pub(super) fn fill(&self, now: Ms, waiter: &Waiter, draft: &mut Draft) -> bool {
        // While an answer is on its way to one of the clients nobody knows what it has got: nothing is due (P17).
        if waiter.is_original() && waiter.clients().any(|client| self.is_held_up(&self.clients[client])) {
            return false;
        }
        for member in &waiter.members {
            let client = &self.clients[member.client];
            let position = waiter.position(member, client);
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

    /// Writes down what an answer was made of, if others can be due the same.
    pub(super) fn note_origin(&self, news: &News, waiter: &Waiter, draft: &mut Draft) {
        if let &News::One { channel, after } = news
            && waiter.state == State::Parked
            && !draft.is_personal
        {
            let after = self.channels[channel].stretch(after);
            let (is_original, is_stream) = (waiter.is_original(), waiter.is_stream());
            draft.origin = Some(Origin { channel, after, is_original, is_stream, seq: self.seq });
        }
    }

    /// Whether something is due to a waiter. It takes as long as an answer.
    pub(super) fn is_due(&self, now: Ms, waiter: Key<Waiter>) -> bool {
        self.fill(now, &self.waiters[waiter], &mut Draft::default())
    }

    /// For debug builds: whether an answer made for this waiter alone would be the one that stands in the draft.
    pub(super) fn is_made_alike(&mut self, now: Ms, waiter: Key<Waiter>) -> bool {
        let mut twin = std::mem::take(&mut self.twin);
        twin.begin();
        let is_due = self.fill(now, &self.waiters[waiter], &mut twin);
        let Draft { picks, gaps, upto, more, .. } = &self.draft;
        let is_alike = is_due && (&twin.picks, &twin.gaps, &twin.upto, &twin.more) == (picks, gaps, upto, more);
        self.twin = twin;
        is_alike
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
        if subscription.is_over(after) {
            return;
        }
        let (upto, newest) = subscription.reach();
        let is_lost = waiter.is_lost() && subscription.made <= waiter.came;
        if is_lost && !subscription.has_ended() {
            draft.lacks.push(Lack { channel: subscription.channel, reader: client, after, newest, is_restart: true });
        } else if channel.last_seq() <= after {
            return;
        } else if !waiter.is_original() && channel.gap(Some(client), after, newest, u64::MAX).is_some() {
            draft.lacks.push(Lack { channel: subscription.channel, reader: client, after, newest, is_restart: false });
        }
        // Of the oldest so many of all rings none is behind the oldest so many of its own.
        let is_behind = subscription.is_behind(position);
        if is_behind {
            draft.whole_upto = draft.whole_upto.max(subscription.made);
        }
        let mut is_personal = is_behind || channel.spares_some();
        let most = if waiter.is_original() || is_behind { usize::MAX } else { RESUME_MESSAGES_MAX + 1 };
        for places in channel.places(after, upto) {
            let places = places.filter_map(|place| {
                let message = channel.message(place);
                is_personal |= !message.is_for_all();
                message.is_for(now, client).then_some(Pick { seq: message.seq, channel: subscription.channel, place })
            });
            draft.picks.extend(places.take(most));
        }
        draft.is_personal |= is_personal;
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
            Protocol::Resume(_) if waiter.is_stream() => {
                (RESUME_MESSAGES_MAX, STREAM_BYTES_MAX.min(self.limits.answer_bytes))
            }
            Protocol::Resume(_) => (RESUME_MESSAGES_MAX, RESUME_BYTES_MAX.min(self.limits.answer_bytes)),
        };
        let mut bytes = 0;
        let fitting = draft.picks.iter().enumerate().take_while(|(at, pick)| {
            let channel = &self.channels[pick.channel];
            bytes += channel.message(pick.place).bytes();
            if !waiter.is_original() {
                // Each message is written with its channel's name.
                bytes += channel.name_json().len();
            }
            pick.seq <= draft.whole_upto || *at < count_max && bytes <= bytes_max
        });
        let fitting = fitting.count().max(1);
        draft.more = draft.picks.len() > fitting;
        draft.picks.truncate(fitting);
        draft.oldest = draft.picks.first().map_or((0, Ms::ZERO), |pick| (pick.seq, self.picked(pick).1.at));
        let last = draft.picks.last().map_or(self.seq, |pick| pick.seq);
        let upto = if draft.more { last.max(draft.whole_upto) } else { self.seq };
        draft.upto = Some(upto);
        // What lies beyond the cut is told by the answer that goes beyond it.
        draft.gaps.extend(draft.lacks.drain(..).filter_map(|lack| {
            let channel = &self.channels[lack.channel];
            let gap = if lack.is_restart {
                Some(channel.restart_gap(lack.after))
            } else {
                channel.gap(Some(lack.reader), lack.after, lack.newest, upto)
            };
            gap.map(|gap| (lack.channel, gap))
        }));
        // One for a channel: of several the one that says more, where all of them are passed.
        draft.gaps.sort_by_key(|&(channel, gap)| (channel, gap.loss != Loss::Restart, gap.system));
        draft.gaps.dedup_by(|(channel, other), (kept_channel, kept)| {
            let is_same = channel == kept_channel;
            if is_same && kept.loss != Loss::Restart {
                kept.seq = kept.seq.max(other.seq);
            }
            is_same
        });
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
    /// Begins another answer.
    pub(super) fn begin(&mut self) {
        self.picks.clear();
        self.lacks.clear();
        self.gaps.clear();
        self.oldest = (0, Ms::ZERO);
        self.upto = None;
        self.more = false;
        self.is_personal = false;
        self.whole_upto = 0;
        self.origin = None;
        self.edition += 1;
    }

    /// Whether it is what is due to a waiter that has found these news, when the hub has come to `seq`.
    pub(super) fn is_made_of(&self, news: &News, waiter: &Waiter, seq: u64) -> bool {
        match (&self.origin, news) {
            (Some(origin), News::One { channel, after }) => {
                origin.channel == *channel
                    && origin.after.contains(after)
                    && origin.seq == seq
                    && origin.is_original == waiter.is_original()
                    && origin.is_stream == waiter.is_stream()
            }
            _ => false,
        }
    }

    /// A ring has let go of something: what follows from what is not known any more.
    pub(super) fn forget_origin(&mut self) {
        self.origin = None;
    }
}

impl Answer<'_> {
    /// Whom it is for: what [`Hub::wait`] was told.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The waiter, for [`Hub::delivered`] or [`Hub::cancel`].
    #[must_use]
    pub fn waiter(&self) -> Key<Waiter> {
        self.waiter
    }

    /// Answers of one edition hold the same: messages, gaps, position, and whether there is more. Never 0.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.hub.draft.edition
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
