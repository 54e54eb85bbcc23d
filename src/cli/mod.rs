//! The command line: what a user may write, and what is said when it is wrong.
//!
//! Arguments and environment go in, a [`Deed`] comes out, and nothing else happens here. The server's flags are made from the table
//! of [`knobs`](crate::config::knobs). Without a subcommand the server runs; each subcommand has a file of its own beside this
//! one. An error names the flag, the variable or the line of the file, the value and what is allowed, and the process ends with
//! code 2 before it has opened anything.

pub mod ask;
mod bench;
mod channels;
pub mod check;
mod clients;
pub mod daemon;
mod look_up;
mod manual;
mod publish;
pub mod reference;
mod tail;
pub mod upgrade;
mod why;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, StringValueParser, TypedValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;

use ask::Question;

use crate::config::knobs::{Form, Group, KNOBS, Knob, Preset};
use crate::config::{Origin, Problem, Problems, Setting, Settings, Sources};

/// What the user wants.
#[derive(Debug)]
pub enum Deed {
    /// Be the server.
    Serve {
        /// What counts now.
        settings: Box<Settings>,
        /// Where it comes from, to be read again.
        sources: Sources,
        /// In the background.
        daemon: bool,
    },
    /// Say what would count.
    Check {
        /// What counts.
        settings: Box<Settings>,
        /// Where it comes from.
        sources: Sources,
    },
    /// Print this.
    Print(String),
    /// Print the addresses of a host, or why there are none.
    LookUp(Result<String, String>),
    /// Have the server of this process become the program that is installed now.
    Upgrade(u32),
    /// Ask a running server for something.
    Ask(Box<Question>),
}

/// Why nothing is done.
#[derive(Debug)]
pub enum Error {
    /// The arguments are wrong; also what `--help` and `--version` print, by its [`kind`](clap::Error::kind).
    Arguments(clap::Error),
    /// The file or the environment is wrong.
    Configuration(Problems),
}

/// Reads this process's arguments, its environment and the file that they name. Ends the process after `--help`, `--version`
/// (code 0), wrong arguments and wrong settings (code 2).
#[must_use]
pub fn parse() -> Deed {
    match try_parse(std::env::args_os(), std::env::vars_os()) {
        Ok(deed) => deed,
        Err(Error::Arguments(error)) => error.exit(),
        Err(Error::Configuration(problems)) => refuse(&problems),
    }
}

/// Says what is wrong with the configuration and ends the process.
pub fn refuse(problems: &Problems) -> ! {
    problems.0.iter().for_each(complain);
    std::process::exit(2)
}

/// Says what is wrong.
pub fn complain(problem: &Problem) {
    // A closed stderr cannot be told anything.
    let _ = writeln!(io::stderr(), "shaveet: {problem}");
}

/// Reads arguments, the program's name first, variables, and the file that they name.
///
/// # Errors
/// What is wrong with them.
pub fn try_parse(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Deed, Error> {
    let matches = command().try_get_matches_from(args).map_err(Error::Arguments)?;
    match matches.subcommand() {
        Some(("reference", _)) => return Ok(Deed::Print(reference::markdown())),
        Some(("man", named)) => {
            return Ok(Deed::Print(manual::page(named.get_one::<String>("subcommand").map(String::as_str))));
        }
        Some(("completions", named)) => {
            return Ok(Deed::Print(manual::completions(*named.get_one("shell").expect("it is required"))));
        }
        Some(("look-up", named)) => {
            return Ok(Deed::LookUp(look_up::addresses(named.get_one::<String>("HOST").expect("it is required"))));
        }
        Some(("upgrade", named)) => return Ok(Deed::Upgrade(*named.get_one("PID").expect("it is required"))),
        _ => {}
    }
    let mut sources = Sources::default();
    sources.note_variables(variables);
    let subcommand = matches.subcommand();
    note_flags(subcommand.map_or(&matches, |(_, matches)| matches), &mut sources);
    if let Some((name, matches)) = subcommand
        && let Some(question) = Question::of(name, matches, sources.clone())
    {
        return question.map(|question| Deed::Ask(Box::new(question))).map_err(Error::Configuration);
    }
    let settings = Box::new(sources.read().map_err(Error::Configuration)?);
    Ok(match subcommand {
        Some(("check", _)) => Deed::Check { settings, sources },
        _ => Deed::Serve { settings, sources, daemon: matches.get_flag("daemon") },
    })
}

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    // One page for -h and --help: clap's long form would spread it over four screens.
    Command::new("shaveet")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .args(server_flags())
        .arg(
            Arg::new("daemon")
                .short('d')
                .long("daemon")
                .action(ArgAction::SetTrue)
                .help("Go on in the background when it listens. The log goes on if stderr is a file: 2>>shaveet.log"),
        )
        .subcommands(subcommands())
        .args_conflicts_with_subcommands(true)
        .subcommand_value_name("SUBCOMMAND")
        .subcommand_help_heading("Subcommands (without one it is the server)")
}

fn subcommands() -> Vec<Command> {
    let check = Command::new("check")
        .about("Check the configuration and print what counts of it, and where each value comes from")
        .after_help("What it prints can be used as a file. The exit code is 2 if something is wrong.")
        .defer(|check| check.args(server_flags()));
    let upgrade = Command::new("upgrade")
        .about("Have a running server become the program that is installed now; nobody is hung up on")
        .after_help("The same as SIGUSR2, but says whether it has. The exit code is\n1 if it has not: it goes on as before then.")
        .arg(Arg::new("PID").help("The server's process").required(true).value_parser(value_parser!(u32)));
    let shell = Arg::new("shell").required(true).value_name("SHELL").value_parser(value_parser!(Shell));
    let completions =
        Command::new("completions").about("Print what a shell reads to complete command lines").arg(shell);
    let reference = Command::new("reference").about("Print docs/configuration").hide(true);
    let mut all = vec![check, upgrade];
    all.extend(ask::commands());
    all.push(completions);
    let subcommand = Arg::new("subcommand").value_name("SUBCOMMAND").value_parser(DOCUMENTED);
    let man = Command::new("man").about("Print the manual page, or that of a subcommand").arg(subcommand);
    let look_up = Command::new("look-up").about("Print a host's addresses").hide(true);
    all.extend([man, reference, look_up.arg(Arg::new("HOST").required(true))]);
    all
}

/// Those that have a manual page.
const DOCUMENTED: [&str; 10] =
    ["check", "upgrade", "publish", "tail", "channels", "clients", "why", "bench", "completions", "man"];

const ABOUT: &str = "\
A push server for web applications. The web application creates clients, subscribes them to channels and publishes \
messages by JSON-RPC; its pages get them by long poll, server-sent events or WebSocket. Everything is kept in memory (and, with --state, over a \
restart), and HTTP is spoken in plain: put it behind the web server that your pages come from.";

// Lines of less than 80 columns: a narrow terminal would fold the table.
const AFTER_HELP: &str = "\
Times are numbers with units (500ms, 25s, 10m, 1h30m). Sizes are bytes, or have
a unit: KiB and MiB are powers of 1024, kB and MB of 1000.

Examples:
  shaveet                                    port 8082 on all interfaces
  shaveet --demo                             and http://localhost:8082/demo
  shaveet --listen 127.0.0.1:8082            behind nginx on the same machine
  shaveet --listen unix:/run/shaveet.sock    the same, through a Unix socket
  shaveet --rpc-allow 127.0.0.1,10.0.0.0/24  web application on other machines
  shaveet check --config shaveet.toml        what would hold, and who says so

File, environment:
  Each flag but -p is a key of the file, written as the flag, and a variable:
  --poll-timeout 20s is poll-timeout = \"20s\" and SHAVEET_POLL_TIMEOUT=20s.
  Flags win over variables, variables over the file.";

/// What the server is told by: a flag for each knob, and what is none.
fn server_flags() -> Vec<Arg> {
    let [config, port] = file_and_port();
    let mut flags: Vec<Arg> = KNOBS.iter().map(flag).collect();
    flags.insert(1, port);
    flags.insert(2, config);
    // A negative number is a wrong value, not an unknown flag, so that the error names the flag.
    flags.into_iter().map(|flag| if takes_value(&flag) { flag.allow_negative_numbers(true) } else { flag }).collect()
}

/// The flags that say what knobs say, and are none.
fn file_and_port() -> [Arg; 2] {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(PathBufValueParser::new())
        .value_hint(ValueHint::FilePath)
        .help("Read settings from this TOML file, such as poll-timeout = \"20s\"; or from SHAVEET_CONFIG")
        .help_heading(Group::Listening.heading());
    // No variable: container managers that know a service named `shaveet` set SHAVEET_PORT to `tcp://10.0.0.1:8082`.
    let port = Arg::new("port")
        .short('p')
        .long("port")
        .value_name("PORT")
        .value_parser(ValueParser::new(port))
        .help("Listen on this port of all interfaces, IPv4 and IPv6, besides what --listen says")
        .help_heading(Group::Listening.heading());
    [config, port]
}

fn takes_value(flag: &Arg) -> bool {
    flag.get_action().takes_values()
}

fn flag(knob: &'static Knob) -> Arg {
    let flag = Arg::new(knob.name).long(knob.name).help_heading(knob.group.heading());
    if knob.form == Form::Switch {
        return flag.action(ArgAction::SetTrue).help(knob.help);
    }
    let flag = flag.value_name(knob.value).value_parser(ValueParser::new(Allowed(knob)));
    let flag = if knob.value == "FILE" { flag.value_hint(ValueHint::FilePath) } else { flag };
    let flag = if knob.is_list() { flag.action(ArgAction::Append).value_delimiter(',') } else { flag };
    match knob.default {
        Preset::Value(text) => flag.default_value(text).help(knob.help),
        Preset::Absent(what) => flag.help(format!("{} [default: {what}]", knob.help)),
    }
}

/// The values of a knob. An error shows a value as it [may be shown](Knob::shown).
#[derive(Clone)]
struct Allowed(&'static Knob);

impl TypedValueParser for Allowed {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        let Err(why) = self.0.check(&text) else { return Ok(text) };
        let refuse = move |_: &str| Err::<String, String>(why.clone());
        refuse.parse_ref(command, arg, OsStr::new(&self.0.shown(&text)))
    }
}

/// What holds when nothing is written, as the file would have it.
fn default_in_file(knob: &Knob) -> String {
    let values: Vec<String> = knob.preset().map(|text| knob.split(text)).unwrap_or_default();
    let values: Vec<String> = values.iter().map(|text| knob.in_file(text)).collect();
    if values.len() == 1 { values.concat() } else { format!("[{}]", values.join(", ")) }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port is a number from 0 to 65535, 0 being any free port".into())
}

/// Notes what the flags say, and which file is to be read. A subcommand may have few of them.
fn note_flags(matches: &ArgMatches, sources: &mut Sources) {
    let is_flag = |knob: &&Knob| matches.try_contains_id(knob.name).unwrap_or(false);
    for knob in
        KNOBS.iter().filter(is_flag).filter(|knob| matches.value_source(knob.name) == Some(ValueSource::CommandLine))
    {
        let values = match knob.form {
            Form::Switch => vec!["on".to_owned()],
            _ => matches.get_many::<String>(knob.name).expect("it is there").cloned().collect(),
        };
        sources.flags.push(Setting { knob, values, origin: Origin::Flag(knob.flag()) });
    }
    sources.port = matches.get_one("port").copied();
    let named = matches.get_one::<PathBuf>("config").cloned();
    sources.file = named.or_else(|| sources.variable("SHAVEET_CONFIG").map(PathBuf::from));
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::clock::Ms;
    use crate::config::{Address, Config};

    /// With these arguments and nothing in the environment.
    fn config(args: &str) -> Config {
        match try_parse(format!("shaveet {args}").split_whitespace(), []) {
            Ok(Deed::Serve { settings, .. }) => settings.config().clone(),
            other => panic!("{args}: {other:?}"),
        }
    }

    /// The error for one flag with one value, which may be empty or hold spaces.
    fn error(flag: &str, value: &str) -> String {
        match try_parse(["shaveet", flag, value], []) {
            Err(Error::Arguments(error)) => error.to_string(),
            other => panic!("{flag} {value}: {other:?}"),
        }
    }

    #[test]
    fn command_is_sound() {
        command().debug_assert();
        let shown = command()
            .get_subcommands()
            .filter(|one| !one.is_hide_set())
            .map(|one| one.get_name().to_owned())
            .collect::<Vec<_>>();
        assert_eq!(shown, DOCUMENTED);
    }

    #[test]
    fn defaults_are_the_configs() {
        assert_eq!(config(""), Config::default());
    }

    #[test]
    fn help_fits_and_says_every_default() {
        let help = command().render_help().to_string();
        for arg in command().get_arguments() {
            let flag = format!("--{} ", arg.get_long().expect("every argument is a flag"));
            assert!(help.contains(&flag), "{flag}");
            for default in arg.get_default_values() {
                let default = default.to_str().expect("defaults are ASCII");
                assert!(help.contains(default), "{flag}{default}");
            }
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        let notes = |command: &Command| command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let all = command();
        for note in all.get_subcommands().chain([&all]).map(notes) {
            assert!(
                note.lines().all(|line| line.chars().count() <= 80),
                "what stands as it is fits 80 columns: {note}"
            );
        }
        assert_eq!(help, command().render_help().to_string(), "-h and --help are one page");
    }

    #[test]
    fn addresses_add_up() {
        let config = config("--listen 127.0.0.1:1,[::1]:2 -p 3 --listen unix:/tmp/s");
        let shown: Vec<String> = config.listen.iter().map(Address::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:1", "[::1]:2", "unix:/tmp/s", "*:3"]);
    }

    #[test]
    fn networks_add_up() {
        let shown = |nets: Vec<IpNet>| nets.iter().map(IpNet::to_string).collect::<Vec<_>>();
        let config = config("--rpc-allow 10.0.0.1,::1 --rpc-allow 192.168.0.0/16 --trusted-proxy any");
        assert_eq!(shown(config.rpc_allow), ["10.0.0.1/32", "::1/128", "192.168.0.0/16"]);
        assert_eq!(shown(config.trusted_proxy), ["0.0.0.0/0", "::/0"]);
    }

    #[test]
    fn the_api_can_have_its_own_place() {
        let config = config("--rpc-listen 127.0.0.1:8083,unix:/run/rpc.sock --rpc-socket-mode 0600 --rpc-host a.b,c");
        let shown: Vec<String> = config.rpc_listen.iter().map(Address::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:8083", "unix:/run/rpc.sock"]);
        assert_eq!((config.rpc_socket_mode, config.rpc_host), (0o600, vec!["a.b".to_owned(), "c".to_owned()]));
        assert_eq!(config.listen, Config::default().listen);
        for value in ["", "60", "1777", "066", "rw", "9"] {
            assert!(error("--rpc-socket-mode", value).contains("--rpc-socket-mode"), "{value}");
        }
        for value in ["", "a:80", "http://a", "a b", "é"] {
            assert!(error("--rpc-host", value).contains("--rpc-host"), "{value}");
        }
    }

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        assert_eq!(
            config("--allow-origin https://A.example,http://b:8080").allow_origin,
            ["https://a.example", "http://b:8080"]
        );
        assert!(config("--allow-origin https://a,*").allow_origin.is_empty());
        for value in [
            "",
            "a.example",
            "https://",
            "https://a/",
            "https://a/b",
            "null",
            "ftp://a",
            "https://a\r\nX: y",
            "https://é",
        ] {
            assert!(error("--allow-origin", value).contains("--allow-origin"), "{value}");
        }
    }

    #[test]
    fn nobody_can_be_believed_but_somebody_must_be_allowed() {
        assert_eq!(config("--trusted-proxy none").trusted_proxy, []);
        assert!(error("--rpc-allow", "none").contains("not a network"));
        assert!(error("--rpc-allow", "").contains("write `any`"));
        assert!(error("--rpc-allow", "127.0.0.1,").contains("write `any`"));
        assert!(error("--trusted-proxy", "").contains("write `none`"));
    }

    #[test]
    fn times_are_read_and_bounded() {
        assert_eq!(config("--poll-timeout 10ms").poll_timeout, Ms(10));
        assert_eq!(config("--poll-timeout 1h30m").poll_timeout, Ms::from_secs(5400));
        assert_eq!(config("--poll-timeout 1d").poll_timeout, Ms::from_secs(86_400));
        assert_eq!(config("--departed-age 30d").departed_age, Ms::from_secs(30 * 86_400));
        for value in ["25", "", "-1", "x", "9ms", "0s", "25h", "999999999999999999999s", "2years"] {
            let error = error("--poll-timeout", value);
            assert!(error.contains("--poll-timeout") && error.contains("10ms to 1d"), "{error}");
        }
        assert!(error("--departed-age", "31d").contains("10ms to 30d"));
    }

    #[test]
    fn sizes_are_read_and_bounded() {
        for (value, bytes) in [("1024", 1024), ("2KiB", 2048), ("2kB", 2000), ("1.5MiB", 1_572_864), ("1GiB", 1 << 30)]
        {
            assert_eq!(config(&format!("--max-body {value}")).max_body, bytes, "{value}");
        }
        for value in ["", "1023", "-1", "1025MiB", "99999999999999999999999EiB", "1..5MiB", "1 mile", "NaN"] {
            let error = error("--max-body", value);
            assert!(error.contains("--max-body") && error.contains("1KiB to 1GiB"), "{error}");
        }
    }

    #[test]
    fn counts_are_read_and_bounded() {
        assert_eq!(config("--history 1000000 --departed-max 0").policies.default.history, 1_000_000);
        assert_eq!(config("--departed-max 0").departed_max, 0);
        for value in ["", "0", "-1", "1000001", "ten", "99999999999999999999999"] {
            let error = error("--history", value);
            assert!(error.contains("--history") && error.contains("1 to 1000000"), "{error}");
        }
        assert!(error("--departed-max", "10000001").contains("0 to 10000000"));
    }

    #[test]
    fn ports_are_bounded() {
        for value in ["", "65536", "-1", "http"] {
            let error = error("--port", value);
            assert!(error.contains("--port") && error.contains("0 to 65535"), "{error}");
        }
    }
}
