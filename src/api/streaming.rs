//! Pages that stay: what is kept of a stream, and what its two kinds have in common.
//!
//! `events.rs` begins streams of server-sent events and writes them, `socket.rs` WebSockets.

use serde::{Deserialize, Serialize};

use crate::clock::Ms;
use crate::hub::{Answer, Ending, Waiter};
use crate::slots::Key;

use super::Epoch;
use super::events::{self, Events};
use super::press;
use super::socket::{self, Socket};

/// A stream, on the connection that it has for itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Streaming {
    /// The hub's name for it.
    pub waiter: Key<Waiter>,
    pub(super) wire: Wire,
    /// Time until its page is to hear something, be it nothing: at first less than later, so that pages that came
    /// together do not all hear together.
    beat_ms: u16,
    /// After how many milliseconds its page is to come back, if it is sent away.
    retry_ms: u16,
}

/// How a stream is spoken.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Wire {
    /// Server-sent events, in the body of an answer.
    Events(Events),
    /// Frames.
    Socket(Socket),
}

/// What an answer of a stream follows from, but for what is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) ending: Option<Ending>,
    /// If the page is sent away, and 0 if not.
    pub(super) retry_ms: u16,
    pub(super) with_ping: bool,
}

impl Streaming {
    pub(super) fn new(waiter: Key<Waiter>, wire: Wire, retry_ms: u16, jitter: &mut fastrand::Rng) -> Box<Streaming> {
        let beat_ms = jitter.u16(0..=wire.beat_ms());
        Box::new(Streaming { waiter, wire, beat_ms, retry_ms })
    }

    /// How what is owed is to be said.
    pub(super) fn manner(&mut self, answer: &Answer<'_>) -> Manner {
        let ending = answer.ending();
        let retry_ms = if ending == Some(Ending::Stopping) { self.retry_ms } else { 0 };
        Manner { ending, retry_ms, with_ping: self.wire.takes_ping() }
    }

    /// Whether the connection can carry another request when the stream has come to its end.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        matches!(&self.wire, Wire::Events(events) if events.keep_alive)
    }

    /// Whether its page may say something.
    #[must_use]
    pub fn listens(&self) -> bool {
        matches!(self.wire, Wire::Socket(_))
    }

    /// The time until the next beat.
    #[must_use]
    pub fn beat_in(&self) -> Ms {
        Ms(self.beat_ms.into())
    }

    /// A beat: the hub is to let it say something.
    pub fn beat(&mut self) {
        self.beat_ms = self.wire.beat_ms();
        if let Wire::Socket(socket) = &mut self.wire {
            socket.owes_ping = true;
        }
    }
}

/// Why a new stream is not begun, if none of the others can be ended for it.
pub(super) const TOO_MANY: &str = "this client has too many connections already";

/// Why a stream ends, for people: a WebSocket closes with it, events end with it as a comment, which no page can mistake for an event.
pub(super) fn why(ending: Ending) -> &'static str {
    match ending {
        Ending::Gone => press::GONE,
        Ending::Crowded => "the client has too many connections, and this is the oldest",
        Ending::Stopping | Ending::Time => "the server stops",
    }
}

impl Wire {
    /// Writes what is owed.
    pub(super) fn write(
        &self,
        answer: &Answer<'_>,
        manner: Manner,
        epoch: Epoch,
        body: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Wire::Events(events) => events.write(answer, epoch, body, out),
            Wire::Socket(_) => socket::write(answer, manner, epoch, body, out),
        }
    }

    /// Its place among those whose answers look different.
    pub(super) fn place(&self) -> usize {
        match self {
            Wire::Events(events) => usize::from(events.is_chunked()),
            Wire::Socket(_) => 2,
        }
    }

    fn beat_ms(&self) -> u16 {
        match self {
            Wire::Events(_) => events::COMMENT_MS,
            Wire::Socket(_) => socket::PING_MS,
        }
    }

    fn takes_ping(&mut self) -> bool {
        match self {
            Wire::Events(_) => false,
            Wire::Socket(socket) => std::mem::take(&mut socket.owes_ping),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// For so long nginx keeps a connection to us that it does not use (`keepalive_timeout` of an `upstream`), if nothing is said.
    const KEPT: Ms = Ms::from_secs(60);

    #[test]
    fn what_nginx_waits_for_is_longer_than_what_we_are_silent() {
        let ours = Config::default();
        for recipe in [include_str!("../../packaging/nginx/shaveet.conf"), include_str!("../../README.md")] {
            let seconds = |directive: &str| -> Vec<Ms> {
                let lines = recipe.lines().filter_map(|line| line.trim().strip_prefix(directive));
                let values = lines.map(|rest| rest.trim().split_once("s;").expect("seconds").0);
                values.map(|value| Ms::from_secs(value.parse().expect("a number"))).collect()
            };
            let waits = seconds("proxy_read_timeout ");
            assert_eq!(waits.len(), 1);
            // Twice as long: a busy machine is no reason for a 504.
            for silent in [ours.poll_timeout, Ms(events::COMMENT_MS.into()), Ms(socket::PING_MS.into())] {
                assert!(waits[0].0 >= 2 * silent.0, "{waits:?} for {silent:?}");
            }
            // It closes first, and sends no poll into a connection that is just closing.
            assert_eq!(seconds("keepalive_timeout "), []);
            assert!(ours.idle_timeout > KEPT);
        }
    }
}
