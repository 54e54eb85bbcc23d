//! One connection: its socket, what it has sent so far, what it has not taken yet, and its deadline.
//!
//! A peer that waits costs its struct and nothing else: both buffers own no memory while they are empty.

use std::io;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::api::{Entrance, Habit, Parked, Proof, Streaming, Working};
use crate::clock::Ms;
use crate::config::Config;
use crate::http::{Decoder, Stage};
use crate::hub::Waiter;
use crate::slots::Key;

use super::listener::Stream;
use super::proof::CANARY;
use crate::buffer::Buffer;

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stream: Stream,
    pub(super) address: Option<IpAddr>,
    pub(super) entrance: Entrance,
    pub(super) phase: Phase,
    pub(super) decoder: Decoder,
    pub(super) habit: Habit,
    /// What it has sent and nobody has looked at yet, or only the decoder has.
    pub(super) inbox: Buffer,
    /// The inbox may begin with a whole request.
    pub(super) unread: bool,
    /// The socket may have more to read.
    pub(super) readable: bool,
    /// It has closed its end.
    pub(super) hung_up: bool,
    /// It is in one of the server's lines of peers to look at.
    pub(super) queued: bool,
    /// Its last request was a poll that was parked.
    pub(super) is_page: bool,
    outbox: Buffer,
    /// What the deadline is about, and when it is.
    waits_for: Wait,
    deadline: Ms,
    /// When its nearest reminder fires; `Ms::MAX` if none is on its way.
    pub(super) reminded: Ms,
}

/// What a peer is about.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Its requests are answered one after the other. Next: `Parked` by a poll, `Closing` by an answer that is the last.
    Serving,
    /// A poll waits in the hub; what comes behind it waits in the inbox. Next: `Answering`.
    Parked(Parked),
    /// A poll has come too early, and waits in the inbox with what comes behind it. Next: `Serving`, which finds it there.
    Held { until: Ms },
    /// A stream has the connection for itself: the hub answers it again and again. While an answer is in the outbox the
    /// hub waits (`is_answered`). Next: `Answering` by its last answer, `Closing` by its page's last word.
    Streaming { streaming: Box<Streaming>, is_answered: bool },
    /// A call takes several turns, or its answer does; the server has it in line for its next turn, but for while a piece
    /// of the answer is in the outbox. If the peer goes the call is done all the same. Next: `Serving`, or `Closing`.
    #[serde(skip)]
    Working { call: Box<Working>, is_in_line: bool },
    /// It has asked whether the server is ready, and a canary is on its way. Next: `Answering`.
    #[serde(skip)]
    Proving(Proof),
    /// The poll's answer is in the outbox. Next: `Serving` when it has left whole, `Closing` if it is the last.
    Answering { waiter: Key<Waiter>, keep_alive: bool },
    /// The last answer is in the outbox. Next: `Draining`, if the other end may still be sending, or the end.
    Closing { drain: bool },
    /// Everything is said; what it still sends is thrown away, or the answer would be lost with the connection
    /// (RFC 9112 section 9.6). Next: the end.
    Draining,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The socket has taken everything, which was so many bytes.
    Whole(usize),
    /// It has taken so many bytes; the rest is in the outbox until it takes more.
    Partly(usize),
    /// The connection is broken.
    Broken,
}

/// What a peer's deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The next request, or the first.
    Idle,
    /// The rest of a request's head, counted from its first byte.
    Head,
    /// The rest of a request's body, counted from the end of the head.
    Body,
    /// That the socket takes more of the outbox, counted from when it last did.
    Write,
    /// That the other end closes.
    Drain,
    /// The next time that a stream's page is to hear something.
    Beat,
    /// The time at which a request that came too early is looked at again.
    Hold,
    /// That the canary comes out.
    Canary,
    /// The hub: it has its own deadlines.
    Nothing,
}

/// What has been said and is not answered: enough for the other end to read the last answer and close.
const DRAIN: Ms = Ms::from_secs(2);

impl Peer {
    pub(super) fn new(stream: Stream, address: Option<IpAddr>, entrance: Entrance) -> Peer {
        Peer {
            stream,
            address,
            entrance,
            phase: Phase::Serving,
            decoder: Decoder::new(),
            habit: Habit::default(),
            inbox: Buffer::default(),
            unread: false,
            readable: false,
            hung_up: false,
            queued: false,
            is_page: false,
            outbox: Buffer::default(),
            waits_for: Wait::Nothing,
            deadline: Ms::MAX,
            reminded: Ms::MAX,
        }
    }

    /// What has not left yet of what it was sent.
    pub(super) fn unsent(&self) -> &[u8] {
        self.outbox.bytes()
    }

    /// Keeps bytes for when the socket takes some.
    pub(super) fn keep_unsent(&mut self, bytes: &[u8]) {
        self.outbox.push(bytes);
    }

    /// Whether everything it was sent has left.
    pub(super) fn has_taken_all(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether it has gone while its poll is parked or its stream open: it takes nothing (WIRE P18).
    pub(super) fn has_left(&self) -> bool {
        match &self.phase {
            Phase::Parked(_) | Phase::Held { .. } | Phase::Proving(_) => self.hung_up,
            // What a page of a WebSocket said before it went is still heard.
            Phase::Streaming { streaming, .. } => self.hung_up && !streaming.listens(),
            _ => false,
        }
    }

    /// How much memory its buffers take.
    pub(super) fn buffered(&self) -> usize {
        self.inbox.memory() + self.outbox.memory()
    }

    /// Whether a call of it is not done or not answered.
    pub(super) fn is_working(&self) -> bool {
        matches!(self.phase, Phase::Working { .. })
    }

    /// Whether it is in the middle of something that no other process could go on with.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Working { .. } | Phase::Proving(_))
    }

    /// Writes, behind what is still in the outbox.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Sent {
        if !self.outbox.is_empty() {
            self.outbox.push(bytes);
            return Sent::Partly(0);
        }
        match write_all(&mut self.stream, bytes) {
            Ok(written) if written == bytes.len() => Sent::Whole(written),
            Ok(written) => {
                self.outbox.push(&bytes[written..]);
                Sent::Partly(written)
            }
            Err(_) => Sent::Broken,
        }
    }

    /// Writes more of the outbox.
    pub(super) fn flush(&mut self) -> Sent {
        match write_all(&mut self.stream, self.outbox.bytes()) {
            Ok(0) if !self.outbox.is_empty() => Sent::Partly(0),
            Ok(written) => {
                self.outbox.consume(written);
                // Progress: the deadline counts from here.
                self.waits_for = Wait::Nothing;
                if self.outbox.is_empty() { Sent::Whole(written) } else { Sent::Partly(written) }
            }
            Err(_) => Sent::Broken,
        }
    }

    /// Sets the deadline by what it waits for now. A deadline stays as it is while it waits for the same, but for the
    /// next request, which may be later after each.
    pub(super) fn set_deadline(&mut self, now: Ms, config: &Config) {
        let waits_for = self.wait();
        if waits_for == self.waits_for && !matches!(waits_for, Wait::Idle | Wait::Nothing) {
            return;
        }
        self.waits_for = waits_for;
        self.deadline = match waits_for {
            Wait::Idle => now + config.idle_timeout,
            Wait::Head => now + config.head_timeout,
            Wait::Body => now + config.body_timeout,
            Wait::Write => now + config.write_timeout,
            Wait::Drain => now + DRAIN,
            Wait::Beat => now + self.beat_in(),
            Wait::Hold => self.held_until(),
            Wait::Canary => now + CANARY,
            Wait::Nothing => Ms::MAX,
        };
    }

    /// A request has come to its end, or a beat: the deadline of the next one counts anew.
    pub(super) fn begin_next_wait(&mut self) {
        self.waits_for = Wait::Nothing;
    }

    fn beat_in(&self) -> Ms {
        match &self.phase {
            Phase::Streaming { streaming, .. } => streaming.beat_in(),
            _ => Ms::MAX,
        }
    }

    fn held_until(&self) -> Ms {
        match self.phase {
            Phase::Held { until } => until,
            _ => Ms::MAX,
        }
    }

    /// When a reminder has to be set, if the one on its way comes too late for the deadline.
    pub(super) fn owed_reminder(&mut self) -> Option<Ms> {
        let owed = (self.deadline < self.reminded).then_some(self.deadline);
        self.reminded = owed.unwrap_or(self.reminded);
        owed
    }

    fn wait(&self) -> Wait {
        match self.phase {
            _ if !self.outbox.is_empty() => Wait::Write,
            Phase::Serving => match self.decoder.stage() {
                None => Wait::Idle,
                Some(Stage::Head) => Wait::Head,
                Some(Stage::Body) => Wait::Body,
            },
            Phase::Parked(_) | Phase::Working { .. } => Wait::Nothing,
            Phase::Streaming { .. } => Wait::Beat,
            Phase::Held { .. } => Wait::Hold,
            Phase::Proving(_) => Wait::Canary,
            Phase::Draining => Wait::Drain,
            Phase::Answering { .. } | Phase::Closing { .. } => unreachable!("with an empty outbox they are over"),
        }
    }

    /// What the deadline that has come by `now` was about; `None` if it is still to come.
    pub(super) fn is_late(&self, now: Ms) -> Option<Wait> {
        (self.deadline <= now).then_some(self.waits_for)
    }

    /// The poll or the stream whose answer the hub would like to know the fate of.
    pub(super) fn waiter(&self) -> Option<Key<Waiter>> {
        match &self.phase {
            Phase::Parked(parked) => Some(parked.waiter),
            Phase::Streaming { streaming, .. } => Some(streaming.waiter),
            Phase::Answering { waiter, .. } | Phase::Proving(Proof { waiter, .. }) => Some(*waiter),
            Phase::Serving | Phase::Working { .. } | Phase::Held { .. } | Phase::Closing { .. } | Phase::Draining => {
                None
            }
        }
    }
}

/// Writes until all is written or the socket takes no more; returns how much it took.
fn write_all(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Channel, Client, Message};

    /// In a table each takes a word more. Beside them a page costs its id, its reminders, its entry in the table of names
    /// and its seat in the channel.
    #[test]
    fn what_a_parked_page_and_its_channel_take() {
        assert_eq!([size_of::<Peer>(), size_of::<Client>(), size_of::<Waiter>()], [136, 160, 88]);
        assert_eq!([size_of::<Channel>(), size_of::<Message>()], [232, 56]);
    }
}
