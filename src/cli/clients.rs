//! `shaveet clients`: who there is, and by what they listen.

use serde_json::Value;

use super::ask::failure::{Failure, UNKNOWN_CLIENT};
use super::ask::list::{ARGUMENTS, List, Options};
use super::ask::output::{Output, time};
use super::ask::reach::Reach;
use super::ask::syntax::Syntax;

pub(super) const SYNTAX: Syntax = Syntax {
    name: "clients",
    about: "List the clients: whether they are here, since when they are silent, by what they listen",
    notes: NOTES,
    arguments: ARGUMENTS,
};

const NOTES: &str = "\
A client that is away may come back. IDLE is the time since it was last seen.
PAGES are those that listen now, BY what: poll is the original's protocol, and
resume a long poll with a position. CHANNELS are those that it is subscribed to.
The exit code is 1 if it could not be done, 2 for wrong arguments.";

/// Lists them.
///
/// # Errors
/// They cannot be asked for.
pub(super) fn run(options: &Options, reach: &Reach, output: &mut Output) -> Result<(), Failure> {
    let list = List {
        names: ("list_clients", "clients"),
        info: ("client_info", "client"),
        gone: UNKNOWN_CLIENT,
        heading: || columns(["IS", "IDLE", "PAGES", "BY", "CHANNELS"]) + "  CLIENT",
        columns: described,
    };
    list.print(options, reach, output)
}

fn described(info: &Value) -> String {
    let is = if info["here"] == Value::Bool(true) { "here" } else { "away" };
    let idle = time(info["idle_ms"].as_u64().unwrap_or(0));
    let by: Vec<&str> = info["transports"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let by = if by.is_empty() { "-".to_owned() } else { by.join(",") };
    columns([is, &idle, &info["parked"].to_string(), &by, &info["subscriptions"].to_string()])
}

fn columns(columns: [&str; 5]) -> String {
    let [is, idle, pages, by, channels] = columns;
    format!("{is:<4} {idle:>8} {pages:>5} {by:<8} {channels:>8}")
}
