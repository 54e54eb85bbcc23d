//! `shaveet channels`: what channels there are, and how much is in them.

use super::ask::failure::{Failure, UNKNOWN_CHANNEL};
use super::ask::list::{ARGUMENTS, List, Options};
use super::ask::output::Output;
use super::ask::reach::Reach;
use super::ask::syntax::Syntax;

pub(super) const SYNTAX: Syntax = Syntax {
    name: "channels",
    about: "List the channels: who is subscribed, who listens, what they hold",
    notes: NOTES,
    arguments: ARGUMENTS,
};

const NOTES: &str = "\
SUBSCRIBED are clients, HERE those of them that are here, LISTENING those whose
pages listen now. MESSAGES and BYTES are what the channel keeps, NEXT is the id
of its next message.
The exit code is 1 if it could not be done, 2 for wrong arguments.";

/// Lists them.
///
/// # Errors
/// They cannot be asked for.
pub(super) fn run(options: &Options, reach: &Reach, output: &mut Output) -> Result<(), Failure> {
    let list = List {
        names: ("list_channels", "channels"),
        info: ("channel_info", "channel"),
        gone: UNKNOWN_CHANNEL,
        heading: || columns(["SUBSCRIBED", "HERE", "LISTENING", "MESSAGES", "BYTES", "NEXT"]) + "  CHANNEL",
        columns: |info| {
            let members = ["subscribers", "active", "parked", "messages", "bytes", "next_id"];
            columns(members.map(|member| info[member].to_string()))
        },
    };
    list.print(options, reach, output)
}

fn columns(columns: [impl AsRef<str>; 6]) -> String {
    let [subscribed, here, listening, messages, bytes, next] = columns.each_ref().map(AsRef::as_ref);
    format!("{subscribed:>10} {here:>8} {listening:>9} {messages:>8} {bytes:>9} {next:>8}")
}
