//! A page's position as it travels: opaque to the page, the same on every transport.
//!
//! `EPOCH-SEQ`: the epoch is drawn anew whenever the server starts without what it knew before, so that a token of
//! before is recognised as such and never taken for a position in another order of messages. Only `[0-9a-z-]`, so it
//! needs no encoding anywhere. It is no secret and no proof: the key is.

use std::fmt;

use crate::decimal;

/// The tokens of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u64);

/// A position in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    epoch: u64,
    seq: u64,
}

impl Epoch {
    /// An epoch of that number, which should be random.
    #[must_use]
    pub fn new(number: u64) -> Epoch {
        Epoch(number)
    }

    /// Its number, for what outlives the process.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The token of a position.
    #[must_use]
    pub fn token(self, seq: u64) -> Token {
        Token { epoch: self.0, seq }
    }

    /// The position that a token names, if it is of this epoch.
    #[must_use]
    pub fn seq(self, token: Token) -> Option<u64> {
        (token.epoch == self.0).then_some(token.seq)
    }
}

impl Token {
    /// Reads a token. `None` if it is none that a server could have made.
    #[must_use]
    pub fn parse(text: &str) -> Option<Token> {
        let (epoch, seq) = text.split_once('-')?;
        let is_digits = epoch.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_number = seq.bytes().all(|byte| byte.is_ascii_digit()) && (seq == "0" || !seq.starts_with('0'));
        if !is_digits || epoch.len() != 16 || !is_number {
            return None;
        }
        Some(Token { epoch: u64::from_str_radix(epoch, 16).ok()?, seq: seq.parse().ok()? })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.seq)
    }
}

impl Token {
    /// Appends the text that [`Display`](fmt::Display) gives.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let half = |shift: u32| HEX[usize::try_from(self.epoch >> shift & 0xf).expect("16 digits")];
        out.extend((0..16).rev().map(|digit| half(4 * digit)));
        out.push(b'-');
        decimal::write(out, self.seq);
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_server_made_is_none() {
        for bad in [
            "",
            "-",
            "1-2",
            "0123456789abcdef",
            "0123456789abcdef-",
            "0123456789ABCDEF-1",
            "0123456789abcdef-01",
            "0123456789abcdef--1",
            "0123456789abcdef-+1",
            "0123456789abcdef-18446744073709551616",
            "+123456789abcdef-1",
            "0123456789abcdef-1 ",
            "0123456789abcdef-1-2",
        ] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_token_reads_back(epoch: u64, other: u64, seq: u64) {
            let token = Epoch::new(epoch).token(seq);
            prop_assert_eq!(Token::parse(&token.to_string()), Some(token));
            let mut written = Vec::new();
            token.write(&mut written);
            prop_assert_eq!(written, token.to_string().into_bytes());
            prop_assert_eq!(Epoch::new(epoch).seq(token), Some(seq));
            prop_assert_eq!(Epoch::new(other).seq(token).is_some(), other == epoch);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            let read = Token::parse(&text);
            prop_assert!(read.is_none_or(|token| token.to_string() == text));
        }
    }
}
