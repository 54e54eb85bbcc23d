//! The opening handshake (RFC 6455 section 4.2): whether a request may become a WebSocket, and the proof that it was read.
//!
//! Who may open one is not judged here: the `Origin` is the endpoint's.

use std::fmt;

use sha1_smol::Sha1;

/// The one version of the protocol there is (section 4.1).
pub const VERSION: &str = "13";

/// Nobody answers with its hash who does not know what a WebSocket is (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept([u8; 28]);

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not ask to: 426 with `Upgrade: websocket` tells it to (RFC 9110 section 15.5.22).
    NoUpgrade,
    /// It speaks another version: 426 with `Sec-WebSocket-Version: 13` (section 4.2.2).
    Version,
    /// 400: a part of the handshake is missing or malformed. Says which.
    Malformed(&'static str),
}

/// Judges the headers of a GET of HTTP/1.1. `values` gives the values of a header, one for each line that has it.
///
/// # Errors
/// [`Refusal`] if it is no handshake that this server understands.
pub fn accept<'a, Values>(values: impl Fn(&'static str) -> Values) -> Result<Accept, Refusal>
where
    Values: Iterator<Item = &'a [u8]>,
{
    let only = |name| {
        let mut values = values(name);
        values.next().filter(|_| values.next().is_none())
    };
    if !has_token(values("Upgrade"), "websocket") || !has_token(values("Connection"), "upgrade") {
        return Err(Refusal::NoUpgrade);
    }
    if only("Host").is_none() {
        return Err(Refusal::Malformed("a handshake has one Host"));
    }
    if only("Sec-WebSocket-Version") != Some(VERSION.as_bytes()) {
        return Err(Refusal::Version);
    }
    match only("Sec-WebSocket-Key") {
        Some(key) if is_key(key) => Ok(Accept::new(key)),
        _ => Err(Refusal::Malformed("a handshake has one Sec-WebSocket-Key, of 16 bytes in base64")),
    }
}

/// Whether a list of tokens, in one line or several, has this one in any case (RFC 9110 section 5.6.1).
fn has_token<'a>(values: impl Iterator<Item = &'a [u8]>, token: &str) -> bool {
    let mut tokens = values.flat_map(|value| value.split(|&byte| byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether it is base64 of 16 bytes, be they what they may (section 4.2.1).
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(|byte| BASE64.contains(byte)))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Accept {
    fn new(key: &[u8]) -> Accept {
        let mut hash = Sha1::new();
        hash.update(key);
        hash.update(GUID);
        // Base64 of 20 bytes: six times three make four, and two are left.
        let mut accept = [b'='; 28];
        for (group, digits) in hash.digest().bytes().chunks(3).zip(accept.chunks_exact_mut(4)) {
            let bits = group.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - group.len()));
            for (at, digit) in digits.iter_mut().take(group.len() + 1).enumerate() {
                *digit = BASE64[bits >> (18 - 6 * at) & 63];
            }
        }
        Accept(accept)
    }
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).expect("base64 is ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Line = (&'static str, &'static str);

    const GOOD: [Line; 5] = [
        ("Host", "h"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];

    fn judge(lines: &[Line]) -> Result<String, Refusal> {
        let values = |name: &str| {
            let found: Vec<&[u8]> = lines.iter().filter(|line| line.0 == name).map(|line| line.1.as_bytes()).collect();
            found.into_iter()
        };
        accept(values).map(|accept| accept.to_string())
    }

    /// The handshake with one header in place of another, or besides.
    fn with(line: Line) -> Result<String, Refusal> {
        let others = GOOD.iter().filter(|other| other.0 != line.0);
        judge(&others.copied().chain([line]).collect::<Vec<_>>())
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert_eq!(judge(&GOOD).as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(
            with(("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")).as_deref(),
            Ok("HSmrc0sMlYUkAGmm5OPpG2HaGWk=")
        );
    }

    #[test]
    fn lists_of_tokens_are_read_in_any_case() {
        for good in ["WebSocket", "h2c, websocket", "a,,WEBSOCKET ,b"] {
            assert!(with(("Upgrade", good)).is_ok(), "{good}");
        }
        for good in ["keep-alive, Upgrade", "upgrade"] {
            assert!(with(("Connection", good)).is_ok(), "{good}");
        }
        assert!(judge(&[&GOOD[..], &[("Connection", "keep-alive"), ("Upgrade", "h2c")]].concat()).is_ok());
        for bad in ["web-socket", "", "websocket/13", "websockets"] {
            assert_eq!(with(("Upgrade", bad)), Err(Refusal::NoUpgrade), "{bad}");
        }
        assert_eq!(with(("Connection", "close")), Err(Refusal::NoUpgrade));
    }

    #[test]
    fn what_is_missing_or_malformed_is_refused() {
        for at in 0..GOOD.len() {
            let rest: Vec<Line> = GOOD.iter().enumerate().filter(|line| line.0 != at).map(|line| *line.1).collect();
            let twice = [&GOOD[..], &GOOD[at..=at]].concat();
            match GOOD[at].0 {
                "Upgrade" | "Connection" => assert_eq!(judge(&rest), Err(Refusal::NoUpgrade)),
                "Sec-WebSocket-Version" => {
                    assert_eq!(judge(&rest), Err(Refusal::Version));
                    assert_eq!(judge(&twice), Err(Refusal::Version));
                }
                _ => {
                    assert!(matches!(judge(&rest), Err(Refusal::Malformed(_))), "{at}");
                    assert!(matches!(judge(&twice), Err(Refusal::Malformed(_))), "{at}");
                }
            }
        }
        for version in ["8", "0", "7", "13, 8", "130", "", "1 3"] {
            assert_eq!(with(("Sec-WebSocket-Version", version)), Err(Refusal::Version), "{version}");
        }
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=a",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhl==",
            "dGhlIHNhbXBsZSBub25jZQ== ,",
        ] {
            assert!(matches!(with(("Sec-WebSocket-Key", key)), Err(Refusal::Malformed(_))), "{key}");
        }
    }
}
