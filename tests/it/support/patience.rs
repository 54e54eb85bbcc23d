//! How long a test waits for what must come: by a clock that goes as fast as the machine has time for us. Where four programs want
//! one processor it goes a quarter as fast, and while the whole machine stands still (it was moved, it slept) it does too. So a test
//! that would wait for ever is found soon on a machine that has nothing else to do, and no other fails on one that has.
//!
//! What is shorter than a second is no patience but a look: that nothing comes for so long, or whether something has come. It goes
//! by the clock on the wall, as what it looks at does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A stretch of such time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    Ours(Duration),
    Look(Instant),
}

impl Patience {
    pub(crate) fn new(length: Duration) -> Patience {
        if length < SHORT { Patience::Look(Instant::now() + length) } else { Patience::Ours(now() + length) }
    }

    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// For how long something may wait before it looks again; `None` when it is over.
    pub(crate) fn look(self) -> Option<Duration> {
        let left = self.left();
        (!left.is_zero()).then(|| left.clamp(Duration::from_millis(1), LOOK))
    }

    fn left(self) -> Duration {
        match self {
            Patience::Ours(end) => end.saturating_sub(now()),
            Patience::Look(end) => end.saturating_duration_since(Instant::now()),
        }
    }
}

const SHORT: Duration = Duration::from_secs(1);

/// Between two looks at most.
const LOOK: Duration = Duration::from_millis(100);

/// Between two looks at the machine.
const TICK: Duration = Duration::from_millis(10);

/// More than this does not count of the time between them: we were not asked.
const TICK_MAX: Duration = Duration::from_millis(50);

/// What the clock says.
fn now() -> Duration {
    static MICROS: AtomicU64 = AtomicU64::new(0);
    static CLOCK: OnceLock<()> = OnceLock::new();
    CLOCK.get_or_init(|| {
        thread::spawn(|| {
            let processors = thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
            let mut last = Instant::now();
            loop {
                thread::sleep(TICK);
                let passed = std::mem::replace(&mut last, Instant::now()).elapsed().min(TICK_MAX);
                let ours = passed.mul_f64((processors / runnable()).min(1.0));
                MICROS.fetch_add(u64::try_from(ours.as_micros()).expect("it is short"), Ordering::Relaxed);
            }
        });
    });
    Duration::from_micros(MICROS.load(Ordering::Relaxed))
}

/// How many threads want a processor, this one among them.
fn runnable() -> f64 {
    let told = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let count = told.split(' ').nth(3).and_then(|counts| counts.split('/').next()?.parse::<f64>().ok());
    count.unwrap_or(1.0).max(1.0)
}
