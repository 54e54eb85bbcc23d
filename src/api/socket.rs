//! `/socket`: WebSocket. Each frame to the page is the object that a long poll would be answered with; the page says
//! `{"ack":"TOKEN"}` when it has had everything up to there.
//!
//! A page cannot read the status of a handshake that is refused, only the code of a connection that was closed. So what is
//! wrong with the handshake itself is refused by HTTP, and what the page has to know by the code.

use std::fmt::Write;

use log::debug;
use serde::{Deserialize, Serialize};

use crate::clock::Ms;
use crate::http::query::Parameters;
use crate::http::{Exchange, Method, Request, Response, Status, write_switch};
use crate::hub::{Answer, Ending, Transport, WaitError};
use crate::slots::Key;
use crate::websocket::{self, CloseCode, Decoder, Event, Limits, Refusal, Step};

use super::fetch::Fetch;
use super::press;
use super::streaming::{Manner, Streaming, TOO_MANY, Wire, why};
use super::updates::{Poll, RETRY_MS, refuse_origin};
use super::{Api, Epoch, Outcome, PLAIN_TEXT, Token, Visit};

/// What is kept of one WebSocket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Socket {
    decoder: Decoder,
    /// A ping goes out with the next answer.
    pub(super) owes_ping: bool,
}

/// What became of the bytes that a page has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// They are dealt with.
    All,
    /// They end the connection: the last frame has been written.
    End,
}

/// A page hears something this often: the page itself, which sees no pings, an object with nothing new in it, and its
/// browser a ping, which tells us what has arrived.
pub(super) const PING_MS: u16 = 25_000;

/// What pages have to say is short.
const LIMITS: Limits = Limits { frame_bytes: 4096, message_bytes: 4096 };

/// The client is unknown, its key is another, or it was killed: the page needs another.
const CLIENT_UNKNOWN: CloseCode = CloseCode(4404);

/// The client has more connections than it may: this one was the oldest.
const REPLACED: CloseCode = CloseCode(4409);

impl Api {
    pub(super) fn serve_socket(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if request.method != Method::Get || !request.is_http_11 {
            refuse(
                Status::METHOD_NOT_ALLOWED,
                "Allow: GET\r\n",
                "a WebSocket begins with a GET of HTTP/1.1",
                visit,
                exchange,
                out,
            );
            return Outcome::Answered;
        }
        let accept = match websocket::accept(|name| request.header_values(name)) {
            Ok(accept) => accept,
            Err(refusal) => {
                let (status, headers, text) = match refusal {
                    Refusal::NoUpgrade => (Status::UPGRADE_REQUIRED, UPGRADE, "this is a WebSocket"),
                    Refusal::Version => (Status::UPGRADE_REQUIRED, UPGRADE, "only version 13 is spoken here"),
                    Refusal::Malformed(what) => (Status::BAD_REQUEST, "", what),
                };
                refuse(status, headers, text, visit, exchange, out);
                return Outcome::Answered;
            }
        };
        let Some(reader) = self.cors.reader(request) else {
            return refuse_origin(visit, exchange, out);
        };
        let parameters = Parameters::of(request.query());
        let poll = match Poll::of_stream(&parameters, None) {
            Ok(poll) => poll,
            Err(fault) => {
                fault.write(&self.cors, reader, visit.date, exchange, out);
                return Outcome::Answered;
            }
        };
        let fetched = self.fetch(visit, &poll);
        if let Fetch::Later(until) = fetched {
            return Outcome::Later(until);
        }
        let mut headers = UPGRADE.to_owned();
        let _ = write!(headers, "Sec-WebSocket-Accept: {accept}\r\n");
        write_switch(out, visit.date, &headers);
        if let Fetch::Failed(failure) = fetched {
            debug!("peer {:?}: a socket is refused: {failure}", Key::<()>::unpack(visit.owner.0));
            websocket::write_close(out, Some(CloseCode::TRY_LATER), press::AWAY);
            return Outcome::Ended;
        }
        let since = self.since(poll.start());
        match self.hub.stream(visit.now, visit.owner, poll.claims(), since, Transport::Socket) {
            Ok(waiter) => {
                let socket = Socket { decoder: Decoder::default(), owes_ping: false };
                let retry_ms = self.jitter.u16(RETRY_MS);
                Outcome::Streaming(Streaming::new(waiter, Wire::Socket(socket), retry_ms, &mut self.jitter))
            }
            Err(error) => {
                debug!("peer {:?}: a socket is refused: {error:?}", Key::<()>::unpack(visit.owner.0));
                let (code, reason) = match error {
                    WaitError::UnknownClient | WaitError::WrongKey => (CLIENT_UNKNOWN, press::GONE),
                    WaitError::TooManyPolls => (CloseCode::TRY_LATER, TOO_MANY),
                    WaitError::TooManyClients => (CloseCode::POLICY, "a connection is for 100 clients at most"),
                };
                websocket::write_close(out, Some(code), reason);
                Outcome::Ended
            }
        }
    }

    /// Takes what a page has sent, whole, and writes what that calls for behind what is in `out`.
    pub fn receive(&mut self, now: Ms, streaming: &mut Streaming, mut input: &[u8], out: &mut Vec<u8>) -> Heard {
        let Wire::Socket(socket) = &mut streaming.wire else { return Heard::All };
        loop {
            let event = match socket.decoder.next(&LIMITS, input) {
                Ok(Step::More) => return Heard::All,
                Ok(Step::Event { event, used }) => {
                    input = &input[used..];
                    event
                }
                Err(error) => {
                    debug!("stream {:?}: {error:?}", streaming.waiter);
                    websocket::write_close(out, Some(error.close_code()), "");
                    return Heard::End;
                }
            };
            let acknowledged = match event {
                Event::Text(text) => match read_ack(&text) {
                    Some(token) => token,
                    None => {
                        websocket::write_close(out, Some(CloseCode::UNSUPPORTED), NO_ACK);
                        return Heard::End;
                    }
                },
                Event::Binary(_) => {
                    websocket::write_close(out, Some(CloseCode::UNSUPPORTED), NO_ACK);
                    return Heard::End;
                }
                Event::Ping(payload) => {
                    websocket::write_pong(out, &payload);
                    None
                }
                // It brings back where the page was when the ping was sent: all before it has arrived.
                Event::Pong(payload) => std::str::from_utf8(&payload).ok().and_then(Token::parse),
                Event::Close(code) => {
                    websocket::write_close(out, code, "");
                    return Heard::End;
                }
            };
            let known = acknowledged.and_then(|token| self.epoch.seq(token)).filter(|&seq| seq <= self.hub.position());
            if let Some(seq) = known {
                self.hub.heard(now, streaming.waiter, seq);
            }
        }
    }
}

/// What a page says: the position in `{"ack":"TOKEN"}`, if it is one, and nothing of another object, which a later version
/// may understand. `None` if it is no object.
fn read_ack(text: &str) -> Option<Option<Token>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    Some(object.get("ack").and_then(|token| token.as_str()).and_then(Token::parse))
}

const NO_ACK: &str = "only {\"ack\":\"TOKEN\"} is understood here";

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";

fn refuse(status: Status, headers: &str, text: &str, visit: Visit<'_>, exchange: Exchange, out: &mut Vec<u8>) {
    let headers = format!("{headers}{PLAIN_TEXT}");
    let body = format!("{text}\r\n");
    Response { status, headers: &headers, body: body.as_bytes() }.write(out, visit.date, exchange);
}

/// Writes what is owed.
pub(super) fn write(answer: &Answer<'_>, manner: Manner, epoch: Epoch, body: &mut Vec<u8>, out: &mut Vec<u8>) {
    let has_news = !matches!(manner.ending, Some(Ending::Gone | Ending::Crowded));
    if has_news {
        press::write_object(body, epoch, answer, manner.retry_ms);
        websocket::write_text(out, body);
    }
    if let Some(upto) = answer.upto().filter(|_| manner.with_ping && manner.ending.is_none()) {
        body.clear();
        epoch.token(upto).write(body);
        websocket::write_ping(out, body);
    }
    let Some(ending) = manner.ending else { return };
    let code = match ending {
        Ending::Gone => CLIENT_UNKNOWN,
        Ending::Crowded => REPLACED,
        Ending::Stopping | Ending::Time => CloseCode::GOING_AWAY,
    };
    websocket::write_close(out, Some(code), why(ending));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_it_has_had_and_other_objects_are_left_alone() {
        let token = Token::parse("0123456789abcdef-7");
        assert_eq!(read_ack(r#"{"ack":"0123456789abcdef-7"}"#), Some(token));
        assert_eq!(read_ack(r#" { "more": [1], "ack" : "0123456789abcdef-7" } "#), Some(token));
        for other in [r#"{"ack":"x"}"#, r#"{"ack":7}"#, r#"{"hello":"world"}"#, "{}"] {
            assert_eq!(read_ack(other), Some(None), "{other}");
        }
        for bad in ["", "x", "[]", "7", "\"ack\"", r#"{"ack":"#, &"[".repeat(4000)] {
            assert_eq!(read_ack(bad), None, "{bad}");
        }
    }
}
