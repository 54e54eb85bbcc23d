//! The token of the JSON-RPC API.

use std::fmt;
use std::io;
use std::path::Path;

use crate::config::read_small;

/// A shared secret that a caller has to know. It is never shown.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Bytes below which a token could be guessed by trying: 16 hexadecimal digits have 64 bits.
const BYTES_MIN: usize = 16;

/// Bytes of a token: more is not meant as one, and would not fit beside the other headers.
const BYTES_MAX: usize = 4096;

impl Secret {
    /// Takes it from a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub fn read(path: &Path) -> io::Result<Secret> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let bytes = read_small(path)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| wrong("a token is one line of ASCII without white space"))?;
        Secret::parse(text).map_err(wrong)
    }

    /// Takes the text of a file, without the white space around it.
    ///
    /// # Errors
    /// Says what is wrong with it, and nothing of what it is.
    pub fn parse(text: &str) -> Result<Secret, &'static str> {
        let text = text.trim_ascii();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token is one line of ASCII without white space");
        }
        if !(BYTES_MIN..=BYTES_MAX).contains(&text.len()) {
            return Err("a token has 16 to 4096 characters, such as `openssl rand -hex 32` makes");
        }
        Ok(Secret(text.as_bytes().into()))
    }

    /// The header by which a caller brings it, with its line end.
    #[must_use]
    pub fn header_line(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.0.escape_ascii())
    }

    /// Whether the other is the same.
    #[must_use]
    pub fn is_same(&self, other: &Secret) -> bool {
        self.is(&other.0)
    }

    /// Whether it is this one. Takes the same time wherever they differ, so that the time does not tell how much of a guess
    /// is right; how long it is may be known.
    #[must_use]
    pub fn is(&self, guess: &[u8]) -> bool {
        guess.len() == self.0.len() && self.0.iter().zip(guess).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// A token never gets into a log by accident.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_long_word_and_only_itself() {
        let token = Secret::parse(" 0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "x123456789abcdef", "0123456789abcdeF"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Secret(..)");
        for bad in [
            "",
            "\n",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789abcdef\n0123456789abcdef",
            "0123456789abcdé\0",
        ] {
            assert!(Secret::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Secret::parse(&"x".repeat(BYTES_MAX)).is_ok() && Secret::parse(&"x".repeat(BYTES_MAX + 1)).is_err());
    }
}
