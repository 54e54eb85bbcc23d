//! Answers, written out.

use std::io::Write;

/// What an answer must know of its request: copied out, so that a parked poll keeps three bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The request was HEAD: the answer has no body, only its length (RFC 9110 section 9.3.2).
    pub head_only: bool,
    /// The connection stays open after the answer.
    pub keep_alive: bool,
}

/// The status codes that this server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u16, &'static str);

#[allow(missing_docs, reason = "the names are the reason phrases of RFC 9110 section 15")]
impl Status {
    pub const OK: Status = Status(200, "OK");
    pub const NO_CONTENT: Status = Status(204, "No Content");
    pub const NOT_MODIFIED: Status = Status(304, "Not Modified");
    pub const BAD_REQUEST: Status = Status(400, "Bad Request");
    pub const NOT_FOUND: Status = Status(404, "Not Found");
    pub const METHOD_NOT_ALLOWED: Status = Status(405, "Method Not Allowed");
    pub const REQUEST_TIMEOUT: Status = Status(408, "Request Timeout");
    pub const CONTENT_TOO_LARGE: Status = Status(413, "Content Too Large");
    pub const URI_TOO_LONG: Status = Status(414, "URI Too Long");
    pub const EXPECTATION_FAILED: Status = Status(417, "Expectation Failed");
    pub const HEADERS_TOO_LARGE: Status = Status(431, "Request Header Fields Too Large");
    pub const SERVICE_UNAVAILABLE: Status = Status(503, "Service Unavailable");
    pub const NOT_IMPLEMENTED: Status = Status(501, "Not Implemented");
    pub const VERSION_NOT_SUPPORTED: Status = Status(505, "HTTP Version Not Supported");

    /// The three digits.
    #[must_use]
    pub fn code(self) -> u16 {
        self.0
    }
}

/// One answer. Every one has a date and a length (WIRE H3).
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// How it went.
    pub status: Status,
    /// Further header lines, whole, each with its CR LF: constants, but for a few.
    pub headers: &'a str,
    /// The body, as a sender of GET would get it.
    pub body: &'a [u8],
}

impl Response<'_> {
    /// Writes it out behind what is in `out`. `date` is the value of the Date header (RFC 9110 section 5.6.7).
    pub fn write(&self, out: &mut Vec<u8>, date: &str, exchange: Exchange) {
        let Status(code, reason) = self.status;
        let _ = write!(out, "HTTP/1.1 {code} {reason}\r\nDate: {date}\r\n{}", self.headers);
        if !exchange.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        // An answer without content says nothing of a length (RFC 9110 section 8.6).
        if self.status != Status::NO_CONTENT {
            let _ = write!(out, "Content-Length: {}\r\n", self.body.len());
        }
        out.extend_from_slice(b"\r\n");
        if !exchange.head_only && self.status != Status::NOT_MODIFIED {
            out.extend_from_slice(self.body);
        }
    }
}

/// Writes the interim answer that a sender with `Expect: 100-continue` waits for (WIRE H4).
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}
