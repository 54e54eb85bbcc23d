//! Becoming another program (SIGUSR2): the process stays, and so does everybody's connection; whoever waits hears what comes
//! afterwards, once. What cannot begin changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::crowd::newcomers;
use crate::support::metrics::Scraper;
use crate::support::streams::{Events, WebSocket};
use crate::support::{BINARY, Connection, Nest, Server, Shape, Signal, get, post, said, says, since, until};
use serde_json::json;

/// How a server says that it has become another.
const TAKEN_OVER: &str = "has taken over";

/// Has a server become another, and waits until it has.
fn upgrade(server: &Server) {
    let before = times(server);
    server.signal(Signal::USR2);
    until("the server has become another", || times(server) > before);
}

fn times(server: &Server) -> usize {
    server.log().matches(TAKEN_OVER).count()
}

/// Of the newest message of all.
fn position(server: &Server) -> String {
    server.call("channel_info", json!(["room"]))["position"].as_str().expect("a position").to_owned()
}

/// A copy of the program in a directory of its own, so that another can take its place.
struct Installed {
    path: PathBuf,
    _nest: Nest,
}

impl Installed {
    fn new(name: &str) -> Installed {
        let nest = Nest::new(name);
        let path = nest.socket.with_file_name("shaveet");
        copy(BINARY.as_ref(), &path);
        Installed { path, _nest: nest }
    }

    fn start(&self, arguments: &[&str]) -> Server {
        Server::run(Command::new(&self.path), arguments)
    }

    /// As a package manager does it.
    fn replace(&self, content: impl AsRef<[u8]>) {
        let (content_file, new) = (self.path.with_extension("content"), self.path.with_extension("new"));
        fs::write(&content_file, content).expect("a file");
        fs::set_permissions(&content_file, PermissionsExt::from_mode(0o755)).expect("it is ours");
        copy(&content_file, &new);
        fs::rename(&new, &self.path).expect("it is ours");
    }
}

/// By another process: a child that a test starts beside would have the copy open for writing for a moment if it was ours, and
/// what is open so cannot be executed.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-p").arg(from).arg(to).status().expect("there is cp");
    assert!(status.success(), "{from:?} to {to:?}");
}

/// Everybody who can wait for something, each in another way.
struct Company<'s> {
    server: &'s Server,
    original: Connection,
    resuming: Connection,
    events: Events,
    web: WebSocket,
}

impl<'s> Company<'s> {
    fn gather(server: &'s Server) -> Company<'s> {
        let client = |id: &str| server.subscriber(id, &["room"]);
        let (alice, bob, carol, dave) = (client("alice"), client("bob"), client("carol"), client("dave"));
        let here = position(server);
        let mut web = WebSocket::open(&dave, Some(&here));
        assert_eq!(said(&web.object()), [""; 0]);
        Company {
            server,
            original: alice.park(),
            resuming: server.park_at(&Shape::Object.path(&[&bob], &here)),
            events: Events::open(&carol, Some(&here)),
            web,
        }
    }

    /// All of them hear this, and nothing before it. It is the n-th message.
    fn hear(mut self, id: u64, text: &str) {
        self.server.publish("room", text);
        assert_eq!(self.original.news(), json!({"room": [says(id, text)]}));
        assert_eq!(said(&self.resuming.answer().json()), [text]);
        assert_eq!(self.events.message()["data"], text);
        let object = self.web.news();
        assert_eq!(said(&object), [text]);
        // And its word is heard.
        self.web.acknowledge(&since(&object));
        until("what it has had is known", || {
            self.server.call("client_info", json!(["dave"]))["acknowledged"] == since(&object)
        });
    }
}

#[test]
fn whoever_waits_hears_what_comes_after_it() {
    let server = Server::with(&["--presence", "off"]);
    let company = Company::gather(&server);
    let pid = server.pid();
    upgrade(&server);
    upgrade(&server);
    assert_eq!(server.pid(), pid);
    company.hear(1, "hello");
    assert!(server.log().contains("upgrade: 4 connections are handed over"), "{}", server.log());
    // It can still be stopped.
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn requests_that_have_come_in_part_are_answered_when_the_rest_comes() {
    let server = Server::with(&["--presence", "off"]);
    let mut idle = server.connect();
    assert_eq!(idle.ask(get("/nowhere")).status, 404);
    let call = post(json!({"method": "create_client", "params": ["x".repeat(2000)], "id": 1}).to_string());
    let (mut in_head, mut in_body) = (server.connect(), server.connect());
    in_head.send(&call[..20]);
    in_body.send(&call[..call.len() - 10]);
    let mut in_chunk = server.connect();
    in_chunk.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2e\r\n{\"method\": \"create_cli");
    let mut pipelined = server.subscriber("alice", &["room"]).park();
    pipelined.send(get("/nowhere"));
    server.turn();
    upgrade(&server);
    in_head.send(&call[20..]);
    in_body.send(&call[call.len() - 10..]);
    in_chunk.send("ent\", \"params\": [\"bob\"]}\r\n0\r\n\r\n");
    let key = in_head.answer().json()["result"].clone();
    assert_eq!(in_body.answer().json()["result"], key);
    assert_eq!(in_chunk.answer().status, 200);
    assert_eq!(idle.ask(get("/nowhere")).status, 404);
    server.publish("room", "x");
    assert_eq!(pipelined.news(), json!({"room": [says(1, "x")]}));
    assert_eq!(pipelined.answer().status, 404);
}

#[test]
fn an_answer_that_has_left_in_part_comes_to_its_end() {
    let server = Server::with(&["--presence", "off", "--max-answer", "4MiB"]);
    let alice = server.subscriber("alice", &["room"]);
    let text = "0123456789".repeat(300_000);
    let mut slow = server.connect();
    slow.send(get("/nowhere") + &get(&Shape::Object.path(&[&alice], "")));
    assert_eq!(slow.answer().status, 404);
    server.publish("room", &text);
    server.turn();
    upgrade(&server);
    assert_eq!(said(&slow.answer().json()), [text]);
    assert_eq!(slow.ask(get("/nowhere")).status, 404);
}

#[test]
fn calls_that_take_long_are_answered_first() {
    let server = Server::with(&["--presence", "off"]);
    let ids: Vec<String> = (0..5000).map(|id| id.to_string()).collect();
    let batch = |ids: &[String]| {
        let call = |id: &String| json!({"jsonrpc": "2.0", "id": 1, "method": "create_client", "params": [id]});
        json!(ids.iter().map(call).collect::<Vec<_>>()).to_string()
    };
    let mut connections: Vec<Connection> = ids.chunks(1000).map(|_| server.connect()).collect();
    for (connection, ids) in connections.iter_mut().zip(ids.chunks(1000)) {
        connection.send(post(batch(ids)));
    }
    upgrade(&server);
    for connection in &mut connections {
        let answers = connection.answer().json();
        assert_eq!(answers.as_array().map(Vec::len), Some(1000));
    }
    assert!(server.call("client_info", json!(["4999"])).is_object());
}

#[test]
fn every_listener_stays() {
    let nest = Nest::new("upgrade-listeners");
    let calls = nest.socket.with_file_name("calls");
    let rpc = format!("unix:{}", calls.display());
    let server = Server::with(&["--listen", "127.0.0.1:0", "--listen", &nest.listener(), "--rpc-listen", &rpc]);
    upgrade(&server);
    for address in server.addresses() {
        assert_eq!(Connection::open(address, None).ask(get("/nowhere")).status, 404);
    }
    let call = post(json!({"method": "create_client", "params": ["a"], "id": 1}).to_string());
    let mut by_itself = Connection::open(&server.for_calls[0], None);
    assert_eq!(by_itself.ask(&call).status, 200);
    assert_eq!(server.ask(&call).status, 404);
    assert_eq!(server.stop().code(), Some(0));
    assert!(!nest.socket.exists() && !calls.exists(), "a path goes with its server");
}

#[test]
fn a_program_that_cannot_begin_changes_nothing() {
    let installed = Installed::new("upgrade-broken");
    let server = installed.start(&["--presence", "off"]);
    let company = Company::gather(&server);
    let refusals = |server: &Server| server.log().matches("no upgrade, all goes on").count();
    let broken: [&[u8]; 3] = [b"", b"#!/bin/sh\necho 'not today' >&2\nexit 3\n", b"\x7fELF of another machine"];
    for (count, program) in broken.into_iter().enumerate() {
        installed.replace(program);
        server.signal(Signal::USR2);
        until("it is refused", || refusals(&server) > count);
    }
    assert!(server.log().contains("not today") && server.log().contains("exit status: 3"), "{}", server.log());
    fs::remove_file(&installed.path).expect("it is ours");
    server.signal(Signal::USR2);
    until("it is refused", || refusals(&server) > broken.len());
    // And when there is one again it begins.
    installed.replace(fs::read(BINARY).expect("the program"));
    upgrade(&server);
    company.hear(1, "hello");
}

/// `shaveet upgrade PID`: its exit code, and what it says.
fn command(pid: u32) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(["upgrade", &pid.to_string()]).output().expect("the binary starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("a text"))
}

#[test]
fn the_command_says_what_has_become_of_it() {
    let installed = Installed::new("upgrade-command");
    let server = installed.start(&["--presence", "off"]);
    let company = Company::gather(&server);
    for _ in 0..2 {
        let expected = format!("process {} runs the program that is installed now\n", server.pid());
        assert_eq!(command(server.pid()), (Some(0), expected));
    }
    company.hear(1, "hello");
    installed.replace("#!/bin/sh\nexit 3\n");
    let why = "the new program cannot begin (exit status: 3; what it said is in the log)";
    assert_eq!(
        command(server.pid()),
        (Some(1), format!("shaveet: process {} goes on as before: {why}\n", server.pid()))
    );
    // Whoever does not know the signal is left alone.
    let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
    let (code, said) = command(other.id());
    assert!(code == Some(1) && said.contains("is no server of this kind"), "{said}");
    assert_eq!(other.try_wait().expect("it is our child"), None);
    other.kill().expect("it runs");
    other.wait().expect("it is our child");
    let (code, said) = command(other.id());
    assert!(code == Some(1) && said.contains(&format!("there is no process {}", other.id())), "{said}");
}

#[test]
fn a_server_that_is_stopped_meanwhile_stops() {
    let installed = Installed::new("upgrade-stopped");
    let mut server = installed.start(&[]);
    installed.replace("#!/bin/sh\nexec sleep 60\n");
    server.signal(Signal::USR2);
    until("a child tries", || server.log().contains("tries the new program"));
    server.signal(Signal::USR2);
    until("one at a time", || server.log().contains("no upgrade: one is under way"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit().code(), Some(0));
    assert!(server.log().contains("no upgrade, all goes on: the server stops"), "{}", server.log());
}

#[test]
fn the_state_file_is_still_its_own() {
    let nest = Nest::new("upgrade-state");
    let state = nest.socket.with_file_name("state");
    let arguments = ["--presence", "off", "--state", state.to_str().expect("a name in UTF-8")];
    let server = Server::with(&arguments);
    let alice = server.subscriber("alice", &["room"]);
    let begin = position(&server);
    upgrade(&server);
    server.publish("room", "x");
    let key = alice.key.clone();
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::with(&arguments);
    let answer = crate::support::Client { server: &server, id: "alice".into(), key }.resume(&begin);
    assert_eq!((said(&answer), &answer["gaps"]), (vec!["x".to_owned()], &json!([])));
}

/// Pages that poll, and pages that stream.
const POLLS: usize = 5000;
const STREAMS: usize = 500;

/// How often something is published meanwhile.
const PUBLISHED_EVERY: Duration = Duration::from_millis(200);

#[test]
fn thousands_hear_everything_once_through_two_upgrades() {
    crate::support::crowd::raise_descriptor_limit();
    // All are to be parked at a time, however long the last ones take.
    let kept = ["--presence", "off", "--history", "10000", "--history-age", "1h", "--poll-timeout", "1h"];
    let server = Server::with(&kept);
    let pid = server.pid();
    let ids: Vec<String> = (0..POLLS + STREAMS).map(|id| format!("c{id}")).collect();
    let keys = newcomers(&server, &ids);
    let credential = |at: usize| crate::support::Client { server: &server, id: ids[at].clone(), key: keys[at].clone() };
    let mut pages: Vec<Page> = (0..POLLS).map(|at| Page::open(&server, &credential(at))).collect();
    let mut streams: Vec<Stream> = (POLLS..ids.len()).map(|at| Stream::open(at, &credential(at))).collect();
    // The number of what is published next. Whoever holds it has nothing published.
    let (published, (over, is_over)) = (Mutex::new(0), mpsc::channel::<()>());
    let mut scraper = Scraper::new(&server);
    thread::scope(|scope| {
        let (server, published) = (&server, &published);
        scope.spawn(move || {
            // A connection for each: none is refused.
            while is_over.recv_timeout(PUBLISHED_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                let mut next = published.lock().expect("nobody who has it panics");
                server.publish("room", &next.to_string());
                *next += 1;
            }
        });
        for is_held in [true, false] {
            pages.iter_mut().for_each(Page::go_on);
            let held = published.lock().expect("nobody who has it panics");
            pages.iter_mut().for_each(|page| page.hear_all(*held));
            streams.iter_mut().for_each(|stream| stream.hear_all(*held));
            all_are_parked(&mut scraper);
            let before = times(server);
            server.signal(Signal::USR2);
            let is_another = || until("it has become another", || times(server) > before);
            // Once everybody waits up to the end, and once messages come from the first moment on.
            if is_held {
                is_another();
                let waiting = format!("and {} parked polls\n", POLLS + STREAMS);
                assert!(server.log().contains(&waiting), "{}", server.log());
                drop(held);
            } else {
                drop(held);
                is_another();
            }
        }
        pages.iter_mut().for_each(Page::go_on);
        drop(over);
    });
    let all = published.into_inner().expect("nobody has panicked");
    pages.iter_mut().for_each(|page| page.hear_all(all));
    streams.iter_mut().for_each(|stream| stream.hear_all(all));
    // Nobody is told anything again.
    all_are_parked(&mut scraper);
    assert_eq!(server.pid(), pid);
    println!("{all} messages to {} pages", pages.len() + streams.len());
}

fn all_are_parked(scraper: &mut Scraper) {
    scraper.until("parked{transport=resume}", |parked| parked == POLLS as f64);
    let streams = ["events", "socket"].map(|kind| scraper.get(&format!("parked{{transport={kind}}}")));
    assert_eq!(streams, [STREAMS as f64 / 2.0; 2]);
}

/// A page that polls on one connection, and counts what it hears: 0, 1, 2...
struct Page {
    connection: Connection,
    path: String,
    heard: usize,
}

impl Page {
    fn open(server: &Server, client: &crate::support::Client<'_>) -> Page {
        let path = Shape::Object.path(&[client], "");
        let mut page = Page { connection: server.connect(), path, heard: 0 };
        page.connection.send(get(&page.path));
        page
    }

    /// Up to this one, which is the next to be published.
    fn hear_all(&mut self, upto: usize) {
        while self.heard < upto {
            self.go_on();
        }
    }

    /// Its answer, and the next poll.
    fn go_on(&mut self) {
        let answer = self.connection.answer().json();
        assert_eq!(answer["gaps"], json!([]));
        for text in said(&answer) {
            assert_eq!(text, self.heard.to_string());
            self.heard += 1;
        }
        let path = self.path.rsplit_once('=').expect("it ends with the position").0;
        self.path = format!("{path}={}", since(&answer));
        self.connection.send(get(&self.path));
    }
}

/// A page that streams, and counts what it hears.
struct Stream {
    line: Line,
    heard: usize,
}

enum Line {
    Events(Events),
    Socket(WebSocket),
}

impl Stream {
    /// Every other one is a WebSocket.
    fn open(at: usize, client: &crate::support::Client<'_>) -> Stream {
        let line = if at.is_multiple_of(2) {
            Line::Events(Events::open(client, None))
        } else {
            Line::Socket(WebSocket::open(client, None))
        };
        Stream { line, heard: 0 }
    }

    fn hear_all(&mut self, upto: usize) {
        while self.heard < upto {
            let texts = match &mut self.line {
                Line::Events(events) => vec![events.message()["data"].as_str().expect("a text").to_owned()],
                Line::Socket(socket) => said(&socket.object()),
            };
            for text in texts {
                assert_eq!(text, self.heard.to_string());
                self.heard += 1;
            }
        }
    }
}
