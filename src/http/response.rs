//! Answers, written out.

use serde::{Deserialize, Serialize};

use crate::decimal;

/// What an answer must know of its request: copied out, so that a parked poll keeps three bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The request was HEAD: the answer has no body, only its length (RFC 9110 section 9.3.2).
    pub head_only: bool,
    /// The connection stays open after the answer.
    pub keep_alive: bool,
}

/// The status codes that this server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    code: u16,
    /// The code and its reason phrase, as the status line has them.
    text: &'static str,
}

#[allow(missing_docs, reason = "the names are the reason phrases of RFC 9110 section 15")]
impl Status {
    pub const OK: Status = Status { code: 200, text: "200 OK" };
    pub const NO_CONTENT: Status = Status { code: 204, text: "204 No Content" };
    pub const NOT_MODIFIED: Status = Status { code: 304, text: "304 Not Modified" };
    pub const BAD_REQUEST: Status = Status { code: 400, text: "400 Bad Request" };
    pub const UNAUTHORIZED: Status = Status { code: 401, text: "401 Unauthorized" };
    pub const FORBIDDEN: Status = Status { code: 403, text: "403 Forbidden" };
    pub const NOT_FOUND: Status = Status { code: 404, text: "404 Not Found" };
    pub const METHOD_NOT_ALLOWED: Status = Status { code: 405, text: "405 Method Not Allowed" };
    pub const REQUEST_TIMEOUT: Status = Status { code: 408, text: "408 Request Timeout" };
    pub const CONTENT_TOO_LARGE: Status = Status { code: 413, text: "413 Content Too Large" };
    pub const URI_TOO_LONG: Status = Status { code: 414, text: "414 URI Too Long" };
    pub const UPGRADE_REQUIRED: Status = Status { code: 426, text: "426 Upgrade Required" };
    pub const EXPECTATION_FAILED: Status = Status { code: 417, text: "417 Expectation Failed" };
    pub const HEADERS_TOO_LARGE: Status = Status { code: 431, text: "431 Request Header Fields Too Large" };
    pub const SERVICE_UNAVAILABLE: Status = Status { code: 503, text: "503 Service Unavailable" };
    pub const NOT_IMPLEMENTED: Status = Status { code: 501, text: "501 Not Implemented" };
    pub const VERSION_NOT_SUPPORTED: Status = Status { code: 505, text: "505 HTTP Version Not Supported" };

    /// The three digits.
    #[must_use]
    pub fn code(self) -> u16 {
        self.code
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
        self.write_head(out, date, exchange, self.body.len());
        if !exchange.head_only && self.status != Status::NOT_MODIFIED {
            out.extend_from_slice(self.body);
        }
    }

    /// Writes all but the body, which the caller writes behind it: so many bytes, perhaps in pieces.
    pub fn write_head(&self, out: &mut Vec<u8>, date: &str, exchange: Exchange, body_bytes: usize) {
        for part in ["HTTP/1.1 ", self.status.text, "\r\nDate: ", date, "\r\n", self.headers] {
            out.extend_from_slice(part.as_bytes());
        }
        if !exchange.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        // An answer without content says nothing of a length (RFC 9110 section 8.6).
        if self.status != Status::NO_CONTENT {
            out.extend_from_slice(b"Content-Length: ");
            decimal::write(out, body_bytes as u64);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the interim answer that a sender with `Expect: 100-continue` waits for (WIRE H4).
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_begins_with_the_status() {
        for status in
            [Status::OK, Status::NO_CONTENT, Status::BAD_REQUEST, Status::NOT_FOUND, Status::SERVICE_UNAVAILABLE]
        {
            assert!(status.text.starts_with(&format!("{} ", status.code())), "{status:?}");
        }
    }

    #[test]
    fn an_answer_says_how_long_its_body_is_and_whether_another_may_follow() {
        let written = |status, body, head_only, keep_alive| {
            let mut out = b"before".to_vec();
            let exchange = Exchange { head_only, keep_alive };
            Response { status, headers: "A: b\r\n", body }.write(&mut out, "now", exchange);
            String::from_utf8(out).unwrap()
        };
        let head = |status| format!("beforeHTTP/1.1 {status}\r\nDate: now\r\nA: b\r\n");
        let ok = head("200 OK");
        assert_eq!(written(Status::OK, b"body", false, true), format!("{ok}Content-Length: 4\r\n\r\nbody"));
        let closing = format!("{ok}Connection: close\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(written(Status::OK, b"body", false, false), closing);
        assert_eq!(written(Status::OK, b"body", true, true), format!("{ok}Content-Length: 4\r\n\r\n"));
        let not_modified = format!("{}Content-Length: 4\r\n\r\n", head("304 Not Modified"));
        assert_eq!(written(Status::NOT_MODIFIED, b"body", false, true), not_modified);
        assert_eq!(written(Status::NO_CONTENT, b"", false, true), format!("{}\r\n", head("204 No Content")));
    }

    #[test]
    fn who_waits_to_send_is_told_to_go_on() {
        let mut out = Vec::new();
        write_continue(&mut out);
        assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
}
