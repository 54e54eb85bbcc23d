//! What has happened since the start, in plain numbers. The hub counts facts where they happen and never looks at them; who
//! wants to know reads them ([`Hub::tally`], [`Hub::usage`]), and nothing is walked for it.

use crate::histogram::Histogram;

use super::answer::Draft;
use super::channel::Channel;
use super::client::Client;
use super::subscription::{Subscriber, Subscription};
use super::waiter::{Ending, MEDIA, Waiter};
use super::{Error, Hub, Limit};
use crate::clock::Ms;

/// The counts. They only rise, but for `parked`.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Messages that were published: the web application's, and the server's own.
    pub published: [u64; 2],
    /// Bytes of them, as they are kept.
    pub published_bytes: u64,
    /// By medium, what waits, or whose answer is on its way.
    pub parked: [usize; MEDIA.len()],
    /// By medium, messages that went into answers: each once for every page that it went to.
    pub sent: [u64; MEDIA.len()],
    /// By medium, answers with messages in them that have left the process whole.
    pub delivered: [u64; MEDIA.len()],
    /// By medium, those that have not, as their page had gone. It gets the same again where it goes on.
    pub broken_off: [u64; MEDIA.len()],
    /// Milliseconds from a message's publication to its answer, for who waited for it; of each answer the oldest message.
    pub latency: Histogram<16>,
    /// By [`Loss`](super::Loss), gaps that were told.
    pub gaps: [u64; 5],
    /// By [`Ending`](super::Ending), what was ended without news.
    pub ended: [u64; 4],
    /// Clients that were made.
    pub created: u64,
    /// Clients that had been collected and came back.
    pub returned: u64,
    /// Clients that were collected, as they did not poll.
    pub departed: u64,
    /// Collected clients that were forgotten, as their time was over or there were too many.
    pub forgotten: u64,
    /// Channels that were freed, as nobody used them.
    pub freed: u64,
    /// Messages that went, as they were too old.
    pub aged: u64,
    /// How often something was refused.
    pub refused: Refused,
}

/// How often something was refused, by the limit that was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// [`Limits::clients_max`](super::Limits::clients_max)
    pub clients: u64,
    /// [`Limits::channels_max`](super::Limits::channels_max)
    pub channels: u64,
    /// [`Limits::subscriptions_max`](super::Limits::subscriptions_max)
    pub subscriptions: u64,
    /// [`Limits::polls_per_client`](super::Limits::polls_per_client): a poll was refused, or an older one sent away for it.
    pub polls: u64,
    /// [`Room::full`](super::Room::full)
    pub memory: u64,
}

/// What there is and what it takes: counts times sizes, as nobody asks the allocator what belongs to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Subscriptions, those included of clients that have departed, and the ended ones of which something is to be read.
    pub subscriptions: usize,
    /// Bytes of clients and what waits for them.
    pub client_bytes: usize,
    /// Bytes of subscriptions, at both ends.
    pub subscription_bytes: usize,
    /// Bytes of channels.
    pub channel_bytes: usize,
    /// Bytes of the messages that channels hold.
    pub history_bytes: usize,
}

/// What a name or an id takes, with its place in the table of names: most are shorter than this, some are longer.
const NAME_BYTES: usize = 48;

impl Tally {
    /// An answer has been made, with so many messages that count.
    pub(super) fn note_answer(
        &mut self,
        now: Ms,
        waiter: &Waiter,
        draft: &Draft,
        count: usize,
        ending: Option<Ending>,
    ) {
        self.sent[waiter.medium()] += count as u64;
        let (seq, at) = draft.oldest;
        if seq > waiter.came && count > 0 {
            self.latency.note((now - at).0);
        }
        for (_, gap) in &draft.gaps {
            self.gaps[gap.loss as usize] += 1;
        }
        if let Some(ending) = ending {
            self.ended[ending as usize] += 1;
        }
    }

    /// Counts a refusal on its way to whoever asked.
    pub(super) fn refuse(&mut self, limit: Limit) -> Error {
        let count = match limit {
            Limit::Clients(_) => &mut self.refused.clients,
            Limit::Channels(_) => &mut self.refused.channels,
            Limit::Subscriptions(_) => &mut self.refused.subscriptions,
            Limit::Memory(_) => &mut self.refused.memory,
        };
        *count += 1;
        Error::Full(limit)
    }
}

impl Hub {
    /// What has happened since the start.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What there is and what it takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        // The first subscription of a client stands in the client.
        let client_bytes = size_of::<Client>() - size_of::<Subscription>() + NAME_BYTES;
        Usage {
            subscriptions: self.subscriptions,
            client_bytes: self.clients.len() * client_bytes + self.waiters.len() * size_of::<Waiter>(),
            subscription_bytes: self.subscriptions * (size_of::<Subscription>() + size_of::<Subscriber>()),
            channel_bytes: self.channels.len() * (size_of::<Channel>() + NAME_BYTES),
            history_bytes: self.memory.bytes,
        }
    }
}
