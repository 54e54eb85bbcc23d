//! The headers that say how a message is to be read: where its body ends, and whether another may come behind it.

use super::error::Error;
use super::request::Shapes;

/// What the headers of a request come to, line by line. Next, behind the last: [`Fields::settle`].
#[derive(Debug, Default)]
pub(super) struct Fields {
    length: Option<usize>,
    chunked: bool,
    hosts: u32,
    pub(super) closes: bool,
    pub(super) expects_continue: bool,
    pub(super) shapes: Shapes,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(usize),
    /// The body says it itself.
    Chunked,
}

impl Fields {
    /// Takes a header, of which the value may have white space around it.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8], is_http_11: bool) -> Result<(), Error> {
        self.shapes.note(name);
        // Most are told from those that count by their length.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.hosts += 1,
            6 if name.eq_ignore_ascii_case(b"expect") => self.expect(value.trim_ascii(), is_http_11)?,
            10 if name.eq_ignore_ascii_case(b"connection") => self.closes |= closes(value.trim_ascii()),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.measure(value.trim_ascii())?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.encode(value.trim_ascii(), is_http_11)?,
            _ => {}
        }
        Ok(())
    }

    /// How the body ends, when all headers are known.
    pub(super) fn settle(&self) -> Result<Framing, Error> {
        if self.hosts > 1 {
            return Err(Error::Malformed("more than one Host"));
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Error::Malformed("both Content-Length and Transfer-Encoding")),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, true) => Ok(Framing::Chunked),
            (None, false) => Ok(Framing::Length(0)),
        }
    }

    fn measure(&mut self, value: &[u8]) -> Result<(), Error> {
        // Even two that agree: some party on the way may have joined or split them (RFC 9112 section 6.3).
        if self.length.replace(content_length(value)?).is_some() {
            return Err(Error::Malformed("more than one Content-Length"));
        }
        Ok(())
    }

    fn encode(&mut self, value: &[u8], is_http_11: bool) -> Result<(), Error> {
        if self.chunked {
            return Err(Error::Malformed("more than one Transfer-Encoding"));
        }
        self.chunked = transfer_coding(value, is_http_11)?;
        Ok(())
    }

    fn expect(&mut self, value: &[u8], is_http_11: bool) -> Result<(), Error> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Error::UnknownExpectation);
        }
        // An HTTP/1.0 sender does not know what 100 means (RFC 9110 section 10.1.1).
        self.expects_continue = is_http_11;
        Ok(())
    }
}

/// Whether a Connection header asks for the end of the connection.
fn closes(value: &[u8]) -> bool {
    // What browsers and proxies send.
    !value.eq_ignore_ascii_case(b"keep-alive")
        && value.split(|&byte| byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Digits and nothing else (RFC 9110 section 8.6): no sign, no list, no white space inside.
fn content_length(value: &[u8]) -> Result<usize, Error> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Error::Malformed("Content-Length is not a number"));
    }
    let digits = std::str::from_utf8(value).expect("digits are ASCII");
    // A number too large for the machine is too large for any limit.
    Ok(digits.parse().unwrap_or(usize::MAX))
}

fn transfer_coding(value: &[u8], is_http_11: bool) -> Result<bool, Error> {
    if !is_http_11 {
        return Err(Error::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    let codings: Vec<&[u8]> = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).collect();
    match codings.iter().position(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        // The end of the body is known, what is in it is not (RFC 9112 section 6.1).
        Some(at) if at == codings.len() - 1 && codings.iter().all(|coding| !coding.is_empty()) => {
            Err(Error::NotImplemented("the transfer coding is not known here"))
        }
        // Where the body ends is anybody's guess (RFC 9112 section 6.3).
        _ => Err(Error::Malformed("Transfer-Encoding does not end in chunked, once")),
    }
}
