//! Time as the whole program sees it: [`Ms`], milliseconds since the server started.
//!
//! No clock is read here. The server's loop reads the monotonic clock once per turn and hands the result down as an
//! argument, so everything else can be tested with a time that the test makes up, and everything that happens in one turn
//! happens at the same moment. A wall clock would not do: it jumps when somebody corrects it.
//!
//! Eight bytes, no failure: all arithmetic saturates. [`Ms::MAX`] is therefore "never", stays "never" whatever is added
//! to it, and a deadline that has passed is [`Ms::ZERO`] away, not a panic.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time (milliseconds since the server started), or the span between two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ms(pub u64);

impl Ms {
    /// The moment at which the server started; no time at all.
    pub const ZERO: Ms = Ms(0);

    /// Never; for ever.
    pub const MAX: Ms = Ms(u64::MAX);

    /// That many milliseconds.
    pub const fn from_millis(millis: u64) -> Ms {
        Ms(millis)
    }

    /// That many seconds; more than 584 million years are [`Ms::MAX`].
    pub const fn from_secs(secs: u64) -> Ms {
        Ms(secs.saturating_mul(1000))
    }

    /// The span as the standard library wants it, such as for a time-out of a system call.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Parts of a millisecond are cut off, so a reading of the clock is never ahead of it.
impl From<Duration> for Ms {
    fn from(duration: Duration) -> Ms {
        Ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Saturates: a span added to [`Ms::MAX`] is still never.
impl Add for Ms {
    type Output = Ms;

    fn add(self, span: Ms) -> Ms {
        Ms(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Ms {
    fn add_assign(&mut self, span: Ms) {
        *self = *self + span;
    }
}

/// Saturates: from a later moment to an earlier one it is [`Ms::ZERO`], as nothing is left to wait for.
impl Sub for Ms {
    type Output = Ms;

    fn sub(self, earlier: Ms) -> Ms {
        Ms(self.0.saturating_sub(earlier.0))
    }
}

/// Says when a complaint may be made aloud: once a minute, however many there are. Each kind of complaint has its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seldom {
    silent_until: Ms,
}

const COMPLAINT_INTERVAL: Ms = Ms::from_secs(60);

impl Seldom {
    /// Whether it may be made now; then there will be none for a minute.
    pub fn is_due(&mut self, now: Ms) -> bool {
        let is_due = now >= self.silent_until;
        if is_due {
            self.silent_until = now + COMPLAINT_INTERVAL;
        }
        is_due
    }
}

/// Seconds with all three places, such as `1.234 s`: columns of log lines stay readable and lose nothing.
impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Ms(1500) + Ms(250), Ms(1750));
        assert_eq!(Ms(1500) - Ms(250), Ms(1250));
        assert_eq!(Ms::MAX + Ms(1), Ms::MAX);
        assert_eq!(Ms(250) - Ms(1500), Ms::ZERO);
        assert_eq!(Ms::from_secs(u64::MAX), Ms::MAX);
        let mut now = Ms::ZERO;
        now += Ms::from_secs(2);
        assert_eq!(now, Ms::from_millis(2000));
    }

    #[test]
    fn durations_are_cut_to_whole_milliseconds() {
        assert_eq!(Ms::from(Duration::from_micros(1999)), Ms(1));
        assert_eq!(Ms::from(Duration::MAX), Ms::MAX);
        assert_eq!(Ms(1234).as_duration(), Duration::from_millis(1234));
        assert_eq!(Ms::from(Ms::MAX.as_duration()), Ms::MAX);
    }

    #[test]
    fn a_complaint_is_made_once_a_minute() {
        let mut seldom = Seldom::default();
        let made = [0, 1, 59_999, 60_000, 60_001, 119_999, 120_000, 1_000_000, 1_059_999, 1_060_000].map(Ms);
        let made: Vec<u64> = made.into_iter().filter(|&now| seldom.is_due(now)).map(|now| now.0).collect();
        assert_eq!(made, [0, 60_000, 120_000, 1_000_000, 1_060_000]);
    }

    #[test]
    fn it_is_shown_in_seconds() {
        assert_eq!(Ms::ZERO.to_string(), "0.000 s");
        assert_eq!(Ms(1234).to_string(), "1.234 s");
        assert_eq!(Ms(60_007).to_string(), "60.007 s");
    }
}
