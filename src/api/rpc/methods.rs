//! The table of methods: what there is to be called, with which parameters, and what it means.
//!
//! Calls are dispatched by it, arguments are bound by it, and `rpc.discover` describes the API by it.

use crate::json;

use super::Dialect;
use super::additions::{
    broadcast, channel_info, client_info, history, list_channels, list_clients, publish, rotate_key, why,
};
use super::call::{Call, members};
use super::discover::discover;
use super::fault::Fault;
use super::original::{
    create_client, get_channel_clients, get_client_channels, kill_client, new_message, subscribe, subscribe_many,
    unsubscribe, unsubscribe_all_channel, unsubscribe_many,
};
use super::shape::Shape;
use super::value::{Json, Kind, Members};

/// One method of the API.
pub(super) struct Method {
    pub(super) name: &'static str,
    /// What it does, in a sentence or two.
    pub(super) summary: &'static str,
    /// In order.
    pub(super) parameters: &'static [Parameter],
    /// How many of them can be left out, from the end.
    optional: usize,
    pub(super) result: Shape,
    /// Whom or what it has to know: else it fails.
    pub(super) needs: &'static [Needs],
    /// The original has it: it is among those that `system.list_methods` lists (WIRE M12).
    original: bool,
    /// Does it, and writes the result as JSON.
    pub(super) call: fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>,
}

/// A parameter of a method.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// What it is for.
    pub(super) summary: &'static str,
}

/// Without what a method fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The client is here.
    Client,
    /// The channel exists.
    Channel,
}

impl Method {
    const fn optional(self, optional: usize) -> Method {
        Method { optional, ..self }
    }

    const fn needs(self, needs: &'static [Needs]) -> Method {
        Method { needs, ..self }
    }

    /// How many parameters a call has to give.
    pub(super) fn least(&self) -> usize {
        self.parameters.len() - self.optional
    }
}

const CLIENT_ID: Parameter = parameter("client_id", Shape::Name, "The client.");
const CHANNEL: Parameter = parameter("channel", Shape::Name, "The channel.");
const CHANNEL_NAME: Parameter = parameter("channel_name", Shape::Name, "The channel.");
const PAIRS: Parameter = parameter("channels", Shape::Pairs, "The clients of each channel.");
const DATA: Parameter = parameter("data", Shape::Data, "What is said: text as it is, anything else as its JSON text.");
const PUBLISHING: Parameter = parameter("options", Shape::Publishing, "How it is published.");
const LIST: &[Parameter] = &[
    parameter("prefix", Shape::Prefix, "How the names begin."),
    parameter("after", Shape::Cursor, "`after` of the last page; null or nothing for the first."),
    parameter("limit", Shape::Limit, "How many there are at most: 1000, or fewer."),
];

/// Sorted by name, as `system.list_methods` gives them.
pub(super) const METHODS: [Method; 22] = [
    addition(
        "broadcast",
        "Publishes the same in several channels, one after the other.",
        &[parameter("channels", Shape::NameList, "The channels."), DATA, PUBLISHING],
        Shape::Places,
        broadcast,
    )
    .optional(1),
    addition(
        "channel_info",
        "What is known of a channel: its subscribers, what it holds, its position.",
        &[CHANNEL],
        Shape::ChannelInfo,
        channel_info,
    )
    .needs(&[Needs::Channel]),
    addition(
        "client_info",
        "What is known of a client: whether it is here, by what it listens, what it has acknowledged.",
        &[CLIENT_ID],
        Shape::ClientInfo,
        client_info,
    )
    .needs(&[Needs::Client]),
    original(
        "create_client",
        "Makes a client and gives its key; of a client that exists, its key.",
        &[parameter("client_id", Shape::Name, "Its id: unguessable, or that of a user who is logged in.")],
        Shape::Key,
        create_client,
    ),
    original(
        "get_channel_clients",
        "Who is subscribed to a channel and here now. Ids with `admin` in them are hidden.",
        &[CHANNEL_NAME],
        Shape::Names,
        get_channel_clients,
    ),
    original(
        "get_client_channels",
        "The channels to which a client is subscribed.",
        &[CLIENT_ID],
        Shape::Names,
        get_client_channels,
    )
    .needs(&[Needs::Client]),
    addition(
        "history",
        "What a channel holds after a position: up to 1000 messages and 256 KiB.",
        &[
            CHANNEL,
            parameter("since", Shape::Since, "The position; null or nothing for the beginning."),
            parameter("limit", Shape::Limit, "How many messages there are at most: 1000, or fewer."),
        ],
        Shape::History,
        history,
    )
    .optional(2)
    .needs(&[Needs::Channel]),
    original(
        "kill_client",
        "Forgets a client at once: it leaves its channels, and its pages are told that it is gone.",
        &[CLIENT_ID],
        Shape::TwoHundred,
        kill_client,
    )
    .needs(&[Needs::Client]),
    addition("list_channels", "Names of channels, a page at a time.", LIST, Shape::ChannelPage, list_channels)
        .optional(3),
    addition("list_clients", "Ids of clients, a page at a time.", LIST, Shape::ClientPage, list_clients).optional(3),
    original(
        "new_message",
        "Publishes as the original Shaveet did. Prefer `publish`, which can be repeated without harm.",
        &[
            parameter("client_id", Shape::Data, "Who says it: any value, a client's id as a rule."),
            parameter("message", Shape::Data, "What is said: text as it is, anything else as its JSON text."),
            CHANNEL_NAME,
            parameter("system", Shape::Data, "Marks nothing any more. Only in the original's dialect it is needed."),
        ],
        Shape::One,
        new_message,
    )
    .optional(1),
    addition(
        "publish",
        "Publishes in a channel, once for each idempotency key within five minutes.",
        &[CHANNEL, DATA, PUBLISHING],
        Shape::Place,
        publish,
    )
    .optional(1),
    addition(
        "rotate_key",
        "Gives a client another key. It keeps its place; pages with the old key are turned away.",
        &[CLIENT_ID],
        Shape::Key,
        rotate_key,
    )
    .needs(&[Needs::Client]),
    addition("rpc.discover", "This description of the API, in OpenRPC.", &[], Shape::Document, discover),
    original(
        "subscribe",
        "From now on a client gets what is published in a channel.",
        &[CLIENT_ID, CHANNEL_NAME, parameter("options", Shape::Subscribing, "Where it begins.")],
        Shape::One,
        subscribe,
    )
    .optional(1)
    .needs(&[Needs::Client]),
    original(
        "subscribe_many",
        "Subscribes several clients, one after the other. Stops at the first that is not here.",
        &[PAIRS],
        Shape::TwoHundred,
        subscribe_many,
    )
    .needs(&[Needs::Client]),
    original("system.describe", "The server, as the original described itself.", &[], Shape::Description, describe),
    original("system.list_methods", "The methods that the original had.", &[], Shape::MethodList, list_methods),
    original(
        "unsubscribe",
        "A client gets no more of what is published in a channel.",
        &[CLIENT_ID, CHANNEL_NAME],
        Shape::One,
        unsubscribe,
    )
    .needs(&[Needs::Client]),
    original(
        "unsubscribe_all_channel",
        "Unsubscribes the clients of a channel that are here, one after the other.",
        &[CHANNEL_NAME, parameter("exclude", Shape::Spared, "Clients that stay.")],
        Shape::TwoHundred,
        unsubscribe_all_channel,
    ),
    original(
        "unsubscribe_many",
        "Unsubscribes several clients, one after the other. Stops at the first that is not here.",
        &[PAIRS],
        Shape::TwoHundred,
        unsubscribe_many,
    )
    .needs(&[Needs::Client]),
    addition(
        "why",
        "What became of a message for a client.",
        &[CLIENT_ID, CHANNEL, parameter("id", Shape::Count, "The message's id in its channel.")],
        Shape::Fate,
        why,
    )
    .needs(&[Needs::Client, Needs::Channel]),
];

const fn parameter(name: &'static str, shape: Shape, summary: &'static str) -> Parameter {
    Parameter { name, shape, summary }
}

/// A method of the original's, with all parameters needed.
const fn original(
    name: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    result: Shape,
    call: fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>,
) -> Method {
    Method { name, summary, parameters, optional: 0, result, needs: &[], original: true, call }
}

/// A method that the original has not.
const fn addition(
    name: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    result: Shape,
    call: fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>,
) -> Method {
    Method { original: false, ..original(name, summary, parameters, result, call) }
}

/// Brings the arguments into the order of the method's parameters; those left out are null (WIRE J4).
pub(super) fn bind<'a>(method: &Method, dialect: Dialect, params: Json<'a>) -> Result<Vec<Json<'a>>, Fault> {
    let most = method.parameters.len();
    let least = method.least();
    match params.kind() {
        Kind::Null => bind_list(method, least, std::iter::empty()),
        // A list of three in the original's dialect is an error on which its callers rely (WIRE J6, M7).
        Kind::Array if dialect == Dialect::Original && method.name == "new_message" => {
            bind_list(method, most, params.elements())
        }
        Kind::Array => bind_list(method, least, params.elements()),
        Kind::Object => bind_names(method, least, members(params)?),
        // WIRE J9, J10.
        Kind::Bool | Kind::Number | Kind::String => {
            Err(Fault::Arguments("params is neither a list nor an object".to_owned()))
        }
    }
}

fn bind_list<'a>(
    method: &Method,
    least: usize,
    values: impl Iterator<Item = Json<'a>>,
) -> Result<Vec<Json<'a>>, Fault> {
    let most = method.parameters.len();
    let mut values: Vec<Json<'a>> = values.take(COUNTED_MAX).collect();
    if values.len() < least || values.len() > most {
        let exactly = if least == most { "exactly" } else { "at least" };
        let (name, given) = (method.name, values.len());
        return Err(Fault::Arguments(format!("{name}() takes {exactly} {least} arguments ({given} given)")));
    }
    values.resize(most, Json::NULL);
    Ok(values)
}

/// Of more arguments than this is said that they are so many.
const COUNTED_MAX: usize = 100;

fn bind_names<'a>(method: &Method, least: usize, mut named: Members<'a>) -> Result<Vec<Json<'a>>, Fault> {
    let mut values = Vec::with_capacity(method.parameters.len());
    for (at, parameter) in method.parameters.iter().map(|parameter| parameter.name).enumerate() {
        match named.remove(parameter) {
            None if at < least => {
                return Err(Fault::Arguments(format!("{}() misses the argument '{parameter}'", method.name)));
            }
            value => values.push(value.unwrap_or(Json::NULL)),
        }
    }
    match named.first_name() {
        Some(extra) => Err(Fault::Arguments(format!("{}() got an unexpected argument '{extra}'", method.name))),
        None => Ok(values),
    }
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
