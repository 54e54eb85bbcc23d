//! What may be written behind a subcommand that talks to a server: a table for each, from which clap is told.
//!
//! One loop reads them all; written out for clap, as calls that hand an argument on, they are forty kilobytes of the binary.

use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command, value_parser};

use super::place::Place;

/// A subcommand.
pub(in crate::cli) struct Syntax {
    pub(in crate::cli) name: &'static str,
    pub(in crate::cli) about: &'static str,
    /// What stands below the help, in lines of 80 columns at most.
    pub(in crate::cli) notes: &'static str,
    pub(in crate::cli) arguments: &'static [Argument],
}

/// A flag, or a word without one.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Argument {
    name: &'static str,
    short: Option<char>,
    form: Form,
    help: &'static str,
    default: Option<&'static str>,
    /// Those that cannot stand beside it.
    conflicts: &'static [&'static str],
    /// Under which it stands in the help.
    heading: Option<&'static str>,
}

/// What stands there, and how what it means is called.
#[derive(Clone, Copy)]
pub(in crate::cli) enum Form {
    /// A word that has to be there.
    Word,
    /// One that may be.
    WordOrNone,
    /// One or more of them.
    Words,
    /// A number that has to be there.
    WordOfDigits,
    /// The URL of a server, which may be there.
    UrlOrNone,
    /// A flag without a value.
    Switch,
    /// One with a text.
    Text(&'static str),
    /// The same, several times if wanted.
    Texts(&'static str),
    /// A flag with a number from this to that.
    Number(&'static str, u64, u64),
    /// A flag with a time from this to that.
    Time(Duration, Duration),
    /// A flag with the URL of a server.
    Url,
}

impl Argument {
    pub(in crate::cli) const fn new(name: &'static str, form: Form, help: &'static str) -> Argument {
        Argument { name, short: None, form, help, default: None, conflicts: &[], heading: None }
    }

    pub(in crate::cli) const fn short(self, short: char) -> Argument {
        Argument { short: Some(short), ..self }
    }

    pub(in crate::cli) const fn default(self, default: &'static str) -> Argument {
        Argument { default: Some(default), ..self }
    }

    pub(in crate::cli) const fn conflicts(self, conflicts: &'static [&'static str]) -> Argument {
        Argument { conflicts, ..self }
    }

    pub(in crate::cli) const fn heading(self, heading: &'static str) -> Argument {
        Argument { heading: Some(heading), ..self }
    }

    /// The same for clap.
    fn parsed(&self) -> Arg {
        let (word, action, value, parser): (bool, ArgAction, Option<&'static str>, ValueParser) = match self.form {
            Form::Word | Form::WordOrNone => (true, ArgAction::Set, None, ValueParser::string()),
            Form::Words => (true, ArgAction::Append, None, ValueParser::string()),
            Form::WordOfDigits => (true, ArgAction::Set, None, value_parser!(u64).into()),
            Form::UrlOrNone => (true, ArgAction::Set, Some("URL"), ValueParser::new(place)),
            Form::Switch => (false, ArgAction::SetTrue, None, ValueParser::bool()),
            Form::Text(value) => (false, ArgAction::Set, Some(value), ValueParser::string()),
            Form::Texts(value) => (false, ArgAction::Append, Some(value), ValueParser::string()),
            Form::Number(value, min, max) => {
                (false, ArgAction::Set, Some(value), value_parser!(u64).range(min..=max).into())
            }
            Form::Time(min, max) => (false, ArgAction::Set, Some("TIME"), time(min, max)),
            Form::Url => (false, ArgAction::Set, Some("URL"), ValueParser::new(place)),
        };
        let is_needed = matches!(self.form, Form::Word | Form::Words | Form::WordOfDigits);
        Arg::new(self.name)
            .long((!word).then_some(self.name))
            .short(self.short)
            .action(action)
            .value_name(value.unwrap_or(self.name))
            .value_parser(parser)
            .required(is_needed)
            .default_values(self.default)
            .conflicts_with_all(self.conflicts)
            .help(self.help)
            .help_heading(self.heading)
    }
}

impl Syntax {
    /// The same for clap, with more arguments.
    pub(in crate::cli) fn command(&self, more: &[Argument]) -> Command {
        let mut command = Command::new(self.name).about(self.about).after_help(self.notes);
        for argument in self.arguments.iter().chain(more) {
            command = command.arg(argument.parsed());
        }
        command
    }
}

fn place(text: &str) -> Result<Place, String> {
    text.parse()
}

fn time(min: Duration, max: Duration) -> ValueParser {
    ValueParser::new(move |text: &str| match humantime::parse_duration(text) {
        Ok(time) if (min..=max).contains(&time) => Ok(time),
        _ => {
            let [min, max] = [min, max].map(humantime::format_duration);
            Err(format!("allowed: {min} to {max}, written as 500ms, 30s or 1h"))
        }
    })
}
