//! Every example of the JSON-RPC 2.0 specification (section 7), with methods of ours in the place of its own, and bodies that
//! are meant to hurt a parser. Where an answer differs from the specification's the table says why.

use crate::support::{Server, post};
use serde_json::{Value, json};

/// A body, its status, and the answer; of an error the code alone. `null` for an answer without a body.
fn examples() -> Vec<(&'static str, u16, Value)> {
    let failed = |code: i64, id: Value| json!({"jsonrpc": "2.0", "error": code, "id": id});
    let nobody = |id: Value| json!({"jsonrpc": "2.0", "result": [], "id": id});
    let mixed = r#"[
        {"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["a"], "id": "1"},
        {"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["a"]},
        {"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["b"], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["c"], "id": "9"}
    ]"#;
    let cut = r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]"#;
    vec![
        // Positional parameters, named parameters.
        (r#"{"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["a"], "id": 1}"#, 200, nobody(json!(1))),
        (r#"{"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["b"], "id": 2}"#, 200, nobody(json!(2))),
        (
            r#"{"jsonrpc":"2.0","method":"get_channel_clients","params":{"channel_name":"a"},"id":3}"#,
            200,
            nobody(json!(3)),
        ),
        (
            r#"{"id":4,"params":{"channel_name":"a"},"method":"get_channel_clients","jsonrpc":"2.0"}"#,
            200,
            nobody(json!(4)),
        ),
        // A notification alone is answered, as the original's callers rely on it (WIRE J1, J3).
        (r#"{"jsonrpc": "2.0", "method": "get_channel_clients", "params": ["a"]}"#, 200, json!({"result": []})),
        (
            r#"{"jsonrpc": "2.0", "method": "foobar"}"#,
            200,
            json!({"result": null, "error": {"type": "JSONRPCError",
            "message": "no such method 'foobar'; system.list_methods lists them"}}),
        ),
        // A method that is not there.
        (r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#, 200, failed(-32601, json!("1"))),
        // Invalid JSON, an invalid request: with 400 (WIRE J8).
        (r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#, 400, failed(-32700, Value::Null)),
        (r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#, 400, failed(-32600, Value::Null)),
        // Batches: of invalid JSON, empty, and of what is none; a batch without one call is refused whole.
        (cut, 400, failed(-32700, Value::Null)),
        ("[]", 400, failed(-32600, Value::Null)),
        ("[1]", 400, failed(-32600, Value::Null)),
        ("[1,2,3]", 400, failed(-32600, Value::Null)),
        (
            mixed,
            200,
            json!([
                nobody(json!("1")),
                nobody(json!("2")),
                failed(-32600, Value::Null),
                failed(-32601, json!("5")),
                nobody(json!("9"))
            ]),
        ),
        // A batch of notifications.
        (
            r#"[{"jsonrpc":"2.0","method":"get_channel_clients","params":["a"]},{"jsonrpc":"2.0","method":"x"}]"#,
            204,
            Value::Null,
        ),
    ]
}

/// Errors reduced to their codes.
fn reduced(mut answer: Value) -> Value {
    if let Some(list) = answer.as_array_mut() {
        for one in list {
            *one = reduced(one.take());
        }
    } else if let Some(code) = answer.pointer("/error/code").cloned() {
        answer["error"] = code;
    }
    answer
}

#[test]
fn every_example_of_the_specification() {
    let server = Server::start();
    let mut faults = Vec::new();
    for (body, status, expected) in examples() {
        let response = server.ask(post(body));
        let answer = if response.body.is_empty() { Value::Null } else { reduced(response.json()) };
        if (response.status, &answer) != (status, &expected) {
            faults.push(format!("{body}\n  -> {} {answer}\n  not {status} {expected}", response.status));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn hostile_json_gets_an_answer_and_harms_nobody() {
    let server = Server::start();
    let call = |argument: &str| format!(r#"{{"method":"get_channel_clients","params":[{argument}],"id":1}}"#);
    let many = |piece: &str| piece.repeat(100_000);
    let bodies = vec![
        (many("["), 400),
        (many("{\"a\":"), 400),
        (many("[{\"a\":"), 400),
        (format!("{}{}", many("["), many("]")), 400),
        (many("[]"), 400),
        (call(&(many("[") + &many("]"))), 400),
        (call(&("[".repeat(62) + &"]".repeat(62))), 200),
        (call(&("[".repeat(63) + &"]".repeat(63))), 400),
        (call(r#""\ud83d""#), 200),
        (call(r#""\udc00\ud800""#), 200),
        (call(r#""\ud83d\u0041""#), 200),
        (call(r#""\u00""#), 400),
        (call(r#""\x41""#), 400),
        (call("\"\u{0}\""), 400),
        (call(r#""\u0000""#), 200),
        (call(&"9".repeat(100_000)), 200),
        (call("1e999999999"), 200),
        (call("-0"), 200),
        (call("01"), 400),
        (call("+1"), 400),
        (call(".5"), 400),
        (call("1."), 400),
        (call("0x10"), 400),
        (call("NaN"), 400),
        (call("Infinity"), 400),
        (call("'a'"), 400),
        (call("\"a\"/**/"), 400),
        (call("\"a\","), 400),
        (format!("\u{feff}{}", call("\"a\"")), 400),
        (format!("{}\0", call("\"a\"")), 400),
        (call("\"a\"") + &call("\"a\""), 400),
        (r#"{"method":"nope","method":"get_channel_clients","params":["a"],"id":1}"#.to_owned(), 200),
        (r#"{"method":"get_channel_clients","params":["a"],"params":["b"],"id":1,"id":2}"#.to_owned(), 200),
        (format!(r#"{{{}"method":"get_channel_clients","params":["a"],"id":1}}"#, many(r#""x":1,"#)), 200),
        ("null".to_owned(), 400),
        ("\"method\"".to_owned(), 400),
        (" \t\r\n".to_owned(), 400),
        (String::new(), 400),
    ];
    let mut faults = Vec::new();
    for (body, status) in bodies {
        let response = server.ask(post(&body));
        let is_json = serde_json::from_slice::<Value>(&response.body).is_ok();
        if response.status != status || !is_json {
            faults.push(format!(
                "{:?} ({} bytes) -> {response:?}",
                body.chars().take(60).collect::<String>(),
                body.len()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(server.call("get_channel_clients", json!(["a"])), json!([]));
}

#[test]
fn bytes_that_are_no_utf8_are_refused() {
    let server = Server::start();
    for bytes in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"] {
        let body = [b"{\"method\":\"get_channel_clients\",\"params\":[\"", bytes, b"\"],\"id\":1}"].concat();
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        let response = server.ask([head.as_bytes(), &body].concat());
        assert_eq!(response.status, 400, "{bytes:x?} -> {response:?}");
    }
}
