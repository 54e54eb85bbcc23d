//! `/message_updates`: the long poll, by script tag (JSONP) or by XHR from another origin.
//!
//! Two protocols over one path. The original's (WIRE section 4): a callback around one object of channels and messages, in
//! pure ASCII; the server remembers how far the page has come. And the resume protocol, for a poll with the parameter
//! `since`: the page says how far it has come, gets what came after it and, if something is gone for good, is told so.
//!
//! A poll always parks. When the hub owes it something, [`Parked::write`] says it.

use std::borrow::Cow;
use std::io::Write;

use log::debug;
use smallvec::SmallVec;

use crate::clock::Ms;
use crate::http::{Exchange, Method, Request, Response, Status, query};
use crate::hub::{Answer, Ending, Protocol, Since, WaitError, Waiter};
use crate::json;
use crate::slots::Key;

use super::{Api, Epoch, Outcome, PLAIN_TEXT, Token, Visit, not_found};

/// How a parked poll is to be answered.
#[derive(Debug)]
pub struct Parked {
    /// The hub's name for it.
    pub waiter: Key<Waiter>,
    /// What the request wants of its answer.
    pub exchange: Exchange,
    /// After how many milliseconds its page is to come back, if it is sent away.
    retry_ms: u16,
    shape: Shape,
}

/// What the page makes of an answer.
#[derive(Debug)]
enum Shape {
    /// The original's protocol: this function is called.
    Original(Box<str>),
    /// The resume protocol: an object, or this function called with it.
    Resume(Option<Box<str>>),
}

/// Between a client's id and its key. Ids may contain it: the last one counts (WIRE P13).
const SEPARATOR: &str = "_!!_";

/// How long a key is (WIRE M1).
const KEY_DIGITS: usize = 32;

/// What jQuery and its kind make up is far shorter (WIRE P14).
const CALLBACK_BYTES_MAX: usize = 256;

/// A poll's time is shortened by up to its tenth part, so that pages that came together do not come back together.
const JITTER_PART: u64 = 10;

/// WIRE P1. The header that lets other origins read it is on answers alone: the original's script relies on errors
/// having none (WIRE P12).
const ANSWER_HEADERS: &str =
    "Content-Type: application/x-javascript\r\nCache-Control: no-cache\r\nAccess-Control-Allow-Origin: *\r\n";

/// The answer to a CORS preflight, which polls do not need but some libraries ask for.
pub(super) const PREFLIGHT: &str = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, HEAD, POST\r\n\
     Access-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: 86400\r\nCache-Control: no-cache\r\n";

/// The headers of the resume protocol's answers, errors too: pages are to read them.
const OBJECT_HEADERS: &str =
    "Content-Type: application/json\r\nCache-Control: no-cache\r\nAccess-Control-Allow-Origin: *\r\n";

/// The same for an answer that is a script; the content is what the type says and nothing else.
const SCRIPT_HEADERS: &str = "Content-Type: text/javascript; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
     Cache-Control: no-cache\r\nAccess-Control-Allow-Origin: *\r\n";

/// A page that is sent away comes back after this time, each after another, so that they do not come all at once.
const RETRY_MS: std::ops::RangeInclusive<u16> = 500..=5000;

impl Api {
    pub(super) fn serve_updates(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
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
        let (shape, protocol) = match poll.wish {
            Wish::Original(callback) => (Shape::Original(callback.into()), Protocol::Original),
            Wish::Resume(token, callback) => {
                (Shape::Resume(callback.map(Into::into)), Protocol::Resume(self.since(token)))
            }
        };
        if request.method == Method::Head {
            // It has no body to put messages into: it takes none, and so need not wait (WIRE H8).
            Response { status: Status::OK, headers: shape.headers(), body: b"" }.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        let clients = poll.claims.iter().map(|claim| (&*claim.id, &*claim.key));
        let shortened = self.jitter.u64(0..=self.poll_timeout.0 / JITTER_PART);
        let deadline = visit.now + (self.poll_timeout - Ms(shortened));
        match self.hub.wait(visit.now, visit.owner, clients, protocol, deadline) {
            Ok(waiter) => Outcome::Parked(Parked { waiter, exchange, retry_ms: self.jitter.u16(RETRY_MS), shape }),
            Err(error) => {
                debug!("peer {:?}: a poll is refused: {error:?}", Key::<()>::unpack(visit.owner.0));
                shape.write_error(error.into(), visit.date, exchange, out);
                Outcome::Answered
            }
        }
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

impl Parked {
    /// Writes what is owed behind what is in `out`, whole. `body` is room to work in.
    pub fn write(&self, answer: &Answer<'_>, epoch: Epoch, date: &str, body: &mut Vec<u8>, out: &mut Vec<u8>) {
        body.clear();
        match &self.shape {
            Shape::Original(callback) => write_call(body, callback, answer),
            Shape::Resume(_) if answer.ending() == Some(Ending::Gone) => {
                return self.shape.write_error(Refusal::Gone, date, self.exchange, out);
            }
            Shape::Resume(callback) => wrapped(body, callback.as_deref(), |body| {
                let retry_ms = match answer.ending() {
                    Some(Ending::Crowded | Ending::Stopping) => self.retry_ms,
                    Some(Ending::Time | Ending::Gone) | None => 0,
                };
                write_object(body, epoch, answer, retry_ms);
            }),
        }
        Response { status: Status::OK, headers: self.shape.headers(), body }.write(out, date, self.exchange);
    }
}

/// The original's answer (WIRE P1, P2).
fn write_call(body: &mut Vec<u8>, callback: &str, answer: &Answer<'_>) {
    body.extend_from_slice(callback.as_bytes());
    body.extend_from_slice(b"({");
    let mut between = "";
    for (channel, messages) in answer.channels() {
        body.extend_from_slice(between.as_bytes());
        body.extend_from_slice(channel.name_json());
        body.extend_from_slice(b":");
        let mut open = b'[';
        for message in messages {
            body.push(open);
            body.extend_from_slice(message.triple());
            open = b',';
        }
        body.push(b']');
        between = ",";
    }
    body.extend_from_slice(b"});");
}

/// The resume protocol's answer.
fn write_object(body: &mut Vec<u8>, epoch: Epoch, answer: &Answer<'_>, retry_ms: u16) {
    body.extend_from_slice(br#"{"since":""#);
    if let Some(seq) = answer.upto() {
        let _ = write!(body, "{}", epoch.token(seq));
    }
    body.extend_from_slice(br#"","messages":["#);
    let mut open: &[u8] = br#"{"channel":"#;
    for (channel, message) in answer.messages() {
        body.extend_from_slice(open);
        body.extend_from_slice(channel.name_json());
        body.push(b',');
        super::write_message(message, body);
        body.push(b'}');
        open = br#",{"channel":"#;
    }
    body.extend_from_slice(br#"],"gaps":["#);
    let mut open: &[u8] = br#"{"channel":"#;
    for (channel, gap) in answer.gaps() {
        body.extend_from_slice(open);
        body.extend_from_slice(channel.name_json());
        let system = if gap.system { r#","system":true"# } else { "" };
        let _ = write!(body, r#","next_id":{},"reason":"{}"{system}}}"#, gap.next_id, gap.loss.name());
        open = br#",{"channel":"#;
    }
    let more = if answer.more() { r#","more":true"# } else { "" };
    let _ = write!(body, r#"],"retry_ms":{retry_ms}{more}}}"#);
}

/// Writes an object, or a call of a function with it. The comment before the call keeps the answer from being taken for
/// something that begins with what the visitor has chosen.
fn wrapped(body: &mut Vec<u8>, callback: Option<&str>, object: impl FnOnce(&mut Vec<u8>)) {
    let Some(callback) = callback else { return object(body) };
    body.extend_from_slice(b"/**/");
    body.extend_from_slice(callback.as_bytes());
    body.push(b'(');
    object(body);
    body.extend_from_slice(b");");
}

/// Why a well-formed poll is not parked, or not any more.
#[derive(Clone, Copy)]
enum Refusal {
    /// A client is unknown, its key is wrong, or it was killed: the page learns no more than that (WIRE P11).
    Gone,
    TooManyPolls,
}

impl From<WaitError> for Refusal {
    fn from(error: WaitError) -> Refusal {
        match error {
            WaitError::UnknownClient | WaitError::WrongKey => Refusal::Gone,
            WaitError::TooManyPolls => Refusal::TooManyPolls,
        }
    }
}

impl Shape {
    fn headers(&self) -> &'static str {
        match self {
            Shape::Original(_) => ANSWER_HEADERS,
            Shape::Resume(None) => OBJECT_HEADERS,
            Shape::Resume(Some(_)) => SCRIPT_HEADERS,
        }
    }

    /// Refuses. The original's pages cannot read it and are not to (WIRE P12); those of the resume protocol can.
    fn write_error(&self, refusal: Refusal, date: &str, exchange: Exchange, out: &mut Vec<u8>) {
        let (status, text) = match refusal {
            Refusal::Gone => (Status::NOT_FOUND, "no such client, or its key is another"),
            Refusal::TooManyPolls => (Status::SERVICE_UNAVAILABLE, "this client has too many polls already"),
        };
        match (self, refusal) {
            (Shape::Original(_), Refusal::Gone) => not_found(date, exchange, out),
            (Shape::Original(_), Refusal::TooManyPolls) => {
                let body = format!("{text}\r\n");
                Response { status, headers: PLAIN_TEXT, body: body.as_bytes() }.write(out, date, exchange);
            }
            (Shape::Resume(callback), _) => write_error(status, text, callback.as_deref(), date, exchange, out),
        }
    }
}

/// An error of the resume protocol: an object with the real status, or a call with the object, and 200, as a script with
/// another status is not run.
fn write_error(status: Status, text: &str, callback: Option<&str>, date: &str, exchange: Exchange, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    wrapped(&mut body, callback, |body| {
        let _ = write!(body, r#"{{"error":{{"code":{},"message":"#, status.code());
        json::write_str(body, text);
        body.extend_from_slice(b"}}");
    });
    let (status, headers) = match callback {
        None => (status, OBJECT_HEADERS),
        Some(_) => (Status::OK, SCRIPT_HEADERS),
    };
    Response { status, headers, body: &body }.write(out, date, exchange);
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
