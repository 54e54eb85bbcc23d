//! A whole request, borrowed from the bytes it came in.

use std::borrow::Cow;

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
        const ALL: [Method; 6] =
            [Method::Get, Method::Head, Method::Post, Method::Put, Method::Delete, Method::Options];
        ALL.into_iter().find(|method| method.name() == name)
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
    /// The body; borrowed unless it came in chunks.
    pub body: Cow<'a, [u8]>,
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

    fn split_target(&self) -> (&'a [u8], &'a [u8]) {
        match self.target.iter().position(|&byte| byte == b'?') {
            Some(at) => (&self.target[..at], &self.target[at + 1..]),
            None => (self.target, b""),
        }
    }

    /// The values of a header, one for each line that has it, in order. `name` in any case.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.split(|&byte| byte == b'\n').filter_map(move |line| {
            let (key, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.header_values(name).next()
    }
}
