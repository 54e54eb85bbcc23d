//! The JSON-RPC API: the web application's side (WIRE sections 2 and 3).
//!
//! Two dialects over one table of methods. The original's: one object, `{"result": R, "id": I}` or an error with a
//! Python type's name. And JSON-RPC 2.0, for a request that says `"jsonrpc": "2.0"` and has an id, and for batches. A
//! single 2.0 request *without* an id is answered in the original's way, as callers of the original rely on it
//! (WIRE J1, J3); within a batch it is a notification.
//!
//! What is no call at all is refused with 400 and never with 200 (WIRE J8); the text of it is the error object of
//! JSON-RPC 2.0, for whoever reads it.

mod additions;
mod call;
mod fault;
mod methods;
mod original;
mod value;

use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::json;

pub(super) use additions::write_message;
pub(super) use call::Service;

use call::Call;
use fault::{Fault, INVALID_REQUEST, PARSE_ERROR};
use methods::{METHODS, bind};
use value::{Kind, Members, elements, members, unquote};

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

/// How a call is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Original,
    Two,
}

/// Calls in one batch. All of them are done in one turn of the loop.
const BATCH_MAX: usize = 1000;

/// Answers the body of a request: writes into `out`, which is empty.
pub(super) fn answer(service: &mut Service<'_>, body: &[u8], out: &mut Vec<u8>) -> Outcome {
    let body = json::mend_surrogates(body);
    let outcome = match std::str::from_utf8(&body) {
        Ok(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => answer_value(service, value, out),
            Err(error) => refuse(
                out,
                PARSE_ERROR,
                &format!(
                    "the body is not JSON, such as {{\"method\": \"system.list_methods\", \"params\": []}}: {error}"
                ),
            ),
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
    use crate::api::Epoch;
    use crate::clock::Ms;
    use crate::hub::Hub;

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
