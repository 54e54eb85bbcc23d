//! A client: somebody's page, as the web application named it.
//!
//! It is *here* while it polls often enough and *departed* when it has not for a while (WIRE section 6). The departed
//! keep everything but their seats among the subscribers, so that coming back is cheap and nothing is missed.

use std::fmt;

use crate::clock::Ms;
use crate::few::Few;
use crate::names::Named;
use crate::slots::Key;

use super::Limits;
use super::follower::Standing;
use super::subscription::Subscription;
use super::waiter::Waiter;

/// One client of the hub.
#[derive(Debug)]
pub struct Client {
    /// The name as the web application gave it.
    pub(super) id: Box<str>,
    pub(super) key: ClientKey,
    pub(super) created: Ms,
    /// The last time a poll came in, was answered or hung up (WIRE L1); RPC calls do not count.
    pub(super) seen: Ms,
    /// Everything up to this `seq` has been acknowledged, or in the original's protocol has left the process.
    pub(super) position: u64,
    /// When that last changed, from where, and whether by a page of the resume protocol that said so.
    pub(super) moved: Ms,
    pub(super) moved_from: u64,
    pub(super) moved_by_page: bool,
    /// One of its pages has spoken the resume protocol: there may be others, which are not as far.
    pub(super) resumes: bool,
    /// It is nobody's: see [`Hub::send_canary`](super::Hub::send_canary).
    pub(super) is_canary: bool,
    /// Whether it may be answered.
    pub(super) standing: Standing,
    pub(super) subscriptions: Few<Subscription>,
    /// How many of them have ended and are kept for what is still to be read.
    pub(super) ended: u32,
    /// The newest `seq` of the ended ones that were forgotten: of a page from before it nobody knows what it has missed.
    pub(super) forgotten: u64,
    pub(super) presence: Presence,
    /// When its nearest reminder fires; `Ms::MAX` if none is on its way. A later one that fires before is a leftover.
    pub(super) reminded: Ms,
    /// The same of its reminders to be forgotten. They are far away: who comes and goes all day is to have one of them.
    pub(super) reminded_far: Ms,
}

/// Whether a client takes part.
#[derive(Debug)]
pub(super) enum Presence {
    /// It counts as subscriber. Its polls, the oldest first.
    Here { polls: Few<Key<Waiter>> },
    /// It may come back.
    Departed(Box<Departure>),
}

/// Until when it may come back, and its neighbours in the list of the departed.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) until: Ms,
    pub(super) older: Option<Key<Client>>,
    pub(super) newer: Option<Key<Client>>,
}

impl Named for Client {
    fn name(&self) -> &str {
        &self.id
    }
}

impl Client {
    pub(super) fn new(now: Ms, id: Box<str>, key: ClientKey) -> Client {
        Client {
            id,
            key,
            created: now,
            seen: now,
            position: 0,
            moved: now,
            moved_from: 0,
            moved_by_page: false,
            resumes: false,
            is_canary: false,
            standing: Standing::default(),
            subscriptions: Few::None,
            ended: 0,
            forgotten: 0,
            presence: Presence::Here { polls: Few::None },
            reminded: Ms::MAX,
            reminded_far: Ms::MAX,
        }
    }

    pub(super) fn is_here(&self) -> bool {
        matches!(self.presence, Presence::Here { .. })
    }

    /// Its polls, the oldest first; none when it has departed.
    pub(super) fn polls(&self) -> &[Key<Waiter>] {
        match &self.presence {
            Presence::Here { polls } => polls,
            Presence::Departed(_) => &[],
        }
    }

    /// It has had everything up to `position`. True if an ended subscription may have been read to its end by that.
    pub(super) fn acknowledge(&mut self, now: Ms, position: u64, by_page: bool) -> bool {
        if position <= self.position {
            return false;
        }
        self.moved_from = self.position;
        self.standing.move_on();
        (self.position, self.moved, self.moved_by_page) = (position, now, by_page);
        self.ended > 0
    }

    /// When it has been idle for long enough to be collected at the next sweep, if it does not poll.
    pub(super) fn stale_at(&self, limits: &Limits) -> Ms {
        (self.created + limits.min_alive).max(self.seen + limits.max_idle) + Ms(1)
    }

    /// Its list of polls.
    ///
    /// # Panics
    /// If it has departed: the departed come back before they poll.
    pub(super) fn polls_mut(&mut self) -> &mut Few<Key<Waiter>> {
        match &mut self.presence {
            Presence::Here { polls } => polls,
            Presence::Departed(_) => unreachable!("a departed client has no polls: it is revived first"),
        }
    }
}

/// What a page proves itself with: 128 bits from the operating system's generator, written as 32 lower-case hex
/// digits (WIRE M1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientKey([u8; 16]);

impl ClientKey {
    /// Makes a key of random bytes, which must be unpredictable.
    #[must_use]
    pub fn new(random: [u8; 16]) -> ClientKey {
        ClientKey(random)
    }

    /// The key that these 32 lower-case hex digits are; `None` if they are none.
    #[must_use]
    pub fn parse(hex: &str) -> Option<ClientKey> {
        let is_digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = (hex.len() == 32 && is_digits).then(|| u128::from_str_radix(hex, 16).ok()).flatten()?;
        Some(ClientKey(number.to_be_bytes()))
    }

    /// The bytes that it was made of.
    pub(super) fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The 32 hex digits.
    #[must_use]
    pub fn hex(&self) -> [u8; 32] {
        let mut hex = [0; 32];
        for (digits, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            digits[0] = digit(byte >> 4);
            digits[1] = digit(byte & 15);
        }
        hex
    }

    /// Whether `text` is this key. Takes the same time wherever they differ, so that the time does not tell how much
    /// of a guess is right.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let Ok(digits) = <&[u8; 32]>::try_from(text) else { return false };
        halves(&self.hex()).iter().zip(halves(digits)).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// 32 digits as two numbers.
fn halves(digits: &[u8; 32]) -> [u128; 2] {
    let (halves, _) = digits.as_chunks();
    [u128::from_ne_bytes(halves[0]), u128::from_ne_bytes(halves[1])]
}

/// Without a table, so that all 32 are worked out at once.
fn digit(half: u8) -> u8 {
    half + if half < 10 { b'0' } else { b'a' - 10 }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key never gets into a log by accident.
impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_lower_case_hex_digits_and_matches_only_itself() {
        let key = ClientKey::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa0, 0xb1, 0xcd, 0xef, 0xff, 0x10]);
        assert_eq!(key.to_string(), "00010203040506070809a0b1cdefff10");
        assert_eq!(key.hex(), *b"00010203040506070809a0b1cdefff10");
        assert!(key.matches(b"00010203040506070809a0b1cdefff10"));
        for wrong in [
            "",
            "0",
            "00010203040506070809A0B1CDEFFF10",
            "00010203040506070809a0b1cdefff1",
            "00010203040506070809a0b1cdefff100",
            "10010203040506070809a0b1cdefff10",
            "00010203040506070809a0b1cdefff11",
        ] {
            assert!(!key.matches(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "ClientKey(..)");
        assert_eq!(ClientKey::parse(&key.to_string()), Some(key));
        assert_eq!(ClientKey::parse("00010203040506070809A0B1CDEFFF10"), None);
        assert_eq!(ClientKey::parse("+0010203040506070809a0b1cdefff10"), None);
    }
}
