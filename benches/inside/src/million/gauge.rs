//! What is measured: the thread's CPU time, the bytes that the allocator has given out, the pages that the system has.

use std::time::Duration;

use cap::Cap;
use rustix::time::{ClockId, clock_gettime};
use tikv_jemallocator::Jemalloc;

/// The server's allocator, counted.
#[global_allocator]
static ALLOCATOR: Cap<Jemalloc> = Cap::new(Jemalloc, usize::MAX);

/// Bytes in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// As they were asked for.
    pub(crate) allocated: u64,
    /// As the system counts the process, what the allocator keeps for itself included.
    pub(crate) resident: u64,
}

/// CPU time of this thread.
pub(crate) fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

pub(crate) fn memory() -> Memory {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    Memory { allocated: ALLOCATOR.allocated() as u64, resident: kib << 10 }
}
