//! What was measured, as people and as programs read it.

use std::time::Duration;

use serde_json::json;

use super::super::ask::failure::Failure;
use super::super::ask::output::Output;
use super::Options;
use super::latencies::Latencies;
use super::usage::Usage;

pub(super) struct Report {
    pub(super) rounds: u64,
    pub(super) time: Duration,
    pub(super) latencies: Latencies,
    /// What the server took before, when all listened, and in the end.
    pub(super) empty: Usage,
    pub(super) parked: Usage,
    pub(super) end: Usage,
}

/// Columns of the longest bar.
const WIDTH: u64 = 40;

impl Report {
    /// # Errors
    /// It cannot be printed.
    pub(super) fn print(&self, options: &Options, output: &mut Output) -> Result<(), Failure> {
        if options.as_json { output.line(self.json(options)) } else { self.describe(options, output) }
    }

    fn describe(&self, options: &Options, output: &mut Output) -> Result<(), Failure> {
        let Options { clients, channels, bytes, .. } = options;
        let plural = if *channels == 1 { "" } else { "s" };
        let [clients, channels, bytes] = [*clients, *channels, *bytes].map(|count| grouped(count as u64));
        let seconds = self.time.as_secs_f64();
        output.line(format_args!(
            "pages       {clients} on {channels} channel{plural}, {bytes} bytes a message, {} rounds in {seconds:.1} s",
            grouped(self.rounds)
        ))?;
        output.line(format_args!(
            "deliveries  {} a second, {} in all",
            grouped(whole(self.per_second())),
            grouped(self.latencies.count())
        ))?;
        let [half, most, nearly_all] = [500, 900, 990].map(|share| time(self.latencies.quantile(share)));
        output.line(format_args!(
            "latency     50 % within {half}, 90 % within {most}, 99 % within {nearly_all}, the longest {}",
            time(self.latencies.max())
        ))?;
        self.draw(output)?;
        output.line(format_args!(
            "memory      {} bytes a client in the server, {} resident, without what sockets take",
            grouped(whole(self.per_client(options, |usage| usage.used_bytes))),
            grouped(whole(self.per_client(options, |usage| usage.resident_bytes)))
        ))?;
        output.line(format_args!(
            "processor   {:.2} of a core for the server, {:.1} us a delivery",
            self.cpu_seconds() / seconds,
            self.cpu_seconds() * 1e6 / self.latencies.count().max(1) as f64
        ))
    }

    /// A bar for each time.
    fn draw(&self, output: &mut Output) -> Result<(), Failure> {
        let rows = self.latencies.by_time();
        let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        for (until, count) in rows {
            let share = count as f64 * 100.0 / self.latencies.count().max(1) as f64;
            let share = if share > 0.0 && share < 0.1 { "<0.1".to_owned() } else { format!("{share:.1}") };
            output.line(format_args!("  to {:>7} {:<40} {share:>5} %", time(until), bar(count, most)))?;
        }
        Ok(())
    }

    fn json(&self, options: &Options) -> String {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let quantile = |thousandths| micros(self.latencies.quantile(thousandths));
        json!({
            "clients": options.clients,
            "channels": options.channels,
            "message_bytes": options.bytes,
            "seconds": self.time.as_secs_f64(),
            "rounds": self.rounds,
            "deliveries": self.latencies.count(),
            "deliveries_per_second": self.per_second(),
            "latency_us": {
                "p50": quantile(500), "p90": quantile(900), "p99": quantile(990), "p999": quantile(999),
                "max": micros(self.latencies.max()),
            },
            "used_bytes_per_client": self.per_client(options, |usage| usage.used_bytes),
            "resident_bytes_per_client": self.per_client(options, |usage| usage.resident_bytes),
            "cpu_seconds": self.cpu_seconds(),
        })
        .to_string()
    }

    fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.time.as_secs_f64().max(f64::EPSILON)
    }

    fn per_client(&self, options: &Options, of: fn(&Usage) -> f64) -> f64 {
        (of(&self.parked) - of(&self.empty)).max(0.0) / options.clients as f64
    }

    fn cpu_seconds(&self) -> f64 {
        (self.end.cpu_seconds - self.parked.cpu_seconds).max(0.0)
    }
}

/// With an eighth of a column's precision; what is there is seen.
fn bar(count: u64, most: u64) -> String {
    let eighths = u64::try_from(u128::from(count) * u128::from(WIDTH) * 8 / u128::from(most)).unwrap_or(0);
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    let bar = "█".repeat(usize::try_from(eighths / 8).unwrap_or(0));
    bar + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][usize::try_from(eighths % 8).unwrap_or(0)]
}

/// With three digits that count: `830 us`, `12.5 ms`, `1.25 s`.
fn time(time: Duration) -> String {
    let micros = time.as_micros() as f64;
    let (value, unit) = match micros {
        ..1e3 => (micros, "us"),
        ..1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let digits = match value {
        _ if value.fract() == 0.0 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, which is as good here")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let times = [0, 830, 1000, 12_540, 125_400, 1_254_000].map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(times, ["0 us", "830 us", "1 ms", "12.5 ms", "125 ms", "1.25 s"]);
        assert_eq!((bar(0, 8), bar(1, 1_000_000), bar(8, 8)), (String::new(), "▏".to_owned(), "█".repeat(40)));
        assert_eq!(bar(1, 16), "██▌");
    }
}
