//! The wall clock is set, by a year, forward and back, while a server runs and while none does: deadlines, ages and limits go by
//! the other one. Only what is dated follows.

#![allow(clippy::disallowed_methods, reason = "the test looks at its own wall clock")]

use crate::support::streams::Events;
use crate::support::{BINARY, Client, Nest, Server, Shape, get, said, since, until};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

/// Stands in front of libc's: the wall clock, and it alone, is off by as many seconds as a file says.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    long done = syscall(SYS_clock_gettime, id, now);
    const char *path = getenv("WALL_CLOCK");
    char text[32] = "";
    if (done == 0 && id == CLOCK_REALTIME && path) {
        int file = open(path, O_RDONLY);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
            close(file);
        }
    }
    return done;
}
"#;

const YEAR_SECONDS: i64 = 365 * 86_400;

/// A wall clock for servers of its own.
struct WallClock {
    shim: PathBuf,
    nest: Nest,
}

impl WallClock {
    /// `name` is the test's own.
    fn new(name: &str) -> WallClock {
        let nest = Nest::new(name);
        let shim = nest.file("wall_clock.so", "");
        let source = nest.file("wall_clock.c", SHIM);
        let done = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(source).status();
        assert!(done.expect("a C compiler, as the allocator needs one").success());
        let clock = WallClock { shim, nest };
        clock.set(0);
        clock
    }

    /// From now on it is off by so much. There is a whole file at any time.
    fn set(&self, seconds: i64) {
        let new = self.nest.file("offset.new", seconds.to_string());
        std::fs::rename(new, self.offset()).expect("it is ours");
    }

    fn offset(&self) -> PathBuf {
        self.nest.socket.with_file_name("offset")
    }

    /// A server by this clock, which keeps its state.
    fn start(&self, more: &[&str]) -> Server {
        let mut command = Command::new(BINARY);
        command.env("LD_PRELOAD", &self.shim).env("WALL_CLOCK", self.offset());
        let state = self.nest.socket.with_file_name("state").display().to_string();
        Server::run(command, &[&["--presence", "off", "--state", &state][..], more].concat())
    }
}

/// By how many years a server dates its answers wrongly.
fn years_off(server: &Server) -> i64 {
    let answer = server.ask(get("/nowhere"));
    let date = httpdate::parse_http_date(answer.header("date").expect("a date")).expect("one of HTTP");
    let now = SystemTime::now();
    let off = |span: std::time::Duration| i64::try_from(span.as_secs()).expect("some years") + YEAR_SECONDS / 2;
    match date.duration_since(now) {
        Ok(ahead) => off(ahead) / YEAR_SECONDS,
        Err(behind) => -(off(behind.duration()) / YEAR_SECONDS),
    }
}

#[test]
fn a_server_goes_on_whatever_the_wall_clock_does() {
    let clock = WallClock::new("wall-clock");
    let timers = ["--sweep-interval", "50ms", "--state-interval", "50ms", "--min-alive", "1h", "--max-idle", "1h"];
    let server = clock.start(&timers);
    let (alice, bob) = (server.subscriber("alice", &["room"]), server.subscriber("bob", &["room"]));
    server.publish("room", "begin");
    let mut position = since(&bob.resume(""));
    let mut events = Events::open(&alice, None);
    assert_eq!(events.message()["data"], "begin");
    for (round, years) in [1, -1, 0, -20].into_iter().enumerate() {
        let mut poll = server.park_at(&Shape::Object.path(&[&bob], &position));
        clock.set(years * YEAR_SECONDS);
        until("answers are dated by it", || years_off(&server) == years);
        // It has been swept again and again, and the state was written, since then.
        poll.waits();
        assert_eq!(server.present("room"), ["alice", "bob"]);
        let text = round.to_string();
        server.publish("room", &text);
        let answer = poll.answer().json();
        assert_eq!((said(&answer), &answer["gaps"]), (vec![text.clone()], &json!([])), "{years} years");
        position = since(&answer);
        assert_eq!(events.message()["data"], *text);
    }
    // Nothing is old.
    assert_eq!(said(&alice.resume("")).len(), 5);
    // The machine itself may stand still, and not for days.
    let log = server.log();
    let stops =
        log.lines().filter_map(|line| line.split_once("was stopped for ")?.1.split(' ').next()?.parse::<f64>().ok());
    assert!(stops.sum::<f64>() < 86_400.0, "{log}");
}

#[test]
fn a_clock_that_is_set_back_while_no_server_runs_loses_nothing() {
    let clock = WallClock::new("wall-clock-state");
    clock.set(YEAR_SECONDS);
    let server = clock.start(&[]);
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "before");
    let (id, key) = (alice.id.clone(), alice.key.clone());
    assert_eq!(server.stop().code(), Some(0));
    clock.set(0);
    let server = clock.start(&[]);
    let alice = Client { server: &server, id, key };
    assert_eq!(alice.channels(), ["room"]);
    server.publish("room", "after");
    let answer = alice.resume("");
    assert_eq!((said(&answer), &answer["gaps"]), (vec!["before".into(), "after".into()], &json!([])));
}

#[test]
fn a_clock_that_is_set_forward_meanwhile_is_time_that_has_passed() {
    let clock = WallClock::new("wall-clock-ahead");
    let server = clock.start(&[]);
    let alice = server.subscriber("alice", &["room"]);
    server.publish_all("room", ["old", "newest"]);
    let (id, key) = (alice.id.clone(), alice.key.clone());
    assert_eq!(server.stop().code(), Some(0));
    clock.set(YEAR_SECONDS);
    let server = clock.start(&[]);
    let alice = Client { server: &server, id, key };
    // No page could come back meanwhile: none is collected for it. Messages have aged, and that is told.
    assert_eq!(alice.channels(), ["room"]);
    let answer = alice.resume("");
    assert_eq!((said(&answer), &answer["gaps"][0]["reason"]), (vec!["newest".into()], &json!("age")), "{answer}");
}
