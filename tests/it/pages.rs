//! What pages and browsers could be made to do with an answer: run it, keep it, or read it in somebody else's name. And
//! that no answer repeats what a stranger has sent.

use std::net::{IpAddr, Ipv4Addr};

use crate::support::streams::{Events, HANDSHAKE, WebSocket, stream_path};
use crate::support::{
    BINARY, Client, Connection, Nest, Response, Server, Shape, Signal, get, post, request, until, updates_path,
};
use serde_json::{Value, json};

/// Answers of every kind that a stranger can bring about, but for those that hold messages.
fn answers(server: &Server, marker: &str) -> Vec<(String, Response)> {
    let since = [("client_id", "a_!!_b"), ("since", marker)];
    let callback = [("client_id", "a_!!_b"), ("since", ""), ("callback", marker)];
    let requests = vec![
        get(&format!("/{marker}")),
        get(&format!("/static/{marker}")),
        get(&format!("/message_updates/{marker}")),
        get(&format!("http://{marker}/nowhere")),
        get(&updates_path(&[("callback", "cb"), ("client_id", &format!("{marker}_!!_{marker}"))])),
        get(&updates_path(&[("callback", "cb"), ("client_id", marker)])),
        get(&updates_path(&[("callback", &format!("{marker}("))])),
        get(&updates_path(&[("client_id", &format!("{marker}_!!_x")), ("since", "")])),
        get(&updates_path(&since)),
        get(&updates_path(&[("client_id", marker), ("since", ""), ("callback", "cb")])),
        get(&updates_path(&[(marker, marker)])),
        get(&updates_path(&callback).replace(marker, &format!("{marker}%0d%0aX: y"))),
        get(&format!("/events?client_id={marker}")),
        get(&format!("/events?client_id=a_!!_b&since={marker}")),
        get(&format!("/socket?client_id={marker}")),
        get(&format!("/dashboard/{marker}")),
        get(&format!("/static/{marker}")),
        request(marker, "/", &[], ""),
        request("GET", "/", &[&format!("Host: {marker}")], ""),
        request("POST", "/", &[&format!("Origin: http://{marker}")], marker),
        request("POST", "/nowhere", &[&format!("Expect: {marker}")], ""),
        request("POST", "/nowhere", &[&format!("Transfer-Encoding: {marker}")], ""),
        request("GET", "/nowhere", &[&format!("Content-Length: {marker}")], ""),
        request("GET", "/nowhere", &[&format!("{marker} x: y")], ""),
        format!("GET / {marker}\r\n\r\n"),
        format!("{marker}\r\n\r\n"),
        post(format!("{{{marker}")),
        post(format!("\"{marker}\"")),
    ];
    requests.into_iter().map(|request| (request.clone(), server.ask(request))).collect()
}

#[test]
fn no_error_repeats_what_was_sent() {
    let server = Server::with(&["--poll-timeout", "50ms"]);
    for marker in ["pOlLuX7", "%3Cscript%3Ealert(7)%3C", "<script>alert(7)"] {
        for (request, response) in answers(&server, marker) {
            let body = String::from_utf8_lossy(&response.body).to_lowercase();
            let said = format!("{} {:?} {body}", response.status_line, response.headers).to_lowercase();
            assert!(!said.contains("pollux7") && !said.contains("alert"), "{request:?} -> {response:?}");
        }
    }
}

#[test]
fn every_content_is_what_its_type_says() {
    let server = Server::with(&["--poll-timeout", "50ms"]);
    let alice = server.subscriber("alice", &["room"]);
    let mut all = answers(&server, "x");
    all.push(("the original's answer".to_owned(), alice.poll()));
    all.push(("an object".to_owned(), server.get(&Shape::Object.path(&[&alice], ""))));
    all.push(("a script".to_owned(), server.get(&Shape::Script.path(&[&alice], ""))));
    all.push(("shaveet.js".to_owned(), server.get("/static/shaveet.js")));
    all.push(("a call".to_owned(), server.ask(post(r#"{"method":"system.list_methods","params":[]}"#))));
    for path in ["/", "/static/shaveet.js", "/metrics", "/health", "/ready", "/dashboard", "/socket"] {
        let put = server.ask(request("PUT", path, &[], ""));
        assert_eq!((put.status, put.header("allow").is_some()), (405, true), "{put:?}");
        all.push((format!("PUT {path}"), put));
    }
    let stranger = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    all.push(("a stranger".to_owned(), Connection::open(server.address(), Some(stranger)).ask(post("{}"))));
    all.push(("the dashboard".to_owned(), server.get("/dashboard")));
    let events = Events::open(&alice, None).head;
    assert_eq!(events.header("cache-control"), Some("no-cache, no-store"));
    all.push(("events".to_owned(), events));
    for (request, response) in all {
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{request:?} -> {response:?}");
        let content = response.header("content-type").unwrap_or_else(|| panic!("{request:?} -> {response:?}"));
        // Of JSON and of events it is fixed by what they are; the original's script is ASCII, and its type as P1 says.
        let is_fixed = ["application/json", "application/x-javascript", "text/event-stream"].contains(&content);
        assert!(is_fixed || content.ends_with("charset=utf-8"), "{request:?} -> {response:?}");
    }
}

#[test]
fn what_a_page_gets_is_not_kept_by_anybody_on_the_way() {
    let server = Server::with(&["--poll-timeout", "50ms"]);
    let alice = server.subscriber("alice", &["room"]);
    // WIRE P1 to the letter: it may be stored, and not be used again without asking.
    assert_eq!(alice.poll().header("cache-control"), Some("no-cache"));
    for shape in Shape::BOTH {
        let wrong = server.get(&shape.path(&[&alice], "nonsense"));
        for response in [server.get(&shape.path(&[&alice], "")), wrong] {
            assert_eq!(response.header("cache-control"), Some("no-cache, no-store"), "{response:?}");
        }
    }
}

#[test]
fn a_callback_is_a_name_with_members_and_nothing_else() {
    let server = Server::with(&["--poll-timeout", "50ms"]);
    let alice = server.subscriber("alice", &["room"]);
    let longest = "a".repeat(256);
    let path = |callback: &str, since: bool| {
        let credential = alice.credential();
        let mut pairs = vec![("client_id", credential.as_str()), ("callback", callback)];
        pairs.extend(since.then_some(("since", "")));
        updates_path(&pairs)
    };
    for good in ["cb", "_jqjsp", "jQuery17_123", "a.b[0]", "$.x[0][1].y", &longest] {
        server.publish("room", "hello");
        let answer = server.get(&path(good, false));
        assert!(answer.text().starts_with(&format!("{good}({{")), "{answer:?}");
        let answer = server.get(&path(good, true));
        assert!(answer.text().starts_with(&format!("/**/{good}({{")), "{answer:?}");
    }
    let too_long = "a".repeat(257);
    for bad in [
        "alert(1)//",
        "a;b",
        "a b",
        "<script>",
        "a\"",
        "a'",
        "a`",
        "é",
        "\u{2028}",
        "a\r\nX: y",
        "a\0",
        "a.",
        ".a",
        "a..b",
        "a.1",
        "1a",
        "a[b]",
        "a[",
        "a[]",
        "a]",
        "a[0]b",
        "[0]",
        "a[\"b\"]",
        "a-b",
        "a=b",
        "a/*",
        "\\u0061",
        &too_long,
    ] {
        for since in [false, true] {
            let response = server.get(&path(bad, since));
            assert_eq!((response.status, response.media_type()), (400, "text/plain"), "{bad} -> {response:?}");
            assert_eq!(response.header("access-control-allow-origin"), None);
        }
    }
}

#[test]
fn what_was_said_cannot_end_a_script_or_a_line_of_it() {
    let server = Server::with(&["--poll-timeout", "50ms"]);
    let alice = server.subscriber("ali</script>ce", &["ro\u{2028}om<!--"]);
    server.publish("ro\u{2028}om<!--", "</script><script>alert(1)</script>\u{2028}\u{2029}é<!--\u{0}\u{7f}");
    let answers = [
        server.get(&Shape::Object.path(&[&alice], "")),
        server.get(&Shape::Script.path(&[&alice], "")),
        alice.poll(),
        server.ask(post(r#"{"method":"list_clients","params":[],"id":"</script>\u2028é"}"#)),
        server.ask(post(r#"{"method":"</script>é","params":[],"id":1}"#)),
    ];
    for answer in answers {
        assert_eq!(answer.status, 200);
        assert!(answer.text().trim_end().bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'<'), "{answer:?}");
    }
}

#[test]
fn with_a_list_of_origins_pages_of_others_take_nothing() {
    let server =
        Server::with(&["--poll-timeout", "50ms", "--allow-origin", "https://app.example,http://b.example:8080"]);
    let alice = server.subscriber("alice", &["room"]);
    let ask = |method: &str, shape: Shape, origin: &str| {
        let headers: Vec<String> =
            origin.split(' ').filter(|o| !o.is_empty()).map(|o| format!("Origin: {o}")).collect();
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        server.ask(request(method, &shape.path(&[&alice], ""), &headers, ""))
    };
    for shape in Shape::BOTH {
        for other in ["https://evil.example", "null", "http://app.example", "https://app.example https://app.example"] {
            for method in ["GET", "OPTIONS", "HEAD"] {
                let response = ask(method, shape, other);
                assert_eq!(response.status, 403, "{response:?}");
                assert_eq!(response.header("access-control-allow-origin"), None);
            }
        }
        for listed in ["https://app.example", "http://b.example:8080"] {
            for method in ["GET", "OPTIONS"] {
                let response = ask(method, shape, listed);
                assert_eq!(response.header("access-control-allow-origin"), Some(listed), "{response:?}");
                assert_eq!(response.header("vary"), Some("Origin"));
            }
        }
        // The server's own pages, and script tags, name none.
        let response = ask("GET", shape, "");
        assert_eq!((response.status, response.header("access-control-allow-origin")), (200, None));
        assert_eq!(response.header("vary"), Some("Origin"));
    }
    // A print for one is not handed to another, though all else is the same.
    let bob = server.client("bob");
    for client in [&alice, &bob] {
        client.subscribe("crowd");
    }
    let poll = |client: &crate::support::Client<'_>, origin: &str| {
        let mut connection = server.connect();
        connection.send(request("GET", &Shape::Object.path(&[client], ""), &[&format!("Origin: {origin}")], ""));
        connection.answer().header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(poll(&alice, "https://app.example").as_deref(), Some("https://app.example"));
    assert_eq!(poll(&bob, "http://b.example:8080").as_deref(), Some("http://b.example:8080"));
}

#[test]
fn keys_are_not_to_be_guessed() {
    let server = Server::start();
    let keys: Vec<u128> = (0..500)
        .map(|at| u128::from_str_radix(&server.client(&format!("page{at}")).key, 16).expect("32 hexadecimal digits"))
        .collect();
    // Each bit is set in about half of them: beyond 350 of 500 is one chance in 10^18.
    for bit in 0..128 {
        let set = keys.iter().filter(|&&key| key >> bit & 1 == 1).count();
        assert!((150..=350).contains(&set), "bit {bit} is set in {set} of 500");
    }
    // Nor does one follow from another by adding.
    let mut steps: Vec<u128> = keys.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps.len(), 499);
}

/// A server that wants a token, and all by which somebody could take another's place there.
struct Guarded {
    server: Server,
    token: String,
    file: std::path::PathBuf,
    secrets: Vec<String>,
    _nest: Nest,
}

impl Guarded {
    fn start() -> Guarded {
        let nest = Nest::new("pages-secrets");
        let token = "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned();
        let file = nest.file("token", &token);
        let mut command = std::process::Command::new(BINARY);
        command.args(["--log", "trace", "--rpc-token-file"]).arg(&file);
        let server = Server::run(command, &["--poll-timeout", "50ms"]);
        Guarded { server, secrets: vec![token.clone()], token, file, _nest: nest }
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Response {
        let bearer = format!("Authorization: Bearer {}", self.token);
        self.server.ask(request(method, path, &[&[&*bearer, "Content-Type: application/json"], headers].concat(), body))
    }

    fn call(&self, method: &str, params: Value) -> Response {
        self.ask("POST", "/", &[], &json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).to_string())
    }

    /// The key that a call gives.
    fn key(&mut self, method: &str, id: &str) -> String {
        let key = self.call(method, json!([id])).json()["result"].as_str().expect("a key").to_owned();
        self.secrets.push(key.clone());
        key
    }

    /// From now on another token is wanted.
    fn change_token(&mut self) {
        let old = std::mem::replace(&mut self.token, "11223344556677889900aabbccddeeff".to_owned());
        self.secrets.push(self.token.clone());
        std::fs::write(&self.file, &self.token).expect("it is ours");
        self.server.signal(Signal::HUP);
        until("the token is read again", || self.call("list_channels", json!([])).status == 200);
        let late = request("POST", "/", &[&format!("Authorization: Bearer {old}")], "{}");
        assert_eq!(self.server.ask(late).status, 404);
    }

    /// A dashboard is opened, and has its first figures.
    fn look(&mut self) -> Vec<Value> {
        let opened = self.ask("POST", "/dashboard/open", &[], "{}").json();
        let [id, key] = ["clientId", "key"].map(|name| opened[name].as_str().expect("a text").to_owned());
        let path = format!("/dashboard/socket?client_id={id}_!!_{key}&since=");
        self.secrets.push(key);
        let mut figures = WebSocket::ask(self.server.connect(), &path, b"");
        let mut shown = Vec::new();
        while !shown.iter().any(|object: &Value| object["messages"].get(0).is_some()) {
            shown.push(figures.object());
        }
        shown
    }
}

/// Alice does what one can with a key, and what one cannot, and gets another. Streams of bob's, who hears of her.
fn use_keys(guarded: &mut Guarded) -> (Events, WebSocket) {
    let keys = ["alice", "bob"].map(|id| guarded.key("create_client", id));
    for id in ["alice", "bob"] {
        assert_eq!(guarded.call("subscribe", json!([id, "room"])).status, 200);
    }
    let [alice, bob] = keys;
    let server = &guarded.server;
    let alice = Client { server, id: "alice".to_owned(), key: alice };
    let bob = Client { server, id: "bob".to_owned(), key: bob };
    for (transport, more) in [("events", "&s3cr3t=1"), ("socket", "&s3cr3t=1"), ("events", "&since=s3cr3t")] {
        let path = stream_path(transport, &[&alice], None) + more;
        server.ask(request("GET", &path, &["Last-Event-ID: s3cr3t"], ""));
        server.ask(request("GET", &path.replace(&alice.key[..4], "xxxx"), &HANDSHAKE, ""));
    }
    let (mut events, mut socket) = (Events::open(&alice, None), WebSocket::open(&alice, None));
    socket.send(0x81, r#"{"ack":"s3cr3t"}"#);
    server.ask(request("POST", "/", &["Authorization: Bearer s3cr3t-guess-of-a-token"], "{}"));
    let others = (Events::open(&bob, None), WebSocket::open(&bob, None));
    guarded.key("rotate_key", "alice");
    while events.next().is_some() {}
    socket.closes();
    others
}

/// All answers that say something of alice, of the server, or of what goes on.
fn asked(guarded: &Guarded) -> Vec<Response> {
    let calls = [
        ("list_clients", json!([])),
        ("client_info", json!(["alice"])),
        ("why", json!(["alice", "room", 1])),
        ("get_channel_clients", json!(["room"])),
        ("get_client_channels", json!(["alice"])),
        ("channel_info", json!(["room"])),
        ("history", json!(["room", null, 100])),
    ];
    let mut heard = Vec::new();
    for (at, (method, params)) in calls.into_iter().enumerate() {
        heard.push(guarded.call(method, params.clone()));
        if at < 3 {
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
            heard.push(guarded.ask("POST", "/dashboard/call", &[], &call));
        }
    }
    for accept in ["Accept: text/plain", "Accept: application/openmetrics-text"] {
        heard.push(guarded.ask("GET", "/metrics", &[accept], ""));
    }
    heard.extend(["/health", "/ready", "/dashboard"].map(|path| guarded.server.get(path)));
    heard
}

/// What is looked at by people, kept by monitors, or read by other pages.
#[test]
fn no_secret_is_in_the_log_the_metrics_the_dashboard_or_anothers_stream() {
    let mut guarded = Guarded::start();
    let (mut events, mut socket) = use_keys(&mut guarded);
    let figures = json!(guarded.look()).to_string();
    let mut told = vec![("figures", figures)];
    for answer in asked(&guarded) {
        assert_eq!(answer.status, 200, "{answer:?}");
        told.push(("an answer", format!("{:?} {}", answer.headers, answer.text())));
    }
    guarded.change_token();
    assert_eq!(guarded.call("kill_client", json!(["alice"])).status, 200);
    // What bob's pages hear of alice, up to her end.
    told.push(("a socket", socket.object().to_string()));
    let mut last = String::new();
    while !last.contains(r#"\"gc\": true"#) {
        last = events.next().expect("an event").data.to_string();
        told.push(("a stream", last.clone()));
    }
    told.push(("the log", guarded.server.log()));
    let all: String = told.iter().map(|(_, text)| text.as_str()).collect();
    assert!(all.contains("alice") && all.contains("TRACE"), "{all}");
    for (what, text) in told {
        for secret in guarded.secrets.iter().map(String::as_str).chain(["s3cr3t"]) {
            assert!(!text.contains(secret), "{secret} is in {what}:\n{text}");
        }
    }
}

#[test]
fn no_secret_is_logged_at_any_level() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "RUST_LOG=trace exec \"$0\" \"$@\"", crate::support::BINARY]);
    let server = Server::run(shell, &["--poll-timeout", "50ms"]);
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "s3cr3t-message");
    for path in [Shape::Object.path(&[&alice], ""), Shape::Script.path(&[&alice], "s3cr3t-since")] {
        server.get(&path);
        // With a letter of the key changed, and where it does not belong.
        let half = &alice.key[..16];
        server.get(&path.replace(half, &half.replace(|digit: char| digit.is_ascii_digit(), "x")));
        server.get(&path.replace("message_updates", "elsewhere"));
        server.ask(format!("GET {path} HTTP/7.7\r\n\r\n"));
        server.ask(request("POST", "/", &["Origin: http://a", "Authorization: Bearer s3cr3t-token"], "s3cr3t-body"));
    }
    alice.poll();
    server.turn();
    let log = server.log();
    assert!(log.contains("DEBUG"), "it logs at this level:\n{log}");
    for secret in [&alice.key[16..], "s3cr3t"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}
