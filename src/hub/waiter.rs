//! A waiter: one parked poll, for one client or several.
//!
//! It knows its owner only as a number that the edge gave it, so the hub never sees a socket. It lives until the edge
//! says that its answer has left the process whole ([`Hub::delivered`](super::Hub::delivered)) or never will
//! ([`Hub::cancel`](super::Hub::cancel)).

use smallvec::SmallVec;

use crate::clock::Ms;
use crate::slots::Key;

use super::client::Client;

/// What the edge calls the one who waits. The hub hands it back and never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u64);

/// One parked poll.
#[derive(Debug)]
pub struct Waiter {
    pub(super) owner: Owner,
    /// Whom it waits for, each once (WIRE P20).
    pub(super) clients: SmallVec<[Key<Client>; 2]>,
    /// When it is answered at the latest (WIRE P7).
    pub(super) deadline: Ms,
    pub(super) state: State,
    /// It is on the list of those to look at.
    pub(super) queued: bool,
}

/// Where a waiter stands. Next: `Parked` to `Over` or `Sent`, `Over` to `Sent`; after `Sent` it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for news.
    Parked,
    /// Its time has come, or nobody is left for whom it waits: it is answered, with nothing if nothing is due.
    Over,
    /// Its answer is on the way. When it has left whole, its clients' positions move up to here. Meanwhile nothing is
    /// due to the other polls of these clients, or they would get the same messages (WIRE P17).
    Sent { upto: u64 },
}

impl Waiter {
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent { .. })
    }
}
