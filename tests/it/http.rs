//! HTTP as the server speaks it: section 1 of the wire, RFC 9112, and what it refuses. The ids in the names are the
//! wire's rules.

use crate::support::ambiguous::{BAD_CHUNKS, BAD_FRAMING, BAD_LINES, OTHER_CODINGS, SMUGGLED};
use crate::support::{
    Client, Connection, Missing, PATIENCE, Response, Server, get, joins, poll_path, post, request, texts, timed, until,
    updates_path,
};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::time::Duration;

const CALL: &str = r#"{"method":"system.list_methods","params":[],"id":1}"#;

fn is_called(response: &Response) -> bool {
    response.status == 200 && response.json()["id"] == 1
}

/// The headers and a chunked body of the chunks given as they are.
fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// A call in two chunks, with an extension and a trailer.
fn call_in_chunks() -> String {
    let (first, second) = CALL.split_at(7);
    let chunks = format!("7;name=\"a;b\"\r\n{first}\r\n{:X}\r\n{second}\r\n", second.len());
    chunked(&format!("{chunks}000;last\r\nX-Trailer: x\r\nContent-Length: 3\r\n\r\n"))
}

// --- paths

#[test]
fn h1_other_paths_are_404() {
    let server = Server::start();
    for path in ["/favicon.ico", "/index.html", "/nothing/here", "//", "/messages", "/nowhere?x=/"] {
        let response = server.get(path);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!((response.media_type(), response.text()), ("text/plain", "Not Found\r\n"), "{path}");
    }
}

#[test]
fn h2_a_query_on_root_is_ignored() {
    let server = Server::start();
    assert!(is_called(&server.ask(request("POST", "/?x=1&method=nope", &[], CALL))));
}

#[test]
fn h2_the_path_is_percent_decoded() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let path = poll_path(&[&alice]).replace("/message", "/%6D%65ssage");
    assert_eq!(server.get(&path).news(), json!({"room": [joins(1, "alice")]}));
    assert_eq!(server.get("/%73tatic/shaveet%2ejs").status, 200);
    assert_eq!(server.get("/%zz").status / 100, 4);
}

#[test]
fn h2_the_absolute_form_names_the_same_paths() {
    let server = Server::start();
    assert_eq!(server.get("http://elsewhere.test/static/shaveet.js").status, 200);
    assert!(is_called(&server.ask(request("POST", "http://elsewhere.test/", &[], CALL))));
}

#[test]
fn h10_paths_are_exact_and_only_static_files_are_served() {
    let server = Server::start();
    for path in [
        "/static/../config.py",
        "/static/%2e%2e/config.py",
        "/static/..%2fconfig.py",
        "/static/../Cargo.toml",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static//etc/passwd",
        "/static/shaveet.js/",
        "/static/shaveet.js%00.png",
        "/static/Shaveet.js",
    ] {
        assert!(matches!(server.get(path).status, 400 | 404), "{path}");
    }
    let alice = server.subscriber("alice", &["room"]);
    for other in ["message_updatesXYZ", "message_updates/", "Message_updates", "x/message_updates"] {
        assert_eq!(server.get(&poll_path(&[&alice]).replace("message_updates", other)).status, 404, "{other}");
    }
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice")]}));
}

// --- connections

#[test]
fn h3_every_answer_has_content_length_and_date() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let requests = [
        get("/"),
        post(CALL),
        post("{"),
        get("/nowhere"),
        get("/static/shaveet.js"),
        get("/message_updates"),
        get(&poll_path(&[&alice])),
        request("BREW", "/nowhere", &[], ""),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "no HTTP\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let response = server.ask(&request);
        assert_eq!(response.content_length(), response.body.len());
        assert_eq!(response.header("transfer-encoding"), None);
        let date = response.header("date").unwrap_or_else(|| panic!("no Date for {request:?}"));
        assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
    }
}

#[test]
fn h3_a_connection_is_kept_in_1_1() {
    let server = Server::start();
    let mut connection = server.connect();
    for request in [post(CALL), get("/nowhere"), get("/"), get("/static/shaveet.js"), get("/message_updates")] {
        let response = connection.ask(request);
        assert!(!response.is_last(), "{response:?}");
        assert!(response.status_line.starts_with("HTTP/1.1 "));
    }
    assert!(is_called(&connection.ask(post(CALL))));
}

#[test]
fn h3_a_connection_is_closed_when_the_peer_asks_for_it() {
    let server = Server::start();
    let length = CALL.len();
    for head in [
        "POST / HTTP/1.0\r\n".to_owned(),
        "POST / HTTP/1.1\r\nConnection: close\r\n".to_owned(),
        "POST / HTTP/1.1\r\nconnection:CLOSE\r\n".to_owned(),
        "POST / HTTP/1.1\r\nConnection: x, Close , y\r\n".to_owned(),
        "POST / HTTP/1.1\r\nConnection: x\r\nConnection: close\r\n".to_owned(),
    ] {
        let mut connection = server.connect();
        let response = connection.ask(format!("{head}Content-Length: {length}\r\n\r\n{CALL}{}", get("/nowhere")));
        assert!(is_called(&response), "{head}");
        assert!(response.is_last(), "{head}: {response:?}");
        connection.closes();
    }
}

#[test]
fn h3_a_poll_of_1_0_is_answered_and_closed() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut poll = server.connect();
    poll.send(format!("GET {} HTTP/1.0\r\n\r\n", poll_path(&[&alice])));
    server.turn();
    server.publish("room", "hello");
    assert_eq!(texts(&poll.news(), "room"), ["hello"]);
    poll.closes();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let call = |id: usize| json!({"method": "get_channel_clients", "params": ["room"], "id": id}).to_string();
    let mut connection = server.connect();
    connection.send((0..500).map(|id| post(call(id))).collect::<String>());
    for id in 0..500 {
        assert_eq!(connection.answer().json()["id"], id);
    }
}

#[test]
fn pipelined_requests_wait_behind_a_parked_poll() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut connection = alice.park();
    connection.send(post(CALL) + &get("/nowhere"));
    connection.waits();
    server.publish("room", "hello");
    assert_eq!(texts(&connection.news(), "room"), ["hello"]);
    assert!(is_called(&connection.answer()));
    assert_eq!(connection.answer().status, 404);
}

#[test]
fn a_poll_behind_a_parked_poll_waits_for_its_turn() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut connection = alice.park();
    connection.send(get(&poll_path(&[&alice])));
    server.turn();
    server.publish("room", "one");
    assert_eq!(texts(&connection.news(), "room"), ["one"]);
    connection.waits();
    server.publish("room", "two");
    assert_eq!(texts(&connection.news(), "room"), ["two"]);
}

#[test]
fn what_waits_behind_a_parked_poll_is_bounded() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut connection = alice.park();
    let before = resident_kib(server.pid());
    // It ends by an error: the server closes, or it reads no more and the write times out.
    connection.socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let flood = get("/nowhere").repeat(2000);
    let taken = (0..1000).take_while(|_| std::io::Write::write_all(&mut connection.socket, flood.as_bytes()).is_ok());
    assert!(taken.count() < 1000, "the server takes everything");
    server.turn();
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8 << 10, "the server has grown by {grown} KiB");
}

/// Resident memory of a process, 0 where there is no /proc.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
fn an_empty_line_before_a_request_is_ignored() {
    let server = Server::start();
    let mut connection = server.connect();
    for _ in 0..3 {
        assert!(is_called(&connection.ask(format!("\r\n{}", post(CALL)))));
    }
}

// --- requests in pieces

/// Sends the request once for every place where it can be cut, and lets the server see the first part before it gets
/// the second; all cuts at the same time.
fn at_every_split(server: &Server, request: &str, answers: usize) -> Vec<Vec<(u16, Vec<u8>)>> {
    let mut connections: Vec<_> = (1..request.len()).map(|cut| (cut, server.connect())).collect();
    for (cut, connection) in &mut connections {
        connection.send(&request[..*cut]);
    }
    server.turn();
    for (cut, connection) in &mut connections {
        connection.send(&request[*cut..]);
    }
    let answer = |c: &mut Connection| {
        let response = c.answer();
        (response.status, response.body)
    };
    connections.iter_mut().map(|(_, c)| (0..answers).map(|_| answer(c)).collect()).collect()
}

#[test]
fn h5_a_request_split_anywhere_gets_the_same_answer() {
    let server = Server::start();
    let two = request("POST", "/", &["Connection: keep-alive"], CALL) + &get("/nowhere");
    for (request, answers) in [(post(CALL), 1), (call_in_chunks(), 1), (two, 2)] {
        let mut whole = server.connect();
        whole.send(&request);
        let expected: Vec<_> = (0..answers).map(|_| whole.answer()).map(|r| (r.status, r.body)).collect();
        assert_eq!(expected[0].0, 200, "{request}");
        for (i, got) in at_every_split(&server, &request, answers).into_iter().enumerate() {
            assert_eq!(got, expected, "cut at {} of {request:?}", i + 1);
        }
    }
}

#[test]
fn h5_a_request_in_single_bytes_gets_the_same_answer() {
    let server = Server::start();
    for request in [post(CALL), call_in_chunks()] {
        let mut connection = server.connect();
        for byte in request.as_bytes() {
            connection.send([*byte]);
            server.turn();
        }
        assert!(is_called(&connection.answer()));
    }
}

#[test]
fn h5_a_bad_request_split_anywhere_is_refused_all_the_same() {
    let server = Server::start();
    let bad = chunked("5\r\nhello0\r\n\r\n");
    for got in at_every_split(&server, &bad, 1) {
        assert_eq!(got[0].0, 400);
    }
}

// --- headers and bodies

#[test]
fn h4_expect_100_continue() {
    let server = Server::start();
    let head = |length: usize| format!("POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n\r\n");
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(head(CALL.len()));
        assert_eq!(connection.answer().status, 100);
        connection.send(CALL);
        assert!(is_called(&connection.answer()));
    }
    connection.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(connection.answer().status, 100);
    connection.send(format!("{:x}\r\n{CALL}\r\n0\r\n\r\n", CALL.len()));
    assert!(is_called(&connection.answer()));
    // What will be refused is refused before it is sent.
    assert_eq!(server.connect().ask(head(1 << 40)).status, 413);
}

#[test]
fn h4_no_100_continue_for_1_0() {
    let server = Server::start();
    let head = format!("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", CALL.len());
    let mut connection = server.connect();
    connection.send(head);
    server.turn();
    connection.send(CALL);
    assert!(is_called(&connection.answer()));
}

#[test]
fn h5_content_type_host_and_case_are_not_looked_at() {
    let server = Server::start();
    for line in [
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: text/plain",
        "Content-Type: application/json; charset=utf-8",
        "Content-Type:",
        "Content-Type: \t",
        "X-Empty:",
        "x!#$%&'*+.^_`|~1: any token",
        "X: \u{e9}\t ~",
    ] {
        let head = format!("POST / HTTP/1.1\r\n{line}\r\ncoNTENT-lENGTH:\t{}  \r\n\r\n", CALL.len());
        assert!(is_called(&server.ask(head + CALL)), "{line}");
    }
}

#[test]
fn h6_a_megabyte_and_more_goes_through() {
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let text = "x".repeat(3 << 20);
    server.publish("room", &text);
    assert!(texts(&alice.news(), "room") == [text]);
}

#[test]
fn h6_an_id_of_64_kib_can_poll() {
    let server = Server::start();
    let id = "L".repeat(64 << 10);
    let long = server.subscriber(&id, &["room"]);
    assert_eq!(long.news(), json!({"room": [joins(1, &id)]}));
}

#[test]
fn h6_a_body_up_to_the_limit_is_taken_and_a_longer_one_is_413() {
    let server = Server::with(&["--max-body", "1KiB"]);
    let padded = |length: usize| format!("{CALL:length$}");
    assert!(is_called(&server.ask(post(padded(1024)))));
    let whole = format!("400\r\n{}\r\n0\r\n\r\n", padded(1024));
    assert!(is_called(&server.ask(chunked(&whole))));
    for request in [
        post(padded(1025)),
        request("POST", "/nowhere", &[], padded(1025)),
        chunked(&format!("401\r\n{}\r\n0\r\n\r\n", padded(1025))),
        chunked(&format!("400\r\n{}\r\n1\r\n \r\n0\r\n\r\n", padded(1024))),
        chunked("ffffffff\r\n"),
        "POST / HTTP/1.1\r\nContent-Length: 9999999999999999\r\n\r\n".to_owned(),
        // 2^64 + 5 and 2^65 + 5: five bytes for who counts in 64 bits and does not look.
        "POST / HTTP/1.1\r\nContent-Length: 18446744073709551621\r\n\r\nhello".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: 36893488147419103237\r\n\r\nhello".to_owned(),
    ] {
        let mut connection = server.connect();
        let response = connection.ask(&request);
        assert_eq!(response.status, 413, "{request}");
        assert!(response.is_last());
        connection.closes();
    }
}

#[test]
fn a_refused_peer_may_finish_what_it_sends() {
    let server = Server::with(&["--max-body", "1KiB"]);
    let mut connection = server.connect();
    let response = connection.ask("POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(response.status, 413);
    // Closing at once would reset the connection, and a peer that is still sending would lose the answer.
    for _ in 0..10 {
        connection.send([b' '; 10_000]);
        server.turn();
    }
    connection.closes();
}

#[test]
fn what_surrounds_the_chunks_is_bounded_too() {
    let server = Server::with(&["--max-body", "1KiB", "--max-head", "4KiB"]);
    for endless in [
        format!("1;{}", "x".repeat(1 << 20)),
        format!("{}1\r\n", "0".repeat(1 << 20)),
        "1;x\r\na\r\n".repeat(1 << 17),
        format!("0\r\n{}", "X: y\r\n".repeat(1 << 17)),
        format!("0\r\nX: {}", "y".repeat(1 << 20)),
    ] {
        let mut connection = server.connect();
        connection.offer(chunked(&endless));
        let response = connection.answer();
        assert!(matches!(response.status, 400 | 413 | 431), "{response:?} for {:?}", &endless[..9]);
        assert!(response.is_last());
    }
}

#[test]
fn h6_a_head_up_to_the_limit_is_taken_and_a_longer_one_is_414_or_431() {
    let server = Server::with(&["--max-head", "2KiB"]);
    // "GET /", the padding, " HTTP/1.1", "X: ", the padding, and the ends of lines.
    let head = |target: usize, value: usize| {
        format!("GET /{} HTTP/1.1\r\nX: {}\r\n\r\n", "t".repeat(target), "v".repeat(value))
    };
    let fixed = head(0, 0).len();
    for (target, value, expected) in [
        (1000, 2048 - 1000 - fixed, 404),
        (2048 - fixed, 0, 404),
        (1000, 2048 - 1000 - fixed + 1, 431),
        (0, 100_000, 431),
        (2048, 0, 414),
        (100_000, 0, 414),
    ] {
        let mut connection = server.connect();
        connection.offer(head(target, value));
        let response = connection.answer();
        assert_eq!(response.status, expected, "{target} and {value}");
        assert_eq!(response.is_last(), expected != 404);
    }
}

#[test]
fn h6_a_head_without_end_is_refused_when_it_is_too_long() {
    let server = Server::with(&["--max-head", "2KiB"]);
    for (head, expected) in [
        (format!("GET /{}", "x".repeat(3000)), 414),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(3000)), 431),
        (format!("GET / HTTP/1.1\r\n{}", "X: x\r\n".repeat(500)), 431),
    ] {
        let mut connection = server.connect();
        connection.offer(head);
        assert_eq!(connection.answer().status, expected);
        connection.closes();
    }
}

#[test]
fn many_header_lines_are_answered() {
    let server = Server::start();
    for (lines, expected) in [(60, &[404][..]), (1000, &[404, 431]), (20_000, &[404, 431])] {
        let head = format!("GET /nowhere HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(lines));
        assert!(expected.contains(&server.ask(head).status), "{lines}");
    }
}

#[test]
fn h7_chunked_bodies_are_taken() {
    let server = Server::start();
    assert!(is_called(&server.ask(call_in_chunks())));
    let single: String = CALL.bytes().map(|b| format!("1\r\n{}\r\n", char::from(b))).collect();
    assert!(is_called(&server.ask(chunked(&(single + "0\r\n\r\n")))));
    let body = format!("{:x}\r\n{CALL}\r\n0\r\n\r\n", CALL.len());
    let mut connection = server.connect();
    for coding in ["chunked", "Chunked", "CHUNKED", "\tchunked "] {
        let head = format!("POST / HTTP/1.1\r\ntransfer-encoding:{coding}\r\n\r\n");
        assert!(is_called(&connection.ask(head + &body)), "{coding}");
    }
}

#[test]
fn h8_head_has_no_body_and_takes_nothing() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let head = |path: &str| request("HEAD", path, &[], "");
    let mut connection = server.connect();
    for (path, expected) in [("/", 405), ("/nowhere", 404), ("/static/shaveet.js", 200), ("/static/nope", 404)] {
        assert_eq!(connection.ask(head(path)).status, expected, "{path}");
        assert!(is_called(&connection.ask(post(CALL))), "a body came after HEAD {path}");
    }
    connection.ask(head(&poll_path(&[&alice])));
    assert!(is_called(&connection.ask(post(CALL))), "a body came after HEAD of a poll");
    assert_eq!(alice.news(), json!({"room": [joins(1, "alice")]}));
}

#[test]
fn h8_head_says_the_length_that_get_sends() {
    let server = Server::start();
    let head = server.ask(request("HEAD", "/static/shaveet.js", &[], ""));
    let get = server.get("/static/shaveet.js");
    for name in ["content-length", "content-type", "etag", "last-modified"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

#[test]
fn a_preflight_gets_cors_headers_where_pages_may_ask() {
    let server = Server::start();
    let preflight = ["Origin: http://page.test", "Access-Control-Request-Method: GET"];
    for path in ["/message_updates", "/message_updates?callback=cb&client_id=x", "/static/shaveet.js"] {
        let response = server.ask(request("OPTIONS", path, &preflight, ""));
        assert!(matches!(response.status, 200 | 204), "{path}: {response:?}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{path}");
        let methods = response.header("access-control-allow-methods").unwrap_or("");
        assert!(methods.contains("GET"), "{path}: {response:?}");
    }
    // A browser asks for a page: nothing here.
    let response = server.ask(request("OPTIONS", "/", &preflight, ""));
    assert_eq!(response.status, 404);
    assert!(response.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{response:?}");
}

#[test]
fn unknown_methods_are_501() {
    let server = Server::start();
    for method in ["BREW", "get", "X"] {
        for path in ["/message_updates", "/static/shaveet.js", "/nowhere"] {
            assert_eq!(server.ask(request(method, path, &[], "")).status, 501, "{method} {path}");
        }
    }
}

#[test]
fn other_versions_are_505() {
    let server = Server::start();
    for version in ["2.0", "3.0", "9.9"] {
        let mut connection = server.connect();
        let response = connection.ask(format!("GET /nowhere HTTP/{version}\r\nHost: x\r\n\r\n"));
        assert_eq!(response.status, 505, "{version}");
        assert!(response.is_last());
        connection.closes();
    }
}

// --- time

#[test]
fn a_slow_head_is_408_even_if_it_keeps_coming() {
    let server = Server::with(&["--head-timeout", "400ms"]);
    let mut connection = server.connect();
    connection.send("GET / HTTP/1.1\r\n");
    let response = drip(&mut connection, "X: y\r\n");
    assert_eq!(response.status, 408);
    assert!(response.is_last());
}

#[test]
fn a_slow_body_is_408_even_if_it_keeps_coming() {
    let server = Server::with(&["--body-timeout", "400ms"]);
    for head in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut connection = server.connect();
        connection.send(format!("POST / HTTP/1.1\r\n{head}\r\n\r\n"));
        let piece = if head.starts_with('T') { "1\r\n \r\n" } else { " " };
        let (response, time) = timed(|| drip(&mut connection, piece));
        assert_eq!(response.status, 408, "{head}");
        assert!(response.is_last());
        assert!(time >= Duration::from_millis(350), "{time:?}");
    }
}

/// Sends the piece again and again until there is an answer.
fn drip(connection: &mut Connection, piece: &str) -> Response {
    let mut answer = None;
    until("there is an answer", || {
        connection.offer(piece);
        match connection.within(Duration::from_millis(20)) {
            Ok(response) => answer = Some(response),
            Err(Missing::Silent) => {}
            Err(Missing::Closed) => panic!("closed without an answer"),
        }
        answer.is_some()
    });
    answer.expect("just got")
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::with(&["--idle-timeout", "300ms"]);
    let mut connection = server.connect_with(post(CALL));
    assert!(is_called(&connection.answer()));
    let ((), time) = timed(|| connection.closes());
    assert!(time >= Duration::from_millis(250), "{time:?}");
}

#[test]
fn a_connection_that_never_asks_is_closed() {
    let server = Server::with(&["--idle-timeout", "300ms", "--head-timeout", "300ms"]);
    let mut connection = server.connect();
    match connection.within(PATIENCE) {
        Ok(response) => assert_eq!(response.status, 408),
        Err(missing) => assert_eq!(missing, Missing::Closed),
    }
}

#[test]
fn a_parked_poll_is_not_idle() {
    let timers = ["--idle-timeout", "200ms", "--head-timeout", "200ms", "--body-timeout", "200ms"];
    let server = Server::with(&[&timers[..], &["--write-timeout", "200ms", "--poll-timeout", "1s"]].concat());
    let [alice, bob] = ["alice", "bob"].map(|id| {
        let call = json!({"method": "create_client", "params": [id], "id": 1}).to_string();
        let key = server.connect_with(post(call)).answer().json()["result"].as_str().expect("a key").to_owned();
        Client { server: &server, id: id.to_owned(), key }
    });
    let request = get(&poll_path(&[&bob]));
    let (first, second) = request.split_at(20);
    // Whoever took longer than a head may take tries again.
    let (mut in_pieces, _) = std::iter::repeat_with(|| {
        timed(|| {
            let mut connection = server.connect_with(first);
            assert_eq!(server.connect_with(get("/nowhere")).answer().status, 404);
            connection.offer(second);
            connection
        })
    })
    .find(|(_, time)| *time < Duration::from_millis(150))
    .expect("they do not end");
    let (answers, time) = timed(|| {
        let mut whole = server.connect_with(get(&poll_path(&[&alice])));
        [whole.news(), in_pieces.news()]
    });
    assert_eq!(answers, [json!({}), json!({})]);
    assert!(time >= Duration::from_millis(800), "{time:?}");
}

#[test]
fn p18_an_answer_that_nobody_reads_is_given_up_and_not_lost() {
    let server = Server::with(&["--write-timeout", "500ms", "--history-bytes", "16MiB", "--max-answer", "16MiB"]);
    let alice = server.listener("alice", &["room"]);
    // Together more than the buffers of both sockets can swallow.
    let text = "x".repeat(3 << 20);
    server.publish_all("room", [text.as_str(); 2]);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = Connection::over(socket, server.address(), None);
    // While nobody knows what the first has got, the second gets nothing.
    let (news, time) = timed(|| {
        deaf.send(get(&poll_path(&[&alice])));
        server.turn();
        alice.park().news()
    });
    assert!(time >= Duration::from_millis(450), "{time:?}");
    assert!(texts(&news, "room") == [text.as_str(); 2], "{} messages", texts(&news, "room").len());
}

// --- refusals

/// Holds if each of these gets one answer of its statuses, and the connection is closed without a look at what follows.
fn are_refused(cases: impl IntoIterator<Item = (String, &'static [u16])>) {
    let server = Server::start();
    let fault = |(bytes, statuses): (String, &[u16])| {
        let mut connection = server.connect();
        connection.offer(format!("{bytes}{SMUGGLED}"));
        match (connection.within(PATIENCE), connection.within(PATIENCE)) {
            (Ok(r), Err(Missing::Closed)) if statuses.contains(&r.status) && r.is_last() => None,
            answers => Some(format!("{bytes:?} -> {answers:?}")),
        }
    };
    let faults: Vec<String> = cases.into_iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn h12_ambiguous_framing_is_400() {
    let request = |lines: &str, body: &str| format!("POST / HTTP/1.1\r\n{lines}\r\n{body}");
    are_refused(BAD_FRAMING.iter().map(|(lines, body)| (request(lines, body), &[400][..])));
}

#[test]
fn h12_transfer_codings_other_than_chunked_are_refused() {
    let request = |coding: &str| format!("POST / HTTP/1.1\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
    are_refused(OTHER_CODINGS.iter().map(|coding| (request(coding), &[400, 501][..])));
    // Its end is known, but not what is in it (RFC 9112 section 6.1).
    are_refused([(request("gzip, chunked"), &[501][..])]);
}

#[test]
fn h12_transfer_encoding_in_1_0_is_400() {
    let request = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    are_refused([(request.to_owned(), &[400][..])]);
}

#[test]
fn h12_bad_chunks_are_400() {
    are_refused(BAD_CHUNKS.iter().map(|body| (chunked(body), &[400][..])));
}

#[test]
fn h12_bad_request_lines_are_400() {
    // A line without a good version may as well be one of another version.
    let statuses = |line: &str| if line.contains("HTTP/1.1") { &[400][..] } else { &[400, 505] };
    are_refused(BAD_LINES.iter().map(|line| (format!("{line}Host: x\r\n\r\n"), statuses(line))));
}

#[test]
fn h12_the_server_outlives_garbage() {
    let server = Server::with(&["--head-timeout", "300ms"]);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let garbage: Vec<u8> = (0..random.usize(1..2000)).map(|_| random.u8(..)).collect();
        let mut connection = server.connect();
        connection.offer(garbage);
        // Most is refused at once; what could still become a head is left behind here.
        drop(connection);
    }
    assert!(is_called(&server.ask(post(CALL))));
}

// --- static files

#[test]
fn f1_the_script() {
    let server = Server::start();
    let script = server.get("/static/shaveet.js");
    assert_eq!(script.status, 200);
    assert!(["text/javascript", "application/x-javascript"].contains(&script.media_type()), "{script:?}");
    for word in ["Shaveet", "MutableSet", "/message_updates"] {
        assert!(script.text().contains(word), "{word}");
    }
    assert!(httpdate::parse_http_date(script.header("last-modified").unwrap()).is_ok());
    assert!(script.header("etag").is_some());
    assert_eq!(server.get("/static/shaveet.js?disableCORS=1&v=3").body, script.body);
}

#[test]
fn the_module_and_its_types_are_served_like_the_script() {
    let server = Server::start();
    for (path, kind, word) in [
        ("/static/shaveet.mjs", "text/javascript", "export class Shaveet"),
        ("/static/shaveet.d.ts", "application/typescript", "export interface Options"),
    ] {
        let file = server.get(path);
        assert_eq!((file.status, file.media_type()), (200, kind), "{path}");
        assert!(file.text().contains(word), "{path}");
        // A module is only loaded from another origin if that says so.
        assert_eq!(file.header("access-control-allow-origin"), Some("*"), "{path}");
        let line = format!("If-None-Match: {}", file.header("etag").unwrap());
        assert_eq!(server.ask(request("GET", path, &[&line], "")).status, 304, "{path}");
    }
}

#[test]
fn the_demonstration_is_served_on_request_only_and_gives_away_one_channel() {
    let server = Server::start();
    for (method, path) in [("GET", "/demo"), ("POST", "/demo/client"), ("POST", "/demo/say?from=a")] {
        assert_eq!(server.ask(request(method, path, &[], "")).status, 404, "{path}");
    }
    let server = Server::with(&["--demo"]);
    let page = server.get("/demo");
    assert_eq!((page.status, page.media_type()), (200, "text/html"));
    let client = server.ask(request("POST", "/demo/client", &[], ""));
    assert!(client.status == 200 && client.text().starts_with("{\"clientId\":\"demo-"), "{client:?}");
    assert_eq!(server.ask(request("POST", "/demo/say?from=a%20b", &[], "hello")).text(), "{\"id\":2}");
    let history = server.call("history", json!(["demo", null, 10]));
    assert!(history.to_string().contains("\"a b\""), "{history}");
    // What is too much, and who comes from elsewhere.
    assert_eq!(server.ask(request("POST", "/demo/say?from=a", &[], "x".repeat(4097))).status, 400);
    assert_eq!(server.ask(request("POST", &format!("/demo/say?from={}", "x".repeat(65)), &[], "x")).status, 400);
    assert_eq!(server.ask(request("POST", "/demo/say?from=%ff", &[], "x")).status, 400);
    for path in ["/demo/client", "/demo/say?from=a"] {
        assert_eq!(server.ask(request("POST", path, &["Sec-Fetch-Site: cross-site"], "x")).status, 404, "{path}");
        assert_eq!(server.ask(request("POST", path, &["Sec-Fetch-Site: same-origin"], "x")).status, 200, "{path}");
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert_eq!(server.get("/demo/").status, 404);
}

#[test]
fn f2_conditional_requests() {
    let server = Server::start();
    let script = server.get("/static/shaveet.js");
    let (etag, modified) = (script.header("etag").unwrap(), script.header("last-modified").unwrap());
    let mut connection = server.connect();
    for (line, expected) in [
        (format!("If-None-Match: {etag}"), 304),
        (format!("If-None-Match: \"x\", W/{etag}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        (format!("If-Modified-Since: {modified}"), 304),
        ("If-Modified-Since: Sat, 01 Jan 2095 00:00:00 GMT".to_owned(), 304),
        ("If-None-Match: \"other\"".to_owned(), 200),
        ("If-Modified-Since: Tue, 15 Nov 1994 12:45:26 GMT".to_owned(), 200),
        ("If-Modified-Since: yesterday".to_owned(), 200),
        (format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {modified}"), 200),
    ] {
        let response = connection.ask(request("GET", "/static/shaveet.js", &[&line], ""));
        assert_eq!(response.status, expected, "{line}");
        assert_eq!(response.body.is_empty(), expected == 304);
    }
}

#[test]
fn f3_other_files_and_methods() {
    let server = Server::start();
    for path in ["/static/nope.js", "/static/", "/static/.gitignore", "/static/package.json"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let response = server.ask(request("POST", "/static/shaveet.js", &[], ""));
    assert_eq!(response.status, 405);
    assert!(response.header("allow").is_some_and(|m| m.contains("GET")), "{response:?}");
    assert_eq!(server.ask(request("HEAD", "/static/shaveet.js", &[], "")).status, 200);
}

#[test]
fn a_poll_path_with_a_body_keeps_the_connection_in_step() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let path = updates_path(&[("callback", "cb"), ("client_id", &alice.credential())]);
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", SMUGGLED.len());
    let mut connection = server.connect();
    connection.send(head + SMUGGLED + &post(CALL));
    assert_eq!(connection.news(), json!({"room": [joins(1, "alice")]}));
    let next: Value = connection.answer().json();
    assert_eq!(next["id"], 1);
}
