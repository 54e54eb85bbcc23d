//! `shaveet bench`: how much a server does, measured from outside.
//!
//! A crowd of pages listens, each over a connection of its own with long polls of the resume protocol. A round is a message to every
//! one of them: one call of `broadcast`, as many deliveries as there are pages, and when the last has it the next round begins. So
//! the server is never idle, and no message waits behind another round's. What pages and the clock cost is measured with it: all run in this
//! process, in one thread. In the end nothing of it is left in the server, whatever happened.

mod crowd;
mod guests;
mod latencies;
mod line;
mod progress;
mod report;
mod usage;

use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::ask::api::Api;
use super::ask::failure::Failure;
use super::ask::output::Output;
use super::ask::reach::{PAGES_URL, Reach};
use super::ask::syntax::{Argument, Form, Syntax};
use super::ask::wait::Interrupts;
use crowd::{Crowd, Patience};
use guests::Guests;
use progress::Progress;
use report::Report;
use usage::Usage;

/// How much is done, and for how long.
#[derive(Debug)]
pub(super) struct Options {
    clients: usize,
    channels: usize,
    bytes: usize,
    duration: Duration,
    as_json: bool,
}

pub(super) const SYNTAX: Syntax = Syntax {
    name: "bench",
    about: "Measure a server: a crowd of pages listens, everybody gets messages as fast as they are taken",
    notes: NOTES,
    arguments: &[
        Argument::new("clients", COUNT, "Pages, each with a connection and a client of its own")
            .short('c')
            .default("1000"),
        Argument::new("channels", COUNT, "Channels that they are spread over; a round is a message in each")
            .default("1"),
        Argument::new("size", Form::Number("BYTES", 0, 1_000_000), "Of a message").default("100"),
        Argument::new("duration", Form::Time(DURATION_MIN, DURATION_MAX), "For how long").short('d').default("5s"),
        Argument::new("json", Form::Switch, "Print what was measured as JSON"),
        PAGES_URL,
    ],
};

const COUNT: Form = Form::Number("COUNT", 1, 1_000_000);
const DURATION_MIN: Duration = Duration::from_millis(100);
const DURATION_MAX: Duration = Duration::from_secs(3600);

const NOTES: &str = "\
It measures the whole way, its own part included: on the server's own machine
both share the processor. Memory and processor are what the server itself says
at /metrics, so on a busy one others are in it, too.
It takes no more than the server has room for, and removes its clients in the
end, after Ctrl-C too. Its channels, and what they keep, are forgotten when they
have been idle (--channel-idle).
The exit code is 1 if it could not be measured, 2 for wrong arguments.

Examples:
  shaveet bench
  shaveet bench --clients 10000 http://127.0.0.1:8082
  shaveet bench -c 10000 --channels 10000 unix:/run/shaveet.sock";

impl Options {
    pub(super) fn of(matches: &ArgMatches) -> Options {
        let number = |name| {
            let number = *matches.get_one::<u64>(name).expect("it has a default");
            usize::try_from(number).expect("it is a million at most")
        };
        let clients = number("clients");
        Options {
            clients,
            channels: number("channels").min(clients),
            bytes: number("size"),
            duration: *matches.get_one("duration").expect("it has a default"),
            as_json: matches.get_flag("json"),
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// There is no room for the crowd, or something went wrong before a round was over.
pub(super) fn run(options: &Options, reach: &Reach, output: &mut Output) -> Result<(), Failure> {
    let interrupts = Interrupts::new().map_err(|error| Failure::Other(format!("cannot listen to signals: {error}")))?;
    let mut api = Api::new(reach);
    let empty = Usage::read(&mut api)?;
    empty.has_room(options)?;
    crowd::make_room(options.clients)?;
    let mut guests = Guests::new(options)?;
    let report =
        guests.enter(&mut api, &interrupts).and_then(|()| measure(options, &mut api, &guests, &interrupts, &empty));
    guests.leave(&mut api);
    report?.print(options, output)
}

fn measure(
    options: &Options,
    api: &mut Api<'_>,
    guests: &Guests,
    interrupts: &Interrupts,
    empty: &Usage,
) -> Result<Report, Failure> {
    let since = guests.position(api)?;
    let mut crowd = Crowd::new(api.reach, guests, &since)?;
    let mut progress = Progress::new("connecting", options.clients as u64);
    crowd.connect(interrupts, &mut progress)?;
    progress.begin("parking", options.clients as u64);
    let mut patience = Patience::new();
    loop {
        let parked = guests.parked(api)?;
        progress.show(parked as u64);
        if parked >= options.clients {
            break;
        }
        patience.with(parked, || format!("{parked} of {} pages listen", options.clients))?;
        crowd.go_on(interrupts)?;
    }
    let parked = Usage::read(api)?;
    progress.begin("publishing", u64::try_from(options.duration.as_millis()).unwrap_or(u64::MAX));
    let (begin, mut rounds) = (now(), 0);
    while begin.elapsed() < options.duration {
        match crowd.round(rounds + 1, options.bytes, interrupts) {
            Ok(()) => rounds += 1,
            // What has been measured until then counts.
            Err(Failure::Interrupted) if rounds > 0 => break,
            Err(other) => return Err(other),
        }
        progress.show(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX));
    }
    let time = begin.elapsed();
    drop(progress);
    let end = Usage::read(api)?;
    Ok(Report { rounds, time, latencies: crowd.latencies, empty: empty.clone(), parked, end })
}

#[allow(clippy::disallowed_methods, reason = "this is no server, and it is time that is measured")]
fn now() -> Instant {
    Instant::now()
}
