//! The clocks: the monotonic one, which everything is timed by, the wall clock, which only dates answers, and the
//! thread's CPU time, which says how long others had to wait for a turn.
//!
//! Everything that happens in one turn happens at the same moment, `now`. Beside that the turn itself is timed, so that no
//! kind of work takes more than its [share](Work) of it. That is the monotonic clock too, read without a system call.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::clock::Ms;

/// Reads the time, once per turn, and how much of the turn has gone.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// The same since 1970.
    started_at: Duration,
    /// The time at the start: not 0 for a server that goes on from what another knew.
    begun_at: Ms,
    /// The value of the Date header, and when it stops being true.
    date: String,
    date_until: Ms,
    /// When the turn began, and by when the work under way has to stop.
    turn: Instant,
    until: Instant,
    /// For so many more pieces of small work the clock is not read, nor until so many bytes have moved.
    unlooked: u32,
    unlooked_bytes: u64,
    /// The thread's CPU time when it was read last, and how long the turns since then took.
    cpu: Duration,
    unread: Duration,
    turns: Turns,
}

/// What is done in a turn, in this order. Each has a share; what one leaves, the later ones may take.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Letting new peers in.
    Accept,
    /// Requests.
    Serve,
    /// Deadlines.
    Expire,
    /// What Redis says.
    Broker,
    /// Answers to parked polls.
    Deliver,
    /// Calls that are too large for one turn.
    Jobs,
    /// The state, while it is being written.
    Save,
    /// Peers that have gone: nobody waits for it, so it is the last.
    Farewell,
}

/// Microseconds of a turn by which each kind of work has to stop: half a millisecond in all. One accept, request or
/// answer takes some 10 us and is not interrupted. Serving and delivering have the most, and about the same, as pages that
/// are answered come back; without Redis its share is theirs.
const STOP_US: [u64; 8] = [50, 200, 240, 320, 440, 460, 480, 500];

/// What each of them has in any case, if those before it took too long: then a turn is longer, but nobody starves.
const LEAST_US: u64 = 20;

/// Requests and answers for which the clock is read once, unless they have moved more bytes than most.
const PIECES_PER_LOOK: u32 = 4;
const BYTES_PER_LOOK: u64 = 4 << 10;

/// The thread's CPU time is a system call: it is not asked for turns that are shorter than this together.
const CPU_INTERVAL: Duration = Duration::from_micros(100);

/// A turn that begins so much too late was not late by its own work, which is a thousandth of it, nor by a busy machine.
const STOPPED_LEAST: Duration = Duration::from_secs(1);

impl Clock {
    /// A clock at its start: the time is 0.
    #[must_use]
    pub fn start() -> Clock {
        Clock::start_at(Ms::ZERO)
    }

    /// A clock that goes on where another was.
    pub(super) fn start_at(begun_at: Ms) -> Clock {
        let started = instant();
        let mut clock = Clock {
            started,
            started_at: Clock::since_1970(),
            begun_at,
            date: String::new(),
            date_until: Ms::ZERO,
            turn: started,
            until: started,
            unlooked: 0,
            unlooked_bytes: 0,
            cpu: cpu_time(),
            unread: Duration::ZERO,
            turns: Turns::default(),
        };
        clock.begin_turn();
        clock
    }

    /// The time since the start. The date is renewed when a second has passed.
    pub fn begin_turn(&mut self) -> Ms {
        self.begin_turn_at(instant())
    }

    fn begin_turn_at(&mut self, turn: Instant) -> Ms {
        self.turn = turn;
        let now = self.begun_at + Ms::from(self.turn.duration_since(self.started));
        if now >= self.date_until {
            self.date = httpdate::fmt_http_date(wall_clock());
            self.date_until = now + Ms::from_secs(1);
        }
        now
    }

    /// Begins a turn when the loop has slept, for this long at most if it was told. If much more has passed since the last turn
    /// began, the process was stopped (SIGSTOP, a machine that was moved or slept): nobody could be heard meanwhile, and that is
    /// nobody's fault. So that time does not count for any deadline, the sleep included, as who was to wake us could not. Gives
    /// it, if it is so.
    pub(super) fn wake(&mut self, slept_max: Option<Duration>) -> (Ms, Option<Duration>) {
        let woken = instant();
        let passed = woken.duration_since(self.turn);
        let stopped = slept_max.and_then(|most| (passed >= most + STOPPED_LEAST).then_some(passed));
        if let Some(stopped) = stopped {
            self.started += stopped;
            self.date_until = Ms::ZERO;
        }
        (self.begin_turn_at(woken), stopped)
    }

    /// Begins one kind of the turn's work.
    pub fn begin(&mut self, work: Work) {
        let least = instant() + Duration::from_micros(LEAST_US);
        self.until = least.max(self.turn + Duration::from_micros(STOP_US[work as usize]));
        self.unlooked = PIECES_PER_LOOK;
    }

    /// Whether the work under way may go on.
    pub fn has_time(&self) -> bool {
        instant() < self.until
    }

    /// The same for requests and answers, of which most take less time than there is to lose: the clock is read for some of them.
    /// `moved` is how many bytes have come and gone, ever.
    pub(super) fn has_time_for_another(&mut self, moved: u64) -> bool {
        self.unlooked = self.unlooked.saturating_sub(1);
        if self.unlooked > 0 && moved < self.unlooked_bytes {
            return true;
        }
        (self.unlooked, self.unlooked_bytes) = (PIECES_PER_LOOK, moved + BYTES_PER_LOOK);
        self.has_time()
    }

    /// Writes down how long the turn was: the thread's CPU time or, if that is less, the time that has passed. What is
    /// written down is never too little. It is too much by [`CPU_INTERVAL`] at most.
    pub(super) fn end_turn(&mut self) {
        let passed = self.spent();
        self.unread += passed;
        if self.unread < CPU_INTERVAL {
            return self.turns.note(passed);
        }
        let cpu = cpu_time();
        self.turns.note(passed.min(cpu.saturating_sub(self.cpu)));
        (self.cpu, self.unread) = (cpu, Duration::ZERO);
    }

    /// How long the turns were.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The wall clock's time: for what happens seldom.
    pub(super) fn since_1970() -> Duration {
        wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    /// How long the turn has lasted.
    pub(super) fn in_turn(&self) -> Duration {
        self.spent()
    }

    /// When it was started, since 1970.
    pub(super) fn started_at(&self) -> Duration {
        self.started_at
    }

    /// The date of the last reading (RFC 9110 section 5.6.7).
    pub(super) fn date(&self) -> &str {
        &self.date
    }

    fn spent(&self) -> Duration {
        instant().duration_since(self.turn)
    }
}

/// How long the turns of the loop were, in CPU time of its thread: for so long nobody else was heard.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// How many there were.
    pub count: u64,
    /// The longest.
    pub longest: Duration,
    /// All of them.
    pub total: Duration,
    /// How many took 1, 2, 4, 8... microseconds at most and more than half of that; the last has all that are longer.
    pub by_length: [u64; 20],
}

impl Turns {
    fn note(&mut self, length: Duration) {
        self.count += 1;
        self.longest = self.longest.max(length);
        self.total += length;
        let bits = u128::BITS - (length.as_nanos().saturating_sub(1) / 1000).leading_zeros();
        self.by_length[(bits as usize).min(self.by_length.len() - 1)] += 1;
    }
}

/// One line, such as `12345, longest 0.420 ms; <= 16 us: 10000, <= 32 us: 2345`.
impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, longest {:.3} ms", self.count, self.longest.as_secs_f64() * 1000.0)?;
        let taken = (0..).zip(self.by_length).filter(|&(_, count)| count > 0);
        for (at, (bits, count)) in taken.enumerate() {
            let between = if at == 0 { ";" } else { "," };
            write!(f, "{between} <= {} us: {count}", 1_u64 << bits)?;
        }
        Ok(())
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

/// CPU time of the whole process.
pub(super) fn process_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_by_their_length() {
        let mut turns = Turns::default();
        for us in [0, 1, 2, 3, 4, 420, 5_000_000] {
            turns.note(Duration::from_micros(us));
        }
        assert_eq!((turns.count, turns.longest), (7, Duration::from_secs(5)));
        assert_eq!((turns.by_length[..4].to_vec(), turns.by_length[9], turns.by_length[19]), (vec![2, 1, 2, 0], 1, 1));
        assert_eq!(turns.total, Duration::from_micros(5_000_430));
        turns.by_length[19] = 0;
        assert_eq!(turns.to_string(), "7, longest 5000.000 ms; <= 1 us: 2, <= 2 us: 1, <= 4 us: 2, <= 512 us: 1");
    }

    #[test]
    fn each_kind_of_work_has_its_share_and_never_none() {
        let mut clock = Clock::start();
        clock.begin_turn();
        clock.begin(Work::Accept);
        assert!(clock.until >= clock.turn + Duration::from_micros(STOP_US[0]));
        // Something took far too long.
        clock.turn = clock.turn.checked_sub(Duration::from_secs(1)).unwrap();
        clock.begin(Work::Serve);
        assert!(clock.until > clock.turn + Duration::from_secs(1));
        assert!(STOP_US.is_sorted() && STOP_US.windows(2).all(|pair| pair[1] - pair[0] >= LEAST_US));
    }

    #[test]
    fn the_clock_is_read_for_every_fourth_piece_of_work_or_when_much_has_moved() {
        let mut clock = Clock::start();
        clock.begin_turn();
        clock.begin(Work::Serve);
        clock.has_time_for_another(0);
        // From here on there is none.
        clock.until = clock.turn;
        let looks: Vec<bool> = (0..9).map(|_| clock.has_time_for_another(100)).collect();
        assert_eq!(looks, [true, true, true, false, true, true, true, false, true]);
        assert!(!clock.has_time_for_another(100 + BYTES_PER_LOOK));
    }

    #[test]
    fn a_turn_is_no_longer_than_the_time_that_passed() {
        let mut clock = Clock::start();
        clock.begin_turn();
        clock.end_turn();
        assert_eq!(clock.turns().count, 1);
        assert!(clock.turns().longest <= instant().duration_since(clock.started));
    }
}
