//! What is printed: lines, each whole, on a terminal that nobody else can write to.

use std::fmt::{self, Display, Write as _};
use std::io::{self, BufWriter, Stdout, Write as _};
use std::time::Duration;

use super::failure::Failure;

/// Standard output. Next: [`Output::flush`] whenever somebody may want to see it.
pub(in crate::cli) struct Output(BufWriter<Stdout>);

impl Output {
    pub(in crate::cli) fn new() -> Output {
        Output(BufWriter::new(io::stdout()))
    }

    /// # Errors
    /// It cannot be printed; [`Failure::OutputClosed`] if nobody wants it.
    pub(in crate::cli) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(|error| Failure::of_output(&error))
    }

    /// # Errors
    /// As [`Output::line`].
    pub(in crate::cli) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| Failure::of_output(&error))
    }
}

/// Text of others on one line: control characters are escaped, so that nobody moves the cursor.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Plain<'t>(pub(in crate::cli) &'t str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                // What turns the direction of writing is as good as moving the cursor.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => write!(f, "{}", c.escape_unicode())?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A time as people say it, in one unit or two: `850ms`, `12s`, `3h 5m`.
pub(in crate::cli) fn time(ms: u64) -> String {
    let rounded = match ms {
        0..1000 => Duration::from_millis(ms),
        1000..3_600_000 => Duration::from_secs(ms / 1000),
        _ => Duration::from_secs(ms / 60_000 * 60),
    };
    humantime::format_duration(rounded).to_string()
}

/// A line for whoever sits there; what is printed for programs is not in its way.
pub(in crate::cli) fn say(line: impl Display) {
    // A closed stderr cannot be told anything.
    let _ = writeln!(io::stderr(), "shaveet: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_on_its_line() {
        assert_eq!(Plain("é\n\x1b[2J\u{9b}\u{202e}x").to_string(), r"é\n\u{1b}[2J\u{9b}\u{202e}x");
    }
}
