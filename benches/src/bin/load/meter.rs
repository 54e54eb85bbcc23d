//! What a server's processes have used, as the kernel counts it, and what we have used ourselves.

use std::fs;
use std::io;

/// Reads the counters of some processes.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    start: Usage,
}

/// Processor time.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// Nanoseconds on a processor, exact (`schedstat`).
    ns: u64,
    /// Nanoseconds for which they could have run and others did (`schedstat`).
    waited_ns: u64,
    /// How they divide: ticks in user mode and in the kernel (`stat`), sampled, so good over seconds only.
    user: u64,
    system: u64,
    /// Our own nanoseconds.
    own_ns: u64,
}

/// Microseconds used between two readings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: f64,
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// For which the server was ready and had no processor: the machine's share of every wait.
    pub(crate) waited: f64,
    /// The load generator's.
    pub(crate) own: f64,
}

impl Meter {
    pub(crate) fn start(pids: &[u32]) -> io::Result<Meter> {
        Ok(Meter { pids: pids.to_vec(), start: read_usage(pids)? })
    }

    pub(crate) fn stop(&self) -> io::Result<Cost> {
        let now = read_usage(&self.pids)?;
        let cpu = micros(now.ns - self.start.ns);
        let (user, system) = (now.user - self.start.user, now.system - self.start.system);
        let share = if user + system == 0 { 0.0 } else { to_f64(user) / to_f64(user + system) };
        let own = micros(now.own_ns - self.start.own_ns);
        let waited = micros(now.waited_ns - self.start.waited_ns);
        Ok(Cost { cpu, user: cpu * share, system: cpu * (1.0 - share), waited, own })
    }
}

/// Bytes of memory in use, shared ones divided among those who share them (`Pss`).
pub(crate) fn memory(pids: &[u32]) -> io::Result<u64> {
    let mut bytes = 0;
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        bytes += line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() << 10;
    }
    Ok(bytes)
}

fn read_usage(pids: &[u32]) -> io::Result<Usage> {
    let mut usage = Usage { own_ns: nanoseconds(std::process::id())?.0, ..Usage::default() };
    for &pid in pids {
        let (ns, waited_ns) = nanoseconds(pid)?;
        usage.ns += ns;
        usage.waited_ns += waited_ns;
        // The name, in parentheses, may contain anything; user and system time are the 12th and 13th word behind it.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        usage.user += ticks(11);
        usage.system += ticks(12);
    }
    Ok(usage)
}

/// On a processor and waiting for one, all threads.
fn nanoseconds(pid: u32) -> io::Result<(u64, u64)> {
    let (mut ran, mut waited) = (0, 0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        ran += numbers.next().unwrap_or_default();
        waited += numbers.next().unwrap_or_default();
    }
    Ok((ran, waited))
}

fn micros(ns: u64) -> f64 {
    to_f64(ns) / 1000.0
}

/// Exact up to 2^53, which is a hundred days of nanoseconds.
#[allow(clippy::cast_precision_loss, reason = "the numbers are small enough, and are printed with a few digits")]
pub(crate) fn to_f64(number: u64) -> f64 {
    number as f64
}
