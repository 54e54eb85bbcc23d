//! The subcommands that talk to a running server: what they print, where they find it, what they say when it does not go.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::program::{Ended, Running, ended, shaveet};
use crate::support::redis::free_port;
use crate::support::{BINARY, Nest, Server, Signal, until};
use serde_json::{Value, json};

/// Where a server is, for `--url`.
fn url(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.port())
}

/// What a subcommand prints that succeeds and has nothing to say besides.
fn printed(arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = ended(shaveet(arguments));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    stdout
}

/// The same against this server.
fn asked(server: &Server, arguments: &[&str]) -> String {
    printed(&[&arguments[..1], &["--url", &url(server)], &arguments[1..]].concat())
}

/// What a subcommand says that fails, and prints nothing.
fn failed(command: Command) -> String {
    let Ended { code, stdout, stderr } = ended(command);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with("shaveet: "), "{stderr}");
    stderr
}

/// What a subcommand prints that is fed this.
fn fed(server: &Server, arguments: &[&str], input: &str) -> String {
    let url = url(server);
    let mut command = shaveet(&[arguments, &["--url", &url]].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("is piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).expect("text")
}

/// A `tail` whose lines are those of both its outputs, when it listens in the channel.
fn tail(server: &Server, channel: &str, arguments: &[&str]) -> Running {
    let url = if server.address().is_unix() { path_of(server) } else { url(server) };
    let running = start_tail(&[&["tail", channel, "--url", &url], arguments].concat());
    until("tail listens", || is_heard(server, channel));
    running
}

fn path_of(server: &Server) -> String {
    let path = server.address().as_pathname().expect("a Unix socket");
    format!("unix:{}", path.display())
}

fn start_tail(arguments: &[&str]) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>&1", "sh", BINARY]).args(arguments);
    Running::start(command)
}

/// Whether somebody listens in the channel.
fn is_heard(server: &Server, channel: &str) -> bool {
    let info = server.rpc(&json!({"method": "channel_info", "params": [channel], "id": 1}));
    info["result"]["parked"] == 1
}

fn clients(server: &Server) -> Value {
    server.call("list_clients", json!([]))["clients"].take()
}

#[test]
fn publish_prints_the_id_and_pages_get_the_text() {
    let server = Server::start();
    let page = server.listener("page", &["room"]);
    let spared = server.listener("spared", &["room"]);
    page.news();
    assert_eq!(asked(&server, &["publish", "room", "hello", "--from", "bob"]), "3\n");
    assert_eq!(page.news()["room"], json!([[3, "hello", "bob"]]));
    assert_eq!(asked(&server, &["publish", "room", "--", "-x"]), "4\n");
    assert_eq!(fed(&server, &["publish", "room", "-"], "two\nlines\n"), "5\n");
    assert_eq!(fed(&server, &["publish", "room"], "no end"), "6\n");
    assert_eq!(page.news()["room"], json!([[4, "-x", null], [5, "two\nlines", null], [6, "no end", null]]));
    assert_eq!(fed(&server, &["publish", "room", "--lines"], "a\n\nb\r\n"), "7\n8\n9\n");
    assert_eq!(page.news()["room"], json!([[7, "a", null], [8, "", null], [9, "b", null]]));
    spared.news();
    assert_eq!(asked(&server, &["publish", "room", "secret", "--exclude", "spared", "--exclude", "x"]), "10\n");
    assert_eq!(asked(&server, &["publish", "room", "open", "--ttl", "1h"]), "11\n");
    assert_eq!(spared.news()["room"], json!([[11, "open", null]]));
    let once = ["publish", "room", "once", "--key", "k", "--json"];
    let first: Value = serde_json::from_str(&asked(&server, &once)).expect("JSON");
    assert_eq!((&first["id"], first["position"].is_string()), (&json!(12), true));
    assert_eq!(serde_json::from_str::<Value>(&asked(&server, &once)).expect("JSON"), first);
}

#[test]
fn lines_go_on_where_the_server_was_restarted_between_them() {
    let nest = Nest::new("lines");
    let arguments = ["--listen", &nest.listener()];
    let server = Server::with(&arguments);
    let mut command = shaveet(&["publish", "--lines", "room", "--url", &nest.listener()]);
    command.stdin(Stdio::piped());
    let mut publish = Running::start(command);
    let mut lines = publish.child.stdin.take().expect("is piped");
    lines.write_all(b"one\n").expect("it reads");
    assert_eq!(publish.line(), "1");
    server.kill();
    let server = Server::with(&arguments);
    lines.write_all(b"two\n").expect("it reads");
    assert_eq!(publish.line(), "1", "ids begin anew");
    assert_eq!(server.call("history", json!(["room"]))["messages"][0]["data"], "two");
    drop(lines);
    assert_eq!(publish.ended().code(), Some(0));
}

#[test]
fn what_is_no_text_or_too_long_is_not_published() {
    let server = Server::with(&["--max-body", "1KiB"]);
    let mut command = shaveet(&["publish", "room", "--url", &url(&server)]);
    let nest = Nest::new("no-text");
    command.stdin(std::fs::File::open(nest.file("input", b"good\n\xff\n")).expect("just made"));
    assert!(failed(command).contains("UTF-8, which standard input is not at byte 5"));
    // What comes before a `|` may have failed.
    let mut empty = shaveet(&["publish", "room", "--url", &url(&server)]);
    empty.stdin(Stdio::null());
    assert!(failed(empty).contains("standard input is empty: nothing is published"));
    let said = failed(shaveet(&["publish", "room", &"x".repeat(2000), "--url", &url(&server)]));
    assert!(said.contains("--max-body"), "{said}");
    assert_eq!(server.call("list_channels", json!([]))["channels"], json!([]));
}

#[test]
fn they_find_the_server_as_it_was_told_to_listen_and_bring_its_token() {
    let nest = Nest::new("token");
    let token = nest.file("token", "0123456789abcdef0123\n");
    let wrong = nest.file("wrong", "0123456789abcdef0124\n");
    let [token, wrong] = [&token, &wrong].map(|path| path.to_str().expect("ASCII"));
    let calls = nest.listener();
    let server = Server::with(&["--rpc-listen", &calls, "--rpc-token-file", token]);
    let pages = format!("127.0.0.1:{}", server.port());

    // By flags, by --url, by variables, by the file.
    let by_flags = ["--listen", &pages, "--rpc-listen", &calls, "--rpc-token-file", token];
    assert_eq!(printed(&[&["publish", "room", "1"], &by_flags[..]].concat()), "1\n");
    assert_eq!(printed(&["publish", "room", "2", "--url", &calls, "--rpc-token-file", token]), "2\n");
    let mut by_variables = shaveet(&["publish", "room", "3"]);
    by_variables.env("SHAVEET_RPC_LISTEN", &calls).env("SHAVEET_RPC_TOKEN_FILE", token);
    assert_eq!(ended(by_variables).stdout, "3\n");
    let open = Server::start();
    assert_eq!(printed(&["publish", "-p", &open.port().to_string(), "room", "x"]), "1\n");
    let file = format!("listen = \"{pages}\"\nrpc-listen = \"{calls}\"\nrpc-token-file = \"token\"\n");
    let file = nest.file("shaveet.toml", file);
    let file = file.to_str().expect("ASCII");
    assert_eq!(printed(&["publish", "room", "4", "--config", file]), "4\n");
    let shown = printed(&["tail", "room", "--all", "-n", "1", "--config", file]);
    assert_eq!(shown, "room 1 -: 1\n");
    let by_two = ["--url", &calls, "--pages-url", &pages, "--rpc-token-file", token];
    assert_eq!(printed(&[&["tail", "room", "--all", "-n1"], &by_two[..]].concat()), "room 1 -: 1\n");
    let said = failed(shaveet(&["tail", "room", "--url", &calls, "--rpc-token-file", token]));
    assert!(said.contains("--pages-url"), "{said}");

    // Without the token, with another one, where pages are.
    let before = printed(&["channels", "--json", "--config", file]);
    let said = failed(shaveet(&["publish", "room", "no", "--url", &calls]));
    assert!(said.contains("does not let this call in") && said.contains("--rpc-token-file"), "{said}");
    let said = failed(shaveet(&["publish", "room", "no", "--url", &calls, "--rpc-token-file", wrong]));
    assert!(said.contains(&format!("the token in {wrong} is not the server's")), "{said}");
    let said = failed(shaveet(&["publish", "room", "no", "--url", &pages, "--rpc-token-file", token]));
    assert!(said.contains("--rpc-listen"), "{said}");
    // The file's token is not for other servers: without it nobody is let in.
    let mut elsewhere = shaveet(&["publish", "room", "no", "--url", &calls]);
    elsewhere.env("SHAVEET_CONFIG", file);
    failed(elsewhere);
    assert_eq!(printed(&["channels", "--json", "--config", file]), before, "nothing came of those");
}

#[test]
fn who_is_not_allowed_is_told_the_knob() {
    let server = Server::with(&["--rpc-allow", "10.0.0.1"]);
    let said = failed(shaveet(&["channels", "--url", &url(&server)]));
    assert!(said.contains("--rpc-allow"), "{said}");
}

#[test]
fn who_finds_nobody_is_told_where_and_what_to_do() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let nest = Nest::new("nobody");
    for command in
        [&["publish", "room", "x"][..], &["tail", "room"], &["channels"], &["clients"], &["why", "a", "b", "1"]]
    {
        let said = failed(shaveet(&[command, &["--listen", &nowhere]].concat()));
        assert!(said.contains(&nowhere) && said.contains("as --listen says") && said.contains("the URL of"), "{said}");
        let said = failed(shaveet(&[command, &["--url", &nest.listener()]].concat()));
        assert!(said.contains("there is no socket") && said.contains(&nest.listener()), "{said}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("it comes");
        // Whoever closes with something unread breaks the connection off.
        let _ = peer.read(&mut [0; 4096]);
        peer.write_all(b"220 mail\r\n")
    });
    let said = failed(shaveet(&["channels", "--url", &mute]));
    assert!(said.contains("is no Shaveet"), "{said}");
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_sent() {
    for arguments in [
        &["publish"][..],
        &["publish", "room", "x", "--lines"],
        &["publish", "room", "x", "--ttl", "soon"],
        &["publish", "room", "x", "--url", "https://push.example.org"],
        &["publish", "room", "x", "--url", "127.0.0.1:1", "--listen", "127.0.0.1:2"],
        &["publish", "room", "x", "--listen", "127.0.0.1:0"],
        &["publish", "room", "x", "--rpc-token-file", "/nonexistent"],
        &["publish", "room", "x", "--config", "/nonexistent"],
        &["tail"],
        &["tail", "room", "-n", "0"],
        &["channels", "-q", "--json"],
        &["why", "a", "b"],
        &["why", "a", "b", "c"],
        &["bench", "nowhere"],
        &["bench", "127.0.0.1:1", "--listen", "127.0.0.1:2"],
        &["bench", "127.0.0.1:1", "--clients", "0"],
        &["bench", "127.0.0.1:1", "--duration", "1"],
    ] {
        let Ended { code, stdout, stderr } = ended(shaveet(arguments));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn channels_and_clients_are_listed_whole() {
    let server = Server::start();
    let page = server.subscriber("page1", &["room", "news"]);
    server.publish("room", "hello");
    page.news();
    let waiting = page.park();
    assert_eq!(
        asked(&server, &["channels", "ro"])
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect::<Vec<Vec<_>>>(),
        [
            ["SUBSCRIBED", "HERE", "LISTENING", "MESSAGES", "BYTES", "NEXT", "CHANNEL"],
            ["1", "1", "1", "2", "56", "3", "room"]
        ]
    );
    let row = asked(&server, &["clients"]).lines().nth(1).expect("a client").to_owned();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["here", "0s", "1", "poll", "2", "page1"]);
    let object: Value = serde_json::from_str(&asked(&server, &["clients", "--json"])).expect("one line of JSON");
    assert_eq!((&object["client"], &object["parked"]), (&json!("page1"), &json!(1)));
    assert_eq!(asked(&server, &["clients", "-q"]), "page1\n");
    assert_eq!(asked(&server, &["clients", "-q", "other"]), "");
    let Ended { code, stdout, stderr } = ended(shaveet(&["clients", "other", "--url", &url(&server)]));
    assert_eq!((code, &*stdout), (Some(0), ""));
    assert_eq!(stderr, "shaveet: there are no clients whose names begin with other\n");
    drop(waiting);

    // More than the server gives at once, and a name that would write lines of its own.
    let mut names: Vec<String> = (0..1500).map(|number| format!("many-{number}")).collect();
    names.push("many-\nodd".to_owned());
    server.call("broadcast", json!([names, "x"]));
    for arguments in [&["channels", "many-", "-q"][..], &["channels", "many-"]] {
        let listed = asked(&server, arguments);
        let mut listed: Vec<_> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
        listed.retain(|name| *name != "CHANNEL");
        listed.sort_unstable();
        let mut wanted: Vec<_> = names.iter().map(|name| name.replace('\n', "\\n")).collect();
        wanted.sort_unstable();
        assert!(listed == wanted, "{} of {}", listed.len(), wanted.len());
    }
}

#[test]
fn why_says_it_in_a_sentence() {
    let server = Server::with(&["--history", "2"]);
    let page = server.subscriber("page1", &["room"]);
    server.publish_all("room", ["a", "b", "c"]);
    let why = |client: &str, id: &str| asked(&server, &["why", client, "room", id]);
    assert!(
        why("page1", "2").starts_with("lost: ") && why("page1", "2").contains("--history"),
        "{}",
        why("page1", "2")
    );
    assert!(why("page1", "4").starts_with("waiting: "));
    assert!(why("page1", "5").starts_with("unpublished: "));
    let since = crate::support::since(&page.resume(""));
    let _ = server.park_at(&crate::support::Shape::Object.path(&[&page], &since));
    assert!(why("page1", "4").starts_with("delivered: a page of the client has said"), "{}", why("page1", "4"));
    server.client("stranger");
    assert!(why("stranger", "4").starts_with("not_subscribed: "));
    let object: Value = serde_json::from_str(&asked(&server, &["why", "stranger", "room", "4", "--json"])).unwrap();
    assert_eq!(object, json!({"state": "not_subscribed"}));
    for (client, channel, named) in
        [("nobody", "room", "no client \"nobody\""), ("page1", "none", "no channel \"none\"")]
    {
        let said = failed(shaveet(&["why", client, channel, "1", "--url", &url(&server)]));
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn tail_shows_what_is_said_and_leaves_nothing_behind() {
    let server = Server::start();
    server.publish("room", "before");
    let tail = tail(&server, "room", &["news"]);
    let page = server.subscriber("page1", &["room"]);
    server.publish("room", "hello");
    server.publish("news", "\x1b[2J\nend");
    server.call("new_message", json!([{"a": 1}, ["b"], "room", false]));
    page.kill();
    for line in [
        "room 3 page1 joins",
        "room 4 app: hello",
        r"news 2 app: \u{1b}[2J\nend",
        r#"room 5 {"a":1}: ["b"]"#,
        "room 6 page1 leaves (killed)",
    ] {
        assert_eq!(tail.line(), line);
    }
    assert!(clients(&server)[0].as_str().expect("a client").starts_with("admin-tail-"));
    tail.signal(Signal::INT);
    assert_eq!(tail.ended().code(), Some(0));
    assert_eq!(clients(&server), json!([]));
}

#[test]
fn tail_shows_json_what_is_held_and_so_many() {
    let server = Server::with(&["--history", "2"]);
    server.publish_all("room", ["a", "b", "c"]);
    let shown = asked(&server, &["tail", "room", "--all", "--json", "--no-system", "-n", "2"]);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(shown[0], json!({"gap": {"channel": "room", "next_id": 2, "reason": "count"}}));
    assert_eq!(shown[1], json!({"channel": "room", "id": 2, "from": "app", "data": "b", "system": false}));
    assert_eq!(shown[2]["id"], 3);
    assert_eq!(shown.len(), 3);
    assert_eq!(clients(&server), json!([]));
}

#[test]
fn tail_says_what_is_lost() {
    let server = Server::with(&["--history", "2"]);
    let tail = tail(&server, "room", &[]);
    tail.signal(Signal::STOP);
    // The first is sent at once, and read later.
    for text in ["a", "b", "c", "d", "e"] {
        server.publish("room", text);
        server.turn();
    }
    tail.signal(Signal::CONT);
    assert_eq!(tail.line(), "room 2 app: a");
    assert_eq!(tail.line(), "shaveet: messages of room before 5 may be lost: the channel keeps no more (--history)");
    assert_eq!(tail.line(), "room 5 app: d");
    assert_eq!(tail.line(), "room 6 app: e");
}

#[test]
fn tail_comes_back_when_the_server_has_been_killed() {
    let nest = Nest::new("tail-back");
    let listener = nest.listener();
    let server = Server::with(&["--listen", &listener]);
    let tail = tail(&server, "room", &[]);
    server.publish("room", "one");
    assert_eq!(tail.line(), "room 2 app: one");
    server.kill();
    assert_eq!(tail.line(), format!("shaveet: {listener} has gone; trying again until it is back, Ctrl-C ends that"));
    // It is back when there is something to hear.
    tail.signal(Signal::STOP);
    let server = Server::with(&["--listen", &listener]);
    server.publish("room", "two");
    tail.signal(Signal::CONT);
    assert_eq!(tail.line(), format!("shaveet: {listener} is back"));
    assert_eq!(tail.line(), "shaveet: the server did not know this client any more; it has a new one");
    let lost =
        "messages of room may be lost, or come again: the server began anew, without what it knew last (--state)";
    assert_eq!(tail.line(), format!("shaveet: {lost}"));
    assert_eq!(tail.line(), "room 1 app: two");
    // Killed by somebody it is there again, and has missed nothing.
    let id = clients(&server)[0].clone();
    server.call("kill_client", json!([id]));
    server.publish("room", "three");
    assert_eq!(tail.line(), "shaveet: the server did not know this client any more; it has a new one");
    let mut line = tail.line();
    while line.contains("leaves") || line.contains("joins") {
        line = tail.line();
    }
    assert!(line.ends_with(" app: three"), "{line}");
    tail.signal(Signal::TERM);
    assert_eq!(tail.ended().code(), Some(0));
    assert_eq!(clients(&server), json!([]));
}

#[test]
fn tail_misses_nothing_over_a_restart_with_state() {
    let nest = Nest::new("tail-state");
    let (listener, state) = (nest.listener(), nest.socket.with_extension("state"));
    let arguments = ["--listen", &listener, "--state", state.to_str().expect("ASCII")];
    let server = Server::with(&arguments);
    let tail = tail(&server, "room", &[]);
    server.publish("room", "one");
    server.stop();
    let server = Server::with(&arguments);
    server.publish("room", "two");
    assert_eq!(tail.line(), "room 2 app: one");
    let mut line = tail.line();
    while line.starts_with("shaveet: unix:") {
        line = tail.line();
    }
    assert_eq!(line, "room 3 app: two");
}

#[test]
fn tail_stays_when_a_proxy_has_nobody_behind_it_for_a_while() {
    let server = Server::start();
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let pages = format!("http://{}", proxy.local_addr().unwrap());
    let behind = server.address().as_socket().expect("TCP");
    std::thread::spawn(move || {
        let (mut first, _) = proxy.accept().expect("tail comes");
        first.read_exact(&mut [0; 50]).expect("it asks");
        first
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .expect("it hears");
        let (mut page, _) = proxy.accept().expect("tail comes again");
        let mut inside = std::net::TcpStream::connect(behind).expect("the server listens");
        let (mut back, mut out) = (inside.try_clone().unwrap(), page.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back, &mut out));
        let _ = std::io::copy(&mut page, &mut inside);
    });
    let tail = start_tail(&["tail", "room", "--url", &url(&server), "--pages-url", &pages]);
    until("tail listens", || is_heard(&server, "room"));
    server.publish("room", "hello");
    assert_eq!(tail.line(), "room 2 app: hello");
}

#[test]
fn tail_notices_nothing_of_an_upgrade() {
    let server = Server::start();
    let tail = tail(&server, "room", &[]);
    let upgraded = ended(shaveet(&["upgrade", &server.pid().to_string()]));
    assert_eq!((upgraded.code, upgraded.stderr.as_str()), (Some(0), ""));
    server.publish("room", "hello");
    assert_eq!(tail.line(), "room 2 app: hello");
}

#[test]
fn who_presses_ctrl_c_twice_does_not_wait_for_a_server_that_hangs() {
    let server = Server::start();
    let tail = tail(&server, "room", &[]);
    server.signal(Signal::STOP);
    tail.signal(Signal::INT);
    // The first is in its hands when it asks the server to forget its client, on a connection of which nobody takes the call.
    until("it says goodbye", || unread(&server) > 0);
    tail.signal(Signal::INT);
    assert_eq!(tail.ended().code(), Some(130));
    server.signal(Signal::CONT);
}

/// Bytes that have come for the server, and that it has not read.
fn unread(server: &Server) -> u64 {
    let port = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let queues = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_connection = words[1].ends_with(&port) && words[3] == "01";
        is_connection.then(|| words[4].split_once(':').and_then(|(_, unread)| u64::from_str_radix(unread, 16).ok()))?
    });
    queues.sum()
}

#[test]
fn who_has_read_enough_ends_them_without_a_word() {
    let server = Server::start();
    let mut names: Vec<String> = (0..5000).map(|number| format!("many-{number}")).collect();
    names.push("room".to_owned());
    server.call("broadcast", json!([names, "x"]));
    let script = r#"timeout 20 "$@" | head -1; echo "ended ${PIPESTATUS[0]}" >&2"#;
    for arguments in [&["channels"][..], &["channels", "--json"], &["channels", "-q"], &["tail", "--all", "room"]] {
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash", BINARY]).args(arguments).args(["--url", &url(&server)]);
        let Ended { stdout, stderr, .. } = ended(command);
        assert_eq!((stdout.lines().count(), stderr.as_str()), (1, "ended 0\n"), "{arguments:?}");
    }
    assert_eq!(clients(&server), json!([]), "tail was told though nothing more was said");
    let mut full = shaveet(&["channels", "--url", &url(&server)]);
    full.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it"));
    let Ended { code, stderr, .. } = ended_with_its_stdout(full);
    assert!(code == Some(1) && stderr.contains("standard output"), "{stderr}");
}

/// Runs a program whose output goes elsewhere.
fn ended_with_its_stdout(mut command: Command) -> Ended {
    let child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let output = child.wait_with_output().expect("it ends");
    Ended { code: output.status.code(), stdout: String::new(), stderr: String::from_utf8(output.stderr).expect("text") }
}
