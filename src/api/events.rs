//! `/events`: server-sent events (WHATWG HTML, section 9.2), for `EventSource` and whatever reads lines.
//!
//! Each message is an event whose id is the position behind it, so a page whose connection breaks comes back with the last
//! one that it has seen, by itself (`Last-Event-ID`). All that is written is JSON in pure ASCII on one line: nothing in a
//! message can break the framing.

use log::debug;
use serde::{Deserialize, Serialize};

use crate::http::query::Parameters;
use crate::http::{Exchange, Framing, Method, Request, Response, Status};
use crate::hub::{Answer, Channel, Ending, Gap, Transport, WaitError};
use crate::slots::Key;

use super::fetch::Fetch;
use super::press::{self, Shape};
use super::streaming::{Streaming, TOO_MANY, Wire, why};
use super::updates::{Poll, RETRY_MS, refuse_origin};
use super::{Api, Epoch, Outcome, Visit};

/// How one stream of events is written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Events {
    framing: Framing,
    pub(super) keep_alive: bool,
}

/// A page hears something this often: proxies and mobile networks cut what is silent, mostly after a minute, some after
/// twenty seconds.
pub(super) const COMMENT_MS: u16 = 15_000;

impl Api {
    pub(super) fn serve_events(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
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
        let parameters = Parameters::of(request.query());
        let poll = match Poll::of_stream(&parameters, request.header("Last-Event-ID")) {
            Ok(poll) => poll,
            Err(fault) => {
                fault.write(&self.cors, reader, visit.date, exchange, out);
                return Outcome::Answered;
            }
        };
        if request.method == Method::Head {
            let headers = self.cors.events(reader);
            Response { status: Status::OK, headers, body: b"" }.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        // A page that loses its connection comes back after this time, unless it knows better.
        let retry_ms = self.jitter.u16(RETRY_MS);
        let retry = format!("retry: {retry_ms}\n\n");
        match self.fetch(visit, &poll) {
            Fetch::Here => {}
            Fetch::Later(until) => return Outcome::Later(until),
            Fetch::Failed(failure) => {
                debug!("peer {:?}: a stream is refused: {failure}", Key::<()>::unpack(visit.owner.0));
                let headers = self.cors.events(reader);
                let body = retry + &comment(press::AWAY);
                Response { status: Status::OK, headers, body: body.as_bytes() }.write(out, visit.date, exchange);
                return Outcome::Answered;
            }
        }
        let headers = self.cors.events(reader);
        let since = self.since(poll.start());
        match self.hub.stream(visit.now, visit.owner, poll.claims(), since, Transport::Events) {
            Ok(waiter) => {
                let framing = if request.is_http_11 { Framing::Chunked } else { Framing::UntilClose };
                framing.write_head(out, visit.date, headers, exchange);
                framing.write_part(out, retry.as_bytes());
                let wire = Wire::Events(Events { framing, keep_alive: exchange.keep_alive });
                return Outcome::Streaming(Streaming::new(waiter, wire, retry_ms, &mut self.jitter));
            }
            Err(error) => {
                debug!("peer {:?}: a stream is refused: {error:?}", Key::<()>::unpack(visit.owner.0));
                match error {
                    WaitError::UnknownClient | WaitError::WrongKey | WaitError::TooManyClients => {
                        let headers = self.cors.answer(reader, Shape::Object);
                        Shape::Object.write_refusal(b"", error.into(), headers, visit.date, exchange, out);
                    }
                    // Any other status would be the end of an EventSource: it comes back from this one.
                    WaitError::TooManyPolls => {
                        let body = retry + &comment(TOO_MANY);
                        let response = Response { status: Status::OK, headers, body: body.as_bytes() };
                        response.write(out, visit.date, exchange);
                    }
                }
            }
        }
        Outcome::Answered
    }
}

impl Events {
    pub(super) fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Writes what is owed: messages and gaps, each with the position behind it, in its order. So whoever goes on from one of them
    /// has been told of all before it, and of none twice, wherever the connection broke. Gaps of a restart come first, as the
    /// page is nowhere before them: the last of them says where it is then.
    pub(super) fn write(&self, answer: &Answer<'_>, epoch: Epoch, body: &mut Vec<u8>, out: &mut Vec<u8>) {
        let id = |seq: u64, body: &mut Vec<u8>| {
            body.extend_from_slice(b"id: ");
            epoch.token(seq).write(body);
            body.push(b'\n');
        };
        let mut gaps: Vec<(&Channel, Gap)> = answer.gaps().collect();
        gaps.sort_by_key(|(_, gap)| gap.seq);
        let (mut gaps, mut messages) = (gaps.into_iter().peekable(), answer.messages().peekable());
        let mut is_word = answer.ending() != Some(Ending::Gone);
        loop {
            let gap = gaps.next_if(|(_, gap)| messages.peek().is_none_or(|(_, message)| gap.seq < message.seq()));
            let message = if gap.is_none() { messages.next() } else { None };
            let here = gap.map(|(_, gap)| gap.seq).or(message.map(|(_, message)| message.seq()));
            let Some(here) = here else { break };
            is_word = false;
            let next = [gaps.peek().map(|(_, gap)| gap.seq), messages.peek().map(|(_, message)| message.seq())];
            // The last one's covers also what was not for this page.
            let upto = match next.into_iter().flatten().min() {
                None => answer.upto().unwrap_or(here),
                Some(next) if here == 0 => next.saturating_sub(1),
                Some(_) => here,
            };
            if upto > 0 {
                id(upto, body);
            }
            match (gap, message) {
                (Some((channel, gap)), _) => {
                    body.extend_from_slice(b"event: gap\ndata: ");
                    press::write_gap(channel, gap, body);
                }
                (None, Some((channel, message))) => {
                    body.extend_from_slice(b"data: ");
                    press::write_message_of(channel, message, body);
                }
                (None, None) => {}
            }
            body.extend_from_slice(b"\n\n");
        }
        if is_word {
            // A comment, and an id without an event: it counts all the same.
            body.extend_from_slice(b":\n");
            answer.upto().into_iter().for_each(|upto| id(upto, body));
            body.push(b'\n');
        }
        if answer.ending() == Some(Ending::Gone) {
            body.extend_from_slice(b"event: gone\ndata: ");
            press::write_error_object(Status::NOT_FOUND, press::GONE, body);
            body.extend_from_slice(b"\n\n");
        }
        // Whoever reads the lines sees why; an `EventSource` comes back either way.
        if let Some(ending) = answer.ending().filter(|&ending| ending != Ending::Gone) {
            body.extend_from_slice(comment(why(ending)).as_bytes());
        }
        self.framing.write_part(out, body);
        if answer.ending().is_some() {
            self.framing.write_end(out);
        }
    }
}

fn comment(text: &str) -> String {
    format!(": {text}\n\n")
}
