//! Bytes in, requests out.
//!
//! The decoder keeps no bytes, only how far it has come: the caller shows it everything from the first byte of the
//! request that is not complete yet, and shows it again with more behind it. So a request that arrives in one read is
//! taken straight from the shared read buffer, and one that arrives in pieces is searched and parsed once all the same.
//!
//! There are two ways to a request, and the tests hold that they come to the same. One that is whole and plain, as nearly
//! all are, is read where it stands, in one pass ([`at_once`]). All else, the incomplete, the rare and the faulty, is
//! walked through line by line ([`Decoder::begin`]), which can stop anywhere and knows what to complain about first.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use super::chunked::Chunked;
use super::error::{Error, Limits};
use super::fields::{Fields, Framing};
use super::plain::{HEADERS_MAX, at_once};
use super::request::{Method, Request, Shapes};

/// What the bytes amount to.
#[derive(Debug)]
pub enum Step<'a> {
    /// Not a whole request yet. Next: show them again with more behind them.
    More,
    /// The sender waits for `100 Continue` (WIRE H4). Next: send it, and show the same bytes again.
    Continue,
    /// A request. Next: answer it, and show what comes after the `used` bytes.
    Request {
        /// It borrows from the bytes shown.
        request: Request<'a>,
        /// How many of the bytes shown belonged to it.
        used: usize,
    },
}

/// Which part of a request the decoder waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The rest of the request line or of the headers, or a new request.
    Head,
    /// The rest of the body.
    Body,
}

/// How far one connection has come with the request it is sending.
#[derive(Debug, Default)]
pub struct Decoder {
    /// How far a request has come of which only a part is there; `None` between two requests, as nearly always.
    part: Option<Box<Part>>,
}

#[derive(Debug)]
enum Part {
    /// Looking for the end of the head. `line` is where the line being read begins, `first` whether it is the first.
    /// Next: `Body`, or a request.
    Head { line: usize, first: bool },
    /// The head is whole, the body is not. Next: a request.
    Body(Pending),
}

#[derive(Debug)]
struct Pending {
    head: Head,
    chunked: Option<Chunked>,
    owes_continue: bool,
}

/// What matters of a head, as places in the bytes shown, which stay true when more come behind them.
#[derive(Debug)]
struct Head {
    method: Method,
    target: Range<usize>,
    headers: Range<usize>,
    shapes: Shapes,
    framing: Framing,
    is_http_11: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Decoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Whether part of a request has come, and which part is missing. `None` between two requests.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        self.part.as_deref().map(|part| match part {
            Part::Head { .. } => Stage::Head,
            Part::Body(_) => Stage::Body,
        })
    }

    /// Looks at everything that has come since the end of the last request.
    ///
    /// # Errors
    /// [`Error`] if it is none that can be served; the decoder is of no use after that.
    pub fn next<'a>(&mut self, limits: &Limits, input: &'a [u8]) -> Result<Step<'a>, Error> {
        if input.is_empty() {
            return Ok(Step::More);
        }
        if self.part.is_none()
            && let Some((request, used)) = at_once(limits, input)
        {
            return Ok(Step::Request { request, used });
        }
        self.walk(limits, input)
    }

    /// The other way. Inlined it would make the way of nearly all longer.
    #[inline(never)]
    fn walk<'a>(&mut self, limits: &Limits, input: &'a [u8]) -> Result<Step<'a>, Error> {
        let pending = match self.part.take().map(|part| *part) {
            None => self.begin(limits, input, 0, true)?,
            Some(Part::Head { line, first }) => self.begin(limits, input, line, first)?,
            Some(Part::Body(pending)) => Some(pending),
        };
        match pending {
            Some(pending) => self.body(limits, input, pending),
            None => Ok(Step::More),
        }
    }

    /// Reads on until the head is whole.
    fn begin(
        &mut self,
        limits: &Limits,
        input: &[u8],
        mut line: usize,
        mut first: bool,
    ) -> Result<Option<Pending>, Error> {
        while let Some(length) = memchr(b'\n', &input[line.min(input.len())..]) {
            let end = line + length;
            if end >= limits.head_bytes {
                break;
            }
            if length == 0 || input[end - 1] != b'\r' {
                return Err(Error::Malformed("a line does not end in CR LF"));
            }
            let empty = length == 1;
            // One empty line before a request is ignored (RFC 9112 section 2.2): it is the first, and line is 0.
            if empty && !first {
                return Head::parse(input, end + 1).map(|head| Some(Pending::new(head)));
            }
            if empty && line > 0 {
                return Err(Error::Malformed("more than one empty line before the request line"));
            }
            first = empty;
            line = end + 1;
        }
        if input.len() >= limits.head_bytes {
            return Err(if first { Error::TargetTooLong } else { Error::HeadTooLarge });
        }
        self.part = Some(Box::new(Part::Head { line, first }));
        Ok(None)
    }

    /// Reads on until the body is whole.
    fn body<'a>(&mut self, limits: &Limits, input: &'a [u8], mut pending: Pending) -> Result<Step<'a>, Error> {
        let start = pending.head.headers.end;
        let end = match (&mut pending.chunked, pending.head.framing) {
            (Some(chunked), _) => chunked.read(limits, input)?,
            (None, Framing::Length(length)) if length > limits.body_bytes => return Err(Error::BodyTooLarge),
            (None, Framing::Length(length)) => (input.len() - start >= length).then_some(start + length),
            (None, Framing::Chunked) => unreachable!("a chunked body has its reader"),
        };
        let Some(end) = end else {
            // Who has begun to send the body does not wait any more.
            let owed = std::mem::take(&mut pending.owes_continue) && input.len() == start;
            self.part = Some(Box::new(Part::Body(pending)));
            return Ok(if owed { Step::Continue } else { Step::More });
        };
        let body = match pending.chunked {
            Some(chunked) => Cow::Owned(chunked.into_body()),
            None => Cow::Borrowed(&input[start..end]),
        };
        Ok(Step::Request { request: pending.head.request(input, body), used: end })
    }
}

impl Pending {
    fn new(head: Head) -> Pending {
        let chunked = (head.framing == Framing::Chunked).then(|| Chunked::new(head.headers.end));
        Pending { owes_continue: head.expects_continue, head, chunked }
    }
}

impl Head {
    /// Parses a whole head, which ends at `end` (behind its empty line).
    fn parse(input: &[u8], end: usize) -> Result<Head, Error> {
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(&input[..end], &mut slots) {
            Ok(httparse::Status::Complete(used)) if used == end => Head::of(&parsed, input, end),
            Ok(_) => Err(Error::Malformed("the head ends too early")),
            Err(error) => Err(refusal(error, &input[..end])),
        }
    }

    /// What matters of what was parsed.
    fn of(parsed: &httparse::Request<'_, '_>, input: &[u8], end: usize) -> Result<Head, Error> {
        let name = parsed.method.unwrap_or_default();
        let method = Method::parse(name).ok_or(Error::NotImplemented("the method is not known here"))?;
        let whole_target = parsed.path.unwrap_or_default().as_bytes();
        let is_http_11 = parsed.version == Some(1);
        let mut fields = Fields::default();
        parsed.headers.iter().try_for_each(|header| fields.note(header.name.as_bytes(), header.value, is_http_11))?;
        let framing = fields.settle()?;
        let target_end = start_of_line(input) + name.len() + 1 + whole_target.len();
        let target = origin_form(method, whole_target)?;
        Ok(Head {
            method,
            target: target_end - target.len()..target_end,
            headers: parsed.headers.first().map_or(end - 2, |header| place_of(header, input))..end,
            shapes: fields.shapes,
            framing,
            is_http_11,
            keep_alive: is_http_11 && !fields.closes,
            expects_continue: fields.expects_continue,
        })
    }
}

impl Head {
    /// The request that it is the head of.
    fn request<'a>(self, input: &'a [u8], body: Cow<'a, [u8]>) -> Request<'a> {
        Request {
            method: self.method,
            target: &input[self.target],
            headers: &input[self.headers],
            shapes: self.shapes,
            body,
            is_http_11: self.is_http_11,
            keep_alive: self.keep_alive,
        }
    }
}

/// Where a header's line begins in the bytes that it was parsed from.
fn place_of(header: &httparse::Header<'_>, input: &[u8]) -> usize {
    header.name.as_ptr().addr() - input.as_ptr().addr()
}

/// The target from its path on: a proxy's absolute-form loses scheme and host (RFC 9112 section 3.2).
fn origin_form(method: Method, target: &[u8]) -> Result<&[u8], Error> {
    if target.starts_with(b"/") || (target == b"*" && method == Method::Options) {
        return Ok(target);
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let scheme = scheme.ok_or(Error::Malformed("the request target is no path"))?;
    let path = memchr(b'/', &target[scheme.len()..]).ok_or(Error::Malformed("the request target has no path"))?;
    Ok(&target[scheme.len() + path..])
}

/// Where the request line begins: behind an empty line, if there is one.
fn start_of_line(input: &[u8]) -> usize {
    if input.starts_with(b"\r\n") { 2 } else { 0 }
}

fn refusal(error: httparse::Error, head: &[u8]) -> Error {
    match error {
        httparse::Error::TooManyHeaders => Error::HeadTooLarge,
        httparse::Error::Version if names_other_version(head) => Error::UnknownVersion,
        httparse::Error::Version => Error::Malformed("the request line does not end in HTTP/1.1"),
        httparse::Error::HeaderName => Error::Malformed("a header's name is malformed"),
        httparse::Error::HeaderValue => Error::Malformed("a header's value has a forbidden character"),
        httparse::Error::NewLine => Error::Malformed("a line does not end in CR LF"),
        httparse::Error::Token | httparse::Error::Status => Error::Malformed("the request line is malformed"),
    }
}

/// Whether the request line ends in the name of some other version of HTTP.
fn names_other_version(head: &[u8]) -> bool {
    let line = &head[start_of_line(head)..];
    let line = &line[..memchr(b'\r', line).unwrap_or(line.len())];
    let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let is_version = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit());
    is_version && !matches!(version, b"HTTP/1.0" | b"HTTP/1.1")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 300, body_bytes: 100 };

    /// What a decoder makes of `input` when it is shown in pieces: each request as `method path body keep`, then how it
    /// ended.
    fn read(input: &[u8], cuts: &[usize]) -> (Vec<String>, Option<Error>) {
        let (mut decoder, mut requests, mut start) = (Decoder::new(), Vec::new(), 0);
        for &end in cuts.iter().chain([&input.len()]) {
            loop {
                match decoder.next(&LIMITS, &input[start..end]) {
                    Ok(Step::More) => break,
                    Ok(Step::Continue) => requests.push("100".to_owned()),
                    Ok(Step::Request { request, used }) => {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        let (path, body) = (text(&request.path()), text(&request.body));
                        requests.push(format!("{} {path} {body} {}", request.method.name(), request.keep_alive));
                        start += used;
                    }
                    Err(error) => return (requests, Some(error)),
                }
            }
        }
        (requests, None)
    }

    fn whole(input: &str) -> (Vec<String>, Option<Error>) {
        read(input.as_bytes(), &[])
    }

    /// Requests, good and bad, that every cut must leave as they are.
    const SAMPLES: [&str; 29] = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
        "\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\nabcGET",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0A \t;x\r\n0123456789\r\n0\r\nT: x\r\n\r\nGET /n HTTP/1.1\r\n\r\n",
        "GET http://host:80/abs?q HTTP/1.1\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n60\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\r\nHost:\nA: b\r\n\r\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        "GET /é HTTP/1.1\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\n\r\n",
        "GET / a HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / HTTP/1.1\r\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHOST: h\r\n\r\n",
        "GET /?a?b\"<>\\^`{|}~ HTTP/1.1\r\nConnection: keep-alive \t\r\nA:\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "PATCH / HTTP/1.1\r\n\r\n",
        "GET nowhere HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];

    #[test]
    fn whole_input_equals_every_split() {
        for sample in SAMPLES {
            let expected = whole(sample);
            assert!(!expected.0.is_empty() || expected.1.is_some() || sample.contains("60\r\n"), "{sample:?}");
            for cut in 0..sample.len() {
                assert_eq!(read(sample.as_bytes(), &[cut]), expected, "{sample:?} cut at {cut}");
            }
            let bytewise: Vec<usize> = (0..sample.len()).collect();
            assert_eq!(read(sample.as_bytes(), &bytewise), expected, "{sample:?} byte by byte");
        }
    }

    /// What is read at once is read in the same way line by line, or not at once.
    #[test]
    fn any_byte_anywhere_reads_the_same_at_once_and_in_pieces() {
        let sample = b"GET /a?b HTTP/1.1\r\nA: b\r\nConnection:close\r\nContent-Length: 1\r\n\r\nx";
        for at in 0..sample.len() {
            for byte in 0..=u8::MAX {
                let mut input = sample.to_vec();
                input[at] = byte;
                assert_eq!(read(&input, &[]), read(&input, &[1]), "{}", input.escape_ascii());
                input.insert(at, b'b');
                assert_eq!(read(&input, &[]), read(&input, &[1]), "{}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn pipelined_requests_come_one_after_the_other() {
        let (requests, error) = whole(SAMPLES[3]);
        assert_eq!(requests, ["POST / abc0123456789 true", "GET /n  true"]);
        assert_eq!(error, None);
        assert_eq!(whole(SAMPLES[2]).0, ["POST / abc false"]);
        assert_eq!(whole(SAMPLES[1]).0, ["GET /a b  true", "GET /2  false"]);
        assert_eq!(whole(SAMPLES[4]).0, ["GET /abs  true", "OPTIONS *  true"]);
    }

    #[test]
    fn continue_is_owed_once_and_not_to_who_has_begun_to_send() {
        let head = "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
        let input = format!("{head}ab");
        assert_eq!(read(input.as_bytes(), &[head.len(), head.len() + 1]).0, ["100", "POST / ab true"]);
        assert_eq!(whole(&input).0, ["POST / ab true"]);
        assert_eq!(read(input.as_bytes(), &[head.len() + 1]).0, ["POST / ab true"]);
        let old = input.replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(read(old.as_bytes(), &[head.len()]).0, ["POST / ab false"]);
        let other = input.replace("100-Continue", "a-pony");
        assert_eq!(whole(&other).1, Some(Error::UnknownExpectation));
    }

    #[test]
    fn what_is_bad_is_refused_for_what_is_bad_about_it() {
        use Error::{Malformed, NotImplemented, UnknownVersion};
        let no_version = Malformed("the request line does not end in HTTP/1.1");
        let no_path = Malformed("the request target is no path");
        let unclear = Malformed("Transfer-Encoding does not end in chunked, once");
        let unknown = NotImplemented("the transfer coding is not known here");
        for (line, headers, error) in [
            ("GET / HTTP/2.0", "", UnknownVersion),
            ("\r\nGET / HTTP/1.2", "A: b\r\n", UnknownVersion),
            ("GET / HTTP/1.x", "", no_version),
            ("GET / HTTPS/2.0", "", no_version),
            ("\r\n\r\nGET / HTTP/1.1", "", Malformed("more than one empty line before the request line")),
            ("GET * HTTP/1.1", "", no_path),
            ("OPTIONS nowhere HTTP/1.1", "", no_path),
            ("GET http:// HTTP/1.1", "", Malformed("the request target has no path")),
            ("GET / HTTP/1.1", "Host: h\r\nhost: h\r\n", Malformed("more than one Host")),
            (
                "POST / HTTP/1.1",
                "Content-Length: 0\r\nContent-length: 0\r\n",
                Malformed("more than one Content-Length"),
            ),
            ("POST / HTTP/1.1", "Content-Length: +1\r\n", Malformed("Content-Length is not a number")),
            ("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n", Malformed("Transfer-Encoding in HTTP/1.0")),
            ("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n", unknown),
            ("POST / HTTP/1.1", "Transfer-Encoding: gzip, br, Chunked\r\n", unknown),
            ("POST / HTTP/1.1", "Transfer-Encoding: gzip\r\n", unclear),
            ("POST / HTTP/1.1", "Transfer-Encoding: chunked, gzip\r\n", unclear),
            ("POST / HTTP/1.1", "Transfer-Encoding: chunked, chunked\r\n", unclear),
            ("POST / HTTP/1.1", "Transfer-Encoding: gzip,, chunked\r\n", unclear),
        ] {
            assert_eq!(whole(&format!("{line}\r\n{headers}\r\n")), (vec![], Some(error)), "{line:?} {headers:?}");
        }
    }

    #[test]
    fn headers_that_only_look_like_those_that_count_do_not() {
        let others = "Date: a\r\nDate: b\r\nAccept: 100\r\nX-Connecti: close\r\nX-Content-Leng: x\r\nX-Transfer-Encodi: gzip\r\n";
        for version in ["1.1", "1.0"] {
            let input = format!("GET / HTTP/{version}\r\n{others}Connection: upgrade\r\n\r\n");
            assert_eq!(whole(&input), (vec![format!("GET /  {}", version == "1.1")], None));
        }
    }

    #[test]
    fn it_says_what_is_missing_and_where_the_headers_are() {
        let input = b"POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
        let head = input.len() - 1;
        let mut decoder = Decoder::new();
        assert_eq!(decoder.stage(), None);
        for (end, stage) in [(3, Stage::Head), (head - 1, Stage::Head), (head, Stage::Body)] {
            assert!(matches!(decoder.next(&LIMITS, &input[..end]), Ok(Step::More)));
            assert_eq!(decoder.stage(), Some(stage));
        }
        let Ok(Step::Request { request, .. }) = decoder.next(&LIMITS, input) else { panic!("it is a request") };
        assert_eq!(request.headers, &input[17..head]);
        assert_eq!(decoder.stage(), None);
        let Ok(Step::Request { request, .. }) = decoder.next(&LIMITS, b"GET / HTTP/1.0\r\n\r\n") else {
            panic!("it is a request")
        };
        assert_eq!(request.headers, b"\r\n");
    }

    #[test]
    fn limits_are_the_limits() {
        let request = |length: usize| format!("GET /{} HTTP/1.1\r\nA: b\r\n\r\n", "x".repeat(length));
        let longest = LIMITS.head_bytes - request(0).len();
        assert_eq!(whole(&request(longest)).1, None);
        assert_eq!(whole(&request(longest + 1)).1, Some(Error::HeadTooLarge));
        assert_eq!(whole(&request(400)).1, Some(Error::TargetTooLong));
        assert_eq!(whole(&"x".repeat(300)).1, Some(Error::TargetTooLong));
        // What stands beyond is not looked at, as it may not have come yet.
        let endless = format!("GET / HTTP/1.1\r\nA: {}\n", "x".repeat(LIMITS.head_bytes));
        for cuts in [&[][..], &[LIMITS.head_bytes]] {
            assert_eq!(read(endless.as_bytes(), cuts).1, Some(Error::HeadTooLarge), "{cuts:?}");
        }
        assert_eq!(whole(SAMPLES[5]).1, Some(Error::BodyTooLarge));
        assert_eq!(whole(&SAMPLES[5].replace("101", "100")), (vec![], None));
        assert_eq!(whole(&SAMPLES[5].replace("101", &"9".repeat(40))).1, Some(Error::BodyTooLarge));
        let large = Limits { head_bytes: 100_000, ..LIMITS };
        let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert!(Decoder::new().next(&large, lines(HEADERS_MAX).as_bytes()).is_ok());
        let refused = Decoder::new().next(&large, lines(HEADERS_MAX + 1).as_bytes()).err();
        assert_eq!(refused, Some(Error::HeadTooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_read_the_same_and_never_panic(
            mut pieces in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1", "POST /x HTTP/1.1", "\r\n", "\r\n\r\n", "\n", "\r", "Content-Length: 3", "abc",
                "Transfer-Encoding: chunked", "3\r\nabc\r\n", "0\r\n\r\n", "A: b", " ", ":", "\0", "é", ";x=y", "f",
                "Expect: 100-continue", "Host: h", "HTTP/1.0",
            ]), 0..30),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            if pieces.len() % 2 == 0 {
                pieces.insert(0, "POST / HTTP/1.1\r\n");
            }
            let input = pieces.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            let without_continue = |(requests, error): (Vec<String>, Option<Error>)| {
                (requests.into_iter().filter(|request| request != "100").collect::<Vec<_>>(), error)
            };
            let expected = without_continue(whole(&input));
            prop_assert_eq!(&without_continue(read(input.as_bytes(), &cuts)), &expected);
            // Without a head that is whole at once.
            let bytewise: Vec<usize> = (0..input.len()).collect();
            prop_assert_eq!(&without_continue(read(input.as_bytes(), &bytewise)), &expected);
        }
    }
}
