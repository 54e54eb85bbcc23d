//! The JSON-RPC API: the web application's side (WIRE sections 2 and 3).
//!
//! Two dialects over one table of methods. The original's: one object, `{"result": R, "id": I}` or an error with a
//! Python type's name. And JSON-RPC 2.0, for a request that says `"jsonrpc": "2.0"` and has an id, and for batches. A
//! single 2.0 request *without* an id is answered in the original's way, as callers of the original rely on it
//! (WIRE J1, J3); within a batch it is a notification.
//!
//! What is no call at all is refused with 400 and never with 200 (WIRE J8); the text of it is the error object of
//! JSON-RPC 2.0, for whoever reads it.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::clock::Ms;
use crate::hub::{self, ClientKey, Hub, Sender, Submission};
use crate::json;

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer is in `out`.
    Answered,
    /// A batch of notifications: there is nothing to answer.
    Silent,
    /// It is no call; `out` says why.
    Refused,
}

/// Why a call failed.
#[derive(Debug)]
enum Fault {
    /// The method needs a client that is not here.
    UnknownClient(String),
    /// The arguments are too many, too few, misnamed or of a wrong type.
    Arguments(String),
    UnknownMethod(String),
    /// JSON-RPC 2.0 only: the object is no request.
    Request(&'static str),
}

/// How a call is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Original,
    Two,
}

/// One method of the API.
struct Method {
    name: &'static str,
    /// The parameters' names, in order.
    parameters: &'static [&'static str],
    /// How many of them can be left out, from the end: by name and in JSON-RPC 2.0. A list of the original's dialect is
    /// whole, as its callers rely on the error (WIRE J6, M7).
    optional: usize,
    /// Does it, and writes the result as JSON.
    call: fn(&mut Call<'_>) -> Result<(), Fault>,
}

/// Sorted by name, as `system.list_methods` gives them (WIRE M12).
const METHODS: [Method; 12] = [
    Method { name: "create_client", parameters: &["client_id"], optional: 0, call: create_client },
    Method { name: "get_channel_clients", parameters: &["channel_name"], optional: 0, call: get_channel_clients },
    Method { name: "get_client_channels", parameters: &["client_id"], optional: 0, call: get_client_channels },
    Method { name: "kill_client", parameters: &["client_id"], optional: 0, call: kill_client },
    Method {
        name: "new_message",
        parameters: &["client_id", "message", "channel_name", "system"],
        optional: 1,
        call: new_message,
    },
    Method { name: "subscribe", parameters: &["client_id", "channel_name"], optional: 0, call: subscribe },
    Method { name: "subscribe_many", parameters: &["channels"], optional: 0, call: subscribe_many },
    Method { name: "system.describe", parameters: &[], optional: 0, call: describe },
    Method { name: "system.list_methods", parameters: &[], optional: 0, call: list_methods },
    Method { name: "unsubscribe", parameters: &["client_id", "channel_name"], optional: 0, call: unsubscribe },
    Method {
        name: "unsubscribe_all_channel",
        parameters: &["channel_name", "exclude"],
        optional: 0,
        call: unsubscribe_all_channel,
    },
    Method { name: "unsubscribe_many", parameters: &["channels"], optional: 0, call: unsubscribe_many },
];

/// Calls in one batch. All of them are done in one turn of the loop.
const BATCH_MAX: usize = 1000;

/// Answers the body of a request: writes into `out`, which is empty.
pub(super) fn answer(hub: &mut Hub, now: Ms, body: &[u8], out: &mut Vec<u8>) -> Outcome {
    let outcome = match serde_json::from_slice(&json::mend_surrogates(body)) {
        Ok(Value::Object(request)) => answer_one(hub, now, request, out),
        Ok(Value::Array(batch)) if batch.iter().any(is_two) => answer_batch(hub, now, batch, out),
        Ok(_) => refuse(out, INVALID_REQUEST, "the body is neither an object nor a batch of JSON-RPC 2.0"),
        Err(error) => refuse(out, PARSE_ERROR, &format!("the body is not JSON: {error}")),
    };
    out.push(b'\n');
    outcome
}

fn answer_one(hub: &mut Hub, now: Ms, request: Map<String, Value>, out: &mut Vec<u8>) -> Outcome {
    let two = request.get("jsonrpc").is_some_and(is_version_two) && request.contains_key("id");
    let dialect = if two { Dialect::Two } else { Dialect::Original };
    if !two && !matches!(request.get("method"), Some(Value::String(_))) {
        return refuse(out, INVALID_REQUEST, "the member method is missing or no string");
    }
    perform(hub, now, request, dialect, out);
    Outcome::Answered
}

fn answer_batch(hub: &mut Hub, now: Ms, batch: Vec<Value>, out: &mut Vec<u8>) -> Outcome {
    if batch.len() > BATCH_MAX {
        let text = format!("a batch of {} calls; {BATCH_MAX} is the most", batch.len());
        return refuse(out, INVALID_REQUEST, &text);
    }
    let mut open = b'[';
    for request in batch {
        let start = out.len();
        out.push(open);
        let notification = match request {
            Value::Object(request) if request.get("jsonrpc").is_some_and(is_version_two) => {
                let notification =
                    !request.contains_key("id") && matches!(request.get("method"), Some(Value::String(_)));
                perform(hub, now, request, Dialect::Two, out);
                notification
            }
            _ => {
                write_error(out, Dialect::Two, &Fault::Request("not a request of JSON-RPC 2.0"), &Value::Null);
                false
            }
        };
        if notification {
            out.truncate(start);
        } else {
            open = b',';
        }
    }
    if open == b'[' {
        return Outcome::Silent;
    }
    out.push(b']');
    Outcome::Answered
}

fn is_two(request: &Value) -> bool {
    request.get("jsonrpc").is_some_and(is_version_two)
}

fn is_version_two(version: &Value) -> bool {
    version == "2.0"
}

/// Does one call and writes its answer.
fn perform(hub: &mut Hub, now: Ms, mut request: Map<String, Value>, dialect: Dialect, out: &mut Vec<u8>) {
    let id = request.remove("id").unwrap_or(Value::Null);
    let start = out.len();
    out.extend_from_slice(match dialect {
        Dialect::Original => br#"{"result":"#,
        Dialect::Two => br#"{"jsonrpc":"2.0","result":"#,
    });
    match dispatch(hub, now, request, dialect, out) {
        Ok(()) => {
            if dialect == Dialect::Two || !id.is_null() {
                out.extend_from_slice(br#","id":"#);
                json::write_value(out, &id);
            }
            out.push(b'}');
        }
        Err(fault) => {
            out.truncate(start);
            write_error(out, dialect, &fault, &id);
        }
    }
}

fn dispatch(
    hub: &mut Hub,
    now: Ms,
    mut request: Map<String, Value>,
    dialect: Dialect,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let Some(Value::String(name)) = request.remove("method") else {
        return Err(Fault::Request("the member method is missing or no string"));
    };
    let Some(method) = METHODS.iter().find(|method| method.name == name) else {
        return Err(Fault::UnknownMethod(name));
    };
    let arguments = bind(method, dialect, request.remove("params").unwrap_or(Value::Null))?;
    (method.call)(&mut Call { hub, now, arguments, out })
}

/// Brings the arguments into the order of the method's parameters; those left out are null (WIRE J4).
fn bind(method: &Method, dialect: Dialect, params: Value) -> Result<Vec<Value>, Fault> {
    let (least, most) = (method.parameters.len() - method.optional, method.parameters.len());
    let wrong_number = |given: usize| {
        let exactly = if method.optional == 0 { "exactly" } else { "at least" };
        Fault::Arguments(format!("{}() takes {exactly} {least} arguments ({given} given)", method.name))
    };
    match params {
        Value::Null if least == 0 => Ok(Vec::new()),
        Value::Null => Err(wrong_number(0)),
        Value::Array(mut values) => {
            let least = if dialect == Dialect::Original { most } else { least };
            if values.len() < least || values.len() > most {
                return Err(wrong_number(values.len()));
            }
            values.resize(most, Value::Null);
            Ok(values)
        }
        Value::Object(mut named) => {
            let mut values = Vec::with_capacity(most);
            for (at, parameter) in method.parameters.iter().enumerate() {
                match named.remove(*parameter) {
                    Some(value) => values.push(value),
                    None if at < least => {
                        return Err(Fault::Arguments(format!("{}() misses the argument '{parameter}'", method.name)));
                    }
                    None => values.push(Value::Null),
                }
            }
            match named.keys().next() {
                Some(extra) => Err(Fault::Arguments(format!("{}() got an unexpected argument '{extra}'", method.name))),
                None => Ok(values),
            }
        }
        // WIRE J9, J10.
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Fault::Arguments("params is neither a list nor an object".to_owned()))
        }
    }
}

/// A call under way.
struct Call<'a> {
    hub: &'a mut Hub,
    now: Ms,
    /// One for each parameter of the method.
    arguments: Vec<Value>,
    out: &'a mut Vec<u8>,
}

impl Call<'_> {
    /// The `at`-th argument as an id or a name. Numbers are the same as their digits (WIRE M14, M15).
    fn name(&mut self, at: usize) -> Result<String, Fault> {
        name(self.arguments[at].take())
    }

    fn known<T>(&self, id: &str, done: Result<T, hub::Error>) -> Result<T, Fault> {
        done.map_err(|hub::Error::UnknownClient| Fault::UnknownClient(id.to_owned()))
    }

    /// `1`, as the original's single calls return.
    fn one(&mut self) {
        self.out.push(b'1');
    }

    /// `200`, as the original's calls that return nothing do (WIRE M4).
    fn nothing(&mut self) {
        self.out.extend_from_slice(b"200");
    }
}

fn name(value: Value) -> Result<String, Fault> {
    match value {
        Value::String(name) => Ok(name),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err(Fault::Arguments("an id or a name is null; it must be a string or a number".to_owned())),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(Fault::Arguments("an id or a name is neither a string nor a number".to_owned()))
        }
    }
}

fn create_client(call: &mut Call<'_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the operating system's generator works once the system is up");
    let key = call.hub.create_client(call.now, &id, ClientKey::new(random));
    call.out.push(b'"');
    call.out.extend_from_slice(&key.hex());
    call.out.push(b'"');
    Ok(())
}

fn subscribe(call: &mut Call<'_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let done = call.hub.subscribe(call.now, &id, &channel);
    call.known(&id, done)?;
    call.one();
    Ok(())
}

fn unsubscribe(call: &mut Call<'_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let done = call.hub.unsubscribe(call.now, &id, &channel);
    call.known(&id, done)?;
    call.one();
    Ok(())
}

fn subscribe_many(call: &mut Call<'_>) -> Result<(), Fault> {
    each_pair(call, Hub::subscribe)
}

fn unsubscribe_many(call: &mut Call<'_>) -> Result<(), Fault> {
    each_pair(call, Hub::unsubscribe)
}

/// Does the same for every client of every channel in `{channel: [client, ...]}` (WIRE M4). Stops at the first client
/// that is not here; what was done stays done (WIRE M5).
fn each_pair(call: &mut Call<'_>, verb: fn(&mut Hub, Ms, &str, &str) -> Result<(), hub::Error>) -> Result<(), Fault> {
    let Value::Object(channels) = call.arguments[0].take() else {
        return Err(Fault::Arguments("channels is not an object of channels and lists of clients".to_owned()));
    };
    for (channel, clients) in channels {
        for client in list(clients)? {
            let id = name(client)?;
            let done = verb(call.hub, call.now, &id, &channel);
            call.known(&id, done)?;
        }
    }
    call.nothing();
    Ok(())
}

fn unsubscribe_all_channel(call: &mut Call<'_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let exclude = match call.arguments[1].take() {
        Value::Null => Vec::new(),
        clients => list(clients)?,
    };
    let exclude = exclude.into_iter().map(name).collect::<Result<std::collections::HashSet<_>, _>>()?;
    call.hub.unsubscribe_all(call.now, &channel, |id| exclude.contains(id));
    call.nothing();
    Ok(())
}

fn list(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Fault::Arguments("a list of clients is not a list".to_owned())),
    }
}

fn new_message(call: &mut Call<'_>) -> Result<(), Fault> {
    let mut sender = Vec::new();
    let from = match &call.arguments[0] {
        Value::String(id) => Sender::Id(id),
        other => {
            json::write_value(&mut sender, other);
            Sender::Json(&sender)
        }
    };
    let mut json_text = Vec::new();
    let text = match &call.arguments[1] {
        Value::String(text) => text,
        // What is not a string arrives as its JSON text (WIRE M8).
        other => {
            json::write_value(&mut json_text, other);
            std::str::from_utf8(&json_text).expect("JSON is written in ASCII")
        }
    };
    let channel = name(call.arguments[2].clone())?;
    call.hub.publish(call.now, Submission { channel: &channel, from, text });
    call.one();
    Ok(())
}

fn get_channel_clients(call: &mut Call<'_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    write_names(call.out, call.hub.channel_clients(call.now, &channel));
    Ok(())
}

fn get_client_channels(call: &mut Call<'_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let channels = call.hub.client_channels(&id).map_err(|_| Fault::UnknownClient(id.clone()))?;
    write_names(call.out, channels);
    Ok(())
}

fn write_names<'a>(out: &mut Vec<u8>, names: impl Iterator<Item = &'a str>) {
    out.push(b'[');
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::write_str(out, name);
    }
    out.push(b']');
}

fn kill_client(call: &mut Call<'_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let done = call.hub.kill_client(call.now, &id);
    call.known(&id, done)?;
    call.nothing();
    Ok(())
}

fn list_methods(call: &mut Call<'_>) -> Result<(), Fault> {
    json::write_value(call.out, &method_list());
    Ok(())
}

fn describe(call: &mut Call<'_>) -> Result<(), Fault> {
    let description = serde_json::json!({
        "sdversion": "1.0",
        "name": "Shaveet",
        "summary": "A push server: clients, channels and messages for the pages of a web application",
        "procs": method_list(),
    });
    json::write_value(call.out, &description);
    Ok(())
}

fn method_list() -> Value {
    METHODS.iter().map(|method| serde_json::json!({ "name": method.name })).collect()
}

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
/// From here to -32099 the codes are the server's own (JSON-RPC 2.0 section 5.1).
const UNKNOWN_CLIENT: i32 = -32001;

impl Fault {
    /// The code of JSON-RPC 2.0, the original's type (WIRE J6, J7), and the text.
    fn describe(&self) -> (i32, &'static str, String) {
        match self {
            Fault::UnknownClient(id) => {
                (UNKNOWN_CLIENT, "<type 'exceptions.KeyError'>", format!("Server Exception :: u'{id}'"))
            }
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

fn write_error(out: &mut Vec<u8>, dialect: Dialect, fault: &Fault, id: &Value) {
    let (code, kind, message) = fault.describe();
    match dialect {
        Dialect::Original => {
            out.extend_from_slice(br#"{"result":null,"error":{"type":"#);
            json::write_str(out, kind);
            out.extend_from_slice(br#","message":"#);
            json::write_str(out, &message);
            out.push(b'}');
            if !id.is_null() {
                out.extend_from_slice(br#","id":"#);
                json::write_value(out, id);
            }
            out.push(b'}');
        }
        Dialect::Two => {
            write_error_two(out, code, &message);
            out.extend_from_slice(br#","id":"#);
            json::write_value(out, id);
            out.push(b'}');
        }
    }
}

fn write_error_two(out: &mut Vec<u8>, code: i32, message: &str) {
    let mut text = String::new();
    let _ = write!(text, r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"#);
    out.extend_from_slice(text.as_bytes());
    json::write_str(out, message);
    out.push(b'}');
}

fn refuse(out: &mut Vec<u8>, code: i32, message: &str) -> Outcome {
    write_error_two(out, code, message);
    out.extend_from_slice(br#","id":null}"#);
    Outcome::Refused
}
