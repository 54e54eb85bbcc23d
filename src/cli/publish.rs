//! `shaveet publish`: says something in a channel, from the command line or from standard input.

use std::io::{self, BufRead, IsTerminal, Read};
use std::time::Duration;

use clap::ArgMatches;
use serde_json::{Map, Value, json};

use super::ask::api::Api;
use super::ask::failure::Failure;
use super::ask::output::{Output, say};
use super::ask::random_name;
use super::ask::reach::Reach;
use super::ask::syntax::{Argument, Form, Syntax};

/// What is published, and how.
#[derive(Debug)]
pub(super) struct Options {
    channel: String,
    /// `None` and `-` are standard input.
    text: Option<String>,
    by_lines: bool,
    from: Option<String>,
    ttl: Option<Duration>,
    key: Option<String>,
    exclude: Vec<String>,
    as_json: bool,
}

/// Bytes of standard input that can be a message: many times what a server takes by default (`--max-body`).
const INPUT_BYTES_MAX: u64 = 64 << 20;

pub(super) const SYNTAX: Syntax = Syntax {
    name: "publish",
    about: "Publish a message in a channel; prints its id",
    notes: NOTES,
    arguments: &[
        Argument::new("CHANNEL", Form::Word, "Where"),
        Argument::new("TEXT", Form::WordOrNone, "What; - or nothing reads it from standard input"),
        Argument::new("lines", Form::Switch, "Publish each line of standard input as a message, when it comes")
            .short('l')
            .conflicts(&["TEXT", "key"]),
        Argument::new("from", Form::Text("NAME"), "Who says it, as pages are told"),
        Argument::new("ttl", Form::Time(TTL_MIN, TTL_MAX), "After this time nobody gets it any more, such as 30s"),
        Argument::new("key", Form::Text("KEY"), "Publish it only if there was none with this key within five minutes"),
        Argument::new("exclude", Form::Texts("CLIENT"), "Not to this client; may be given several times"),
        Argument::new("json", Form::Switch, "Print the id and the position as JSON"),
    ],
};

const TTL_MIN: Duration = Duration::from_millis(1);
const TTL_MAX: Duration = Duration::from_secs(365 * 86_400);

const NOTES: &str = "\
A line end at the end of standard input is not part of the message. Where there
is no input at all nothing is published; an empty message is ''. What fails can
be tried again: a message that has the same --key as one of the last five
minutes is not published again.
The exit code is 1 if it could not be done, 2 for wrong arguments.

Examples:
  shaveet publish room hello
  date | shaveet publish --from clock room -
  tail -f app.log | shaveet publish --lines log";

impl Options {
    pub(super) fn of(matches: &ArgMatches) -> Options {
        let text = |name| matches.get_one::<String>(name).cloned();
        Options {
            channel: text("CHANNEL").expect("it is required"),
            text: text("TEXT").filter(|text| text != "-"),
            by_lines: matches.get_flag("lines"),
            from: text("from"),
            ttl: matches.get_one("ttl").copied(),
            key: text("key"),
            exclude: matches.get_many::<String>("exclude").unwrap_or_default().cloned().collect(),
            as_json: matches.get_flag("json"),
        }
    }
}

/// Publishes.
///
/// # Errors
/// It is not published, or nobody knows whether it is.
pub(super) fn run(options: &Options, reach: &Reach, output: &mut Output) -> Result<(), Failure> {
    let mut api = Api::new(reach);
    if options.by_lines {
        let mut input = io::stdin().lock();
        while let Some(line) = next_line(&mut input)? {
            publish(options, &mut api, output, &line)?;
            output.flush()?;
        }
        return Ok(());
    }
    match &options.text {
        Some(text) => publish(options, &mut api, output, text),
        None => publish(options, &mut api, output, &whole_input()?),
    }
}

fn publish(options: &Options, api: &mut Api<'_>, output: &mut Output, text: &str) -> Result<(), Failure> {
    let mut how = Map::new();
    // So it can be sent again when the connection breaks before the answer.
    how.insert("idempotency_key".into(), options.key.clone().map_or_else(random_name, Ok)?.into());
    if let Some(from) = &options.from {
        how.insert("from".into(), from.as_str().into());
    }
    if let Some(ttl) = options.ttl {
        how.insert("ttl_ms".into(), u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).into());
    }
    if !options.exclude.is_empty() {
        how.insert("exclude".into(), json!(options.exclude));
    }
    let place = api.call("publish", json!([options.channel, text, Value::Object(how)]))?;
    if options.as_json { output.line(&place) } else { output.line(&place["id"]) }
}

/// All of standard input, less the line end at its end. Nothing at all is no message: mostly it is a command before a `|` that
/// has failed.
fn whole_input() -> Result<String, Failure> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        say("reading the message from the terminal; Ctrl-D ends it");
    }
    let mut bytes = Vec::new();
    input.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.is_empty() {
        let what = "standard input is empty: nothing is published. An empty message is TEXT ''";
        return Err(Failure::Other(what.to_owned()));
    }
    message(bytes)
}

/// The next line, less its end.
fn next_line(input: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let mut bytes = Vec::new();
    input.take(INPUT_BYTES_MAX + 1).read_until(b'\n', &mut bytes).map_err(unreadable)?;
    if bytes.is_empty() { Ok(None) } else { message(bytes).map(Some) }
}

fn message(mut bytes: Vec<u8>) -> Result<String, Failure> {
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::Other(format!(
            "a message of more than {INPUT_BYTES_MAX} bytes is too long for any server"
        )));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Other(format!("a message is text in UTF-8, which standard input is not at byte {at}"))
    })
}

#[allow(clippy::needless_pass_by_value, reason = "it is given where an error is mapped")]
fn unreadable(error: io::Error) -> Failure {
    Failure::Other(format!("cannot read standard input: {error}"))
}
