//! The program: arguments, logger, listeners, loop, exit code.
//!
//! Exit codes: 0 after a clean stop (SIGTERM, SIGINT), 1 if it could not listen, go on from its state or write it, or the loop
//! failed, 2 for wrong arguments or a wrong configuration.

#[cfg(not(feature = "jemalloc"))]
use std::alloc::System as Allocator;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use cap::Cap;
use log::LevelFilter;
use shaveet::api::Entrance;
use shaveet::cli::daemon::{self, Role};
use shaveet::cli::{self, Deed, check};
use shaveet::config::{Log, Settings, Sources};
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
        Deed::Check(settings) => match check::report(&settings) {
            Ok(report) => printed(&report),
            Err(problems) => cli::refuse(&problems),
        },
        Deed::Print(text) => printed(&text),
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
    let demo = config.demo;
    log_to_stderr(&config.log);
    let used = || HEAP.allocated();
    let begun = match Beginning::of_this_process() {
        Beginning::Anew => Server::bind(config, used).inspect(|server| greet(server, demo)),
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

fn greet(server: &Server, demo: bool) {
    let addresses = server.addresses();
    let addresses: Vec<_> = addresses.iter().map(|(address, entrance)| (address.to_string(), *entrance)).collect();
    // Whoever started us may not read what we print: no reason to stop.
    let _ = io::stdout().write_all(greeting(&addresses, demo).as_bytes());
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

/// A line for each listener, which programs read, the place of the demo, then three lines to paste into a shell. The poll
/// runs twice in the background: the first is answered with the client's own `subscribe` message, the second waits for what
/// is published.
fn greeting(addresses: &[(String, Entrance)], demo: bool) -> String {
    let mut text = String::new();
    for (address, entrance) in addresses {
        text += if *entrance == Entrance::Rpc { "listening for calls on " } else { "listening on " };
        text += address;
        text += "\n";
    }
    let is_for = |other: Entrance| {
        let mut fitting = addresses.iter().filter(move |(_, entrance)| *entrance != other).map(|(address, _)| address);
        let first = fitting.clone().find(|address| address.starts_with("http:")).or_else(|| fitting.next());
        first.map(|address| reached(address))
    };
    if let (Some((call, api)), Some((poll, pages))) = (is_for(Entrance::Pages), is_for(Entrance::Rpc)) {
        if demo {
            text += &format!("two pages chat at {pages}/demo\n");
        }
        text += &format!(
            r#"  key=$({call} '{api}' -d '{{"method":"create_client","params":["demo"]}}' | cut -d'"' -f4)
  {call} '{api}' -d '{{"method":"subscribe","params":["demo","room"]}}'; for i in 1 2; do {poll} -G '{pages}/message_updates' -d callback=show -d 'client_id=demo_!!_'$key; echo; done &
  {call} '{api}' -d '{{"method":"new_message","params":["alice","hello","room",false]}}'
"#
        );
    }
    text
}

/// How curl gets to an address: its command and the URL. A wildcard is no place to connect to: this machine is.
fn reached(address: &str) -> (String, String) {
    match address.strip_prefix("unix:") {
        Some(path) => (format!("curl -s --unix-socket '{}'", path.replace('\'', r"'\''")), "http://localhost".into()),
        None => {
            let url = address.replace("//0.0.0.0:", "//localhost:").replace("//[::]:", "//localhost:");
            ("curl -s".into(), url)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entrance, greeting};

    fn greeted(addresses: &[(&str, Entrance)]) -> String {
        let owned: Vec<_> = addresses.iter().map(|(address, entrance)| ((*address).to_owned(), *entrance)).collect();
        greeting(&owned, false)
    }

    #[test]
    fn greeting_tells_every_listener_and_tries_the_first_that_curl_reaches() {
        let shared = |address| (address, Entrance::Shared);
        let text = greeted(&["unix:/run/it's", "http://[::]:8082", "http://127.0.0.1:8083"].map(shared));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0], "listening on unix:/run/it's");
        assert_eq!(lines[2], "listening on http://127.0.0.1:8083");
        assert!(lines[3].starts_with("  key=$(curl -s 'http://localhost:8082' -d "), "{}", lines[3]);
        let text = greeted(&[shared("unix:/run/it's")]);
        assert!(text.contains(r"curl -s --unix-socket '/run/it'\''s' 'http://localhost' -d "));
        assert_eq!(greeted(&[]), "");
    }

    #[test]
    fn calls_are_tried_where_they_are_served() {
        let text = greeted(&[("http://0.0.0.0:8082", Entrance::Pages), ("unix:/run/rpc", Entrance::Rpc)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "listening for calls on unix:/run/rpc");
        assert!(
            lines[2].starts_with("  key=$(curl -s --unix-socket '/run/rpc' 'http://localhost' -d "),
            "{}",
            lines[2]
        );
        assert!(lines[3].contains("curl -s -G 'http://localhost:8082/message_updates'"), "{}", lines[3]);
        assert!(
            super::greeting(&[("http://0.0.0.0:8082".into(), Entrance::Shared)], true)
                .contains("\ntwo pages chat at http://localhost:8082/demo\n")
        );
    }
}
