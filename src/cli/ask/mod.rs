//! Asking a running server for something: what the subcommands have in common that talk to one.
//!
//! They find it by the settings that it was started with ([`reach`]), call its API over a connection ([`api`], [`http`]), and say
//! what was wrong and what to do ([`failure`]). Each has a file of its own beside this directory.

pub(super) mod api;
pub(super) mod failure;
pub(super) mod http;
pub(super) mod list;
pub(super) mod news;
pub(super) mod output;
pub(super) mod place;
pub(super) mod reach;
pub(super) mod syntax;
pub(super) mod wait;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use crate::config::{Problems, Sources};

use super::{bench, channels, clients, publish, tail, why};
use failure::Failure;
use output::{Output, say};
use reach::Reach;

/// What is asked, and of whom.
#[derive(Debug)]
pub struct Question {
    reach: Reach,
    what: What,
}

#[derive(Debug)]
enum What {
    Publish(publish::Options),
    Tail(tail::Options),
    Channels(list::Options),
    Clients(list::Options),
    Why(why::Options),
    Bench(bench::Options),
}

/// The subcommands.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    let all = [
        (publish::SYNTAX, reach::URL),
        (tail::SYNTAX, reach::URL),
        (channels::SYNTAX, reach::URL),
        (clients::SYNTAX, reach::URL),
        (why::SYNTAX, reach::URL),
        (bench::SYNTAX, reach::BARE_URL),
    ];
    let with_settings = |command: Command| command.args(reach::settings_flags());
    all.into_iter().map(move |(syntax, url)| syntax.command(&[url]).defer(with_settings))
}

impl Question {
    /// What the arguments of a subcommand ask, if it is one of these.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn of(name: &str, matches: &ArgMatches, sources: Sources) -> Option<Result<Question, Problems>> {
        let what = match name {
            "publish" => What::Publish(publish::Options::of(matches)),
            "tail" => What::Tail(tail::Options::of(matches)),
            "channels" => What::Channels(list::Options::of(matches)),
            "clients" => What::Clients(list::Options::of(matches)),
            "why" => What::Why(why::Options::of(matches)),
            "bench" => What::Bench(bench::Options::of(matches)),
            _ => return None,
        };
        Some(Reach::find(matches, sources).map(|reach| Question { reach, what }))
    }

    /// Asks, prints the answer, and gives the exit code: 0, or 1 if it could not be done.
    #[must_use]
    pub fn ask(&self) -> ExitCode {
        let mut output = Output::new();
        let done = match &self.what {
            What::Publish(options) => publish::run(options, &self.reach, &mut output),
            What::Tail(options) => tail::run(options, &self.reach, &mut output),
            What::Channels(options) => channels::run(options, &self.reach, &mut output),
            What::Clients(options) => clients::run(options, &self.reach, &mut output),
            What::Why(options) => why::run(options, &self.reach, &mut output),
            What::Bench(options) => bench::run(options, &self.reach, &mut output),
        };
        match done.and_then(|()| output.flush()) {
            // Whoever does not read to the end has read enough.
            Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
            Err(failure) => {
                say(failure);
                ExitCode::FAILURE
            }
        }
    }
}

/// A name that nobody else has.
pub(super) fn random_name() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Other(format!("the system gives no random bytes: {error}")))?;
    let mut name = String::new();
    for byte in bytes {
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}
