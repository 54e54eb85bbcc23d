//! The JSON-RPC API: the web application's side (WIRE sections 2 and 3).
//!
//! Two dialects over one table of methods. The original's: one object, `{"result": R, "id": I}` or an error with a
//! Python type's name. And JSON-RPC 2.0, for a request that says `"jsonrpc": "2.0"` and has an id, and for batches. A
//! single 2.0 request *without* an id is answered in the original's way, as callers of the original rely on it
//! (WIRE J1, J3); within a batch it is a notification.
//!
//! What is no call at all is refused with 400 and never with 200 (WIRE J8); the text of it is the error object of
//! JSON-RPC 2.0, for whoever reads it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::clock::Ms;
use crate::hub::{self, ClientKey, Hub, Limit, Message, Page, Sender, Submission};
use crate::json;

use super::{Epoch, Token};

/// What a call works with.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) hub: &'a mut Hub,
    pub(super) now: Ms,
    pub(super) epoch: Epoch,
    /// Bytes of an id or a name.
    pub(super) name_bytes_max: usize,
}

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
    /// The method needs a channel that does not exist.
    UnknownChannel(String),
    /// A limit is reached; says which, its value, and the knob.
    Limit(String),
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
    /// How many of them can be left out, from the end.
    optional: usize,
    /// The original has it: it is among those that `system.list_methods` lists (WIRE M12).
    original: bool,
    /// Does it, and writes the result as JSON.
    call: fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>,
}

/// A method of the original's, with all parameters needed.
const fn original(
    name: &'static str,
    parameters: &'static [&'static str],
    call: fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>,
) -> Method {
    Method { name, parameters, optional: 0, original: true, call }
}

/// A method that the original has not.
const fn addition(
    name: &'static str,
    parameters: &'static [&'static str],
    optional: usize,
    call: fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>,
) -> Method {
    Method { name, parameters, optional, original: false, call }
}

const SUBSCRIBE: &[&str] = &["client_id", "channel_name", "options"];
const NEW_MESSAGE: &[&str] = &["client_id", "message", "channel_name", "system"];
const LIST: &[&str] = &["prefix", "after", "limit"];

/// Sorted by name, as `system.list_methods` gives them.
const METHODS: [Method; 20] = [
    addition("broadcast", &["channels", "data", "options"], 1, broadcast),
    addition("channel_info", &["channel"], 0, channel_info),
    addition("client_info", &["client_id"], 0, client_info),
    original("create_client", &["client_id"], create_client),
    original("get_channel_clients", &["channel_name"], get_channel_clients),
    original("get_client_channels", &["client_id"], get_client_channels),
    addition("history", &["channel", "since", "limit"], 2, history),
    original("kill_client", &["client_id"], kill_client),
    addition("list_channels", LIST, 3, list_channels),
    addition("list_clients", LIST, 3, list_clients),
    Method { optional: 1, ..original("new_message", NEW_MESSAGE, new_message) },
    addition("publish", &["channel", "data", "options"], 1, publish),
    addition("rotate_key", &["client_id"], 0, rotate_key),
    Method { optional: 1, ..original("subscribe", SUBSCRIBE, subscribe) },
    original("subscribe_many", &["channels"], subscribe_many),
    original("system.describe", &[], describe),
    original("system.list_methods", &[], list_methods),
    original("unsubscribe", &["client_id", "channel_name"], unsubscribe),
    original("unsubscribe_all_channel", &["channel_name", "exclude"], unsubscribe_all_channel),
    original("unsubscribe_many", &["channels"], unsubscribe_many),
];

/// Calls in one batch. All of them are done in one turn of the loop.
const BATCH_MAX: usize = 1000;

/// The members of an object, each as its JSON text. Of several of one name the last counts (WIRE J13).
///
/// Nothing is taken apart further than a method needs it: a number or a nested object goes through with the digits
/// and the spelling with which it came.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Answers the body of a request: writes into `out`, which is empty.
pub(super) fn answer(service: &mut Service<'_>, body: &[u8], out: &mut Vec<u8>) -> Outcome {
    let body = json::mend_surrogates(body);
    let outcome = match std::str::from_utf8(&body) {
        Ok(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => answer_value(service, value, out),
            Err(error) => refuse(out, PARSE_ERROR, &format!("the body is not JSON: {error}")),
        },
        Err(error) => refuse(out, PARSE_ERROR, &format!("the body is not UTF-8: {error}")),
    };
    if outcome != Outcome::Silent {
        out.push(b'\n');
    }
    outcome
}

fn answer_value(service: &mut Service<'_>, value: &RawValue, out: &mut Vec<u8>) -> Outcome {
    match Kind::of(value) {
        Kind::Object => answer_one(service, members(value), out),
        Kind::Array => {
            let batch = elements(value);
            if batch.iter().any(|request| is_two(request)) {
                answer_batch(service, &batch, out)
            } else {
                refuse(out, INVALID_REQUEST, "the list is no batch of JSON-RPC 2.0")
            }
        }
        Kind::String | Kind::Number | Kind::Null | Kind::Bool => {
            refuse(out, INVALID_REQUEST, "the body is neither an object nor a batch of JSON-RPC 2.0")
        }
    }
}

fn answer_one(service: &mut Service<'_>, request: Members<'_>, out: &mut Vec<u8>) -> Outcome {
    let two = says_two(&request) && request.contains_key("id");
    let dialect = if two { Dialect::Two } else { Dialect::Original };
    if !two && !names_method(&request) {
        return refuse(out, INVALID_REQUEST, "the member method is missing or no string");
    }
    perform(service, request, dialect, out);
    Outcome::Answered
}

fn answer_batch(service: &mut Service<'_>, batch: &[&RawValue], out: &mut Vec<u8>) -> Outcome {
    if batch.len() > BATCH_MAX {
        let text = format!("a batch of {} calls; {BATCH_MAX} is the most", batch.len());
        return refuse(out, INVALID_REQUEST, &text);
    }
    let mut open = b'[';
    for request in batch {
        let start = out.len();
        out.push(open);
        if is_two(request) {
            let request = members(request);
            let is_notification = !request.contains_key("id") && names_method(&request);
            perform(service, request, Dialect::Two, out);
            if is_notification {
                out.truncate(start);
                continue;
            }
        } else {
            write_error(out, Dialect::Two, &Fault::Request("not a request of JSON-RPC 2.0"), RawValue::NULL);
        }
        open = b',';
    }
    if open == b'[' {
        return Outcome::Silent;
    }
    out.push(b']');
    Outcome::Answered
}

fn is_two(request: &RawValue) -> bool {
    Kind::of(request) == Kind::Object && says_two(&members(request))
}

fn says_two(request: &Members<'_>) -> bool {
    request.get("jsonrpc").is_some_and(|version| version.get() == r#""2.0""#)
}

fn names_method(request: &Members<'_>) -> bool {
    request.get("method").is_some_and(|method| Kind::of(method) == Kind::String)
}

/// What a JSON text is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Number,
    Null,
    Bool,
}

impl Kind {
    fn of(value: &RawValue) -> Kind {
        match value.get().as_bytes()[0] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            _ => Kind::Number,
        }
    }
}

/// The members of an object.
///
/// # Panics
/// If it is none: the caller has looked.
fn members(object: &RawValue) -> Members<'_> {
    serde_json::from_str(object.get()).expect(READ_ONCE)
}

/// The elements of a list.
///
/// # Panics
/// If it is none: the caller has looked.
fn elements(list: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(list.get()).expect(READ_ONCE)
}

/// Why taking a value apart cannot fail.
const READ_ONCE: &str = "a text that has been read once is well-formed";

/// The text of a JSON string; most have no escapes and are taken as they stand.
fn unquote(string: &RawValue) -> Cow<'_, str> {
    let inside = &string.get()[1..string.get().len() - 1];
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    Cow::Owned(serde_json::from_str(string.get()).expect(READ_ONCE))
}

/// Does one call and writes its answer.
fn perform(service: &mut Service<'_>, mut request: Members<'_>, dialect: Dialect, out: &mut Vec<u8>) {
    let id = request.remove("id").unwrap_or(RawValue::NULL);
    let start = out.len();
    out.extend_from_slice(match dialect {
        Dialect::Original => br#"{"result":"#,
        Dialect::Two => br#"{"jsonrpc":"2.0","result":"#,
    });
    match dispatch(service, request, dialect, out) {
        Ok(()) => {
            write_id(out, dialect, id);
            out.push(b'}');
        }
        Err(fault) => {
            out.truncate(start);
            write_error(out, dialect, &fault, id);
        }
    }
}

/// The id as it came; the original leaves out one that is null (WIRE J3).
fn write_id(out: &mut Vec<u8>, dialect: Dialect, id: &RawValue) {
    if dialect == Dialect::Two || Kind::of(id) != Kind::Null {
        out.extend_from_slice(br#","id":"#);
        json::write_text(out, id.get());
    }
}

fn dispatch(
    service: &mut Service<'_>,
    mut request: Members<'_>,
    dialect: Dialect,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let Some(name) = request.remove("method").filter(|method| Kind::of(method) == Kind::String) else {
        return Err(Fault::Request("the member method is missing or no string"));
    };
    let name = unquote(name);
    let Some(method) = METHODS.iter().find(|method| method.name == name) else {
        return Err(Fault::UnknownMethod(name.into_owned()));
    };
    let arguments = bind(method, dialect, request.remove("params").unwrap_or(RawValue::NULL))?;
    (method.call)(&mut Call { service, arguments, out })
}

/// Brings the arguments into the order of the method's parameters; those left out are null (WIRE J4).
fn bind<'a>(method: &Method, dialect: Dialect, params: &'a RawValue) -> Result<Vec<&'a RawValue>, Fault> {
    let most = method.parameters.len();
    let least = most - method.optional;
    match Kind::of(params) {
        Kind::Null => bind_list(method, least, Vec::new()),
        // A list of three in the original's dialect is an error on which its callers rely (WIRE J6, M7).
        Kind::Array if dialect == Dialect::Original && method.name == "new_message" => {
            bind_list(method, most, elements(params))
        }
        Kind::Array => bind_list(method, least, elements(params)),
        Kind::Object => bind_names(method, least, members(params)),
        // WIRE J9, J10.
        Kind::Bool | Kind::Number | Kind::String => {
            Err(Fault::Arguments("params is neither a list nor an object".to_owned()))
        }
    }
}

fn bind_list<'a>(method: &Method, least: usize, mut values: Vec<&'a RawValue>) -> Result<Vec<&'a RawValue>, Fault> {
    let most = method.parameters.len();
    if values.len() < least || values.len() > most {
        let exactly = if least == most { "exactly" } else { "at least" };
        let (name, given) = (method.name, values.len());
        return Err(Fault::Arguments(format!("{name}() takes {exactly} {least} arguments ({given} given)")));
    }
    values.resize(most, RawValue::NULL);
    Ok(values)
}

fn bind_names<'a>(method: &Method, least: usize, mut named: Members<'a>) -> Result<Vec<&'a RawValue>, Fault> {
    let mut values = Vec::with_capacity(method.parameters.len());
    for (at, parameter) in method.parameters.iter().enumerate() {
        match named.remove(*parameter) {
            None if at < least => {
                return Err(Fault::Arguments(format!("{}() misses the argument '{parameter}'", method.name)));
            }
            value => values.push(value.unwrap_or(RawValue::NULL)),
        }
    }
    match named.keys().next() {
        Some(extra) => Err(Fault::Arguments(format!("{}() got an unexpected argument '{extra}'", method.name))),
        None => Ok(values),
    }
}

/// A call under way.
struct Call<'a, 'b, 's> {
    service: &'b mut Service<'s>,
    /// One for each parameter of the method.
    arguments: Vec<&'a RawValue>,
    out: &'b mut Vec<u8>,
}

impl<'a> Call<'a, '_, '_> {
    /// The `at`-th argument as an id or a name. Numbers are the same as their digits (WIRE M14, M15).
    fn name(&self, at: usize) -> Result<Cow<'a, str>, Fault> {
        self.limited(name(self.arguments[at])?)
    }

    fn limited(&self, name: Cow<'a, str>) -> Result<Cow<'a, str>, Fault> {
        let (bytes, most) = (name.len(), self.service.name_bytes_max);
        if bytes > most {
            return Err(Fault::Limit(format!("an id or a name has {bytes} bytes; --max-name is {most}")));
        }
        Ok(name)
    }

    /// The argument of that place, if it is there.
    fn optional(&self, at: usize) -> Option<&'a RawValue> {
        Some(self.arguments[at]).filter(|value| Kind::of(value) != Kind::Null)
    }

    /// A whole number that may be left out.
    fn number(&self, at: usize, default: usize) -> Result<usize, Fault> {
        self.optional(at).map_or(Ok(default), number)
    }

    /// A position that may be left out.
    fn position(&self, value: Option<&RawValue>) -> Result<Option<u64>, Fault> {
        let Some(value) = value else { return Ok(None) };
        let token = (Kind::of(value) == Kind::String).then(|| Token::parse(&unquote(value))).flatten();
        let token = token.ok_or_else(|| Fault::Arguments("since is no position that this server gave".to_owned()))?;
        // Of another epoch: nothing is known of what came before.
        Ok(Some(self.service.epoch.seq(token).unwrap_or(0).min(self.service.hub.position())))
    }

    fn write_position(&mut self, seq: u64) {
        let token = self.service.epoch.token(seq).to_string();
        json::write_str(self.out, &token);
    }

    fn write_member(&mut self, open: &str, name: &str, value: u64) {
        self.out.extend_from_slice(format!("{open}\"{name}\":{value}").as_bytes());
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

/// What a verb of the hub says, in the words of the API. `name` is of whom or what it says it.
fn faults(error: hub::Error, name: &str) -> Fault {
    match error {
        hub::Error::UnknownClient => Fault::UnknownClient(name.to_owned()),
        hub::Error::UnknownChannel => Fault::UnknownChannel(name.to_owned()),
        hub::Error::Full(limit) => {
            let (count, what, knob) = match limit {
                Limit::Clients(count) => (count, "clients", "--max-clients"),
                Limit::Channels(count) => (count, "channels", "--max-channels"),
                Limit::Subscriptions(count) => (count, "subscriptions of one client", "--max-subscriptions"),
            };
            Fault::Limit(format!("there are {count} {what} already; {knob} is the limit"))
        }
    }
}

fn number(value: &RawValue) -> Result<usize, Fault> {
    value.get().parse().map_err(|_| Fault::Arguments("a number is no whole number of 0 or more".to_owned()))
}

fn name(value: &RawValue) -> Result<Cow<'_, str>, Fault> {
    match Kind::of(value) {
        Kind::String => Ok(unquote(value)),
        Kind::Number => Ok(Cow::Borrowed(value.get())),
        Kind::Null => Err(Fault::Arguments("an id or a name is null; it must be a string or a number".to_owned())),
        Kind::Bool | Kind::Array | Kind::Object => {
            Err(Fault::Arguments("an id or a name is neither a string nor a number".to_owned()))
        }
    }
}

fn create_client(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let created = call.service.hub.create_client(call.service.now, &id, new_key());
    write_key(call, created.map_err(|error| faults(error, &id))?);
    Ok(())
}

fn rotate_key(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, key) = (call.name(0)?, new_key());
    call.service.hub.rotate_key(&id, key).map_err(|error| faults(error, &id))?;
    write_key(call, key);
    Ok(())
}

fn new_key() -> ClientKey {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the operating system's generator works once the system is up");
    ClientKey::new(random)
}

fn write_key(call: &mut Call<'_, '_, '_>, key: ClientKey) {
    call.out.push(b'"');
    call.out.extend_from_slice(&key.hex());
    call.out.push(b'"');
}

fn subscribe(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let mut options = options(call, 2)?;
    let since = call.position(options.remove("since"))?;
    none_left(&options)?;
    let done = call.service.hub.subscribe(call.service.now, &id, &channel, since);
    done.map_err(|error| faults(error, &id))?;
    call.one();
    Ok(())
}

fn unsubscribe(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let done = call.service.hub.unsubscribe(call.service.now, &id, &channel);
    done.map_err(|error| faults(error, &id))?;
    call.one();
    Ok(())
}

/// The members of an object that may be left out.
fn options<'a>(call: &Call<'a, '_, '_>, at: usize) -> Result<Members<'a>, Fault> {
    match call.optional(at) {
        None => Ok(Members::new()),
        Some(value) if Kind::of(value) == Kind::Object => Ok(members(value)),
        Some(_) => Err(Fault::Arguments("options is not an object".to_owned())),
    }
}

fn none_left(options: &Members<'_>) -> Result<(), Fault> {
    match options.keys().next() {
        Some(name) => Err(Fault::Arguments(format!("there is no option '{name}'"))),
        None => Ok(()),
    }
}

fn subscribe_many(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    each_pair(call, |hub, now, client, channel| hub.subscribe(now, client, channel, None))
}

fn unsubscribe_many(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    each_pair(call, Hub::unsubscribe)
}

/// Does the same for every client of every channel in `{channel: [client, ...]}` (WIRE M4). Stops at the first client
/// that is not here; what was done stays done (WIRE M5).
fn each_pair(
    call: &mut Call<'_, '_, '_>,
    verb: fn(&mut Hub, Ms, &str, &str) -> Result<(), hub::Error>,
) -> Result<(), Fault> {
    if Kind::of(call.arguments[0]) != Kind::Object {
        return Err(Fault::Arguments("channels is not an object of channels and lists of clients".to_owned()));
    }
    for (channel, clients) in members(call.arguments[0]) {
        for client in list(clients)? {
            let id = call.limited(name(client)?)?;
            let channel = call.limited(Cow::Borrowed(&channel))?;
            verb(call.service.hub, call.service.now, &id, &channel).map_err(|error| faults(error, &id))?;
        }
    }
    call.nothing();
    Ok(())
}

fn unsubscribe_all_channel(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let exclude = match Kind::of(call.arguments[1]) {
        Kind::Null => Vec::new(),
        _ => list(call.arguments[1])?,
    };
    let exclude = exclude.into_iter().map(name).collect::<Result<HashSet<_>, _>>()?;
    call.service.hub.unsubscribe_all(call.service.now, &channel, |id| exclude.contains(id));
    call.nothing();
    Ok(())
}

fn list(value: &RawValue) -> Result<Vec<&RawValue>, Fault> {
    match Kind::of(value) {
        Kind::Array => Ok(elements(value)),
        _ => Err(Fault::Arguments("a list of clients is not a list".to_owned())),
    }
}

fn new_message(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(2)?;
    let [from, message] = [call.arguments[0], call.arguments[1]].map(text_of);
    let from = match Kind::of(call.arguments[0]) {
        Kind::String => Sender::Id(&from),
        _ => Sender::Json(from.as_bytes()),
    };
    let submission = Submission { channel: &channel, from, text: &message, exclude: &[], ttl: None };
    call.service.hub.publish(call.service.now, submission).map_err(|error| faults(error, &channel))?;
    call.one();
    Ok(())
}

/// How something is to be published.
struct Publishing<'a> {
    from: Cow<'a, str>,
    from_is_id: bool,
    once: Option<Cow<'a, str>>,
    exclude: Vec<Cow<'a, str>>,
    ttl: Option<Ms>,
}

impl<'a> Publishing<'a> {
    fn read(call: &Call<'a, '_, '_>, at: usize) -> Result<Publishing<'a>, Fault> {
        let mut options = options(call, at)?;
        let from = options.remove("from").unwrap_or(RawValue::NULL);
        let exclude = match options.remove("exclude") {
            None => Vec::new(),
            Some(one) if Kind::of(one) != Kind::Array => vec![name(one)?],
            Some(several) => elements(several).into_iter().map(name).collect::<Result<_, _>>()?,
        };
        let publishing = Publishing {
            from: text_of(from),
            from_is_id: Kind::of(from) == Kind::String,
            once: options.remove("idempotency_key").map(name).transpose()?,
            exclude,
            ttl: options.remove("ttl_ms").map(number).transpose()?.map(|ms| Ms(ms as u64)),
        };
        none_left(&options)?;
        if let Some(once) = &publishing.once {
            call.limited(once.clone())?;
        }
        Ok(publishing)
    }

    /// Publishes, and writes where the message stands. Each channel of a broadcast has its own idempotency key.
    fn perform(&self, call: &mut Call<'_, '_, '_>, channel: &str, text: &str) -> Result<(), Fault> {
        let from = if self.from_is_id { Sender::Id(&self.from) } else { Sender::Json(self.from.as_bytes()) };
        let exclude: Vec<&str> = self.exclude.iter().map(|id| &**id).collect();
        let submission = Submission { channel, from, text, exclude: &exclude, ttl: self.ttl };
        let now = call.service.now;
        let placed = match &self.once {
            Some(key) => call.service.hub.publish_once(now, &format!("{key}\0{channel}"), submission),
            None => call.service.hub.publish(now, submission),
        };
        let placed = placed.map_err(|error| faults(error, channel))?;
        call.write_member("{", "id", placed.id);
        call.out.extend_from_slice(br#","position":"#);
        call.write_position(placed.seq);
        call.out.push(b'}');
        Ok(())
    }
}

fn publish(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let text = text_of(call.arguments[1]);
    Publishing::read(call, 2)?.perform(call, &channel, &text)
}

fn broadcast(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channels = list(call.arguments[0])?.into_iter().map(|channel| call.limited(name(channel)?));
    let channels = channels.collect::<Result<Vec<_>, _>>()?;
    let text = text_of(call.arguments[1]);
    let publishing = Publishing::read(call, 2)?;
    call.out.push(b'[');
    for (at, channel) in channels.iter().enumerate() {
        if at > 0 {
            call.out.push(b',');
        }
        publishing.perform(call, channel, &text)?;
    }
    call.out.push(b']');
    Ok(())
}

/// Messages in one answer of `history`, and names in one of the lists.
const PAGE_MAX: usize = 1000;

/// Places of a table that one call looks at: some 50 us of work.
const PLACES_MAX: u32 = 10_000;

fn history(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let since = call.position(call.optional(1))?.unwrap_or(0);
    let limit = call.number(2, PAGE_MAX)?.min(PAGE_MAX);
    let Call { service, out, .. } = call;
    let position = service.hub.position();
    let (messages, gap) =
        service.hub.history(service.now, &channel, since, limit).map_err(|error| faults(error, &channel))?;
    // As long as there may be more, the position is that of the last one given, or where it was.
    let position = if messages.len() < limit { position } else { messages.last().map_or(since, |last| last.seq()) };
    out.extend_from_slice(br#"{"messages":["#);
    for (at, message) in messages.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'{');
        write_message(message, out);
        out.push(b'}');
    }
    out.extend_from_slice(format!("],\"gap\":{gap},\"position\":").as_bytes());
    call.write_position(position);
    call.out.push(b'}');
    Ok(())
}

/// The members of a message, but for its channel's.
pub(super) fn write_message(message: &Message, out: &mut Vec<u8>) {
    let parts: [&[u8]; 7] = [
        br#""id":"#,
        message.id_json(),
        br#","from":"#,
        message.from_json(),
        br#","data":"#,
        message.text_json(),
        if message.kind().is_system() { br#","system":true"# } else { br#","system":false"# },
    ];
    parts.into_iter().for_each(|part| out.extend_from_slice(part));
    if let hub::Kind::System(Some(reason)) = message.kind() {
        out.extend_from_slice(br#","reason":"#);
        json::write_str(out, reason.name());
    }
}

fn channel_info(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let info = call.service.hub.channel_info(&channel).map_err(|error| faults(error, &channel))?;
    call.write_member("{", "subscribers", info.subscribers as u64);
    call.write_member(",", "away", info.away as u64);
    call.write_member(",", "messages", info.messages as u64);
    call.write_member(",", "bytes", info.bytes as u64);
    call.write_member(",", "next_id", info.next_id);
    call.out.extend_from_slice(br#","position":"#);
    call.write_position(info.position);
    call.out.push(b'}');
    Ok(())
}

fn client_info(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let info = call.service.hub.client_info(call.service.now, &id).map_err(|error| faults(error, &id))?;
    call.out.extend_from_slice(format!("{{\"here\":{}", info.here).as_bytes());
    call.write_member(",", "idle_ms", info.idle.0);
    call.write_member(",", "parked", info.polls.iter().sum::<usize>() as u64);
    let transports = [("poll", info.polls[0]), ("resume", info.polls[1])];
    call.out.extend_from_slice(br#","transports":"#);
    write_names(call.out, transports.into_iter().filter(|&(_, polls)| polls > 0).map(|(name, _)| name));
    call.write_member(",", "subscriptions", info.subscriptions as u64);
    call.out.extend_from_slice(br#","acknowledged":"#);
    call.write_position(info.position);
    call.out.push(b'}');
    Ok(())
}

fn list_channels(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    write_page(call, "channels", Hub::list_channels)
}

fn list_clients(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    write_page(call, "clients", Hub::list_clients)
}

/// A page of a list: `{"channels": [...], "after": 123}`; `after` asks for the next page and is null behind the last. A page
/// may be short, even empty, with more behind it: one call looks at a bounded number of places.
fn write_page(
    call: &mut Call<'_, '_, '_>,
    what: &str,
    list: for<'a> fn(&'a Hub, &str, u32, usize, u32) -> Page<'a>,
) -> Result<(), Fault> {
    let prefix = if call.optional(0).is_some() { call.name(0)? } else { Cow::Borrowed("") };
    let after = u32::try_from(call.number(1, 0)?).unwrap_or(u32::MAX);
    let limit = call.number(2, PAGE_MAX)?.clamp(1, PAGE_MAX);
    let Call { service, out, .. } = call;
    let (names, next) = list(service.hub, &prefix, after, limit, PLACES_MAX);
    out.extend_from_slice(format!("{{\"{what}\":").as_bytes());
    write_names(out, names.into_iter());
    let next = next.map_or("null".to_owned(), |next| next.to_string());
    out.extend_from_slice(format!(",\"after\":{next}}}").as_bytes());
    Ok(())
}

/// A string as it is; what is not a string as its JSON text (WIRE M8).
fn text_of(value: &RawValue) -> Cow<'_, str> {
    if Kind::of(value) == Kind::String {
        return unquote(value);
    }
    let mut text = Vec::new();
    json::write_text(&mut text, value.get());
    Cow::Owned(String::from_utf8(text).expect("JSON is written in ASCII"))
}

fn get_channel_clients(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let Call { service, out, .. } = call;
    write_names(out, service.hub.channel_clients(service.now, &channel));
    Ok(())
}

fn get_client_channels(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let Call { service, out, .. } = call;
    write_names(out, service.hub.client_channels(&id).map_err(|error| faults(error, &id))?);
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

fn kill_client(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    call.service.hub.kill_client(call.service.now, &id).map_err(|error| faults(error, &id))?;
    call.nothing();
    Ok(())
}

fn list_methods(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    write_methods(call.out);
    Ok(())
}

fn describe(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    call.out.extend_from_slice(
        br#"{"sdversion":"1.0","name":"Shaveet","summary":"A push server for the pages of a web application","procs":"#,
    );
    write_methods(call.out);
    call.out.push(b'}');
    Ok(())
}

fn write_methods(out: &mut Vec<u8>) {
    let mut open = b'[';
    for method in METHODS.iter().filter(|method| method.original) {
        out.push(open);
        out.extend_from_slice(br#"{"name":"#);
        json::write_str(out, method.name);
        out.push(b'}');
        open = b',';
    }
    out.push(b']');
}

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
/// From here to -32099 the codes are the server's own (JSON-RPC 2.0 section 5.1).
const UNKNOWN_CLIENT: i32 = -32001;
const UNKNOWN_CHANNEL: i32 = -32002;
const LIMIT_REACHED: i32 = -32003;

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

fn write_error(out: &mut Vec<u8>, dialect: Dialect, fault: &Fault, id: &RawValue) {
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

fn refuse(out: &mut Vec<u8>, code: i32, message: &str) -> Outcome {
    write_error_two(out, code, message);
    out.extend_from_slice(br#","id":null}"#);
    Outcome::Refused
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn ask(body: &str) -> (Outcome, String) {
        let config = crate::config::Config::default();
        let mut hub = Hub::new(Ms::ZERO, config.hub_limits());
        let epoch = Epoch::new(1);
        let mut service = Service { hub: &mut hub, now: Ms::ZERO, epoch, name_bytes_max: config.max_name };
        let mut out = Vec::new();
        let outcome = answer(&mut service, body.as_bytes(), &mut out);
        (outcome, String::from_utf8(out).unwrap().trim_end().to_owned())
    }

    #[test]
    fn the_methods_are_sorted_by_name() {
        assert!(METHODS.is_sorted_by_key(|method| method.name));
    }

    #[test]
    fn the_original_dialect_has_no_jsonrpc_member_and_version_two_has() {
        let call = r#""method":"get_channel_clients","params":["x"]"#;
        assert_eq!(ask(&format!("{{{call}}}")).1, r#"{"result":[]}"#);
        assert_eq!(ask(&format!(r#"{{{call},"id":[1, {{"a": "é"}}]}}"#)).1, r#"{"result":[],"id":[1,{"a":"\u00e9"}]}"#);
        assert_eq!(ask(&format!(r#"{{"jsonrpc":"2.0",{call},"id":1}}"#)).1, r#"{"jsonrpc":"2.0","result":[],"id":1}"#);
        assert_eq!(
            ask(&format!(r#"{{"jsonrpc":"2.0",{call},"id":null}}"#)).1,
            r#"{"jsonrpc":"2.0","result":[],"id":null}"#
        );
        // WIRE J1, J3: without an id it is the original's.
        assert_eq!(ask(&format!(r#"{{"jsonrpc":"2.0",{call}}}"#)).1, r#"{"result":[]}"#);
    }

    #[test]
    fn a_batch_answers_calls_and_is_silent_about_notifications() {
        let call = r#"{"jsonrpc":"2.0","method":"get_channel_clients","params":["x"],"id":1}"#;
        let note = r#"{"jsonrpc":"2.0","method":"get_channel_clients","params":["x"]}"#;
        let answered = r#"{"jsonrpc":"2.0","result":[],"id":1}"#;
        assert_eq!(
            ask(&format!("[{note},{call},{note},{call}]")),
            (Outcome::Answered, format!("[{answered},{answered}]"))
        );
        assert_eq!(ask(&format!("[{note}]")).0, Outcome::Silent);
        let (outcome, text) = ask(&format!("[{note},1]"));
        assert_eq!(outcome, Outcome::Answered);
        assert!(text.starts_with(r#"[{"jsonrpc":"2.0","error":{"code":-32600"#), "{text}");
        assert_eq!(ask("[]").0, Outcome::Refused);
        assert_eq!(ask("[1]").0, Outcome::Refused);
        let many = vec![call; BATCH_MAX + 1].join(",");
        assert_eq!(ask(&format!("[{many}]")).0, Outcome::Refused);
    }

    #[test]
    fn system_can_be_left_out_by_name_and_in_version_two() {
        let named = r#"{"method":"new_message","params":{"client_id":"p","message":"m","channel_name":"c"},"id":1}"#;
        assert_eq!(ask(named).1, r#"{"result":1,"id":1}"#);
        let two = r#"{"jsonrpc":"2.0","method":"new_message","params":["p","m","c"],"id":1}"#;
        assert_eq!(ask(two).1, r#"{"jsonrpc":"2.0","result":1,"id":1}"#);
        let original = r#"{"method":"new_message","params":["p","m","c"],"id":1}"#;
        assert!(ask(original).1.contains("exceptions.TypeError"));
    }

    #[test]
    fn a_hundred_thousand_open_brackets_are_refused_like_any_other_nonsense() {
        assert_eq!(ask(&"[".repeat(100_000)).0, Outcome::Refused);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(ask(&deep).0, Outcome::Refused);
        let call = format!(r#"{{"method":"new_message","params":["p",{deep},"c",false],"id":1}}"#);
        assert_eq!(ask(&call), (Outcome::Answered, r#"{"result":1,"id":1}"#.to_owned()));
    }

    proptest! {
        #[test]
        fn whatever_comes_the_answer_is_ascii_json(pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"method\"", "\"params\"", "\"id\"", "\"jsonrpc\":\"2.0\"", "\"subscribe\"",
            "\"create_client\"", "\"subscribe_many\"", "\"new_message\"", "\"unsubscribe_all_channel\"", "\"a\"", "1",
            "-0.5e400", "null", "true", "\"\\ud83d\"", "\"\\u0000\"", "\"é\"", " ", "\u{feff}", "nul", "\"", "\\",
            "{\"method\":\"create_client\",\"params\":[\"a\"]}", "{\"method\":", ",\"params\":",
        ]), 0..14)) {
            let (outcome, text) = ask(&pieces.concat());
            prop_assert!(text.is_ascii());
            prop_assert!(outcome == Outcome::Silent || serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn arguments_of_every_kind_are_answered(
            method in prop::sample::select(METHODS.map(|method| method.name).to_vec()),
            arguments in prop::collection::vec(prop::sample::select(vec![
                "null", "true", "1", "-1.5", "\"a\"", "\"\\ud83d\"", "[]", "[\"a\",1]", "{}", "{\"a\":[\"b\"]}", "[[]]",
                "{\"a\":null}",
            ]), 0..5),
            version in prop::sample::select(vec!["", "\"jsonrpc\":\"2.0\","]),
        ) {
            let arguments = arguments.join(",");
            let (outcome, text) = ask(&format!(r#"{{{version}"method":"{method}","params":[{arguments}],"id":7}}"#));
            prop_assert_eq!(outcome, Outcome::Answered);
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap()["id"], &Value::from(7));
        }
    }
}
