//! Manual pages and completions, made from the command line itself.

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::ABOUT;
use crate::config::knobs::Knob;

/// The manual page of the server, or of a subcommand, in roff.
///
/// # Panics
/// If there is no such subcommand: clap has looked.
#[must_use]
pub(super) fn page(subcommand: Option<&str>) -> String {
    let mut all = for_page(super::command());
    all.build();
    let mut page = Vec::new();
    let written = match subcommand {
        Some(name) => {
            let command = all.find_subcommand(name).expect("it is one of them").clone();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let synopsis = command.clone().render_usage().to_string();
            render(
                command,
                &[("SYNOPSIS", synopsis.trim_start_matches("Usage: ")), ("DESCRIPTION", &about)],
                &[],
                &mut page,
            )
        }
        None => render(all, &[("SYNOPSIS", "shaveet [OPTIONS]"), ("DESCRIPTION", ABOUT)], &MORE, &mut page),
    };
    written.expect("a vector takes all");
    let page = String::from_utf8(page).expect("roff is ASCII");
    // Each part has its own.
    format!("{PREAMBLE}{}", page.replace(PREAMBLE, ""))
}

/// What lets roff show an apostrophe.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

type Sections<'s> = [(&'s str, &'s str)];

/// Forty flags in the synopsis would tell nobody anything.
fn render(command: Command, first: &Sections<'_>, last: &Sections<'_>, page: &mut Vec<u8>) -> io::Result<()> {
    let notes = command.get_after_help().map(ToString::to_string);
    let has_subcommands = command.has_subcommands();
    let man = Man::new(command);
    man.render_title(page)?;
    man.render_name_section(page)?;
    write_sections(first, page)?;
    man.render_options_section(page)?;
    if has_subcommands {
        man.render_subcommands_section(page)?;
    }
    write_sections(last, page)?;
    let Some(notes) = notes else { return Ok(()) };
    let mut roff = Roff::new();
    // Its lines are columns.
    roff.control("SH", ["NOTES"]).control("nf", []);
    for line in notes.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []).to_writer(page)
}

fn write_sections(sections: &Sections<'_>, page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    for (heading, text) in sections {
        roff.control("SH", [*heading]).text([roman(*text)]);
    }
    roff.to_writer(page)
}

/// What a shell reads to complete our command lines.
#[must_use]
pub(super) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "shaveet", &mut script);
    String::from_utf8(script).expect("scripts are UTF-8")
}

/// There is room for why a default is what it is; headings are short.
fn for_page(command: Command) -> Command {
    let command = command.about("push server in one small binary").subcommand_help_heading("Subcommands");
    // It has no page of its own.
    command.disable_help_subcommand(true).mut_args(|arg| {
        let Some(knob) = Knob::named(arg.get_id().as_str()) else { return arg };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let heading = knob.group.heading();
        let heading = heading.split_once(" (").map_or(heading, |(short, _)| short);
        arg.help(format!("{help}. {}", knob.reason)).help_heading(heading)
    })
}

/// What the help does not tell.
const MORE: [(&str, &str); 3] = [
    (
        "FILES",
        "A file of settings is TOML: a key for each flag, written as the flag, at the top; lists, numbers, true and false where \
         that is what they are. Paths in it are relative to it. `shaveet check --config FILE` says what is wrong with it, by line, \
         or what counts.",
    ),
    (
        "SIGNALS",
        "SIGTERM and SIGINT answer the parked polls, a crowd of them spread over --drain, and end the server; the same again ends it \
         at once. SIGHUP has it read the file of settings and the file of the token again: all but listeners, the broker \
         and where the state is kept changes at once, nobody who waits is sent away, and the log says what has changed from what to what; if anything is wrong nothing \
         changes, and the log says why. SIGUSR2 has it become the program that is installed now, in the same process and with all \
         connections; if that cannot begin nothing changes, and the log says why.",
    ),
    (
        "EXIT STATUS",
        "0 after a clean stop, 1 if it could not listen, go on from its state or write it, or the event loop failed, 2 for wrong arguments or a wrong configuration.",
    ),
];
