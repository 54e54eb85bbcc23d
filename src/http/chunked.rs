//! A body in chunks (RFC 9112 section 7.1), decoded as it comes.
//!
//! Strict where leniency has been used to smuggle requests: a size is hexadecimal digits only, every line ends in CR LF,
//! extensions and trailers are read over, never used, and bounded.

use memchr::memchr;

use super::error::{Error, Limits};

/// The decoder of one body.
#[derive(Debug)]
pub(super) struct Chunked {
    phase: Phase,
    /// The first byte not decoded yet, counted from the beginning of the request.
    at: usize,
    /// Where the body began.
    start: usize,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A line with a size. Next: `Data`, or `Trailer` if the size is 0.
    Size,
    /// This many bytes, and CR LF. Next: `Size`.
    Data(usize),
    /// Lines up to an empty one; they began here. Next: the end.
    Trailer { start: usize },
}

/// A size line, extensions included, and all trailers together.
const LINE_BYTES_MAX: usize = 4096;

/// What the chunks' own lines may take up beside the body: a sender of one-byte chunks needs five times the body.
const OVERHEAD: usize = 8;

impl Chunked {
    /// `start` is where the body begins, counted from the beginning of the request.
    pub(super) fn new(start: usize) -> Chunked {
        Chunked { phase: Phase::Size, at: start, start, body: Vec::new() }
    }

    /// Reads on. When the body is whole, where it ends.
    pub(super) fn read(&mut self, limits: &Limits, input: &[u8]) -> Result<Option<usize>, Error> {
        if input.len() - self.start > limits.body_bytes.saturating_mul(OVERHEAD).saturating_add(LINE_BYTES_MAX) {
            return Err(Error::BodyTooLarge);
        }
        loop {
            let rest = &input[self.at..];
            match self.phase {
                Phase::Size => {
                    let Some(line) = line(rest)? else { return Ok(None) };
                    let size = chunk_size(line)?;
                    // The limit may have been lowered since the body began.
                    if size > limits.body_bytes.saturating_sub(self.body.len()) {
                        return Err(Error::BodyTooLarge);
                    }
                    self.at += line.len() + 2;
                    self.phase = if size > 0 { Phase::Data(size) } else { Phase::Trailer { start: self.at } };
                }
                Phase::Data(size) => {
                    if rest.len() < size + 2 {
                        return Ok(None);
                    }
                    if &rest[size..size + 2] != b"\r\n" {
                        return Err(Error::Malformed("a chunk is longer than its size"));
                    }
                    self.body.extend_from_slice(&rest[..size]);
                    self.at += size + 2;
                    self.phase = Phase::Size;
                }
                Phase::Trailer { start } => {
                    let Some(line) = line(rest)? else { return Ok(None) };
                    self.at += line.len() + 2;
                    if line.is_empty() {
                        return Ok(Some(self.at));
                    }
                    check_trailer(line)?;
                    if self.at - start > LINE_BYTES_MAX {
                        return Err(Error::HeadTooLarge);
                    }
                }
            }
        }
    }

    /// The decoded body.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// The line that `input` begins with, without its CR LF; `None` if it is not whole yet.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Error> {
    let searched = &input[..input.len().min(LINE_BYTES_MAX)];
    match memchr(b'\n', searched) {
        Some(end) if end > 0 && input[end - 1] == b'\r' => {
            let line = &input[..end - 1];
            if line.contains(&b'\r') {
                return Err(Error::Malformed("a CR stands alone"));
            }
            Ok(Some(line))
        }
        Some(_) => Err(Error::Malformed("a line of a chunked body does not end in CR LF")),
        None if searched.len() == LINE_BYTES_MAX => Err(Error::Malformed("a line of a chunked body is too long")),
        None => Ok(None),
    }
}

/// `1a`, or `1a;extension=value`.
fn chunk_size(line: &[u8]) -> Result<usize, Error> {
    let (size, extension) = match memchr(b';', line) {
        Some(at) => (&line[..at], &line[at..]),
        None => (line, &b""[..]),
    };
    // White space before the extension is bad, but allowed and sent (RFC 9112 section 7.1.1).
    let size = if extension.is_empty() { size } else { size.trim_ascii_end() };
    if extension.iter().any(|&byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
        return Err(Error::Malformed("a chunk extension has a forbidden character"));
    }
    // 15 digits fit into 64 bits with room to spare, and 16 zeros are nobody's honest size.
    if size.is_empty() || size.len() > 15 || !size.iter().all(u8::is_ascii_hexdigit) {
        return Err(Error::Malformed("a chunk size is not a hexadecimal number"));
    }
    let digits = std::str::from_utf8(size).expect("digits are ASCII");
    usize::from_str_radix(digits, 16).map_err(|_| Error::BodyTooLarge)
}

fn check_trailer(line: &[u8]) -> Result<(), Error> {
    let name = memchr(b':', line).map(|colon| &line[..colon]);
    let well_formed = name.is_some_and(|name| !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_graphic()))
        && line.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if well_formed { Ok(()) } else { Err(Error::Malformed("a trailer is malformed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands before a body in its request.
    const HEAD: &[u8] = b"head";

    fn limits(body_bytes: usize) -> Limits {
        Limits { body_bytes, head_bytes: 1 }
    }

    /// The body, and what is left behind it.
    fn decode(body_bytes: usize, body: &[u8]) -> Result<Option<(String, usize)>, Error> {
        let input = [HEAD, body].concat();
        let mut chunked = Chunked::new(HEAD.len());
        let end = chunked.read(&limits(body_bytes), &input)?;
        Ok(end.map(|end| (String::from_utf8(chunked.into_body()).unwrap(), input.len() - end)))
    }

    #[test]
    fn a_body_is_the_same_wherever_it_is_split() {
        let input = [HEAD, b"1\r\na\r\n3;x=y\r\nbcd\r\n0\r\nt: u\r\n\r\nGET"].concat();
        for split in HEAD.len()..input.len() {
            let mut chunked = Chunked::new(HEAD.len());
            let first = chunked.read(&limits(99), &input[..split]).unwrap();
            let end = first.or_else(|| chunked.read(&limits(99), &input).unwrap());
            assert_eq!((end, &chunked.into_body()[..]), (Some(input.len() - 3), &b"abcd"[..]), "{split}");
        }
    }

    #[test]
    fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
        let body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(decode(5, body), Ok(Some(("abcde".to_owned(), 0))));
        assert_eq!(decode(4, body), Err(Error::BodyTooLarge));
        assert_eq!(decode(4, b"5"), Ok(None));
        assert_eq!(decode(4, b"5\r\n"), Err(Error::BodyTooLarge));
    }

    #[test]
    fn what_stands_beside_the_body_is_bounded() {
        let extended = |length: usize| [&b"0;"[..], &vec![b'x'; length - 4], b"\r\n"].concat();
        assert_eq!(decode(9, &extended(LINE_BYTES_MAX)), Ok(None));
        let too_long = Err(Error::Malformed("a line of a chunked body is too long"));
        assert_eq!(decode(9, &extended(LINE_BYTES_MAX + 1)), too_long);
        // All of them together, but for the empty line.
        let trailers = |length: usize| [&b"0\r\na: b\r\nc:"[..], &vec![b'x'; length - 10], b"\r\n\r\n"].concat();
        assert_eq!(decode(9, &trailers(LINE_BYTES_MAX)), Ok(Some((String::new(), 0))));
        assert_eq!(decode(9, &trailers(LINE_BYTES_MAX + 1)), Err(Error::HeadTooLarge));
        // Lines and body, whatever they are.
        let all = OVERHEAD + LINE_BYTES_MAX;
        let body = [&b"1;"[..], &[b'x'; 90], b"\r\na\r\n", &extended(LINE_BYTES_MAX)].concat();
        assert_eq!(decode(1, &body[..all]), Ok(None));
        assert_eq!(decode(1, &body[..=all]), Err(Error::BodyTooLarge));
    }

    #[test]
    fn sizes_and_trailers_are_read_over_but_not_anything() {
        for (good, body) in
            [("a;\tx=\"y\" \r\n0123456789\r\n0\r\n\r\n", "0123456789"), ("000000000000000 ;\r\na:\tb\r\n\r\n", "")]
        {
            assert_eq!(decode(10, good.as_bytes()), Ok(Some((body.to_owned(), 0))), "{good:?}");
        }
        for size in ["", "g", "+1", "0x1", "1 ", " 1", ";x", "1234567890123456", "0000000000000000", "1;\x01", "1;\x7f"]
        {
            assert!(matches!(decode(10, format!("{size}\r\n").as_bytes()), Err(Error::Malformed(_))), "{size:?}");
        }
        for trailer in [": x", "no colon", "a b: x", "a : x", "\u{e9}: x", "a: \x01", "a: \x7f"] {
            let body = format!("0\r\n{trailer}\r\n");
            assert_eq!(decode(10, body.as_bytes()), Err(Error::Malformed("a trailer is malformed")), "{trailer:?}");
        }
    }

    #[test]
    fn a_chunk_that_is_too_long_is_refused_as_soon_as_that_shows() {
        assert_eq!(decode(9, b"1\r\na\r"), Ok(None));
        for body in [&b"1\r\nabc"[..], b"1\r\na\rb"] {
            assert_eq!(decode(9, body), Err(Error::Malformed("a chunk is longer than its size")), "{body:?}");
        }
    }

    #[test]
    fn lines_end_in_cr_lf() {
        for bad in [&b"1\na\r\n"[..], b"\n", b"1\r\r\na\r\n", b"0\r\nt: u\n\r\n", b"0\r\n\n"] {
            assert!(matches!(decode(9, bad), Err(Error::Malformed(_))), "{bad:?}");
        }
    }
}
