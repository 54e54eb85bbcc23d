//! `/message_updates`: the long poll of the original, by script tag (JSONP) or by XHR from another origin (WIRE
//! section 4).
//!
//! A poll always parks. When the hub owes it something, [`Parked::write`] says it: the callback around one object of
//! channels and messages, in pure ASCII.

use std::borrow::Cow;

use crate::clock::Ms;
use crate::http::{Exchange, Method, Request, Response, Status, query};
use crate::hub::{Answer, Waiter};
use crate::slots::Key;

use super::{Api, Outcome, PLAIN_TEXT, Visit, not_found};

/// How a parked poll is to be answered.
#[derive(Debug)]
pub struct Parked {
    /// The hub's name for it.
    pub waiter: Key<Waiter>,
    /// What the request wants of its answer.
    pub exchange: Exchange,
    /// The function that the page wants called.
    callback: Box<str>,
}

/// Between a client's id and its key. Ids may contain it: the last one counts (WIRE P13).
const SEPARATOR: &str = "_!!_";

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
        if request.method == Method::Head {
            // It has no body to put messages into: it takes none, and so need not wait (WIRE H8).
            self.body.clear();
            write_empty(&mut self.body, &poll.callback);
            Response { status: Status::OK, headers: ANSWER_HEADERS, body: &self.body }.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        let clients = poll.clients.iter().map(|(id, key)| (&**id, &**key));
        let shortened = self.jitter.u64(0..=self.poll_timeout.0 / JITTER_PART);
        let deadline = visit.now + (self.poll_timeout - Ms(shortened));
        match self.hub.wait(visit.now, visit.owner, clients, deadline) {
            Ok(waiter) => Outcome::Parked(Parked { waiter, exchange, callback: poll.callback.into() }),
            Err(_) => {
                not_found(visit.date, exchange, out);
                Outcome::Answered
            }
        }
    }
}

impl Parked {
    /// Writes what is owed behind what is in `out`, whole (WIRE P1, P2). `body` is room to work in.
    pub fn write(&self, answer: &Answer<'_>, date: &str, body: &mut Vec<u8>, out: &mut Vec<u8>) {
        body.clear();
        body.extend_from_slice(self.callback.as_bytes());
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
        Response { status: Status::OK, headers: ANSWER_HEADERS, body }.write(out, date, self.exchange);
    }
}

fn write_empty(body: &mut Vec<u8>, callback: &str) {
    body.extend_from_slice(callback.as_bytes());
    body.extend_from_slice(b"({});");
}

/// What a poll asks for.
struct Poll<'a> {
    callback: Cow<'a, str>,
    /// Ids and keys.
    clients: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Why a poll is no poll (WIRE P13, P14).
enum Fault {
    NoCallback,
    BadCallback,
    NoClient,
    /// It names nobody: the same answer as for a client that does not exist.
    MalformedClient,
}

impl<'a> Poll<'a> {
    fn parse(query: &'a [u8]) -> Result<Poll<'a>, Fault> {
        let (mut callback, mut clients) = (None, Vec::new());
        for (name, value) in query::parameters(query) {
            match &*name {
                // Of several the first counts (WIRE P4).
                b"callback" if callback.is_none() => callback = Some(value),
                b"client_id" => clients.push(value),
                _ => {}
            }
        }
        let callback = callback.filter(|callback| !callback.is_empty()).ok_or(Fault::NoCallback)?;
        let callback = text(callback).filter(|callback| is_callback(callback)).ok_or(Fault::BadCallback)?;
        if clients.is_empty() {
            return Err(Fault::NoClient);
        }
        let clients = clients.into_iter().map(id_and_key).collect::<Option<_>>().ok_or(Fault::MalformedClient)?;
        Ok(Poll { callback, clients })
    }
}

impl Fault {
    fn write(self, date: &str, exchange: Exchange, out: &mut Vec<u8>) {
        let body: &[u8] = match self {
            Fault::MalformedClient => return not_found(date, exchange, out),
            Fault::NoCallback => b"the parameter callback is missing\r\n",
            Fault::BadCallback => b"the callback is not of A-Z a-z 0-9 _ $ . [ ], 256 characters at most\r\n",
            Fault::NoClient => b"the parameter client_id is missing\r\n",
        };
        Response { status: Status::BAD_REQUEST, headers: PLAIN_TEXT, body }.write(out, date, exchange);
    }
}

/// A JavaScript name, perhaps with dots and indices: nothing that could become a script of somebody else's.
fn is_callback(callback: &str) -> bool {
    callback.len() <= CALLBACK_BYTES_MAX
        && callback.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.[]".contains(&byte))
}

fn id_and_key(value: Cow<'_, [u8]>) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    match text(value)? {
        Cow::Borrowed(text) => text.rsplit_once(SEPARATOR).map(|(id, key)| (id.into(), key.into())),
        Cow::Owned(text) => text.rsplit_once(SEPARATOR).map(|(id, key)| (id.to_owned().into(), key.to_owned().into())),
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
        let split = |value: &'static str| id_and_key(Cow::Borrowed(value.as_bytes()));
        assert_eq!(split("a_!!_b_!!_key"), Some(("a_!!_b".into(), "key".into())));
        assert_eq!(split("_!!_"), Some(("".into(), "".into())));
        assert_eq!(split("a_!_key"), None);
        assert_eq!(id_and_key(Cow::Borrowed(b"\xff_!!_x")), None);
    }

    #[test]
    fn callbacks_are_names_with_dots_and_indices() {
        for good in ["cb", "noop", "jQuery17203_1", "a.b[0]", "$", "_jqjsp", &"a".repeat(256)] {
            assert!(is_callback(good), "{good}");
        }
        for bad in ["alert(1)//", "a;b", "<script>", "a b", "é", "a\r\nX: y", "'", "\"", &"a".repeat(257)] {
            assert!(!is_callback(bad), "{bad}");
        }
    }
}
