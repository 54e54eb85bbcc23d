//! The text that Prometheus and its kind read: OpenMetrics 1.0, and the older text
//! format 0.0.4 for who does not ask for it.
//!
//! A family is a name, a help text and samples. What the two formats differ in: in OpenMetrics a counter's family has no
//! `_total`, only its samples have; a unit is told; the end is told, so that a text that was cut is no text.

use std::io::Write as _;

use crate::decimal;
use crate::http::Request;

/// In which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// What a request accepts. Who asks for OpenMetrics at all can read it; who says nothing gets what everybody can read.
    pub(super) fn of(request: &Request<'_>) -> Format {
        let asks = |line: &[u8]| memchr::memmem::find(line, b"application/openmetrics-text").is_some();
        if request.header_values("accept").any(asks) { Format::OpenMetrics } else { Format::Text }
    }

    /// The header lines of the answer.
    pub(super) fn headers(self) -> &'static str {
        match self {
            Format::OpenMetrics => concat!(
                "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n",
                "Cache-Control: no-store\r\nVary: Accept\r\nX-Content-Type-Options: nosniff\r\n"
            ),
            Format::Text => concat!(
                "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
                "Cache-Control: no-store\r\nVary: Accept\r\nX-Content-Type-Options: nosniff\r\n"
            ),
        }
    }
}

/// A text being written.
#[derive(Debug)]
pub(super) struct Exposition<'a> {
    format: Format,
    out: &'a mut Vec<u8>,
}

/// A family whose samples are to follow.
#[must_use = "a family has samples"]
pub(super) struct Family<'e, 'a> {
    to: &'e mut Exposition<'a>,
    name: &'static str,
    suffix: &'static str,
}

/// A sample's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

/// What a name ends in that has a unit.
const UNITS: [&str; 2] = ["seconds", "bytes"];

impl<'a> Exposition<'a> {
    pub(super) fn begin(format: Format, out: &'a mut Vec<u8>) -> Exposition<'a> {
        Exposition { format, out }
    }

    /// What only rises. `name` is without `_total`, and ends in the unit if there is one.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_, 'a> {
        let family = if self.format == Format::Text { "_total" } else { "" };
        self.describe(name, family, "counter", help);
        Family { to: self, name, suffix: "_total" }
    }

    /// What rises and falls.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_, 'a> {
        self.describe(name, "", "gauge", help);
        Family { to: self, name, suffix: "" }
    }

    /// Times: `counts` by how long, each twice as long as the one before and the first up to `first` seconds, the last
    /// without an end; and all of them together, in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, counts: &[u64], first: f64, sum: f64) {
        self.describe(name, "", "histogram", help);
        let (mut count, mut most) = (0, first);
        let (last, others) = counts.split_last().expect("a histogram has counts");
        for more in others {
            count += more;
            self.sample(name, "_bucket", Some(("le", &format!("{most:?}"))), Number::Whole(count));
            most *= 2.0;
        }
        count += last;
        self.sample(name, "_bucket", Some(("le", "+Inf")), Number::Whole(count));
        self.sample(name, "_count", None, Number::Whole(count));
        self.sample(name, "_sum", None, Number::Real(sum));
    }

    pub(super) fn end(self) {
        if self.format == Format::OpenMetrics {
            self.out.extend_from_slice(b"# EOF\n");
        }
    }

    /// HELP, TYPE and UNIT. Texts are constants without a backslash, a quote or a line's end: nothing is escaped.
    fn describe(&mut self, name: &str, suffix: &str, kind: &str, help: &str) {
        let unit = UNITS.into_iter().find(|unit| name.ends_with(unit)).filter(|_| self.format == Format::OpenMetrics);
        let _ = writeln!(self.out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.out, "# UNIT {name}{suffix} {unit}");
        }
    }

    fn sample(&mut self, name: &str, suffix: &str, label: Option<(&str, &str)>, value: Number) {
        for part in [name, suffix] {
            self.out.extend_from_slice(part.as_bytes());
        }
        if let Some((label, value)) = label {
            for part in ["{", label, "=\"", value, "\"}"] {
                self.out.extend_from_slice(part.as_bytes());
            }
        }
        self.out.push(b' ');
        match value {
            Number::Whole(value) => decimal::write(self.out, value),
            Number::Real(value) => self.out.extend_from_slice(format!("{value:?}").as_bytes()),
        }
        self.out.push(b'\n');
    }
}

impl Family<'_, '_> {
    /// Its only sample.
    pub(super) fn is(self, value: impl Into<Number>) {
        self.to.sample(self.name, self.suffix, None, value.into());
    }

    /// One sample for each value of a label.
    pub(super) fn by<N: Into<Number>>(self, label: &str, samples: impl IntoIterator<Item = (&'static str, N)>) {
        for (value, number) in samples {
            self.to.sample(self.name, self.suffix, Some((label, value)), number.into());
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Number {
        Number::Whole(value)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Number {
        Number::Whole(value as u64)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::Real(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        let mut page = Exposition::begin(format, &mut out);
        page.counter("x_sent_bytes", "Bytes sent.").is(7_u64);
        page.gauge("x_parked", "Polls.").by("transport", [("poll", 1_usize), ("socket", 2)]);
        page.histogram("x_wait_seconds", "Waits.", &[1, 0, 2], 0.5, 9.25);
        page.end();
        String::from_utf8(out).unwrap()
    }

    const GAUGE: &str = "# HELP x_parked Polls.\n# TYPE x_parked gauge\n\
         x_parked{transport=\"poll\"} 1\nx_parked{transport=\"socket\"} 2\n";

    const BUCKETS: &str = "x_wait_seconds_bucket{le=\"0.5\"} 1\nx_wait_seconds_bucket{le=\"1.0\"} 1\n\
         x_wait_seconds_bucket{le=\"+Inf\"} 3\nx_wait_seconds_count 3\nx_wait_seconds_sum 9.25\n";

    #[test]
    fn open_metrics_names_units_and_its_end() {
        let counter = "# HELP x_sent_bytes Bytes sent.\n# TYPE x_sent_bytes counter\n# UNIT x_sent_bytes bytes\n\
             x_sent_bytes_total 7\n";
        let histogram =
            "# HELP x_wait_seconds Waits.\n# TYPE x_wait_seconds histogram\n# UNIT x_wait_seconds seconds\n";
        assert_eq!(written(Format::OpenMetrics), format!("{counter}{GAUGE}{histogram}{BUCKETS}# EOF\n"));
    }

    #[test]
    fn the_older_text_calls_a_counter_by_its_whole_name() {
        let counter =
            "# HELP x_sent_bytes_total Bytes sent.\n# TYPE x_sent_bytes_total counter\nx_sent_bytes_total 7\n";
        let histogram = "# HELP x_wait_seconds Waits.\n# TYPE x_wait_seconds histogram\n";
        assert_eq!(written(Format::Text), format!("{counter}{GAUGE}{histogram}{BUCKETS}"));
    }
}
