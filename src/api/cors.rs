//! Which pages of other origins may read answers, and the heads of the answers that say so.
//!
//! The original let all of them, and so do we unless there is a list (`--allow-origin`): what a page gets it gets by its
//! key, and there are no cookies that somebody else's page could abuse. With a list a page of an origin that is not in it
//! is refused before it takes anything: its browser would not let it read the answer, and the messages would be gone. A
//! request that names no origin is of the server's own, of a script tag, or of no browser at all. WebSockets name their origin
//! also where it is the server's own.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::http::Request;

use super::press::Shape;

/// The heads, for every origin that may read.
#[derive(Debug)]
pub struct Cors {
    /// There is no list.
    all: bool,
    /// The origins that are listed, and those that were: who waits has been promised an answer.
    origins: Vec<Origin>,
    /// By [`Reader`].
    heads: Vec<Heads>,
}

#[derive(Debug)]
struct Origin {
    name: Box<str>,
    is_listed: bool,
}

/// The header lines that depend on who reads.
#[derive(Debug)]
struct Heads {
    /// By shape.
    answers: [String; 3],
    events: String,
    preflight: String,
}

/// Who reads an answer, as an index of heads that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reader(u16);

/// Anybody.
const ALL: Reader = Reader(0);

/// Where there is a list, one that names no origin. Behind it are the origins.
const NAMELESS: Reader = Reader(1);

/// WIRE P1, but for the header that lets other origins read it, which is on answers alone: the original's script relies on
/// errors having none (WIRE P12). The content is what the type says and nothing else.
const ORIGINAL: &str =
    "Content-Type: application/x-javascript\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n";

/// The resume protocol's answers, errors too: pages are to read them.
const OBJECT: &str =
    "Content-Type: application/json\r\nCache-Control: no-cache, no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// The same for an answer that is a script.
const SCRIPT: &str = "Content-Type: text/javascript; charset=utf-8\r\nCache-Control: no-cache, no-store\r\n\
     X-Content-Type-Options: nosniff\r\n";

/// A stream of events; nginx passes on each when it comes.
const EVENTS: &str = "Content-Type: text/event-stream\r\nCache-Control: no-cache, no-store\r\n\
     X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\n";

/// The answer to a CORS preflight, which polls do not need but some libraries ask for.
const PREFLIGHT: &str = "Access-Control-Allow-Methods: GET, HEAD, POST\r\nAccess-Control-Allow-Headers: *\r\n\
     Access-Control-Max-Age: 86400\r\nCache-Control: no-cache\r\n";

impl Cors {
    /// For the origins of the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Cors {
        // A cache must not give one origin's answer to another (Fetch, "CORS protocol and HTTP caches").
        let heads = ["Access-Control-Allow-Origin: *\r\n", "Vary: Origin\r\n"].map(Heads::new).into();
        let mut cors = Cors { all: true, origins: Vec::new(), heads };
        cors.change(config);
        cors
    }

    /// From now on for these origins. What a reader was told stays true.
    pub(super) fn change(&mut self, config: &Config) {
        self.all = config.allow_origin.is_empty();
        for origin in &mut self.origins {
            origin.is_listed = config.allow_origin.iter().any(|listed| **listed == *origin.name);
        }
        for listed in &config.allow_origin {
            if !self.origins.iter().any(|origin| *origin.name == **listed) {
                self.origins.push(Origin { name: listed.as_str().into(), is_listed: true });
                self.heads.push(Heads::new(&format!("Access-Control-Allow-Origin: {listed}\r\nVary: Origin\r\n")));
            }
        }
    }

    /// Who is to read the answer; `None` if it is a page that may not.
    pub(super) fn reader(&self, request: &Request<'_>) -> Option<Reader> {
        if self.all {
            return Some(ALL);
        }
        let mut named = request.header_values("origin");
        let Some(origin) = named.next() else { return Some(NAMELESS) };
        if named.next().is_some() {
            return None;
        }
        if is_own(origin, request) {
            return Some(NAMELESS);
        }
        let is_it = |listed: &Origin| listed.is_listed && listed.name.as_bytes().eq_ignore_ascii_case(origin);
        let at = self.origins.iter().position(is_it)?;
        u16::try_from(usize::from(NAMELESS.0) + 1 + at).ok().map(Reader)
    }

    pub(super) fn answer(&self, reader: Reader, shape: Shape) -> &str {
        &self.heads(reader).answers[shape as usize]
    }

    /// The same for a stream of events.
    pub(super) fn events(&self, reader: Reader) -> &str {
        &self.heads(reader).events
    }

    pub(super) fn preflight(&self, reader: Reader) -> &str {
        &self.heads(reader).preflight
    }

    /// The process before this one may have had another list, under which a poll was parked. Then no origin is named, or another
    /// than its own: its page cannot read the answer, and asks again.
    fn heads(&self, reader: Reader) -> &Heads {
        self.heads.get(usize::from(reader.0)).unwrap_or(&self.heads[usize::from(NAMELESS.0)])
    }
}

/// Whether an origin is that of the address to which a request goes.
pub(super) fn is_own(origin: &[u8], request: &Request<'_>) -> bool {
    let host = request.header("host").unwrap_or_default();
    let name = [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
    !host.is_empty() && name.is_some_and(|name| name.eq_ignore_ascii_case(host))
}

/// Lets all origins read.
impl Default for Cors {
    fn default() -> Cors {
        Cors::new(&Config::default())
    }
}

impl Heads {
    fn new(line: &str) -> Heads {
        Heads {
            answers: [ORIGINAL, OBJECT, SCRIPT].map(|fixed| format!("{fixed}{line}")),
            events: format!("{EVENTS}{line}"),
            preflight: format!("{line}{PREFLIGHT}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Decoder, Limits, Step};

    /// The line that a request with these headers gets, if it gets an answer.
    fn allowed(list: &[&str], headers: &str) -> Option<String> {
        let allow_origin = list.iter().map(|&origin| origin.to_owned()).collect();
        let cors = Cors::new(&Config { allow_origin, ..Config::default() });
        let input = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        let limits = Limits { head_bytes: 1000, body_bytes: 0 };
        let Ok(Step::Request { request, .. }) = Decoder::new().next(&limits, input.as_bytes()) else {
            panic!("{input}")
        };
        let reader = cors.reader(&request)?;
        let lines = [Shape::Original, Shape::Object, Shape::Script].map(|shape| cors.answer(reader, shape));
        for line in lines.into_iter().chain([cors.preflight(reader)]) {
            assert!(line.ends_with("\r\n") && !line.contains("\r\n\r\n"), "{line:?}");
        }
        Some(lines[0].strip_prefix(ORIGINAL)?.to_owned())
    }

    #[test]
    fn without_a_list_all_may_read() {
        for headers in ["", "Origin: http://a.example\r\n", "Origin: null\r\n", "Origin: a\r\nOrigin: b\r\n"] {
            assert_eq!(allowed(&[], headers).as_deref(), Some("Access-Control-Allow-Origin: *\r\n"), "{headers}");
        }
    }

    #[test]
    fn with_a_list_an_origin_reads_what_is_for_itself() {
        let list = ["https://a.example", "http://b.example:8080"];
        assert_eq!(allowed(&list, "").as_deref(), Some("Vary: Origin\r\n"));
        for own in ["Origin: http://own.example:8082\r\nHost: own.example:8082\r\n", "Host: b\r\nOrigin: https://B\r\n"]
        {
            assert_eq!(allowed(&list, own).as_deref(), Some("Vary: Origin\r\n"), "{own}");
        }
        for origin in list {
            let line = format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n");
            assert_eq!(allowed(&list, &format!("Origin: {origin}\r\n")), Some(line));
        }
        for other in [
            "https://a.example.evil",
            "http://a.example",
            "https://a.example:443",
            "null",
            "*",
            "",
            "https://evil.example",
            "https://a.example, https://evil.example",
            "https://a.example\r\nOrigin: https://a.example",
            "https://own.example:80\r\nHost: own.example",
            "own.example\r\nHost: own.example",
            "http://\r\nHost: ",
        ] {
            assert_eq!(allowed(&list, &format!("Origin: {other}\r\n")), None, "{other}");
        }
    }
}
