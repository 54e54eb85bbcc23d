//! What the integration tests share: a server of its own for each test, and a client that speaks bytes.
//!
//! With `TEST_BROKER=unix:///path/of/redis.sock` each server has its model in that Redis, so whatever is tested of one server is
//! tested of a node. Tests of what a server has to itself then fail: its file of state, its dashboard, `--history-total`.
//!
//! Nothing here sleeps for an answer: what must come is read, with [`PATIENCE`]; what becomes true later is asked for
//! until it is so. Only that nothing comes cannot be read: there a test waits for [`QUIET`], and where it can, it lets
//! something else come afterwards and looks at that.

#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the server's timers from outside, with the real clock")]

pub(crate) mod ambiguous;
pub(crate) mod audience;
pub(crate) mod bounds;
pub(crate) mod crowd;
pub(crate) mod link;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod nginx;
pub(crate) mod patience;
pub(crate) mod program;
pub(crate) mod redis;
pub(crate) mod resp;
pub(crate) mod streams;

use serde_json::{Map, Value, json};
use socket2::{SockAddr, Socket, Type};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use patience::Patience;
pub(crate) use rustix::process::Signal;

/// How long a test waits for what must come, as [`Patience`] has it. Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a test waits for what must not come: many turns of the server, which answers within one.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_shaveet");

/// Settings by which nobody is collected, however long a test takes for what it has to do first.
pub(crate) const CALM: &str = "min-alive = \"1d\"\nmax-idle = \"1d\"\nsweep-interval = \"50ms\"\n";

/// Settings by which whoever is in no poll is collected soon.
pub(crate) const HASTY: &str = "min-alive = \"50ms\"\nmax-idle = \"50ms\"\nsweep-interval = \"50ms\"\n";

/// A running server. It dies with the value, and shows its log if the test fails.
pub(crate) struct Server {
    process: Child,
    addresses: Vec<SockAddr>,
    /// Its listeners for the JSON-RPC API alone.
    pub(crate) for_calls: Vec<SockAddr>,
    log: Log,
    /// Where its file of settings is, if the test changes them.
    settings: Option<Nest>,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::with(&[])
    }

    /// A server with these arguments, and a free port of 127.0.0.1 if they name no listener.
    pub(crate) fn with(arguments: &[&str]) -> Server {
        Server::run(Command::new(BINARY), arguments)
    }

    /// A server whose clients are collected when the test wants it: it begins [`CALM`]. See [`Server::set`].
    pub(crate) fn calm(arguments: &[&str]) -> Server {
        let nest = Nest::new("calm");
        let file = nest.file("shaveet.toml", CALM);
        let mut server = Server::with(&[&["--config", file.to_str().expect("a path in UTF-8")], arguments].concat());
        server.settings = Some(nest);
        server
    }

    /// The same under another command, which must become the server (`exec`): signals go to its process.
    pub(crate) fn run(mut command: Command, arguments: &[&str]) -> Server {
        let listeners = arguments.iter().filter(|a| **a == "--listen").count();
        if listeners == 0 {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Server::begin(command, arguments, listeners.max(1))
    }

    /// The same for one that is given its listeners, one of TCP and one of a path.
    pub(crate) fn run_bare(command: Command, arguments: &[&str]) -> Server {
        let for_calls = arguments.iter().filter(|a| **a == "--rpc-listen").count();
        Server::begin(command, arguments, 2 - for_calls)
    }

    fn begin(mut command: Command, arguments: &[&str], listeners: usize) -> Server {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SHAVEET_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let shared = if arguments.contains(&"--broker") { None } else { redis::shared() };
        let is_shared = shared.is_some();
        command.args(shared.into_iter().flatten());
        let (log, stderr) = Log::new();
        let mut process = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the server's binary starts");
        let said = lines(process.stdout.take().expect("is piped"));
        let mut server = Server { process, addresses: Vec::new(), for_calls: Vec::new(), log, settings: None };
        let for_calls = arguments.iter().filter(|a| **a == "--rpc-listen").count();
        while server.addresses.len() < listeners || server.for_calls.len() < for_calls {
            let line =
                received(&said, PATIENCE).unwrap_or_else(|why| panic!("it does not listen ({why}): {arguments:?}"));
            server.addresses.extend(line.strip_prefix("listening on ").map(address));
            server.for_calls.extend(line.strip_prefix("listening for calls on ").map(address));
        }
        if is_shared {
            until("the broker is followed", || server.log().contains("broker: all that is followed"));
        }
        server
    }

    /// The first listener's address.
    pub(crate) fn address(&self) -> &SockAddr {
        &self.addresses[0]
    }

    /// Of all listeners that pages may come by.
    pub(crate) fn addresses(&self) -> &[SockAddr] {
        &self.addresses
    }

    /// The first listener's port.
    pub(crate) fn port(&self) -> u16 {
        self.address().as_socket().expect("a TCP listener").port()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        self.log.read()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("the server runs");
    }

    /// From now on these settings hold, of one that has begun [`CALM`].
    pub(crate) fn set(&self, settings: &str) {
        let done = || self.log().matches("reload: done").count();
        let before = done();
        self.settings.as_ref().expect("it has a file").file("shaveet.toml", settings);
        self.signal(Signal::HUP);
        until("the settings are read", || done() > before);
    }

    /// Waits until the server has gone by itself.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server has gone", || {
            status = self.process.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// Ends the server the way an init system does.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exit()
    }

    /// Ends the server as nobody should, and waits until it has gone.
    pub(crate) fn kill(self) {}

    /// Does something while the server stands still: what comes of it comes to the server at once.
    pub(crate) fn at_once<T>(&self, deed: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let done = deed();
        self.signal(Signal::CONT);
        done
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address(), None)
    }

    /// The same with what is sent first: no time in between counts for the server.
    pub(crate) fn connect_with(&self, bytes: impl AsRef<[u8]>) -> Connection {
        self.at_once(|| {
            let mut connection = self.connect();
            connection.send(bytes);
            connection
        })
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().ask(request)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask(get(path))
    }

    /// Lets the server make a turn: it has handled what was sent before this when this returns, and answers to polls have left. They
    /// leave at the end of a turn, so another one has to have begun.
    pub(crate) fn turn(&self) {
        for _ in 0..2 {
            assert_eq!(self.get("/nowhere").status, 404);
        }
    }

    /// The response object of one JSON-RPC request object.
    pub(crate) fn rpc(&self, request: &Value) -> Value {
        let response = self.ask(post(request.to_string()));
        assert_eq!(response.status, 200, "{request} -> {response:?}");
        response.json()
    }

    /// The result of a call that succeeds. `params` is a list or an object.
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        let mut response = self.rpc(&json!({"method": method, "params": params, "id": 1}));
        assert!(response.get("error").is_none(), "{method}: {response}");
        response["result"].take()
    }

    /// The error of a call that fails.
    pub(crate) fn error(&self, method: &str, params: Value) -> Value {
        let mut response = self.rpc(&json!({"method": method, "params": params, "id": 1}));
        assert_eq!(response["result"], Value::Null, "{method}: {response}");
        response["error"].take()
    }

    /// A new client.
    pub(crate) fn client<'s>(&'s self, id: &str) -> Client<'s> {
        let key = self.call("create_client", json!([id]));
        Client { server: self, id: id.to_owned(), key: key.as_str().expect("a key").to_owned() }
    }

    /// A new client that has subscribed to the channels and has seen nothing yet.
    pub(crate) fn subscriber<'s>(&'s self, id: &str, channels: &[&str]) -> Client<'s> {
        let client = self.client(id);
        for channel in channels {
            client.subscribe(channel);
        }
        client
    }

    /// A subscriber that has seen all there was.
    pub(crate) fn listener<'s>(&'s self, id: &str, channels: &[&str]) -> Client<'s> {
        let client = self.subscriber(id, channels);
        client.news();
        client
    }

    /// Publishes a text as `app`.
    pub(crate) fn publish(&self, channel: &str, text: &str) {
        assert_eq!(self.call("new_message", json!(["app", text, channel, false])), 1);
    }

    pub(crate) fn publish_all<'t>(&self, channel: &str, texts: impl IntoIterator<Item = &'t str>) {
        for text in texts {
            self.publish(channel, text);
        }
    }

    /// The ids that `get_channel_clients` lists, sorted.
    pub(crate) fn present(&self, channel: &str) -> Vec<String> {
        sorted(&self.call("get_channel_clients", json!([channel])))
    }

    /// One poll for these clients.
    pub(crate) fn poll(&self, clients: &[&Client<'_>]) -> Response {
        self.get(&poll_path(clients))
    }

    /// A poll that the server has read and holds. The request before it on its connection is answered first, so the
    /// poll has reached the server with it; a turn later it is parked (or its answer is on the way).
    pub(crate) fn park(&self, clients: &[&Client<'_>]) -> Connection {
        self.park_at(&poll_path(clients))
    }

    /// The same for a poll that is written out.
    pub(crate) fn park_at(&self, path: &str) -> Connection {
        let mut connection = self.connect();
        connection.send(get("/nowhere") + &get(path));
        assert_eq!(connection.answer().status, 404);
        self.turn();
        connection
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("--- the server's log\n{}---", self.log());
        }
    }
}

/// What a server says, in a file that nobody else finds: what it has said before it answers is there when the answer is. By a pipe
/// it would come a little later.
struct Log(File);

impl Log {
    /// And where it is written to.
    fn new() -> (Log, File) {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("shaveet-{}-log-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let open =
            || File::options().create(true).append(true).read(true).open(&path).expect("a file for temporary use");
        let ends = (Log(open()), open());
        std::fs::remove_file(&path).expect("it is ours");
        ends
    }

    /// The lines that are whole.
    fn read(&self) -> String {
        let mut bytes = vec![0; usize::try_from(self.0.metadata().expect("it is open").len()).expect("it fits")];
        let length = self.0.read_at(&mut bytes, 0).expect("a file can be read");
        bytes.truncate(bytes[..length].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // It goes on reading when nobody listens any more: the server must not meet a closed pipe.
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// The next thing that comes through a channel.
pub(crate) fn received<T>(channel: &mpsc::Receiver<T>, patience: Duration) -> Result<T, mpsc::RecvTimeoutError> {
    let patience = Patience::new(patience);
    loop {
        let look = patience.look().ok_or(mpsc::RecvTimeoutError::Timeout)?;
        match channel.recv_timeout(look) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            other => return other,
        }
    }
}

fn address(listener: &str) -> SockAddr {
    if let Some(path) = listener.strip_prefix("unix:") {
        return SockAddr::unix(path).expect("a short path");
    }
    let address = listener.strip_prefix("http://").and_then(|a| a.parse::<SocketAddr>().ok());
    address.unwrap_or_else(|| panic!("not an address: {listener:?}")).into()
}

/// The path of a Unix socket in a directory of its own, which goes with the value. No two have the same, whatever their names.
pub(crate) struct Nest {
    directory: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Nest {
    /// `name` is for whoever finds what a test has left.
    pub(crate) fn new(name: &str) -> Nest {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("shaveet-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for temporary files");
        Nest { socket: directory.join("socket"), directory }
    }

    /// A file in the directory with this content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, content).expect("a file for temporary use");
        path
    }

    /// The argument that makes a server listen there.
    pub(crate) fn listener(&self) -> String {
        format!("unix:{}", self.socket.display())
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A client of the server: its id and its key.
pub(crate) struct Client<'s> {
    pub(crate) server: &'s Server,
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Client<'_> {
    pub(crate) fn subscribe(&self, channel: &str) {
        assert_eq!(self.server.call("subscribe", json!([self.id, channel])), 1);
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        assert_eq!(self.server.call("unsubscribe", json!([self.id, channel])), 1);
    }

    pub(crate) fn kill(&self) {
        assert_eq!(self.server.call("kill_client", json!([self.id])), 200);
    }

    /// The channels that it is subscribed to, sorted.
    pub(crate) fn channels(&self) -> Vec<String> {
        sorted(&self.server.call("get_client_channels", json!([self.id])))
    }

    /// Has it collected, of a server that has begun [`CALM`], and with it whoever else is in no poll; then it is calm again.
    pub(crate) fn expire(&self) {
        self.server.set(HASTY);
        until("the client is collected", || !self.is_known());
        self.server.set(CALM);
    }

    /// Whether the JSON-RPC methods know it.
    pub(crate) fn is_known(&self) -> bool {
        let request = json!({"method": "get_client_channels", "params": [self.id], "id": 1});
        self.server.rpc(&request).get("error").is_none()
    }

    pub(crate) fn poll(&self) -> Response {
        self.server.poll(&[self])
    }

    /// The news of one poll, see [`Response::news`].
    pub(crate) fn news(&self) -> Value {
        self.poll().news()
    }

    pub(crate) fn park(&self) -> Connection {
        self.server.park(&[self])
    }

    /// Waits until the server has heard that no page of it waits any more: the end of a connection comes when it comes.
    pub(crate) fn is_left(&self) {
        let parked = || self.server.call("client_info", json!([self.id]))["parked"].take();
        until("the server has heard of the end", || parked() == 0);
    }

    /// A poll of the resume protocol, its answer read as an object.
    pub(crate) fn resume(&self, since: &str) -> Value {
        Shape::Object.read(&self.server.get(&Shape::Object.path(&[self], since)))
    }

    /// What it proves itself with in a poll.
    pub(crate) fn credential(&self) -> String {
        format!("{}_!!_{}", self.id, self.key)
    }
}

/// The path of a poll with the callback `cb`.
pub(crate) fn poll_path(clients: &[&Client<'_>]) -> String {
    let credentials: Vec<String> = clients.iter().map(|c| c.credential()).collect();
    let mut pairs = vec![("callback", "cb")];
    pairs.extend(credentials.iter().map(|c| ("client_id", c.as_str())));
    updates_path(&pairs)
}

/// How a page of the resume protocol wants its answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// As JSON, by fetch or XHR.
    Object,
    /// As a call of `cb`, by a script tag.
    Script,
}

impl Shape {
    pub(crate) const BOTH: [Shape; 2] = [Shape::Object, Shape::Script];

    /// The path of a poll.
    pub(crate) fn path(self, clients: &[&Client<'_>], since: &str) -> String {
        let credentials: Vec<String> = clients.iter().map(|c| c.credential()).collect();
        let mut pairs: Vec<(&str, &str)> = credentials.iter().map(|c| ("client_id", c.as_str())).collect();
        pairs.push(("since", since));
        if self == Shape::Script {
            pairs.push(("callback", "cb"));
        }
        updates_path(&pairs)
    }

    /// The object of an answer that is no error.
    pub(crate) fn read(self, response: &Response) -> Value {
        let object = self.object(response);
        assert!(response.status == 200 && object.get("error").is_none(), "{response:?}");
        object
    }

    /// The status that an error says, and its message.
    pub(crate) fn error(self, response: &Response) -> (u64, String) {
        let error = &self.object(response)["error"];
        let code = error["code"].as_u64().unwrap_or_else(|| panic!("no error: {response:?}"));
        // A script with another status would not be run.
        let status = if self == Shape::Script { 200 } else { code };
        assert_eq!(u64::from(response.status), status, "{response:?}");
        (code, error["message"].as_str().expect("a text").to_owned())
    }

    /// What every answer of the resume protocol has, errors too, and its object.
    fn object(self, response: &Response) -> Value {
        assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{response:?}");
        assert_eq!(response.header("cache-control"), Some("no-cache, no-store"), "{response:?}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{response:?}");
        assert!(response.body.is_ascii(), "{response:?}");
        let (text, media_type) = match self {
            Shape::Object => (Some(response.text()), "application/json"),
            Shape::Script => {
                let inside = response.text().strip_prefix("/**/cb(").and_then(|rest| rest.strip_suffix(");"));
                (inside, "text/javascript")
            }
        };
        assert_eq!(response.media_type(), media_type, "{response:?}");
        serde_json::from_str(text.unwrap_or_else(|| panic!("no call of cb: {response:?}"))).expect("JSON")
    }
}

/// The position in an answer of the resume protocol.
pub(crate) fn since(answer: &Value) -> String {
    answer["since"].as_str().unwrap_or_else(|| panic!("no position: {answer}")).to_owned()
}

/// The messages of an answer of the resume protocol: channel, id, text.
pub(crate) fn heard(answer: &Value) -> Vec<(String, u64, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let messages = answer["messages"].as_array().unwrap_or_else(|| panic!("no messages: {answer}"));
    messages.iter().map(|m| (text(&m["channel"]), m["id"].as_u64().expect("an id"), text(&m["data"]))).collect()
}

/// The texts alone.
pub(crate) fn said(answer: &Value) -> Vec<String> {
    heard(answer).into_iter().map(|(_, _, text)| text).collect()
}

/// The path of a poll with exactly these parameters.
pub(crate) fn updates_path(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}={}", encoded(v))).collect();
    format!("/message_updates?{}", pairs.join("&"))
}

fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'!' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

pub(crate) fn get(path: &str) -> String {
    request("GET", path, &[], "")
}

/// A JSON-RPC call.
pub(crate) fn post(body: impl AsRef<str>) -> String {
    request("POST", "/", &["Content-Type: application/json"], body)
}

/// A request with these header lines, and a Content-Length unless it is a GET or HEAD.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: impl AsRef<str>) -> String {
    let body = body.as_ref();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for line in headers {
        head = head + line + "\r\n";
    }
    if !matches!(method, "GET" | "HEAD") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head + "\r\n" + body
}

/// A connection to the server. It keeps what it has read beyond an answer for the next one.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    inbox: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Missing {
    /// The time is over and the connection is open.
    Silent,
    /// The server has closed the connection.
    Closed,
}

impl Connection {
    /// A connection to an address, from a certain one of this machine if wanted (all of 127/8 are its own on Linux).
    pub(crate) fn open(to: &SockAddr, from: Option<IpAddr>) -> Connection {
        Connection::over(Socket::new(to.domain(), Type::STREAM, None).expect("a socket"), to, from)
    }

    /// The same over a socket that has its options already.
    pub(crate) fn over(socket: Socket, to: &SockAddr, from: Option<IpAddr>) -> Connection {
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this machine");
        }
        socket.connect_timeout(to, PATIENCE).expect("the server accepts");
        socket.set_write_timeout(Some(PATIENCE)).expect("a time above zero");
        if !to.is_unix() {
            socket.set_tcp_nodelay(true).expect("TCP can");
        }
        Connection { socket, inbox: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the server takes what is sent");
    }

    /// Sends to a server that may stop listening in the middle.
    pub(crate) fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref());
    }

    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let to_head = request.as_ref().starts_with(b"HEAD ");
        self.send(request);
        self.next(PATIENCE, to_head).unwrap_or_else(|why| panic!("no answer ({why:?}), but {:?}", self.text()))
    }

    pub(crate) fn answer(&mut self) -> Response {
        self.within(PATIENCE).unwrap_or_else(|why| panic!("no answer ({why:?}), but {:?}", self.text()))
    }

    pub(crate) fn news(&mut self) -> Value {
        self.answer().news()
    }

    /// Holds if there is no answer, not even a part of one, and the connection is open.
    pub(crate) fn waits(&mut self) {
        assert_eq!(self.within(QUIET).map(|r| r.text().to_owned()), Err(Missing::Silent), "{:?}", self.text());
        assert_eq!(self.text(), "");
    }

    /// Holds if the server closes the connection and sends nothing before.
    pub(crate) fn closes(&mut self) {
        assert_eq!(self.within(PATIENCE).map(|r| r.text().to_owned()), Err(Missing::Closed), "{:?}", self.text());
        assert_eq!(self.text(), "");
    }

    /// Holds if the server's end comes, whatever is sent before.
    pub(crate) fn ends(&mut self) {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        match self.socket.read_to_end(&mut self.inbox) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::ConnectionReset, "no end: {e}"),
        }
    }

    /// The answer, if it comes in this time.
    pub(crate) fn within(&mut self, patience: Duration) -> Result<Response, Missing> {
        self.next(patience, false)
    }

    fn next(&mut self, patience: Duration, to_head: bool) -> Result<Response, Missing> {
        let patience = Patience::new(patience);
        loop {
            if let Some((response, end)) = Response::parse(&self.inbox, to_head) {
                self.inbox.drain(..end);
                return Ok(response);
            }
            let look = patience.look().ok_or(Missing::Silent)?;
            self.socket.set_read_timeout(Some(look)).expect("a time above zero");
            let mut chunk = [0; 64 << 10];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(Missing::Closed),
                Ok(n) => self.inbox.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(Missing::Closed),
                // It is time to look at the clock again, or a signal has come.
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(e) => panic!("cannot read: {e}"),
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.inbox).into_owned()
    }
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) status_line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The response at the beginning of these bytes, and where it ends; None if it is not there whole. Every response
    /// has a Content-Length but those that cannot have a body.
    fn parse(bytes: &[u8], to_head: bool) -> Option<(Response, usize)> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end - 4]).expect("a response head is ASCII");
        let (status_line, lines) = head.split_once("\r\n").unwrap_or((head, ""));
        let status: u16 = status_line.get(9..12).and_then(|s| s.parse().ok()).expect("a status line");
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let headers = lines.split_terminator("\r\n").map(pair).collect();
        let mut response = Response { status, status_line: status_line.to_owned(), headers, body: Vec::new() };
        let bodiless = to_head || matches!(status, 100..200 | 204 | 304);
        let length = if bodiless { 0 } else { response.content_length() };
        response.body = bytes.get(end..end + length)?.to_vec();
        Some((response, end + length))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice: {self:?}");
        value
    }

    pub(crate) fn content_length(&self) -> usize {
        let length = self.header("content-length").and_then(|v| v.parse().ok());
        length.unwrap_or_else(|| panic!("no Content-Length: {self:?}"))
    }

    /// The media type without parameters.
    pub(crate) fn media_type(&self) -> &str {
        self.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim()
    }

    /// Whether the server says that it closes the connection.
    pub(crate) fn is_last(&self) -> bool {
        self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The object in `callback(...);`, as it came.
    pub(crate) fn updates(&self, callback: &str) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let inside = self.text().strip_prefix(callback).and_then(|t| t.strip_prefix("("));
        let inside = inside.and_then(|t| t.strip_suffix(");"));
        serde_json::from_str(inside.unwrap_or_else(|| panic!("not {callback}(...);: {self:?}"))).expect("JSON")
    }

    /// The object in `cb(...);` with the texts of system messages parsed: their spacing and order of members mean
    /// nothing. See [`joins`] and its neighbours for what they look like.
    pub(crate) fn news(&self) -> Value {
        let mut updates = self.updates("cb");
        for messages in updates.as_object_mut().expect("an object").values_mut() {
            for message in messages.as_array_mut().expect("a list") {
                assert!(message[1].is_string(), "the text of a message is always a string: {message}");
                if let Some(system) = message[1].as_str().and_then(system_message) {
                    message[1] = system;
                }
            }
        }
        updates
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        write!(f, "{} {:?} {body:?}", self.status_line, self.headers)
    }
}

fn system_message(text: &str) -> Option<Value> {
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let kind = object.get("type")?.as_str()?;
    matches!(kind, "subscribe" | "unsubscribe" | "new_channel").then(|| object.into())
}

/// The message that a client has subscribed, as [`Response::news`] shows it.
pub(crate) fn joins(id: u64, client: &str) -> Value {
    json!([id, {"type": "subscribe"}, client])
}

/// The message that a client has unsubscribed.
pub(crate) fn leaves(id: u64, client: &str) -> Value {
    json!([id, {"type": "unsubscribe", "gc": false}, client])
}

/// The message that a client was collected or killed.
pub(crate) fn dies(id: u64, client: &str) -> Value {
    json!([id, {"type": "unsubscribe", "gc": true}, client])
}

/// The message on `admin` that there is a new channel.
pub(crate) fn opens(id: u64, channel: &str) -> Value {
    json!([id, {"type": "new_channel", "name": channel}, "system"])
}

/// A message that [`Server::publish`] has sent.
pub(crate) fn says(id: u64, text: &str) -> Value {
    json!([id, text, "app"])
}

/// The texts of a channel's messages in some news, system messages left out.
pub(crate) fn texts(news: &Value, channel: &str) -> Vec<String> {
    let messages = news[channel].as_array().map_or(&[][..], Vec::as_slice);
    messages.iter().filter_map(|m| m[1].as_str()).map(str::to_owned).collect()
}

/// The ids of a channel's messages in some news.
pub(crate) fn ids(news: &Value, channel: &str) -> Vec<u64> {
    let messages = news[channel].as_array().map_or(&[][..], Vec::as_slice);
    messages.iter().map(|m| m[0].as_u64().expect("an id")).collect()
}

fn sorted(names: &Value) -> Vec<String> {
    let name = |v: &Value| v.as_str().expect("a name").to_owned();
    let mut names: Vec<String> = names.as_array().expect("a list").iter().map(name).collect();
    names.sort();
    names
}

/// Asks until it is so. The pause between leaves the processor to the server.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Patience::new(PATIENCE);
    while !is_so() {
        assert!(!patience.is_over(), "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What it returns, and how long it took.
pub(crate) fn timed<T>(deed: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (deed(), start.elapsed())
}
