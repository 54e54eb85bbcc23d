//! The load, and the judge: pages that hold polls, a web application that publishes, and what that costs the server.
//!
//! One scenario per run, against a server that has just been started; the result is one line of JSON. Every message is
//! checked at every page: one that is lost, comes twice, comes out of order or comes to the wrong page makes the run a
//! failure (exit code 1). All pages live on one epoll loop; its own use of the processor is part of the result.
//!
//! ```text
//!   scenario -> crowd (pages, publisher, checks) -> wire (what each server wants to hear)
//!           `-> meter (what the server's processes have used), probe (an unrelated visitor)
//! ```

mod crowd;
mod drip;
mod meter;
mod probe;
mod report;
mod scenario;
mod setup;
mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use wire::{Headers, Target, Transport};

/// Puts one kind of load on a server, checks every message, and prints what it cost as one line of JSON.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// What is done.
    #[arg(value_enum)]
    scenario: Kind,
    /// Whose wire is spoken.
    #[arg(long, value_enum, default_value = "shaveet")]
    target: Target,
    /// Where it listens.
    #[arg(long)]
    address: SocketAddr,
    /// The server's processes, whose processor time and memory are read.
    #[arg(long, value_delimiter = ',', required = true)]
    pids: Vec<u32>,
    /// Pages that hold polls.
    #[arg(long, default_value_t = 1000)]
    pages: u32,
    /// Messages published while the clock runs; in `churn` the visits.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// For how long, where there is no count.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(i64::from(crowd::TEXT_BYTES_MIN)..))]
    bytes: u32,
    /// Rooms that the pages are spread over (`mixed`).
    #[arg(long, default_value_t = 50)]
    rooms: u32,
    /// By what our pages listen.
    #[arg(long, value_enum, default_value = "longpoll")]
    transport: Transport,
    /// The polls' header lines.
    #[arg(long, value_enum, default_value = "browser")]
    headers: Headers,
    /// In `park`: one channel for all, or one for each.
    #[arg(long, value_enum, default_value = "one")]
    channels: Channels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Memory per parked page.
    Park,
    /// One message to all pages, again and again.
    Fanout,
    /// Each message to one random page, which is alone on its channel.
    Unicast,
    /// Messages to nobody, one at a time on one connection.
    Publish,
    /// An unrelated small request, timed while fan-outs run.
    Interference,
    /// An unrelated small request, timed beside peers that are silent, or send a byte now and then.
    Drip,
    /// Connect, poll, leave.
    Churn,
    /// The pages join one room, one after the other; each sees those that come after it.
    Joins,
    /// All pages leave at once and are collected. The server needs short times for it.
    Sweep,
    /// A small machine's day: pages in rooms, one in a hundred publishes.
    Mixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Channels {
    One,
    Own,
}

fn main() -> ExitCode {
    let options = Options::parse();
    setup::raise_descriptor_limit(options.pages);
    match scenario::run(&options) {
        Ok(report) => {
            println!("{}", report.json());
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
