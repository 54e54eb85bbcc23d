//! What a peer has sent, as a log may show it: on one line, in ASCII, and not longer than somebody reads.

use std::fmt::{self, Write};

/// Bytes of a peer's text that are shown.
const SHOWN_BYTES_MAX: usize = 256;

/// Shows bytes in quotes. What is not plain is escaped, so that nobody can write lines of a log, or move the cursor of the
/// terminal that shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        write!(f, "{}", shown.escape_ascii())?;
        f.write_str(if shown.len() < self.0.len() { "\"..." } else { "\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_stays_one_line_and_short() {
        assert_eq!(Quoted(b"push.example").to_string(), r#""push.example""#);
        assert_eq!(Quoted("a\r\nERROR \x1b[2J\"é".as_bytes()).to_string(), r#""a\r\nERROR \x1b[2J\"\xc3\xa9""#);
        assert_eq!(Quoted(&[0; 1000]).to_string().len(), SHOWN_BYTES_MAX * r"\x00".len() + 5);
    }
}
