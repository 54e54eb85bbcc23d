//! The program: arguments, logger, listeners, loop, exit code.
//!
//! Exit codes: 0 after a clean stop (SIGTERM, SIGINT), 1 if it could not listen, go on from its state or write it, or the loop
//! failed, 2 for wrong arguments or a wrong configuration.

#[cfg(not(feature = "jemalloc"))]
use std::alloc::System as Allocator;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use cap::Cap;
use log::{LevelFilter, warn};
use shaveet::api::Entrance;
use shaveet::cli::daemon::{self, Role};
use shaveet::cli::{self, Deed, check};
use shaveet::config::{Config, Log, Settings, Sources};
use shaveet::server::{Beginning, Server};
#[cfg(feature = "jemalloc")]
use tikv_jemallocator::Jemalloc as Allocator;

/// What a crowd took goes back to the system when it has gone (at once, as .cargo/config.toml says), and what is in use is
/// counted for `--memory-max`. Nothing is refused: that would be the end of the process.
#[global_allocator]
static HEAP: Cap<Allocator> = Cap::new(Allocator, usize::MAX);

fn main() -> ExitCode {
    match cli::parse() {
        Deed::Serve { settings, sources, daemon: false } => serve(*settings, sources, || Ok(())),
        Deed::Serve { settings, sources, daemon: true } => match daemon::detach() {
            Ok(Role::Server) => serve(*settings, sources, daemon::leave),
            Ok(Role::Command(code)) => code,
            Err(error) => failed(&error),
        },
        Deed::Check { settings, sources } => {
            sources.misspelt_variables().iter().for_each(cli::complain);
            check::report(&settings).map_or_else(|problems| cli::refuse(&problems), |report| printed(&report))
        }
        Deed::Print(text) | Deed::LookUp(Ok(text)) => printed(&text),
        // By stdout, where the answer would have been: that is what the server reads.
        Deed::LookUp(Err(why)) => {
            printed(&why);
            ExitCode::FAILURE
        }
        Deed::Ask(question) => question.ask(),
        Deed::Upgrade(pid) => cli::upgrade::upgrade(pid).map_or_else(|error| failed(&error), |text| printed(&text)),
    }
}

/// Whoever does not read to the end has read enough.
fn printed(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Is the server. `listens` is what is to be done when it listens.
fn serve(settings: Settings, sources: Sources, listens: fn() -> io::Result<()>) -> ExitCode {
    let config = settings.config().clone();
    log_to_stderr(&config.log);
    sources.misspelt_variables().iter().for_each(|problem| warn!("{problem}"));
    let used = || HEAP.allocated();
    let begun = match Beginning::of_this_process() {
        Beginning::Anew => Server::bind(config.clone(), used).inspect(|server| greet(server, &config)),
        Beginning::TakeOver => Server::inherit(config, used),
        Beginning::Trial => {
            return Server::try_to_inherit(&config).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
        }
    };
    let mut server = match begun {
        Ok(server) => server,
        Err(error) => return failed(&error),
    };
    server.reads_again(sources, settings);
    match listens().and_then(|()| server.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Says where it listens, which programs read, and to people what to try.
fn greet(server: &Server, config: &Config) {
    let addresses = server.addresses();
    let addresses: Vec<_> = addresses.iter().map(|(address, entrance)| (address.to_string(), *entrance)).collect();
    let mut text = listening(&addresses);
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        text += &to_try(&addresses, config.demo, config.rpc_token_file.as_deref());
    }
    // Whoever started us may not read what we print: no reason to stop.
    let _ = stdout.write_all(text.as_bytes());
}

/// One line for each event: time, level, message. A level is the logger's affair no more, so that it can change.
fn log_to_stderr(log: &Log) {
    let mut builder = env_logger::Builder::new();
    match log {
        Log::Level(_) => builder.filter_level(LevelFilter::Trace),
        Log::Directives(directives) => builder.parse_filters(directives),
    };
    builder
        .format(|out, record| writeln!(out, "{} {:<5} {}", out.timestamp_millis(), record.level(), record.args()))
        .init();
    if let Log::Level(level) = log {
        log::set_max_level(*level);
    }
}

fn failed(error: &dyn Display) -> ExitCode {
    // A closed stderr cannot be told anything; `eprintln!` would panic.
    let _ = writeln!(io::stderr(), "shaveet: {error}");
    ExitCode::FAILURE
}

/// A line for each listener.
fn listening(addresses: &[(String, Entrance)]) -> String {
    let mut text = String::new();
    for (address, entrance) in addresses {
        text += if *entrance == Entrance::Rpc { "listening for calls on " } else { "listening on " };
        text += address;
        text += "\n";
    }
    text
}

/// The place of the demo, then three lines to paste into a shell. The poll runs twice in the background: the first is answered
/// with the client's own `subscribe` message, the second waits for what is published.
fn to_try(addresses: &[(String, Entrance)], demo: bool, token: Option<&Path>) -> String {
    let is_for = |other: Entrance| {
        let mut fitting = addresses.iter().filter(move |(_, entrance)| *entrance != other).map(|(address, _)| address);
        let first = fitting.clone().find(|address| address.starts_with("http:")).or_else(|| fitting.next());
        first.map(|address| reached(address))
    };
    let (Some((mut call, api)), Some((poll, pages))) = (is_for(Entrance::Pages), is_for(Entrance::Rpc)) else {
        return String::new();
    };
    if let Some(path) = token {
        call += &format!(r#" -H "Authorization: Bearer $(cat {})""#, quoted(&path.display().to_string()));
    }
    let demo = if demo { format!("two pages chat at {pages}/demo\n") } else { String::new() };
    format!(
        r#"{demo}  key=$({call} '{api}' -d '{{"method":"create_client","params":["demo"]}}' | cut -d'"' -f4)
  {call} '{api}' -d '{{"method":"subscribe","params":["demo","room"]}}'; for i in 1 2; do {poll} -G '{pages}/message_updates' -d callback=show -d 'client_id=demo_!!_'$key; echo; done &
  {call} '{api}' -d '{{"method":"new_message","params":["alice","hello","room",false]}}'
"#
    )
}

/// How curl gets to an address: its command and the URL. A wildcard is no place to connect to: this machine is.
fn reached(address: &str) -> (String, String) {
    match address.strip_prefix("unix:") {
        Some(path) => (format!("curl -s --unix-socket {}", quoted(path)), "http://localhost".into()),
        None => {
            let url = address.replace("//0.0.0.0:", "//localhost:").replace("//[::]:", "//localhost:");
            ("curl -s".into(), url)
        }
    }
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Entrance, listening, to_try};

    fn owned(addresses: &[(&str, Entrance)]) -> Vec<(String, Entrance)> {
        addresses.iter().map(|(address, entrance)| ((*address).to_owned(), *entrance)).collect()
    }

    #[test]
    fn every_listener_is_told_and_the_first_that_curl_reaches_is_tried() {
        let shared = |address| (address, Entrance::Shared);
        let addresses = owned(&["unix:/run/it's", "http://[::]:8082", "http://127.0.0.1:8083"].map(shared));
        let text = listening(&addresses);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            ["listening on unix:/run/it's", "listening on http://[::]:8082", "listening on http://127.0.0.1:8083"]
        );
        let text = to_try(&addresses, false, None);
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("  key=$(curl -s 'http://localhost:8082' -d "), "{text}");
        let text = to_try(&owned(&[shared("unix:/run/it's")]), false, None);
        assert!(text.contains(r"curl -s --unix-socket '/run/it'\''s' 'http://localhost' -d "));
        assert_eq!(to_try(&[], true, None), "");
    }

    #[test]
    fn calls_are_tried_where_they_are_served_and_with_what_they_need() {
        let addresses = owned(&[("http://0.0.0.0:8082", Entrance::Pages), ("unix:/run/rpc", Entrance::Rpc)]);
        assert_eq!(listening(&addresses).lines().nth(1), Some("listening for calls on unix:/run/rpc"));
        let text = to_try(&addresses, false, None);
        assert!(text.starts_with("  key=$(curl -s --unix-socket '/run/rpc' 'http://localhost' -d "), "{text}");
        assert!(text.contains("curl -s -G 'http://localhost:8082/message_updates'"), "{text}");
        let addresses = owned(&[("http://0.0.0.0:8082", Entrance::Shared)]);
        let text = to_try(&addresses, true, Some(Path::new("/etc/token")));
        assert!(text.starts_with("two pages chat at http://localhost:8082/demo\n"), "{text}");
        let with_token = r#"curl -s -H "Authorization: Bearer $(cat '/etc/token')" 'http://localhost:8082' -d "#;
        assert_eq!(text.matches(with_token).count(), 3, "{text}");
    }
}
