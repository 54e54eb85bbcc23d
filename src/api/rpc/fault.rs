//! Why a call failed, in the words of both dialects.

use std::fmt::Write as _;

use crate::hub::{self, Limit};
use crate::json;

use super::calls::write_id;
use super::syntax::{DEPTH_MAX, Wrong};
use super::value::Json;
use super::{Dialect, Outcome};

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The method needs a client that is not here.
    UnknownClient(String),
    /// The method needs a channel that does not exist.
    UnknownChannel(String),
    /// A limit is reached; says which, its value, and the knob.
    Limit(String),
    /// The arguments are too many, too few, misnamed or of a wrong type.
    Arguments(String),
    UnknownMethod(String),
    /// Redis does not answer, or refuses: says why, and what to do.
    Broker(String),
    /// JSON-RPC 2.0 only: the object is no request.
    Request(&'static str),
}

/// What a verb of the hub says, in the words of the API. `name` is of whom or what it says it.
pub(super) fn faults(error: hub::Error, name: &str) -> Fault {
    match error {
        hub::Error::UnknownClient => Fault::UnknownClient(name.to_owned()),
        hub::Error::UnknownChannel => Fault::UnknownChannel(name.to_owned()),
        hub::Error::Full(limit) => {
            let (count, what, knob) = match limit {
                Limit::Memory(bytes) => {
                    return Fault::Limit(format!(
                        "{bytes} bytes of memory are used already; --memory-max is the limit"
                    ));
                }
                Limit::Clients(count) => (count, "clients", "--max-clients"),
                Limit::Channels(count) => (count, "channels", "--max-channels"),
                Limit::Subscriptions(count) => (count, "subscriptions of one client", "--max-subscriptions"),
            };
            Fault::Limit(format!("there are {count} {what} already; {knob} is the limit"))
        }
    }
}

impl Fault {
    /// The code of JSON-RPC 2.0, the original's type (WIRE J6, J7), and the text.
    fn describe(&self) -> (i32, &'static str, String) {
        match self {
            Fault::UnknownClient(id) => {
                (UNKNOWN_CLIENT, "<type 'exceptions.KeyError'>", format!("Server Exception :: u'{id}'"))
            }
            Fault::UnknownChannel(name) => {
                (UNKNOWN_CHANNEL, "<type 'exceptions.KeyError'>", format!("Server Exception :: no channel u'{name}'"))
            }
            Fault::Limit(text) => {
                (LIMIT_REACHED, "<type 'exceptions.OverflowError'>", format!("Server Exception :: {text}"))
            }
            Fault::Broker(text) => (BROKER_AWAY, "<type 'exceptions.IOError'>", format!("Server Exception :: {text}")),
            Fault::Arguments(text) => {
                (INVALID_PARAMS, "<type 'exceptions.TypeError'>", format!("Server Exception :: {text}"))
            }
            Fault::UnknownMethod(name) => {
                (METHOD_NOT_FOUND, "JSONRPCError", format!("no such method '{name}'; system.list_methods lists them"))
            }
            Fault::Request(text) => (INVALID_REQUEST, "JSONRPCError", (*text).to_owned()),
        }
    }
}

/// Why a body is no call at all.
#[derive(Debug)]
pub(super) struct Refusal {
    code: i32,
    text: String,
}

impl Refusal {
    /// It is no JSON, or none that is read here.
    pub(super) fn syntax(at: usize, what: Wrong) -> Refusal {
        let text = match what {
            Wrong::Wanted(wanted) => format!(
                "the body is not JSON, such as {{\"method\": \"system.list_methods\", \"params\": []}}: {wanted} is wanted \
                 at byte {at}"
            ),
            Wrong::TooDeep => format!(
                "lists and objects are nested deeper than {DEPTH_MAX} levels at byte {at}; send what is deeper as a string"
            ),
        };
        Refusal { code: PARSE_ERROR, text }
    }

    /// It is JSON, and no call.
    pub(super) fn request(text: impl Into<String>) -> Refusal {
        Refusal { code: INVALID_REQUEST, text: text.into() }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Outcome {
        write_error_two(out, self.code, &self.text);
        out.extend_from_slice(br#","id":null}"#);
        Outcome::Refused
    }
}

/// Writes the answer of a call that failed.
pub(super) fn write_error(out: &mut Vec<u8>, dialect: Dialect, fault: &Fault, id: Json<'_>) {
    let (code, kind, message) = fault.describe();
    match dialect {
        Dialect::Original => {
            out.extend_from_slice(br#"{"result":null,"error":{"type":"#);
            json::write_str(out, kind);
            out.extend_from_slice(br#","message":"#);
            json::write_str(out, &message);
            out.push(b'}');
        }
        Dialect::Two => write_error_two(out, code, &message),
    }
    write_id(out, dialect, id);
    out.push(b'}');
}

fn write_error_two(out: &mut Vec<u8>, code: i32, message: &str) {
    let mut text = String::new();
    let _ = write!(text, r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"#);
    out.extend_from_slice(text.as_bytes());
    json::write_str(out, message);
    out.push(b'}');
}

/// Errors that methods give, as they are described: the code and its meaning.
pub(super) const INVALID: (i32, &str) =
    (INVALID_PARAMS, "The arguments are too many, too few, misnamed or of a wrong type.");
pub(super) const NO_CLIENT: (i32, &str) = (UNKNOWN_CLIENT, "The client is not here.");
pub(super) const NO_CHANNEL: (i32, &str) = (UNKNOWN_CHANNEL, "The channel does not exist.");
pub(super) const AWAY: (i32, &str) =
    (BROKER_AWAY, "Where several nodes share one model: Redis does not answer, or refuses; the message says why.");
pub(super) const FULL: (i32, &str) = (LIMIT_REACHED, "A limit is reached; the message says which, and its knob.");

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// From here to -32099 the codes are the server's own (JSON-RPC 2.0 section 5.1).
const UNKNOWN_CLIENT: i32 = -32001;
const UNKNOWN_CHANNEL: i32 = -32002;
const LIMIT_REACHED: i32 = -32003;
const BROKER_AWAY: i32 = -32004;
