//! How often something was how large, by powers of two: to note a value is to find its highest bit and to add one.

/// Counts of values. `N` is how many sizes are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// How many values were 1 or 0, 2, 3 to 4, 5 to 8...; the last has all that are larger.
    pub counts: [u64; N],
    /// All values together.
    pub sum: u64,
}

impl<const N: usize> Histogram<N> {
    /// One more value.
    pub fn note(&mut self, value: u64) {
        let bits = u64::BITS - value.saturating_sub(1).leading_zeros();
        self.counts[(bits as usize).min(N - 1)] += 1;
        self.sum += value;
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram { counts: [0; N], sum: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_counted_under_the_next_power_of_two() {
        let mut histogram = Histogram::<5>::default();
        for value in [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 1000] {
            histogram.note(value);
        }
        // Up to 1, 2, 4, 8, and all above.
        assert_eq!(histogram, Histogram { counts: [2, 1, 2, 2, 4], sum: 1065 });
    }
}
