//! `/message_updates`: the long poll, by script tag (JSONP) or by XHR from another origin.
//!
//! Two protocols over one path. The original's (WIRE section 4): a callback around one object of channels and messages, in
//! pure ASCII; the server remembers how far the page has come. And the resume protocol, for a poll with the parameter
//! `since`: the page says how far it has come, gets what came after it and, if something is gone for good, is told so.
//!
//! A poll always parks. When the hub owes it something, the [`Press`](super::Press) writes it out.

use std::borrow::Cow;

use log::debug;
use smallvec::SmallVec;

use crate::clock::Ms;
use crate::http::{Exchange, Method, Request, Response, Status, query};
use crate::hub::{Protocol, Since, Waiter};
use crate::slots::Key;

use super::press::{Shape, write_error};
use super::{Api, Outcome, PLAIN_TEXT, Token, Visit, not_found};

/// How a parked poll is to be answered.
#[derive(Debug)]
pub struct Parked {
    /// The hub's name for it.
    pub waiter: Key<Waiter>,
    /// What the request wants of its answer.
    pub exchange: Exchange,
    /// After how many milliseconds its page is to come back, if it is sent away.
    pub(super) retry_ms: u16,
    pub(super) shape: Shape,
}

/// What is kept of a connection's last poll, as the next one is mostly like it: then nothing has to be allocated.
#[derive(Debug, Default)]
pub struct Habit {
    callback: Box<str>,
}

/// Between a client's id and its key. Ids may contain it: the last one counts (WIRE P13).
const SEPARATOR: &str = "_!!_";

/// How long a key is (WIRE M1).
const KEY_DIGITS: usize = 32;

/// What jQuery and its kind make up is far shorter (WIRE P14).
const CALLBACK_BYTES_MAX: usize = 256;

/// A poll's time is shortened by up to its tenth part, so that pages that came together do not come back together.
const JITTER_PART: u64 = 10;

/// The answer to a CORS preflight, which polls do not need but some libraries ask for.
pub(super) const PREFLIGHT: &str = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, HEAD, POST\r\n\
     Access-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: 86400\r\nCache-Control: no-cache\r\n";

/// A page that is sent away comes back after this time, each after another, so that they do not come all at once.
const RETRY_MS: std::ops::RangeInclusive<u16> = 500..=5000;

impl Api {
    pub(super) fn serve_updates(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        habit: &mut Habit,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if request.method == Method::Options {
            Response { status: Status::NO_CONTENT, headers: PREFLIGHT, body: b"" }.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        let poll = match Poll::parse(request.query()) {
            Ok(poll) => poll,
            Err(fault) => {
                fault.write(visit.date, exchange, out);
                return Outcome::Answered;
            }
        };
        let (shape, protocol, callback) = match &poll.wish {
            Wish::Original(callback) => (Shape::Original, Protocol::Original, &**callback),
            Wish::Resume(token, None) => (Shape::Object, Protocol::Resume(self.since(*token)), ""),
            Wish::Resume(token, Some(callback)) => (Shape::Script, Protocol::Resume(self.since(*token)), &**callback),
        };
        if request.method == Method::Head {
            // It has no body to put messages into: it takes none, and so need not wait (WIRE H8).
            Response { status: Status::OK, headers: shape.headers(), body: b"" }.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        let claims = poll.claims.iter().map(|claim| (&*claim.id, &*claim.key));
        let shortened = self.jitter.u64(0..=self.poll_timeout.0 / JITTER_PART);
        let deadline = visit.now + (self.poll_timeout - Ms(shortened));
        match self.hub.wait(visit.now, visit.owner, claims, protocol, deadline) {
            Ok(waiter) => {
                habit.keep(callback);
                Outcome::Parked(Parked { waiter, exchange, retry_ms: self.jitter.u16(RETRY_MS), shape })
            }
            Err(error) => {
                debug!("peer {:?}: a poll is refused: {error:?}", Key::<()>::unpack(visit.owner.0));
                shape.write_refusal(callback, error.into(), visit.date, exchange, out);
                Outcome::Answered
            }
        }
    }
}

impl Habit {
    /// Keeps a callback for the answer. Mostly it is there already, from the poll before.
    fn keep(&mut self, callback: &str) {
        if *self.callback != *callback {
            self.callback = callback.into();
        }
    }

    /// The callback of the poll that is parked.
    #[must_use]
    pub fn callback(&self) -> &str {
        &self.callback
    }
}

impl Api {
    /// Where a page wants to go on. A position of another epoch, or that is still to come, is none of this hub's.
    fn since(&self, token: Option<Token>) -> Since {
        let Some(token) = token else { return Since::Acknowledged };
        let seq = self.epoch.seq(token).filter(|&seq| seq <= self.hub.position());
        seq.map_or(Since::Lost, Since::At)
    }
}

/// What a poll asks for.
struct Poll<'a> {
    wish: Wish<'a>,
    claims: SmallVec<[Claim<'a>; 1]>,
}

/// Who the page says that it is, and with which key.
struct Claim<'a> {
    id: Cow<'a, str>,
    key: Cow<'a, str>,
}

/// In which protocol.
enum Wish<'a> {
    /// The original's, with its callback.
    Original(Cow<'a, str>),
    /// The resume protocol's, with the position, if one is named, and the callback, if one is.
    Resume(Option<Token>, Option<Cow<'a, str>>),
}

/// Why a poll is no poll.
enum Fault<'a> {
    /// Of the original's protocol (WIRE P13).
    NoCallback,
    /// Of either protocol: nothing is put into a script that could be more than a name (WIRE P14).
    BadCallback,
    /// In the original's protocol.
    NoClient,
    /// It names nobody: the same answer as for a client that does not exist.
    MalformedClient,
    /// The same in the resume protocol, with its callback.
    Resume(Status, &'static str, Option<Cow<'a, str>>),
}

impl<'a> Poll<'a> {
    fn parse(query: &'a [u8]) -> Result<Poll<'a>, Fault<'a>> {
        let (mut callback, mut since) = (None, None);
        // `None` is one that is not of the form ID_!!_KEY.
        let mut claims: SmallVec<[Option<Claim<'a>>; 1]> = SmallVec::new();
        for (name, value) in query::parameters(query) {
            match &*name {
                // Of several the first counts (WIRE P4).
                b"callback" if callback.is_none() => callback = Some(value),
                b"since" if since.is_none() => since = Some(value),
                b"client_id" => claims.push(Claim::parse(value)),
                _ => {}
            }
        }
        let callback = match callback.filter(|callback| !callback.is_empty()) {
            Some(callback) => Some(read_callback(callback).ok_or(Fault::BadCallback)?),
            None => None,
        };
        let is_nobody = claims.is_empty();
        let claims: Option<SmallVec<[Claim<'a>; 1]>> = claims.into_iter().collect();
        match since {
            None => {
                let callback = callback.ok_or(Fault::NoCallback)?;
                let claims = if is_nobody { Err(Fault::NoClient) } else { claims.ok_or(Fault::MalformedClient) };
                Ok(Poll { wish: Wish::Original(callback), claims: claims? })
            }
            Some(since) => {
                let token = token(&since);
                let fault = match claims {
                    _ if is_nobody => (Status::BAD_REQUEST, "the parameter client_id is missing"),
                    _ if token.is_none() && !since.is_empty() => {
                        (Status::BAD_REQUEST, "since is no position that this server gave; leave it empty to begin")
                    }
                    None => (Status::NOT_FOUND, "a client_id is not of the form ID_!!_KEY"),
                    Some(claims) => return Ok(Poll { wish: Wish::Resume(token, callback), claims }),
                };
                Err(Fault::Resume(fault.0, fault.1, callback))
            }
        }
    }
}

fn token(since: &[u8]) -> Option<Token> {
    std::str::from_utf8(since).ok().and_then(Token::parse)
}

impl Fault<'_> {
    fn write(self, date: &str, exchange: Exchange, out: &mut Vec<u8>) {
        let body: &[u8] = match self {
            Fault::Resume(status, text, callback) => {
                return write_error(status, text, callback.as_deref(), date, exchange, out);
            }
            Fault::MalformedClient => return not_found(date, exchange, out),
            Fault::NoCallback => b"the parameter callback is missing\r\n",
            Fault::BadCallback => b"the callback is not of A-Z a-z 0-9 _ $ . [ ], 256 characters at most\r\n",
            Fault::NoClient => b"the parameter client_id is missing\r\n",
        };
        Response { status: Status::BAD_REQUEST, headers: PLAIN_TEXT, body }.write(out, date, exchange);
    }
}

/// A JavaScript name, perhaps with dots and indices: nothing that could become a script of somebody else's.
fn read_callback(name: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    let is_name = name.len() <= CALLBACK_BYTES_MAX
        && name
            .iter()
            .all(|&byte| matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' | b'.' | b'[' | b']'));
    if is_name { text(name) } else { None }
}

impl<'a> Claim<'a> {
    fn parse(value: Cow<'a, [u8]>) -> Option<Claim<'a>> {
        Some(match value {
            Cow::Borrowed(value) => {
                let (id, key) = split(std::str::from_utf8(value).ok()?)?;
                Claim { id: id.into(), key: key.into() }
            }
            Cow::Owned(value) => {
                let (id, key) = split(std::str::from_utf8(&value).ok()?)?;
                Claim { id: id.to_owned().into(), key: key.to_owned().into() }
            }
        })
    }
}

/// Id and key, which the last separator stands between.
fn split(value: &str) -> Option<(&str, &str)> {
    // Keys are of one length, and no digit is part of a separator: mostly one look tells.
    let (id, rest) = value.split_at_checked(value.len().wrapping_sub(SEPARATOR.len() + KEY_DIGITS)).unwrap_or_default();
    match rest.strip_prefix(SEPARATOR) {
        Some(key) if !key.contains('_') => Some((id, key)),
        _ => value.rsplit_once(SEPARATOR),
    }
}

fn text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_split_at_the_last_separator() {
        assert_eq!(split("a_!!_b_!!_key"), Some(("a_!!_b", "key")));
        assert_eq!(split("_!!_"), Some(("", "")));
        assert_eq!(split("a_!_key"), None);
        assert!(Claim::parse(Cow::Borrowed(b"\xff_!!_x")).is_none());
        assert!(Claim::parse(Cow::Owned(b"x_!!_\xff".to_vec())).is_none());
        let key = "0123456789abcdef".repeat(2);
        for id in ["", "a", "é", "a_!!_b", "_!!", "_"] {
            assert_eq!(split(&format!("{id}_!!_{key}")), Some((id, &*key)), "{id}");
            assert_eq!(split(&format!("{id}{key}")), format!("{id}{key}").rsplit_once(SEPARATOR));
        }
        let late = format!("_!!_{}_!!_{}", "x".repeat(20), "y".repeat(8));
        assert_eq!(split(&late).unwrap().1, "yyyyyyyy");
    }

    #[test]
    fn callbacks_are_names_with_dots_and_indices() {
        for good in ["cb", "noop", "jQuery17203_1", "a.b[0]", "$", "_jqjsp", &"a".repeat(256)] {
            assert!(read_callback(Cow::Borrowed(good.as_bytes())).is_some(), "{good}");
        }
        for bad in ["alert(1)//", "a;b", "<script>", "a b", "é", "a\r\nX: y", "'", "\"", &"a".repeat(257)] {
            assert!(read_callback(Cow::Borrowed(bad.as_bytes())).is_none(), "{bad}");
        }
    }
}
