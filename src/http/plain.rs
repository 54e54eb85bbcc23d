//! The request that nearly all are: whole, GET or POST of a path by HTTP/1.1, all of it in order.
//!
//! It is read where it stands, from its first byte to its last, once. Whatever is unusual is left to the
//! [`Decoder`](super::Decoder), which knows what to make of it or what to say against it: here nothing is refused.

use std::borrow::Cow;

use crate::run::{below, is, longer_run, no_word, outside, short_run};

use super::error::Limits;
use super::fields::{Fields, Framing};
use super::request::{Method, Request};

/// Header lines of one request. Browsers send some twenty, proxies add a few.
pub(super) const HEADERS_MAX: usize = 100;

/// The request that `input` begins with, and how long it is, if it is such a one.
pub(super) fn at_once<'a>(limits: &Limits, input: &'a [u8]) -> Option<(Request<'a>, usize)> {
    let searched = &input[..input.len().min(limits.head_bytes)];
    let (method, rest) = match searched {
        [b'G', b'E', b'T', b' ', rest @ ..] => (Method::Get, rest),
        [b'P', b'O', b'S', b'T', b' ', rest @ ..] => (Method::Post, rest),
        _ => return None,
    };
    let (target, rest) = rest.split_at(longer_run(rest, ends_target));
    let headers = rest.strip_prefix(b" HTTP/1.1\r\n").filter(|_| target.first() == Some(&b'/'))?;
    let (mut fields, mut rest, mut lines) = (Fields::default(), headers, 0);
    let behind = loop {
        if let Some(behind) = rest.strip_prefix(b"\r\n") {
            break behind;
        }
        let (name, value);
        (name, value, rest) = line(rest).filter(|_| lines < HEADERS_MAX)?;
        fields.note(name, value, true).ok()?;
        lines += 1;
    };
    let Ok(Framing::Length(length)) = fields.settle() else { return None };
    let start = searched.len() - behind.len();
    let body = input[start..].get(..length).filter(|_| length <= limits.body_bytes)?;
    let request = Request {
        method,
        target,
        headers: &headers[..headers.len() - behind.len()],
        shapes: fields.shapes,
        body: Cow::Borrowed(body),
        is_http_11: true,
        keep_alive: !fields.closes,
    };
    Some((request, start + length))
}

/// Name and value of the header that `text` begins with, the value with the white space around it, and what stands behind
/// the line.
fn line(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = text.split_at(short_run(text, no_word));
    let rest = rest.strip_prefix(b":").filter(|_| !name.is_empty())?;
    let (value, rest) = rest.split_at(longer_run(rest, ends_value));
    Some((name, value, rest.strip_prefix(b"\r\n")?))
}

/// What is not visible ASCII (RFC 3986 section 2).
fn ends_target(word: u64) -> u64 {
    outside(word, b'!', b'~')
}

/// What is no part of a value (RFC 9110 section 5.5), and tabs, which may be.
fn ends_value(word: u64) -> u64 {
    below(word, b' ') | is(word, 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 10_000, body_bytes: 3 };

    /// How long the request is; `None` if it is left to the decoder.
    fn used(input: &str) -> Option<usize> {
        at_once(&LIMITS, input.as_bytes()).map(|(_, used)| used)
    }

    #[test]
    fn what_nearly_all_send_is_read_at_once() {
        let input = "POST /a?b=\"c\"&d=%20~! HTTP/1.1\r\nHost: h\r\nX-Long: \u{e9} ~\r\nContent-Length: 3\r\nEmpty:\r\n\r\nabcGET";
        let (request, length) = at_once(&LIMITS, input.as_bytes()).expect("it is such a one");
        assert_eq!((request.method, request.target), (Method::Post, &b"/a?b=\"c\"&d=%20~!"[..]));
        assert_eq!((&*request.body, length, request.keep_alive), (&b"abc"[..], input.len() - 3, true));
        assert_eq!(request.header("x-long"), Some("\u{e9} ~".as_bytes()));
        assert_eq!((request.header("EMPTY"), request.header("host")), (Some(&b""[..]), Some(&b"h"[..])));
        let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        for count in [0, 1, HEADERS_MAX] {
            assert_eq!(used(&lines(count)), Some(lines(count).len()), "{count}");
        }
        assert_eq!(used(&lines(HEADERS_MAX + 1)), None);
    }

    #[test]
    fn whatever_is_unusual_is_left() {
        for (line, headers) in [
            ("HEAD / HTTP/1.1", ""),
            ("GET / HTTP/1.0", ""),
            ("GET * HTTP/1.1", ""),
            ("GET /a b HTTP/1.1", ""),
            ("GET /\x1f HTTP/1.1", ""),
            ("GET /\x7f HTTP/1.1", ""),
            ("GET /\u{e9} HTTP/1.1", ""),
            ("GET / HTTP/1.1", ": no name\r\n"),
            ("GET / HTTP/1.1", "no colon\r\n"),
            ("GET / HTTP/1.1", "A: \tb\r\n"),
            ("GET / HTTP/1.1", "A: \x1f\r\n"),
            ("GET / HTTP/1.1", "A: \x7f\r\n"),
            ("GET / HTTP/1.1", "A: b\n"),
            ("GET / HTTP/1.1", "Host: a\r\nHost: b\r\n"),
            ("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n"),
            ("POST / HTTP/1.1", "Content-Length: 4\r\n"),
        ] {
            assert_eq!(used(&format!("{line}\r\n{headers}\r\nabcd")), None, "{line:?} {headers:?}");
        }
        // What has not come whole.
        assert_eq!(used("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"), None);
    }
}
