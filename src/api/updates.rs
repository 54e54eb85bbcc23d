//! `/message_updates`: the long poll, by script tag (JSONP) or by XHR from another origin.
//!
//! Two protocols over one path. The original's (WIRE section 4): a callback around one object of channels and messages, in
//! pure ASCII; the server remembers how far the page has come. And the resume protocol, for a poll with the parameter
//! `since`: the page says how far it has come, gets what came after it and, if something is gone for good, is told so.
//!
//! A poll always parks. When the hub owes it something, the [`Press`](super::Press) writes it out.

use log::debug;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::clock::Ms;
use crate::http::query::Parameters;
use crate::http::{Exchange, Method, Request, Response, Status};
use crate::hub::{Client, Ending, Protocol, Since, Waiter};
use crate::slots::Key;

use super::cors::{Cors, Reader};
use super::fetch::Fetch;
use super::pace::Turn;
use super::press::{Refusal, Shape, write_error};
use super::{Api, Outcome, PLAIN_TEXT, Token, Visit, not_found};

/// How a parked poll is to be answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Parked {
    /// The hub's name for it.
    pub waiter: Key<Waiter>,
    /// What the request wants of its answer.
    pub exchange: Exchange,
    /// After how many milliseconds its page is to come back, if it is sent away.
    pub(super) retry_ms: u16,
    pub(super) shape: Shape,
    pub(super) reader: Reader,
}

/// What is kept of a connection's last poll, as the next one is mostly like it: then nothing has to be allocated.
#[derive(Debug, Serialize, Deserialize)]
pub struct Habit {
    callback: Box<[u8]>,
    client: Key<Client>,
}

/// Between a client's id and its key. Ids may contain it: the last one counts (WIRE P13).
const SEPARATOR: &[u8] = b"_!!_";

/// How long a key is (WIRE M1).
const KEY_DIGITS: usize = 32;

/// What jQuery and its kind make up is far shorter (WIRE P14).
const CALLBACK_BYTES_MAX: usize = 256;

/// A poll's time is shortened by up to its tenth part, so that pages that came together do not come back together.
const JITTER_PART: u64 = 10;

/// A page that is sent away comes back after this time, each after another, so that they do not come all at once.
pub(super) const RETRY_MS: std::ops::RangeInclusive<u16> = 500..=5000;

impl Api {
    pub(super) fn serve_updates(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        query: &[u8],
        exchange: Exchange,
        habit: &mut Habit,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Some(reader) = self.cors.reader(request) else {
            return refuse_origin(visit, exchange, out);
        };
        if request.method == Method::Options {
            let headers = self.cors.preflight(reader);
            Response { status: Status::NO_CONTENT, headers, body: b"" }.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        let parameters = Parameters::of(query);
        let poll = match Poll::parse(&parameters) {
            Ok(poll) => poll,
            Err(fault) => {
                fault.write(&self.cors, reader, visit.date, exchange, out);
                return Outcome::Answered;
            }
        };
        let (shape, protocol, callback) = match poll.wish {
            Wish::Original(callback) => (Shape::Original, Protocol::Original, callback),
            Wish::Resume(start, None) => (Shape::Object, Protocol::Resume(self.since(start)), &b""[..]),
            Wish::Resume(start, Some(callback)) => (Shape::Script, Protocol::Resume(self.since(start)), callback),
        };
        if request.method == Method::Head {
            // It has no body to put messages into: it takes none, and so need not wait (WIRE H8).
            Response { status: Status::OK, headers: self.cors.answer(reader, shape), body: b"" }
                .write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        match self.fetch(visit, &poll) {
            Fetch::Here => {}
            Fetch::Later(until) => return Outcome::Later(until),
            Fetch::Failed(failure) => {
                debug!("peer {:?}: a poll is refused: {failure}", Key::<()>::unpack(visit.owner.0));
                let headers = self.cors.answer(reader, shape);
                shape.write_refusal(callback, Refusal::Away, headers, visit.date, exchange, out);
                return Outcome::Answered;
            }
        }
        // Each connection's by a part of its own: so its next poll never ends before the last would have, and the reminder that
        // is on its way does for all.
        let shortened = fastrand::Rng::with_seed(self.seed ^ visit.owner.0).u64(0..=self.poll_timeout.0 / JITTER_PART);
        let held = if poll.is_short { Ms::ZERO } else { self.poll_timeout - Ms(shortened) };
        let deadline = visit.now + held;
        match self.hub.wait(visit.now, visit.owner, &mut habit.client, poll.claims(), protocol, deadline) {
            Ok(waiter) => {
                habit.keep(callback);
                let mut parked = Parked { waiter, exchange, retry_ms: self.jitter.u16(RETRY_MS), shape, reader };
                self.keep_pace(visit, protocol, habit.client, &mut parked)
                    .map_or(Outcome::Parked(parked), Outcome::Later)
            }
            Err(error) => {
                debug!("peer {:?}: a poll is refused: {error:?}", Key::<()>::unpack(visit.owner.0));
                let headers = self.cors.answer(reader, shape);
                shape.write_refusal(callback, error.into(), headers, visit.date, exchange, out);
                Outcome::Answered
            }
        }
    }
}

impl Api {
    /// Sends a page away that polls again and again for nothing: it gets its own position back and when to come again. In the
    /// original's protocol there is no way to say that, and some do not listen: until when the poll is put off.
    fn keep_pace(
        &mut self,
        visit: Visit<'_>,
        protocol: Protocol,
        client: Key<Client>,
        parked: &mut Parked,
    ) -> Option<Ms> {
        let now = visit.now;
        match (self.pace.turn(now, client), protocol) {
            (Turn::Now, Protocol::Original) => None,
            (Turn::Now, Protocol::Resume(_)) => {
                if self.hub.asks_again(now, parked.waiter) {
                    self.pace.count(now, client);
                }
                None
            }
            (Turn::Early(early), Protocol::Resume(_)) => {
                self.counts.early_polls += 1;
                self.pace.count(now, client);
                parked.retry_ms = u16::try_from(early.0).unwrap_or(u16::MAX);
                self.hub.end_waiting(parked.waiter, Ending::Crowded);
                None
            }
            (Turn::Early(early), Protocol::Original) => self.put_off(visit, parked.waiter, now + early),
            (Turn::Later(until), _) => self.put_off(visit, parked.waiter, until),
        }
    }

    fn put_off(&mut self, visit: Visit<'_>, waiter: Key<Waiter>, until: Ms) -> Option<Ms> {
        self.counts.early_polls += 1;
        debug!("peer {:?}: a poll waits, its client polls too often", Key::<()>::unpack(visit.owner.0));
        self.hub.cancel(visit.now, waiter);
        Some(until)
    }
}

/// Refuses a page of an origin that is not listed.
pub(super) fn refuse_origin(visit: Visit<'_>, exchange: Exchange, out: &mut Vec<u8>) -> Outcome {
    let body = b"pages of this origin may not poll here; --allow-origin lists those that may\r\n";
    Response { status: Status::FORBIDDEN, headers: PLAIN_TEXT, body }.write(out, visit.date, exchange);
    Outcome::Answered
}

/// Of a connection that has not polled yet.
impl Default for Habit {
    fn default() -> Habit {
        // No hub has given this key to anybody, and it would be noticed.
        Habit { callback: Box::default(), client: Key::unpack(0) }
    }
}

impl Habit {
    /// Keeps a callback for the answer. Mostly it is there already, from the poll before.
    fn keep(&mut self, callback: &[u8]) {
        if *self.callback != *callback {
            self.callback = callback.into();
        }
    }

    /// Whom the last poll was for, of several the last.
    pub(super) fn client(&self) -> Key<Client> {
        self.client
    }

    /// The callback of the poll that is parked.
    #[must_use]
    pub fn callback(&self) -> &[u8] {
        &self.callback
    }
}

impl Api {
    /// Where a page wants to go on. A position of another epoch, or that is still to come, is none of this hub's.
    pub(super) fn since(&self, start: Start) -> Since {
        let token = match start {
            Start::Acknowledged => return Since::Acknowledged,
            Start::Earliest => return Since::At(0),
            Start::Behind(token) => token,
        };
        let seq = self.epoch.seq(token).filter(|&seq| seq <= self.hub.position());
        seq.map_or(Since::Lost, Since::At)
    }
}

/// What a poll or a stream asks for.
pub(super) struct Poll<'a> {
    wish: Wish<'a>,
    /// It is answered at once, with nothing if nothing is due: `wait=0`.
    is_short: bool,
    claims: SmallVec<[Claim<'a>; 1]>,
}

/// Who the page says that it is, and with which key.
#[derive(Clone, Copy)]
struct Claim<'a> {
    id: &'a [u8],
    key: &'a [u8],
}

/// In which protocol.
#[derive(Clone, Copy)]
enum Wish<'a> {
    /// The original's, with its callback.
    Original(&'a [u8]),
    /// The resume protocol's, with the position, and the callback, if one is named.
    Resume(Start, Option<&'a [u8]>),
}

/// From where a page wants to go on.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// It does not say: from where its client has come to.
    Acknowledged,
    /// From where its subscriptions begin, though others have had that: `earliest`.
    Earliest,
    /// From a position that a server gave it.
    Behind(Token),
}

/// Why a poll is no poll.
pub(super) enum Fault<'a> {
    /// Of the original's protocol (WIRE P13).
    NoCallback,
    /// Of either protocol: nothing is put into a script that could be more than a name (WIRE P14).
    BadCallback,
    /// In the original's protocol.
    NoClient,
    /// It names nobody: the same answer as for a client that does not exist.
    MalformedClient,
    /// The same in the resume protocol, with its callback.
    Resume(Status, &'static str, Option<&'a [u8]>),
}

/// What stands in a query, of several of one name the first (WIRE P4).
#[derive(Default)]
struct Asked<'a> {
    callback: Option<&'a [u8]>,
    since: Option<&'a [u8]>,
    wait: Option<&'a [u8]>,
    claims: SmallVec<[Claim<'a>; 1]>,
    /// A client is named.
    is_for_somebody: bool,
    /// One is not of the form ID_!!_KEY.
    is_malformed: bool,
}

impl<'a> Asked<'a> {
    fn read(parameters: &'a Parameters<'_>) -> Asked<'a> {
        let mut asked = Asked::default();
        parameters.iter().for_each(|parameter| {
            if let Some(value) = parameter.value_of(b"client_id") {
                asked.is_for_somebody = true;
                match Claim::parse(value) {
                    Some(claim) => asked.claims.push(claim),
                    None => asked.is_malformed = true,
                }
            } else if let Some(value) = parameter.value_of(b"callback") {
                asked.callback = asked.callback.or(Some(value));
            } else if let Some(value) = parameter.value_of(b"since") {
                asked.since = asked.since.or(Some(value));
            } else if let Some(value) = parameter.value_of(b"wait") {
                asked.wait = asked.wait.or(Some(value));
            }
        });
        asked
    }
}

impl<'a> Poll<'a> {
    fn parse(parameters: &'a Parameters<'_>) -> Result<Poll<'a>, Fault<'a>> {
        let asked = Asked::read(parameters);
        let callback = asked.callback.filter(|callback| !callback.is_empty());
        if callback.is_some_and(|callback| !is_callback(callback)) {
            return Err(Fault::BadCallback);
        }
        if let Some(since) = asked.since {
            return Poll::resume(since, asked, callback);
        }
        let callback = callback.ok_or(Fault::NoCallback)?;
        if !asked.is_for_somebody {
            Err(Fault::NoClient)
        } else if asked.is_malformed {
            Err(Fault::MalformedClient)
        } else {
            Ok(Poll { wish: Wish::Original(callback), is_short: false, claims: asked.claims })
        }
    }

    /// What a stream asks for: always by the resume protocol. The last id that its page has seen (`Last-Event-ID`) wins over
    /// what stands in the URL, as the browser repeats that when it comes back.
    pub(super) fn of_stream(parameters: &'a Parameters<'_>, last_id: Option<&[u8]>) -> Result<Poll<'a>, Fault<'a>> {
        let asked = Asked { wait: None, ..Asked::read(parameters) };
        let since = last_id.filter(|id| !id.is_empty()).or(asked.since).unwrap_or_default();
        Poll::resume(since, asked, None)
    }

    fn resume(since: &[u8], asked: Asked<'a>, callback: Option<&'a [u8]>) -> Result<Poll<'a>, Fault<'a>> {
        let (status, text) = match Start::parse(since) {
            _ if !asked.is_for_somebody => (Status::BAD_REQUEST, "the parameter client_id is missing"),
            _ if asked.wait.is_some_and(|wait| wait != b"0") => {
                (Status::BAD_REQUEST, "wait is 0, for an answer at once, or is left out")
            }
            None => (Status::BAD_REQUEST, "since is no position that this server gave; leave it empty to begin"),
            Some(_) if asked.is_malformed => (Status::NOT_FOUND, "a client_id is not of the form ID_!!_KEY"),
            Some(start) => {
                let is_short = asked.wait.is_some();
                return Ok(Poll { wish: Wish::Resume(start, callback), is_short, claims: asked.claims });
            }
        };
        Err(Fault::Resume(status, text, callback))
    }

    /// Ids and keys.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.claims.iter().map(|claim| (claim.id, claim.key))
    }

    /// From where it wants to go on.
    pub(super) fn start(&self) -> Start {
        match self.wish {
            Wish::Resume(start, _) => start,
            Wish::Original(_) => Start::Acknowledged,
        }
    }
}

impl Start {
    fn parse(since: &[u8]) -> Option<Start> {
        match since {
            b"" => Some(Start::Acknowledged),
            b"earliest" => Some(Start::Earliest),
            token => std::str::from_utf8(token).ok().and_then(Token::parse).map(Start::Behind),
        }
    }
}

impl Fault<'_> {
    pub(super) fn write(self, cors: &Cors, reader: Reader, date: &str, exchange: Exchange, out: &mut Vec<u8>) {
        let body: &[u8] = match self {
            Fault::Resume(status, text, callback) => {
                let shape = if callback.is_none() { Shape::Object } else { Shape::Script };
                let headers = cors.answer(reader, shape);
                return write_error(status, text, callback, headers, date, exchange, out);
            }
            Fault::MalformedClient => return not_found(date, exchange, out),
            Fault::NoCallback => b"the parameter callback is missing\r\n",
            Fault::BadCallback => {
                b"the callback is no name such as show, app.show or app.shows[0], of 256 characters at most\r\n"
            }
            Fault::NoClient => b"the parameter client_id is missing\r\n",
        };
        Response { status: Status::BAD_REQUEST, headers: PLAIN_TEXT, body }.write(out, date, exchange);
    }
}

/// A JavaScript name, perhaps with members of it, `a.b[0]`: nothing that could become a script of somebody else's. Escapes
/// and letters beyond ASCII are left out, which nobody uses.
fn is_callback(name: &[u8]) -> bool {
    name.len() <= CALLBACK_BYTES_MAX && behind_path(name) == Some(&[])
}

/// What stands behind a path of names and indices; `None` if the text begins with none.
fn behind_path(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let name = text.iter().take_while(|&&byte| IN_NAMES[usize::from(byte)]).count();
        if name == 0 || text[0].is_ascii_digit() {
            return None;
        }
        text = &text[name..];
        while let [b'[', index @ ..] = text {
            let digits = index.iter().take_while(|byte| byte.is_ascii_digit()).count();
            text = index[digits..].strip_prefix(b"]").filter(|_| digits > 0)?;
        }
        match text {
            [b'.', member @ ..] => text = member,
            _ => return Some(text),
        }
    }
}

/// Which bytes may stand in a name: all of them ASCII.
const IN_NAMES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        allowed[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        byte += 1;
    }
    allowed
};

impl<'a> Claim<'a> {
    fn parse(value: &'a [u8]) -> Option<Claim<'a>> {
        split(value).map(|(id, key)| Claim { id, key })
    }
}

/// Id and key, which the last separator stands between. `None` without one, or if the whole is not UTF-8.
fn split(value: &[u8]) -> Option<(&[u8], &[u8])> {
    if !value.is_ascii() {
        std::str::from_utf8(value).ok()?;
    }
    // Keys are of one length, and no digit is part of a separator: mostly one look tells.
    if let Some((rest, key)) = value.split_last_chunk::<KEY_DIGITS>()
        && let Some(id) = rest.strip_suffix(SEPARATOR)
        && key.iter().fold(0, |odd, &byte| odd | u8::from(byte == b'_')) == 0
    {
        return Some((id, key));
    }
    let at = memchr::memmem::rfind(value, SEPARATOR)?;
    Some((&value[..at], &value[at + SEPARATOR.len()..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the grammar of callbacks says, a character at a time: names with dots between them, each with indices behind it.
    fn is_callback_by_the_book(name: &str) -> bool {
        /// What stands before the next character.
        enum At {
            Begin,
            Name,
            Open,
            Index,
            Close,
        }
        let mut at = At::Begin;
        for c in name.chars() {
            at = match (at, c) {
                (At::Begin | At::Name, 'a'..='z' | 'A'..='Z' | '_' | '$') | (At::Name, '0'..='9') => At::Name,
                (At::Name | At::Close, '.') => At::Begin,
                (At::Name | At::Close, '[') => At::Open,
                (At::Open | At::Index, '0'..='9') => At::Index,
                (At::Index, ']') => At::Close,
                _ => return false,
            };
        }
        matches!(at, At::Name | At::Close) && name.len() <= 256
    }

    proptest! {
        #[test]
        fn a_callback_is_what_the_grammar_says(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "a", "b1", "$", "_", "0", "12", ".", "[0]", "[12]", "[", "]", "(", ")", ";", " ", "<", "é", "\u{2028}", "\0", "-",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ]), 0..8),
            any in ".{0,300}",
        ) {
            for name in [pieces.concat(), any] {
                prop_assert_eq!(is_callback(name.as_bytes()), is_callback_by_the_book(&name), "{:?}", name);
            }
        }
    }

    #[test]
    fn a_client_id_is_split_at_the_last_separator() {
        let split = |value: &str| split(value.as_bytes()).map(|(id, key)| (id.to_owned(), key.to_owned()));
        let pair = |id: &str, key: &str| Some((id.as_bytes().to_owned(), key.as_bytes().to_owned()));
        assert_eq!(split("a_!!_b_!!_key"), pair("a_!!_b", "key"));
        assert_eq!(split("_!!_"), pair("", ""));
        assert_eq!(split("a_!_key"), None);
        assert!(Claim::parse(b"\xff_!!_x").is_none() && Claim::parse(b"x_!!_\xff").is_none());
        let key = "0123456789abcdef".repeat(2);
        for id in ["", "a", "é", "a_!!_b", "_!!", "_"] {
            assert_eq!(split(&format!("{id}_!!_{key}")), pair(id, &key), "{id}");
        }
        // Where the key of the usual length would begin stands another separator.
        let late = format!("_!!_{}_!!_{}", "x".repeat(20), "y".repeat(8));
        assert_eq!(split(&late), pair(&format!("_!!_{}", "x".repeat(20)), "yyyyyyyy"));
    }

    #[test]
    fn callbacks_are_names_with_dots_and_indices() {
        let good = ["cb", "noop", "jQuery17203_1", "a.b[0]", "$", "_jqjsp", "a[0][12].b.$c[3]", "if", &"a".repeat(256)];
        for good in good {
            assert!(is_callback(good.as_bytes()), "{good}");
        }
        let bad = [
            "alert(1)//",
            "a;b",
            "<script>",
            "a b",
            "é",
            "a\r\nX: y",
            "'",
            "\"",
            &"a".repeat(257),
            "",
            "1a",
            "a.",
            ".a",
            "a..b",
            "a.1",
            "a[",
            "a[]",
            "a]",
            "a[0",
            "a[b]",
            "a[-1]",
            "a[0]b",
            "[0]",
            "a.[0]",
            "a[0].",
            "a[0.5]",
            "a[[0]]",
            "a[\"b\"]",
            "a-b",
            "a\0",
            "a\u{2028}",
            "a/**/",
            "a=b",
            "a,b",
            "a:",
            "\\u0061",
        ];
        for bad in bad {
            assert!(!is_callback(bad.as_bytes()), "{bad}");
        }
    }
}
