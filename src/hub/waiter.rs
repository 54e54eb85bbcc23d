//! A waiter: one parked poll, or one stream, for one client or several.
//!
//! It knows its owner only as a number that the edge gave it, so the hub never sees a socket. It lives until the edge
//! says that its answer has left the process whole ([`Hub::delivered`](super::Hub::delivered)) or never will
//! ([`Hub::cancel`](super::Hub::cancel)). A stream stays after its answer and waits for the next. It has no queue: while its
//! answer is on the way it is not asked, and then it goes on from its position.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::clock::Ms;
use crate::slots::Key;

use super::client::Client;

/// What the edge calls the one who waits. The hub hands it back and never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u64);

/// By what a poll says how far its page has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// The original's: it says nothing, and the hub believes that what has left the process has arrived.
    Original,
    /// The resume protocol's: the page says what it has had.
    Resume(Since),
}

/// Where a page of the resume protocol wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// At what its client has acknowledged; acknowledges nothing.
    Acknowledged,
    /// Behind this `seq`; acknowledges everything up to it.
    At(u64),
    /// It names a position that this hub never gave: somebody has forgotten something.
    Lost,
}

/// By what a page hears. The hub asks little more than whether the waiter stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// A poll: one answer.
    Poll,
    /// A stream of server-sent events, whose page cannot say what it has had: when it has stood for [`BELIEVED_AFTER`], each
    /// answer that leaves whole stands for the ones before it.
    Events,
    /// A WebSocket, whose page can.
    Socket,
    /// Nobody: the one answer of a [canary](super::Hub::send_canary).
    Canary,
}

/// By what is heard, in the words of the API, and last what nobody hears: the media by which is counted.
pub const MEDIA: [&str; 5] = ["poll", "resume", "events", "socket", "canary"];

/// A proxy that keeps an event stream back takes all that leaves. Its page waits for 5 s and goes on by another transport, and
/// if it has no position yet it begins at what is acknowledged: by then nothing of this stream must be. A page that stays for
/// longer hears something.
pub(super) const BELIEVED_AFTER: Ms = Ms::from_secs(10);

/// Where a stream's answer leads that was on its way when all positions lost their meaning.
pub(super) const NOWHERE: u64 = u64::MAX;

/// One parked poll, or one stream.
#[derive(Debug)]
pub struct Waiter {
    pub(super) owner: Owner,
    /// Whom it waits for, each once (WIRE P20).
    pub(super) members: SmallVec<[Member; 1]>,
    /// When it is answered at the latest (WIRE P7).
    pub(super) deadline: Ms,
    pub(super) protocol: Protocol,
    pub(super) transport: Transport,
    /// The `seq` of the hub when it came: a [`Since::Lost`] is told of the subscriptions that there were by then.
    pub(super) came: u64,
    pub(super) state: State,
    /// When it came, in seconds, rounded up.
    pub(super) came_s: u32,
    /// It is on the list of those to look at.
    pub(super) queued: bool,
    /// It is answered at the next look though nothing may be due: a stream whose page is to hear how far it has come.
    pub(super) owes_word: bool,
}

/// A client of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) client: Key<Client>,
    /// In the resume protocol, how far this page has come with it. The original's polls go by the client's own position.
    pub(super) position: u64,
}

/// Where a waiter stands. Next: `Parked` to `Over` or `Sent`, `Over` to `Sent`; after `Sent` a poll is removed, and a stream
/// is `Parked` again, or `Over` if that was to come meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// It waits for news.
    Parked,
    /// It is answered now, with nothing if nothing is due.
    Over(Ending),
    /// Its answer is on the way. In the original's protocol its clients' positions move up to here when it has left
    /// whole, and meanwhile nothing is due to the other such polls of these clients, or they would get the same messages
    /// (WIRE P17). A stream's own position moves the same way. 0 if nothing is in it.
    Sent { upto: u64, is_empty: bool, then: Then },
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Then {
    /// The end: it was a poll's, or a stream's last.
    Leaves,
    /// The stream waits again.
    Stays,
    /// One more answer, which is the stream's last.
    Ends(Ending),
}

/// Why a poll is answered though nothing may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Its time is up.
    Time,
    /// Its client has too many polls: the oldest go.
    Crowded,
    /// The server stops.
    Stopping,
    /// Its clients were killed, or their keys are not theirs any more.
    Gone,
}

impl Waiter {
    /// Where it is means nothing any more, whatever it has been given: it is told so when its clients are subscribed again.
    pub(super) fn forget_position(&mut self) {
        if let Protocol::Resume(since) = &mut self.protocol {
            *since = Since::Lost;
        }
        self.came = u64::MAX;
        for member in &mut self.members {
            member.position = 0;
        }
        let is_stream = self.is_stream();
        if let State::Sent { upto, .. } = &mut self.state {
            *upto = if is_stream { NOWHERE } else { 0 };
        }
    }

    /// Whether nobody knows what its page has had.
    pub(super) fn is_lost(&self) -> bool {
        self.protocol == Protocol::Resume(Since::Lost)
    }

    pub(super) fn is_original(&self) -> bool {
        self.protocol == Protocol::Original
    }

    /// Whether what its clients have had is not known just now. An answer with nothing in it takes nothing along.
    pub(super) fn holds_up(&self) -> bool {
        self.is_original() && matches!(self.state, State::Sent { is_empty: false, .. })
    }

    /// Whether what was sent before has arrived, as far as anybody knows.
    pub(super) fn is_believed(&self, now: Ms) -> bool {
        self.transport == Transport::Events && now >= Ms::from_secs(self.came_s.into()) + BELIEVED_AFTER
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.transport, Transport::Events | Transport::Socket)
    }

    /// Which of the [`MEDIA`] it hears by.
    pub(super) fn medium(&self) -> usize {
        match self.transport {
            Transport::Poll => usize::from(!self.is_original()),
            Transport::Events => 2,
            Transport::Socket => 3,
            Transport::Canary => 4,
        }
    }

    /// The page of a stream has been sent everything up to here, or nothing until here was for it.
    pub(super) fn move_to(&mut self, position: u64) {
        self.protocol = Protocol::Resume(Since::At(position));
        for member in &mut self.members {
            member.position = position;
        }
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = Key<Client>> {
        self.members.iter().map(|member| member.client)
    }
}
