//! The one connection to Redis, without its socket: a machine that dials, says who it is, brings our functions along, is live, and
//! begins again when that ends.
//!
//! ```text
//! Away --time--> Dialling --connected--> Greeting --let in--> Live
//!   ^               |                       |                  |
//!   +---------------+-----------------------+------------------+   broken, late, refused, junk
//! ```
//!
//! Whoever drives it ([`Link::line`]) has one socket for each line, hands over what comes ([`Link::receive`]), sends what is to go
//! ([`Link::output`]), and takes the [events](Event) until there is none. What is asked is answered in the same order, so a queue
//! says whose the next answer is. Nothing here waits for anything.

mod greeting;
mod owed;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::address::{Address, Password, Place, Tls};
use super::codec::{Decoder, Frame, Junk, REPLY_BYTES_MAX, write_command};
use super::{Event, Failure, Ticket, Value};
use crate::buffer::Buffer;
use crate::clock::Ms;
use crate::histogram::Histogram;

use owed::{Asked, Owed};

/// Bytes that wait for the socket, beyond which no call is taken: what a connection of 100 Mbit/s takes in a second. A single call,
/// which `--max-body` bounds, is taken whenever fewer wait.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Calls without a reply, beyond which none is taken: Redis does as many in half a second. Each takes some 40 bytes here.
pub const CALLS_MAX: usize = 1 << 16;

/// Channels are followed and left whatever waits; but what waits for four times as much is not taken at all.
const FOLLOW_BYTES_MAX: usize = 4 * OUTPUT_BYTES_MAX;

/// When nothing was heard for this long Redis is asked whether it is there. It costs nothing, and is far less than anybody waits.
const PING_AFTER: Ms = Ms::from_secs(1);

/// The first wait before Redis is dialled again, and the longest: it doubles in between. Half of it is by chance, so that many nodes
/// do not come at once.
const AWAY_FIRST: Ms = Ms(50);
const AWAY_LONGEST: Ms = Ms::from_secs(2);

/// A line that was live for less has not been good: the waits go on where they were.
const GOOD_AFTER: Ms = Ms::from_secs(2);

/// How often a line is sent on (MOVED, Sentinel) before that counts as a failure.
const DETOURS_MAX: u32 = 5;

/// What a link is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where Redis is.
    pub address: Address,
    /// What all keys begin with, in the braces that keep them in one slot of a Cluster.
    pub prefix: Box<str>,
    /// For how long anything may take: a dial, a greeting, a call; and for how long nothing may be heard though something is owed.
    pub timeout: Ms,
    /// What Redis lists us as (CLIENT LIST): no space in it.
    pub name: Box<str>,
}

/// A link that goes up and down by itself.
#[derive(Debug)]
pub struct Link {
    options: Options,
    state: State,
    now: Ms,
    /// Which of the dials the line belongs to.
    number: u32,
    /// Which of the places is dialled.
    at: usize,
    /// Where that place has sent us on to.
    detour: Option<Place>,
    detours: u32,
    /// Sentinels want the password, too.
    sentinels_ask: bool,
    /// It stays at a Sentinel and asks it now and then ([`watch`](super::watch)).
    watches: bool,
    /// What a Sentinel has said of the master, if nobody has taken it: how often there was another, as it counts, and where it is.
    named: Option<(u64, Place)>,
    /// The same count, of the master that is dialled.
    master_epoch: u64,
    /// Why the places that were tried since the last wait cannot be used.
    tried: Vec<String>,
    /// How often all of them could not be used, one time after the other.
    failures: u32,
    /// Why it is down, as was told; `None` while it is live.
    why: Option<Box<str>>,
    /// When something was heard last.
    heard_at: Ms,
    owed: Owed,
    output: Buffer,
    /// A command being written; kept for its memory.
    command: Vec<u8>,
    decoder: Decoder,
    events: VecDeque<Event>,
    counts: Counts,
    random: fastrand::Rng,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No line. Next: `Dialling` when it is time.
    Away { until: Ms },
    /// A line is to be made. Next: `Greeting`, or `Away` when it takes too long.
    Dialling { until: Ms },
    /// The first answers are owed. Next: `Live`, `Dialling` if we are sent on, or `Away`.
    Greeting { until: Ms },
    /// Calls go out. Next: `Away`.
    Live { since: Ms },
}

/// What a link has done since its start.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Dials.
    pub dials: u64,
    /// Calls, by [`RESULTS`].
    pub calls: [u64; RESULTS.len()],
    /// How many milliseconds the replies took that came.
    pub times: Histogram<13>,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that went.
    pub sent: u64,
}

/// What becomes of calls.
pub const RESULTS: [&str; 6] = ["done", "refused", "late", "lost", "crowded", "down"];

impl Failure {
    /// Its place among the [`RESULTS`].
    fn place(&self) -> usize {
        match self {
            Failure::Refused(_) => 1,
            Failure::Late => 2,
            Failure::Lost => 3,
            Failure::Crowded => 4,
            Failure::Down(_) => 5,
        }
    }
}

impl Link {
    /// A link that is dialled at once. `seed` is for chance.
    ///
    /// # Panics
    /// If the address has no place.
    #[must_use]
    pub fn new(options: Options, now: Ms, seed: u64) -> Link {
        assert!(!options.address.places.is_empty(), "an address has a place");
        Link {
            options,
            state: State::Away { until: now },
            now,
            number: 0,
            at: 0,
            detour: None,
            detours: 0,
            sentinels_ask: false,
            watches: false,
            named: None,
            master_epoch: 0,
            tried: Vec::new(),
            failures: 0,
            why: Some("it has not answered yet".into()),
            heard_at: now,
            owed: Owed::default(),
            output: Buffer::default(),
            command: Vec::new(),
            decoder: Decoder::default(),
            events: VecDeque::new(),
            counts: Counts::default(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// One that stays at a Sentinel and asks it once a second where the master is; `None` if there are no Sentinels.
    pub(super) fn at_sentinel(beside: &Link, now: Ms, seed: u64) -> Option<Link> {
        let options = beside.options.clone();
        options.address.master.as_ref()?;
        Some(Link { watches: true, ..Link::new(options, now, seed) })
    }

    // --- what the cluster asks

    /// Calls a function (FCALL) behind all calls before it. What comes of it is an [`Event::Reply`].
    ///
    /// # Errors
    /// [`Failure::Down`] and [`Failure::Crowded`]: the call is not made, and no event comes.
    pub fn call(
        &mut self,
        now: Ms,
        ticket: Ticket,
        function: &str,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<(), Failure> {
        self.now = now;
        let refusal = if let Some(why) = &self.why {
            Some(Failure::Down(why.clone()))
        } else {
            let is_crowded = self.owed.len() >= CALLS_MAX || self.output.bytes().len() >= OUTPUT_BYTES_MAX;
            is_crowded.then_some(Failure::Crowded)
        };
        if let Some(refusal) = refusal {
            self.counts.calls[refusal.place()] += 1;
            return Err(refusal);
        }
        let count = keys.len().to_string();
        let mut parts = vec![&b"FCALL"[..], function.as_bytes(), count.as_bytes()];
        parts.extend_from_slice(keys);
        parts.extend_from_slice(arguments);
        self.ask(Asked::Call(ticket), &parts);
        Ok(())
    }

    /// Hears from now on what is published in a channel: calls that are made after this are done when it is heard. Nothing
    /// happens while the link is down. If Redis refuses it the link breaks.
    pub fn follow(&mut self, channel: &[u8]) {
        self.change_channel(b"SUBSCRIBE", channel);
    }

    /// Hears no more of it.
    pub fn unfollow(&mut self, channel: &[u8]) {
        self.change_channel(b"UNSUBSCRIBE", channel);
    }

    fn change_channel(&mut self, command: &[u8], channel: &[u8]) {
        if !self.is_live() {
            return;
        }
        if self.output.bytes().len() > FOLLOW_BYTES_MAX {
            return self.fail("it does not take what it is sent");
        }
        self.ask(Asked::Channel, &[command, channel]);
    }

    /// What has happened, one after the other. Each is decoded when it is asked for, so whoever has no time left may stop.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match self.decoder.next() {
                Ok(None) => return None,
                Ok(Some(Frame::Push(values))) => self.hear_push(values),
                Ok(Some(Frame::Reply(value))) => self.hear_reply(value),
                Err(junk) => self.refuse_junk(junk),
            }
        }
    }

    // --- what drives it

    /// The number of the line that there is to be, and where it leads; `None` if there is to be none. A socket is of one line
    /// for its life: when the number is another the socket is closed.
    #[must_use]
    pub fn line(&self) -> Option<(u32, &Place)> {
        (!matches!(self.state, State::Away { .. })).then(|| (self.number, self.place()))
    }

    /// How often there was another master when the Sentinels named the one at the other end, as they count.
    pub(super) fn master_epoch(&self) -> u64 {
        self.master_epoch
    }

    /// What a Sentinel has said, once: that count, and where the master is.
    pub(super) fn take_named(&mut self) -> Option<(u64, Place)> {
        self.named.take()
    }

    /// The Sentinels have made another Redis the master: what is at the other end takes what nobody will know of.
    pub(super) fn leave_for(&mut self, now: Ms, epoch: u64, master: Place) {
        (self.now, self.master_epoch) = (now, epoch);
        self.turn_to(master, "the Sentinels have another master,");
    }

    /// How whoever is at the other end proves who it is, if it has to.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.options.address.tls.as_ref()
    }

    /// From now on this is the password.
    pub fn set_password(&mut self, password: Password) {
        self.options.address.password = Some(password);
    }

    /// The line is there.
    pub fn connected(&mut self, now: Ms) {
        self.now = now;
        self.heard_at = now;
        self.state = State::Greeting { until: now + self.options.timeout };
        self.greet();
    }

    /// The line cannot be made, or has broken.
    pub fn broken(&mut self, now: Ms, why: &str) {
        self.now = now;
        if self.line().is_some() {
            self.fail(why);
        }
    }

    /// Bytes have come by the line. Next: [`Link::next_event`] until there is none, then more bytes.
    pub fn receive(&mut self, now: Ms, bytes: &[u8]) {
        self.now = now;
        self.heard_at = now;
        self.counts.received += bytes.len() as u64;
        self.decoder.push(bytes);
    }

    /// Bytes to go by the line.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// So many of them have gone.
    pub fn sent(&mut self, count: usize) {
        self.counts.sent += count as u64;
        self.output.consume(count);
    }

    /// When there is something to do, if nothing happens.
    #[must_use]
    pub fn next_timeout(&self) -> Ms {
        match self.state {
            State::Away { until } | State::Dialling { until } | State::Greeting { until } => until,
            State::Live { .. } => match self.owed.next_late(self.options.timeout) {
                Some(late) => late.min(self.frozen_at()),
                None => self.frozen_at(),
            },
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Ms) {
        self.now = now;
        match self.state {
            State::Away { until } if until <= now => self.dial(),
            State::Dialling { until } if until <= now => {
                self.fail(&format!("no connection within {}", in_short(self.options.timeout)));
            }
            State::Greeting { until } if until <= now => self.fail_silent(),
            State::Live { .. } => self.look_at_calls(),
            _ => {}
        }
    }

    /// Calls that are late fail; if nothing is heard at all the line is no good.
    fn look_at_calls(&mut self) {
        while let Some(ticket) = self.owed.take_late(self.now, self.options.timeout) {
            self.reply(ticket, Err(Failure::Late));
        }
        if self.frozen_at() > self.now {
            return;
        }
        if self.owed.is_empty() && self.watches {
            self.ask_for_master();
        } else if self.owed.is_empty() {
            self.ask(Asked::Ping, &[b"PING"]);
        } else {
            self.fail_silent();
        }
    }

    /// When nothing will have been heard for too long, or for so long that Redis is asked whether it is there.
    fn frozen_at(&self) -> Ms {
        match self.owed.first_asked() {
            Some(asked) => asked.max(self.heard_at) + self.options.timeout,
            None => self.heard_at + PING_AFTER,
        }
    }

    fn fail_silent(&mut self) {
        self.fail(&format!("it has not answered within {}", in_short(self.options.timeout)));
    }

    // --- what is asked of it

    /// Whether calls go out.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Why not.
    #[must_use]
    pub fn why_down(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether something has happened that nobody has taken.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Calls whose reply has not come.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.owed.calls()
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    // --- the life of a line

    fn place(&self) -> &Place {
        self.detour.as_ref().unwrap_or(&self.options.address.places[self.at])
    }

    fn dial(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.counts.dials += 1;
        self.state = State::Dialling { until: self.now + self.options.timeout };
    }

    /// Redis has let us in.
    fn go_live(&mut self) {
        self.state = State::Live { since: self.now };
        self.detours = 0;
        self.tried.clear();
        self.why = None;
        self.events.push_back(Event::Up);
    }

    /// The line is no good: the next place is tried, or all of them again after a while.
    fn fail(&mut self, why: &str) {
        let place = &self.options.address.places[self.at];
        let why = match &self.detour {
            Some(detour) => format!("{detour}, named by {place}: {why}"),
            None => format!("{place}: {why}"),
        };
        let live_since = match self.state {
            State::Live { since } => Some(since),
            _ => None,
        };
        self.drop_line();
        (self.detour, self.detours) = (None, 0);
        self.at = (self.at + 1) % self.options.address.places.len();
        self.tried.push(why);
        if live_since.is_none() && self.tried.len() < self.options.address.places.len() {
            return self.dial();
        }
        if live_since.is_some_and(|since| self.now >= since + GOOD_AFTER) {
            self.failures = 0;
        }
        let why = std::mem::take(&mut self.tried).join("; ");
        if self.why.as_deref() != Some(&why) {
            self.why = Some(why.as_str().into());
            self.events.push_back(Event::Down(why.into()));
        }
        self.state = State::Away { until: self.now + self.wait() };
    }

    /// Somebody else is to be asked, at once.
    fn send_on(&mut self, to: Place) {
        self.detours += 1;
        if self.detours > DETOURS_MAX {
            return self.fail(&format!("it sends on to {to}, and so do others, {DETOURS_MAX} times"));
        }
        self.turn_to(to, "it sends on to");
    }

    /// The next line leads there.
    fn turn_to(&mut self, to: Place, why: &str) {
        if self.is_live() {
            let why = format!("{}: {why} {to}", self.place());
            self.why = Some(why.as_str().into());
            self.drop_line();
            self.events.push_back(Event::Down(why.into()));
        } else {
            self.drop_line();
        }
        self.detour = Some(to);
        self.dial();
    }

    /// Nothing of the line is left; who waits for a reply is told that none comes.
    fn drop_line(&mut self) {
        self.output = Buffer::default();
        self.decoder = Decoder::default();
        for ticket in std::mem::take(&mut self.owed).into_calls() {
            self.reply(ticket, Err(Failure::Lost));
        }
    }

    fn wait(&mut self) -> Ms {
        let longest = AWAY_LONGEST.0.min(AWAY_FIRST.0 << self.failures.min(16));
        self.failures += 1;
        Ms(longest / 2 + self.random.u64(0..=longest / 2))
    }

    // --- what is asked and answered

    fn ask(&mut self, asked: Asked, parts: &[&[u8]]) {
        self.command.clear();
        write_command(&mut self.command, parts.iter().copied());
        self.output.push(&self.command);
        self.owed.push(asked, self.now);
        // A large call is not kept twice.
        self.command.shrink_to(COMMAND_BYTES_KEPT);
    }

    fn reply(&mut self, ticket: Ticket, result: Result<Value, Failure>) {
        self.counts.calls[result.as_ref().err().map_or(0, Failure::place)] += 1;
        self.events.push_back(Event::Reply(ticket, result));
    }

    fn hear_push(&mut self, values: Vec<Value>) {
        let mut values = values.into_iter();
        let kind = values.next();
        match (kind.as_ref().and_then(Value::bytes), values.next(), values.next()) {
            (Some(b"message"), Some(Value::Text(channel)), Some(Value::Text(payload))) => {
                self.events.push_back(Event::Push { channel, payload });
            }
            (Some(b"subscribe" | b"unsubscribe"), ..) => self.hear_channel_change(),
            // Whatever else Redis may tell, nobody has asked for it.
            _ => {}
        }
    }

    fn hear_channel_change(&mut self) {
        if !self.owed.pop_channel() {
            self.fail("it follows what it was not asked to");
        }
    }

    fn hear_reply(&mut self, value: Value) {
        let Some((asked, at)) = self.owed.pop() else { return self.fail("it answers what was not asked") };
        match asked {
            Asked::Call(ticket) => {
                self.counts.times.note((self.now - at).0);
                match value {
                    Value::Error(error) => {
                        let error = told(&error);
                        self.reply(ticket, Err(Failure::Refused(error.as_str().into())));
                        self.hear_error(&error);
                    }
                    value => self.reply(ticket, Ok(value)),
                }
            }
            Asked::Nobodys => {
                if let Value::Error(error) = value {
                    self.hear_error(&told(&error));
                }
            }
            Asked::Ping => {}
            Asked::Channel => match value {
                Value::Error(error) => self.fail(&greeting::explained(&told(&error))),
                _ => self.fail("it answers SUBSCRIBE in the manner of RESP2"),
            },
            Asked::Greeting(step) => self.hear_greeting(step, value),
        }
    }

    /// A call was refused: if that would be so with all others, too, another line has to be found.
    fn hear_error(&mut self, error: &str) {
        match error.split(' ').next() {
            Some("MOVED") => self.follow_move(error),
            Some("READONLY" | "MASTERDOWN" | "LOADING" | "NOAUTH") => self.fail(&greeting::explained(error)),
            // Somebody has deleted our functions (FUNCTION FLUSH); a new line brings them along.
            Some("ERR") if error.contains("Function not found") => self.fail("its functions have been deleted"),
            _ => {}
        }
    }

    fn refuse_junk(&mut self, junk: Junk) {
        let why = match junk {
            Junk::TooLarge => format!("an answer is larger than {} MiB, or has too much in it", REPLY_BYTES_MAX >> 20),
            Junk::Malformed => {
                let rest = self.decoder.rest();
                let shown =
                    String::from_utf8_lossy(&rest[..rest.len().min(JUNK_BYTES_SHOWN)]).escape_debug().to_string();
                format!("it is no Redis, or not only: it says \"{shown}\"")
            }
        };
        self.fail(&why);
    }
}

/// Bytes of junk that are told.
const JUNK_BYTES_SHOWN: usize = 32;

/// Bytes that a command may keep when it has gone.
const COMMAND_BYTES_KEPT: usize = 16 << 10;

/// An error of Redis as it may be logged: one line, not too long.
fn told(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Our own functions' errors and most of Redis's are shorter.
const ERROR_CHARS_MAX: usize = 512;

/// `2s`, `250ms`.
fn in_short(time: Ms) -> String {
    if time.0.is_multiple_of(1000) { format!("{}s", time.0 / 1000) } else { format!("{}ms", time.0) }
}
