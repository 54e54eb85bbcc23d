//! `/metrics`: each number is moved by what it counts, and by nothing else.

use crate::support::metrics::{Scraper, exchange, families, samples};
use crate::support::streams::{Events, WebSocket};
use crate::support::{
    BINARY, CALM, Client, Connection, HASTY, Nest, PATIENCE, Response, Server, Shape, Signal, get, poll_path, post,
    request, said, since, until,
};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::Command;

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";

fn start(arguments: &[&str]) -> (Server, Scraper) {
    let server = Server::with(arguments);
    let scraper = Scraper::new(&server);
    (server, scraper)
}

// --- what there is, and what goes through

#[test]
fn clients_channels_and_subscriptions() {
    let (server, mut scraper) = start(&[]);
    let made = scraper.moved(|| drop(server.client("alice")));
    assert_eq!(made, ["clients +1", "created_clients_total +1"]);
    // The channel `admin` and its announcement, that of the room, and the join.
    let subscribed = scraper.moved(|| drop(server.call("subscribe", json!(["alice", "room"]))));
    assert_eq!(subscribed, ["channels +2", "published_messages_total{kind=system} +3", "subscriptions +1"]);
    // Nothing that is only asked moves anything.
    let asked = scraper.moved(|| {
        server.call("client_info", json!(["alice"]));
        server.call("create_client", json!(["alice"]));
        server.call("list_clients", json!([]));
        server.error("kill_client", json!(["nobody"]));
    });
    assert_eq!(asked, [""; 0]);
    let killed = scraper.moved(|| drop(server.call("kill_client", json!(["alice"]))));
    assert_eq!(killed, ["clients -1", "published_messages_total{kind=system} +1", "subscriptions -1"]);
}

#[test]
fn the_original_s_polls() {
    let (server, mut scraper) = start(&[]);
    let alice = server.subscriber("alice", &["room"]);
    // What is there already is nobody's latency.
    let found = scraper.moved(|| drop(alice.poll()));
    assert_eq!(found, ["deliveries_total{transport=poll} +1", "sent_messages_total{transport=poll} +1"]);
    let mut poll = None;
    assert_eq!(scraper.moved(|| poll = Some(alice.park())), ["parked{transport=poll} +1"]);
    let told = scraper.moved(|| {
        server.publish("room", "hello");
        poll.take().expect("it is parked").news();
    });
    assert_eq!(told, delivered("poll", Some(-1)));
    // Who hangs up takes nothing.
    let poll = alice.park();
    let before = scraper.read();
    drop(poll);
    scraper.until("parked{transport=poll}", |count| count == 0.0);
    assert_eq!(scraper.since(&before), ["parked{transport=poll} -1"]);
}

/// What a message moves that one page hears, and by how much the number of those that wait.
fn delivered(transport: &str, parked: Option<i32>) -> Vec<String> {
    let mut moved =
        vec![format!("deliveries_total{{transport={transport}}} +1"), "delivery_latency_seconds_count +1".to_owned()];
    moved.extend(parked.map(|parked| format!("parked{{transport={transport}}} {parked:+}")));
    moved.push("published_messages_total{kind=application} +1".to_owned());
    moved.push(format!("sent_messages_total{{transport={transport}}} +1"));
    moved
}

#[test]
fn polls_of_the_resume_protocol() {
    let (server, mut scraper) = start(&[]);
    let alice = server.subscriber("alice", &["room"]);
    let position = since(&alice.resume(""));
    let mut poll = None;
    let parked = scraper.moved(|| poll = Some(server.park_at(&Shape::Object.path(&[&alice], &position))));
    assert_eq!(parked, ["parked{transport=resume} +1"]);
    let told = scraper.moved(|| {
        server.publish("room", "hello");
        assert_eq!(said(&Shape::Object.read(&poll.take().expect("it is parked").answer())), ["hello"]);
    });
    assert_eq!(told, delivered("resume", Some(-1)));
    // An answer with nothing in it is no delivery.
    let mut sent_away = None;
    let (server, mut scraper) = start(&["--max-polls", "2"]);
    let bob = server.subscriber("bob", &["room"]);
    let position = since(&bob.resume(""));
    let path = Shape::Object.path(&[&bob], &position);
    let mut first = server.park_at(&path);
    let _second = server.park_at(&path);
    let moved = scraper.moved(|| {
        sent_away = Some(server.park_at(&path));
        first.answer();
    });
    assert_eq!(moved, ["ended_polls_total{reason=crowded} +1", "refusals_total{limit=max-polls} +1"]);
}

#[test]
fn event_streams() {
    let (server, mut scraper) = start(&[]);
    let alice = server.subscriber("alice", &["room"]);
    let before = scraper.read();
    let mut stream = Events::open(&alice, None);
    stream.message();
    let begun = scraper.since(&before);
    let first = [
        "deliveries_total{transport=events} +1",
        "parked{transport=events} +1",
        "sent_messages_total{transport=events} +1",
    ];
    assert_eq!(begun, first);
    let told = scraper.moved(|| {
        server.publish("room", "hello");
        assert_eq!(stream.message()["data"], "hello");
    });
    assert_eq!(told, delivered("events", None));
    let before = scraper.read();
    drop(stream);
    scraper.until("parked{transport=events}", |count| count == 0.0);
    assert_eq!(scraper.since(&before), ["parked{transport=events} -1"]);
}

#[test]
fn web_sockets() {
    let (server, mut scraper) = start(&[]);
    let alice = server.subscriber("alice", &["room"]);
    let before = scraper.read();
    let mut socket = WebSocket::open(&alice, None);
    assert_eq!(said(&socket.object()).len(), 1);
    let begun = scraper.since(&before);
    let first = [
        "deliveries_total{transport=socket} +1",
        "parked{transport=socket} +1",
        "sent_messages_total{transport=socket} +1",
    ];
    assert_eq!(begun, first);
    let told = scraper.moved(|| {
        server.publish("room", "hello");
        assert_eq!(said(&socket.news()), ["hello"]);
    });
    assert_eq!(told, delivered("socket", None));
    let before = scraper.read();
    alice.kill();
    assert_eq!(socket.closes(), Some(4404));
    scraper.until("parked{transport=socket}", |count| count == 0.0);
    assert_eq!(
        scraper.since(&before),
        [
            "clients -1",
            "ended_polls_total{reason=gone} +1",
            "parked{transport=socket} -1",
            "published_messages_total{kind=system} +1",
            "subscriptions -1"
        ]
    );
}

#[test]
fn a_fan_out_counts_each_page() {
    let (server, mut scraper) = start(&["--presence", "off"]);
    let pages: Vec<_> = (0..20).map(|at| server.subscriber(&format!("page{at}"), &["room"])).collect();
    let mut polls: Vec<_> = pages.iter().map(Client::park).collect();
    let told = scraper.moved(|| {
        server.publish("room", "hello");
        polls.iter_mut().for_each(|poll| drop(poll.news()));
    });
    assert_eq!(
        told,
        [
            "deliveries_total{transport=poll} +20",
            "delivery_latency_seconds_count +20",
            "parked{transport=poll} -20",
            "published_messages_total{kind=application} +1",
            "sent_messages_total{transport=poll} +20"
        ]
    );
}

#[test]
fn a_poll_whose_time_is_up() {
    let (server, mut scraper) = start(&["--poll-timeout", "50ms"]);
    let alice = server.listener("alice", &["room"]);
    assert_eq!(scraper.moved(|| drop(alice.poll())), ["ended_polls_total{reason=timeout} +1"]);
}

/// A page that asks and does not read, so that its answer stays in the process.
fn deaf(server: &Server, path: &str) -> Connection {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("every socket can");
    let mut page = Connection::over(socket, server.address(), None);
    page.send(get(path));
    page
}

/// Messages that are together more than the buffers of both sockets can swallow.
const MUCH_MESSAGES: usize = 12;

fn publish_much(server: &Server) {
    let text = "x".repeat(512 << 10);
    server.publish_all("room", [text.as_str(); MUCH_MESSAGES]);
}

const MUCH: [&str; 4] = ["--history-bytes", "16MiB", "--max-answer", "16MiB"];

#[test]
fn an_answer_whose_page_goes_is_broken_and_what_waits_for_it_is_a_buffer() {
    let (server, mut scraper) = start(&MUCH);
    let alice = server.listener("alice", &["room"]);
    publish_much(&server);
    let before = scraper.read();
    assert_eq!(before["memory_bytes{kind=buffers}"], 0.0);
    let page = deaf(&server, &poll_path(&[&alice]));
    scraper.until("memory_bytes{kind=buffers}", |bytes| bytes > 1e6);
    let sent = format!("sent_messages_total{{transport=poll}} +{MUCH_MESSAGES}");
    assert_eq!(scraper.since(&before), ["parked{transport=poll} +1", &sent]);
    drop(page);
    scraper.until("broken_deliveries_total{transport=poll}", |count| count == 1.0);
    assert_eq!(scraper.since(&before), ["broken_deliveries_total{transport=poll} +1", &sent]);
    assert_eq!(scraper.get("memory_bytes{kind=buffers}"), 0.0);
}

#[test]
fn bytes_are_counted_to_the_byte() {
    let server = Server::start();
    let mut socket = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    let ask = |socket: &mut TcpStream| {
        let scrape = get("/metrics");
        let (came, text) = exchange(socket, &scrape);
        let body = text.split_once("\r\n\r\n").expect("a head").1.to_owned();
        (scrape.len(), came, samples(&body))
    };
    let (_, came, before) = ask(&mut socket);
    let call = post(json!({"method": "list_clients", "params": [], "id": 1}).to_string());
    let (answered, _) = exchange(&mut socket, &call);
    let (went, _, after) = ask(&mut socket);
    let change = |name: &str| after[name] - before[name];
    assert_eq!(change("received_bytes_total"), (call.len() + went) as f64);
    // A scrape says what has left before its own answer.
    assert_eq!(change("sent_bytes_total"), (came + answered) as f64);
}

#[test]
fn connections_and_requests_are_counted_by_where_they_go() {
    let (server, mut scraper) = start(&["--rpc-listen", "127.0.0.1:0"]);
    let before = scraper.read();
    assert_eq!((before["connections"], before["accepted_connections_total"]), (1.0, 1.0));
    let held: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = server.connect();
            assert_eq!(connection.ask(get("/nowhere")).status, 404);
            connection
        })
        .collect();
    for path in ["/message_updates", "/events", "/socket", "/health", "/ready", "/"] {
        server.get(path);
    }
    let after = scraper.read();
    let requests = |path: &str| {
        let name = format!("requests_total{{path={path}}}");
        after[&name] - before[&name]
    };
    assert_eq!(["/message_updates", "/events", "/socket", "/health", "/ready", "/"].map(requests), [1.0; 6]);
    assert_eq!((requests("other"), requests("/metrics")), (3.0, 1.0));
    assert_eq!(after["accepted_connections_total"], 10.0);
    scraper.until("connections", |count| count == 4.0);
    drop(held);
    scraper.until("connections", |count| count == 1.0);
}

// --- what is lost, or over

/// Which gaps a page is told that comes after all of this.
fn gaps_after(arguments: &[&str], deed: impl FnOnce(&Server, &mut Scraper)) -> Vec<String> {
    let (server, mut scraper) = start(arguments);
    let alice = server.subscriber("alice", &["room"]);
    let begin = since(&alice.resume(""));
    deed(&server, &mut scraper);
    let before = scraper.read();
    let answer = alice.resume(&begin);
    assert_eq!(answer["gaps"].as_array().map(Vec::len), Some(1), "{answer}");
    scraper.since(&before).into_iter().filter(|name| name.starts_with("gaps")).collect()
}

#[test]
fn gaps_are_counted_by_their_reason() {
    let large = "x".repeat(1000);
    let publish = |server: &Server| server.publish_all("room", [large.as_str(); 5]);
    let by_count = gaps_after(&["--history", "2"], |server, _| publish(server));
    assert_eq!(by_count, ["gaps_total{reason=count} +1"]);
    let by_bytes = gaps_after(&["--history-bytes", "2500"], |server, _| publish(server));
    assert_eq!(by_bytes, ["gaps_total{reason=bytes} +1"]);
    let by_age = gaps_after(&["--history-age", "50ms"], |server, scraper| {
        publish(server);
        scraper.until("expirations_total{kind=message}", |count| count >= 4.0);
    });
    assert_eq!(by_age, ["gaps_total{reason=age} +1"]);
    let by_memory = gaps_after(&["--history-total", "3KiB"], |server, _| {
        publish(server);
        server.publish_all("hall", [large.as_str(); 5]);
    });
    assert_eq!(by_memory, ["gaps_total{reason=memory} +1"]);
}

#[test]
fn a_position_of_another_server_is_a_gap_by_restart() {
    let other = Server::start();
    let position = since(&other.subscriber("alice", &["room"]).resume(""));
    let (server, mut scraper) = start(&[]);
    let alice = server.subscriber("alice", &["room"]);
    let told = scraper.moved(|| drop(alice.resume(&position)));
    assert!(told.contains(&"gaps_total{reason=restart} +1".to_owned()), "{told:?}");
}

#[test]
fn clients_that_are_collected_and_come_back() {
    let server = Server::calm(&[]);
    let mut scraper = Scraper::new(&server);
    let alice = server.subscriber("alice", &["room"]);
    server.set(HASTY);
    scraper.until("expirations_total{kind=client}", |count| count == 1.0);
    let gone = scraper.read();
    assert_eq!((gone["clients"], gone["departed_clients"], gone["subscriptions"]), (0.0, 1.0, 1.0));
    server.set(CALM);
    let poll = alice.park();
    let back = scraper.read();
    assert_eq!((back["clients"], back["departed_clients"], back["returned_clients_total"]), (1.0, 0.0, 1.0));
    drop(poll);
}

#[test]
fn clients_that_are_forgotten_and_channels_that_nobody_uses() {
    let server = Server::calm(&["--departed-age", "50ms", "--channel-idle", "50ms"]);
    let mut scraper = Scraper::new(&server);
    drop(server.subscriber("alice", &["room"]));
    server.set(HASTY);
    // `room` and `admin`.
    scraper.until("expirations_total{kind=channel}", |count| count == 2.0);
    let after = scraper.read();
    assert_eq!((after["expirations_total{kind=client}"], after["expirations_total{kind=departed_client}"]), (1.0, 1.0));
    assert_eq!(["clients", "departed_clients", "channels", "subscriptions"].map(|name| after[name]), [0.0; 4]);
    assert_eq!(after["memory_bytes{kind=history}"], 0.0);
}

// --- what is refused

/// Which refusals the deed moves. The reading is done by a connection that is there before.
fn refused(arguments: &[&str], deed: impl FnOnce(&Server)) -> Vec<String> {
    let (server, mut scraper) = start(arguments);
    let moved = scraper.moved(|| deed(&server));
    moved.into_iter().filter(|name| name.starts_with("refusals_total")).collect()
}

#[test]
fn refusals_at_the_limits_of_the_api() {
    let clients = refused(&["--max-clients", "1"], |server| {
        server.client("alice");
        server.error("create_client", json!(["bob"]));
    });
    assert_eq!(clients, ["refusals_total{limit=max-clients} +1"]);
    let channels = refused(&["--max-channels", "2"], |server| {
        server.publish_all("room", ["1"]);
        server.error("publish", json!(["hall", "2"]));
    });
    assert_eq!(channels, ["refusals_total{limit=max-channels} +1"]);
    let subscriptions = refused(&["--max-subscriptions", "1"], |server| {
        server.subscriber("alice", &["room"]);
        server.error("subscribe", json!(["alice", "hall"]));
    });
    assert_eq!(subscriptions, ["refusals_total{limit=max-subscriptions} +1"]);
    let names = refused(&["--max-name", "16"], |server| {
        server.error("create_client", json!(["this is much too long"]));
        server.error("subscribe", json!(["this is much too long", "room"]));
    });
    assert_eq!(names, ["refusals_total{limit=max-name} +2"]);
    let polls = refused(&["--max-polls", "2"], |server| {
        let alice = server.listener("alice", &["room"]);
        let _parked = [alice.park(), alice.park()];
        assert_eq!(alice.poll().status, 503);
    });
    assert_eq!(polls, ["refusals_total{limit=max-polls} +1"]);
}

#[test]
fn polls_that_come_too_often() {
    let early = refused(&["--max-poll-rate", "1"], |server| {
        let alice = server.subscriber("alice", &["room"]);
        let begin = since(&alice.resume(""));
        server.publish("room", "hello");
        until("it is told to come later", || alice.resume(&begin)["retry_ms"] != 0);
    });
    assert_eq!(early, ["refusals_total{limit=max-poll-rate} +1"]);
}

#[test]
fn refusals_of_what_is_too_large_too_slow_or_no_request() {
    let body = refused(&["--max-body", "1KiB"], |server| {
        assert_eq!(server.ask(post("x".repeat(2000))).status, 413);
    });
    assert_eq!(body, ["refusals_total{limit=max-body} +1"]);
    let head = refused(&["--max-head", "1KiB"], |server| {
        assert_eq!(server.ask(get(&format!("/{}", "x".repeat(2000)))).status, 414);
        let long = format!("X: {}", "x".repeat(2000));
        assert_eq!(server.ask(request("GET", "/", &[&long], "")).status, 431);
    });
    assert_eq!(head, ["refusals_total{limit=max-head} +2"]);
    let head_time = refused(&["--head-timeout", "50ms"], |server| {
        let mut connection = server.connect();
        connection.send("GET / HTTP/1.1\r\n");
        assert_eq!(connection.answer().status, 408);
    });
    assert_eq!(head_time, ["refusals_total{limit=head-timeout} +1"]);
    let body_time = refused(&["--body-timeout", "50ms"], |server| {
        let mut connection = server.connect();
        connection.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n");
        assert_eq!(connection.answer().status, 408);
    });
    assert_eq!(body_time, ["refusals_total{limit=body-timeout} +1"]);
    let (server, mut scraper) = start(&[]);
    let malformed = scraper.moved(|| assert_eq!(server.ask("NONSENSE\r\n\r\n").status, 400));
    assert_eq!(malformed, ["malformed_requests_total +1"]);
}

#[test]
fn a_page_that_takes_too_long_to_read() {
    let (server, mut scraper) = start(&[&MUCH[..], &["--write-timeout", "100ms"]].concat());
    let alice = server.listener("alice", &["room"]);
    publish_much(&server);
    let before = scraper.read();
    let _page = deaf(&server, &poll_path(&[&alice]));
    scraper.until("refusals_total{limit=write-timeout}", |count| count == 1.0);
    let moved = scraper.since(&before);
    assert!(moved.contains(&"broken_deliveries_total{transport=poll} +1".to_owned()), "{moved:?}");
}

#[test]
fn connections_that_are_too_many() {
    let knock = |server: &Server, from: Option<IpAddr>| {
        let mut connection = Connection::open(server.address(), from);
        connection.offer(get("/nowhere"));
        connection
    };
    let (server, mut scraper) = start(&["--max-connections-per-address", "2"]);
    let held: Vec<_> = (0..3).map(|_| knock(&server, Some(STRANGER))).collect();
    scraper.until("refusals_total{limit=max-connections-per-address}", |count| count == 1.0);
    drop(held);
    let (server, mut scraper) = start(&["--max-new-per-address", "2"]);
    // Within one second of the server's.
    let held: Vec<_> = server.at_once(|| (0..3).map(|_| knock(&server, Some(STRANGER))).collect());
    scraper.until("refusals_total{limit=max-new-per-address}", |count| count == 1.0);
    drop(held);
    let (server, mut scraper) = start(&["--max-connections", "2", "--rpc-listen", "127.0.0.1:0"]);
    let held: Vec<_> = (0..3).map(|_| knock(&server, None)).collect();
    // It tries again and again while somebody waits outside.
    scraper.until("refusals_total{limit=max-connections}", |count| count >= 1.0);
    assert_eq!(scraper.get("limit{limit=max-connections}"), 2.0);
    drop(held);
}

#[test]
fn descriptors_used_and_left() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 30 && exec \"$0\" \"$@\"", BINARY]);
    let server = Server::run(shell, &[]);
    let mut scraper = Scraper::new(&server);
    let held: Vec<_> = (0..5).map(|_| server.park_at("/message_updates?x")).collect();
    scraper.until("connections", |count| count == 6.0);
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").count();
    let now = scraper.read();
    assert_eq!((now["process_open_fds"], now["process_max_fds"]), (open as f64, 30.0));
    let more: Vec<_> = (0..30).map(|_| server.connect()).collect();
    scraper.until("refusals_total{limit=descriptors}", |count| count >= 1.0);
    assert!(scraper.get("process_open_fds") >= 30.0, "all are used");
    drop((held, more));
}

#[test]
fn calls_are_refused_for_a_reason() {
    let nest = std::env::temp_dir().join(format!("shaveet-metrics-token-{}", std::process::id()));
    fs::write(&nest, "a-token-that-is-long-enough\n").expect("a file");
    let (server, token) = (Server::start(), Server::with(&["--rpc-token-file", &nest.display().to_string()]));
    let pages = Server::with(&["--rpc-listen", "127.0.0.1:0"]);
    fs::remove_file(nest).expect("it is ours");
    let asked = |server: &Server, from: Option<IpAddr>, headers: &[&str]| {
        for path in ["/", "/metrics"] {
            let answer = Connection::open(server.address(), from).ask(request("GET", path, headers, ""));
            assert_eq!(answer.status, 404, "{headers:?}");
        }
    };
    let mut scraper = Scraper::new(&server);
    for (headers, from, reason) in [
        (&[][..], Some(STRANGER), "address"),
        (&["X-Forwarded-For: 203.0.113.7"], None, "forwarded"),
        (&["X-Forwarded-For: somebody"], None, "header"),
        (&["Origin: http://app.test"], None, "browser"),
    ] {
        let moved = scraper.moved(|| asked(&server, from, headers));
        assert_eq!(moved, [format!("refused_calls_total{{reason={reason}}} +2")]);
    }
    let named = scraper.moved(|| {
        let request = "GET /metrics HTTP/1.1\r\nHost: app.test\r\n\r\n";
        assert_eq!(server.ask(request).status, 404);
    });
    assert_eq!(named, ["refused_calls_total{reason=host} +1"]);
    let mut scraper = Scraper::new(&pages);
    assert_eq!(scraper.moved(|| asked(&pages, None, &[])), ["refused_calls_total{reason=listener} +2"]);
    asked(&token, None, &[]);
    asked(&token, None, &["Authorization: Bearer another"]);
    let answer = token.ask(request("GET", "/metrics", &["Authorization: Bearer a-token-that-is-long-enough"], ""));
    let told = samples(answer.text());
    assert_eq!(
        [told["refused_calls_total{reason=no_token}"], told["refused_calls_total{reason=wrong_token}"]],
        [2.0; 2]
    );
}

// --- the configuration

#[test]
fn reloads_are_counted_and_a_bad_one_is_seen_until_it_is_mended() {
    let nest = Nest::new("metrics-reload");
    let file = nest.file("shaveet.toml", "poll-timeout = \"20s\"\n");
    let (server, mut scraper) = start(&["--config", file.to_str().expect("a path in UTF-8")]);
    let begun = scraper.read();
    let (good, read) = ("config_last_reload_successful", "config_last_reload_success_timestamp_seconds");
    assert_eq!((begun[good], begun[read]), (1.0, begun["process_start_time_seconds"]));
    fs::write(&file, "poll-timeout = \"soon\"\n").expect("it is ours");
    server.signal(Signal::HUP);
    scraper.until("config_reloads_total{result=refused}", |count| count == 1.0);
    let bad = scraper.read();
    assert_eq!((bad[good], bad[read], bad["config_reloads_total{result=done}"]), (0.0, begun[read], 0.0));
    fs::write(&file, "max-clients = 7\n").expect("it is ours");
    server.signal(Signal::HUP);
    scraper.until("config_reloads_total{result=done}", |count| count == 1.0);
    let mended = scraper.read();
    assert_eq!((mended[good], mended["limit{limit=max-clients}"]), (1.0, 7.0));
    assert!(mended[read] > begun[read] && mended["config_last_reload_duration_seconds"] > 0.0);
}

#[test]
fn writes_of_the_state_are_counted_and_one_that_fails_is_seen() {
    let nest = Nest::new("metrics-state");
    let file = nest.file("state.lock", "");
    let state = file.with_file_name("state");
    let (_server, mut scraper) =
        start(&["--state", state.to_str().expect("a path in UTF-8"), "--state-interval", "50ms"]);
    scraper.until("state_writes_total{result=done}", |count| count >= 2.0);
    let (good, written) = ("state_last_write_successful", "state_last_write_success_timestamp_seconds");
    let before = scraper.read();
    assert_eq!(before[good], 1.0);
    assert!(before[written] >= before["process_start_time_seconds"]);
    // Away in one go, whatever is being written there.
    let place = file.parent().expect("a directory");
    let elsewhere = place.with_extension("elsewhere");
    fs::rename(place, &elsewhere).expect("it is ours");
    scraper.until("state_writes_total{result=failed}", |count| count >= 1.0);
    assert_eq!(scraper.read()[good], 0.0);
    fs::rename(&elsewhere, place).expect("it is ours");
}

// --- memory and time

#[test]
fn memory_by_what_takes_it() {
    let (server, mut scraper) = start(&[]);
    let kinds = ["clients", "subscriptions", "channels", "history"].map(|kind| format!("memory_bytes{{kind={kind}}}"));
    let all = |scraper: &mut Scraper| {
        let now = scraper.read();
        kinds.each_ref().map(|kind| now[kind])
    };
    assert_eq!(all(&mut scraper), [0.0; 4]);
    server.client("alice");
    let one = all(&mut scraper);
    assert!(one[0] > 100.0 && one[1..] == [0.0; 3], "{one:?}");
    server.call("subscribe", json!(["alice", "room"]));
    server.publish("room", &"x".repeat(1000));
    let then = all(&mut scraper);
    let info = |channel: &str| server.call("channel_info", json!([channel]))["bytes"].as_f64().expect("a number");
    assert!(then[0] == one[0] && then[1] > 0.0 && then[2] > 0.0, "{then:?}");
    assert_eq!(then[3], info("room") + info("admin"));
    assert_eq!(scraper.get("published_bytes_total"), then[3], "nothing has fallen out");
    // Half a request.
    let mut half = server.connect();
    half.send(format!("POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(50_000)));
    scraper.until("memory_bytes{kind=buffers}", |bytes| bytes >= 50_000.0);
    let now = scraper.read();
    assert!(now["memory_used_bytes"] > now["memory_bytes{kind=buffers}"]);
    assert!(now["memory_limit_bytes"] > now["memory_used_bytes"]);
    assert!(now["process_resident_memory_bytes"] > 1e6);
    drop(half);
    scraper.until("memory_bytes{kind=buffers}", |bytes| bytes == 0.0);
}

#[test]
fn times_add_up() {
    let (server, mut scraper) = start(&[]);
    let alice = server.listener("alice", &["room"]);
    for _ in 0..5 {
        let mut poll = alice.park();
        server.publish("room", "hello");
        poll.news();
    }
    let now = scraper.read();
    for name in ["turn_duration_seconds", "delivery_latency_seconds"] {
        let buckets: Vec<(f64, f64)> = now
            .iter()
            .filter_map(|(key, count)| {
                let most = key.strip_prefix(&format!("{name}_bucket{{le="))?.strip_suffix('}')?;
                Some((if most == "+Inf" { f64::INFINITY } else { most.parse().expect("a number") }, *count))
            })
            .collect();
        let mut buckets = buckets;
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.len() > 10 && buckets.is_sorted_by_key(|&(_, count)| count), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, now[&format!("{name}_count")])));
    }
    assert_eq!(now["delivery_latency_seconds_count"], 5.0);
    assert!(now["delivery_latency_seconds_sum"] < 5.0 * PATIENCE.as_secs_f64());
    let (sum, cpu) = (now["turn_duration_seconds_sum"], now["process_cpu_seconds_total"]);
    assert!(sum > 0.0 && cpu > 0.0, "{sum} {cpu}");
    assert!(now["turn_duration_seconds_count"] > 10.0);
}

// --- who may read it, and how

/// The text, and what it claims to be.
fn read(response: &Response) -> (&str, &str) {
    assert_eq!(response.status, 200, "{response:?}");
    (response.header("content-type").expect("a type"), response.text())
}

#[test]
fn who_asks_for_open_metrics_gets_it_and_others_the_older_text() {
    let server = Server::start();
    let open = server.ask(request("GET", "/metrics", &[OPEN_METRICS], ""));
    let (content_type, text) = read(&open);
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("\n# EOF\n") && text.contains("# UNIT shaveet_sent_bytes bytes\n"));
    for headers in [&[][..], &["Accept: */*"], &["Accept: text/plain;version=0.0.4"]] {
        let old = server.ask(request("GET", "/metrics", headers, ""));
        let (content_type, text) = read(&old);
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    }
}

#[test]
fn it_is_read_by_get_and_head_by_whoever_may_call_and_nobody_else() {
    let server = Server::start();
    let head = server.ask(request("HEAD", "/metrics", &[], ""));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.content_length() > 1000);
    let posted = server.ask(request("POST", "/metrics", &[], "x"));
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    // Whoever may not finds what is anywhere else.
    let nothing = server.get("/nowhere");
    for (from, headers) in [
        (Some(STRANGER), &[][..]),
        (None, &["Origin: http://app.test"]),
        (None, &["Sec-Fetch-Site: cross-site"]),
        (None, &["X-Forwarded-For: 203.0.113.7"]),
    ] {
        let refused = Connection::open(server.address(), from).ask(request("GET", "/metrics", headers, ""));
        assert_eq!((refused.status, refused.text()), (nothing.status, nothing.text()), "{headers:?}");
        let names = |response: &Response| response.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&refused), names(&nothing));
    }
    let apart = Server::with(&["--rpc-listen", "127.0.0.1:0"]);
    assert_eq!(apart.get("/metrics").status, 404);
    assert_eq!(Connection::open(&apart.for_calls[0], None).ask(get("/metrics")).status, 200);
}

// --- what is written about it

/// Every family, without `_total`.
fn all_families(server: &Server) -> BTreeSet<String> {
    families(server.ask(request("GET", "/metrics", &[OPEN_METRICS], "")).text()).into_iter().collect()
}

/// The names in a text that look like metrics.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| word.starts_with("shaveet_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

/// With all that there can be, Redis included, though nobody is there.
fn with_everything() -> Server {
    Server::with(&["--broker", "redis://127.0.0.1:1"])
}

#[test]
fn every_metric_is_in_the_documentation_and_no_other() {
    let server = with_everything();
    let documented: BTreeSet<String> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| names_in(name).contains(*name))
        .map(|name| name.trim_end_matches("_total").to_owned())
        .collect();
    assert_eq!(documented, all_families(&server));
}

#[test]
fn the_dashboard_and_the_alerts_ask_only_for_metrics_that_there_are() {
    let server = with_everything();
    let dashboard: Value = serde_json::from_str(include_str!("../../packaging/grafana/shaveet.json")).expect("JSON");
    let text = server.ask(request("GET", "/metrics", &[], "")).text().to_owned();
    let there: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().expect("a name").to_owned())
        .collect();
    let mut asked = BTreeSet::new();
    let panels = dashboard["panels"].as_array().expect("panels");
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten()) {
        asked.extend(names_in(target["expr"].as_str().expect("an expression")));
    }
    assert!(asked.len() > 15, "{asked:?}");
    let (_, rules) = include_str!("../../docs/operating.md").split_once("```yaml\n").expect("rules of Prometheus");
    let rules = names_in(rules.split_once("```").expect("their end").0);
    assert!(rules.len() > 8, "{rules:?}");
    asked.extend(rules);
    let unknown: Vec<_> = asked.difference(&there).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
