//! What Redis is to this server: somewhere to call functions, and somewhere to hear from.
//!
//! All of it is one connection, the [`Link`]: calls go out, and their replies and what is published come in, in the order in
//! which Redis did it. So who has the reply to a call has heard all that was published before it.
//!
//! Here is no socket, no clock and no hub. Bytes, what became of the socket, and `now` go in; bytes and [`Event`]s come out.

mod address;
mod codec;
pub mod library;
mod link;
mod value;
mod watch;

pub use address::{Address, Password, Place, Tls, shown};
pub use link::{CALLS_MAX, Counts, Link, OUTPUT_BYTES_MAX, Options, RESULTS};
pub use value::Value;
pub use watch::Watch;

use std::fmt;

/// Whose call it is: chosen by the caller, who gets it back with the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What has happened at the link.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Redis has let us in and has our functions: calls go out from now on. Nothing is followed.
    Up,
    /// The link is down, for this reason, and dials again by itself; or it is still down, and for another reason than before.
    /// Every call without a reply has failed before this with [`Failure::Lost`], and nothing is followed any more.
    Down(Box<str>),
    /// What came of a call.
    Reply(Ticket, Result<Value, Failure>),
    /// Somebody has published something in a channel that is followed.
    Push {
        /// Where.
        channel: Box<[u8]>,
        /// What.
        payload: Box<[u8]>,
    },
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was not made, as the link is down, and why.
    Down(Box<str>),
    /// The link broke before the reply came: it was done, or was not.
    Lost,
    /// The reply did not come in time (`--broker-timeout`): it was done, or was not, or will be.
    Late,
    /// It was not made, as too many calls, or too large ones, wait already.
    Crowded,
    /// Redis has answered with this error.
    Refused(Box<str>),
}

/// As the caller is told it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Down(why) => write!(f, "Redis cannot be reached: {why}"),
            Failure::Lost => write!(f, "the connection to Redis broke before it answered; it may have been done"),
            Failure::Late => write!(f, "Redis did not answer in time (--broker-timeout); it may have been done"),
            Failure::Crowded => write!(f, "too many calls wait for Redis already"),
            Failure::Refused(error) => write!(f, "Redis refuses: {error}"),
        }
    }
}
