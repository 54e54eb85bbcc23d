//! A whole request, borrowed from the bytes it came in.

use std::borrow::Cow;

use memchr::memchr;

/// The methods that this server tells apart; any other is refused with 501 before it becomes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the methods of RFC 9110 section 9")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
}

impl Method {
    pub(super) fn parse(name: &str) -> Option<Method> {
        Some(match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            _ => return None,
        })
    }

    /// Its name as it stands in the request line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
        }
    }
}

/// One request, head and body.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub method: Method,
    /// The target as it was sent: origin-form, without scheme and host if it was in absolute-form, or `*`.
    pub(super) target: &'a [u8],
    /// The header lines, already found to be well-formed.
    pub(super) headers: &'a [u8],
    pub(super) shapes: Shapes,
    /// The body; borrowed unless it came in chunks.
    pub body: Cow<'a, [u8]>,
    /// Whether the sender speaks HTTP/1.1: it knows chunks, and can go on in another protocol.
    pub is_http_11: bool,
    /// Whether the connection can carry another request after the answer.
    pub keep_alive: bool,
}

impl<'a> Request<'a> {
    /// The path, percent-decoded (WIRE H2).
    #[must_use]
    pub fn path(&self) -> Cow<'a, [u8]> {
        super::query::percent_decode(self.split_target().0)
    }

    /// What stands behind the `?`, as it was sent; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &'a [u8] {
        self.split_target().1
    }

    /// The query, if the target is this path as it stands, with nothing encoded: for the path that most requests have.
    #[must_use]
    pub fn query_of(&self, path: &str) -> Option<&'a [u8]> {
        match self.target.strip_prefix(path.as_bytes())? {
            [] => Some(b""),
            [b'?', query @ ..] => Some(query),
            _ => None,
        }
    }

    fn split_target(&self) -> (&'a [u8], &'a [u8]) {
        match memchr(b'?', self.target) {
            Some(at) => (&self.target[..at], &self.target[at + 1..]),
            None => (self.target, b""),
        }
    }

    /// The values of a header, one for each line that has it, in order. `name` in any case.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.shapes.include(name.as_bytes()).then_some(self.headers);
        let behind = |lines: &&'a [u8]| memchr(b'\n', lines).map(|end| &lines[end + 1..]);
        std::iter::successors(lines, behind).filter_map(move |lines| {
            let (key, rest) = lines.split_at_checked(name.len())?;
            let rest = rest.strip_prefix(b":").filter(|_| key.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(rest[..memchr(b'\n', rest).unwrap_or(rest.len())].trim_ascii())
        })
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.header_values(name).next()
    }
}

/// Which shapes the names of a request's headers have, a length and a first letter each: enough to say of most names,
/// without a look at the lines, that no line has them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shapes(u64);

impl Shapes {
    pub(super) fn note(&mut self, name: &[u8]) {
        self.0 |= Shapes::bit(name);
    }

    fn include(self, name: &[u8]) -> bool {
        self.0 & Shapes::bit(name) != 0
    }

    /// Several share a bit. The first letter tells most of a length apart; in either case it has the same lower bits.
    fn bit(name: &[u8]) -> u64 {
        let first = usize::from(name.first().copied().unwrap_or_default());
        1 << ((name.len() * 8 + first % 8) % 64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::{Decoder, Limits, Step};

    #[test]
    fn each_method_has_its_name() {
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(Method::parse(name).map(Method::name), Some(name));
        }
        assert!(["get", "PATCH", "", "GETS"].iter().all(|name| Method::parse(name).is_none()));
    }

    #[test]
    fn shapes_tell_most_names_apart() {
        const SENT: [&[u8]; 12] = [
            b"Host",
            b"User-Agent",
            b"Accept",
            b"Accept-Language",
            b"Accept-Encoding",
            b"Connection",
            b"Cookie",
            b"Sec-Fetch-Mode",
            b"Sec-Fetch-Site",
            b"Sec-Fetch-Dest",
            b"Referer",
            b"X-Forwarded-For",
        ];
        let mut shapes = Shapes::default();
        SENT.iter().for_each(|name| shapes.note(name));
        assert!(SENT.iter().all(|name| shapes.include(name) && shapes.include(&name.to_ascii_lowercase())));
        let looked_for: [&[u8]; 6] = [b"Origin", b"Upgrade", b"Authorization", b"Last-Event-ID", b"Forwarded", b""];
        assert!(looked_for.iter().all(|name| !shapes.include(name)), "{shapes:?}");
        let bits: BTreeSet<u64> = SENT.into_iter().chain(looked_for).map(Shapes::bit).collect();
        assert!(bits.len() >= 14, "{}", bits.len());
    }

    #[test]
    fn a_header_is_found_by_name_in_any_case_and_no_other_of_its_length_is() {
        let input = b"GET /a?b?c HTTP/1.1\r\nX-One:  1 \r\nAccept: 2\r\nx-one: 3\r\nX-Onee: 4\r\n\r\n";
        let limits = Limits { head_bytes: 1000, body_bytes: 0 };
        let Ok(Step::Request { request, used }) = Decoder::new().next(&limits, input) else {
            panic!("it is a request")
        };
        assert_eq!((used, &*request.path(), request.query()), (input.len(), &b"/a"[..], &b"b?c"[..]));
        let input = b"GET /a HTTP/1.1\r\n\r\n";
        let Ok(Step::Request { request: bare, .. }) = Decoder::new().next(&limits, input) else {
            panic!("it is a request")
        };
        assert_eq!((bare.query_of("/a"), bare.query_of("/")), (Some(&b""[..]), None));
        assert_eq!(["/a", "/", "/ab", "/b"].map(|path| request.query_of(path)), [Some(&b"b?c"[..]), None, None, None]);
        assert_eq!(request.header_values("X-ONE").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(request.header("accept"), Some(&b"2"[..]));
        assert_eq!((request.header("x-two"), request.header("origin"), request.header("x")), (None, None, None));
        assert_eq!(request.header(&"x".repeat(100)), None);
    }
}
