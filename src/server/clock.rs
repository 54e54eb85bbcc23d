//! The two clocks: the monotonic one, which everything is timed by, and the wall clock, which only dates answers.

use std::time::{Instant, SystemTime};

use crate::clock::Ms;

/// Reads the time, once per turn.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// The value of the Date header, and when it stops being true.
    date: String,
    date_until: Ms,
}

impl Clock {
    pub(super) fn start() -> Clock {
        let mut clock = Clock { started: instant(), date: String::new(), date_until: Ms::ZERO };
        clock.now();
        clock
    }

    /// The time since the start. The date is renewed when a second has passed.
    pub(super) fn now(&mut self) -> Ms {
        let now = Ms::from(instant().duration_since(self.started));
        if now >= self.date_until {
            self.date = httpdate::fmt_http_date(wall_clock());
            self.date_until = now + Ms::from_secs(1);
        }
        now
    }

    /// The date of the last reading (RFC 9110 section 5.6.7).
    pub(super) fn date(&self) -> &str {
        &self.date
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place where monotonic time is read")]
fn instant() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "this is the one place where the wall clock is read")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
