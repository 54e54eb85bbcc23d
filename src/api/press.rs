//! What the hub owes, written out: head and body of an answer, in the shape that the page wants.
//!
//! A message to a crowd is the same bytes for all whose callback is the same. So the press keeps its last print of each
//! shape, and hands it out again for as long as the hub says that what is owed is of the same edition: the n-th reader
//! costs a comparison.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::decimal;
use crate::http::{Exchange, Response, Status};
use crate::hub::{Answer, Channel, Ending, Gap, Message, WaitError};
use crate::json;

use super::cors::{Cors, Reader};
use super::streaming::{Manner, Streaming};
use super::updates::{Habit, Parked};
use super::{Epoch, PLAIN_TEXT, not_found, write_message};

/// What the page makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shape {
    /// The original's protocol: a function is called.
    Original,
    /// The resume protocol: an object.
    Object,
    /// The resume protocol: a function is called with the object.
    Script,
}

/// The last answers written out.
#[derive(Debug, Default)]
pub struct Press {
    /// By shape.
    prints: [Print; 3],
    /// Of streams, by how they are spoken.
    parts: [Part; 3],
    /// The body being written; kept for its memory.
    body: Vec<u8>,
    /// The heads of what it prints.
    cors: Cors,
}

/// An answer written out, and all that it follows from.
#[derive(Debug, Default)]
struct Print {
    terms: Option<Terms>,
    callback: Vec<u8>,
    date: String,
    bytes: Vec<u8>,
}

/// An answer of a stream written out, and all that it follows from.
#[derive(Debug, Default)]
struct Part {
    terms: Option<(u64, Manner)>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    edition: u64,
    reader: Reader,
    exchange: Exchange,
    retry_ms: u16,
    is_gone: bool,
}

/// A print larger than this gives its memory back with the next one of its shape.
const PRINT_BYTES_KEPT: usize = 256 << 10;

impl Press {
    /// For pages of these origins.
    #[must_use]
    pub fn new(cors: Cors) -> Press {
        Press { cors, ..Press::default() }
    }

    /// From now on for pages of these origins. Who waits is answered as was promised.
    pub fn change(&mut self, config: &Config) {
        self.cors.change(config);
    }

    /// The answer to a parked poll, whole. `date` is the value of the Date header.
    pub fn print(&mut self, parked: &Parked, habit: &Habit, answer: &Answer<'_>, epoch: Epoch, date: &str) -> &[u8] {
        let retry_ms = match answer.ending() {
            Some(Ending::Crowded | Ending::Stopping) => parked.retry_ms,
            Some(Ending::Time | Ending::Gone) | None => 0,
        };
        let is_gone = parked.shape != Shape::Original && answer.ending() == Some(Ending::Gone);
        let terms =
            Terms { edition: answer.edition(), reader: parked.reader, exchange: parked.exchange, retry_ms, is_gone };
        let callback = habit.callback();
        let print = &mut self.prints[parked.shape as usize];
        let headers = self.cors.answer(parked.reader, parked.shape);
        if print.terms != Some(terms) || print.callback != callback || print.date != date {
            print.begin(terms, callback, date);
            if is_gone {
                parked.shape.write_refusal(callback, Refusal::Gone, headers, date, parked.exchange, &mut print.bytes);
            } else {
                self.body.clear();
                parked.shape.write_body(&mut self.body, callback, epoch, answer, retry_ms);
                let response = Response { status: Status::OK, headers, body: &self.body };
                response.write(&mut print.bytes, date, parked.exchange);
                self.body.shrink_to(PRINT_BYTES_KEPT);
            }
        }
        &print.bytes
    }

    /// What a stream is owed, whole.
    pub fn print_part(&mut self, streaming: &mut Streaming, answer: &Answer<'_>, epoch: Epoch) -> &[u8] {
        let terms = (answer.edition(), streaming.manner(answer));
        let part = &mut self.parts[streaming.wire.place()];
        if part.terms != Some(terms) {
            part.terms = Some(terms);
            part.bytes.clear();
            part.bytes.shrink_to(PRINT_BYTES_KEPT);
            self.body.clear();
            streaming.wire.write(answer, terms.1, epoch, &mut self.body, &mut part.bytes);
            self.body.shrink_to(PRINT_BYTES_KEPT);
        }
        &part.bytes
    }
}

impl Print {
    fn begin(&mut self, terms: Terms, callback: &[u8], date: &str) {
        self.terms = Some(terms);
        self.callback.clear();
        self.callback.extend_from_slice(callback);
        self.date.clear();
        self.date.push_str(date);
        self.bytes.clear();
        self.bytes.shrink_to(PRINT_BYTES_KEPT);
    }
}

impl Shape {
    fn write_body(self, body: &mut Vec<u8>, callback: &[u8], epoch: Epoch, answer: &Answer<'_>, retry_ms: u16) {
        match self {
            Shape::Original => write_call(body, callback, answer),
            Shape::Object => write_object(body, epoch, answer, retry_ms),
            Shape::Script => wrapped(body, Some(callback), |body| write_object(body, epoch, answer, retry_ms)),
        }
    }

    /// Refuses. The original's pages cannot read it and are not to (WIRE P12); those of the resume protocol can.
    pub(super) fn write_refusal(
        self,
        callback: &[u8],
        refusal: Refusal,
        headers: &str,
        date: &str,
        exchange: Exchange,
        out: &mut Vec<u8>,
    ) {
        let (status, text) = match refusal {
            Refusal::Gone => (Status::NOT_FOUND, GONE),
            Refusal::TooManyPolls => (Status::SERVICE_UNAVAILABLE, "this client has too many polls already"),
            Refusal::TooManyClients => (Status::BAD_REQUEST, "a poll is for 100 clients at most"),
            Refusal::Away => (Status::SERVICE_UNAVAILABLE, AWAY),
        };
        match (self, refusal) {
            (Shape::Original, Refusal::Gone) => not_found(date, exchange, out),
            (Shape::Original, Refusal::TooManyPolls | Refusal::TooManyClients | Refusal::Away) => {
                let body = format!("{text}\r\n");
                Response { status, headers: PLAIN_TEXT, body: body.as_bytes() }.write(out, date, exchange);
            }
            (Shape::Object, _) => write_error(status, text, None, headers, date, exchange, out),
            (Shape::Script, _) => write_error(status, text, Some(callback), headers, date, exchange, out),
        }
    }
}

/// The original's answer (WIRE P1, P2).
fn write_call(body: &mut Vec<u8>, callback: &[u8], answer: &Answer<'_>) {
    body.extend_from_slice(callback);
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
pub(super) fn write_object(body: &mut Vec<u8>, epoch: Epoch, answer: &Answer<'_>, retry_ms: u16) {
    body.extend_from_slice(br#"{"since":""#);
    if let Some(seq) = answer.upto() {
        epoch.token(seq).write(body);
    }
    body.extend_from_slice(br#"","messages":["#);
    for (at, (channel, message)) in answer.messages().enumerate() {
        body.extend_from_slice(if at > 0 { b"," } else { b"" });
        write_message_of(channel, message, body);
    }
    body.extend_from_slice(br#"],"gaps":["#);
    for (at, (channel, gap)) in answer.gaps().enumerate() {
        body.extend_from_slice(if at > 0 { b"," } else { b"" });
        write_gap(channel, gap, body);
    }
    body.extend_from_slice(br#"],"retry_ms":"#);
    decimal::write(body, retry_ms.into());
    body.extend_from_slice(if answer.more() { br#","more":true}"# } else { b"}" });
}

/// A message of the resume protocol.
pub(super) fn write_message_of(channel: &Channel, message: &Message, body: &mut Vec<u8>) {
    body.extend_from_slice(br#"{"channel":"#);
    body.extend_from_slice(channel.name_json());
    body.push(b',');
    write_message(message, body);
    body.push(b'}');
}

/// A gap of the resume protocol.
pub(super) fn write_gap(channel: &Channel, gap: Gap, body: &mut Vec<u8>) {
    body.extend_from_slice(br#"{"channel":"#);
    body.extend_from_slice(channel.name_json());
    body.extend_from_slice(br#","next_id":"#);
    decimal::write(body, gap.next_id);
    body.extend_from_slice(br#","reason":""#);
    body.extend_from_slice(gap.loss.name().as_bytes());
    body.extend_from_slice(if gap.system { br#"","system":true}"# } else { br#""}"# });
}

/// Writes an object, or a call of a function with it. The comment before the call keeps the answer from being taken for
/// something that begins with what the visitor has chosen.
fn wrapped(body: &mut Vec<u8>, callback: Option<&[u8]>, object: impl FnOnce(&mut Vec<u8>)) {
    let Some(callback) = callback else { return object(body) };
    body.extend_from_slice(b"/**/");
    body.extend_from_slice(callback);
    body.push(b'(');
    object(body);
    body.extend_from_slice(b");");
}

/// An error of the resume protocol: an object with the real status, or a call with the object, and 200, as a script with
/// another status is not run.
pub(super) fn write_error(
    status: Status,
    text: &str,
    callback: Option<&[u8]>,
    headers: &str,
    date: &str,
    exchange: Exchange,
    out: &mut Vec<u8>,
) {
    let mut body = Vec::new();
    wrapped(&mut body, callback, |body| write_error_object(status, text, body));
    let status = if callback.is_none() { status } else { Status::OK };
    Response { status, headers, body: &body }.write(out, date, exchange);
}

/// An error of the resume protocol as its pages read it.
pub(super) fn write_error_object(status: Status, text: &str, body: &mut Vec<u8>) {
    let _ = write!(body, r#"{{"error":{{"code":{},"message":"#, status.code());
    json::write_str(body, text);
    body.extend_from_slice(b"}}");
}

/// What a page is told whose client is unknown, has another key, or was killed: no more than that (WIRE P11).
pub(super) const GONE: &str = "no such client, or its key is another";

/// What a page is told whose client cannot be looked up.
pub(super) const AWAY: &str = "it cannot be found out who this client is now; come again in a second";

/// Why a well-formed poll is not parked, or not any more.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// A client is unknown, its key is wrong, or it was killed: the page learns no more than that (WIRE P11).
    Gone,
    TooManyPolls,
    TooManyClients,
    /// It cannot be found out who the client is: the broker is away.
    Away,
}

impl From<WaitError> for Refusal {
    fn from(error: WaitError) -> Refusal {
        match error {
            WaitError::UnknownClient | WaitError::WrongKey => Refusal::Gone,
            WaitError::TooManyPolls => Refusal::TooManyPolls,
            WaitError::TooManyClients => Refusal::TooManyClients,
        }
    }
}
