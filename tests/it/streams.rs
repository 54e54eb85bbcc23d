//! `/events` and `/socket` over real sockets: what leaves by them, how they begin, go on and end, and what they cost.

#![allow(clippy::disallowed_methods, reason = "a test looks at the server's timers from outside, with the real clock")]

use std::time::{Duration, Instant};

use crate::support::crowd::memory;
use crate::support::metrics::Scraper;
use crate::support::streams::{Event, Events, Frame, HANDSHAKE, WebSocket, masked, stream_path};
use crate::support::{Client, HASTY, PATIENCE, Patience, Server, Shape, get, heard, request, said, since, until};
use serde_json::{Value, json};

/// Nobody hears of comings and goings: what a test publishes has the ids 1, 2, 3...
const SILENT: [&str; 2] = ["--presence", "off"];

fn acknowledged(client: &Client<'_>) -> String {
    let info = client.server.call("client_info", json!([client.id]));
    info["acknowledged"].as_str().expect("a position").to_owned()
}

fn transports(client: &Client<'_>) -> Value {
    client.server.call("client_info", json!([client.id]))["transports"].take()
}

/// The text of a message event.
fn text(event: &Value) -> &str {
    event["data"].as_str().unwrap_or_else(|| panic!("no message: {event}"))
}

// --- server-sent events

#[test]
fn an_event_stream_says_what_it_is_and_each_message_with_its_position() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let mut events = Events::open(&client, None);
    for (name, value) in [
        ("cache-control", Some("no-cache, no-store")),
        ("x-accel-buffering", Some("no")),
        ("access-control-allow-origin", Some("*")),
        ("transfer-encoding", Some("chunked")),
        ("content-length", None),
        ("connection", None),
    ] {
        assert_eq!(events.head.header(name), value, "{name}: {:?}", events.head);
    }
    server.publish("room", "hello");
    let expected = json!({"channel": "room", "id": 1, "from": "app", "data": "hello", "system": false});
    let event = events.next().unwrap();
    assert_eq!((event.kind.as_str(), &event.data), ("message", &expected));
    assert!((500..=5000).contains(&events.retry_ms.expect("it says when to come back")));
    assert_eq!(transports(&client), json!(["events"]));
    // Who comes back with the id of an event gets what comes after it.
    server.publish_all("room", ["two", "three"]);
    let two = events.next().unwrap();
    let mut other = Events::resume(&client, &event.id);
    assert_eq!((text(&other.message()), text(&other.message())), ("two", "three"));
    assert_eq!(said(&client.resume(&two.id)), ["three"]);
}

#[test]
fn nothing_in_a_message_breaks_the_framing() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room", "data: x\n\nevent: gap"]);
    let mut events = Events::open(&client, None);
    let texts = [
        "a\nb",
        "a\r\nb",
        "a\rb",
        "\n\ndata: x\n\n",
        "\u{feff}bom",
        "nul\0",
        "\u{2028}\u{2029}\u{85}\u{b}\u{c}",
        "id: 7\n",
        ":\n",
        "",
        " ",
        "\u{10348}é",
        "\nretry: 1\n",
        "\\",
        "\"",
    ];
    for text in texts {
        server.publish("room", text);
        assert_eq!(events.message()["data"], text);
    }
    server.publish("data: x\n\nevent: gap", "x");
    assert_eq!(events.message()["channel"], "data: x\n\nevent: gap");
    assert!((500..=5000).contains(&events.retry_ms.unwrap()));
    let mut socket = WebSocket::open(&client, Some("earliest"));
    let expected: Vec<&str> = texts.into_iter().chain(["x"]).collect();
    assert_eq!(said(&socket.object()), expected);
}

#[test]
fn an_event_stream_says_at_once_where_it_is() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let mut events = Events::open(&client, None);
    let patience = Patience::new(PATIENCE);
    assert!(events.block(patience).unwrap().unwrap().starts_with("retry: "));
    let word = events.block(patience).unwrap().unwrap();
    let token = word.strip_prefix(":\nid: ").and_then(|rest| rest.strip_suffix("\n\n")).expect("a comment and an id");
    drop(events);
    server.publish("room", "later");
    assert_eq!(text(&Events::resume(&client, token).message()), "later");
}

/// What a page is told that comes from `since` and whose connection breaks behind so many events: all of it, in order.
fn told_when_broken(client: &Client<'_>, since: &str, behind: usize, all: usize) -> Vec<String> {
    let show = |event: &Event| match &*event.kind {
        "gap" => format!("gap in {} before {}", event.data["channel"], event.data["next_id"]),
        _ => format!("{} {}", event.data["channel"], event.data["data"]),
    };
    let mut events = Events::open(client, Some(since));
    let mut told: Vec<String> = (0..behind).map(|_| show(&events.next().expect("an event"))).collect();
    let last_id = std::mem::take(&mut events.last_id);
    drop(events);
    let mut events =
        if last_id.is_empty() { Events::open(client, Some(since)) } else { Events::resume(client, &last_id) };
    while told.len() < all {
        told.push(show(&events.next().expect("an event")));
    }
    // The next thing that it hears is what is said next.
    client.server.publish("room", "end");
    assert_eq!(text(&events.message()), "end", "{told:?}");
    told
}

#[test]
fn a_gap_is_told_once_wherever_the_connection_breaks() {
    let expected = [
        r#""old" "1""#,
        r#"gap in "hall" before 3"#,
        r#""hall" "3""#,
        r#""hall" "4""#,
        r#"gap in "room" before 2"#,
        r#""room" "2""#,
        r#""room" "3""#,
        r#""late" "1""#,
    ];
    for behind in 0..=expected.len() {
        let server = Server::with(&[&SILENT[..], &["--history", "2"]].concat());
        let client = server.subscriber("c", &["room", "hall", "late", "old"]);
        let begin = acknowledged(&client);
        // What is older than what is lost elsewhere comes before it is told.
        server.publish("old", "1");
        server.publish_all("hall", ["1", "2", "3", "4"]);
        server.publish_all("room", ["1", "2", "3"]);
        server.publish("late", "1");
        assert_eq!(told_when_broken(&client, &begin, behind, expected.len()), expected, "broken behind {behind}");
    }
}

#[test]
fn a_gap_with_nothing_behind_it_is_told_once() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let begin = acknowledged(&client);
    server.publish("room", "1");
    server.call("unsubscribe", json!(["c", "room"]));
    server.publish_all("room", ["too late"; 150]);
    let mut events = Events::open(&client, Some(&begin));
    let gap = events.next().expect("an event");
    assert_eq!((gap.kind.as_str(), &gap.data["next_id"]), ("gap", &json!(52)));
    let last_id = events.last_id.clone();
    server.call("subscribe", json!(["c", "room"]));
    server.publish("room", "later");
    let mut events = Events::resume(&client, &last_id);
    assert_eq!(text(&events.message()), "later");
}

#[test]
fn the_last_id_wins_over_the_url_and_empty_is_none() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    server.publish_all("room", ["one", "two", "three"]);
    let mut first = Events::open(&client, None);
    let ids: Vec<String> = (0..3).map(|_| first.next().unwrap().id).collect();
    let from = |last_id: Option<&str>, since: Option<&str>| {
        let header = format!("Last-Event-ID: {}", last_id.unwrap_or_default());
        let headers: &[&str] = if last_id.is_some() { &[&header] } else { &[] };
        let mut events = Events::ask(server.connect(), headers, &stream_path("events", &[&client], since));
        text(&events.message()).to_owned()
    };
    assert_eq!(from(Some(&ids[1]), Some(&ids[0])), "three");
    assert_eq!(from(Some(""), Some(&ids[0])), "two");
    assert_eq!(from(None, Some(&ids[0])), "two");
    assert_eq!(from(Some("earliest"), Some(&ids[1])), "one");
    assert_eq!(from(None, Some("earliest")), "one");
    for path in [stream_path("events", &[&client], Some("junk")), stream_path("socket", &[&client], Some("junk"))] {
        let response = server.ask(request("GET", &path, &HANDSHAKE, ""));
        assert_eq!(Shape::Object.error(&response).0, 400, "{path}");
    }
    let header = "Last-Event-ID: junk";
    let response = server.ask(request("GET", &stream_path("events", &[&client], None), &[header], ""));
    assert_eq!(Shape::Object.error(&response).0, 400);
}

#[test]
fn an_unknown_client_is_refused_so_that_an_event_source_gives_up() {
    let server = Server::start();
    let client = server.client("c");
    for wrong in [
        Client { server: &server, id: "c".to_owned(), key: "0".repeat(32) },
        Client { server: &server, id: "nobody".to_owned(), key: client.key.clone() },
    ] {
        let response = server.get(&stream_path("events", &[&wrong], None));
        assert_eq!(Shape::Object.error(&response).0, 404);
        let response = server.get(&stream_path("events", &[&client, &wrong], None));
        assert_eq!(Shape::Object.error(&response).0, 404);
    }
    assert_eq!(Shape::Object.error(&server.get("/events")).0, 400);
    assert_eq!(Shape::Object.error(&server.get("/events?client_id=c")).0, 404);
    assert_eq!(transports(&client), json!([]));
}

#[test]
fn an_old_proxy_gets_no_chunks() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let request = get(&stream_path("events", &[&client], None)).replace("HTTP/1.1", "HTTP/1.0");
    let mut events = Events::send(server.connect(), request);
    assert_eq!((events.head.header("transfer-encoding"), events.head.header("connection")), (None, Some("close")));
    server.publish("room", "hello");
    assert_eq!(text(&events.message()), "hello");
    client.kill();
    assert_eq!(events.next().unwrap().kind, "gone");
    assert_eq!(events.next(), None);
}

#[test]
fn who_only_asks_gets_no_stream() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let path = stream_path("events", &[&client], None);
    let mut connection = server.connect();
    let head = connection.ask(request("HEAD", &path, &[], ""));
    assert_eq!((head.status, head.media_type()), (200, "text/event-stream"));
    let preflight = connection.ask(request("OPTIONS", &path, &["Access-Control-Request-Headers: last-event-id"], ""));
    assert_eq!((preflight.status, preflight.header("access-control-allow-headers")), (204, Some("*")));
    assert_eq!(transports(&client), json!([]));
}

#[test]
fn a_stream_that_ends_leaves_its_connection_to_the_next_request() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let mut events = Events::open(&client, None);
    // What is sent behind it waits.
    events.connection.send(get("/nowhere"));
    server.publish("room", "hello");
    assert_eq!(text(&events.message()), "hello");
    server.call("rotate_key", json!(["c"]));
    let gone = events.next().unwrap();
    assert_eq!((gone.kind.as_str(), &gone.data["error"]["code"]), ("gone", &json!(404)));
    assert_eq!(events.next(), None);
    assert_eq!(events.connection.answer().status, 404);
}

// --- WebSocket

#[test]
fn a_socket_is_sent_what_a_poll_would_be() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let mut socket = WebSocket::open(&client, None);
    let first = socket.object();
    assert_eq!((heard(&first), &first["gaps"], &first["retry_ms"]), (vec![], &json!([]), &json!(0)));
    server.publish("room", "hello");
    let second = socket.news();
    let expected = json!([{"channel": "room", "id": 1, "from": "app", "data": "hello", "system": false}]);
    assert_eq!(second["messages"], expected);
    assert_eq!(client.resume(&since(&first))["messages"], expected);
    assert_eq!(transports(&client), json!(["socket"]));
    // It goes on where its token says.
    let mut again = WebSocket::open(&client, Some(&since(&first)));
    assert_eq!(again.object()["messages"], expected);
    assert_eq!(heard(&WebSocket::open(&client, Some(&since(&second))).object()), []);
}

#[test]
fn a_page_acknowledges_what_it_has_had() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    server.publish("room", "one");
    let mut socket = WebSocket::open(&client, None);
    let one = since(&socket.object());
    server.publish("room", "two");
    let two = since(&socket.news());
    assert_ne!(acknowledged(&client), one);
    for (said, known) in [(&one, &one), (&two, &two), (&one, &two)] {
        socket.acknowledge(said);
        until("it is known", || acknowledged(&client) == *known);
    }
    // What is no position of this server's changes nothing, and what is no object is not understood.
    let (epoch, _) = two.split_once('-').unwrap();
    for other in [format!("{epoch}-1000"), "0123456789abcdef-1".to_owned(), "junk".to_owned()] {
        socket.acknowledge(&other);
    }
    socket.send(0x81, r#"{"something":"new"}"#);
    socket.send(0x89, "still there?");
    assert_eq!(socket.frame(), Frame::Pong(b"still there?".to_vec()));
    assert_eq!(acknowledged(&client), two);
    // A pong brings back where the page was, as a ping took it there.
    server.publish("room", "three");
    let three = since(&socket.news());
    socket.send(0x8a, &three);
    until("it is known", || acknowledged(&client) == three);
    socket.send(0x81, "[]");
    assert_eq!(socket.closes(), Some(1003));
}

#[test]
fn what_an_event_stream_was_sent_before_counts_as_had() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let mut events = Events::open(&client, None);
    server.publish("room", "one");
    let one = events.next().unwrap().id;
    let begun = acknowledged(&client);
    assert_ne!(begun, one);
    server.publish("room", "two");
    events.next().unwrap();
    assert_eq!(acknowledged(&client), begun, "a proxy may be keeping it back");
    // It takes ten seconds.
    let patience = Patience::new(Duration::from_secs(30));
    while acknowledged(&client) == begun {
        assert!(!patience.is_over(), "it goes on and on and counts for nothing");
        std::thread::sleep(Duration::from_millis(100));
        server.publish("room", "more");
        events.next().unwrap();
    }
}

#[test]
fn frames_are_heard_in_any_pieces() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let path = stream_path("socket", &[&client], None);
    let said =
        [masked(0x89, "a"), masked(0x01, "{\"ack\":"), masked(0x89, "b"), masked(0x80, "\"\"}"), masked(0x89, "c")];
    let said = said.concat();
    let pongs = |socket: &mut WebSocket| {
        let pongs: Vec<Frame> = (0..3).map(|_| socket.frame()).collect();
        assert_eq!(pongs, [b"a", b"b", b"c"].map(|payload| Frame::Pong(payload.to_vec())));
    };
    for cut in 0..said.len() {
        // The first part comes with the handshake.
        let mut socket = WebSocket::ask(server.connect(), &path, &said[..cut]);
        socket.connection.send(&said[cut..]);
        pongs(&mut socket);
    }
    let mut socket = WebSocket::open(&client, None);
    for byte in &said {
        socket.connection.send([*byte]);
    }
    pongs(&mut socket);
    socket.send(0x88, [3, 232]);
    assert_eq!(socket.closes(), Some(1000));
}

#[test]
fn what_is_against_the_protocol_closes_by_its_code() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let cases: [(&str, Vec<u8>, Option<u16>); 11] = [
        ("a clean end", masked(0x88, [3, 233, b'b', b'y', b'e']), Some(1001)),
        ("an end without a code", masked(0x88, ""), None),
        ("no mask", b"\x81\x02{}".to_vec(), Some(1002)),
        ("a reserved bit", masked(0xc1, "{}"), Some(1002)),
        ("a reserved opcode", masked(0x83, "{}"), Some(1002)),
        ("nothing to continue", masked(0x80, "{}"), Some(1002)),
        ("a code that is not sent", masked(0x88, 1005_u16.to_be_bytes()), Some(1002)),
        ("binary", masked(0x82, "{}"), Some(1003)),
        ("no JSON", masked(0x81, "{"), Some(1003)),
        ("no UTF-8", masked(0x81, b"{\"\xff"), Some(1007)),
        ("too much", masked(0x81, vec![b' '; 5000]), Some(1009)),
    ];
    for (what, bytes, code) in cases {
        let mut socket = WebSocket::open(&client, None);
        socket.connection.send(bytes);
        assert_eq!(socket.closes(), code, "{what}");
        until("the hub has forgotten it", || transports(&client) == json!([]));
    }
}

#[test]
fn a_handshake_is_refused_by_status_and_a_client_by_code() {
    let server = Server::start();
    let client = server.client("c");
    let path = stream_path("socket", &[&client], None);
    let without = |name: &str, instead: &[&'static str]| {
        let kept = HANDSHAKE.into_iter().filter(|line| !line.starts_with(name));
        let lines: Vec<&str> = kept.chain(instead.iter().copied()).collect();
        server.ask(request("GET", &path, &lines, ""))
    };
    for response in [without("Upgrade", &[]), without("Connection", &["Connection: keep-alive"]), server.get(&path)] {
        assert_eq!((response.status, response.header("upgrade")), (426, Some("websocket")), "{response:?}");
    }
    let response = without("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]);
    assert_eq!((response.status, response.header("sec-websocket-version")), (426, Some("13")), "{response:?}");
    assert_eq!(without("Sec-WebSocket-Key", &["Sec-WebSocket-Key: short"]).status, 400);
    let mut connection = server.connect();
    let response = connection.ask(request("POST", &path, &HANDSHAKE, ""));
    assert_eq!((response.status, response.header("allow")), (405, Some("GET")));
    // The connection can still be used.
    assert_eq!(connection.ask(get("/nowhere")).status, 404);
    assert_eq!(server.ask(request("GET", "/socket", &HANDSHAKE, "")).status, 400);
    for wrong in [
        Client { server: &server, id: "c".to_owned(), key: "0".repeat(32) },
        Client { server: &server, id: "nobody".to_owned(), key: client.key.clone() },
    ] {
        assert_eq!(WebSocket::open(&wrong, None).closes(), Some(4404));
    }
}

// --- both

#[test]
fn killing_a_client_and_rotating_its_key_act_at_once() {
    let server = Server::with(&SILENT);
    for rotates in [false, true] {
        let client = server.subscriber("c", &["room"]);
        let mut events = Events::open(&client, None);
        let mut socket = WebSocket::open(&client, None);
        if rotates {
            server.call("rotate_key", json!(["c"]));
        } else {
            client.kill();
        }
        assert_eq!(events.next().map(|event| event.kind).as_deref(), Some("gone"));
        assert_eq!(events.next(), None);
        assert_eq!(socket.closes(), Some(4404));
        if rotates {
            assert_eq!(WebSocket::open(&client, None).closes(), Some(4404));
        }
    }
}

#[test]
fn one_of_two_clients_that_goes_leaves_the_stream_to_the_other() {
    let server = Server::with(&SILENT);
    let (one, two) = (server.subscriber("1", &["a"]), server.subscriber("2", &["b"]));
    let mut events = Events::ask(server.connect(), &[], &stream_path("events", &[&one, &two], None));
    let mut socket = WebSocket::ask(server.connect(), &stream_path("socket", &[&one, &two], None), b"");
    socket.object();
    one.kill();
    server.publish("b", "still there");
    assert_eq!(text(&events.message()), "still there");
    assert_eq!(said(&socket.news()), ["still there"]);
}

#[test]
fn of_too_many_streams_the_oldest_is_replaced() {
    let server = Server::with(&[&SILENT[..], &["--max-polls", "2"]].concat());
    let client = server.subscriber("c", &["room"]);
    let mut socket = WebSocket::open(&client, None);
    let mut events = Events::open(&client, None);
    events.block(Patience::new(PATIENCE)).unwrap();
    server.turn();
    let mut third = WebSocket::open(&client, None);
    assert_eq!(socket.closes(), Some(4409));
    let mut fourth = Events::open(&client, None);
    assert_eq!(last_comment(&mut events), ": the client has too many connections, and this is the oldest\n\n");
    server.publish("room", "hello");
    third.object();
    assert_eq!((said(&third.news()), text(&fourth.message())), (vec!["hello".to_owned()], "hello"));
    drop((third, fourth));
    until("they have gone", || transports(&client) == json!([]));
    // Polls of the original's protocol are not sent away: whoever comes is to try later.
    client.news();
    let polls = [client.park(), client.park()];
    assert_eq!(WebSocket::open(&client, None).closes(), Some(1013));
    let refused = server.get(&stream_path("events", &[&client], None));
    assert_eq!((refused.status, refused.media_type()), (200, "text/event-stream"));
    assert!(refused.text().starts_with("retry: "));
    assert!(refused.text().ends_with("\n\n: this client has too many connections already\n\n"), "{refused:?}");
    drop(polls);
}

#[test]
fn a_server_that_stops_says_when_to_come_back() {
    // It does not wait for their time to be over.
    let server = Server::with(&[&SILENT[..], &["--drain", "10m"]].concat());
    let client = server.subscriber("c", &["room"]);
    let mut events = Events::open(&client, None);
    let mut socket = WebSocket::open(&client, None);
    socket.object();
    events.block(Patience::new(PATIENCE)).unwrap();
    server.turn();
    assert_eq!(server.stop().code(), Some(0));
    let last = socket.news();
    assert!((500..=5000).contains(&last["retry_ms"].as_u64().unwrap()), "{last}");
    assert_eq!(socket.closes(), Some(1001));
    assert_eq!(last_comment(&mut events), ": the server stops\n\n");
}

/// Reads up to the end of a stream: its last lines.
fn last_comment(events: &mut Events) -> String {
    let mut last = String::new();
    while let Some(block) = events.block(Patience::new(PATIENCE)).expect("the end") {
        assert!(!block.contains("data:"), "{block:?}");
        last = block;
    }
    last
}

#[test]
fn who_streams_is_there_and_who_has_gone_is_collected() {
    let server = Server::calm(&SILENT);
    let clients = [server.subscriber("e", &["room"]), server.subscriber("s", &["room"])];
    let (mut events, mut socket) = (Events::open(&clients[0], None), WebSocket::open(&clients[1], None));
    socket.object();
    server.set(HASTY);
    // Several sweeps later.
    let begin = Instant::now();
    until("time has passed", || begin.elapsed() > Duration::from_millis(500));
    assert_eq!(server.present("room"), ["e", "s"]);
    server.publish("room", "hello");
    assert_eq!((text(&events.message()), said(&socket.news())), ("hello", vec!["hello".to_owned()]));
    drop((events, socket));
    until("they are collected", || server.present("room").is_empty());
    server.publish("room", "while away");
    assert_eq!(said(&clients[1].resume("")), ["hello", "while away"]);
}

/// One page with one cursor, by all transports in turn.
#[test]
fn a_page_changes_its_transport_in_the_middle_and_hears_each_message_once() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room", "hall"]);
    let (mut token, mut all) = (String::new(), Vec::new());
    let mut published = 0;
    let mut publish = |count| {
        for _ in 0..count {
            published += 1;
            server.publish(if published % 3 == 0 { "hall" } else { "room" }, &published.to_string());
        }
    };
    for round in 0..30 {
        publish(1 + round % 4);
        let since_token = (!token.is_empty()).then_some(token.as_str());
        match round % 4 {
            0 => {
                let mut socket = WebSocket::open(&client, since_token);
                let object = socket.object();
                all.extend(said(&object));
                publish(1);
                // That one is lost on the way.
                token = since(&object);
            }
            1 => {
                let mut events = Events::open(&client, since_token);
                let event = events.next().unwrap();
                all.push(text(&event.data).to_owned());
                token = event.id;
            }
            2 => {
                let object = client.resume(&token);
                all.extend(said(&object));
                token = since(&object);
            }
            _ => {
                let response = server.get(&Shape::Script.path(&[&client], &token));
                let object = Shape::Script.read(&response);
                all.extend(said(&object));
                token = since(&object);
            }
        }
    }
    all.extend(said(&client.resume(&token)));
    assert_eq!(all, (1..=published).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_has_stopped_costs_little_and_is_told_the_gap() {
    let server = Server::with(
        &[&SILENT[..], &["--history", "50", "--history-bytes", "16MiB", "--write-timeout", "1h"]].concat(),
    );
    let stopped = server.subscriber("stopped", &["room"]);
    let other = server.subscriber("other", &["room"]);
    let mut events = Events::open(&stopped, None);
    let mut socket = WebSocket::open(&stopped, None);
    socket.object();
    let mut lively = WebSocket::open(&other, None);
    lively.object();
    let text_of = "x".repeat(100_000);
    let count = 300_u64;
    let before = memory(server.pid());
    for id in 1..=count {
        server.publish("room", &text_of);
        // Whoever reads is served all the while.
        assert_eq!(heard(&lively.news()), [("room".to_owned(), id, text_of.clone())]);
    }
    // The ring's own 5 MB, and of each of the two an answer: what the kernel holds for them is not the server's.
    let grown = memory(server.pid()) - before;
    assert!(grown < 9 << 20, "{grown} bytes");
    // They go on where they are, and then from where the ring begins, with a gap.
    let mut ids = Vec::new();
    let mut gaps = Vec::new();
    while ids.last() != Some(&count) {
        let Event { kind, data, .. } = events.next().expect("it goes on");
        match kind.as_str() {
            "gap" => gaps.push(data["next_id"].as_u64().unwrap()),
            _ => ids.push(data["id"].as_u64().unwrap()),
        }
    }
    assert_gapped(&ids, &gaps, count);
    let (mut ids, mut gaps) = (Vec::new(), Vec::new());
    while ids.last() != Some(&count) {
        let object = socket.object();
        gaps.extend(object["gaps"].as_array().unwrap().iter().map(|gap| gap["next_id"].as_u64().unwrap()));
        ids.extend(heard(&object).into_iter().map(|(_, id, _)| id));
    }
    assert_gapped(&ids, &gaps, count);
}

/// Everything once and in order, but for what one gap tells of.
fn assert_gapped(ids: &[u64], gaps: &[u64], count: u64) {
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let jumps: Vec<(u64, u64)> =
        ids.windows(2).filter(|pair| pair[1] != pair[0] + 1).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!(jumps.len(), 1, "{ids:?}");
    assert_eq!((ids[0], jumps[0].1, ids.last()), (1, gaps[0], Some(&count)));
    assert_eq!(jumps[0].1, count - 49, "from where the ring begins");
}

#[test]
fn a_reader_that_takes_nothing_for_too_long_is_let_go() {
    let server = Server::with(&[&SILENT[..], &["--write-timeout", "300ms"]].concat());
    let client = server.subscriber("c", &["room"]);
    let _events = Events::open(&client, None);
    let _socket = WebSocket::open(&client, None);
    let text = "x".repeat(1 << 20);
    until("they are let go", || {
        server.publish("room", &text);
        transports(&client) == json!([])
    });
}

/// Waits for the first beat of some streams of each kind: they are spread over the whole interval.
#[test]
fn an_idle_stream_hears_something_every_so_often() {
    let server = Server::with(&SILENT);
    let client = server.subscriber("c", &["room"]);
    let begin = Instant::now();
    let [first, first_of_sockets, next, next_of_sockets] =
        [16, 26, 35, 58].map(|seconds| Patience::new(Duration::from_secs(seconds)));
    let mut events: Vec<Events> = (0..6).map(|_| Events::open(&client, None)).collect();
    let mut sockets: Vec<WebSocket> = (0..6).map(|_| WebSocket::open(&client, None)).collect();
    for events in &mut events {
        // `retry`, the first word, and then the comment.
        let blocks: Vec<String> = (0..3).map(|_| events.block(first).unwrap().unwrap()).collect();
        assert!(blocks[2].starts_with(":\nid: "), "{blocks:?}");
    }
    assert!(begin.elapsed() > Duration::from_secs(2), "they come at once: {:?}", begin.elapsed());
    for socket in &mut sockets {
        socket.object();
        let Frame::Text(word) = socket.by(first_of_sockets).unwrap() else { panic!("no word") };
        assert_eq!((heard(&word), &word["retry_ms"]), (vec![], &json!(0)));
        assert_eq!(socket.next(), Frame::Ping(since(&word).into_bytes()));
    }
    // And again and again: 15 s after the first time, which may have been at once, and 25 by a socket.
    let beat = events[0].block(next).unwrap().unwrap();
    assert!(beat.starts_with(":\nid: "), "{beat:?}");
    assert!(begin.elapsed() >= Duration::from_secs(15), "events after {:?}", begin.elapsed());
    let Frame::Text(word) = sockets[0].by(next_of_sockets).unwrap() else { panic!("no word") };
    assert_eq!(sockets[0].next(), Frame::Ping(since(&word).into_bytes()));
    assert!(begin.elapsed() >= Duration::from_secs(25), "a socket after {:?}", begin.elapsed());
}

#[test]
fn pages_of_origins_that_are_not_listed_get_no_stream() {
    let server = Server::with(&[&SILENT[..], &["--allow-origin", "https://app.example"]].concat());
    let client = server.subscriber("c", &["room"]);
    let (events, socket) = (stream_path("events", &[&client], None), stream_path("socket", &[&client], None));
    let ask = |path: &str, origin: &str| {
        let origin = format!("Origin: {origin}");
        server.ask(request("GET", path, &[&HANDSHAKE[..], &[&origin]].concat(), ""))
    };
    for path in [&events, &socket] {
        assert_eq!(ask(path, "https://evil.example").status, 403);
    }
    assert_eq!(transports(&client), json!([]));
    let listed = Events::ask(server.connect(), &["Origin: https://app.example"], &events);
    assert_eq!(listed.head.header("access-control-allow-origin"), Some("https://app.example"));
}

/// Bytes of the process for an idle stream, all told: its connection, its client, its subscription, its place in every table.
const IDLE_STREAM_BYTES_MAX: f64 = 700.0;

/// Streams that there are when memory is looked at first, and at last: tables grow by pages, and what the server has at its start
/// is nobody's.
const FEW_AND_MANY: [usize; 2] = [1000, 3000];

#[test]
fn an_idle_stream_is_small_and_has_no_buffer() {
    for kind in ["events", "socket"] {
        let limits = ["--max-connections-per-address", "10000", "--max-new-per-address", "10000"];
        let server = Server::with(&[&SILENT[..], &limits].concat());
        let mut scraper = Scraper::new(&server);
        let mut open = Vec::new();
        let [few, many] = FEW_AND_MANY.map(|count| {
            for at in open.len()..count {
                // Most of what a stream costs depends on nobody's number: a few clients would hide what each costs.
                let client = server.subscriber(&format!("page{at:05}"), &["room"]);
                // Each has got something, which was all that was written for it.
                open.push(match kind {
                    "events" => {
                        let mut events = Events::open(&client, None);
                        assert!(events.block(Patience::new(PATIENCE)).unwrap().is_some());
                        events.connection
                    }
                    _ => {
                        let mut socket = WebSocket::open(&client, None);
                        socket.object();
                        socket.connection
                    }
                });
            }
            server.publish("room", "for all");
            scraper.until("memory_bytes{kind=buffers}", |bytes| bytes == 0.0);
            scraper.get("memory_used_bytes")
        });
        let each = (many - few) / (FEW_AND_MANY[1] - FEW_AND_MANY[0]) as f64;
        println!("{kind}: {each:.0} bytes for each idle stream");
        assert_eq!(scraper.get(&format!("parked{{transport={kind}}}")), FEW_AND_MANY[1] as f64);
        assert!(each < IDLE_STREAM_BYTES_MAX, "{kind}: {each:.0} bytes for each idle stream");
        assert!(each > 200.0, "{kind}: {each:.0} bytes: it looks at something else");
    }
}
