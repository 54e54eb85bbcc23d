//! JSON-RPC, sections 2 and 3 of the wire: the old dialect, the methods, and JSON-RPC 2.0 beside them.

use crate::support::{Response, Server, dies, get, joins, leaves, opens, post, request, says, texts};
use serde_json::{Value, json};

const METHODS: [&str; 12] = [
    "create_client",
    "get_channel_clients",
    "get_client_channels",
    "kill_client",
    "new_message",
    "subscribe",
    "subscribe_many",
    "system.describe",
    "system.list_methods",
    "unsubscribe",
    "unsubscribe_all_channel",
    "unsubscribe_many",
];
const KEY_ERROR: &str = "<type 'exceptions.KeyError'>";
const TYPE_ERROR: &str = "<type 'exceptions.TypeError'>";
const ATTRIBUTE_ERROR: &str = "<type 'exceptions.AttributeError'>";

fn procedures() -> Value {
    METHODS.iter().map(|name| json!({"name": name})).collect()
}

// --- section 2: the old dialect

#[test]
fn j1_other_members_are_ignored() {
    let server = Server::start();
    let first = server.rpc(&json!({"method": "create_client", "params": ["alice"]}));
    for (name, value) in
        [("version", json!("1.1")), ("jsonrpc", json!("2.0")), ("jsonrpc", json!("1.0")), ("x", json!([1]))]
    {
        let mut request = json!({"method": "create_client", "params": ["alice"]});
        request[name] = value;
        assert_eq!(server.rpc(&request), first, "{request}");
    }
}

#[test]
fn j2_success_on_the_wire() {
    let server = Server::start();
    let response = server.ask(post(r#"{"method":"get_channel_clients","params":["room"],"id":7}"#));
    assert_eq!(response.status, 200);
    assert_eq!(response.header("cache-control"), Some("no-cache"));
    assert_eq!(response.header("pragma"), Some("no-cache"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(response.text().ends_with("}\n") && response.text().matches('\n').count() == 1);
    assert_eq!(response.json(), json!({"result": [], "id": 7}));
}

#[test]
fn j2_answers_are_ascii() {
    let server = Server::start();
    server.subscriber("é😀", &["日本\u{7f}"]);
    let call = json!({"method": "get_client_channels", "params": ["é😀"], "id": "ñ\u{2028}"});
    let response = server.ask(post(call.to_string()));
    assert!(response.text().is_ascii(), "{response:?}");
    assert_eq!(response.json(), json!({"result": ["日本\u{7f}"], "id": "ñ\u{2028}"}));
    let error = server.ask(post(r#"{"method":"kill_client","params":["ж😀"],"id":1}"#));
    assert!(error.text().is_ascii(), "{error:?}");
}

#[test]
fn j3_any_id_is_echoed_as_it_came() {
    let server = Server::start();
    for id in ["0", "1", "-5", "1.5", "1.0", r#""""#, r#""abc""#, "false", "true", "12345678901234567890", "[]", "{}"] {
        let response = server.ask(post(format!(r#"{{"method":"create_client","params":["a"],"id":{id}}}"#)));
        let text = response.text().replace(' ', "");
        assert!(text.contains(&format!(r#""id":{id}"#)), "{id}: {text}");
    }
    for id in [json!("é😀"), json!([1, {"a": null}]), json!({"x": [1, "y"]})] {
        assert_eq!(server.rpc(&json!({"method": "kill_client", "params": ["nobody"], "id": id}))["id"], id);
    }
}

#[test]
fn j3_without_an_id_the_answer_is_complete_but_for_it() {
    let server = Server::start();
    let call = json!({"method": "get_channel_clients", "params": ["room"]});
    assert_eq!(server.rpc(&call), json!({"result": []}));
    let call = json!({"method": "get_channel_clients", "params": ["room"], "id": null});
    assert_eq!(server.rpc(&call), json!({"result": []}));
    let failed = server.rpc(&json!({"method": "kill_client", "params": ["nobody"]}));
    assert!(failed.get("id").is_none() && failed["error"]["type"] == KEY_ERROR, "{failed}");
}

#[test]
fn j4_arguments_go_by_place_or_by_name() {
    let server = Server::start();
    let key = server.call("create_client", json!({"client_id": "alice"}));
    assert_eq!(server.call("create_client", json!(["alice"])), key);
    for (method, params, expected) in [
        ("subscribe", json!({"channel_name": "room", "client_id": "alice"}), json!(1)),
        ("new_message", json!({"system": false, "channel_name": "room", "message": "m", "client_id": "p"}), json!(1)),
        ("get_channel_clients", json!({"channel_name": "room"}), json!(["alice"])),
        ("get_client_channels", json!({"client_id": "alice"}), json!(["room"])),
        ("unsubscribe_all_channel", json!({"channel_name": "room", "exclude": []}), json!(200)),
        ("subscribe_many", json!({"channels": {"room": ["alice"]}}), json!(200)),
        ("get_channel_clients", json!({"channel_name": "room"}), json!(["alice"])),
        ("unsubscribe_many", json!({"channels": {"room": ["alice"]}}), json!(200)),
        ("get_channel_clients", json!({"channel_name": "room"}), json!([])),
        ("unsubscribe", json!({"client_id": "alice", "channel_name": "room"}), json!(1)),
        ("kill_client", json!({"client_id": "alice"}), json!(200)),
        ("system.list_methods", json!({}), procedures()),
    ] {
        assert_eq!(server.call(method, params), expected, "{method}");
    }
}

#[test]
fn j4_null_and_empty_params_are_no_arguments() {
    let server = Server::start();
    for params in [json!(null), json!([]), json!({})] {
        assert_eq!(server.call("system.list_methods", params.clone()), procedures());
        assert_eq!(server.error("create_client", params)["type"], TYPE_ERROR);
    }
}

#[test]
fn j5_failure_on_the_wire() {
    let server = Server::start();
    let answer = server.rpc(&json!({"method": "kill_client", "params": ["nobody"], "id": 3}));
    let mut members: Vec<_> = answer.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["error", "id", "result"]);
    assert_eq!((&answer["result"], &answer["id"]), (&Value::Null, &json!(3)));
    assert!(answer["error"]["type"].is_string() && answer["error"]["message"].is_string());
}

#[test]
fn j6_an_unknown_client_is_a_key_error() {
    let server = Server::start();
    for (method, params) in [
        ("subscribe", json!(["nobody", "room"])),
        ("unsubscribe", json!(["nobody", "room"])),
        ("kill_client", json!(["nobody"])),
        ("get_client_channels", json!(["nobody"])),
    ] {
        let error = server.error(method, params);
        assert_eq!(error["type"], KEY_ERROR, "{method}");
        assert_eq!(error["message"], "Server Exception :: u'nobody'", "{method}");
    }
}

#[test]
fn j6_wrong_arguments_are_a_type_error() {
    let server = Server::start();
    for (method, params) in [
        ("create_client", json!([])),
        ("create_client", json!(["a", "b"])),
        ("create_client", json!({"x": "a"})),
        ("create_client", json!({"client_id": "a", "x": 1})),
        ("create_client", json!([["a"]])),
        ("create_client", json!([{"a": 1}])),
        ("subscribe", json!(["a"])),
        ("subscribe", json!({"channel_name": "a"})),
        ("new_message", json!(["p", "m", "c"])),
        ("new_message", json!(["p", "m", "c", false, 1])),
        ("new_message", json!(["p", "m", ["c"], false])),
        ("unsubscribe_all_channel", json!(["c"])),
        ("subscribe_many", json!([])),
        ("subscribe_many", json!({"c": ["a"]})),
        ("system.list_methods", json!([1])),
        ("system.describe", json!({"x": 1})),
        ("kill_client", json!([["a"]])),
    ] {
        assert_eq!(server.error(method, params.clone())["type"], TYPE_ERROR, "{method} {params}");
    }
}

#[test]
fn j6_subscribe_many_of_what_is_no_object() {
    let server = Server::start();
    for method in ["subscribe_many", "unsubscribe_many"] {
        for argument in [json!([]), json!("x"), json!(5), json!(null), json!({"room": 5}), json!({"room": [["a"]]})] {
            let error = server.error(method, json!([argument]));
            assert!(error["type"] == TYPE_ERROR || error["type"] == ATTRIBUTE_ERROR, "{method} {argument}: {error}");
        }
    }
}

#[test]
fn j7_an_unknown_method_is_an_error_with_the_id() {
    let server = Server::start();
    for method in ["nope", "system.nope", "", "Subscribe", "__class__", "dispatch", "get_valid_methods", "subscribe\0"]
    {
        let answer = server.rpc(&json!({"method": method, "params": [], "id": 3}));
        assert_eq!(answer["result"], Value::Null);
        assert_eq!(answer["error"]["type"], "JSONRPCError", "{method}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("such method"), "{answer}");
        assert_eq!(answer["id"], 3);
    }
}

fn is_refused(response: &Response) -> bool {
    response.status == 400 && response.media_type() == "text/plain"
}

#[test]
fn j8_a_body_that_is_no_call_is_refused() {
    let server = Server::start();
    let bodies: [&[u8]; 20] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b"\"abc\"",
        b"{'method':'x'}",
        b"not json",
        b"{}",
        br#"{"params":[],"id":3}"#,
        br#"{"method":"system.list_methods","params":[],"id":1} junk"#,
        br#"{"method":"system.list_methods","params":[],"id":1}{"method":"x"}"#,
        br#"[{"method":"system.list_methods","params":[],"id":1}]"#,
        b"[1,2,3]",
        b"{\"method\":\"create_client\",\"params\":[\"\xff\"],\"id\":1}",
        b"\xef\xbb\xbf{\"method\":\"system.list_methods\",\"params\":[]}",
        b"{\"method\":\"system.list_methods\",\"params\":[],}",
        b"{\"method\":\"system.list_methods\",\"id\":01}",
        b"{\"method\":\"create_client\",\"params\":[\"a\nb\"]}",
        b"\0",
    ];
    let deep = "[".repeat(100_000);
    for body in bodies.into_iter().chain([deep.as_bytes()]) {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        let response = server.ask([head.as_bytes(), body].concat());
        assert!(is_refused(&response), "{:?}: {response:?}", String::from_utf8_lossy(&body[..body.len().min(60)]));
    }
    assert_eq!(server.call("get_channel_clients", json!(["room"])), json!([]));
}

#[test]
fn j9_missing_params_are_no_arguments() {
    let server = Server::start();
    assert_eq!(
        server.rpc(&json!({"method": "system.list_methods", "id": 1})),
        json!({"result": procedures(), "id": 1})
    );
}

#[test]
fn j9_j10_params_of_another_type_are_an_error() {
    let server = Server::start();
    for params in [json!(5), json!(0), json!(1.5), json!(true), json!(false), json!("abc"), json!("")] {
        for method in ["system.list_methods", "create_client"] {
            let answer = server.rpc(&json!({"method": method, "params": params, "id": 1}));
            assert_eq!(answer["result"], Value::Null, "{params}: {answer}");
            assert!(answer["error"]["type"].is_string() && answer["id"] == 1, "{params}: {answer}");
        }
    }
}

#[test]
fn j11_other_methods_are_405() {
    let server = Server::start();
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let response = server.ask(request(method, "/", &[], ""));
        assert_eq!((response.status, response.media_type()), (405, "text/plain"), "{method}");
        assert_eq!(response.header("cache-control"), Some("no-cache"));
        assert_eq!(response.header("allow"), Some("POST"));
        let expected =
            format!("405 Method Not Allowed. This JSONRPC interface only supports POST. Method used was \"{method}\"");
        assert_eq!(response.text(), expected);
    }
}

#[test]
fn j13_white_space_and_duplicate_members() {
    let server = Server::start();
    let call =
        " \r\n\t{\"method\" : \"nope\", \"method\":\"system.list_methods\", \"params\":[] ,\"id\":1,\"id\":2}\n\n";
    let answer = server.ask(post(call)).json();
    assert_eq!(answer, json!({"result": procedures(), "id": 2}));
}

#[test]
fn j14_a_lone_surrogate_is_taken() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    for (text, delivered) in [
        (r"cut \ud83d", [r"cut \ud83d", r"cut \ufffd"]),
        (r"\ude00 low", [r"\ude00 low", r"\ufffd low"]),
        (r"\ud83d\ud83d\ude00", [r"\ud83d\ud83d\ude00", r"\ufffd\ud83d\ude00"]),
        (r"\ud83dA", [r"\ud83dA", r"\ufffdA"]),
        (r"\ud83d\n", [r"\ud83d\n", r"\ufffd\n"]),
    ] {
        let call = format!(r#"{{"method":"new_message","params":["p","{text}","room",false],"id":1}}"#);
        assert_eq!(server.ask(post(call)).json(), json!({"result": 1, "id": 1}), "{text}");
        let response = alice.poll();
        let body = response.text().to_ascii_lowercase();
        let found = delivered.iter().any(|d| body.contains(&format!("\"{}\"", d.to_ascii_lowercase())));
        assert!(found, "{text}: {body}");
    }
}

// --- section 3: the methods

#[test]
fn m1_create_client_makes_a_key_once() {
    let server = Server::start();
    let alice = server.client("alice");
    assert_eq!(alice.key.len(), 32);
    assert!(alice.key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{}", alice.key);
    assert_eq!(server.client("alice").key, alice.key);
    assert_ne!(server.client("bob").key, alice.key);
}

#[test]
fn m2_subscribe_publishes_each_time() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room", "room"]);
    assert_eq!(alice.channels(), ["room"]);
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice"), joins(2, "alice")]}));
}

#[test]
fn m3_unsubscribe_publishes_each_time() {
    let server = Server::start();
    let bob = server.subscriber("bob", &["room"]);
    let alice = server.listener("alice", &["room"]);
    bob.unsubscribe("room");
    bob.unsubscribe("room");
    assert_eq!(bob.channels(), [""; 0]);
    assert_eq!(alice.news(), json!({"room": [leaves(3, "bob"), leaves(4, "bob")]}));
}

#[test]
fn m4_many_are_as_many_single_calls() {
    let server = Server::start();
    let (alice, bob) = (server.client("alice"), server.client("bob"));
    assert_eq!(server.call("subscribe_many", json!([{"x": ["alice", "bob"], "y": ["bob"]}])), 200);
    assert_eq!(alice.channels(), ["x"]);
    assert_eq!(bob.channels(), ["x", "y"]);
    assert_eq!(server.call("subscribe_many", json!([{}])), 200);
    assert_eq!(server.call("unsubscribe_many", json!([{"x": ["alice", "bob"], "y": []}])), 200);
    assert_eq!(server.present("x"), [""; 0]);
    assert_eq!(server.present("y"), ["bob"]);
}

#[test]
fn m5_an_unknown_one_among_many_is_named() {
    let server = Server::start();
    let alice = server.client("alice");
    for method in ["subscribe_many", "unsubscribe_many"] {
        let error = server.error(method, json!([{"room": ["alice", "nobody"]}]));
        assert_eq!(error["type"], KEY_ERROR, "{method}");
        assert!(error["message"].as_str().unwrap().contains("nobody"), "{method}: {error}");
        // What came before stays done.
        let expected: &[&str] = if method == "subscribe_many" { &["room"] } else { &[] };
        assert_eq!(alice.channels(), expected);
    }
}

#[test]
fn m6_unsubscribe_all_channel_spares_admins_and_the_excluded() {
    let server = Server::start();
    let chief = server.subscriber("admin1", &["room"]);
    for id in ["alice", "bob", "carol"] {
        server.subscriber(id, &["room"]);
    }
    assert_eq!(server.call("unsubscribe_all_channel", json!(["room", ["bob", "stranger"]])), 200);
    assert_eq!(server.present("room"), ["bob"]);
    assert_eq!(chief.channels(), ["room"]);
    assert_eq!(server.call("unsubscribe_all_channel", json!(["room", []])), 200);
    assert_eq!(server.present("room"), [""; 0]);
    assert_eq!(chief.channels(), ["room"]);
    assert_eq!(server.call("unsubscribe_all_channel", json!(["elsewhere", ["x"]])), 200);
}

#[test]
fn m7_anyone_may_publish() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    for (from, text, system) in [
        (json!("ghost"), "one", json!(false)),
        (json!("alice"), "two", json!(true)),
        (Value::Null, "three", Value::Null),
        (json!("é\u{2028}"), "four", json!("x")),
    ] {
        assert_eq!(server.call("new_message", json!([from, text, "room", system])), 1);
    }
    let expected = json!([[2, "one", "ghost"], [3, "two", "alice"], [4, "three", null], [5, "four", "é\u{2028}"]]);
    assert_eq!(alice.news(), json!({"room": expected}));
}

#[test]
fn m8_what_is_no_string_is_delivered_as_json_text() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    for value in [
        json!(1),
        json!(-7),
        json!(0.5),
        json!(1.0),
        json!(12_345_678_901_234_567_890_u64),
        serde_json::from_str("123456789012345678901234567890").unwrap(),
        json!(true),
        json!(false),
        json!(null),
        json!([]),
        json!({}),
        json!([1, [2, "x"]]),
        json!({"b": 1, "a": {"é": ["😀", null, true]}}),
        json!(["line\u{2028}end", "</script>", "\"'\\\n\0\u{7f}"]),
    ] {
        assert_eq!(server.call("new_message", json!(["app", value, "room", false])), 1);
        let news = alice.poll().updates("cb");
        let text = news["room"][0][1].as_str().unwrap_or_else(|| panic!("{value}: {news}"));
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
    }
}

#[test]
fn m8_strings_are_delivered_verbatim() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let strings = [
        "",
        "1",
        "null",
        "plain",
        "é😀\u{2028}\u{2029}\u{7f}\u{80}\u{ffff}",
        "\"quoted\" \\ back / slash",
        r#"{"already": "json"}"#,
        "tab\tnl\r\n\0end\u{8}\u{c}\u{1f}",
        "noop(1);",
        ");",
        "</script><!--",
    ];
    for text in strings {
        server.publish("room", text);
        assert_eq!(alice.poll().updates("cb")["room"][0][1], text);
    }
}

#[test]
fn m9_presence_hides_whoever_has_admin_in_the_id() {
    let server = Server::start();
    for id in ["alice", "bob", "admin", "admin7", "xadminx", "7admin", "Admin", ""] {
        server.subscriber(id, &["room"]);
    }
    assert_eq!(server.present("room"), ["Admin", "alice", "bob"]);
    assert_eq!(server.present("never seen"), [""; 0]);
}

#[test]
fn m10_the_channels_of_a_client() {
    let server = Server::start();
    let alice = server.client("alice");
    assert_eq!(alice.channels(), [""; 0]);
    for channel in ["é😀", "b", ""] {
        alice.subscribe(channel);
    }
    assert_eq!(alice.channels(), ["", "b", "é😀"]);
}

#[test]
fn m11_a_killed_client_is_forgotten_at_once() {
    let server = Server::start();
    let bob = server.subscriber("bob", &["room"]);
    let alice = server.listener("alice", &["room"]);
    bob.kill();
    assert_eq!(bob.poll().status, 404);
    assert_eq!(alice.news(), json!({"room": [dies(3, "bob")]}));
    assert_eq!(server.error("kill_client", json!(["bob"]))["type"], KEY_ERROR);
    assert_eq!(server.present("room"), ["alice"]);
    let again = server.client("bob");
    assert_ne!(again.key, bob.key);
    assert_eq!(bob.poll().status, 404);
    assert_eq!(again.channels(), [""; 0]);
}

#[test]
fn m12_m13_the_server_describes_itself() {
    let server = Server::start();
    assert_eq!(server.call("system.list_methods", json!([])), procedures());
    let description = server.call("system.describe", json!([]));
    assert_eq!(description["sdversion"], "1.0");
    assert!(description["name"].is_string() && description["summary"].is_string());
    assert_eq!(description["procs"], procedures());
}

#[test]
fn m14_a_number_and_its_digits_name_the_same_channel() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["42"]);
    assert_eq!(server.call("subscribe", json!(["alice", 42])), 1);
    assert_eq!(server.call("new_message", json!(["app", "hello", 42, false])), 1);
    assert_eq!(alice.news(), json!({"42": [joins(1, "alice"), joins(2, "alice"), says(3, "hello")]}));
    assert_eq!(alice.channels(), ["42"]);
    assert_eq!(server.call("get_channel_clients", json!([42])), json!(["alice"]));
}

#[test]
fn m15_a_number_and_its_digits_are_the_same_client() {
    let server = Server::start();
    let client = server.client("42");
    assert_eq!(server.call("create_client", json!([42])), client.key.as_str());
    assert_eq!(server.call("subscribe", json!([42, "room"])), 1);
    assert_eq!(client.news(), json!({"room": [joins(1, "42")]}));
    assert_eq!(server.present("room"), ["42"]);
    assert_eq!(server.call("unsubscribe_all_channel", json!(["room", [42]])), 200);
    assert_eq!(server.present("room"), ["42"]);
    assert_eq!(server.call("kill_client", json!([42])), 200);
}

#[test]
fn m17_any_unicode_names_a_client_and_a_channel() {
    let server = Server::start();
    for name in [
        "with space",
        "plus+plus",
        "a&b=c",
        "a;b",
        "100%41",
        "é",
        "日本語",
        "😀",
        "\"'<>",
        "a\0b\n",
        "/?#",
        "_!_",
        "\\u0041",
        "a_!!_b",
        "_!!_",
        "",
        "\u{feff}",
        "\u{2028}",
    ] {
        let client = server.subscriber(name, &[name]);
        assert_eq!(client.news(), json!({name: [joins(1, name)]}), "{name:?}");
    }
}

#[test]
fn m17_names_are_compared_code_point_by_code_point() {
    let server = Server::start();
    let names = ["\u{e9}", "e\u{301}", "\u{c9}", "\u{e9} ", " \u{e9}", "\u{e9}\0"];
    let mut keys: Vec<String> = names.iter().map(|n| server.client(n).key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), names.len());
}

#[test]
fn m18_a_question_creates_no_channel() {
    let server = Server::start();
    let chief = server.listener("chief", &["admin"]);
    assert_eq!(server.present("asked"), [""; 0]);
    server.publish("made", "x");
    assert_eq!(chief.news(), json!({"admin": [opens(3, "made")]}));
}

// --- JSON-RPC 2.0

/// Posts a batch and gives the answers by the text of their ids, as their order means nothing.
fn batch(server: &Server, calls: &Value) -> Vec<(String, Value)> {
    let response = server.ask(post(calls.to_string()));
    assert_eq!((response.status, response.media_type()), (200, "application/json"), "{response:?}");
    let answers = response.json();
    let answers = answers.as_array().unwrap_or_else(|| panic!("not a list: {answers}"));
    let mut answers: Vec<_> = answers.iter().map(|a| (a["id"].to_string(), a.clone())).collect();
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    answers
}

fn call(method: &str, params: &Value, id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id})
}

fn result(value: &Value, id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "result": value, "id": id})
}

/// Holds if this is a 2.0 error object with that code, and nothing else.
fn is_error(answer: &Value, code: i64, id: &Value) {
    let mut members: Vec<_> = answer.as_object().expect("an object").keys().collect();
    members.sort();
    assert_eq!(members, ["error", "id", "jsonrpc"], "{answer}");
    assert_eq!((&answer["jsonrpc"], &answer["error"]["code"], &answer["id"]), (&json!("2.0"), &json!(code), id));
    assert!(answer["error"]["message"].is_string(), "{answer}");
}

#[test]
fn v2_calls_by_place_and_by_name() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    for (params, id) in [(json!(["room"]), json!(1)), (json!({"channel_name": "room"}), json!("2"))] {
        let request = call("get_channel_clients", &params, &id);
        assert_eq!(server.rpc(&request), result(&json!([alice.id]), &id));
    }
    let without_params = json!({"jsonrpc": "2.0", "method": "system.list_methods", "id": 3});
    assert_eq!(server.rpc(&without_params), result(&procedures(), &json!(3)));
}

#[test]
fn v2_errors_have_codes() {
    let server = Server::start();
    let id = json!("1");
    for (method, params, code) in [
        ("foobar", json!([]), -32601),
        ("rpc.foobar", json!([]), -32601),
        ("kill_client", json!(["nobody"]), -32001),
        ("subscribe", json!({"client_id": "nobody", "channel_name": "x"}), -32001),
        ("create_client", json!([]), -32602),
        ("create_client", json!({"x": 1}), -32602),
        ("create_client", json!([["a"]]), -32602),
        ("subscribe_many", json!([5]), -32602),
    ] {
        is_error(&server.rpc(&call(method, &params, &id)), code, &id);
    }
}

#[test]
fn v2_a_request_object_that_is_none() {
    let server = Server::start();
    let without_id = json!({"jsonrpc": "2.0", "method": 1, "params": "bar"});
    assert!(is_refused(&server.ask(post(without_id.to_string()))));
    for method in [json!(1), json!(null), json!([])] {
        let request = json!({"jsonrpc": "2.0", "method": method, "params": [], "id": 1});
        is_error(&server.rpc(&request), -32600, &json!(1));
    }
    is_error(&server.rpc(&json!({"jsonrpc": "2.0", "id": 1})), -32600, &json!(1));
    is_error(&server.rpc(&call("create_client", &json!("bar"), &json!(1))), -32602, &json!(1));
}

#[test]
fn v2_a_body_that_is_not_json_is_refused() {
    let server = Server::start();
    for body in [
        r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
        r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method""#,
        "[]",
        "[1]",
        "[1,2,3]",
    ] {
        assert!(is_refused(&server.ask(post(body))), "{body}");
    }
}

#[test]
fn v2_a_batch_is_answered_as_a_list() {
    let server = Server::start();
    server.subscriber("alice", &["room"]);
    let none = Value::Null;
    let answers = batch(
        &server,
        &json!([
            call("get_channel_clients", &json!(["room"]), &json!("1")),
            {"jsonrpc": "2.0", "method": "new_message", "params": ["app", "m", "room", false]},
            call("get_client_channels", &json!(["alice"]), &json!("2")),
            {"foo": "boo"},
            call("foo.get", &json!({"name": "myself"}), &json!("5")),
            call("get_client_channels", &json!({"client_id": "alice"}), &json!(9)),
        ]),
    );
    let of = |i: usize| &answers[i].1;
    assert_eq!(answers.len(), 5, "{answers:?}");
    assert_eq!(*of(0), result(&json!(["alice"]), &json!("1")));
    assert_eq!(*of(1), result(&json!(["room"]), &json!("2")));
    is_error(of(2), -32601, &json!("5"));
    assert_eq!(*of(3), result(&json!(["room"]), &json!(9)));
    is_error(of(4), -32600, &none);
}

#[test]
fn v2_what_is_no_request_in_a_batch_is_32600() {
    let server = Server::start();
    let good = call("system.list_methods", &json!([]), &json!(1));
    for bad in [json!(1), json!("x"), json!(null), json!([]), json!({"jsonrpc": "2.0", "method": 1, "params": "bar"})] {
        let answers = batch(&server, &json!([bad, good]));
        assert_eq!(answers[0].1, result(&procedures(), &json!(1)), "{bad}");
        is_error(&answers[1].1, -32600, &Value::Null);
    }
}

#[test]
fn v2_a_batch_of_notifications_is_done_and_not_answered() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let say = |text: &str| json!({"jsonrpc": "2.0", "method": "new_message", "params": ["app", text, "room", false]});
    let unknown = json!({"jsonrpc": "2.0", "method": "nope", "params": []});
    let mut connection = server.connect();
    let response = connection.ask(post(json!([say("one"), unknown, say("two")]).to_string()));
    assert!(matches!(response.status, 200 | 204) && response.body.is_empty(), "{response:?}");
    assert_eq!(connection.ask(get("/nowhere")).status, 404);
    assert_eq!(alice.news(), json!({"room": [says(2, "one"), says(3, "two")]}));
}

#[test]
fn v2_a_batch_has_at_most_1000_calls() {
    let server = Server::with(&["--history", "2000"]);
    let alice = server.listener("alice", &["room"]);
    let say = json!({"jsonrpc": "2.0", "method": "new_message", "params": ["app", "m", "room", false]});
    let calls = |count: usize| post(Value::from(vec![say.clone(); count]).to_string());
    assert!(is_refused(&server.ask(calls(1001))));
    assert_eq!(server.ask(calls(1000)).body, b"");
    assert_eq!(texts(&alice.news(), "room").len(), 1000, "the refused one has done nothing");
}

#[test]
fn v2_the_messages_of_one_batch_come_in_one_answer() {
    let server = Server::start();
    let alice = server.listener("alice", &["a", "b"]);
    let mut poll = alice.park();
    let say = |i: u64| {
        let channel = if i.is_multiple_of(2) { "a" } else { "b" };
        call("new_message", &json!(["app", i.to_string(), channel, false]), &json!(i))
    };
    let calls: Value = (0..10).map(say).collect();
    assert_eq!(batch(&server, &calls).len(), 10);
    let news = poll.news();
    assert_eq!(texts(&news, "a"), ["0", "2", "4", "6", "8"]);
    assert_eq!(texts(&news, "b"), ["1", "3", "5", "7", "9"]);
}

#[test]
fn v2_calls_of_a_batch_are_done_in_order() {
    let server = Server::start();
    let answers = batch(
        &server,
        &json!([
            call("create_client", &json!(["alice"]), &json!(1)),
            call("subscribe", &json!(["alice", "room"]), &json!(2)),
            call("get_channel_clients", &json!(["room"]), &json!(3)),
            call("kill_client", &json!(["alice"]), &json!(4)),
            call("kill_client", &json!(["alice"]), &json!(5)),
        ]),
    );
    assert_eq!(answers[2].1, result(&json!(["alice"]), &json!(3)));
    assert_eq!(answers[3].1, result(&json!(200), &json!(4)));
    is_error(&answers[4].1, -32001, &json!(5));
}
