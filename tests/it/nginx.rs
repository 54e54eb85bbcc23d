//! Behind nginx, as most servers will run: a real nginx with the configuration that we recommend
//! (`packaging/nginx/shaveet.conf`) in front of the real binary.

use crate::support::ambiguous::{BAD_CHUNKS, BAD_FRAMING, BAD_LINES, OTHER_CODINGS};
use crate::support::nginx::{LISTEN, Nginx, RECIPE, SHAVEET, WEB_APP, put, surroundings};
use crate::support::streams::{Events, Frame, WebSocket, stream_path};
use crate::support::{
    Client, Connection, Missing, Nest, PATIENCE, Response, Server, Shape, get, joins, poll_path, request, said, says,
    since, texts, until, updates_path,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;

/// What the recipe adds to be able to use a connection again. Without it nginx speaks HTTP/1.0.
const KEEP_ALIVE: [&str; 2] = ["proxy_http_version 1.1;", "proxy_set_header Connection $shaveet_connection;"];

/// The web application is Shaveet itself: `/` is passed on to it, as by somebody who does not know better.
const PASS_ALL_ON: &str =
    "proxy_pass http://shaveet; proxy_http_version 1.1; proxy_set_header Connection $shaveet_connection;";

/// Somebody who comes from this machine but is not in the default of --rpc-allow: an outsider, as far as it goes on
/// loopback.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));

/// A page counts as present while it waits in a poll and hardly any longer, and nobody is collected: by presence a test
/// sees that a poll has come through nginx, and that nginx has let go of it.
const PRESENT_IS_PARKED: [&str; 6] = ["--min-alive", "10ms", "--max-idle", "10ms", "--sweep-interval", "1d"];

impl Nginx {
    /// The recipe in front of a server. `/` is passed on to it, too.
    fn before(server: &Server) -> Nginx {
        Nginx::with(&put(RECIPE, WEB_APP, PASS_ALL_ON), server)
    }

    /// The recipe as somebody writes it who does not know of keep-alive.
    fn without_keep_alive(server: &Server) -> Nginx {
        let recipe = KEEP_ALIVE.iter().fold(RECIPE.to_owned(), |recipe, line| {
            assert!(recipe.contains(line), "the recipe has changed");
            recipe.replace(line, "")
        });
        Nginx::with(&put(&recipe, WEB_APP, PASS_ALL_ON), server)
    }

    /// The recipe in front of a server and of a web application.
    fn beside(server: &Server, web_app: SocketAddr) -> Nginx {
        Nginx::with(&put(RECIPE, WEB_APP, &format!("proxy_pass http://{web_app};")), server)
    }

    fn with(recipe: &str, server: &Server) -> Nginx {
        Nginx::start(|address, directory| {
            let recipe = put(recipe, LISTEN, &format!("listen {address};"));
            let recipe = put(&recipe, SHAVEET, &format!("server {} max_fails=0;", address_of(server)));
            fs::write(directory.join("shaveet.conf"), recipe).expect("the directory is ours");
            surroundings(directory)
        })
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.address, None)
    }

    fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().ask(request)
    }

    fn poll(&self, client: &Client<'_>) -> Response {
        self.ask(get(&poll_path(&[client])))
    }

    /// A poll that nginx has passed on and the server holds. The server counts presence by [`PRESENT_IS_PARKED`], and
    /// `room` has no other clients.
    fn park(&self, client: &Client<'_>, room: &str) -> Connection {
        until("the last poll is forgotten", || client.server.present(room).is_empty());
        let mut page = self.connect();
        page.send(get(&poll_path(&[client])));
        until("the poll is parked", || client.server.present(room) == [client.id.as_str()]);
        page
    }
}

/// A server's address as nginx writes it.
fn address_of(server: &Server) -> String {
    match server.address().as_socket() {
        Some(socket) => socket.to_string(),
        None => {
            let path = server.address().as_pathname().expect("TCP or a path");
            format!("unix:{}", path.display())
        }
    }
}

/// The same test with and without keep-alive between nginx and the server.
fn both_ways(arguments: &[&str], test: impl Fn(&Server, &Nginx)) {
    for start in [Nginx::before, Nginx::without_keep_alive] {
        let server = Server::with(arguments);
        test(&server, &start(&server));
    }
}

// --- polls

#[test]
fn a_poll_with_news_is_answered_at_once_by_cors_and_by_jsonp() {
    both_ways(&[], |server, nginx| {
        let alice = server.subscriber("alice", &["room"]);
        let id = alice.credential();
        // What the original's script sends by XHR from a page of another origin...
        let path = updates_path(&[("callback", "noop"), ("client_id", &id), ("ts", "1730000000000")]);
        let response = nginx.ask(request("GET", &path, &["Origin: http://app.test"], ""));
        assert_eq!(response.updates("noop"), json!({"room": [[1, r#"{"type": "subscribe"}"#, "alice"]]}));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(response.header("cache-control"), Some("no-cache"));
        assert_eq!(response.media_type(), "application/x-javascript");
        // ...and by a script tag.
        server.publish("room", "hello");
        let path = updates_path(&[("callback", "jQuery17_42"), ("client_id", &id)]);
        let response = nginx.ask(get(&path));
        assert_eq!(response.updates("jQuery17_42"), json!({"room": [says(2, "hello")]}));
        assert_eq!(response.media_type(), "application/x-javascript");
    });
}

#[test]
fn a_parked_poll_gets_the_message() {
    both_ways(&PRESENT_IS_PARKED, |server, nginx| {
        let alice = server.listener("alice", &["room"]);
        let mut page = nginx.park(&alice, "room");
        server.publish("room", "hello");
        assert_eq!(page.news(), json!({"room": [says(2, "hello")]}));
        // The page keeps its connection to nginx, whatever nginx does behind.
        server.publish("room", "again");
        assert_eq!(page.ask(get(&poll_path(&[&alice]))).news(), json!({"room": [says(3, "again")]}));
    });
}

#[test]
fn a_parked_poll_without_news_is_answered_empty() {
    both_ways(&["--poll-timeout", "300ms"], |server, nginx| {
        let alice = server.listener("alice", &["room"]);
        let response = nginx.poll(&alice);
        assert_eq!((response.status, response.text()), (200, "cb({});"));
    });
}

#[test]
fn a_page_that_hangs_up_at_nginx_loses_nothing() {
    both_ways(&PRESENT_IS_PARKED, |server, nginx| {
        let alice = server.listener("alice", &["room"]);
        for (id, text) in [(2, "kept"), (3, "kept, too")] {
            drop(nginx.park(&alice, "room"));
            until("the server has heard of it", || server.present("room").is_empty());
            server.publish("room", text);
            assert_eq!(nginx.poll(&alice).news(), json!({"room": [says(id, text)]}));
        }
    });
}

#[test]
fn a_stranger_gets_the_servers_own_404() {
    let server = Server::start();
    let nginx = Nginx::before(&server);
    let response = nginx.ask(get("/message_updates?callback=cb&client_id=nobody_!!_key"));
    assert_eq!((response.status, response.text()), (404, "Not Found\r\n"));
    // The original's script takes an answer without this header for an error, and only then polls on (WIRE P12).
    assert_eq!(response.header("access-control-allow-origin"), None);
}

#[test]
fn large_answers_arrive_whole() {
    both_ways(&[], |server, nginx| {
        let alice = server.listener("alice", &["room"]);
        let text = "0123456789abcdef".repeat(128 << 10);
        server.publish("room", &text);
        assert!(nginx.poll(&alice).news() == json!({"room": [says(2, &text)]}), "two megabytes");
    });
}

#[test]
fn one_connection_serves_poll_after_poll() {
    let server = Server::start();
    let nginx = Nginx::before(&server);
    let at_start = sockets(server.pid());
    let pages = ["a", "b", "c", "d", "e"].map(|id| server.subscriber(id, &[id]));
    let mut used = BTreeSet::new();
    for page in pages {
        assert_eq!(nginx.poll(&page).news(), json!({ page.id.as_str(): [joins(1, &page.id)] }));
        until("nginx's connection is the only one", || {
            let mut now = sockets(server.pid());
            now.retain(|socket| !at_start.contains(socket));
            let alone = now.len() == 1;
            if alone {
                used.append(&mut now);
            }
            alone
        });
    }
    assert_eq!(used.len(), 1, "five polls, one after the other, used {used:?}");
}

#[test]
fn without_keep_alive_no_connection_stays() {
    let server = Server::start();
    let nginx = Nginx::without_keep_alive(&server);
    let at_start = sockets(server.pid());
    let alice = server.subscriber("alice", &["room"]);
    assert_eq!(nginx.poll(&alice).news(), json!({"room": [joins(1, "alice")]}));
    until("all connections are closed", || sockets(server.pid()) == at_start);
}

/// The sockets that a process has open, each with its inode, which no other socket ever had.
fn sockets(pid: u32) -> BTreeSet<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs");
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).collect()
}

// --- what else there is

#[test]
fn the_script_is_the_servers_and_the_rest_the_web_applications() {
    let server = Server::start();
    let web_app = web_app();
    let nginx = Nginx::beside(&server, web_app);
    let script = nginx.ask(get("/static/shaveet.js?disableCORS=1"));
    assert_eq!((script.status, &script.body), (200, &server.get("/static/shaveet.js").body));
    assert_eq!(nginx.ask(get("/static/shaveet.mjs")).body, server.get("/static/shaveet.mjs").body);
    let known = format!("If-None-Match: {}", script.header("etag").expect("an ETag"));
    assert_eq!(nginx.ask(request("GET", "/static/shaveet.js", &[&known], "")).status, 304);
    // Nor does anything get through that is for those who look after the server.
    for path in [
        "/",
        "/static/style.css",
        "/message_updates/x",
        "/metrics",
        "/health",
        "/ready",
        "//metrics",
        "/events/../metrics",
    ] {
        assert_eq!(nginx.ask(get(path)).text(), WEB_APP_SAYS, "{path}");
    }
    // Nor does JSON-RPC get past it.
    assert_eq!(call(&nginx, IpAddr::V4(Ipv4Addr::LOCALHOST), &[]).text(), WEB_APP_SAYS);
}

const WEB_APP_SAYS: &str = "a page of the web application";

/// A web application of one page; where it listens. It lives as long as the test's process.
fn web_app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut visitor in listener.incoming().map_while(Result::ok) {
            // nginx sends a request this small in one piece.
            let _ = visitor.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", WEB_APP_SAYS.len());
            let _ = visitor.write_all((head + WEB_APP_SAYS).as_bytes());
        }
    });
    address
}

// --- JSON-RPC where nginx passes `/` on

/// What becomes of a JSON-RPC call from an address, through nginx.
fn call(nginx: &Nginx, from: IpAddr, headers: &[&str]) -> Response {
    let body = json!({"method": "system.list_methods", "params": [], "id": 1}).to_string();
    Connection::open(&nginx.address, Some(from)).ask(request("POST", "/", headers, body))
}

/// Whether a call was served; if not it must look as if nothing were there (WIRE J12).
fn is_served(response: &Response) -> bool {
    if response.status == 200 {
        return response.json().get("result").is_some_and(Value::is_array);
    }
    assert_eq!((response.status, response.text()), (404, "Nothing here buddy"));
    false
}

/// What somebody outside may write to be taken for the web application.
const LIES: [&[&str]; 5] = [
    &[],
    &["X-Forwarded-For: 127.0.0.1"],
    &["X-Real-IP: 127.0.0.1"],
    &["Forwarded: for=127.0.0.1"],
    &["X-Forwarded-For: 127.0.0.1, 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1"],
];

#[test]
fn outsiders_find_no_json_rpc_behind_nginx_whatever_they_claim() {
    both_ways(&[], |server, nginx| {
        for lie in LIES {
            assert!(!is_served(&call(nginx, OUTSIDE, lie)), "{lie:?}");
        }
        // The web application itself goes past nginx.
        assert_eq!(server.call("get_channel_clients", json!(["room"])), json!([]));
    });
}

#[test]
fn nor_behind_nginx_on_a_unix_socket() {
    let nest = Nest::new("behind-nginx");
    let server = Server::with(&["--listen", &nest.listener()]);
    let nginx = Nginx::before(&server);
    for lie in LIES {
        assert!(!is_served(&call(&nginx, OUTSIDE, lie)), "{lie:?}");
    }
    let alice = server.subscriber("alice", &["room"]);
    assert_eq!(nginx.poll(&alice).news(), json!({"room": [joins(1, "alice")]}));
}

#[test]
fn a_web_application_behind_nginx_is_served_if_its_address_is_allowed() {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (allowed, from, expected) in [
        ("127.0.0.1", local, true),
        ("127.0.0.1", OUTSIDE, false),
        ("127.0.0.5", OUTSIDE, true),
        ("127.0.0.5", local, false),
        ("10.0.0.0/8", OUTSIDE, false),
        ("any", OUTSIDE, true),
    ] {
        let server = Server::with(&["--rpc-allow", allowed]);
        let nginx = Nginx::before(&server);
        assert_eq!(is_served(&call(&nginx, from, &[])), expected, "{from} where {allowed} is allowed");
    }
}

#[test]
fn outsiders_read_no_metrics_though_all_is_passed_on() {
    both_ways(&[], |server, nginx| {
        for lie in LIES {
            let answer = Connection::open(&nginx.address, Some(OUTSIDE)).ask(request("GET", "/metrics", lie, ""));
            assert_eq!((answer.status, answer.text()), (404, "Not Found\r\n"), "{lie:?}");
        }
        assert_eq!(server.get("/metrics").status, 200);
    });
}

// --- several processes

/// As the recipe says that the web application finds the process of a client: by its CRC-32 (RFC 1952 section 8).
fn process_of(client: &str, processes: usize) -> usize {
    let crc = client.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    (!crc >> 16 & 0x7fff) as usize % processes
}

#[test]
fn each_client_is_polled_for_at_the_process_that_it_lives_in() {
    let processes = [Server::start(), Server::start(), Server::start()];
    let recipe = put(RECIPE, "#hash $shaveet_client;", "hash $shaveet_client;");
    let others = processes[1..].iter().map(|other| format!("server {} max_fails=0;", address_of(other)));
    let recipe = put(&recipe, "#server 127.0.0.1:8083 max_fails=0;", &others.collect::<String>());
    let nginx = Nginx::with(&recipe, &processes[0]);
    let mut lived_in = BTreeSet::new();
    for at in 0..30 {
        let id = format!("page.{at}-{}_~", "x".repeat(at));
        let process = process_of(&id, processes.len());
        lived_in.insert(process);
        let client = processes[process].subscriber(&id, &["room"]);
        // Nobody else knows it: at any other process this is a 404.
        let path = stream_path("events", &[&client], None);
        assert_eq!(Events::ask(nginx.connect(), &[], &path).message()["from"], id.as_str());
        for path in [poll_path(&[&client]), poll_path(&[&client]).replace('!', "%21") + "&since=earliest"] {
            let answer = nginx.ask(get(&path));
            assert!(answer.status == 200 && answer.text().contains(&id), "{id}: {answer:?}");
        }
    }
    assert_eq!(lived_in.len(), processes.len(), "all have some");
}

// --- smuggling

/// A call that would be served if it came to the server as it is here: it says nothing of where it comes from, so it would
/// come from nginx itself.
const SMUGGLED_BODY: &str = r#"{"method":"create_client","params":["smuggled"],"id":1}"#;

fn smuggled() -> String {
    request("POST", "/", &[], SMUGGLED_BODY)
}

/// All that could be read in two ways, with a call behind it, or within it, that only one of the two readings finds.
fn smugglers() -> Vec<String> {
    let mut requests = Vec::new();
    let behind = smuggled();
    let body = format!("0\r\n\r\n{behind}");
    let length = body.len();
    for target in ["/", "/message_updates?callback=cb"] {
        let mut post = |lines: &str, body: &str| {
            requests.push(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}{behind}"));
        };
        BAD_FRAMING.iter().for_each(|(lines, body)| post(lines, body));
        OTHER_CODINGS.iter().for_each(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n"));
        BAD_CHUNKS.iter().for_each(|body| post("Transfer-Encoding: chunked\r\n", body));
        // One that nginx may pass on as it is, and one that it may hide.
        for lines in [
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
            "Transfer_Encoding: chunked\r\n",
            "X: y\r\nTransfer-Encoding\x00: chunked\r\n",
            "Connection: Content-Length\r\n",
            "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        ] {
            post(&format!("{lines}Content-Length: {length}\r\n"), &body);
        }
    }
    requests.extend(BAD_LINES.iter().map(|line| format!("{line}Host: localhost\r\n\r\n{behind}")));
    // Bodies of methods that mostly have none.
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        let line = format!("{method} /message_updates?callback=cb HTTP/1.1\r\nHost: localhost\r\n");
        requests.push(format!("{line}Content-Length: {}\r\n\r\n{behind}", behind.len()));
        requests.push(format!("{line}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{behind}\r\n0\r\n\r\n", behind.len()));
    }
    requests
}

#[test]
fn what_nginx_and_the_server_could_read_differently_leaves_no_trace() {
    both_ways(&["--max-poll-rate", "1000000"], |server, nginx| {
        let alice = server.subscriber("alice", &["room"]);
        let mut asked = 0;
        // Each canary's answer can only be its own; nginx uses the connection again that the request before it came by.
        let mut canary = |after: &str| {
            asked += 1;
            let callback = format!("canary{asked}");
            let path =
                updates_path(&[("callback", &callback), ("since", "earliest"), ("client_id", &alice.credential())]);
            let answer = nginx.ask(get(&path));
            assert!(answer.text().starts_with(&format!("/**/{callback}(")), "after {after:?}: {answer:?}");
        };
        canary("nothing");
        for bytes in smugglers() {
            let mut connection = Connection::open(&nginx.address, Some(OUTSIDE));
            connection.offer(&bytes);
            // Whoever waits for more of it learns that there is no more.
            let _ = connection.socket.shutdown(Shutdown::Write);
            while connection.within(PATIENCE).is_ok() {}
            canary(&bytes);
            canary(&bytes);
            let found = server.call("list_clients", json!({"prefix": "smuggled"}));
            assert_eq!(found["clients"], json!([]), "{bytes:?} has called");
        }
    });
}

// --- streams

#[test]
fn events_come_through_one_by_one_and_go_on_behind_the_last() {
    let server = Server::with(&["--presence", "off"]);
    let nginx = Nginx::before(&server);
    let client = server.subscriber("c", &["room"]);
    let path = stream_path("events", &[&client], None);
    let mut events = Events::ask(nginx.connect(), &[], &path);
    assert_eq!(events.head.header("x-accel-buffering"), None, "it is for nginx alone");
    let mut last = String::new();
    for text in ["one", "two", "three"] {
        // Each before the next is there to push it out of a buffer.
        server.publish("room", text);
        let event = events.next().expect("an event");
        assert_eq!(event.data["data"], text);
        last = event.id;
    }
    drop(events);
    until("nginx has let go of it", || transports(&client) == json!([]));
    server.publish("room", "four");
    let header = format!("Last-Event-ID: {last}");
    let mut events = Events::ask(nginx.connect(), &[&header], &path);
    assert_eq!(events.message()["data"], "four");
    client.kill();
    assert_eq!(events.next().expect("an event").kind, "gone");
    assert_eq!(events.next(), None);
    let refused = nginx.ask(get(&path));
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (404, Some("*")));
}

#[test]
fn a_socket_comes_through_both_ways() {
    let server = Server::with(&["--presence", "off"]);
    for listener in [None, Some(Nest::new("nginx-socket"))] {
        let other = listener.as_ref().map(|nest| Server::with(&["--presence", "off", "--listen", &nest.listener()]));
        let server = other.as_ref().unwrap_or(&server);
        let nginx = Nginx::before(server);
        let client = server.subscriber("c", &["room"]);
        let path = stream_path("socket", &[&client], None);
        let mut socket = WebSocket::ask(nginx.connect(), &path, b"");
        socket.object();
        server.publish("room", "hello");
        let object = socket.news();
        assert_eq!(object["messages"][0]["data"], "hello");
        socket.acknowledge(object["since"].as_str().expect("a position"));
        let info = || server.call("client_info", json!(["c"]));
        until("it is known", || info()["acknowledged"] == object["since"]);
        socket.send(0x89, "there?");
        assert_eq!(socket.frame(), Frame::Pong(b"there?".to_vec()));
        drop(socket);
        until("nginx has let go of it", || transports(&client) == json!([]));
        let mut socket = WebSocket::ask(nginx.connect(), &path, b"");
        client.kill();
        assert_eq!(socket.closes(), Some(4404));
        // What is no handshake is refused as it is without nginx.
        assert_eq!(nginx.ask(get(&path)).status, 426);
    }
}

fn transports(client: &Client<'_>) -> Value {
    client.server.call("client_info", json!([client.id]))["transports"].take()
}

// --- a new configuration

const MESSAGES: usize = 300;

#[test]
fn a_reload_under_load_loses_nothing_and_repeats_nothing() {
    let server = Server::with(&["--presence", "off", "--history", "1000"]);
    let nginx = Nginx::before(&server);
    let ways = [by_polls, by_the_original_s_polls, by_events, by_socket];
    let pages: Vec<_> = (0..12).map(|at| server.subscriber(&format!("page{at}"), &["room"])).collect();
    let texts: Vec<String> = (0..MESSAGES).map(|at| at.to_string()).collect();
    let reloads = |log: &str| log.lines().filter(|line| line.ends_with(": reconfiguring")).count();
    thread::scope(|scope| {
        let nginx = &nginx;
        let listen = |(page, hear): (_, fn(&Nginx, &Client<'_>) -> Vec<String>)| scope.spawn(move || hear(nginx, page));
        let pages: Vec<_> = pages.iter().zip(ways.into_iter().cycle()).map(listen).collect();
        for (at, text) in texts.iter().enumerate() {
            if at % 100 == 50 {
                // Two words that come before it listens are one.
                until("it has heard of the last one", || reloads(&nginx.log()) == at / 100);
                nginx.reload();
            }
            server.publish("room", text);
        }
        for page in pages {
            assert_eq!(page.join().expect("a page hears all"), texts);
        }
    });
    until("it has reloaded three times", || reloads(&nginx.log()) == 3);
}

/// Asks again and again on one connection, and on another when that has been closed.
fn poll_until_all_is_said(nginx: &Nginx, mut path: impl FnMut() -> String, mut hear: impl FnMut(&Response) -> usize) {
    let mut connection = nginx.connect();
    loop {
        connection.offer(get(&path()));
        match connection.within(PATIENCE) {
            Ok(answer) if hear(&answer) >= MESSAGES => return,
            Ok(answer) if !answer.is_last() => {}
            // It was the old worker's, which has gone with its idle connections.
            Ok(_) | Err(Missing::Closed) => connection = nginx.connect(),
            Err(Missing::Silent) => panic!("a poll is not answered"),
        }
    }
}

fn by_polls(nginx: &Nginx, page: &Client<'_>) -> Vec<String> {
    let (mut all, position) = (Vec::new(), RefCell::new(String::new()));
    let path = || Shape::Object.path(&[page], &position.borrow());
    poll_until_all_is_said(nginx, path, |answer| {
        let answer = Shape::Object.read(answer);
        assert_eq!(answer["gaps"], json!([]));
        position.replace(since(&answer));
        all.extend(said(&answer));
        all.len()
    });
    all
}

fn by_the_original_s_polls(nginx: &Nginx, page: &Client<'_>) -> Vec<String> {
    let mut all = Vec::new();
    poll_until_all_is_said(
        nginx,
        || poll_path(&[page]),
        |answer| {
            all.extend(texts(&answer.news(), "room"));
            all.len()
        },
    );
    all
}

fn by_events(nginx: &Nginx, page: &Client<'_>) -> Vec<String> {
    let mut events = Events::ask(nginx.connect(), &[], &stream_path("events", &[page], None));
    (0..MESSAGES).map(|_| events.message()["data"].as_str().expect("a text").to_owned()).collect()
}

fn by_socket(nginx: &Nginx, page: &Client<'_>) -> Vec<String> {
    let mut socket = WebSocket::ask(nginx.connect(), &stream_path("socket", &[page], None), b"");
    let mut all = Vec::new();
    while all.len() < MESSAGES {
        all.extend(said(&socket.object()));
    }
    all
}
