//! When to look at what again: [`Wheel`], a hashed timer wheel of reminders.
//!
//! The entries are **reminders, not timers**. Each object with a deadline keeps that deadline in a field of its own, and
//! that field is the truth; the wheel only promises to say "look at this one" in time. So nothing is ever cancelled or
//! moved: a poll that is touched a thousand times before it expires writes a thousand times one field, and when its one
//! reminder comes round, the owner compares the deadline with the clock and asks to be reminded again, later. A reminder
//! for an object that is gone costs one look-up of a stale [`Key`](crate::slots::Key).
//!
//! The wheel has 512 slots, one for each tick of 100 ms; a rotation takes 51.2 s. A reminder hangs in the slot of its
//! tick, whatever the rotation, and carries its tick along, so one that is an hour away is passed over 70 times on its way:
//!
//! ```text
//!                 cursor: the first tick that is not done
//!                    │
//!    ──┬──────┬──────▼──────┬──────┬──────┬──
//!      │ slot │    slot     │ slot │ slot │        tick 1027 = 2 * 512 + 3 hangs in slot 3,
//!      │  1   │     2       │  3   │  4   │        beside tick 3 of this rotation
//!    ──┴──────┴──┬──────────┴──┬───┴──────┴──
//!                │ 514 key     │ 1027 key
//!                │  looked at  │   3 key
//!          seen ►│   2 key
//!                │   2 key   not yet looked at
//! ```
//!
//! Adding is one push, onto a list in pages that never moves what it has: a million may be due at one tick. Expiring looks at the slots of the ticks that have passed, and stops when its budget is used up,
//! even in the middle of a slot, to go on there the next time: ten thousand reminders in one tick are no long turn.
//!
//! Precision: a time is rounded up to a tick, so a reminder never comes before its time, and comes less than 100 ms
//! after it if [`Wheel::expire`] is called when [`Wheel::next`] says so, and has the budget. Reminders of one tick come
//! in no particular order.
//!
//! Limits: ticks are kept in 32 bits, as a wheel holds one reminder or more for each connection. After 13.6 years of
//! uptime they no longer fit, and from then on a reminder that is more than a rotation away may come in the first one:
//! too early. Who gets one before its deadline has to ask for another.

use crate::clock::Ms;
use crate::paged::List;

/// How long a tick is. Our deadlines are of seconds and minutes: a tenth of a second late is not noticed by anyone,
/// and an idle loop wakes at most ten times a second.
const TICK_MS: u64 = 100;

/// How many slots there are: a rotation of 51.2 s is longer than a long poll, so most reminders come in their first
/// one, and all empty slots together take 16 KiB.
const SLOTS: u64 = 512;

/// Stands for "no tick", and for "no entry" when the earliest of several is wanted.
const NEVER: u64 = u64::MAX;

// The remainder of a tick is the number of its slot: a power of two makes that a mask.
const _: () = assert!(SLOTS.is_power_of_two());

/// Reminders of things named by `K`, due at points in time; see the [module](self) for the idea.
#[derive(Debug)]
pub struct Wheel<K> {
    slots: Vec<Slot<K>>,
    /// The time of tick 0.
    start: Ms,
    /// The first tick that is not done: its slot is the next to be looked at, or the one in which `expire` stopped.
    cursor: u64,
    /// How many entries of the cursor's slot `expire` has looked at and left there before it stopped: the first ones.
    seen: usize,
    /// The earliest tick among these.
    seen_earliest: u32,
    /// The first tick at which `expire` will find a due entry, `NEVER` if there is none. It is left in the past
    /// while an `expire` is stopped.
    soonest: u64,
    len: usize,
}

#[derive(Debug)]
struct Slot<K> {
    entries: List<Entry<K>>,
    /// No entry has an earlier tick; exact unless `expire` is stopped in this slot. `u32::MAX` if there are none.
    earliest: u32,
}

#[derive(Debug)]
struct Entry<K> {
    tick: u32,
    key: K,
}

impl<K> Wheel<K> {
    /// A wheel without reminders that begins to turn at `now`.
    pub fn new(now: Ms) -> Wheel<K> {
        Wheel {
            slots: (0..SLOTS).map(|_| Slot { entries: List::new(), earliest: u32::MAX }).collect(),
            start: now,
            cursor: 0,
            seen: 0,
            seen_earliest: u32::MAX,
            soonest: NEVER,
            len: 0,
        }
    }

    /// Sees to it that `key` comes out of [`Wheel::expire`] at `at` or up to 100 ms later. Nothing takes a reminder back.
    ///
    /// An `at` that has passed is due at the next tick that is not done. Once an `expire` has got through, that tick is in
    /// the future: an owner who asks again and again for the past is heard ten times a second, and the loop sleeps between.
    pub fn remind(&mut self, at: Ms, key: K) {
        let tick = (at - self.start).0.div_ceil(TICK_MS).max(self.cursor);
        let slot = &mut self.slots[slot_of(tick)];
        let entry = Entry { tick: u32::try_from(tick).unwrap_or(u32::MAX), key };
        slot.earliest = slot.earliest.min(entry.tick);
        slot.entries.push(entry);
        self.soonest = self.soonest.min(tick);
        self.len += 1;
    }

    /// Moves the keys of all reminders that are due at `now` to the end of `due`.
    ///
    /// Each entry that is looked at takes one off `budget`, due or not, and with nothing left of it this stops. The next
    /// call goes on from there, and [`Wheel::next`] is in the past until it is done. The caller looks up each key and
    /// compares the object's own deadline with `now`; where that is still to come, it asks to be reminded again.
    ///
    /// However far the clock has jumped ahead, no slot is searched twice for it, and a slot with nothing due costs no more
    /// than reading its earliest tick.
    pub fn expire(&mut self, now: Ms, budget: &mut u32, due: &mut Vec<K>) {
        let target = (now - self.start).0 / TICK_MS;
        if self.soonest <= target {
            while self.cursor <= target {
                if !self.expire_slot(target, budget, due) {
                    return;
                }
                // The last rotation has every slot once: what lies further back is found in there as well.
                self.cursor = (self.cursor + 1).max((target + 1).saturating_sub(SLOTS));
            }
            self.soonest = self.find_soonest();
        }
        // Nothing is due up to here, so ticks that nobody waited for are done without a visit.
        self.cursor = self.cursor.max(target + 1);
    }

    /// When [`Wheel::expire`] has something to do: the exact time of the earliest reminder, rounded up to a tick. It is in
    /// the past if an `expire` used up its budget, and `None` if there is no reminder. Reads one field.
    pub fn next(&self) -> Option<Ms> {
        (self.soonest != NEVER).then(|| self.start + Ms(self.soonest.saturating_mul(TICK_MS)))
    }

    /// How many reminders there are, those for the dead included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no reminder.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Looks at what is left of the cursor's slot. Returns whether it came to the end.
    fn expire_slot(&mut self, target: u64, budget: &mut u32, due: &mut Vec<K>) -> bool {
        let slot = &mut self.slots[slot_of(self.cursor)];
        if u64::from(slot.earliest) > target {
            return true;
        }
        while let Some(entry) = slot.entries.get(self.seen) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            if u64::from(entry.tick) <= target {
                // The last entry takes its place, so the next look is at the same index.
                due.push(slot.entries.swap_remove(self.seen).key);
                self.len -= 1;
            } else {
                self.seen_earliest = self.seen_earliest.min(entry.tick);
                self.seen += 1;
            }
        }
        slot.earliest = self.seen_earliest;
        (self.seen, self.seen_earliest) = (0, u32::MAX);
        true
    }

    /// The first tick at which the cursor comes to a slot with a due entry. A look at 512 numbers, at most once a tick.
    fn find_soonest(&self) -> u64 {
        let visits = (0..SLOTS).zip(&self.slots).filter(|(_, slot)| !slot.entries.is_empty());
        visits
            .map(|(index, slot)| {
                let from = self.cursor.max(u64::from(slot.earliest));
                // From there on to the next tick of this slot. It is `from` itself, but for a tick too large for 32 bits.
                from + index.wrapping_sub(from) % SLOTS
            })
            .min()
            .unwrap_or(NEVER)
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS).expect("less than 512")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::slots::Key;

    /// The same promises kept the plain way: a sorted set of what is to come, and when.
    #[derive(Default)]
    struct Twin {
        waiting: BTreeSet<(Ms, u32)>,
        /// When each key may come, the keys being 0, 1, 2 and so on.
        times: Vec<Ms>,
    }

    impl Twin {
        fn remind(&mut self, wheel: &mut Wheel<u32>, at: Ms, now: Ms) {
            let key = u32::try_from(self.times.len()).unwrap();
            wheel.remind(at, key);
            self.times.push(at.max(now));
            self.waiting.insert((at.max(now), key));
            assert_eq!(wheel.len(), self.waiting.len());
        }

        /// Checks that each key that came out was waiting, once, and not for a later time.
        fn take(&mut self, due: &[u32], now: Ms) {
            for key in due {
                let at = self.times[*key as usize];
                assert!(self.waiting.remove(&(at, *key)), "{key} twice");
                assert!(at <= now, "{at} at {now}: too early");
            }
        }
    }

    fn expire_all(wheel: &mut Wheel<u32>, now: Ms) -> Vec<u32> {
        let (mut budget, mut due) = (u32::MAX, Vec::new());
        wheel.expire(now, &mut budget, &mut due);
        due
    }

    #[test]
    fn does_what_a_sorted_list_does() {
        for seed in 0..400 {
            println!("seed {seed}");
            random_life(seed);
        }
    }

    fn random_life(seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = Ms(rng.u64(0..100_000));
        let (mut wheel, mut twin, mut now) = (Wheel::new(start), Twin::default(), start);
        let budget_max = rng.u32(1..60);
        // From a busy server to one that sleeps through whole rotations.
        let pause_ms_max = [50, 500, 5_000, 200_000][rng.usize(..4)];
        for _ in 0..300 {
            for _ in 0..rng.u32(0..8) {
                let at = random_time(&mut rng, now);
                twin.remind(&mut wheel, at, now);
            }
            now += Ms(rng.u64(0..=pause_ms_max));
            let (mut budget, mut due) = (budget_max, Vec::new());
            let len = wheel.len();
            wheel.expire(now, &mut budget, &mut due);
            assert!(due.len() <= (budget_max - budget) as usize, "each look takes one off the budget");
            assert_eq!(wheel.len(), len - due.len());
            twin.take(&due, now);
            check_next(&wheel, &twin, now, budget);
            // What was due asks again, as its owner was touched meanwhile; some for a time that has passed.
            for _ in due {
                if rng.u32(0..4) == 0 {
                    let at = random_time(&mut rng, now);
                    twin.remind(&mut wheel, at, now);
                }
            }
        }
        while let Some(next) = wheel.next() {
            now = now.max(next);
            let due = expire_all(&mut wheel, now);
            twin.take(&due, now);
            check_next(&wheel, &twin, now, 1);
        }
        assert!(wheel.is_empty() && twin.waiting.is_empty(), "lost");
    }

    fn random_time(rng: &mut fastrand::Rng, now: Ms) -> Ms {
        match rng.u32(0..10) {
            0 => now - Ms(rng.u64(0..2_000)),
            1 => now,
            2..=5 => now + Ms(rng.u64(0..500)),
            6..=8 => now + Ms(rng.u64(0..60_000)),
            _ => now + Ms(rng.u64(0..4_000_000)),
        }
    }

    fn check_next(wheel: &Wheel<u32>, twin: &Twin, now: Ms, budget: u32) {
        let Some(&(at, _)) = twin.waiting.first() else {
            assert!(wheel.next().is_none_or(|next| budget == 0 && next <= now));
            return;
        };
        let next = wheel.next().expect("somebody waits");
        if budget == 0 && next <= now {
            return; // Work may be left over.
        }
        assert!(next > now, "nothing is left over");
        assert!(next >= at && next <= at + Ms(TICK_MS), "{next} for {at} at {now}");
        assert_eq!((next - wheel.start).0 % TICK_MS, 0);
    }

    #[test]
    fn an_hour_away_wakes_nobody_before() {
        let mut wheel = Wheel::new(Ms(40));
        assert_eq!(wheel.next(), None);
        let at = Ms(40) + Ms::from_secs(3600);
        wheel.remind(at, 1);
        assert_eq!(wheel.next(), Some(at));
        assert!(expire_all(&mut wheel, at - Ms(1)).is_empty());
        assert_eq!(wheel.next(), Some(at));
        assert_eq!(expire_all(&mut wheel, at), [1]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn times_are_rounded_up_to_a_tick() {
        let mut wheel = Wheel::new(Ms(40));
        wheel.remind(Ms(141), 1);
        assert_eq!(wheel.next(), Some(Ms(240)));
        assert!(expire_all(&mut wheel, Ms(239)).is_empty());
        assert_eq!(expire_all(&mut wheel, Ms(240)), [1]);
    }

    #[test]
    fn a_reminder_for_the_past_comes_at_the_next_tick_not_in_the_same() {
        let mut wheel = Wheel::new(Ms::ZERO);
        wheel.remind(Ms(300), 1);
        assert_eq!(expire_all(&mut wheel, Ms(350)), [1]);
        wheel.remind(Ms(350), 2);
        wheel.remind(Ms(1), 3);
        assert!(expire_all(&mut wheel, Ms(399)).is_empty());
        assert_eq!(wheel.next(), Some(Ms(400)));
        assert_eq!(expire_all(&mut wheel, Ms(400)).len(), 2);
    }

    #[test]
    fn every_budget_gets_through_every_jump() {
        for jump in [Ms::ZERO, Ms(100), Ms(51_200), Ms(51_300), Ms::from_secs(86_400)] {
            for budget_max in 1..=40 {
                let mut wheel = Wheel::new(Ms::ZERO);
                // One slot with entries of many rotations, and some neighbours.
                (0..20).for_each(|key| wheel.remind(Ms(700 + 51_200 * u64::from(key / 2)), key));
                (20..30).for_each(|key| wheel.remind(Ms(100 * u64::from(key)), key));
                let now = Ms(700) + jump;
                let mut due = Vec::new();
                for calls in 1.. {
                    let mut budget = budget_max;
                    wheel.expire(now, &mut budget, &mut due);
                    if wheel.next().is_none_or(|next| next > now) {
                        break;
                    }
                    assert_eq!(budget, 0, "stopped too early");
                    assert!(calls < 100, "no progress");
                }
                due.sort();
                let at = |key: u32| if key < 20 { 700 + 51_200 * u64::from(key / 2) } else { 100 * u64::from(key) };
                assert_eq!(due, (0..30).filter(|key| at(*key) <= now.0).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn no_budget_looks_at_nothing_and_loses_nothing() {
        let mut wheel = Wheel::new(Ms::ZERO);
        wheel.remind(Ms(100), 1);
        let mut due = Vec::new();
        wheel.expire(Ms(1_000_000), &mut 0, &mut due);
        assert!(due.is_empty());
        assert!(wheel.next().is_some_and(|next| next <= Ms(1_000_000)));
        assert_eq!(expire_all(&mut wheel, Ms(1_000_000)), [1]);
    }

    #[test]
    fn reminders_added_to_the_slot_in_which_it_stopped_are_kept() {
        let mut wheel = Wheel::new(Ms::ZERO);
        (0..4).for_each(|key| wheel.remind(Ms(100 + 51_200), key));
        (4..8).for_each(|key| wheel.remind(Ms(100), key));
        let mut due = Vec::new();
        wheel.expire(Ms(100), &mut 5, &mut due);
        assert_eq!(due, [4]);
        wheel.remind(Ms(0), 8);
        wheel.remind(Ms(100 + 51_200), 9);
        let mut budget = 20;
        wheel.expire(Ms(100), &mut budget, &mut due);
        due.sort();
        assert_eq!(due, [4, 5, 6, 7, 8]);
        assert_eq!(budget, 15, "the first four are not looked at again");
        assert_eq!(wheel.next(), Some(Ms(100 + 51_200)));
        assert_eq!(expire_all(&mut wheel, Ms(100 + 51_200)).len(), 5);
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut wheel = Wheel::new(Ms::ZERO);
        (0..2).for_each(|key| wheel.remind(Ms(500 + 51_200), key));
        (2..4).for_each(|key| wheel.remind(Ms(500), key));
        let mut due = Vec::new();
        wheel.expire(Ms(500), &mut 3, &mut due);
        assert_eq!(due, [2]);
        assert!(expire_all(&mut wheel, Ms(100)).is_empty());
        wheel.remind(Ms(300), 4);
        assert_eq!(expire_all(&mut wheel, Ms(500)).len(), 2);
        assert_eq!(expire_all(&mut wheel, Ms(500 + 51_200)).len(), 2);
    }

    #[test]
    fn after_thirteen_years_near_reminders_are_still_exact() {
        let mut wheel = Wheel::new(Ms::ZERO);
        let now = Ms(TICK_MS * (u64::from(u32::MAX) + 1000));
        assert!(expire_all(&mut wheel, now).is_empty());
        wheel.remind(now + Ms(20_000), 1);
        wheel.remind(now + Ms(30_000), 2);
        assert_eq!(wheel.next(), Some(now + Ms(20_000)));
        assert!(expire_all(&mut wheel, now + Ms(19_999)).is_empty());
        assert_eq!(expire_all(&mut wheel, now + Ms(20_000)), [1]);
        assert_eq!(wheel.next(), Some(now + Ms(30_000)));
        assert_eq!(expire_all(&mut wheel, now + Ms(30_000)), [2]);
        // The far one comes too early, but not before the rotation is over.
        wheel.remind(now + Ms(1_000_000), 3);
        wheel.remind(Ms::MAX, 4);
        assert!(expire_all(&mut wheel, now + Ms(30_001)).is_empty());
        let mut woken = 0;
        while let Some(next) = wheel.next() {
            expire_all(&mut wheel, next);
            woken += 1;
        }
        assert!(woken <= 2);
    }

    #[test]
    fn never_is_not_within_thirteen_years() {
        let mut wheel = Wheel::new(Ms(7));
        wheel.remind(Ms::MAX, 1);
        wheel.remind(Ms(100), 2);
        assert_eq!(expire_all(&mut wheel, Ms(107)), [2]);
        let years = Ms::from_secs(13 * 365 * 86_400);
        assert!(expire_all(&mut wheel, years).is_empty());
        assert!(wheel.next().is_some_and(|next| next > years));
    }

    #[test]
    fn an_entry_takes_twelve_bytes() {
        assert_eq!(size_of::<Entry<Key<String>>>(), 12);
    }
}
