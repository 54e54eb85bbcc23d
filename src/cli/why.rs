//! `shaveet why`: what became of a message for a client, in a sentence.

use clap::ArgMatches;
use serde_json::{Value, json};

use super::ask::api::Api;
use super::ask::failure::Failure;
use super::ask::output::{Output, Plain, time};
use super::ask::reach::Reach;
use super::ask::syntax::{Argument, Form, Syntax};

/// Which message, and for whom.
#[derive(Debug)]
pub(super) struct Options {
    client: String,
    channel: String,
    id: u64,
    as_json: bool,
}

pub(super) const SYNTAX: Syntax = Syntax {
    name: "why",
    about: "Say what became of a message for a client: delivered, waiting, lost...",
    notes: NOTES,
    arguments: &[
        Argument::new("CLIENT", Form::Word, "Who should have it"),
        Argument::new("CHANNEL", Form::Word, "Where it was published"),
        Argument::new("ID", Form::WordOfDigits, "Its id, as `publish` printed it"),
        Argument::new("json", Form::Switch, "Print the answer as JSON"),
    ],
};

const NOTES: &str = "\
It goes by what pages have acknowledged and what the channel still holds.
The exit code is 1 if it could not be done, 2 for wrong arguments.

Examples:
  shaveet why page1 room $(shaveet publish room hello)";

impl Options {
    pub(super) fn of(matches: &ArgMatches) -> Options {
        let text = |name| matches.get_one::<String>(name).cloned().expect("it is required");
        Options {
            client: text("CLIENT"),
            channel: text("CHANNEL"),
            id: *matches.get_one("ID").expect("it is required"),
            as_json: matches.get_flag("json"),
        }
    }
}

/// Asks and tells.
///
/// # Errors
/// There is no such client or channel, or nobody to ask.
pub(super) fn run(options: &Options, reach: &Reach, output: &mut Output) -> Result<(), Failure> {
    let Options { client, channel, id, as_json } = options;
    let fate = Api::new(reach).call("why", json!([client, channel, id]));
    let fate = fate.map_err(|failure| failure.about(client, channel))?;
    if *as_json { output.line(fate) } else { output.line(Plain(&sentence(&fate))) }
}

/// The state's own word, which is the API's, and what it means.
fn sentence(fate: &Value) -> String {
    let word = |member: &str| fate[member].as_str().unwrap_or("unknown");
    let state = word("state");
    let meaning = match state {
        "delivered" => {
            let by = if word("by") == "resume" {
                "a page of the client has said that it has it"
            } else {
                "it has left in an answer of the original's protocol, in which pages cannot say more"
            };
            match (fate["ms_ago"].as_u64(), fate["at_least_ms_ago"].as_u64()) {
                (Some(ms), _) => format!("{by}, {} ago", time(ms)),
                (None, Some(ms)) => format!("{by}, {} ago or before", time(ms)),
                (None, None) => by.to_owned(),
            }
        }
        "waiting" if fate["parked"] == Value::Bool(true) => {
            "it is there for the client, of which a page listens: it will be sent, or nobody has said yet that it has come".to_owned()
        }
        "waiting" => "it is there for the client, of which no page listens at this moment".to_owned(),
        "on_its_way" => "it was sent, and nobody has said yet that it has come".to_owned(),
        "not_subscribed" => "the client was not subscribed when it was published".to_owned(),
        "excluded" => "its publisher did not want this client to have it".to_owned(),
        "expired" => "it was not read in the time that its publisher gave it (ttl)".to_owned(),
        "lost" => match word("reason") {
            "count" => "the channel kept newer ones in its place (--history); the client is told of a gap".to_owned(),
            "bytes" => "the channel's bytes were used up (--history-bytes); the client is told of a gap".to_owned(),
            "age" => "it became too old (--history-age); the client is told of a gap".to_owned(),
            "memory" => {
                "the server's memory was used up (--history-total, --memory-max); the client is told of a gap".to_owned()
            }
            _ => "the server was restarted without its state (--state); the client is told of a gap".to_owned(),
        },
        "unpublished" => "no message of the channel has this id yet".to_owned(),
        _ => return state.to_owned(),
    };
    format!("{state}: {meaning}")
}
