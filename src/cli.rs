//! The command line: what a user may write, and what is said when it is wrong.
//!
//! Text goes in, a [`Config`] comes out, and nothing else happens here. The defaults stand as text, because the help shows
//! them; a test holds them against [`Config::default`]. An error names the flag, the value and what is allowed, and
//! the process ends with code 2 (clap's) before it has opened anything.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use ipnet::IpNet;

use crate::clock::Ms;
use crate::config::{Address, Config, any_network, network};
use crate::hub::{Policies, Policy, SystemShare};

/// Reads this process's arguments and environment. Ends the process after `--help`, `--version` (code 0) and wrong
/// arguments (code 2).
#[must_use]
pub fn parse() -> Config {
    try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// Reads arguments, the program's name first, and the environment.
///
/// # Errors
///
/// What is wrong with them; also what `--help` and `--version` print, by its
/// [`kind`](clap::Error::kind).
pub fn try_parse_from<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<Config, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    Options::from_arg_matches(&matches).map(Config::from)
}

fn command() -> clap::Command {
    // One rule below the options says more than the name of a variable beside each. A negative number is a wrong value,
    // not an unknown flag, so that the error names the flag.
    Options::command().mut_args(|arg| {
        let has_value = arg.get_action().takes_values();
        arg.hide_env(true).allow_negative_numbers(has_value)
    })
}

#[derive(Parser)]
// One page for -h and --help: clap's long form would spread it over four screens.
#[command(version, about = ABOUT, long_about = None, after_help = AFTER_HELP)]
struct Options {
    #[command(flatten)]
    listening: Listening,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    timers: Timers,
    #[command(flatten)]
    history: History,
    #[command(flatten)]
    limits: Limits,
}

const ABOUT: &str = "\
A push server for web applications. The web application creates clients, subscribes them to channels and publishes \
messages by JSON-RPC; its pages get their messages by long polls. Everything is kept in memory, and HTTP is spoken in \
plain: put it behind the web server that your pages come from.";

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

Environment:
  SHAVEET_...  each flag but -p in capitals: SHAVEET_POLL_TIMEOUT=20s is
               --poll-timeout 20s. A flag wins over its variable
  RUST_LOG     what is logged to stderr: error, warn, info, debug or trace
               [default: info]";

#[derive(Args)]
#[command(next_help_heading = "Listening")]
struct Listening {
    /// Where to listen: 127.0.0.1:8082, [::1]:8082, unix:/path, or 8082 for all interfaces. May be given several times,
    /// or as a list with commas. Port 0 is any free port; the real one is printed at the start [default: 8082]
    #[arg(long, value_name = "ADDR", env = "SHAVEET_LISTEN", value_delimiter = ',')]
    listen: Vec<Address>,

    // No variable: container managers that know a service named `shaveet` set SHAVEET_PORT to `tcp://10.0.0.1:8082`.
    /// Listen on this port of all interfaces, IPv4 and IPv6, besides what --listen says
    #[arg(short, long, value_name = "PORT", value_parser = port)]
    port: Option<u16>,
}

#[derive(Args)]
#[command(next_help_heading = "Access")]
struct Access {
    /// Listen here for the JSON-RPC API alone, written as for --listen; the other listeners serve it no more
    #[arg(long, value_name = "ADDR", env = "SHAVEET_RPC_LISTEN", value_delimiter = ',')]
    rpc_listen: Vec<Address>,

    /// File mode of a Unix socket there: who may write to it may call
    #[arg(long, value_name = "MODE", env = "SHAVEET_RPC_SOCKET_MODE", default_value = "660", value_parser = socket_mode)]
    rpc_socket_mode: u32,

    /// A file with a token of 16 characters or more: calls without `Authorization: Bearer TOKEN` are refused
    #[arg(long, value_name = "FILE", env = "SHAVEET_RPC_TOKEN_FILE")]
    rpc_token_file: Option<PathBuf>,

    /// Names, besides localhost, that the web application on this machine calls it by
    #[arg(long, value_name = "NAME", env = "SHAVEET_RPC_HOST", value_delimiter = ',', value_parser = host_name)]
    rpc_host: Vec<String>,

    /// Who may call the JSON-RPC API: addresses and networks (127.0.0.1, 10.0.0.0/8) of the web application, with commas
    /// between them, or `any`. Whoever is listed can read and send everything
    #[arg(long, value_name = "NET", env = "SHAVEET_RPC_ALLOW", value_delimiter = ',', default_value = "127.0.0.1/32,::1/128", value_parser = rpc_allow)]
    rpc_allow: Vec<Networks>,

    /// Proxies whose X-Forwarded-For is believed, written likewise, or `none`. Name the nginx in front if it runs on another
    /// machine, so that pages behind it are not taken for the web application
    #[arg(long, value_name = "NET", env = "SHAVEET_TRUSTED_PROXY", value_delimiter = ',', default_value = "127.0.0.1/32,::1/128", value_parser = trusted_proxy)]
    trusted_proxy: Vec<Networks>,

    /// Origins of the pages that may poll from another host than this, such as https://www.example.org, or * for all
    #[arg(long, value_name = "ORIGIN", env = "SHAVEET_ALLOW_ORIGIN", value_delimiter = ',', default_value = "*", value_parser = origin)]
    allow_origin: Vec<Option<String>>,

    /// Serve /demo, a page that shows the server at work: for a first look, as whoever reaches it may speak there
    #[arg(long, env = "SHAVEET_DEMO")]
    demo: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Timers (10ms to 1d)")]
struct Timers {
    /// Answer a poll without news after this time, or up to a tenth earlier, so that pages do not return all at once.
    /// Keep it below the read timeout of the proxy in front
    #[arg(long, value_name = "TIME", env = "SHAVEET_POLL_TIMEOUT", default_value = "25s", value_parser = timer)]
    poll_timeout: Ms,

    /// A client that has not polled for this time is gone. Raise it for pages on bad lines, lower it to see
    /// people leave sooner
    #[arg(long, value_name = "TIME", env = "SHAVEET_MAX_IDLE", default_value = "10s", value_parser = timer)]
    max_idle: Ms,

    /// A new client has this long for its first poll. Raise it if your pages load slowly
    #[arg(long, value_name = "TIME", env = "SHAVEET_MIN_ALIVE", default_value = "60s", value_parser = timer)]
    min_alive: Ms,

    /// How often clients that are gone are collected
    #[arg(long, value_name = "TIME", env = "SHAVEET_SWEEP_INTERVAL", default_value = "10s", value_parser = timer)]
    sweep_interval: Ms,

    /// Forget a channel that nobody is subscribed to, with its history, when unused for this time
    #[arg(long, value_name = "TIME", env = "SHAVEET_CHANNEL_IDLE", default_value = "10m", value_parser = timer)]
    channel_idle: Ms,

    /// Time for a request line and its headers to arrive, from the first byte
    #[arg(long, value_name = "TIME", env = "SHAVEET_HEAD_TIMEOUT", default_value = "10s", value_parser = timer)]
    head_timeout: Ms,

    /// Time for a request body to arrive. Raise it for large messages over slow lines
    #[arg(long, value_name = "TIME", env = "SHAVEET_BODY_TIMEOUT", default_value = "30s", value_parser = timer)]
    body_timeout: Ms,

    /// Close a connection without a request after this time. Keep it above the keepalive_timeout of an nginx in
    /// front (60s)
    #[arg(long, value_name = "TIME", env = "SHAVEET_IDLE_TIMEOUT", default_value = "75s", value_parser = timer)]
    idle_timeout: Ms,

    /// Close a connection whose peer takes nothing of its answer for this time
    #[arg(long, value_name = "TIME", env = "SHAVEET_WRITE_TIMEOUT", default_value = "30s", value_parser = timer)]
    write_timeout: Ms,
}

#[derive(Args)]
#[command(next_help_heading = "History (for all channels: N; for those whose names begin so: chat-=N)")]
struct History {
    /// Messages kept per channel, 1 to 1000000: a page that is further behind is told that it has lost the rest
    #[arg(long, value_name = "COUNT", env = "SHAVEET_HISTORY", value_delimiter = ',', default_value = "100", value_parser = rule(history))]
    history: Vec<Rule<usize>>,

    /// Joins, leaves and other system messages kept beside them, 1 to 1000000, or `shared` to have them count among the
    /// others, as the original server did
    #[arg(long, value_name = "COUNT", env = "SHAVEET_HISTORY_SYSTEM", value_delimiter = ',', default_value = "100", value_parser = rule(history_system))]
    history_system: Vec<Rule<SystemShare>>,

    /// Bytes kept per channel, of either kind; the newest message stays however large it is
    #[arg(long, value_name = "SIZE", env = "SHAVEET_HISTORY_BYTES", value_delimiter = ',', default_value = "1MiB", value_parser = rule(size))]
    history_bytes: Vec<Rule<usize>>,

    /// How long messages are kept, 10ms to 30d; the newest stays
    #[arg(long, value_name = "TIME", env = "SHAVEET_HISTORY_AGE", value_delimiter = ',', default_value = "10m", value_parser = rule(departed_age))]
    history_age: Vec<Rule<Ms>>,

    /// Bytes kept by all channels together: those that were not used for longest give up theirs first
    #[arg(long, value_name = "SIZE", env = "SHAVEET_HISTORY_TOTAL", default_value = "256MiB", value_parser = size)]
    history_total: usize,

    /// Whether joins and leaves are published: `on` or `off`. In a room of n pages each costs n deliveries
    #[arg(long, value_name = "ON", env = "SHAVEET_PRESENCE", value_delimiter = ',', default_value = "on", value_parser = rule(on_or_off))]
    presence: Vec<Rule<bool>>,
}

#[derive(Args)]
#[command(next_help_heading = "Limits (sizes from 1KiB to 1GiB)")]
struct Limits {
    /// Clients remembered after they are gone, 0 to 10000000, so that they can come back with their subscriptions
    #[arg(long, value_name = "COUNT", env = "SHAVEET_DEPARTED_MAX", default_value = "100000", value_parser = departed_max)]
    departed_max: usize,

    /// How long they are remembered, 10ms to 30d: the longest sleep of a laptop that matters
    #[arg(long, value_name = "TIME", env = "SHAVEET_DEPARTED_AGE", default_value = "1d", value_parser = departed_age)]
    departed_age: Ms,

    /// Size of a request line with its headers. Long client ids, many in one poll, or large cookies need more
    #[arg(long, value_name = "SIZE", env = "SHAVEET_MAX_HEAD", default_value = "128KiB", value_parser = size)]
    max_head: usize,

    /// Size of a request body, and so of the largest message
    #[arg(long, value_name = "SIZE", env = "SHAVEET_MAX_BODY", default_value = "4MiB", value_parser = size)]
    max_body: usize,

    /// Size of one poll answer; the rest comes with the next poll, at once. A larger one takes the loop longer
    #[arg(long, value_name = "SIZE", env = "SHAVEET_MAX_ANSWER", default_value = "256KiB", value_parser = size)]
    max_answer: usize,

    /// Memory that the process may use, 16MiB or more. Near it channels give up their history, then new clients and messages are
    /// refused [default: three quarters of the machine's, or of its control group's]
    #[arg(long, value_name = "SIZE", env = "SHAVEET_MEMORY_MAX", value_parser = memory)]
    memory_max: Option<usize>,

    /// Connections, 1 to 10000000. The system's limit of open files (ulimit -n) holds besides
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_CONNECTIONS", default_value = "1000000", value_parser = many)]
    max_connections: usize,

    /// Connections of one address that is no trusted proxy, 1 to 10000000; of IPv6 all with the same first 64 bits
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_CONNECTIONS_PER_ADDRESS", default_value = "1000", value_parser = many_small)]
    max_connections_per_address: u32,

    /// New ones of these within a second, 1 to 10000000
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_NEW_PER_ADDRESS", default_value = "200", value_parser = many_small)]
    max_new_per_address: u32,

    /// Clients, 1 to 10000000, those remembered included
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_CLIENTS", default_value = "1000000", value_parser = many)]
    max_clients: usize,

    /// Channels, 1 to 10000000
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_CHANNELS", default_value = "1000000", value_parser = many)]
    max_channels: usize,

    /// Subscriptions of one client, 1 to 1000000; each of its polls looks at all of them
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_SUBSCRIPTIONS", default_value = "1000", value_parser = history)]
    max_subscriptions: usize,

    /// Polls that one client may have parked, 2 to 1000: tabs that share an id
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_POLLS", default_value = "16", value_parser = polls)]
    max_polls: usize,

    /// Polls of one client within a second that come to nothing new, 1 to 10000000: a page in a hot loop has to wait
    #[arg(long, value_name = "COUNT", env = "SHAVEET_MAX_POLL_RATE", default_value = "100", value_parser = many_small)]
    max_poll_rate: u32,

    /// Size of a client's id or a channel's name. 256 bytes are plenty for new applications
    #[arg(long, value_name = "SIZE", env = "SHAVEET_MAX_NAME", default_value = "64KiB", value_parser = name_size)]
    max_name: usize,
}

impl From<Options> for Config {
    fn from(options: Options) -> Config {
        let Options { listening, access, timers, history, limits } = options;
        let mut listen = listening.listen;
        listen.extend(listening.port.map(Address::Everywhere));
        if listen.is_empty() {
            listen = Config::default().listen;
        }
        Config {
            listen,
            rpc_listen: access.rpc_listen,
            rpc_socket_mode: access.rpc_socket_mode,
            rpc_token_file: access.rpc_token_file,
            rpc_host: access.rpc_host,
            rpc_allow: joined(access.rpc_allow),
            trusted_proxy: joined(access.trusted_proxy),
            allow_origin: origins(access.allow_origin),
            demo: access.demo,
            poll_timeout: timers.poll_timeout,
            max_idle: timers.max_idle,
            min_alive: timers.min_alive,
            sweep_interval: timers.sweep_interval,
            channel_idle: timers.channel_idle,
            policies: policies(&history),
            history_total: history.history_total,
            memory_max: limits.memory_max,
            max_connections: limits.max_connections,
            max_connections_per_address: limits.max_connections_per_address,
            max_new_per_address: limits.max_new_per_address,
            max_clients: limits.max_clients,
            max_channels: limits.max_channels,
            max_subscriptions: limits.max_subscriptions,
            max_polls: limits.max_polls,
            max_poll_rate: limits.max_poll_rate,
            max_name: limits.max_name,
            departed_max: limits.departed_max,
            departed_age: limits.departed_age,
            max_head: limits.max_head,
            max_body: limits.max_body,
            max_answer: limits.max_answer,
            head_timeout: timers.head_timeout,
            body_timeout: timers.body_timeout,
            idle_timeout: timers.idle_timeout,
            write_timeout: timers.write_timeout,
        }
    }
}

/// A value for all channels, or for those whose names begin with `prefix`.
#[derive(Clone)]
struct Rule<T> {
    prefix: String,
    value: T,
}

/// Reads `VALUE` or `PREFIX=VALUE`.
fn rule<T>(value: fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<Rule<T>, String> + Clone {
    move |text| {
        let (prefix, text) = text.rsplit_once('=').unwrap_or(("", text));
        Ok(Rule { prefix: prefix.to_owned(), value: value(text)? })
    }
}

/// Of the rules that fit channels of these names the longest counts, of equals the last.
fn ruled<T: Copy>(rules: &[Rule<T>], prefix: &str, default: T) -> T {
    let fitting = rules.iter().filter(|rule| prefix.starts_with(&rule.prefix));
    fitting.max_by_key(|rule| rule.prefix.len()).map_or(default, |rule| rule.value)
}

fn policies(history: &History) -> Policies {
    let default = Config::default().policies.default;
    let policy = |prefix: &str| {
        Arc::new(Policy {
            history: ruled(&history.history, prefix, default.history),
            history_system: ruled(&history.history_system, prefix, default.history_system),
            history_bytes: ruled(&history.history_bytes, prefix, default.history_bytes),
            history_age: ruled(&history.history_age, prefix, default.history_age),
            presence: ruled(&history.presence, prefix, default.presence),
        })
    };
    let mut prefixes: Vec<&String> = history.history.iter().map(|rule| &rule.prefix).collect();
    prefixes.extend(history.history_system.iter().map(|rule| &rule.prefix));
    prefixes.extend(history.history_bytes.iter().map(|rule| &rule.prefix));
    prefixes.extend(history.history_age.iter().map(|rule| &rule.prefix));
    prefixes.extend(history.presence.iter().map(|rule| &rule.prefix));
    prefixes.retain(|prefix| !prefix.is_empty());
    prefixes.sort_unstable();
    prefixes.dedup();
    let by_prefix = prefixes.into_iter().map(|prefix| (prefix.clone(), policy(prefix))).collect();
    Policies { default: policy(""), by_prefix }
}

/// One entry of a list of networks: `any` is two of them, `none` is none.
#[derive(Clone)]
struct Networks(Vec<IpNet>);

fn joined(entries: Vec<Networks>) -> Vec<IpNet> {
    entries.into_iter().flat_map(|Networks(nets)| nets).collect()
}

fn rpc_allow(text: &str) -> Result<Networks, String> {
    match text {
        "any" => Ok(Networks(any_network())),
        // The original's empty list let everybody in: who writes one may mean that, or may have lost a variable.
        "" => Err("empty; write `any` to let everybody call the API, or addresses such as 127.0.0.1".into()),
        text => one_network(text, "any"),
    }
}

fn trusted_proxy(text: &str) -> Result<Networks, String> {
    match text {
        "any" => Ok(Networks(any_network())),
        "none" => Ok(Networks(Vec::new())),
        "" => Err("empty; write `none` to believe nobody, or addresses such as 127.0.0.1".into()),
        text => one_network(text, "any, none"),
    }
}

fn one_network(text: &str, words: &str) -> Result<Networks, String> {
    match network(text) {
        Ok(net) => Ok(Networks(vec![net])),
        Err(_) => Err(format!("not a network; allowed are 127.0.0.1, 10.0.0.0/8, ::1, fd00::/8, {words}")),
    }
}

fn socket_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600);
    mode.ok_or_else(|| "allowed is a file mode of three octal digits that lets its owner in, such as 600 or 660".into())
}

fn host_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "a name is of letters, digits, dots and hyphens, without a port".into())
}

/// An origin as a browser sends it (RFC 6454 section 6.2); `None` for all.
fn origin(text: &str) -> Result<Option<String>, String> {
    if text == "*" {
        return Ok(None);
    }
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let is_origin =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    let origin = is_origin.then(|| Some(text.to_ascii_lowercase()));
    origin.ok_or_else(|| "an origin is like https://www.example.org, without a path; * allows all".into())
}

/// All of them if one says so.
fn origins(origins: Vec<Option<String>>) -> Vec<String> {
    origins.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port is a number from 0 to 65535, 0 being any free port".into())
}

fn timer(text: &str) -> Result<Ms, String> {
    time(text, DAY, "10ms to 1d")
}

fn departed_age(text: &str) -> Result<Ms, String> {
    time(text, 30 * DAY, "10ms to 30d")
}

fn time(text: &str, longest: Duration, allowed: &str) -> Result<Ms, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (SHORTEST..=longest).contains(&time) => Ok(time.into()),
        Ok(_) => Err(format!("out of range; allowed is {allowed}")),
        Err(error) => Err(format!("{error}; allowed is {allowed}, written as 500ms, 25s or 10m")),
    }
}

/// A timer that is shorter keeps the server busy with nothing.
const SHORTEST: Duration = Duration::from_millis(10);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn history(text: &str) -> Result<usize, String> {
    count(text, 1..=1_000_000)
}

fn history_system(text: &str) -> Result<SystemShare, String> {
    match text {
        "shared" => Ok(SystemShare::Shared),
        text => history(text).map(SystemShare::Own).map_err(|error| format!("{error}, or `shared`")),
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("allowed are `on` and `off`".into()),
    }
}

fn many(text: &str) -> Result<usize, String> {
    count(text, 1..=10_000_000)
}

fn many_small(text: &str) -> Result<u32, String> {
    Ok(u32::try_from(many(text)?).expect("ten million fit into 32 bits"))
}

fn polls(text: &str) -> Result<usize, String> {
    count(text, 2..=1000)
}

fn name_size(text: &str) -> Result<usize, String> {
    let Ok(ByteSize(bytes)) = text.parse() else {
        return Err("not a size; allowed is 16 to 1MiB, written as 256 or 64KiB".into());
    };
    let bytes = usize::try_from(bytes).ok().filter(|bytes| (16..=1 << 20).contains(bytes));
    bytes.ok_or_else(|| "out of range; allowed is 16 to 1MiB".into())
}

fn memory(text: &str) -> Result<usize, String> {
    let Ok(ByteSize(bytes)) = text.parse() else {
        return Err("not a size; allowed is 16MiB or more, written as 512MiB or 4GiB".into());
    };
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes >= 16 << 20);
    bytes.ok_or_else(|| "out of range; allowed is 16MiB or more".into())
}

fn departed_max(text: &str) -> Result<usize, String> {
    count(text, 0..=10_000_000)
}

fn count(text: &str, allowed: RangeInclusive<usize>) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| allowed.contains(count));
    count.ok_or_else(|| format!("allowed is a number from {} to {}", allowed.start(), allowed.end()))
}

fn size(text: &str) -> Result<usize, String> {
    let Ok(ByteSize(bytes)) = text.parse() else {
        return Err("not a size; allowed is 1KiB to 1GiB, written as 65536, 128KiB or 4MB".into());
    };
    let bytes = usize::try_from(bytes).ok().filter(|bytes| SIZES.contains(bytes));
    bytes.ok_or_else(|| "out of range; allowed is 1KiB to 1GiB".into())
}

/// Below, not even a browser's headers fit; above, one request could take a small machine's memory.
const SIZES: RangeInclusive<usize> = 1024..=1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn config(args: &str) -> Config {
        try_parse_from(format!("shaveet {args}").split_whitespace()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The error for one flag with one value, which may be empty or hold spaces.
    fn error(flag: &str, value: &str) -> String {
        try_parse_from(["shaveet", flag, value]).expect_err(value).to_string()
    }

    #[test]
    fn command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn defaults_are_the_configs() {
        assert_eq!(config(""), Config::default());
    }

    #[test]
    fn every_flag_with_a_default_has_its_variable() {
        let without: BTreeSet<String> = command()
            .get_arguments()
            .filter(|arg| {
                let flag = arg.get_long().expect("every argument is a flag");
                let variable = format!("SHAVEET_{}", flag.to_uppercase().replace('-', "_"));
                arg.get_env().is_none_or(|env| *env != *variable)
            })
            .map(|arg| arg.get_id().to_string())
            .collect();
        assert_eq!(without, BTreeSet::from(["port".into()]));
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
        assert!(AFTER_HELP.lines().all(|line| line.chars().count() < 80), "what stands as it is fits 80 columns");
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
