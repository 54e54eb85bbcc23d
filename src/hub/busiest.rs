//! Which channels say the most, of however many, in the room of a few: Space-Saving (Metwally, Agrawal and El Abbadi, 2005).
//!
//! Some channels have a count. Whoever has none takes the place of the one with the least, and its count with it: so a count may
//! be too much by what it began with, and never too little, and who has more than its share of all is among them.

use crate::slots::Key;

use super::channel::Channel;

/// Counts. To note a message is to look at all of them, some 30 ns: whoever has more than a 32nd of all messages is found.
const COUNTS: usize = 32;

/// As many are told.
const TOLD: usize = 10;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Busiest(Vec<Count>);

#[derive(Debug)]
struct Count {
    channel: Key<Channel>,
    count: u64,
    /// It may be too much by this.
    over: u64,
}

impl Busiest {
    /// A channel has one more message.
    pub(super) fn note(&mut self, channel: Key<Channel>) {
        if let Some(known) = self.0.iter_mut().find(|known| known.channel == channel) {
            known.count += 1;
        } else if self.0.len() < COUNTS {
            self.0.push(Count { channel, count: 1, over: 0 });
        } else if let Some(least) = self.0.iter_mut().min_by_key(|known| known.count) {
            *least = Count { channel, count: least.count + 1, over: least.count };
        }
    }

    /// Those with the most, and how many messages they have had at least; all counts begin anew.
    pub(super) fn take(&mut self) -> Vec<(Key<Channel>, u64)> {
        let mut counts: Vec<_> = self.0.drain(..).map(|known| (known.channel, known.count - known.over)).collect();
        counts.sort_unstable_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts.truncate(TOLD);
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn who_has_much_is_found_among_very_many_and_never_said_to_have_more() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut busiest = Busiest::default();
        let mut truth: HashMap<Key<Channel>, u64> = HashMap::new();
        for _ in 0..100_000 {
            // Three channels have a tenth of all messages each, a hundred thousand others the rest.
            let at = if random.u8(0..10) < 3 { random.u64(1..4) } else { random.u64(1000..100_000) };
            *truth.entry(Key::unpack(at)).or_default() += 1;
            busiest.note(Key::unpack(at));
        }
        let told = busiest.take();
        let found: Vec<Key<Channel>> = told[..3].iter().map(|&(key, _)| key).collect();
        assert!((1..4).all(|at| found.contains(&Key::unpack(at))), "{told:?}");
        assert!(told.len() == TOLD && told.iter().all(|(key, count)| *count <= truth[key]));
        assert!(told[..3].iter().all(|(_, count)| *count > 5_000));
        assert!(busiest.take().is_empty(), "it begins anew");
    }

    #[test]
    fn of_a_few_it_knows_all() {
        let mut busiest = Busiest::default();
        for (at, times) in [(1, 2), (2, 5), (3, 1)] {
            (0..times).for_each(|_| busiest.note(Key::unpack(at)));
        }
        assert_eq!(busiest.take(), [(Key::unpack(2), 5), (Key::unpack(1), 2), (Key::unpack(3), 1)]);
    }
}
