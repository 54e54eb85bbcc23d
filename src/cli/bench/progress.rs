//! A bar for whoever sits there, on standard error if that is a terminal. When it is dropped it has never been.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::now;

/// How often it is drawn at most.
const INTERVAL: Duration = Duration::from_millis(50);

/// Columns of the bar itself.
const WIDTH: u64 = 30;

pub(super) struct Progress {
    label: &'static str,
    total: u64,
    drawn: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(label: &'static str, total: u64) -> Progress {
        let mut progress = Progress { label, total, drawn: None, is_shown: io::stderr().is_terminal() };
        progress.show(0);
        progress
    }

    /// Goes on with another bar.
    pub(super) fn begin(&mut self, label: &'static str, total: u64) {
        (self.label, self.total, self.drawn) = (label, total, None);
        self.show(0);
    }

    /// So much of the total is done.
    pub(super) fn show(&mut self, done: u64) {
        if !self.is_shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < INTERVAL) {
            return;
        }
        self.drawn = Some(now());
        let _ = write!(io::stderr(), "\r{}\x1b[K", bar(self.label, done, self.total));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `connecting       ██████████░░░░░░░░░░  50 %`.
fn bar(label: &str, done: u64, total: u64) -> String {
    let done = done.min(total);
    let of = |whole: u64| {
        if total == 0 {
            whole
        } else {
            u64::try_from(u128::from(whole) * u128::from(done) / u128::from(total)).unwrap_or(whole)
        }
    };
    let filled = usize::try_from(of(WIDTH)).unwrap_or(0);
    let rest = usize::try_from(WIDTH).unwrap_or(0) - filled;
    format!("{label:<16} {}{} {:>3} %", "█".repeat(filled), "░".repeat(rest), of(100))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_is_as_long_at_the_end_as_at_the_beginning() {
        let lengths = [0, 1, 17, 1000, 2000].map(|done| bar("x", done, 1000).chars().count());
        assert_eq!(lengths, [lengths[0]; 5]);
        assert!(bar("x", 500, 1000).ends_with(&format!("{}{}  50 %", "█".repeat(15), "░".repeat(15))));
        assert!(bar("x", 0, 0).ends_with("100 %") && bar("x", u64::MAX, u64::MAX).ends_with("100 %"));
    }
}
