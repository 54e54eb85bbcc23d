//! What a hub is made of, as it is written down: for a file that outlives the process, or for the process that comes after
//! it.
//!
//! A record says the same whatever the hub looks like inside, so the two can change apart. Records are read by position,
//! field after field: whoever adds, takes away or moves one gives the format another number
//! ([`state::VERSION`](crate::state::VERSION)).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Ms;
use crate::slots::Key;

use super::channel::{Channel, Fallen};
use super::client::Client;
use super::message::Kind;
use super::waiter::{Protocol, State, Transport, Waiter};

/// One thing of a hub.
#[derive(Debug, Serialize, Deserialize)]
pub enum Record<'a> {
    /// Somebody's page, here or departed.
    #[serde(borrow)]
    Client(ClientRecord<'a>),
    /// A channel. Its messages follow, those of one ring after those of the other.
    #[serde(borrow)]
    Channel(ChannelRecord<'a>),
    /// A message of the channel before it.
    #[serde(borrow)]
    Message(MessageRecord<'a>),
    /// What was published with a key.
    #[serde(borrow)]
    Once(OnceRecord<'a>),
    /// A parked poll or a stream.
    Waiter(WaiterRecord),
    /// What counts for the whole hub. The last.
    Hub(HubRecord),
}

/// See [`Client`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientRecord<'a> {
    pub(super) at: Key<Client>,
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    pub(super) key: [u8; 16],
    pub(super) created: Ms,
    pub(super) seen: Ms,
    pub(super) position: u64,
    pub(super) moved: Ms,
    pub(super) moved_from: u64,
    pub(super) moved_by_page: bool,
    pub(super) resumes: bool,
    pub(super) forgotten: u64,
    /// For one that has departed: until when it may come back.
    pub(super) departed: Option<Ms>,
    pub(super) subscriptions: Vec<SubscriptionRecord>,
    /// The oldest first.
    pub(super) polls: Vec<Key<Waiter>>,
}

/// See `subscription.rs`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SubscriptionRecord {
    pub(super) channel: Key<Channel>,
    pub(super) made: u64,
    pub(super) begin: u64,
    /// If it has: until which `seq`, the newest messages of then, and when nobody finds anything of it any more.
    pub(super) ended: Option<(u64, [u64; 2], Ms)>,
}

/// See [`Channel`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ChannelRecord<'a> {
    pub(super) at: Key<Channel>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) last_id: u64,
    pub(super) newest: [u64; 2],
    pub(super) unknown: u64,
    pub(super) losses: Option<LossesRecord>,
    pub(super) used: Ms,
}

/// What a reader may have lost.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LossesRecord {
    pub(super) fallen: [Option<Fallen>; 2],
    /// For whom the newest that fell out were not, and what fell out before them.
    pub(super) spared: Option<(Vec<Key<Client>>, Option<Fallen>)>,
}

/// See [`Message`](super::Message).
#[derive(Debug, Serialize, Deserialize)]
pub struct MessageRecord<'a> {
    pub(super) seq: u64,
    pub(super) id: u64,
    pub(super) at: Ms,
    pub(super) kind: Kind,
    /// `"text"`, and `"alice"`.
    #[serde(borrow)]
    pub(super) text_json: &'a [u8],
    #[serde(borrow)]
    pub(super) from_json: &'a [u8],
    /// When it expires, and whom it is not for.
    pub(super) bounds: Option<(Ms, Vec<Key<Client>>)>,
}

/// See `once.rs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct OnceRecord<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    pub(super) noted: Ms,
    pub(super) id: u64,
    pub(super) seq: u64,
}

/// See [`Waiter`].
#[derive(Debug, Serialize, Deserialize)]
pub struct WaiterRecord {
    pub(super) at: Key<Waiter>,
    pub(super) owner: u64,
    /// The clients, and how far the page has come with each.
    pub(super) members: Vec<(Key<Client>, u64)>,
    pub(super) deadline: Ms,
    pub(super) protocol: Protocol,
    pub(super) transport: Transport,
    pub(super) came: u64,
    pub(super) came_s: u32,
    pub(super) state: State,
    pub(super) owes_word: bool,
}

/// See [`Hub`](super::Hub).
#[derive(Debug, Serialize, Deserialize)]
pub struct HubRecord {
    pub(super) seq: u64,
    /// The last generations of clients, channels and waiters: a key to somebody who has gone must not find who comes later.
    pub(super) generations: [u32; 3],
    pub(super) freed: FreedRecord,
}

/// See `freed.rs`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FreedRecord {
    pub(super) seed: u64,
    /// What a known name has for a hash: another build of this program may come to another.
    pub(super) probe: u64,
    pub(super) floor: u64,
    /// The oldest first: hash, last id, newest, fallen.
    pub(super) names: Vec<(u64, u64, [u64; 2], [u64; 2])>,
}
