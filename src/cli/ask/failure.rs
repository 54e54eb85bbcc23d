//! Why a server that was asked for something has not done it, and what to do about that.

use std::fmt;
use std::io;

use super::reach::Target;

/// Why there is no answer, or no good one.
#[derive(Debug)]
pub(in crate::cli) enum Failure {
    /// No connection could be made, or it broke, or what came is no HTTP.
    Unreachable(String),
    /// The access rule says no.
    Refused(String),
    /// The server answers that it cannot be done, by a code of JSON-RPC.
    Fault {
        /// The code.
        code: i64,
        /// The server's own words.
        message: String,
    },
    /// Anything else.
    Other(String),
    /// The user wants to end before there is anything to say.
    Interrupted,
    /// Whoever reads what we print has read enough.
    OutputClosed,
}

/// The client is not here (docs/api, "Errors").
pub(in crate::cli) const UNKNOWN_CLIENT: i64 = -32001;
/// The channel does not exist.
pub(in crate::cli) const UNKNOWN_CHANNEL: i64 = -32002;

impl Failure {
    /// What a connection's error means at this place.
    pub(in crate::cli) fn of(error: &io::Error, target: &Target) -> Failure {
        let place = &target.place;
        let other = "start a server there, or name the URL of another";
        let what = match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("nothing listens at {target}: {other}"),
            io::ErrorKind::NotFound => format!("there is no {target}: {other}"),
            io::ErrorKind::PermissionDenied => {
                format!("{target} is not for this user: its file's mode and group say who may call (--rpc-socket-mode)")
            }
            io::ErrorKind::TimedOut => format!("{place} does not answer in time"),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                format!(
                    "{place} hangs up without an answer: it stops, or --max-connections is reached; its log says which"
                )
            }
            io::ErrorKind::InvalidData => format!("{place} is no Shaveet: {error}"),
            _ => format!("{place}: {error}"),
        };
        Failure::Unreachable(what)
    }

    /// The same failure in words for whom a name is meant.
    pub(in crate::cli) fn about(self, client: &str, channel: &str) -> Failure {
        match self {
            Failure::Fault { code: UNKNOWN_CLIENT, .. } => {
                Failure::Other(format!("there is no client {client:?}; `shaveet clients` lists them"))
            }
            Failure::Fault { code: UNKNOWN_CHANNEL, .. } => {
                Failure::Other(format!("there is no channel {channel:?}; `shaveet channels` lists them"))
            }
            other => other,
        }
    }

    /// What went wrong when something was printed.
    pub(in crate::cli) fn of_output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Other(format!("cannot write to standard output: {error}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(what) | Failure::Refused(what) | Failure::Other(what) => f.write_str(what),
            Failure::Fault { message, .. } => {
                // As the original began all its errors.
                let text = message.strip_prefix("Server Exception :: ").unwrap_or(message);
                write!(f, "the server says: {}", super::output::Plain(text))
            }
            Failure::Interrupted => f.write_str("interrupted before anything was measured"),
            Failure::OutputClosed => f.write_str("nobody reads the output"),
        }
    }
}

impl std::error::Error for Failure {}
