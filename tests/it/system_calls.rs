//! How many system calls the server makes: two for a delivery, none while nobody wants anything. Counted from outside, by
//! strace and by the kernel; where strace is missing the first is skipped, and says so.

#![allow(clippy::disallowed_methods, reason = "the tests wait for a stretch of real time in which nothing may happen")]

use crate::support::{Connection, Nest, Server, Signal, get, poll_path, post, until};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Pages in the room.
const PAGES: usize = 200;

/// Messages in the longer of two runs, and in the shorter: what comes on top of deliveries cancels out.
const ROUNDS: [usize; 2] = [30, 10];

/// One read and one write for each delivery; what the web application asks for is shared by all of them.
const CALLS_PER_DELIVERY_MAX: f64 = 2.03;

/// What a turn calls, which answers many: it waits for events, and reads its CPU time. In a debug build fewer answers fit
/// into a turn.
const TURNS_CALLS: &str = "epoll_wait,epoll_pwait,clock_gettime";
const TURNS_CALLS_PER_DELIVERY_MAX: f64 = if cfg!(debug_assertions) { 0.5 } else { 0.05 };

/// For so long a server that has nothing to do does nothing. Longer than any tick anybody would think of.
const IDLE: Duration = Duration::from_secs(3);

#[test]
fn a_delivery_is_two_system_calls() {
    if !has_strace() {
        return;
    }
    // What is watched takes longer, and turns end by the clock: where reads and writes are watched, there are more turns. So
    // what a turn calls is counted by itself.
    let calls = per_delivery(&format!("trace=!{TURNS_CALLS}"));
    let waits = per_delivery(&format!("trace={TURNS_CALLS}"));
    println!("{calls:.3} system calls per delivery, and {waits:.3} for the turns");
    // Below one write and one read for each, the count is wrong.
    assert!((1.99..=CALLS_PER_DELIVERY_MAX).contains(&calls), "{calls:.3} system calls per delivery");
    assert!((0.0..=TURNS_CALLS_PER_DELIVERY_MAX).contains(&waits), "{waits:.3} calls of the turns per delivery");
}

fn has_strace() -> bool {
    let has = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !has {
        eprintln!("SKIPPED: system calls are watched with strace, which is not here (tests/run installs it)");
    }
    has
}

/// As docs/operating.md says of the state file: after a loss of power the one of a clean stop is there.
#[test]
fn the_state_waits_for_the_disk_when_the_server_stops_and_not_while_it_serves() {
    if !has_strace() {
        return;
    }
    let nest = Nest::new("calls-state");
    let [log, state] = ["log", "state"].map(|name| nest.socket.with_file_name(name));
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-q", "-y", "--seccomp-bpf", "-e", "trace=/sync|rename", "-o"]).arg(&log);
    strace.arg(crate::support::BINARY);
    let mut server = Server::run(strace, &["--state", state.to_str().expect("UTF-8"), "--state-interval", "50ms"]);
    let called = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let names = ["fsync", "fdatasync", "sync_file_range", "rename"];
        let calls = text.lines().filter_map(|line| {
            let call = line.split_once(' ')?.1.trim();
            let name = names.into_iter().find(|name| call.starts_with(name))?;
            Some(if call.contains("state.new") { format!("{name} state.new") } else { name.to_owned() })
        });
        calls.collect::<Vec<_>>()
    };
    until("it is written now and then", || called().len() >= 2);
    assert!(called().iter().all(|call| call == "rename state.new"), "{:?}", called());
    server.signal(Signal::TERM);
    server.exit();
    // The file, then its name, then the directory that has it.
    until("strace has written it", || {
        called().ends_with(&["fsync state.new", "rename state.new", "fsync"].map(str::to_owned))
    });
}

fn per_delivery(which: &str) -> f64 {
    let [many, few] = ROUNDS.map(|rounds| calls(which, rounds));
    let deliveries = u32::try_from((ROUNDS[0] - ROUNDS[1]) * PAGES).expect("a few thousand");
    (f64::from(many) - f64::from(few)) / f64::from(deliveries)
}

/// The system calls of a server's life with so many messages to all pages.
fn calls(which: &str, rounds: usize) -> u32 {
    let table = Table::new(rounds);
    let mut strace = Command::new("strace");
    // The server stays our child, and strace watches from aside; it stops at no other call than these.
    strace.args(["-D", "-c", "-f", "-q", "--seccomp-bpf", "-e", which, "-o"]).arg(&table.0).arg(crate::support::BINARY);
    let mut server = Server::run(strace, &["--presence", "off", "--max-new-per-address", "10000"]);
    let mut pages: Vec<(Connection, String)> = (0..PAGES)
        .map(|at| {
            let client = server.subscriber(&format!("page{at}"), &["room"]);
            (server.connect(), get(&poll_path(&[&client])))
        })
        .collect();
    let mut application = server.connect();
    for round in 0..rounds {
        // All polls are there when the server looks, as they are on one that has much to do.
        server.signal(Signal::STOP);
        pages.iter_mut().for_each(|(connection, poll)| connection.send(&*poll));
        server.signal(Signal::CONT);
        assert_eq!(application.ask(get("/nowhere")).status, 404);
        let call = json!({"method": "new_message", "params": ["app", format!("message {round}"), "room", false]});
        assert_eq!(application.ask(post(call.to_string())).status, 200);
        for (connection, _) in &mut pages {
            assert!(connection.answer().text().contains(&format!("message {round}")));
        }
    }
    server.signal(Signal::TERM);
    server.exit();
    table.total()
}

/// The file into which strace writes.
struct Table(PathBuf);

impl Table {
    fn new(rounds: usize) -> Table {
        let name = format!("shaveet-calls-{}-{rounds}", std::process::id());
        Table(std::env::temp_dir().join(name))
    }

    /// The number of all calls, once strace has written it.
    fn total(&self) -> u32 {
        let mut total = None;
        until("strace has written its table", || {
            let text = std::fs::read_to_string(&self.0).unwrap_or_default();
            let line = text.lines().find(|line| line.ends_with(" total"));
            total = line.and_then(|line| line.split_whitespace().nth(3)).and_then(|count| count.parse().ok());
            total.is_some()
        });
        total.expect("just seen")
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_server_with_nothing_to_do_sleeps() {
    let server = Server::start();
    let listener = server.listener("page", &["room"]);
    let _parked = listener.park();
    // It may hear a little later that the connections of before are closed. Then it is woken by nobody but its deadlines.
    until("a server at which one page waits sleeps on", || {
        let before = wake_ups(server.pid());
        std::thread::sleep(IDLE);
        wake_ups(server.pid()) == before
    });
}

/// How often the process has gone to sleep.
fn wake_ups(pid: u32) -> u64 {
    let path = Path::new("/proc").join(pid.to_string()).join("status");
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("Linux says it")
}
