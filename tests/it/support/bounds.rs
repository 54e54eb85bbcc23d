//! What nodes take while everything goes wrong: it is looked at all the while, not only when all is well again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Server;
use super::crowd::memory_of;
use super::metrics::Scraper;

/// Nodes that are looked at.
pub(crate) struct Bounds {
    shared: Arc<Shared>,
    looking: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    pids: Mutex<Vec<u32>>,
    /// The most that one of them had, in bytes, and how often it was looked at.
    most: AtomicU64,
    looks: AtomicU64,
    is_over: AtomicBool,
}

/// What a node may have when it has some hundred pages and some thousand messages, built for debugging.
const MEMORY_MAX: u32 = 40 << 20;

/// Steps in a turn, where each kind of work has some hundred at most. Without slices it would be several for each of a thousand clients.
const STEPS_MAX: f64 = 800.0;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

impl Bounds {
    #[allow(clippy::disallowed_methods, reason = "it looks again and again, for as long as the test goes on")]
    pub(crate) fn watch(nodes: &[Server]) -> Bounds {
        let shared = Arc::new(Shared::default());
        shared.pids.lock().expect("nobody panics with it").extend(nodes.iter().map(Server::pid));
        let seen = shared.clone();
        let looking = thread::spawn(move || {
            while !seen.is_over.load(Ordering::Relaxed) {
                // Whoever is gone is looked at no more.
                let look =
                    |&pid: &u32| memory_of(pid).map(|bytes| seen.most.fetch_max(bytes, Ordering::Relaxed)).is_some();
                seen.pids.lock().expect("nobody panics with it").retain(look);
                seen.looks.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        });
        Bounds { shared, looking: Some(looking) }
    }

    /// One more.
    pub(crate) fn watch_also(&self, node: &Server) {
        self.shared.pids.lock().expect("nobody panics with it").push(node.pid());
    }

    /// A node is to be killed: holds if no turn of it has done too much.
    pub(crate) fn bury(&self, node: &Server) {
        let steps = Scraper::new(node).get("broker_turn_steps_max");
        assert!(steps <= STEPS_MAX, "{steps} steps in a turn");
    }

    /// Holds if none has had too much at any time, and each has kept nothing now: no call without a reply, no poll whose page has gone, no
    /// junk, and no more memory than its copies take.
    pub(crate) fn end(mut self, nodes: &[Server]) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.looking.take().map(JoinHandle::join).transpose().expect("it only looks");
        let (most, looks) = (self.shared.most.load(Ordering::Relaxed), self.shared.looks.load(Ordering::Relaxed));
        println!("{:.1} MiB at most, in {looks} looks", in_mib(most as f64));
        assert!(looks > 10 && most > 0, "they were looked at {looks} times");
        assert!(most < MEMORY_MAX.into(), "a node had {:.1} MiB", in_mib(most as f64));
        nodes.iter().for_each(is_bounded);
    }
}

impl Drop for Bounds {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

fn is_bounded(node: &Server) {
    let mut scraper = Scraper::new(node);
    scraper.until("broker_pending_calls", |calls| calls < 10.0);
    let samples = scraper.read();
    let get = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("there is no {name}"));
    assert_eq!(get("broker_junk_total"), 0.0);
    let turns = samples.iter().filter_map(|(name, &count)| {
        let bound = name.strip_prefix("turn_duration_seconds_bucket{le=")?.strip_suffix('}')?.parse::<f64>().ok()?;
        (count == get("turn_duration_seconds_count")).then_some(bound)
    });
    let (longest, memory) = (turns.fold(f64::INFINITY, f64::min), get("process_resident_memory_bytes"));
    let (clients, parked) = (get("clients"), get("parked{transport=poll}"));
    let (steps, mib) = (get("broker_turn_steps_max"), in_mib(memory));
    println!(
        "a node: {clients} clients, {parked} polls parked, {mib:.1} MiB, {steps} steps and {longest} s in a turn at most"
    );
    assert!(memory < f64::from(MEMORY_MAX), "it has {samples:?}");
    assert!(steps <= STEPS_MAX, "{steps} steps in a turn");
}

fn in_mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
