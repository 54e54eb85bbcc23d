//! Lists of what a server has, however long: names a page at a time, and what is known of each.

use clap::ArgMatches;
use serde_json::{Value, json};

use super::api::Api;
use super::failure::Failure;
use super::output::{Output, Plain, say};
use super::reach::Reach;
use super::syntax::{Argument, Form};

/// What is listed, and by which methods it is asked for.
pub(in crate::cli) struct List {
    /// The method that gives names, and the member of its result that has them.
    pub(in crate::cli) names: (&'static str, &'static str),
    /// The method that tells of one, and what the name is called with that.
    pub(in crate::cli) info: (&'static str, &'static str),
    /// The code that says that there is none, as it has gone meanwhile.
    pub(in crate::cli) gone: i64,
    /// The first line, which fits the others.
    pub(in crate::cli) heading: fn() -> String,
    /// What the line of one says before its name.
    pub(in crate::cli) columns: fn(&Value) -> String,
}

/// Which are listed, and how.
#[derive(Debug)]
pub(in crate::cli) struct Options {
    prefix: String,
    names_alone: bool,
    as_json: bool,
}

/// What every list takes.
pub(in crate::cli) const ARGUMENTS: &[Argument] = &[
    Argument::new("PREFIX", Form::WordOrNone, "Those whose names begin so"),
    Argument::new("quiet", Form::Switch, "Names alone").short('q').conflicts(&["json"]),
    Argument::new("json", Form::Switch, "An object of JSON for each, on a line of its own"),
];

impl Options {
    pub(in crate::cli) fn of(matches: &ArgMatches) -> Options {
        Options {
            prefix: matches.get_one::<String>("PREFIX").cloned().unwrap_or_default(),
            names_alone: matches.get_flag("quiet"),
            as_json: matches.get_flag("json"),
        }
    }
}

impl List {
    /// Prints it as it comes. To people it is said if there is nothing.
    ///
    /// # Errors
    /// It cannot be asked for.
    pub(in crate::cli) fn print(&self, options: &Options, reach: &Reach, output: &mut Output) -> Result<(), Failure> {
        let mut heading = (!options.names_alone && !options.as_json).then(self.heading);
        let (method, member) = self.names;
        Api::new(reach).each_page(method, member, &options.prefix, |api, names| {
            if !names.is_empty()
                && let Some(heading) = heading.take()
            {
                output.line(heading)?;
            }
            if options.names_alone {
                names.iter().try_for_each(|name| output.line(Plain(name)))?;
            } else {
                self.print_page(options, api, &names, output)?;
            }
            output.flush()
        })?;
        match (heading, &*options.prefix) {
            (None, _) => {}
            (Some(_), "") => say(format_args!("there are no {member}")),
            (Some(_), prefix) => say(format_args!("there are no {member} whose names begin with {}", Plain(prefix))),
        }
        Ok(())
    }

    fn print_page(
        &self,
        options: &Options,
        api: &mut Api<'_>,
        names: &[String],
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (info, called) = self.info;
        let infos = api.calls(names.iter().map(|name| (info, json!([name]))))?;
        for (name, info) in names.iter().zip(infos) {
            match info {
                Err(Failure::Fault { code, .. }) if code == self.gone => {}
                Err(other) => return Err(other),
                Ok(mut info) if options.as_json => {
                    info[called] = name.as_str().into();
                    output.line(info)?;
                }
                Ok(info) => output.line(format_args!("{}  {}", (self.columns)(&info), Plain(name)))?,
            }
        }
        Ok(())
    }
}
