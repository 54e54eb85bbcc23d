//! SIGHUP: what a running server takes over from a file that has changed, and that nobody notices who waits.
//!
//! Each change is seen over sockets. A test knows that the file has been read by the log.

use std::path::PathBuf;

use crate::support::{
    Connection, Missing, Nest, PATIENCE, Server, Shape, Signal, get, poll_path, post, request, said, since, until,
};
use serde_json::{Value, json};

/// A server with a file of settings.
struct Reloaded {
    server: Server,
    nest: Nest,
    file: PathBuf,
}

impl Reloaded {
    fn start(name: &str, content: &str) -> Reloaded {
        Reloaded::with(name, content, &[])
    }

    fn with(name: &str, content: &str, arguments: &[&str]) -> Reloaded {
        let nest = Nest::new(name);
        let file = nest.file("shaveet.toml", content);
        let server = Server::with(&[&["--config", file.to_str().expect("a path in UTF-8")], arguments].concat());
        Reloaded { server, nest, file }
    }

    /// Replaces the file, as a careful editor does, and has it read. Returns what the log says of that.
    fn reload(&self, content: &str) -> String {
        let new = self.nest.file("shaveet.toml.new", content);
        std::fs::rename(new, &self.file).expect("both are in the same directory");
        self.hang_up()
    }

    fn hang_up(&self) -> String {
        let before = self.server.log().len();
        self.server.signal(Signal::HUP);
        let ends =
            ["reload: done", "reload: nothing is new", "has nothing new to take over", "reload: nothing is changed"];
        let mut said = String::new();
        until("the log says how it went", || {
            said = self.server.log()[before..].to_owned();
            ends.iter().any(|end| said.contains(end))
        });
        // A bad one is told in lines of their own, after that.
        until("the log has all of it", || {
            said = self.server.log()[before..].to_owned();
            !said.contains("nothing is changed") || said.matches("reload: ").count() > 1
        });
        said
    }

    /// A call from this machine with these header lines.
    fn is_called(&self, headers: &[&str]) -> bool {
        let call = r#"{"method":"system.list_methods","params":[],"id":1}"#;
        self.server.ask(request("POST", "/", headers, call)).status == 200
    }
}

#[test]
fn what_has_changed_is_told_from_what_to_what_and_by_whom() {
    let reloaded = Reloaded::start("told", "poll-timeout = \"20s\"\nrpc-host = [\"a\", \"b\"]\n");
    let said = reloaded.reload("\npoll-timeout = \"21s\"\nmax-idle = \"11s\"\nlisten = \"unix:other\"\n");
    let place = reloaded.file.display();
    for line in [
        format!("INFO  reload: poll-timeout: 20s -> 21s ({place}:2)\n"),
        format!("INFO  reload: max-idle: 10s -> 11s ({place}:3)\n"),
        "INFO  reload: rpc-host: a,b -> localhost and addresses alone (default)\n".to_owned(),
        "INFO  reload: done\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line} in {said}");
    }
    assert!(!said.contains("listen"), "a flag wins over it: {said}");
    assert!(reloaded.hang_up().contains("has nothing new to take over"));
}

#[test]
fn a_listener_needs_a_restart_and_that_is_told() {
    let reloaded = Reloaded::start("listener", "rpc-listen = \"unix:rpc\"\nmax-idle = \"11s\"\n");
    let call = post(r#"{"method":"system.list_methods","params":[],"id":1}"#);
    let rpc = socket2::SockAddr::unix(reloaded.nest.file("rpc.is", "").with_file_name("rpc")).unwrap();
    for _ in 0..2 {
        let said = reloaded.reload("rpc-listen = \"unix:elsewhere\"\nmax-idle = \"12s\"\n");
        assert!(said.contains("WARN  reload: rpc-listen: unix:") && said.contains("needs a restart"), "{said}");
        assert_eq!(Connection::open(&rpc, None).ask(&call).status, 200, "it still listens there");
        assert_eq!(reloaded.server.ask(&call).status, 404, "and not here");
    }
    // Nor what has to be known from the beginning.
    for (knob, line) in [
        ("state", "state = \"elsewhere\""),
        ("state-interval", "state-interval = \"1m\""),
        ("broker", "broker = \"redis://127.0.0.1\""),
    ] {
        let said = reloaded.reload(&format!("rpc-listen = \"unix:rpc\"\n{line}\n"));
        assert!(
            said.contains(&format!("WARN  reload: {knob}: ")) && said.contains("needs a restart"),
            "{knob}: {said}"
        );
    }
}

#[test]
fn limits_act_and_are_lifted() {
    let reloaded = Reloaded::start("limits", "");
    let server = &reloaded.server;
    let page = server.listener("page", &["room"]);
    let said = reloaded.reload("max-name = 16\nmax-body = \"1KiB\"\nmax-head = \"1KiB\"\nmax-clients = 1\nmax-channels = 2\nmax-subscriptions = 1\n");
    assert!(said.contains("max-name: 64KiB -> 16 "), "{said}");
    server.error("subscribe", json!(["page", "a name of many characters"]));
    server.error("create_client", json!(["another"]));
    server.error("subscribe", json!(["page", "other"]));
    assert_eq!(server.ask(post(" ".repeat(1025))).status, 413);
    assert_eq!(server.get(&format!("/{}", "x".repeat(1025))).status, 414);
    server.publish("room", "still here");
    assert_eq!(crate::support::texts(&page.news(), "room"), ["still here"]);
    reloaded.reload("");
    page.subscribe("a name of many characters");
    server.client("another");
    assert_eq!(server.ask(post(" ".repeat(1025))).status, 400);
    assert_eq!(server.get(&format!("/{}", "x".repeat(1025))).status, 404);
}

#[test]
fn parked_polls_and_streams_stay_and_new_polls_have_the_new_time() {
    let reloaded = Reloaded::start("parked", "poll-timeout = \"1d\"\npresence = false\n");
    let server = &reloaded.server;
    let page = server.subscriber("page", &["room"]);
    let other = server.subscriber("other", &["room"]);
    let third = server.subscriber("third", &["lonely"]);
    let mut parked = page.park();
    let mut stream = crate::support::streams::Events::open(&other, None);
    reloaded.reload("presence = false\npoll-timeout = \"100ms\"\nmax-idle = \"20ms\"\nmin-alive = \"20ms\"\nsweep-interval = \"20ms\"\nidle-timeout = \"20ms\"\nhead-timeout = \"20ms\"\nwrite-timeout = \"20ms\"\n");
    let mut new = server.connect_with(get(&poll_path(&[&third])));
    assert_eq!(new.news(), json!({}), "a new poll ends soon");
    parked.waits();
    let call = json!({"method": "new_message", "params": ["app", "hello", "room", false], "id": 1});
    assert_eq!(server.connect_with(post(call.to_string())).answer().json()["result"], 1);
    assert_eq!(crate::support::texts(&parked.answer().news(), "room"), ["hello"]);
    assert_eq!(stream.message()["data"], "hello");
}

#[test]
fn shorter_times_act_upon_what_is_there() {
    let reloaded = Reloaded::start("shorter", "max-idle = \"1h\"\nmin-alive = \"1h\"\n");
    let server = &reloaded.server;
    let page = server.client("page");
    let mut idle = server.connect();
    assert_eq!(idle.ask(get("/nowhere")).status, 404);
    assert!(page.is_known());
    reloaded.reload("max-idle = \"10ms\"\nmin-alive = \"10ms\"\nsweep-interval = \"10ms\"\nidle-timeout = \"50ms\"\n");
    let ask = post(json!({"method": "get_client_channels", "params": ["page"], "id": 1}).to_string());
    until("the client is collected", || !server.connect_with(&ask).answer().json()["error"].is_null());
    assert_eq!(idle.ask(get("/nowhere")).status, 404, "it is open until the time that it was given");
    assert_eq!(idle.within(PATIENCE).unwrap_err(), Missing::Closed, "and then has the new one");
}

#[test]
fn channels_follow_their_policy_and_what_they_lose_is_told() {
    let reloaded = Reloaded::start("policy", "");
    let server = &reloaded.server;
    let page = server.subscriber("page", &["chat-1", "room"]);
    let start = since(&page.resume(""));
    for at in 0..20 {
        server.publish("chat-1", &at.to_string());
        server.publish("room", &at.to_string());
    }
    reloaded.reload("history = [\"chat-=2\"]\npresence = [\"chat-=off\"]\n");
    until("the channel keeps two and its join", || server.call("channel_info", json!(["chat-1"]))["messages"] == 3);
    let answer = page.resume(&start);
    let gaps = answer["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{answer}");
    assert_eq!((&gaps[0]["channel"], &gaps[0]["reason"]), (&json!("chat-1"), &json!("count")), "{answer}");
    let texts: Vec<String> = said(&answer);
    assert_eq!(texts.len(), 22, "two of one, all of the other: {texts:?}");
    let joined = server.client("joins");
    joined.subscribe("chat-1");
    joined.subscribe("room");
    let news = page.resume(&since(&answer));
    let from: Vec<&Value> = news["messages"].as_array().unwrap().iter().map(|message| &message["channel"]).collect();
    assert_eq!(from, ["room"], "no joins there any more: {news}");
}

#[test]
fn who_may_call_changes() {
    let reloaded = Reloaded::start("allow", "");
    assert!(reloaded.is_called(&[]));
    reloaded.reload("rpc-allow = \"192.0.2.1\"\n");
    assert!(!reloaded.is_called(&[]), "an allow list acts");
    assert!(reloaded.is_called(&["X-Forwarded-For: 192.0.2.1"]));
    reloaded.reload("rpc-allow = \"192.0.2.1\"\ntrusted-proxy = \"none\"\n");
    assert!(!reloaded.is_called(&["X-Forwarded-For: 192.0.2.1"]), "a list of proxies acts");
    reloaded.reload("");
    assert!(reloaded.is_called(&[]));
    let named = || {
        let call = r#"{"method":"system.list_methods","params":[],"id":1}"#;
        let head = format!("POST / HTTP/1.1\r\nHost: shaveet.example\r\nContent-Length: {}\r\n\r\n{call}", call.len());
        reloaded.server.ask(head).status
    };
    assert_eq!(named(), 404);
    reloaded.reload("rpc-host = \"shaveet.example\"\n");
    assert_eq!(named(), 200);
}

#[test]
fn a_bad_file_changes_nothing_and_the_log_says_why() {
    let reloaded = Reloaded::start("bad", "rpc-allow = \"192.0.2.1\"\n");
    let place = reloaded.file.display().to_string();
    for (content, why) in [
        ("rpc-allow = \"any\"\nzebra = 1\n", format!("{place}:2: unknown key zebra")),
        ("rpc-allow = \"any\"\npoll-timeout = \"soon\"\n", format!("{place}:2: poll-timeout = \"soon\": ")),
        ("rpc-allow = \"any\"\npoll-timeout\n", format!("{place}:2: not TOML: ")),
        ("rpc-allow = \"any\"\nrpc-token-file = \"missing\"\n", "cannot read the token in ".to_owned()),
    ] {
        let said = reloaded.reload(content);
        assert!(said.contains("ERROR reload: nothing is changed"), "{said}");
        assert!(said.contains(&format!("ERROR reload: {why}")), "{why} in {said}");
        assert!(!said.contains("->") && !said.contains("done"), "{said}");
        assert!(!reloaded.is_called(&[]), "the old list still holds");
        assert!(reloaded.is_called(&["X-Forwarded-For: 192.0.2.1"]));
    }
    std::fs::remove_file(&reloaded.file).unwrap();
    assert!(reloaded.hang_up().contains("cannot be read: No such file"));
    std::fs::create_dir(&reloaded.file).unwrap();
    assert!(reloaded.hang_up().contains("cannot be read: it is a directory"));
    std::fs::remove_dir(&reloaded.file).unwrap();
    assert!(!reloaded.is_called(&[]));
    let said = reloaded.reload("rpc-allow = \"any\"\n");
    assert!(said.contains("rpc-allow: 192.0.2.1 -> any"), "{said}");
    assert!(reloaded.is_called(&[]), "a good one acts again");
}

#[test]
fn the_token_is_read_again() {
    let (first, second) = ("first-0123456789abcdef", "second-0123456789abcdef");
    let reloaded = Reloaded::start("token", "");
    reloaded.nest.file("token", first);
    let may = |token: &str| reloaded.is_called(&[&format!("Authorization: Bearer {token}")]);
    assert!(reloaded.is_called(&[]));
    let with_token = "rpc-token-file = \"token\"\n";
    assert!(reloaded.reload(with_token).contains("rpc-token-file: calls need no token -> "));
    assert_eq!((reloaded.is_called(&[]), may(first), may(second)), (false, true, false));
    assert!(reloaded.hang_up().contains("nothing new"));
    reloaded.nest.file("token", second);
    assert!(reloaded.hang_up().contains("reload: another token is required"));
    assert_eq!((may(first), may(second)), (false, true));
    reloaded.nest.file("token", "short");
    assert!(reloaded.hang_up().contains("16 to 4096 characters"));
    assert_eq!((reloaded.is_called(&[]), may(second)), (false, true), "it does not become open");
    reloaded.reload("");
    assert!(reloaded.is_called(&[]));
    assert!(!reloaded.server.log().contains("0123456789abcdef"), "no token is logged");
}

#[test]
fn pages_of_an_origin_that_is_listed_no_more_get_what_they_wait_for() {
    let reloaded = Reloaded::start("origin", "presence = false\n");
    let server = &reloaded.server;
    let pages = ["p1", "p2", "p3"].map(|id| server.subscriber(id, &["room"]));
    let (a, b) = ("http://a.example", "http://b.example");
    let poll = |page: usize, origin: &str| {
        let mut connection = server.connect();
        let path = Shape::Object.path(&[&pages[page]], "");
        connection.send(get("/nowhere") + &request("GET", &path, &[&format!("Origin: {origin}")], ""));
        assert_eq!(connection.answer().status, 404);
        server.turn();
        connection
    };
    let mut of_all = poll(0, a);
    reloaded.reload("allow-origin = [\"http://b.example\", \"http://a.example\"]\n");
    let mut of_a = poll(1, a);
    reloaded.reload("allow-origin = \"http://b.example\"\n");
    let mut of_b = poll(2, b);
    assert_eq!(poll(2, a).answer().status, 403, "it is listed no more");
    server.publish("room", "hello");
    for (connection, allowed) in [(&mut of_all, "*"), (&mut of_a, a), (&mut of_b, b)] {
        let answer = connection.answer();
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(allowed)));
        assert_eq!(said(&answer.json()), ["hello"]);
    }
}

#[test]
fn the_demonstration_comes_and_goes() {
    let reloaded = Reloaded::start("demo", "");
    assert_eq!(reloaded.server.get("/demo").status, 404);
    reloaded.reload("demo = true\n");
    assert_eq!(reloaded.server.get("/demo").status, 200);
    reloaded.reload("");
    assert_eq!(reloaded.server.get("/demo").status, 404);
}

#[test]
fn the_log_says_more_and_less() {
    let reloaded = Reloaded::start("log", "");
    reloaded.server.get("/nowhere");
    assert!(!reloaded.server.log().contains("DEBUG"));
    reloaded.reload("log = \"debug\"\n");
    reloaded.server.get("/nowhere");
    until("what peers do is logged", || reloaded.server.log().contains("DEBUG peer "));
    reloaded.reload("log = \"info\"\n");
    reloaded.server.turn();
    let before = reloaded.server.log().len();
    reloaded.server.get("/nowhere");
    reloaded.hang_up();
    assert!(!reloaded.server.log()[before..].contains("GET"), "{}", &reloaded.server.log()[before..]);
}

#[test]
fn one_address_is_counted_from_the_beginning_whoever_is_trusted() {
    let reloaded = Reloaded::start("visitors", "");
    let server = &reloaded.server;
    let mut inside: Vec<Connection> = (0..5).map(|_| server.connect()).collect();
    for connection in &mut inside {
        assert_eq!(connection.ask(get("/nowhere")).status, 404);
    }
    let bound = "trusted-proxy = \"none\"\nmax-connections-per-address = 3\n";
    reloaded.reload(&format!("{bound}max-idle = \"11s\"\n"));
    let is_let_in = || {
        let mut connection = server.connect();
        connection.offer(get("/nowhere"));
        connection.within(PATIENCE).is_ok()
    };
    assert!(!is_let_in(), "five are more than three");
    inside.truncate(3);
    for connection in &mut inside {
        assert_eq!(connection.ask(get("/nowhere")).status, 404, "who is inside stays");
    }
    assert!(!is_let_in());
    inside.truncate(2);
    until("there is room for a third", is_let_in);
}

#[test]
fn a_large_call_goes_on_through_reloads() {
    let reloaded = Reloaded::start("call", "");
    let server = &reloaded.server;
    let clients: Vec<String> = (0..2000).map(|at| format!("c{at}")).collect();
    let batch: Vec<Value> = clients
        .iter()
        .map(|id| json!({"jsonrpc": "2.0", "method": "create_client", "params": [id], "id": 1}))
        .collect();
    for part in batch.chunks(1000) {
        assert_eq!(server.ask(post(json!(part).to_string())).status, 200);
    }
    let channels: Vec<(String, Value)> = (0..50).map(|at| (format!("r{at}"), json!(clients))).collect();
    let body = json!({"method": "subscribe_many", "params": [Value::Object(channels.into_iter().collect())], "id": 1});
    let mut call = server.connect();
    call.send(post(body.to_string()));
    for at in 0..20 {
        // Limits that the call meets: a channel's policy, what a client may have.
        reloaded.reload(&format!(
            "history = {}\nmax-body = \"{}MiB\"\npresence = \"{}\"\n",
            at + 1,
            at + 1,
            ["on", "off"][at % 2]
        ));
    }
    let answer = call.within(6 * PATIENCE).expect("it is done");
    assert_eq!(answer.json()["result"], 200);
    assert_eq!(server.call("get_client_channels", json!(["c1999"])).as_array().unwrap().len(), 50);
    assert_eq!(reloaded.server.call("get_channel_clients", json!(["r49"])).as_array().unwrap().len(), 2000);
}

#[test]
fn a_body_on_its_way_meets_the_new_limit() {
    let reloaded = Reloaded::start("body", "");
    let server = &reloaded.server;
    let chunk = "x".repeat(10_000);
    let mut chunked = server.connect();
    chunked.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    chunked.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    let mut whole = server.connect();
    whole.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n{chunk}"));
    server.turn();
    reloaded.reload("max-body = \"1KiB\"\n");
    chunked.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    assert_eq!(chunked.answer().status, 413);
    whole.send(&chunk);
    assert_eq!(whole.answer().status, 413);
    assert_eq!(server.get("/nowhere").status, 404, "it serves on");
}

#[test]
fn without_a_file_it_stays_as_it_is() {
    let server = Server::start();
    let page = server.listener("page", &["room"]);
    let mut parked = page.park();
    server.signal(Signal::HUP);
    until("it says so", || server.log().contains("there is no file of settings (--config)"));
    server.publish("room", "hello");
    assert_eq!(crate::support::texts(&parked.answer().news(), "room"), ["hello"]);
    assert!(server.stop().success());
}

#[test]
fn a_hundred_reloads_under_a_publisher_lose_nothing() {
    let reloaded = Reloaded::start("storm", "");
    let server = &reloaded.server;
    let page = server.subscriber("page", &["room"]);
    let mut token = since(&page.resume(""));
    let mut heard = Vec::new();
    for at in 0..100 {
        let mut parked = server.park_at(&Shape::Object.path(&[&page], &token));
        std::fs::write(&reloaded.file, format!("history = {}\nmax-idle = \"{}s\"\n", 50 + at, 10 + at)).unwrap();
        server.signal(Signal::HUP);
        server.publish("room", &at.to_string());
        let answer = parked.answer().json();
        assert_eq!(answer["gaps"], json!([]), "{answer}");
        token = since(&answer);
        heard.extend(said(&answer));
    }
    assert_eq!(heard, (0..100).map(|at| at.to_string()).collect::<Vec<_>>());
}
