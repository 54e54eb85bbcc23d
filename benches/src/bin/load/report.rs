//! The result of a run, as one line of JSON.

use super::crowd::Verdict;
use super::meter::{Cost, to_f64};

/// Names and numbers, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    numbers: Vec<(String, f64)>,
    failures: u64,
}

/// The points of a distribution that are worth a name.
const PERCENTILES: [(&str, f64); 7] =
    [("p50", 0.50), ("p75", 0.75), ("p90", 0.90), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

impl Report {
    pub(crate) fn add(&mut self, name: &str, number: f64) {
        self.numbers.push((name.to_owned(), number));
    }

    /// What each of `count` deeds cost.
    pub(crate) fn add_cost(&mut self, cost: Cost, count: u64) {
        let count = to_f64(count.max(1));
        self.add("cpu_us", cost.cpu / count);
        self.add("user_us", cost.user / count);
        self.add("system_us", cost.system / count);
        self.add("load_cpu_us", cost.own / count);
        self.add("waited_us", cost.waited / count);
    }

    /// How long each of many deeds took.
    pub(crate) fn add_times(&mut self, name: &str, mut ms: Vec<f64>) {
        ms.sort_by(f64::total_cmp);
        self.add(&format!("{name}_count"), to_f64(ms.len() as u64));
        let Some(last) = ms.len().checked_sub(1) else { return };
        for (percentile, share) in PERCENTILES {
            self.add(&format!("{name}_ms_{percentile}"), ms[rank(last, share)]);
        }
    }

    pub(crate) fn add_verdict(&mut self, verdict: Verdict) {
        let Verdict { lost, repeated, misrouted, malformed, closed } = verdict;
        let failures = [
            ("lost", lost),
            ("repeated", repeated),
            ("misrouted", misrouted),
            ("malformed", malformed),
            ("closed", closed),
        ];
        for (name, count) in failures {
            self.add(name, to_f64(count));
            self.failures += count;
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.failures == 0
    }

    pub(crate) fn json(&self) -> String {
        let members: Vec<String> =
            self.numbers.iter().map(|(name, number)| format!("\"{name}\":{number:.4}")).collect();
        format!("{{{}}}", members.join(","))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an index is an index")]
#[allow(clippy::cast_precision_loss, reason = "nobody takes 2^53 samples")]
fn rank(last: usize, share: f64) -> usize {
    (last as f64 * share).ceil() as usize
}
