//! What stands under `/static/`, embedded in the binary (WIRE F1 to F3): the script that pages have always loaded, the
//! module, and its types.

use std::time::SystemTime;

use crate::http::{Exchange, Method, Request, Response, Status};

/// Path, type, content.
pub(super) type File = (&'static str, &'static str, &'static [u8]);

const FILES: [File; 3] = [
    ("/static/shaveet.js", "text/javascript", include_bytes!("../../static/shaveet.js")),
    ("/static/shaveet.mjs", "text/javascript", MODULE),
    ("/static/shaveet.d.ts", "application/typescript", include_bytes!("../../static/shaveet.d.ts")),
];

/// Everybody may have it, and keep it for a while.
const PUBLIC: &str =
    "Cache-Control: public, max-age=3600\r\nX-Content-Type-Options: nosniff\r\nAccess-Control-Allow-Origin: *\r\n";

/// The module, which stands in the binary once.
pub(super) static MODULE: &[u8] = include_bytes!("../../static/shaveet.mjs");

/// The answer to a CORS preflight: the files are for everybody.
const PREFLIGHT: &str = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, HEAD\r\n\
     Access-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: 86400\r\nCache-Control: no-cache\r\n";

/// A file, and by what a browser knows whether it has this one.
#[derive(Debug)]
pub(super) struct Asset {
    path: &'static str,
    body: &'static [u8],
    etag: String,
    modified: Option<SystemTime>,
    /// The header lines of both 200 and 304.
    headers: String,
}

impl Asset {
    /// All that there are. `date` is when this server began to serve them, as a header has it.
    pub(super) fn all(date: &str) -> [Asset; FILES.len()] {
        FILES.map(|file| Asset::new(file, date))
    }

    /// One file that is for everybody.
    pub(super) fn new(file: File, date: &str) -> Asset {
        Asset::with_headers(file, date, PUBLIC)
    }

    /// One file, with lines that say for whom it is.
    pub(super) fn with_headers((path, kind, body): File, date: &str, whose: &str) -> Asset {
        let etag = format!("\"{:016x}\"", fingerprint(body));
        let headers =
            format!("Content-Type: {kind}; charset=utf-8\r\nETag: {etag}\r\nLast-Modified: {date}\r\n{whose}");
        Asset { path, body, etag, modified: httpdate::parse_http_date(date).ok(), headers }
    }

    pub(super) fn is_at(&self, path: &[u8]) -> bool {
        self.path.as_bytes() == path
    }

    pub(super) fn serve(&self, date: &str, request: &Request<'_>, exchange: Exchange, out: &mut Vec<u8>) {
        let response = match request.method {
            Method::Get | Method::Head => {
                let status = if self.is_known(request) { Status::NOT_MODIFIED } else { Status::OK };
                Response { status, headers: &self.headers, body: self.body }
            }
            Method::Options => Response { status: Status::NO_CONTENT, headers: PREFLIGHT, body: b"" },
            Method::Post | Method::Put | Method::Delete => {
                let headers = "Allow: GET, HEAD, OPTIONS\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
                Response { status: Status::METHOD_NOT_ALLOWED, headers, body: b"Method Not Allowed\r\n" }
            }
        };
        response.write(out, date, exchange);
    }

    /// Whether the browser has this very file (RFC 9110 section 13.2.2: an ETag decides before a date does).
    fn is_known(&self, request: &Request<'_>) -> bool {
        if request.header("if-none-match").is_some() {
            let mut lines = request.header_values("if-none-match");
            return lines.any(|line| {
                line.split(|&byte| byte == b',')
                    .map(<[u8]>::trim_ascii)
                    .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes())
            });
        }
        let since = request.header("if-modified-since").and_then(|value| std::str::from_utf8(value).ok());
        let since = since.and_then(|value| httpdate::parse_http_date(value).ok());
        matches!((since, self.modified), (Some(since), Some(modified)) if modified <= since)
    }
}

/// FNV-1a: tells our own builds apart, nothing more.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
