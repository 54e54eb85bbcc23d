//! The one connection to Redis, without its socket.

use super::{Event, Failure, Ticket};
use crate::clock::Ms;

/// A link that goes up and down by itself.
#[derive(Debug)]
pub struct Link {
    /// Why it is down.
    why: Box<str>,
}

impl Link {
    /// A link that is down, and has not been dialled yet.
    #[must_use]
    pub fn new() -> Link {
        Link { why: "it has not been dialled yet".into() }
    }

    /// Calls a function (FCALL) behind all calls before it. What comes of it is an [`Event::Reply`].
    ///
    /// # Errors
    /// [`Failure::Down`] and [`Failure::Crowded`]: the call is not made, and no event comes.
    pub fn call(
        &mut self,
        _now: Ms,
        _ticket: Ticket,
        _function: &str,
        _keys: &[&[u8]],
        _arguments: &[&[u8]],
    ) -> Result<(), Failure> {
        Err(Failure::Down(self.why.clone()))
    }

    /// Hears from now on what is published in a channel: calls that are made after this are done when it is heard. Nothing
    /// happens while the link is down.
    pub fn follow(&mut self, _channel: &[u8]) {}

    /// Hears no more of it.
    pub fn unfollow(&mut self, _channel: &[u8]) {}

    /// What has happened, one after the other.
    pub fn next_event(&mut self) -> Option<Event> {
        None
    }
}

impl Default for Link {
    fn default() -> Link {
        Link::new()
    }
}
