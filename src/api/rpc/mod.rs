//! The JSON-RPC API: the web application's side (WIRE sections 2 and 3).
//!
//! Two dialects over one table of methods. The original's: one object, `{"result": R, "id": I}` or an error with a
//! Python type's name. And JSON-RPC 2.0, for a request that says `"jsonrpc": "2.0"` and has an id, and for batches. A
//! single 2.0 request *without* an id is answered in the original's way, as callers of the original rely on it
//! (WIRE J1, J3); within a batch it is a notification.
//!
//! What is no call at all is refused with 400 and never with 200 (WIRE J8); the text of it is the error object of
//! JSON-RPC 2.0, for whoever reads it.
//!
//! A body is a [`Job`]: a small one is done in one go, a large one in steps of some us, between which others are served.
//! **What is atomic**: each single publish, subscribe, unsubscribe or kill, also within `broadcast`, `subscribe_many`,
//! `unsubscribe_many`, `unsubscribe_all_channel` and a batch, which are as many single calls in order (WIRE M4, M5). What others
//! do meanwhile takes its place between them. A list is of all who were there from its beginning to its end; who came or went
//! meanwhile may be in it. A call that has begun is done to its end, whether or not its caller waits for the answer.

mod additions;
mod answer;
mod call;
mod calls;
mod discover;
mod fault;
mod job;
mod methods;
mod original;
mod remote;
mod shape;
mod syntax;
mod value;
mod work;

pub(super) use additions::write_message;
pub(super) use call::{Scope, Service};
pub(super) use job::Job;
pub(super) use original::new_key;

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer is written.
    Answered,
    /// A batch of notifications: there is nothing to answer.
    Silent,
    /// It is no call; the answer says why.
    Refused,
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Original,
    Two,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::calls::BATCH_MAX;
    use super::methods::METHODS;
    use super::*;
    use crate::api::Epoch;
    use crate::clock::Ms;
    use crate::hub::{Hub, Owner};

    fn ask(body: &str) -> (Outcome, String) {
        let at_once = ask_in_slices(body, u32::MAX);
        // However small the slices are, it comes to the same.
        assert_eq!(ask_in_slices(body, 1), at_once);
        at_once
    }

    fn ask_in_slices(body: &str, steps: u32) -> (Outcome, String) {
        let config = crate::config::Config::default();
        let mut hub = Hub::new(Ms::ZERO, config.hub_limits());
        let epoch = Epoch::new(1);
        let (name_bytes_max, long_names) = (config.max_name, &mut 0);
        let mut service = Service {
            hub: &mut hub,
            now: Ms::ZERO,
            epoch,
            name_bytes_max,
            long_names,
            scope: Scope::All,
            cluster: None,
            owner: Owner(0),
        };
        let mut job = Job::new(body.as_bytes(), Vec::new());
        if job.wants_body().is_some() {
            job.take_body(format!("before{body}").into_bytes(), "before".len());
        }
        let outcome = loop {
            let mut budget = steps;
            if let Some(outcome) = job.go_on(&mut service, &mut budget) {
                break outcome;
            }
            assert_eq!(budget, 0, "it stops when its budget is used up");
            job = job.into_owned();
        };
        hub.check();
        let mut text = Vec::new();
        while !job.answer().is_empty() {
            text.extend(job.answer().next_piece());
        }
        let text = String::from_utf8(text).unwrap();
        // A key is different each time.
        let text = if body.contains("create_client") || body.contains("rotate") { hide_keys(&text) } else { text };
        (outcome, text.trim_end().to_owned())
    }

    /// The text without what could be keys.
    fn hide_keys(text: &str) -> String {
        let is_key = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.split('"').map(|part| if is_key(part) { "key" } else { part }).collect::<Vec<_>>().join("\"")
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
        let call =
            |message: &str| ask(&format!(r#"{{"method":"new_message","params":["p",{message},"c",false],"id":1}}"#));
        assert_eq!(call(&deep).0, Outcome::Refused);
    }

    #[test]
    fn a_message_is_nested_as_deep_as_the_body_may_be() {
        let call = |depth: usize| {
            let message = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            ask(&format!(r#"{{"method":"new_message","params":["p",{message},"c",false],"id":1}}"#))
        };
        assert_eq!(call(62), (Outcome::Answered, r#"{"result":1,"id":1}"#.to_owned()));
        let (outcome, text) = call(63);
        assert_eq!(outcome, Outcome::Refused);
        assert!(text.contains("nested deeper than 64 levels at byte 100; send what is deeper as a string"), "{text}");
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
