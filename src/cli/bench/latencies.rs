//! How long many things took, in little memory: counted in steps of a thirty-second of each power of two, which is 3 % at most.

use std::time::Duration;

/// Counts by microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    count: u64,
    max: Duration,
}

/// Steps within a power of two.
const STEPS: u64 = 32;

impl Latencies {
    /// One more.
    pub(super) fn note(&mut self, time: Duration) {
        let step = step(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
        self.count += 1;
        self.max = self.max.max(time);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub(super) fn max(&self) -> Duration {
        self.max
    }

    /// The time within which so many of a thousand were.
    pub(super) fn quantile(&self, thousandths: u64) -> Duration {
        let wanted = (u128::from(self.count) * u128::from(thousandths)).div_ceil(1000);
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted.max(1) {
                return Duration::from_micros(end(step)).min(self.max);
            }
        }
        self.max
    }

    /// How many were in each of the times of 1, 2, 5, 10, 20, 50... microseconds, from the first to the last that has any: the time up to
    /// which it goes, and the count.
    pub(super) fn by_time(&self) -> Vec<(Duration, u64)> {
        let mut rows: Vec<(Duration, u64)> = Vec::new();
        let mut bounds = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power))).peekable();
        for (step, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            loop {
                let bound = *bounds.peek().expect("it has no end");
                if rows.last().is_none_or(|(time, _)| *time != Duration::from_micros(bound))
                    && (!rows.is_empty() || end(step) <= bound)
                {
                    rows.push((Duration::from_micros(bound), 0));
                }
                if end(step) <= bound {
                    break;
                }
                bounds.next();
            }
            rows.last_mut().expect("just added").1 += count;
        }
        rows
    }
}

/// Where a time is counted.
fn step(micros: u64) -> usize {
    let Some(shift) = micros.max(1).ilog2().checked_sub(STEPS.ilog2()) else {
        return usize::try_from(micros).expect("it is small");
    };
    usize::try_from(u64::from(shift + 1) * STEPS + (micros >> shift) % STEPS).expect("it is a few thousand")
}

/// The longest time that is counted there, in microseconds.
fn end(step: usize) -> u64 {
    let step = step as u64;
    match (step / STEPS).checked_sub(1) {
        None => step,
        Some(shift) => ((STEPS + step % STEPS) << shift) + ((1 << shift) - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_without_a_hole() {
        for micros in (0..100_000).chain([1 << 40, u64::MAX / 2, u64::MAX]) {
            let at = step(micros);
            assert!(end(at) >= micros && (at == 0 || end(at - 1) < micros), "{micros}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        fastrand::seed(7);
        let mut latencies = Latencies::default();
        let mut all: Vec<u64> = (0..10_000).map(|_| fastrand::u64(0..1 << fastrand::u32(1..30))).collect();
        all.iter().for_each(|micros| latencies.note(Duration::from_micros(*micros)));
        all.sort_unstable();
        for thousandths in [1, 500, 900, 990, 999, 1000] {
            let exact = all[(all.len() * thousandths).div_ceil(1000) - 1] as f64;
            let told = latencies.quantile(thousandths as u64).as_micros() as f64;
            assert!(told >= exact && told <= exact * 1.04 + 1.0, "{thousandths}: {told} for {exact}");
        }
        assert_eq!(latencies.max().as_micros(), u128::from(all[9_999]));
        assert_eq!(Latencies::default().quantile(500), Duration::ZERO);
    }

    #[test]
    fn rows_have_all_and_no_hole() {
        let mut latencies = Latencies::default();
        for micros in [3, 4, 700, 90_000] {
            latencies.note(Duration::from_micros(micros));
        }
        let rows: Vec<(u128, u64)> =
            latencies.by_time().iter().map(|(time, count)| (time.as_micros(), *count)).collect();
        assert_eq!(rows[0], (5, 2));
        assert_eq!(rows.iter().map(|(time, _)| *time).collect::<Vec<_>>()[..4], [5, 10, 20, 50]);
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!(*rows.last().unwrap(), (100_000, 1));
    }
}
