//! The table of methods: what there is to be called, with which parameters.

use crate::json;

use super::Dialect;
use super::additions::{
    broadcast, channel_info, client_info, history, list_channels, list_clients, publish, rotate_key, why,
};
use super::call::{Call, members};
use super::fault::Fault;
use super::original::{
    create_client, get_channel_clients, get_client_channels, kill_client, new_message, subscribe, subscribe_many,
    unsubscribe, unsubscribe_all_channel, unsubscribe_many,
};
use super::value::{Json, Kind, Members};

/// One method of the API.
pub(super) struct Method {
    pub(super) name: &'static str,
    /// The parameters' names, in order.
    parameters: &'static [&'static str],
    /// How many of them can be left out, from the end.
    optional: usize,
    /// The original has it: it is among those that `system.list_methods` lists (WIRE M12).
    original: bool,
    /// Does it, and writes the result as JSON.
    pub(super) call: fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>,
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
pub(super) const METHODS: [Method; 21] = [
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
    addition("why", &["client_id", "channel", "id"], 0, why),
];

/// Brings the arguments into the order of the method's parameters; those left out are null (WIRE J4).
pub(super) fn bind<'a>(method: &Method, dialect: Dialect, params: Json<'a>) -> Result<Vec<Json<'a>>, Fault> {
    let most = method.parameters.len();
    let least = most - method.optional;
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
    for (at, parameter) in method.parameters.iter().enumerate() {
        match named.remove(*parameter) {
            None if at < least => {
                return Err(Fault::Arguments(format!("{}() misses the argument '{parameter}'", method.name)));
            }
            value => values.push(value.unwrap_or(Json::NULL)),
        }
    }
    match named.keys().next() {
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
