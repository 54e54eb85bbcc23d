//! How much memory the process uses, and how much it may.
//!
//! What the process uses is what it has asked of the allocator, which `main.rs` counts: that is exact, costs nothing to
//! read, and falls when something is given back, unlike what the kernel counts. Each turn begins with a look at it. Up to
//! seven eighths of the limit nothing happens; beyond, channels give up their history; at the limit nothing new comes in.

use std::path::{Path, PathBuf};

use log::{info, warn};

use crate::clock::{Ms, Seldom};
use crate::hub::Room;

/// A gauge and the mark that it must not pass.
#[derive(Debug)]
pub(super) struct Memory {
    used: fn() -> usize,
    max: usize,
    pub(super) is_full: bool,
    /// Whether it may be logged that it is full.
    aloud: Seldom,
}

/// At this share of the limit, history begins to go: what is left is more than a turn can take.
const NEAR: (usize, usize) = (7, 8);

/// Below this share it is not full any more.
const AGAIN: (usize, usize) = (63, 64);

/// While memory is full, requests that have not come to their end may wait with so many bytes: calls and polls of the usual
/// size still come through.
pub(super) const INBOX_BYTES_WHEN_FULL: usize = 64 << 10;

impl Memory {
    /// `used` reads the gauge. Without a limit it is three quarters of what there is.
    pub(super) fn new(used: fn() -> usize, max: Option<usize>) -> Memory {
        let (max, why) = match max {
            Some(max) => (max, "--memory-max"),
            None => match available() {
                Some(bytes) => (share(bytes), "three quarters of what there is; --memory-max says otherwise"),
                None => (usize::MAX, "nobody says how much there is; give --memory-max"),
            },
        };
        info!("memory: {} MiB at most ({why})", max >> 20);
        Memory { used, max, is_full: false, aloud: Seldom::default() }
    }

    /// Bytes that are in use, and that may be.
    pub(super) fn used_and_max(&self) -> (usize, usize) {
        ((self.used)(), self.max)
    }

    /// From now on this is the limit.
    pub(super) fn change(&mut self, max: Option<usize>) {
        self.max = Memory::new(self.used, max).max;
    }

    /// Reads the gauge. Says how the hub is to live from now on.
    pub(super) fn look(&mut self, now: Ms) -> Room {
        let used = (self.used)();
        // Once it is full, some has to be given back before it is not: it shall not be so and so from one call to the next.
        self.is_full = used >= if self.is_full { self.max / AGAIN.1 * AGAIN.0 } else { self.max };
        if self.is_full && self.aloud.is_due(now) {
            let (used, max) = (used >> 20, self.max >> 20);
            warn!("memory: {used} MiB are used of {max} (--memory-max): new clients and messages are refused");
        }
        Room { excess: used.saturating_sub(self.max / NEAR.1 * NEAR.0), full: self.is_full.then_some(self.max) }
    }
}

/// What is ours of so many bytes, where nobody says otherwise: the rest is for the kernel's buffers and the allocator's gaps.
fn share(bytes: usize) -> usize {
    bytes / 4 * 3
}

/// Bytes that the machine has, or the control group that the process is in, whichever is less.
fn available() -> Option<usize> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| std::fs::read_to_string(path).ok());
    limits.filter_map(|text| text.trim().parse().ok()).chain(machine).min()
}

/// `MemTotal:  16384 kB`, where kB are KiB (proc_meminfo(5)).
fn of_machine(text: &str) -> Option<usize> {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.trim_end().parse::<usize>().ok()?.checked_mul(1024)
}

/// Where the limits of the control groups stand, those around the process's own included (cgroups(7)). Within a container the
/// path may be the host's, and the limit at the root.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn history_goes_near_the_limit_and_at_it_nothing_new_comes() {
        let room = |used: fn() -> usize| Memory::new(used, Some(800)).look(Ms::ZERO);
        assert_eq!(room(|| 0), Room { excess: 0, full: None });
        assert_eq!(room(|| 700), Room { excess: 0, full: None });
        assert_eq!(room(|| 799), Room { excess: 99, full: None });
        assert_eq!(room(|| 800), Room { excess: 100, full: Some(800) });
    }

    #[test]
    fn without_a_limit_three_quarters_of_what_there_is_are_ours() {
        assert_eq!(share(4 << 30), 3 << 30);
        assert_eq!(share(usize::MAX), usize::MAX / 4 * 3);
        let max = |limit| Memory::new(|| 0, limit).used_and_max().1;
        assert_eq!(max(Some(1 << 20)), 1 << 20);
        let available = available().expect("Linux says it");
        assert_eq!(max(None), available / 4 * 3);
        // A limit that is taken back is none.
        let mut memory = Memory::new(|| 0, Some(1 << 20));
        memory.change(None);
        assert_eq!(memory.used_and_max().1, available / 4 * 3);
    }

    #[test]
    fn once_it_is_full_some_is_given_back_before_it_is_not() {
        static USED: AtomicUsize = AtomicUsize::new(0);
        let mut memory = Memory::new(|| USED.load(Relaxed), Some(6400));
        for (used, is_full) in [(6399, false), (6400, true), (6301, true), (6299, false), (6301, false)] {
            USED.store(used, Relaxed);
            assert_eq!((memory.look(Ms::ZERO).full.is_some(), memory.is_full), (is_full, is_full), "{used}");
        }
    }

    #[test]
    fn the_machine_and_every_group_around_the_process_have_their_say() {
        assert_eq!(of_machine("MemTotal:       16314528 kB\nMemFree: 1 kB\n"), Some(16_314_528 * 1024));
        assert_eq!(of_machine("MemFree: 1 kB\n"), None);
        let files =
            |groups: &str| limit_files(groups).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let second = ["system.slice/a.service/memory.max", "system.slice/memory.max", "memory.max"];
        assert_eq!(files("0::/system.slice/a.service\n"), second.map(|file| format!("/sys/fs/cgroup/{file}")));
        let first = ["docker/1/memory.limit_in_bytes", "docker/memory.limit_in_bytes", "memory.limit_in_bytes"];
        assert_eq!(
            files("9:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n"),
            first.map(|file| format!("/sys/fs/cgroup/memory/{file}"))
        );
        assert_eq!(files("0::/"), ["/sys/fs/cgroup/memory.max"]);
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
