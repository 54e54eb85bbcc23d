//! What one crowd of clients and channels took is given back to the system, and is there for the next one.

#![allow(clippy::disallowed_methods, reason = "the test looks at the clock only to give up")]

use crate::support::crowd::memory;
use crate::support::metrics::Scraper;
use crate::support::{Connection, Patience, Server, post};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Clients, and as many channels.
const MANY: usize = 20_000;

/// Clients of a crowd that hardly counts.
const FEW: usize = 1_000;

/// As many calls as a batch can have.
const BATCH: usize = 1_000;

/// By how much the server may be larger with the last crowd than with the first one, beside the reminders. If all were kept it
/// would be three times as large; twenty bytes for each client that has gone would be more than this.
const GROWTH_PERCENT: u64 = 2;

/// How much of what a crowd took the server may keep when it has gone: what it remembers of freed channels, and what the
/// allocator needs for itself. An allocator that does not give back keeps nearly all.
const KEPT_PERCENT: u64 = 10;

/// Two reminders for each client and its channel are on their way when they have gone: in a day and in ten minutes, here.
const REMINDERS_BYTES: u64 = 2 * 16;

/// How long anything may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Application {
    server: Server,
    calls: Connection,
}

impl Application {
    fn before(server: Server) -> Application {
        Application { calls: server.connect(), server }
    }

    fn call(&mut self, call: &Value) -> Value {
        self.calls.send(post(call.to_string()));
        let response = self.calls.within(PATIENCE).unwrap_or_else(|why| panic!("{why:?} in place of an answer"));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    fn batch(&mut self, method: &str, ids: &[String]) {
        for ids in ids.chunks(BATCH) {
            let call = |(at, id)| json!({"jsonrpc": "2.0", "method": method, "params": [id], "id": at});
            let answers = self.call(&ids.iter().enumerate().map(call).collect());
            let answers = answers.as_array().expect("a batch");
            assert!(answers.len() == ids.len() && answers.iter().all(|answer| answer.get("error").is_none()));
        }
    }

    /// Clients come, each into a channel of its own, and something is said there.
    fn come(&mut self, ids: &[String]) {
        self.batch("create_client", ids);
        for ids in ids.chunks(BATCH) {
            let channels: Map<String, Value> = ids.iter().map(|id| (channel(id), json!([id]))).collect();
            let answer = self.call(&json!({"method": "subscribe_many", "params": [channels], "id": 1}));
            assert_eq!(answer["result"], 200, "{answer}");
            let channels: Vec<String> = ids.iter().map(|id| channel(id)).collect();
            let answer = self.call(&json!({"method": "broadcast", "params": [channels, "hello"], "id": 1}));
            assert_eq!(answer["result"].as_array().map(Vec::len), Some(ids.len()));
        }
    }

    /// They come and are killed. Returns how large the server was with them.
    fn come_and_go(&mut self, ids: &[String]) -> u64 {
        self.come(ids);
        let peak = self.memory();
        self.batch("kill_client", ids);
        self.is_deserted();
        peak
    }

    /// Until nobody is left, and no channel of theirs.
    fn is_deserted(&mut self) {
        self.until("all are gone", |this| ["list_clients", "list_channels"].iter().all(|list| this.is_empty(list)));
    }

    /// A list is read to its end: its pages may be empty with more behind them.
    fn is_empty(&mut self, list: &str) -> bool {
        let mut after = json!(0);
        while !after.is_null() {
            let page = self.call(&json!({"method": list, "params": ["c", after], "id": 1}))["result"].take();
            let names = page.as_object().expect("a page").values().find_map(Value::as_array).expect("names");
            if !names.is_empty() {
                return false;
            }
            after = page["after"].clone();
        }
        true
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Application) -> bool) {
        let patience = Patience::new(PATIENCE);
        while !is_so(self) {
            assert!(!patience.is_over(), "not within {PATIENCE:?}: {what}: {} KiB", self.memory() >> 10);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn memory(&self) -> u64 {
        memory(self.server.pid())
    }
}

fn channel(id: &str) -> String {
    format!("channel of {id}")
}

fn ids(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("client {name} {n}")).collect()
}

#[test]
fn what_a_crowd_took_is_given_back() {
    let server = Server::with(&["--min-alive", "1d", "--max-idle", "1d", "--channel-idle", "200ms"]);
    let mut application = Application::before(server);
    // A few first: they have the code itself in memory, and the tables that are always there.
    application.come_and_go(&ids("first", FEW));
    let start = application.memory();
    let mut peaks = Vec::new();
    for (crowds, name) in (0..).zip(["a", "b", "c"]) {
        peaks.push(application.come_and_go(&ids(name, MANY)));
        let kept_max = (peaks[0] - start) * KEPT_PERCENT / 100 + crowds * MANY as u64 * REMINDERS_BYTES;
        application.until("the crowd's memory is given back", |this| this.memory() <= start + kept_max);
    }
    println!("{start} bytes at the start, {peaks:?} with each crowd, {} in the end", application.memory());
    let grown_max = peaks[0] * GROWTH_PERCENT / 100 + 2 * MANY as u64 * REMINDERS_BYTES;
    assert!(peaks[2] <= peaks[0] + grown_max, "{peaks:?}");
    // A debug build looks through all its lists at the end.
    assert_eq!(application.server.stop().code(), Some(0));
}

/// Clients of a first crowd that leaves as much behind as any: it has more channels than are remembered when they are freed.
const FIRST: usize = 6_000;

/// More than three times as many.
const LATER: usize = 20_000;

/// What is in use may be so much of what it was.
const USED_MAX: f64 = 1.2;

/// What was asked of the allocator, and not how much of it lies where the system cannot have it back.
#[test]
fn what_is_in_use_is_what_it_was_before_a_crowd() {
    let short =
        ["--sweep-interval", "200ms", "--channel-idle", "200ms", "--departed-age", "200ms", "--history-age", "1s"];
    let server = Server::with(&[&short[..], &["--min-alive", "6s", "--max-idle", "6s"]].concat());
    let mut application = Application::before(server);
    // By a connection for each look: between two of them there may be a while.
    let look = |application: &Application| Scraper::new(&application.server).get("memory_used_bytes");
    let [first, with_most] = [("first", FIRST), ("later", LATER)].map(|(name, count)| {
        // On a busy machine the first of them have gone when the last ones come.
        let ids = ids(name, count);
        let used = ids.chunks(BATCH).map(|ids| {
            application.come(ids);
            look(&application)
        });
        let used = used.fold(0.0, f64::max);
        // They are collected and forgotten by reminders, which have all come when nobody is left.
        application.is_deserted();
        if name == "first" { look(&application) } else { used }
    });
    println!("{first} bytes before, {with_most} with most of them");
    assert!(with_most > 2.0 * first, "a crowd is to be seen: {first} bytes before it, {with_most} with it");
    application.until("what is in use is what it was", |application| look(application) <= USED_MAX * first);
    assert_eq!(application.server.stop().code(), Some(0));
}
